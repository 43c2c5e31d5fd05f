/*
 * What the server counts, as lines in its logs or rendered for GET /metrics (docs/contract.md §7):
 * TorchServe's families under TorchServe's names, as far as metrics.yaml declares them, then our own, which
 * begin with sconce_ and are for /metrics alone.
 *
 * Threads: everything here is loop 0's, but for the few calls that take a loop's index: those are that loop's
 * thread's. They are plain adds to a cache line that only this thread writes (relaxed atomics without a lock
 * prefix), summed when rendering. A value rendered may lack what happened in the last moment; none is lost.
 */
#ifndef SC_METRICS_REGISTRY_H
#define SC_METRICS_REGISTRY_H

#include <stdatomic.h>

#include "base/array.h"
#include "base/buf.h"
#include "proto/prometheus.h"

struct sc_exemplar;
struct sc_metrics;

/* Never NULL. hostname is copied. */
struct sc_metrics *sc_metrics_new(unsigned nloops, const char *hostname);

/* metrics_mode */
enum sc_metrics_to {
    SC_METRICS_TO_PROMETHEUS, /* everything to /metrics */
    SC_METRICS_TO_LOG,        /* every event a line; /metrics is empty */
    SC_METRICS_TO_LEGACY      /* as LOG, but the three ts_ counters: these to /metrics */
};
struct sc_metrics_config {
    enum sc_metrics_to to;
    const char *file; /* metrics_config; NULL: TorchServe's default table */
    bool auto_detect; /* model_metrics_auto_detect: what workers print need not be declared */
    bool name_lines;  /* tell every metric line of a worker in the log, too, as TorchServe does */
};
/*
 * Before anything is recorded, once; without it: to Prometheus, the default table. A file that cannot be read
 * is an ERROR line, and nothing is recorded, as with TorchServe. SC_EINVAL with *msg: Prometheus could not
 * show what is declared (a name twice, characters); the server must not start.
 */
int sc_metrics_configure(struct sc_metrics *m, const struct sc_metrics_config *c,
                         struct sc_msg *msg) SC_MUST_USE;
/* All handles must have been released; series go with it. */
void sc_metrics_del(struct sc_metrics *m);

/*
 * A scrape: the families, series and models that there are, taken on loop 0 in a moment, and written on any
 * thread beside all that goes on: numbers are read when they are written. What leaves meanwhile is told once
 * more. names: the values of name[], 0 of them: everything.
 */
struct sc_scrape;
struct sc_scrape *sc_scrape_new(struct sc_metrics *m); /* loop 0; never NULL */
void sc_scrape_write(const struct sc_scrape *s, enum sc_prom_format format, const struct sc_span *names,
                     unsigned nnames, struct sc_buf *out);
void sc_scrape_del(struct sc_scrape *s); /* loop 0 */
/* All three in one. Loop 0. */
void sc_metrics_render(struct sc_metrics *m, enum sc_prom_format format, const struct sc_span *names,
                       unsigned nnames, struct sc_buf *out);
/* Counts of spans are told, too. Before anything is recorded; counts is called on any thread. */
void sc_metrics_spans(struct sc_metrics *m, void (*counts)(void *ctx, uint64_t *sent, uint64_t *dropped),
                      void *ctx);

/* Events of the host. */
enum sc_host_event {
    SC_HE_MPS_FAULT,    /* sconce_mps_faults_total: all MPS clients of a GPU were lost */
    SC_HE_MPS_RECOVERY, /* sconce_mps_recoveries_total: all of them are back */
    SC_HE_GPU_AGENT,    /* sconce_gpu_agent_restarts_total */
    SC_HE_GPU_STALL,    /* sconce_gpu_stalls_total: the driver did not answer for a while */
    SC_HE_COUNT
};
void sc_metrics_event(struct sc_metrics *m, enum sc_host_event event);

/* Of a GPU, by the driver's index; below 0: not known. */
enum sc_gpu_gauge {
    SC_GG_HEALTHY,   /* sconce_gpu_healthy: whether it is used */
    SC_GG_SM,        /* sconce_gpu_sm_utilization: percent of the multiprocessors that were busy */
    SC_GG_BANDWIDTH, /* sconce_gpu_bandwidth_utilization: percent of the memory's */
    SC_GG_COUNT
};
void sc_metrics_gpu(struct sc_metrics *m, unsigned gpu, const double values[SC_GG_COUNT]);

/* --- models ------------------------------------------------------------------------------------------ */

