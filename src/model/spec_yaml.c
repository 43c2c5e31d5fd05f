/* model-config.yaml of a Python model: TorchServe's keys, and its indulgence. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "model/spec_parts.h"
#include "proto/yaml.h"

struct reading {
    struct sc_model_spec *s;
    struct sc_spec_yaml *y;
    int gpus;
    bool bad_devices; /* one bad element discards the list */
    sc_settings_note fn;
    void *ctx;
};

/* The value as it stands in a line of the log. */
static void warn(const struct reading *r, const struct sc_yaml_item *i, const char *should_be)
{
    char text[640];
    const char *what = i->kind == SC_YAML_MAP ? "{...}" : i->kind == SC_YAML_SEQUENCE ? "[...]" : i->value.p;
    size_t n = i->kind == SC_YAML_MAP || i->kind == SC_YAML_SEQUENCE ? 5 : i->value.n;
    snprintf(text, sizeof text, "Invalid %.*s: %.*s, should be %s", (int)SC_MIN(i->path.n, 100u), i->path.p,
             (int)SC_MIN(n, 200u), what ? what : "", should_be);
    r->fn(r->ctx, SC_LOG_WARN, text);
}

/* ---- kinds of values --------------------------------------------------------------------------------- */

struct int_key {
    const char *name;
    size_t offset;
    int low;       /* what is below becomes... */
    int raised_to; /* ...this; INT_MIN: it is not taken, with a WARN line */
    int high;      /* what is above becomes this, with a WARN line */
};
#define OF_YAML(f) offsetof(struct sc_spec_yaml, f)
#define OF_SPEC(f) offsetof(struct sc_model_spec, f)

static const struct int_key yaml_ints[] = {
    {"minWorkers", OF_YAML(min_workers), 1, 1, SC_WORKERS_MAX},
    {"maxWorkers", OF_YAML(max_workers), 0, INT_MIN, SC_WORKERS_MAX},
    {"batchSize", OF_YAML(batch_size), 1, 1, SC_BATCH_SIZE_MAX},
    {"maxBatchDelay", OF_YAML(max_batch_delay), 0, 0, INT_MAX},
    {"responseTimeout", OF_YAML(response_timeout), 1, INT_MIN, INT_MAX},
    {"startupTimeout", OF_YAML(startup_timeout), 1, INT_MIN, INT_MAX},
};
static const struct int_key spec_ints[] = {
    {"parallelLevel", OF_SPEC(parallel_level), 0, INT_MIN, SC_DEVICES_MAX},
    {"maxRetryTimeoutInSec", OF_SPEC(max_retry), 0, 0, INT_MAX},
    {"clientTimeoutInMills", OF_SPEC(client_timeout), 0, 0, INT_MAX},
    {"jobQueueSize", OF_SPEC(job_queue_size), 1, INT_MIN, INT_MAX},
    {"sequenceMaxIdleMSec", OF_SPEC(sequence_max_idle), 0, 0, INT_MAX},
    {"sequenceTimeoutMSec", OF_SPEC(sequence_timeout), 0, 0, INT_MAX},
    {"maxSequenceJobQueueSize", OF_SPEC(sequence_queue), 1, 1, INT_MAX},
    {"maxNumSequence", OF_SPEC(sequences), 1, 1, INT_MAX},
};
static const struct int_key torchrun_ints[] = {
    {"torchrun.nnodes", OF_SPEC(torchrun.nnodes), 1, INT_MIN, INT_MAX},
    {"torchrun.nproc-per-node", OF_SPEC(torchrun.nproc), 1, INT_MIN, SC_DEVICES_MAX},
    {"torchrun.OMP_NUMBER_THREADS", OF_SPEC(torchrun.omp_threads), 1, INT_MIN, INT_MAX},
};
static const struct {
    const char *name;
    size_t offset;
} spec_bools[] = {
    {"useJobTicket", OF_SPEC(use_job_ticket)},
    {"sequenceBatching", OF_SPEC(sequence_batching)},
    {"continuousBatching", OF_SPEC(continuous_batching)},
    {"asyncCommunication", OF_SPEC(async_communication)},
    {"useVenv", OF_SPEC(use_venv)},
};

/* A YAML integer within 32 bits. */
static bool is_int(const struct sc_yaml_item *i, int *out)
{
    struct sc_yaml_value v;
    if (i->kind != SC_YAML_PLAIN || sc_yaml_type(i->value, &v) != SC_YAML_INT || v.big ||
        v.number > INT32_MAX || v.number < INT32_MIN)
        return false;
    *out = (int)v.number;
    return true;
}

static bool is_text(const struct sc_yaml_item *i)
{
    struct sc_yaml_value v;
    return i->kind == SC_YAML_TEXT ||
           (i->kind == SC_YAML_PLAIN && sc_yaml_type(i->value, &v) == SC_YAML_STRING);
}

