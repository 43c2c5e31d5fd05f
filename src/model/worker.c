/*
 * Worker processes of a version: slots, attachments, states. Loop 0.
 *
 * The supervisor keeps a process running per slot and says what becomes of it; this side makes the
 * shared memory of each life, attaches it, tells the loops when it may be used, and collects their
 * leave when it is dead. A native model has one executor whose lanes are the workers that
 * people count; a change of their number starts a second executor and drains the first.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "worker/executor.h"

/* Credit of a model whose requests have no cost: enough to keep the rings busy between two wake-ups. */
#define PLAIN_CREDIT 512
/* How long a quarantine worker without suspects is kept. */
#define QUARANTINE_IDLE_NS (10 * INT64_C(1000000000))

static struct sc_loop *loop_at(struct sc_engine *e, unsigned i)
{
    return sc_loops_at(e->spec.loops, i);
}

/* ---- starting ----------------------------------------------------------------------------- */

static void add_string(struct sc_buf *b, uint32_t *count, const char *fmt, ...) SC_PRINTF(3, 4);
static void add_string(struct sc_buf *b, uint32_t *count, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text) {
        b->failed = SC_ELIMIT;
        return;
    }
    sc_buf_add(b, text, (size_t)n + 1);
    (*count)++;
}

static void make_tag(const struct sc_worker *w, struct sc_buf *b)
{
    sc_buf_printf(b, "%s\t%s\t%s\t%u\t%u\t%lld", w->version->spec.name, w->version->spec.version,
                  w->quarantine ? "quarantine" : "lanes", w->lanes, w->first_id, (long long)w->made_ms);
}

static void send_start(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    struct sc_engine *e = v->engine;
    const struct sc_model_spec *s = &v->spec;
    struct sc_ctl_start start = {.slot = w->slot, .retry_window_ms = (int64_t)s->max_retry * 1000};
    struct sc_buf tag, strings;
    sc_buf_init(&tag, 1024);
    sc_buf_init(&strings, SC_CTL_BYTES);
    make_tag(w, &tag);
    start.tag_len = (uint32_t)tag.n;
    sc_buf_span(&strings, sc_buf_view(&tag));
    add_string(&strings, &start.argc, "%s", e->spec.exe);
    add_string(&strings, &start.argc, "sconce: %s %s %s", w->quarantine ? "quarantine" : "executor", s->name,
               s->version);
    add_string(&strings, &start.argc, "--role=executor");
    add_string(&strings, &start.envc, SC_ENV_MODEL "=%s", s->name);
    add_string(&strings, &start.envc, SC_ENV_VERSION "=%s", s->version);
    add_string(&strings, &start.envc, SC_ENV_DIR "=%s", s->dir);
    add_string(&strings, &start.envc, SC_ENV_BACKEND "=%s", s->backend);
    add_string(&strings, &start.envc, SC_ENV_BACKEND_DIR "=%s", e->spec.backend_dir);
    add_string(&strings, &start.envc, SC_ENV_LANES "=%u", w->lanes);
    if (s->batch_size > 0)
        add_string(&strings, &start.envc, SC_ENV_BATCH_SIZE "=%d", s->batch_size);
    add_string(&strings, &start.envc, SC_ENV_BATCH_DELAY "=%d", s->max_batch_delay);
    add_string(&strings, &start.envc, SC_ENV_BATCH_POLICY "=%s", s->fill ? "fill" : "eager");
    add_string(&strings, &start.envc, SC_ENV_MAX_RESPONSE "=%llu",
               (unsigned long long)e->spec.settings->max_response_size);
    if (e->spec.settings->log_dir)
        add_string(&strings, &start.envc, SC_ENV_LOG_DIR "=%s", e->spec.settings->log_dir);
    for (unsigned i = 0; i < s->nextras; i++)
        add_string(&strings, &start.envc, SC_ENV_SETTING "%s=%s", s->extras[i].key, s->extras[i].value);
    if (strings.failed)
        sc_log(SC_LOG_ERROR, "model %s: its settings exceed %d bytes; shorten them", s->name, SC_CTL_BYTES);
    else
        sc_line_send(e, SC_CTL_SLOT_START, sc_span(&start, sizeof start), sc_buf_view(&strings), NULL, 0);
    sc_buf_free(&tag);
    sc_buf_free(&strings);
}

