/*
 * Workflows that are registered: coming, ready, leaving; their part of the journal. Loop 0.
 *
 * A workflow is in the journal from the moment when all its models run to the moment when it begins to leave.
 * A model that says that it is a workflow's, with no such workflow in the journal, is what a frontend's death
 * has left of a registration: record.c drops it.
 */
#include "model/workflow.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "archive/locate.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/spec_parts.h"
#include "model/workflow_load.h"

static const struct sc_workflow_node *node_of(const struct sc_workflow_member *m)
{
    return &m->workflow->spec.nodes[m - m->workflow->members];
}

/* The name was looked at when the workflow was loaded. */
static void model_name(const struct sc_workflow_member *m, char out[SC_MODEL_NAME_MAX + 1])
{
    struct sc_msg unused;
    if (sc_workflow_model_name(out, m->workflow->name, node_of(m)->name, &unused) < 0)
        out[0] = '\0';
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static unsigned place_of(const struct sc_engine *e, struct sc_span name, bool *there)
{
    unsigned at = 0;
    int c = -1;
    while (at < e->nworkflows) {
        struct sc_span other = sc_span_str(e->workflows[at]->name);
        c = memcmp(name.p, other.p, SC_MIN(name.n, other.n));
        c = c ? c : (name.n > other.n) - (name.n < other.n);
        if (c <= 0)
            break;
        at++;
    }
    *there = at < e->nworkflows && c == 0;
    return at;
}

static int table_add(struct sc_engine *e, struct sc_workflow *w)
{
    bool there;
    unsigned at = place_of(e, sc_span_str(w->name), &there);
    if (there)
        return SC_EEXIST;
    if (e->nworkflows == SC_WORKFLOWS_MAX)
        return SC_ELIMIT;
    e->workflows = sc_realloc_array(e->workflows, e->nworkflows + 1, sizeof(struct sc_workflow *));
    memmove(e->workflows + at + 1, e->workflows + at, (e->nworkflows - at) * sizeof(struct sc_workflow *));
    e->workflows[at] = w;
    e->nworkflows++;
    return 0;
}

static void table_remove(struct sc_engine *e, const struct sc_workflow *w)
{
    bool there;
    unsigned at = place_of(e, sc_span_str(w->name), &there);
    memmove(e->workflows + at, e->workflows + at + 1,
            (e->nworkflows - at - 1) * sizeof(struct sc_workflow *));
    e->nworkflows--;
}

struct sc_workflow *sc_workflow_named(const struct sc_engine *e, struct sc_span name)
{
    bool there;
    unsigned at = place_of(e, name, &there);
    return there && e->workflows[at]->state == SC_WORKFLOW_READY ? e->workflows[at] : NULL;
}

void sc_workflows_each(struct sc_engine *e, void (*fn)(void *arg, const struct sc_workflow *w), void *arg)
{
    for (unsigned i = 0; i < e->nworkflows; i++)
        if (e->workflows[i]->state == SC_WORKFLOW_READY)
            fn(arg, e->workflows[i]);
}

void sc_workflow_put(struct sc_workflow *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    char *owned[] = {w->name, w->url, w->text, w->dir, w->handler, w->remove, w->downloaded};
    for (size_t i = 0; i < SC_COUNT(owned); i++)
        free(owned[i]);
    sc_workflow_spec_free(&w->spec);
    sc_buf_free(&w->failures);
    free(w);
}

void sc_workflows_free(struct sc_engine *e)
{
    for (unsigned i = 0; i < e->nworkflows; i++) {
        sc_archive_remove(e->workflows[i]->remove, e->workflows[i]->downloaded);
        sc_workflow_put(e->workflows[i]);
    }
    free(e->workflows);
}

/* A new catalog and a new journal. */
static void changed(struct sc_engine *e)
{
    sc_record_all(e);
    sc_registry_publish(e);
}

/* ---- leaving ------------------------------------------------------------------------------------------ */

static void gone(struct sc_workflow *w)
{
    struct sc_engine *e = w->engine;
    struct sc_archive_error err = {0};
    struct sc_model_spec files = {.remove = w->remove, .downloaded = w->downloaded};
    w->remove = w->downloaded = NULL;
    sc_engine_release(e, &files, true);
    if (w->failures.n)
        sc_archive_refuse(&err, SC_EINVAL, 500, "WorkflowException",
                          "Workflow %s has failed to register. Failures: [%.*s]", w->name,
                          SC_FMT(sc_buf_view(&w->failures)));
    else if (w->late)
        sc_archive_refuse(&err, SC_ETIMEOUT, 408, "RequestTimeoutException",
                          "Timed out while cleaning resources: %s", w->name);
    table_remove(e, w);
    w->done(w->arg, w->name, err.type ? &err : NULL);
    sc_workflow_put(w);
}

static void member_gone(void *arg, int rc, const char *text)
{
    struct sc_workflow_member *m = arg;
    (void)text;
    m->workflow->late |= rc == SC_ETIMEOUT;
    if (--m->workflow->pending == 0)
        gone(m->workflow);
}

/* Unregisters the models; what follows comes when they are gone. */
static void dissolve(struct sc_workflow *w)
{
    char name[SC_MODEL_NAME_MAX + 1];
    w->state = SC_WORKFLOW_LEAVING;
    w->deadline_ns = 0;
    w->pending = 1;
    for (unsigned i = 0; i < w->spec.n; i++) {
        struct sc_workflow_member *m = &w->members[i];
        if (!m->registered)
            continue;
        m->registered = false;
        model_name(m, name);
        w->pending++;
        int rc = sc_engine_unregister(w->engine, sc_span_str(name), sc_span_str(m->version), member_gone, m);
        if (rc < 0) {
            w->pending--; /* somebody was here before, or gave the name to other versions */
            sc_log(SC_LOG_WARN, "workflow %s: version %s of model %s stays or is gone already (%s)", w->name,
                   m->version, name, sc_strerror(rc));
        }
    }
    if (--w->pending == 0)
        gone(w);
}

int sc_workflow_unregister(struct sc_engine *e, struct sc_span name, sc_workflow_done done, void *arg)
{
    struct sc_workflow *w = sc_workflow_named(e, name);
    if (!w)
        return SC_ENOTFOUND;
    w->state = SC_WORKFLOW_LEAVING;
    w->done = done;
    w->arg = arg;
    w->deadline_ns = sc_clock_ns() + (int64_t)e->spec.settings->unregister_timeout * 1000000000;
    changed(e);
    sc_workflows_tick(e, sc_clock_ns());
    return 0;
}

void sc_workflows_tick(struct sc_engine *e, int64_t now)
{
    for (unsigned i = 0; i < e->nworkflows; i++) {
        struct sc_workflow *w = e->workflows[i];
        if (w->state == SC_WORKFLOW_LEAVING && w->deadline_ns &&
            (atomic_load(&w->refs) == 1 || now > w->deadline_ns)) {
            dissolve(w); /* which may take it off the table */
            return;
        }
    }
}

/* ---- coming ------------------------------------------------------------------------------------------- */

static void SC_PRINTF(2, 3) member_failed(struct sc_workflow_member *m, const char *fmt, ...)
{
    struct sc_buf *b = &m->workflow->failures;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sc_buf_str(b, b->n ? ", " : "");
    sc_buf_str(b, text);
}

static void settled(struct sc_workflow *w)
{
    if (--w->pending)
        return;
    if (w->failures.n) {
        dissolve(w);
        return;
    }
    w->state = SC_WORKFLOW_READY;
    changed(w->engine);
    w->done(w->arg, w->name, NULL);
}

static void member_runs(void *arg, int rc, const char *text)
{
    struct sc_workflow_member *m = arg;
    char name[SC_MODEL_NAME_MAX + 1];
    model_name(m, name);
    m->registered = rc == 0;
    if (rc < 0) {
        member_failed(m, "Failed to start workers for model %s version: %s", name, m->version);
        sc_log(SC_LOG_ERROR, "workflow %s: model %s: %s", m->workflow->name, name, text);
    }
    settled(m->workflow);
}

static int register_model(struct sc_workflow_member *m, struct sc_model_spec *s, struct sc_msg *msg)
{
    const uint64_t before = node_of(m)->before;
    int most = sc_spec_is_native(s) ? SC_LANES_MAX : SC_WORKERS_MAX;
    if (s->max_workers > most)
        return sc_fail(msg, SC_ELIMIT, "max-workers is %d: the model has at most %d workers", s->max_workers,
                       most);
    if (sc_spec_is_native(s) && (before & (before - 1)))
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "a model of backend %s has one input: a function has to join those of several nodes",
                       s->backend);
    s->workflow = sc_strdup(m->workflow->name);
    snprintf(m->version, sizeof m->version, "%s", s->version);
    int rc = sc_engine_register(m->workflow->engine, s, member_runs, m);
    if (rc == SC_EEXIST)
        return sc_fail(msg, rc, "Model version %s is already registered for model %s", s->version, s->name);
    return rc < 0 ? sc_fail(msg, rc, "%s", sc_strerror(rc)) : 0;
}

