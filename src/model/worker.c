/*
 * Worker processes of a version: slots and states. Loop 0. (attachment.c: their shared memory; watch.c: their
 * time limits.)
 *
 * The supervisor keeps a process running per slot and says what becomes of it; this side makes the
 * shared memory of each life, attaches it, tells the loops when it may be used, and collects their
 * leave when it is dead. A native model has one executor whose lanes are the workers that
 * people count (lanes.c: their number changes while it runs).
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
#include "gpu/mps_rule.h"
#include "model/engine_private.h"
#include "model/gpus.h"
#include "model/launch.h"
#include "model/oom.h"
#include "model/output.h"
#include "model/placement.h"
#include "model/sharing.h"

/* ---- starting ----------------------------------------------------------------------------- */

static struct sc_worker *make_worker(struct sc_version *v, unsigned lanes, bool quarantine)
{
    struct sc_worker *w = sc_alloc(sizeof *w);
    w->version = v;
    w->lanes = w->lanes_wanted = lanes;
    w->quarantine = quarantine;
    w->shares = v->spec.shared_weights == SC_WEIGHTS_SHARED;
    w->pid = w->gpu_id = -1;
    w->made_ms = sc_wall_ms();
    sc_list_push_back(&v->workers, &w->node);
    return w;
}

/* Those of the dead come again. */
bool sc_worker_take_slot(struct sc_engine *e, uint32_t *slot)
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

/* gpu_id: -1: its turn's. */
static struct sc_worker *start(struct sc_version *v, unsigned lanes, bool quarantine, bool standby,
                               int gpu_id)
{
    struct sc_engine *e = v->engine;
    uint32_t slot;
    if (!sc_worker_take_slot(e, &slot))
        return NULL;
    struct sc_worker *w = make_worker(v, lanes, quarantine);
    w->slot = slot;
    w->standby = standby;
    if (!quarantine && !standby) {
        /* Those of several GPUs or ranks have numbers of their own, a block each. */
        unsigned block = sc_launch_level(&v->spec);
        if (block) {
            w->first_id = e->next_block_id;
            e->next_block_id += block;
        } else {
            sc_lanes_number(w, 0);
        }
    }
    w->instances = quarantine ? 0 : sc_launch_instances(v, &w->instance);
    w->gpu_id = gpu_id < 0 ? sc_gpus_choose(v) : gpu_id;
    if (sc_sharing_place(w))
        sc_worker_send_start(w);
    return w;
}

struct sc_worker *sc_worker_start(struct sc_version *v, unsigned lanes, bool quarantine)
{
    return start(v, lanes, quarantine, false, -1);
}

struct sc_worker *sc_worker_start_standby(struct sc_version *v, int gpu_id)
{
    return start(v, 1, false, true, gpu_id);
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
        sc_turns_link_gone(k);
        sc_link_poll(k);
    } else {
        sc_engine_call(sc_engine_loop(p->engine, 0), sc_attachment_acked, att, att);
    }
}

void sc_worker_drain_links(struct sc_worker *w)
{
    struct sc_engine *e = w->version->engine;
    w->sequences_until_ns = 0;
    w->drained = 0;
    if (w->version->sequences)
        sc_sequences_gone(w->version->sequences, &w->att->home, sc_clock_ns());
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(sc_engine_loop(e, i), drain_link, w->att, &e->planes[i]);
}

/* How many requests the workers that are loaded have at once, in the way TorchServe counts: a batch each. */
static void count_capacity(struct sc_version *v)
{
    long long n = 0;
    for (struct sc_node *k = v->workers.next; k != &v->workers; k = k->next) {
        const struct sc_worker *w = SC_CONTAINER(k, struct sc_worker, node);
        n += !w->quarantine && !w->standby && w->loaded && !w->draining && !w->stopping;
    }
    atomic_store(&v->capacity,
                 n * (v->spec.async_communication ? SC_ASYNC_REQUESTS_MAX : SC_MAX(v->spec.batch_size, 1)));
}

