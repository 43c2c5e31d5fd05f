/*
 * BERT on the CPU in fp32: packed batches of token ids in, logits out.
 *
 * A batch is one flat row of tokens with the places where sequences begin; nothing is padded and nothing is
 * computed for padding. The engine holds the packed weights and is read-only after it is made; a lane holds
 * the activations of one thread at a time.
 */
#ifndef SC_ENCODER_ENGINE_H
#define SC_ENCODER_ENGINE_H

#include <stdint.h>

#include "base/error.h"
#include "cpu/matmul.h"
#include "model/bert.h"

struct sc_engine;
struct sc_engine_lane;

struct sc_batch {
    const uint32_t *ids;   /* tokens */
    const uint8_t *types;  /* their segments */
    const uint32_t *begin; /* sequences + 1 places: sequence i is tokens begin[i] .. begin[i + 1) */
    uint32_t sequences;
};

/*
 * Packs the weights of b, which may be closed afterwards, for batches of at most max_tokens tokens. ops must
 * outlive the engine. On failure *msg names file and tensor. The caller frees with sc_engine_del when its
 * lanes are gone.
 */
int sc_engine_new(struct sc_engine **out, const struct sc_bert *b, const struct sc_matmul_ops *ops,
                  uint32_t max_tokens, struct sc_msg *msg);
void sc_engine_del(struct sc_engine *e);

/* Number of labels; 0 for a model without a head. */
uint32_t sc_engine_labels(const struct sc_engine *e);
/* Multiplications and additions for one sequence of n tokens. */
double sc_engine_flops(const struct sc_engine *e, uint32_t n);

/* NULL if memory is gone. The caller frees with sc_engine_lane_del before the engine. */
struct sc_engine_lane *sc_engine_lane_new(const struct sc_engine *e);
void sc_engine_lane_del(struct sc_engine_lane *l);

/*
 * Computes a batch: for each sequence its labels (or, for a model without a head, the hidden state of its
 * first token, hidden_size floats), one row after the other to out. The lane's memory grows with the largest
 * batch it has seen.
 *
 * SC_EINVAL if a token, segment or length is outside the model's tables or a sequence is empty, SC_ELIMIT if
 * the batch has more than max_tokens, SC_ENOMEM if there is no memory for it, SC_ESYS if the matrix library
 * failed. One thread at a time.
 */
int sc_engine_run(struct sc_engine_lane *l, const struct sc_batch *b, float *out);

#endif
