/*
 * The queue of one model version on one loop, and the way of its requests to the workers.
 *
 * A request waits here until a worker has credit (docs/design.md §3.3): what has been sent
 * but not begun is bounded by it, so queue bounds and deadlines stay true, and a worker that dies has
 * little to give back. Credit is one counter per worker for all loops; a loop that finds none leaves
 * its bit in `waiting` and is posted to by the loop that gives credit back.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"

/* A worker is woken before the loop sleeps, once for many requests; sooner when there are so many that it
 * takes long. */
#define WAKE_BY_NS 1000000

/* In `waiting`. */
static unsigned bit_of(const struct sc_shard *s)
{
    return 1u << s->plane->loop->index;
}

/* What there is; if there is none, this loop is told when there is. */
static long long look_at(struct sc_link *k, atomic_llong *credit)
{
    long long left = atomic_load(credit);
    if (left > 0)
        return left;
    atomic_fetch_or(&k->att->waiting, bit_of(k->shard));
    return atomic_load(credit); /* given back between the look and the bit? */
}

bool sc_link_has_credit(struct sc_link *k)
{
    return look_at(k, &k->att->credit) > 0;
}

static uint64_t cost_of(const struct sc_job *j, const struct sc_attachment *att)
{
    return att->bytes_per_cost ? 2 + j->body_len / att->bytes_per_cost : 1;
}

/* The workers of a version are alike. */
static bool is_long(const struct sc_shard *s, const struct sc_job *j)
{
    const struct sc_attachment *att = s->nlinks ? s->links[0]->att : NULL;
    return att && att->long_cost && cost_of(j, att) >= att->long_cost;
}

/* The worker with most credit for a long request, or NULL. */
static struct sc_link *choose_long(struct sc_shard *s)
{
    struct sc_link *best = NULL;
    long long most = 0;
    for (unsigned i = 0; i < s->nlinks; i++) {
        struct sc_link *k = s->links[i];
        long long credit = k->draining || k->broken ? 0 : look_at(k, &k->att->long_credit);
        if (credit > most) {
            most = credit;
            best = k;
        }
    }
    return best;
}

/*
 * A worker with credit, or NULL with our bit left in `waiting` of those without. The idlest, unless batches
 * are to be filled: then the one whose batch has begun.
 */
static struct sc_link *choose_link(struct sc_shard *s)
{
    struct sc_link *best = NULL;
    long long most = 0, batch = s->version->spec.fill ? SC_MAX(s->version->spec.batch_size, 1) : 1;
    for (unsigned i = 0; i < s->nlinks; i++) {
        struct sc_link *k = s->links[i];
        if (k->draining || k->broken)
            continue;
        if (!sc_link_has_credit(k))
            continue;
        long long credit = atomic_load(&k->att->credit);
        long long depth = atomic_load_explicit(&k->att->depth, memory_order_relaxed);
        long long rank = credit > 0 && (depth - credit) % batch ? LLONG_MAX - credit : credit;
        if (credit > 0 && rank > most) {
            most = rank;
            best = k;
        }
    }
    return best;
}

static void mark_dirty(struct sc_link *k, int64_t now)
{
    if (!k->dirty) {
        k->dirty = true;
        k->dirty_ns = now;
    } else if (now - k->dirty_ns > WAKE_BY_NS) {
        sc_link_flush(k);
    }
}

int sc_link_send(struct sc_link *k, struct sc_job *j, unsigned flags)
{
    struct sc_submission sub = {
        .id = j->id,
        .off = j->off,
        .meta_len = j->meta_len,
        .flags = flags,
        .body_len = j->body_len,
        .body_fd = j->fd,
        .arrival_ns = j->arrival_ns,
        .cost = j->cost,
    };
    int rc = sc_chan_submit(k->chan, &sub);
    if (rc < 0)
        return rc;
    sc_job_leave(j);
    j->link = k;
    j->sent_ns = sc_clock_ns();
    if (k->nsent == 0)
        k->heard_ns = j->sent_ns;
    sc_job_enter(j, SC_JOB_SENT);
    sc_list_push_back(&k->sent, &j->node);
    mark_dirty(k, j->sent_ns);
    return 0;
}

