/*
 * Models and versions: register, scale, default, unregister; health. Loop 0. (record.c: the journal;
 * view.c: what is told of them.)
 *
 * Each change is written to the journal before it is answered, so that the next frontend
 * continues with it. The loops see changes as a new catalog.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/workflow.h"

struct sc_model *sc_registry_model(struct sc_engine *e, struct sc_span name, unsigned *at)
{
    unsigned low = 0, high = e->nmodels;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        struct sc_span other = sc_span_str(e->models[mid]->name);
        int c = memcmp(name.p, other.p, SC_MIN(name.n, other.n));
        if (c > 0 || (c == 0 && name.n > other.n))
            low = mid + 1;
        else
            high = mid;
    }
    if (at)
        *at = low;
    return low < e->nmodels && sc_span_eq(name, sc_span_str(e->models[low]->name)) ? e->models[low] : NULL;
}

struct sc_version *sc_model_version(struct sc_model *m, struct sc_span version)
{
    if (!version.p)
        return m->def;
    for (unsigned i = 0; i < m->nversions; i++)
        if (sc_span_eq(version, sc_span_str(m->versions[i]->spec.version)))
            return m->versions[i];
    return NULL;
}

static int find(struct sc_engine *e, struct sc_span name, struct sc_span version, struct sc_model **m,
                struct sc_version **v)
{
    *m = sc_registry_model(e, name, NULL);
    if (!*m)
        return SC_ENOTFOUND;
    *v = sc_model_version(*m, version);
    if (*v && !(*v)->unregistering)
        return 0;
    for (unsigned i = 0; i < (*m)->nversions; i++)
        if (!(*m)->versions[i]->unregistering)
            return SC_EINVAL;
    return SC_ENOTFOUND; /* nothing is left of it but what still finishes */
}

struct sc_version *sc_registry_find(struct sc_engine *e, struct sc_span name, struct sc_span version)
{
    struct sc_model *m;
    struct sc_version *v;
    return find(e, name, version, &m, &v) == 0 ? v : NULL;
}

/* ---- catalog and health ------------------------------------------------------------------------ */

static void take_catalog(void *catalog, void *plane)
{
    struct sc_plane *p = plane;
    struct sc_catalog *old = p->catalog;
    p->catalog = catalog;
    sc_catalog_put(old);
}

void sc_registry_publish(struct sc_engine *e)
{
    unsigned n = 0;
    for (unsigned i = 0; i < e->nmodels; i++)
        n += e->models[i]->nversions;
    struct sc_catalog *c = sc_alloc(sizeof *c + n * sizeof c->entries[0]);
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            if (!v->unregistering)
                c->entries[c->n++] = (struct sc_catalog_entry){v, v == e->models[i]->def};
        }
    c->workflows = sc_alloc_array(e->nworkflows + 1, sizeof(struct sc_workflow *));
    for (unsigned i = 0; i < e->nworkflows; i++)
        if (e->workflows[i]->state == SC_WORKFLOW_READY) {
            atomic_fetch_add(&e->workflows[i]->refs, 1);
            c->workflows[c->nworkflows++] = e->workflows[i];
        }
    atomic_init(&c->refs, e->nloops);
    for (unsigned i = 0; i < e->nloops; i++)
        if (i == 0)
            take_catalog(c, &e->planes[0]);
        else
            sc_engine_call(sc_engine_loop(e, i), take_catalog, c, &e->planes[i]);
    sc_registry_health(e);
}

/* Workers of v that run, or whose outage is younger than the retry window (docs/contract.md §4.2). */
static bool version_healthy(const struct sc_version *v)
{
    int healthy = 0;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (!w->quarantine && !w->standby && !w->given_up && !w->stopping)
            healthy += (int)w->lanes;
    }
    return healthy >= v->spec.min_workers;
}

void sc_registry_health(struct sc_engine *e)
{
    bool healthy = true;
    for (unsigned i = 0; i < e->nmodels; i++)
        if (e->models[i]->def && !version_healthy(e->models[i]->def))
            healthy = false;
    atomic_store(&e->healthy, healthy);
}

/* ---- register -------------------------------------------------------------------------------------- */