void sc_worker_stop(struct sc_worker *w, bool drain)
{
    struct sc_version *v = w->version;
    struct sc_engine *e = v->engine;
    if (w->stopping || (drain && w->draining))
        return;
    if (drain && w->att && w->loaded && !w->standby) {
        w->draining = true;
        count_capacity(v);
        if (v->sequences && !w->quarantine && sc_sequences_drain(v->sequences, &w->att->home))
            w->sequences_until_ns =
                sc_clock_ns() + (int64_t)e->spec.settings->unregister_timeout * 1000000000;
        else
            sc_worker_drain_links(w);
        return;
    }
    w->stopping = true;
    count_capacity(v);
    if (!w->held) /* whose slot nobody else knows */
        sc_worker_order(e, SC_CTL_SLOT_STOP, w->slot, w->life);
}

/* ---- states ----------------------------------------------------------------------------------- */

static void loaded(struct sc_worker *w, struct sc_span text)
{
    struct sc_version *v = w->version;
    if (!w->att)
        return;
    if (sc_spec_is_native(&v->spec))
        sc_lanes_told(w, text);
    if (w->loaded)
        return;
    w->loaded = true;
    v->group_load_deaths = 0;
    w->loading_ns = 0;
    w->failure[0] = '\0';
    sc_attachment_grant(w, text);
    sc_weights_told(w, text);
    sc_placement_told(w, text);
    if (w->standby && !sc_standby_loaded(w))
        return;
    sc_attachment_use(w->att);
    char name[SC_MODEL_NAME_MAX + 96];
    snprintf(name, sizeof name, "W-%u-%s_%s", w->first_id, v->spec.name, v->spec.version);
    sc_metrics_worker_loaded(v->engine->spec.metrics, v->metrics, name, (double)(sc_wall_ms() - w->made_ms));
    if (w->quarantine) {
        v->quarantine_idle_ns = sc_clock_ns();
        return;
    }
    count_capacity(v);
    if (w->recovering_ms)
        sc_log(SC_LOG_INFO, "Auto recovery succeeded, reset recoveryStartTS");
    w->recovering_ms = 0;
    sc_log(SC_LOG_INFO, "model %s version %s: %u worker%s ready, pid %d", v->spec.name, v->spec.version,
           w->lanes, w->lanes == 1 ? "" : "s", w->pid);
    /* An executor takes over: what is older finishes. */
    for (struct sc_node *n = v->workers.next, *next; n != &v->workers; n = next) {
        struct sc_worker *o = SC_CONTAINER(n, struct sc_worker, node);
        next = n->next;
        if (sc_spec_has_lanes(&v->spec) && !o->quarantine && !o->standby && o->first_id < w->first_id)
            sc_worker_stop(o, true);
    }
    sc_standby_keep(v);
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
        if (!w->quarantine && !w->standby && !w->given_up && !w->stopping)
            return true;
    }
    return false;
}

/* Says how a life ended in w->last_end: signal or status, what it said of a load that failed, and the last of
 * its standard error. */
static void note_end(struct sc_worker *w, int wait_status)
{
    char *out = w->last_end;
    size_t room = sizeof w->last_end;
    int n;
    if (WIFSIGNALED(wait_status))
        n = snprintf(
            out, room, "was ended by signal %d (%s)%s", WTERMSIG(wait_status),
            strsignal(WTERMSIG(wait_status)),
            WTERMSIG(wait_status) == SIGKILL && sc_oom_killed() ? ", for want of memory in its cgroup" : "");
    else
        n = snprintf(out, room, "exited with status %d", WEXITSTATUS(wait_status));
    if (w->failure[0] && n > 0 && (size_t)n < room)
        n += snprintf(out + n, room - (size_t)n, ": %s", w->failure);
    struct sc_span tail = w->output[1] ? sc_output_tail(w->output[1]) : sc_span(NULL, 0);
    if (tail.n && n > 0 && (size_t)n < room) {
        size_t fits = SC_MIN(tail.n, room - (size_t)n - 1);
        snprintf(out + n, room - (size_t)n, "; stderr: %.*s", (int)fits, tail.p + tail.n - fits);
    }
    for (; *out; out++)
        if ((unsigned char)*out < ' ')
            *out = ' ';
    if (w->output[1])
        sc_output_forget(w->output[1]);
}

