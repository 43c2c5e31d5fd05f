#include "api/app.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/answer.h"
#include "api/auth_http.h"
#include "api/grpc.h"
#include "api/kserve.h"
#include "api/respond.h"
#include "api/routes.h"
#include "api/v2_body.h"
#include "base/alloc.h"

#define HEALTHY "{\n  \"status\": \"Healthy\"\n}\n"
#define UNHEALTHY "{\n  \"status\": \"Unhealthy\"\n}\n"

static void answer_ping(struct sc_app *app, struct sc_http_exchange *x)
{
    if (sc_engine_healthy(app->engine))
        sc_respond_body(x, 200, SC_SPAN("application/json"), SC_SPAN(HEALTHY));
    else
        sc_respond_body(x, 500, SC_SPAN("application/json"), SC_SPAN(UNHEALTHY));
}

void sc_ping(struct sc_call *c)
{
    answer_ping(c->app, c->x);
}

struct sc_call *sc_call_new(struct sc_app *app, struct sc_http_exchange *x)
{
    struct sc_call *c = app->pools[x->loop->index];
    if (c)
        app->pools[x->loop->index] = c->next;
    else
        c = sc_alloc(sizeof *c);
    c->app = app;
    c->x = x;
    c->loop = x->loop;
    c->job = NULL;
    c->workflow = NULL;
    c->flow = NULL;
    c->running = c->versioned = c->explain = c->streaming = c->no_url_path = c->legacy = false;
    c->shard = NULL;
    c->route = NULL;
    c->family = NULL;
    c->rpc = NULL;
    c->grpc = NULL;
    c->given = NULL;
    c->deadline_ns = 0;
    c->path = (struct sc_path){0};
    c->status = 0;
    c->type = NULL;
    c->raw = false;
    sc_buf_init(&c->out, 16u << 20);
    sc_buf_init(&c->told, 0);
    c->told_meta = 0;
    c->told_status = 0;
    c->v2 = NULL;
    c->rendered = NULL;
    c->found = NULL;
    c->span = NULL;
    c->made_json = false;
    return c;
}

void sc_call_del(struct sc_call *c)
{
    if (SC_UNLIKELY(c->span))
        sc_trace_end(c);
    sc_buf_free(&c->out);
    sc_buf_free(&c->told);
    sc_v2_wants_del(c->v2);
    sc_path_free(&c->path);
    if (c->workflow)
        sc_workflow_put(c->workflow);
    c->next = c->app->pools[c->loop->index];
    c->app->pools[c->loop->index] = c;
}

static void on_request(struct sc_http_exchange *x, void *ctx)
{
    struct sc_app *app = ctx;
    unsigned serves = app->serves[x->listener];
    x->user = NULL;
    if (serves & SC_SERVES_GRPC) {
        sc_grpc_request(app, x, serves);
        return;
    }
    if ((serves & SC_SERVES_INFERENCE) && sc_span_eq(x->req.path, SC_SPAN("/ping")) &&
        (!app->auth || sc_auth_admits(app, SC_AUTH_INFERENCE, x))) {
        answer_ping(app, x);
        return;
    }
    struct sc_call *c = x->user = sc_call_new(app, x);
    struct sc_msg msg;
    if (sc_path_parse(&c->path, x->req.target, &msg) < 0) {
        sc_respond_error(x, 403, "IllegalArgumentException", sc_span_str(msg.text));
        return;
    }
    bool bad_method;
    const struct sc_route *r = c->found = sc_route_find(serves, &c->path, x->req.method, &bad_method);
    if (app->auth && !sc_auth_admit(c, r, serves))
        return;
    if (bad_method && r && r->serves & SC_SERVES_OIP) {
        sc_v2_refuse(x, 405, SC_SPAN("Method not allowed")); /* errors have the protocol's form there */
    } else if (bad_method || (!r && c->path.n == 0)) {
        sc_respond_bad_method(x);
    } else if (!r) {
        sc_respond_no_resource(x);
    } else if (r->run) {
        r->run(c);
    } else {
        c->on_zero = r->zero;
        c->route = sc_call_to_loop_zero;
    }
}

static void on_body(struct sc_http_exchange *x, void *ctx)
{
    struct sc_call *c = x->user;
    (void)ctx;
    c->running = true;
    c->route(c);
}

