/*
 * Trace context (W3C Recommendation "Trace Context", level 1 and 2) and the choice of what is traced
 * (OpenTelemetry, "Tracing SDK", samplers). Pure but for the making of ids; any thread.
 */
#ifndef SC_METRICS_TRACE_H
#define SC_METRICS_TRACE_H

#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

struct sc_trace {
    uint64_t id[2]; /* never both 0 */
    uint64_t parent;
    bool sampled; /* who called records it, and so should we */
};

/* Reads a traceparent, of a version to come as far as it is known. False: it is none, and must be ignored. */
bool sc_trace_read(struct sc_span traceparent, struct sc_trace *out);
/* A tracestate, or several joined by commas: 1 to 32 members, 512 bytes at most. */
bool sc_trace_state_valid(struct sc_span tracestate);
/* Random, not 0. */
uint64_t sc_trace_new_id(void);

/* OTEL_TRACES_SAMPLER */
struct sc_sampler {
    bool parent_based; /* where there is a parent it decides */
    double ratio;      /* of all traces, the others */
};
/* False: name or argument is none; *out is then parentbased_always_on. NULL or "": not given. */
bool sc_sampler_read(const char *name, const char *argument, struct sc_sampler *out);
/* parent: NULL: the trace begins here. */
bool sc_sampler_takes(const struct sc_sampler *s, const uint64_t id[2], const struct sc_trace *parent);

#endif