static void make_shards(struct sc_version *v)
{
    struct sc_engine *e = v->engine;
    for (unsigned i = 0; i < e->nloops; i++) {
        struct sc_shard *s = sc_alloc(sizeof *s);
        v->shards[i] = s;
        s->arena_fd = -1;
        s->version = v;
        s->plane = &e->planes[i];
        atomic_init(&s->first_ns, SC_NOBODY_WAITS);
        for (unsigned p = 0; p < SC_PRIORITIES; p++)
            sc_list_init(&s->queue[p]);
        sc_list_init(&s->longs);
        sc_list_init(&s->turns);
        sc_list_init(&s->suspects);
    }
}

int sc_version_open(struct sc_version *v)
{
    for (unsigned i = 0; i < v->engine->nloops; i++) {
        struct sc_shard *s = v->shards[i];
        void *base;
        if (s->arena_fd >= 0)
            continue;
        int fd = sc_shm_create("sconce-requests", SC_ARENA_BYTES, 1, &base);
        if (fd < 0)
            return SC_ESYS;
        if (sc_arena_init(&s->arena, base, SC_ARENA_BYTES) < 0) {
            munmap(base, SC_ARENA_BYTES);
            close(fd);
            return SC_ENOMEM;
        }
        s->arena_fd = fd;
    }
    return 0;
}

/* At the end of the server there is no loop to do it beside. What a url brought is kept then if a snapshot
 * may want it. */
static void discard_files(struct sc_version *v)
{
    struct sc_engine *e = v->engine;
    if (e->closed)
        sc_archive_remove(v->spec.remove, e->spec.settings->snapshots ? NULL : v->spec.downloaded);
    /* If it was never registered the files are the caller's. */
    sc_engine_release(e, &v->spec, v->unregistering && !e->closed);
}

static void version_free(struct sc_version *v)
{
    for (unsigned i = 0; i < v->engine->nloops; i++) {
        struct sc_shard *s = v->shards[i];
        if (!s)
            continue;
        if (s->arena.base) {
            munmap(s->arena.base, s->arena.size);
            sc_arena_free(&s->arena);
        }
        if (s->arena_fd >= 0)
            close(s->arena_fd);
        free(s->links);
        free(s);
    }
    while (!sc_list_empty(&v->workers))
        sc_worker_del(SC_CONTAINER(sc_list_pop(&v->workers), struct sc_worker, node));
    while (v->waiters) {
        struct sc_waiter *w = v->waiters;
        v->waiters = w->next;
        free(w);
    }
    sc_metrics_model_release(v->engine->spec.metrics, v->metrics);
    sc_sequences_del(v->sequences);
    discard_files(v);
    free(v);
}

static void add_shard(void *shard, void *plane)
{
    struct sc_shard *s = shard;
    struct sc_plane *p = plane;
    s->next = p->shards;
    p->shards = s;
}

static void wait_for_workers(struct sc_version *v, bool registering, sc_engine_done done, void *arg)
{
    if (!done)
        return;
    struct sc_waiter *w = sc_alloc(sizeof *w);
    *w = (struct sc_waiter){.next = v->waiters, .done = done, .arg = arg, .registering = registering};
    v->waiters = w;
}

int sc_registry_add(struct sc_engine *e, const struct sc_model_spec *spec, struct sc_version **out)
{
    unsigned at;
    struct sc_model *m = sc_registry_model(e, sc_span_str(spec->name), &at);
    if (m && sc_model_version(m, sc_span_str(spec->version)))
        return SC_EEXIST;
    if (!m && e->nmodels >= SC_MODELS_MAX)
        return SC_ELIMIT;
    struct sc_version *v = sc_alloc(sizeof *v);
    v->engine = e;
    sc_list_init(&v->workers);
    sc_spec_copy(&v->spec, spec);
    v->metrics = sc_metrics_model(e->spec.metrics, spec->name, spec->version);
    atomic_init(&v->quarantine_owner, -1);
    atomic_init(&v->workers_wanted, spec->max_workers);
    sc_turns_open(v);
    make_shards(v);
    int rc = spec->max_workers > 0 ? sc_version_open(v) : 0;
    if (rc < 0) {
        version_free(v);
        return rc;
    }
    if (!m) {
        m = sc_alloc(sizeof *m);
        m->name = sc_strdup(spec->name);
        e->models = sc_realloc_array(e->models, e->nmodels + 1, sizeof *e->models);
        memmove(e->models + at + 1, e->models + at, (e->nmodels - at) * sizeof *e->models);
        e->models[at] = m;
        e->nmodels++;
    }
    m->versions = sc_realloc_array(m->versions, m->nversions + 1, sizeof *m->versions);
    m->versions[m->nversions++] = v;
    if (!m->def)
        m->def = v;
    for (unsigned i = 0; i < e->nloops; i++)
        if (i == 0)
            add_shard(v->shards[0], &e->planes[0]);
        else
            sc_engine_call(sc_engine_loop(e, i), add_shard, v->shards[i], &e->planes[i]);
    *out = v;
    return 0;
}

