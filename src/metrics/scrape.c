/*
 * What GET /metrics tells (docs/contract.md §7.1, docs/running.md). A scrape holds what it is to tell by
 * pins, so that loop 0 goes on, registers and forgets, while another thread writes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "metrics/internal.h"

struct family_at {
    const struct sc_family *family;
    size_t end; /* of its series in the list of all */
};

struct series_at {
    struct sc_series *series;
    double gauge;
    bool seen;
};

struct model_at {
    struct sc_metrics_model *version;
    bool last; /* of its model's versions */
    int64_t model_made_ms;
    uint64_t gone[SC_MM_VERSIONED];
};

struct sc_scrape {
    struct sc_metrics *m;
    uint64_t responses[3];
    struct sc_host_seen host;
    size_t nfamilies, nseries, nmodels;
    struct family_at *families;
    struct series_at *series;
    struct model_at *models;
};

/* The writing of one. */
struct writing {
    const struct sc_scrape *s;
    const struct sc_metrics *m;
    struct sc_prom w;
};

static const char *const labels[] = {"model_name", "model_version", "hostname"};

/* ---- taking ------------------------------------------------------------------------------------------- */

static void take_families(struct sc_scrape *s)
{
    size_t n = 0, nseries = 0;
    for (const struct sc_family *f = s->m->families; f; f = f->next, n++)
        nseries += f->nseries;
    s->families = sc_alloc_array(n + 1, sizeof *s->families);
    s->series = sc_alloc_array(nseries + 1, sizeof *s->series);
    for (const struct sc_family *f = s->m->families; f; f = f->next) {
        for (struct sc_series *e = f->series; e; e = e->next) {
            e->pins++;
            s->series[s->nseries++] = (struct series_at){e, e->gauge, e->seen};
        }
        s->families[s->nfamilies++] = (struct family_at){f, s->nseries};
    }
}

static void take_models(struct sc_scrape *s)
{
    size_t n = 0;
    for (const struct sc_metrics_name *name = s->m->names; name; name = name->next)
        for (const struct sc_metrics_model *h = name->versions; h; h = h->next)
            n++;
    s->models = sc_alloc_array(n + 1, sizeof *s->models);
    for (const struct sc_metrics_name *name = s->m->names; name; name = name->next)
        for (struct sc_metrics_model *h = name->versions; h; h = h->next) {
            struct model_at *at = &s->models[s->nmodels++];
            h->pins++;
            *at = (struct model_at){.version = h, .last = !h->next, .model_made_ms = name->made_ms};
            memcpy(at->gone, name->gone, sizeof at->gone);
        }
}

struct sc_scrape *sc_scrape_new(struct sc_metrics *m)
{
    struct sc_scrape *s = sc_alloc(sizeof *s);
    s->m = m;
    s->host = m->host_seen;
    memcpy(s->responses, m->responses, sizeof s->responses);
    take_families(s);
    take_models(s);
    return s;
}

void sc_scrape_del(struct sc_scrape *s)
{
    for (size_t i = 0; i < s->nseries; i++) {
        struct sc_series *e = s->series[i].series;
        if (--e->pins == 0 && e->refs == 0)
            sc_series_free(e);
    }
    for (size_t i = 0; i < s->nmodels; i++) {
        struct sc_metrics_model *h = s->models[i].version;
        if (--h->pins == 0 && !h->name)
            sc_metrics_model_free(h);
    }
    free(s->families);
    free(s->series);
    free(s->models);
    free(s);
}

/* ---- any family ---------------------------------------------------------------------------------------- */

