/*
 * standby: true: a second executor of a native model that has loaded, with one lane, and serves nobody. Loop
 * 0.
 *
 * When the one that serves dies, they change their parts: the loops are told of the other, which gets its
 * lanes and their ids, and the slot of the dead, whose next life the supervisor starts anyway, stands by.
 */
#include <string.h>

#include "base/log.h"
#include "model/engine_private.h"

/* The one that counts: standby or serving; the newest. */
static struct sc_worker *find(const struct sc_version *v, bool standby)
{
    struct sc_worker *found = NULL;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (!w->quarantine && w->standby == standby && !w->stopping && !w->draining &&
            (!found || w->first_id > found->first_id))
            found = w;
    }
    return found;
}

void sc_standby_keep(struct sc_version *v)
{
    bool wanted = v->spec.mps.standby && v->spec.max_workers > 0 && !v->unregistering;
    struct sc_worker *w = find(v, true), *serves = find(v, false);
    if (w && (!wanted || w->given_up)) {
        sc_worker_stop(w, false);
        w = NULL;
    }
    if (!wanted || w || !serves || !serves->loaded)
        return;
    if (!sc_worker_start_standby(v, serves->gpu_id))
        sc_log(SC_LOG_ERROR, "model %s: none can stand by: %d workers run, which is the most", v->spec.name,
               SC_SLOTS_MAX);
}

static void change_parts(struct sc_worker *w, struct sc_worker *dead)
{
    struct sc_version *v = w->version;
    w->standby = false;
    dead->standby = true;
    w->recovering_ms = dead->recovering_ms;
    dead->recovering_ms = 0;
    sc_lanes_inherit(w, dead);
    w->att->worker_id = w->first_id;
    sc_log(SC_LOG_INFO, "model %s: the executor that stood by serves now, pid %d", v->spec.name, w->pid);
}

bool sc_standby_takes_over(struct sc_worker *dead)
{
    struct sc_version *v = dead->version;
    struct sc_worker *w = find(v, true);
    if (!w || !w->loaded || !w->att || dead->draining || find(v, false) != dead)
        return false;
    change_parts(w, dead);
    sc_attachment_use(w->att);
    sc_standby_keep(v); /* the dead one may have been given up */
    sc_registry_workers_changed(v, 0, "");
    return true;
}

bool sc_standby_loaded(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    struct sc_worker *serves = find(v, false);
    if (serves && !serves->loaded && !serves->held && v->spec.mps.standby) {
        change_parts(w, serves);
        return true;
    }
    sc_log(SC_LOG_INFO, "model %s: an executor stands by, pid %d", v->spec.name, w->pid);
    return false;
}
