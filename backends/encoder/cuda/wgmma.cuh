/*
 * Hopper's own instructions (compute capability 9.0a): matrix products by four warps together, whose factors lie in
 * shared memory, and barriers there that count. After PTX ISA 8.x, "Asynchronous Warpgroup Level Matrix Instructions"
 * and "mbarrier".
 */
#pragma once
#include "device.cuh"

/* ---- barriers in shared memory ---- */

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void barrier_init(uint64_t *b, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}

/* Arrives when this thread's copies so far have. */
__device__ __forceinline__ void barrier_arrive_copied(uint64_t *b)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(b)) : "memory");
}

/* Returns when the phase of this parity is over; the phase before the first counts as odd. */
__device__ __forceinline__ void barrier_wait(uint64_t *b, uint32_t parity)
{
    uint32_t passed;
    do {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}"
                     : "=r"(passed)
                     : "r"(shared_address(b)), "r"(parity)
                     : "memory");
    } while (!passed);
}

/* What copies have written that this thread has waited for can be read by its matrix instructions behind this. */
__device__ __forceinline__ void see_copies()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- registers of warpgroups ---- */

template <int N> __device__ __forceinline__ void registers_up()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> __device__ __forceinline__ void registers_down()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* ---- products ---- */

/*
 * A matrix in shared memory, rows of ROW = 64 or 128 bytes one behind the other, their 16-byte pieces swizzled:
 * piece c of row r lies at c ^ (r % 8), or c ^ (r / 2 % 4). It begins at a multiple of 1,024. `panel`: bytes from
 * one set of ROW / 2 columns to the next, where columns are what is multiplied away last (v).
 */
template <int ROW> __device__ __forceinline__ uint64_t matrix_at(uint32_t address, uint32_t panel)
{
    static_assert(ROW == 64 || ROW == 128, "swizzles");
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(panel >> 4) << 16 | (uint64_t)(8 * ROW >> 4) << 32 |
           (uint64_t)(ROW == 128 ? 1 : 2) << 62;
}

/* The same `bytes` further on. */
__device__ __forceinline__ uint64_t matrix_from(uint64_t matrix, uint32_t bytes)
{
    return matrix & 0xffffffff00000000u | (uint32_t)matrix + (bytes >> 4);
}

template <int ROW> __device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t piece)
{
    return row * ROW + ((piece ^ (ROW == 128 ? row % 8 : row / 2 % 4)) << 4);
}

/* Numbers in these registers are changed by products under way from here on, or no longer so. */
template <int N> __device__ __forceinline__ void hold(float (&d)[N][4])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])::"memory");
}

__device__ __forceinline__ void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void products_close()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int N> __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/*
 * d = a b, or d += a b if `add`, over 16 of what is multiplied away; 64 rows, N columns, laid out as the result of mma
 * is, each warp its 16 rows. a: in shared memory, or in registers as mma has it. b by rows: N rows, multiplied
 * along them (k); by columns: 16 rows of N (v).
 */
template <class T, int N>
__device__ __forceinline__ void product_by_rows(float (&d)[N / 8][4], uint64_t a, uint64_t b, bool add);
template <class T, int N>
__device__ __forceinline__ void product_by_columns(float (&d)[N / 8][4], const uint32_t (&a)[4], uint64_t b);

#define D4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define D16(i) D4(i), D4(i + 1), D4(i + 2), D4(i + 3)
#define D_32 D16(0)
#define D_64 D_32, D16(4)
#define D_96 D_64, D16(8)
#define D_128 D_96, D16(12)
#define R_32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define R_64 R_32 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define R_96 R_64 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define R_128 R_96 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
/* x0..: the numbers of the operands behind the N / 2 of d. */
#define WGMMA(T, N, x0, x1, x2, x3, x4)                                                                                \
    template <> __device__ __forceinline__ void product_by_rows<T, N>(float (&d)[N / 8][4], uint64_t a, uint64_t b,    \
                                                                      bool add)                                        \
    {                                                                                                                  \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #x2 ", 0;\n"                                                 \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T " {" R_##N "}, %" #x0 ", %" #x1       \
                     ", p, 1, 1, 0, 0;\n}"                                                                             \
                     : D_##N                                                                                           \
                     : "l"(a), "l"(b), "r"((int)add));                                                                 \
    }                                                                                                                  \
    template <>                                                                                                        \
    __device__ __forceinline__ void product_by_columns<T, N>(float (&d)[N / 8][4], const uint32_t (&a)[4], uint64_t b) \
    {                                                                                                                  \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T " {" R_##N "}, {%" #x0 ",%" #x1       \
                     ",%" #x2 ",%" #x3 "}, %" #x4 ", 1, 1, 1, 1;"                                                      \
                     : D_##N                                                                                           \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                            \
    }
#define WGMMA_SIZES(T)              \
    WGMMA(T, 32, 16, 17, 18, 19, 20) \
    WGMMA(T, 64, 32, 33, 34, 35, 36) \
    WGMMA(T, 96, 48, 49, 50, 51, 52) \
    WGMMA(T, 128, 64, 65, 66, 67, 68)
WGMMA_SIZES(f16)
WGMMA_SIZES(bf16)
