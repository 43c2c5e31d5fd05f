/*
 * Attention over packed sequences on compute capability 9.0: what attention.cuh says, by wgmma, for all keys of a
 * sequence (window 0).
 *
 * One block a multiprocessor walks the pairs of tile and head. Its first four warps copy: the queries of a tile, then
 * its keys and values, block by block, round and round through slots of shared memory, as far ahead as slots are free,
 * into the next tiles too. Each other warpgroup has up to 64 of the tile's queries. The keys that do not fill a block
 * come first, so that only they need a mask.
 */
#pragma once
#include "attention.cuh"
#include "wgmma.cuh"

template <class T, int D> struct hopper {
    static constexpr int GROUPS = SC_CU_TILE_ROWS / 64, WARPS = 4 * GROUPS;
    static constexpr int KEYS = D <= 64 ? 128 : 64, STEP = 32; /* of a block; of the one that comes first */
    static constexpr int PANEL = D % 64 == 0 ? 64 : 32;        /* columns that lie side by side in shared memory */
    static constexpr int ROW = 2 * PANEL;                      /* their bytes */
    static constexpr int QUERY_BYTES = SC_CU_TILE_ROWS * D * 2, SLOT_BYTES = KEYS * D * 2;
    static constexpr int SETS = D <= 64 ? 4 : 2; /* of queries */
    static constexpr int FIT = ((int)SC_CU_SHARED_MOST - 1024 - SETS * QUERY_BYTES) / SLOT_BYTES;
    static constexpr int SLOTS = FIT < 16 ? FIT : 16;
    static_assert(SLOTS >= 6, "keys and values of a block, of the next, and what is on its way");

    struct shared_state {
        uint64_t full[SLOTS], empty[SLOTS], queries_full[SETS], queries_empty[SETS];
    };

    /* Where a thread's walk through N places, round and round, is. */
    template <int N> struct walk {
        uint32_t i = 0, phase = 0;

        __device__ __forceinline__ walk next() const
        {
            walk w;
            w.i = i + 1 < N ? i + 1 : 0;
            w.phase = phase ^ (w.i == 0);
            return w;
        }
    };
    using place = walk<SLOTS>;

    uint32_t queries, slots; /* SETS and SLOTS of them, in shared memory */
    shared_state *b;
    place at;
    walk<SETS> set;

    /* ---- the warps that copy ---- */

    /* A thread has the same piece of every PASSth row: rows that are swizzled alike. */
    static constexpr uint32_t PIECES = D / 8, PASS = 128 / PIECES / 8 * 8;
    static_assert(PASS > 0, "eight rows at a time");

    /* `rows` of a head into a matrix with space for SPACE; those behind `last` are the last once more. */
    template <int SPACE>
    static __device__ __forceinline__ void copy(uint32_t to, const T *from, size_t stride, uint32_t rows, uint32_t last)
    {
        const uint32_t row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
        if (PIECES * PASS < 128 && row >= PASS)
            return;
        to += piece / (PANEL / 8) * (SPACE * ROW) + swizzled<ROW>(row, piece % (PANEL / 8));
        const T *at = from + row * stride + piece * 8, *end = from + last * stride + piece * 8;
#pragma unroll 8
        for (uint32_t n = 0; n < SPACE; n += PASS, at += PASS * stride) {
            if (n + row < rows)
                copy16_async_at(to + n * ROW, n + row <= last ? at : end);
        }
    }

    /* All KEYS rows. */
    static __device__ __forceinline__ void copy_all(uint32_t to, const T *from, size_t stride)
    {
        const uint32_t row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
        if (PIECES * PASS < 128 && row >= PASS)
            return;
        to += piece / (PANEL / 8) * (KEYS * ROW) + swizzled<ROW>(row, piece % (PANEL / 8));
        const T *at = from + row * stride + piece * 8;
#pragma unroll
        for (uint32_t n = 0; n < KEYS; n += PASS, at += PASS * stride)
            copy16_async_at(to + n * ROW, at);
    }

    __device__ __forceinline__ void copy_block(const T *keys, size_t hidden, uint32_t rows, uint32_t last)
    {
#pragma unroll
        for (int v = 0; v < 2; v++, at = at.next()) {
            barrier_wait(&b->empty[at.i], at.phase ^ 1);
            const uint32_t to = slots + at.i * SLOT_BYTES;
            if (last + 1 == KEYS)
                copy_all(to, keys + v * hidden, 3 * hidden);
            else
                copy<KEYS>(to, keys + v * hidden, 3 * hidden, rows, last);
            barrier_arrive_copied(&b->full[at.i]);
        }
    }

    __device__ __forceinline__ void feed(const sc_cu_attention &a)
    {
        const size_t hidden = (size_t)a.heads * D, stride = 3 * hidden;
        const uint32_t items = *a.count * a.heads;
        uint4 w = {};
        if (blockIdx.x < items)
            w = load16(a.tiles + blockIdx.x / a.heads);
        for (uint32_t i = blockIdx.x; i < items; i += gridDim.x, set = set.next()) {
            const T *head = static_cast<const T *>(a.qkv) + w.x * stride + i % a.heads * D, *keys = head + hidden;
            const uint32_t tail = w.y % KEYS, blocks = w.y / KEYS, row = w.z, rows = w.w;
            if (i + gridDim.x < items)
                w = load16(a.tiles + (i + gridDim.x) / a.heads);
            barrier_wait(&b->queries_empty[set.i], set.phase ^ 1);
            copy<SC_CU_TILE_ROWS>(queries + set.i * QUERY_BYTES, head + row * stride, stride, rows, rows - 1);
            barrier_arrive_copied(&b->queries_full[set.i]);
            if (tail)
                copy_block(keys + (size_t)blocks * KEYS * stride, hidden, (tail + STEP - 1) / STEP * STEP, tail - 1);
            for (uint32_t n = 0; n < blocks; n++)
                copy_block(keys + (size_t)n * KEYS * stride, hidden, KEYS, KEYS - 1);
        }
        close_copies();
        wait_for_copies<0>();
    }

    /* ---- those that compute ---- */

    /* All lanes of a warp have read: one arrives. */
    static __device__ __forceinline__ void leave(uint64_t *barrier)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            barrier_arrive(barrier);
    }

    /* Scores of N keys, begun. */
    template <int N> __device__ __forceinline__ void begin_scores(float (&s)[N / 8][4], uint64_t query, place p)
    {
        constexpr int STEPS = PANEL / 16; /* of 16 columns, in a panel */
        barrier_wait(&b->full[p.i], p.phase);
        see_copies();
        const uint64_t keys = matrix_at<ROW>(slots + p.i * SLOT_BYTES, 16);
        hold(s);
        products_begin();
#pragma unroll
        for (int c = 0; c < D / 16; c++)
            product_by_rows<T, N>(s, matrix_from(query, c / STEPS * (SC_CU_TILE_ROWS * ROW) + c % STEPS * 32),
                                  matrix_from(keys, c / STEPS * (KEYS * ROW) + c % STEPS * 32), c > 0);
        products_close();
    }

    /* The sum of N keys' values, begun. */
    template <int N>
    __device__ __forceinline__ void begin_sum(float (&o)[D / 8][4], const uint32_t (&p)[N / 16][4], place of)
    {
        barrier_wait(&b->full[of.i], of.phase);
        see_copies();
        const uint64_t values = matrix_at<ROW>(slots + of.i * SLOT_BYTES, KEYS * ROW);
        hold(o);
        products_begin();
#pragma unroll
        for (int n = 0; n < N / 16; n++)
            product_by_columns<T, D>(o, p[n], matrix_from(values, n * 16 * ROW));
        products_close();
    }

    template <int N>
    static __device__ __forceinline__ void pack_all(uint32_t (&p)[N / 16][4], const float (&s)[N / 8][4])
    {
#pragma unroll
        for (int n = 0; n < N / 16; n++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                p[n][j] = pack<T>(s[2 * n + j / 2][j % 2 * 2], s[2 * n + j / 2][j % 2 * 2 + 1]);
    }

    /* The keys that fill no block, of N that were copied. */
    template <int N>
    __device__ __forceinline__ void some(uint64_t query, float (&o)[D / 8][4], running &soft, float scale,
                                         uint32_t there)
    {
        float s[N / 8][4];
        uint32_t p[N / 16][4];
        begin_scores<N>(s, query, at);
        products_wait<0>();
        hold(s);
        leave(&b->empty[at.i]);
        at = at.next();
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (8 * n + threadIdx.x % 4 * 2 + j % 2 >= there)
                    s[n][j] = -INFINITY;
        soft.update(s, o, scale);
        pack_all<N>(p, s);
        begin_sum<N>(o, p, at);
        products_wait<0>();
        hold(o);
        leave(&b->empty[at.i]);
        at = at.next();
    }

    /* Scores of the next block are computed before the values of this are summed, which goes on behind the softmax. */
    __device__ __forceinline__ void whole(uint32_t blocks, uint64_t query, float (&o)[D / 8][4], running &soft,
                                          float scale)
    {
        if (blocks == 0)
            return;
        float s[KEYS / 8][4], factor[2];
        uint32_t p[KEYS / 16][4];
        begin_scores<KEYS>(s, query, at);
        products_wait<0>();
        hold(s);
        leave(&b->empty[at.i]);
        soft.update(s, o, scale);
        pack_all<KEYS>(p, s);
        for (uint32_t n = 1; n < blocks; n++) {
            const place values = at.next();
            at = values.next();
            begin_scores<KEYS>(s, query, at);
            begin_sum<KEYS>(o, p, values);
            products_wait<1>();
            hold(s);
            leave(&b->empty[at.i]);
            soft.weigh(s, factor, scale);
            hold(s);
            products_wait<0>();
            hold(o);
            leave(&b->empty[values.i]);
            running::rescale(o, factor);
            pack_all<KEYS>(p, s);
        }
        at = at.next();
        begin_sum<KEYS>(o, p, at);
        products_wait<0>();
        hold(o);
        leave(&b->empty[at.i]);
        at = at.next();
    }

    /* A row's four threads have two neighbouring numbers of every 8; each stores 8 of 32. out: of row g. */
    static __device__ __forceinline__ void store(T *out, size_t stride, float (&o)[D / 8][4], const float (&f)[2],
                                                 uint32_t first, uint32_t rows)
    {
        const uint32_t t = threadIdx.x % 4;
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int c = 0; c < D / 8; c += 4) {
                uint32_t x[4];
#pragma unroll
                for (int j = 0; j < 4; j++)
                    x[j] = pack<T>(o[c + j][2 * r] * f[r], o[c + j][2 * r + 1] * f[r]);
#pragma unroll
                for (int bit = 1; bit < 4; bit *= 2) { /* a transposition: word j of thread t is word t of thread j */
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        if (j & bit)
                            continue;
                        const uint32_t got = __shfl_xor_sync(0xffffffffu, t & bit ? x[j] : x[j + bit], bit);
                        if (t & bit)
                            x[j] = got;
                        else
                            x[j + bit] = got;
                    }
                }
                if (first + 8 * r < rows)
                    *reinterpret_cast<uint4 *>(out + 8 * r * stride + c * 8 + 8 * t) =
                        make_uint4(x[0], x[1], x[2], x[3]);
            }
        }
    }

    __device__ __forceinline__ void compute(const sc_cu_attention &a)
    {
        /* Uniform in a warp, and so that the compiler sees it. */
        uint32_t group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0) - 1; /* which 64 queries; goes round */
        const size_t hidden = (size_t)a.heads * D;
        const float scale = a.scale * LOG2E;
        const uint32_t items = *a.count * a.heads;
        uint4 w = {};
        if (blockIdx.x < items)
            w = load16(a.tiles + blockIdx.x / a.heads);
        for (uint32_t i = blockIdx.x; i < items; i += gridDim.x, set = set.next()) {
            const uint32_t length = __shfl_sync(0xffffffffu, w.y, 0), rows = __shfl_sync(0xffffffffu, w.w, 0);
            const uint32_t tail = length % KEYS, blocks = length / KEYS;
            const uint32_t mine = group, first = 64 * mine + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
            T *out = static_cast<T *>(a.out) + (size_t)(w.x + w.z + first) * hidden + i % a.heads * D;
            if (i + gridDim.x < items)
                w = load16(a.tiles + (i + gridDim.x) / a.heads);
            barrier_wait(&b->queries_full[set.i], set.phase);
            group += GROUPS - (rows + 63) / 64;
            group -= group >= GROUPS ? GROUPS : 0;

            if (64 * mine >= rows) { /* nothing to do but to walk along */
                for (uint32_t n = 2 * (blocks + (tail != 0)); n > 0; n--) {
                    barrier_wait(&b->full[at.i], at.phase);
                    leave(&b->empty[at.i]);
                    at = at.next();
                }
                leave(&b->queries_empty[set.i]);
                continue;
            }
            const uint64_t query = matrix_at<ROW>(queries + set.i * QUERY_BYTES + mine * 64 * ROW, 16);
            float o[D / 8][4] = {}, f[2];
            running soft;
            if constexpr (KEYS > 64) {
                if (tail > 96)
                    some<128>(query, o, soft, scale, tail);
                else if (tail > 64)
                    some<96>(query, o, soft, scale, tail);
            }
            if (tail > 32 && tail <= 64)
                some<64>(query, o, soft, scale, tail);
            else if (tail > 0 && tail <= 32)
                some<32>(query, o, soft, scale, tail);
            whole(blocks, query, o, soft, scale);
            leave(&b->queries_empty[set.i]);
            soft.inverse(f);
            store(out, hidden, o, f, first, rows);
        }
    }
};

