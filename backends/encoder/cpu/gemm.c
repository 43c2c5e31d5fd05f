#include "cpu/gemm.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/array.h"

/*
 * The order of the loops: a block of K (so that a panel of weights stays in the first cache), a
 * block of rows (so that their activations stay in the second), panel after panel of
 * weights, and for each the tiles down the rows. Weights are read from memory once per
 * block of rows, in the order in which they lie.
 */
#define K_BLOCK 384
#define ROW_BLOCK 144
#define HUGE_PAGE ((size_t)2 << 20)

struct sc_gemm {
    const struct sc_kernels *kernels;
    size_t n, k;
    size_t panels; /* n / nr, rounded up */
    enum sc_activation act;
    float *w;    /* for each block of K, for each panel: rows of nr floats; columns beyond n are 0 */
    float *bias; /* panels * nr floats */
};

struct sc_gemm *sc_gemm_new(const struct sc_kernels *kernels, const float *w, const float *bias, size_t n,
                            size_t k, enum sc_activation act)
{
    struct sc_gemm *g = malloc(sizeof *g);
    if (!g)
        return NULL;
    size_t nr = kernels->nr;
    *g = (struct sc_gemm){.kernels = kernels, .n = n, .k = k, .panels = (n + nr - 1) / nr, .act = act};
    size_t bytes, columns = g->panels * nr;
    if (__builtin_mul_overflow(columns * sizeof *g->w, k, &bytes) || bytes > SIZE_MAX - HUGE_PAGE)
        goto fail;
    /* Large weights on huge pages: a pass over them costs a tenth of the address translations. */
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    bytes = (bytes + align - 1) / align * align;
    g->w = aligned_alloc(align, bytes);
    g->bias = calloc(columns, sizeof *g->bias);
    if (!g->w || !g->bias)
        goto fail;
    if (align == HUGE_PAGE)
        (void)madvise(g->w, bytes, MADV_HUGEPAGE);
    if (bias)
        memcpy(g->bias, bias, n * sizeof *bias);

    float *to = g->w;
    for (size_t kb = 0; kb < k; kb += K_BLOCK) {
        size_t kn = SC_MIN((size_t)K_BLOCK, k - kb);
        for (size_t panel = 0; panel < g->panels; panel++)
            for (size_t p = 0; p < kn; p++)
                for (size_t j = 0; j < nr; j++) {
                    size_t row = panel * nr + j;
                    *to++ = row < n ? w[row * k + kb + p] : 0;
                }
    }
    return g;
fail:
    sc_gemm_del(g);
    return NULL;
}

void sc_gemm_del(struct sc_gemm *g)
{
    if (!g)
        return;
    free(g->w);
    free(g->bias);
    free(g);
}

/* The last panel of a weight whose n is no multiple of nr: through a tile that is wide enough. */
static void narrow_tile(const struct sc_gemm *g, unsigned rows, size_t kn, const float *a, const float *w,
                        float *c, size_t columns, const float *bias, bool last)
{
    const struct sc_kernels *kern = g->kernels;
    float t[SC_TILE_ROWS_MAX * SC_TILE_COLS_MAX];
    size_t nr = kern->nr;
    if (!bias)
        for (unsigned i = 0; i < rows; i++)
            memcpy(t + i * nr, c + i * g->n, columns * sizeof *c);
    kern->tile(rows, kn, a, g->k, w, nr, t, nr, bias, true);
    for (unsigned i = 0; i < rows; i++) {
        if (last)
            kern->activate(g->act, t + i * nr, columns);
        memcpy(c + i * g->n, t + i * nr, columns * sizeof *c);
    }
}

static void block(const struct sc_gemm *g, size_t m, size_t kb, size_t kn, const float *a, float *c)
{
    const struct sc_kernels *kern = g->kernels;
    size_t nr = kern->nr, mr = kern->mr;
    const float *w = g->w + kb * g->panels * nr;
    bool last = kb + kn == g->k;
    /* Tiles of nearly equal height: a leftover of one or two rows would waste most of its time. */
    size_t tiles = (m + mr - 1) / mr;
    for (size_t panel = 0; panel < g->panels; panel++, w += kn * nr) {
        size_t column = panel * nr, columns = SC_MIN(nr, g->n - column);
        const float *bias = kb == 0 ? g->bias + column : NULL;
        size_t row = 0;
        for (size_t t = 0; t < tiles; t++) {
            unsigned rows = (unsigned)((m - row + tiles - t - 1) / (tiles - t));
            const float *at = a + row * g->k + kb;
            float *ct = c + row * g->n + column;
            row += rows;
            if (columns < nr) {
                narrow_tile(g, rows, kn, at, w, ct, columns, bias, last);
                continue;
            }
            kern->tile(rows, kn, at, g->k, w, nr, ct, g->n, bias, true);
            if (last && g->act != SC_ACT_NONE)
                for (unsigned i = 0; i < rows; i++)
                    kern->activate(g->act, ct + i * g->n, nr);
        }
    }
}

void sc_gemm_run(const struct sc_gemm *g, size_t m, const float *a, float *c)
{
    for (size_t row = 0; row < m; row += ROW_BLOCK) {
        size_t rows = SC_MIN((size_t)ROW_BLOCK, m - row);
        for (size_t kb = 0; kb < g->k; kb += K_BLOCK)
            block(g, rows, kb, SC_MIN((size_t)K_BLOCK, g->k - kb), a + row * g->k, c + row * g->n);
    }
}
