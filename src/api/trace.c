/*
 * Requests that are traced: trace context comes in by W3C headers, on HTTP and gRPC alike; histograms get
 * exemplars, a collector gets spans (docs/running.md, "Traces"). Handlers see the headers as they came.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/app.h"
#include "api/grpc.h"
#include "api/routes.h"
#include "base/clock.h"
#include "metrics/registry.h"

/* Several traceparents are none: nobody knows which one is right. */
static bool find_parent(const struct sc_http_request *r, struct sc_trace *out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->nheaders; i++)
        if (sc_span_eq_nocase(r->headers[i].name, SC_SPAN("traceparent"))) {
            if (n++ || !sc_trace_read(r->headers[i].value, out))
                return false;
        }
    return n == 1;
}

/* All of its headers, as one. NULL: none, or not valid. */
static char *find_state(const struct sc_http_request *r)
{
    char room[SC_TRACE_STATE_BYTES + 1];
    struct sc_buf b = {.p = room, .cap = sizeof room - 1, .max = sizeof room - 1};
    for (unsigned i = 0; i < r->nheaders; i++)
        if (sc_span_eq_nocase(r->headers[i].name, SC_SPAN("tracestate"))) {
            if (b.n)
                sc_buf_char(&b, ',');
            sc_buf_span(&b, r->headers[i].value);
        }
    return !b.failed && sc_trace_state_valid(sc_buf_view(&b)) ? sc_span_dup(sc_buf_view(&b)) : NULL;
}

static void set(char *to, size_t size, struct sc_span s)
{
    snprintf(to, size, "%.*s", (int)SC_MIN(s.n, size - 1), s.n ? s.p : "");
}

static void describe(struct sc_call *c, struct sc_span_record *r)
{
    const struct sc_http_request *q = &c->x->req;
    const struct sc_model_spec *spec = c->shard ? sc_shard_spec(c->shard) : NULL;
    set(r->method, sizeof r->method, q->method);
    set(r->path, sizeof r->path, q->path);
    r->http2 = q->http2;
    if (c->rpc) {
        r->code = 0;
        set(r->route, sizeof r->route, sc_span_sub(q->path, 1, q->path.n));
    } else if (c->found) {
        struct sc_span path = sc_span_str(c->found->path);
        bool more = path.n > 2 && path.p[path.n - 1] == '*';
        set(r->route, sizeof r->route, sc_span_sub(path, 0, path.n - (more ? 2 : 0)));
    }
    if (spec) {
        set(r->model, sizeof r->model, sc_span_str(spec->name));
        set(r->version, sizeof r->version, sc_span_str(spec->version));
    }
}

void sc_trace_begin(struct sc_call *c)
{
    const struct sc_tracing *t = &c->app->tracing;
    struct sc_trace trace = {{0, 0}, 0, false};
    bool has_parent = find_parent(&c->x->req, &trace);
    if (!has_parent && t->spans)
        trace = (struct sc_trace){{sc_trace_new_id(), sc_trace_new_id()}, 0, false};
    bool sent = t->spans && sc_sampler_takes(&t->sampler, trace.id, has_parent ? &trace : NULL);
    if (c->span || (!sent && !(has_parent && trace.sampled && t->exemplars)))
        return;
    struct sc_span_record *r = c->span = sc_span_record_new();
    int64_t now = sc_clock_ns();
    r->trace = trace;
    /* One of a stream of requests begins with its message. */
    r->start_ns = c->grpc && c != c->grpc->c ? now : c->x->start_ns;
    r->wall_ns = sc_wall_ns() - now;
    if (!sent)
        return;
    r->span = sc_trace_new_id();
    r->state = has_parent ? find_state(&c->x->req) : NULL;
    describe(c, r);
}

void sc_trace_answered(struct sc_call *c, const struct sc_job_answer *a, int64_t now)
{
    struct sc_span_record *r = c->span;
    struct sc_metrics_model *h = sc_shard_metrics(c->shard);
    unsigned loop = c->x->loop->index;
    r->answered_ns = now;
    r->taken_ns = now - a->worker_ns;
    r->queued_ns = r->taken_ns - a->queue_ns;
    r->batch = a->batch;
    r->worker = a->worker;
    if (!c->app->tracing.exemplars)
        return;
    sc_metrics_exemplar(h, loop, SC_MT_QUEUE, a->queue_ns, r->trace.id, r->span);
    sc_metrics_exemplar(h, loop, SC_MT_WORKER, a->worker_ns, r->trace.id, r->span);
    sc_metrics_exemplar(h, loop, SC_MT_REQUEST, now - c->x->start_ns, r->trace.id, r->span);
}

void sc_trace_end(struct sc_call *c)
{
    struct sc_span_record *r = c->span;
    c->span = NULL;
    if (!r->span) {
        sc_span_record_free(r);
        return;
    }
    r->end_ns = sc_clock_ns();
    r->status = c->x->status;
    sc_spans_add(c->app->tracing.spans, r);
}
