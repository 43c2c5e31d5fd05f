/*
 * Attention over packed sequences: softmax(q k' * scale) v with a running maximum, scores never in memory.
 *
 * small: a warp has 16 queries of one head and walks the keys 16 at a time, straight from memory into the registers
 * of the matrix instructions: no shared memory, no barrier, all accesses 16 bytes (8 where the head size is no
 * multiple of 64). That works because a sum may be taken in any order as long as both factors are read in the same:
 * see `chunk` below.
 *
 * few: the same with the keys of a tile divided among four warps, where there are not enough tiles to fill the GPU.
 *
 * large: a block of four warps has up to 64 queries of one head, a part of a tile; keys and values come through shared
 * memory, the next ones being copied while these are used.
 *
 * plain: any head size up to 256 and any type, a warp a query; it is what the others are checked against at sizes
 * where the CPU is too slow, and what unusual models run on.
 */
#pragma once
#include "device.cuh"

/* exp2 of scores: scale and log2(e) are one factor. */
#define LOG2E 1.44269504f

/* The keys that a query may see, from (first) to (end, not included), relative to its sequence. */
__device__ __forceinline__ uint32_t first_key(uint32_t query, uint32_t window)
{
    return window != 0 && query > window ? query - window : 0;
}

__device__ __forceinline__ uint32_t end_key(uint32_t query, uint32_t window, uint32_t length)
{
    return window != 0 && query + window + 1 < length ? query + window + 1 : length;
}

__device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The running softmax of two rows, those that a thread has a share of (mma: g and g + 8). s: scores of 8 keys each. */
struct running {
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};

    /* Scores to probabilities, in place. factor: what sums so far are to be multiplied by. */
    template <int S> __device__ __forceinline__ void weigh(float (&s)[S][4], float (&factor)[2], float scale)
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float top = max[r];
#pragma unroll
            for (int j = 0; j < S; j++)
                top = fmaxf(top, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
            /* Nothing seen yet: any finite number will do. */
            float shift = top == -INFINITY ? 0.0f : top * scale;
            factor[r] = exp2_fast(fmaf(max[r], scale, -shift));
            max[r] = top;
            float total = 0.0f;
#pragma unroll
            for (int j = 0; j < S; j++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float p = exp2_fast(fmaf(s[j][2 * r + i], scale, -shift));
                    s[j][2 * r + i] = p;
                    total += p;
                }
            }
            sum[r] = fmaf(sum[r], factor[r], total);
        }
    }

    template <int O> static __device__ __forceinline__ void rescale(float (&o)[O][4], const float (&factor)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (__any_sync(0xffffffffu, factor[r] != 1.0f)) { /* seldom, after the first keys */
#pragma unroll
                for (int j = 0; j < O; j++) {
                    o[j][2 * r] *= factor[r];
                    o[j][2 * r + 1] *= factor[r];
                }
            }
        }
    }

    template <int S, int O> __device__ __forceinline__ void update(float (&s)[S][4], float (&o)[O][4], float scale)
    {
        float factor[2];
        weigh(s, factor, scale);
        rescale(o, factor);
    }

    /* 1 / the whole sum of each row; all four threads of a row must come here. */
    __device__ __forceinline__ void inverse(float (&f)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float total = sum[r];
            total += __shfl_xor_sync(0xffffffffu, total, 1);
            total += __shfl_xor_sync(0xffffffffu, total, 2);
            f[r] = 1.0f / total;
        }
    }
};

/* ---- small ---- */

/*
 * A head of D numbers is read in chunks of 32 for q and k: thread t of a row takes numbers 8t .. 8t + 7 of the chunk,
 * which serve as its columns (2t, 2t + 1, 2t + 8, 2t + 9) of two matrix instructions. v is read in chunks of 64, or
 * of 32 at the end: thread g takes W = chunk / 8 numbers from Wg on, of four keys; number j of them is its column of
 * product j. So product j gives thread t of a row the numbers W (2t) + j and W (2t + 1) + j: for all j together 2W
 * numbers that lie side by side.
 */
template <class T, int W>
__device__ __forceinline__ void add_values(float (*o)[4], const uint32_t (&p)[4], const uint32_t (&v)[4][W / 2])
{
#pragma unroll
    for (int j = 0; j < W; j++) {
        const uint32_t which = j % 2 ? 0x7632 : 0x5410;
        mma<T>(o[j], p, __byte_perm(v[0][j / 2], v[1][j / 2], which), __byte_perm(v[2][j / 2], v[3][j / 2], which));
    }
}

