/*
 * When snapshots are written: at the start, after every change, at the end (docs/contract.md, snapshots).
 * Their content is taken on loop 0; the file is written on a pool thread, one after another.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/snapshot.h"

/* Two changes can fall into one millisecond, which is all that a name tells. */
#define NAME_TRIES 50

struct saving {
    uv_work_t work;
    struct sc_engine *engine;
    enum sc_snapshot_kind kind;
    struct sc_model_spec *specs; /* copies */
    struct sc_snapshot_version *versions;
    unsigned n;
    int64_t wall_ms;
};

static struct saving *take(struct sc_engine *e, enum sc_snapshot_kind kind)
{
    struct saving *k = sc_alloc(sizeof *k);
    unsigned all = 0;
    for (unsigned i = 0; i < e->nmodels; i++)
        all += e->models[i]->nversions;
    k->engine = e;
    k->kind = kind;
    k->wall_ms = sc_wall_ms();
    k->specs = sc_alloc_array(all + 1, sizeof *k->specs);
    k->versions = sc_alloc_array(all + 1, sizeof *k->versions);
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned v = 0; v < e->models[i]->nversions; v++) {
            const struct sc_version *version = e->models[i]->versions[v];
            if (version->unregistering || version->spec.workflow) /* TorchServe leaves these out */
                continue;
            sc_spec_copy(&k->specs[k->n], &version->spec);
            k->versions[k->n].spec = &k->specs[k->n];
            k->versions[k->n].is_default = version == e->models[i]->def;
            k->n++;
        }
    return k;
}

static void save(struct saving *k)
{
    struct sc_msg msg = {""};
    int rc = SC_EEXIST;
    for (int i = 0; rc == SC_EEXIST && i < NAME_TRIES; i++)
        rc = sc_snapshot_save(k->engine->spec.settings, k->kind, k->versions, k->n, k->wall_ms + i, &msg);
    if (rc < 0)
        sc_log(SC_LOG_ERROR, "the snapshot cannot be written: %s", msg.text);
}

static void saving_free(struct saving *k)
{
    for (unsigned i = 0; i < k->n; i++)
        sc_spec_free(&k->specs[i]);
    free(k->specs);
    free(k->versions);
    free(k);
}

static void save_work(uv_work_t *work)
{
    save(work->data);
}

static void begin(struct sc_engine *e, struct saving *k);

static void saved(uv_work_t *work, int status)
{
    struct saving *k = work->data;
    struct sc_engine *e = k->engine;
    (void)status;
    saving_free(k);
    e->saving = false;
    if (e->save_again) {
        e->save_again = false;
        begin(e, take(e, SC_SNAPSHOT_CHANGE));
    }
}

static void begin(struct sc_engine *e, struct saving *k)
{
    e->saving = true;
    k->work.data = k;
    uv_queue_work(&sc_engine_loop(e, 0)->uv, &k->work, save_work, saved);
}

void sc_engine_snapshot(struct sc_engine *e, enum sc_snapshot_kind kind)
{
    if (!e->spec.settings->snapshots || !e->started || e->closed)
        return;
    if (kind == SC_SNAPSHOT_SHUTDOWN) {
        /* Nothing runs any more that could be held up. */
        struct saving *k = take(e, kind);
        save(k);
        saving_free(k);
    } else if (e->saving) {
        e->save_again = true; /* one file for all changes until then */
    } else {
        begin(e, take(e, kind));
    }
}
