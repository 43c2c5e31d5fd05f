#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

#define FIRST_FREE_FD (SC_FD_SETTINGS + 1)

/*
 * From here to exec runs the child of a process that may have threads (the log writer): only
 * async-signal-safe calls, no memory, no locks.
 */

static _Noreturn void child_fails(const char *what, const char *name)
{
    const char *why = strerrordesc_np(errno);
    const char *parts[] = {"sconce: ", what, " ", name, ": ", why ? why : "unknown error", "\n"};
    for (size_t i = 0; i < SC_COUNT(parts); i++) {
        if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0)
            break;
    }
    _exit(SC_EXIT_NOEXEC);
}

/* A copy of fd above the numbers that are about to be filled, so that filling one overwrites no other. */
static int move_up(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
}

static int place(int fd, int at)
{
    if (fd >= 0)
        return dup2(fd, at);
    close(at);
    return 0;
}

static void close_from(int first, rlim_t limit)
{
    if (close_range((unsigned)first, ~0u, 0) == 0)
        return;
    /* An older kernel, or a container's filter. */
    for (int fd = first; (rlim_t)fd < SC_MIN(limit, 65536); fd++)
        close(fd);
}

static void default_signals(void)
{
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL); /* refused for KILL, STOP and the library's own */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct sc_super *s, const struct sc_child *c, pid_t parent)
{
    /* The parent may have died before the request was made: then no signal will ever come. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(SC_EXIT_NOEXEC);
    (void)setpgid(0, 0);

    int null = move_up(s->null), control = move_up(c->control_fd), settings = move_up(c->settings_fd);
    int out = move_up(c->output[0]), err = move_up(c->output[1]);
    if ((null >= 0 && dup2(null, STDIN_FILENO) < 0) || (out >= 0 && dup2(out, STDOUT_FILENO) < 0) ||
        (err >= 0 && dup2(err, STDERR_FILENO) < 0) || place(control, SC_FD_CONTROL) < 0 ||
        place(settings, SC_FD_SETTINGS) < 0)
        child_fails("no descriptors for", c->exe);
    if (c->dir && chdir(c->dir) < 0)
        child_fails("cannot work in", c->dir);
    close_from(FIRST_FREE_FD, s->files.rlim_max);
    (void)setrlimit(RLIMIT_NOFILE, &s->files);
    default_signals();
    execvpe(c->exe, c->argv, c->env);
    child_fails("cannot run", c->exe);
}

pid_t sc_super_spawn(struct sc_super *s, const struct sc_child *c)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return SC_ESYS;
    if (pid == 0)
        become(s, c, parent);
    /* Both sides do it, so that the group exists for whoever needs it first. */
    (void)setpgid(pid, pid);
    return pid;
}

void sc_super_kill(pid_t pid, int signal)
{
    /* A leader that is stopped would never see its TERM. */
    if (kill(-pid, signal) == 0 && signal != SIGKILL)
        (void)kill(-pid, SIGCONT);
}
