/*
 * Metrics as lines of text: what workers print, and what TorchServe's metric logs hold (docs/contract.md §7).
 */
#ifndef SC_METRICS_LINE_H
#define SC_METRICS_LINE_H

#include "base/array.h"
#include "base/limits.h"
#include "base/span.h"

/* Parts of a worker's line, as they stand in it. */
struct sc_metric_line {
    struct sc_span name, unit, value;
    struct sc_span type;            /* COUNTER, GAUGE, HISTOGRAM or anything else; NULL pointer: none */
    struct sc_span host, time, ids; /* ids: NULL pointer: none */
    unsigned ndims;                 /* those of the form k:v; more than SC_METRIC_LABELS_MAX are left out */
    struct sc_span keys[SC_METRIC_LABELS_MAX], values[SC_METRIC_LABELS_MAX];
};

/* NAME.UNIT:VALUE|#k:v,k:v[|#type:TYPE]|#hostname:HOST,SECONDS[,IDS], the whole of s. False: it is something
 * else. */
bool sc_metric_line_parse(struct sc_span s, struct sc_metric_line *out);
/* The number that Java reads in a value of digits, '-', ',', '.' and 'e'. False: it is none. */
bool sc_metric_value(struct sc_span s, double *out);

/* The current second since 1970, ten digits of text. Any thread; valid until its next call there. */
struct sc_span sc_metric_seconds(void);

#endif
