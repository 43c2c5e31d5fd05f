#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

/* ---- what the frontend is told --------------------------------------------------------- */

/* `output`: with the reading ends of its pipes, which every frontend gets once. */
static void announce(struct sc_super *s, const struct sc_slot *slot, bool output)
{
    char bytes[sizeof(struct sc_ctl_slot) + SC_CTL_TAG_MAX];
    struct sc_ctl_slot c = {.slot = slot->number,
                            .state = slot->state,
                            .life = slot->life,
                            .pid = (int32_t)slot->pid,
                            .wait_status = slot->wait_status,
                            .delay_ms = slot->delay_ms,
                            .attached = slot->attached,
                            .tag_len = (uint32_t)slot->tag.n};
    memcpy(bytes, &c, sizeof c);
    if (slot->tag.n)
        memcpy(bytes + sizeof c, slot->tag.p, slot->tag.n);
    int fds[SC_OUTPUT_FDS] = {slot->output[0][0], slot->output[1][0]};
    sc_frontend_tell(s, SC_CTL_SLOT_STATE, sc_span(bytes, sizeof c + slot->tag.n),
                     sc_span(slot->text, slot->text_len), fds, output && slot->captures ? SC_OUTPUT_FDS : 0);
}

struct sc_span sc_slot_name(const struct sc_slot *slot)
{
    size_t end = sc_span_find(slot->tag, '\t');
    struct sc_span rest = sc_span_sub(slot->tag, SC_MIN(end + 1, slot->tag.n), slot->tag.n);
    return end < slot->tag.n ? sc_span_sub(slot->tag, 0, end + 1 + sc_span_find(rest, '\t')) : slot->tag;
}

static void set_state(struct sc_super *s, struct sc_slot *slot, enum sc_slot_state state)
{
    slot->state = state;
    announce(s, slot, state == SC_SLOT_STARTING && slot->life == 1);
}

void sc_slots_introduce(struct sc_super *s)
{
    for (uint32_t i = 0; i < s->slots_top; i++) {
        if (s->slots[i]) {
            s->slots[i]->attached = false;
            announce(s, s->slots[i], true);
        }
    }
}

void sc_slots_tell_all(struct sc_super *s, uint16_t type)
{
    for (uint32_t i = 0; i < s->slots_top; i++)
        if (s->slots[i] && s->slots[i]->ranks[0].peer.fd >= 0 &&
            sc_peer_send(s, &s->slots[i]->ranks[0].peer, type, sc_span(NULL, 0), sc_span(NULL, 0), NULL, 0) ==
                SC_ELIMIT)
            sc_super_log(s, SC_LOG_WARN, "Slot %u does not read its control messages.", i);
}

/* ---- one slot -------------------------------------------------------------------------- */

static void set_text(struct sc_slot *slot, struct sc_span text)
{
    slot->text_len = SC_MIN(text.n, SC_STATUS_TEXT);
    if (slot->text_len)
        memcpy(slot->text, text.p, slot->text_len);
}

static pid_t spawn_worker(struct sc_super *s, struct sc_slot *slot)
{
    if (getrandom(slot->token, sizeof slot->token, GRND_NONBLOCK) != (ssize_t)sizeof slot->token)
        return SC_ESYS;
    char address[sizeof SC_ENV_SOCKET + sizeof s->address + 1];
    char token[sizeof SC_ENV_TOKEN + 2 * sizeof slot->token + 1];
    snprintf(address, sizeof address, "%s=%s", SC_ENV_SOCKET, s->address);
    int n = snprintf(token, sizeof token, "%s=", SC_ENV_TOKEN);
    for (size_t i = 0; i < sizeof slot->token; i++)
        n += snprintf(token + n, sizeof token - (size_t)n, "%02x", slot->token[i]);
    const char *const ours[] = {address, token, SC_ENV_RANK "=0", NULL};
    if (slot->guest)
        return sc_guests_move_in(s, slot, ours);

    char **env = sc_slot_environment(slot, ours);
    if (!env)
        return SC_ENOMEM;
    struct sc_child c = {.exe = slot->exe,
                         .argv = slot->argv,
                         .env = env,
                         .control_fd = -1,
                         .settings_fd = -1,
                         .output = {slot->output[0][1], slot->output[1][1]},
                         .dir = slot->dir};
    pid_t pid = sc_super_spawn(s, &c);
    free(env);
    return pid;
}

