#include "gpu/mps_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/clock.h"
#include "gpu/agent.h"
#include "gpu/mps_control.h"
#include "gpu/mps_find.h"
#include "worker/control.h"
#include "worker/supervisor.h"

#define OPEN_FILES 16384 /* below that a server fails to make its shared memory */
#define QUIT_MS 1000
#define LOST_MS 500 /* after a fault, in which nobody is worth taking off the GPU */
#define PING "get_default_active_thread_percentage"

enum { CONTROL, TERM, OUTPUT, WATCHED };

struct keeper {
    struct sc_mps_control control;
    const char *gpu; /* UUID; NULL: the daemon is another's */
    pid_t daemon;    /* ours; 0: none runs */
    bool own;        /* the folder, and what lies in it */
    int output;      /* what it prints; -1 */
    struct sc_buf line;
    struct sc_mps_state state;
    unsigned starts, faults;
    pid_t faulted;      /* the last server that said that it had one */
    int64_t lost_until; /* ms: a fault has just taken every client's context */
    bool answers, told, gone;
    int control_fd;
};

/* ---- what is told ---------------------------------------------------------------------------------- */

/* A reader that is slow misses one: the next tells all. */
static void report(const struct keeper *k)
{
    struct sc_buf b;
    const struct sc_mps_state *s = &k->state;
    sc_buf_init(&b, 4096);
    sc_buf_printf(
        &b, "{\"pid\":%d,\"server\":%d,\"status\":\"%.15s\",\"starts\":%u,\"faults\":%u,\"gone\":%s,",
        (int)k->daemon, (int)s->server, s->status, k->starts, k->faults, k->gone ? "true" : "false");
    sc_buf_str(&b, "\"clients\":[");
    for (unsigned i = 0; i < s->nclients; i++)
        sc_buf_printf(&b, "%s%d", i ? "," : "", (int)s->clients[i]);
    sc_buf_str(&b, "]}\n");
    if (!b.failed)
        (void)!write(STDOUT_FILENO, b.p, b.n);
    sc_buf_free(&b);
}

/* ---- the daemon of our own ------------------------------------------------------------------------- */

static const char *const leftovers[] = {"control", "control_privileged", "control_lock", "log",
                                        SC_MPS_PID_FILE};

/* Only what a daemon makes is removed, and only from a folder of ours. */
static void remove_files(const struct keeper *k)
{
    char path[512];
    if (!k->own)
        return;
    for (size_t i = 0; i < SC_COUNT(leftovers); i++) {
        snprintf(path, sizeof path, "%s/%s", k->control.pipe, leftovers[i]);
        unlink(path);
    }
    rmdir(k->control.pipe);
}

static int make_folder(struct keeper *k, struct sc_msg *msg)
{
    const char *dir = k->control.pipe;
    struct stat st;
    struct sc_mps_daemon other;
    struct sc_msg why;
    if (sc_mps_check_pipe(dir, &why) < 0)
        return sc_fail(msg, SC_ELIMIT, "%s; set TEMP to a shorter folder", why.text);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return sc_fail(msg, SC_ESYS, "the MPS daemon's folder %s cannot be made: %s", dir, strerror(errno));
    if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || access(dir, W_OK | X_OK) < 0)
        return sc_fail(msg, SC_ESYS, "the MPS daemon's folder %s is not ours to use: remove it", dir);
    if (sc_mps_find_at(dir, &other))
        return sc_fail(msg, SC_EEXIST, "an MPS daemon, pid %d, serves %s already", (int)other.pid, dir);
    k->own = true;
    return 0;
}

/* Daemons know nothing of each other: another server's, or somebody's who did the same by hand. */
static void tell_others(const struct keeper *k)
{
    static struct sc_mps_daemon all[SC_MPS_FOUND_MAX];
    struct sc_gpu_info g = {.index = SC_GPUS_MAX}; /* its index is not known here */
    snprintf(g.uuid, sizeof g.uuid, "%s", k->gpu);
    unsigned n = sc_mps_find(all, SC_COUNT(all));
    for (unsigned i = 0; i < n; i++)
        if (all[i].pid != k->daemon && sc_mps_serves(&all[i], &g))
            fprintf(stderr,
                    "MPS: another daemon serves %s, too: pid %d of user %u, in %s. Its clients and ours take "
                    "turns on the GPU; in EXCLUSIVE_PROCESS mode only one of the two gets it\n",
                    k->gpu, (int)all[i].pid, (unsigned)all[i].uid, all[i].known ? all[i].pipe : "?");
}

