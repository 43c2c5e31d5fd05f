#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "worker/journal.h"
#include "worker/supervisor_parts.h"

#define LEAVE_MS 2000 /* what survives KILL for so long sits in the kernel and is left behind */

void sc_super_log(struct sc_super *s, int level, const char *fmt, ...)
{
    if (!s->spec->log)
        return;
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++)
        if (*p == '\t' || *p == '\n') /* slot tags have fields */
            *p = ' ';
    s->spec->log(level, line);
}

/* ---- phases ---------------------------------------------------------------------------- */

void sc_super_stop(struct sc_super *s, int exit_code)
{
    s->phase = SC_STOPPING;
    s->exit_code = exit_code;
    s->drain_by = SC_NEVER;
    s->frontend.restart_at = SC_NEVER;
    int64_t kill_at = sc_clock_ms() + s->stop_grace_ms;
    s->leave_by = kill_at + LEAVE_MS;
    sc_slots_stop_all(s, SIGTERM, kill_at);
}

/* timeout(1) sends its signal to the process and at once to its group, too: that is one. */
#define TWICE_MS 250

static void quit(struct sc_super *s, int signal)
{
    sc_super_log(s, SC_LOG_WARN, "Second signal: everything is killed.");
    s->phase = SC_STOPPING;
    s->exit_code = 128 + signal;
    s->drain_by = SC_NEVER;
    s->frontend.restart_at = SC_NEVER;
    s->leave_by = sc_clock_ms() + LEAVE_MS;
    if (s->frontend.pid)
        sc_super_kill(s->frontend.pid, SIGKILL);
    sc_slots_stop_all(s, SIGKILL, SC_NEVER);
}

void sc_super_interrupted(struct sc_super *s, int signal)
{
    const int64_t now = sc_clock_ms();
    if (s->phase != SC_RUNNING) {
        if (signal != s->asked_by || now - s->asked_at > TWICE_MS)
            quit(s, signal);
        return;
    }
    s->asked_by = signal;
    s->asked_at = now;
    sc_super_log(s, SC_LOG_INFO, "%s: draining, for at most %lld ms.",
                 signal == SIGINT ? "SIGINT" : "SIGTERM", (long long)s->spec->drain_ms);
    s->phase = SC_DRAINING;
    if (!s->frontend.pid) {
        sc_super_stop(s, 0);
        return;
    }
    s->drain_by = now + s->spec->drain_ms;
    sc_frontend_tell(s, SC_CTL_DRAIN, sc_span(NULL, 0), sc_span(NULL, 0), NULL, 0);
}

static bool all_over(struct sc_super *s, int64_t now)
{
    if (s->phase != SC_STOPPING)
        return false;
    return (!s->frontend.pid && sc_slots_alive(s) == 0) || now >= s->leave_by;
}

/* Does what is due and returns how long there is nothing to do, as epoll_wait wants it. */
static int tick(struct sc_super *s)
{
    int64_t now = sc_clock_ms();
    if (s->drain_by <= now && s->frontend.pid) {
        sc_super_log(s, SC_LOG_WARN, "Draining took longer than %lld ms: the frontend is killed.",
                     (long long)s->spec->drain_ms);
        s->drain_by = SC_NEVER;
        sc_super_kill(s->frontend.pid, SIGKILL);
    }
    int64_t next = SC_MIN(s->drain_by, s->leave_by);
    next = SC_MIN(next, sc_frontend_tick(s, now));
    next = SC_MIN(next, sc_slots_tick(s, now));
    next = SC_MIN(next, sc_strangers_tick(s, now));
    if (s->children_wait)
        return 0;
    if (next == SC_NEVER)
        return -1;
    now = sc_clock_ms();
    return next <= now ? 0 : (int)SC_MIN(next - now, 60000);
}

static void dispatch(struct sc_super *s, const struct epoll_event *e)
{
    uint32_t index = (uint32_t)e->data.u64;
    switch ((enum sc_source)(e->data.u64 >> 32)) {
    case SC_ON_SIGNAL: sc_signals_event(s); break;
    case SC_ON_LISTENER: sc_strangers_accept(s); break;
    case SC_ON_FRONTEND: sc_frontend_event(s, e->events); break;
    case SC_ON_STRANGER: sc_strangers_event(s, index); break;
    case SC_ON_SLOT: sc_slots_event(s, index, e->events); break;
    }
}

