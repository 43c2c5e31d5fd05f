/*
 * A CUDA driver of our own for tests: SCONCE_CUDA names it. It comes up, tells of GPUs, and computes nothing.
 * FAKE_CUDA in its environment says of what kind they are: version=N (13000), gpus=N (1), capability=N (90),
 * fail=CODE of cuInit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { NOT_SUPPORTED = 801 };

static int word(const char *key, int fallback)
{
    const char *all = getenv("FAKE_CUDA"), *at = all ? strstr(all, key) : NULL;
    return at ? atoi(at + strlen(key)) : fallback;
}

EXPORT int cuInit(unsigned flags);
int cuInit(unsigned flags)
{
    (void)flags;
    return word("fail=", 0);
}

EXPORT int cuDriverGetVersion(int *v);
int cuDriverGetVersion(int *v)
{
    *v = word("version=", 13000);
    return 0;
}

EXPORT int cuDeviceGetCount(int *n);
int cuDeviceGetCount(int *n)
{
    *n = word("gpus=", 1);
    return 0;
}

EXPORT int cuDeviceGet(int *device, int index);
int cuDeviceGet(int *device, int index)
{
    *device = index;
    return index < word("gpus=", 1) ? 0 : 101;
}

EXPORT int cuDeviceGetName(char *name, int size, int device);
int cuDeviceGetName(char *name, int size, int device)
{
    snprintf(name, (size_t)size, "Paper GPU %d", device);
    return 0;
}

EXPORT int cuDeviceGetUuid_v2(void *uuid, int device);
int cuDeviceGetUuid_v2(void *uuid, int device)
{
    memset(uuid, device, 16);
    return 0;
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    int capability = word("capability=", 90);
    (void)device;
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1;
    return 0;
}

EXPORT int cuGetErrorName(int code, const char **name);
int cuGetErrorName(int code, const char **name)
{
    *name = code == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_SOMETHING";
    return 0;
}

EXPORT int cuGetErrorString(int code, const char **text);
int cuGetErrorString(int code, const char **text)
{
    (void)code;
    *text = "as the test wants it";
    return 0;
}

/* All that is not reached without a real GPU. */
#define NOTHING(name)         \
    EXPORT int name(void);    \
    int name(void)            \
    {                         \
        return NOT_SUPPORTED; \
    }
NOTHING(cuDevicePrimaryCtxRetain)
NOTHING(cuDevicePrimaryCtxRelease_v2)
NOTHING(cuCtxSetCurrent)
NOTHING(cuMemGetInfo_v2)
NOTHING(cuMemAlloc_v2)
NOTHING(cuMemFree_v2)
NOTHING(cuMemHostAlloc)
NOTHING(cuMemFreeHost)
NOTHING(cuMemcpyHtoDAsync_v2)
NOTHING(cuMemcpyDtoHAsync_v2)
NOTHING(cuMemsetD8Async)
NOTHING(cuCtxGetStreamPriorityRange)
NOTHING(cuStreamCreateWithPriority)
NOTHING(cuStreamDestroy_v2)
NOTHING(cuStreamSynchronize)
NOTHING(cuStreamBeginCapture_v2)
NOTHING(cuStreamEndCapture)
NOTHING(cuEventCreate)
NOTHING(cuEventDestroy_v2)
NOTHING(cuEventRecord)
NOTHING(cuEventQuery)
NOTHING(cuEventSynchronize)
NOTHING(cuEventElapsedTime)
NOTHING(cuGraphInstantiateWithFlags)
NOTHING(cuGraphUpload)
NOTHING(cuGraphLaunch)
NOTHING(cuGraphExecDestroy)
NOTHING(cuGraphDestroy)
NOTHING(cuModuleLoadData)
NOTHING(cuModuleUnload)
NOTHING(cuModuleGetFunction)
NOTHING(cuFuncSetAttribute)
NOTHING(cuLaunchKernelEx)
NOTHING(cuMemGetAllocationGranularity)
NOTHING(cuMemCreate)
NOTHING(cuMemRelease)
NOTHING(cuMemAddressReserve)
NOTHING(cuMemAddressFree)
NOTHING(cuMemMap)
NOTHING(cuMemUnmap)
NOTHING(cuMemSetAccess)
NOTHING(cuMemExportToShareableHandle)
NOTHING(cuMemImportFromShareableHandle)