void sc_link_cancel(struct sc_link *k, struct sc_job *j)
{
    /* An executor is done with it before it could be told. */
    if (k->broken || sc_spec_is_native(&k->att->version->spec))
        return;
    int rc = sc_chan_cancel(k->chan, j->id);
    j->untold = rc == SC_AGAIN;
    k->untold |= j->untold;
    if (rc == 0)
        mark_dirty(k, sc_clock_ns());
    else if (rc != SC_AGAIN)
        sc_link_break(k, sc_strerror(rc));
}

void sc_link_flush(struct sc_link *k)
{
    if (!k->dirty)
        return;
    k->dirty = false;
    sc_chan_flush(k->chan);
}

static atomic_llong *credit_of(const struct sc_job *j, struct sc_attachment *att)
{
    return j->is_long ? &att->long_credit : &att->credit;
}

static long long credit_taken(const struct sc_job *j)
{
    return j->is_long ? 1 : (long long)j->cost;
}

/* What the worker is told of it. */
static unsigned flags_of(const struct sc_job *j)
{
    static const unsigned of[SC_PRIORITIES] = {
        [SC_PRIORITY_HIGH] = SC_SUBMIT_HIGH, [SC_PRIORITY_LOW] = SC_SUBMIT_LOW};
    return of[j->priority] | (j->alone ? SC_SUBMIT_ALONE : 0);
}

bool sc_link_offer(struct sc_link *k, struct sc_job *j)
{
    j->cost = cost_of(j, k->att);
    j->is_long = k->att->long_cost && j->cost >= k->att->long_cost;
    atomic_fetch_sub(credit_of(j, k->att), credit_taken(j));
    int rc = sc_link_send(k, j, flags_of(j));
    if (rc == 0)
        return true;
    atomic_fetch_add(credit_of(j, k->att), credit_taken(j));
    if (rc != SC_AGAIN)
        sc_link_break(k, sc_strerror(rc));
    return false;
}

/* As old as its priority makes it. */
static int64_t came(const struct sc_job *j)
{
    return j->arrival_ns + ((int64_t)j->priority - SC_PRIORITY_NORMAL) * SC_PRIORITY_NS;
}

struct sc_job *sc_shard_first(struct sc_shard *s)
{
    struct sc_job *first = NULL;
    for (unsigned p = 0; p < SC_PRIORITIES; p++) {
        struct sc_job *j = SC_CONTAINER(s->queue[p].next, struct sc_job, node);
        if (!sc_list_empty(&s->queue[p]) && (!first || came(j) < came(first)))
            first = j;
    }
    return first;
}

/* ---- fair among loops ----------------------------------------------------------------------- */

/*
 * A loop that is given credit back has requests of its own at hand, and would keep a busy worker to itself:
 * requests of one loop would wait several times as long as those of another. So the loop whose first request
 * has waited clearly longer goes first, and this one goes on when that one has come as far.
 */

bool sc_shard_is_late(const struct sc_shard *s)
{
    long long since = atomic_load_explicit(&s->kicked_ns, memory_order_relaxed);
    return since && sc_clock_ns() - since > SC_LOOPS_WAIT_NS;
}

/* The loop that waits clearly longer than `first`, and since when; NULL: there is none, or it is late. */
static struct sc_shard *who_waits_longer(const struct sc_shard *s, const struct sc_job *first,
                                         long long *since)
{
    struct sc_version *v = s->version;
    struct sc_shard *oldest = NULL;
    long long mine = came(first), came_ns = mine;
    for (unsigned i = 0; i < v->engine->nloops; i++) {
        long long other = atomic_load_explicit(&v->shards[i]->first_ns, memory_order_relaxed);
        if (v->shards[i] != s && other < came_ns && !sc_shard_is_late(v->shards[i])) {
            came_ns = other;
            oldest = v->shards[i];
        }
    }
    long long waited = oldest ? sc_clock_ns() - mine : 0;
    *since = came_ns;
    return mine - came_ns > waited / 8 + SC_LOOPS_APART_NS ? oldest : NULL;
}