static void remove_slot(struct sc_super *s, struct sc_slot *slot)
{
    slot->delay_ms = -1;
    set_state(s, slot, SC_SLOT_GONE);
    s->slots[slot->number] = NULL;
    while (s->slots_top > 0 && !s->slots[s->slots_top - 1])
        s->slots_top--;
    sc_slot_free(s, slot);
}

/* A life is over, or could not begin. */
static void life_ended(struct sc_super *s, struct sc_slot *slot, int wait_status, int64_t now)
{
    if (slot->ranks[0].loaded && slot->state != SC_SLOT_FAILED)
        slot->text_len = 0; /* facts about what is gone */
    if (slot->launcher && slot->pid && !slot->text_len) {
        char why[256];
        sc_ranks_explain(slot, why, sizeof why);
        set_text(slot, sc_span_str(why));
    }
    sc_ranks_over(s, slot);
    sc_guests_move_out(s, slot);
    slot->pid = 0;
    slot->attached = false;
    slot->connect_by = slot->kill_at = slot->answer_by = SC_NEVER;
    slot->signal = 0;
    slot->off_gpu = false;
    slot->wait_status = wait_status;
    if (slot->keeps)
        sc_slot_keeper_gone(s, slot);
    if (slot->stopping || s->phase == SC_STOPPING) {
        remove_slot(s, slot);
        return;
    }
    bool exited = WIFEXITED(wait_status);
    if (slot->once || (!slot->stubborn && exited && WEXITSTATUS(wait_status) == SC_EXIT_FATAL))
        slot->delay_ms = -1;
    else
        slot->delay_ms = sc_backoff_failed(&slot->backoff, now);
    if (slot->delay_ms < 0)
        slot->delay_ms = -1;
    else
        slot->restart_at = now + slot->delay_ms;
    sc_super_log(s, SC_LOG_WARN, "Worker %.*s (slot %u, life %llu) ended with %s %d; %s.",
                 SC_FMT(sc_slot_name(slot)), slot->number, (unsigned long long)slot->life,
                 exited ? "code" : "signal", exited ? WEXITSTATUS(wait_status) : WTERMSIG(wait_status),
                 slot->delay_ms < 0 ? "it is not started again" : "it is started again");
    set_state(s, slot, SC_SLOT_EXITED);
}

static void life_begins(struct sc_super *s, struct sc_slot *slot, int64_t now)
{
    slot->restart_at = SC_NEVER;
    slot->waits = slot->guest && sc_guests_wait(s, slot);
    if (slot->waits)
        return;
    slot->left = false;
    slot->life++;
    slot->text_len = 0;
    slot->statuses = 0;
    slot->wait_status = 0;
    slot->delay_ms = 0;
    sc_kept_new_life(s, slot->number);
    pid_t pid = spawn_worker(s, slot);
    if (pid < 0) {
        char why[256];
        int n = snprintf(why, sizeof why, "cannot start a process: %s",
                         pid == SC_ENOMEM ? sc_strerror(pid) : strerror(errno));
        set_text(slot, sc_span(why, (size_t)SC_MIN(n, (int)sizeof why - 1)));
        life_ended(s, slot, W_EXITCODE(SC_EXIT_NOEXEC, 0), now);
        return;
    }
    slot->pid = pid;
    slot->connect_by = now + (slot->launcher ? s->launch_back_ms : s->connect_back_ms);
    set_state(s, slot, SC_SLOT_STARTING);
}

static void kill_life(struct sc_super *s, struct sc_slot *slot)
{
    slot->connect_by = slot->kill_at = SC_NEVER;
    if (!slot->pid)
        return;
    if (slot->first_ended == SC_RANK_NONE)
        slot->first_ended = SC_RANK_KILLED;
    sc_slot_signal(s, slot, SIGKILL);
}