static void member_prepared(void *arg, int rc, struct sc_model_spec *spec, const struct sc_archive_error *err)
{
    struct sc_workflow_member *m = arg;
    char name[SC_MODEL_NAME_MAX + 1];
    struct sc_msg msg = {""};
    if (rc == 0) {
        rc = register_model(m, spec, &msg);
        sc_engine_release(m->workflow->engine, spec, rc < 0);
        if (rc == 0)
            return; /* member_runs */
    }
    model_name(m, name);
    member_failed(m, "Workflow Node %s failed to register. Details: %s", name,
                  msg.text[0] ? msg.text : err->msg.text);
    settled(m->workflow);
}

static void no_note(void *ctx, enum sc_log_level level, const char *text)
{
    sc_log(level, "workflow %s: %s", ((const struct sc_workflow *)ctx)->name, text);
}

/* A function of the workflow's handler, as TorchServe starts it: `file.py:name` in the workflow's folder. */
static void add_function(struct sc_workflow_member *m, const struct sc_spec_want *want)
{
    struct sc_workflow *w = m->workflow;
    const struct sc_spec_yaml nothing = {0};
    struct sc_archive_error err = {0};
    struct sc_model_spec s;
    sc_spec_init(&s);
    snprintf(s.name, sizeof s.name, "%s", want->name);
    snprintf(s.backend, sizeof s.backend, "python");
    s.dir = sc_strdup(w->dir);
    if (asprintf(&s.handler, "%s:%s", w->handler, node_of(m)->name) < 0)
        s.handler = NULL;
    int rc = sc_spec_settle(&s, &nothing, w->engine->spec.settings, want, no_note, w, &err);
    member_prepared(m, rc, &s, &err);
}

