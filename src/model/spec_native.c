/* model-config.yaml of a model that our own executor serves: what it says is obeyed or refused. */
#include <limits.h>

#include "model/spec_parts.h"
#include "proto/yaml.h"

static int read_int(struct sc_span key, struct sc_span value, int min, int max, int *out, struct sc_msg *msg)
{
    int32_t v;
    if (!sc_span_i32(value, &v) || v < min || v > max)
        return sc_fail(msg, SC_EINVAL,
                       "model-config.yaml: %.*s is \"%.*s\": it must be an integer from %d to %d",
                       SC_FMT(key), (int)SC_MIN(value.n, 64u), value.p, min, max);
    *out = v;
    return 0;
}

int sc_spec_check_backend(struct sc_span backend, struct sc_msg *msg)
{
    const size_t most = sizeof(((struct sc_model_spec *)0)->backend) - 1;
    bool good = backend.n > 0 && backend.n <= most && backend.p[0] != '.';
    for (size_t i = 0; good && i < backend.n; i++)
        good = backend.p[i] > ' ' && backend.p[i] < 0x7f && backend.p[i] != '/';
    return good ? 0
                : sc_fail(msg, SC_EINVAL, "backend \"%.*s\" is not known: encoder, identity and python are",
                          (int)SC_MIN(backend.n, 64u), backend.p);
}

static int config_scalar(void *arg, struct sc_span key, struct sc_span value, struct sc_msg *msg)
{
    struct sc_model_spec *s = arg;
    struct sc_msg why;
    const struct {
        struct sc_span key;
        int min, max;
        int *out;
    } numbers[] = {
        {SC_SPAN("minWorkers"), 0, SC_LANES_MAX, &s->min_workers},
        {SC_SPAN("maxWorkers"), 0, SC_LANES_MAX, &s->max_workers},
        {SC_SPAN("batchSize"), 1, SC_BATCH_SIZE_MAX, &s->batch_size},
        {SC_SPAN("maxBatchDelay"), 0, INT_MAX, &s->max_batch_delay},
        {SC_SPAN("responseTimeout"), 1, INT_MAX, &s->response_timeout},
        {SC_SPAN("startupTimeout"), 1, INT_MAX, &s->startup_timeout},
        {SC_SPAN("maxRetryTimeoutInSec"), 0, INT_MAX, &s->max_retry},
    };
    for (size_t i = 0; i < SC_COUNT(numbers); i++)
        if (sc_span_eq(key, numbers[i].key))
            return read_int(key, value, numbers[i].min, numbers[i].max, numbers[i].out, msg);
    if (sc_span_eq(key, SC_SPAN("batchPolicy"))) {
        s->fill = sc_span_eq(value, SC_SPAN("fill"));
        if (!s->fill && !sc_span_eq(value, SC_SPAN("eager")))
            return sc_fail(msg, SC_EINVAL,
                           "model-config.yaml: batchPolicy is \"%.*s\": it must be eager or fill",
                           (int)SC_MIN(value.n, 64u), value.p);
        return 0;
    }
    if (sc_span_eq(key, SC_SPAN("replay"))) {
        s->replay = !sc_span_eq(value, SC_SPAN("never"));
        if (s->replay && !sc_span_eq(value, SC_SPAN("always")))
            return sc_fail(msg, SC_EINVAL,
                           "model-config.yaml: replay is \"%.*s\": it must be always or never",
                           (int)SC_MIN(value.n, 64u), value.p);
        return 0;
    }
    if (sc_span_eq(key, SC_SPAN("backend"))) {
        if (sc_spec_check_backend(value, &why) < 0)
            return sc_fail(msg, SC_EINVAL, "model-config.yaml: %s", why.text);
        memcpy(s->backend, value.p, value.n);
        s->backend[value.n] = '\0';
        return 0;
    }
    int rc = sc_spec_mps_key(s, key, value, msg);
    if (rc)
        return rc < 0 ? rc : 0;
    rc = sc_spec_set_extra(s, key, value, &why);
    return rc < 0 ? sc_fail(msg, rc, "model-config.yaml: %s", why.text) : 0;
}

/* The numbers that the file gave (-1: none) with those that hold without it. */
static int settle_workers(struct sc_model_spec *s, int min, int max, struct sc_msg *msg)
{
    if (s->min_workers >= 0 && s->max_workers >= 0 && s->max_workers < s->min_workers)
        return sc_fail(msg, SC_EINVAL, "model-config.yaml: maxWorkers is %d, less than minWorkers, %d",
                       s->max_workers, s->min_workers);
    if (s->min_workers < 0)
        s->min_workers = s->max_workers >= 0 ? SC_MIN(min, s->max_workers) : min;
    if (s->max_workers < 0)
        s->max_workers = SC_MAX(max, s->min_workers);
    return 0;
}

int sc_spec_native_read(struct sc_model_spec *s, struct sc_span text, struct sc_msg *msg)
{
    const int min = s->min_workers, max = s->max_workers;
    s->min_workers = s->max_workers = -1;
    int rc = sc_yaml_read(text, "model-config.yaml", config_scalar, s, msg);
    return rc < 0 ? rc : settle_workers(s, min, max, msg);
}
