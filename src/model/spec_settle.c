/* Who decides a model's numbers: the call, its file, the server's settings. */
#include <limits.h>
#include <sched.h>
#include <stdio.h>

#include "archive/locate.h"
#include "model/spec_models.h"
#include "model/spec_parts.h"

static int first(int a, int b, int c, int d)
{
    return a != SC_SPEC_UNSET ? a : b != SC_SPEC_UNSET ? b : c != SC_SPEC_UNSET ? c : d;
}

static int positive(int v)
{
    return v > 0 ? v : SC_SPEC_UNSET;
}

static void time_limits(struct sc_model_spec *s, int yaml_response, int yaml_startup,
                        const struct sc_settings *settings, const struct sc_spec_models *m,
                        const struct sc_spec_want *w)
{
    s->response_timeout = first(positive(w->response_timeout), positive(yaml_response), m->response_timeout,
                                settings->default_response_timeout);
    s->startup_timeout = first(positive(w->startup_timeout), positive(yaml_startup), m->startup_timeout,
                               settings->default_startup_timeout);
    if (settings->debug)
        s->response_timeout = s->startup_timeout = INT_MAX;
}

/* ---- Python ------------------------------------------------------------------------------------------ */

static void startup_workers(struct sc_model_spec *s, const struct sc_settings *settings,
                            const struct sc_spec_models *m)
{
    int workers = SC_MIN(sc_settings_default_workers(settings), SC_WORKERS_MAX);
    s->min_workers = first(m->min_workers, workers, 0, 0);
    s->max_workers = SC_MAX(first(m->max_workers, workers, 0, 0), s->min_workers);
}

static void workers(struct sc_model_spec *s, const struct sc_spec_yaml *y, const struct sc_settings *settings,
                    const struct sc_spec_models *m, const struct sc_spec_want *w, sc_settings_note fn,
                    void *ctx)
{
    char text[128];
    if (w->mode == SC_SPEC_RESTORE) {
        s->min_workers = w->min_workers;
        s->max_workers = w->max_workers;
    } else if (y->min_workers > 0 && y->max_workers >= y->min_workers) {
        s->min_workers = y->min_workers;
        s->max_workers = y->max_workers;
    } else if (w->mode == SC_SPEC_STARTUP) {
        if (y->min_workers > 0 || y->max_workers > 0) {
            snprintf(text, sizeof text, "Invalid model config in mar, minWorkers:%d, maxWorkers:%d",
                     y->min_workers, y->max_workers);
            fn(ctx, SC_LOG_WARN, text);
        }
        startup_workers(s, settings, m);
    } else {
        int n = first(w->initial_workers, settings->default_workers, 0, 0);
        s->min_workers = s->max_workers = SC_MAX(n, 0);
    }
}

/* A worker with parallelLevel takes so many GPUs. */
static int cap_by_gpus(struct sc_model_spec *s, int gpus, sc_settings_note fn, void *ctx,
                       struct sc_archive_error *err)
{
    if (s->parallel_level <= 0 || gpus <= 0 || s->device == SC_DEVICE_CPU)
        return 0;
    int have = s->ndevices ? (int)s->ndevices : gpus;
    int most = have / s->parallel_level;
    if (most == 0) {
        sc_archive_refuse(err, SC_EINVAL, 500, "WorkerInitializationException",
                          "No enough gpu devices for model:%s parallelLevel:%d", s->name, s->parallel_level);
        fn(ctx, SC_LOG_ERROR, err->msg.text);
        return SC_EINVAL;
    }
    s->min_workers = SC_MIN(s->min_workers, most);
    s->max_workers = SC_MIN(s->max_workers, most);
    return 0;
}

int sc_spec_settle(struct sc_model_spec *s, const struct sc_spec_yaml *y, const struct sc_settings *settings,
                   const struct sc_spec_want *w, sc_settings_note fn, void *ctx, struct sc_archive_error *err)
{
    struct sc_spec_models m;
    sc_spec_models_find(&m, w->mode == SC_SPEC_RESTORE ? NULL : settings->models, s->name, s->version, fn,
                        ctx);
    if (!w->runtime && m.runtime[0])
        snprintf(s->runtime, sizeof s->runtime, "%s", m.runtime);
    s->batch_size = SC_MAX(first(w->batch_size, positive(y->batch_size), m.batch_size, 1), 1);
    s->max_batch_delay = first(w->max_batch_delay, positive(y->max_batch_delay), m.max_batch_delay, 100);
    time_limits(s, y->response_timeout, y->startup_timeout, settings, &m, w);
    workers(s, y, settings, &m, w, fn, ctx);
    if (w->mode == SC_SPEC_RESTORE && w->parallel_level > 0)
        s->parallel_level = w->parallel_level;
    if (settings->number_of_gpu == 0 && s->device == SC_DEVICE_GPU)
        s->device = SC_DEVICE_CPU;
    struct sc_msg msg;
    if (sc_spec_mps_check(s, settings, &msg) < 0)
        return sc_archive_refuse(err, SC_EINVAL, 400, "BadRequestException", "%s", msg.text);
    return cap_by_gpus(s, settings->number_of_gpu, fn, ctx, err);
}

/* ---- native ------------------------------------------------------------------------------------------ */

static int cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* What holds when the file says nothing. */
static void native_workers(struct sc_model_spec *s, const struct sc_settings *settings,
                           const struct sc_spec_models *m, const struct sc_spec_want *w)
{
    int lanes = settings->debug ? 1 : settings->default_workers > 0 ? settings->default_workers : cpus();
    lanes = SC_MIN(lanes, SC_LANES_MAX);
    s->min_workers = w->mode == SC_SPEC_STARTUP ? first(m->min_workers, lanes, 0, 0) : 0;
    s->max_workers =
        w->mode == SC_SPEC_STARTUP ? SC_MAX(first(m->max_workers, lanes, 0, 0), s->min_workers) : 0;
}

int sc_spec_settle_native(struct sc_model_spec *s, struct sc_span yaml, const struct sc_settings *settings,
                          const struct sc_spec_want *w, sc_settings_note fn, void *ctx, struct sc_msg *msg)
{
    struct sc_spec_models m;
    sc_spec_models_find(&m, w->mode == SC_SPEC_RESTORE ? NULL : settings->models, s->name, s->version, fn,
                        ctx);
    s->batch_size = s->max_batch_delay = SC_SPEC_UNSET;
    s->response_timeout = s->startup_timeout = SC_SPEC_UNSET;
    native_workers(s, settings, &m, w);
    int rc = yaml.p ? sc_spec_native_read(s, yaml, msg) : 0;
    if (rc < 0)
        return rc;
    s->batch_size = first(w->batch_size, s->batch_size, m.batch_size, 0);
    s->max_batch_delay = first(w->max_batch_delay, s->max_batch_delay, m.max_batch_delay, 100);
    time_limits(s, s->response_timeout, s->startup_timeout, settings, &m, w);
    bool from_file = s->min_workers > 0 && s->max_workers >= s->min_workers;
    if (w->mode == SC_SPEC_RESTORE) {
        s->min_workers = w->min_workers;
        s->max_workers = w->max_workers;
    } else if (w->mode == SC_SPEC_API && !from_file) {
        int n = first(w->initial_workers, SC_MIN(settings->default_workers, SC_LANES_MAX), 0, 0);
        s->min_workers = s->max_workers = SC_MAX(n, 0);
    }
    return sc_spec_mps_check(s, settings, msg);
}
