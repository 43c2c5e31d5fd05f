/*
 * KServe's second protocol beside inference: what the server is, what its models are, whether they are ready.
 * Only where ts_open_inference_protocol is on. The first three routes answer as TorchServe's, whose misspelt
 * field is kept; under `sconce serve` readiness is true readiness.
 */
#include "api/describe.h"
#include "api/kserve.h"
#include "api/respond.h"
#include "proto/json_read.h"
#include "proto/json_write.h"
#include "proto/tensor.h"

static bool as_torchserve(const struct sc_call *c)
{
    return c->app->settings->face == SC_FACE_TORCHSERVE;
}

struct sc_v2_identity sc_v2_identity(const struct sc_app *app)
{
    static const char *const misspelt[] = {"kserve", "kubeflow", NULL};
    static const char *const extensions[] = {"binary_tensor_data", "model_repository", NULL};
    bool ts = app->settings->face == SC_FACE_TORCHSERVE;
    return (struct sc_v2_identity){.name = ts ? "Torchserve" : "sconce",
                                   .version = ts ? SC_TORCHSERVE_VERSION : SCONCE_VERSION,
                                   .extensions = ts ? misspelt : extensions};
}

static void put_names(struct sc_json_writer *w, const char *key, const char *const *names)
{
    sc_json_key(w, key);
    sc_json_begin_array(w);
    for (; *names; names++)
        sc_json_string(w, sc_span_str(*names));
    sc_json_end_array(w);
}

void sc_v2_server(struct sc_call *c)
{
    struct sc_v2_identity us = sc_v2_identity(c->app);
    struct sc_buf b;
    struct sc_json_writer w;
    sc_buf_init(&b, 4096);
    sc_json_write_init(&w, &b, false);
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "name", us.name);
    sc_json_put_str(&w, "version", us.version);
    put_names(&w, as_torchserve(c) ? "extenstion" : "extensions", us.extensions);
    sc_json_end_object(&w);
    sc_respond_json(c->x, 200, &w, &b);
}

static void say(struct sc_call *c, const char *name, bool truth)
{
    struct sc_buf b;
    struct sc_json_writer w;
    sc_buf_init(&b, 256);
    sc_json_write_init(&w, &b, false);
    sc_json_begin_object(&w);
    sc_json_put_bool(&w, name, truth);
    sc_json_end_object(&w);
    sc_respond_json(c->x, truth ? 200 : 503, &w, &b);
}

void sc_v2_live(struct sc_call *c)
{
    say(c, "live", true);
}

void sc_v2_ready(struct sc_call *c)
{
    say(c, "ready", as_torchserve(c) || sc_engine_healthy(c->app->engine));
}

void sc_v2_unknown(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    bool versions = false;
    for (unsigned i = 0; i < SC_MIN(p->n, (unsigned)SC_PATH_SEGMENTS); i++)
        versions |= sc_span_starts(p->segments[i], SC_SPAN("versions"));
    if (p->n >= 5 && versions)
        sc_v2_refuse(c->x, 501, SC_SPAN("Model versioning is not yet supported."));
    else if (as_torchserve(c))
        sc_respond_no_resource(c->x);
    else
        sc_v2_refuse(c->x, 404, SC_SPAN("There is no such call"));
}

/* ---- models: loop 0 ----------------------------------------------------------------------------------- */

static struct sc_span version_of(const struct sc_call *c)
{
    return c->path.n >= 5 ? c->path.segments[4] : sc_span(NULL, 0);
}

static void finish(struct sc_call *c, int status, struct sc_json_writer *w)
{
    if (sc_json_write_finish(w) < 0)
        c->out.failed = SC_ELIMIT;
    c->raw = true;
    c->media = SC_SPAN("application/json");
    c->status = status;
    sc_call_finish(c);
}

static void fail(struct sc_call *c, int status, const char *text)
{
    struct sc_json_writer w;
    sc_buf_clear(&c->out);
    sc_json_write_init(&w, &c->out, true);
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "error", text);
    sc_json_end_object(&w);
    finish(c, status, &w);
}

struct look {
    struct sc_json_writer *w;
    struct sc_span version; /* NULL pointer: the default one */
    struct sc_v2_seen seen;
    bool only_ready;
};

unsigned sc_v2_ready_workers(const struct sc_version_view *v)
{
    unsigned n = 0;
    for (unsigned i = 0; i < v->nworkers; i++)
        n += v->workers[i].ready;
    return n;
}

static void look(void *arg, const struct sc_version_view *v)
{
    struct look *l = arg;
    unsigned n = sc_v2_ready_workers(v);
    l->seen.known = true;
    if (l->version.p ? !sc_span_eq(l->version, sc_span_str(v->spec->version)) : !v->is_default)
        return;
    l->seen.found = true;
    l->seen.ready = n > 0;
    l->seen.all_ready = n >= (unsigned)SC_MAX(v->spec->min_workers, 0);
}

struct sc_v2_seen sc_v2_look(const struct sc_app *app, struct sc_span name, struct sc_span version)
{
    struct look l = {.version = version};
    sc_engine_each(app->engine, name, look, &l);
    return l.seen;
}

void sc_v2_model_ready(struct sc_call *c)
{
    struct sc_json_writer w;
    struct sc_span name = c->path.segments[2];
    struct sc_v2_seen seen = sc_v2_look(c->app, name, version_of(c));
    if (!seen.found) {
        fail(c, 404, seen.known ? "Model version not found" : "Model not found");
        return;
    }
    sc_json_write_init(&w, &c->out, true);
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "name", name);
    sc_json_put_bool(&w, "ready", seen.ready);
    sc_json_end_object(&w);
    finish(c, seen.ready ? 200 : 503, &w);
}