/*
 * True: another loop is asked to send, and this one waits until it is told of credit. Not for a loop that
 * was asked and has sent nothing since: after two dispatches (one may have been under way) it cannot.
 */
static bool make_way(struct sc_shard *s, const struct sc_job *first)
{
    long long since;
    struct sc_shard *other = who_waits_longer(s, first, &since);
    if (!other)
        return false;
    unsigned passes = atomic_load_explicit(&other->passes, memory_order_relaxed);
    if (s->way.to != other || s->way.since != since)
        s->way = (struct sc_way){.to = other, .since = since, .passes = passes};
    else if (passes - s->way.passes >= 2)
        return false;
    for (unsigned i = 0; i < s->nlinks; i++)
        atomic_fetch_or(&s->links[i]->att->waiting, bit_of(s));
    sc_shard_kick(other);
    return true;
}

/* What this loop leaves is for those that wait. They are those that found no credit or made way, so that none
 * is told twice of what it cannot use: this one need not be told. */
static void pass_on(struct sc_shard *s)
{
    bool turns = s->version->sequences != NULL; /* which wait elsewhere */
    for (unsigned i = 0; i < s->nlinks; i++) {
        struct sc_link *k = s->links[i];
        unsigned waiting = atomic_load(&k->att->waiting);
        if ((waiting & bit_of(s)) && !turns)
            atomic_fetch_and(&k->att->waiting, ~bit_of(s));
        if ((waiting & ~bit_of(s)) && !k->draining && !k->broken && atomic_load(&k->att->credit) > 0)
            sc_attachment_kick_first(k->att, bit_of(s));
    }
}

