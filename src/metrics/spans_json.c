/* Spans as OTLP has them in JSON: ids in hex, 64-bit numbers as strings, enumerations as numbers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "metrics/spans.h"
#include "proto/json_write.h"

enum { KIND_INTERNAL = 1, KIND_SERVER = 2, STATUS_ERROR = 2 };

/* An attribute; `type` is a member of OTLP's AnyValue. */
static void put_attribute(struct sc_json_writer *w, const char *key, const char *type, const char *value)
{
    sc_json_begin_object(w);
    sc_json_put_str(w, "key", key);
    sc_json_key(w, "value");
    sc_json_begin_object(w);
    sc_json_put_str(w, type, value);
    sc_json_end_object(w);
    sc_json_end_object(w);
}

static void put_text(struct sc_json_writer *w, const char *key, const char *value)
{
    put_attribute(w, key, "stringValue", value);
}

static void put_number(struct sc_json_writer *w, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    put_attribute(w, key, "intValue", text);
}

static void put_id(struct sc_json_writer *w, const char *key, uint64_t id)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, id);
    sc_json_put_str(w, key, text);
}

static void put_time(struct sc_json_writer *w, const char *key, const struct sc_span_record *r, int64_t ns)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, ns + r->wall_ns);
    sc_json_put_str(w, key, text);
}

/* Everything of a span but attributes and status; the object stays open. */
static void begin_span(struct sc_json_writer *w, const struct sc_span_record *r, uint64_t id, uint64_t parent,
                       const char *name, int kind, int64_t from, int64_t to)
{
    char trace[33];
    snprintf(trace, sizeof trace, "%016" PRIx64 "%016" PRIx64, r->trace.id[0], r->trace.id[1]);
    sc_json_begin_object(w);
    sc_json_put_str(w, "traceId", trace);
    put_id(w, "spanId", id);
    if (parent)
        put_id(w, "parentSpanId", parent);
    if (r->state)
        sc_json_put_str(w, "traceState", r->state);
    sc_json_put_int(w, "flags", 1);
    sc_json_put_str(w, "name", name);
    sc_json_put_int(w, "kind", kind);
    put_time(w, "startTimeUnixNano", r, from);
    put_time(w, "endTimeUnixNano", r, to > from ? to : from);
}

static void put_model(struct sc_json_writer *w, const struct sc_span_record *r)
{
    if (r->model[0])
        put_text(w, "sconce.model.name", r->model);
    if (r->version[0])
        put_text(w, "sconce.model.version", r->version);
}

static void put_http(struct sc_json_writer *w, const struct sc_span_record *r)
{
    put_text(w, "http.request.method", r->method);
    if (r->route[0])
        put_text(w, "http.route", r->route);
    put_text(w, "url.path", r->path);
    put_text(w, "network.protocol.version", r->http2 ? "2" : "1.1");
    if (r->status)
        put_number(w, "http.response.status_code", r->status);
}

static void put_rpc(struct sc_json_writer *w, const struct sc_span_record *r)
{
    const char *slash = strchr(r->route, '/');
    char service[sizeof r->route];
    snprintf(service, sizeof service, "%.*s", slash ? (int)(slash - r->route) : 0, r->route);
    put_text(w, "rpc.system", "grpc");
    put_text(w, "rpc.service", service);
    put_text(w, "rpc.method", slash ? slash + 1 : r->route);
    put_number(w, "rpc.grpc.status_code", r->code);
}

static void put_request(struct sc_json_writer *w, const struct sc_span_record *r)
{
    bool rpc = r->code >= 0;
    char name[sizeof r->method + sizeof r->route + 1];
    snprintf(name, sizeof name, "%s%s%s", rpc ? "" : r->method, rpc || !r->route[0] ? "" : " ", r->route);
    begin_span(w, r, r->span, r->trace.parent, name, KIND_SERVER, r->start_ns, r->end_ns);
    sc_json_key(w, "attributes");
    sc_json_begin_array(w);
    if (rpc)
        put_rpc(w, r);
    else
        put_http(w, r);
    put_model(w, r);
    sc_json_end_array(w);
    if (r->refused || r->status >= 500 || r->code > 0) {
        sc_json_key(w, "status");
        sc_json_begin_object(w);
        sc_json_put_int(w, "code", STATUS_ERROR);
        sc_json_end_object(w);
    }
    sc_json_end_object(w);
}

static void put_child(struct sc_json_writer *w, const struct sc_span_record *r, const char *name,
                      int64_t from, int64_t to, bool inference)
{
    begin_span(w, r, sc_trace_new_id(), r->span, name, KIND_INTERNAL, from, to);
    if (inference) {
        sc_json_key(w, "attributes");
        sc_json_begin_array(w);
        put_model(w, r);
        if (r->batch)
            put_number(w, "sconce.batch.size", r->batch);
        if (r->worker)
            put_number(w, "sconce.worker.id", r->worker);
        sc_json_end_array(w);
    }
    sc_json_end_object(w);
}

static void put_record(struct sc_json_writer *w, const struct sc_span_record *r)
{
    put_request(w, r);
    if (!r->taken_ns)
        return;
    put_child(w, r, "queue", r->queued_ns, r->taken_ns, false);
    put_child(w, r, "inference", r->taken_ns, r->answered_ns, true);
    put_child(w, r, "response", r->answered_ns, r->end_ns, false);
}

void sc_spans_write(const struct sc_spans_config *c, const struct sc_span_record *first, struct sc_buf *out)
{
    struct sc_json_writer w;
    sc_json_write_init(&w, out, true);
    sc_json_begin_object(&w);
    sc_json_key(&w, "resourceSpans");
    sc_json_begin_array(&w);
    sc_json_begin_object(&w);
    sc_json_key(&w, "resource");
    sc_json_begin_object(&w);
    sc_json_key(&w, "attributes");
    sc_json_begin_array(&w);
    for (unsigned i = 0; i + 1 < c->nresource; i += 2)
        put_text(&w, c->resource[i], c->resource[i + 1]);
    sc_json_end_array(&w);
    sc_json_end_object(&w);
    sc_json_key(&w, "scopeSpans");
    sc_json_begin_array(&w);
    sc_json_begin_object(&w);
    sc_json_key(&w, "scope");
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "name", "sconce");
    sc_json_put_str(&w, "version", SCONCE_VERSION);
    sc_json_end_object(&w);
    sc_json_key(&w, "spans");
    sc_json_begin_array(&w);
    for (const struct sc_span_record *r = first; r; r = r->next)
        put_record(&w, r);
    sc_json_end_array(&w);
    sc_json_end_object(&w);
    sc_json_end_array(&w);
    sc_json_end_object(&w);
    sc_json_end_array(&w);
    sc_json_end_object(&w);
    if (sc_json_write_finish(&w) < 0 && !out->failed)
        out->failed = SC_EINVAL;
}

struct sc_span_record *sc_span_record_new(void)
{
    struct sc_span_record *r = sc_alloc(sizeof *r);
    r->code = -1;
    return r;
}

void sc_span_record_free(struct sc_span_record *r)
{
    free(r->state);
    free(r);
}
