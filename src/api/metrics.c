/* GET /metrics (docs/contract.md §7). Taken on loop 0, where the families live, and written beside it. */
#include "metrics/registry.h"

#include "api/app.h"
#include "api/respond.h"

#define NAMES_MAX 64

void sc_metrics_before(void *ctx)
{
    struct sc_app *app = ctx;
    struct sc_http_counters n;
    sc_http_server_counters(app->server, &n);
    sc_metrics_responses(app->metrics, n.responses_2xx, n.responses_4xx, n.responses_5xx);
}

static void release(void *text)
{
    sc_rendered_put(text);
}

/* A large text is sent piece by piece, from where it lies. */
void sc_metrics_send(struct sc_call *c)
{
    struct sc_rendered *t = c->rendered;
    struct sc_http_response r = {.status = 200,
                                 .content_type = c->media,
                                 .body = sc_buf_view(&t->text),
                                 .release = release,
                                 .release_arg = t};
    c->rendered = NULL;
    if (t->text.failed) {
        sc_respond_error(c->x, 500, "InternalServerException", SC_SPAN("the answer is too large"));
        release(t);
        return;
    }
    sc_http_respond(c->x, &r);
}

static void rendered(struct sc_render_ask *a, struct sc_rendered *t)
{
    struct sc_call *c = SC_CONTAINER(a, struct sc_call, render);
    c->rendered = sc_rendered_hold(t);
    sc_call_finish(c);
}

void sc_metrics_answer(struct sc_call *c)
{
    struct sc_query q;
    struct sc_msg msg;
    struct sc_span names[NAMES_MAX];
    unsigned count = 0;
    int rc = sc_query_parse(&q, c->x->req.target, &msg);
    for (unsigned i = 0; rc == 0 && i < q.n && count < NAMES_MAX; i++)
        if (sc_span_eq(q.params[i].name, SC_SPAN("name[]")))
            names[count++] = q.params[i].value;
    if (rc < 0) {
        sc_call_error(c, 403, "IllegalArgumentException", "%s", msg.text);
    } else {
        enum sc_prom_format f = sc_prom_accepted(sc_http_header_get(&c->x->req, SC_SPAN("accept")));
        c->media = sc_prom_media(f);
        c->render.done = rendered;
        sc_renderer_ask(c->app->renderer, f, names, count, &c->render);
    }
    sc_query_free(&q);
}