/* The first three exist for requests that named no version (label "default") and for those that did. */
enum sc_model_metric {
    SC_MM_REQUESTS,                     /* ts_inference_requests_total */
    SC_MM_LATENCY_NS,                   /* ts_inference_latency_microseconds: answer - arrival */
    SC_MM_QUEUE_NS,                     /* ts_queue_latency_microseconds: taken by a worker - arrival */
    SC_MM_VERSIONED,                    /* added to the above when the request named a version */
    SC_MM_QUEUED = 2 * SC_MM_VERSIONED, /* sconce_queue_depth: up by n, down by -n, on any loop */
    SC_MM_RUNNING,                      /* sconce_in_flight: the same */
    SC_MM_BATCHED,                      /* sum of the batches' sizes; a request in several counts in each */
    SC_MM_REPLAYS,                      /* sconce_replays_total: requests run again after a worker's death */
    SC_MM_RESTARTS,                     /* sconce_worker_restarts_total */
    SC_MM_TOKENS,                       /* of all batches */
    SC_MM_MEMORY,                       /* sconce_out_of_memory_total: answers 507 */
    SC_MM_HANGS, /* sconce_worker_hangs_total: workers replaced because they did not respond in time */
    SC_MM_COUNT
};

/* Histograms of every model version, in seconds. */
enum sc_model_time {
    SC_MT_QUEUE,   /* sconce_queue_seconds: accepted until a worker began with it */
    SC_MT_WORKER,  /* sconce_worker_seconds: from there until its answer was here */
    SC_MT_REQUEST, /* sconce_request_seconds: its head arrived until it is answered */
    SC_MT_RECEIVE, /* sconce_receive_seconds: its head arrived until its body had */
    SC_MT_COUNT
};

/* Histograms of batches; bucket i: of more than 2^(i-1) and at most 2^i, the last one: of more. */
enum sc_model_size {
    SC_MS_REQUESTS, /* sconce_batch_size; SC_MM_BATCHED is its sum */
    SC_MS_TOKENS,   /* sconce_batch_tokens; SC_MM_TOKENS is its sum */
    SC_MS_COUNT
};
#define SC_MS_BUCKETS 18

/* sconce_gpu_memory_bytes of a version's workers, by what it is taken for. */
enum sc_memory_part { SC_MEMORY_WEIGHTS, SC_MEMORY_ACTIVATIONS, SC_MEMORY_CONTEXT, SC_MEMORY_PARTS };

#define SC_MM_COUNTERS 16 /* words of one loop's counters: two cache lines */
#define SC_MT_BOUNDS 11   /* upper ends of buckets; one more is for what exceeds them all */
#define SC_MT_STRIDE 16   /* words of one loop's histogram: buckets, then the sum in ns */
#define SC_MM_STRIDE (SC_MM_COUNTERS + SC_MT_COUNT * SC_MT_STRIDE)
_Static_assert(SC_MM_COUNT <= SC_MM_COUNTERS && SC_MT_BOUNDS + 2 <= SC_MT_STRIDE,
               "a loop's counters fit its lines");

/* The counters of one model version; only `cells` is for the inline below. */
struct sc_metrics_model {
    _Atomic uint64_t *cells; /* [loop * SC_MM_STRIDE + metric] */
    struct sc_metrics_model *next;
    struct sc_metrics_name *name; /* NULL: it was released, and a scrape has it still */
    char *model, *version;
    void *memory;
    unsigned refs, pins; /* pins: of scrapes */
    unsigned nloops;
    int64_t made_ms;
    _Atomic uint64_t sizes[SC_MS_COUNT][SC_MS_BUCKETS];
    _Atomic(struct sc_exemplar *) *exemplars; /* one array per loop; NULL: nothing of that loop was traced */
    _Atomic int64_t gpu_memory[SC_MEMORY_PARTS]; /* bytes; all 0: it is not told */
    struct sc_metrics_loads *loads;
    struct sc_metrics_lines *lines; /* NULL: nothing goes to the log */
};

/* What its workers have on GPUs. Loop 0. */
void sc_metrics_gpu_memory(struct sc_metrics_model *h, const int64_t bytes[SC_MEMORY_PARTS]);
/* The handle of that model version, new or one more reference. Never NULL. */
struct sc_metrics_model *sc_metrics_model(struct sc_metrics *m, const char *name, const char *version);
/* With the last reference the version's own series end; its part of the "default" counters stays while the
 * model has a version. */
void sc_metrics_model_release(struct sc_metrics *m, struct sc_metrics_model *h);

/* From that loop's thread. */
static inline void sc_metrics_add(struct sc_metrics_model *h, unsigned loop, unsigned metric, int64_t v)
{
    _Atomic uint64_t *c = &h->cells[loop * SC_MM_STRIDE + metric];
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + (uint64_t)v,
                          memory_order_relaxed);
}

