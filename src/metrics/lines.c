/* Which metrics are recorded and where they go; lines of the metrics log. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "metrics/internal.h"
#include "metrics/line.h"
#include "proto/number.h"

#define FRAME_BYTES 2048

/* --- lines ------------------------------------------------------------------------------------------- */

void sc_frame_init(struct sc_frame *f, const struct sc_declared *d, const char *const *values,
                   const char *host)
{
    char room[FRAME_BYTES];
    int head = snprintf(room, sizeof room, "%s.%s:", d->name, d->unit), n = head;
    *f = (struct sc_frame){0};
    for (unsigned i = 0; i + 1 < d->ndims && n >= 0 && n < FRAME_BYTES; i++)
        n += snprintf(room + n, sizeof room - (size_t)n, "%s%s:%s", i ? "," : "|#", d->dims[i], values[i]);
    if (d->ndims < 2 && n >= 0 && n < FRAME_BYTES)
        n += snprintf(room + n, sizeof room - (size_t)n, "|#");
    if (n >= 0 && n < FRAME_BYTES)
        n += snprintf(room + n, sizeof room - (size_t)n, "|#hostname:%s,timestamp:", host);
    if (n < 0 || n >= FRAME_BYTES)
        return;
    f->text = sc_strdup(room);
    f->head = (size_t)head;
    f->n = (size_t)n;
}

void sc_frame_log(const struct sc_frame *f, double v)
{
    char line[FRAME_BYTES + SC_NUMBER_MAX + 32], *o = line;
    if (!f->text || !sc_log_enabled(SC_LOGGER_METRICS, SC_LOG_INFO))
        return;
    struct sc_span seconds = sc_metric_seconds();
    memcpy(o, f->text, f->head);
    o += f->head;
    o += sc_number_java(o, v);
    memcpy(o, f->text + f->head, f->n - f->head);
    o += f->n - f->head;
    memcpy(o, seconds.p, seconds.n);
    o += seconds.n;
    sc_log_line(SC_LOGGER_METRICS, SC_LOG_INFO, NULL, sc_span(line, (size_t)(o - line)));
}

void sc_metrics_response(struct sc_metrics *m, int status)
{
    const struct sc_builtin *b = &m->builtin[status / 100 == 2   ? SC_BUILTIN_2XX
                                             : status / 100 == 4 ? SC_BUILTIN_4XX
                                                                 : SC_BUILTIN_5XX];
    if (b->log)
        sc_frame_log(&b->frame, 1);
}

void sc_metrics_gauge(struct sc_metrics *m, const char *name, const char *const *values, unsigned n, double v)
{
    struct sc_declared *d = sc_declared_find(m->declared.server, sc_span_str(name));
    if (!d || d->ndims != n + 1)
        return;
    if (m->to != SC_METRICS_TO_PROMETHEUS) {
        struct sc_frame f;
        sc_frame_init(&f, d, values, m->host);
        sc_frame_log(&f, v);
        sc_frame_free(&f);
        return;
    }
    struct sc_series *s = sc_family_series(d->family, values);
    if (!s)
        return;
    switch (d->type) {
    case SC_METRIC_COUNTER: sc_series_add(s, 0, v > 0 ? v : 0); break;
    case SC_METRIC_GAUGE: sc_series_set(s, v); break;
    case SC_METRIC_HISTOGRAM: sc_series_observe(s, 0, v); break;
    }
    /* The first reference keeps it. */
    if (s->refs > 1)
        sc_series_release(s);
}

/* --- what is recorded -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum sc_metric_type type;
    unsigned ndims;
    bool ts; /* what legacy mode shows */
} table[SC_BUILTINS] = {
    [SC_BUILTIN_2XX] = {"Requests2XX", SC_METRIC_COUNTER, 2, false},
    [SC_BUILTIN_4XX] = {"Requests4XX", SC_METRIC_COUNTER, 2, false},
    [SC_BUILTIN_5XX] = {"Requests5XX", SC_METRIC_COUNTER, 2, false},
    [SC_BUILTIN_REQUESTS] = {"ts_inference_requests_total", SC_METRIC_COUNTER, 3, true},
    [SC_BUILTIN_LATENCY] = {"ts_inference_latency_microseconds", SC_METRIC_COUNTER, 3, true},
    [SC_BUILTIN_QUEUE] = {"ts_queue_latency_microseconds", SC_METRIC_COUNTER, 3, true},
    [SC_BUILTIN_QUEUE_TIME] = {"QueueTime", SC_METRIC_GAUGE, 2, false},
    [SC_BUILTIN_THREAD_TIME] = {"WorkerThreadTime", SC_METRIC_GAUGE, 2, false},
    [SC_BUILTIN_LOAD_TIME] = {"WorkerLoadTime", SC_METRIC_GAUGE, 3, false},
};

