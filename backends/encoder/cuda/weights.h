/*
 * A model's weights in GPU memory: one block, in the engine's type, with the products that use them.
 *
 * Where each tensor lies follows from configuration and type alone, so a block filled by another process is
 * usable as it is.
 */
#ifndef SC_ENCODER_CUDA_WEIGHTS_H
#define SC_ENCODER_CUDA_WEIGHTS_H

#include "cuda/memory.h"
#include "cuda/product.h"
#include "model/weights.h"

/* y = x w^T + b */
struct sc_gpu_linear {
    CUdeviceptr w, b; /* of the engine's type; b 0: none */
    uint32_t n, k;    /* n 0: there is no such product */
    bool skinny;      /* the kernel for few rows takes it */
    bool skinny_norm; /* with a norm before it too */
    bool has_product;
    bool adds_bias;   /* the product adds b itself */
    bool adds;        /* and the residual */
    bool applies_act; /* and applies the activation */
    struct sc_product product;
};

/* gamma 0: no norm; both fp32. */
struct sc_gpu_norm {
    CUdeviceptr gamma, beta;
};

struct sc_gpu_layer {
    struct sc_gpu_linear qkv, out, up, down; /* gated: up's rows, then gate's */
    struct sc_gpu_norm attention_norm, norm;
};

struct sc_gpu_weights {
    struct sc_gpu_block block;
    enum sc_cu_type type;
    CUdeviceptr words, positions, types;
    struct sc_gpu_norm embedding_norm, final_norm, head_norm;
    struct sc_gpu_linear projection, head_dense, out, dense[SC_ENCODER_DENSE_MAX];
    CUdeviceptr rotary_global, rotary_local; /* tables of cos and sin */
    uint32_t layers;
    uint32_t *same_as;          /* whose weights layer i has */
    struct sc_gpu_layer *layer; /* by that number */
};

/* Bytes that the weights of c will take in type t, and a number that says which tensors of which files lie
 * where in them, and how. */
int sc_gpu_weights_size(const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
                        enum sc_cu_type t, size_t *bytes, uint64_t *identity, struct sc_msg *msg) SC_MUST_USE;

/*
 * Fills GPU memory from the files of w, and describes the products to g, whose lanes are made afterwards.
 * Products have up to `rows` rows, those that give results up to `result_rows`. A value outside fp16's range
 * is SC_EINVAL and its tensor named. The caller frees with sc_gpu_weights_free, whatever happens.
 */
int sc_gpu_weights_load(struct sc_gpu_weights *out, const struct sc_gpu *gpu, struct sc_products *g,
                        const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
                        enum sc_cu_type t, uint32_t rows, uint32_t result_rows,
                        struct sc_msg *msg) SC_MUST_USE;
/* The same with memory that is filled already; *filled becomes *out's. */
int sc_gpu_weights_adopt(struct sc_gpu_weights *out, struct sc_gpu_block *filled, struct sc_products *g,
                         const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
                         enum sc_cu_type t, uint32_t rows, uint32_t result_rows,
                         struct sc_msg *msg) SC_MUST_USE;
void sc_gpu_weights_free(struct sc_gpu_weights *w, const struct sc_gpu *gpu, struct sc_products *g);

static inline size_t sc_gpu_type_size(enum sc_cu_type t)
{
    return t == SC_CU_F32 ? 4 : 2;
}

#endif