static bool names(const struct sc_yaml_item *i, const char *key)
{
    return sc_span_eq(i->path, sc_span_str(key));
}

static bool take_int(const struct reading *r, const struct sc_yaml_item *i, const struct int_key *keys,
                     size_t n, void *base)
{
    for (size_t k = 0; k < n; k++) {
        int v;
        if (!names(i, keys[k].name))
            continue;
        if (!is_int(i, &v)) {
            warn(r, i, "an integer");
            return true;
        }
        if (v < keys[k].low && keys[k].raised_to == INT_MIN) {
            warn(r, i, keys[k].low == 0 ? "an integer of 0 or more" : "an integer of 1 or more");
            return true;
        }
        if (v > keys[k].high)
            warn(r, i, "no more than Sconce's limit, which is used");
        v = v < keys[k].low ? keys[k].raised_to : SC_MIN(v, keys[k].high);
        *(int *)(void *)((char *)base + keys[k].offset) = v;
        return true;
    }
    return false;
}

static bool take_bool(const struct reading *r, const struct sc_yaml_item *i)
{
    for (size_t k = 0; k < SC_COUNT(spec_bools); k++) {
        struct sc_yaml_value v;
        if (!names(i, spec_bools[k].name))
            continue;
        if (i->kind == SC_YAML_PLAIN && sc_yaml_type(i->value, &v) == SC_YAML_BOOL)
            *(bool *)((char *)r->s + spec_bools[k].offset) = v.truth;
        else
            warn(r, i, "true or false");
        return true;
    }
    return false;
}

/* ---- keys with words of their own -------------------------------------------------------------------- */

static void device_type(const struct reading *r, const struct sc_yaml_item *i)
{
    if (is_text(i) && sc_span_eq_nocase(i->value, SC_SPAN("cpu")))
        r->s->device = SC_DEVICE_CPU;
    else if (is_text(i) && sc_span_eq_nocase(i->value, SC_SPAN("gpu")))
        r->s->device = SC_DEVICE_GPU;
    else
        warn(r, i, "cpu or gpu");
}

static void parallel_type(const struct reading *r, const struct sc_yaml_item *i)
{
    static const char *const known[] = {"pp", "tp", "pptp", "custom"};
    for (size_t k = 0; k < SC_COUNT(known) && is_text(i); k++)
        if (sc_span_eq_nocase(i->value, sc_span_str(known[k]))) {
            snprintf(r->s->parallel_type, sizeof r->s->parallel_type, "%s", known[k]);
            return;
        }
    warn(r, i, "pp, tp, pptp or custom");
}

static void device_id(struct reading *r, const struct sc_yaml_item *i)
{
    char text[160];
    int id;
    bool good = is_int(i, &id) && id >= 0 && (r->gpus < 0 || id < r->gpus) && r->s->ndevices < SC_DEVICES_MAX;
    if (good && !r->bad_devices)
        r->s->devices[r->s->ndevices++] = id;
    if (good || r->bad_devices)
        return;
    snprintf(text, sizeof text, "Invalid deviceId:%.*s, ignore deviceIds list", (int)SC_MIN(i->value.n, 100u),
             i->value.n ? i->value.p : "");
    r->fn(r->ctx, SC_LOG_WARN, text);
    r->bad_devices = true;
    r->s->ndevices = 0;
}

/* Our own keys: a word of two. */
static bool take_choice(const struct reading *r, const struct sc_yaml_item *i, const char *key,
                        const char *yes, const char *no, const char *should_be, bool *out)
{
    if (!names(i, key))
        return false;
    if (sc_span_eq(i->value, sc_span_str(yes)))
        *out = true;
    else if (sc_span_eq(i->value, sc_span_str(no)))
        *out = false;
    else
        warn(r, i, should_be);
    return true;
}

static void torchrun_text(const struct reading *r, const struct sc_yaml_item *i, char **out)
{
    if (i->kind != SC_YAML_PLAIN && i->kind != SC_YAML_TEXT) {
        warn(r, i, "a string");
        return;
    }
    free(*out);
    *out = sc_span_dup(i->value);
}

