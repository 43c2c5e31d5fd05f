/*
 * Worker processes of a version: slots and states. Loop 0. (attachment.c: their shared memory; watch.c: their
 * time limits.)
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
    add_string(&strings, &start.envc, SC_ENV_LOG_FORM "=%s%s", e->spec.settings->log_json ? "json " : "",
               e->spec.settings->log_to_stdout ? "stdout" : "");
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

void sc_worker_order(struct sc_engine *e, uint16_t type, uint32_t slot, uint64_t life)
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
        sc_engine_call(sc_engine_loop(p->engine, 0), sc_attachment_acked, att, att);
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
            sc_engine_call(sc_engine_loop(e, i), drain_link, w->att, &e->planes[i]);
        return;
    }
    w->stopping = true;
    sc_worker_order(e, SC_CTL_SLOT_STOP, w->slot, w->life);
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
    if (!w->att || w->loaded)
        return;
    w->loaded = true;
    w->load_deadline_ns = 0;
    w->failure[0] = '\0';
    read_facts(w->att, w->lanes, text);
    sc_attachment_use(w->att);
    char name[SC_MODEL_NAME_MAX + 96];
    snprintf(name, sizeof name, "W-%u-%s_%s", w->first_id, v->spec.name, v->spec.version);
    sc_metrics_worker_loaded(v->engine->spec.metrics, v->metrics, name, (double)(sc_wall_ms() - w->made_ms));
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
    char how[sizeof w->failure + 64];
    bool was_loaded = w->loaded;
    sc_attachment_let_go(w);
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
    if (WIFSIGNALED(s->wait_status))
        snprintf(how, sizeof how, "was ended by signal %d (%s)", WTERMSIG(s->wait_status),
                 strsignal(WTERMSIG(s->wait_status)));
    else
        snprintf(how, sizeof how, "exited with status %d%s%s", WEXITSTATUS(s->wait_status),
                 w->failure[0] ? ": " : "", w->failure);
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
            sc_engine_call(sc_engine_loop(v->engine, i), no_quarantine, v->shards[i], NULL);
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
    sc_attachment_let_go(w);
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
        sc_worker_order(e, SC_CTL_SLOT_STOP, slot, 0); /* its model was unregistered while nobody listened */
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
        w->failure[0] = '\0';
        w->load_deadline_ns = sc_clock_ns() + (int64_t)w->version->spec.startup_timeout * 1000000000;
        break;
    case SC_SLOT_CONNECTED:
    case SC_SLOT_LOADED:
        w->pid = s->pid;
        if (new_life || !w->att) {
            sc_attachment_let_go(w);
            w->loaded = false;
            if (sc_attachment_open(w) < 0)
                sc_worker_order(e, SC_CTL_SLOT_KILL, w->slot, w->life);
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
