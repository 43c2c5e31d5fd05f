#include "lab.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call) check(call, #call, __LINE__)

static cudaLibrary_t library;
static cudaKernel_t kernels[SC_CU_KERNEL_COUNT];
static cudaStream_t stream;
static bool sm90;
static int capability;
static uint32_t multiprocessors;

static void check(cudaError_t e, const char *call, int line)
{
    if (e == cudaSuccess)
        return;
    fprintf(stderr, "device.c:%d: %s: %s\n", line, call, cudaGetErrorString(e));
    exit(1);
}

void lab_open(bool generic)
{
    struct cudaDeviceProp p;
    CHECK(cudaGetDeviceProperties(&p, 0));
    capability = 10 * p.major + p.minor;
    sm90 = !generic && capability == 90;
    size_t size;
    const void *image = sm90 ? sc_cu_image_sm90(&size) : sc_cu_image_generic(&size);
    if (size == 0) {
        fprintf(stderr, "built without nvcc: no kernels\n");
        exit(1);
    }
    printf("%s, compute capability %d.%d, %d multiprocessors, %d MiB of L2, image: %s (%zu KiB)\n", p.name,
           p.major, p.minor, p.multiProcessorCount, p.l2CacheSize >> 20, sm90 ? "sm_90" : "generic",
           size >> 10);
    CHECK(cudaLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0));
    multiprocessors = sm90 ? (uint32_t)p.multiProcessorCount : 0;
    for (int k = 0; k < SC_CU_KERNEL_COUNT; k++) {
        bool much = sc_cu_wants_much((enum sc_cu_kernel)k);
        if (much && !sm90)
            continue;
        CHECK(cudaLibraryGetKernel(&kernels[k], library, sc_cu_kernel_name((enum sc_cu_kernel)k)));
        if (much)
            CHECK(cudaKernelSetAttributeForDevice(kernels[k], cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  (int)SC_CU_SHARED_MOST, 0));
    }
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
}

uint32_t lab_multiprocessors(void)
{
    return multiprocessors;
}

bool lab_can(enum sc_cu_type t)
{
    return t != SC_CU_BF16 || capability >= 80;
}

void *lab_device_alloc(size_t bytes)
{
    void *p;
    CHECK(cudaMalloc(&p, bytes ? bytes : 16));
    return p;
}

void lab_device_free(void *p)
{
    CHECK(cudaFree(p));
}

void lab_to_device(void *device, const void *host, size_t bytes)
{
    CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream));
    lab_sync();
}

void lab_from_device(void *host, const void *device, size_t bytes)
{
    CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
    lab_sync();
}

void lab_poison(void *device, size_t bytes)
{
    CHECK(cudaMemsetAsync(device, 0xff, bytes, stream));
}

void lab_launch(struct sc_cu_launch l, const void *args, size_t size)
{
    (void)size;
    cudaLaunchAttribute early = {.id = cudaLaunchAttributeProgrammaticStreamSerialization,
                                 .val.programmaticStreamSerializationAllowed = 1};
    cudaLaunchConfig_t config = {
        .gridDim = {l.grid[0], l.grid[1], l.grid[2]},
        .blockDim = {l.block, 1, 1},
        .dynamicSmemBytes = l.shared,
        .stream = stream,
        .attrs = &early,
        .numAttrs = sm90,
    };
    void *params[] = {(void *)(uintptr_t)args};
    cudaError_t e = cudaLaunchKernelExC(&config, (const void *)kernels[l.kernel], params);
    if (e != cudaSuccess) {
        fprintf(stderr, "%s: grid %u %u %u, block %u, shared %u: %s\n", sc_cu_kernel_name(l.kernel),
                l.grid[0], l.grid[1], l.grid[2], l.block, l.shared, cudaGetErrorString(e));
        exit(1);
    }
}

void lab_sync(void)
{
    CHECK(cudaStreamSynchronize(stream));
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double lab_time(void (*fn)(void *ctx, unsigned i), void *ctx, unsigned batch)
{
    enum { ROUNDS = 15 };
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t begin, end;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (unsigned i = 0; i < batch; i++)
        fn(ctx, i);
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    float ms[ROUNDS];
    for (int i = 0; i < 3; i++)
        CHECK(cudaGraphLaunch(exec, stream));
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(cudaEventRecord(begin, stream));
        CHECK(cudaGraphLaunch(exec, stream));
        CHECK(cudaEventRecord(end, stream));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaEventElapsedTime(&ms[i], begin, end));
    }
    qsort(ms, ROUNDS, sizeof(ms[0]), by_value);
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    return ms[ROUNDS / 2] / 1e3 / batch;
}

struct copy {
    char *from, *to;
    size_t bytes;
};

static void copy_once(void *ctx, unsigned i)
{
    (void)i;
    struct copy *c = ctx;
    CHECK(cudaMemcpyAsync(c->to, c->from, c->bytes, cudaMemcpyDeviceToDevice, stream));
}

double lab_copy_ceiling(void)
{
    static double ceiling;
    if (ceiling > 0)
        return ceiling;
    size_t bytes = (size_t)1 << 30;
    struct copy c = {lab_device_alloc(bytes), lab_device_alloc(bytes), bytes};
    ceiling = 2.0 * (double)bytes / lab_time(copy_once, &c, 4);
    lab_device_free(c.from);
    lab_device_free(c.to);
    return ceiling;
}