static void torchrun(const struct reading *r, const struct sc_yaml_item *i)
{
    static const char *const dropped[] = {"torchrun.rdzv-conf", "torchrun.monitor-interval",
                                          "torchrun.node-rank"};
    char text[160];
    if (take_int(r, i, torchrun_ints, SC_COUNT(torchrun_ints), r->s)) {
        if (names(i, "torchrun.nproc-per-node"))
            r->s->parallel_level = r->s->torchrun.nproc;
        return;
    }
    if (names(i, "torchrun.rdzv-backend")) {
        torchrun_text(r, i, &r->s->torchrun.rdzv_backend);
        return;
    }
    if (names(i, "torchrun.rdzv-endpoint")) {
        torchrun_text(r, i, &r->s->torchrun.rdzv_endpoint);
        return;
    }
    for (size_t k = 0; k < SC_COUNT(dropped); k++)
        if (names(i, dropped[k]))
            return;
    snprintf(text, sizeof text, "unsupported parameter %.*s", (int)SC_MIN(i->path.n - 9, 100u),
             i->path.p + 9);
    r->fn(r->ctx, SC_LOG_WARN, text);
}

static void top(struct reading *r, const struct sc_yaml_item *i)
{
    if (take_int(r, i, yaml_ints, SC_COUNT(yaml_ints), r->y) ||
        take_int(r, i, spec_ints, SC_COUNT(spec_ints), r->s) || take_bool(r, i) ||
        take_choice(r, i, "batchPolicy", "fill", "eager", "eager or fill", &r->s->fill) ||
        take_choice(r, i, "replay", "always", "never", "always or never", &r->s->replay))
        return;
    if (names(i, "deviceType"))
        device_type(r, i);
    else if (names(i, "parallelType"))
        parallel_type(r, i);
    else if (names(i, "deviceIds") && i->kind != SC_YAML_SEQUENCE)
        warn(r, i, "a list of device ids");
    else if (names(i, "torchrun") && i->kind == SC_YAML_MAP)
        r->s->torchrun.given = true;
    else if (names(i, "torchrun"))
        warn(r, i, "a map of torchrun parameters");
}

static int visit(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    struct reading *r = arg;
    (void)msg;
    struct sc_msg why;
    int rc = 0;
    if (i->depth == 1 && (i->kind == SC_YAML_PLAIN || i->kind == SC_YAML_TEXT))
        rc = sc_spec_mps_key(r->s, i->path, i->value, &why);
    if (rc < 0) /* ours: refused, where TorchServe's keys are passed over */
        snprintf(r->s->mps.bad, sizeof r->s->mps.bad, "%.199s", why.text);
    if (rc)
        return 0;
    if (i->depth == 1)
        top(r, i);
    else if (i->depth == 2 && sc_span_starts(i->path, SC_SPAN("deviceIds.")))
        device_id(r, i);
    else if (i->depth == 2 && r->s->torchrun.given && sc_span_starts(i->path, SC_SPAN("torchrun.")))
        torchrun(r, i);
    return 0;
}

static void no_note(void *ctx, enum sc_log_level level, const char *text)
{
    (void)ctx;
    (void)level;
    (void)text;
}

int sc_spec_yaml_read(struct sc_model_spec *s, struct sc_spec_yaml *y, struct sc_span text, const char *file,
                      int gpus, sc_settings_note fn, void *ctx, struct sc_msg *msg)
{
    /* Once without effect: a file that breaks off in the middle must not have set anything. */
    struct sc_model_spec trial;
    struct sc_spec_yaml unused = {0};
    sc_spec_init(&trial);
    struct reading r = {.s = &trial, .y = &unused, .gpus = gpus, .fn = no_note};
    int rc = sc_yaml_each(text, file, visit, &r, msg);
    sc_spec_free(&trial);
    if (rc < 0)
        return rc;
    *y = (struct sc_spec_yaml){.present = true};
    r = (struct reading){.s = s, .y = y, .gpus = gpus, .fn = fn, .ctx = ctx};
    s->torchrun.nnodes = s->torchrun.nproc = s->torchrun.omp_threads = 1;
    rc = sc_yaml_each(text, file, visit, &r, msg);
    if (s->torchrun.given && !s->torchrun.rdzv_backend)
        s->torchrun.rdzv_backend = sc_strdup("c10d");
    if (!s->parallel_type[0])
        s->parallel_level = 0;
    return rc;
}

/* ---- which backend ----------------------------------------------------------------------------------- */

static int find_backend(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    char *out = arg;
    if (i->depth != 1 || !names(i, "backend"))
        return 0;
    if (!is_text(i) || i->value.n == 0 || i->value.n >= 32 || memchr(i->value.p, '/', i->value.n))
        return sc_fail(msg, SC_EUNSUPPORTED, "model-config.yaml: backend \"%.*s\" is not known",
                       (int)SC_MIN(i->value.n, 64u), i->value.n ? i->value.p : "");
    snprintf(out, 32, "%.*s", SC_FMT(i->value));
    return 0;
}

int sc_spec_yaml_backend(char out[32], struct sc_span text, const char *file, struct sc_msg *msg)
{
    out[0] = '\0';
    return sc_yaml_each(text, file, find_backend, out, msg);
}