static struct sc_worker *make_worker(struct sc_version *v, unsigned lanes, bool quarantine)
{
    struct sc_worker *w = sc_alloc(sizeof *w);
    w->version = v;
    w->lanes = lanes;
    w->quarantine = quarantine;
    w->pid = -1;
    w->made_ms = sc_wall_ms();
    sc_list_push_back(&v->workers, &w->node);
    return w;
}

/* A number that no worker has; those of the dead come again. False: SC_SLOTS_MAX workers run. */
static bool take_slot(struct sc_engine *e, uint32_t *slot)
{
    for (uint32_t i = 0; i < SC_SLOTS_MAX; i++) {
        *slot = (e->next_slot + i) % SC_SLOTS_MAX;
        if (!e->slots[*slot]) {
            e->slots[*slot] = true;
            e->next_slot = *slot + 1;
            return true;
        }
    }
    return false;
}

struct sc_worker *sc_worker_start(struct sc_version *v, unsigned lanes, bool quarantine)
{
    struct sc_engine *e = v->engine;
    uint32_t slot;
    if (!take_slot(e, &slot))
        return NULL;
    struct sc_worker *w = make_worker(v, lanes, quarantine);
    w->slot = slot;
    if (!quarantine) {
        w->first_id = e->next_worker_id;
        e->next_worker_id += lanes;
    }
    send_start(w);
    return w;
}

static void send_slot(struct sc_engine *e, uint16_t type, uint32_t slot, uint64_t life)
{
    struct sc_ctl_slot s = {.slot = slot, .life = life};
    sc_line_send(e, type, sc_span(&s, sizeof s), sc_span(NULL, 0), NULL, 0);
}

static void drain_link(void *attachment, void *plane)
{
    struct sc_attachment *att = attachment;
    struct sc_plane *p = plane;
    struct sc_link *k = att->links[p->loop->index];
    if (k) {
        k->draining = true;
        sc_link_poll(k);
    } else {
        sc_engine_call(loop_at(p->engine, 0), sc_attachment_acked, att, att);
    }
}

void sc_worker_stop(struct sc_worker *w, bool drain)
{
    struct sc_engine *e = w->version->engine;
    if (w->stopping || (drain && w->draining))
        return;
    if (drain && w->att && w->loaded) {
        w->draining = true;
        w->drained = 0;
        for (unsigned i = 0; i < e->nloops; i++)
            sc_engine_call(loop_at(e, i), drain_link, w->att, &e->planes[i]);
        return;
    }
    w->stopping = true;
    send_slot(e, SC_CTL_SLOT_STOP, w->slot, w->life);
}

/* ---- attachments --------------------------------------------------------------------------- */

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

static struct sc_worker *worker_of(struct sc_attachment *att)
{
    struct sc_version *v = att->version;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->att == att)
            return w;
    }
    return NULL;
}