static void write_histogram(struct writing *t, const struct sc_family *f, const struct sc_series *s)
{
    uint64_t counts[SC_HISTOGRAM_BUCKETS + 1] = {0};
    struct sc_prom_histogram h = {.bounds = sc_histogram_bounds,
                                  .counts = counts,
                                  .nbounds = SC_HISTOGRAM_BUCKETS,
                                  .created_ms = s->made_ms};
    for (unsigned l = 0; l < t->m->nloops; l++) {
        const _Atomic uint64_t *cells = &s->cells[l * f->stride];
        for (unsigned i = 0; i <= SC_HISTOGRAM_BUCKETS; i++)
            counts[i] += atomic_load_explicit(&cells[i], memory_order_relaxed);
        h.sum +=
            sc_metrics_double(atomic_load_explicit(&cells[SC_HISTOGRAM_BUCKETS + 1], memory_order_relaxed));
    }
    sc_prom_histogram(&t->w, (const char *const *)f->labels, (const char *const *)s->values, f->nlabels, &h);
}

static void write_one(struct writing *t, const struct sc_family *f, const struct series_at *at)
{
    const struct sc_series *s = at->series;
    const char *const *names = (const char *const *)f->labels, *const *values =
                                                                   (const char *const *)s->values;
    double v = at->gauge;
    if (f->type == SC_METRIC_HISTOGRAM) {
        write_histogram(t, f, s);
        return;
    }
    if (f->type == SC_METRIC_GAUGE && !at->seen)
        return;
    for (unsigned l = 0; s->cells && l < t->m->nloops; l++)
        v += sc_metrics_double(atomic_load_explicit(&s->cells[l * f->stride], memory_order_relaxed));
    sc_prom_sample(&t->w, names, values, f->nlabels, v);
    sc_prom_created(&t->w, names, values, f->nlabels, s->made_ms);
}

static void write_families(struct writing *t)
{
    size_t at = 0;
    for (size_t i = 0; i < t->s->nfamilies; i++) {
        const struct sc_family *f = t->s->families[i].family;
        sc_prom_family(&t->w, f->name, sc_metric_type_names[f->type], f->help);
        for (; at < t->s->families[i].end; at++)
            write_one(t, f, &t->s->series[at]);
    }
}

/* ---- the host ------------------------------------------------------------------------------------------ */

/* The dimensions of a metric without values of its own: Level and the host. */
static void host_sample(struct writing *t, const struct sc_builtin *b, double v)
{
    const char *const values[] = {"Host", t->m->host};
    sc_prom_sample(&t->w, (const char *const *)b->declared->dims, values, 2, v);
}

static void write_latest(struct writing *t, enum sc_builtin_name name, size_t offset)
{
    const struct sc_builtin *b = &t->m->builtin[name];
    int64_t latest = 0, ms = 0;
    if (!b->shown || b->histogram)
        return;
    sc_prom_family(&t->w, b->declared->name, "gauge", b->help);
    for (unsigned l = 0; l < t->m->nloops; l++) {
        const struct sc_latest *c =
            (const struct sc_latest *)(const void *)((const char *)&t->m->hosts[l] + offset);
        int64_t at = atomic_load_explicit(&c->at_ns, memory_order_acquire);
        if (at > latest) {
            latest = at;
            ms = atomic_load_explicit(&c->ms, memory_order_relaxed);
        }
    }
    if (latest)
        host_sample(t, b, (double)ms);
}

static void write_host(struct writing *t)
{
    for (unsigned i = 0; i < SC_COUNT(t->s->responses); i++) {
        const struct sc_builtin *b = &t->m->builtin[SC_BUILTIN_2XX + i];
        if (!b->shown)
            continue;
        sc_prom_family(&t->w, b->declared->name, "counter", b->help);
        if (t->s->responses[i])
            host_sample(t, b, (double)t->s->responses[i]);
    }
    write_latest(t, SC_BUILTIN_QUEUE_TIME, offsetof(struct sc_host_cell, queue_time));
    write_latest(t, SC_BUILTIN_THREAD_TIME, offsetof(struct sc_host_cell, thread_time));
}

static void own_counter(struct writing *t, const char *name, const char *help, uint64_t v)
{
    static const char *const names[] = {"Hostname"};
    const char *const values[] = {t->m->host};
    sc_prom_family(&t->w, name, "counter", help);
    sc_prom_sample(&t->w, names, values, 1, (double)v);
    sc_prom_created(&t->w, names, values, 1, t->m->made_ms);
}

