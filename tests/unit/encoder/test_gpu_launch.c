#include "test.h"

#include <stdlib.h>

#include "cuda/kernels.h"

/* Every query of every sequence is in one tile, and all of a tile's queries in its sequence. */
static void tiles_cover_each_token_once(void **state)
{
    (void)state;
    uint32_t begin[401] = {0}, n = 400;
    for (uint32_t s = 0; s < n; s++)
        begin[s + 1] = begin[s] + (s == 77 ? 8192 : s % 5 == 4 ? 0 : s);
    uint32_t tokens = begin[n];
    struct sc_cu_tile *small = calloc(SC_CU_SMALL_TILES(tokens, n), sizeof(*small));
    struct sc_cu_tile *large = calloc(SC_CU_LARGE_TILES(tokens, n), sizeof(*large));
    unsigned char *seen = calloc(tokens, 1);
    struct sc_cu_counts counts = {.tokens = 1, .picks = 2};
    sc_cu_tiles(begin, NULL, n, small, large, &counts);
    assert_true(counts.small <= SC_CU_SMALL_TILES(tokens, n));
    assert_true(counts.large <= SC_CU_LARGE_TILES(tokens, n));
    assert_int_equal(counts.tokens + counts.picks, 3); /* the caller's */
    for (uint32_t i = 0; i < counts.small + counts.large; i++) {
        bool is_small = i < counts.small;
        struct sc_cu_tile t = is_small ? small[i] : large[i - counts.small];
        assert_true(t.rows > 0 && t.row + t.rows <= t.length && t.begin + t.length <= tokens);
        assert_true(t.row % 16 == 0 && t.rows <= (is_small ? 16 : SC_CU_TILE_ROWS));
        assert_int_equal(is_small, t.length <= sc_cu_small_length(tokens));
        for (uint32_t r = 0; r < t.rows; r++)
            seen[t.begin + t.row + r]++;
    }
    for (uint32_t i = 0; i < tokens; i++)
        assert_int_equal(seen[i], 1);
    free(small), free(large), free(seen);
}

/* A batch that does not fill a GPU is cut small throughout. */
static void few_tokens_are_cut_small(void **state)
{
    (void)state;
    const uint32_t begin[] = {0, 16, 166, SC_CU_FEW_TOKENS};
    struct sc_cu_tile small[SC_CU_SMALL_TILES(SC_CU_FEW_TOKENS, 3)],
        large[SC_CU_LARGE_TILES(SC_CU_FEW_TOKENS, 3)];
    struct sc_cu_counts counts;
    sc_cu_tiles(begin, NULL, 3, small, large, &counts);
    assert_int_equal(counts.large, 0);
    assert_int_equal(counts.small, 1 + 10 + 22);
}

/* Padding is computed like other queries, and no key. */
static void tiles_of_padding_see_the_keys_before_it(void **state)
{
    (void)state;
    const uint32_t begin[] = {0, 150, 950, 955}, keys[] = {7, 100, 5};
    struct sc_cu_tile small[SC_CU_SMALL_TILES(955, 3)], large[SC_CU_LARGE_TILES(955, 3)];
    struct sc_cu_counts counts;
    unsigned char seen[955] = {0};
    sc_cu_tiles(begin, keys, 3, small, large, &counts);
    for (uint32_t i = 0; i < counts.small + counts.large; i++) {
        struct sc_cu_tile t = i < counts.small ? small[i] : large[i - counts.small];
        assert_int_equal(t.length, t.begin == 0 ? 7 : t.begin == 150 ? 100 : 5);
        for (uint32_t r = 0; r < t.rows; r++)
            seen[t.begin + t.row + r]++;
    }
    for (uint32_t i = 0; i < 955; i++)
        assert_int_equal(seen[i], 1);
}

static void tiles_of_one_token_sequences_fit_their_bound(void **state)
{
    (void)state;
    enum { N = 1000 };
    uint32_t begin[N + 1];
    for (uint32_t i = 0; i <= N; i++)
        begin[i] = i;
    struct sc_cu_tile small[SC_CU_SMALL_TILES(N, N)], large[SC_CU_LARGE_TILES(N, N)];
    struct sc_cu_counts counts;
    sc_cu_tiles(begin, NULL, N, small, large, &counts);
    assert_int_equal(counts.small, N);
    assert_int_equal(counts.large, 0);
    assert_memory_equal(&small[N - 1], &((struct sc_cu_tile){N - 1, 1, 0, 1}), sizeof(small[0]));
}

/* What every GPU since 7.5 takes. */
static void assert_launchable(struct sc_cu_launch l, const char *name)
{
    assert_string_equal(sc_cu_kernel_name(l.kernel), name);
    assert_true(l.grid[0] >= 1 && l.grid[1] >= 1 && l.grid[2] == 1);
    assert_true(l.grid[1] <= 65535);
    assert_true(l.block >= 32 && l.block <= 1024 && l.block % 32 == 0);
    assert_true(l.shared <= 48 << 10 && !sc_cu_wants_much(l.kernel));
}

