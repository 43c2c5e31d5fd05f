/* Predictions: from the exchange to a job and back (docs/contract.md §4). */
#include <stdio.h>

#include "api/app.h"
#include "api/respond.h"
#include "base/clock.h"
#include "metrics/registry.h"
#include "worker/meta.h"

static void respond_no_worker(struct sc_call *c)
{
    const struct sc_model_spec *spec = sc_shard_spec(c->shard);
    char text[1024];
    /* One sentence of TorchServe, unbalanced quote included: clients match it. */
    const char *tail =
        "has no worker to serve inference request. Please use scale workers API to add workers. If this is a "
        "sequence "
        "inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize";
    int n = c->path.n >= 3
                ? snprintf(text, sizeof text, "Model \"%s\" Version %s\" %s", spec->name, spec->version, tail)
                : snprintf(text, sizeof text, "Model \"%s\" %s", spec->name, tail);
    sc_respond_error(c->x, 503, "ServiceUnavailableException", sc_span(text, (size_t)n));
}

/* Headers that a worker set: all keys that are not ours. */
static unsigned collect_headers(struct sc_span meta, struct sc_http_header *h, unsigned max)
{
    size_t at = 0;
    unsigned n = 0;
    struct sc_span key, value;
    while (n < max && sc_meta_next(meta, &at, &key, &value))
        if (key.n && key.p[0] != ':')
            h[n++] = (struct sc_http_header){key, value};
    return n;
}

static void done(struct sc_job *j, void *arg, const struct sc_job_answer *a)
{
    struct sc_call *c = arg;
    struct sc_http_exchange *x = c->x;
    (void)j;
    c->job = NULL;
    if (a->status == 0) { /* the client is gone */
        sc_respond_status(c->x, 500, SC_SPAN(""));
        return;
    }
    int64_t now = sc_clock_ns();
    sc_metrics_answered(sc_shard_metrics(c->shard), x->loop->index, c->versioned, a->queue_ns,
                        now - x->start_ns);
    sc_metrics_queue_time(c->app->metrics, x->loop->index, now, a->queue_ns / 1000000);
    sc_metrics_worker_thread_time(c->app->metrics, x->loop->index, now, a->worker_ns / 1000000);
    struct sc_span type = a->type.p ? a->type : sc_meta_get(a->meta, SC_SPAN(":type"));
    if (type.p) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", SC_FMT(type));
        sc_respond_error(c->x, a->status < 400 ? 500 : a->status, name, a->body);
        return;
    }
    struct sc_http_header headers[32];
    struct sc_http_response r = {
        .status = a->status,
        .reason = "",
        .content_type = sc_meta_get(a->meta, SC_SPAN(":content-type")),
        .headers = headers,
        .nheaders = collect_headers(a->meta, headers, SC_COUNT(headers)),
        .body = a->body,
    };
    sc_http_respond(c->x, &r);
}

static void submit(struct sc_call *c)
{
    sc_job_submit(c->job, &c->x->body, done, c);
}

static void begin_prediction(struct sc_call *c, struct sc_span model, struct sc_span version)
{
    struct sc_http_exchange *x = c->x;
    int rc = sc_engine_find(c->app->engine, x->loop, model, version, &c->shard);
    if (rc == SC_ENOTFOUND) {
        sc_respond_no_model(x, model);
        return;
    }
    if (rc < 0) {
        sc_respond_no_version(x, model, version);
        return;
    }
    c->versioned = version.p != NULL;
    sc_metrics_request(sc_shard_metrics(c->shard), x->loop->index, c->versioned);
    if (!sc_shard_has_worker(c->shard)) {
        respond_no_worker(c);
        return;
    }
    char room[1024];
    struct sc_buf meta = {.p = room, .cap = sizeof room, .max = sizeof room};
    struct sc_meta_writer w;
    sc_meta_begin(&w, &meta);
    struct sc_span type = sc_http_header_get(&x->req, SC_SPAN("content-type"));
    if (type.p)
        sc_meta_add(&w, SC_SPAN(":content-type"), sc_span_sub(type, 0, 512));
    sc_meta_end(&w);
    size_t announced = x->req.content_length > 0 ? (size_t)x->req.content_length : 0;
    rc = sc_job_begin(c->shard, sc_buf_view(&meta), announced, &x->body, &c->job);
    if (rc < 0) {
        c->job = NULL;
        respond_no_worker(c);
        return;
    }
    c->route = submit;
}

bool sc_inference_claim(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    struct sc_span none = {NULL, 0};
    if (p->n == 0)
        return false;
    if (sc_span_eq(p->segments[0], SC_SPAN("predictions"))) {
        if (p->n < 2)
            sc_respond_no_resource(c->x);
        else
            begin_prediction(c, p->segments[1], p->n >= 3 ? p->segments[2] : none);
        return true;
    }
    return false;
}
