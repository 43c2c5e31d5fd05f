#include "model/placement.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "gpu/mps_find.h"
#include "gpu/placement.h"
#include "model/gpus.h"
#include "model/launch.h"

/* What a process of that model takes, as it was measured. Kept over the model's registrations. */
struct cost {
    char *model;
    unsigned lanes; /* 0: workers are processes */
    int64_t bytes;
};

struct sc_placement {
    struct cost *costs;
    unsigned ncosts;
    bool stays[SC_GPUS_MAX]; /* it was said that its workers cannot go elsewhere */
};

static struct sc_placement *placement_of(struct sc_engine *e)
{
    if (!e->placement)
        e->placement = sc_alloc(sizeof *e->placement);
    return e->placement;
}

void sc_placement_free(struct sc_engine *e)
{
    for (unsigned i = 0; e->placement && i < e->placement->ncosts; i++)
        free(e->placement->costs[i].model);
    if (e->placement)
        free(e->placement->costs);
    free(e->placement);
    e->placement = NULL;
}

/* ---- what workers cost ------------------------------------------------------------------------------ */

int64_t sc_placement_memory(const struct sc_worker *w)
{
    const struct sc_gpu_report *r = sc_gpus_report(w->version->engine);
    int64_t sum = SC_GPU_UNKNOWN;
    for (unsigned i = 0; r && w->pid > 0 && i < r->nprocesses; i++)
        if (r->processes[i].pid == w->pid && r->processes[i].memory_used >= 0)
            sum = SC_MAX(sum, 0) + r->processes[i].memory_used;
    return sum;
}

/* Who else has a worker's process, and what they said that they have of its memory. */
struct mates {
    const struct sc_worker *of;
    unsigned n;
    int64_t bytes;
};

static bool is_mate(void *arg, struct sc_worker *w)
{
    struct mates *m = arg;
    if (w == m->of || w->pid != m->of->pid)
        return false;
    m->n++;
    m->bytes += w->loaded ? w->gpu_weights + w->gpu_lane * w->lanes : 0;
    return false;
}

static struct mates mates_of(const struct sc_worker *w)
{
    struct mates m = {.of = w};
    if (w->pid > 0 && sc_group_has(w))
        (void)sc_workers_each(w->version->engine, is_mate, &m);
    return m;
}

/* sc_placement_memory without what is others'; the context is all of theirs. */
static int64_t own_memory(const struct sc_worker *w)
{
    int64_t process = sc_placement_memory(w);
    return process == SC_GPU_UNKNOWN ? process : SC_MAX(process - mates_of(w).bytes, 0);
}

static int64_t told_bytes(const json_t *facts, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(facts, key));
    return v > 0 && v < INT64_C(1) << 44 ? (int64_t)v : 0;
}

void sc_placement_told(struct sc_worker *w, struct sc_span facts)
{
    json_t *j = json_loadb(facts.p ? facts.p : "", facts.n, 0, NULL);
    w->gpu_weights = told_bytes(j, "gpuWeights");
    w->gpu_lane = told_bytes(j, "gpuLane");
    json_decref(j);
}

struct sc_gpu_memory sc_placement_parts(const struct sc_worker *w)
{
    if (w->gpu_id < 0 || !w->loaded)
        return (struct sc_gpu_memory){.process = w->gpu_id < 0 ? SC_GPU_UNKNOWN : sc_placement_memory(w),
                                      .context = SC_GPU_UNKNOWN,
                                      .members = 1};
    const struct mates mates = mates_of(w);
    struct sc_gpu_memory m = {.process = sc_placement_memory(w),
                              .weights = w->gpu_weights + w->shared_bytes,
                              .lane = w->gpu_lane,
                              .context = SC_GPU_UNKNOWN,
                              .members = 1 + mates.n};
    int64_t lanes = m.lane * w->lanes;
    if (m.weights && m.process != SC_GPU_UNKNOWN)
        m.context = m.process - lanes - m.weights - mates.bytes;
    /* Weights that are mapped and belong to nobody are not counted as the process's by every driver. */
    if (m.context < 0 && m.process >= lanes && m.weights)
        m.context = SC_MAX(m.process - lanes - mates.bytes, 0);
    if (m.context != SC_GPU_UNKNOWN)
        m.context /= m.members;
    return m;
}

