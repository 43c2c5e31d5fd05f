/* Predictions: from the exchange to a job and back (docs/contract.md §4). */
#include <stdio.h>

#include "api/answer.h"
#include "api/app.h"
#include "api/description.h"
#include "api/respond.h"
#include "api/rows.h"
#include "base/clock.h"
#include "base/log.h"
#include "metrics/registry.h"
#include "worker/meta.h"

void sc_call_refuse(struct sc_call *c, int status, const char *type, struct sc_span message)
{
    if (c->rpc)
        c->rpc->refuse(c, status, type, message);
    else if (c->family)
        c->family->refuse(c->x, status, message);
    else
        sc_respond_error(c->x, status, type, message);
}

static void respond_no_worker(struct sc_call *c)
{
    char text[1024];
    if (c->workflow) { /* of its first node's model */
        int failed = snprintf(text, sizeof text, "Error executing %s",
                              c->workflow->spec.nodes[c->workflow->spec.start].name);
        sc_respond_error(c->x, 500, "InternalServerException", sc_span(text, (size_t)failed));
        return;
    }
    const struct sc_model_spec *spec = sc_shard_spec(c->shard);
    /* One sentence of TorchServe, unbalanced quote included: clients match it. */
    const char *tail =
        "has no worker to serve inference request. Please use scale workers API to add workers. If this is a "
        "sequence "
        "inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize";
    int n = c->versioned
                ? snprintf(text, sizeof text, "Model \"%s\" Version %s\" %s", spec->name, spec->version, tail)
                : snprintf(text, sizeof text, "Model \"%s\" %s", spec->name, tail);
    sc_call_refuse(c, 503, "ServiceUnavailableException", sc_span(text, (size_t)n));
}

/* The worker that had the sequence's state is gone, and the sequence is closed with this answer. */
static void respond_lost(struct sc_call *c)
{
    char text[SC_MODEL_NAME_MAX + 256];
    int n = snprintf(
        text, sizeof text,
        "The sequence of this request to model \"%s\" is closed: the worker that had its state ended.",
        sc_shard_spec(c->shard)->name);
    sc_call_refuse(c, 503, "ServiceUnavailableException", sc_span(text, (size_t)n));
}

void sc_call_failed(struct sc_call *c, const struct sc_job_answer *a)
{
    if (c->rpc) {
        char type[64];
        snprintf(type, sizeof type, "%.*s", SC_FMT(sc_answer_type(a)));
        sc_call_refuse(c, a->status, type, a->body.p ? a->body : SC_SPAN(""));
    } else if (a->status == 0) {
        sc_respond_status(c->x, 500, SC_SPAN(""));
    } else if (c->family) {
        c->family->refuse(c->x, a->status < 400 ? 500 : a->status, a->body.p ? a->body : SC_SPAN(""));
    } else {
        sc_answer_error(c->x, a, c->shard && sc_spec_is_native(sc_shard_spec(c->shard)));
    }
}

/* ---- streams -------------------------------------------------------------------------------- */

/* False if its client cannot have it: gone, or so slow that too much waits for it. */
static bool send_chunk(struct sc_call *c, struct sc_span data)
{
    int rc = sc_http_stream_chunk(c->x, data);
    if (rc == SC_ELIMIT)
        sc_log(SC_LOG_WARN, "model %s: a client reads its stream too slowly; %u bytes wait, and it is closed",
               sc_shard_spec(c->shard)->name, SC_CONN_STREAM_BYTES);
    return rc == 0;
}

static void part(struct sc_job *j, void *arg, const struct sc_job_answer *a)
{
    struct sc_call *c = arg;
    if (c->rpc) {
        c->rpc->part(c, a->body);
        return;
    }
    if (!c->streaming) {
        struct sc_answer_head h;
        sc_answer_head(a->status, a->meta, &h);
        c->streaming = true;
        sc_http_stream_begin(c->x, &h.r, NULL);
    }
    if (!send_chunk(c, a->body))
        sc_job_cancel(j); /* the call is over with it */
}

/* ---- whole answers -------------------------------------------------------------------------- */

