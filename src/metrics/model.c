/* The counters of models: one block of cells per version, its loops' parts on their own cache lines. */
#include <stdlib.h>

#include "base/alloc.h"
#include "metrics/internal.h"

/* WorkerLoadTime's series of a version, released with it. */
struct sc_metrics_loads {
    struct sc_metrics_loads *next;
    struct sc_series *series;
};

static const char *const labels[] = {"model_name", "model_version", "hostname"};
static const enum sc_builtin_name builtins[] = {SC_BUILTIN_REQUESTS, SC_BUILTIN_LATENCY, SC_BUILTIN_QUEUE};

static const double time_bounds[SC_MT_BOUNDS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                 0.1,    0.25,  1.0,    2.5,   10.0};

static unsigned time_cell(enum sc_model_time which)
{
    return SC_MM_COUNTERS + (unsigned)which * SC_MT_STRIDE;
}

void sc_metrics_time(struct sc_metrics_model *h, unsigned loop, enum sc_model_time which, int64_t ns)
{
    unsigned i = 0;
    ns = SC_MAX(ns, 0);
    while (i < SC_MT_BOUNDS && (double)ns > time_bounds[i] * 1e9)
        i++;
    sc_metrics_add(h, loop, time_cell(which) + i, 1);
    sc_metrics_add(h, loop, time_cell(which) + SC_MT_BOUNDS + 1, ns);
}

static void free_lines(struct sc_metrics_lines *l)
{
    for (unsigned i = 0; l && i < SC_COUNT(builtins); i++) {
        sc_frame_free(&l->frames[0][i]);
        sc_frame_free(&l->frames[1][i]);
    }
    free(l);
}

