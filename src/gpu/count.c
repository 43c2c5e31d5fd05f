/* Counting GPUs in a child that can be given up. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/agent.h"
#include "gpu/assign.h"
#include "gpu/inventory.h"

#define REAP_MS 200 /* for a killed child to end; one that hangs in the kernel is left to its fate */

extern char **environ;

int sc_gpu_count_main(void)
{
    struct sc_nvml n;
    struct sc_msg msg;
    int count = sc_nvml_open(&n, &msg);
    if (count == 0) {
        count = sc_inventory_count(&n, &msg);
        sc_nvml_close(&n);
    }
    if (count < 0)
        printf("0\n%s\n", msg.text);
    else
        printf("%d\n", count);
    return 0;
}

/* What a child is to do, and how it ended. */
struct question {
    const char *exe;
    char *argv[4];
    int timeout_ms;
    int status; /* of waitpid */
};

static pid_t spawn(const struct question *q, int *reader)
{
    posix_spawn_file_actions_t actions;
    int p[2];
    pid_t pid = -1;
    if (pipe2(p, O_CLOEXEC) < 0)
        return -1;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&actions, p[1], STDOUT_FILENO);
        if (rc == 0)
            rc = posix_spawn(&pid, q->exe, &actions, NULL, q->argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(p[1]);
    if (rc != 0) {
        close(p[0]);
        errno = rc;
        return -1;
    }
    *reader = p[0];
    return pid;
}

/* Reads to the end; SC_ETIMEOUT. What exceeds the room is dropped. */
static int read_all(int fd, char *out, size_t size, int64_t deadline)
{
    size_t n = 0;
    char rest[256];
    for (;;) {
        int64_t left = deadline - sc_clock_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int rc = poll(&p, 1, (int)SC_MAX(left, 0));
        if (rc == 0)
            return SC_ETIMEOUT;
        if (rc < 0)
            continue;
        bool full = n + 1 == size;
        ssize_t got = full ? read(fd, rest, sizeof rest) : read(fd, out + n, size - 1 - n);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        if (got > 0 && !full)
            n += (size_t)got;
    }
    out[n] = '\0';
    return 0;
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

/* What the child prints. SC_ESYS: it cannot be run; SC_ETIMEOUT: it was given up. */
static int ask(struct question *q, char *said, size_t size)
{
    int reader = -1;
    int64_t deadline = sc_clock_ms() + q->timeout_ms;
    pid_t pid = spawn(q, &reader);
    if (pid < 0)
        return SC_ESYS;
    int rc = read_all(reader, said, size, deadline);
    close(reader);
    if (rc < 0 || !reaped(pid, &q->status, SC_MAX(deadline, sc_clock_ms() + REAP_MS))) {
        kill(pid, SIGKILL);
        (void)!reaped(pid, &q->status, sc_clock_ms() + REAP_MS);
    }
    return rc;
}

int sc_gpu_look(const char *exe, int timeout_ms, struct sc_gpu_report *out, struct sc_msg *msg)
{
    static char said[SC_GPU_LINE_BYTES + 1];
    static char title[] = "sconce: gpu look", role[] = "--role=gpu-agent", once[] = "--once";
    struct question q = {.exe = exe, .argv = {title, role, once, NULL}, .timeout_ms = timeout_ms};
    int rc = ask(&q, said, sizeof said);
    if (rc == SC_ESYS)
        return sc_fail(msg, rc, "%s: %s", exe, strerror(errno));
    if (rc < 0)
        return sc_fail(msg, rc, "the NVIDIA driver has not answered within %d ms: it hangs", timeout_ms);
    struct sc_span line = sc_span_str(said);
    line.n = sc_span_find(line, '\n');
    if (WIFEXITED(q.status) && WEXITSTATUS(q.status) == 0 && sc_gpu_parse_line(line, out) == 0)
        return *out->error ? sc_fail(msg, SC_ENOTFOUND, "%s", out->error) : 0;
    if (WIFSIGNALED(q.status))
        return sc_fail(msg, SC_ESYS, "asking the NVIDIA driver ended with signal %d", WTERMSIG(q.status));
    return sc_fail(msg, SC_ENOTFOUND, "%.*s", (int)SC_MIN(line.n, 400u), line.p);
}

int sc_gpu_count(const char *exe, int timeout_ms, struct sc_msg *note)
{
    static char title[] = "sconce: gpu count", role[] = "--role=gpu-count";
    char said[1024];
    struct question q = {.exe = exe, .argv = {title, role, NULL}, .timeout_ms = timeout_ms};
    note->text[0] = '\0';
    int rc = ask(&q, said, sizeof said), status = q.status;
    if (rc == SC_ESYS) {
        sc_fail(note, SC_ESYS, "GPUs are not looked for: %s: %s", exe, strerror(errno));
        return 0;
    }
    if (rc < 0) {
        sc_fail(note, rc, "GPUs are not used: the NVIDIA driver has not answered within %d ms", timeout_ms);
        return 0;
    }
    char *end;
    long n = strtol(said, &end, 10);
    if (end == said || *end != '\n' || n < 0 || n > SC_GPUS_MAX) {
        if (WIFSIGNALED(status))
            sc_fail(note, SC_ESYS, "GPUs are not used: counting them ended with signal %d", WTERMSIG(status));
        else
            sc_fail(note, SC_ESYS, "GPUs are not used: counting them ended with code %d",
                    WEXITSTATUS(status));
        return 0;
    }
    if (end[1]) {
        end[1 + strcspn(end + 1, "\n")] = '\0';
        sc_fail(note, SC_ENOTFOUND, "No GPU is used: %.400s", end + 1);
    }
    return (int)n;
}

int sc_gpu_detect(const char *exe, int timeout_ms, struct sc_msg *msg)
{
    msg->text[0] = '\0';
    int n = sc_gpu_visible_count(getenv("CUDA_VISIBLE_DEVICES"), msg);
    return n == SC_ENOTFOUND ? sc_gpu_count(exe, timeout_ms, msg) : SC_MIN(n, SC_GPUS_MAX);
}
