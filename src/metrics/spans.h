/*
 * Spans of requests, sent to a collector by OTLP/HTTP in JSON (OpenTelemetry Protocol 1.x; names by its
 * semantic conventions).
 *
 * A traced request has a record, made when it begins. The end of the request gives the record away: into a
 * bounded queue that a thread of its own sends from, in batches. A collector that is dead, slow or full costs
 * requests nothing: what the queue cannot take is dropped and counted. 429, 502, 503, 504 and a collector
 * that cannot be reached are tried again, after Retry-After or with growing pauses, for SC_SPANS_RETRY_MS;
 * then the batch is dropped. Any other refusal drops it at once.
 */
#ifndef SC_METRICS_SPANS_H
#define SC_METRICS_SPANS_H

#include "base/array.h"
#include "base/buf.h"
#include "base/limits.h"
#include "metrics/trace.h"

/* One request. Times are sc_clock_ns; 0: it did not come to that. */
struct sc_span_record {
    struct sc_span_record *next;
    struct sc_trace trace; /* parent 0: it begins here */
    uint64_t span;         /* its own; 0: it is not sent, and only explains histograms */
    char *state;           /* tracestate; NULL: none */
    int64_t start_ns, queued_ns, taken_ns, answered_ns, end_ns;
    int64_t wall_ns; /* what to add for the time since 1970 */
    int status;      /* of HTTP; 0: none was sent */
    int code;        /* of gRPC; -1: it is HTTP */
    bool http2, refused;
    unsigned batch, worker; /* 0: not known */
    char method[16];
    char route[96]; /* template of the path, or service/method */
    char path[256]; /* HTTP: as it was sent, without the query */
    char model[128], version[64];
};
struct sc_span_record *sc_span_record_new(void); /* zeroed, code -1; never NULL */
void sc_span_record_free(struct sc_span_record *r);

/* Environment and setting, as OpenTelemetry names them. Strings are owned. */
struct sc_spans_config {
    char *url;      /* NULL: nothing is sent */
    char **headers; /* "Name: value" */
    unsigned nheaders;
    char **resource; /* pairs of key and value: OTEL_RESOURCE_ATTRIBUTES, service.name last */
    unsigned nresource;
    unsigned timeout_ms, delay_ms, batch_max, queue_max;
    struct sc_sampler sampler;
};
/* setting: otlp_traces_endpoint, or NULL. What cannot be used is told in the log, and has its default. */
void sc_spans_config_read(struct sc_spans_config *c, const char *setting,
                          const char *(*get)(const char *name));
void sc_spans_config_free(struct sc_spans_config *c);

/* The body of a request to a collector. */
void sc_spans_write(const struct sc_spans_config *c, const struct sc_span_record *first, struct sc_buf *out);

struct sc_spans;
/* Takes the config over. SC_EUNSUPPORTED without libcurl, SC_ESYS; *msg says why. */
int sc_spans_start(struct sc_spans **out, struct sc_spans_config *c, struct sc_msg *msg) SC_MUST_USE;
/* The record is taken over. Any thread; never waits for the network. */
void sc_spans_add(struct sc_spans *s, struct sc_span_record *r);
/* ctx: the struct sc_spans. Any thread. */
void sc_spans_counts(void *ctx, uint64_t *sent, uint64_t *dropped);
/* Sends what it has, for SC_SPANS_END_MS at most, and frees it. Nobody may add any more. */
void sc_spans_stop(struct sc_spans *s);

/* What of it the server does. */
struct sc_tracing {
    bool on;                /* one of these: requests are looked at */
    bool exemplars;         /* /metrics has histograms that they may explain */
    struct sc_spans *spans; /* NULL: none are sent */
    struct sc_sampler sampler;
};

#endif