void sc_worker_close_output(struct sc_worker *w)
{
    for (int i = 0; i < SC_OUTPUT_FDS; i++) {
        if (w->output[i])
            sc_output_close(w->output[i]);
        w->output[i] = NULL;
    }
}

static void read_output(struct sc_worker *w)
{
    for (int i = 0; i < SC_OUTPUT_FDS; i++)
        if (w->output[i])
            sc_output_drain(w->output[i]);
}

/* What became of a worker, and TorchServe's words about it, which operators look for. */
static void tell_end(struct sc_worker *w, bool was_loaded, int64_t delay_ms)
{
    const char *model = w->version->spec.name;
    if (w->quarantine) {
        sc_log(SC_LOG_WARN, "model %s: its quarantine worker %s", model, w->last_end);
        return;
    }
    sc_log(SC_LOG_INFO, "%u Worker disconnected. %s", w->first_id,
           was_loaded ? "WORKER_MODEL_LOADED" : "WORKER_STARTED");
    sc_log(w->given_up ? SC_LOG_ERROR : SC_LOG_WARN, "model %s: its worker %u %s%s", model, w->first_id,
           w->last_end, w->given_up ? "; it is not started again: scale the model to try once more" : "");
    if (!w->recovering_ms)
        sc_log(SC_LOG_INFO, "Auto recovery start timestamp: %lld",
               (long long)(w->recovering_ms = sc_wall_ms()));
    else
        sc_log(SC_LOG_WARN, "Auto recovery failed again");
    if (!w->given_up)
        sc_log(SC_LOG_INFO, "Retry worker: %u in %lld seconds.", w->first_id, (long long)(delay_ms / 1000));
}

/* What the supervisor knows of the end; what the worker said of its load is known already. */
static void note_reason(struct sc_worker *w, struct sc_span why)
{
    size_t n = strlen(w->failure);
    if (why.n && !(n && sc_span_starts(why, sc_span(w->failure, n))))
        snprintf(w->failure + n, sizeof w->failure - n, "%s%.*s", n ? "; " : "", SC_FMT(why));
}

static void exited(struct sc_worker *w, const struct sc_ctl_slot *s, struct sc_span why)
{
    struct sc_version *v = w->version;
    bool was_loaded = w->loaded, served = !w->quarantine && !w->standby;
    sc_weights_exited(w, s->wait_status);
    sc_attachment_let_go(w);
    w->loaded = false;
    count_capacity(v);
    read_output(w);
    w->loading_ns = 0;
    w->pid = -1;
    w->told_rss = 0;
    if (w->draining && !w->stopping) {
        w->draining = false;
        sc_worker_stop(w, false);
    }
    if (w->stopping)
        return;
    sc_metrics_add(v->metrics, 0, SC_MM_RESTARTS, 1);
    note_reason(w, why);
    sc_placement_explain(w, w->failure, sizeof w->failure);
    note_end(w, s->wait_status);
    w->given_up = s->delay_ms < 0;
    tell_end(w, was_loaded, s->delay_ms);
    if (served && sc_group_exited(w, was_loaded, s->wait_status))
        sc_worker_send_change(w);
    if (served && sc_standby_takes_over(w))
        return;
    if (w->quarantine && w->given_up) {
        for (unsigned i = 0; i < v->engine->nloops; i++)
            sc_engine_call(sc_engine_loop(v->engine, i), no_quarantine, v->shards[i], NULL);
        sc_worker_stop(w, false);
    }
    if (served && w->given_up && !worker_hoped_for(v))
        atomic_store(&v->workers_wanted, 0); /* what waits is answered by the tick */
    if (served && !was_loaded)
        sc_registry_workers_changed(v, w->failed_for_memory ? SC_ENOMEM : SC_EINVAL,
                                    w->failure[0] ? w->failure : w->last_end);
    sc_weights_replace(w);
}

