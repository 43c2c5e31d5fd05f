/*
 * The product of few rows with a matrix of weights, where reading the weights and starting kernels is all the cost.
 *
 * A block has 8 outputs, or 16, and all of their weights; its warps take 128 numbers of k each, or 256. The weights go
 * straight into the registers of the matrix instructions, 16 bytes a load, before the kernel before has ended. Rows
 * are taken 16 at a time, with the weights staying where they are. The order in which numbers are added depends on
 * k alone.
 *
 * A LayerNorm before the product is computed by every block for itself: the rows are in its registers anyway, and
 * that is quicker than one more kernel.
 */
#pragma once
#include "device.cuh"

/* Sums over the four threads that share a row, then over the warps; two rows a thread. All threads come here. */
__device__ __forceinline__ void sums_of_rows(float (&x)[2], float *scratch)
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        x[r] += __shfl_xor_sync(0xffffffffu, x[r], 1);
        x[r] += __shfl_xor_sync(0xffffffffu, x[r], 2);
        if (lane % 4 == 0)
            scratch[warp * 16 + g + 8 * r] = x[r];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 2; r++) {
        x[r] = 0.0f;
        for (uint32_t w = 0; w < blockDim.x / 32; w++)
            x[r] += scratch[w * 16 + g + 8 * r];
    }
}

/* NT: outputs, in eights. C: chunks of 32 numbers of k that a warp takes. NORM: whether gamma can be given. */
template <class T, int NT, int C, bool NORM>
__device__ __forceinline__ void skinny(const sc_cu_skinny &a)
{
    constexpr int OUTS = 8 * NT, DEPTH = 32 * C;
    extern __shared__ __align__(16) float parts[]; /* [warps][16][OUTS]; sums of rows before */
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const uint32_t warps = blockDim.x / 32, k0 = warp * DEPTH + t * 8, o0 = blockIdx.x * OUTS;
    const uint4 zero = make_uint4(0, 0, 0, 0);

    uint4 w[NT][C];
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const T *from = static_cast<const T *>(a.w) + (size_t)(o0 + 8 * n + g) * a.k + k0;
        const bool there = o0 + 8 * n + g < a.n;
#pragma unroll
        for (int c = 0; c < C; c++)
            w[n][c] = there && k0 + 32 * c < a.k ? load16(from + 32 * c) : zero;
    }
    float *gamma = parts + warps * 16 * OUTS + warp * 2 * DEPTH, *beta = gamma + DEPTH; /* the warp's part */
    if (NORM && a.gamma) {
        const float4 none = make_float4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < DEPTH; i += 128) {
            const uint32_t at = i + lane * 4, k = warp * DEPTH + at;
            *reinterpret_cast<float4 *>(gamma + at) = k < a.k ? *reinterpret_cast<const float4 *>(a.gamma + k) : none;
            *reinterpret_cast<float4 *>(beta + at) =
                k < a.k && a.beta ? *reinterpret_cast<const float4 *>(a.beta + k) : none;
        }
        __syncwarp();
    }
    let_next_kernel_start();
    wait_for_kernel_before();

    const uint32_t rows = *a.rows;
    for (uint32_t r0 = 0; r0 < rows; r0 += 16) {
        uint4 x[2][C];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const T *from = static_cast<const T *>(a.x) + (size_t)min(r0 + g + 8 * r, rows - 1) * a.k + k0;
#pragma unroll
            for (int c = 0; c < C; c++)
                x[r][c] = k0 + 32 * c < a.k ? load16(from + 32 * c) : zero;
        }
        if (NORM && a.gamma) {
            float mean[2] = {}, scale[2] = {};
#pragma unroll
            for (int r = 0; r < 2; r++)
#pragma unroll
                for (int c = 0; c < C; c++) {
                    float v[8];
                    floats_of<T>(v, x[r][c]);
#pragma unroll
                    for (int j = 0; j < 8; j++)
                        mean[r] += v[j];
                }
            sums_of_rows(mean, parts);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                mean[r] /= a.k;
#pragma unroll
                for (int c = 0; c < C; c++) {
                    float v[8];
                    floats_of<T>(v, x[r][c]);
#pragma unroll
                    for (int j = 0; j < 8; j++)
                        scale[r] += k0 + 32 * c < a.k ? (v[j] - mean[r]) * (v[j] - mean[r]) : 0.0f;
                }
            }
            sums_of_rows(scale, parts + warps * 16);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                scale[r] = rsqrtf(scale[r] / a.k + a.eps);
                const uint32_t row = r0 + g + 8 * r;
                const bool write = a.normed && row < rows && row % gridDim.x == blockIdx.x;
#pragma unroll
                for (int c = 0; c < C; c++) {
                    float v[8];
                    floats_of<T>(v, x[r][c]);
#pragma unroll
                    for (int j = 0; j < 8; j++)
                        v[j] = fmaf((v[j] - mean[r]) * scale[r], gamma[t * 8 + 32 * c + j], beta[t * 8 + 32 * c + j]);
                    x[r][c] = vector_from<T>(v);
                    if (write && k0 + 32 * c < a.k)
                        *reinterpret_cast<uint4 *>(static_cast<T *>(a.normed) + (size_t)row * a.k + k0 + 32 * c) =
                            x[r][c];
                }
            }
            __syncthreads(); /* the sums have been read */
        }

        float y[NT][4] = {};
#pragma unroll
        for (int c = 0; c < C; c++) {
            const uint32_t first[4] = {x[0][c].x, x[1][c].x, x[0][c].y, x[1][c].y};
            const uint32_t second[4] = {x[0][c].z, x[1][c].z, x[0][c].w, x[1][c].w};
#pragma unroll
            for (int n = 0; n < NT; n++) {
                mma<T>(y[n], first, w[n][c].x, w[n][c].y);
                mma<T>(y[n], second, w[n][c].z, w[n][c].w);
            }
        }
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                parts[(warp * 16 + g + j / 2 * 8) * OUTS + 8 * n + 2 * t + j % 2] = y[n][j];
        __syncthreads();

        for (uint32_t i = threadIdx.x; i < 16 * OUTS; i += blockDim.x) {
            const uint32_t row = r0 + i / OUTS, o = o0 + i % OUTS;
            if (row >= rows || o >= a.n)
                continue;
            const float r = a.residual ? to_float(static_cast<const T *>(a.residual)[(size_t)row * a.n + o]) : 0.0f;
            float sum = a.bias ? to_float(static_cast<const T *>(a.bias)[o]) : 0.0f;
            for (uint32_t v = 0; v < warps; v++)
                sum += parts[v * 16 * OUTS + i];
            static_cast<T *>(a.out)[(size_t)row * a.n + o] = from_float<T>(activation(a.act, sum) + r);
        }
        __syncthreads();
    }
}

#define SKINNY_KERNELS(T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(512, 1) sc_skinny_1_##T(const __grid_constant__ sc_cu_skinny a)        \
    {                                                                                                                  \
        skinny<T, 1, 4, true>(a);                                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256, 1) sc_skinny_2_##T(const __grid_constant__ sc_cu_skinny a)        \
    {                                                                                                                  \
        skinny<T, 2, 4, true>(a);                                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(512, 1) sc_skinny_deep_##T(const __grid_constant__ sc_cu_skinny a)     \
    {                                                                                                                  \
        skinny<T, 1, 8, false>(a);                                                                                            \
    }

SKINNY_KERNELS(f16)
SKINNY_KERNELS(bf16)
