/* What registry.c, model.c and system.c share. */
#ifndef SC_METRICS_INTERNAL_H
#define SC_METRICS_INTERNAL_H

#include "base/limits.h"
#include "metrics/registry.h"
#include "proto/prometheus.h"

#define SC_HISTOGRAM_BUCKETS 14
#define SC_LINE_WORDS 8 /* 64-bit words of a cache line */

/* The latest value that a loop saw. */
struct sc_latest {
    _Atomic int64_t at_ns; /* 0: none yet */
    _Atomic int64_t ms;
};

struct sc_host_cell {
    _Alignas(64) struct sc_latest queue_time;
    struct sc_latest thread_time;
};

struct sc_series {
    struct sc_series *next;
    struct sc_family *family;
    unsigned refs;
    bool seen; /* a gauge that was set, a counter whose series was made */
    double gauge;
    char *values[SC_METRIC_LABELS_MAX];
    _Atomic uint64_t
        *cells; /* per loop `stride` words: bits of a double; histograms: counts, then the sum's bits */
    void *memory;
};

struct sc_family {
    struct sc_family *next;
    struct sc_metrics *metrics;
    enum sc_metric_type type;
    char *name, *help;
    char *labels[SC_METRIC_LABELS_MAX];
    unsigned nlabels, nseries, stride;
    struct sc_series *series;
};

/* A model: what its versions have in common. */
struct sc_metrics_name {
    struct sc_metrics_name *next;
    char *name;
    uint64_t gone[SC_MM_VERSIONED]; /* default counters of versions that were released */
    struct sc_metrics_model *versions;
};

struct sc_metrics {
    unsigned nloops;
    char *host;
    struct sc_host_cell *hosts;
    void *memory;
    uint64_t responses[3];
    struct sc_family *families; /* in the order of their making */
    struct sc_metrics_name *names;
    uint64_t cpu_busy, cpu_total; /* /proc/stat at the latest sample */
};

/* `count` zeroed lines of 64 bytes, aligned to one; *memory is what is to be freed. */
void *sc_metrics_lines(size_t count, void **memory);
/* The families that models have (model.c). */
void sc_metrics_render_models(struct sc_metrics *m, struct sc_prom *w);
void sc_metrics_models_del(struct sc_metrics *m);

#endif