static void gone(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    sc_attachment_let_go(w);
    if (v->unregistering)
        sc_sharing_left(w);
    sc_list_remove(&w->node);
    read_output(w);
    sc_worker_del(w);
    count_capacity(v);
    sc_registry_worker_gone(v);
}

struct sc_worker *sc_workers_each(struct sc_engine *e, bool (*fn)(void *arg, struct sc_worker *w), void *arg)
{
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
                struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
                if (fn(arg, w))
                    return w;
            }
        }
    return NULL;
}

static bool has_slot(void *slot, struct sc_worker *w)
{
    return w->slot == *(uint32_t *)slot;
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
    w->standby = sc_span_eq(kind, SC_SPAN("standby"));
    w->slot = slot;
    w->first_id = w->ids[0] = (unsigned)first_id;
    w->made_ms = (int64_t)made_ms;
    int32_t gpu = -1;
    if (sc_span_i32(next_field(&tag), &gpu))
        w->gpu_id = gpu;
    uint64_t instance, instances;
    if (sc_span_u64(next_field(&tag), SC_WORKERS_MAX, &instance) &&
        sc_span_u64(next_field(&tag), SC_WORKERS_MAX, &instances)) {
        w->instance = (unsigned)instance;
        w->instances = (unsigned)instances;
    }
    uint64_t way;
    if (sc_span_u64(next_field(&tag), SC_WAY_EXTERNAL, &way))
        w->way = (uint8_t)way;
    w->shares = sc_span_eq(next_field(&tag), SC_SPAN("1"));
    for (unsigned i = 1; i < w->lanes; i++) {
        uint64_t id = first_id + i;
        if (sc_span_u64(next_field(&tag), UINT32_MAX / 2, &id))
            e->next_worker_id = SC_MAX(e->next_worker_id, (unsigned)id + 1);
        w->ids[i] = (unsigned)id;
    }
    unsigned block = sc_launch_level(&v->spec);
    if (block)
        e->next_block_id = SC_MAX(e->next_block_id, w->first_id + block);
    else
        e->next_worker_id = SC_MAX(e->next_worker_id, w->first_id + 1);
    return w;
}

static void take_output(struct sc_worker *w, int *fds, unsigned nfds)
{
    struct sc_version *v = w->version;
    static const char *const ends[SC_OUTPUT_FDS] = {"stdout", "stderr"};
    if (nfds != SC_OUTPUT_FDS || w->output[0])
        return;
    for (int i = 0; i < SC_OUTPUT_FDS; i++) {
        char thread[SC_MODEL_NAME_MAX + 128];
        if (w->quarantine)
            snprintf(thread, sizeof thread, "W-quarantine-%s_%s-%s", v->spec.name, v->spec.version, ends[i]);
        else
            snprintf(thread, sizeof thread, "W-%u-%s_%s-%s", w->first_id, v->spec.name, v->spec.version,
                     ends[i]);
        struct sc_output_spec spec = {.thread = thread,
                                      .is_stderr = i == 1,
                                      .metrics = v->engine->spec.metrics,
                                      .model = v->spec.name,
                                      .version = v->spec.version};
        w->output[i] = sc_output_open(sc_engine_loop(v->engine, 0), fds[i], &spec);
        fds[i] = -1;
    }
}

/* "<code> <message>" of a Python worker; anything of an executor. */
static void failed(struct sc_worker *w, struct sc_span text)
{
    w->failed_for_memory = !sc_spec_is_native(&w->version->spec) && sc_span_starts(text, SC_SPAN("507 "));
    snprintf(w->failure, sizeof w->failure, "%.*s", SC_FMT(text));
}

