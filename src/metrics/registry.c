#include "metrics/registry.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/internal.h"

const char *const sc_metric_type_names[] = {"counter", "gauge", "histogram"};
const double sc_histogram_bounds[SC_HISTOGRAM_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                          0.5,   0.75, 1.0,   2.5,  5.0,   7.5, 10.0};

void *sc_metrics_lines(size_t count, void **memory)
{
    char *p = sc_alloc_array(count + 1, 64);
    *memory = p;
    return p + (64 - (uintptr_t)p % 64) % 64;
}

struct sc_metrics *sc_metrics_new(unsigned nloops, const char *hostname)
{
    struct sc_metrics *m = sc_alloc(sizeof *m);
    m->nloops = nloops;
    m->made_ms = sc_wall_ms();
    m->host = sc_strdup(hostname);
    _Static_assert(sizeof(struct sc_host_cell) == 64, "a loop's line");
    m->hosts = sc_metrics_lines(nloops, &m->memory);
    sc_metrics_setup(m);
    return m;
}

void sc_series_free(struct sc_series *s)
{
    for (unsigned i = 0; i < SC_METRIC_LABELS_MAX; i++)
        free(s->values[i]);
    free(s->memory);
    free(s);
}

void sc_metrics_families_del(struct sc_metrics *m)
{
    for (struct sc_family *f = m->families, *next; f; f = next) {
        next = f->next;
        for (struct sc_series *s = f->series, *after; s; s = after) {
            after = s->next;
            sc_series_free(s);
        }
        for (unsigned i = 0; i < f->nlabels; i++)
            free(f->labels[i]);
        free(f->name);
        free(f->help);
        free(f);
    }
    m->families = NULL;
}

void sc_metrics_del(struct sc_metrics *m)
{
    if (!m)
        return;
    sc_metrics_models_del(m);
    sc_metrics_teardown(m);
    free(m->memory);
    free(m->host);
    free(m);
}

/* --- families ---------------------------------------------------------------------------------------- */

/* labels: all of them; the last one's value is the host's name. */
static struct sc_family *family(struct sc_metrics *m, enum sc_metric_type type, const char *name,
                                const char *unit, const char *const *labels, unsigned nlabels)
{
    struct sc_family **end = &m->families;
    for (; *end; end = &(*end)->next)
        if (strcmp((*end)->name, name) == 0)
            return (*end)->type == type && (*end)->nlabels == nlabels ? *end : NULL;
    if (nlabels == 0 || nlabels > SC_METRIC_LABELS_MAX)
        return NULL;
    struct sc_family *f = *end = sc_alloc(sizeof *f);
    char help[256];
    snprintf(help, sizeof help, "Torchserve prometheus %s metric with unit: %s", sc_metric_type_names[type],
             unit);
    f->metrics = m;
    f->end = &f->series;
    f->type = type;
    f->name = sc_strdup(name);
    f->help = sc_strdup(help);
    for (; f->nlabels < nlabels; f->nlabels++)
        f->labels[f->nlabels] = sc_strdup(labels[f->nlabels]);
    unsigned words = type == SC_METRIC_HISTOGRAM ? SC_HISTOGRAM_BUCKETS + 2 : 1;
    f->stride = (words + SC_LINE_WORDS - 1) / SC_LINE_WORDS * SC_LINE_WORDS;
    return f;
}

struct sc_family *sc_metrics_family(struct sc_metrics *m, enum sc_metric_type type, const char *name,
                                    const char *unit, const char *const *labels, unsigned nlabels)
{
    const char *all[SC_METRIC_LABELS_MAX];
    if (nlabels >= SC_METRIC_LABELS_MAX)
        return NULL;
    for (unsigned i = 0; i < nlabels; i++)
        all[i] = labels[i];
    all[nlabels] = "Hostname";
    return family(m, type, name, unit, all, nlabels + 1);
}

struct sc_family *sc_metrics_declared_family(struct sc_metrics *m, const struct sc_declared *d)
{
    return family(m, d->type, d->name, d->unit, (const char *const *)d->dims, d->ndims);
}

/* FNV-1a over the values with their ends. */
static uint32_t hash_of(const char *const *values, unsigned n)
{
    uint32_t h = 2166136261u;
    for (unsigned i = 0; i < n; i++) {
        const unsigned char *p = (const unsigned char *)values[i];
        do
            h = (h ^ *p) * 16777619u;
        while (*p++);
    }
    return h;
}

