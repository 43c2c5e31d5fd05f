/*
 * Models in the journal: what the next frontend must know when this one is dead. Loop 0.
 *
 * The journal holds what is, not what happened: it is small, rarely written, and rewritten whole at each
 * change, but for a registration, which goes behind what is there.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/workflow.h"

enum { REC_REGISTER = 1, REC_DEFAULT, REC_STARTED, REC_KEPT, REC_WORKFLOW };

struct sc_kept {
    struct sc_kept *next;
    char *name;
    struct sc_buf bytes;
};

static void write_version(struct sc_journal *j, const struct sc_version *v, struct sc_buf *b, int *rc)
{
    sc_buf_clear(b);
    sc_spec_write(&v->spec, b);
    if (*rc == 0)
        *rc = b->failed ? b->failed : sc_journal_append(j, REC_REGISTER, sc_buf_view(b));
}

static void write_default(struct sc_journal *j, const struct sc_version *v, struct sc_buf *b, int *rc)
{
    sc_buf_clear(b);
    sc_buf_printf(b, "%s\n%s", v->spec.name, v->spec.version);
    if (*rc == 0)
        *rc = sc_journal_append(j, REC_DEFAULT, sc_buf_view(b));
}

static void write_kept(struct sc_journal *j, const struct sc_kept *k, struct sc_buf *b, int *rc)
{
    sc_buf_clear(b);
    sc_buf_printf(b, "%s\n", k->name);
    sc_buf_span(b, sc_buf_view(&k->bytes));
    if (*rc == 0)
        *rc = b->failed ? b->failed : sc_journal_append(j, REC_KEPT, sc_buf_view(b));
}

static void write_workflow(struct sc_journal *j, const struct sc_workflow *w, struct sc_buf *b, int *rc)
{
    sc_buf_clear(b);
    sc_workflow_write(w, b);
    if (*rc == 0)
        *rc = b->failed ? b->failed : sc_journal_append(j, REC_WORKFLOW, sc_buf_view(b));
}

void sc_record_all(struct sc_engine *e)
{
    struct sc_buf b;
    sc_buf_init(&b, 1 << 20);
    int rc = sc_journal_compact_begin(e->journal);
    if (rc == 0 && e->started)
        rc = sc_journal_append(e->journal, REC_STARTED, sc_span(NULL, 0));
    for (const struct sc_kept *k = e->kept; k; k = k->next)
        write_kept(e->journal, k, &b, &rc);
    for (unsigned i = 0; i < e->nworkflows; i++) /* before their models */
        if (e->workflows[i]->state == SC_WORKFLOW_READY)
            write_workflow(e->journal, e->workflows[i], &b, &rc);
    for (unsigned i = 0; i < e->nmodels; i++) {
        struct sc_model *m = e->models[i];
        for (unsigned k = 0; k < m->nversions; k++)
            if (!m->versions[k]->unregistering)
                write_version(e->journal, m->versions[k], &b, &rc);
        if (m->def && !m->def->unregistering)
            write_default(e->journal, m->def, &b, &rc);
    }
    if (rc == 0)
        rc = sc_journal_compact_commit(e->journal);
    e->unrecorded = rc < 0;
    if (rc < 0)
        sc_log(SC_LOG_ERROR,
               "the journal cannot be written (%s): what changed since would be lost with the frontend",
               sc_strerror(rc));
    sc_buf_free(&b);
}

void sc_record_added(struct sc_engine *e, const struct sc_version *v)
{
    struct sc_buf b;
    int rc = e->unrecorded ? SC_EINVAL : 0;
    sc_buf_init(&b, 1 << 20);
    write_version(e->journal, v, &b, &rc);
    if (sc_registry_model(e, sc_span_str(v->spec.name), NULL)->def == v)
        write_default(e->journal, v, &b, &rc);
    sc_buf_free(&b);
    if (rc < 0)
        sc_record_all(e);
}

bool sc_engine_fresh(const struct sc_engine *e)
{
    return !e->started;
}

void sc_engine_started(struct sc_engine *e)
{
    if (e->started)
        return;
    e->started = true;
    sc_record_all(e);
    sc_engine_snapshot(e, SC_SNAPSHOT_STARTUP);
}

/* ---- bytes of others ---------------------------------------------------------------------------- */

static struct sc_kept *find_kept(const struct sc_engine *e, struct sc_span name)
{
    struct sc_kept *k = e->kept;
    while (k && !sc_span_eq(sc_span_str(k->name), name))
        k = k->next;
    return k;
}

static void put_kept(struct sc_engine *e, struct sc_span name, struct sc_span bytes)
{
    struct sc_kept *k = find_kept(e, name);
    if (!k) {
        k = sc_alloc(sizeof *k);
        k->name = sc_span_dup(name);
        sc_buf_init(&k->bytes, SC_KEPT_BYTES);
        k->next = e->kept;
        e->kept = k;
    }
    sc_buf_clear(&k->bytes);
    sc_buf_span(&k->bytes, bytes);
}

void sc_engine_keep(struct sc_engine *e, const char *name, struct sc_span bytes)
{
    put_kept(e, sc_span_str(name), bytes);
    sc_record_all(e);
}

struct sc_span sc_engine_kept(const struct sc_engine *e, const char *name)
{
    const struct sc_kept *k = find_kept(e, sc_span_str(name));
    return k ? sc_buf_view(&k->bytes) : sc_span(NULL, 0);
}

void sc_record_free(struct sc_engine *e)
{
    while (e->kept) {
        struct sc_kept *k = e->kept;
        e->kept = k->next;
        sc_buf_free(&k->bytes);
        free(k->name);
        free(k);
    }
}

/* A model of a workflow that was still coming, or leaving already, is dropped. */
static void restore_version(struct sc_engine *e, struct sc_model_spec *spec)
{
    struct sc_version *v;
    bool orphan = spec->workflow && !sc_workflow_named(e, sc_span_str(spec->workflow));
    if (!orphan && sc_registry_add(e, spec, &v) < 0)
        sc_log(SC_LOG_ERROR, "model %s version %s could not be restored", spec->name, spec->version);
    sc_engine_release(e, spec, orphan);
}

void sc_record_restore(struct sc_engine *e)
{
    uint64_t at = 0;
    uint16_t type;
    struct sc_span record;
    int rc;
    while ((rc = sc_journal_next(e->journal, &at, &type, &record)) == 1) {
        struct sc_model_spec spec;
        struct sc_version *v;
        if (type == REC_STARTED) {
            e->started = true;
        } else if (type == REC_KEPT) {
            size_t n = sc_span_find(record, '\n');
            put_kept(e, sc_span_sub(record, 0, n), sc_span_sub(record, n + 1, record.n));
        } else if (type == REC_REGISTER && sc_spec_read(&spec, record) == 0) {
            restore_version(e, &spec);
        } else if (type == REC_WORKFLOW) {
            if (sc_workflow_restore(e, record) < 0)
                sc_log(SC_LOG_ERROR, "a workflow could not be restored");
        } else if (type == REC_DEFAULT) {
            size_t n = sc_span_find(record, '\n');
            struct sc_model *m = sc_registry_model(e, sc_span_sub(record, 0, n), NULL);
            v = m ? sc_model_version(m, sc_span_sub(record, n + 1, record.n)) : NULL;
            if (v)
                m->def = v;
        }
    }
    if (rc < 0)
        sc_log(SC_LOG_ERROR, "the journal is damaged: models behind the damage are lost");
    sc_registry_publish(e);
}
