/* What the files of this room share. */
#ifndef SC_METRICS_INTERNAL_H
#define SC_METRICS_INTERNAL_H

#include <stdlib.h>

#include "base/limits.h"
#include "metrics/declared.h"
#include "metrics/registry.h"
#include "proto/prometheus.h"

#define SC_HISTOGRAM_BUCKETS 14
#define SC_SERIES_BUCKETS 128
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
    struct sc_series *same_bucket;
    uint32_t hash; /* of the values */
    struct sc_family *family;
    unsigned refs;
    unsigned
        pins;  /* of scrapes: with the last reference it leaves the family, with the last pin the memory */
    bool seen; /* a gauge that was set, a counter whose series was made */
    int64_t made_ms;
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
    struct sc_series *series, **end; /* in the order of their making; where the next one goes */
    struct sc_series *buckets[SC_SERIES_BUCKETS];
};

/* The metrics that the server itself counts; the others are families. */
enum sc_builtin_name {
    SC_BUILTIN_2XX,
    SC_BUILTIN_4XX,
    SC_BUILTIN_5XX,
    SC_BUILTIN_REQUESTS,
    SC_BUILTIN_LATENCY,
    SC_BUILTIN_QUEUE,
    SC_BUILTIN_QUEUE_TIME,
    SC_BUILTIN_THREAD_TIME,
    SC_BUILTIN_LOAD_TIME,
    SC_BUILTINS
};

/* A log line but for its number and time. */
struct sc_frame {
    char *text; /* NULL: there is no such line */
    size_t head, n;
};

struct sc_builtin {
    const struct sc_declared *declared; /* NULL: it is not recorded */
    bool log, shown;                    /* goes to the log, to /metrics */
    char *help;
    struct sc_frame frame;       /* for those without further values */
    struct sc_series *histogram; /* a time that is declared as one */
};

/* The lines of a model version. */
struct sc_metrics_lines {
    struct sc_frame frames[2][3]; /* [the request named a version][sc_model_metric] */
};

/* What an observation of a histogram came from. Its loop writes it while others read: seq is odd meanwhile.
 */
struct sc_exemplar {
    _Atomic uint64_t seq; /* 0: none yet */
    _Atomic uint64_t trace[2], span, value_ns;
    _Atomic int64_t ms;
};

/* A model: what its versions have in common. */
struct sc_metrics_name {
    struct sc_metrics_name *next;
    char *name;
    int64_t made_ms;
    uint64_t gone[SC_MM_VERSIONED]; /* default counters of versions that were released */
    struct sc_metrics_model *versions;
};

struct sc_host_seen {
    uint64_t events[SC_HE_COUNT];
    bool gpu_known[SC_GPUS_MAX];
    double gpus[SC_GPUS_MAX][SC_GG_COUNT];
};

struct sc_metrics {
    struct sc_host_seen host_seen;
    void (*spans)(void *ctx, uint64_t *sent, uint64_t *dropped); /* NULL: none are sent */
    void *spans_ctx;
    int64_t made_ms;
    unsigned nloops;
    char *host;
    enum sc_metrics_to to;
    bool auto_detect, name_lines;
    struct sc_declarations declared;
    struct sc_builtin builtin[SC_BUILTINS];
    struct sc_host_cell *hosts;
    void *memory;
    uint64_t responses[3];
    struct sc_family *families; /* in the order of their making */
    struct sc_metrics_name *names;
    uint64_t cpu_busy, cpu_total; /* /proc/stat at the latest sample */
};

/* --- lines.c --- */

/* "Name.Unit:" and "|#k:v,...|#hostname:H,timestamp:"; values as many as d has dimensions, but the last. */
void sc_frame_init(struct sc_frame *f, const struct sc_declared *d, const char *const *values,
                   const char *host);
static inline void sc_frame_free(struct sc_frame *f)
{
    free(f->text);
    *f = (struct sc_frame){0};
}
/* Logs it with a number and the time; nothing if there is no text. Any thread. */
void sc_frame_log(const struct sc_frame *f, double v);
void sc_metrics_setup(struct sc_metrics *m);
void sc_metrics_teardown(struct sc_metrics *m);

/* --- registry.c --- */

/* Its family, in which all its dimensions are labels. */
struct sc_family *sc_metrics_declared_family(struct sc_metrics *m, const struct sc_declared *d);
void sc_metrics_families_del(struct sc_metrics *m);

/* `count` zeroed lines of 64 bytes, aligned to one; *memory is what is to be freed. */
void *sc_metrics_lines(size_t count, void **memory);
void sc_series_free(struct sc_series *s);

/* --- model.c --- */

extern const enum sc_builtin_name sc_model_builtins[SC_MM_VERSIONED];
void sc_metrics_models_del(struct sc_metrics *m);
void sc_metrics_model_free(struct sc_metrics_model *h);
/* A counter over all loops. Any thread. */
uint64_t sc_metrics_sum(const struct sc_metrics *m, const struct sc_metrics_model *h, unsigned metric);
/* Where in a loop's counters a histogram is: buckets, then the sum in ns. */
static inline unsigned sc_metrics_time_cell(enum sc_model_time which)
{
    return SC_MM_COUNTERS + (unsigned)which * SC_MT_STRIDE;
}
extern const double sc_metrics_time_bounds[SC_MT_BOUNDS];
/* The latest of any loop for one bucket. False: there is none. Any thread. */
bool sc_metrics_exemplar_read(const struct sc_metrics *m, const struct sc_metrics_model *h,
                              enum sc_model_time which, unsigned bucket, struct sc_prom_exemplar *out);

/* --- registry.c --- */

extern const char *const sc_metric_type_names[];
extern const double sc_histogram_bounds[SC_HISTOGRAM_BUCKETS];
static inline double sc_metrics_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