/* Before the change is answered. */
static void changed(struct sc_engine *e)
{
    sc_record_all(e);
    sc_engine_snapshot(e, SC_SNAPSHOT_CHANGE);
}

int sc_engine_register(struct sc_engine *e, const struct sc_model_spec *spec, sc_engine_done done, void *arg)
{
    struct sc_version *v;
    int rc = sc_registry_add(e, spec, &v);
    if (rc < 0)
        return rc;
    sc_record_added(e, v);
    sc_engine_snapshot(e, SC_SNAPSHOT_CHANGE);
    sc_registry_publish(e);
    if (spec->min_workers > 0)
        wait_for_workers(v, true, done, arg);
    else if (done)
        done(arg, 0, "");
    sc_workers_reconcile(v);
    sc_registry_health(e);
    return 0;
}

/* ---- waiting ------------------------------------------------------------------------------------------ */

static bool enough_loaded(const struct sc_version *v)
{
    int loaded = 0;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->quarantine || w->standby || !w->loaded || w->draining || w->stopping)
            continue;
        loaded++;
        if (sc_spec_has_lanes(&v->spec) && (int)w->lanes >= v->spec.min_workers &&
            (int)w->lanes <= SC_MAX(v->spec.max_workers, 1))
            return true;
    }
    return v->spec.max_workers == 0 || (!sc_spec_has_lanes(&v->spec) && loaded >= v->spec.min_workers);
}

static void tell_waiters(struct sc_version *v, int rc, const char *text)
{
    struct sc_waiter *w = v->waiters;
    v->waiters = NULL;
    while (w) {
        struct sc_waiter *next = w->next;
        w->done(w->arg, rc, text);
        free(w);
        w = next;
    }
}

static void registration_undone(void *version, int rc, const char *text)
{
    struct sc_version *v = version;
    (void)rc;
    (void)text;
    tell_waiters(v, v->failure_rc, v->failure);
}

static void retire(struct sc_version *v, sc_engine_done done, void *arg);

void sc_registry_workers_changed(struct sc_version *v, int rc, const char *text)
{
    bool registering = false;
    if (v->unregistering || (rc == 0 && !enough_loaded(v)))
        return;
    for (struct sc_waiter *w = v->waiters; w; w = w->next)
        registering |= w->registering;
    if (rc < 0 && registering) {
        /* A synchronous registration that failed leaves nothing behind when it is answered (docs/contract.md
         * §6.2). */
        snprintf(v->failure, sizeof v->failure, "%s", text);
        v->failure_rc = rc;
        retire(v, registration_undone, v);
        return;
    }
    tell_waiters(v, rc, text);
}

/* ---- scale, default, unregister ------------------------------------------------------------------------ */

int sc_engine_scale(struct sc_engine *e, struct sc_span name, struct sc_span version, int min_workers,
                    int max_workers, sc_engine_done done, void *arg)
{
    struct sc_model *m;
    struct sc_version *v;
    int rc = find(e, name, version, &m, &v);
    if (rc < 0)
        return rc;
    if (sc_spec_is_native(&v->spec) && max_workers > SC_LANES_MAX)
        return SC_ELIMIT;
    if (max_workers > 0 && (rc = sc_version_open(v)) < 0)
        return rc;
    v->spec.min_workers = min_workers;
    v->spec.max_workers = max_workers;
    changed(e);
    wait_for_workers(v, false, done, arg);
    sc_workers_reconcile(v);
    sc_registry_workers_changed(v, 0, "");
    sc_registry_health(e);
    return 0;
}

int sc_engine_set_default(struct sc_engine *e, struct sc_span name, struct sc_span version)
{
    struct sc_model *m;
    struct sc_version *v;
    int rc = find(e, name, version, &m, &v);
    if (rc < 0)
        return rc;
    m->def = v;
    changed(e);
    sc_registry_publish(e);
    return 0;
}

static void close_shard(void *shard, void *unused)
{
    struct sc_shard *s = shard;
    (void)unused;
    bool empty = s->jobs == 0;
    s->closing = true;
    if (s->nlinks == 0 && !s->quarantine)
        sc_shard_no_worker(s);
    if (empty)
        sc_shard_drained(s); /* else the last job does it */
}