static void write_gpus(struct writing *t)
{
    static const char *const names[] = {"DeviceId", "Hostname"};
    static const char *const families[SC_GG_COUNT][2] = {
        [SC_GG_HEALTHY] = {"sconce_gpu_healthy", "0 for a GPU that is not used any more"},
        [SC_GG_SM] = {"sconce_gpu_sm_utilization", "Percent of a GPU's multiprocessors that were busy"},
        [SC_GG_BANDWIDTH] = {"sconce_gpu_bandwidth_utilization",
                             "Percent of its memory's bandwidth that was used"},
    };
    for (unsigned k = 0; k < SC_GG_COUNT; k++) {
        bool begun = false;
        for (unsigned i = 0; i < SC_GPUS_MAX; i++) {
            char index[16];
            const char *const values[] = {index, t->m->host};
            if (!t->s->host.gpu_known[i] || t->s->host.gpus[i][k] < 0)
                continue;
            if (!begun)
                sc_prom_family(&t->w, families[k][0], "gauge", families[k][1]);
            begun = true;
            snprintf(index, sizeof index, "%u", i);
            sc_prom_sample(&t->w, names, values, 2, t->s->host.gpus[i][k]);
        }
    }
}

static void write_own(struct writing *t)
{
    static const char *const events[SC_HE_COUNT][2] = {
        [SC_HE_MPS_FAULT] = {"sconce_mps_faults_total", "Times that all MPS clients of a GPU were lost"},
        [SC_HE_MPS_RECOVERY] = {"sconce_mps_recoveries_total", "Times that all of them came back"},
        [SC_HE_GPU_AGENT] = {"sconce_gpu_agent_restarts_total", "Times that the gpu agent was started again"},
        [SC_HE_GPU_STALL] = {"sconce_gpu_stalls_total",
                             "Times that the driver of the GPUs did not answer for a while"},
    };
    uint64_t sent, dropped;
    for (unsigned k = 0; k < SC_HE_COUNT; k++)
        own_counter(t, events[k][0], events[k][1], t->s->host.events[k]);
    write_gpus(t);
    own_counter(t, "sconce_log_lines_dropped_total", "Log lines that were dropped", sc_log_dropped());
    if (!t->m->spans)
        return;
    t->m->spans(t->m->spans_ctx, &sent, &dropped);
    own_counter(t, "sconce_spans_sent_total", "Spans that a collector took", sent);
    own_counter(t, "sconce_spans_dropped_total", "Spans that could not be sent", dropped);
}

/* ---- models -------------------------------------------------------------------------------------------- */

static uint64_t sum(const struct writing *t, const struct model_at *at, unsigned metric)
{
    return sc_metrics_sum(t->m, at->version, metric);
}

static void sample_as(struct writing *t, const char *const *names, const struct model_at *at,
                      const char *version, double v, int64_t made_ms)
{
    const char *const values[] = {at->version->model, version, t->m->host};
    sc_prom_sample(&t->w, names, values, SC_COUNT(labels), v);
    sc_prom_created(&t->w, names, values, SC_COUNT(labels), made_ms);
}

/* A series of TorchServe's counters appears with its first event. */
static void write_inference(struct writing *t, unsigned metric, double scale)
{
    const struct sc_builtin *b = &t->m->builtin[sc_model_builtins[metric]];
    uint64_t any = 0;
    if (!b->shown)
        return;
    const char *const *names = (const char *const *)b->declared->dims;
    sc_prom_family(&t->w, b->declared->name, "counter", b->help);
    for (size_t i = 0; i < t->s->nmodels; i++) {
        const struct model_at *at = &t->s->models[i];
        uint64_t own = sum(t, at, metric + SC_MM_VERSIONED);
        any += sum(t, at, metric);
        if (own)
            sample_as(t, names, at, at->version->version, (double)own / scale, at->version->made_ms);
        if (!at->last)
            continue;
        any += at->gone[metric];
        if (any)
            sample_as(t, names, at, "default", (double)any / scale, at->model_made_ms);
        any = 0;
    }
}

