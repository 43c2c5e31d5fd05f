/*
 * How much of a GPU is busy, from its own counters (NVML's GPM, from Hopper on): `utilization` tells only
 * whether any kernel ran, which with several processes is nearly always. A figure is the mean since the look
 * before. In the agent alone (nvml.h): every call may block for good.
 */
#ifndef SC_GPU_GPM_H
#define SC_GPU_GPM_H

#include "gpu/nvml.h"
#include "gpu/report.h"

#define SC_GPM_LEAST_MS 120 /* between two looks; below 100 the counters may not have moved */

struct sc_gpm {
    struct sc_gpm_gpu {
        enum { SC_GPM_NEW, SC_GPM_NONE, SC_GPM_READY, SC_GPM_SAMPLED } state;
        nvmlGpmSample_t samples[2]; /* the latest is [last] */
        unsigned last;
    } gpus[SC_GPUS_MAX];
};

/* Completes a report that was just read: sm_utilization and bandwidth_utilization. From zeroes; true if a
 * second look will tell more of some GPU than this one has. */
bool sc_gpm_look(struct sc_gpm *m, const struct sc_nvml *n, struct sc_gpu_report *r);
void sc_gpm_close(struct sc_gpm *m, const struct sc_nvml *n);

#endif
