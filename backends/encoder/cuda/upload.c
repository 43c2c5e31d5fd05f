#include "cuda/upload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/half.h"

#define PIECE (1u << 20) /* elements */
#define HALF ((size_t)PIECE * sizeof(float))

int sc_upload_open(struct sc_upload *u, const struct sc_gpu *g, struct sc_msg *msg)
{
    const struct sc_cuda *c = &g->cuda;
    void *pinned = NULL;
    *u = (struct sc_upload){.gpu = g, .floats = malloc(HALF)};
    if (!u->floats)
        return sc_fail(msg, SC_ENOMEM, "No memory to load the weights with");
    CUresult r = c->MemHostAlloc(&pinned, 2 * HALF, 0);
    u->pinned = pinned;
    if (r == CUDA_SUCCESS)
        r = c->StreamCreate(&u->stream, CU_STREAM_NON_BLOCKING, 0);
    for (int i = 0; r == CUDA_SUCCESS && i < 2; i++) {
        r = c->EventCreate(&u->taken[i], CU_EVENT_DISABLE_TIMING);
        if (r == CUDA_SUCCESS)
            r = c->EventRecord(u->taken[i], u->stream);
    }
    return sc_cuda_check(c, r, "Loading the weights", msg);
}

/* The free half. */
static CUresult begin(struct sc_upload *u, void **to)
{
    *to = u->pinned + u->half * HALF;
    return u->gpu->cuda.EventSynchronize(u->taken[u->half]);
}

static CUresult send(struct sc_upload *u, CUdeviceptr to, size_t bytes)
{
    const struct sc_cuda *c = &u->gpu->cuda;
    CUresult r = c->MemcpyHtoDAsync(to, u->pinned + u->half * HALF, bytes, u->stream);
    if (r == CUDA_SUCCESS)
        r = c->EventRecord(u->taken[u->half], u->stream);
    u->half ^= 1;
    return r;
}

/* False if a finite number has become infinite. */
static bool to_half(uint16_t *out, const float *in, size_t n)
{
    bool good = true;
    for (size_t i = 0; i < n; i++) {
        out[i] = sc_half(in[i]);
        good &= (out[i] & 0x7fffu) != SC_HALF_INFINITY || isinf(in[i]);
    }
    return good;
}

static void to_bf16(uint16_t *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = sc_bf16(in[i]);
}

int sc_upload_tensor(struct sc_upload *u, CUdeviceptr to, const struct sc_tensor *t, uint64_t first,
                     uint64_t count, enum sc_cu_type type, struct sc_msg *msg)
{
    size_t size = type == SC_CU_F32 ? 4 : 2;
    for (uint64_t at = 0; at < count; at += PIECE) {
        size_t n = SC_MIN((uint64_t)PIECE, count - at);
        void *pinned;
        CUresult r = begin(u, &pinned);
        sc_tensor_floats_at(t, first + at, n, type == SC_CU_F32 ? pinned : u->floats);
        if (type == SC_CU_F16 && !to_half(pinned, u->floats, n))
            return sc_fail(msg, SC_EINVAL,
                           "Tensor %.*s has numbers beyond the range of fp16; set dtype: bf16 (or fp32)",
                           SC_FMT(t->name));
        if (type == SC_CU_BF16)
            to_bf16(pinned, u->floats, n);
        if (r == CUDA_SUCCESS)
            r = send(u, to + at * size, n * size);
        int rc = sc_cuda_check(&u->gpu->cuda, r, "Loading the weights", msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int sc_upload_bytes(struct sc_upload *u, CUdeviceptr to, const void *from, size_t bytes, struct sc_msg *msg)
{
    CUresult r = CUDA_SUCCESS;
    for (size_t at = 0; r == CUDA_SUCCESS && at < bytes; at += HALF) {
        size_t n = SC_MIN(HALF, bytes - at);
        void *pinned;
        r = begin(u, &pinned);
        memcpy(pinned, (const char *)from + at, n);
        if (r == CUDA_SUCCESS)
            r = send(u, to + at, n);
    }
    return sc_cuda_check(&u->gpu->cuda, r, "Loading the weights", msg);
}

int sc_upload_finish(struct sc_upload *u, struct sc_msg *msg)
{
    return sc_cuda_check(&u->gpu->cuda, u->gpu->cuda.StreamSynchronize(u->stream), "Loading the weights",
                         msg);
}

void sc_upload_close(struct sc_upload *u)
{
    const struct sc_cuda *c = &u->gpu->cuda;
    if (u->stream)
        c->StreamSynchronize(u->stream);
    for (int i = 0; i < 2; i++)
        if (u->taken[i])
            c->EventDestroy(u->taken[i]);
    if (u->stream)
        c->StreamDestroy(u->stream);
    if (u->pinned)
        c->MemFreeHost(u->pinned);
    free(u->floats);
    *u = (struct sc_upload){0};
}
