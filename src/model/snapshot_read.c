/* Reading a snapshot's models back. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "model/snapshot.h"
#include "model/spec_parts.h"
#include "proto/json_read.h"

struct parsing {
    struct sc_json_reader r;
    struct sc_snapshot *out;
    struct sc_msg *msg;
};

static int bad_json(struct parsing *p)
{
    struct sc_msg why = {""};
    int rc = sc_json_read_error(&p->r, &why);
    return sc_fail(p->msg, rc < 0 ? rc : SC_EINVAL, "model_snapshot: %.300s", why.text);
}

static int refuse(struct parsing *p, const char *problem)
{
    return sc_json_refuse(&p->r, SC_EINVAL, problem);
}

static char *text(struct parsing *p)
{
    struct sc_buf b;
    struct sc_span s;
    sc_buf_init(&b, SC_SETTINGS_FILE_BYTES);
    char *copy = sc_json_text(&p->r, &b, &s) == 0 && !(s.n && memchr(s.p, '\0', s.n)) ? sc_span_dup(s) : NULL;
    sc_buf_free(&b);
    return copy;
}

/* ---- one version --------------------------------------------------------------------------------------- */

enum {
    DEFAULT,
    ARCHIVE,
    MIN,
    MAX,
    BATCH,
    DELAY,
    MANDATORY,
    RESPONSE = MANDATORY,
    STARTUP,
    RUNTIME,
    LEVEL,
    BACKEND,
    SETTINGS,
    KEYS
};

static const char *const names[KEYS] = {
    "defaultVersion",  "marName",        "minWorkers",  "maxWorkers",    "batchSize", "maxBatchDelay",
    "responseTimeout", "startupTimeout", "runtimeType", "parallelLevel", "backend",   "settings"};

static int take_int(struct parsing *p, int *out)
{
    int64_t n;
    int ev = sc_json_next(&p->r);
    if (ev < 0)
        return ev;
    if (ev != SC_JSON_NUMBER || !sc_json_int64(&p->r, &n) || n < INT_MIN + 1 || n > INT_MAX)
        return refuse(p, "an integer is expected");
    *out = (int)n;
    return 0;
}

static int take_text(struct parsing *p, char **out)
{
    int ev = sc_json_next(&p->r);
    if (ev < 0)
        return ev;
    if (ev != SC_JSON_STRING)
        return refuse(p, "a string is expected");
    free(*out);
    *out = text(p);
    return *out ? 0 : refuse(p, "the string cannot be used");
}

static int take_default(struct parsing *p, bool *out)
{
    int ev = sc_json_next(&p->r);
    if (ev < 0)
        return ev;
    *out = ev == SC_JSON_TRUE;
    return ev == SC_JSON_TRUE || ev == SC_JSON_FALSE ? 0 : refuse(p, "true or false is expected");
}

/* An object of strings. */
static int take_settings(struct parsing *p, char **out)
{
    struct sc_buf lines;
    int ev = sc_json_next(&p->r), rc = 0;
    if (ev != SC_JSON_OBJECT)
        return ev < 0 ? ev : refuse(p, "an object is expected");
    sc_buf_init(&lines, SC_SETTINGS_FILE_BYTES);
    while (rc == 0 && (ev = sc_json_next(&p->r)) == SC_JSON_KEY) {
        char *key = text(p), *value = NULL;
        rc = key ? take_text(p, &value) : refuse(p, "the key cannot be used");
        if (rc == 0)
            sc_spec_put_setting(&lines, key, value);
        free(key);
        free(value);
    }
    sc_buf_char(&lines, '\0');
    if (rc == 0)
        rc = ev < 0 ? ev : lines.failed ? refuse(p, "too many settings") : 0;
    free(*out);
    *out = rc == 0 ? sc_strdup(lines.p) : NULL;
    sc_buf_free(&lines);
    return rc;
}

