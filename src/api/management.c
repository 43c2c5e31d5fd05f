/* Models: register, list, describe, scale, default, unregister (docs/contract.md §6). Routes run on loop 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/app.h"
#include "api/respond.h"
#include "base/alloc.h"
#include "proto/json_read.h"
#include "proto/json_write.h"

#define PAGE_MAX 100

/* ---- parameters -------------------------------------------------------------------------------- */

/* Parameters of a call: the query's, or for a JSON body its members; all as text. */
struct params {
    struct sc_query query;
    struct sc_buf room; /* texts of a JSON body */
    unsigned n;
    struct sc_param items[SC_SPEC_EXTRAS_MAX + 32]; /* more are ignored */
};

static void params_free(struct params *p)
{
    sc_query_free(&p->query);
    sc_buf_free(&p->room);
}

static struct sc_span param(const struct params *p, const char *name)
{
    for (unsigned i = 0; i < p->n; i++)
        if (sc_span_eq(p->items[i].name, sc_span_str(name)))
            return p->items[i].value;
    return (struct sc_span){NULL, 0};
}

/* Not an integer counts as absent (docs/contract.md §3). */
static int param_int(const struct params *p, const char *name, int absent)
{
    int32_t v;
    struct sc_span text = param(p, name);
    return text.p && sc_span_i32(text, &v) ? v : absent;
}

static bool param_bool(const struct params *p, const char *name, bool absent)
{
    struct sc_span text = param(p, name);
    return text.p ? sc_is_true(text) : absent;
}

static void add_param(struct params *p, struct sc_span name, struct sc_span value)
{
    if (p->n < SC_COUNT(p->items))
        p->items[p->n++] = (struct sc_param){name, value};
}

/* 0, or the call was answered. */
static int params_from_query(struct sc_call *c, struct params *p)
{
    struct sc_msg msg;
    int rc = sc_query_parse(&p->query, c->x->req.target, &msg);
    for (unsigned i = 0; rc == 0 && i < p->query.n; i++)
        add_param(p, p->query.params[i].name, p->query.params[i].value);
    if (rc < 0)
        sc_call_error(c, 403, "IllegalArgumentException", "%s", msg.text);
    return rc;
}

static int params_from_json(struct sc_call *c, struct params *p)
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

/* ---- answers ---------------------------------------------------------------------------------------- */

static void error_no_model(struct sc_call *c, int rc, struct sc_span name, struct sc_span version)
{
    if (rc == SC_ENOTFOUND)
        sc_call_error(c, 404, "ModelNotFoundException", "Model not found: %.*s", SC_FMT(name));
    else
        sc_call_error(c, 404, "ModelVersionNotFoundException",
                      "Model version: %.*s does not exist for model: %.*s", SC_FMT(version), SC_FMT(name));
}

static void finish_json(struct sc_call *c, struct sc_json_writer *w)
{
    c->raw = true;
    c->media = SC_SPAN("application/json");
    c->status = 200;
    if (sc_json_write_finish(w) < 0)
        c->out.failed = SC_ELIMIT;
    sc_call_finish(c);
}

/* ---- list -------------------------------------------------------------------------------------------- */

struct listing {
    struct sc_json_writer *w;
    int from, limit, at;
};

static void count_model(void *arg, const struct sc_version_view *v)
{
    *(int *)arg += v->is_default;
}

static void list_model(void *arg, const struct sc_version_view *v)
{
    struct listing *l = arg;
    if (!v->is_default)
        return;
    if (l->at >= l->from && l->at - l->from < l->limit) {
        sc_json_begin_object(l->w);
        sc_json_put_str(l->w, "modelName", v->spec->name);
        sc_json_put_str(l->w, "modelUrl", v->spec->url);
        sc_json_end_object(l->w);
    }
    l->at++;
}