/* Adds what the block's warps have found for one tile, in the first of them; false in the others. All come here. */
template <int WARPS, int O>
__device__ __forceinline__ bool merge(running &soft, float (&o)[O][4], float scale)
{
    __shared__ float sums[WARPS][O + 1][4][32];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads(); /* the tile before has been read */
    if (warp > 0) {
#pragma unroll
        for (int j = 0; j < O; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sums[warp][j][i][lane] = o[j][i];
#pragma unroll
        for (int r = 0; r < 2; r++)
            sums[warp][O][r][lane] = soft.max[r], sums[warp][O][2 + r][lane] = soft.sum[r];
    }
    __syncthreads();
    if (warp > 0)
        return false;
#pragma unroll 1
    for (int w = 1; w < WARPS; w++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float other = sums[w][O][r][lane], top = fmaxf(soft.max[r], other);
            const float shift = top == -INFINITY ? 0.0f : top * scale;
            const float mine = exp2_fast(fmaf(soft.max[r], scale, -shift)), its = exp2_fast(fmaf(other, scale, -shift));
            soft.max[r] = top;
            soft.sum[r] = soft.sum[r] * mine + sums[w][O][2 + r][lane] * its;
#pragma unroll
            for (int j = 0; j < O; j++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    o[j][2 * r + i] = o[j][2 * r + i] * mine + sums[w][j][2 * r + i][lane] * its;
        }
    }
    return true;
}

/* WARPS: that share a tile, each with every so manyth step of 16 keys. */
template <class T, int D, int WARPS> __device__ __forceinline__ void attention_small(const sc_cu_attention &a)
{
    constexpr int CHUNKS = D / 32, WIDE = D / 64, NARROW = D % 64 / 32, OUTS = D / 8;
    let_next_kernel_start();
    wait_for_kernel_before();
    const uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, per_block = blockDim.x / 32 / WARPS;
    const uint32_t part = threadIdx.x / 32 % WARPS;
    const uint32_t tiles = *a.count;
    const size_t hidden = (size_t)a.heads * D, stride = 3 * hidden;
    const float scale = a.scale * LOG2E;

    for (uint32_t i = blockIdx.y * per_block + threadIdx.x / 32 / WARPS; i < tiles; i += gridDim.y * per_block) {
        const uint4 w = load16(a.tiles + i);
        const uint32_t length = w.y, row = w.z, bottom = row + w.w - 1; /* the last of its queries */
        const T *head = static_cast<const T *>(a.qkv) + w.x * stride + blockIdx.x * D;
        const uint32_t last = length - 1, query[2] = {row + g, row + g + 8};

        uint32_t q[CHUNKS][2][4]; /* [chunk][half of it][as a of mma] */
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            uint4 lo = load16(head + min(query[0], bottom) * stride + c * 32 + t * 8);
            uint4 hi = load16(head + min(query[1], bottom) * stride + c * 32 + t * 8);
            q[c][0][0] = lo.x, q[c][0][1] = hi.x, q[c][0][2] = lo.y, q[c][0][3] = hi.y;
            q[c][1][0] = lo.z, q[c][1][1] = hi.z, q[c][1][2] = lo.w, q[c][1][3] = hi.w;
        }

        float o[OUTS][4] = {};
        running soft;
        const uint32_t end = end_key(bottom, a.window, length);
        for (uint32_t key = first_key(row, a.window) / 16 * 16 + 16 * part; key < end; key += 16 * WARPS) {
            uint4 k[2][CHUNKS];
#pragma unroll
            for (int n = 0; n < 2; n++) {
                const T *at = head + hidden + min(key + 8 * n + g, last) * stride + t * 8;
#pragma unroll
                for (int c = 0; c < CHUNKS; c++)
                    k[n][c] = load16(at + c * 32);
            }
            uint32_t wide[WIDE + 1][4][4], narrow[4][2]; /* values: [chunk][key][number]; the last of wide unused */
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const T *at = head + 2 * hidden + min(key + 2 * t + n % 2 + n / 2 * 8, last) * stride;
#pragma unroll
                for (int c = 0; c < WIDE; c++) {
                    uint4 v = load16(at + c * 64 + g * 8);
                    wide[c][n][0] = v.x, wide[c][n][1] = v.y, wide[c][n][2] = v.z, wide[c][n][3] = v.w;
                }
                if constexpr (NARROW) {
                    uint2 v = *reinterpret_cast<const uint2 *>(at + WIDE * 64 + g * 4);
                    narrow[n][0] = v.x, narrow[n][1] = v.y;
                }
            }

            float s[2][4] = {};
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int c = 0; c < CHUNKS; c++) {
                    mma<T>(s[n], q[c][0], k[n][c].x, k[n][c].y);
                    mma<T>(s[n], q[c][1], k[n][c].z, k[n][c].w);
                }
            }
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    uint32_t at = key + 8 * n + 2 * t + j % 2, of = query[j / 2];
                    if (at >= end_key(of, a.window, length) || at < first_key(of, a.window))
                        s[n][j] = -INFINITY;
                }
            }
            soft.update(s, o, scale);
            const uint32_t p[4] = {pack<T>(s[0][0], s[0][1]), pack<T>(s[0][2], s[0][3]), pack<T>(s[1][0], s[1][1]),
                                   pack<T>(s[1][2], s[1][3])};
