#include "cuda/driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define LIBRARY "libcuda.so.1"

struct symbol {
    const char *name;
    size_t offset;
};

#define SYMBOL(field, name) {name, offsetof(struct sc_cuda, field)}
static const struct symbol symbols[] = {
    SYMBOL(Init, "cuInit"),
    SYMBOL(DriverGetVersion, "cuDriverGetVersion"),
    SYMBOL(GetErrorName, "cuGetErrorName"),
    SYMBOL(GetErrorString, "cuGetErrorString"),
    SYMBOL(DeviceGetCount, "cuDeviceGetCount"),
    SYMBOL(DeviceGet, "cuDeviceGet"),
    SYMBOL(DeviceGetName, "cuDeviceGetName"),
    SYMBOL(DeviceGetUuid, "cuDeviceGetUuid_v2"),
    SYMBOL(DeviceGetAttribute, "cuDeviceGetAttribute"),
    SYMBOL(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain"),
    SYMBOL(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2"),
    SYMBOL(CtxSetCurrent, "cuCtxSetCurrent"),
    SYMBOL(StreamPriorities, "cuCtxGetStreamPriorityRange"),
    SYMBOL(MemGetInfo, "cuMemGetInfo_v2"),
    SYMBOL(MemAlloc, "cuMemAlloc_v2"),
    SYMBOL(MemFree, "cuMemFree_v2"),
    SYMBOL(MemHostAlloc, "cuMemHostAlloc"),
    SYMBOL(MemFreeHost, "cuMemFreeHost"),
    SYMBOL(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2"),
    SYMBOL(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2"),
    SYMBOL(MemsetD8Async, "cuMemsetD8Async"),
    SYMBOL(StreamCreate, "cuStreamCreateWithPriority"),
    SYMBOL(StreamDestroy, "cuStreamDestroy_v2"),
    SYMBOL(StreamSynchronize, "cuStreamSynchronize"),
    SYMBOL(StreamBeginCapture, "cuStreamBeginCapture_v2"),
    SYMBOL(StreamEndCapture, "cuStreamEndCapture"),
    SYMBOL(EventCreate, "cuEventCreate"),
    SYMBOL(EventDestroy, "cuEventDestroy_v2"),
    SYMBOL(EventRecord, "cuEventRecord"),
    SYMBOL(EventQuery, "cuEventQuery"),
    SYMBOL(EventSynchronize, "cuEventSynchronize"),
    SYMBOL(EventElapsedTime, "cuEventElapsedTime"),
    SYMBOL(GraphInstantiate, "cuGraphInstantiateWithFlags"),
    SYMBOL(GraphUpload, "cuGraphUpload"),
    SYMBOL(GraphLaunch, "cuGraphLaunch"),
    SYMBOL(GraphExecDestroy, "cuGraphExecDestroy"),
    SYMBOL(GraphDestroy, "cuGraphDestroy"),
    SYMBOL(ModuleLoadData, "cuModuleLoadData"),
    SYMBOL(ModuleUnload, "cuModuleUnload"),
    SYMBOL(ModuleGetFunction, "cuModuleGetFunction"),
    SYMBOL(FuncSetAttribute, "cuFuncSetAttribute"),
    SYMBOL(LaunchKernelEx, "cuLaunchKernelEx"),
    SYMBOL(MemGetAllocationGranularity, "cuMemGetAllocationGranularity"),
    SYMBOL(MemCreate, "cuMemCreate"),
    SYMBOL(MemRelease, "cuMemRelease"),
    SYMBOL(MemAddressReserve, "cuMemAddressReserve"),
    SYMBOL(MemAddressFree, "cuMemAddressFree"),
    SYMBOL(MemMap, "cuMemMap"),
    SYMBOL(MemUnmap, "cuMemUnmap"),
    SYMBOL(MemSetAccess, "cuMemSetAccess"),
    SYMBOL(MemExportToShareableHandle, "cuMemExportToShareableHandle"),
    SYMBOL(MemImportFromShareableHandle, "cuMemImportFromShareableHandle"),
};

/* The name of a function that is missing, or NULL. */
static const char *find_symbols(struct sc_cuda *c)
{
    for (size_t i = 0; i < SC_COUNT(symbols); i++) {
        void *at = dlsym(c->library, symbols[i].name);
        if (!at)
            return symbols[i].name;
        *(void **)(void *)((char *)c + symbols[i].offset) = at;
    }
    return NULL;
}

static int too_old(const char *have, int least, struct sc_msg *msg)
{
    return sc_fail(
        msg, SC_EUNSUPPORTED,
        "The NVIDIA driver is too old (%s): the GPU encoder needs CUDA %d.%d%s; update the driver, "
        "or set device: cpu",
        have, least / 1000, least % 1000 / 10, least >= 13000 ? ", driver 580 or newer" : "");
}

static int bring_up(struct sc_cuda *c, int least, struct sc_msg *msg)
{
    char have[64];
    int version = 0, devices = 0;
    const char *missing = find_symbols(c);
    if (missing) {
        snprintf(have, sizeof have, "it has no %s", missing);
        return too_old(have, least, msg);
    }
    /* Before Init: an old driver may fail there for reasons that its age explains. */
    if (c->DriverGetVersion(&version) == CUDA_SUCCESS && version < least) {
        snprintf(have, sizeof have, "CUDA %d.%d", version / 1000, version % 1000 / 10);
        return too_old(have, least, msg);
    }
    CUresult r = c->Init(0);
    if (r == CUDA_SUCCESS)
        r = c->DeviceGetCount(&devices);
    if (r == CUDA_ERROR_NO_DEVICE || (r == CUDA_SUCCESS && devices == 0))
        return sc_fail(msg, SC_ENOTFOUND,
                       "The NVIDIA driver sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or set "
                       "device: cpu");
    return sc_cuda_check(c, r, "The NVIDIA driver does not come up", msg);
}

int sc_cuda_open(struct sc_cuda *c, int least, struct sc_msg *msg)
{
    const char *path = getenv(SC_ENV_CUDA);
    if (!path || !*path)
        path = LIBRARY;
    *c = (struct sc_cuda){.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!c->library)
        return sc_fail(
            msg, SC_ENOTFOUND,
            "There is no NVIDIA driver here (%s); install it (CUDA %d.%d or newer), or set device: cpu",
            dlerror(), least / 1000, least % 1000 / 10);
    int rc = bring_up(c, least, msg);
    if (rc < 0)
        sc_cuda_close(c);
    return rc;
}

void sc_cuda_close(struct sc_cuda *c)
{
    *c = (struct sc_cuda){0};
}

int sc_cuda_check(const struct sc_cuda *c, CUresult r, const char *what, struct sc_msg *msg)
{
    const char *name = NULL, *text = NULL;
    if (r == CUDA_SUCCESS)
        return 0;
    if (c->GetErrorName(r, &name) != CUDA_SUCCESS || !name)
        name = "unknown error";
    if (c->GetErrorString(r, &text) != CUDA_SUCCESS || !text)
        text = "";
    return sc_fail(msg, r == CUDA_ERROR_OUT_OF_MEMORY ? SC_ENOMEM : SC_ESYS, "%s: %s (%d) %s", what, name, r,
                   text);
}
