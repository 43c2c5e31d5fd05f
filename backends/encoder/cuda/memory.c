#include "cuda/memory.h"

#include <fcntl.h>

static struct CUmemAllocationProp properties(const struct sc_gpu *g)
{
    return (struct CUmemAllocationProp){
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = g->device},
    };
}

static CUresult allow(const struct sc_gpu *g, const struct sc_gpu_block *b, int flags)
{
    struct CUmemAccessDesc access = {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = g->device},
                                     .flags = flags};
    return g->cuda.MemSetAccess(b->at, b->size, &access, 1);
}

/* Gives b->handle an address. */
static CUresult map(const struct sc_gpu *g, struct sc_gpu_block *b, int flags)
{
    const struct sc_cuda *c = &g->cuda;
    CUresult r = c->MemAddressReserve(&b->at, b->size, 0, 0, 0);
    if (r != CUDA_SUCCESS)
        return r;
    r = c->MemMap(b->at, b->size, 0, b->handle, 0);
    if (r != CUDA_SUCCESS) {
        c->MemAddressFree(b->at, b->size);
        b->at = 0;
        return r;
    }
    b->mapped = true;
    return allow(g, b, flags);
}

int sc_gpu_block_new(const struct sc_gpu *g, size_t size, struct sc_gpu_block *b, struct sc_msg *msg)
{
    const struct sc_cuda *c = &g->cuda;
    struct CUmemAllocationProp p = properties(g);
    size_t unit = 0;
    *b = (struct sc_gpu_block){.size = size};
    CUresult r;
    if (!g->shareable) {
        r = c->MemAlloc(&b->at, size);
    } else {
        r = c->MemGetAllocationGranularity(&unit, &p, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
        if (r == CUDA_SUCCESS) {
            b->size = (size + unit - 1) / unit * unit;
            r = c->MemCreate(&b->handle, b->size, &p, 0);
        }
        if (r == CUDA_SUCCESS)
            r = map(g, b, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    }
    if (r != CUDA_SUCCESS)
        sc_gpu_block_free(g, b);
    return sc_cuda_check(c, r, "GPU memory for the weights", msg);
}

int sc_gpu_block_import(const struct sc_gpu *g, int fd, size_t size, struct sc_gpu_block *b,
                        struct sc_msg *msg)
{
    const struct sc_cuda *c = &g->cuda;
    *b = (struct sc_gpu_block){.size = size};
    CUresult r = c->MemImportFromShareableHandle(&b->handle, (void *)(intptr_t)fd,
                                                 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    if (r == CUDA_SUCCESS)
        r = map(g, b, CU_MEM_ACCESS_FLAGS_PROT_READ);
    if (r != CUDA_SUCCESS)
        sc_gpu_block_free(g, b);
    return sc_cuda_check(c, r, "Mapping weights that are in GPU memory", msg);
}

int sc_gpu_block_protect(const struct sc_gpu *g, const struct sc_gpu_block *b, struct sc_msg *msg)
{
    if (!b->mapped)
        return 0;
    return sc_cuda_check(&g->cuda, allow(g, b, CU_MEM_ACCESS_FLAGS_PROT_READ), "Protecting the weights", msg);
}

int sc_gpu_block_export(const struct sc_gpu *g, const struct sc_gpu_block *b, int *fd, struct sc_msg *msg)
{
    if (!b->mapped)
        return sc_fail(msg, SC_EUNSUPPORTED, "%s cannot share memory by descriptors", g->name);
    int rc = sc_cuda_check(
        &g->cuda,
        g->cuda.MemExportToShareableHandle(fd, b->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
        "Exporting the weights", msg);
    if (rc == 0)
        (void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
    return rc;
}

void sc_gpu_block_free(const struct sc_gpu *g, struct sc_gpu_block *b)
{
    const struct sc_cuda *c = &g->cuda;
    if (b->mapped) {
        c->MemUnmap(b->at, b->size);
        c->MemAddressFree(b->at, b->size);
    } else if (b->at) {
        c->MemFree(b->at);
    }
    if (b->handle)
        c->MemRelease(b->handle);
    *b = (struct sc_gpu_block){0};
}
