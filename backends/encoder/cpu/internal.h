/*
 * The engine on the CPU, between its files: pack.c makes it, engine.c runs the layers, heads.c what comes
 * behind them.
 */
#ifndef SC_ENCODER_CPU_INTERNAL_H
#define SC_ENCODER_CPU_INTERNAL_H

#include "cpu/matmul.h"
#include "engine.h"

/* Rows that go through the second half of a layer together: the wide activations between its two
 * products then stay in the cache. Twice the block of rows of gemm.c. */
#define SC_CPU_CHUNK 288

/* gamma NULL: there is none. */
struct sc_cpu_norm {
    float *gamma, *beta;
};

/* Cosines and sines of rotary positions: positions rows of head_dim / 2. */
struct sc_cpu_rotary {
    float theta;
    float *cos, *sin;
};

struct sc_cpu_layer {
    bool shared;              /* the weights are an earlier layer's */
    struct sc_matmul *qkv;    /* not in a last layer that computes only few rows */
    struct sc_matmul *q, *kv; /* in such a one */
    struct sc_matmul *out, *up, *gate, *down;
    struct sc_cpu_norm attention_norm, norm;
    size_t window; /* as sc_attention's */
    const struct sc_cpu_rotary *rotary;
};

struct sc_cpu_engine {
    struct sc_engine base;
    const struct sc_matmul_ops *ops;
    const struct sc_kernels *kernels;
    bool bf16;

    uint32_t hidden, layers, heads, head, intermediate, embedding;
    float eps;
    bool pre_norm;
    bool few; /* only picked, first or last tokens leave the last layer */
    enum sc_pooling pooling;
    uint32_t position_offset;
    bool position_by_pad;
    uint32_t pad_id;

    float *words, *places, *segments; /* places, segments: NULL if there are none */
    struct sc_cpu_norm embedding_norm;
    struct sc_matmul *projection;
    struct sc_cpu_rotary rotary[2];
    struct sc_cpu_layer *layer;
    struct sc_cpu_norm final_norm;

    struct sc_matmul *head_dense;
    struct sc_cpu_norm head_norm;
    struct sc_matmul *out; /* labels: always the builtin's, since oneDNN would pad few of them to 64 */
    const float *decoder;  /* vocabulary: embedding floats a token; `words`, or `own_decoder` */
    float *own_decoder, *decoder_bias;
    uint32_t head_size; /* columns behind head_dense */
    uint32_t dense_n;
    struct sc_matmul *dense[SC_ENCODER_DENSE_MAX];
    uint32_t dense_size[SC_ENCODER_DENSE_MAX + 1]; /* columns before the first, behind each */

    uint32_t row; /* most columns that one row of a chunk has: l->sum's and l->wide's */
    size_t scratch;
};

struct sc_cpu_lane {
    struct sc_engine_lane base;
    const struct sc_cpu_engine *e;
    size_t tokens;  /* room for so many */
    size_t longest; /* room for a sequence of so many */
    float *x, *h, *qkv, *context, *sum, *wide, *gate, *work;
    uint32_t *wanted; /* rows of the batch that leave the last layer, if few */
    void *scratch;
};

int sc_cpu_engine_new(struct sc_engine **out, const struct sc_encoder_config *c,
                      const struct sc_encoder_weights *w, const struct sc_engine_options *o,
                      struct sc_msg *warning, struct sc_msg *msg);
void sc_cpu_engine_del(struct sc_engine *e);

/*
 * The head over the states that the last layer left in l->x: `rows` of them if few leave it, else all tokens
 * of b. 0 or SC_ESYS.
 */
int sc_cpu_head(struct sc_cpu_lane *l, const struct sc_batch *b, size_t rows, float *out);

static inline int sc_cpu_multiply(struct sc_cpu_lane *l, const struct sc_matmul *w, size_t m, const float *a,
                                  float *c)
{
    return l->e->ops->run(w, m, a, c, l->scratch) == 0 ? 0 : SC_ESYS;
}

#endif
