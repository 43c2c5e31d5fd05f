/*
 * The product of few rows with a matrix of weights, where reading the weights and starting kernels is all the cost.
 *
 * A block has 8 outputs, or 24, and all of their weights; its warps take 128 numbers of k each, or 256. The weights
 * go straight into the registers of the matrix instructions, 16 bytes a load, before the kernel before has ended.
 * Rows are taken 16 at a time, with the weights staying where they are. The order in which numbers are added depends
 * on k alone.
 *
 * A LayerNorm before the product is folded into it: with m and d a row's mean and deviation,
 *
 *     sum over k of ((x - m) / d gamma + beta) w = (sum of x (gamma w) - m sum of gamma w) / d + sum of beta w.
 *
 * The two sums without x, and gamma w, are made while the kernel before still runs. The sums of x and of its squares
 * come out of matrix instructions too, the latter as the diagonal of x x'. Every block does so for itself: that is
 * quicker than one more kernel.
 */
#pragma once
#include "device.cuh"

template <class T> struct ones;
template <> struct ones<f16> {
    static constexpr uint32_t pair = 0x3c003c00;
};
template <> struct ones<bf16> {
    static constexpr uint32_t pair = 0x3f803f80;
};

/* The sum of p[0], p[stride]... of up to MOST warps, all of them read at once. */
template <int MOST>
__device__ __forceinline__ float sum_over_warps(const float *p, uint32_t stride, uint32_t warps)
{
    float v[MOST], sum = 0.0f;
#pragma unroll
    for (uint32_t w = 0; w < MOST; w++)
        v[w] = w < warps ? p[w * stride] : 0.0f;
#pragma unroll
    for (uint32_t w = 0; w < MOST; w++)
        sum += v[w];
    return sum;
}

/* What a row must be scaled by and shifted by before that. Partial sums: [warps][16 sums, 16 sums of squares]. */
template <int MOST>
__device__ __forceinline__ float2 scale_and_mean(const float *stats, uint32_t warps, uint32_t row, float per_k,
                                                 float eps)
{
    const float mean = sum_over_warps<MOST>(stats + row, 32, warps) * per_k;
    const float squares = sum_over_warps<MOST>(stats + 16 + row, 32, warps) * per_k;
    return make_float2(rsqrtf(fmaxf(squares - mean * mean, 0.0f) + eps), mean);
}

/* NT: outputs, in eights. C: chunks of 32 numbers of k that a warp takes. NORM: gamma is given. */
template <class T, int NT, int C, bool NORM> __device__ __forceinline__ void skinny(const sc_cu_skinny &a)
{
    constexpr int OUTS = 8 * NT, MOST = NT == 1 ? 16 : 8; /* warps: the launch bounds below */
    constexpr uint32_t ONES = ones<T>::pair;
    extern __shared__ __align__(16) float shared_floats[];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const uint32_t warps = blockDim.x / 32, k0 = warp * 32 * C + t * 8, o0 = blockIdx.x * OUTS;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const T *bias = static_cast<const T *>(a.bias);
    float *base = shared_floats, *slope = base + OUTS; /* of an output: what is added, what the mean is multiplied by */
    float *parts = slope + OUTS;                       /* [warps][16][OUTS] */
    float *stats = parts + warps * 16 * OUTS;          /* [warps][32] */

    uint4 w[NT][C];
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const T *from = static_cast<const T *>(a.w) + (size_t)(o0 + 8 * n + g) * a.k + k0;
        const bool there = o0 + 8 * n + g < a.n;
#pragma unroll
        for (int c = 0; c < C; c++)
            w[n][c] = there && k0 + 32 * c < a.k ? load16(from + 32 * c) : zero;
    }
    if (threadIdx.x < OUTS)
        base[threadIdx.x] = bias && o0 + threadIdx.x < a.n ? to_float(bias[o0 + threadIdx.x]) : 0.0f;
    if constexpr (NORM) {
        float by_beta[NT][4] = {}, by_gamma[NT][4] = {}; /* all rows of them are the same */
#pragma unroll
        for (int c = 0; c < C; c++) {
            float gamma[8] = {}, beta[8] = {};
            if (k0 + 32 * c < a.k) {
                load_f32<T>(gamma, a.gamma + k0 + 32 * c);
                if (a.beta)
                    load_f32<T>(beta, a.beta + k0 + 32 * c);
            }
            const uint4 b = vector_from<T>(beta);
            const uint32_t first[4] = {b.x, b.x, b.y, b.y}, second[4] = {b.z, b.z, b.w, b.w};
            const uint32_t one[4] = {ONES, ONES, ONES, ONES};
#pragma unroll
            for (int n = 0; n < NT; n++) {
                mma<T>(by_beta[n], first, w[n][c].x, w[n][c].y);
                mma<T>(by_beta[n], second, w[n][c].z, w[n][c].w);
                float v[8];
                floats_of<T>(v, w[n][c]);
#pragma unroll
                for (int j = 0; j < 8; j++)
                    v[j] *= gamma[j];
                w[n][c] = vector_from<T>(v);
                mma<T>(by_gamma[n], one, w[n][c].x, w[n][c].y);
                mma<T>(by_gamma[n], one, w[n][c].z, w[n][c].w);
            }
        }
        if (lane < 4) {
#pragma unroll
            for (int n = 0; n < NT; n++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    parts[(warp * 2) * OUTS + 8 * n + 2 * t + i] = by_gamma[n][i];
                    parts[(warp * 2 + 1) * OUTS + 8 * n + 2 * t + i] = by_beta[n][i];
                }
            }
        }
        __syncthreads();
        if (threadIdx.x < OUTS) {
            slope[threadIdx.x] = sum_over_warps<MOST>(parts + threadIdx.x, 2 * OUTS, warps);
            base[threadIdx.x] += sum_over_warps<MOST>(parts + OUTS + threadIdx.x, 2 * OUTS, warps);
        }
        __syncthreads();
    }
    let_next_kernel_start();
    wait_for_kernel_before();

    const uint32_t rows = *a.rows;
    const float per_k = 1.0f / a.k;
    for (uint32_t r0 = 0; r0 < rows; r0 += 16) {
        uint4 x[2][C];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const T *from = static_cast<const T *>(a.x) + (size_t)min(r0 + g + 8 * r, rows - 1) * a.k + k0;
#pragma unroll
            for (int c = 0; c < C; c++)
                x[r][c] = k0 + 32 * c < a.k ? load16(from + 32 * c) : zero;
        }

        float y[NT][4] = {}, sum[4] = {}, low[4] = {}, high[4] = {}; /* low, high: x x' of rows 0-7, 8-15 */