static int take_key(struct parsing *p, struct sc_snapshot_model *m, unsigned k)
{
    struct sc_spec_want *w = &m->want;
    int *const ints[KEYS] = {
        [MIN] = &w->min_workers,       [MAX] = &w->max_workers,           [BATCH] = &w->batch_size,
        [DELAY] = &w->max_batch_delay, [RESPONSE] = &w->response_timeout, [STARTUP] = &w->startup_timeout,
        [LEVEL] = &w->parallel_level};
    if (k == DEFAULT)
        return take_default(p, &m->is_default);
    if (k == ARCHIVE)
        return take_text(p, &m->archive);
    if (k == RUNTIME)
        return take_text(p, &m->runtime);
    if (k == BACKEND)
        return take_text(p, &m->backend);
    if (k == SETTINGS)
        return take_settings(p, &m->settings);
    return take_int(p, ints[k]);
}

static int check(struct parsing *p, const struct sc_snapshot_model *m, unsigned seen)
{
    static const char *const known[] = {"python", "python3", "LSP"};
    const struct sc_spec_want *w = &m->want;
    struct sc_msg why;
    bool runtime = false;
    for (unsigned k = 0; k < MANDATORY; k++)
        if (!(seen & 1u << k))
            return sc_fail(p->msg, SC_EINVAL, "model_snapshot: %.150s:%.60s has no %s", m->name, m->version,
                           names[k]);
    for (size_t i = 0; i < SC_COUNT(known); i++)
        runtime |= strcmp(m->runtime, known[i]) == 0;
    if (!runtime)
        return sc_fail(p->msg, SC_EINVAL, "model_snapshot: %.150s:%.60s: runtimeType is \"%.60s\"", m->name,
                       m->version, m->runtime);
    if (m->backend && sc_spec_check_backend(sc_span_str(m->backend), &why) < 0)
        return sc_fail(p->msg, SC_EINVAL, "model_snapshot: %.150s:%.60s: %.120s", m->name, m->version,
                       why.text);
    if (w->min_workers < 0 || w->max_workers < w->min_workers || w->max_workers > SC_WORKERS_MAX)
        return sc_fail(p->msg, SC_EINVAL, "model_snapshot: %.150s:%.60s: minWorkers %d, maxWorkers %d",
                       m->name, m->version, w->min_workers, w->max_workers);
    return 0;
}

static struct sc_snapshot_model *new_model(struct parsing *p, const char *name)
{
    struct sc_snapshot *s = p->out;
    s->models = sc_realloc_array(s->models, s->n + 1, sizeof *s->models);
    struct sc_snapshot_model *m = &s->models[s->n++];
    *m = (struct sc_snapshot_model){.name = sc_strdup(name), .runtime = sc_strdup("python")};
    sc_spec_want_init(&m->want, SC_SPEC_RESTORE, NULL);
    m->want.response_timeout = m->want.startup_timeout = 120;
    return m;
}

/* The key of the version was read. */
static int take_version(struct parsing *p, const char *name)
{
    unsigned seen = 0;
    int ev;
    if (p->out->n == SC_MODELS_MAX)
        return sc_fail(p->msg, SC_ELIMIT, "model_snapshot: more than %d models", SC_MODELS_MAX);
    struct sc_snapshot_model *m = new_model(p, name);
    m->version = text(p);
    if (!m->version)
        return refuse(p, "the version cannot be used");
    ev = sc_json_next(&p->r);
    if (ev != SC_JSON_OBJECT)
        return ev < 0 ? ev : refuse(p, "an object is expected");
    while ((ev = sc_json_next(&p->r)) == SC_JSON_KEY) {
        unsigned k = 0;
        while (k < KEYS && !sc_json_is(&p->r, sc_span_str(names[k])))
            k++;
        ev = k == KEYS ? sc_json_skip(&p->r) : take_key(p, m, k);
        if (ev < 0)
            return ev;
        seen |= 1u << k;
    }
    return ev < 0 ? ev : check(p, m, seen);
}

