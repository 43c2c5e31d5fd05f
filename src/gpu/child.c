#include "gpu/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"

#define REAP_MS 200 /* for a killed child to end; one that hangs in the kernel is left to its fate */

static int actions_of(const struct sc_child_run *c, const int out[2], const int in[2],
                      posix_spawn_file_actions_t *a)
{
    int rc = posix_spawn_file_actions_adddup2(a, out[1], STDOUT_FILENO);
    if (rc == 0 && c->input.p)
        rc = posix_spawn_file_actions_adddup2(a, in[0], STDIN_FILENO);
    if (rc == 0 && c->input.p)
        rc = posix_spawn_file_actions_adddup2(a, out[1], STDERR_FILENO);
    return rc;
}

/* Its pid and the reading end of its output; -1. */
static pid_t spawn(const struct sc_child_run *c, int *reader)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int out[2], in[2] = {-1, -1};
    pid_t pid = -1;
    if (pipe2(out, O_CLOEXEC) < 0)
        return -1;
    bool fed = !c->input.p ||
               (pipe2(in, O_CLOEXEC | O_NONBLOCK) == 0 &&
                write(in[1], c->input.p, c->input.n) == (ssize_t)c->input.n && fcntl(in[0], F_SETFL, 0) == 0);
    int rc = fed ? posix_spawn_file_actions_init(&actions) : errno;
    if (rc == 0) {
        (void)posix_spawnattr_init(&attributes);
        sigemptyset(&none);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        rc = actions_of(c, out, in, &actions);
        if (rc == 0)
            rc = posix_spawn(&pid, c->exe, &actions, &attributes, c->argv, c->env ? c->env : environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
    }
    for (int i = 0; i < 2; i++)
        if (in[i] >= 0)
            close(in[i]);
    close(out[1]);
    if (rc != 0) {
        close(out[0]);
        errno = rc;
        return -1;
    }
    *reader = out[0];
    return pid;
}

/* Reads to the end. */
static int read_all(int fd, int stop_fd, char *out, size_t size, int64_t deadline)
{
    size_t n = 0;
    char rest[256];
    out[0] = '\0';
    for (;;) {
        int64_t left = deadline - sc_clock_ms();
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
        int rc = poll(p, 2, (int)SC_MAX(left, 0));
        if (rc == 0)
            return SC_ETIMEOUT;
        if (rc > 0 && p[1].revents)
            return SC_ECLOSED;
        if (rc < 0)
            continue;
        bool full = n + 1 == size;
        ssize_t got = full ? read(fd, rest, sizeof rest) : read(fd, out + n, size - 1 - n);
        if (got == 0 || (got < 0 && errno != EINTR))
            return 0;
        if (got > 0 && !full)
            n += (size_t)got;
        out[n] = '\0';
    }
}

static bool reaped(pid_t pid, int *status, int64_t deadline)
{
    pid_t got;
    while ((got = waitpid(pid, status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (sc_clock_ms() >= deadline)
            return false;
        usleep(1000);
    }
    return got == pid;
}

int sc_child_run(struct sc_child_run *c, char *out, size_t size)
{
    int reader = -1;
    int64_t deadline = sc_clock_ms() + c->timeout_ms;
    c->status = 0;
    pid_t pid = spawn(c, &reader);
    if (pid < 0)
        return SC_ESYS;
    int rc = read_all(reader, c->stop_fd, out, size, deadline);
    close(reader);
    if (rc < 0 || !reaped(pid, &c->status, SC_MAX(deadline, sc_clock_ms() + REAP_MS))) {
        kill(pid, SIGKILL);
        (void)!reaped(pid, &c->status, sc_clock_ms() + REAP_MS);
    }
    return rc;
}
