/* Activations, gated ones, rotary positions: each number is read once and written once. */
#pragma once
#include "device.cuh"

/* A thread owns V columns and walks rows, four of them in flight. */
template <class T, int V, bool GATED>
__device__ __forceinline__ void activate(const void *in, const void *bias_of, void *to, uint32_t rows, uint32_t cols,
                                         uint32_t act)
{
    const T *x = static_cast<const T *>(in), *bias = static_cast<const T *>(bias_of);
    T *out = static_cast<T *>(to);
    const uint32_t in_cols = GATED ? 2 * cols : cols;
    auto read = [](float (&v)[V], const T *p) {
        if constexpr (V == 1)
            v[0] = to_float(*p);
        else
            load_floats<T>(v, p);
    };
    for (uint32_t c = (blockIdx.y * blockDim.x + threadIdx.x) * V; c < cols; c += gridDim.y * blockDim.x * V) {
        float b[V] = {}, bg[V] = {};
        if (bias) {
            read(b, bias + c);
            if (GATED)
                read(bg, bias + cols + c);
        }
        for (size_t r0 = (size_t)blockIdx.x * 4; r0 < rows; r0 += (size_t)gridDim.x * 4) {
            float v[4][V], gate[4][V];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (r0 + i < rows) {
                    read(v[i], x + (r0 + i) * in_cols + c);
                    if (GATED)
                        read(gate[i], x + (r0 + i) * in_cols + cols + c);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (r0 + i >= rows)
                    break;
#pragma unroll
                for (int j = 0; j < V; j++) {
                    v[i][j] = activation(act, v[i][j] + b[j]);
                    if (GATED)
                        v[i][j] *= gate[i][j] + bg[j];
                }
                T *p = out + (r0 + i) * cols + c;
                if constexpr (V == 1)
                    *p = from_float<T>(v[i][0]);
                else
                    store_floats<T>(p, v[i]);
            }
        }
    }
}

template <class T, bool GATED, class A> __device__ __forceinline__ void activate_any(const A &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    if (a.cols % vector_of<T> != 0)
        activate<T, 1, GATED>(a.x, a.bias, a.out, *a.rows, a.cols, a.act);
    else if (a.act == SC_CU_GELU_ERF) /* the usual ones, with the switch outside the loops */
        activate<T, vector_of<T>, GATED>(a.x, a.bias, a.out, *a.rows, a.cols, SC_CU_GELU_ERF);
    else if (a.act == SC_CU_GELU_TANH)
        activate<T, vector_of<T>, GATED>(a.x, a.bias, a.out, *a.rows, a.cols, SC_CU_GELU_TANH);
    else
        activate<T, vector_of<T>, GATED>(a.x, a.bias, a.out, *a.rows, a.cols, a.act);
}

/* V pairs (i, i + head_dim / 2) at a time. */
template <class T, int V> __device__ __forceinline__ void rotary(const sc_cu_rotary &a)
{
    const uint32_t half = a.head_dim / 2, per_head = half / V, items = 2 * a.heads * per_head;
    for (size_t r = blockIdx.x, rows = *a.rows; r < rows; r += gridDim.x) {
        const float *turn = a.table + (size_t)(a.tokens[r].at & 0xffffffu) * a.head_dim;
        T *base = static_cast<T *>(a.qkv) + r * 3 * a.heads * a.head_dim;
        for (uint32_t item = threadIdx.x; item < items; item += blockDim.x) {
            uint32_t i = item % per_head * V;
            T *lo = base + (size_t)(item / per_head) * a.head_dim + i, *hi = lo + half;
            float x[V], y[V], nx[V], ny[V];
            if constexpr (V == 1) {
                x[0] = to_float(*lo), y[0] = to_float(*hi);
            } else {
                load_floats<T>(x, lo);
                load_floats<T>(y, hi);
            }
#pragma unroll
            for (int j = 0; j < V; j++) {
                float2 w = *reinterpret_cast<const float2 *>(turn + 2 * (i + j)); /* cos, sin */
                nx[j] = x[j] * w.x - y[j] * w.y;
                ny[j] = y[j] * w.x + x[j] * w.y;
            }
            if constexpr (V == 1) {
                *lo = from_float<T>(nx[0]), *hi = from_float<T>(ny[0]);
            } else {
                store_floats<T>(lo, nx);
                store_floats<T>(hi, ny);
            }
        }
    }
}

template <class T> __device__ __forceinline__ void rotary_any(const sc_cu_rotary &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    if (a.head_dim % (2 * vector_of<T>) == 0)
        rotary<T, vector_of<T>>(a);
    else
        rotary<T, 1>(a);
}

#define ELEMENT_KERNELS(T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(512) sc_activate_##T(const __grid_constant__ sc_cu_activate a)         \
    {                                                                                                                  \
        activate_any<T, false>(a);                                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(512) sc_glu_##T(const __grid_constant__ sc_cu_glu a)                   \
    {                                                                                                                  \
        activate_any<T, true>(a);                                                                                      \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_rotary_##T(const __grid_constant__ sc_cu_rotary a)             \
    {                                                                                                                  \
        rotary_any<T>(a);                                                                                              \
    }

ELEMENT_KERNELS(f16)
ELEMENT_KERNELS(bf16)
ELEMENT_KERNELS(f32)