#pragma unroll
            for (int c = 0; c < WIDE; c++)
                add_values<T, 8>(o + 8 * c, p, wide[c]);
            if constexpr (NARROW)
                add_values<T, 4>(o + 8 * WIDE, p, narrow);
        }

        if constexpr (WARPS > 1) /* one step of keys is the first warp's alone, and all of them know */
            if (end - first_key(row, a.window) / 16 * 16 <= 16 ? part > 0 : !merge<WARPS>(soft, o, scale))
                continue;
        float f[2];
        soft.inverse(f);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (query[r] > bottom)
                continue;
            T *out = static_cast<T *>(a.out) + (w.x + query[r]) * hidden + blockIdx.x * D;
#pragma unroll
            for (int c = 0; c < WIDE; c++) {
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    float v[8];
#pragma unroll
                    for (int j = 0; j < 8; j++)
                        v[j] = o[8 * c + j][2 * r + n] * f[r];
                    store_floats<T>(out + c * 64 + 16 * t + 8 * n, v);
                }
            }
            if constexpr (NARROW) {
                float v[8];
#pragma unroll
                for (int j = 0; j < 8; j++)
                    v[j] = o[8 * WIDE + j % 4][2 * r + j / 4] * f[r];
                store_floats<T>(out + WIDE * 64 + 8 * t, v);
            }
        }
    }
}

/* ---- large ---- */

/* One stage of keys and values in shared memory. Rows are 16 bytes longer than they are, so that eight of them, read
 * together, lie in different banks. */
#define LARGE_THREADS 128

template <class T, int D> struct stage {
    static constexpr int KEYS = D <= 64 ? 64 : 32, ROW = D + 8;
    T k[KEYS][ROW], v[KEYS][ROW];
};

/* A thread's share of the copies: 16 bytes of every ROWSth row. */
template <class T, int D> struct fetcher {
    static constexpr int KEYS = stage<T, D>::KEYS, PER_ROW = D / 8, ROWS = LARGE_THREADS / PER_ROW;
    static constexpr bool EVEN = KEYS % ROWS == 0 && PER_ROW * ROWS == LARGE_THREADS;
    const T *k;
    size_t stride, to_v;
    uint32_t row, at;
    int left; /* keys from `row` of the stage fetched next to the end of the sequence */

    __device__ __forceinline__ fetcher(const T *head, size_t hidden, uint32_t key, uint32_t length)
        : k(head + hidden), stride(3 * hidden), to_v(hidden), row(threadIdx.x / PER_ROW), at(threadIdx.x % PER_ROW * 8),
          left((int)(length - key))
    {
        k += (size_t)key * stride + at;
    }

    /* Keys beyond the last are the last once more: numbers that can be multiplied by zero. */
    __device__ __forceinline__ void next(stage<T, D> &to)
    {
#pragma unroll
        for (int n = 0; n < KEYS; n += ROWS) {
            const int r = (int)row + n;
            if (!EVEN && (row >= ROWS || r >= KEYS))
                break;
            const T *from = k + (size_t)min(r, left - 1) * stride;
            copy16_async(&to.k[r][at], from);
            copy16_async(&to.v[r][at], from + to_v);
        }
        k += KEYS * stride;
        left -= KEYS;
        close_copies();
    }
};

