/*
 * Whether GPUs are to be used, from what NVML tells between two reports: XIDs, uncorrected errors of the
 * memory, GPUs that are lost. What was once found wrong with a GPU stays so until the process that watches
 * ends: what mends a GPU, a reset, needs every process off it.
 *
 * In the agent alone (nvml.h): every call may block for good.
 */
#ifndef SC_GPU_HEALTH_H
#define SC_GPU_HEALTH_H

#include "gpu/nvml.h"
#include "gpu/report.h"

struct sc_gpu_health {
    nvmlEventSet_t events; /* NULL: the driver tells none */
    struct sc_gpu_seen {
        bool known, registered;
        nvmlDevice_t device;
        char uuid[96], name[96];
        int64_t ecc_errors; /* at the first report */
        char trouble[96];
    } seen[SC_GPUS_MAX];
};

/* From zeroes. */
void sc_gpu_health_open(struct sc_gpu_health *h, const struct sc_nvml *n);
/* Completes a report that was just read: `trouble` of its GPUs, and the names of those that are lost. */
void sc_gpu_health_look(struct sc_gpu_health *h, const struct sc_nvml *n, struct sc_gpu_report *r);
void sc_gpu_health_close(struct sc_gpu_health *h, const struct sc_nvml *n);

/* True for an XID after which the GPU goes on as before: it ended a program, or was only noted (NVIDIA, "Xid
 * Errors", catalog: immediate action RESTART_APP, IGNORE or none). */
bool sc_gpu_xid_is_harmless(unsigned long long xid);

#endif