struct sc_series *sc_family_series(struct sc_family *f, const char *const *values)
{
    if (!f)
        return NULL;
    uint32_t hash = hash_of(values, f->nlabels - 1);
    struct sc_series **bucket = &f->buckets[hash % SC_SERIES_BUCKETS];
    for (struct sc_series *s = *bucket; s; s = s->same_bucket) {
        unsigned same = 0;
        while (s->hash == hash && same < f->nlabels - 1 && strcmp(s->values[same], values[same]) == 0)
            same++;
        if (s->hash == hash && same == f->nlabels - 1) {
            s->refs++;
            return s;
        }
    }
    if (f->nseries == SC_METRIC_SERIES_MAX)
        return NULL;
    struct sc_series *s = sc_alloc(sizeof *s);
    s->family = f;
    s->refs = 1;
    s->hash = hash;
    s->made_ms = sc_wall_ms();
    for (unsigned i = 0; i < f->nlabels - 1; i++)
        s->values[i] = sc_strdup(values[i]);
    s->values[f->nlabels - 1] = sc_strdup(f->metrics->host);
    if (f->type != SC_METRIC_GAUGE)
        s->cells = sc_metrics_lines((size_t)f->metrics->nloops * f->stride / SC_LINE_WORDS, &s->memory);
    s->same_bucket = *bucket;
    *bucket = s;
    *f->end = s;
    f->end = &s->next;
    f->nseries++;
    return s;
}

void sc_series_release(struct sc_series *s)
{
    if (!s || --s->refs > 0)
        return;
    struct sc_family *f = s->family;
    struct sc_series **p = &f->series;
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    if (!s->next)
        f->end = p;
    p = &f->buckets[s->hash % SC_SERIES_BUCKETS];
    while (*p != s)
        p = &(*p)->same_bucket;
    *p = s->same_bucket;
    f->nseries--;
    if (!s->pins)
        sc_series_free(s);
}

void sc_series_set(struct sc_series *s, double v)
{
    if (!s)
        return;
    s->gauge = v;
    s->seen = true;
}

/* A double that one thread adds to and another may read. */
static void add_double(_Atomic uint64_t *cell, double v)
{
    v += sc_metrics_double(atomic_load_explicit(cell, memory_order_relaxed));
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    atomic_store_explicit(cell, bits, memory_order_relaxed);
}

void sc_series_add(struct sc_series *s, unsigned loop, double v)
{
    if (s)
        add_double(&s->cells[loop * s->family->stride], v);
}

void sc_series_observe(struct sc_series *s, unsigned loop, double v)
{
    if (!s)
        return;
    _Atomic uint64_t *cells = &s->cells[loop * s->family->stride];
    unsigned i = 0;
    while (i < SC_HISTOGRAM_BUCKETS && v > sc_histogram_bounds[i])
        i++;
    atomic_store_explicit(&cells[i], atomic_load_explicit(&cells[i], memory_order_relaxed) + 1,
                          memory_order_relaxed);
    add_double(&cells[SC_HISTOGRAM_BUCKETS + 1], v);
}

/* --- the host ---------------------------------------------------------------------------------------- */

void sc_metrics_responses(struct sc_metrics *m, uint64_t r2xx, uint64_t r4xx, uint64_t r5xx)
{
    m->responses[0] = r2xx;
    m->responses[1] = r4xx;
    m->responses[2] = r5xx;
}

static void note(struct sc_latest *l, int64_t now_ns, int64_t ms)
{
    atomic_store_explicit(&l->ms, ms, memory_order_relaxed);
    atomic_store_explicit(&l->at_ns, now_ns, memory_order_release);
}

static void time_of(struct sc_metrics *m, struct sc_latest *l, enum sc_builtin_name name, unsigned loop,
                    int64_t now_ns, int64_t ms)
{
    const struct sc_builtin *b = &m->builtin[name];
    note(l, now_ns, ms);
    if (b->histogram)
        sc_series_observe(b->histogram, loop, (double)ms);
    if (b->log)
        sc_frame_log(&b->frame, (double)ms);
}

void sc_metrics_queue_time(struct sc_metrics *m, unsigned loop, int64_t now_ns, int64_t ms)
{
    time_of(m, &m->hosts[loop].queue_time, SC_BUILTIN_QUEUE_TIME, loop, now_ns, ms);
}

void sc_metrics_worker_thread_time(struct sc_metrics *m, unsigned loop, int64_t now_ns, int64_t ms)
{
    time_of(m, &m->hosts[loop].thread_time, SC_BUILTIN_THREAD_TIME, loop, now_ns, ms);
}

void sc_metrics_spans(struct sc_metrics *m, void (*counts)(void *ctx, uint64_t *sent, uint64_t *dropped),
                      void *ctx)
{
    m->spans = counts;
    m->spans_ctx = ctx;
}

void sc_metrics_gpu(struct sc_metrics *m, unsigned gpu, const double values[SC_GG_COUNT])
{
    if (gpu >= SC_GPUS_MAX)
        return;
    m->host_seen.gpu_known[gpu] = true;
    memcpy(m->host_seen.gpus[gpu], values, sizeof m->host_seen.gpus[gpu]);
}

void sc_metrics_event(struct sc_metrics *m, enum sc_host_event event)
{
    m->host_seen.events[event]++;
}
