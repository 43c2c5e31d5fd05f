#include "metrics/backend.h"

#include <stdio.h>

#include "base/log.h"
#include "base/utf8.h"
#include "metrics/internal.h"
#include "metrics/line.h"
#include "proto/number.h"

/* Text of a worker in a line of ours: control characters and what is no UTF-8 become '?'. */
static size_t put_clean(char *o, size_t room, struct sc_span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n && n + 4 <= room;) {
        unsigned k = sc_utf8_length(s.p + i, s.n - i);
        unsigned char c = (unsigned char)s.p[i];
        if (k == 0 || c < ' ' || c == 0x7F || (k == 2 && c == 0xC2 && (unsigned char)s.p[i + 1] < 0xA0)) {
            o[n++] = '?';
            i += k ? k : 1;
            continue;
        }
        memcpy(o + n, s.p + i, k);
        n += k;
        i += k;
    }
    return n;
}

static void complain(const char *thread, const char *what, struct sc_span about, const char *end)
{
    char line[SC_LOG_LINE_MAX];
    size_t n = (size_t)snprintf(line, sizeof line / 2, "%s", what);
    n += put_clean(line + n, sizeof line - n - 4, about);
    n += (size_t)snprintf(line + n, 4, "%.3s", end);
    sc_log_line(SC_LOGGER_WORKER, SC_LOG_ERROR, thread, sc_span(line, n));
}

static void name_line(const char *thread, struct sc_span whole)
{
    char line[SC_LOG_LINE_MAX];
    static const char begin[] = "result=", end[] = ", pattern=[METRICS]";
    memcpy(line, begin, sizeof begin - 1);
    size_t n = sizeof begin - 1;
    n += put_clean(line + n, sizeof line - n - sizeof end, whole);
    memcpy(line + n, end, sizeof end - 1);
    sc_log_line(SC_LOGGER_WORKER, SC_LOG_INFO, thread, sc_span(line, n + sizeof end - 1));
}

/* Names are the declared ones, values those sent, in their order; the shorter list decides. */
static void log_metric(const struct sc_declared *d, const struct sc_metric_line *l, double v,
                       const char *thread)
{
    char line[SC_LOG_LINE_MAX];
    char number[SC_NUMBER_MAX];
    struct sc_buf b = {.p = line, .cap = sizeof line, .max = sizeof line - 64};
    sc_buf_str(&b, d->name);
    sc_buf_char(&b, '.');
    sc_buf_str(&b, d->unit);
    sc_buf_char(&b, ':');
    sc_buf_add(&b, number, sc_number_java(number, v));
    sc_buf_str(&b, "|#");
    for (unsigned i = 0; i + 1 < d->ndims && i < l->ndims; i++) {
        if (i)
            sc_buf_char(&b, ',');
        sc_buf_str(&b, d->dims[i]);
        sc_buf_char(&b, ':');
        sc_buf_span(&b, l->values[i]);
    }
    sc_buf_str(&b, "|#hostname:");
    sc_buf_span(&b, l->host);
    sc_buf_str(&b, ",requestID:");
    /* The ids of a very large batch are cut: the time must have its place. */
    struct sc_span ids = l->ids.p ? l->ids : SC_SPAN("null");
    sc_buf_span(&b, sc_span_sub(ids, 0, b.failed ? 0 : b.max - b.n));
    if (b.failed)
        return; /* dimensions beyond any reason */
    struct sc_span seconds = sc_metric_seconds();
    static const char stamp[] = ",timestamp:";
    memcpy(line + b.n, stamp, sizeof stamp - 1);
    memcpy(line + b.n + sizeof stamp - 1, seconds.p, seconds.n);
    size_t n = b.n + sizeof stamp - 1 + seconds.n;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ' || (unsigned char)line[i] >= 0x7F) {
            char clean[SC_LOG_LINE_MAX];
            n = put_clean(clean, sizeof clean, sc_span(line, n));
            memcpy(line, clean, n);
            break;
        }
    sc_log_line(SC_LOGGER_MODEL_METRICS, SC_LOG_INFO, thread, sc_span(line, n));
}

/* Label values are C strings in well-formed UTF-8. */
static bool show_metric(const struct sc_declared *d, const struct sc_metric_line *l, double v)
{
    char room[SC_LOG_LINE_MAX], *o = room;
    const char *values[SC_METRIC_LABELS_MAX];
    if (l->ndims + 1 != d->ndims || (d->type == SC_METRIC_COUNTER && v < 0))
        return false;
    for (unsigned i = 0; i < l->ndims; i++) {
        size_t left = (size_t)(room + sizeof room - o);
        if (l->values[i].n + 5 > left)
            return false;
        values[i] = o;
        o += put_clean(o, left - 1, l->values[i]);
        *o++ = '\0';
    }
    struct sc_series *s = sc_family_series(d->family, values);
    if (!s)
        return true; /* too many, or another family has the name: not this line's fault */
    switch (d->type) {
    case SC_METRIC_COUNTER: sc_series_add(s, 0, v); break;
    case SC_METRIC_GAUGE: sc_series_set(s, v); break;
    case SC_METRIC_HISTOGRAM: sc_series_observe(s, 0, v); break;
    }
    if (s->refs > 1)
        sc_series_release(s); /* the first reference keeps it */
    return true;
}

static struct sc_declared *detect(struct sc_metrics *m, const struct sc_metric_line *l, const char *thread)
{
    static const char *const names[] = {"COUNTER", "GAUGE", "HISTOGRAM"};
    unsigned t = 0;
    while (t < SC_COUNT(names) && !sc_span_eq(l->type, sc_span_str(names[t])))
        t++;
    if (t == SC_COUNT(names)) {
        complain(thread, "Failed to register auto detected backend metric without a type: ", l->name, "");
        return NULL;
    }
    struct sc_declared *d =
        sc_declared_add(&m->declared, (enum sc_metric_type)t, l->name, l->unit, l->keys, l->ndims);
    if (!d) {
        complain(thread, "Failed to register auto detected backend metric, there are too many: ", l->name,
                 "");
        return NULL;
    }
    sc_log(SC_LOG_INFO, "Registering auto detected backend metric: name: %s, unit: %s", d->name, d->unit);
    if (m->to == SC_METRICS_TO_PROMETHEUS && sc_declared_check_prometheus(&m->declared, d, NULL) == 0)
        d->family = sc_metrics_declared_family(m, d);
    return d;
}

void sc_metrics_backend_line(struct sc_metrics *m, struct sc_span whole, struct sc_span rest,
                             const char *thread)
{
    struct sc_metric_line l;
    double v;
    if (m->name_lines && sc_log_enabled(SC_LOGGER_WORKER, SC_LOG_INFO))
        name_line(thread, whole);
    if (!sc_metric_line_parse(rest, &l)) {
        complain(thread, "Failed to parse metrics line: \"", whole, "\".");
        return;
    }
    struct sc_declared *d = sc_declared_find(m->declared.model, l.name);
    if (!d && m->auto_detect)
        d = detect(m, &l, thread);
    if (!d)
        return;
    if (!sc_metric_value(l.value, &v)) {
        complain(thread, "Failed to update backend metric ", l.name, "");
        return;
    }
    if (m->to != SC_METRICS_TO_PROMETHEUS) {
        if (sc_log_enabled(SC_LOGGER_MODEL_METRICS, SC_LOG_INFO))
            log_metric(d, &l, v, thread);
    } else if (!show_metric(d, &l, v)) {
        complain(thread, "Failed to update backend metric ", l.name, "");
    }
}