template <class T, int D> __device__ __forceinline__ void attention_hopper(const sc_cu_attention &a)
{
    using Hopper = hopper<T, D>;
    extern __shared__ __align__(16) char shared[];
    __shared__ typename Hopper::shared_state barriers;
    Hopper h;
    h.queries = (shared_address(shared) + 1023) / 1024 * 1024; /* swizzles count from there */
    h.slots = h.queries + Hopper::SETS * Hopper::QUERY_BYTES;
    h.b = &barriers;
    let_next_kernel_start();
    if (threadIdx.x == 0) {
        for (int i = 0; i < Hopper::SLOTS; i++)
            barrier_init(&barriers.full[i], 128), barrier_init(&barriers.empty[i], Hopper::WARPS);
        for (int i = 0; i < Hopper::SETS; i++)
            barrier_init(&barriers.queries_full[i], 128), barrier_init(&barriers.queries_empty[i], Hopper::WARPS);
    }
    __syncthreads();
    wait_for_kernel_before();
    if (threadIdx.x < 128) {
        registers_down<32>();
        h.feed(a);
    } else {
        registers_up<160>();
        h.compute(a);
    }
}

#define ATTENTION_HOPPER(T, D)                                                                        \
    extern "C" __global__ void __launch_bounds__(hopper<T, D>::WARPS * 32 + 128, 1)                   \
        sc_attention_hopper_##D##_##T(const __grid_constant__ sc_cu_attention a)                      \
    {                                                                                                 \
        attention_hopper<T, D>(a);                                                                    \
    }
ATTENTION_HOPPER(f16, 32)
ATTENTION_HOPPER(f16, 64)
ATTENTION_HOPPER(f16, 96)
ATTENTION_HOPPER(f16, 128)
ATTENTION_HOPPER(bf16, 32)
ATTENTION_HOPPER(bf16, 64)
ATTENTION_HOPPER(bf16, 96)
ATTENTION_HOPPER(bf16, 128)