static void add_member(struct sc_workflow_member *m)
{
    const struct sc_workflow *w = m->workflow;
    const struct sc_workflow_node *n = node_of(m);
    char name[SC_MODEL_NAME_MAX + 1];
    struct sc_spec_want want;
    sc_spec_want_init(&want, SC_SPEC_API, n->url);
    model_name(m, name);
    want.name = name;
    want.batch_size = n->numbers.batch_size;
    want.max_batch_delay = n->numbers.max_batch_delay;
    want.initial_workers = n->numbers.max_workers;
    want.response_timeout = w->response_timeout;
    want.startup_timeout = w->startup_timeout;
    if (n->url)
        sc_engine_prepare(w->engine, &want, member_prepared, m);
    else
        add_function(m, &want);
}

struct coming {
    uv_work_t work;
    struct sc_workflow *w;
    char *name; /* asked for; NULL: the manifest's */
    struct sc_archive_error err;
    int rc;
};

static void load(uv_work_t *work)
{
    struct coming *c = work->data;
    c->rc = sc_workflow_load(c->w, c->w->engine->spec.settings, c->name, &c->err);
}

static void refused(struct sc_workflow *w, const struct sc_archive_error *err)
{
    struct sc_model_spec files = {.remove = w->remove, .downloaded = w->downloaded};
    w->remove = w->downloaded = NULL;
    sc_engine_release(w->engine, &files, true);
    if (err->cause.text[0])
        sc_log(SC_LOG_WARN, "%s (%s)", err->msg.text, err->cause.text);
    w->done(w->arg, w->name ? w->name : "", err);
    sc_workflow_put(w);
}

