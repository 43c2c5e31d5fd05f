#include "api/describe.h"

#include <stdio.h>
#include <time.h>

#include "api/customized.h"
#include "api/params.h"
#include "api/respond.h"
#include "proto/json_write.h"

#define PAGE_MAX 100

void sc_call_no_model(struct sc_call *c, int rc, struct sc_span name, struct sc_span version)
{
    sc_buf_clear(&c->out);
    sc_put_no_model(&c->out, rc, name, version);
    c->status = 404;
    c->type = rc == SC_ENOTFOUND ? "ModelNotFoundException" : "ModelVersionNotFoundException";
    sc_call_finish(c);
}

void sc_call_json(struct sc_call *c, struct sc_json_writer *w)
{
    c->raw = true;
    c->media = SC_SPAN("application/json");
    c->status = c->told_status ? c->told_status : 200;
    if (sc_json_write_finish(w) < 0)
        c->out.failed = SC_ELIMIT;
    sc_call_finish(c);
}

struct sc_listing {
    const struct sc_list_kind *kind;
    struct sc_json_writer *w; /* NULL: they are only counted */
    int from, limit, at;
};

void sc_list_add(struct sc_listing *l, const char *name, const char *url)
{
    if (l->w && l->at >= l->from && l->at - l->from < l->limit) {
        sc_json_begin_object(l->w);
        sc_json_put_str(l->w, l->kind->name, name);
        sc_json_put_str(l->w, l->kind->url, url);
        sc_json_end_object(l->w);
    }
    l->at++;
}

void sc_call_list(struct sc_call *c, const struct sc_list_kind *kind)
{
    struct sc_params p = {0};
    if (sc_params_from_query(c, &p) == 0) {
        int limit = sc_param_int(&p, "limit", PAGE_MAX), from = sc_param_int(&p, "next_page_token", 0);
        struct sc_json_writer w;
        struct sc_listing l = {.kind = kind};
        char token[16];
        if (limit < 0 || limit > PAGE_MAX)
            limit = PAGE_MAX;
        from = SC_MAX(from, 0);
        kind->each(c->app->engine, &l);
        sc_json_write_init(&w, &c->out, false);
        sc_json_begin_object(&w);
        if ((int64_t)from + limit <= l.at) {
            snprintf(token, sizeof token, "%d", from + limit);
            sc_json_put_str(&w, "nextPageToken", token);
        }
        sc_json_key(&w, kind->plural);
        sc_json_begin_array(&w);
        l = (struct sc_listing){.kind = kind, .w = &w, .from = from, .limit = limit};
        kind->each(c->app->engine, &l);
        sc_json_end_array(&w);
        sc_json_end_object(&w);
        sc_call_json(c, &w);
    }
    sc_params_free(&p);
}

/* Functions of workflows have no url, and are no models to look at. */
static void list_model(void *listing, const struct sc_version_view *v)
{
    if (v->is_default && v->spec->url)
        sc_list_add(listing, v->spec->name, v->spec->url);
}

static void each_model(struct sc_engine *e, struct sc_listing *l)
{
    sc_engine_each(e, sc_span(NULL, 0), list_model, l);
}

void sc_models_list(struct sc_call *c)
{
    static const struct sc_list_kind kind = {"models", "modelName", "modelUrl", each_model};
    sc_call_list(c, &kind);
}

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
    sc_json_put_bool(w, "gpu", v->gpu >= 0);
    sc_json_put_str(w, "gpuUsage", v->gpu_usage && *v->gpu_usage ? v->gpu_usage : "N/A");
    if (v->gpu_sharing) { /* ours, as all that follows */
        sc_json_put_str(w, "gpuSharing", v->gpu_sharing);
        if (strcmp(v->gpu_sharing, "mps") == 0)
            sc_json_put_bool(w, "mpsClient", v->mps_client);
        if (v->gpu_memory >= 0)
            sc_json_put_int(w, "gpuMemory", v->gpu_memory);
        if (v->gpu_weights > 0)
            sc_json_put_int(w, "gpuWeights", v->gpu_weights);
        if (v->gpu_lane > 0)
            sc_json_put_int(w, "gpuActivations", v->gpu_lane);
        if (v->gpu_context >= 0)
            sc_json_put_int(w, "gpuContext", v->gpu_context);
    }
    if (v->weights) {
        sc_json_key(w, "sharedWeights");
        sc_json_begin_object(w);
        sc_json_put_str(w, "state", v->weights);
        sc_json_put_int(w, "bytes", v->weights_bytes);
        if (*v->weights_why)
            sc_json_put_str(w, "why", v->weights_why);
        sc_json_end_object(w);
    }
    if (v->last_end && *v->last_end) /* ours: why it was started again, or was not */
        sc_json_put_str(w, "lastEnd", v->last_end);
    sc_json_end_object(w);
}

