/* Metrics that workers print (docs/contract.md §7). */
#ifndef SC_METRICS_BACKEND_H
#define SC_METRICS_BACKEND_H

#include "base/span.h"

struct sc_metrics;

/*
 * Records one line: `whole` is what was printed, `rest` what stands behind its [METRICS]. It goes to
 * model_metrics.log under the thread's name, or to /metrics; what is not declared is dropped, unless
 * model_metrics_auto_detect. What cannot be read is an ERROR line. Loop 0.
 */
void sc_metrics_backend_line(struct sc_metrics *m, struct sc_span whole, struct sc_span rest,
                             const char *thread);

#endif
