/*
 * The shared memory between one life of a worker and all loops: made here, announced to the loops, taken back
 * when the worker is dead. Loop 0.
 */
#include <stdlib.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/interfaces.h"

/* Requests of one tick (50 ms), divided: what a process computes in two milliseconds. */
#define SPEED_SHARE 25
#define SPEED_MORE 256
/* Credit of a model whose requests have no cost: enough to keep the rings busy between two wake-ups. */
#define PLAIN_CREDIT 512
#define LINES_MAX 20000 /* of one tick: a worker's count of its batches is its own word */

static void attachment_free(struct sc_attachment *att)
{
    att->version->attachments--;
    for (unsigned i = 0; i < att->nloops; i++)
        if (att->chans[i])
            sc_chan_del(att->chans[i]);
    if (att->board)
        sc_board_del(att->board);
    free(att->running);
    free(att);
}

void sc_worker_del(struct sc_worker *w)
{
    if (w->att && (!w->loaded || w->standby)) /* else the loops let go of it, and the last one frees it */
        attachment_free(w->att);
    sc_worker_close_output(w);
    free(w);
}

static bool has_attachment(void *att, struct sc_worker *w)
{
    return w->att == att;
}

static struct sc_worker *worker_of(struct sc_attachment *att)
{
    return sc_workers_each(att->version->engine, has_attachment, att);
}

void sc_attachment_kill(void *attachment, void *unused)
{
    struct sc_attachment *att = attachment;
    (void)unused;
    struct sc_worker *w = worker_of(att);
    if (w)
        sc_worker_order(w->version->engine, SC_CTL_SLOT_KILL, w->slot, w->life);
}

void sc_attachment_acked(void *attachment, void *link)
{
    struct sc_attachment *att = attachment;
    if (link) { /* a loop's link is drained */
        struct sc_worker *w = worker_of(att);
        if (w && w->draining && ++w->drained == att->nloops)
            sc_worker_stop(w, false);
        return;
    }
    if (++att->acks < att->nloops)
        return;
    struct sc_version *v = att->version;
    attachment_free(att);
    sc_registry_worker_gone(v);
}

void sc_attachment_credit(struct sc_attachment *att, long long lanes)
{
    if (att->lane_credit == 0)
        return;
    atomic_fetch_add(&att->credit, lanes * att->lane_credit);
    atomic_fetch_add(&att->long_credit, lanes * 2);
    if (lanes > 0)
        sc_attachment_kick(att, 0);
}

void sc_attachment_kick(struct sc_attachment *att, unsigned except)
{
    unsigned loops = atomic_exchange(&att->waiting, 0) & ~except;
    for (unsigned i = 0; loops; i++, loops >>= 1)
        if (loops & 1)
            sc_shard_kick(att->version->shards[i]);
}

void sc_attachment_kick_first(struct sc_attachment *att, unsigned except)
{
    if (att->version->sequences) { /* what waits for its turn is not in first_ns */
        sc_attachment_kick(att, except);
        return;
    }
    unsigned loops = atomic_load(&att->waiting) & ~except;
    struct sc_shard *first = NULL;
    long long first_ns = 0;
    for (unsigned i = 0; loops; i++, loops >>= 1) {
        struct sc_shard *s = att->version->shards[i];
        long long ns = loops & 1 ? atomic_load_explicit(&s->first_ns, memory_order_relaxed) : 0;
        if ((loops & 1) && (!first || ns < first_ns) && !sc_shard_is_late(s)) {
            first = s;
            first_ns = ns;
        }
    }
    if (first)
        sc_shard_kick(first);
}