/* Of a version's workers; weights that are shared, as a native model's are, are there once on each GPU. */
static void tell_memory(const struct sc_version *v)
{
    int64_t bytes[SC_MEMORY_PARTS] = {0};
    bool counted[SC_GPUS_MAX] = {false};
    for (const struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        struct sc_gpu_memory m = sc_placement_parts(w);
        if (w->gpu_id < 0)
            continue;
        unsigned gpu = sc_gpus_physical(v->engine, w->gpu_id);
        int64_t shared = sc_spec_is_native(&v->spec) ? m.weights : SC_MIN(w->shared_bytes, m.weights);
        bytes[SC_MEMORY_WEIGHTS] += m.weights - (counted[gpu] ? shared : 0);
        bytes[SC_MEMORY_ACTIVATIONS] += m.lane * w->lanes;
        bytes[SC_MEMORY_CONTEXT] +=
            SC_MAX(m.context != SC_GPU_UNKNOWN ? m.context : m.process / m.members, 0);
        counted[gpu] |= shared > 0;
    }
    sc_metrics_gpu_memory(v->metrics, bytes);
}

static unsigned lanes_of(const struct sc_worker *w)
{
    return sc_spec_has_lanes(&w->version->spec) ? w->lanes : 0;
}

static bool learn(void *engine, struct sc_worker *w)
{
    struct sc_placement *p = placement_of(engine);
    const char *model = w->version->spec.name;
    int64_t bytes = w->loaded && w->gpu_id >= 0 ? own_memory(w) : SC_GPU_UNKNOWN;
    if (bytes <= 0)
        return false;
    for (unsigned i = 0; i < p->ncosts; i++)
        if (p->costs[i].lanes == lanes_of(w) && strcmp(p->costs[i].model, model) == 0) {
            p->costs[i].bytes = SC_MAX(p->costs[i].bytes, bytes);
            return false;
        }
    if (p->ncosts == SC_MODELS_MAX)
        return false;
    p->costs = sc_realloc_array(p->costs, p->ncosts + 1, sizeof *p->costs);
    p->costs[p->ncosts++] = (struct cost){.model = sc_strdup(model), .lanes = lanes_of(w), .bytes = bytes};
    return false;
}

void sc_placement_learn(struct sc_engine *e)
{
    (void)sc_workers_each(e, learn, e);
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++)
            tell_memory(e->models[i]->versions[k]);
}

/* More lanes take more: what fewer have taken is the least that can be said of them. */
int64_t sc_placement_cost(const struct sc_worker *w)
{
    const struct sc_placement *p = w->version->engine->placement;
    unsigned lanes = lanes_of(w);
    int64_t most = 0;
    for (unsigned i = 0; p && i < p->ncosts; i++)
        if ((p->costs[i].lanes == 0) == (lanes == 0) && p->costs[i].lanes <= lanes &&
            strcmp(p->costs[i].model, w->version->spec.name) == 0)
            most = SC_MAX(most, p->costs[i].bytes);
    return most;
}

/* ---- places ----------------------------------------------------------------------------------------- */

struct look {
    struct sc_gpu_place *place;
    const struct sc_worker *for_whom;
    unsigned gpu;  /* the driver's index */
    unsigned ours; /* processes of the report that are */
};

/* It gets no process of its own, but that of w. */
static bool moves_in(const struct sc_worker *it, const struct sc_worker *w)
{
    return sc_group_has(it) && sc_group_has(w) &&
           strcmp(it->version->spec.mps.group, w->version->spec.mps.group) == 0;
}

