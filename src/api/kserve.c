/*
 * KServe's REST routes as TorchServe 0.12 has them (docs/contract.md §5): predictions of a model's default
 * version under other paths. What the bodies mean is the envelope's business (service_envelope), in the
 * worker.
 *
 *   ANY  /v1/models/{m}:predict    ANY  /v2/models/{m}/infer      inference
 *   ANY  /v1/models/{m}:explain    ANY  /v2/models/{m}/explain
 *   GET  /v1/models/{m}                                           management: is it ready?
 */
#include "api/app.h"
#include "api/describe.h"
#include "proto/json_write.h"

static bool holds(struct sc_span s, struct sc_span what)
{
    return what.n <= s.n && memmem(s.p, s.n, what.p, what.n);
}

static bool is_v1(const struct sc_path *p)
{
    return p->n == 3 && sc_span_eq(p->segments[0], SC_SPAN("v1")) &&
           sc_span_eq(p->segments[1], SC_SPAN("models"));
}

bool sc_kserve_inference_claim(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    struct sc_span model;
    if (is_v1(p)) {
        struct sc_span last = p->segments[2];
        c->explain = holds(last, SC_SPAN(":explain"));
        if (!c->explain && !holds(last, SC_SPAN(":predict")))
            return false;
        model = sc_span_sub(last, 0, sc_span_find(last, ':'));
    } else if (p->n == 4 && sc_span_eq(p->segments[0], SC_SPAN("v2")) &&
               sc_span_eq(p->segments[1], SC_SPAN("models")) &&
               (sc_span_eq(p->segments[3], SC_SPAN("infer")) ||
                sc_span_eq(p->segments[3], SC_SPAN("explain")))) {
        c->explain = p->segments[3].n == sizeof "explain" - 1;
        model = p->segments[2];
    } else {
        return false;
    }
    c->no_url_path = true;
    sc_call_predict(c, model, sc_span(NULL, 0));
    return true;
}

/* ---- readiness ------------------------------------------------------------------------------------------
 */

struct seen {
    bool known, ready;
};

static void look(void *arg, const struct sc_version_view *v)
{
    struct seen *s = arg;
    s->known = true;
    s->ready |= v->is_default && v->nworkers > 0;
}

static void tell_ready(struct sc_call *c)
{
    struct sc_span name = c->path.segments[2], method = c->x->req.method;
    struct sc_json_writer w;
    struct seen s = {0};
    name = sc_span_sub(name, 0, sc_span_find(name, ':'));
    if (!sc_span_eq(method, SC_SPAN("GET"))) {
        sc_call_bad_method(c);
        return;
    }
    sc_engine_each(c->app->engine, name, look, &s);
    if (!s.known) {
        sc_call_no_model(c, SC_ENOTFOUND, name, sc_span(NULL, 0));
        return;
    }
    sc_json_write_init(&w, &c->out, false);
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "name", name);
    sc_json_put_bool(&w, "ready", s.ready);
    sc_json_end_object(&w);
    sc_call_json(c, &w);
}

bool sc_kserve_management_claim(struct sc_call *c)
{
    if (!is_v1(&c->path))
        return false;
    c->on_zero = tell_ready;
    c->route = sc_call_to_loop_zero;
    return true;
}
