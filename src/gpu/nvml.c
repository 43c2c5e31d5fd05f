#include "gpu/nvml.h"

#include <dlfcn.h>
#include <stdlib.h>

#define LIBRARY "libnvidia-ml.so.1"

struct symbol {
    const char *name;
    size_t offset;
    bool optional;
};

static const struct symbol symbols[] = {
    {"nvmlInit_v2", offsetof(struct sc_nvml, init), false},
    {"nvmlShutdown", offsetof(struct sc_nvml, shutdown), false},
    {"nvmlErrorString", offsetof(struct sc_nvml, error), false},
    {"nvmlDeviceGetCount_v2", offsetof(struct sc_nvml, count), false},
    {"nvmlDeviceGetHandleByIndex_v2", offsetof(struct sc_nvml, handle), false},
    {"nvmlDeviceGetUUID", offsetof(struct sc_nvml, uuid), false},
    {"nvmlDeviceGetName", offsetof(struct sc_nvml, name), false},
    {"nvmlDeviceGetMemoryInfo", offsetof(struct sc_nvml, memory), false},
    {"nvmlDeviceGetUtilizationRates", offsetof(struct sc_nvml, utilization), false},
    {"nvmlDeviceGetMemoryInfo_v2", offsetof(struct sc_nvml, memory_v2), true},
    {"nvmlDeviceGetComputeRunningProcesses_v3", offsetof(struct sc_nvml, processes), true},
    {"nvmlDeviceGetMPSComputeRunningProcesses_v3", offsetof(struct sc_nvml, mps_processes), true},
    {"nvmlDeviceGetComputeMode", offsetof(struct sc_nvml, compute_mode), true},
    {"nvmlDeviceGetMigMode", offsetof(struct sc_nvml, mig_mode), true},
    {"nvmlDeviceGetMaxMigDeviceCount", offsetof(struct sc_nvml, mig_count), true},
    {"nvmlDeviceGetMigDeviceHandleByIndex", offsetof(struct sc_nvml, mig_handle), true},
    {"nvmlDeviceGetPowerUsage", offsetof(struct sc_nvml, power), true},
    {"nvmlDeviceGetEnforcedPowerLimit", offsetof(struct sc_nvml, power_limit), true},
    {"nvmlSystemGetDriverVersion", offsetof(struct sc_nvml, driver), true},
    {"nvmlDeviceGetTotalEccErrors", offsetof(struct sc_nvml, ecc), true},
    {"nvmlDeviceGetRemappedRows", offsetof(struct sc_nvml, remapped), true},
    {"nvmlEventSetCreate", offsetof(struct sc_nvml, event_set), true},
    {"nvmlDeviceRegisterEvents", offsetof(struct sc_nvml, event_register), true},
    {"nvmlEventSetWait_v2", offsetof(struct sc_nvml, event_wait), true},
    {"nvmlEventSetFree", offsetof(struct sc_nvml, event_free), true},
    {"nvmlGpmQueryDeviceSupport", offsetof(struct sc_nvml, gpm_support), true},
    {"nvmlGpmSampleAlloc", offsetof(struct sc_nvml, gpm_alloc), true},
    {"nvmlGpmSampleFree", offsetof(struct sc_nvml, gpm_free), true},
    {"nvmlGpmSampleGet", offsetof(struct sc_nvml, gpm_get), true},
    {"nvmlGpmMetricsGet", offsetof(struct sc_nvml, gpm_metrics), true},
};

/* The name of a function that is missing, or NULL. */
static const char *find_symbols(struct sc_nvml *n)
{
    for (size_t i = 0; i < SC_COUNT(symbols); i++) {
        void *at = dlsym(n->library, symbols[i].name);
        if (!at && !symbols[i].optional)
            return symbols[i].name;
        *(void **)(void *)((char *)n + symbols[i].offset) = at;
    }
    return NULL;
}

int sc_nvml_open(struct sc_nvml *n, struct sc_msg *msg)
{
    const char *path = getenv(SC_ENV_NVML);
    if (!path || !*path)
        path = LIBRARY;
    *n = (struct sc_nvml){.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!n->library)
        return sc_fail(msg, SC_ENOTFOUND, "%s", dlerror());
    const char *missing = find_symbols(n);
    nvmlReturn_t r = missing ? NVML_SUCCESS : n->init();
    if (!missing && r == NVML_SUCCESS)
        return 0;
    int rc = missing ? sc_fail(msg, SC_EUNSUPPORTED, "%s has no function %s: the NVIDIA driver is too old",
                               path, missing)
                     : sc_fail(msg, SC_ESYS, "%s: %s", path, n->error(r));
    dlclose(n->library);
    *n = (struct sc_nvml){0};
    return rc;
}

void sc_nvml_close(struct sc_nvml *n)
{
    if (!n->library)
        return;
    n->shutdown();
    dlclose(n->library);
    *n = (struct sc_nvml){0};
}
