#include <string.h>

#include "cuda/kernels.h"

#define NAME(name, T) [SC_CU_K_##name##_##T] = "sc_" #name "_" #T,
static const char *const names[SC_CU_KERNEL_COUNT] = {SC_CU_KERNELS(NAME)};

#define OF_TYPE(name) {SC_CU_K_##name##_f16, SC_CU_K_##name##_bf16, SC_CU_K_##name##_f32}
#define OF_HALF(name) {SC_CU_K_##name##_f16, SC_CU_K_##name##_bf16}

/* gridDim.y and z end there; kernels walk on. */
#define GRID_Y_MAX 65535u
/* Rows beyond this are walked: more blocks would only queue. */
#define GRID_X_MAX (1u << 20)

/* Blocks that a GPU of today runs at once. */
#define FEW_BLOCKS 1024u

/* Rows that a block has of a large tile: what four warps, or one warpgroup, compute at a time. */
#define LARGE_ROWS 64u
#define ROW_THREADS 128u
#define ROW_WARPS (ROW_THREADS / 32)
/* A warp keeps a row of up to so many numbers in registers, a block so many. */
#define WARP_ROW 1024u
#define BLOCK_ROW 4096u

bool sc_cu_wants_much(enum sc_cu_kernel k)
{
    return strstr(names[k], "_hopper_") != NULL;
}

const char *sc_cu_kernel_name(enum sc_cu_kernel k)
{
    return names[k];
}

static uint32_t ceil_div(uint32_t n, uint32_t by)
{
    return n / by + (n % by != 0);
}

static uint32_t at_most(uint32_t n, uint32_t max)
{
    return n == 0 ? 1 : n < max ? n : max;
}

static uint32_t vector(enum sc_cu_type t)
{
    return t == SC_CU_F32 ? 4 : 8; /* numbers in 16 bytes */
}

uint32_t sc_cu_small_length(uint32_t tokens)
{
    return tokens <= SC_CU_FEW_TOKENS ? SC_CU_FEW_TOKENS : 48;
}

void sc_cu_tiles(const uint32_t *begin, const uint32_t *keys, uint32_t sequences, struct sc_cu_tile *small,
                 struct sc_cu_tile *large, struct sc_cu_counts *counts)
{
    counts->small = counts->large = 0;
    const uint32_t small_length = sc_cu_small_length(begin[sequences] - begin[0]);
    for (uint32_t s = 0; s < sequences; s++) {
        uint32_t length = begin[s + 1] - begin[s];
        bool is_small = length <= small_length;
        uint32_t unit = is_small ? 16 : LARGE_ROWS, groups = ceil_div(length, unit);
        uint32_t tiles = is_small ? groups : ceil_div(groups, SC_CU_TILE_ROWS / LARGE_ROWS);
        struct sc_cu_tile *to = is_small ? small + counts->small : large + counts->large;
        for (uint32_t i = 0, row = 0; i < tiles; i++) {
            uint32_t rows = unit * (groups / tiles + (i < groups % tiles)); /* as even as can be */
            rows = rows < length - row ? rows : length - row;
            to[i] = (struct sc_cu_tile){
                .begin = begin[s], .length = keys ? keys[s] : length, .row = row, .rows = rows};
            row += rows;
        }
        *(is_small ? &counts->small : &counts->large) += tiles;
    }
}

/* A kernel of one row a warp, a block, or anything. */
static struct sc_cu_launch by_row(enum sc_cu_type t, uint32_t hidden, uint32_t rows,
                                  const enum sc_cu_kernel k[3])
{
    bool whole = hidden % vector(t) == 0;
    uint32_t way = whole && hidden <= WARP_ROW ? 0 : whole && hidden <= BLOCK_ROW ? 1 : 2;
    uint32_t blocks = way == 0 ? ceil_div(rows, ROW_WARPS) : rows;
    return (struct sc_cu_launch){
        .kernel = k[way], .grid = {at_most(blocks, GRID_X_MAX), 1, 1}, .block = ROW_THREADS};
}

