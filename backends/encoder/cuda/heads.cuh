/* From hidden states to answers: pooling, rows picked out, linears of few outputs. */
#pragma once
#include "device.cuh"

template <class T, int V> __device__ __forceinline__ void read_some(float (&v)[V], const T *p)
{
    if constexpr (V == 1)
        v[0] = to_float(*p);
    else
        load_floats<T>(v, p);
}

template <class T, int V> __device__ __forceinline__ void write_some(void *out, bool f32, size_t at, const float (&v)[V])
{
    if (f32) {
#pragma unroll
        for (int j = 0; j < V; j++)
            static_cast<float *>(out)[at + j] = v[j];
    } else if constexpr (V == 1) {
        static_cast<T *>(out)[at] = from_float<T>(v[0]);
    } else {
        store_floats<T>(static_cast<T *>(out) + at, v);
    }
}

/* ---- pooling ---- */

/* A block has one sequence and 32 V columns: lanes own columns, its eight warps take every eighth token each, and the
 * first adds them up. The order depends on nothing but the sequence's length. */
template <class T, int V> __device__ __forceinline__ void pool(const sc_cu_pool &a, float (*parts)[32 * vector_of<T>])
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const uint32_t vectors = a.hidden / V;
    const bool all = a.pooling == SC_CU_POOL_MEAN || a.pooling == SC_CU_POOL_MAX;
    const bool max = a.pooling == SC_CU_POOL_MAX;
    for (size_t s = blockIdx.x, rows = *a.rows; s < rows; s += gridDim.x) {
        uint32_t begin = (a.first ? a.first : a.begin)[s], end = a.begin[s + 1], length = end - begin;
        if (!all && length > 0) {
            begin = a.pooling == SC_CU_POOL_LAST ? end - 1 : begin;
            end = begin + 1;
        }
        for (uint32_t c0 = blockIdx.y * 32; c0 < vectors; c0 += gridDim.y * 32) {
            const bool mine = c0 + lane < vectors;
            const size_t c = (size_t)(c0 + lane) * V;
            float v[V];
#pragma unroll
            for (int j = 0; j < V; j++)
                v[j] = max ? -INFINITY : 0.0f;
            for (uint32_t r = begin + warp; mine && r < end; r += warps) {
                float x[V];
                read_some<T, V>(x, static_cast<const T *>(a.x) + (size_t)r * a.hidden + c);
#pragma unroll
                for (int j = 0; j < V; j++)
                    v[j] = !max ? v[j] + x[j] : x[j] > v[j] || x[j] != x[j] ? x[j] : v[j];
            }
            __syncthreads();
#pragma unroll
            for (int j = 0; j < V; j++)
                parts[warp][lane * V + j] = v[j];
            __syncthreads();
            if (warp != 0 || !mine)
                continue;
            for (uint32_t w = 1; w < warps; w++) {
#pragma unroll
                for (int j = 0; j < V; j++) {
                    float x = parts[w][lane * V + j];
                    v[j] = !max ? v[j] + x : x > v[j] || x != x ? x : v[j];
                }
            }
#pragma unroll
            for (int j = 0; j < V; j++)
                v[j] = length == 0 ? 0.0f : a.pooling == SC_CU_POOL_MEAN ? v[j] / length : v[j];
            write_some<T, V>(a.out, a.out_f32, s * a.hidden + c, v);
        }
    }
}

template <class T> __device__ __forceinline__ void pool_any(const sc_cu_pool &a)
{
    __shared__ float parts[8][32 * vector_of<T>];
    let_next_kernel_start();
    wait_for_kernel_before();
    if (a.hidden % vector_of<T> == 0)
        pool<T, vector_of<T>>(a, parts);
    else
        pool<T, 1>(a, parts);
}

/* ---- rows picked out ---- */

template <class T, int V> __device__ __forceinline__ void gather(const sc_cu_gather &a)
{
    for (size_t i = blockIdx.x, rows = *a.rows; i < rows; i += gridDim.x) {
        const T *from = static_cast<const T *>(a.x) + (size_t)a.index[i] * a.cols;
        for (uint32_t c = threadIdx.x * V; c < a.cols; c += blockDim.x * V) {
            float v[V];
            read_some<T, V>(v, from + c);
            write_some<T, V>(a.out, a.out_f32, i * a.cols + c, v);
        }
    }
}

template <class T> __device__ __forceinline__ void gather_any(const sc_cu_gather &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    if (a.cols % vector_of<T> == 0)
        gather<T, vector_of<T>>(a);
    else
        gather<T, 1>(a);
}

/* ---- linears of few outputs ---- */

/* A warp has one row and eight outputs. */
template <class T, int V> __device__ __forceinline__ void linear(const sc_cu_linear &a)
{
    const uint32_t lane = threadIdx.x % 32, warps = blockDim.x / 32;
    const T *w = static_cast<const T *>(a.w), *bias = static_cast<const T *>(a.bias);
    for (size_t r = (size_t)blockIdx.x * warps + threadIdx.x / 32, rows = *a.rows; r < rows;
         r += (size_t)gridDim.x * warps) {
        const T *x = static_cast<const T *>(a.x) + r * a.ins;
        for (uint32_t o0 = blockIdx.y * 8; o0 < a.outs; o0 += gridDim.y * 8) {
            float sum[8] = {};
            for (uint32_t c = lane * V; c < a.ins; c += 32 * V) {
                float xs[V];
                read_some<T, V>(xs, x + c);
#pragma unroll
                for (int o = 0; o < 8; o++) {
                    if (o0 + o >= a.outs)
                        break;
                    float ws[V];
                    read_some<T, V>(ws, w + (size_t)(o0 + o) * a.ins + c);
#pragma unroll
                    for (int j = 0; j < V; j++)
                        sum[o] = fmaf(xs[j], ws[j], sum[o]);
                }
            }
            float mine = 0.0f; /* lane o keeps output o */
#pragma unroll
            for (int o = 0; o < 8; o++) {
                float s = warp_sum(sum[o]);
                mine = lane == o ? s : mine;
            }
            if (lane < 8 && o0 + lane < a.outs) {
                float y = activation(a.act, mine + (bias ? to_float(bias[o0 + lane]) : 0.0f));
                const float out[1] = {y};
                write_some<T, 1>(a.out, a.out_f32, r * a.outs + o0 + lane, out);
            }
        }
    }
}

template <class T> __device__ __forceinline__ void linear_any(const sc_cu_linear &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    if (a.ins % vector_of<T> == 0)
        linear<T, vector_of<T>>(a);
    else
        linear<T, 1>(a);
}

#define HEAD_KERNELS(T)                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) sc_pool_##T(const __grid_constant__ sc_cu_pool a)                 \
    {                                                                                                                  \
        pool_any<T>(a);                                                                                                \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_gather_##T(const __grid_constant__ sc_cu_gather a)             \
    {                                                                                                                  \
        gather_any<T>(a);                                                                                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_linear_##T(const __grid_constant__ sc_cu_linear a)             \
    {                                                                                                                  \
        linear_any<T>(a);                                                                                              \
    }

HEAD_KERNELS(f16)
HEAD_KERNELS(bf16)
HEAD_KERNELS(f32)