static void on_gone(struct sc_http_exchange *x, void *ctx)
{
    struct sc_call *c = x->user;
    (void)ctx;
    if (!c)
        return;
    if (c->grpc)
        sc_grpc_gone(c);
    else if (!c->running)
        sc_respond_status(x, 500, SC_SPAN("")); /* the body was still coming; nobody reads this */
    else if (c->job)
        sc_job_cancel(c->job); /* which answers, for nobody */
    else if (c->flow)
        sc_flow_cancel(c->flow);
}

static void on_done(struct sc_http_exchange *x, void *ctx)
{
    struct sc_call *c = x->user;
    (void)ctx;
    if (!c)
        return;
    x->user = NULL;
    if (c->grpc)
        sc_grpc_done(c);
    sc_call_del(c);
}

void sc_app_init(struct sc_app *app, struct sc_http_app *http)
{
    *http = (struct sc_http_app){
        .on_request = on_request, .on_body = on_body, .on_gone = on_gone, .on_done = on_done, .ctx = app};
    sc_routes_init();
    for (unsigned i = 0; i < SC_LISTENERS_MAX; i++)
        if (app->settings->open_inference_protocol && (app->serves[i] & SC_SERVES_INFERENCE))
            app->serves[i] |= SC_SERVES_OIP;
}

void sc_app_free(struct sc_app *app)
{
    sc_auth_del(app->auth);
    app->auth = NULL;
    for (unsigned i = 0; i < SC_LOOPS_MAX; i++)
        while (app->pools[i]) {
            struct sc_call *c = app->pools[i];
            app->pools[i] = c->next;
            free(c);
        }
}

/* ---- answers made on loop 0 ------------------------------------------------------------------- */

/* With the head that a handler gave its description. */
static void send_told(struct sc_call *c)
{
    struct sc_answer_head h;
    sc_answer_head(c->told_status, sc_span_sub(sc_buf_view(&c->told), 0, c->told_meta), &h);
    if (!h.r.content_type.p)
        h.r.content_type = c->media;
    h.r.body = sc_buf_view(&c->out);
    sc_http_respond(c->x, &h.r);
}

static void send_answer(struct sc_call *c)
{
    if (c->rpc) {
        c->rpc->finish(c);
        return;
    }
    if (c->rendered)
        sc_metrics_send(c);
    else if (c->out.failed && !c->out.n)
        sc_respond_error(c->x, 500, "InternalServerException", SC_SPAN("the answer is too large"));
    else if (c->type)
        sc_respond_error(c->x, c->status, c->type, sc_buf_view(&c->out));
    else if (c->raw && c->told_status)
        send_told(c);
    else if (c->raw)
        sc_respond_body(c->x, c->status, c->media, sc_buf_view(&c->out));
    else
        sc_respond_status(c->x, c->status, sc_buf_view(&c->out));
}

static void zero_task(struct sc_task *t)
{
    struct sc_call *c = SC_CONTAINER(t, struct sc_call, task);
    c->on_zero(c);
}

void sc_call_to_loop_zero(struct sc_call *c)
{
    if (c->x->loop->index == 0) {
        c->on_zero(c);
        return;
    }
    c->task.run = zero_task;
    sc_loop_post(sc_loops_at(c->app->loops, 0), &c->task);
}

static void send_task(struct sc_task *t)
{
    send_answer(SC_CONTAINER(t, struct sc_call, task));
}

void sc_call_finish(struct sc_call *c)
{
    if (c->x->loop->index == 0) {
        send_answer(c);
        return;
    }
    c->task.run = send_task;
    sc_loop_post(c->x->loop, &c->task);
}

static void SC_PRINTF(2, 0) set_text(struct sc_call *c, const char *fmt, va_list ap)
{
    char text[4096];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    sc_buf_clear(&c->out);
    sc_buf_add(&c->out, text, n < 0 ? 0 : SC_MIN((size_t)n, sizeof text - 1));
}

void sc_call_status(struct sc_call *c, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_text(c, fmt, ap);
    va_end(ap);
    c->status = status;
    sc_call_finish(c);
}

void sc_call_error(struct sc_call *c, int status, const char *type, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_text(c, fmt, ap);
    va_end(ap);
    c->status = status;
    c->type = type;
    sc_call_finish(c);
}

void sc_call_bad_method(struct sc_call *c)
{
    sc_call_error(c, 405, "MethodNotAllowedException",
                  "Requested method is not allowed, please refer to API document.");
}
