/*
 * Embedding and norms. A row is held in registers from its first read to its last use; one warp has it up to 1,024
 * numbers, a block of 128 threads up to 4,096, so that memory is read and written once. Rows of other lengths are
 * walked three times, number by number.
 */
#pragma once
#include "device.cuh"

template <class T, int LANES> struct row {
    static constexpr int V = vector_of<T>;
    static constexpr int N = 32 / V; /* vectors a thread: 32 numbers */
    float x[N][V];
    uint32_t lane, vectors;

    __device__ __forceinline__ row(uint32_t hidden) : lane(threadIdx.x % LANES), vectors(hidden / V) {}

    __device__ __forceinline__ bool mine(int i) const { return lane + i * LANES < vectors; }
    __device__ __forceinline__ size_t at(int i) const { return (size_t)(lane + i * LANES) * V; }

    __device__ __forceinline__ void read(const T *p)
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (mine(i)) {
                load_floats<T>(x[i], p + at(i));
            } else {
#pragma unroll
                for (int j = 0; j < V; j++)
                    x[i][j] = 0.0f;
            }
        }
    }

    __device__ __forceinline__ void add(const T *p)
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (mine(i)) {
                float y[V];
                load_floats<T>(y, p + at(i));
#pragma unroll
                for (int j = 0; j < V; j++)
                    x[i][j] += y[j];
            }
        }
    }

    __device__ __forceinline__ void write(T *p) const
    {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (mine(i))
                store_floats<T>(p + at(i), x[i]);
    }

    __device__ __forceinline__ static float sum(float v)
    {
        if constexpr (LANES == 32) {
            return warp_sum(v);
        } else {
            __shared__ float scratch[LANES / 32];
            return block_sum(v, scratch);
        }
    }

    __device__ __forceinline__ void normalise(const float *gamma, const float *beta, uint32_t hidden, float eps)
    {
        float s = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++)
#pragma unroll
            for (int j = 0; j < V; j++)
                s += x[i][j];
        float mean = sum(s) / hidden, squares = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++)
            if (mine(i))
#pragma unroll
                for (int j = 0; j < V; j++)
                    squares += (x[i][j] - mean) * (x[i][j] - mean);
        float scale = rsqrtf(sum(squares) / hidden + eps);
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (!mine(i))
                continue;
            float g[V], b[V] = {};
            load_f32<T>(g, gamma + at(i));
            if (beta)
                load_f32<T>(b, beta + at(i));
#pragma unroll
            for (int j = 0; j < V; j++)
                x[i][j] = fmaf((x[i][j] - mean) * scale, g[j], b[j]);
        }
    }
};

/* The row walked number by number: value(c) is read once a pass; `out` may be where it comes from. */
template <class F>
__device__ void normalise_plain(F value, uint32_t hidden, const float *gamma, const float *beta, float eps)
{
    __shared__ float scratch[32];
    float s = 0.0f, squares = 0.0f;
    for (uint32_t c = threadIdx.x; c < hidden; c += blockDim.x)
        s += value.get(c);
    float mean = block_sum(s, scratch) / hidden;
    for (uint32_t c = threadIdx.x; c < hidden; c += blockDim.x) {
        float d = value.get(c) - mean;
        squares += d * d;
    }
    float scale = rsqrtf(block_sum(squares, scratch) / hidden + eps);
    for (uint32_t c = threadIdx.x; c < hidden; c += blockDim.x) {
        float y = value.get(c);
        value.put(c, y, fmaf((y - mean) * scale, gamma ? gamma[c] : 1.0f, beta ? beta[c] : 0.0f));
    }
}

/* ---- embedding ---- */

template <class T> struct embedded {
    const T *word, *position, *type;

    __device__ __forceinline__ embedded(const sc_cu_embed &a, size_t r)
    {
        sc_cu_token t = a.tokens[r];
        word = static_cast<const T *>(a.word) + (size_t)t.id * a.hidden;
        position = a.position ? static_cast<const T *>(a.position) + (size_t)(t.at & 0xffffffu) * a.hidden : nullptr;
        type = a.type ? static_cast<const T *>(a.type) + (size_t)(t.at >> 24) * a.hidden : nullptr;
    }
};

