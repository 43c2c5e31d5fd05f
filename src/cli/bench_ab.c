#include "cli/bench_ab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const char *const names[SC_LOG_METRICS] = {" PredictionTime.",        " QueueTime.",
                                                  " HandlerTime.",           " WorkerThreadTime.",
                                                  " ts_handler_preprocess.", " ts_handler_inference.",
                                                  " ts_handler_postprocess."};

static void add(struct sc_log_values *v, double x)
{
    if ((v->n & (v->n - 1)) == 0)
        v->list = sc_realloc_array(v->list, v->n ? 2 * v->n : 1, sizeof *v->list);
    v->list[v->n++] = x;
}

/* The value: the fourth field between colons of what stands before the first bar. */
static bool value_of(const char *line, double *out)
{
    const char *bar = strchr(line, '|'), *at = line;
    for (unsigned i = 0; i < 3 && at && bar; i++) {
        at = strchr(at, ':');
        at = at && at < bar ? at + 1 : NULL;
    }
    char *end;
    if (!at || !bar)
        return false;
    *out = strtod(at, &end);
    return end != at && (end == bar || *end == ':');
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int sc_log_metrics_read(struct sc_log_metrics *m, const char *path, int64_t from, struct sc_msg *msg)
{
    char line[4096];
    *m = (struct sc_log_metrics){0};
    FILE *f = fopen(path, "re");
    if (!f || fseek(f, (long)from, SEEK_SET) != 0) {
        if (f)
            fclose(f);
        return sc_fail(msg, SC_ESYS, "%s cannot be read", path);
    }
    while (fgets(line, sizeof line, f))
        for (unsigned i = 0; i < SC_LOG_METRICS; i++) {
            double v;
            /* The logger's line has a blank before the name; what a worker printed has a bracket. */
            if (strstr(line, names[i]) && value_of(line, &v))
                add(&m->of[i], v);
        }
    fclose(f);
    for (unsigned i = 0; i < SC_LOG_METRICS; i++)
        if (m->of[i].n)
            qsort(m->of[i].list, m->of[i].n, sizeof *m->of[i].list, by_value);
    return 0;
}

void sc_log_metrics_free(struct sc_log_metrics *m)
{
    for (unsigned i = 0; i < SC_LOG_METRICS; i++)
        free(m->of[i].list);
    *m = (struct sc_log_metrics){0};
}

double sc_log_at(const struct sc_log_values *v, double q)
{
    return v->n ? v->list[SC_MIN((unsigned)(q * v->n), v->n - 1)] : 0;
}

double sc_log_mean(const struct sc_log_values *v)
{
    double sum = 0;
    for (unsigned i = 0; i < v->n; i++)
        sum += v->list[i];
    return v->n ? sum / v->n : 0;
}

/* ---- ab_report.csv ---- */

struct table {
    struct sc_buf head, values;
};

static void column(struct table *t, const char *name, double v)
{
    sc_buf_printf(&t->head, "%s%s", t->head.n ? "," : "", name);
    sc_buf_printf(&t->values, "%s%.10g", t->values.n ? "," : "", v);
}

static void rounded(struct table *t, const char *name, double v)
{
    sc_buf_printf(&t->head, "%s%s", t->head.n ? "," : "", name);
    sc_buf_printf(&t->values, "%s%.2f", t->values.n ? "," : "", v < 0 ? 0 : v);
}

static void word(struct table *t, const char *name, const char *before, const char *text, const char *after)
{
    sc_buf_printf(&t->head, "%s%s", t->head.n ? "," : "", name);
    sc_buf_str(&t->values, t->values.n ? ",\"" : "\"");
    sc_buf_str(&t->values, before);
    for (; *text; text++)
        sc_buf_printf(&t->values, "%s%c", *text == '"' ? "\"" : "",
                      *text == '\n' || *text == '\r' ? ' ' : *text);
    sc_buf_str(&t->values, after);
    sc_buf_char(&t->values, '"');
}

/* Means over the GPUs that were sampled. */
static double gpus(const struct sc_samples *s, unsigned which)
{
    double sum = 0;
    for (unsigned i = 0; i < s->ngpus; i++)
        sum += SC_MAX(sc_samples_mean(s, (int)i, which), 0);
    return s->ngpus ? sum / s->ngpus : 0;
}

static void result(struct table *t, const struct sc_report *r)
{
    const struct sc_load_result *a = &r->m->all;
    uint64_t all = a->good + a->failed;
    word(t, "Benchmark", "", "Sconce", "");
    column(t, "TS failed requests", (double)a->failed);
    rounded(t, "TS throughput", sc_measured_rate(r->m).median);
    rounded(t, "TS latency P50", sc_measured_latency(r->m, 0.5).median / 1e6);
    rounded(t, "TS latency P90", sc_measured_latency(r->m, 0.9).median / 1e6);
    rounded(t, "TS latency P99", sc_measured_latency(r->m, 0.99).median / 1e6);
    rounded(t, "TS latency mean", sc_measured_latency(r->m, -1).median / 1e6);
    column(t, "TS error rate", all ? 100.0 * (double)a->failed / (double)all : 0);
}

static void parameters(struct table *t, const struct sc_bench_options *o, const struct sc_report *r)
{
    const struct sc_load_result *a = &r->m->all;
    const char *input = o->input ? o->input : o->lines ? o->lines : "";
    column(t, "Batch size", (double)o->batch_size);
    column(t, "Batch delay", (double)o->batch_delay);
    column(t, "Workers", (double)o->workers);
    word(t, "Model", "[.mar](", o->url ? o->url : r->subject, ")");
    column(t, "Concurrency", (double)r->load->connections * r->load->streams);
    word(t, "Input", "[input](", input, ")");
    column(t, "Requests", r->load->count ? (double)r->load->count : (double)(a->good + a->failed));
}

void sc_ab_report(const struct sc_bench_options *o, const struct sc_report *r, const struct sc_log_metrics *m,
                  struct sc_buf *out)
{
    const struct sc_samples *s = &r->m->samples;
    struct table t;
    sc_buf_init(&t.head, SC_REPORT_BYTES);
    sc_buf_init(&t.values, SC_REPORT_BYTES);
    result(&t, r);
    parameters(&t, o, r);
    rounded(&t, "Model_p50", sc_log_at(&m->of[SC_LOG_PREDICTION], 0.5));
    rounded(&t, "Model_p90", sc_log_at(&m->of[SC_LOG_PREDICTION], 0.9));
    rounded(&t, "Model_p99", sc_log_at(&m->of[SC_LOG_PREDICTION], 0.99));
    rounded(&t, "Queue time p50", sc_log_at(&m->of[SC_LOG_QUEUE], 0.5));
    rounded(&t, "Queue time p90", sc_log_at(&m->of[SC_LOG_QUEUE], 0.9));
    rounded(&t, "Queue time p99", sc_log_at(&m->of[SC_LOG_QUEUE], 0.99));
    rounded(&t, "predict_mean", sc_log_mean(&m->of[SC_LOG_PREDICTION]));
    rounded(&t, "handler_time_mean", sc_log_mean(&m->of[SC_LOG_HANDLER]));
    rounded(&t, "waiting_time_mean", sc_log_mean(&m->of[SC_LOG_QUEUE]));
    rounded(&t, "worker_thread_mean", sc_log_mean(&m->of[SC_LOG_WORKER_THREAD]));
    rounded(&t, "cpu_percentage_mean", sc_samples_mean(s, -1, 0));
    rounded(&t, "memory_percentage_mean", sc_samples_mean(s, -1, 1));
    rounded(&t, "gpu_percentage_mean", gpus(s, 0));
    rounded(&t, "gpu_memory_percentage_mean", gpus(s, 3));
    rounded(&t, "gpu_memory_used_mean", gpus(s, 1));
    if (o->handler_profiling) {
        rounded(&t, "handler_preprocess_mean", sc_log_mean(&m->of[SC_LOG_PREPROCESS]));
        rounded(&t, "handler_inference_mean", sc_log_mean(&m->of[SC_LOG_INFERENCE]));
        rounded(&t, "handler_postprocess_mean", sc_log_mean(&m->of[SC_LOG_POSTPROCESS]));
    }
    sc_buf_span(out, sc_buf_view(&t.head));
    sc_buf_char(out, '\n');
    sc_buf_span(out, sc_buf_view(&t.values));
    sc_buf_char(out, '\n');
    sc_buf_free(&t.head);
    sc_buf_free(&t.values);
}