template <class T, int D> __device__ __forceinline__ void attention_large(const sc_cu_attention &a)
{
    constexpr int STEPS = D / 16, OUTS = D / 8;
    using Stage = stage<T, D>;
    constexpr int KEYS = Stage::KEYS;
    extern __shared__ __align__(16) char shared[];
    Stage *stages = reinterpret_cast<Stage *>(shared);
    let_next_kernel_start();
    wait_for_kernel_before();
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const uint32_t tiles = *a.count;
    const size_t hidden = (size_t)a.heads * D, stride = 3 * hidden;
    const float scale = a.scale * LOG2E;

    constexpr uint32_t ROWS = LARGE_THREADS / 2, PARTS = SC_CU_TILE_ROWS / ROWS;
    for (uint32_t i = blockIdx.y; i / PARTS < tiles; i += gridDim.y) {
        const uint4 w = load16(a.tiles + i / PARTS);
        if (i % PARTS * ROWS >= w.w)
            continue;
        const uint32_t length = w.y, row = w.z + i % PARTS * ROWS, rows = min(w.w - i % PARTS * ROWS, ROWS);
        const uint32_t bottom = row + rows - 1;
        const T *head = static_cast<const T *>(a.qkv) + w.x * stride + blockIdx.x * D;
        const uint32_t end = end_key(row + rows - 1, a.window, length);
        const uint32_t begin = first_key(row, a.window) / KEYS * KEYS;
        const uint32_t first = row + 16 * warp;
        const bool busy = 16 * warp < rows;
        fetcher<T, D> fetch(head, hidden, begin, length);
        fetch.next(stages[0]);

        uint32_t q[STEPS][4];
        const T *lo = head + min(first + g, bottom) * stride + 2 * t;
        const T *hi = head + min(first + g + 8, bottom) * stride + 2 * t;
#pragma unroll
        for (int c = 0; c < STEPS; c++) {
            q[c][0] = *reinterpret_cast<const uint32_t *>(lo + c * 16);
            q[c][1] = *reinterpret_cast<const uint32_t *>(hi + c * 16);
            q[c][2] = *reinterpret_cast<const uint32_t *>(lo + c * 16 + 8);
            q[c][3] = *reinterpret_cast<const uint32_t *>(hi + c * 16 + 8);
        }

        float o[OUTS][4] = {};
        running soft;
        int now = 0;
        for (uint32_t key = begin; key < end; key += KEYS, now ^= 1) {
            wait_for_copies<0>();
            __syncthreads(); /* what is fetched next goes where all have read */
            if (key + KEYS < end)
                fetch.next(stages[now ^ 1]);
            const Stage &at = stages[now];
            if (!busy)
                continue;

            float s[KEYS / 8][4] = {};
#pragma unroll
            for (int n = 0; n < KEYS / 16; n++) {
                if (key + 16 * n >= end)
                    break;
#pragma unroll
                for (int c = 0; c < STEPS; c++) {
                    uint32_t k[4];
                    load_matrices(k, &at.k[16 * n + lane / 16 * 8 + lane % 8][16 * c + lane / 8 % 2 * 8]);
                    mma<T>(s[2 * n], q[c], k[0], k[1]);
                    mma<T>(s[2 * n + 1], q[c], k[2], k[3]);
                }
            }
            /* Most stages are seen whole by all 16 queries. */
            if (key + KEYS > end_key(first, a.window, length) || key < first_key(first + 15, a.window)) {
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        uint32_t x = key + 8 * n + 2 * t + j % 2, of = first + g + j / 2 * 8;
                        if (x >= end_key(of, a.window, length) || x < first_key(of, a.window))
                            s[n][j] = -INFINITY;
                    }
                }
            }
            soft.update(s, o, scale);
#pragma unroll
            for (int n = 0; n < KEYS / 16; n++) {
                if (key + 16 * n >= end)
                    break;
                const uint32_t p[4] = {pack<T>(s[2 * n][0], s[2 * n][1]), pack<T>(s[2 * n][2], s[2 * n][3]),
                                       pack<T>(s[2 * n + 1][0], s[2 * n + 1][1]),
                                       pack<T>(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
                for (int c = 0; c < OUTS / 2; c++) {
                    uint32_t v[4];
                    load_matrices_transposed(v, &at.v[16 * n + lane / 8 % 2 * 8 + lane % 8][16 * c + lane / 16 * 8]);
                    mma<T>(o[2 * c], p, v[0], v[1]);
                    mma<T>(o[2 * c + 1], p, v[2], v[3]);
                }
            }
        }
        __syncthreads(); /* before the next tile's first stage */

        float f[2];
        soft.inverse(f);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint32_t query = first + g + 8 * r;
            if (query >= row + rows)
                continue;
            T *out = static_cast<T *>(a.out) + (w.x + query) * hidden + blockIdx.x * D + 2 * t;
#pragma unroll
            for (int c = 0; c < OUTS; c++)
                *reinterpret_cast<uint32_t *>(out + 8 * c) = pack<T>(o[c][2 * r] * f[r], o[c][2 * r + 1] * f[r]);
        }
    }
}