/* Two batches per lane: one computing, one ready. */
void sc_attachment_grant(struct sc_worker *w, struct sc_span text)
{
    struct sc_attachment *att = w->att;
    if (!sc_spec_is_native(&w->version->spec)) {
        const struct sc_model_spec *spec = &w->version->spec;
        /* Nothing ahead where clients have a time limit: what a worker has is computed. */
        long long batch = SC_MAX(spec->batch_size, 1), depth = spec->client_timeout ? batch : 2 * batch;
        if (spec->async_communication) {
            atomic_store(&att->credit, SC_ASYNC_REQUESTS_MAX);
            return;
        }
        if (spec->continuous_batching) {
            /* As many as it has places for: what waits in its ring could not go where one is free. A sequence
             * may send a second request while its first streams. */
            atomic_store(&att->credit, w->version->sequences ? 2 * batch : batch);
            return;
        }
        atomic_store(&att->depth, depth);
        atomic_store(&att->credit, depth);
        return;
    }
    json_t *j = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    json_int_t cost = json_integer_value(json_object_get(j, "maxBatchCost"));
    json_int_t bytes = json_integer_value(json_object_get(j, "bytesPerCost"));
    att->bytes_per_cost = bytes > 0 && bytes < INT32_MAX ? (uint32_t)bytes : 0;
    const char *interfaces = json_string_value(json_object_get(j, "interfaces"));
    atomic_store(&w->version->interfaces, SC_INTERFACES_KNOWN | sc_interfaces_read(sc_span_str(interfaces)));
    bool plain = !att->bytes_per_cost || cost <= 0 || cost > INT32_MAX;
    if (plain)
        att->bytes_per_cost = 0;
    att->lane_credit = plain ? 0 : 2 * (long long)cost;
    atomic_store(&att->credit, plain ? PLAIN_CREDIT : (long long)w->lanes * att->lane_credit);
    /* So many long ones keep every lane busy, and the rest of the credit is for the others. */
    att->long_cost = plain ? 0 : SC_MAX((uint64_t)cost / 2, 1u);
    atomic_store(&att->long_credit, 2 * (long long)w->lanes + 2);
    json_decref(j);
}

static void link_up(void *attachment, void *plane)
{
    sc_link_up(plane, attachment);
}

void sc_attachment_use(struct sc_attachment *att)
{
    struct sc_engine *e = att->version->engine;
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(sc_engine_loop(e, i), link_up, att, &e->planes[i]);
}

static void worker_gone(void *attachment, void *plane)
{
    sc_replay_worker_gone(plane, attachment);
}

int sc_attachment_open(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    struct sc_engine *e = v->engine;
    struct sc_attachment *att = sc_alloc(sizeof *att);
    int fds[SC_CTL_FDS];
    unsigned n = SC_BOARD_FDS;
    att->version = v;
    v->attachments++;
    att->quarantine = w->quarantine;
    att->worker_id = w->first_id;
    att->nloops = e->nloops;
    bool grows = sc_spec_has_lanes(&v->spec) && !w->quarantine;
    if (sc_version_open(v) < 0 || sc_board_new(&att->board, grows ? SC_LANES_MAX : w->lanes, e->epoch) < 0)
        goto fail;
    sc_board_use(att->board, SC_MAX(w->lanes, w->lanes_wanted));
    sc_board_fds(att->board, fds);
    for (unsigned i = 0; i < e->nloops; i++, n += SC_CHAN_FDS) {
        struct sc_shard *s = v->shards[i];
        struct sc_chan_spec spec = {
            .board = att->board,
            .request_fd = s->arena_fd,
            .request_bytes = s->arena.size,
            .response_bytes = SC_ARENA_BYTES,
            .max_response = e->spec.settings->max_response_size,
            .epoch = e->epoch,
        };
        if (sc_chan_new(&att->chans[i], &spec) < 0)
            goto fail;
        sc_chan_fds(att->chans[i], fds + n);
    }
    struct sc_ctl_attach a = {.slot = w->slot, .channels = e->nloops, .life = w->life, .epoch = e->epoch};
    sc_line_send(e, SC_CTL_ATTACH, sc_span(&a, sizeof a), sc_span(NULL, 0), fds, n);
    w->att = att;
    return 0;
fail:
    sc_log(SC_LOG_ERROR, "model %s: no shared memory for a worker (limits on memory or descriptors?)",
           v->spec.name);
    attachment_free(att);
    return SC_ESYS;
}

