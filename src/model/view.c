/* What is told of models and workers to those who ask. Loop 0. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "model/engine_private.h"
#include "model/gpus.h"
#include "model/placement.h"
#include "model/sharing.h"

static int64_t rss_of(int pid)
{
    char path[64], room[256];
    struct sc_buf text = {.p = room, .cap = sizeof room, .max = sizeof room};
    uint64_t pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    if (pid <= 0 || sc_file_read(path, &text, NULL) < 0)
        return 0;
    /* "size resident ..." */
    struct sc_span rest = sc_buf_view(&text);
    rest = sc_span_sub(rest, sc_span_find(rest, ' ') + 1, rest.n);
    if (!sc_span_u64(sc_span_sub(rest, 0, sc_span_find(rest, ' ')), INT64_MAX >> 16, &pages))
        return 0;
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* Valid until the same worker of the next version is asked for. */
static const char *gpu_usage(const struct sc_engine *e, int gpu, unsigned worker)
{
    static char texts[SC_WORKERS_MAX][160];
    if (gpu < 0 || worker >= SC_WORKERS_MAX)
        return NULL;
    sc_gpu_usage(sc_gpus_report(e), gpu, sc_gpus_physical(e, gpu), texts[worker], sizeof texts[worker]);
    return texts[worker];
}

static void view_version(struct sc_version *v, bool is_default,
                         void (*fn)(void *, const struct sc_version_view *), void *arg)
{
    static struct sc_worker_view workers[SC_WORKERS_MAX];
    struct sc_version_view view = {.spec = &v->spec,
                                   .is_default = is_default,
                                   .on_gpu = sc_gpus_used(v),
                                   .workers = workers,
                                   .left_group = v->ungrouped};
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->quarantine || w->stopping || w->draining)
            continue;
        if (w->standby) {
            view.standby =
                (struct sc_standby_view){.there = true,
                                         .ready = w->loaded,
                                         .pid = w->pid,
                                         .gpu_memory = w->gpu_id >= 0 ? sc_placement_memory(w) : -1,
                                         .rss = rss_of(w->pid),
                                         .last_end = w->last_end};
            continue;
        }
        int64_t rss = w->told_rss ? w->told_rss : rss_of(w->pid);
        const char *usage = gpu_usage(v->engine, w->gpu_id, view.nworkers), *why;
        const char *weights = sc_weights_state(w, &why);
        const struct sc_gpu_memory memory = sc_placement_parts(w);
        for (unsigned i = 0; i < w->lanes && view.nworkers < SC_COUNT(workers); i++)
            workers[view.nworkers++] =
                (struct sc_worker_view){.id = i ? w->ids[i] : w->first_id,
                                        .started_ms = w->made_ms,
                                        .ready = w->loaded,
                                        .pid = w->pid,
                                        .gpu = w->gpu_id,
                                        .gpu_usage = usage,
                                        .gpu_sharing = sc_sharing_name(w),
                                        .mps_client = w->verified_life && w->verified_life == w->life,
                                        .gpu_memory = memory.process,
                                        .gpu_weights = memory.weights,
                                        .gpu_lane = memory.lane,
                                        .gpu_context = memory.context,
                                        .weights = weights,
                                        .weights_why = why,
                                        .weights_bytes = w->shared_bytes,
                                        .last_end = w->last_end,
                                        .rss = rss};
    }
    for (unsigned i = 0; i < v->engine->nloops; i++)
        view.pending += atomic_load_explicit(&v->shards[i]->queued, memory_order_relaxed);
    if (!sc_spec_is_native(&v->spec)) {
        /* What waits beside the batches that the workers have, as TorchServe counts. */
        long long open = atomic_load(&v->open), busy = atomic_load(&v->capacity);
        view.pending = (uint64_t)SC_MIN(view.pending, (uint64_t)SC_MAX(open - busy, 0));
        view.queue_free = (uint64_t)SC_MAX(sc_version_queue_size(v) - (long long)view.pending, 0);
        fn(arg, &view);
        return;
    }
    /* Native models are bounded by bytes: told in requests of the smallest block. */
    uint64_t bytes = atomic_load_explicit(&v->bytes, memory_order_relaxed);
    view.queue_free = bytes < SC_QUEUE_BYTES ? (SC_QUEUE_BYTES - bytes) / 4096 : 0;
    fn(arg, &view);
}

struct pids {
    struct sc_buf *out;
    const char *comma;
};

static bool add_pid(void *arg, struct sc_worker *w)
{
    struct pids *p = arg;
    if (w->pid > 0 && sc_group_leads(w)) {
        sc_buf_printf(p->out, "%s%d", p->comma, w->pid);
        p->comma = ",";
    }
    return false;
}

void sc_engine_pids(struct sc_engine *e, struct sc_buf *out)
{
    struct pids p = {.out = out, .comma = ""};
    (void)sc_workers_each(e, add_pid, &p);
}

static bool has_pid(void *pid, struct sc_worker *w)
{
    return w->pid == *(int *)pid;
}

void sc_engine_memory(struct sc_engine *e, int pid, int64_t bytes)
{
    struct sc_worker *w = pid > 0 ? sc_workers_each(e, has_pid, &pid) : NULL;
    if (w)
        w->told_rss = bytes;
}

void sc_engine_each(struct sc_engine *e, struct sc_span name,
                    void (*fn)(void *arg, const struct sc_version_view *v), void *arg)
{
    for (unsigned i = 0; i < e->nmodels; i++) {
        struct sc_model *m = e->models[i];
        if (name.p && !sc_span_eq(name, sc_span_str(m->name)))
            continue;
        for (unsigned k = 0; k < m->nversions; k++)
            if (!m->versions[k]->unregistering)
                view_version(m->versions[k], m->versions[k] == m->def, fn, arg);
    }
}