static void list_models(struct sc_call *c)
{
    struct params p = {0};
    if (params_from_query(c, &p) == 0) {
        int limit = param_int(&p, "limit", PAGE_MAX), from = param_int(&p, "next_page_token", 0), total = 0;
        struct sc_json_writer w;
        struct sc_span all = {NULL, 0};
        char token[16];
        if (limit < 0 || limit > PAGE_MAX)
            limit = PAGE_MAX;
        from = SC_MAX(from, 0);
        sc_engine_each(c->app->engine, all, count_model, &total);
        sc_json_write_init(&w, &c->out, false);
        sc_json_begin_object(&w);
        if ((int64_t)from + limit <= total) {
            snprintf(token, sizeof token, "%d", from + limit);
            sc_json_put_str(&w, "nextPageToken", token);
        }
        sc_json_key(&w, "models");
        sc_json_begin_array(&w);
        struct listing l = {.w = &w, .from = from, .limit = limit};
        sc_engine_each(c->app->engine, all, list_model, &l);
        sc_json_end_array(&w);
        sc_json_end_object(&w);
        finish_json(c, &w);
    }
    params_free(&p);
}

/* ---- describe ------------------------------------------------------------------------------------------ */

static void put_worker(struct sc_json_writer *w, const struct sc_worker_view *v)
{
    char text[64];
    time_t seconds = (time_t)(v->started_ms / 1000);
    struct tm t;
    sc_json_begin_object(w);
    snprintf(text, sizeof text, "%u", v->id);
    sc_json_put_str(w, "id", text);
    localtime_r(&seconds, &t); /* local time with a Z, as TorchServe writes it */
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(v->started_ms % 1000));
    sc_json_put_str(w, "startTime", text);
    sc_json_put_str(w, "status", v->ready ? "READY" : "UNLOADING");
    sc_json_put_int(w, "memoryUsage", v->rss);
    sc_json_put_int(w, "pid", v->pid);
    sc_json_put_bool(w, "gpu", false);
    sc_json_put_str(w, "gpuUsage", "N/A");
    sc_json_end_object(w);
}

static void put_version(struct sc_json_writer *w, const struct sc_version_view *v)
{
    const struct sc_model_spec *s = v->spec;
    sc_json_begin_object(w);
    sc_json_put_str(w, "modelName", s->name);
    sc_json_put_str(w, "modelVersion", s->version);
    sc_json_put_str(w, "modelUrl", s->url);
    sc_json_put_str(w, "runtime", s->backend);
    sc_json_put_int(w, "minWorkers", s->min_workers);
    sc_json_put_int(w, "maxWorkers", s->max_workers);
    sc_json_put_int(w, "batchSize", s->batch_size > 0 ? s->batch_size : SC_BATCH_SIZE_MAX);
    sc_json_put_int(w, "maxBatchDelay", s->max_batch_delay);
    sc_json_put_int(w, "responseTimeout", s->response_timeout);
    sc_json_put_int(w, "startupTimeout", s->startup_timeout);
    sc_json_put_int(w, "maxRetryTimeoutInSec", s->max_retry);
    sc_json_put_int(w, "clientTimeoutInMills", 0);
    sc_json_put_str(w, "parallelType", "");
    sc_json_put_int(w, "parallelLevel", 0);
    sc_json_put_str(w, "deviceType", "cpu");
    sc_json_put_bool(w, "continuousBatching", false);
    sc_json_put_bool(w, "useJobTicket", false);
    sc_json_put_bool(w, "useVenv", false);
    sc_json_put_bool(w, "stateful", false);
    sc_json_put_int(w, "sequenceMaxIdleMSec", 0);
    sc_json_put_int(w, "sequenceTimeoutMSec", 0);
    sc_json_put_int(w, "maxNumSequence", 0);
    sc_json_put_int(w, "maxSequenceJobQueueSize", 0);
    sc_json_put_bool(w, "loadedAtStartup", s->at_startup);
    sc_json_key(w, "workers");
    sc_json_begin_array(w);
    for (unsigned i = 0; i < v->nworkers; i++)
        put_worker(w, &v->workers[i]);
    sc_json_end_array(w);
    sc_json_key(w, "jobQueueStatus");
    sc_json_begin_object(w);
    sc_json_put_int(w, "remainingCapacity", (int64_t)v->queue_free);
    sc_json_put_int(w, "pendingRequests", (int64_t)v->pending);
    sc_json_end_object(w);
    sc_json_end_object(w);
}

struct description {
    struct sc_json_writer *w;
    struct sc_span version; /* NULL pointer: the default; "all": every one */
    bool known, found;
};