/* The child, up to exec. The daemon gets what it needs and nothing of CUDA's that was meant for others. */
static _Noreturn void become_daemon(const struct keeper *k, int out, pid_t parent)
{
    struct rlimit files;
    sigset_t none;
    /* It dies with this process, whatever ends that: killed in the foreground it takes its server along. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(SC_EXIT_FATAL);
    (void)setpgid(0, 0); /* a signal to the group is for the keeper, which ends the daemon in order */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < OPEN_FILES) {
        files.rlim_cur = SC_MIN(files.rlim_max, (rlim_t)OPEN_FILES);
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(out, STDERR_FILENO);
    for (char **e = environ; *e;) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
        if (strncmp(name, "CUDA_", 5) == 0 && unsetenv(name) == 0)
            e = environ;
        else
            e++;
    }
    setenv(SC_MPS_ENV_PIPE, k->control.pipe, 1);
    setenv("CUDA_MPS_LOG_DIRECTORY", k->control.pipe, 1);
    setenv("CUDA_VISIBLE_DEVICES", k->gpu, 1);
    execl(k->control.program, SC_MPS_CONTROL, "-f", (char *)NULL);
    _exit(SC_EXIT_FATAL);
}

static int start_daemon(struct keeper *k, struct sc_msg *msg)
{
    int p[2], rc = make_folder(k, msg);
    if (rc < 0)
        return rc;
    if (pipe2(p, O_CLOEXEC) < 0 || fcntl(p[0], F_SETFL, O_NONBLOCK) < 0)
        return sc_fail(msg, SC_ESYS, "no pipe: %s", strerror(errno));
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become_daemon(k, p[1], parent);
    close(p[1]);
    if (pid < 0) {
        close(p[0]);
        return sc_fail(msg, SC_ESYS, "no process: %s", strerror(errno));
    }
    k->daemon = pid;
    k->output = p[0];
    k->answers = false;
    return 0;
}

/*
 * After a fatal error a server takes no new client (807) until the old ones have left, and may count some as
 * there for minutes after their processes have ended (seen on an H100, driver 580). Their contexts are lost
 * in any case; and where there is no server, the daemon starts one for the next client, which waits for it.
 */
static void end_server(struct keeper *k, pid_t server)
{
    if (!k->daemon || server <= 1)
        return;
    kill(server, SIGKILL);
    k->state = (struct sc_mps_state){0};
    k->lost_until = sc_clock_ms() + LOST_MS;
}

static void take_line(struct keeper *k, struct sc_span line)
{
    bool fault;
    if (!sc_mps_is_news(line, &fault))
        return;
    fprintf(stderr, "MPS: %.*s\n", (int)SC_MIN(line.n, 300u), line.p);
    pid_t server = sc_mps_line_server(line);
    if (!fault || (server && server == k->faulted))
        return; /* two lines tell of each: whose it was, and that it is handled */
    k->faulted = server;
    k->faults++;
    end_server(k, server);
    report(k);
}