struct sc_cu_launch sc_cu_launch_embed(enum sc_cu_type t, const struct sc_cu_embed *a, uint32_t rows)
{
    static const enum sc_cu_kernel warp[] = OF_TYPE(embed), wide[] = OF_TYPE(embed_wide),
                                   plain[] = OF_TYPE(embed_plain);
    return by_row(t, a->hidden, rows, (const enum sc_cu_kernel[]){warp[t], wide[t], plain[t]});
}

struct sc_cu_launch sc_cu_launch_norm(enum sc_cu_type t, const struct sc_cu_norm *a, uint32_t rows)
{
    static const enum sc_cu_kernel warp[] = OF_TYPE(norm), wide[] = OF_TYPE(norm_wide),
                                   plain[] = OF_TYPE(norm_plain);
    return by_row(t, a->hidden, rows, (const enum sc_cu_kernel[]){warp[t], wide[t], plain[t]});
}

/* Threads own columns and walk rows. */
static struct sc_cu_launch by_column(enum sc_cu_type t, uint32_t cols, uint32_t rows, enum sc_cu_kernel k)
{
    uint32_t items = cols % vector(t) == 0 ? cols / vector(t) : cols;
    uint32_t block = 32 * at_most(ceil_div(items, 32), 16);
    return (struct sc_cu_launch){
        .kernel = k,
        .grid = {at_most(ceil_div(rows, 4), GRID_X_MAX), at_most(ceil_div(items, block), GRID_Y_MAX), 1},
        .block = block};
}

struct sc_cu_launch sc_cu_launch_activate(enum sc_cu_type t, const struct sc_cu_activate *a, uint32_t rows)
{
    static const enum sc_cu_kernel k[] = OF_TYPE(activate);
    return by_column(t, a->cols, rows, k[t]);
}

struct sc_cu_launch sc_cu_launch_glu(enum sc_cu_type t, const struct sc_cu_glu *a, uint32_t rows)
{
    static const enum sc_cu_kernel k[] = OF_TYPE(glu);
    return by_column(t, a->cols, rows, k[t]);
}

struct sc_cu_launch sc_cu_launch_rotary(enum sc_cu_type t, const struct sc_cu_rotary *a, uint32_t rows)
{
    static const enum sc_cu_kernel k[] = OF_TYPE(rotary);
    (void)a;
    return (struct sc_cu_launch){
        .kernel = k[t], .grid = {at_most(rows, GRID_X_MAX), 1, 1}, .block = ROW_THREADS};
}

struct sc_cu_launch sc_cu_launch_pool(enum sc_cu_type t, const struct sc_cu_pool *a, uint32_t rows)
{
    static const enum sc_cu_kernel k[] = OF_TYPE(pool);
    uint32_t items = a->hidden % vector(t) == 0 ? a->hidden / vector(t) : a->hidden;
    return (struct sc_cu_launch){
        .kernel = k[t],
        .grid = {at_most(rows, GRID_X_MAX), at_most(ceil_div(items, 32), GRID_Y_MAX), 1},
        .block = 256};
}

struct sc_cu_launch sc_cu_launch_gather(enum sc_cu_type t, const struct sc_cu_gather *a, uint32_t rows)
{
    static const enum sc_cu_kernel k[] = OF_TYPE(gather);
    (void)a;
    return (struct sc_cu_launch){
        .kernel = k[t], .grid = {at_most(rows, GRID_X_MAX), 1, 1}, .block = ROW_THREADS};
}

struct sc_cu_launch sc_cu_launch_linear(enum sc_cu_type t, const struct sc_cu_linear *a, uint32_t rows)
{
    static const enum sc_cu_kernel k[] = OF_TYPE(linear);
    return (struct sc_cu_launch){.kernel = k[t],
                                 .grid = {at_most(ceil_div(rows, ROW_WARPS), GRID_X_MAX),
                                          at_most(ceil_div(a->outs, 8), GRID_Y_MAX), 1},
                                 .block = ROW_THREADS};
}