static bool look_at(void *arg, struct sc_worker *w)
{
    struct look *k = arg;
    struct sc_gpu_place *p = k->place;
    if (w == k->for_whom || w->gpu_id < 0 || (w->held && !w->placed) ||
        sc_gpus_physical(w->version->engine, w->gpu_id) != k->gpu)
        return false;
    int64_t has = own_memory(w), cost = sc_placement_cost(w);
    bool process = has != SC_GPU_UNKNOWN && sc_group_leads(w);
    k->ours += process;
    if (w->stopping || w->draining) {
        p->leaving += SC_MAX(has, 0);
        p->ending += process;
        return false;
    }
    p->processes += process && !moves_in(k->for_whom, w);
    p->workers += w->lanes;
    if (!w->loaded && cost)
        p->promised += SC_MAX(cost - SC_MAX(has, 0), 0);
    else if (!w->loaded)
        p->guessed += SC_MAX(SC_GPU_CONTEXT_BYTES - SC_MAX(has, 0), 0);
    return false;
}

/* Whether workers of that GPU can be clients of MPS: it is not decided yet when they are placed. */
static bool may_be_mps(struct sc_engine *e, unsigned gpu, const struct sc_gpu_info *g)
{
    struct sc_mps_daemon d;
    char program[512];
    return sc_settings_mps(e->spec.settings, gpu, g ? g->uuid : "") != SC_MPS_OFF &&
           (sc_mps_program(program, sizeof program) || sc_mps_find_at(sc_mps_pipe(), &d));
}

static void survey(const struct sc_worker *w, int gpu_id, struct sc_gpu_place *p)
{
    struct sc_engine *e = w->version->engine;
    const struct sc_gpu_report *r = sc_gpus_report(e);
    unsigned gpu = sc_gpus_physical(e, gpu_id), listed = 0;
    *p = (struct sc_gpu_place){
        .gpu_id = gpu_id, .info = r ? sc_gpu_report_find(r, gpu) : NULL, .trouble = sc_gpus_trouble(e, gpu)};
    struct look k = {.place = p, .for_whom = w, .gpu = gpu};
    (void)sc_workers_each(e, look_at, &k);
    for (unsigned i = 0; r && i < r->nprocesses; i++)
        listed += r->processes[i].gpu == gpu;
    p->processes += listed - SC_MIN(k.ours, listed);
    p->alone =
        p->info && p->info->compute_mode == SC_COMPUTE_EXCLUSIVE_PROCESS && !may_be_mps(e, gpu, p->info);
}

/* The GPUs that the model may use, from the one that TorchServe would take on, in its turn. */
static unsigned candidates(const struct sc_worker *w, struct sc_gpu_place out[SC_GPUS_MAX])
{
    int ids[SC_GPUS_MAX];
    unsigned n = sc_gpus_allowed(w->version, ids), from = 0;
    while (from < n && ids[from] != w->gpu_id)
        from++;
    for (unsigned i = 0; i < n; i++)
        survey(w, ids[(from + i) % n], &out[i]);
    return n;
}

/* An executor that takes over from another has most of its memory from it: weights, and soon all. */
static int64_t need_of(const struct sc_worker *w)
{
    const struct sc_version *v = w->version;
    if (w->standby)
        return SC_GPU_CONTEXT_BYTES;
    for (const struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *o = SC_CONTAINER(n, struct sc_worker, node);
        if (o != w && o->loaded && !o->quarantine && sc_spec_has_lanes(&v->spec))
            return 0;
    }
    return sc_placement_cost(w);
}

/* Each GPU's reason, as far as they have room. */
static void add_reason(struct sc_msg *why, const char *text)
{
    size_t n = strlen(why->text);
    snprintf(why->text + n, sizeof why->text - n, "%s%s", n ? "; " : "", text);
}

