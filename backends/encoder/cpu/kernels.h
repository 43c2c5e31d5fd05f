/*
 * The inner loops of the encoder on the CPU, one table per instruction set.
 *
 * kernels_impl.h is compiled once per instruction set with a vector type of its width; the
 * program as a whole is built for the oldest processor and picks a table when it starts.
 * All functions are pure arithmetic on the caller's memory: no allocation, no state, any
 * thread. Pointers need no alignment.
 */
#ifndef SC_ENCODER_KERNELS_H
#define SC_ENCODER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#include "model/activation.h"

/* Rows of the largest tile of any table, columns of the widest. */
#define SC_TILE_ROWS_MAX 14
#define SC_TILE_COLS_MAX 32

struct sc_kernels {
    const char *name;
    unsigned mr, nr; /* rows (at most) and columns (exactly) of one tile */

    /*
     * c[i][j] = start + sum over p < k of a[i][p] * b[p][j], for i < rows <= mr and j < nr.
     * start is bias[j] if bias is not NULL, else c[i][j] if accumulate, else 0. lda, ldb, ldc are
     * the distances between rows in floats.
     */
    void (*tile)(unsigned rows, size_t k, const float *a, size_t lda, const float *b, size_t ldb, float *c,
                 size_t ldc, const float *bias, bool accumulate);
    /* Applies act to x[0..n). SC_ACT_GELU: error below 1e-6, or 2 units in the last place beyond 4. */
    void (*activate)(enum sc_activation act, float *x, size_t n);
    /* x[i] = exp(scale * (x[i] - max x)); returns 1 / their sum. n >= 1, scale > 0. */
    float (*softmax)(float *x, size_t n, float scale);
    /* x[i] *= f */
    void (*scale)(float *x, size_t n, float f);
    /* x[i] *= y[i] */
    void (*multiply)(float *x, const float *y, size_t n);
    /* Turns each pair (x[i], x[i + half]) by the angle whose cosine and sine are cos[i] and sin[i]. */
    void (*rotate)(float *x, const float *cos, const float *sin, size_t half);
    /* out = gamma * normalised(x + y + z) + beta over n elements. y, z and beta may be NULL; out may be any
     * of x, y and z. */
    void (*layer_norm)(float *out, const float *x, const float *y, const float *z, const float *gamma,
                       const float *beta, size_t n, float eps);
    float (*dot)(const float *a, const float *b, size_t n);
    /* y += f * x */
    void (*axpy)(float *y, float f, const float *x, size_t n);
};

/* The table for this processor. The environment has no say; tests name one below. */
const struct sc_kernels *sc_kernels_best(void);
/* "portable", "avx2" or "avx512"; NULL if the name is unknown or this processor cannot run it. */
const struct sc_kernels *sc_kernels_named(const char *name);

extern const struct sc_kernels sc_kernels_portable;
#if defined(__x86_64__)
extern const struct sc_kernels sc_kernels_avx2;
extern const struct sc_kernels sc_kernels_avx512;
#endif

#endif
