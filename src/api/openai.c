/* OpenAI's API, as far as encoders have it: POST /v1/embeddings. */
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
    sc_json_key(&w, "error");
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "message", sc_span_sub(message, 0, 8192));
    sc_json_put_str(&w, "type", status >= 500 ? "server_error" : "invalid_request_error");
    sc_json_key(&w, "param");
    sc_json_null(&w);
    sc_json_key(&w, "code");
    if (status == 404)
        sc_json_string(&w, SC_SPAN("model_not_found"));
    else
        sc_json_null(&w);
    sc_json_end_object(&w);
    sc_json_end_object(&w);
    sc_respond_json(x, status, &w, &b);
}

bool sc_openai_claim(struct sc_call *c)
{
    static const struct sc_family family = {.refuse = refuse};
    if (!sc_path_is(&c->path, "v1", "embeddings"))
        return false;
    sc_interface_claim(c, &family, SC_OPENAI_EMBEDDINGS, "POST", true);
    return true;
}
