/* text-embeddings-inference's API: /embed /similarity /predict /rerank /tokenize /info /health. */
#include "api/interfaces.h"
#include "api/respond.h"
#include "proto/json_write.h"

/* Status and error_type as its clients know them. */
static int kind_of(int status, const char **kind)
{
    *kind = "Validation";
    switch (status) {
    case 400: return 422;
    case 413:
    case 405: return status;
    case 408:
    case 503: *kind = "Unhealthy"; return 503;
    default: *kind = "Backend"; return 424; /* no model has the interface, or its computation failed */
    }
}

static void refuse(struct sc_http_exchange *x, int status, struct sc_span message)
{
    const char *kind;
    struct sc_buf b;
    struct sc_json_writer w;
    status = kind_of(status, &kind);
    sc_buf_init(&b, 64 << 10);
    sc_json_write_init(&w, &b, true);
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "error", sc_span_sub(message, 0, 8192));
    sc_json_put_str(&w, "error_type", kind);
    sc_json_end_object(&w);
    sc_respond_json(x, status, &w, &b);
}

bool sc_tei_claim(struct sc_call *c)
{
    static const struct sc_family family = {.refuse = refuse};
    static const struct {
        const char *path, *method;
        enum sc_interface interface;
    } routes[] = {{"embed", "POST", SC_TEI_EMBED},       {"similarity", "POST", SC_TEI_SIMILARITY},
                  {"predict", "POST", SC_TEI_PREDICT},   {"rerank", "POST", SC_TEI_RERANK},
                  {"tokenize", "POST", SC_TEI_TOKENIZE}, {"info", "GET", SC_TEI_INFO}};
    for (size_t i = 0; i < SC_COUNT(routes); i++)
        if (sc_path_is(&c->path, routes[i].path, NULL)) {
            sc_interface_claim(c, &family, routes[i].interface, routes[i].method, false);
            return true;
        }
    if (!sc_path_is(&c->path, "health", NULL))
        return false;
    if (!sc_span_eq(c->x->req.method, SC_SPAN("GET")))
        refuse(c->x, 405, SC_SPAN("The method must be GET"));
    else if (sc_engine_healthy(c->app->engine))
        sc_respond_body(c->x, 200, SC_SPAN("text/plain"), SC_SPAN(""));
    else
        refuse(c->x, 503, SC_SPAN("unhealthy"));
    return true;
}
