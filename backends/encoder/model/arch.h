/*
 * The table of architectures: how each family's config.json and tensors are called, and what its head is.
 *
 * Names of tensors: '#' stands for the number of the layer (ALBERT: of the group, then of the layer in it);
 * they are written without the family's prefix, which a file may have or not. A further family is one more
 * entry.
 */
#ifndef SC_ENCODER_ARCH_H
#define SC_ENCODER_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "model/config.h"

/* Tensors of the trunk; NULL where a family has none. ".weight" and ".bias" are added. */
struct sc_arch_names {
    const char *words, *positions, *types, *embedding_norm, *projection;
    const char *layer; /* what all names of a layer begin with */
    const char *q, *k, *v;
    const char *qkv; /* instead of the three: their rows one after the other */
    const char *attention_out, *attention_norm;
    const char *up; /* of a gated MLP: the rows of up, then those of gate */
    const char *down, *norm;
    const char *final_norm;
};

/* What config.json calls the sizes. */
struct sc_arch_keys {
    const char *hidden, *layers, *heads, *intermediate, *act;
};

enum sc_head_act { SC_HEAD_TANH, SC_HEAD_RELU, SC_HEAD_GELU, SC_HEAD_HIDDEN_ACT, SC_HEAD_CLASSIFIER_ACT };

/*
 * A head: out(norm(act(dense(x)))), of which dense (with act) and norm may be missing. Names are whole, but
 * for the family's prefix that the trunk's pooler has.
 */
struct sc_arch_head {
    const char *dense, *norm, *out;
    enum sc_head_act act;
    const char *out_bias; /* NULL: out's own */
};

struct sc_arch {
    const char *model_type; /* of config.json */
    const char *class_name; /* what names of its classes begin with */
    const char *prefix;     /* that its tensors may have */
    const struct sc_arch_keys *keys;
    const struct sc_arch_names *names;
    const struct sc_arch_head *heads[SC_TASK_EMBED]; /* by task; NULL: the family has none */
    /* What config.json need not say. */
    double norm_eps;
    const char *act;
    uint32_t types;     /* 0: the family has none, whatever config.json says */
    uint32_t embedding; /* 0: as hidden */
    uint32_t pad_id;
    bool offset; /* positions begin behind pad_id */
    bool always_projected;
    bool groups;
    bool pretraining; /* ForPreTraining has the head of ForMaskedLM */
    bool modern;      /* pre-norm, rotary, gated, local layers */
};

/* By config.json's model_type; NULL if unknown. */
const struct sc_arch *sc_arch_find(const char *model_type);
/* All model_types, as a list for messages. */
const char *sc_arch_list(void);
/* The task of a class such as "BertForMaskedLM" in family a. SC_ENOTFOUND if it is none that is served. */
int sc_arch_task(const struct sc_arch *a, const char *class_name, enum sc_task *out);

#endif