void sc_attachment_kill(void *attachment, void *unused)
{
    struct sc_attachment *att = attachment;
    (void)unused;
    struct sc_worker *w = worker_of(att);
    if (w)
        send_slot(w->version->engine, SC_CTL_SLOT_KILL, w->slot, w->life);
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

static void link_up(void *attachment, void *plane)
{
    sc_link_up(plane, attachment);
}
static void worker_gone(void *attachment, void *plane)
{
    sc_replay_worker_gone(plane, attachment);
}

/* Shared memory for this life, sent to the worker. */
static int attach(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    struct sc_engine *e = v->engine;
    struct sc_attachment *att = sc_alloc(sizeof *att);
    int fds[SC_CTL_FDS];
    unsigned n = SC_BOARD_FDS;
    att->version = v;
    v->attachments++;
    att->life = w->life;
    att->slot = w->slot;
    att->quarantine = w->quarantine;
    att->nloops = e->nloops;
    if (sc_board_new(&att->board, w->lanes, e->epoch) < 0)
        goto fail;
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

/* A worker's count is only ever seen to grow: it is not trusted to do anything else. */
static void count_work(struct sc_attachment *att)
{
    uint64_t batches, requests;
    sc_board_work(att->board, &batches, &requests);
    if (batches < att->batches || requests < att->requests)
        return;
    sc_metrics_add(att->version->metrics, 0, SC_MM_BATCHES, (int64_t)(batches - att->batches));
    sc_metrics_add(att->version->metrics, 0, SC_MM_BATCHED, (int64_t)(requests - att->requests));
    att->batches = batches;
    att->requests = requests;
}

static void let_go(struct sc_worker *w)
{
    struct sc_attachment *att = w->att;
    struct sc_engine *e = w->version->engine;
    if (!att)
        return;
    w->att = NULL;
    count_work(att);
    if (!w->loaded) { /* no loop knows it */
        attachment_free(att);
        return;
    }
    /* The dead worker's pages: exact now. */
    struct sc_running *page = sc_alloc(sizeof *page);
    for (uint32_t lane = 0; lane < sc_board_lanes(att->board); lane++) {
        sc_board_running(att->board, lane, page);
        if (!page->since_ns || !page->n)
            continue;
        att->running = sc_realloc_array(att->running, att->nrunning + page->n, sizeof *att->running);
        memcpy(att->running + att->nrunning, page->ids, page->n * sizeof *page->ids);
        att->nrunning += page->n;
    }
    free(page);
    for (size_t i = 1; i < att->nrunning; i++) /* nearly sorted, and short */
        for (size_t k = i; k && att->running[k - 1] > att->running[k]; k--) {
            uint64_t t = att->running[k];
            att->running[k] = att->running[k - 1];
            att->running[k - 1] = t;
        }
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(loop_at(e, i), worker_gone, att, &e->planes[i]);
}

/* ---- states ----------------------------------------------------------------------------------- */

static void read_facts(struct sc_attachment *att, unsigned lanes, struct sc_span text)
{
    json_t *j = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    json_int_t cost = json_integer_value(json_object_get(j, "maxBatchCost"));
    json_int_t bytes = json_integer_value(json_object_get(j, "bytesPerCost"));
    att->bytes_per_cost = bytes > 0 && bytes < INT32_MAX ? (uint32_t)bytes : 0;
    /* Two batches per lane: one computing, one ready. */
    bool plain = !att->bytes_per_cost || cost <= 0 || cost > INT32_MAX;
    if (plain)
        att->bytes_per_cost = 0;
    atomic_store(&att->credit, plain ? PLAIN_CREDIT : 2 * (long long)lanes * cost);
    json_decref(j);
}

static void loaded(struct sc_worker *w, struct sc_span text)
{
    struct sc_version *v = w->version;
    struct sc_engine *e = v->engine;
    if (!w->att || w->loaded)
        return;
    w->loaded = true;
    w->outage_ns = 0;
    w->load_deadline_ns = 0;
    w->failure[0] = '\0';
    read_facts(w->att, w->lanes, text);
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(loop_at(e, i), link_up, w->att, &e->planes[i]);
    if (w->quarantine) {
        v->quarantine_idle_ns = sc_clock_ns();
        return;
    }
    sc_log(SC_LOG_INFO, "model %s version %s: %u worker%s ready, pid %d", v->spec.name, v->spec.version,
           w->lanes, w->lanes == 1 ? "" : "s", w->pid);
    /* A replacement takes over: what is older finishes. */
    for (struct sc_node *n = v->workers.next, *next; n != &v->workers; n = next) {
        struct sc_worker *o = SC_CONTAINER(n, struct sc_worker, node);
        next = n->next;
        if (!o->quarantine && o->first_id < w->first_id)
            sc_worker_stop(o, true);
    }
    sc_registry_workers_changed(v, 0, "");
}

static void no_quarantine(void *shard, void *unused)
{
    (void)unused;
    sc_replay_no_quarantine(shard);
}

/* One that runs, or will. */
static bool worker_hoped_for(const struct sc_version *v)
{
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (!w->quarantine && !w->given_up && !w->stopping)
            return true;
    }
    return false;
}

static void exited(struct sc_worker *w, const struct sc_ctl_slot *s)
{
    struct sc_version *v = w->version;
    char how[64];
    bool was_loaded = w->loaded;
    let_go(w);
    w->loaded = false;
    w->load_deadline_ns = 0;
    w->pid = -1;
    if (w->draining && !w->stopping) {
        w->draining = false;
        sc_worker_stop(w, false);
    }
    if (w->stopping)
        return;
    sc_metrics_add(v->metrics, 0, SC_MM_RESTARTS, 1);
    if (!w->outage_ns)
        w->outage_ns = sc_clock_ns();
    if (WIFSIGNALED(s->wait_status))
        snprintf(how, sizeof how, "was ended by signal %d (%s)", WTERMSIG(s->wait_status),
                 strsignal(WTERMSIG(s->wait_status)));
    else
        snprintf(how, sizeof how, "exited with status %d", WEXITSTATUS(s->wait_status));
    w->given_up = s->delay_ms < 0;
    if (w->given_up)
        sc_log(SC_LOG_ERROR,
               "model %s: its worker %s and is not started again; scale the model to try once more",
               v->spec.name, how);
    else
        sc_log(SC_LOG_WARN, "model %s: its worker %s. Retry worker: %u in %lld ms.", v->spec.name, how,
               w->first_id, (long long)s->delay_ms);
    if (w->quarantine && w->given_up) {
        for (unsigned i = 0; i < v->engine->nloops; i++)
            sc_engine_call(loop_at(v->engine, i), no_quarantine, v->shards[i], NULL);
        sc_worker_stop(w, false);
    }
    if (!w->quarantine && w->given_up && !worker_hoped_for(v))
        atomic_store(&v->workers_wanted, 0); /* what waits is answered by the tick */
    if (!w->quarantine && !was_loaded)
        sc_registry_workers_changed(v, SC_EINVAL, w->failure[0] ? w->failure : how);
}

static void gone(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    let_go(w);
    sc_list_remove(&w->node);
    free(w);
    sc_registry_worker_gone(v);
}

static struct sc_worker *find_slot(struct sc_engine *e, uint32_t slot)
{
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
                struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
                if (w->slot == slot)
                    return w;
            }
        }
    return NULL;
}

