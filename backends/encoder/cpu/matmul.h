/*
 * The seam between the engine and whoever multiplies matrices for it.
 *
 * Two stand behind it: the project's own code (matmul_builtin) and oneDNN, which lies in a module of its own
 * (libsconce_encoder_onednn.so, this table its only contract) because its library is not on every
 * machine. A weight is packed once and read by all lanes.
 */
#ifndef SC_ENCODER_MATMUL_H
#define SC_ENCODER_MATMUL_H

#include <stdint.h>

#include "cpu/kernels.h"

#define SC_MATMUL_ABI 2

struct sc_matmul; /* a packed weight; each implementation defines its own */

struct sc_matmul_ops {
    uint32_t abi; /* SC_MATMUL_ABI */
    const char *name;
    /* Whether it multiplies in bf16 on this processor faster than in fp32. */
    bool bf16;
    /*
     * Packs w, n rows of k floats, with bias (n floats). Both may be freed afterwards. bf16: weights and
     * activations are rounded to it, sums stay fp32; only if the table says it can. NULL if memory is gone or
     * the library refuses. Main thread.
     */
    struct sc_matmul *(*pack)(const float *w, const float *bias, size_t n, size_t k, enum sc_activation act,
                              bool bf16);
    void (*del)(struct sc_matmul *w);
    /* Bytes of scratch memory that run wants, whatever m; 0 if none. */
    size_t (*scratch)(const struct sc_matmul *w);
    /*
     * c[m][n] = act(a[m][k] * w^T + bias), both dense, 64-byte aligned or not. May read and write up to
     * sc_matmul_rows(m) rows of a and c: the caller's memory goes so far. 0, or -1 if the library fails. Any
     * thread, with its own scratch.
     */
    int (*run)(const struct sc_matmul *w, size_t m, const float *a, float *c, void *scratch);
};

/* m rounded up as far as any implementation may go: oneDNN wants few different shapes. */
static inline size_t sc_matmul_rows(size_t m)
{
    size_t step = m <= 64 ? 8 : 16;
    return (m + step - 1) / step * step;
}

/* The project's own, with the best kernels for this processor. */
const struct sc_matmul_ops *sc_matmul_builtin(void);

/* What the module exports. NULL if its library cannot work here. */
typedef const struct sc_matmul_ops *(*sc_matmul_module_fn)(void);

#endif
