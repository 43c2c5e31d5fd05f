/*
 * Metrics as text, in two formats that Prometheus reads. Families in the order of the calls, values in Java's
 * notation for doubles, LF, no blank lines. Source: prometheus.io, "Exposition formats"; OpenMetrics 1.0.
 *
 * Text 0.0.4 is in TorchServe's manner (docs/contract.md §7): a comma behind the last label.
 *
 * OpenMetrics keeps every sample's name, as rules and dashboards have it: a counter whose name ends with
 * _total is a counter without that end, any other is told as unknown. It adds times of creation, units of
 * seconds, exemplars, and its mark of the end.
 *
 * With a filter, only samples whose full name (suffix included) is one of the names are written, and families
 * left without samples vanish. No allocation but the buffer's.
 */
#ifndef SC_PROTO_PROMETHEUS_H
#define SC_PROTO_PROMETHEUS_H

#include "base/buf.h"
#include "proto/number.h"

#define SC_PROM_BOUNDS_MAX 16

enum sc_prom_format { SC_PROM_TEXT, SC_PROM_OPENMETRICS };

struct sc_prom {
    struct sc_buf *out;
    enum sc_prom_format format;
    const struct sc_span *names; /* the filter */
    unsigned nnames;             /* 0: everything */
    const char *family, *help, *type;
    size_t shown;         /* bytes of the name that HELP and TYPE have */
    bool announced;       /* HELP and TYPE of the family are written */
    const double *bounds; /* whose texts are in le: most histograms of a scrape have the same */
    char le[SC_PROM_BOUNDS_MAX][SC_NUMBER_MAX + 1];
    size_t labels_at, labels_n; /* of a histogram's first sample, in out; 0: it is to come */
};

/* One observation by which a bucket is explained. */
struct sc_prom_exemplar {
    char labels[128]; /* trace_id="..."; empty: there is none */
    double value;
    int64_t ms; /* since 1970 */
};

/* The samples of one histogram: counts[i] observations are at most bounds[i] and above the bound before (not
 * cumulative); counts[nbounds] are those above all. At most SC_PROM_BOUNDS_MAX bounds, which stay as long as
 * w. */
struct sc_prom_histogram {
    const double *bounds;
    const uint64_t *counts;
    unsigned nbounds;
    double sum;
    const struct sc_prom_exemplar *exemplars; /* one for each count; NULL: none */
    int64_t created_ms;                       /* since 1970; 0: not told */
};

/* The media type of a format. */
struct sc_span sc_prom_media(enum sc_prom_format f);
/* What a request with that Accept header gets; a NULL pointer: without one. */
enum sc_prom_format sc_prom_accepted(struct sc_span accept);

void sc_prom_init(struct sc_prom *w, enum sc_prom_format format, struct sc_buf *out,
                  const struct sc_span *names, unsigned nnames);
/* Begins a family; type is counter, gauge or histogram. The strings must stay until the next family. */
void sc_prom_family(struct sc_prom *w, const char *name, const char *type, const char *help);
/* One sample of the family. */
void sc_prom_sample(struct sc_prom *w, const char *const *labels, const char *const *values, unsigned nlabels,
                    double value);
/* OpenMetrics: when a counter began, behind its sample; nothing of what is no counter there. */
void sc_prom_created(struct sc_prom *w, const char *const *labels, const char *const *values,
                     unsigned nlabels, int64_t ms);
void sc_prom_histogram(struct sc_prom *w, const char *const *labels, const char *const *values,
                       unsigned nlabels, const struct sc_prom_histogram *h);
/* Once, behind all families. */
void sc_prom_end(struct sc_prom *w);

#endif
