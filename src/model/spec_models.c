#include "model/spec_models.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/json_read.h"

/* ---- the text as a whole ----------------------------------------------------------------------------- */

int sc_spec_models_check(const char *json, struct sc_msg *msg)
{
    struct sc_json_reader r;
    int depth = 0, ev;
    sc_json_read_init(&r, sc_span_str(json));
    while ((ev = sc_json_next(&r)) > 0) {
        if (ev == SC_JSON_OBJECT_END || ev == SC_JSON_ARRAY_END)
            depth--;
        else if (depth < 3 && ev != SC_JSON_OBJECT && ev != SC_JSON_KEY)
            return sc_fail(msg, SC_EINVAL, "not of the form {\"model\": {\"version\": {...}}}");
        if (ev == SC_JSON_OBJECT || ev == SC_JSON_ARRAY)
            depth++;
    }
    return ev < 0 ? sc_json_read_error(&r, msg) : 0;
}

/* ---- one version -------------------------------------------------------------------------------------- */

struct finding {
    struct sc_spec_models *out;
    const char *model, *version;
    sc_settings_note fn;
    void *ctx;
};

static void bad_value(const struct finding *f, struct sc_span key)
{
    char text[512];
    snprintf(text, sizeof text, "Invalid value for model: %.150s:%.60s, parameter: %.*s", f->model,
             f->version, (int)SC_MIN(key.n, 100u), key.p);
    f->fn(f->ctx, SC_LOG_ERROR, text);
}

/* Numbers may stand in quotes; what is not positive counts as not said. False: no number. */
static bool take_int(const struct sc_json_reader *r, int ev, int *out)
{
    int64_t n;
    int32_t small;
    if (ev == SC_JSON_NUMBER) {
        if (!sc_json_int64(r, &n) || n > INT32_MAX || n < INT32_MIN)
            return false;
        small = (int32_t)n;
    } else if (ev != SC_JSON_STRING || r->escaped || !sc_span_i32(r->raw, &small)) {
        return false;
    }
    *out = small > 0 ? small : SC_SPEC_UNSET;
    return true;
}

static void take_runtime(const struct finding *f, const struct sc_json_reader *r, int ev, struct sc_span key)
{
    static const char *const known[] = {"python", "python3", "LSP"};
    for (size_t i = 0; ev == SC_JSON_STRING && i < SC_COUNT(known); i++)
        if (sc_json_is(r, sc_span_str(known[i]))) {
            snprintf(f->out->runtime, sizeof f->out->runtime, "%s", known[i]);
            return;
        }
    bad_value(f, key);
}

/* Behind the opening brace of the version's object. */
static int take_parameters(const struct finding *f, struct sc_json_reader *r)
{
    const struct {
        struct sc_span key;
        int *out;
    } numbers[] = {
        {SC_SPAN("minWorkers"), &f->out->min_workers},
        {SC_SPAN("maxWorkers"), &f->out->max_workers},
        {SC_SPAN("batchSize"), &f->out->batch_size},
        {SC_SPAN("maxBatchDelay"), &f->out->max_batch_delay},
        {SC_SPAN("responseTimeout"), &f->out->response_timeout},
        {SC_SPAN("startupTimeout"), &f->out->startup_timeout},
    };
    int ev;
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        struct sc_span key = r->raw;
        int *number = NULL;
        bool runtime = sc_json_is(r, SC_SPAN("runtimeType"));
        for (size_t i = 0; i < SC_COUNT(numbers); i++)
            if (sc_json_is(r, numbers[i].key))
                number = numbers[i].out;
        if (!number && !runtime) {
            ev = sc_json_skip(r);
        } else {
            ev = sc_json_next(r);
            if (runtime)
                take_runtime(f, r, ev, key);
            else if (!take_int(r, ev, number))
                bad_value(f, key);
            if (ev == SC_JSON_OBJECT || ev == SC_JSON_ARRAY)
                ev = sc_json_skip(r);
        }
        if (ev < 0)
            return ev;
    }
    return ev;
}

/* Goes through the keys of an object whose brace was read; 1 with the reader behind the brace of the object
 * under `key`, 0 behind the end. */
static int enter(struct sc_json_reader *r, const char *key)
{
    int ev;
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        if (sc_json_is(r, sc_span_str(key))) {
            ev = sc_json_next(r);
            if (ev == SC_JSON_OBJECT)
                return 1;
            ev = ev == SC_JSON_ARRAY ? sc_json_skip(r) : SC_MIN(ev, 0);
        } else {
            ev = sc_json_skip(r);
        }
        if (ev < 0)
            return ev;
    }
    return SC_MIN(ev, 0);
}

void sc_spec_models_find(struct sc_spec_models *out, const char *json, const char *model, const char *version,
                         sc_settings_note fn, void *ctx)
{
    struct finding f = {out, model, version, fn, ctx};
    struct sc_json_reader r;
    *out = (struct sc_spec_models){
        SC_SPEC_UNSET, SC_SPEC_UNSET, SC_SPEC_UNSET, SC_SPEC_UNSET, SC_SPEC_UNSET, SC_SPEC_UNSET, ""};
    if (!json)
        return;
    sc_json_read_init(&r, sc_span_str(json));
    if (sc_json_next(&r) != SC_JSON_OBJECT || enter(&r, model) <= 0 || enter(&r, version) <= 0)
        return;
    int rc = take_parameters(&f, &r);
    if (rc < 0)
        bad_value(&f, SC_SPAN("?")); /* cannot be: the text was checked at the start */
}