/* The place for it: an index of p; -1 with *why. *fit: whether now or later. */
static int choose(const struct sc_worker *w, const struct sc_gpu_place *p, unsigned n, enum sc_gpu_fit *fit,
                  int *rc, struct sc_msg *why)
{
    int64_t need = need_of(w);
    int later = -1;
    *rc = SC_ELIMIT;
    why->text[0] = '\0';
    if (sc_settings_places_by_memory(w->version->engine->spec.settings)) {
        int best = sc_gpu_pick(p, n, need);
        struct sc_msg unused;
        bool memory;
        *fit = best < 0 ? SC_FIT_NO : sc_gpu_fits(&p[best], need, &memory, &unused);
        if (best >= 0)
            return best;
    }
    for (unsigned i = 0; i < n; i++) {
        struct sc_msg text = {""};
        bool memory;
        *fit = sc_gpu_fits(&p[i], need, &memory, &text);
        if (*fit == SC_FIT_YES)
            return (int)i;
        if (*fit == SC_FIT_LATER && later < 0)
            later = (int)i;
        add_reason(why, text.text);
        if (memory)
            *rc = SC_ENOMEM;
    }
    *fit = later < 0 ? SC_FIT_NO : SC_FIT_LATER;
    return later;
}

enum sc_placed sc_placement_settle(struct sc_worker *w, int64_t now, int *rc, struct sc_msg *why)
{
    struct sc_engine *e = w->version->engine;
    struct sc_gpu_place places[SC_GPUS_MAX];
    enum sc_gpu_fit fit;
    if (!w->waits_ns)
        w->waits_ns = now;
    if (!sc_gpus_report(e) && sc_gpus_hoped_for(e) && now - w->waits_ns < SC_GPU_FACTS_MS * INT64_C(1000000))
        return SC_PLACE_WAITS;
    /* Of several GPUs the block is given. */
    if (sc_launch_level(&w->version->spec) > 1 || !sc_gpus_report(e)) {
        w->placed = true;
        return SC_PLACED;
    }
    unsigned n = candidates(w, places);
    int at = choose(w, places, n, &fit, rc, why);
    bool patient = now - w->waits_ns < SC_GPU_ROOM_MS * INT64_C(1000000);
    if (fit == SC_FIT_LATER && patient && !w->quarantine)
        return SC_PLACE_WAITS;
    if (fit != SC_FIT_YES && !w->quarantine)
        return SC_PLACE_REFUSED;
    if (at >= 0 && places[at].gpu_id != w->gpu_id) {
        sc_log(SC_LOG_INFO, "model %s: its worker %u gets GPU %d%s%.400s", w->version->spec.name, w->first_id,
               places[at].gpu_id, why->text[0] ? ": " : "", why->text);
        w->gpu_id = places[at].gpu_id;
    }
    w->placed = true;
    return SC_PLACED;
}

/* ---- GPUs that are not to be used any more ---------------------------------------------------------- */

struct drain {
    unsigned gpu;
    bool busy;
    struct sc_worker *next;
};

/* One at a time of each model: the others serve meanwhile. */
static bool version_is_busy(const struct sc_version *v, unsigned gpu)
{
    for (const struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->quarantine || w->gpu_id < 0)
            continue;
        bool there = !w->held && sc_gpus_physical(v->engine, w->gpu_id) == gpu;
        if (w->held || w->stopping || w->draining || (!there && !w->loaded && !w->given_up))
            return true;
    }
    return v->unregistering;
}

static bool look_for_next(void *arg, struct sc_worker *w)
{
    struct drain *d = arg;
    if (w->gpu_id < 0 || w->quarantine || w->held || sc_launch_level(&w->version->spec) > 1 ||
        sc_gpus_physical(w->version->engine, w->gpu_id) != d->gpu || version_is_busy(w->version, d->gpu))
        return false;
    d->next = w;
    return true;
}