static const struct {
    const char *name, *type, *help;
    enum sc_model_metric metric;
} numbers[] = {
    {"sconce_queue_depth", "gauge", "Requests that wait for a worker", SC_MM_QUEUED},
    {"sconce_in_flight", "gauge", "Requests that a worker has", SC_MM_RUNNING},
    {"sconce_replays_total", "counter", "Requests run again after their worker died", SC_MM_REPLAYS},
    {"sconce_worker_restarts_total", "counter", "Workers started again", SC_MM_RESTARTS},
    {"sconce_worker_hangs_total", "counter", "Of these, for they did not respond in time", SC_MM_HANGS},
    {"sconce_out_of_memory_total", "counter", "Requests answered with 507", SC_MM_MEMORY},
};

static void write_numbers(struct writing *t)
{
    for (unsigned k = 0; k < SC_COUNT(numbers); k++) {
        sc_prom_family(&t->w, numbers[k].name, numbers[k].type, numbers[k].help);
        for (size_t i = 0; i < t->s->nmodels; i++) {
            const struct model_at *at = &t->s->models[i];
            sample_as(t, labels, at, at->version->version, (double)(int64_t)sum(t, at, numbers[k].metric),
                      at->version->made_ms);
        }
    }
}

/* Of models that have something on a GPU. */
static void write_gpu_memory(struct writing *t)
{
    static const char *const names[] = {"model_name", "model_version", "of", "hostname"};
    static const char *const parts[] = {[SC_MEMORY_WEIGHTS] = "weights",
                                        [SC_MEMORY_ACTIVATIONS] = "activations",
                                        [SC_MEMORY_CONTEXT] = "context"};
    bool begun = false;
    for (size_t i = 0; i < t->s->nmodels; i++) {
        const struct sc_metrics_model *v = t->s->models[i].version;
        int64_t bytes[SC_MEMORY_PARTS], all = 0;
        for (unsigned k = 0; k < SC_MEMORY_PARTS; k++)
            all |= bytes[k] = atomic_load_explicit(&v->gpu_memory[k], memory_order_relaxed);
        if (all && !begun)
            sc_prom_family(&t->w, "sconce_gpu_memory_bytes", "gauge", "Of a model's workers, by what for");
        begun |= all != 0;
        for (unsigned k = 0; all && k < SC_MEMORY_PARTS; k++) {
            const char *const values[] = {v->model, v->version, parts[k], t->m->host};
            sc_prom_sample(&t->w, names, values, SC_COUNT(names), (double)bytes[k]);
        }
    }
}

/* A version's histograms appear with their first observation. */
static void write_model_histogram(struct writing *t, const struct model_at *at, struct sc_prom_histogram *h)
{
    const char *const values[] = {at->version->model, at->version->version, t->m->host};
    uint64_t all = 0;
    for (unsigned i = 0; i <= h->nbounds; i++)
        all += h->counts[i];
    h->created_ms = at->version->made_ms;
    if (all)
        sc_prom_histogram(&t->w, labels, values, SC_COUNT(labels), h);
}

static void write_time(struct writing *t, const struct model_at *at, enum sc_model_time which)
{
    uint64_t counts[SC_MT_BOUNDS + 1];
    struct sc_prom_exemplar exemplars[SC_MT_BOUNDS + 1];
    struct sc_prom_histogram h = {
        .bounds = sc_metrics_time_bounds, .counts = counts, .nbounds = SC_MT_BOUNDS};
    for (unsigned i = 0; i <= SC_MT_BOUNDS; i++) {
        counts[i] = sum(t, at, sc_metrics_time_cell(which) + i);
        if (t->w.format == SC_PROM_OPENMETRICS &&
            sc_metrics_exemplar_read(t->m, at->version, which, i, &exemplars[i]))
            h.exemplars = exemplars;
    }
    h.sum = (double)sum(t, at, sc_metrics_time_cell(which) + SC_MT_BOUNDS + 1) / 1e9;
    write_model_histogram(t, at, &h);
}