static void a_row_decides_by_its_length_who_has_it(void **state)
{
    (void)state;
    struct sc_cu_norm a = {.hidden = 768};
    assert_launchable(sc_cu_launch_norm(SC_CU_F16, &a, 0), "sc_norm_f16");
    assert_launchable(sc_cu_launch_norm(SC_CU_BF16, &a, UINT32_MAX), "sc_norm_bf16");
    a.hidden = 1032;
    assert_launchable(sc_cu_launch_norm(SC_CU_F32, &a, 7), "sc_norm_wide_f32");
    a.hidden = 1028; /* four numbers are 16 bytes of float, not of half */
    assert_launchable(sc_cu_launch_norm(SC_CU_F32, &a, 7), "sc_norm_wide_f32");
    assert_launchable(sc_cu_launch_norm(SC_CU_F16, &a, 7), "sc_norm_plain_f16");
    struct sc_cu_embed e = {.hidden = 4104};
    assert_launchable(sc_cu_launch_embed(SC_CU_F16, &e, 7), "sc_embed_plain_f16");
}

static void attention_is_plain_where_it_must_be(void **state)
{
    (void)state;
    struct sc_cu_attention a = {.heads = 12, .head_dim = 64};
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, false, 2048), "sc_attention_small_64_f16");
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, false, 10), "sc_attention_few_64_f16");
    assert_launchable(sc_cu_launch_attention(SC_CU_BF16, &a, true, UINT32_MAX), "sc_attention_large_64_bf16");
    assert_launchable(sc_cu_launch_attention(SC_CU_F32, &a, true, 0), "sc_attention_plain_f32");
    for (uint32_t d = 96; d <= 128; d += 32) {
        a.head_dim = d;
        assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, true, 1),
                          d == 96 ? "sc_attention_large_96_f16" : "sc_attention_large_128_f16");
    }
    a.head_dim = 80;
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, false, 1), "sc_attention_plain_f16");
    a.head_dim = 160;
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, true, 1), "sc_attention_plain_f16");
}

/* The kernel for 9.0 has one block a multiprocessor, and no windows. */
static void hopper_has_what_sees_all_keys(void **state)
{
    (void)state;
    struct sc_cu_attention a = {.heads = 12, .head_dim = 64, .multiprocessors = 132};
    struct sc_cu_launch l = sc_cu_launch_attention(SC_CU_BF16, &a, true, UINT32_MAX);
    assert_string_equal(sc_cu_kernel_name(l.kernel), "sc_attention_hopper_64_bf16");
    assert_true(sc_cu_wants_much(l.kernel));
    assert_int_equal(l.shared, SC_CU_SHARED_MOST);
    assert_int_equal(l.grid[0], 132);
    assert_int_equal(sc_cu_launch_attention(SC_CU_F16, &a, true, 3).grid[0], 36);
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, false, 2048), "sc_attention_small_64_f16");
    assert_launchable(sc_cu_launch_attention(SC_CU_F32, &a, true, 3), "sc_attention_plain_f32");
    a.window = 64;
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, true, 3), "sc_attention_large_64_f16");
    a.window = 0, a.head_dim = 80;
    assert_launchable(sc_cu_launch_attention(SC_CU_F16, &a, true, 3), "sc_attention_plain_f16");
}

static void the_product_of_few_rows_says_what_fits(void **state)
{
    (void)state;
    const float gamma = 1;
    struct sc_cu_skinny a = {.n = 2304, .k = 768, .gamma = &gamma};
    assert_true(sc_cu_skinny_fits(SC_CU_F16, &a));
    assert_false(sc_cu_skinny_fits(SC_CU_F32, &a));
    for (a.k = 8; a.k <= 1024; a.k += 8)
        assert_launchable(sc_cu_launch_skinny(SC_CU_F16, &a, 16), "sc_skinny_norm_f16");
    assert_false(sc_cu_skinny_fits(SC_CU_F16, &a));
    a.gamma = NULL;
    for (a.k = 8; a.k <= 4096; a.k += 8) {
        assert_true(sc_cu_skinny_fits(SC_CU_F16, &a));
        assert_launchable(sc_cu_launch_skinny(SC_CU_F16, &a, 16), a.k <= 1024   ? "sc_skinny_wide_f16"
                                                                  : a.k <= 2048 ? "sc_skinny_f16"
                                                                                : "sc_skinny_deep_f16");
    }
    assert_false(sc_cu_skinny_fits(SC_CU_F16, &a));
    a.k = 4096;
    assert_launchable(sc_cu_launch_skinny(SC_CU_BF16, &a, 16), "sc_skinny_deep_bf16");
    a.k = 37;
    assert_false(sc_cu_skinny_fits(SC_CU_F16, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_cover_each_token_once),
        cmocka_unit_test(few_tokens_are_cut_small),
        cmocka_unit_test(tiles_of_padding_see_the_keys_before_it),
        cmocka_unit_test(tiles_of_one_token_sequences_fit_their_bound),
        cmocka_unit_test(a_row_decides_by_its_length_who_has_it),
        cmocka_unit_test(attention_is_plain_where_it_must_be),
        cmocka_unit_test(hopper_has_what_sees_all_keys),
        cmocka_unit_test(the_product_of_few_rows_says_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