/*
 * A process that is fast gets more than two batches ahead: a few milliseconds' worth, so that it need not
 * wait for the frontend after each; one that is slow no more, so that what another could take does not wait
 * behind it.
 */
static void follow_speed(struct sc_attachment *att, uint64_t requests)
{
    long long depth = atomic_load(&att->depth);
    if (depth == 0 || att->version->spec.client_timeout)
        return;
    long long least = 2 * SC_MAX(att->version->spec.batch_size, 1);
    long long fresh = SC_MIN(SC_MAX((long long)requests / SPEED_SHARE, least), least + SPEED_MORE);
    /* Up at once, down slowly: an idle moment says nothing. */
    if (fresh < depth)
        fresh = depth - (depth - fresh + 7) / 8;
    atomic_store(&att->depth, fresh);
    atomic_fetch_add(&att->credit, fresh - depth);
}

void sc_attachment_count(struct sc_attachment *att)
{
    struct sc_board_work now_at, *was = &att->work;
    struct sc_metrics_model *h = att->version->metrics;
    sc_board_work(att->board, &now_at);
    /* A worker's count is only ever seen to grow: it is not trusted to do anything else. */
    uint64_t batches = now_at.batches, requests = now_at.requests;
    if (batches < was->batches || requests < was->requests || now_at.cost < was->cost)
        return;
    /* No thread of the server's is bound to a worker: beside the backend's own time a batch takes none. */
    int64_t now = sc_clock_ns();
    for (uint64_t i = was->batches; i < batches && i < was->batches + LINES_MAX; i++)
        sc_metrics_worker_thread_time(att->version->engine->spec.metrics, 0, now, 0);
    follow_speed(att, requests - was->requests);
    sc_metrics_add(h, 0, SC_MM_BATCHED, (int64_t)(requests - was->requests));
    sc_metrics_add(h, 0, SC_MM_TOKENS, (int64_t)(now_at.cost - was->cost));
    for (unsigned i = 0; i < SC_BATCH_BUCKETS; i++) {
        sc_metrics_batches(h, SC_MS_REQUESTS, i, now_at.sizes[i] - SC_MIN(now_at.sizes[i], was->sizes[i]));
        sc_metrics_batches(h, SC_MS_TOKENS, i, now_at.costs[i] - SC_MIN(now_at.costs[i], was->costs[i]));
    }
    *was = now_at;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool sc_attachment_was_running(const struct sc_attachment *att, uint64_t id)
{
    return att->nrunning && bsearch(&id, att->running, att->nrunning, sizeof id, compare_ids) != NULL;
}

bool sc_running_credible(const struct sc_running *page, int64_t now_ns)
{
    return page->n > 0 && page->since_ns > 0 && page->since_ns <= now_ns;
}

void sc_attachment_let_go(struct sc_worker *w)
{
    struct sc_attachment *att = w->att;
    struct sc_engine *e = w->version->engine;
    if (!att)
        return;
    w->att = NULL;
    sc_attachment_count(att);
    if (!w->loaded || w->standby) { /* no loop knows it */
        attachment_free(att);
        return;
    }
    if (att->version->sequences)
        sc_sequences_gone(att->version->sequences, &att->home, sc_clock_ns());
    /* The dead worker's pages: exact now. */
    struct sc_running *page = sc_alloc(sizeof *page);
    for (uint32_t lane = 0; lane < sc_board_lanes(att->board); lane++) {
        sc_board_running(att->board, lane, page);
        if (!page->since_ns)
            continue;
        if (!sc_running_credible(page, sc_clock_ns())) {
            atomic_store(&att->distrusted, true);
            continue;
        }
        att->running = sc_realloc_array(att->running, att->nrunning + page->n, sizeof *att->running);
        memcpy(att->running + att->nrunning, page->ids, page->n * sizeof *page->ids);
        att->nrunning += page->n;
    }
    free(page);
    if (att->nrunning)
        qsort(att->running, att->nrunning, sizeof *att->running, compare_ids);
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(sc_engine_loop(e, i), worker_gone, att, &e->planes[i]);
}
