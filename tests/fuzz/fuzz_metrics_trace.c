/* Headers of traces and of scrapes: traceparent, tracestate, Accept. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "metrics/trace.h"
#include "proto/prometheus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span s = sc_span(data, size);
    struct sc_trace t;
    if (sc_trace_read(s, &t) && ((!t.id[0] && !t.id[1]) || !t.parent))
        abort();
    if (sc_trace_state_valid(s) && (s.n == 0 || s.n > SC_TRACE_STATE_BYTES))
        abort();
    (void)sc_prom_accepted(s);
    return 0;
}
