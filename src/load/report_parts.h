/* What the writers of a report share. Private to this room. */
#ifndef SC_LOAD_REPORT_PARTS_H
#define SC_LOAD_REPORT_PARTS_H

#include "load/report.h"

/* The percentiles that are shown. */
#define SC_QUANTILES 5
struct sc_quantile {
    const char *name;
    double share;
};
extern const struct sc_quantile sc_quantiles[SC_QUANTILES];

/* ISO 8601, UTC. */
void sc_report_time(int64_t ms, char *to, size_t size);
/* closed, open-poisson, open-constant */
const char *sc_report_loop_name(const struct sc_load_config *c);

#endif
