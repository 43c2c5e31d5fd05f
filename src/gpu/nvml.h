/*
 * The NVIDIA management library, loaded at run time.
 *
 * Its calls can hang with a driver in trouble: only processes that may be killed call it (the gpu agent and
 * the counting child, agent.h). One thread.
 */
#ifndef SC_GPU_NVML_H
#define SC_GPU_NVML_H

#include <stdint.h>

#include "base/array.h"
#include "base/error.h"

#define SC_ENV_NVML "SCONCE_NVML" /* path of a library to load in its place (tests) */

/* What the library calls them; its header is not needed to build. */
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef int nvmlReturn_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_GPU_IS_LOST = 15
};

/* nvmlEventTypeXidCriticalError */
#define NVML_EVENT_XID 8ull

typedef struct nvmlEventSet_st *nvmlEventSet_t;

struct nvml_event {
    nvmlDevice_t device;
    unsigned long long type, data; /* data: the XID */
    unsigned gpu_instance, compute_instance;
};

/* Counters of the GPU's parts: a sample is taken, two are compared. */
typedef struct nvmlGpmSample_st *nvmlGpmSample_t;
enum { NVML_GPM_VERSION = 1, NVML_GPM_SM_UTIL = 2, NVML_GPM_DRAM_BW_UTIL = 10 };

struct nvml_gpm_support {
    unsigned version, supported;
};

struct nvml_gpm_metric {
    unsigned id;
    nvmlReturn_t result;
    double value; /* percent */
    const char *names[3];
};

struct nvml_gpm_metrics {
    unsigned version, count;
    nvmlGpmSample_t before, after;
    struct nvml_gpm_metric metrics[2]; /* count of them; its own structure has room for all there are */
};

struct nvml_utilization {
    unsigned gpu, memory; /* percent of the last sampling period */
};

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_memory_v2 {
    unsigned version; /* NVML_MEMORY_V2 */
    unsigned long long total, reserved, free, used;
};
#define NVML_MEMORY_V2 ((unsigned)sizeof(struct nvml_memory_v2) | 2u << 24)

struct nvml_process {
    unsigned pid;
    unsigned long long memory; /* all bits set: not known */
    unsigned gpu_instance, compute_instance;
};

struct sc_nvml {
    void *library;
    nvmlReturn_t (*init)(void);
    nvmlReturn_t (*shutdown)(void);
    const char *(*error)(nvmlReturn_t);
    nvmlReturn_t (*count)(unsigned *);
    nvmlReturn_t (*handle)(unsigned, nvmlDevice_t *);
    nvmlReturn_t (*uuid)(nvmlDevice_t, char *, unsigned);
    nvmlReturn_t (*name)(nvmlDevice_t, char *, unsigned);
    nvmlReturn_t (*memory)(nvmlDevice_t, struct nvml_memory *);
    nvmlReturn_t (*utilization)(nvmlDevice_t, struct nvml_utilization *);
    /* Not in every driver: NULL there. */
    nvmlReturn_t (*memory_v2)(nvmlDevice_t, struct nvml_memory_v2 *);
    nvmlReturn_t (*processes)(nvmlDevice_t, unsigned *, struct nvml_process *);
    nvmlReturn_t (*mps_processes)(nvmlDevice_t, unsigned *, struct nvml_process *);
    nvmlReturn_t (*compute_mode)(nvmlDevice_t, int *);
    nvmlReturn_t (*mig_mode)(nvmlDevice_t, unsigned *current, unsigned *pending);
    nvmlReturn_t (*mig_count)(nvmlDevice_t, unsigned *);
    nvmlReturn_t (*mig_handle)(nvmlDevice_t, unsigned, nvmlDevice_t *);
    nvmlReturn_t (*power)(nvmlDevice_t, unsigned *mw);
    nvmlReturn_t (*power_limit)(nvmlDevice_t, unsigned *mw);
    nvmlReturn_t (*driver)(char *, unsigned);
    nvmlReturn_t (*ecc)(nvmlDevice_t, int uncorrected, int aggregate, unsigned long long *);
    nvmlReturn_t (*remapped)(nvmlDevice_t, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                             unsigned *failed);
    nvmlReturn_t (*event_set)(nvmlEventSet_t *);
    nvmlReturn_t (*event_register)(nvmlDevice_t, unsigned long long types, nvmlEventSet_t);
    nvmlReturn_t (*event_wait)(nvmlEventSet_t, struct nvml_event *, unsigned timeout_ms);
    nvmlReturn_t (*event_free)(nvmlEventSet_t);
    nvmlReturn_t (*gpm_support)(nvmlDevice_t, struct nvml_gpm_support *);
    nvmlReturn_t (*gpm_alloc)(nvmlGpmSample_t *);
    nvmlReturn_t (*gpm_free)(nvmlGpmSample_t);
    nvmlReturn_t (*gpm_get)(nvmlDevice_t, nvmlGpmSample_t);
    nvmlReturn_t (*gpm_metrics)(struct nvml_gpm_metrics *);
};

/* Loads and initialises. SC_ENOTFOUND: there is no library, so no NVIDIA driver; SC_EUNSUPPORTED: a function
 * is missing; SC_ESYS: it does not come up; all with *msg and nothing to close. May block for good. */
int sc_nvml_open(struct sc_nvml *n, struct sc_msg *msg) SC_MUST_USE;
void sc_nvml_close(struct sc_nvml *n);

#endif
