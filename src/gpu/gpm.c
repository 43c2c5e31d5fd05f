#include "gpu/gpm.h"

static bool prepare(struct sc_gpm_gpu *g, const struct sc_nvml *n, nvmlDevice_t d)
{
    struct nvml_gpm_support support = {.version = NVML_GPM_VERSION};
    bool whole = n->gpm_support && n->gpm_alloc && n->gpm_free && n->gpm_get && n->gpm_metrics;
    g->state = SC_GPM_NONE;
    if (!whole || n->gpm_support(d, &support) != NVML_SUCCESS || !support.supported ||
        n->gpm_alloc(&g->samples[0]) != NVML_SUCCESS)
        return false;
    if (n->gpm_alloc(&g->samples[1]) != NVML_SUCCESS) {
        n->gpm_free(g->samples[0]);
        return false;
    }
    g->state = SC_GPM_READY;
    return true;
}

static int percent(const struct nvml_gpm_metric *m)
{
    bool told = m->result == NVML_SUCCESS && m->value >= 0 && m->value < 101;
    return told ? (int)SC_MIN(m->value + 0.5, 100.0) : SC_GPU_UNKNOWN;
}

static void compare(const struct sc_gpm_gpu *g, const struct sc_nvml *n, struct sc_gpu_info *out)
{
    struct nvml_gpm_metrics m = {.version = NVML_GPM_VERSION,
                                 .count = 2,
                                 .before = g->samples[!g->last],
                                 .after = g->samples[g->last],
                                 .metrics = {{.id = NVML_GPM_SM_UTIL}, {.id = NVML_GPM_DRAM_BW_UTIL}}};
    if (n->gpm_metrics(&m) != NVML_SUCCESS)
        return;
    out->sm_utilization = percent(&m.metrics[0]);
    out->bandwidth_utilization = percent(&m.metrics[1]);
}

static bool look_at(struct sc_gpm_gpu *g, const struct sc_nvml *n, struct sc_gpu_info *out)
{
    nvmlDevice_t d;
    if (g->state == SC_GPM_NONE || n->handle(out->index, &d) != NVML_SUCCESS)
        return false;
    if (g->state == SC_GPM_NEW && !prepare(g, n, d))
        return false;
    if (n->gpm_get(d, g->samples[!g->last]) != NVML_SUCCESS) {
        g->state = SC_GPM_READY;
        return false;
    }
    g->last = !g->last;
    bool first = g->state != SC_GPM_SAMPLED;
    if (!first)
        compare(g, n, out);
    g->state = SC_GPM_SAMPLED;
    return first;
}

bool sc_gpm_look(struct sc_gpm *m, const struct sc_nvml *n, struct sc_gpu_report *r)
{
    bool more = false;
    for (unsigned i = 0; i < r->ngpus; i++)
        if (r->gpus[i].mig != 1 && !*r->gpus[i].trouble)
            more |= look_at(&m->gpus[r->gpus[i].index], n, &r->gpus[i]);
    return more;
}

void sc_gpm_close(struct sc_gpm *m, const struct sc_nvml *n)
{
    for (unsigned i = 0; i < SC_GPUS_MAX; i++)
        for (unsigned k = 0; m->gpus[i].state >= SC_GPM_READY && k < 2; k++)
            n->gpm_free(m->gpus[i].samples[k]);
    *m = (struct sc_gpm){0};
}