/* ---- plain ---- */

template <class T> __device__ void attention_plain(const sc_cu_attention &a)
{
    constexpr int MOST = 256 / 32;
    let_next_kernel_start();
    wait_for_kernel_before();
    const uint32_t lane = threadIdx.x % 32, warps = blockDim.x / 32, tiles = *a.count, d = a.head_dim;
    const size_t hidden = (size_t)a.heads * d, stride = 3 * hidden;
    for (uint32_t i = blockIdx.y; i < tiles; i += gridDim.y) {
        const sc_cu_tile w = a.tiles[i];
        const T *head = static_cast<const T *>(a.qkv) + w.begin * stride + (size_t)blockIdx.x * d;
        for (uint32_t of = w.row + threadIdx.x / 32; of < w.row + w.rows; of += warps) {
            float q[MOST], o[MOST], max = -INFINITY, sum = 0.0f;
#pragma unroll
            for (int j = 0; j < MOST; j++) {
                q[j] = lane + 32 * j < d ? to_float(head[of * stride + lane + 32 * j]) : 0.0f;
                o[j] = 0.0f;
            }
            for (uint32_t key = first_key(of, a.window); key < end_key(of, a.window, w.length); key++) {
                const T *k = head + hidden + key * stride, *v = k + hidden;
                float s = 0.0f;
#pragma unroll
                for (int j = 0; j < MOST; j++)
                    if (lane + 32 * j < d)
                        s = fmaf(q[j], to_float(k[lane + 32 * j]), s);
                s = warp_sum(s) * a.scale;
                float top = fmaxf(max, s), factor = expf(max - top), p = expf(s - top);
                max = top;
                sum = fmaf(sum, factor, p);
#pragma unroll
                for (int j = 0; j < MOST; j++)
                    if (lane + 32 * j < d)
                        o[j] = fmaf(o[j], factor, p * to_float(v[lane + 32 * j]));
            }
            T *out = static_cast<T *>(a.out) + (w.begin + of) * hidden + (size_t)blockIdx.x * d;
#pragma unroll
            for (int j = 0; j < MOST; j++)
                if (lane + 32 * j < d)
                    out[lane + 32 * j] = from_float<T>(o[j] / sum);
        }
    }
}

#define ATTENTION_KERNELS(T, D)                                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        sc_attention_small_##D##_##T(const __grid_constant__ sc_cu_attention a)                                        \
    {                                                                                                                  \
        attention_small<T, D, 1>(a);                                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        sc_attention_few_##D##_##T(const __grid_constant__ sc_cu_attention a)                                          \
    {                                                                                                                  \
        attention_small<T, D, 4>(a);                                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(LARGE_THREADS)                                                                  \
        sc_attention_large_##D##_##T(const __grid_constant__ sc_cu_attention a)                                        \
    {                                                                                                                  \
        attention_large<T, D>(a);                                                                                      \
    }
#define ATTENTION_PLAIN(T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        sc_attention_plain_##T(const __grid_constant__ sc_cu_attention a)                                              \
    {                                                                                                                  \
        attention_plain<T>(a);                                                                                         \
    }

ATTENTION_KERNELS(f16, 32)
ATTENTION_KERNELS(f16, 64)
ATTENTION_KERNELS(f16, 96)
ATTENTION_KERNELS(f16, 128)
ATTENTION_KERNELS(bf16, 32)
ATTENTION_KERNELS(bf16, 64)
ATTENTION_KERNELS(bf16, 96)
ATTENTION_KERNELS(bf16, 128)
ATTENTION_PLAIN(f16)
ATTENTION_PLAIN(bf16)
ATTENTION_PLAIN(f32)
