#include "api/register.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/params.h"
#include "api/respond.h"
#include "base/alloc.h"

/* TorchServe's sentence is all that its face says; the reason is in the log there, and in ours here. */
static void respond_failed(struct sc_call *c, int status, const char *name, const char *version,
                           const char *text)
{
    bool tell = c->app->settings->face == SC_FACE_SCONCE && *text;
    sc_call_error(c, status, "InternalServerException",
                  "Failed to start workers for model %s version: %s%s%s", name, version, tell ? ": " : "",
                  tell ? text : "");
}

void sc_pending_done(void *arg, int rc, const char *text)
{
    struct sc_pending *p = arg;
    if (rc < 0)
        respond_failed(p->c, rc == SC_ENOMEM ? 507 : 500, p->name,
                       p->version_given || !p->scaling ? p->version : "null", text);
    else if (!p->scaling)
        sc_call_status(p->c, 200, "Model \"%s\" Version: %s registered with %d initial workers", p->name,
                       p->version, p->workers);
    else if (p->version_given)
        sc_call_status(p->c, 200, "Workers scaled to %d for model: %s, version: %s", p->workers, p->name,
                       p->version);
    else
        sc_call_status(p->c, 200, "Workers scaled to %d for model: %s", p->workers, p->name);
    free(p);
}

/* Parameters that are not the server's own are settings of a native backend. */
static bool is_own_parameter(struct sc_span name)
{
    static const char *const own[] = {"url",         "model_name",       "model_version",   "handler",
                                      "runtime",     "batch_size",       "max_batch_delay", "initial_workers",
                                      "synchronous", "response_timeout", "startup_timeout", "s3_sse_kms",
                                      "backend"};
    for (size_t i = 0; i < SC_COUNT(own); i++)
        if (sc_span_eq(name, sc_span_str(own[i])))
            return true;
    return false;
}

/* A registration under way. The call outlives it, and so do the spans of its parameters. */
struct registration {
    struct sc_call *c;
    struct sc_params params;
    char *url, *name, *version, *handler, *runtime, *backend;
    bool synchronous;
};

static void registration_free(struct registration *r)
{
    sc_params_free(&r->params);
    free(r->url);
    free(r->name);
    free(r->version);
    free(r->handler);
    free(r->runtime);
    free(r->backend);
    free(r);
}

/* ---- the version is there --------------------------------------------------------------------------------
 */

static void respond_refused(struct sc_call *c, const struct sc_model_spec *s, int rc)
{
    if (rc == SC_EEXIST)
        sc_call_error(c, 409, "ConflictStatusException",
                      "Model version %s is already registered for model %s", s->version, s->name);
    else if (rc == SC_ELIMIT)
        sc_call_error(c, 500, "InternalServerException",
                      "%d models are registered, which is the most; unregister one first", SC_MODELS_MAX);
    else
        sc_call_error(c, 500, "InternalServerException", "the model could not be registered: %s",
                      sc_strerror(rc));
}

/* 0 if it was registered: its files are the version's then. */
static int register_spec(struct sc_call *c, const struct sc_model_spec *s, bool synchronous)
{
    struct sc_pending *d = NULL;
    if (synchronous && s->min_workers > 0) {
        d = sc_alloc(sizeof *d);
        *d = (struct sc_pending){.c = c, .workers = s->min_workers};
        snprintf(d->name, sizeof d->name, "%s", s->name);
        snprintf(d->version, sizeof d->version, "%s", s->version);
    }
    int rc = sc_engine_register(c->app->engine, s, d ? sc_pending_done : NULL, d);
    if (rc < 0) {
        free(d);
        respond_refused(c, s, rc);
    } else if (s->min_workers <= 0) {
        sc_call_status(c, 200,
                       "Model \"%s\" Version: %s registered with 0 initial workers. Use scale workers API to "
                       "add workers for the model.",
                       s->name, s->version);
    } else if (!d) {
        sc_call_status(c, 202, "Processing worker updates...");
    }
    return rc;
}

static int add_extras(struct registration *r, struct sc_model_spec *s)
{
    struct sc_msg msg;
    for (unsigned i = 0; sc_spec_is_native(s) && i < r->params.n; i++)
        if (!is_own_parameter(r->params.items[i].name) &&
            sc_spec_ask_extra(s, r->params.items[i].name, r->params.items[i].value, &msg) < 0) {
            sc_call_error(r->c, 400, "BadRequestException", "%s", msg.text);
            return SC_ELIMIT;
        }
    return 0;
}