/* False: it has closed its output, which its end does. */
static bool read_output(struct keeper *k)
{
    char bytes[4096];
    ssize_t n;
    while ((n = read(k->output, bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != '\n') {
                sc_buf_char(&k->line, bytes[i]);
                continue;
            }
            take_line(k, sc_buf_view(&k->line));
            sc_buf_clear(&k->line);
            k->line.failed = 0;
        }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Waits a moment for the daemon's end; true: it is reaped. */
static bool daemon_ended(struct keeper *k, int ms)
{
    int64_t until = sc_clock_ms() + ms;
    int status;
    while (k->daemon) {
        pid_t got = waitpid(k->daemon, &status, WNOHANG);
        if (got == k->daemon || (got < 0 && errno == ECHILD)) {
            k->daemon = 0;
            close(k->output);
            k->output = -1;
        } else if (sc_clock_ms() >= until) {
            return false;
        } else {
            usleep(2000);
        }
    }
    return true;
}

/* What a daemon that does not answer had stays what is known: its clients live. */
static int look(struct keeper *k, int timeout_ms, struct sc_msg *msg)
{
    struct sc_mps_state seen;
    int rc = sc_mps_look(&k->control, timeout_ms, &seen, msg);
    if (rc == 0)
        k->state = seen;
    k->gone &= rc != 0;
    return rc;
}

static void end_daemon(struct keeper *k, bool in_order)
{
    char answer[256];
    struct sc_msg msg;
    int stop_fd = k->control.stop_fd;
    k->control.stop_fd = -1;
    bool asked = in_order && k->daemon && look(k, QUIT_MS, &msg) == 0 && k->state.nclients == 0 &&
                 sc_mps_ask(&k->control, "quit -t 1", QUIT_MS, answer, sizeof answer, &msg) == 0;
    /* With clients it would wait for them, and not end. */
    if (k->daemon && !daemon_ended(k, asked ? QUIT_MS : 0)) {
        kill(k->daemon, SIGKILL);
        (void)daemon_ended(k, QUIT_MS);
    }
    k->control.stop_fd = stop_fd;
    remove_files(k);
}

/* ---- its life -------------------------------------------------------------------------------------- */

static bool is_over(const struct keeper *k, struct pollfd *w, int ms)
{
    w[CONTROL] = (struct pollfd){.fd = k->control_fd, .events = POLLIN};
    w[TERM] = (struct pollfd){.fd = k->control.stop_fd, .events = POLLIN};
    w[OUTPUT] = (struct pollfd){.fd = k->output, .events = POLLIN};
    if (poll(w, WATCHED, ms) < 0)
        w[CONTROL].revents = w[TERM].revents = w[OUTPUT].revents = 0;
    return w[TERM].revents != 0;
}

/* Waits until the daemon answers. SC_ECLOSED: it is time to end. */
static int come_up(struct keeper *k, struct sc_msg *msg)
{
    char answer[256];
    struct pollfd w[WATCHED];
    int64_t until = sc_clock_ms() + SC_MPS_START_MS;
    for (;;) {
        int rc = sc_mps_ask(&k->control, PING, SC_MPS_ASK_MS, answer, sizeof answer, msg);
        if (rc == 0 && *answer >= '0' && *answer <= '9')
            break;
        if (rc == 0)
            rc = sc_fail(msg, SC_EUNSUPPORTED, "the MPS daemon in %s answers \"%.100s\"", k->control.pipe,
                         answer);
        if (rc == SC_ECLOSED || rc == SC_ESYS || !k->gpu || sc_clock_ms() >= until)
            return rc;
        if (is_over(k, w, 20))
            return SC_ECLOSED;
        if (w[OUTPUT].revents && !read_output(k) && daemon_ended(k, QUIT_MS))
            return sc_fail(msg, SC_ENOTFOUND, "%s ended as it started: %s", SC_MPS_CONTROL, msg->text);
    }
    k->answers = true;
    k->gone = false;
    k->starts++;
    return 0;
}

/* A worker is about to be signalled. */
static void end_client(struct keeper *k, const struct sc_ctl_client *c)
{
    struct sc_msg msg = {""};
    bool is_client = false;
    int rc = sc_clock_ms() < k->lost_until ? 0 : look(k, SC_MPS_END_MS, &msg);
    for (unsigned i = 0; i < k->state.nclients; i++)
        is_client |= k->state.clients[i] == c->pid;
    if (rc == 0 && is_client)
        rc = sc_mps_terminate(&k->control, k->state.server, c->pid, SC_MPS_END_MS, &msg);
    if (rc < 0)
        fprintf(stderr, "MPS: worker process %d: %s\n", (int)c->pid, msg.text);
    (void)!sc_ctl_send(k->control_fd, SC_CTL_CLIENT_ENDED, sc_span(c, sizeof *c), sc_span(NULL, 0), NULL, 0);
}

/* SC_ECLOSED: the supervisor is gone. */
static int obey(struct keeper *k)
{
    static struct sc_ctl_message m;
    struct sc_ctl_client c;
    int rc;
    while ((rc = sc_ctl_receive(k->control_fd, &m)) == 1) {
        if (m.type == SC_CTL_END_CLIENT && sc_ctl_read_fixed(m.payload, &c, sizeof c) == 0)
            end_client(k, &c);
        sc_ctl_close_fds(&m);
    }
    return rc;
}

/* Another's daemon that has gone is only said; ours is started again. */
static int lost(struct keeper *k, struct sc_msg *msg)
{
    k->state = (struct sc_mps_state){0};
    if (!k->gpu) {
        struct sc_mps_daemon d;
        k->gone = !sc_mps_find_at(k->control.pipe, &d);
        return 0;
    }
    fprintf(stderr, "MPS: the daemon of %s has ended: it is started again\n", k->gpu);
    end_daemon(k, false);
    int rc = start_daemon(k, msg);
    return rc < 0 ? rc : come_up(k, msg);
}

static int watch(struct keeper *k, struct sc_msg *msg)
{
    struct pollfd w[WATCHED];
    int64_t next = sc_clock_ms(), interval = sc_gpu_interval(SC_MPS_LOOK_MS);
    for (;;) {
        int rc = 0;
        if (is_over(k, w, (int)SC_MAX(next - sc_clock_ms(), 0)))
            return 0;
        if (w[CONTROL].revents && obey(k) < 0)
            return SC_ECLOSED;
        bool dead = w[OUTPUT].revents && !read_output(k) && daemon_ended(k, QUIT_MS);
        if (!dead && sc_clock_ms() < next)
            continue;
        if (!dead)
            rc = look(k, SC_MPS_ASK_MS, msg);
        if (rc == SC_ECLOSED)
            return 0;
        if ((dead || rc == SC_ENOTFOUND) && (rc = lost(k, msg)) < 0)
            return rc;
        if (rc == 0 && strcmp(k->state.status, "FAULT") == 0)
            end_server(k, k->state.server);
        if (rc < 0)
            fprintf(stderr, "MPS: %s\n", msg->text);
        report(k);
        next = sc_clock_ms() + interval;
    }
}

int sc_mps_keeper_main(int argc, char **argv)
{
    static struct keeper k;
    struct sc_msg msg = {""};
    struct sc_mps_daemon other;
    const char *pipe = sc_gpu_argument(argc, argv, "--pipe=");
    pid_t parent = getppid();
    k = (struct keeper){.gpu = sc_gpu_argument(argc, argv, "--gpu="), .output = -1};
    k.control.stop_fd = sc_ctl_open_signals();
    (void)signal(SIGPIPE, SIG_IGN);
    /* When the supervisor is killed there is still the daemon to end, and its files. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sc_buf_init(&k.line, 1024);
    snprintf(k.control.pipe, sizeof k.control.pipe, "%s", pipe ? pipe : sc_mps_pipe());
    (void)fcntl(STDOUT_FILENO, F_SETFL, O_WRONLY | O_NONBLOCK);
    k.control_fd = sc_ctl_connect_back(&msg);
    if (k.control_fd < 0) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    int rc = 0;
    if (!sc_mps_program(k.control.program, sizeof k.control.program))
        rc =
            sc_fail(&msg, SC_ENOTFOUND, "%s is not in PATH: it comes with the NVIDIA driver", SC_MPS_CONTROL);
    else if (k.gpu)
        rc = start_daemon(&k, &msg);
    else if (!sc_mps_find_at(k.control.pipe, &other))
        rc = sc_fail(&msg, SC_ENOTFOUND, "no MPS daemon lives in %s", k.control.pipe);
    if (rc == 0)
        rc = come_up(&k, &msg);
    if (rc == 0 && k.gpu)
        tell_others(&k);
    if (rc == 0 && (rc = sc_ctl_send_status(k.control_fd, SC_SLOT_LOADED, SC_SPAN("{}"))) == 0)
        rc = watch(&k, &msg);
    if (rc < 0 && rc != SC_ECLOSED) {
        fprintf(stderr, "MPS: %s\n", msg.text);
        (void)!sc_ctl_send_status(k.control_fd, SC_SLOT_FAILED, sc_span_str(msg.text));
    }
    if (k.gpu)
        end_daemon(&k, rc == 0 && getppid() == parent);
    sc_buf_free(&k.line);
    return rc == 0 || rc == SC_ECLOSED ? 0 : SC_EXIT_FATAL;
}