void sc_worker_state(struct sc_engine *e, const struct sc_ctl_slot *s, struct sc_span tag,
                     struct sc_span text, int *fds, unsigned nfds)
{
    uint32_t slot = s->slot;
    struct sc_worker *w = sc_workers_each(e, has_slot, &slot);
    if (sc_span_eq(tag, SC_SPAN(SC_GPUS_TAG))) {
        e->slots[s->slot] = s->state != SC_SLOT_GONE;
        sc_gpus_state(e, s, fds, nfds);
        return;
    }
    if (sc_span_starts(tag, SC_SPAN(SC_SHARING_TAG))) {
        e->slots[s->slot] = s->state != SC_SLOT_GONE;
        sc_sharing_state(e, s, tag, text, fds, nfds);
        return;
    }
    if (s->state == SC_SLOT_GONE && s->slot < SC_SLOTS_MAX)
        e->slots[s->slot] = false;
    else if (!w && !e->restored)
        w = adopt(e, s->slot, tag);
    if (!w)
        return;
    take_output(w, fds, nfds);
    bool new_life = w->life != s->life;
    w->life = s->life;
    switch ((enum sc_slot_state)s->state) {
    case SC_SLOT_STARTING:
        w->pid = s->pid;
        w->given_up = false;
        w->failure[0] = '\0';
        w->loading_ns = sc_clock_ns();
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
        if (s->state == SC_SLOT_LOADED) {
            if (sc_launch_used(w))
                w->pid = sc_launch_pid(text, w->pid);
            loaded(w, text);
        }
        break;
    case SC_SLOT_FAILED: failed(w, text); break;
    case SC_SLOT_EXITED: exited(w, s, text); break;
    case SC_SLOT_GONE: gone(w); break;
    }
    sc_registry_health(e);
}

static bool close_output(void *unused, struct sc_worker *w)
{
    (void)unused;
    sc_worker_close_output(w);
    return false;
}

void sc_workers_close_output(struct sc_engine *e)
{
    (void)sc_workers_each(e, close_output, NULL);
}

/* ---- wanted and had --------------------------------------------------------------------------------- */

static void cannot_start(struct sc_version *v)
{
    sc_log(SC_LOG_ERROR, "model %s: no worker can be started: %d run, which is the most", v->spec.name,
           SC_SLOTS_MAX);
    sc_registry_workers_changed(v, SC_ELIMIT, "too many workers run; scale or unregister other models");
}

/* One executor of as many lanes as are wanted. */
static void reconcile_lanes(struct sc_version *v)
{
    struct sc_worker *newest = NULL;
    sc_standby_keep(v);
    for (struct sc_node *n = v->workers.next, *next; n != &v->workers; n = next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        next = n->next;
        if (w->quarantine || w->standby || w->stopping || w->draining)
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
    unsigned lanes = newest ? SC_MIN(SC_MAX(newest->lanes_wanted, min), max) : SC_MAX(min, 1u);
    if (newest && newest->lanes_wanted != lanes)
        sc_lanes_scale(newest, lanes);
    else if (newest && newest->loaded)
        sc_registry_workers_changed(v, 0, "");
    else if (!newest && !sc_worker_start(v, lanes, false))
        cannot_start(v);
}

/* At least minWorkers processes; beyond maxWorkers the newest finish and end (docs/contract.md, scaling). */
static void reconcile_processes(struct sc_version *v)
{
    int have = 0, want = v->spec.max_workers ? v->spec.min_workers : 0;
    unsigned free_instance, instances = sc_launch_instances(v, &free_instance);
    for (struct sc_node *n = v->workers.next, *next; n != &v->workers; n = next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        next = n->next;
        if (w->quarantine || w->stopping || w->draining)
            continue;
        if (w->given_up)
            sc_worker_stop(w, true); /* another is tried in its place */
        else if (w->instances != instances)
            sc_worker_stop(w, true); /* the cores are divided anew */
        else if (++have > v->spec.max_workers)
            sc_worker_stop(w, true);
    }
    for (; have < want; have++)
        if (!sc_worker_start(v, 1, false)) {
            cannot_start(v);
            return;
        }
    sc_registry_workers_changed(v, 0, "");
}

void sc_workers_reconcile(struct sc_version *v)
{
    atomic_store(&v->workers_wanted, v->spec.max_workers);
    if (sc_spec_has_lanes(&v->spec))
        reconcile_lanes(v);
    else
        reconcile_processes(v);
}
