/*
 * KServe's first protocol (docs/contract.md §5.1): predictions of a model's default version under another
 * path. What the bodies mean is the envelope's business (service_envelope), in the worker.
 */
#include "api/kserve.h"

#include "api/describe.h"
#include "proto/json_write.h"

static void predict(struct sc_call *c)
{
    struct sc_span last = c->path.segments[2];
    c->no_url_path = true;
    sc_call_predict(c, sc_span_sub(last, 0, sc_span_find(last, ':')), sc_span(NULL, 0));
}

void sc_kserve_predict(struct sc_call *c)
{
    predict(c);
}

void sc_kserve_explain(struct sc_call *c)
{
    c->explain = true;
    predict(c);
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

void sc_kserve_ready(struct sc_call *c)
{
    struct sc_span name = c->path.segments[2];
    struct sc_json_writer w;
    struct seen s = {0};
    name = sc_span_sub(name, 0, sc_span_find(name, ':'));
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

static void put_name(void *arg, const struct sc_version_view *v)
{
    if (v->is_default)
        sc_json_string(arg, sc_span_str(v->spec->name));
}

void sc_v1_models(struct sc_call *c)
{
    struct sc_json_writer w;
    sc_json_write_init(&w, &c->out, false);
    sc_json_begin_object(&w);
    sc_json_key(&w, "models");
    sc_json_begin_array(&w);
    sc_engine_each(c->app->engine, sc_span(NULL, 0), put_name, &w);
    sc_json_end_array(&w);
    sc_json_end_object(&w);
    sc_call_json(c, &w);
}
