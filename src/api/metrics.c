/* GET /metrics: the text format (docs/contract.md §7). Rendered on loop 0, where the families live. */
#include "metrics/registry.h"

#include "api/app.h"
#include "api/respond.h"
#include "base/log.h"

#define NAMES_MAX 64

void sc_metrics_answer(struct sc_call *c)
{
    struct sc_query q;
    struct sc_msg msg;
    struct sc_span names[NAMES_MAX];
    struct sc_http_counters n;
    unsigned count = 0;
    int rc = sc_query_parse(&q, c->x->req.target, &msg);
    for (unsigned i = 0; rc == 0 && i < q.n && count < NAMES_MAX; i++)
        if (sc_span_eq(q.params[i].name, SC_SPAN("name[]")))
            names[count++] = q.params[i].value;
    if (rc < 0) {
        sc_call_error(c, 403, "IllegalArgumentException", "%s", msg.text);
    } else {
        sc_http_server_counters(c->app->server, &n);
        sc_metrics_responses(c->app->metrics, n.responses_2xx, n.responses_4xx, n.responses_5xx);
        sc_metrics_render(c->app->metrics, names, count, &c->out);
        c->raw = true;
        c->media = SC_SPAN("text/plain; version=0.0.4; charset=utf-8");
        c->status = 200;
        sc_call_finish(c);
    }
    sc_query_free(&q);
}