/* ---- orders ---------------------------------------------------------------------------- */

/* The slot that an order is about; NULL if there is none, which a race between order and death explains. */
static struct sc_slot *find_slot(struct sc_super *s, uint32_t number, const char *order)
{
    struct sc_slot *slot = number < SC_SLOTS_MAX ? s->slots[number] : NULL;
    if (!slot)
        sc_super_log(s, SC_LOG_DEBUG, "%s for slot %u, which is not occupied.", order, number);
    return slot;
}

int sc_slots_start(struct sc_super *s, struct sc_span payload)
{
    struct sc_ctl_start start;
    struct sc_span tag, argv, env;
    const char *dir;
    int rc = sc_ctl_read_start(payload, &start, &tag, &argv, &env, &dir);
    if (rc < 0)
        return rc;
    if (s->phase == SC_STOPPING)
        return SC_OK;
    if (start.flags & SC_START_CHANGE) {
        struct sc_slot *there = find_slot(s, start.slot, "SLOT_START with SC_START_CHANGE");
        return there ? sc_slot_change(there, payload) : SC_OK;
    }
    if (s->slots[start.slot]) {
        sc_super_log(s, SC_LOG_ERROR, "SLOT_START for slot %u, which is occupied.", start.slot);
        return SC_OK;
    }
    struct sc_slot *slot = sc_slot_new(s, payload);
    if (!slot)
        return SC_ENOMEM;
    s->slots[start.slot] = slot;
    s->slots_top = SC_MAX(s->slots_top, start.slot + 1);
    life_begins(s, slot, sc_clock_ms());
    return SC_OK;
}

static void stop_slot(struct sc_super *s, struct sc_slot *slot, int signal, int64_t kill_at)
{
    slot->stopping = true;
    if (!slot->pid) {
        remove_slot(s, slot);
        return;
    }
    slot->connect_by = SC_NEVER;
    /* A guest that is loading hears of it afterwards: to kill it is to kill all of its process. */
    bool patient = slot->house && slot->state != SC_SLOT_LOADED && s->phase != SC_STOPPING;
    slot->kill_at = signal == SIGKILL || patient ? SC_NEVER : SC_MIN(slot->kill_at, kill_at);
    sc_slot_signal(s, slot, signal);
}

int sc_slots_stop(struct sc_super *s, struct sc_span payload)
{
    struct sc_ctl_slot order;
    int rc = sc_ctl_read_fixed(payload, &order, sizeof order);
    if (rc < 0)
        return rc;
    struct sc_slot *slot = find_slot(s, order.slot, "SLOT_STOP");
    if (slot && !slot->stopping)
        stop_slot(s, slot, SIGTERM, sc_clock_ms() + s->stop_grace_ms);
    return SC_OK;
}

int sc_slots_kill(struct sc_super *s, struct sc_span payload)
{
    struct sc_ctl_slot order;
    int rc = sc_ctl_read_fixed(payload, &order, sizeof order);
    if (rc < 0)
        return rc;
    struct sc_slot *slot = find_slot(s, order.slot, "SLOT_KILL");
    if (slot && slot->life == order.life)
        kill_life(s, slot);
    return SC_OK;
}

int sc_slots_attach(struct sc_super *s, const struct sc_ctl_message *m)
{
    struct sc_ctl_attach order;
    int rc = sc_ctl_read_fixed(m->payload, &order, sizeof order);
    if (rc < 0)
        return rc;
    if (order.epoch != s->frontend.epoch)
        return SC_EPROTO;
    struct sc_slot *slot = find_slot(s, order.slot, "ATTACH");
    if (!slot || slot->life != order.life || slot->ranks[0].peer.fd < 0)
        return SC_OK;
    rc = sc_peer_send(s, &slot->ranks[0].peer, SC_CTL_ATTACH, m->payload, sc_span(NULL, 0), m->fds, m->nfds);
    if (rc < 0 && rc != SC_ECLOSED) {
        sc_super_log(s, SC_LOG_ERROR, "Worker %.*s (slot %u) is killed: it does not take its channels: %s.",
                     SC_FMT(sc_slot_name(slot)), slot->number, sc_strerror(rc));
        kill_life(s, slot);
    }
    slot->attached = rc == SC_OK;
    return SC_OK;
}