struct sc_cu_launch sc_cu_launch_attention(enum sc_cu_type t, const struct sc_cu_attention *a, bool large,
                                           uint32_t tiles)
{
    static const enum sc_cu_kernel plain[] = OF_TYPE(attention_plain);
    static const enum sc_cu_kernel fast[4][3][2] = {
        {OF_HALF(attention_small_32), OF_HALF(attention_large_32), OF_HALF(attention_few_32)},
        {OF_HALF(attention_small_64), OF_HALF(attention_large_64), OF_HALF(attention_few_64)},
        {OF_HALF(attention_small_96), OF_HALF(attention_large_96), OF_HALF(attention_few_96)},
        {OF_HALF(attention_small_128), OF_HALF(attention_large_128), OF_HALF(attention_few_128)},
    };
    static const enum sc_cu_kernel hopper[4][2] = {
        OF_HALF(attention_hopper_32),
        OF_HALF(attention_hopper_64),
        OF_HALF(attention_hopper_96),
        OF_HALF(attention_hopper_128),
    };
    bool is_fast = t != SC_CU_F32 && a->head_dim % 32 == 0 && a->head_dim >= 32 && a->head_dim <= 128;
    if (is_fast && large && a->window == 0 && a->multiprocessors > 0)
        return (struct sc_cu_launch){
            .kernel = hopper[a->head_dim / 32 - 1][t],
            .grid = {at_most(at_most(tiles, a->multiprocessors) * a->heads, a->multiprocessors), 1, 1},
            .block = ROW_THREADS + 2 * SC_CU_TILE_ROWS,
            .shared = SC_CU_SHARED_MOST};
    bool few = !large && tiles <= FEW_BLOCKS / (a->heads ? a->heads : 1);
    struct sc_cu_launch l = {.kernel = is_fast ? fast[a->head_dim / 32 - 1][few ? 2 : large][t] : plain[t],
                             .grid = {a->heads, at_most(tiles, GRID_Y_MAX), 1},
                             .block = ROW_THREADS};
    if (is_fast && !large && !few) /* a warp a tile */
        l.grid[1] = at_most(ceil_div(tiles, ROW_WARPS), GRID_Y_MAX);
    if (is_fast && large) {
        l.grid[1] = at_most(ceil_div(SC_CU_TILE_ROWS, LARGE_ROWS) * at_most(tiles, GRID_Y_MAX), GRID_Y_MAX);
        /* two stages of keys and values, their rows 16 bytes longer than they are */
        uint32_t keys = a->head_dim <= 64 ? 64 : 32;
        l.shared = 2 * 2 * keys * (a->head_dim + 8) * 2;
    }
    return l;
}

bool sc_cu_skinny_fits(enum sc_cu_type t, const struct sc_cu_skinny *a)
{
    return t != SC_CU_F32 && a->n % 8 == 0 && a->k % 8 == 0 && a->n > 0 && a->k > 0 &&
           a->k <= (a->gamma ? 1024u : 4096u);
}

struct sc_cu_launch sc_cu_launch_skinny(enum sc_cu_type t, const struct sc_cu_skinny *a, uint32_t rows)
{
    static const enum sc_cu_kernel narrow[] = OF_HALF(skinny), deep[] = OF_HALF(skinny_deep),
                                   wide[] = OF_HALF(skinny_wide), norm[] = OF_HALF(skinny_norm);
    (void)rows; /* it walks them */
    /* Eight outputs a block until that makes more blocks than a large GPU has multiprocessors. Registers
     * decide how many threads there can be, and so how much of k a warp has to take. */
    bool is_deep = a->k > 2048, is_wide = a->gamma != NULL || (a->n > 8 * 128 && a->k <= 1024);
    uint32_t outs = is_wide ? 24 : 8, warps = ceil_div(a->k, is_deep ? 256 : 128);
    uint32_t floats = 2 * outs + warps * (16 * outs + (a->gamma ? 32 : 0));
    return (struct sc_cu_launch){.kernel = a->gamma  ? norm[t]
                                           : is_deep ? deep[t]
                                           : is_wide ? wide[t]
                                                     : narrow[t],
                                 .grid = {ceil_div(a->n, outs), 1, 1},
                                 .block = 32 * warps,
                                 .shared = floats * (uint32_t)sizeof(float)};
}