template <class T, int LANES> __device__ __forceinline__ void embed(const sc_cu_embed &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    uint32_t rows = *a.rows, per_block = blockDim.x / LANES;
    for (size_t r = (size_t)blockIdx.x * per_block + threadIdx.x / LANES; r < rows;
         r += (size_t)gridDim.x * per_block) {
        embedded<T> e(a, r);
        row<T, LANES> x(a.hidden);
        x.read(e.word);
        if (e.position)
            x.add(e.position);
        if (e.type)
            x.add(e.type);
        if (a.gamma)
            x.normalise(a.gamma, a.beta, a.hidden, a.eps);
        x.write(static_cast<T *>(a.out) + r * a.hidden);
    }
}

template <class T> struct embedded_value {
    embedded<T> e;
    T *out;
    bool norm;
    __device__ float get(uint32_t c) const
    {
        return to_float(e.word[c]) + (e.position ? to_float(e.position[c]) : 0.0f) +
               (e.type ? to_float(e.type[c]) : 0.0f);
    }
    __device__ void put(uint32_t c, float sum, float normed) const { out[c] = from_float<T>(norm ? normed : sum); }
};

template <class T> __device__ void embed_plain(const sc_cu_embed &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    for (size_t r = blockIdx.x, rows = *a.rows; r < rows; r += gridDim.x)
        normalise_plain(embedded_value<T>{embedded<T>(a, r), static_cast<T *>(a.out) + r * a.hidden, a.gamma != nullptr},
                        a.hidden, a.gamma, a.beta, a.eps);
}

/* ---- residual + bias + norm ---- */

template <class T, int LANES> __device__ __forceinline__ void norm(const sc_cu_norm &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    uint32_t rows = *a.rows, per_block = blockDim.x / LANES;
    for (size_t r = (size_t)blockIdx.x * per_block + threadIdx.x / LANES; r < rows;
         r += (size_t)gridDim.x * per_block) {
        size_t begin = r * a.hidden;
        row<T, LANES> x(a.hidden);
        x.read(static_cast<const T *>(a.x) + begin);
        if (a.residual)
            x.add(static_cast<const T *>(a.residual) + begin);
        if (a.bias)
            x.add(static_cast<const T *>(a.bias));
        if (a.sum)
            x.write(static_cast<T *>(a.sum) + begin);
        if (!a.out)
            continue;
        x.normalise(a.gamma, a.beta, a.hidden, a.eps);
        x.write(static_cast<T *>(a.out) + begin);
    }
}

template <class T> struct sum_value {
    const T *x, *bias, *residual;
    T *sum, *out;
    __device__ float get(uint32_t c) const
    {
        return to_float(x[c]) + (residual ? to_float(residual[c]) : 0.0f) + (bias ? to_float(bias[c]) : 0.0f);
    }
    __device__ void put(uint32_t c, float s, float normed) const
    {
        if (sum)
            sum[c] = from_float<T>(s);
        if (out)
            out[c] = from_float<T>(normed);
    }
};

template <class T> __device__ void norm_plain(const sc_cu_norm &a)
{
    let_next_kernel_start();
    wait_for_kernel_before();
    for (size_t r = blockIdx.x, rows = *a.rows; r < rows; r += gridDim.x) {
        size_t at = r * a.hidden;
        normalise_plain(sum_value<T>{static_cast<const T *>(a.x) + at, static_cast<const T *>(a.bias),
                                     a.residual ? static_cast<const T *>(a.residual) + at : nullptr,
                                     a.sum ? static_cast<T *>(a.sum) + at : nullptr,
                                     a.out ? static_cast<T *>(a.out) + at : nullptr},
                        a.hidden, a.gamma, a.beta, a.eps);
    }
}

#define ROW_KERNELS(T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128) sc_embed_##T(const __grid_constant__ sc_cu_embed a)               \
    {                                                                                                                  \
        embed<T, 32>(a);                                                                                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_embed_wide_##T(const __grid_constant__ sc_cu_embed a)          \
    {                                                                                                                  \
        embed<T, 128>(a);                                                                                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_embed_plain_##T(const __grid_constant__ sc_cu_embed a)         \
    {                                                                                                                  \
        embed_plain<T>(a);                                                                                             \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_norm_##T(const __grid_constant__ sc_cu_norm a)                 \
    {                                                                                                                  \
        norm<T, 32>(a);                                                                                                \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_norm_wide_##T(const __grid_constant__ sc_cu_norm a)            \
    {                                                                                                                  \
        norm<T, 128>(a);                                                                                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) sc_norm_plain_##T(const __grid_constant__ sc_cu_norm a)           \
    {                                                                                                                  \
        norm_plain<T>(a);                                                                                              \
    }

ROW_KERNELS(f16)
ROW_KERNELS(bf16)
ROW_KERNELS(f32)