static struct sc_span next_field(struct sc_span *text)
{
    size_t n = sc_span_find(*text, '\t');
    struct sc_span field = sc_span_sub(*text, 0, n);
    *text = sc_span_sub(*text, n + 1, text->n);
    return field;
}

/* A slot that an earlier frontend started: its tag says what it is. */
static struct sc_worker *adopt(struct sc_engine *e, uint32_t slot, struct sc_span tag)
{
    struct sc_span name = next_field(&tag), version = next_field(&tag), kind = next_field(&tag);
    uint64_t lanes, first_id, made_ms;
    if (slot >= SC_SLOTS_MAX)
        return NULL;
    e->slots[slot] = true;
    struct sc_version *v = sc_registry_find(e, name, version);
    if (!v || !sc_span_u64(next_field(&tag), SC_LANES_MAX, &lanes) || !lanes ||
        !sc_span_u64(next_field(&tag), UINT32_MAX / 2, &first_id) ||
        !sc_span_u64(next_field(&tag), INT64_MAX, &made_ms)) {
        send_slot(e, SC_CTL_SLOT_STOP, slot, 0); /* its model was unregistered while nobody listened */
        return NULL;
    }
    struct sc_worker *w = make_worker(v, (unsigned)lanes, sc_span_eq(kind, SC_SPAN("quarantine")));
    w->slot = slot;
    w->first_id = (unsigned)first_id;
    w->made_ms = (int64_t)made_ms;
    e->next_worker_id = SC_MAX(e->next_worker_id, w->first_id + w->lanes);
    return w;
}

void sc_worker_state(struct sc_engine *e, const struct sc_ctl_slot *s, struct sc_span tag,
                     struct sc_span text)
{
    struct sc_worker *w = find_slot(e, s->slot);
    if (s->state == SC_SLOT_GONE && s->slot < SC_SLOTS_MAX)
        e->slots[s->slot] = false;
    else if (!w && !e->restored)
        w = adopt(e, s->slot, tag);
    if (!w)
        return;
    bool new_life = w->life != s->life;
    w->life = s->life;
    switch ((enum sc_slot_state)s->state) {
    case SC_SLOT_STARTING:
        w->pid = s->pid;
        w->given_up = false;
        w->load_deadline_ns = sc_clock_ns() + (int64_t)w->version->spec.startup_timeout * 1000000000;
        break;
    case SC_SLOT_CONNECTED:
    case SC_SLOT_LOADED:
        w->pid = s->pid;
        if (new_life || !w->att) {
            let_go(w);
            w->loaded = false;
            if (attach(w) < 0)
                send_slot(e, SC_CTL_SLOT_KILL, w->slot, w->life);
        }
        if (s->state == SC_SLOT_LOADED)
            loaded(w, text);
        break;
    case SC_SLOT_FAILED: snprintf(w->failure, sizeof w->failure, "%.*s", SC_FMT(text)); break;
    case SC_SLOT_EXITED: exited(w, s); break;
    case SC_SLOT_GONE: gone(w); break;
    }
    sc_registry_health(e);
}

/* ---- time ---------------------------------------------------------------------------------------- */

struct hung {
    struct sc_attachment *att;
    size_t n;
    uint64_t ids[SC_LANE_RUNNING_MAX];
};

static void tell_hung(void *copy, void *plane)
{
    struct hung *h = copy;
    sc_replay_hung(plane, h->att, h->ids, h->n);
    free(h);
}