static void note_first(struct sc_shard *s)
{
    struct sc_job *first = sc_shard_first(s);
    long long now = first ? came(first) : SC_NOBODY_WAITS;
    if (atomic_load_explicit(&s->first_ns, memory_order_relaxed) != now)
        atomic_store_explicit(&s->first_ns, now, memory_order_relaxed);
    if (first)
        atomic_store_explicit(&s->passes, atomic_load_explicit(&s->passes, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

/* True: it waits for credit, or has made way. False: nothing is left, or what is left waits for room. */
static bool send_short(struct sc_shard *s)
{
    struct sc_job *j;
    bool late = s->version->spec.client_timeout > 0 || !sc_list_empty(&s->plane->timed);
    while ((j = sc_shard_first(s))) {
        if (late && sc_job_expire(j, sc_clock_ns()))
            continue;
        if (is_long(s, j)) { /* it waits aside */
            sc_list_remove(&j->node);
            sc_list_push_back(&s->longs, &j->node);
            continue;
        }
        struct sc_link *k = choose_link(s);
        if (!k || make_way(s, j))
            return true;
        if (!sc_link_offer(k, j))
            return false;
    }
    return false;
}

void sc_shard_dispatch(struct sc_shard *s)
{
    if (s->version->sequences)
        sc_turns_dispatch(s);
    bool waits = send_short(s);
    note_first(s);
    if (!waits)
        pass_on(s);
    while (!sc_list_empty(&s->longs)) {
        struct sc_link *k = choose_long(s);
        if (!k || !sc_link_offer(k, SC_CONTAINER(s->longs.next, struct sc_job, node)))
            return;
    }
}

void sc_shard_requeue(struct sc_job *j)
{
    struct sc_shard *s = j->shard;
    struct sc_node *list = j->in_sequence ? &s->turns : &s->queue[j->priority];
    if (j->in_sequence && !sc_turn_back(j, false))
        return;
    /* The queue is in order of arrival, and what comes back is older than most of it. */
    struct sc_node *at = list->next;
    while (at != list && SC_CONTAINER(at, struct sc_job, node)->arrival_ns <= j->arrival_ns)
        at = at->next;
    sc_job_enter(j, SC_JOB_QUEUED);
    sc_list_insert_before(at, &j->node);
    sc_shard_count(s, SC_MM_REPLAYS, 1);
}

void sc_shard_drained(struct sc_shard *s)
{
    /* Once: a shard that is closing takes no new job. */
    if (s->closing && s->jobs == 0)
        sc_engine_call(sc_engine_loop(s->plane->engine, 0), sc_registry_shard_closed, s->version, NULL);
}

void sc_shard_no_worker(struct sc_shard *s)
{
    char text[SC_MODEL_NAME_MAX + 256];
    struct sc_node *n;
    struct sc_job *j;
    snprintf(text, sizeof text, "Model \"%s\" has no worker to serve inference request. %s",
             s->version->spec.name,
             s->closing ? "It was unregistered while this request waited."
                        : "Please use scale workers API to add workers.");
    while ((j = sc_shard_first(s)))
        sc_job_fail(j, 503, "ServiceUnavailableException", text);
    while ((n = s->longs.next) != &s->longs || (n = s->turns.next) != &s->turns)
        sc_job_fail(SC_CONTAINER(n, struct sc_job, node), 503, "ServiceUnavailableException", text);
}

/* ---- credit ------------------------------------------------------------------------------- */

static void kicked(struct sc_task *t)
{
    struct sc_shard *s = SC_CONTAINER(t, struct sc_shard, kick);
    atomic_store(&s->kicked_ns, 0);
    sc_shard_dispatch(s);
}

void sc_shard_kick(struct sc_shard *s)
{
    long long none = 0;
    if (atomic_load(&s->kicked_ns) || !atomic_compare_exchange_strong(&s->kicked_ns, &none, sc_clock_ns()))
        return;
    s->kick.run = kicked;
    sc_loop_post(s->plane->loop, &s->kick);
}

static void give_credit(struct sc_link *k, atomic_llong *credit, long long taken)
{
    struct sc_attachment *att = k->att;
    atomic_fetch_add(credit, taken);
    if ((atomic_load(&att->waiting) & ~bit_of(k->shard)) == 0)
        return; /* this loop dispatches anyway */
    if (credit == &att->credit)
        sc_attachment_kick_first(att, bit_of(k->shard));
    else
        sc_attachment_kick(att, bit_of(k->shard));
}

/* ---- completions ---------------------------------------------------------------------------- */

void sc_link_break(struct sc_link *k, const char *why)
{
    if (k->broken)
        return;
    k->broken = true;
    atomic_store(&k->att->distrusted, true);
    sc_log(SC_LOG_ERROR, "worker of model %s broke the channel's rules and is killed: %s",
           k->att->version->spec.name, why);
    if (!atomic_exchange(&k->att->kill_asked, true))
        sc_engine_call(sc_engine_loop(k->plane->engine, 0), sc_attachment_kill, k->att, NULL);
}

static void complete(struct sc_link *k, const struct sc_completion *c)
{
    struct sc_plane *p = k->plane;
    struct sc_job *j = sc_job_find(p, c->id);
    if (!j || j->state != SC_JOB_SENT || j->link != k) {
        sc_chan_release(k->chan, c->token);
        sc_link_break(k, "it answered a request that it does not have");
        return;
    }
    k->heard_ns = sc_clock_ns();
    bool sane = c->taken_ns >= j->sent_ns && c->taken_ns <= k->heard_ns;
    int64_t taken_ns = sane ? c->taken_ns : j->sent_ns;
    struct sc_job_answer a = {
        .status = c->status < 200 ? 500 : (int)c->status,
        .meta = c->meta,
        .body = c->body,
        .queue_ns = taken_ns - j->arrival_ns,
        .worker_ns = k->heard_ns - taken_ns,
        .batch = c->batch,
        .worker = k->att->worker_id,
    };
    if (c->flags & SC_COMPLETE_MORE) {
        j->heard_ns = k->heard_ns;
        /* A sequence's turn is run again after quarantine: what counts is said then. */
        if (j->part && !(k->att->quarantine && j->in_sequence)) {
            if (j->in_sequence)
                sc_turn_streams(j, c->meta);
            j->streamed = true;
            j->part(j, j->arg, &a);
        }
        sc_chan_release(k->chan, c->token);
        return;
    }
    atomic_llong *credit = credit_of(j, k->att);
    long long taken = credit_taken(j);
    if (k->att->quarantine)
        atomic_store(&k->att->version->quarantine_owner, -1);
    if (k->att->quarantine && j->in_sequence && !j->gone) {
        sc_turn_survived(j);
        sc_chan_release(k->chan, c->token);
        return;
    }
    if (j->in_sequence)
        sc_turn_answered(j, c->meta);
    sc_metrics_time(j->shard->version->metrics, p->loop->index, SC_MT_QUEUE, a.queue_ns);
    sc_metrics_time(j->shard->version->metrics, p->loop->index, SC_MT_WORKER, a.worker_ns);
    sc_job_answer(j, &a);
    sc_chan_release(k->chan, c->token);
    if (!k->att->quarantine)
        give_credit(k, credit, taken);
}

void sc_link_poll(struct sc_link *k)
{
    struct sc_completion c;
    struct sc_msg msg = {""};
    int rc;
    if (k->broken)
        return;
    while ((rc = sc_chan_poll(k->chan, &c, &msg)) == 1) {
        complete(k, &c);
        if (k->broken)
            return;
    }
    if (rc < 0)
        sc_link_break(k, msg.text);
    if (k->draining && k->nsent == 0 && !k->drain_told) {
        k->drain_told = true; /* reported once */
        sc_engine_call(sc_engine_loop(k->plane->engine, 0), sc_attachment_acked, k->att, k);
    }
}

static void readable(uv_poll_t *h, int status, int events)
{
    struct sc_link *k = h->data;
    (void)status;
    (void)events;
    sc_chan_awake(k->chan);
    sc_link_poll(k);
    sc_shard_dispatch(k->shard);
    if (k->att->quarantine)
        sc_replay_suspects(k->shard);
}

void sc_link_up(struct sc_plane *p, struct sc_attachment *att)
{
    struct sc_shard *s = att->version->shards[p->loop->index];
    struct sc_link *k = sc_alloc(sizeof *k);
    k->att = att;
    k->shard = s;
    k->plane = p;
    k->chan = att->chans[p->loop->index];
    sc_list_init(&k->sent);
    sc_list_init(&k->ready);
    if (att->quarantine) {
        s->quarantine = k;
    } else {
        if (s->nlinks == s->links_cap) {
            s->links_cap = s->links_cap ? 2 * s->links_cap : 2;
            s->links = sc_realloc_array(s->links, s->links_cap, sizeof(struct sc_link *));
        }
        s->links[s->nlinks++] = k;
    }
    att->links[p->loop->index] = k;
    k->next = p->links;
    p->links = k;
    uv_poll_init(&p->loop->uv, &k->poll, sc_chan_wake_fd(k->chan));
    k->poll.data = k;
    uv_poll_start(&k->poll, UV_READABLE, readable);
    if (s->version->sequences && !att->quarantine && atomic_fetch_add(&att->linked, 1) + 1 == att->nloops)
        sc_sequences_up(s->version->sequences, &att->home, sc_clock_ns());
    sc_shard_dispatch(s);
    sc_replay_suspects(s);
}

static void link_closed(uv_handle_t *h)
{
    struct sc_link *k = h->data;
    struct sc_attachment *att = k->att;
    struct sc_loop *zero = sc_engine_loop(k->plane->engine, 0);
    free(k);
    sc_engine_call(zero, sc_attachment_acked, att, NULL);
}

void sc_link_detach(struct sc_link *k)
{
    struct sc_shard *s = k->shard;
    struct sc_link **at = &k->plane->links;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    if (s->quarantine == k)
        s->quarantine = NULL;
    for (unsigned i = 0; i < s->nlinks; i++)
        if (s->links[i] == k) {
            s->links[i] = s->links[--s->nlinks];
            break;
        }
    k->att->links[k->plane->loop->index] = NULL;
    uv_close((uv_handle_t *)&k->poll, link_closed);
}
