#include "api/respond.h"

#define JSON SC_SPAN("application/json")

void sc_respond_body(struct sc_http_exchange *x, int status, struct sc_span content_type, struct sc_span body)
{
    struct sc_http_response r = {.status = status, .content_type = content_type, .body = body};
    sc_http_respond(x, &r);
}

void sc_respond_json(struct sc_http_exchange *x, int status, struct sc_json_writer *w, struct sc_buf *b)
{
    if (sc_json_write_finish(w) < 0)
        sc_respond_body(x, 500, JSON,
                        SC_SPAN("{\n  \"code\": 500,\n  \"type\": \"InternalServerException\"\n}\n"));
    else
        sc_respond_body(x, status, JSON, sc_buf_view(b));
    sc_buf_free(b);
}

void sc_respond_error(struct sc_http_exchange *x, int status, const char *type, struct sc_span message)
{
    struct sc_buf b;
    struct sc_json_writer w;
    sc_buf_init(&b, 64 << 10);
    sc_json_write_init(&w, &b, false);
    sc_json_begin_object(&w);
    sc_json_put_int(&w, "code", status);
    sc_json_put_str(&w, "type", type);
    if (message.p)
        sc_json_put_string(&w, "message", sc_span_sub(message, 0, 8192));
    sc_json_end_object(&w);
    sc_respond_json(x, status, &w, &b);
}

void sc_respond_status(struct sc_http_exchange *x, int status, struct sc_span text)
{
    struct sc_buf b;
    struct sc_json_writer w;
    sc_buf_init(&b, 64 << 10);
    sc_json_write_init(&w, &b, false);
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "status", text);
    sc_json_end_object(&w);
    sc_respond_json(x, status, &w, &b);
}

void sc_respond_no_resource(struct sc_http_exchange *x)
{
    sc_respond_error(x, 404, "ResourceNotFoundException",
                     SC_SPAN("Requested resource is not found, please refer to API document."));
}

void sc_respond_bad_method(struct sc_http_exchange *x)
{
    sc_respond_error(x, 405, "MethodNotAllowedException",
                     SC_SPAN("Requested method is not allowed, please refer to API document."));
}

void sc_put_no_model(struct sc_buf *b, int rc, struct sc_span name, struct sc_span version)
{
    /* Not printf: the names may hold anything, NUL included. */
    sc_buf_str(b, rc == SC_ENOTFOUND ? "Model not found: " : "Model version: ");
    if (rc != SC_ENOTFOUND) {
        sc_buf_span(b, version);
        sc_buf_str(b, " does not exist for model: ");
    }
    sc_buf_span(b, name);
}
