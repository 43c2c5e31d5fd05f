/*
 * Predictions by paths that are older than /predictions (docs/contract.md §4.1): their query is input, too,
 * and the handler sees neither url_path nor explain.
 *
 *   ANY  /invocations             the model is the parameter model_name, or the only one of the start
 *   ANY  /models/{m}/invoke
 *   ANY  /{m}/predict  /{m}/{v}/predict
 */
#include "api/app.h"
#include "api/respond.h"
#include "proto/multipart.h"

/* False: it cannot be read, and the call is answered. */
static bool read_query(struct sc_call *c, struct sc_query *q)
{
    struct sc_msg msg;
    c->legacy = true;
    if (sc_query_parse(q, c->x->req.target, &msg) == 0)
        return true;
    sc_respond_error(c->x, 403, "IllegalArgumentException", sc_span_str(msg.text));
    return false;
}

void sc_invoke(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    struct sc_query q = {0};
    bool invoke = sc_span_eq(p->segments[p->n - 1], SC_SPAN("invoke"));
    if (read_query(c, &q))
        sc_call_predict(c, p->segments[invoke ? 1 : 0],
                        !invoke && p->n == 3 ? p->segments[1] : sc_span(NULL, 0));
    sc_query_free(&q);
}

/* ---- /invocations ---------------------------------------------------------------------------------------
 */

#define FIELD "model_name"

/* The last field of a form with the model's name; 1, 0 or an error with *msg. `text` owns what was decoded.
 */
static int name_in_body(const struct sc_http_exchange *x, struct sc_query *text, struct sc_span *name,
                        struct sc_msg *msg)
{
    struct sc_multipart m;
    struct sc_part part;
    struct sc_span type = sc_http_header_get(&x->req, SC_SPAN("content-type"));
    struct sc_span body = sc_body_span(&x->body);
    bool found = false;
    int rc;
    if (sc_media_is(type, "application/x-www-form-urlencoded")) {
        rc = sc_form_parse(text, body, msg);
        return rc < 0 ? rc : sc_query_get(text, FIELD, name);
    }
    rc = sc_multipart_init(&m, type, body, msg);
    if (rc <= 0)
        return rc;
    while ((rc = sc_multipart_next(&m, &part, msg)) == 1)
        if (sc_span_eq(part.name, SC_SPAN(FIELD))) {
            *name = part.data;
            found = true;
        }
    return rc < 0 ? rc : found;
}

static void run_named(struct sc_call *c)
{
    struct sc_query text = {0};
    struct sc_span name;
    struct sc_msg msg = {""};
    int rc = name_in_body(c->x, &text, &name, &msg);
    if (rc < 0)
        sc_respond_error(c->x, 500, "ErrorDataDecoderException", sc_span_str(msg.text));
    else if (rc == 0)
        sc_respond_error(c->x, 400, "BadRequestException", SC_SPAN("Parameter model_name is required."));
    else if (sc_call_find(c, name, sc_span(NULL, 0)))
        sc_call_run(c);
    sc_query_free(&text);
}

void sc_invocations(struct sc_call *c)
{
    struct sc_query q = {0};
    struct sc_span name = {NULL, 0}, none = {NULL, 0}, only;
    bool readable = read_query(c, &q), said = readable && sc_query_get(&q, FIELD, &name);
    if (!readable)
        ;
    else if (name.n)
        sc_call_predict(c, name, none);
    else if (sc_engine_started_with(c->app->engine, c->x->loop, &only) == 1)
        sc_call_predict(c, only, none);
    else if (said)
        sc_call_predict(c, name, none);
    else
        c->route = run_named;
    sc_query_free(&q);
}