int sc_slots_lanes(struct sc_super *s, struct sc_span payload)
{
    struct sc_ctl_lanes order;
    int rc = sc_ctl_read_fixed(payload, &order, sizeof order);
    if (rc < 0)
        return rc;
    struct sc_slot *slot = find_slot(s, order.slot, "LANES");
    if (!slot || slot->life != order.life || slot->state != SC_SLOT_LOADED)
        return SC_OK;
    rc = sc_peer_send(s, &slot->ranks[0].peer, SC_CTL_LANES, payload, sc_span(NULL, 0), NULL, 0);
    if (rc < 0 && rc != SC_ECLOSED)
        sc_super_log(s, SC_LOG_WARN, "Slot %u does not read its control messages.", order.slot);
    slot->statuses -= rc == SC_OK && slot->statuses > 0; /* the answer is one */
    return SC_OK;
}

/* ---- what workers do ------------------------------------------------------------------- */

struct sc_slot *sc_slots_by_token(struct sc_super *s, const uint8_t token[16])
{
    for (uint32_t i = 0; i < s->slots_top; i++) {
        struct sc_slot *slot = s->slots[i];
        if (slot && slot->pid && slot->nconnected < slot->nranks && memcmp(slot->token, token, 16) == 0)
            return slot;
    }
    return NULL;
}

void sc_slots_connected(struct sc_super *s, struct sc_slot *slot, int fd, const struct sc_ctl_hello *hello)
{
    if (sc_ranks_connect(s, slot, hello->rank, fd) < 0) {
        kill_life(s, slot);
        return;
    }
    if (slot->nconnected < slot->nranks)
        return;
    slot->connect_by = SC_NEVER;
    if (slot->nranks > 1 && sc_ranks_introduce(s, slot) < 0) {
        sc_super_log(s, SC_LOG_ERROR, "Worker %.*s (slot %u) is killed: its ranks cannot be connected: %s.",
                     SC_FMT(sc_slot_name(slot)), slot->number, strerror(errno));
        kill_life(s, slot);
    } else if (slot->state == SC_SLOT_STARTING) {
        set_state(s, slot, SC_SLOT_CONNECTED);
        if (slot->house && slot->stopping)
            sc_guests_end(s, slot);
    }
}

/* All must have loaded; the first that has not is the reason. */
static void take_loaded(struct sc_super *s, struct sc_slot *slot, uint32_t rank, struct sc_span text)
{
    struct sc_rank *r = &slot->ranks[rank];
    slot->nloaded += !r->loaded;
    r->loaded = true;
    if (slot->nranks > 1 && slot->state == SC_SLOT_FAILED)
        return;
    if (rank == 0)
        set_text(slot, text);
    if (slot->nloaded < slot->nranks || slot->nconnected < slot->nranks)
        return;
    if (slot->state != SC_SLOT_LOADED)
        sc_backoff_loaded(&slot->backoff, sc_clock_ms());
    sc_kept_loaded(s, slot->number);
    if (slot->house && slot->stopping)
        slot->kill_at = SC_MIN(slot->kill_at, sc_clock_ms() + s->stop_grace_ms);
    set_state(s, slot, SC_SLOT_LOADED);
}

static void take_failed(struct sc_super *s, struct sc_slot *slot, struct sc_span text)
{
    if (slot->nranks > 1 && slot->state == SC_SLOT_FAILED)
        return;
    set_text(slot, text);
    set_state(s, slot, SC_SLOT_FAILED);
}

/* What remains of the life is the connection's end. */
static int take_left(struct sc_slot *slot, struct sc_span payload)
{
    struct sc_ctl_left what;
    int rc = sc_ctl_read_fixed(payload, &what, sizeof what);
    slot->left = rc == SC_OK;
    slot->wait_status = rc == SC_OK ? W_EXITCODE(what.code & 0xFF, 0) : 0;
    return rc;
}

