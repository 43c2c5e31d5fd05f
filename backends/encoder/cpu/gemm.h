/*
 * The project's own matrix product: row-major activations times a weight that was packed once.
 *
 * A weight is packed for one table of kernels and never changes afterwards: any number of
 * threads may multiply with it. The activations are read where they lie.
 */
#ifndef SC_ENCODER_GEMM_H
#define SC_ENCODER_GEMM_H

#include "cpu/kernels.h"

struct sc_gemm; /* a packed weight */

/*
 * Packs w, n rows of k floats as they lie in a Hugging Face file, and bias (n floats or NULL). Both may be
 * freed afterwards. n and k >= 1. NULL if memory is gone. The caller frees with sc_gemm_del.
 */
struct sc_gemm *sc_gemm_new(const struct sc_kernels *kernels, const float *w, const float *bias, size_t n,
                            size_t k, enum sc_activation act);
void sc_gemm_del(struct sc_gemm *g);

/* c[m][n] = act(a[m][k] * w^T + bias), both dense. a and c do not overlap. */
void sc_gemm_run(const struct sc_gemm *g, size_t m, const float *a, float *c);

#endif
