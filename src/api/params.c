#include "api/params.h"

#include "api/respond.h"
#include "proto/json_read.h"

void sc_params_free(struct sc_params *p)
{
    sc_query_free(&p->query);
    sc_buf_free(&p->room);
}

struct sc_span sc_param(const struct sc_params *p, const char *name)
{
    for (unsigned i = 0; i < p->n; i++)
        if (sc_span_eq(p->items[i].name, sc_span_str(name)))
            return p->items[i].value;
    return (struct sc_span){NULL, 0};
}

int sc_param_int(const struct sc_params *p, const char *name, int absent)
{
    int32_t v;
    struct sc_span text = sc_param(p, name);
    return text.p && sc_span_i32(text, &v) ? v : absent;
}

bool sc_param_bool(const struct sc_params *p, const char *name, bool absent)
{
    struct sc_span text = sc_param(p, name);
    return text.p ? sc_is_true(text) : absent;
}

static void add_param(struct sc_params *p, struct sc_span name, struct sc_span value)
{
    if (p->n < SC_COUNT(p->items))
        p->items[p->n++] = (struct sc_param){name, value};
}

int sc_params_from_query(struct sc_call *c, struct sc_params *p)
{
    struct sc_msg msg;
    if (c->rpc) {
        for (unsigned i = 0; i < c->ngiven; i++)
            add_param(p, c->given[i].name, c->given[i].value);
        return 0;
    }
    int rc = sc_query_parse(&p->query, c->x->req.target, &msg);
    for (unsigned i = 0; rc == 0 && i < p->query.n; i++)
        add_param(p, p->query.params[i].name, p->query.params[i].value);
    if (rc < 0)
        sc_call_error(c, 403, "IllegalArgumentException", "%s", msg.text);
    return rc;
}

int sc_params_from_json(struct sc_call *c, struct sc_params *p)
{
    struct sc_json_reader r;
    struct sc_msg msg;
    struct sc_span text = sc_body_span(&c->x->body);
    int ev;
    sc_buf_init(&p->room, text.n + 1);
    if (text.n == 0) {
        sc_call_error(c, 500, "NullPointerException", "the body is empty: a JSON object is expected");
        return SC_EINVAL;
    }
    if (sc_buf_reserve(&p->room, text.n) < 0) {
        sc_call_error(c, 500, "InternalServerException", "out of memory");
        return SC_ENOMEM;
    }
    sc_json_read_init(&r, text);
    if (sc_json_next(&r) == SC_JSON_OBJECT) {
        while ((ev = sc_json_next(&r)) == SC_JSON_KEY) {
            struct sc_span name, value;
            int rc = sc_json_text(&r, &p->room, &name);
            ev = sc_json_next(&r);
            if (rc < 0 || ev < 0)
                break;
            if (ev == SC_JSON_STRING && sc_json_text(&r, &p->room, &value) == 0)
                add_param(p, name, value);
            else if (ev == SC_JSON_NUMBER)
                add_param(p, name, r.raw);
            else if (ev == SC_JSON_TRUE || ev == SC_JSON_FALSE)
                add_param(p, name, ev == SC_JSON_TRUE ? SC_SPAN("true") : SC_SPAN("false"));
            else if (sc_json_skip(&r) < 0)
                break;
        }
        if (ev == SC_JSON_OBJECT_END && sc_json_next(&r) == SC_JSON_END)
            return 0;
    }
    if (r.failed)
        sc_json_read_error(&r, &msg);
    else
        sc_fail(&msg, SC_EINVAL, "the body must be one JSON object");
    sc_call_error(c, 500, "JsonSyntaxException", "%s", msg.text);
    return SC_EINVAL;
}

int sc_params_read(struct sc_call *c, struct sc_params *p)
{
    bool json = sc_media_is(sc_http_header_get(&c->x->req, SC_SPAN("content-type")), "application/json");
    return json ? sc_params_from_json(c, p) : sc_params_from_query(c, p);
}