/* Answers what has been computed for longer than responseTimeout, and has the worker replaced. */
static void look_for_hang(struct sc_worker *w, int64_t now)
{
    struct sc_engine *e = w->version->engine;
    int64_t limit = (int64_t)w->version->spec.response_timeout * 1000000000;
    static struct sc_running page;
    if (!w->att || !w->loaded || limit <= 0 || atomic_load(&w->att->kill_asked))
        return;
    for (uint32_t lane = 0; lane < sc_board_lanes(w->att->board); lane++) {
        sc_board_running(w->att->board, lane, &page);
        if (!page.since_ns || !page.n || now - page.since_ns < limit)
            continue;
        sc_log(SC_LOG_ERROR, "model %s: a worker did not respond in %d s (responseTimeout) and is replaced",
               w->version->spec.name, w->version->spec.response_timeout);
        atomic_store(&w->att->kill_asked, true);
        for (unsigned i = 0; i < e->nloops; i++) {
            struct hung *h = sc_alloc(sizeof *h);
            h->att = w->att;
            h->n = page.n;
            memcpy(h->ids, page.ids, page.n * sizeof *page.ids);
            sc_engine_call(loop_at(e, i), tell_hung, h, &e->planes[i]);
        }
        send_slot(e, SC_CTL_SLOT_KILL, w->slot, w->life);
        return;
    }
}

static void look_at_quarantine(struct sc_version *v, int64_t now)
{
    struct sc_worker *q = NULL;
    size_t suspects = 0;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->quarantine)
            q = w;
    }
    for (unsigned i = 0; i < v->engine->nloops; i++)
        suspects += atomic_load_explicit(&v->shards[i]->nsuspects, memory_order_relaxed);
    bool busy = suspects || atomic_load(&v->quarantine_owner) >= 0;
    if (busy)
        v->quarantine_idle_ns = now;
    if (suspects && !q) {
        if (sc_worker_start(v, 1, true))
            sc_log(SC_LOG_INFO, "model %s: a quarantine worker starts for %zu requests whose worker died",
                   v->spec.name, suspects);
    } else if (q && !busy && now - v->quarantine_idle_ns > QUARANTINE_IDLE_NS) {
        sc_worker_stop(q, true); /* drained: a loop may be sending it a suspect right now */
    }
}

void sc_workers_tick(struct sc_engine *e)
{
    int64_t now = sc_clock_ns();
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
                struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
                if (w->att)
                    count_work(w->att);
                look_for_hang(w, now);
                if (w->load_deadline_ns && now > w->load_deadline_ns) {
                    w->load_deadline_ns = 0;
                    snprintf(w->failure, sizeof w->failure,
                             "the model did not load within %d s (startupTimeout)", v->spec.startup_timeout);
                    sc_log(SC_LOG_ERROR, "model %s: %s", v->spec.name, w->failure);
                    send_slot(e, SC_CTL_SLOT_KILL, w->slot, w->life);
                }
            }
            look_at_quarantine(v, now);
        }
}

/* ---- wanted and had --------------------------------------------------------------------------------- */

void sc_workers_reconcile(struct sc_version *v)
{
    struct sc_worker *newest = NULL;
    atomic_store(&v->workers_wanted, v->spec.max_workers);
    for (struct sc_node *n = v->workers.next, *next; n != &v->workers; n = next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        next = n->next;
        if (w->quarantine || w->stopping || w->draining)
            continue;
        if (v->spec.max_workers == 0 || w->given_up)
            sc_worker_stop(w, true);
        else if (!newest || w->first_id > newest->first_id)
            newest = w;
    }
    if (v->spec.max_workers == 0)
        return;
    unsigned min = (unsigned)SC_MIN(v->spec.min_workers, SC_LANES_MAX),
             max = (unsigned)SC_MIN(v->spec.max_workers, SC_LANES_MAX);
    unsigned lanes = newest ? SC_MIN(SC_MAX(newest->lanes, min), max) : SC_MAX(min, 1u);
    if (newest && newest->lanes == lanes) {
        if (newest->loaded)
            sc_registry_workers_changed(v, 0, "");
    } else if (!sc_worker_start(v, lanes, false)) {
        sc_log(SC_LOG_ERROR, "model %s: no worker can be started: %d run, which is the most", v->spec.name,
               SC_SLOTS_MAX);
        sc_registry_workers_changed(v, SC_ELIMIT, "too many workers run; scale or unregister other models");
    }
}
