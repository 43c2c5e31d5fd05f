/*
 * More or fewer lanes in an executor that runs. Loop 0.
 *
 * An order has two parts: what the slot's lives begin with from now on (the supervisor keeps it, and gives it
 * to a new frontend), and, to an executor that serves, how many lanes it is to have. It answers when it has
 * them: lanes that are too many finish their batches first. What cannot be made is not: it says why, stays as
 * it is, and so do the lives to come.
 */
#include <jansson.h>

#include "base/log.h"
#include "model/engine_private.h"
#include "model/sharing.h"

void sc_lanes_number(struct sc_worker *w, unsigned from)
{
    for (unsigned i = from; i < w->lanes_wanted; i++)
        w->ids[i] = w->version->engine->next_worker_id++;
    w->first_id = w->ids[0];
}

static void order(struct sc_worker *w)
{
    struct sc_ctl_lanes o = {
        .slot = w->slot, .lanes = w->lanes_wanted, .life = w->life, .order = ++w->lanes_order};
    sc_board_use(w->att->board, SC_MAX(sc_board_lanes(w->att->board), o.lanes));
    sc_line_send(w->version->engine, SC_CTL_LANES, sc_span(&o, sizeof o), sc_span(NULL, 0), NULL, 0);
}

void sc_lanes_scale(struct sc_worker *w, unsigned lanes)
{
    unsigned had = w->lanes_wanted;
    w->lanes_wanted = lanes;
    if (lanes > had) {
        sc_lanes_number(w, had);
        sc_sharing_again(w);
    }
    if (w->held) { /* it begins with them */
        w->lanes = lanes;
        return;
    }
    sc_worker_send_change(w);
    if (w->loaded)
        order(w);
}

void sc_lanes_inherit(struct sc_worker *w, struct sc_worker *dead)
{
    memcpy(w->ids, dead->ids, sizeof w->ids);
    w->first_id = dead->first_id;
    w->lanes_wanted = dead->lanes_wanted;
    dead->first_id = dead->ids[0] = 0;
    dead->lanes = dead->lanes_wanted = 1;
    sc_worker_send_change(w);
    sc_worker_send_change(dead);
    if (w->lanes != w->lanes_wanted)
        order(w);
}

/* It has fewer than it should: nobody tries again until the model is scaled again. */
static void refused(struct sc_worker *w, const char *why)
{
    struct sc_version *v = w->version;
    sc_log(SC_LOG_ERROR, "model %s: it stays at %u workers: %s", v->spec.name, w->lanes, why);
    w->lanes_wanted = w->lanes;
    sc_worker_send_change(w);
    sc_registry_workers_changed(v, SC_ENOMEM, why);
}

void sc_lanes_told(struct sc_worker *w, struct sc_span facts)
{
    struct sc_version *v = w->version;
    json_t *j = json_loadb(facts.p ? facts.p : "", facts.n, 0, NULL);
    json_int_t lanes = json_integer_value(json_object_get(j, "lanes"));
    uint32_t number = (uint32_t)json_integer_value(json_object_get(j, "order"));
    const char *why = json_string_value(json_object_get(j, "refused"));
    unsigned had = w->lanes;
    if (lanes >= 1 && lanes <= SC_LANES_MAX)
        w->lanes = (unsigned)lanes;
    if (w->loaded && w->lanes != had) {
        sc_attachment_credit(w->att, (long long)w->lanes - had);
        sc_log(SC_LOG_INFO, "model %s version %s: %u worker%s now, pid %d", v->spec.name, v->spec.version,
               w->lanes, w->lanes == 1 ? "" : "s", w->pid);
    }
    if (!w->loaded)
        w->lanes_order = 0; /* of an earlier life */
    if (!w->loaded && w->lanes != w->lanes_wanted && !w->quarantine)
        order(w);
    else if (w->loaded && why && number == w->lanes_order)
        refused(w, why);
    else if (w->loaded)
        sc_registry_workers_changed(v, 0, "");
    json_decref(j);
}