static int check_limits(struct sc_call *c, const struct sc_model_spec *s)
{
    int most = sc_spec_is_native(s) ? SC_LANES_MAX : SC_WORKERS_MAX;
    if (s->min_workers > most || s->max_workers > most) {
        sc_call_error(c, 400, "BadRequestException", "initial_workers is %d: a model has at most %d workers",
                      s->min_workers, most);
        return SC_ELIMIT;
    }
    if (s->batch_size > SC_BATCH_SIZE_MAX) {
        sc_call_error(c, 400, "BadRequestException", "batch_size is %d: a batch has at most %d requests",
                      s->batch_size, SC_BATCH_SIZE_MAX);
        return SC_ELIMIT;
    }
    return 0;
}

static void prepared(void *arg, int rc, struct sc_model_spec *spec, const struct sc_archive_error *err)
{
    struct registration *r = arg;
    if (rc < 0)
        sc_call_error(r->c, err->status, err->type, "%s", err->msg.text);
    else
        sc_engine_release(r->c->app->engine, spec,
                          add_extras(r, spec) < 0 || check_limits(r->c, spec) < 0 ||
                              register_spec(r->c, spec, r->synchronous) < 0);
    registration_free(r);
}

/* ---- the call --------------------------------------------------------------------------------------------
 */

static char *text_param(const struct sc_params *p, const char *name)
{
    struct sc_span v = sc_param(p, name);
    return v.p ? sc_span_dup(v) : NULL;
}

/* Checks in TorchServe's order (§6.2); 0, or the call was answered. */
static int check_params(struct sc_call *c, const struct sc_params *p)
{
    struct sc_span url = sc_param(p, "url"), name = sc_param(p, "model_name"),
                   runtime = sc_param(p, "runtime"), version = sc_param(p, "model_version"),
                   backend = sc_param(p, "backend");
    struct sc_msg msg;
    if (!url.p) {
        sc_call_error(c, 400, "BadRequestException", "Parameter url is required.");
        return SC_EINVAL;
    }
    if (runtime.p && !sc_span_eq(runtime, SC_SPAN("python")) && !sc_span_eq(runtime, SC_SPAN("python3")) &&
        !sc_span_eq(runtime, SC_SPAN("LSP"))) {
        sc_call_error(c, 400, "BadRequestException", "Invalid RuntimeType value: %.*s", SC_FMT(runtime));
        return SC_EINVAL;
    }
    if (memchr(url.p, '\0', url.n)) {
        sc_call_error(c, 404, "ModelNotFoundException",
                      "Model not found at: %.*s (the url goes on behind a NUL)", SC_FMT(url));
        return SC_EINVAL;
    }
    if ((name.n && sc_spec_check_name(name, &msg) < 0) ||
        (version.p && sc_spec_check_version(version, &msg) < 0) ||
        (backend.n && sc_spec_check_backend(backend, &msg) < 0)) {
        sc_call_error(c, 400, "BadRequestException", "%s", msg.text);
        return SC_EINVAL;
    }
    return 0;
}

void sc_model_register(struct sc_call *c)
{
    if (!c->app->settings->enable_model_api) {
        sc_call_bad_method(c);
        return;
    }
    struct registration *r = sc_alloc(sizeof *r);
    const struct sc_params *p = &r->params;
    r->c = c;
    if (sc_params_read(c, &r->params) < 0 || check_params(c, p) < 0) {
        registration_free(r);
        return;
    }
    r->url = text_param(p, "url");
    r->name = sc_param(p, "model_name").n ? text_param(p, "model_name") : NULL; /* empty: the manifest's */
    r->version = text_param(p, "model_version");
    r->handler = text_param(p, "handler");
    r->runtime = text_param(p, "runtime");
    r->backend = text_param(p, "backend");
    r->synchronous = sc_param_bool(p, "synchronous", true);
    struct sc_spec_want want;
    sc_spec_want_init(&want, SC_SPEC_API, r->url);
    want.name = r->name;
    want.version = r->version;
    want.handler = r->handler;
    want.runtime = r->runtime;
    want.backend = r->backend;
    want.batch_size = sc_param_int(p, "batch_size", SC_SPEC_UNSET);
    want.max_batch_delay = sc_param_int(p, "max_batch_delay", SC_SPEC_UNSET);
    want.response_timeout = sc_param_int(p, "response_timeout", SC_SPEC_UNSET);
    want.startup_timeout = sc_param_int(p, "startup_timeout", SC_SPEC_UNSET);
    want.initial_workers = sc_param_int(p, "initial_workers", SC_SPEC_UNSET);
    want.s3_sse_kms = sc_param_bool(p, "s3_sse_kms", false);
    sc_engine_prepare(c->app->engine, &want, prepared, r);
}