static void loaded(uv_work_t *work, int status)
{
    struct coming *c = work->data;
    struct sc_workflow *w = c->w;
    int rc = c->rc;
    (void)status;
    if (rc == 0 && (rc = table_add(w->engine, w)) == SC_EEXIST)
        sc_archive_refuse(&c->err, rc, 409, "ConflictStatusException", "Workflow %s is already registered.",
                          w->name);
    else if (rc == SC_ELIMIT && !c->err.type)
        sc_archive_refuse(&c->err, rc, 500, "WorkflowException",
                          "%d workflows are registered, which is the most", SC_WORKFLOWS_MAX);
    if (rc < 0) {
        refused(w, &c->err);
    } else {
        w->pending = w->spec.n + 1; /* one until all are under way */
        for (unsigned i = 0; i < w->spec.n; i++)
            add_member(&w->members[i]);
        settled(w);
    }
    free(c->name);
    free(c);
}

static struct sc_workflow *new_workflow(struct sc_engine *e)
{
    struct sc_workflow *w = sc_alloc(sizeof *w);
    w->engine = e;
    atomic_init(&w->refs, 1);
    sc_buf_init(&w->failures, 64 << 10);
    for (unsigned i = 0; i < SC_WORKFLOW_NODES_MAX; i++)
        w->members[i].workflow = w;
    return w;
}

void sc_workflow_register(struct sc_engine *e, const struct sc_workflow_want *want, sc_workflow_done done,
                          void *arg)
{
    struct coming *c = sc_alloc(sizeof *c);
    struct sc_workflow *w = new_workflow(e);
    w->url = sc_strdup(want->url);
    w->response_timeout = want->response_timeout;
    w->startup_timeout = want->startup_timeout;
    w->s3_sse_kms = want->s3_sse_kms;
    w->done = done;
    w->arg = arg;
    c->w = w;
    c->name = want->name ? sc_strdup(want->name) : NULL;
    c->work.data = c;
    uv_queue_work(&sc_engine_loop(e, 0)->uv, &c->work, load, loaded);
}

/* ---- the journal -------------------------------------------------------------------------------------- */

#define AT(f) offsetof(struct sc_workflow, f)

static const struct {
    const char *key;
    size_t offset;
} fields[] = {
    {"name", AT(name)},
    {"url", AT(url)},
    {"text", AT(text)},
    {"dir", AT(dir)},
    {"handler", AT(handler)},
    {"remove", AT(remove)},
    {"downloaded", AT(downloaded)},
};

static char **field(struct sc_workflow *w, size_t i)
{
    return (char **)(void *)((char *)w + fields[i].offset);
}

void sc_workflow_write(const struct sc_workflow *w, struct sc_buf *out)
{
    for (size_t i = 0; i < SC_COUNT(fields); i++) {
        const char *value = *field((struct sc_workflow *)(uintptr_t)w, i);
        if (value)
            sc_spec_put_setting(out, fields[i].key, value);
    }
    for (unsigned i = 0; i < w->spec.n; i++)
        sc_spec_put_setting(out, "member", w->members[i].registered ? w->members[i].version : "");
}

static int read_record(struct sc_workflow *w, struct sc_span record)
{
    struct sc_archive_error err;
    struct sc_buf value;
    struct sc_span key;
    unsigned n = 0;
    bool good = true;
    sc_buf_init(&value, SC_SETTINGS_FILE_BYTES);
    while (good && record.n && (good = sc_spec_take_setting(&record, &key, &value))) {
        struct sc_span v = sc_buf_view(&value);
        if (sc_span_eq(key, SC_SPAN("member")) && n < SC_WORKFLOW_NODES_MAX) {
            snprintf(w->members[n].version, sizeof w->members[n].version, "%.*s", SC_FMT(v));
            w->members[n].registered = v.n > 0;
            n++;
        }
        for (size_t i = 0; i < SC_COUNT(fields); i++)
            if (sc_span_eq(key, sc_span_str(fields[i].key)) && !*field(w, i))
                *field(w, i) = sc_span_dup(v);
    }
    sc_buf_free(&value);
    if (!good || !w->name || !w->url || !w->text || !w->dir ||
        sc_workflow_spec_read(&w->spec, sc_span_str(w->text), w->name, &err) < 0)
        return SC_EINVAL;
    return n == w->spec.n ? 0 : SC_EINVAL;
}

int sc_workflow_restore(struct sc_engine *e, struct sc_span record)
{
    struct sc_workflow *w = new_workflow(e);
    int rc = read_record(w, record);
    if (rc == 0)
        rc = table_add(e, w);
    w->state = SC_WORKFLOW_READY;
    if (rc < 0)
        sc_workflow_put(w);
    return rc;
}
