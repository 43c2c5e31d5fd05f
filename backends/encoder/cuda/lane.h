/*
 * What one lane of the GPU engine owns, and how a batch lies in it. For the engine's own files.
 *
 * A batch is staged in pinned memory as one piece (struct sc_gpu_stage says where everything is), copied to
 * the same places on the device, computed, and its rows copied back; nothing is allocated after the lane is
 * made.
 */
#ifndef SC_ENCODER_CUDA_LANE_H
#define SC_ENCODER_CUDA_LANE_H

#include "cuda/weights.h"
#include "engine.h"

struct sc_gpu_engine {
    struct sc_engine base;
    struct sc_encoder_config config; /* numbers only: its strings are not ours */
    struct sc_gpu gpu;
    struct sc_products products;
    struct sc_gpu_weights weights;
    enum sc_cu_type type;
    size_t out_bytes; /* room for results that leave together */
    size_t lane_bytes;
    int priority; /* of the lanes' streams, in CUDA's numbers */
    bool graphs;
    bool mapped;    /* the weights were in GPU memory already */
    char cache[64]; /* how algorithms were found, for the log */
};

/*
 * How large a batch is: what kernels are launched for. A graph is captured for one shape and serves every
 * batch whose counts do not exceed it.
 */
struct sc_gpu_shape {
    uint32_t tokens, sequences;
    uint32_t picks;        /* entries of the index: rows that go on after the last layer's attention */
    uint32_t rows;         /* of results; 0: they do not fit out_bytes and leave in pieces */
    uint32_t small, large; /* attention tiles; 0: that kernel is not launched */
};

/* Places in the staging area, in words of 32 bits. */
struct sc_gpu_stage {
    uint32_t counts, tokens, begin, index, small, large, words;
};

/* A word behind the counts: rows of the piece of results that is being computed. */
#define SC_GPU_PIECE_WORD 6u

struct sc_gpu_graph {
    struct sc_gpu_shape shape;
    CUgraphExec exec; /* NULL: the shape was seen once */
    uint64_t used;
};

struct sc_gpu_lane {
    struct sc_engine_lane base;
    const struct sc_gpu_engine *e;
    CUstream stream;
    CUevent done;
    struct sc_product_lane product;
    CUdeviceptr memory; /* all of the following */
    CUdeviceptr stage, iota, x, r, s, context, wide, gated, out, workspace;
    CUdeviceptr last; /* what the last product takes, of the batch enqueued last */
    uint32_t *pinned; /* the stage */
    float *results;   /* pinned, out_bytes */
    struct sc_gpu_graph graph[SC_ENCODER_GRAPHS];
    uint32_t graphs;
    uint64_t clock;
};

/* Bytes that a lane needs on the device. */
size_t sc_gpu_lane_bytes(const struct sc_gpu_engine *e);
int sc_gpu_lane_new(struct sc_engine_lane **out, const struct sc_engine *e, struct sc_msg *msg);
void sc_gpu_lane_del(struct sc_engine_lane *l);
/* sc_engine_ops.run */
int sc_gpu_lane_run(struct sc_engine_lane *l, const struct sc_batch *b, float *out);

struct sc_gpu_stage sc_gpu_stage_of(const struct sc_gpu_shape *s);

/* ---- network.c ----------------------------------------------------------------------------------- */

/*
 * Enqueues the network for a batch that lies in l->stage: from the embeddings to the rows of results in
 * l->out, or, if s->rows is 0, to the last activations, for sc_gpu_piece. SC_ESYS.
 */
int sc_gpu_forward(struct sc_gpu_lane *l, const struct sc_gpu_shape *s) SC_MUST_USE;
/* Enqueues `n` rows of results from row `first` on, to l->out; the word SC_GPU_PIECE_WORD on the device is n.
 */
int sc_gpu_piece(struct sc_gpu_lane *l, const struct sc_gpu_shape *s, uint32_t first, uint32_t n) SC_MUST_USE;
/* Whether only some rows (first tokens, picks) of the last layer's MLP are needed and computed. */
bool sc_gpu_few(const struct sc_gpu_engine *e, const struct sc_gpu_shape *s);

#endif
