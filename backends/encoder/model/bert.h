/*
 * A BERT model in a Hugging Face folder: config.json and model.safetensors, checked against each other.
 *
 * Holds the file open only as long as the engine needs it to pack the weights.
 */
#ifndef SC_ENCODER_BERT_H
#define SC_ENCODER_BERT_H

#include "model/config.h"
#include "model/safetensors.h"

struct sc_bert {
    struct sc_bert_config config;
    struct sc_safetensors *weights;
    char *weights_file; /* its path, for messages */
    bool prefixed;      /* names begin with "bert." */
};

/*
 * Reads the folder `dir`. On failure *msg names file, field and remedy, and *b needs no close. The caller
 * closes with sc_bert_close.
 */
int sc_bert_open(struct sc_bert *b, const char *dir, struct sc_msg *msg);
/* Frees everything, the configuration too. */
void sc_bert_close(struct sc_bert *b);

/*
 * Finds the tensor `name` (without the "bert." that it may have in the file) and checks that it can be read
 * as fp32 and has the shape [rows, columns], or [rows] if columns is 0: whoever then allocates rows * columns
 * floats asks for no more than twice what lies in the file. SC_ENOTFOUND, SC_EUNSUPPORTED or SC_EINVAL.
 */
int sc_bert_tensor(const struct sc_bert *b, const char *name, uint64_t rows, uint64_t columns,
                   const struct sc_tensor **out, struct sc_msg *msg);

#endif
