/*
 * What a Hugging Face folder says about an encoder, in the words of the computation and not of the family.
 *
 * config.json and, where there is one, sentence-transformers' modules.json are read into one description that
 * both engines follow; families differ only in arch.c's table. Nothing here is true of the weights yet:
 * weights.h checks them against it. Read-only once filled, any thread.
 */
#ifndef SC_ENCODER_CONFIG_H
#define SC_ENCODER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"
#include "model/activation.h"

struct sc_arch;
struct sc_json_file;

enum sc_task {
    SC_TASK_SEQUENCE,  /* labels for each sequence */
    SC_TASK_TOKEN,     /* labels for each token */
    SC_TASK_QA,        /* two numbers for each token: answer begins here, answer ends here */
    SC_TASK_FILL_MASK, /* the vocabulary for each picked token */
    SC_TASK_EMBED,     /* one vector for each sequence */
};

/* How the tokens of a sequence become one vector: special tokens count, as in sentence-transformers. */
enum sc_pooling { SC_POOL_CLS, SC_POOL_MEAN, SC_POOL_MAX, SC_POOL_LAST };

/* How logits become scores, by the rules of Hugging Face's text-classification pipeline. */
enum sc_scoring { SC_SCORE_SOFTMAX, SC_SCORE_SIGMOID, SC_SCORE_NONE };

/* A Dense module of sentence-transformers, behind the pooling. */
struct sc_dense_config {
    uint32_t in, out;
    bool bias;
    enum sc_activation act;
    char *dir; /* its folder, below the model's */
};

struct sc_encoder_config {
    const struct sc_arch *arch;
    enum sc_task task;

    uint32_t hidden, layers, heads, head_dim, intermediate;
    uint32_t vocab;
    uint32_t embedding; /* columns of the embedding tables; a projection follows if `projected` */
    bool projected;
    uint32_t positions;       /* longest sequence in tokens, special ones included */
    uint32_t position_offset; /* row of the position table that a sequence's first token takes */
    bool position_by_pad;     /* RoBERTa: a token equal to pad_id takes row pad_id and is not counted */
    uint32_t types;           /* rows of the token type table; 0: none, a batch's types are not looked at */
    float norm_eps;
    enum sc_activation act;

    bool pre_norm; /* ModernBERT: norms before attention and MLP and one at the end; else after them (BERT) */
    bool gated;    /* MLP: down(act(up(x)) * gate(x)); else down(act(up(x))) */
    bool rotary;   /* positions turn queries and keys instead of being added */
    float theta_global, theta_local;
    uint32_t window;                            /* local layers: |i - j| <= window */
    uint64_t local[SC_ENCODER_LAYERS_MAX / 64]; /* a bit a layer */
    uint32_t groups, per_group;                 /* ALBERT: weights of layer i, see arch.h; else 0 */
    bool attention_bias, mlp_bias, norm_bias;   /* whether the tensors of layers have biases */
    bool head_bias, decoder_bias;               /* ModernBERT's head.dense and decoder */

    enum sc_activation head_act; /* of the head's first product, if it has two */
    enum sc_pooling pooling;     /* SC_TASK_SEQUENCE and SC_TASK_EMBED: what goes on to the head */
    bool tied;                   /* the decoder of SC_TASK_FILL_MASK is the word table */

    uint32_t labels; /* SC_TASK_SEQUENCE and SC_TASK_TOKEN; 2 for SC_TASK_QA; else 0 */
    char **label;    /* their names */
    enum sc_scoring scoring;

    /* sentence-transformers */
    bool sentence_transformers; /* modules.json was there */
    bool normalize;             /* it ends in a Normalize module */
    bool skip_prompt;           /* pooling leaves the prompt's tokens out */
    uint32_t max_length;        /* max_seq_length of sentence_bert_config.json; 0: it says nothing */
    uint32_t dense_n;
    struct sc_dense_config dense[SC_ENCODER_DENSE_MAX];

    bool has_pad, has_mask; /* whether config.json names them */
    uint32_t pad_id, mask_id;
};

/* What whoever serves the folder wants it to be, over what the folder says. */
struct sc_encoder_choice {
    bool has_task, has_pooling;
    enum sc_task task;
    enum sc_pooling pooling;
};

/*
 * Reads `text`, the content of config.json, which messages call `file`. choice may be NULL. Every number is
 * within its limit and fits the others; an architecture or option that would compute something else
 * than engines do is SC_EUNSUPPORTED and named. On failure *msg says which field and what to do, and *c needs
 * no free. The caller frees with sc_encoder_config_free.
 */
int sc_encoder_config_parse(struct sc_encoder_config *c, struct sc_span text, const char *file,
                            const struct sc_encoder_choice *choice, struct sc_msg *msg);
/* The same for a file that is parsed already; complaints go to its msg. */
int sc_encoder_config_read(struct sc_encoder_config *c, const struct sc_json_file *s,
                           const struct sc_encoder_choice *choice);
void sc_encoder_config_free(struct sc_encoder_config *c);

/* Whether layer i sees only its neighbourhood (c->window), and the base of its rotary positions. */
static inline bool sc_encoder_layer_local(const struct sc_encoder_config *c, uint32_t i)
{
    return c->local[i / 64] >> i % 64 & 1;
}
static inline float sc_encoder_layer_theta(const struct sc_encoder_config *c, uint32_t i)
{
    return sc_encoder_layer_local(c, i) ? c->theta_local : c->theta_global;
}

/* Columns of one row of results: labels, vocabulary, or the size of the vector. */
uint32_t sc_encoder_columns(const struct sc_encoder_config *c);
/* Multiplications and additions for one sequence of n tokens, without its head. */
double sc_encoder_flops(const struct sc_encoder_config *c, uint32_t n);

/* "embeddings" and so on, as settings name tasks and poolings. sc_task_named: 0 or SC_ENOTFOUND. */
const char *sc_task_name(enum sc_task t);
int sc_task_named(const char *name, enum sc_task *out);
int sc_pooling_named(const char *name, enum sc_pooling *out);

#endif
