/*
 * executorGroup: native models whose executors share a process. Loop 0.
 *
 * What shares it is the supervisor's business (SC_START_GUEST): here a member is a worker like others, with a
 * slot and lives of its own. What ends the process ends the lives of all members; whose doing it was is known
 * of a load (they load one after the other), of a hang, and of a request that ended the quarantine worker,
 * too. Who has done it SC_GROUP_FAULTS_MAX times leaves the group with its next life, for the others' sake.
 */
#include <stdio.h>
#include <sys/wait.h>

#include "base/log.h"
#include "model/engine_private.h"

bool sc_group_has(const struct sc_worker *w)
{
    return w->version->spec.mps.group[0] && !w->quarantine && !w->version->ungrouped;
}

void sc_group_title(const struct sc_worker *w, char *out, size_t size)
{
    int n = snprintf(out, size, "sconce: executor group %s", w->version->spec.mps.group);
    if (w->gpu_id >= 0 && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, " gpu %d", w->gpu_id);
}

static bool has_process(void *pid, struct sc_worker *w)
{
    return w->pid == *(int *)pid;
}

bool sc_group_leads(struct sc_worker *w)
{
    return w->pid <= 0 || !sc_group_has(w) || sc_workers_each(w->version->engine, has_process, &w->pid) == w;
}

void sc_group_fault(struct sc_version *v)
{
    atomic_fetch_add(&v->group_faults, 1);
}

bool sc_group_exited(struct sc_worker *w, bool was_loaded, int wait_status)
{
    struct sc_version *v = w->version;
    bool said_why = WIFEXITED(wait_status) && w->failure[0]; /* its process has stayed */
    if (!sc_group_has(w))
        return false;
    if (!was_loaded && !said_why)
        v->group_load_deaths++;
    unsigned faults = SC_MAX(v->group_load_deaths, atomic_load(&v->group_faults));
    if (faults < SC_GROUP_FAULTS_MAX)
        return false;
    v->ungrouped = true;
    sc_log(
        SC_LOG_WARN,
        "model %s leaves the executor group %s, whose executor it has ended %u times: it has an executor of "
        "its own from now on, until it is registered again",
        v->spec.name, v->spec.mps.group, faults);
    return true;
}