static void set_up_builtin(struct sc_metrics *m, enum sc_builtin_name i)
{
    static const char *const host_values[] = {"Host"};
    struct sc_builtin *b = &m->builtin[i];
    struct sc_declared *d = sc_declared_find(m->declared.server, sc_span_str(table[i].name));
    /* A time may be a histogram, too. */
    bool time = table[i].type == SC_METRIC_GAUGE && d && d->type == SC_METRIC_HISTOGRAM;
    if (!d)
        return;
    if (d->ndims != table[i].ndims || (d->type != table[i].type && !time)) {
        sc_log(SC_LOG_ERROR, "the metric %s is not recorded: it has %u dimensions and is a %s", table[i].name,
               table[i].ndims, table[i].type == SC_METRIC_COUNTER ? "counter" : "gauge");
        return;
    }
    b->declared = d;
    b->log = m->to == SC_METRICS_TO_LOG || (m->to == SC_METRICS_TO_LEGACY && !table[i].ts);
    b->shown = !b->log;
    char help[256];
    snprintf(help, sizeof help, "Torchserve prometheus %s metric with unit: %s",
             table[i].type == SC_METRIC_COUNTER ? "counter" : "gauge", d->unit);
    b->help = sc_strdup(help);
    if (table[i].ndims == 2)
        sc_frame_init(&b->frame, d, host_values, m->host);
    if (b->shown && (time || i == SC_BUILTIN_LOAD_TIME))
        d->family = sc_metrics_declared_family(m, d);
    if (b->shown && time && i != SC_BUILTIN_LOAD_TIME)
        b->histogram = sc_family_series(d->family, host_values);
}

static bool is_builtin(const char *name)
{
    for (unsigned i = 0; i < SC_BUILTINS; i++)
        if (strcmp(name, table[i].name) == 0)
            return true;
    return false;
}

/* From m->declared. */
static void set_up(struct sc_metrics *m)
{
    for (unsigned i = 0; i < SC_BUILTINS; i++)
        set_up_builtin(m, (enum sc_builtin_name)i);
    if (m->to != SC_METRICS_TO_PROMETHEUS)
        return;
    for (struct sc_declared *d = m->declared.server; d; d = d->next)
        if (!is_builtin(d->name))
            d->family = sc_metrics_declared_family(m, d);
    for (struct sc_declared *d = m->declared.model; d; d = d->next)
        d->family = sc_metrics_declared_family(m, d);
}

void sc_metrics_setup(struct sc_metrics *m)
{
    struct sc_msg msg;
    if (sc_declarations_read(&m->declared, sc_declarations_default(), "metrics.yaml", &msg) < 0)
        abort();
    set_up(m);
}

void sc_metrics_teardown(struct sc_metrics *m)
{
    sc_metrics_families_del(m);
    for (unsigned i = 0; i < SC_BUILTINS; i++) {
        sc_frame_free(&m->builtin[i].frame);
        free(m->builtin[i].help);
        m->builtin[i] = (struct sc_builtin){0};
    }
    sc_declarations_free(&m->declared);
}

int sc_metrics_configure(struct sc_metrics *m, const struct sc_metrics_config *c, struct sc_msg *msg)
{
    struct sc_buf text;
    struct sc_msg why = {""};
    sc_metrics_teardown(m);
    m->to = c->to;
    m->auto_detect = c->auto_detect;
    m->name_lines = c->name_lines;
    if (!c->file) {
        sc_metrics_setup(m);
        return 0;
    }
    sc_buf_init(&text, SC_METRICS_FILE_BYTES);
    int rc = sc_file_read(c->file, &text, &why);
    if (rc == 0)
        rc = sc_declarations_read(&m->declared, sc_buf_view(&text), c->file, &why);
    sc_buf_free(&text);
    if (rc < 0) {
        sc_log(SC_LOG_ERROR, "Failed to load metrics configuration: %s", why.text);
        return 0; /* as TorchServe: without any metrics */
    }
    sc_log(SC_LOG_INFO, "Successfully loaded metrics configuration from %s", c->file);
    if (c->to == SC_METRICS_TO_PROMETHEUS) {
        rc = sc_declarations_check_prometheus(&m->declared, msg);
        if (rc < 0)
            return rc;
    }
    set_up(m);
    return 0;
}