static int loop(struct sc_super *s)
{
    while (!all_over(s, sc_clock_ms())) {
        int wait_ms = tick(s);
        struct epoll_event e;
        int n = epoll_wait(s->epoll, &e, 1, wait_ms);
        if (n < 0 && errno != EINTR)
            return SC_ESYS;
        if (n > 0)
            dispatch(s, &e);
        if (s->children_wait)
            sc_super_reap(s);
    }
    return SC_OK;
}

/* ---- beginning and end ----------------------------------------------------------------- */

/* A connection per worker needs more descriptors than the usual soft limit; children get that back. */
static void raise_limit(struct sc_super *s)
{
    if (getrlimit(RLIMIT_NOFILE, &s->files) < 0) {
        s->files = (struct rlimit){1024, 1024};
        return;
    }
    struct rlimit more = s->files;
    more.rlim_cur = SC_MAX(more.rlim_cur, SC_MIN(more.rlim_max, (rlim_t)4 * SC_SLOTS_MAX));
    (void)setrlimit(RLIMIT_NOFILE, &more);
}

static int set_up(struct sc_super *s)
{
    raise_limit(s);
    /* Orphans of a worker become ours, not the system's, so that none is left at the end. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0)
        return SC_ESYS;
    s->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    s->journal = sc_journal_create();
    if (s->null < 0 || s->journal < 0)
        return SC_ESYS;
    int rc = sc_signals_open(s);
    return rc < 0 ? rc : sc_strangers_listen(s);
}

static void close_one(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void tear_down(struct sc_super *s)
{
    sc_slots_free(s);
    sc_peer_close(s, &s->frontend.peer);
    sc_strangers_free(s);
    close_one(s->journal);
    close_one(s->null);
    close_one(s->signals);
    close_one(s->epoll);
    (void)setrlimit(RLIMIT_NOFILE, &s->files);
    /* One more Ctrl-C while the program ends must not turn an orderly end into a death by signal. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
}

static int64_t limit_or(int64_t given, int64_t usual)
{
    return given > 0 ? given : usual;
}

int sc_supervisor_run(const struct sc_supervisor_spec *spec)
{
    if (spec->nlisteners + 1 > SC_CTL_FDS)
        return 1;
    struct sc_super *s = calloc(1, sizeof *s);
    if (!s)
        return 1;
    s->spec = spec;
    s->connect_back_ms = limit_or(spec->connect_back_ms, SC_CONNECT_BACK_MS);
    s->launch_back_ms = limit_or(spec->connect_back_ms, SC_LAUNCH_BACK_MS);
    s->stop_grace_ms = limit_or(spec->stop_grace_ms, SC_STOP_GRACE_MS);
    s->hello_ms = limit_or(spec->hello_ms, SC_CTL_HELLO_MS);
    s->queue_bytes = (uint32_t)limit_or(spec->queue_bytes, SC_CTL_QUEUE_BYTES);
    s->epoll = s->signals = s->listener = s->null = s->journal = -1;
    s->drain_by = s->leave_by = s->listener_pause = SC_NEVER;
    s->frontend.restart_at = s->frontend.ready_at = SC_NEVER;
    sc_peer_init(&s->frontend.peer);
    for (size_t i = 0; i < SC_COUNT(s->strangers); i++)
        sc_peer_init(&s->strangers[i].peer);
    sigprocmask(SIG_SETMASK, NULL, &s->old_mask);

    int rc = set_up(s);
    if (rc == SC_OK) {
        sc_frontend_start(s);
        rc = loop(s);
    }
    if (rc < 0) {
        sc_super_log(s, SC_LOG_ERROR, "The supervisor cannot run: %s.", strerror(errno));
        s->exit_code = 1;
    }
    sc_super_sweep(s, LEAVE_MS);
    int exit_code = s->exit_code;
    tear_down(s);
    free(s);
    return exit_code;
}
