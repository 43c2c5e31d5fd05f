#include "api/interfaces.h"

#include <stdarg.h>
#include <stdio.h>

#include "api/respond.h"
#include "proto/json_read.h"

bool sc_path_is(const struct sc_path *p, const char *first, const char *second)
{
    return p->n == (second ? 2u : 1u) && sc_span_eq(p->segments[0], sc_span_str(first)) &&
           (!second || sc_span_eq(p->segments[1], sc_span_str(second)));
}

static void refuse(struct sc_call *c, int status, const char *type, const char *fmt, ...) SC_PRINTF(4, 5);
static void refuse(struct sc_call *c, int status, const char *type, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sc_call_refuse(c, status, type, sc_span(text, n < 0 ? 0 : SC_MIN((size_t)n, sizeof text - 1)));
}

/* ---- which model ------------------------------------------------------------------------------------ */

/* The named one: "name" or "name/version". False: answered. */
static bool find_named(struct sc_call *c, struct sc_span model)
{
    char has[256];
    size_t slash = sc_span_find(model, '/');
    struct sc_span version = {NULL, 0};
    if (slash < model.n)
        version = sc_span_sub(model, slash + 1, model.n);
    c->versioned = version.p != NULL;
    if (sc_engine_find(c->app->engine, c->x->loop, sc_span_sub(model, 0, slash), version, &c->shard) < 0) {
        refuse(c, 404, "ModelNotFoundException", "Model not found: %.*s", (int)SC_MIN(model.n, 300u),
               model.p);
        return false;
    }
    unsigned have = sc_shard_interfaces(c->shard);
    if (!sc_spec_is_native(sc_shard_spec(c->shard))) {
        refuse(c, 400, "BadRequestException",
               "The model %s is served by a Python handler, which has no interface but /predictions",
               sc_shard_spec(c->shard)->name);
        return false;
    }
    if (have && !(have & 1u << c->interface)) {
        sc_interfaces_write(have, has, sizeof has);
        refuse(c, 400, "BadRequestException",
               "The model %s does not have the interface %s; beside /predictions it has: %s",
               sc_shard_spec(c->shard)->name, sc_interface_name(c->interface), has);
        return false;
    }
    return true;
}

/* The first of `names`, separated by commas, that is among the n models. */
static struct sc_shard *preferred(const char *names, struct sc_shard *const *s, unsigned n)
{
    for (struct sc_span rest = sc_span_str(names); rest.n;) {
        size_t end = sc_span_find(rest, ',');
        struct sc_span name = sc_span_trim(sc_span_sub(rest, 0, end));
        rest = sc_span_sub(rest, end + 1, rest.n);
        for (unsigned i = 0; i < n; i++)
            if (sc_span_eq(name, sc_span_str(sc_shard_spec(s[i])->name)))
                return s[i];
    }
    return NULL;
}

/* The one that is meant where none is named. False: answered. */
static bool find_unnamed(struct sc_call *c, const char *how)
{
    struct sc_shard *some[64];
    unsigned n = sc_engine_having(c->app->engine, c->x->loop, 1u << c->interface, some, SC_COUNT(some));
    unsigned told = SC_MIN(n, (unsigned)SC_COUNT(some));
    c->shard = n == 1 ? some[0] : preferred(c->app->settings->interface_models, some, told);
    if (c->shard)
        return true;
    if (n == 0) {
        refuse(c, 404, "ModelNotFoundException", "No model that is loaded has the interface %s",
               sc_interface_name(c->interface));
        return false;
    }
    char names[600];
    size_t at = 0;
    for (unsigned i = 0; i < told && at < sizeof names; i++) {
        int k = snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", sc_shard_spec(some[i])->name);
        at += k < 0 ? 0 : (size_t)k;
    }
    refuse(
        c, 400, "BadRequestException",
        "%u models have the interface %s: %s. Name one by %s, or prefer one by the setting interface_models",
        n, sc_interface_name(c->interface), names, how);
    return false;
}

/* ---- routes ----------------------------------------------------------------------------------------- */

/* The string member "model" of an object: 1, 0 if there is none (or null), a negative code with *msg. */
static int model_of(struct sc_span body, struct sc_buf *room, struct sc_span *out, struct sc_msg *msg)
{
    struct sc_json_reader r;
    sc_json_read_init(&r, body);
    int ev = sc_json_next(&r);
    if (ev >= 0 && ev != SC_JSON_OBJECT)
        return sc_fail(msg, SC_EINVAL, "The body must be a JSON object");
    while (ev >= 0 && (ev = sc_json_next(&r)) == SC_JSON_KEY) {
        if (!sc_json_is(&r, SC_SPAN("model"))) {
            ev = sc_json_skip(&r);
            continue;
        }
        ev = sc_json_next(&r);
        if (ev == SC_JSON_NULL)
            return 0;
        if (ev >= 0 && ev != SC_JSON_STRING)
            return sc_fail(msg, SC_EINVAL, "\"model\" must be a string");
        if (ev >= 0)
            return sc_json_text(&r, room, out) < 0 ? sc_fail(msg, SC_EINVAL, "\"model\" is too long") : 1;
    }
    return ev < 0 ? sc_json_read_error(&r, msg) : 0;
}

static void run_by_body(struct sc_call *c)
{
    struct sc_buf room;
    struct sc_span model;
    struct sc_msg msg;
    sc_buf_init(&room, SC_HTTP_LINE_MAX);
    int rc = model_of(sc_body_span(&c->x->body), &room, &model, &msg);
    bool found = false;
    if (rc < 0)
        refuse(c, 400, "BadRequestException", "%s", msg.text);
    else
        found = rc == 1 ? find_named(c, model) : find_unnamed(c, "\"model\"");
    sc_buf_free(&room);
    if (found)
        sc_call_run(c);
}

/* Before the body has come: it can go straight to where the worker reads it. */
static void begin_by_query(struct sc_call *c)
{
    struct sc_query q;
    struct sc_msg msg;
    struct sc_span model;
    int rc = sc_query_parse(&q, c->x->req.target, &msg);
    bool found = false;
    if (rc < 0)
        refuse(c, 400, "BadRequestException", "%s", msg.text);
    else
        found = sc_query_get(&q, "model", &model) ? find_named(c, model) : find_unnamed(c, "?model=");
    sc_query_free(&q);
    if (found)
        (void)sc_call_begin(c);
}

void sc_interface_claim(struct sc_call *c, const struct sc_family *f, enum sc_interface i, const char *method,
                        bool by_body)
{
    c->family = f;
    c->interface = i;
    if (!sc_span_eq(c->x->req.method, sc_span_str(method)))
        refuse(c, 405, "MethodNotAllowedException", "The method must be %s", method);
    else if (by_body)
        c->route = run_by_body;
    else
        begin_by_query(c);
}