static int take_message(struct sc_super *s, struct sc_slot *slot, uint32_t rank, struct sc_ctl_message *m)
{
    struct sc_ctl_status status;
    struct sc_span text;
    if (m->type == SC_CTL_CLIENT_ENDED && slot->keeps && !m->nfds)
        return sc_slot_client_ended(s, slot, m->payload);
    if (m->type == SC_CTL_KEEP || m->type == SC_CTL_FETCH)
        return sc_kept_take(s, slot, rank, m);
    if (m->type == SC_CTL_LEFT && slot->house && !slot->left)
        return take_left(slot, m->payload);
    if (m->type != SC_CTL_STATUS || m->nfds || sc_ctl_read_status(m->payload, &status, &text) < 0)
        return SC_EPROTO;
    if (slot->statuses++ == SC_STATUS_MAX + slot->nranks - 1)
        return SC_EPROTO;
    if (status.state == SC_SLOT_LOADED)
        take_loaded(s, slot, rank, text);
    else
        take_failed(s, slot, text);
    return SC_OK;
}

/* Its end is that of all: what a launcher would start in its place is not what the others know. */
static void rank_ended(struct sc_super *s, struct sc_slot *slot, uint32_t rank)
{
    if (slot->left) {
        life_ended(s, slot, slot->wait_status, sc_clock_ms());
        return;
    }
    sc_guests_broken(slot);
    sc_ranks_ended(s, slot, rank);
    /* It is ending, or of no use any more; in the first case its exit code is worth waiting for. */
    int64_t grace = slot->launcher && !slot->stopping && s->phase != SC_STOPPING
                        ? SC_MIN(s->stop_grace_ms, SC_RANK_GRACE_MS)
                        : s->stop_grace_ms;
    slot->kill_at = SC_MIN(slot->kill_at, sc_clock_ms() + grace);
}

void sc_slots_event(struct sc_super *s, uint32_t index, uint32_t events)
{
    struct sc_slot *slot = s->slots[index & 0xFFFF];
    uint32_t rank = index >> 16;
    if (!slot || rank >= slot->nranks || slot->ranks[rank].peer.fd < 0)
        return;
    struct sc_peer *peer = &slot->ranks[rank].peer;
    int rc = events & EPOLLOUT ? sc_peer_flush(s, peer) : SC_OK;
    for (int i = 0; rc >= 0 && i < SC_PEER_TURN; i++) {
        rc = sc_ctl_receive(peer->fd, &s->message);
        if (rc <= 0)
            break;
        rc = take_message(s, slot, rank, &s->message);
        sc_ctl_close_fds(&s->message);
    }
    if (rc >= 0)
        return;
    if (rc != SC_ECLOSED) {
        sc_super_log(s, SC_LOG_ERROR, "Worker %.*s (slot %u) is killed: %s.", SC_FMT(sc_slot_name(slot)),
                     slot->number, sc_strerror(rc));
        kill_life(s, slot);
        sc_peer_close(s, peer);
        return;
    }
    rank_ended(s, slot, rank);
}

static struct sc_slot *slot_of(const struct sc_super *s, pid_t pid)
{
    for (uint32_t i = 0; i < s->slots_top; i++) {
        if (s->slots[i] && s->slots[i]->pid == pid)
            return s->slots[i];
    }
    return NULL;
}

bool sc_slots_owns(const struct sc_super *s, pid_t pid)
{
    return slot_of(s, pid) != NULL || sc_guests_owns(s, pid);
}

/* What the worker said before it died may still lie in its socket, which may not even be accepted yet. */
static void read_last_words(struct sc_super *s, struct sc_slot *slot)
{
    if (slot->nconnected < slot->nranks)
        sc_strangers_hear(s);
    for (uint32_t i = 0; i < slot->nranks; i++) {
        int rc = SC_OK, fd;
        while (rc == SC_OK && (fd = slot->ranks[i].peer.fd) >= 0 && sc_ctl_receive(fd, &s->message) > 0) {
            rc = take_message(s, slot, i, &s->message); /* an error after SC_STATUS_MAX of them */
            sc_ctl_close_fds(&s->message);
        }
    }
}

