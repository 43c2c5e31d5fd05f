#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

#define REAP_TURN 64

int sc_signals_open(struct sc_super *s)
{
    static const int ours[] = {SIGINT, SIGTERM, SIGUSR2, SIGHUP, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < SC_COUNT(ours); i++) {
        /* An ignored SIGCHLD, which a parent can leave behind, would let children vanish unseen. */
        (void)signal(ours[i], SIG_DFL);
        sigaddset(&set, ours[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, &s->old_mask) < 0)
        return SC_ESYS;
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        return SC_ESYS;
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = sc_event(SC_ON_SIGNAL, 0)};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->signals, &e) < 0 ? SC_ESYS : SC_OK;
}

void sc_signals_event(struct sc_super *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGINT:
        case SIGTERM: sc_super_interrupted(s, (int)info.ssi_signo); break;
        case SIGUSR2: /* who says it twice has not lost patience */
            if (s->phase == SC_RUNNING)
                sc_super_interrupted(s, SIGTERM);
            break;
        case SIGHUP:
            if (s->spec->reopen_logs)
                s->spec->reopen_logs();
            sc_slots_tell_all(s, SC_CTL_REOPEN_LOGS);
            sc_frontend_tell(s, SC_CTL_REOPEN_LOGS, sc_span(NULL, 0), sc_span(NULL, 0), NULL, 0);
            break;
        case SIGCHLD: sc_super_reap(s); break;
        }
    }
}

/* The next child that has ended, still to be reaped; 0 if there is none. */
static pid_t next_ended(void)
{
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return 0;
    return info.si_pid;
}

void sc_super_reap(struct sc_super *s)
{
    s->children_wait = false;
    pid_t pid;
    for (int i = 0; (pid = next_ended()) > 0; i++) {
        if (i == REAP_TURN) {
            s->children_wait = true;
            return;
        }
        /* What is left of its group goes with it. Before it is reaped, while the number is surely its own. */
        if (pid == s->frontend.pid || sc_slots_owns(s, pid))
            sc_super_kill(pid, SIGKILL);
        int status = 0;
        if (waitpid(pid, &status, WNOHANG) != pid)
            return;
        /* Who is neither is an orphan that we adopted. */
        if (!sc_slots_reaped(s, pid, status))
            (void)sc_frontend_reaped(s, pid, status);
    }
}

static void kill_listed(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    /* What does not fit is found the next time. */
    char list[4096];
    ssize_t n = read(fd, list, sizeof list - 1);
    close(fd);
    list[SC_MAX(n, 0)] = '\0';
    char *at = list, *end;
    for (long pid; (pid = strtol(at, &end, 10)) > 1 && *end == ' '; at = end)
        (void)kill((pid_t)pid, SIGKILL);
}

/* Children of all threads of this process. */
static void kill_children(void)
{
    /* As PID 1 all there is goes with us in any case, and no proc file system is needed to find it. */
    if (getpid() == 1) {
        (void)kill(-1, SIGKILL);
        return;
    }
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        return;
    for (struct dirent *d; (d = readdir(tasks));) {
        char path[64];
        if (d->d_name[0] != '.' &&
            snprintf(path, sizeof path, "/proc/self/task/%.20s/children", d->d_name) > 0)
            kill_listed(path);
    }
    closedir(tasks);
}

void sc_super_sweep(struct sc_super *s, int64_t limit_ms)
{
    int64_t limit = sc_clock_ms() + limit_ms;
    /* The children of those that die become ours, hence again and again until none is left. */
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid > 0)
            continue;
        if (pid < 0 && errno != EINTR)
            return;
        if (sc_clock_ms() >= limit) {
            sc_super_log(s, SC_LOG_WARN, "Processes are left that do not die; leaving them to the system.");
            return;
        }
        kill_children();
        struct pollfd p = {.fd = s->signals, .events = POLLIN};
        (void)poll(&p, 1, 5);
        struct signalfd_siginfo info;
        while (read(s->signals, &info, sizeof info) > 0)
            ;
    }
}
