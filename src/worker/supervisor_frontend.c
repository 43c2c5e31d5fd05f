#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

/* Nothing more can be said to it: the next life starts when this one has been reaped. */
static void end_life(struct sc_super *s, const char *why)
{
    struct sc_frontend *f = &s->frontend;
    sc_peer_close(s, &f->peer);
    if (f->pid) {
        sc_super_log(s, SC_LOG_ERROR, "The frontend (process %d) is killed: %s.", (int)f->pid, why);
        sc_super_kill(f->pid, SIGKILL);
    }
}

void sc_frontend_tell(struct sc_super *s, uint16_t type, struct sc_span a, struct sc_span b, const int *fds,
                      unsigned nfds)
{
    if (s->frontend.peer.fd < 0)
        return;
    int rc = sc_peer_send(s, &s->frontend.peer, type, a, b, fds, nfds);
    if (rc == SC_ELIMIT)
        end_life(s, "it does not read its control messages");
    else if (rc < 0 && rc != SC_ECLOSED) /* a closed socket is noticed where it is read */
        end_life(s, sc_strerror(rc));
}

static void welcome(struct sc_super *s)
{
    struct sc_ctl_welcome w = {
        .epoch = s->frontend.epoch, .listeners = s->spec->nlisteners, .restarted = s->frontend.epoch > 1};
    for (uint32_t i = 0; i < s->slots_top; i++)
        w.slots += s->slots[i] != NULL;
    int fds[SC_CTL_FDS] = {s->journal};
    for (unsigned i = 0; i < s->spec->nlisteners; i++)
        fds[1 + i] = s->spec->listeners[i];
    sc_frontend_tell(s, SC_CTL_WELCOME, sc_span(&w, sizeof w), sc_span(NULL, 0), fds, 1 + w.listeners);
    sc_slots_introduce(s);
}

/* At once after a first failure, then with a growing delay. */
static void start_later(struct sc_super *s, int64_t now)
{
    struct sc_frontend *f = &s->frontend;
    if (f->ready_at != SC_NEVER && now - f->ready_at >= SC_FRONTEND_SETTLED_MS)
        f->failures = 0;
    int64_t delay = 0;
    if (f->failures > 0)
        delay = SC_MIN(INT64_C(100) << SC_MIN(f->failures - 1, 16), SC_FRONTEND_DELAY_MAX_MS);
    f->failures++;
    f->restart_at = now + delay;
    sc_super_log(s, SC_LOG_WARN, "The frontend is started again in %d ms.", (int)delay);
}

void sc_frontend_start(struct sc_super *s)
{
    struct sc_frontend *f = &s->frontend;
    f->restart_at = SC_NEVER;
    f->ready_at = SC_NEVER;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        sc_super_log(s, SC_LOG_ERROR, "No control socket for the frontend: %s.", strerror(errno));
        start_later(s, sc_clock_ms());
        return;
    }
    struct sc_child c = {.exe = s->spec->exe,
                         .argv = s->spec->frontend_argv,
                         .env = environ,
                         .control_fd = pair[1],
                         .settings_fd = s->spec->settings_fd,
                         .output = {-1, -1}};
    pid_t pid =
        sc_peer_open(s, &f->peer, pair[0], sc_event(SC_ON_FRONTEND, 0)) < 0 ? SC_ESYS : sc_super_spawn(s, &c);
    int error = errno;
    close(pair[1]);
    if (pid < 0) {
        sc_super_log(s, SC_LOG_ERROR, "The frontend cannot be started: %s.", strerror(error));
        sc_peer_close(s, &f->peer);
        start_later(s, sc_clock_ms());
        return;
    }
    f->pid = pid;
    f->epoch++;
    sc_super_log(s, SC_LOG_DEBUG, "The frontend runs as process %d.", (int)pid);
    welcome(s);
}

static int obey(struct sc_super *s, struct sc_ctl_message *m)
{
    switch (m->type) {
    case SC_CTL_READY: s->frontend.ready_at = sc_clock_ms(); return m->payload.n ? SC_EPROTO : SC_OK;
    case SC_CTL_SLOT_START: return sc_slots_start(s, m->payload);
    case SC_CTL_SLOT_STOP: return sc_slots_stop(s, m->payload);
    case SC_CTL_SLOT_KILL: return sc_slots_kill(s, m->payload);
    case SC_CTL_ATTACH: return sc_slots_attach(s, m);
    case SC_CTL_LANES: return sc_slots_lanes(s, m->payload);
    default: return SC_EPROTO;
    }
}

void sc_frontend_event(struct sc_super *s, uint32_t events)
{
    struct sc_frontend *f = &s->frontend;
    int rc = events & EPOLLOUT ? sc_peer_flush(s, &f->peer) : SC_OK;
    for (int i = 0; rc >= 0 && i < SC_PEER_TURN && f->peer.fd >= 0; i++) {
        rc = sc_ctl_receive(f->peer.fd, &s->message);
        if (rc <= 0)
            break;
        rc = obey(s, &s->message);
        sc_ctl_close_fds(&s->message);
    }
    if (rc == SC_ECLOSED) {
        /* It usually means that the process is ending; if it is not, it is of no use any more. */
        sc_peer_close(s, &f->peer);
        if (f->pid)
            sc_super_kill(f->pid, SIGKILL);
    } else if (rc < 0) {
        end_life(s, sc_strerror(rc));
    }
}

bool sc_frontend_reaped(struct sc_super *s, pid_t pid, int wait_status)
{
    struct sc_frontend *f = &s->frontend;
    if (!f->pid || pid != f->pid)
        return false;
    f->pid = 0;
    sc_peer_close(s, &f->peer);
    bool exited = WIFEXITED(wait_status);
    int code = exited ? WEXITSTATUS(wait_status) : WTERMSIG(wait_status);
    bool orderly = exited && code == 0 && s->phase != SC_RUNNING;
    sc_super_log(s, orderly ? SC_LOG_INFO : SC_LOG_ERROR, "The frontend (process %d) ended with %s %d.",
                 (int)pid, exited ? "code" : "signal", code);
    if (s->phase == SC_STOPPING)
        return true;
    if (exited && code == SC_EXIT_FATAL)
        sc_super_stop(s, SC_EXIT_FATAL);
    else if (s->phase == SC_DRAINING)
        sc_super_stop(s, orderly ? 0 : 1);
    else
        start_later(s, sc_clock_ms());
    return true;
}

int64_t sc_frontend_tick(struct sc_super *s, int64_t now)
{
    if (s->frontend.restart_at <= now)
        sc_frontend_start(s);
    return s->frontend.restart_at;
}
