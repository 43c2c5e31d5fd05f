#include "proto/prometheus.h"

#include <math.h>
#include <stdlib.h>

#include "base/array.h"

/* ---- which format -------------------------------------------------------------------------------------- */

struct sc_span sc_prom_media(enum sc_prom_format f)
{
    return f == SC_PROM_OPENMETRICS ? SC_SPAN("application/openmetrics-text; version=1.0.0; charset=utf-8")
                                    : SC_SPAN("text/plain; version=0.0.4; charset=utf-8");
}

/* Cuts the next part off *s, which ends at c. */
static struct sc_span part(struct sc_span *s, char c)
{
    size_t n = sc_span_find(*s, c);
    struct sc_span p = sc_span_trim(sc_span_sub(*s, 0, n));
    *s = sc_span_sub(*s, n + 1, s->n);
    return p;
}

/* RFC 9110 §12.4.2, in thousandths; what is no weight counts as 1. */
static unsigned weight(struct sc_span parameters)
{
    while (parameters.n) {
        struct sc_span p = part(&parameters, ';'), name = part(&p, '=');
        double q;
        if (sc_span_eq_nocase(name, SC_SPAN("q")))
            return sc_number_read(sc_span_trim(p), &q) && q >= 0 && q <= 1 ? (unsigned)(q * 1000 + 0.5)
                                                                           : 1000;
    }
    return 1000;
}

enum sc_prom_format sc_prom_accepted(struct sc_span accept)
{
    unsigned open = 0, text = 0;
    while (accept.n) {
        struct sc_span range = part(&accept, ','), media = part(&range, ';');
        unsigned q = weight(range);
        if (sc_span_eq_nocase(media, SC_SPAN("application/openmetrics-text")))
            open = SC_MAX(open, q);
        else if (sc_span_eq_nocase(media, SC_SPAN("text/plain")))
            text = SC_MAX(text, q);
    }
    return open > 0 && open >= text ? SC_PROM_OPENMETRICS : SC_PROM_TEXT;
}

/* ---- families ------------------------------------------------------------------------------------------ */

void sc_prom_init(struct sc_prom *w, enum sc_prom_format format, struct sc_buf *out,
                  const struct sc_span *names, unsigned nnames)
{
    *w = (struct sc_prom){.out = out, .format = format, .names = names, .nnames = nnames};
}

static void escape(struct sc_buf *out, const char *s, bool quotes)
{
    for (;; s++) {
        size_t n = strcspn(s, quotes ? "\n\\\"" : "\n\\");
        sc_buf_add(out, s, n);
        s += n;
        if (!*s)
            return;
        sc_buf_char(out, '\\');
        sc_buf_char(out, *s == '\n' ? 'n' : *s);
    }
}

static bool ends_with(struct sc_span s, struct sc_span end)
{
    return s.n > end.n && sc_span_eq(sc_span_sub(s, s.n - end.n, end.n), end);
}

static void put_about(struct sc_prom *w, const char *what)
{
    sc_buf_str(w->out, what);
    sc_buf_add(w->out, w->family, w->shown);
    sc_buf_char(w->out, ' ');
}

static void announce(struct sc_prom *w)
{
    if (w->announced)
        return;
    w->announced = true;
    put_about(w, "# HELP ");
    escape(w->out, w->help, w->format == SC_PROM_OPENMETRICS);
    sc_buf_char(w->out, '\n');
    put_about(w, "# TYPE ");
    sc_buf_str(w->out, w->type);
    sc_buf_char(w->out, '\n');
    if (w->format == SC_PROM_OPENMETRICS && ends_with(sc_span(w->family, w->shown), SC_SPAN("_seconds"))) {
        put_about(w, "# UNIT ");
        sc_buf_str(w->out, "seconds\n");
    }
}

void sc_prom_family(struct sc_prom *w, const char *name, const char *type, const char *help)
{
    w->family = name;
    w->type = type;
    w->help = help;
    w->shown = strlen(name);
    w->announced = false;
    if (w->format == SC_PROM_OPENMETRICS && strcmp(type, "counter") == 0) {
        if (ends_with(sc_span_str(name), SC_SPAN("_total")))
            w->shown -= 6;
        else
            w->type = "unknown";
    }
    if (w->nnames == 0)
        announce(w);
}

/* ---- samples ------------------------------------------------------------------------------------------- */

static bool wanted(const struct sc_prom *w, struct sc_span name, struct sc_span suffix)
{
    for (unsigned i = 0; i < w->nnames; i++) {
        struct sc_span n = w->names[i];
        if (n.n == name.n + suffix.n && sc_span_starts(n, name) &&
            sc_span_eq(sc_span_sub(n, name.n, suffix.n), suffix))
            return true;
    }
    return w->nnames == 0;
}

static void number(struct sc_buf *out, double v)
{
    char text[SC_NUMBER_MAX];
    if (isinf(v))
        sc_buf_str(out, v > 0 ? "+Inf" : "-Inf");
    else
        sc_buf_add(out, text, sc_number_java(text, v));
}