static void bury(struct sc_super *s, struct sc_slot *slot, int wait_status)
{
    read_last_words(s, slot);
    if (slot->state == SC_SLOT_STARTING && WIFEXITED(wait_status) &&
        WEXITSTATUS(wait_status) == SC_EXIT_NOEXEC) {
        char why[SC_STATUS_TEXT];
        int n = snprintf(why, sizeof why, "cannot run %s", slot->exe);
        set_text(slot, sc_span(why, (size_t)SC_MIN(n, (int)sizeof why - 1)));
    }
    life_ended(s, slot, slot->left ? slot->wait_status : wait_status, sc_clock_ms());
}

bool sc_slots_reaped(struct sc_super *s, pid_t pid, int wait_status)
{
    struct sc_slot *slot = slot_of(s, pid);
    bool ours = slot;
    for (; slot; slot = slot_of(s, pid))
        bury(s, slot, wait_status);
    return sc_guests_reaped(s, pid) || ours;
}

/* ---- time and the end ------------------------------------------------------------------ */

static void slot_tick(struct sc_super *s, struct sc_slot *slot, int64_t now)
{
    if (slot->connect_by <= now) {
        sc_super_log(s, SC_LOG_ERROR, "Worker %.*s (slot %u) is killed: it has not connected in %lld ms.",
                     SC_FMT(sc_slot_name(slot)), slot->number,
                     (long long)(slot->launcher ? s->launch_back_ms : s->connect_back_ms));
        kill_life(s, slot);
    }
    if (slot->kill_at <= now)
        kill_life(s, slot);
    sc_slot_signal_tick(s, slot, now);
    if (slot->restart_at <= now || (slot->waits && !sc_guests_wait(s, slot)))
        life_begins(s, slot, now);
}

/* When nobody is left who may have to be taken off a GPU. */
static void stop_keepers(struct sc_super *s, int64_t now)
{
    for (uint32_t i = 0; i < s->slots_top; i++)
        if (s->slots[i] && s->slots[i]->pid && !s->slots[i]->keeps)
            return;
    for (uint32_t i = s->slots_top; i-- > 0;)
        if (s->slots[i] && !s->slots[i]->stopping)
            stop_slot(s, s->slots[i], SIGTERM, now + s->stop_grace_ms);
}

int64_t sc_slots_tick(struct sc_super *s, int64_t now)
{
    int64_t next = sc_guests_tick(s, now);
    if (s->phase == SC_STOPPING)
        stop_keepers(s, now);
    for (uint32_t i = 0; i < s->slots_top; i++) {
        struct sc_slot *slot = s->slots[i];
        if (!slot)
            continue;
        slot_tick(s, slot, now);
        next = SC_MIN(
            next, SC_MIN(SC_MIN(slot->answer_by, slot->connect_by), SC_MIN(slot->kill_at, slot->restart_at)));
    }
    return next;
}

void sc_slots_stop_all(struct sc_super *s, int signal, int64_t kill_at)
{
    for (uint32_t i = s->slots_top; i-- > 0;) {
        if (s->slots[i] && !s->slots[i]->keeps)
            stop_slot(s, s->slots[i], signal, kill_at);
    }
}

unsigned sc_slots_alive(const struct sc_super *s)
{
    unsigned n = sc_guests_houses(s);
    for (uint32_t i = 0; i < s->slots_top; i++)
        n += s->slots[i] && s->slots[i]->pid && !s->slots[i]->house;
    return n;
}

void sc_slots_free(struct sc_super *s)
{
    for (uint32_t i = 0; i < s->slots_top; i++) {
        if (s->slots[i])
            sc_slot_free(s, s->slots[i]);
    }
    s->slots_top = 0;
    sc_guests_free(s);
}
