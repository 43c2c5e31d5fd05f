/* Cohere's API, as far as encoders have it: POST /v1/rerank and /v2/rerank. */
#include "api/interfaces.h"
#include "api/respond.h"
#include "proto/json_write.h"

static void refuse(struct sc_http_exchange *x, int status, struct sc_span message)
{
    struct sc_buf b;
    struct sc_json_writer w;
    sc_buf_init(&b, 64 << 10);
    sc_json_write_init(&w, &b, true);
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "id", x->id);
    sc_json_put_string(&w, "message", sc_span_sub(message, 0, 8192));
    sc_json_end_object(&w);
    sc_respond_json(x, status, &w, &b);
}

bool sc_cohere_claim(struct sc_call *c)
{
    static const struct sc_family family = {.refuse = refuse};
    bool v1 = sc_path_is(&c->path, "v1", "rerank");
    if (!v1 && !sc_path_is(&c->path, "v2", "rerank"))
        return false;
    sc_interface_claim(c, &family, v1 ? SC_COHERE_RERANK : SC_COHERE_RERANK_V2, "POST", true);
    return true;
}
