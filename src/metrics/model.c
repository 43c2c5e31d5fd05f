/* The counters of models: one block of cells per version, its loops' parts on their own cache lines. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/internal.h"

/* WorkerLoadTime's series of a version, released with it. */
struct sc_metrics_loads {
    struct sc_metrics_loads *next;
    struct sc_series *series;
};

const enum sc_builtin_name sc_model_builtins[SC_MM_VERSIONED] = {SC_BUILTIN_REQUESTS, SC_BUILTIN_LATENCY,
                                                                 SC_BUILTIN_QUEUE};

const double sc_metrics_time_bounds[SC_MT_BOUNDS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                     0.1,    0.25,  1.0,    2.5,   10.0};

static unsigned bucket_of(int64_t ns)
{
    unsigned i = 0;
    while (i < SC_MT_BOUNDS && (double)ns > sc_metrics_time_bounds[i] * 1e9)
        i++;
    return i;
}

void sc_metrics_time(struct sc_metrics_model *h, unsigned loop, enum sc_model_time which, int64_t ns)
{
    ns = SC_MAX(ns, 0);
    sc_metrics_add(h, loop, sc_metrics_time_cell(which) + bucket_of(ns), 1);
    sc_metrics_add(h, loop, sc_metrics_time_cell(which) + SC_MT_BOUNDS + 1, ns);
}

void sc_metrics_batches(struct sc_metrics_model *h, enum sc_model_size which, unsigned bucket, uint64_t n)
{
    if (bucket < SC_MS_BUCKETS)
        atomic_store_explicit(&h->sizes[which][bucket],
                              atomic_load_explicit(&h->sizes[which][bucket], memory_order_relaxed) + n,
                              memory_order_relaxed);
}

/* --- exemplars --------------------------------------------------------------------------------------- */

/*
 * Every word of an exemplar is written with release and read with acquire: who sees one of a newer writing
 * also sees that seq has become odd before it, and takes nothing.
 */
void sc_metrics_exemplar(struct sc_metrics_model *h, unsigned loop, enum sc_model_time which, int64_t ns,
                         const uint64_t trace[2], uint64_t span)
{
    struct sc_exemplar *all = atomic_load_explicit(&h->exemplars[loop], memory_order_relaxed);
    if (!all) {
        all = sc_alloc_array((size_t)SC_MT_COUNT * (SC_MT_BOUNDS + 1), sizeof *all);
        atomic_store_explicit(&h->exemplars[loop], all, memory_order_release);
    }
    struct sc_exemplar *e = &all[(unsigned)which * (SC_MT_BOUNDS + 1) + bucket_of(SC_MAX(ns, 0))];
    uint64_t seq = atomic_load_explicit(&e->seq, memory_order_relaxed);
    atomic_store_explicit(&e->seq, seq + 1, memory_order_relaxed);
    atomic_store_explicit(&e->trace[0], trace[0], memory_order_release);
    atomic_store_explicit(&e->trace[1], trace[1], memory_order_release);
    atomic_store_explicit(&e->span, span, memory_order_release);
    atomic_store_explicit(&e->value_ns, (uint64_t)SC_MAX(ns, 0), memory_order_release);
    atomic_store_explicit(&e->ms, sc_wall_ms(), memory_order_release);
    atomic_store_explicit(&e->seq, seq + 2, memory_order_release);
}

/* False: there is none, or it is being written. */
static bool read_one(const struct sc_exemplar *e, struct sc_prom_exemplar *out)
{
    uint64_t seq = atomic_load_explicit(&e->seq, memory_order_acquire);
    uint64_t hi = atomic_load_explicit(&e->trace[0], memory_order_acquire);
    uint64_t lo = atomic_load_explicit(&e->trace[1], memory_order_acquire);
    uint64_t span = atomic_load_explicit(&e->span, memory_order_acquire);
    uint64_t ns = atomic_load_explicit(&e->value_ns, memory_order_acquire);
    int64_t ms = atomic_load_explicit(&e->ms, memory_order_acquire);
    if (seq == 0 || seq % 2 || atomic_load_explicit(&e->seq, memory_order_relaxed) != seq || ms < out->ms)
        return false;
    int n = snprintf(out->labels, sizeof out->labels, "trace_id=\"%016" PRIx64 "%016" PRIx64 "\"", hi, lo);
    if (span)
        snprintf(out->labels + n, sizeof out->labels - (size_t)n, ",span_id=\"%016" PRIx64 "\"", span);
    out->value = (double)ns / 1e9;
    out->ms = ms;
    return true;
}

bool sc_metrics_exemplar_read(const struct sc_metrics *m, const struct sc_metrics_model *h,
                              enum sc_model_time which, unsigned bucket, struct sc_prom_exemplar *out)
{
    bool any = false;
    *out = (struct sc_prom_exemplar){.ms = 0};
    for (unsigned l = 0; l < m->nloops; l++) {
        const struct sc_exemplar *all = atomic_load_explicit(&h->exemplars[l], memory_order_acquire);
        if (all)
            any |= read_one(&all[(unsigned)which * (SC_MT_BOUNDS + 1) + bucket], out);
    }
    return any;
}

/* --- lines ------------------------------------------------------------------------------------------- */

static void free_lines(struct sc_metrics_lines *l)
{
    for (unsigned i = 0; l && i < SC_COUNT(sc_model_builtins); i++) {
        sc_frame_free(&l->frames[0][i]);
        sc_frame_free(&l->frames[1][i]);
    }
    free(l);
}

