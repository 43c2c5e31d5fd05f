/*
 * Every tensor of an encoder, found by its family's names and checked: both engines pack from this and from
 * nothing else.
 *
 * A tensor that stands here can be read as fp32 and has the shape that the configuration calls for. Nothing
 * is copied: files stay mapped until sc_encoder_weights_close, which an engine does not outlive the need for:
 * it has packed by then. Read-only, any thread.
 */
#ifndef SC_ENCODER_WEIGHTS_H
#define SC_ENCODER_WEIGHTS_H

#include "model/checkpoint.h"
#include "model/config.h"

/*
 * y = x w^T + b. The matrix is rows row .. row + out of w, `in` columns each, row-major as in the file (w may
 * hold the rows of several: ModernBERT's Wqkv); b is read from the same place on, or NULL. w NULL: there is
 * no such product.
 */
struct sc_linear {
    const struct sc_tensor *w, *b;
    uint32_t row, out, in;
};

/* w NULL: no norm there. b NULL: without bias. As many elements as what is normalised. */
struct sc_norm {
    const struct sc_tensor *w, *b;
};

struct sc_layer_weights {
    uint32_t same_as; /* the first layer that has these weights: itself, but for ALBERT */
    struct sc_linear q, k, v, attention_out;
    struct sc_norm attention_norm; /* behind attention and residual; pre_norm: before attention */
    struct sc_linear up, gate, down;
    struct sc_norm norm; /* behind the MLP and residual; pre_norm: before the MLP */
};

struct sc_encoder_weights {
    struct sc_checkpoint *file;
    struct sc_checkpoint *dense_file[SC_ENCODER_DENSE_MAX];

    const struct sc_tensor *words;     /* [vocab, embedding] */
    const struct sc_tensor *positions; /* [position_offset + positions, embedding], or NULL */
    const struct sc_tensor *types;     /* [types, embedding], or NULL */
    struct sc_norm embedding_norm;
    struct sc_linear projection; /* embedding to hidden */
    uint32_t layers;             /* as in the configuration */
    struct sc_layer_weights *layer;
    struct sc_norm final_norm;

    /* The head, tasks but SC_TASK_EMBED: out(head_norm(head_act(dense(x)))). */
    struct sc_linear head_dense;
    struct sc_norm head_norm;
    struct sc_linear out; /* of a tied decoder: w is `words` */

    /* SC_TASK_EMBED: sentence-transformers' Dense modules; their activations stand in the configuration. */
    struct sc_linear dense[SC_ENCODER_DENSE_MAX];
};

/*
 * Opens the tensors of folder `dir` (the one of config.json) for c. On failure *msg names file, tensor and
 * remedy, and *w needs no close.
 */
int sc_encoder_weights_open(struct sc_encoder_weights *w, const struct sc_encoder_config *c, const char *dir,
                            struct sc_msg *msg);
void sc_encoder_weights_close(struct sc_encoder_weights *w);

/* Writes out * in floats to w and, if b is not NULL, out floats to b: zeros for a product without bias. */
void sc_linear_floats(const struct sc_linear *l, float *w, float *b);
/* Bytes that all tensors of the network have in their files. */
uint64_t sc_encoder_weights_bytes(const struct sc_encoder_weights *w);

#endif
