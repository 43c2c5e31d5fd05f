/*
 * Inference by KServe's second protocol.
 *
 * As TorchServe has it the body is the handler's business, in an envelope. Where the open inference protocol
 * is served (docs/design.md §3.5) native models take tensors, as JSON or as bytes; a handler gets bytes as
 * JSON.
 */
#include <inttypes.h>
#include <stdio.h>

#include "api/description.h"
#include "api/kserve.h"
#include "api/respond.h"
#include "api/v2_body.h"
#include "proto/json_write.h"

#define HEADER_LENGTH SC_SPAN("inference-header-content-length")

void sc_v2_refuse(struct sc_http_exchange *x, int status, struct sc_span text)
{
    struct sc_buf b;
    struct sc_json_writer w;
    sc_buf_init(&b, 64 << 10);
    sc_json_write_init(&w, &b, false);
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "error", sc_span_sub(text, 0, 8192));
    sc_json_end_object(&w);
    sc_respond_json(x, status, &w, &b);
}

static bool as_torchserve(const struct sc_call *c)
{
    return c->app->settings->face == SC_FACE_TORCHSERVE;
}

bool sc_v2_find(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    char text[SC_HTTP_LINE_MAX + 64];
    struct sc_span model = p->segments[2], version = {NULL, 0};
    if (p->n >= 5)
        version = p->segments[4];
    if (as_torchserve(c))
        return sc_call_find(c, model, version);
    int rc = sc_engine_find(c->app->engine, c->x->loop, model, version, &c->shard), n;
    c->versioned = version.p != NULL;
    if (rc == 0)
        return true;
    if (rc == SC_ENOTFOUND)
        n = snprintf(text, sizeof text, "Model not found: %.*s", SC_FMT(model));
    else
        n = snprintf(text, sizeof text, "Model version: %.*s does not exist for model: %.*s", SC_FMT(version),
                     SC_FMT(model));
    sc_v2_refuse(c->x, 404, sc_span(text, SC_MIN((size_t)n, sizeof text - 1)));
    return false;
}

/* ---- the answer --------------------------------------------------------------------------------------- */

static void refuse_as(struct sc_call *c, int rc, const struct sc_msg *msg)
{
    int status = rc == SC_ENOMEM ? 503 : 400;
    sc_v2_refuse(c->x, status, sc_span_str(msg->text));
}

static void answer(struct sc_call *c, const struct sc_job_answer *a)
{
    const struct sc_model_spec *s = sc_shard_spec(c->shard);
    struct sc_buf block; /* the worker may still write to its own memory: a copy stays as it was checked */
    struct sc_msg msg = {""};
    char digits[24];
    size_t json = 0;
    sc_buf_init(&block, a->body.n + 1);
    sc_buf_span(&block, a->body);
    c->out.max = SC_V2_ANSWER_BYTES;
    int rc = block.failed;
    if (rc == 0)
        rc = sc_v2_write_answer(sc_buf_view(&block), c->v2, sc_span_str(s->name), sc_span_str(s->version),
                                &c->out, &json, &msg);
    sc_buf_free(&block);
    if (rc < 0) {
        refuse_as(c, rc, &msg);
        return;
    }
    struct sc_http_header h = {SC_SPAN("Inference-Header-Content-Length"), {NULL, 0}};
    h.value = sc_span(digits, (size_t)snprintf(digits, sizeof digits, "%zu", json));
    struct sc_http_response r = {.status = 200,
                                 .content_type =
                                     json ? SC_SPAN("application/octet-stream") : SC_SPAN("application/json"),
                                 .headers = &h,
                                 .nheaders = json ? 1 : 0,
                                 .body = sc_buf_view(&c->out)};
    sc_http_respond(c->x, &r);
}

/* ---- the request -------------------------------------------------------------------------------------- */

static const struct sc_family native = {sc_v2_refuse, answer}, handler = {sc_v2_refuse, NULL};

/* How much of the body is JSON. */
static bool json_length(const struct sc_http_exchange *x, size_t *n)
{
    uint64_t told;
    struct sc_span header = sc_http_header_get(&x->req, HEADER_LENGTH);
    *n = x->body.len;
    if (!header.p)
        return true;
    if (!sc_span_u64(sc_span_trim(header), x->body.len, &told))
        return false;
    *n = (size_t)told;
    return true;
}

/* With the body there. */
static void run(struct sc_call *c)
{
    struct sc_msg msg = {""};
    struct sc_buf block, text;
    struct sc_span body = sc_body_span(&c->x->body);
    size_t json;
    bool is_native = c->family == &native;
    int rc = 0;
    if (!json_length(c->x, &json))
        rc = sc_fail(&msg, SC_EINVAL,
                     "Inference-Header-Content-Length is no number, or more than the %zu bytes of the body",
                     body.n);
    /* The densest JSON has two bytes for an element of eight, and "" for one of four. */
    sc_buf_init(&block, 8 * body.n + 4096);
    sc_buf_init(&text, SC_V2_ANSWER_BYTES);
    if (rc == 0)
        rc = sc_v2_read(body, json, &block, &c->v2, &msg);
    if (rc == 0 && !is_native)
        rc = sc_v2_write_request(sc_buf_view(&block), c->v2, &text, &msg);
    c->made_json = !is_native;
    if (rc < 0)
        refuse_as(c, rc, &msg);
    else
        sc_call_run_on(c, sc_buf_view(is_native ? &block : &text));
    sc_buf_free(&block);
    sc_buf_free(&text);
}

static void infer(struct sc_call *c)
{
    const struct sc_model_spec *s;
    if (!sc_v2_find(c))
        return;
    s = sc_shard_spec(c->shard);
    if (sc_span_eq(c->x->req.method, SC_SPAN("OPTIONS"))) {
        sc_describe_predictions(c);
        return;
    }
    /* Under `torchserve` what goes wrong with a handler is told as TorchServe does. */
    c->family = sc_spec_is_native(s) ? &native : as_torchserve(c) ? NULL : &handler;
    c->interface = SC_KSERVE_INFER;
    unsigned have = sc_shard_interfaces(c->shard);
    if (c->family == &native && have && !(have & 1u << SC_KSERVE_INFER))
        sc_v2_refuse(c->x, 400, SC_SPAN("The model takes no tensors: send /predictions what it takes"));
    else if (c->family == &native || sc_http_header_get(&c->x->req, HEADER_LENGTH).p)
        c->route = run;
    else
        (void)sc_call_begin(c);
}

void sc_v2_infer(struct sc_call *c)
{
    c->no_url_path = true;
    if (c->app->serves[c->x->listener] & SC_SERVES_OIP)
        infer(c);
    else
        sc_call_predict(c, c->path.segments[2], sc_span(NULL, 0));
}

void sc_v2_explain(struct sc_call *c)
{
    c->explain = c->no_url_path = true;
    sc_call_predict(c, c->path.segments[2], sc_span(NULL, 0));
}
