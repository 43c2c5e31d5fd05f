#include "cuda/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUDA_LEAST 13000 /* what the kernels are compiled with, and cuBLASLt of that year */
#define CAPABILITY_LEAST 75

static int describe(struct sc_gpu *g, int index, struct sc_msg *msg)
{
    const struct sc_cuda *c = &g->cuda;
    int major = 0, minor = 0, shareable = 0;
    CUresult r = c->DeviceGet(&g->device, index);
    if (r == CUDA_SUCCESS)
        r = c->DeviceGetName(g->name, sizeof g->name, g->device);
    if (r == CUDA_SUCCESS)
        r = c->DeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, g->device);
    if (r == CUDA_SUCCESS)
        r = c->DeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, g->device);
    if (r == CUDA_SUCCESS)
        r = c->DeviceGetAttribute(&shareable, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
                                  g->device);
    if (r == CUDA_SUCCESS)
        r = c->DeviceGetUuid(&g->uuid, g->device);
    if (r == CUDA_SUCCESS)
        r = c->DriverGetVersion(&g->driver);
    char what[64];
    snprintf(what, sizeof what, "GPU %d", index);
    int rc = sc_cuda_check(c, r, what, msg);
    if (rc < 0)
        return rc;
    g->capability = 10 * major + minor;
    g->shareable = shareable;
    g->bf16 = g->capability >= 80;
    if (g->capability < CAPABILITY_LEAST)
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "GPU %d (%s) has compute capability %d.%d: the GPU encoder needs %d.%d (Turing) or newer; "
            "set device: cpu",
            index, g->name, major, minor, CAPABILITY_LEAST / 10, CAPABILITY_LEAST % 10);
    return 0;
}

static int load_kernels(struct sc_gpu *g, struct sc_msg *msg)
{
    const struct sc_cuda *c = &g->cuda;
    const char *wanted = getenv(SC_ENV_GPU_KERNELS);
    bool generic = wanted && strcmp(wanted, "generic") == 0;
    size_t size = 0;
    const void *image = NULL;
    if (g->capability == 90 && !generic)
        image = sc_cu_image_sm90(&size);
    g->dependent_launch = image != NULL;
    if (!image)
        image = sc_cu_image_generic(&size);
    if (!image)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "This program was built without GPU kernels (its build had no nvcc); set device: cpu");
    CUresult r = c->ModuleLoadData(&g->module, image);
    if (r == CUDA_ERROR_NO_BINARY_FOR_GPU)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "The program holds no GPU kernels for %s (compute capability %d.%d); set device: cpu",
                       g->name, g->capability / 10, g->capability % 10);
    int rc = sc_cuda_check(c, r, "Loading the GPU kernels", msg);
    for (int i = 0; rc == 0 && i < SC_CU_KERNEL_COUNT; i++) {
        if (c->ModuleGetFunction(&g->function[i], g->module, sc_cu_kernel_name(i)) != CUDA_SUCCESS)
            g->function[i] = NULL;
        else if (sc_cu_wants_much(i))
            rc = sc_cuda_check(c,
                               c->FuncSetAttribute(g->function[i],
                                                   CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                   (int)SC_CU_SHARED_MOST),
                               sc_cu_kernel_name(i), msg);
    }
    int multiprocessors = 0;
    if (rc == 0 && g->dependent_launch)
        rc = sc_cuda_check(
            c, c->DeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, g->device),
            g->name, msg);
    g->multiprocessors = (uint32_t)multiprocessors;
    return rc;
}

int sc_gpu_open(struct sc_gpu *g, int index, struct sc_laps *laps, struct sc_msg *msg)
{
    *g = (struct sc_gpu){0};
    int rc = sc_cuda_open(&g->cuda, CUDA_LEAST, msg);
    sc_lap(laps, "driver");
    if (rc < 0)
        return rc;
    rc = describe(g, index, msg);
    if (rc == 0)
        rc = sc_cuda_check(&g->cuda, g->cuda.DevicePrimaryCtxRetain(&g->context, g->device), g->name, msg);
    if (rc == 0)
        rc = sc_cuda_check(&g->cuda, g->cuda.CtxSetCurrent(g->context), g->name, msg);
    sc_lap(laps, "context");
    if (rc == 0)
        rc = load_kernels(g, msg);
    sc_lap(laps, "kernels");
    if (rc < 0)
        sc_gpu_close(g);
    return rc;
}

void sc_gpu_close(struct sc_gpu *g)
{
    if (g->module)
        g->cuda.ModuleUnload(g->module);
    if (g->context)
        g->cuda.DevicePrimaryCtxRelease(g->device);
    sc_cuda_close(&g->cuda);
    *g = (struct sc_gpu){0};
}

int sc_gpu_enter(const struct sc_gpu *g)
{
    return g->cuda.CtxSetCurrent(g->context) == CUDA_SUCCESS ? 0 : SC_ESYS;
}

int sc_gpu_launch(const struct sc_gpu *g, CUstream s, struct sc_cu_launch l, const void *args)
{
    struct CUlaunchAttribute early = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                      .value.programmaticStreamSerializationAllowed = 1};
    struct CUlaunchConfig config = {
        .gridDimX = l.grid[0],
        .gridDimY = l.grid[1],
        .gridDimZ = l.grid[2],
        .blockDimX = l.block,
        .blockDimY = 1,
        .blockDimZ = 1,
        .sharedMemBytes = l.shared,
        .hStream = s,
        .attrs = &early,
        .numAttrs = g->dependent_launch,
    };
    /* The driver only reads what the pointer shows. */
    void *parameters[] = {(void *)(uintptr_t)args};
    if (!g->function[l.kernel])
        return SC_EUNSUPPORTED;
    return g->cuda.LaunchKernelEx(&config, g->function[l.kernel], parameters, NULL) == CUDA_SUCCESS ? 0
                                                                                                    : SC_ESYS;
}
