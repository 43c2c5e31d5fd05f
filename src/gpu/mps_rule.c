#include "gpu/mps_rule.h"

#include "gpu/report.h"

static enum sc_mps_way say(enum sc_mps_way way, const char **why, const char *text)
{
    *why = text;
    return way;
}

static enum sc_mps_way manage(const struct sc_mps_facts *f, const char **why, const char *text)
{
    if (f->mig == 1)
        return say(SC_WAY_OFF, why, "the GPU is divided by MIG, where managed MPS is not offered");
    if (!f->program)
        return say(SC_WAY_OFF, why, "nvidia-cuda-mps-control is not in PATH");
    if (f->broken)
        return say(SC_WAY_OFF, why, "its daemon could not be had");
    return say(SC_WAY_MANAGED, why, text);
}

enum sc_mps_way sc_mps_decide(const struct sc_mps_facts *f, const char **why)
{
    if (f->must_manage)
        return manage(f, why, "mps=managed");
    if (f->must_watch)
        return f->external ? say(SC_WAY_EXTERNAL, why, "mps=external")
                           : say(SC_WAY_OFF, why, f->obstacle ? f->obstacle : "no MPS daemon lives");
    if (f->managed)
        return say(SC_WAY_MANAGED, why, "it stays until the GPU has no worker");
    if (f->external)
        return say(SC_WAY_EXTERNAL, why, "somebody's MPS daemon lives");
    if (f->compute_mode == SC_COMPUTE_EXCLUSIVE_PROCESS)
        return manage(f, why, "the GPU is in EXCLUSIVE_PROCESS mode");
    if (f->recorded >= 0)
        return f->recorded ? manage(f, why, "measured as faster for what is placed there")
                           : say(SC_WAY_OFF, why, "measured as slower for what is placed there");
    if (f->models == 1 && f->processes >= 2)
        return manage(f, why, "two or more processes of one model, and no other model, share the GPU");
    return say(SC_WAY_OFF, why, "nothing speaks for MPS");
}