/* Observes a time. From that loop's thread. */
void sc_metrics_time(struct sc_metrics_model *h, unsigned loop, enum sc_model_time which, int64_t ns);
/* Says what a time that was observed came from: its trace, and its span if it is one of ours, else 0. From
 * that loop's thread. */
void sc_metrics_exemplar(struct sc_metrics_model *h, unsigned loop, enum sc_model_time which, int64_t ns,
                         const uint64_t trace[2], uint64_t span);
/* n batches more in a bucket. Loop 0. */
void sc_metrics_batches(struct sc_metrics_model *h, enum sc_model_size which, unsigned bucket, uint64_t n);

void sc_metrics_log_model(const struct sc_metrics_model *h, bool versioned, enum sc_model_metric metric,
                          int64_t v);

/* A request for a known model, before it is queued. */
static inline void sc_metrics_request(struct sc_metrics_model *h, unsigned loop, bool versioned)
{
    sc_metrics_add(h, loop, SC_MM_REQUESTS + (versioned ? SC_MM_VERSIONED : 0), 1);
    if (h->lines)
        sc_metrics_log_model(h, versioned, SC_MM_REQUESTS, 1);
}

/* A request that was answered; both durations count from its arrival. */
static inline void sc_metrics_answered(struct sc_metrics_model *h, unsigned loop, bool versioned,
                                       int64_t queue_ns, int64_t latency_ns)
{
    unsigned v = versioned ? SC_MM_VERSIONED : 0;
    sc_metrics_add(h, loop, SC_MM_LATENCY_NS + v, latency_ns);
    sc_metrics_add(h, loop, SC_MM_QUEUE_NS + v, queue_ns);
    if (h->lines) {
        sc_metrics_log_model(h, versioned, SC_MM_LATENCY_NS, latency_ns);
        sc_metrics_log_model(h, versioned, SC_MM_QUEUE_NS, queue_ns);
    }
}

/* WorkerLoadTime of a worker (W-9000-model_1.0): creation to loaded. */
void sc_metrics_worker_loaded(struct sc_metrics *m, struct sc_metrics_model *h, const char *worker,
                              double ms);

/* --- the host ---------------------------------------------------------------------------------------- */

/* Totals since the start, from the HTTP servers' counters; set before rendering. */
void sc_metrics_responses(struct sc_metrics *m, uint64_t r2xx, uint64_t r4xx, uint64_t r5xx);
/* One HTTP answer: its line in the log. The totals above are counted elsewhere. Any thread. */
void sc_metrics_response(struct sc_metrics *m, int status);
/* QueueTime and WorkerThreadTime, whole ms: the latest of any loop is rendered. now_ns: sc_clock_ns. From
 * that loop's thread. */
void sc_metrics_queue_time(struct sc_metrics *m, unsigned loop, int64_t now_ns, int64_t ms);
void sc_metrics_worker_thread_time(struct sc_metrics *m, unsigned loop, int64_t now_ns, int64_t ms);

/* Any other metric of the host that is declared (GPUMemoryUsed: Host, "0"): to the log, to /metrics, or, if
 * it is not, nowhere. values: of its dimensions but the last, the host. Loop 0. */
void sc_metrics_gauge(struct sc_metrics *m, const char *name, const char *const *values, unsigned n,
                      double v);

/* --- any other family -------------------------------------------------------------------------------- */

enum sc_metric_type { SC_METRIC_COUNTER, SC_METRIC_GAUGE, SC_METRIC_HISTOGRAM };

struct sc_family;
struct sc_series;

/* A family; with a known name the existing one. The label Hostname is appended to its labels. NULL: the name
 * exists with another type or number of labels, or there are more than SC_METRIC_LABELS_MAX - 1. Histograms
 * have Prometheus' default buckets. */
struct sc_family *sc_metrics_family(struct sc_metrics *m, enum sc_metric_type type, const char *name,
                                    const char *unit, const char *const *labels, unsigned nlabels);
/* The series with these label values (as many as labels were given), new or one more reference. NULL: f is
 * NULL, or has SC_METRIC_SERIES_MAX series. The calls below take NULL and do nothing. */
struct sc_series *sc_family_series(struct sc_family *f, const char *const *values);
void sc_series_release(struct sc_series *s);
/* Gauges: loop 0. */
void sc_series_set(struct sc_series *s, double v);
/* Counters; from that loop's thread. */
void sc_series_add(struct sc_series *s, unsigned loop, double v);
/* Histograms; from that loop's thread. */
void sc_series_observe(struct sc_series *s, unsigned loop, double v);

#endif