/* ---- all of them --------------------------------------------------------------------------------------- */

/* Calls fn for each key of the object that must come; the reader stands behind the key. */
static int each_key(struct parsing *p, int (*fn)(struct parsing *p, const char *arg), const char *arg)
{
    int ev = sc_json_next(&p->r);
    if (ev != SC_JSON_OBJECT)
        return ev < 0 ? ev : refuse(p, "an object is expected");
    while ((ev = sc_json_next(&p->r)) == SC_JSON_KEY) {
        ev = fn(p, arg);
        if (ev < 0)
            return ev;
    }
    return ev < 0 ? ev : 0;
}

static int take_model(struct parsing *p, const char *arg)
{
    (void)arg;
    char *name = text(p);
    int rc = name ? each_key(p, take_version, name) : refuse(p, "the name cannot be used");
    free(name);
    return rc;
}

static int take_top(struct parsing *p, const char *arg)
{
    (void)arg;
    if (sc_json_is(&p->r, SC_SPAN("name")))
        return take_text(p, &p->out->name);
    if (sc_json_is(&p->r, SC_SPAN("modelCount")))
        return take_int(p, &p->out->count);
    if (sc_json_is(&p->r, SC_SPAN("models")))
        return each_key(p, take_model, NULL);
    return sc_json_skip(&p->r);
}

static void drop_models(struct sc_snapshot *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        free(s->models[i].name);
        free(s->models[i].version);
        free(s->models[i].archive);
        free(s->models[i].runtime);
        free(s->models[i].backend);
        free(s->models[i].settings);
    }
    free(s->models);
    s->models = NULL;
    s->n = 0;
}

int sc_snapshot_read(struct sc_snapshot *out, struct sc_span json, struct sc_msg *msg)
{
    struct parsing p = {.out = out, .msg = msg};
    *out = (struct sc_snapshot){0};
    *msg = (struct sc_msg){""};
    sc_json_read_init(&p.r, json);
    int rc = each_key(&p, take_top, NULL);
    if (rc == 0)
        rc = sc_json_next(&p.r);
    if (rc < 0) {
        if (!msg->text[0])
            rc = bad_json(&p);
        sc_snapshot_free(out);
        return rc;
    }
    if (!out->name)
        out->name = sc_strdup("");
    for (unsigned i = 0; i < out->n; i++) {
        struct sc_snapshot_model *m = &out->models[i];
        m->want.url = m->archive;
        m->want.name = m->name;
        m->want.version = m->version;
        m->want.runtime = m->runtime;
        m->want.backend = m->backend;
        m->want.settings = m->settings;
    }
    if (out->count <= 0)
        drop_models(out);
    return 0;
}

void sc_snapshot_free(struct sc_snapshot *s)
{
    drop_models(s);
    free(s->name);
    *s = (struct sc_snapshot){0};
}

int sc_snapshot_validate(const struct sc_snapshot *s, const char *store, struct sc_msg *msg)
{
    char path[PATH_MAX];
    struct stat st;
    for (unsigned i = 0; i < s->n; i++) {
        const struct sc_snapshot_model *m = &s->models[i];
        const char *name = m->archive;
        if (strcmp(name, "identity") == 0)
            continue;
        bool whole = *name == '/' && stat(name, &st) == 0 && S_ISDIR(st.st_mode);
        bool plain = *name && !strchr(name, '/') && strcmp(name, "..") != 0 && store &&
                     snprintf(path, sizeof path, "%s/%s", store, name) < (int)sizeof path &&
                     stat(path, &st) == 0 && (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode));
        if (!whole && !plain)
            return sc_fail(msg, SC_ENOTFOUND,
                           "Model archive file for model :%.200s, version :%.60s not found in model store",
                           m->name, m->version);
    }
    return 0;
}