static struct sc_metrics_lines *make_lines(const struct sc_metrics *m, const char *name, const char *version)
{
    struct sc_metrics_lines *l = NULL;
    for (unsigned i = 0; i < SC_COUNT(builtins); i++) {
        const struct sc_builtin *b = &m->builtin[builtins[i]];
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
    sc_frame_log(&h->lines->frames[versioned][metric], v, metric == SC_MM_REQUESTS ? 0 : 3);
}

static uint64_t sum(const struct sc_metrics *m, const struct sc_metrics_model *h, unsigned metric)
{
    uint64_t v = 0;
    for (unsigned l = 0; l < m->nloops; l++)
        v += atomic_load_explicit(&h->cells[l * SC_MM_STRIDE + metric], memory_order_relaxed);
    return v;
}

struct sc_metrics_model *sc_metrics_model(struct sc_metrics *m, const char *name, const char *version)
{
    struct sc_metrics_name **n = &m->names;
    while (*n && strcmp((*n)->name, name) != 0)
        n = &(*n)->next;
    if (!*n) {
        *n = sc_alloc(sizeof **n);
        (*n)->name = sc_strdup(name);
    }
    struct sc_metrics_model **h = &(*n)->versions;
    for (; *h; h = &(*h)->next)
        if (strcmp((*h)->version, version) == 0) {
            (*h)->refs++;
            return *h;
        }
    *h = sc_alloc(sizeof **h);
    (*h)->name = *n;
    (*h)->version = sc_strdup(version);
    (*h)->refs = 1;
    (*h)->lines = make_lines(m, name, version);
    (*h)->cells = sc_metrics_lines((size_t)m->nloops * SC_MM_STRIDE / SC_LINE_WORDS, &(*h)->memory);
    return *h;
}

static void free_model(struct sc_metrics_model *h)
{
    for (struct sc_metrics_loads *l = h->loads, *next; l; l = next) {
        next = l->next;
        sc_series_release(l->series);
        free(l);
    }
    free_lines(h->lines);
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
        name->gone[i] += sum(m, h, i);
    free_model(h);
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
            free_model(h);
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
        sc_frame_log_double(&f, ms);
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

static void sample_as(const struct sc_metrics *m, struct sc_prom *w, const char *const *names,
                      const char *name, const char *version, double v)
{
    const char *const values[] = {name, version, m->host};
    sc_prom_sample(w, names, values, SC_COUNT(labels), v);
}

/* A series of TorchServe's counters appears with its first event. */
static void render_inference(struct sc_metrics *m, struct sc_prom *w, unsigned metric, double scale)
{
    const struct sc_builtin *b = &m->builtin[builtins[metric]];
    if (!b->shown)
        return;
    const char *const *names = (const char *const *)b->declared->dims;
    sc_prom_family(w, b->declared->name, "counter", b->help);
    for (const struct sc_metrics_name *n = m->names; n; n = n->next) {
        uint64_t any = n->gone[metric];
        for (const struct sc_metrics_model *h = n->versions; h; h = h->next) {
            any += sum(m, h, metric);
            uint64_t own = sum(m, h, metric + SC_MM_VERSIONED);
            if (own)
                sample_as(m, w, names, n->name, h->version, (double)own / scale);
        }
        if (any)
            sample_as(m, w, names, n->name, "default", (double)any / scale);
    }
}

/* A version's histogram appears with its first request. */
static void render_times(struct sc_metrics *m, struct sc_prom *w)
{
    static const char *const families[SC_MT_COUNT][2] = {
        [SC_MT_QUEUE] = {"sconce_queue_seconds", "From a request's acceptance until a worker began with it"},
        [SC_MT_WORKER] = {"sconce_worker_seconds", "From there until the worker's answer"},
        [SC_MT_REQUEST] = {"sconce_request_seconds", "From the arrival of an HTTP request until its answer"},
    };
    for (unsigned t = 0; t < SC_MT_COUNT; t++) {
        sc_prom_family(w, families[t][0], "histogram", families[t][1]);
        for (const struct sc_metrics_name *n = m->names; n; n = n->next)
            for (const struct sc_metrics_model *h = n->versions; h; h = h->next) {
                const char *const values[] = {n->name, h->version, m->host};
                uint64_t counts[SC_MT_BOUNDS + 1], all = 0;
                for (unsigned i = 0; i <= SC_MT_BOUNDS; i++)
                    all += counts[i] = sum(m, h, time_cell(t) + i);
                if (all)
                    sc_prom_histogram(w, labels, values, SC_COUNT(labels), time_bounds, counts, SC_MT_BOUNDS,
                                      (double)sum(m, h, time_cell(t) + SC_MT_BOUNDS + 1) / 1e9);
            }
    }
}

void sc_metrics_render_models(struct sc_metrics *m, struct sc_prom *w)
{
    static const struct {
        const char *name, *type, *help;
        enum sc_model_metric metric;
    } own[] = {
        {"sconce_queue_depth", "gauge", "Requests that wait for a worker", SC_MM_QUEUED},
        {"sconce_in_flight", "gauge", "Requests that a worker has", SC_MM_RUNNING},
        {"sconce_batches_total", "counter", "Batches computed", SC_MM_BATCHES},
        {"sconce_batch_requests_total", "counter",
         "Sum of those batches' sizes: a request in several batches counts in each", SC_MM_BATCHED},
        {"sconce_replays_total", "counter", "Requests run again after their worker died", SC_MM_REPLAYS},
        {"sconce_worker_restarts_total", "counter", "Workers started again", SC_MM_RESTARTS},
    };
    render_inference(m, w, SC_MM_REQUESTS, 1);
    render_inference(m, w, SC_MM_LATENCY_NS, 1000);
    render_inference(m, w, SC_MM_QUEUE_NS, 1000);
    if (m->to != SC_METRICS_TO_PROMETHEUS)
        return;
    for (unsigned i = 0; i < SC_COUNT(own); i++) {
        sc_prom_family(w, own[i].name, own[i].type, own[i].help);
        for (const struct sc_metrics_name *n = m->names; n; n = n->next)
            for (const struct sc_metrics_model *h = n->versions; h; h = h->next)
                sample_as(m, w, labels, n->name, h->version, (double)(int64_t)sum(m, h, own[i].metric));
    }
    render_times(m, w);
}
