#include "proto/prometheus.h"

#include <math.h>

#include "base/array.h"

void sc_prom_init(struct sc_prom *w, struct sc_buf *out, const struct sc_span *names, unsigned nnames)
{
    *w = (struct sc_prom){.out = out, .names = names, .nnames = nnames};
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

static void announce(struct sc_prom *w)
{
    if (w->announced)
        return;
    w->announced = true;
    sc_buf_str(w->out, "# HELP ");
    sc_buf_str(w->out, w->family);
    sc_buf_char(w->out, ' ');
    escape(w->out, w->help, false);
    sc_buf_str(w->out, "\n# TYPE ");
    sc_buf_str(w->out, w->family);
    sc_buf_char(w->out, ' ');
    sc_buf_str(w->out, w->type);
    sc_buf_char(w->out, '\n');
}

void sc_prom_family(struct sc_prom *w, const char *name, const char *type, const char *help)
{
    w->family = name;
    w->type = type;
    w->help = help;
    w->announced = false;
    if (w->nnames == 0)
        announce(w);
}

static bool wanted(const struct sc_prom *w, const char *suffix)
{
    struct sc_span family = sc_span_str(w->family), tail = sc_span_str(suffix);
    for (unsigned i = 0; i < w->nnames; i++) {
        struct sc_span n = w->names[i];
        if (n.n == family.n + tail.n && sc_span_starts(n, family) &&
            sc_span_eq(sc_span_sub(n, family.n, tail.n), tail))
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

static void sample(struct sc_prom *w, const char *suffix, const char *const *labels,
                   const char *const *values, unsigned nlabels, const char *le, double value)
{
    if (!wanted(w, suffix))
        return;
    announce(w);
    sc_buf_str(w->out, w->family);
    sc_buf_str(w->out, suffix);
    if (nlabels || le) {
        sc_buf_char(w->out, '{');
        for (unsigned i = 0; i < nlabels; i++) {
            sc_buf_str(w->out, labels[i]);
            sc_buf_str(w->out, "=\"");
            escape(w->out, values[i], true);
            sc_buf_str(w->out, "\",");
        }
        if (le) {
            sc_buf_str(w->out, "le=\"");
            sc_buf_str(w->out, le);
            sc_buf_str(w->out, "\",");
        }
        sc_buf_char(w->out, '}');
    }
    sc_buf_char(w->out, ' ');
    number(w->out, value);
    sc_buf_char(w->out, '\n');
}

void sc_prom_sample(struct sc_prom *w, const char *const *labels, const char *const *values, unsigned nlabels,
                    double value)
{
    sample(w, "", labels, values, nlabels, NULL, value);
}

void sc_prom_histogram(struct sc_prom *w, const char *const *labels, const char *const *values,
                       unsigned nlabels, const double *bounds, const uint64_t *counts, unsigned nbounds,
                       double sum)
{
    uint64_t below = 0;
    nbounds = SC_MIN(nbounds, SC_PROM_BOUNDS_MAX);
    for (unsigned i = 0; w->bounds != bounds && i < nbounds; i++)
        w->le[i][sc_number_java(w->le[i], bounds[i])] = '\0';
    w->bounds = bounds;
    for (unsigned i = 0; i <= nbounds; i++) {
        below += counts[i];
        sample(w, "_bucket", labels, values, nlabels, i < nbounds ? w->le[i] : "+Inf", (double)below);
    }
    sample(w, "_count", labels, values, nlabels, NULL, (double)below);
    sample(w, "_sum", labels, values, nlabels, NULL, sum);
}
