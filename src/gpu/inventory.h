/* The GPUs as NVML has them at this moment. In processes that may be killed only (nvml.h). */
#ifndef SC_GPU_INVENTORY_H
#define SC_GPU_INVENTORY_H

#include "gpu/nvml.h"
#include "gpu/report.h"

/* Number of GPUs, at most SC_GPUS_MAX; SC_ESYS with *msg. May block for good. */
int sc_inventory_count(const struct sc_nvml *n, struct sc_msg *msg) SC_MUST_USE;
/* Fills *r: what a GPU does not tell is unknown, a GPU that does not answer at all is left out; an error of
 * the whole is r->error. May block for good. */
void sc_inventory_read(const struct sc_nvml *n, struct sc_gpu_report *r);

#endif
