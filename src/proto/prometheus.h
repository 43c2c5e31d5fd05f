/*
 * Metrics as Prometheus text 0.0.4 in TorchServe's manner (docs/contract.md §7): a comma behind the last
 * label, values in Java's notation for doubles, families in the order of the calls, LF, no blank lines.
 *
 * With a filter, only samples whose full name (suffix included) is one of the names are written, and families
 * left without samples vanish. No allocation but the buffer's.
 */
#ifndef SC_PROTO_PROMETHEUS_H
#define SC_PROTO_PROMETHEUS_H

#include "base/buf.h"
#include "proto/number.h"

#define SC_PROM_BOUNDS_MAX 16

struct sc_prom {
    struct sc_buf *out;
    const struct sc_span *names; /* the filter */
    unsigned nnames;             /* 0: everything */
    const char *family, *help, *type;
    bool announced;       /* HELP and TYPE of the family are written */
    const double *bounds; /* whose texts are in le: most histograms of a scrape have the same */
    char le[SC_PROM_BOUNDS_MAX][SC_NUMBER_MAX + 1];
};

void sc_prom_init(struct sc_prom *w, struct sc_buf *out, const struct sc_span *names, unsigned nnames);
/* Begins a family; type is counter, gauge or histogram. The strings must stay until the next family. */
void sc_prom_family(struct sc_prom *w, const char *name, const char *type, const char *help);
/* One sample of the family. */
void sc_prom_sample(struct sc_prom *w, const char *const *labels, const char *const *values, unsigned nlabels,
                    double value);
/* The samples of one histogram: counts[i] observations are at most bounds[i] and above the bound before (not
 * cumulative); counts[nbounds] are those above all. At most SC_PROM_BOUNDS_MAX bounds, which stay as long as
 * w.
 */
void sc_prom_histogram(struct sc_prom *w, const char *const *labels, const char *const *values,
                       unsigned nlabels, const double *bounds, const uint64_t *counts, unsigned nbounds,
                       double sum);

#endif