static void done(struct sc_job *j, void *arg, const struct sc_job_answer *a)
{
    struct sc_call *c = arg;
    struct sc_http_exchange *x = c->x;
    (void)j;
    c->job = NULL;
    if (a->status == 0 || sc_job_failed(a)) { /* 0: the client is gone */
        if (c->streaming)                     /* its client finds no last chunk */
            sc_http_stream_abort(x);
        else
            sc_call_failed(c, a);
        return;
    }
    /* Not of batches that failed as a whole, as in TorchServe; of streams at their end. */
    int64_t now = sc_clock_ns();
    sc_metrics_answered(sc_shard_metrics(c->shard), x->loop->index, c->versioned, a->queue_ns,
                        now - x->start_ns);
    sc_metrics_time(sc_shard_metrics(c->shard), x->loop->index, SC_MT_REQUEST, now - x->start_ns);
    sc_metrics_time(sc_shard_metrics(c->shard), x->loop->index, SC_MT_RECEIVE,
                    now - x->start_ns - a->queue_ns - a->worker_ns);
    if (SC_UNLIKELY(c->span))
        sc_trace_answered(c, a, now);
    sc_metrics_queue_time(c->app->metrics, x->loop->index, now, a->queue_ns / 1000000);
    if (c->rpc) {
        c->rpc->answer(c, a->body);
        return;
    }
    if (c->streaming) {
        if (send_chunk(c, a->body))
            sc_http_stream_end(x);
        else
            sc_http_stream_abort(x);
        return;
    }
    if (c->family && c->family->answer) {
        c->family->answer(c, a);
        return;
    }
    struct sc_answer_head h;
    sc_answer_head(a->status, a->meta, &h);
    h.r.body = a->body;
    sc_http_respond(x, &h.r);
}

static void give_up(struct sc_call *c)
{
    struct sc_job *j = c->job;
    c->job = NULL;
    sc_job_drop(j, &c->x->body);
}

static void submit(struct sc_call *c)
{
    struct sc_job *j = c->job;
    if (c->workflow) {
        sc_wfpredict_submit(c);
        return;
    }
    sc_job_set_priority(j, (enum sc_priority)c->priority);
    if (c->deadline_ns)
        sc_job_set_deadline(j, c->deadline_ns);
    if (c->sequence.n)
        sc_job_set_sequence(j, c->sequence, c->sequence_begins);
    int rc = sc_job_submit(j, &c->x->body, part, done, c);
    if (rc < 0) {
        c->job = NULL;
        if (rc == SC_ECLOSED)
            respond_lost(c);
        else
            respond_no_worker(c);
    }
}

/* Of headers of that very name the last one, as a handler sees them. */
static struct sc_span exact_header(const struct sc_http_request *r, const char *name)
{
    struct sc_span value = {NULL, 0};
    for (unsigned i = 0; i < r->nheaders; i++)
        if (sc_span_eq(r->headers[i].name, sc_span_str(name)))
            value = r->headers[i].value;
    return value;
}

/* False, and answered: the client's id is none. */
static bool find_sequence(struct sc_call *c)
{
    const struct sc_settings *set = c->app->settings;
    if (!c->rpc)
        c->sequence = sc_span(NULL, 0);
    if (!sc_shard_spec(c->shard)->sequence_batching || c->workflow)
        return true;
    if (!c->rpc)
        c->sequence = exact_header(&c->x->req, set->sequence_id_header);
    if (c->sequence.n > SC_SEQUENCE_ID_MAX) {
        char text[128];
        int n = snprintf(text, sizeof text, "The id of a sequence has at most %d bytes: this one has %zu.",
                         SC_SEQUENCE_ID_MAX, c->sequence.n);
        sc_call_refuse(c, 400, "BadRequestException", sc_span(text, (size_t)n));
        return false;
    }
    c->sequence_begins =
        !c->rpc && sc_span_eq_nocase(exact_header(&c->x->req, set->sequence_start_header), SC_SPAN("true"));
    if (c->sequence.n == 0) {
        int n = snprintf(c->made_id, sizeof c->made_id, "ts-seq-%s", c->x->id);
        c->sequence = sc_span(c->made_id, (size_t)n);
        c->sequence_begins = true;
    }
    return true;
}