static void move(struct sc_worker *w, const char *trouble)
{
    struct sc_version *v = w->version;
    struct sc_gpu_place places[SC_GPUS_MAX];
    struct sc_placement *p = placement_of(v->engine);
    unsigned gpu = sc_gpus_physical(v->engine, w->gpu_id), n = candidates(w, places);
    enum sc_gpu_fit fit;
    struct sc_msg why;
    int rc;
    if (choose(w, places, n, &fit, &rc, &why) < 0) {
        if (!p->stays[gpu])
            sc_log(SC_LOG_ERROR, "GPU %u: its workers stay, as no other GPU can take them: %s", gpu,
                   why.text);
        p->stays[gpu] = true;
        return;
    }
    p->stays[gpu] = false;
    sc_log(SC_LOG_INFO, "model %s: worker %u leaves GPU %d (%s)", v->spec.name, w->first_id, w->gpu_id,
           trouble);
    bool lanes = sc_spec_has_lanes(&v->spec), serves = w->loaded;
    if (w->standby) {
        sc_worker_stop(w, false);
        sc_standby_keep(v);
        return;
    }
    if (lanes && !sc_worker_start(v, w->lanes_wanted, false)) {
        sc_log(SC_LOG_ERROR, "model %s: no worker can be started", v->spec.name);
        return;
    }
    if (!lanes || !serves) /* an executor that serves drains when the new one has loaded */
        sc_worker_stop(w, serves);
    if (!lanes)
        sc_workers_reconcile(v);
}

void sc_placement_tick(struct sc_engine *e)
{
    if (!e->restored || e->closed)
        return;
    for (unsigned i = 0; i < SC_GPUS_MAX; i++) {
        const char *trouble = sc_gpus_trouble(e, i);
        struct sc_worker *w;
        struct drain d = {.gpu = i};
        if (!trouble)
            continue;
        w = sc_workers_each(e, look_for_next, &d);
        if (w)
            move(w, trouble);
    }
}

/* ---- words ------------------------------------------------------------------------------------------ */

static bool says(const char *text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcasestr(text, words[i]))
            return true;
    return false;
}

void sc_placement_explain(const struct sc_worker *w, char *text, size_t size)
{
    static const char *const busy[] = {"busy or unavailable", "cudaErrorDevicesUnavailable",
                                       "CUDA_ERROR_DEVICE_UNAVAILABLE"};
    static const char *const full[] = {"out of memory", "OutOfMemory", "OUT_OF_MEMORY"};
    struct sc_engine *e = w->version->engine;
    const struct sc_gpu_report *r = sc_gpus_report(e);
    unsigned gpu = w->gpu_id < 0 ? 0 : sc_gpus_physical(e, w->gpu_id);
    const struct sc_gpu_info *g = r && w->gpu_id >= 0 ? sc_gpu_report_find(r, gpu) : NULL;
    size_t n = strlen(text);
    if (w->gpu_id < 0 || n + 1 >= size)
        return;
    if (says(text, busy, SC_COUNT(busy)) && g && g->compute_mode != SC_COMPUTE_DEFAULT)
        snprintf(text + n, size - n,
                 " (GPU %u is in compute mode %s; nvidia-smi -i %u -c 0 permits several processes)", gpu,
                 g->compute_mode == SC_COMPUTE_PROHIBITED ? "PROHIBITED" : "EXCLUSIVE_PROCESS", gpu);
    else if (says(text, busy, SC_COUNT(busy)))
        snprintf(text + n, size - n, " (is MPS full, or another program's? sconce gpu tells who uses GPU %u)",
                 gpu);
    else if (says(text, full, SC_COUNT(full)) && w->version->spec.mps.memory[0])
        snprintf(text + n, size - n, " (mpsPinnedMemoryLimit is %s, and of %lld MiB are free %lld)",
                 w->version->spec.mps.memory, g ? (long long)(g->memory_total >> 20) : 0,
                 g ? (long long)(SC_MAX(sc_gpu_memory_free(g), 0) >> 20) : 0);
}
