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

/* What TorchServe's classes of JSON bodies declare; of other members any scalar is taken. */
enum kind { ANY, TEXT, INTEGER, BOOLEAN };
static const struct {
    const char *name;
    enum kind kind;
} declared[] = {{"url", TEXT},
                {"model_name", TEXT},
                {"workflow_name", TEXT},
                {"handler", TEXT},
                {"runtime", TEXT},
                {"batch_size", INTEGER},
                {"max_batch_delay", INTEGER},
                {"initial_workers", INTEGER},
                {"response_timeout", INTEGER},
                {"startup_timeout", INTEGER},
                {"synchronous", BOOLEAN},
                {"s3_sse_kms", BOOLEAN}};

static enum kind kind_of(struct sc_span name)
{
    for (size_t i = 0; i < SC_COUNT(declared); i++)
        if (sc_span_eq(name, sc_span_str(declared[i].name)))
            return declared[i].kind;
    return ANY;
}

/* "2" and "2.0" are integers. */
static bool is_integer(struct sc_span *s)
{
    int32_t v;
    size_t dot = sc_span_find(*s, '.');
    for (size_t i = dot + 1; i < s->n; i++)
        if (s->p[i] != '0')
            return false;
    *s = sc_span_sub(*s, 0, dot);
    return sc_span_i32(*s, &v);
}

/* The value behind a key, as text; of a name given twice the last one counts. */
static int read_member(struct sc_json_reader *r, struct sc_params *p, struct sc_span name)
{
    static const char *const wrong[] = {[TEXT] = "something that is no string",
                                        [INTEGER] = "something that is no integer",
                                        [BOOLEAN] = "something that is no boolean"};
    struct sc_span value = {NULL, 0};
    enum kind kind = kind_of(name);
    int ev = sc_json_next(r), rc = 0;
    bool fits = true;
    if (ev < 0)
        return ev;
    if (ev == SC_JSON_STRING) {
        rc = sc_json_text(r, &p->room, &value);
        fits = kind != INTEGER || is_integer(&value);
    } else if (ev == SC_JSON_NUMBER) {
        value = r->raw;
        fits = kind != BOOLEAN && (kind != INTEGER || is_integer(&value));
    } else if (ev == SC_JSON_TRUE || ev == SC_JSON_FALSE) {
        value = ev == SC_JSON_TRUE ? SC_SPAN("true") : SC_SPAN("false");
        fits = kind != INTEGER;
    } else if (ev != SC_JSON_NULL) {
        fits = kind == ANY;
    }
    if (!fits)
        return sc_json_refuse(r, SC_EINVAL, wrong[kind]);
    if (rc < 0 || (!value.p && (rc = sc_json_skip(r)) < 0))
        return rc;
    for (unsigned i = 0; i < p->n; i++)
        if (sc_span_eq(p->items[i].name, name)) {
            p->items[i].value = value;
            return 0;
        }
    if (value.p)
        add_param(p, name, value);
    return 0;
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
    ev = sc_json_next(&r);
    if (ev == SC_JSON_OBJECT) {
        while ((ev = sc_json_next(&r)) == SC_JSON_KEY) {
            struct sc_span name;
            if (sc_json_text(&r, &p->room, &name) < 0 || read_member(&r, p, name) < 0)
                break;
        }
        if (ev == SC_JSON_OBJECT_END && sc_json_next(&r) == SC_JSON_END)
            return 0;
    } else if (ev == SC_JSON_NULL && sc_json_next(&r) == SC_JSON_END) {
        sc_call_error(c, 500, "NullPointerException", "the body is null: a JSON object is expected");
        return SC_EINVAL;
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