static void write_times(struct writing *t)
{
    static const char *const families[SC_MT_COUNT][2] = {
        [SC_MT_QUEUE] = {"sconce_queue_seconds", "From a request's acceptance until a worker began with it"},
        [SC_MT_WORKER] = {"sconce_worker_seconds", "From there until the worker's answer"},
        [SC_MT_REQUEST] = {"sconce_request_seconds", "From the arrival of an HTTP request until its answer"},
        [SC_MT_RECEIVE] = {"sconce_receive_seconds",
                           "From the arrival of a request until its body was complete"},
    };
    for (unsigned k = 0; k < SC_MT_COUNT; k++) {
        sc_prom_family(&t->w, families[k][0], "histogram", families[k][1]);
        for (size_t i = 0; i < t->s->nmodels; i++)
            write_time(t, &t->s->models[i], (enum sc_model_time)k);
    }
}

/* Buckets of powers of two: those beyond the bounds that are told go to the first and the last. */
static void write_size(struct writing *t, const struct model_at *at, enum sc_model_size which,
                       const double *bounds, unsigned first, unsigned n, enum sc_model_metric total)
{
    uint64_t counts[SC_MS_BUCKETS] = {0};
    struct sc_prom_histogram h = {.bounds = bounds, .counts = counts, .nbounds = n};
    for (unsigned i = 0; i < SC_MS_BUCKETS; i++) {
        unsigned to = i < first ? 0 : SC_MIN(i - first, n);
        counts[to] += atomic_load_explicit(&at->version->sizes[which][i], memory_order_relaxed);
    }
    h.sum = (double)sum(t, at, total);
    write_model_histogram(t, at, &h);
}

static void write_sizes(struct writing *t)
{
    static const double powers[] = {1,   2,    4,    8,    16,   32,    64,    128,  256,
                                    512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
    static const struct {
        const char *name, *help;
        unsigned first, n; /* of the powers */
        enum sc_model_metric total;
    } families[SC_MS_COUNT] = {
        [SC_MS_REQUESTS] = {"sconce_batch_size", "Requests of a batch: one in several batches counts in each",
                            0, 11, SC_MM_BATCHED},
        [SC_MS_TOKENS] = {"sconce_batch_tokens", "Tokens of a batch", 4, 13, SC_MM_TOKENS},
    };
    for (unsigned k = 0; k < SC_MS_COUNT; k++) {
        sc_prom_family(&t->w, families[k].name, "histogram", families[k].help);
        for (size_t i = 0; i < t->s->nmodels; i++)
            write_size(t, &t->s->models[i], (enum sc_model_size)k, powers + families[k].first,
                       families[k].first, families[k].n, families[k].total);
    }
}

/* ---- all ----------------------------------------------------------------------------------------------- */

void sc_scrape_write(const struct sc_scrape *s, enum sc_prom_format format, const struct sc_span *names,
                     unsigned nnames, struct sc_buf *out)
{
    struct writing t = {.s = s, .m = s->m};
    sc_prom_init(&t.w, format, out, names, nnames);
    write_host(&t);
    write_families(&t);
    write_inference(&t, SC_MM_REQUESTS, 1);
    write_inference(&t, SC_MM_LATENCY_NS, 1000);
    write_inference(&t, SC_MM_QUEUE_NS, 1000);
    if (s->m->to == SC_METRICS_TO_PROMETHEUS) {
        write_numbers(&t);
        write_times(&t);
        write_sizes(&t);
        write_gpu_memory(&t);
        write_own(&t);
    }
    sc_prom_end(&t.w);
}

void sc_metrics_render(struct sc_metrics *m, enum sc_prom_format format, const struct sc_span *names,
                       unsigned nnames, struct sc_buf *out)
{
    struct sc_scrape *s = sc_scrape_new(m);
    sc_scrape_write(s, format, names, nnames, out);
    sc_scrape_del(s);
}