static struct sc_row_route route_of(const struct sc_call *c)
{
    const struct sc_settings *set = c->app->settings;
    struct sc_row_route r = {.url_path = sc_path_rest(&c->path, 3),
                             .no_url_path = c->no_url_path || c->workflow,
                             .no_explain = c->workflow != NULL,
                             .explain = c->explain,
                             .made = c->made_json,
                             .legacy = c->legacy};
    if (c->sequence.n && c->sequence.p == c->made_id) {
        r.added[0] = (struct sc_http_header){sc_span_str(set->sequence_id_header), c->sequence};
        r.added[1] = (struct sc_http_header){sc_span_str(set->sequence_start_header), SC_SPAN("true")};
        r.nadded = 2;
    }
    return r;
}

/* A form, or a body of unknown length: its metadata could not be told before. */
static void submit_row(struct sc_call *c)
{
    struct sc_http_exchange *x = c->x;
    struct sc_row_route route = route_of(c);
    struct sc_buf meta;
    struct sc_msg msg = {""};
    sc_buf_init(&meta, SC_ARENA_BLOCK_MAX);
    int rc = sc_row_of_body(x, &route, &meta, &msg);
    if (rc == 0)
        rc = sc_job_set_meta(c->job, &x->body, sc_buf_view(&meta));
    sc_buf_free(&meta);
    if (rc == 0) {
        submit(c);
        return;
    }
    give_up(c);
    if (rc == SC_EINVAL)
        sc_respond_error(x, 500, "ErrorDataDecoderException", sc_span_str(msg.text));
    else if (rc == SC_ELIMIT)
        sc_respond_error(
            x, 413, "BadRequestException",
            sc_span_str(msg.text[0] ? msg.text : "The headers or the fields of the form are too large."));
    else
        respond_no_worker(c);
}

/* False, and answered: the header's value is none. */
static bool find_priority(struct sc_call *c)
{
    static const struct sc_span names[SC_PRIORITIES] = {[SC_PRIORITY_HIGH] = SC_SPAN("high"),
                                                        [SC_PRIORITY_NORMAL] = SC_SPAN("normal"),
                                                        [SC_PRIORITY_LOW] = SC_SPAN("low")};
    struct sc_span v = sc_http_header_get(&c->x->req, SC_SPAN("x-sconce-priority"));
    c->priority = SC_PRIORITY_NORMAL;
    if (!v.p)
        return true;
    for (unsigned i = 0; i < SC_COUNT(names); i++)
        if (sc_span_eq_nocase(v, names[i])) {
            c->priority = (uint8_t)i;
            return true;
        }
    sc_call_refuse(c, 400, "BadRequestException",
                   SC_SPAN("The header x-sconce-priority must be high, normal or low"));
    return false;
}

/* Metadata for an executor: it wants the body's type and the interface alone. */
static void native_meta(struct sc_call *c, struct sc_buf *meta)
{
    struct sc_meta_writer w;
    sc_meta_begin(&w, meta);
    struct sc_span type = c->rpc ? c->media_given : sc_http_header_get(&c->x->req, SC_SPAN("content-type"));
    if (type.p)
        sc_meta_add(&w, SC_SPAN(":content-type"), sc_span_sub(type, 0, 512));
    if (c->family)
        sc_meta_add(&w, SC_SPAN(":interface"), sc_span_str(sc_interface_name(c->interface)));
    sc_meta_end(&w);
}

