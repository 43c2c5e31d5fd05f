/* What the kernels share: numbers, 16-byte accesses, sums, matrix instructions, ordering between kernels. */
#ifndef SC_ENCODER_CUDA_DEVICE_CUH
#define SC_ENCODER_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "kernels.h"

using f16 = __half;
using bf16 = __nv_bfloat16;
using f32 = float;

/* Numbers of type T in one 16-byte access. */
template <class T> constexpr int vector_of = 16 / (int)sizeof(T);

/* ---- ordering between kernels (kernels.h, programmatic dependent launch) ---- */

/* Returns when the kernel before has ended and its writes can be seen. Every thread of a kernel passes here. */
__device__ __forceinline__ void wait_for_kernel_before()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Lets the next kernel's blocks take their places as soon as this one's have theirs. */
__device__ __forceinline__ void let_next_kernel_start()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* ---- numbers ---- */

__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f32 x) { return x; }

template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ f16 from_float<f16>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f32 from_float<f32>(float x) { return x; }

/* Two numbers in a register, the first in the low half. */
template <class T> __device__ __forceinline__ uint32_t pack(float lo, float hi);
template <> __device__ __forceinline__ uint32_t pack<f16>(float lo, float hi)
{
    __half2 v = __floats2half2_rn(lo, hi);
    return *reinterpret_cast<uint32_t *>(&v);
}
template <> __device__ __forceinline__ uint32_t pack<bf16>(float lo, float hi)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);
    return *reinterpret_cast<uint32_t *>(&v);
}

template <class T> __device__ __forceinline__ float2 unpack(uint32_t v);
template <> __device__ __forceinline__ float2 unpack<f16>(uint32_t v)
{
    return __half22float2(*reinterpret_cast<__half2 *>(&v));
}
template <> __device__ __forceinline__ float2 unpack<bf16>(uint32_t v)
{
    return make_float2(__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u));
}

template <class T> __device__ __forceinline__ void floats_of(float (&out)[vector_of<T>], uint4 v)
{
    if constexpr (sizeof(T) == 4) {
        out[0] = __uint_as_float(v.x), out[1] = __uint_as_float(v.y);
        out[2] = __uint_as_float(v.z), out[3] = __uint_as_float(v.w);
    } else {
        const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float2 f = unpack<T>(word[i]);
            out[2 * i] = f.x, out[2 * i + 1] = f.y;
        }
    }
}

template <class T> __device__ __forceinline__ uint4 vector_from(const float (&x)[vector_of<T>])
{
    if constexpr (sizeof(T) == 4)
        return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]),
                          __float_as_uint(x[3]));
    else
        return make_uint4(pack<T>(x[0], x[1]), pack<T>(x[2], x[3]), pack<T>(x[4], x[5]), pack<T>(x[6], x[7]));
}

__device__ __forceinline__ uint4 load16(const void *p)
{
    return *static_cast<const uint4 *>(p);
}

template <class T> __device__ __forceinline__ void load_floats(float (&out)[vector_of<T>], const T *p)
{
    floats_of<T>(out, load16(p));
}

/* vector_of<T> floats of an array of float. */
template <class T> __device__ __forceinline__ void load_f32(float (&out)[vector_of<T>], const float *p)
{
#pragma unroll
    for (int i = 0; i < vector_of<T>; i += 4) {
        float4 v = *reinterpret_cast<const float4 *>(p + i);
        out[i] = v.x, out[i + 1] = v.y, out[i + 2] = v.z, out[i + 3] = v.w;
    }
}

template <class T> __device__ __forceinline__ void store_floats(T *p, const float (&x)[vector_of<T>])
{
    *reinterpret_cast<uint4 *>(p) = vector_from<T>(x);
}

/* ---- activations ---- */

/*
 * x Phi(x). erfc by Abramowitz and Stegun 7.1.26, whose absolute error is below 1.5e-7; the tail of negative x is
 * computed as it is and not as a difference, which keeps its relative error near 1e-4 where it matters at all.
 */
__device__ __forceinline__ float gelu_erf(float x)
{
    float z = fabsf(x) * 0.70710678f;
    float t = __fdividef(1.0f, fmaf(0.3275911f, z, 1.0f));
    float p = fmaf(fmaf(fmaf(fmaf(1.061405429f, t, -1.453152027f), t, 1.421413741f), t, -0.284496736f), t,
                   0.254829592f);
    float tail = 0.5f * p * t * __expf(-z * z); /* Phi(-|x|) */
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

__device__ __forceinline__ float tanh_fast(float x)
{
    /* Exact at both ends: expf overflows to infinity or vanishes. */
    return 1.0f - __fdividef(2.0f, __expf(2.0f * x) + 1.0f);
}

__device__ __forceinline__ float activation(uint32_t act, float x)
{
    switch (act) {
    case SC_CU_GELU_ERF: return gelu_erf(x);
    case SC_CU_GELU_TANH: return 0.5f * x * (1.0f + tanh_fast(0.79788456f * fmaf(0.044715f * x * x, x, x)));
    case SC_CU_RELU: return x < 0.0f ? 0.0f : x; /* NaN stays */
    case SC_CU_SILU: return __fdividef(x, 1.0f + __expf(-x));
    case SC_CU_TANH: return tanhf(x);
    default: return x;
    }
}

/* ---- sums ---- */

__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
}

/* The sum over a block of up to 1024 threads, in all of them; `scratch` holds a float for each warp. */
__device__ __forceinline__ float block_sum(float x, float *scratch)
{
    x = warp_sum(x);
    __syncthreads(); /* whoever still reads the sum before */
    if (threadIdx.x % 32 == 0)
        scratch[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < (int)(blockDim.x + 31) / 32; i++)
        sum += scratch[i];
    return sum;
}

/* ---- matrix instructions ---- */

/*
 * c += a b, where a is 16 x 16 and b 16 x 8, spread over a warp. With g = lane / 4 and t = lane % 4: a[0] holds row g,
 * a[1] row g + 8, both columns 2t and 2t + 1; a[2], a[3] the same rows, columns 2t + 8, 2t + 9; b0 column g, rows
 * 2t, 2t + 1; b1 rows 2t + 8, 2t + 9; c[0], c[1] row g, columns 2t, 2t + 1; c[2], c[3] row g + 8.
 */
template <class T>
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <>
__device__ __forceinline__ void mma<f16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

template <>
__device__ __forceinline__ void mma<bf16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    __trap(); /* the engine refuses bf16 on such a GPU */
#endif
}

/* Four 8 x 8 matrices of 16-bit numbers from shared memory; lane i gives the address of row i % 8 of matrix i / 8. */
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *p)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(p);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void *p)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(p);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

/* ---- copies into shared memory that go on while the threads compute ---- */

/* shared: an address there. From 8.0 on. */
__device__ __forceinline__ void copy16_async_at(uint32_t shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}

__device__ __forceinline__ void copy16_async(void *shared, const void *global)
{
#if __CUDA_ARCH__ >= 800
    copy16_async_at((uint32_t)__cvta_generic_to_shared(shared), global);
#else
    *static_cast<uint4 *>(shared) = load16(global);
#endif
}

__device__ __forceinline__ void close_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits for this thread's copies but those closed last N times. */
template <int N> __device__ __forceinline__ void wait_for_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

#endif