static void seconds(struct sc_buf *out, int64_t ms)
{
    sc_buf_printf(out, "%lld.%03d", (long long)(ms / 1000), (int)(ms % 1000));
}

/* a="b",c="d", with the comma at the end. A histogram's are made once and copied from its first sample. */
static void put_labels(struct sc_prom *w, const char *const *labels, const char *const *values, unsigned n)
{
    if (w->labels_n && sc_buf_reserve(w->out, w->labels_n) == 0) {
        memcpy(w->out->p + w->out->n, w->out->p + w->labels_at, w->labels_n);
        w->out->n += w->labels_n;
        return;
    }
    size_t at = w->out->n;
    for (unsigned i = 0; i < n; i++) {
        sc_buf_str(w->out, labels[i]);
        sc_buf_add(w->out, "=\"", 2);
        escape(w->out, values[i], true);
        sc_buf_add(w->out, "\",", 2);
    }
    w->labels_at = at;
    w->labels_n = w->out->failed ? 0 : w->out->n - at;
}

/* Name and labels of a sample. False: it is not wanted. */
static bool begin(struct sc_prom *w, struct sc_span name, struct sc_span suffix, const char *const *labels,
                  const char *const *values, unsigned nlabels, const char *le)
{
    if (!wanted(w, name, suffix))
        return false;
    announce(w);
    sc_buf_span(w->out, name);
    sc_buf_span(w->out, suffix);
    if (nlabels || le) {
        sc_buf_char(w->out, '{');
        put_labels(w, labels, values, nlabels);
        if (le) {
            sc_buf_add(w->out, "le=\"", 4);
            sc_buf_str(w->out, le);
            sc_buf_add(w->out, "\",", 2);
        }
        if (w->format == SC_PROM_OPENMETRICS && w->out->n)
            w->out->n--; /* the comma */
        sc_buf_char(w->out, '}');
    }
    sc_buf_char(w->out, ' ');
    return true;
}

static void sample(struct sc_prom *w, struct sc_span suffix, const char *const *labels,
                   const char *const *values, unsigned nlabels, const char *le, double value,
                   const struct sc_prom_exemplar *e)
{
    if (!begin(w, sc_span_str(w->family), suffix, labels, values, nlabels, le))
        return;
    number(w->out, value);
    if (e && e->labels[0] && w->format == SC_PROM_OPENMETRICS) {
        sc_buf_str(w->out, " # {");
        sc_buf_str(w->out, e->labels);
        sc_buf_str(w->out, "} ");
        number(w->out, e->value);
        sc_buf_char(w->out, ' ');
        seconds(w->out, e->ms);
    }
    sc_buf_char(w->out, '\n');
}

static void created(struct sc_prom *w, const char *const *labels, const char *const *values, unsigned nlabels,
                    int64_t ms)
{
    if (w->format != SC_PROM_OPENMETRICS || ms <= 0 ||
        !begin(w, sc_span(w->family, w->shown), SC_SPAN("_created"), labels, values, nlabels, NULL))
        return;
    seconds(w->out, ms);
    sc_buf_char(w->out, '\n');
}

void sc_prom_sample(struct sc_prom *w, const char *const *labels, const char *const *values, unsigned nlabels,
                    double value)
{
    w->labels_n = 0;
    sample(w, SC_SPAN(""), labels, values, nlabels, NULL, value, NULL);
}

void sc_prom_created(struct sc_prom *w, const char *const *labels, const char *const *values,
                     unsigned nlabels, int64_t ms)
{
    w->labels_n = 0;
    if (strcmp(w->type, "counter") == 0)
        created(w, labels, values, nlabels, ms);
}

void sc_prom_histogram(struct sc_prom *w, const char *const *labels, const char *const *values,
                       unsigned nlabels, const struct sc_prom_histogram *h)
{
    uint64_t below = 0;
    unsigned nbounds = SC_MIN(h->nbounds, SC_PROM_BOUNDS_MAX);
    for (unsigned i = 0; w->bounds != h->bounds && i < nbounds; i++)
        w->le[i][sc_number_java(w->le[i], h->bounds[i])] = '\0';
    w->bounds = h->bounds;
    w->labels_n = 0;
    for (unsigned i = 0; i <= nbounds; i++) {
        below += h->counts[i];
        sample(w, SC_SPAN("_bucket"), labels, values, nlabels, i < nbounds ? w->le[i] : "+Inf", (double)below,
               h->exemplars ? &h->exemplars[i] : NULL);
    }
    sample(w, SC_SPAN("_count"), labels, values, nlabels, NULL, (double)below, NULL);
    sample(w, SC_SPAN("_sum"), labels, values, nlabels, NULL, h->sum, NULL);
    created(w, labels, values, nlabels, h->created_ms);
}

void sc_prom_end(struct sc_prom *w)
{
    if (w->format == SC_PROM_OPENMETRICS)
        sc_buf_str(w->out, "# EOF\n");
}
