/*
 * Python models with sharedWeights: what their workers share, and what happens when a handler writes to it.
 * Loop 0.
 *
 * The worker does the sharing (ts/_runtime/weights.py), the supervisor keeps the memory. On a GPU a write to
 * a shared weight ends the worker's context, under MPS everybody's: a model whose handler does that goes on
 * with private copies until it is registered again.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "model/engine_private.h"

#define EXIT_WROTE 87 /* ts/_runtime/main.py */

void sc_weights_told(struct sc_worker *w, struct sc_span text)
{
    w->shared_bytes = 0;
    w->unshared[0] = '\0';
    if (!w->version->spec.shared_weights)
        return;
    json_t *j = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    const json_t *told = json_object_get(j, "sharedWeights");
    const char *why = json_string_value(json_object_get(told, "why"));
    json_int_t bytes = json_integer_value(json_object_get(told, "bytes"));
    w->shared_bytes = bytes > 0 ? bytes : 0;
    snprintf(w->unshared, sizeof w->unshared, "%s", why ? why : "");
    json_decref(j);
}

void sc_weights_exited(struct sc_worker *w, int wait_status)
{
    struct sc_version *v = w->version;
    if (!w->shares || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != EXIT_WROTE)
        return;
    if (w->att)
        w->att->excused = true;
    if (v->spec.shared_weights == SC_WEIGHTS_SHARED) {
        v->spec.shared_weights = SC_WEIGHTS_LOST;
        sc_log(
            SC_LOG_ERROR,
            "model %s: its handler wrote to weights that are shared, in worker %u, which ended it; the "
            "requests "
            "are run again, and every worker of the model gets weights of its own. Have the handler write to "
            "copies, or take sharedWeights out of model-config.yaml",
            v->spec.name, w->first_id);
        sc_record_all(v->engine);
    }
}

void sc_weights_replace(struct sc_worker *w)
{
    struct sc_version *v = w->version;
    if (!w->shares || v->spec.shared_weights != SC_WEIGHTS_LOST || w->stopping || w->loaded)
        return;
    sc_worker_stop(w, false);
    if (!w->quarantine && !v->unregistering) /* for suspects there will be another */
        sc_workers_reconcile(v);
}

/* Those that serve, one after the other. */
static void roll(struct sc_version *v)
{
    struct sc_worker *next = NULL;
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->stopping || w->draining)
            continue;
        if (!w->quarantine && !w->loaded && !w->given_up)
            return;
        if (w->shares && w->loaded && !next)
            next = w;
    }
    if (!next)
        return;
    sc_log(SC_LOG_INFO, "model %s: worker %u is replaced by one with weights of its own", v->spec.name,
           next->first_id);
    sc_worker_stop(next, true);
    sc_workers_reconcile(v);
}

void sc_weights_tick(struct sc_engine *e)
{
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++) {
            struct sc_version *v = e->models[i]->versions[k];
            if (v->spec.shared_weights == SC_WEIGHTS_LOST && !v->unregistering)
                roll(v);
        }
}

const char *sc_weights_state(const struct sc_worker *w, const char **why)
{
    int wanted = w->version->spec.shared_weights;
    *why = w->unshared;
    if (wanted == SC_WEIGHTS_PRIVATE || !w->loaded)
        return NULL;
    if (wanted == SC_WEIGHTS_LOST)
        *why = "the handler wrote to shared weights";
    return w->shared_bytes ? "shared" : "private";
}