static struct sc_metrics_lines *make_lines(const struct sc_metrics *m, const char *name, const char *version)
{
    struct sc_metrics_lines *l = NULL;
    for (unsigned i = 0; i < SC_COUNT(sc_model_builtins); i++) {
        const struct sc_builtin *b = &m->builtin[sc_model_builtins[i]];
        if (!b->log)
            continue;
        if (!l)
            l = sc_alloc(sizeof *l);
        const char *const unnamed[] = {name, "default"}, *const named[] = {name, version};
        sc_frame_init(&l->frames[0][i], b->declared, unnamed, m->host);
        sc_frame_init(&l->frames[1][i], b->declared, named, m->host);
    }
    return l;
}

void sc_metrics_log_model(const struct sc_metrics_model *h, bool versioned, enum sc_model_metric metric,
                          int64_t v)
{
    /* Durations are ns here and microseconds there. */
    sc_frame_log(&h->lines->frames[versioned][metric],
                 metric == SC_MM_REQUESTS ? (double)v : (double)v / 1000);
}

uint64_t sc_metrics_sum(const struct sc_metrics *m, const struct sc_metrics_model *h, unsigned metric)
{
    uint64_t v = 0;
    for (unsigned l = 0; l < m->nloops; l++)
        v += atomic_load_explicit(&h->cells[l * SC_MM_STRIDE + metric], memory_order_relaxed);
    return v;
}

void sc_metrics_gpu_memory(struct sc_metrics_model *h, const int64_t bytes[SC_MEMORY_PARTS])
{
    for (unsigned i = 0; i < SC_MEMORY_PARTS; i++)
        atomic_store_explicit(&h->gpu_memory[i], bytes[i], memory_order_relaxed);
}

struct sc_metrics_model *sc_metrics_model(struct sc_metrics *m, const char *name, const char *version)
{
    struct sc_metrics_name **n = &m->names;
    while (*n && strcmp((*n)->name, name) != 0)
        n = &(*n)->next;
    if (!*n) {
        *n = sc_alloc(sizeof **n);
        (*n)->name = sc_strdup(name);
        (*n)->made_ms = sc_wall_ms();
    }
    struct sc_metrics_model **h = &(*n)->versions;
    for (; *h; h = &(*h)->next)
        if (strcmp((*h)->version, version) == 0) {
            (*h)->refs++;
            return *h;
        }
    *h = sc_alloc(sizeof **h);
    (*h)->name = *n;
    (*h)->model = sc_strdup(name);
    (*h)->version = sc_strdup(version);
    (*h)->refs = 1;
    (*h)->made_ms = sc_wall_ms();
    (*h)->exemplars = sc_alloc_array(m->nloops, sizeof *(*h)->exemplars);
    (*h)->nloops = m->nloops;
    (*h)->lines = make_lines(m, name, version);
    (*h)->cells = sc_metrics_lines((size_t)m->nloops * SC_MM_STRIDE / SC_LINE_WORDS, &(*h)->memory);
    return *h;
}

static void release_loads(struct sc_metrics_model *h)
{
    for (struct sc_metrics_loads *l = h->loads, *next; l; l = next) {
        next = l->next;
        sc_series_release(l->series);
        free(l);
    }
    h->loads = NULL;
}

void sc_metrics_model_free(struct sc_metrics_model *h)
{
    for (unsigned i = 0; i < h->nloops; i++)
        free(atomic_load(&h->exemplars[i]));
    free(h->exemplars);
    free_lines(h->lines);
    free(h->model);
    free(h->version);
    free(h->memory);
    free(h);
}

void sc_metrics_model_release(struct sc_metrics *m, struct sc_metrics_model *h)
{
    if (!h || --h->refs > 0)
        return;
    struct sc_metrics_name *name = h->name;
    struct sc_metrics_model **p = &name->versions;
    while (*p != h)
        p = &(*p)->next;
    *p = h->next;
    for (unsigned i = 0; i < SC_MM_VERSIONED; i++)
        name->gone[i] += sc_metrics_sum(m, h, i);
    release_loads(h);
    h->name = NULL;
    if (!h->pins)
        sc_metrics_model_free(h);
    if (name->versions)
        return;
    struct sc_metrics_name **n = &m->names;
    while (*n != name)
        n = &(*n)->next;
    *n = name->next;
    free(name->name);
    free(name);
}

void sc_metrics_models_del(struct sc_metrics *m)
{
    while (m->names) {
        struct sc_metrics_name *n = m->names;
        m->names = n->next;
        while (n->versions) {
            struct sc_metrics_model *h = n->versions;
            n->versions = h->next;
            release_loads(h);
            sc_metrics_model_free(h);
        }
        free(n->name);
        free(n);
    }
}

void sc_metrics_worker_loaded(struct sc_metrics *m, struct sc_metrics_model *h, const char *worker, double ms)
{
    const struct sc_builtin *b = &m->builtin[SC_BUILTIN_LOAD_TIME];
    const char *const values[] = {worker, "Host"};
    if (b->log) {
        struct sc_frame f;
        sc_frame_init(&f, b->declared, values, m->host);
        sc_frame_log(&f, ms);
        sc_frame_free(&f);
    }
    struct sc_series *s = b->shown ? sc_family_series(b->declared->family, values) : NULL;
    if (!s)
        return;
    if (b->declared->type == SC_METRIC_HISTOGRAM)
        sc_series_observe(s, 0, ms);
    else
        sc_series_set(s, ms);
    for (struct sc_metrics_loads *l = h->loads; l; l = l->next)
        if (l->series == s) {
            sc_series_release(s); /* a restarted worker: one reference is enough */
            return;
        }
    struct sc_metrics_loads *l = sc_alloc(sizeof *l);
    *l = (struct sc_metrics_loads){h->loads, s};
    h->loads = l;
}
