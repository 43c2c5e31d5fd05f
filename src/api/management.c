/* Models: register, scale, default, unregister (docs/contract.md §6). Routes run on loop 0. */
#include <stdio.h>
#include <stdlib.h>

#include "api/app.h"
#include "api/describe.h"
#include "api/params.h"
#include "api/respond.h"
#include "base/alloc.h"

/* ---- register, scale
 * ------------------------------------------------------------------------------------------ */

/* What a call must remember while workers start. */
struct pending {
    struct sc_call *c;
    char name[SC_MODEL_NAME_MAX + 1];
    char version[64];
    bool version_given, scaling;
    int workers;
};

static void workers_done(void *arg, int rc, const char *text)
{
    struct pending *p = arg;
    if (rc < 0 && *text)
        sc_call_error(p->c, 500, "InternalServerException",
                      "Failed to start workers for model %s version: %s: %s", p->name,
                      p->version_given || !p->scaling ? p->version : "null", text);
    else if (rc < 0)
        sc_call_error(p->c, 500, "InternalServerException",
                      "Failed to start workers for model %s version: %s", p->name,
                      p->version_given || !p->scaling ? p->version : "null");
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

/* Parameters that are not the server's own are settings of the backend. */
static bool is_own_parameter(struct sc_span name)
{
    static const char *const own[] = {"url",         "model_name",       "model_version",   "handler",
                                      "runtime",     "batch_size",       "max_batch_delay", "initial_workers",
                                      "synchronous", "response_timeout", "startup_timeout", "s3_sse_kms"};
    for (size_t i = 0; i < SC_COUNT(own); i++)
        if (sc_span_eq(name, sc_span_str(own[i])))
            return true;
    return false;
}

/*
 * Checks in TorchServe's order (§6.2); 0, or the call was answered.
 *
 * model_version is an addition: a folder has no manifest that could tell its version.
 */
static int spec_from_params(struct sc_call *c, const struct sc_params *p, struct sc_model_spec *s)
{
    struct sc_span url = sc_param(p, "url"), name = sc_param(p, "model_name"),
                   runtime = sc_param(p, "runtime");
    struct sc_span version = sc_param(p, "model_version");
    struct sc_msg msg;
    const struct sc_settings *settings = c->app->settings;
    if (!url.p) {
        sc_call_error(c, 400, "BadRequestException", "Parameter url is required.");
        return SC_EINVAL;
    }
    if (runtime.p && !sc_span_eq(runtime, SC_SPAN("python")) && !sc_span_eq(runtime, SC_SPAN("python3")) &&
        !sc_span_eq(runtime, SC_SPAN("LSP"))) {
        sc_call_error(c, 400, "BadRequestException", "Invalid RuntimeType value: %.*s", SC_FMT(runtime));
        return SC_EINVAL;
    }
    if (url.n == 0) {
        sc_call_error(c, 404, "ModelNotFoundException", "empty url");
        return SC_EINVAL;
    }
    if (memchr(url.p, '\0', url.n)) {
        sc_call_error(c, 404, "ModelNotFoundException",
                      "Model not found at: %.*s (the url goes on behind a NUL)", SC_FMT(url));
        return SC_EINVAL;
    }
    s->url = sc_span_dup(url);
    if (!s->url) {
        sc_call_error(c, 500, "InternalServerException", "out of memory");
        return SC_ENOMEM;
    }
    if (strstr(s->url, "..")) {
        sc_call_error(c, 404, "ModelNotFoundException", "Relative path is not allowed in url: %s", s->url);
        return SC_EINVAL;
    }
    if (name.p) {
        if (sc_spec_check_name(name, &msg) < 0) {
            sc_call_error(c, 400, "BadRequestException", "%s", msg.text);
            return SC_EINVAL;
        }
        snprintf(s->name, sizeof s->name, "%.*s", SC_FMT(name));
    }
    if (version.p) {
        if (sc_spec_check_version(version, &msg) < 0) {
            sc_call_error(c, 400, "BadRequestException", "%s", msg.text);
            return SC_EINVAL;
        }
        snprintf(s->version, sizeof s->version, "%.*s", SC_FMT(version));
    }
    s->response_timeout = settings->default_response_timeout;
    s->startup_timeout = settings->default_startup_timeout;
    s->min_workers = s->max_workers = 0;
    int rc = sc_spec_resolve(s, settings->model_store, &msg);
    if (rc < 0) {
        if (rc == SC_ENOTFOUND)
            sc_call_error(c, 404, "ModelNotFoundException", "%s", msg.text);
        else
            sc_call_error(c, 400, "InvalidModelException", "%s", msg.text);
        return rc;
    }
    bool from_file = s->min_workers > 0 && s->max_workers >= s->min_workers;
    int workers = sc_param_int(p, "initial_workers", SC_MIN(settings->default_workers, SC_LANES_MAX));
    if (workers > SC_LANES_MAX) {
        sc_call_error(c, 400, "BadRequestException", "initial_workers is %d: a model has at most %d workers",
                      workers, SC_LANES_MAX);
        return SC_ELIMIT;
    }
    if (!from_file)
        s->min_workers = s->max_workers = SC_MAX(workers, 0);
    s->batch_size = sc_param_int(p, "batch_size", s->batch_size);
    if (s->batch_size > SC_BATCH_SIZE_MAX) {
        sc_call_error(c, 400, "BadRequestException", "batch_size is %d: a batch has at most %d requests",
                      s->batch_size, SC_BATCH_SIZE_MAX);
        return SC_ELIMIT;
    }
    s->max_batch_delay = sc_param_int(p, "max_batch_delay", s->max_batch_delay);
    int timeout = sc_param_int(p, "response_timeout", -1);
    if (timeout > 0)
        s->response_timeout = timeout;
    timeout = sc_param_int(p, "startup_timeout", -1);
    if (timeout > 0)
        s->startup_timeout = timeout;
    for (unsigned i = 0; i < p->n; i++)
        if (!is_own_parameter(p->items[i].name) &&
            sc_spec_set_extra(s, p->items[i].name, p->items[i].value, &msg) < 0) {
            sc_call_error(c, 400, "BadRequestException", "%s", msg.text);
            return SC_ELIMIT;
        }
    return 0;
}

static void register_spec(struct sc_call *c, const struct sc_model_spec *s, bool synchronous)
{
    struct pending *d = NULL;
    if (synchronous && s->min_workers > 0) {
        d = sc_alloc(sizeof *d);
        *d = (struct pending){.c = c, .workers = s->min_workers};
        snprintf(d->name, sizeof d->name, "%s", s->name);
        snprintf(d->version, sizeof d->version, "%s", s->version);
    }
    int rc = sc_engine_register(c->app->engine, s, d ? workers_done : NULL, d);
    if (rc < 0) {
        free(d);
        if (rc == SC_EEXIST)
            sc_call_error(c, 409, "ConflictStatusException",
                          "Model version %s is already registered for model %s", s->version, s->name);
        else if (rc == SC_ELIMIT)
            sc_call_error(c, 500, "InternalServerException",
                          "%d models are registered, which is the most; unregister one first", SC_MODELS_MAX);
        else
            sc_call_error(c, 500, "InternalServerException", "the model could not be registered: %s",
                          sc_strerror(rc));
    } else if (s->min_workers <= 0) {
        sc_call_status(c, 200,
                       "Model \"%s\" Version: %s registered with 0 initial workers. Use scale workers API to "
                       "add workers for the model.",
                       s->name, s->version);
    } else if (!d) {
        sc_call_status(c, 202, "Processing worker updates...");
    }
}

static void register_model(struct sc_call *c)
{
    struct sc_params p = {0};
    struct sc_model_spec s;
    struct sc_span type = sc_http_header_get(&c->x->req, SC_SPAN("content-type"));
    bool json = sc_media_is(type, "application/json");
    sc_spec_init(&s);
    int rc = json ? sc_params_from_json(c, &p) : sc_params_from_query(c, &p);
    if (rc == 0 && spec_from_params(c, &p, &s) == 0)
        register_spec(c, &s, sc_param_bool(&p, "synchronous", true));
    sc_spec_free(&s);
    sc_params_free(&p);
}

static void scale(struct sc_call *c)
{
    struct sc_params p = {0};
    struct sc_span name = c->path.segments[1], version = sc_call_version(c);
    if (sc_params_from_query(c, &p) < 0)
        goto done;
    if (!version.p)
        version = sc_param(&p, "model_version");
    int min = sc_param_int(&p, "min_worker", 1), max = sc_param_int(&p, "max_worker", min);
    bool synchronous = sc_param_bool(&p, "synchronous", false);
    if (max < min) {
        sc_call_error(c, 400, "BadRequestException", "max_worker cannot be less than min_worker.");
        goto done;
    }
    if (min < 0) { /* status and type of TorchServe, which stops every worker first */
        sc_call_error(c, 500, "IndexOutOfBoundsException", "min_worker is %d: it must be at least 0.", min);
        goto done;
    }
    if (max > SC_LANES_MAX) {
        sc_call_error(c, 400, "BadRequestException", "max_worker is %d: a model has at most %d workers.", max,
                      SC_LANES_MAX);
        goto done;
    }
    if (min == 0)
        max = 0; /* "0 stops all workers" */
    struct pending *d = NULL;
    if (synchronous) {
        d = sc_alloc(sizeof *d);
        *d = (struct pending){.c = c, .scaling = true, .workers = min, .version_given = version.p != NULL};
        snprintf(d->name, sizeof d->name, "%.*s", SC_FMT(name));
        snprintf(d->version, sizeof d->version, "%.*s", SC_FMT(version));
    }
    int rc = sc_engine_scale(c->app->engine, name, version, min, max, d ? workers_done : NULL, d);
    if (rc < 0) {
        free(d);
        sc_call_no_model(c, rc, name, version);
    } else if (!synchronous) {
        sc_call_status(c, 202, "Processing worker updates...");
    }
done:
    sc_params_free(&p);
}

/* ---- default, unregister
 * ------------------------------------------------------------------------------------------- */

static void set_default(struct sc_call *c)
{
    struct sc_span name = c->path.segments[1], version = c->path.segments[2];
    int rc = sc_engine_set_default(c->app->engine, name, version);
    if (rc == SC_ENOTFOUND)
        sc_call_error(c, 404, "ModelNotFoundException", "Model not found: %.*s", SC_FMT(name));
    else if (rc < 0)
        sc_call_error(c, 404, "ModelVersionNotFoundException",
                      "Model version %.*s does not exist for model %.*s", SC_FMT(version), SC_FMT(name));
    else
        sc_call_status(c, 200, "Default version successfully updated for model \"%.*s\" to \"%.*s\"",
                       SC_FMT(name), SC_FMT(version));
}

static void unregistered(void *arg, int rc, const char *text)
{
    struct sc_call *c = arg;
    struct sc_span name = c->path.segments[1];
    (void)text;
    if (rc < 0)
        sc_call_error(c, 408, "RequestTimeoutException", "Timed out while cleaning resources: %.*s",
                      SC_FMT(name));
    else
        sc_call_status(c, 200, "Model \"%.*s\" unregistered", SC_FMT(name));
}

static void unregister(struct sc_call *c)
{
    struct sc_span name = c->path.segments[1], version = sc_call_version(c);
    int rc = sc_engine_unregister(c->app->engine, name, version, unregistered, c);
    if (rc == SC_EEXIST)
        sc_call_error(c, 403, "InvalidModelVersionException", "Cannot remove default version for model %.*s",
                      SC_FMT(name));
    else if (rc < 0)
        sc_call_no_model(c, rc, name, version);
}

/* ---- routes
 * ------------------------------------------------------------------------------------------------------------
 */

static void bad_method(struct sc_call *c)
{
    sc_call_error(c, 405, "MethodNotAllowedException",
                  "Requested method is not allowed, please refer to API document.");
}

static void choose(struct sc_call *c)
{
    struct sc_span method = c->x->req.method;
    const struct sc_path *p = &c->path;
    bool get = sc_span_eq(method, SC_SPAN("GET")) || sc_span_eq(method, SC_SPAN("HEAD"));
    bool put = sc_span_eq(method, SC_SPAN("PUT"));
    if (p->n == 1 && get)
        sc_models_list(c);
    else if (p->n == 1 && sc_span_eq(method, SC_SPAN("POST")))
        register_model(c);
    else if (p->n == 1)
        bad_method(c);
    else if (p->n == 4 && put)
        set_default(c);
    else if (get)
        sc_model_describe(c);
    else if (put)
        scale(c);
    else if (sc_span_eq(method, SC_SPAN("DELETE")))
        unregister(c);
    else
        bad_method(c);
}

bool sc_management_claim(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    bool models = p->n >= 1 && sc_span_eq(p->segments[0], SC_SPAN("models"));
    if (!models || p->n > 4 || (p->n == 4 && !sc_span_eq(p->segments[3], SC_SPAN("set-default"))))
        return false;
    c->on_zero = choose;
    c->route = sc_call_to_loop_zero;
    return true;
}