static void describe_version(void *arg, const struct sc_version_view *v)
{
    struct description *d = arg;
    d->known = true;
    bool wanted = !d->version.p ? v->is_default
                                : sc_span_eq(d->version, SC_SPAN("all")) ||
                                      sc_span_eq(d->version, sc_span_str(v->spec->version));
    if (wanted) {
        d->found = true;
        put_version(d->w, v);
    }
}

static struct sc_span path_version(const struct sc_call *c)
{
    return c->path.n == 3 ? c->path.segments[2] : (struct sc_span){NULL, 0};
}

static void describe(struct sc_call *c)
{
    struct sc_json_writer w;
    struct description d = {.w = &w, .version = path_version(c)};
    sc_json_write_init(&w, &c->out, false);
    sc_json_begin_array(&w);
    sc_engine_each(c->app->engine, c->path.segments[1], describe_version, &d);
    sc_json_end_array(&w);
    if (d.found)
        finish_json(c, &w);
    else
        error_no_model(c, d.known ? SC_EINVAL : SC_ENOTFOUND, c->path.segments[1], d.version);
}

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
static int spec_from_params(struct sc_call *c, const struct params *p, struct sc_model_spec *s)
{
    struct sc_span url = param(p, "url"), name = param(p, "model_name"), runtime = param(p, "runtime");
    struct sc_span version = param(p, "model_version");
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
    int workers = param_int(p, "initial_workers", SC_MIN(settings->default_workers, SC_LANES_MAX));
    if (workers > SC_LANES_MAX) {
        sc_call_error(c, 400, "BadRequestException", "initial_workers is %d: a model has at most %d workers",
                      workers, SC_LANES_MAX);
        return SC_ELIMIT;
    }
    if (!from_file)
        s->min_workers = s->max_workers = SC_MAX(workers, 0);
    s->batch_size = param_int(p, "batch_size", s->batch_size);
    if (s->batch_size > SC_BATCH_SIZE_MAX) {
        sc_call_error(c, 400, "BadRequestException", "batch_size is %d: a batch has at most %d requests",
                      s->batch_size, SC_BATCH_SIZE_MAX);
        return SC_ELIMIT;
    }
    s->max_batch_delay = param_int(p, "max_batch_delay", s->max_batch_delay);
    int timeout = param_int(p, "response_timeout", -1);
    if (timeout > 0)
        s->response_timeout = timeout;
    timeout = param_int(p, "startup_timeout", -1);
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
    struct params p = {0};
    struct sc_model_spec s;
    struct sc_span type = sc_http_header_get(&c->x->req, SC_SPAN("content-type"));
    bool json = sc_media_is(type, "application/json");
    sc_spec_init(&s);
    int rc = json ? params_from_json(c, &p) : params_from_query(c, &p);
    if (rc == 0 && spec_from_params(c, &p, &s) == 0)
        register_spec(c, &s, param_bool(&p, "synchronous", true));
    sc_spec_free(&s);
    params_free(&p);
}

static void scale(struct sc_call *c)
{
    struct params p = {0};
    struct sc_span name = c->path.segments[1], version = path_version(c);
    if (params_from_query(c, &p) < 0)
        goto done;
    if (!version.p)
        version = param(&p, "model_version");
    int min = param_int(&p, "min_worker", 1), max = param_int(&p, "max_worker", min);
    bool synchronous = param_bool(&p, "synchronous", false);
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
        error_no_model(c, rc, name, version);
    } else if (!synchronous) {
        sc_call_status(c, 202, "Processing worker updates...");
    }
done:
    params_free(&p);
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
    struct sc_span name = c->path.segments[1], version = path_version(c);
    int rc = sc_engine_unregister(c->app->engine, name, version, unregistered, c);
    if (rc == SC_EEXIST)
        sc_call_error(c, 403, "InvalidModelVersionException", "Cannot remove default version for model %.*s",
                      SC_FMT(name));
    else if (rc < 0)
        error_no_model(c, rc, name, version);
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
        list_models(c);
    else if (p->n == 1 && sc_span_eq(method, SC_SPAN("POST")))
        register_model(c);
    else if (p->n == 1)
        bad_method(c);
    else if (p->n == 4 && put)
        set_default(c);
    else if (get)
        describe(c);
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