int sc_engine_unregister(struct sc_engine *e, struct sc_span name, struct sc_span version,
                         sc_engine_done done, void *arg)
{
    struct sc_model *m;
    struct sc_version *v;
    int rc = find(e, name, version, &m, &v);
    if (rc < 0)
        return rc;
    unsigned living = 0;
    for (unsigned i = 0; i < m->nversions; i++)
        living += !m->versions[i]->unregistering;
    if (v == m->def && living > 1)
        return SC_EEXIST;
    retire(v, done, arg);
    tell_waiters(v, SC_EINVAL, "the model was unregistered meanwhile");
    return 0;
}

/* Takes the version out of the catalogs; its workers end when what the loops have accepted is answered. */
static void retire(struct sc_version *v, sc_engine_done done, void *arg)
{
    struct sc_engine *e = v->engine;
    struct sc_model *m = sc_registry_model(e, sc_span_str(v->spec.name), NULL);
    v->unregistering = true;
    v->gone_done = done;
    v->gone_arg = arg;
    v->gone_deadline_ns = sc_clock_ns() + (int64_t)e->spec.settings->unregister_timeout * 1000000000;
    if (m->def == v) {
        m->def = NULL;
        for (unsigned i = 0; i < m->nversions && !m->def; i++)
            if (!m->versions[i]->unregistering)
                m->def = m->versions[i];
    }
    changed(e);
    sc_registry_publish(e);
    /* After the catalogs: nothing new comes. */
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(sc_engine_loop(e, i), close_shard, v->shards[i], NULL);
}

void sc_registry_shard_closed(void *version, void *unused)
{
    struct sc_version *v = version;
    (void)unused;
    if (++v->acks < v->engine->nloops)
        return;
    for (struct sc_node *n = v->workers.next, *next; n != &v->workers; n = next) {
        next = n->next;
        sc_worker_stop(SC_CONTAINER(n, struct sc_worker, node), false);
    }
    sc_registry_worker_gone(v);
}

static void remove_shard(void *shard, void *plane)
{
    struct sc_plane *p = plane;
    struct sc_shard **at = &p->shards;
    while (*at && *at != shard)
        at = &(*at)->next;
    if (*at)
        *at = (*at)->next;
}

static void free_later(void *version, void *unused)
{
    struct sc_version *v = version;
    (void)unused;
    if (++v->acks == v->engine->nloops)
        version_free(v);
}

static void leave_loop(void *version, void *plane)
{
    struct sc_version *v = version;
    struct sc_plane *p = plane;
    remove_shard(v->shards[p->loop->index], p);
    sc_engine_call(sc_engine_loop(p->engine, 0), free_later, v, NULL);
}

void sc_registry_worker_gone(struct sc_version *v)
{
    struct sc_engine *e = v->engine;
    if (!v->unregistering || v->acks < e->nloops || v->attachments || !sc_list_empty(&v->workers))
        return;
    unsigned at;
    struct sc_model *m = sc_registry_model(e, sc_span_str(v->spec.name), &at);
    for (unsigned i = 0; m && i < m->nversions; i++)
        if (m->versions[i] == v) {
            memmove(m->versions + i, m->versions + i + 1, (m->nversions - i - 1) * sizeof *m->versions);
            m->nversions--;
            break;
        }
    if (m && m->nversions == 0) {
        free(m->versions);
        free(m->name);
        free(m);
        memmove(e->models + at, e->models + at + 1, (e->nmodels - at - 1) * sizeof *e->models);
        e->nmodels--;
    }
    if (v->gone_done)
        v->gone_done(v->gone_arg, 0, "");
    v->gone_done = NULL;
    v->acks = 0;
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(sc_engine_loop(e, i), leave_loop, v, &e->planes[i]);
}

void sc_registry_tick(struct sc_engine *e)
{
    int64_t now = sc_clock_ns();
    sc_workflows_tick(e, now);
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            if (v->unregistering && v->gone_done && now > v->gone_deadline_ns) {
                v->gone_done(v->gone_arg, SC_ETIMEOUT, "");
                v->gone_done = NULL;
            }
        }
}

void sc_registry_free(struct sc_engine *e)
{
    sc_workflows_free(e);
    for (unsigned i = 0; i < e->nmodels; i++) {
        struct sc_model *m = e->models[i];
        for (unsigned k = 0; k < m->nversions; k++)
            version_free(m->versions[k]);
        free(m->versions);
        free(m->name);
        free(m);
    }
    free(e->models);
}
