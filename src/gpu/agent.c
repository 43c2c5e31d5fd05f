#include "gpu/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/gpm.h"
#include "gpu/health.h"
#include "gpu/inventory.h"
#include "worker/control.h"
#include "worker/supervisor.h"

#define INTERVAL_MIN_MS 10
#define INTERVAL_MAX_MS 3600000

enum { CONTROL, INPUT, OUTPUT, SIGNALS, WATCHED };

struct agent {
    struct sc_nvml nvml;
    struct sc_gpu_health health; /* with --once it is not looked for: that would be looking back */
    struct sc_gpm gpm;
    struct sc_gpu_report report;
    struct sc_buf line; /* what of the latest report is not written yet */
    struct pollfd watched[WATCHED];
    int interval_ms;
    bool once;
};

static int interval_of(const char *text, int fallback)
{
    int32_t v;
    if (!sc_span_i32(sc_span_str(text), &v) || v <= 0)
        return fallback;
    return SC_MAX(SC_MIN(v, INTERVAL_MAX_MS), INTERVAL_MIN_MS);
}

int sc_gpu_interval(int fallback)
{
    return interval_of(getenv(SC_ENV_GPU_INTERVAL), fallback);
}

const char *sc_gpu_argument(int argc, char **argv, const char *name)
{
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0)
            return argv[i] + n;
    return NULL;
}

static bool has_argument(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return false;
}

/* Standard input is a life-line if somebody can hang up at its other end; /dev/null is none. */
static bool is_lifeline(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

static int say(const struct agent *a, enum sc_slot_state state, const char *text)
{
    int fd = a->watched[CONTROL].fd;
    return fd < 0 ? 0 : sc_ctl_send_status(fd, state, sc_span_str(text));
}

/* 0, or SC_ECLOSED: nobody reads. */
static int write_line(struct agent *a)
{
    while (a->line.n) {
        ssize_t n = write(STDOUT_FILENO, a->line.p, a->line.n);
        if (n < 0 && errno != EINTR)
            return errno == EAGAIN ? 0 : SC_ECLOSED;
        if (n > 0)
            sc_buf_consume(&a->line, (size_t)n);
    }
    return 0;
}

/* The supervisor has nothing to say to an agent; the end of the connection is its end. */
static bool control_is_over(int fd)
{
    static struct sc_ctl_message m;
    int rc;
    while ((rc = sc_ctl_receive(fd, &m)) == 1)
        sc_ctl_close_fds(&m);
    return rc < 0;
}

static bool is_over(const struct agent *a, pid_t parent)
{
    const struct pollfd *w = a->watched;
    char byte[64];
    if (w[SIGNALS].revents || getppid() != parent)
        return true;
    if (w[CONTROL].revents && control_is_over(w[CONTROL].fd))
        return true;
    /* What is written to us does not matter; only its end does. */
    if (w[INPUT].revents && read(STDIN_FILENO, byte, sizeof byte) <= 0)
        return true;
    return (w[OUTPUT].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

static void read_all(struct agent *a)
{
    sc_inventory_read(&a->nvml, &a->report);
    if (!a->once)
        sc_gpu_health_look(&a->health, &a->nvml, &a->report);
    bool more = sc_gpm_look(&a->gpm, &a->nvml, &a->report);
    if (!a->once || !more)
        return;
    usleep(SC_GPM_LEAST_MS * 1000);
    (void)sc_gpm_look(&a->gpm, &a->nvml, &a->report);
}

static void report(struct agent *a, pid_t parent)
{
    int64_t next = sc_clock_ms();
    for (;;) {
        int64_t now = sc_clock_ms();
        if (now >= next && a->line.n == 0) {
            read_all(a);
            sc_buf_clear(&a->line);
            sc_gpu_report_write(&a->report, &a->line);
            if (a->line.failed)
                sc_buf_clear(&a->line);
            next = now + a->interval_ms;
        }
        if (write_line(a) < 0)
            return;
        if (a->once && !a->line.n)
            return;
        a->watched[OUTPUT].events = a->line.n ? POLLOUT : 0;
        now = sc_clock_ms();
        int wait = a->line.n ? a->interval_ms : (int)SC_MAX(next - now, 0);
        if (poll(a->watched, WATCHED, wait) < 0 && errno != EINTR)
            return;
        if (is_over(a, parent))
            return;
    }
}

int sc_gpu_agent_main(int argc, char **argv)
{
    static struct agent a;
    struct sc_msg msg = {""};
    pid_t parent = getppid();
    /* Also while NVML hangs. A parent that died before this is seen by its changed number. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_IGN);
    a.interval_ms =
        interval_of(sc_gpu_argument(argc, argv, "--interval="), sc_gpu_interval(SC_GPU_INTERVAL_MS));
    a.once = has_argument(argc, argv, "--once");
    sc_buf_init(&a.line, SC_GPU_LINE_BYTES);
    a.watched[INPUT] = (struct pollfd){.fd = is_lifeline(STDIN_FILENO) ? STDIN_FILENO : -1, .events = POLLIN};
    a.watched[OUTPUT] = (struct pollfd){.fd = STDOUT_FILENO};
    a.watched[CONTROL] = (struct pollfd){.fd = -1, .events = POLLIN};
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    (void)fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK);
    if (getenv(SC_ENV_SOCKET)) {
        a.watched[CONTROL].fd = sc_ctl_connect_back(&msg);
        if (a.watched[CONTROL].fd < 0) {
            fprintf(stderr, "%s\n", msg.text);
            return 1;
        }
    }
    int rc = sc_nvml_open(&a.nvml, &msg);
    if (rc < 0) {
        if (!a.once)
            fprintf(stderr, "No GPU is watched: %s\n", msg.text);
        else
            printf("%s\n", msg.text);
        (void)!say(&a, SC_SLOT_FAILED, msg.text);
        return SC_EXIT_FATAL;
    }
    if (!a.once)
        sc_gpu_health_open(&a.health, &a.nvml);
    /* Until here a signal ends the process as it is; NVML may have hung. */
    a.watched[SIGNALS] = (struct pollfd){.fd = sc_ctl_open_signals(), .events = POLLIN};
    if (say(&a, SC_SLOT_LOADED, "{}") == 0 && getppid() == parent)
        report(&a, parent);
    sc_gpm_close(&a.gpm, &a.nvml);
    sc_gpu_health_close(&a.health, &a.nvml);
    sc_nvml_close(&a.nvml);
    sc_buf_free(&a.line);
    return 0;
}