#pragma unroll
        for (int c = 0; c < C; c++) {
            const uint32_t first[4] = {x[0][c].x, x[1][c].x, x[0][c].y, x[1][c].y};
            const uint32_t second[4] = {x[0][c].z, x[1][c].z, x[0][c].w, x[1][c].w};
#pragma unroll
            for (int n = 0; n < NT; n++) {
                mma<T>(y[n], first, w[n][c].x, w[n][c].y);
                mma<T>(y[n], second, w[n][c].z, w[n][c].w);
            }
            if constexpr (NORM) {
                mma<T>(sum, first, ONES, ONES);
                mma<T>(low, first, first[0], first[2]);
                mma<T>(high, first, first[1], first[3]);
                mma<T>(sum, second, ONES, ONES);
                mma<T>(low, second, second[0], second[2]);
                mma<T>(high, second, second[1], second[3]);
            }
        }
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int j = 0; j < 4; j += 2)
                *reinterpret_cast<float2 *>(parts + (warp * 16 + g + j / 2 * 8) * OUTS + 8 * n + 2 * t) =
                    make_float2(y[n][j], y[n][j + 1]);
        if (NORM && t == g / 2) { /* the thread that has the diagonal */
            float *mine = stats + warp * 32 + g;
            mine[0] = sum[0], mine[8] = sum[2];
            mine[16] = g % 2 ? low[1] : low[0], mine[24] = g % 2 ? high[3] : high[2];
        }
        __syncthreads();

#pragma unroll 2
        for (uint32_t i = threadIdx.x; i < 16 * OUTS; i += blockDim.x) {
            const uint32_t row = r0 + i / OUTS, o = i % OUTS;
            if (row >= rows || o0 + o >= a.n)
                continue;
            const size_t at = (size_t)row * a.n + o0 + o;
            const float r = a.residual ? to_float(static_cast<const T *>(a.residual)[at]) : 0.0f;
            float v = sum_over_warps<MOST>(parts + i, 16 * OUTS, warps);
            if constexpr (NORM) {
                const float2 f = scale_and_mean<MOST>(stats, warps, i / OUTS, per_k, a.eps);
                v = (v - f.y * slope[o]) * f.x;
            }
            static_cast<T *>(a.out)[at] = from_float<T>(activation(a.act, v + base[o]) + r);
        }
        if (NORM && a.normed) { /* the chunks of its 16 rows are dealt out to the blocks */
            for (uint32_t i = blockIdx.x; i < 16 * C; i += gridDim.x) {
                const uint32_t row = i / C, k = k0 + i % C * 32;
                if (row % 8 != g || r0 + row >= rows || k >= a.k)
                    continue;
                uint4 chunk = zero;
#pragma unroll
                for (int r = 0; r < 2; r++)
#pragma unroll
                    for (int c = 0; c < C; c++)
                        chunk = row / 8 == r && i % C == c ? x[r][c] : chunk;
                const float2 f = scale_and_mean<MOST>(stats, warps, row, per_k, a.eps);
                float v[8], gamma[8], beta[8] = {};
                floats_of<T>(v, chunk);
                load_f32<T>(gamma, a.gamma + k);
                if (a.beta)
                    load_f32<T>(beta, a.beta + k);
#pragma unroll
                for (int j = 0; j < 8; j++)
                    v[j] = fmaf((v[j] - f.y) * f.x, gamma[j], beta[j]);
                store_floats<T>(static_cast<T *>(a.normed) + (size_t)(r0 + row) * a.k + k, v);
            }
        }
        __syncthreads();
    }
}

#define SKINNY_KERNELS(T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(512, 1) sc_skinny_##T(const __grid_constant__ sc_cu_skinny a)          \
    {                                                                                                                  \
        skinny<T, 1, 4, false>(a);                                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(512, 1) sc_skinny_deep_##T(const __grid_constant__ sc_cu_skinny a)     \
    {                                                                                                                  \
        skinny<T, 1, 8, false>(a);                                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256, 1) sc_skinny_wide_##T(const __grid_constant__ sc_cu_skinny a)     \
    {                                                                                                                  \
        skinny<T, 3, 4, false>(a);                                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256, 1) sc_skinny_norm_##T(const __grid_constant__ sc_cu_skinny a)     \
    {                                                                                                                  \
        skinny<T, 3, 4, true>(a);                                                                                      \
    }

SKINNY_KERNELS(f16)
SKINNY_KERNELS(bf16)