/* A job for the request and its body, of which `announced` bytes are known to come. False: answered. */
static bool begin_job(struct sc_call *c, size_t announced, bool *plain)
{
    struct sc_http_exchange *x = c->x;
    struct sc_msg msg = {""};
    int refused = 0;
    *plain = true;
    if (SC_UNLIKELY(c->app->tracing.on))
        sc_trace_begin(c);
    sc_metrics_request(sc_shard_metrics(c->shard), x->loop->index, c->versioned);
    if (!sc_shard_has_worker(c->shard)) {
        respond_no_worker(c);
        return false;
    }
    if (!find_sequence(c) || !find_priority(c))
        return false;
    /* All headers of a request fit, and what is written around them. */
    char room[2 * SC_HTTP_HEADERS_BYTES + SC_HTTP_LINE_MAX + SC_SEQUENCE_ID_MAX];
    struct sc_buf meta = {.p = room, .cap = sizeof room, .max = sizeof room};
    if (sc_spec_is_native(sc_shard_spec(c->shard))) {
        native_meta(c, &meta);
    } else if (c->rpc) {
        sc_buf_init(&meta, SC_ARENA_BLOCK_MAX / 2);
        struct sc_row_route route = route_of(c);
        refused = c->rpc->row(c, &route, &meta, &msg);
    } else if ((*plain = sc_row_is_plain(x) && !c->made_json && !(c->legacy && x->req.query.n))) {
        struct sc_row_route route = route_of(c);
        sc_row_plain(x, &route, &meta);
    }
    int rc = refused < 0 ? refused : sc_job_begin(c->shard, sc_buf_view(&meta), announced, &x->body, &c->job);
    if (meta.p != room)
        sc_buf_free(&meta);
    if (rc == 0)
        return true;
    c->job = NULL;
    if (refused == SC_ELIMIT)
        sc_call_refuse(c, 413, "BadRequestException",
                       sc_span_str(msg.text[0] ? msg.text : "The names of the inputs are too long."));
    else
        respond_no_worker(c);
    return false;
}

bool sc_call_begin(struct sc_call *c)
{
    bool plain;
    int64_t announced = c->x->req.content_length;
    if (!begin_job(c, announced > 0 ? (size_t)announced : 0, &plain))
        return false;
    c->route = plain ? submit : submit_row;
    return true;
}

void sc_call_run_pieces(struct sc_call *c, const struct sc_span *pieces, size_t n)
{
    struct sc_http_exchange *x = c->x;
    struct sc_body given_up = x->body;
    size_t len = 0;
    bool plain;
    for (size_t i = 0; i < n; i++)
        len += pieces[i].n;
    x->body = (struct sc_body){0};
    if (begin_job(c, len, &plain)) {
        if (x->body.cap < len && x->body.ops->grow(&x->body, len) < 0) {
            give_up(c);
            respond_no_worker(c);
        } else {
            for (size_t i = 0; i < n; i++) {
                if (pieces[i].n)
                    memcpy(x->body.p + x->body.len, pieces[i].p, pieces[i].n);
                x->body.len += pieces[i].n;
            }
            (plain ? submit : submit_row)(c);
        }
    }
    sc_body_free(&given_up);
}

void sc_call_run_on(struct sc_call *c, struct sc_span bytes)
{
    sc_call_run_pieces(c, &bytes, 1);
}

void sc_call_run(struct sc_call *c)
{
    sc_call_run_on(c, sc_body_span(&c->x->body));
}

bool sc_call_find(struct sc_call *c, struct sc_span model, struct sc_span version)
{
    int rc = sc_engine_find(c->app->engine, c->x->loop, model, version, &c->shard);
    struct sc_buf text;
    c->versioned = version.p != NULL;
    if (rc == 0)
        return true;
    sc_buf_init(&text, 3 * SC_HTTP_LINE_MAX);
    sc_put_no_model(&text, rc, sc_span_sub(model, 0, SC_HTTP_LINE_MAX),
                    sc_span_sub(version, 0, SC_HTTP_LINE_MAX));
    sc_call_refuse(c, 404, rc == SC_ENOTFOUND ? "ModelNotFoundException" : "ModelVersionNotFoundException",
                   sc_buf_view(&text));
    sc_buf_free(&text);
    return false;
}

void sc_call_predict(struct sc_call *c, struct sc_span model, struct sc_span version)
{
    if (!sc_call_find(c, model, version))
        return;
    if (SC_UNLIKELY(sc_span_eq(c->x->req.method, SC_SPAN("OPTIONS"))))
        sc_describe_predictions(c);
    else if (c->explain && sc_spec_is_native(sc_shard_spec(c->shard)))
        sc_respond_error(
            c->x, 501, "NotImplementedException",
            SC_SPAN("The model is served by a backend that does not explain predictions: register "
                    "it without one, and its handler does."));
    else
        (void)sc_call_begin(c);
}

void sc_predict(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    sc_call_predict(c, p->segments[1], p->n >= 3 ? p->segments[2] : sc_span(NULL, 0));
}

void sc_explain(struct sc_call *c)
{
    c->explain = true;
    sc_predict(c);
}