static void put_index(void *arg, const struct sc_version_view *v)
{
    struct look *l = arg;
    bool ready = sc_v2_ready_workers(v) > 0;
    if (l->only_ready && !ready)
        return;
    sc_json_begin_object(l->w);
    sc_json_put_str(l->w, "name", v->spec->name);
    sc_json_put_str(l->w, "version", v->spec->version);
    sc_json_put_str(l->w, "state", sc_v2_state(ready));
    sc_json_put_str(l->w, "reason", sc_v2_reason(ready));
    sc_json_end_object(l->w);
}

void sc_v2_index(struct sc_call *c)
{
    struct sc_json_reader r;
    struct sc_json_writer w;
    struct look l = {.w = &w};
    struct sc_msg msg = {""};
    struct sc_span body = sc_body_span(&c->x->body);
    int ev = 0;
    sc_json_read_init(&r, body);
    if (body.n && (ev = sc_json_next(&r)) == SC_JSON_OBJECT)
        while ((ev = sc_json_next(&r)) == SC_JSON_KEY) {
            bool ready = sc_json_is(&r, SC_SPAN("ready"));
            if ((ev = ready ? sc_json_next(&r) : sc_json_skip(&r)) < 0)
                break;
            l.only_ready |= ready && ev == SC_JSON_TRUE;
        }
    if (ev < 0 || (body.n && ev != SC_JSON_OBJECT_END)) {
        if (ev < 0)
            sc_json_read_error(&r, &msg);
        fail(c, 400, ev < 0 ? msg.text : "the body must be an object");
        return;
    }
    sc_json_write_init(&w, &c->out, true);
    sc_json_begin_array(&w);
    sc_engine_each(c->app->engine, sc_span(NULL, 0), put_index, &l);
    sc_json_end_array(&w);
    finish(c, 200, &w);
}

/* ---- metadata: what the backend says, then, on loop 0, what the registry does -------------------------- */

static void put_version(void *arg, const struct sc_version_view *v)
{
    struct look *l = arg;
    look(arg, v);
    if (l->version.p && !sc_span_eq(l->version, sc_span_str(v->spec->version)))
        return;
    sc_json_string(l->w, sc_span_str(v->spec->version));
}

static void put_tensors(struct sc_json_writer *w, const char *key, struct sc_span block,
                        enum sc_tensor_kind kind)
{
    struct sc_tensor t;
    size_t at = 0;
    sc_json_key(w, key);
    sc_json_begin_array(w);
    while (sc_tensor_read(block, &at, &t) == 1) {
        if (t.kind != kind)
            continue;
        sc_json_begin_object(w);
        sc_json_put_string(w, "name", t.name);
        sc_json_put_str(w, "datatype", sc_datatype_name(t.type));
        sc_json_key(w, "shape");
        sc_json_begin_array(w);
        for (unsigned i = 0; i < t.rank; i++)
            sc_json_int(w, t.shape[i]);
        sc_json_end_array(w);
        sc_json_end_object(w);
    }
    sc_json_end_array(w);
}

static void tell(struct sc_call *c)
{
    struct sc_json_writer w;
    struct look l = {.w = &w, .version = version_of(c)};
    const struct sc_model_spec *s = sc_shard_spec(c->shard);
    struct sc_span name = c->path.segments[2], block = sc_buf_view(&c->told);
    sc_json_write_init(&w, &c->out, true);
    sc_json_begin_object(&w);
    sc_json_put_string(&w, "name", name);
    sc_json_key(&w, "versions");
    sc_json_begin_array(&w);
    sc_engine_each(c->app->engine, name, put_version, &l);
    sc_json_end_array(&w);
    sc_json_put_str(&w, "platform", sc_spec_is_native(s) ? s->backend : s->runtime);
    put_tensors(&w, "inputs", block, SC_TENSOR_INPUT);
    put_tensors(&w, "outputs", block, SC_TENSOR_OUTPUT);
    sc_json_end_object(&w);
    if (l.seen.known)
        finish(c, 200, &w);
    else
        fail(c, 404, "Model not found");
}

void sc_v2_told(struct sc_call *c, struct sc_span body)
{
    sc_buf_init(&c->told, body.n + 1); /* a copy: the worker may still write to its own */
    sc_buf_span(&c->told, body);
    sc_call_to_loop_zero(c);
}

static void told(struct sc_call *c, const struct sc_job_answer *a)
{
    sc_v2_told(c, a->body);
}

void sc_v2_ask(struct sc_call *c)
{
    const struct sc_shard *s = c->shard;
    c->interface = SC_KSERVE_METADATA;
    if (sc_spec_is_native(sc_shard_spec(s)) && sc_shard_has_worker(s) &&
        sc_shard_interfaces(s) & 1u << SC_KSERVE_METADATA)
        sc_call_run_on(c, sc_span(NULL, 0));
    else
        sc_call_to_loop_zero(c);
}

void sc_v2_model(struct sc_call *c)
{
    static const struct sc_family family = {sc_v2_refuse, told};
    if (!sc_v2_find(c))
        return;
    c->family = &family;
    c->on_zero = tell;
    c->route = sc_v2_ask;
}