/* Ours: what stands by, and what that costs. */
static void put_standby(struct sc_json_writer *w, const struct sc_standby_view *v)
{
    sc_json_key(w, "standby");
    sc_json_begin_object(w);
    sc_json_put_str(w, "status", v->ready ? "READY" : "UNLOADING");
    sc_json_put_int(w, "pid", v->pid);
    sc_json_put_int(w, "memoryUsage", v->rss);
    if (v->gpu_memory >= 0)
        sc_json_put_int(w, "gpuMemory", v->gpu_memory);
    if (v->last_end && *v->last_end)
        sc_json_put_str(w, "lastEnd", v->last_end);
    sc_json_end_object(w);
}

static void put_version(struct sc_json_writer *w, const struct sc_version_view *v, struct sc_span told)
{
    const struct sc_model_spec *s = v->spec;
    sc_json_begin_object(w);
    sc_json_put_str(w, "modelName", s->name);
    sc_json_put_str(w, "modelVersion", s->version);
    if (s->url)
        sc_json_put_str(w, "modelUrl", s->url);
    sc_json_put_str(w, "runtime", sc_spec_is_native(s) ? s->backend : s->runtime);
    sc_json_put_int(w, "minWorkers", s->min_workers);
    sc_json_put_int(w, "maxWorkers", s->max_workers);
    sc_json_put_int(w, "batchSize", s->batch_size > 0 ? s->batch_size : SC_BATCH_SIZE_MAX);
    sc_json_put_int(w, "maxBatchDelay", s->max_batch_delay);
    sc_json_put_int(w, "responseTimeout", s->response_timeout);
    sc_json_put_int(w, "startupTimeout", s->startup_timeout);
    sc_json_put_int(w, "maxRetryTimeoutInSec", s->max_retry);
    sc_json_put_int(w, "clientTimeoutInMills", s->client_timeout);
    sc_json_put_str(w, "parallelType", s->parallel_type);
    sc_json_put_int(w, "parallelLevel", s->parallel_level);
    sc_json_put_str(w, "deviceType", v->on_gpu ? "gpu" : "cpu");
    if (s->ndevices) {
        sc_json_key(w, "deviceIds");
        sc_json_begin_array(w);
        for (unsigned i = 0; i < s->ndevices; i++)
            sc_json_int(w, s->devices[i]);
        sc_json_end_array(w);
    }
    sc_json_put_bool(w, "continuousBatching", s->continuous_batching);
    sc_json_put_bool(w, "useJobTicket", s->use_job_ticket);
    sc_json_put_bool(w, "useVenv", s->use_venv);
    sc_json_put_bool(w, "stateful", s->sequence_batching);
    sc_json_put_int(w, "sequenceMaxIdleMSec", s->sequence_max_idle);
    sc_json_put_int(w, "sequenceTimeoutMSec", s->sequence_timeout);
    bool sequences = s->sequence_max_idle > 0; /* it switches them on */
    sc_json_put_int(w, "maxNumSequence", sequences ? s->sequences : 0);
    sc_json_put_int(w, "maxSequenceJobQueueSize", sequences ? s->sequence_queue : 0);
    sc_json_put_bool(w, "loadedAtStartup", s->at_startup);
    sc_json_key(w, "workers");
    sc_json_begin_array(w);
    for (unsigned i = 0; i < v->nworkers; i++)
        put_worker(w, &v->workers[i]);
    sc_json_end_array(w);
    if (s->mps.group[0]) { /* ours, as what stands by */
        sc_json_put_str(w, "executorGroup", s->mps.group);
        if (v->left_group)
            sc_json_put_bool(w, "executorGroupLeft", true);
    }
    if (v->standby.there)
        put_standby(w, &v->standby);
    sc_json_key(w, "jobQueueStatus");
    sc_json_begin_object(w);
    sc_json_put_int(w, "remainingCapacity", (int64_t)v->queue_free);
    sc_json_put_int(w, "pendingRequests", (int64_t)v->pending);
    sc_json_end_object(w);
    sc_customized_put(w, told);
    sc_json_end_object(w);
}

struct description {
    struct sc_json_writer *w;
    struct sc_span version; /* NULL pointer: the default; "all": every one */
    struct sc_span told;    /* what its handler says; empty: nothing */
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
        put_version(d->w, v, d->told);
    }
}

struct sc_span sc_call_version(const struct sc_call *c)
{
    return c->path.n == 3 ? c->path.segments[2] : (struct sc_span){NULL, 0};
}

void sc_model_ask(struct sc_call *c)
{
    if (sc_customized_claim(c))
        return;
    c->on_zero = sc_model_describe;
    c->route = sc_call_to_loop_zero;
}

void sc_model_describe(struct sc_call *c)
{
    struct sc_json_writer w;
    struct description d = {.w = &w, .version = sc_call_version(c)};
    if (c->told_status)
        d.told = sc_span_sub(sc_buf_view(&c->told), c->told_meta, c->told.n);
    sc_json_write_init(&w, &c->out, false);
    sc_json_begin_array(&w);
    sc_engine_each(c->app->engine, c->path.segments[1], describe_version, &d);
    sc_json_end_array(&w);
    if (d.found)
        sc_call_json(c, &w);
    else
        sc_call_no_model(c, d.known ? SC_EINVAL : SC_ENOTFOUND, c->path.segments[1], d.version);
}
