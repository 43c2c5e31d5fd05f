/* What must not take longer than it may: batches, loads, quarantine without suspects. Loop 0, on its tick. */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/gpus.h"
#include "model/placement.h"
#include "model/sharing.h"

/* How long a quarantine worker without suspects is kept. */
#define QUARANTINE_IDLE_NS (10 * INT64_C(1000000000))

/* So long its start waits for a worker that is loading and has requests to come back to: two that load at
 * once on one GPU slow each other down. */
#define QUARANTINE_WAIT_NS (300 * INT64_C(1000000))

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
        if (!page.since_ns)
            continue;
        if (!sc_running_credible(&page, sc_clock_ns()))
            atomic_store(&w->att->distrusted, true);
        else if (now - page.since_ns - sc_gpus_stalled(w->version, page.since_ns, now) < limit)
            continue;
        if (atomic_load(&w->att->distrusted))
            sc_log(SC_LOG_ERROR, "model %s: a worker wrote a running page that cannot be and is replaced",
                   w->version->spec.name);
        else
            sc_log(SC_LOG_ERROR,
                   "Backend worker did not respond in given time: model %s: a worker did not respond in %d s "
                   "(responseTimeout) and is replaced",
                   w->version->spec.name, w->version->spec.response_timeout);
        sc_metrics_add(w->version->metrics, 0, SC_MM_HANGS, !atomic_load(&w->att->distrusted));
        sc_group_fault(w->version);
        atomic_store(&w->att->kill_asked, true);
        for (unsigned i = 0; i < e->nloops; i++) {
            struct hung *h = sc_alloc(sizeof *h);
            h->att = w->att;
            h->n = page.n;
            memcpy(h->ids, page.ids, page.n * sizeof *page.ids);
            sc_engine_call(sc_engine_loop(e, i), tell_hung, h, &e->planes[i]);
        }
        sc_worker_order(e, SC_CTL_SLOT_KILL, w->slot, w->life);
        return;
    }
}

static void look_at_quarantine(struct sc_version *v, int64_t now)
{
    struct sc_worker *q = NULL;
    size_t suspects = 0, queued = 0;
    bool loading = false;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->quarantine)
            q = w;
        else if (!w->standby && !w->loaded && !w->given_up && !w->stopping)
            loading = true;
    }
    for (unsigned i = 0; i < v->engine->nloops; i++) {
        suspects += atomic_load_explicit(&v->shards[i]->nsuspects, memory_order_relaxed);
        queued += atomic_load_explicit(&v->shards[i]->queued, memory_order_relaxed);
    }
    bool busy = suspects || atomic_load(&v->quarantine_owner) >= 0;
    if (busy)
        v->quarantine_idle_ns = now;
    if (!suspects || q)
        v->suspects_ns = 0;
    else if (v->suspects_ns == 0)
        v->suspects_ns = now;
    if (suspects && !q) {
        if ((!loading || !queued || now - v->suspects_ns >= QUARANTINE_WAIT_NS) &&
            sc_worker_start(v, 1, true))
            sc_log(SC_LOG_INFO, "model %s: a quarantine worker starts for %zu requests whose worker died",
                   v->spec.name, suspects);
    } else if (q && !busy && now - v->quarantine_idle_ns > QUARANTINE_IDLE_NS) {
        sc_worker_stop(q, true); /* drained: a loop may be sending it a suspect right now */
    }
}

static bool look_at_worker(void *time, struct sc_worker *w)
{
    int64_t now = *(int64_t *)time;
    const struct sc_model_spec *s = &w->version->spec;
    if (w->att)
        sc_attachment_count(w->att);
    look_for_hang(w, now);
    if (w->loading_ns && now - w->loading_ns - sc_gpus_stalled(w->version, w->loading_ns, now) >
                             (int64_t)s->startup_timeout * 1000000000) {
        w->loading_ns = 0;
        snprintf(w->failure, sizeof w->failure, "the model did not load within %d s (startupTimeout)",
                 s->startup_timeout);
        sc_log(SC_LOG_ERROR, "Backend worker did not respond in given time: model %s: %s", s->name,
               w->failure);
        sc_worker_order(w->version->engine, SC_CTL_SLOT_KILL, w->slot, w->life);
    }
    return false;
}

void sc_workers_tick(struct sc_engine *e)
{
    int64_t now = sc_clock_ns();
    sc_gpus_tick(e, now);
    sc_placement_tick(e);
    sc_sharing_tick(e, now);
    sc_weights_tick(e);
    (void)sc_workers_each(e, look_at_worker, &now);
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            look_at_quarantine(v, now);
            if (v->sequences)
                sc_turns_tick(v, now);
        }
}
