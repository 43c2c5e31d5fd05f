/* What config.json of a Hugging Face folder says about a BERT model. */
#ifndef SC_ENCODER_CONFIG_H
#define SC_ENCODER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "cpu/kernels.h"

/* How logits become scores, by the rules of Hugging Face's text-classification pipeline. */
enum sc_scoring { SC_SCORE_SOFTMAX, SC_SCORE_SIGMOID, SC_SCORE_NONE };

struct sc_bert_config {
    uint32_t hidden, layers, heads, intermediate;
    uint32_t vocab, positions, types;
    float norm_eps;
    enum sc_activation act;
    bool has_head; /* BertForSequenceClassification; else the bare BertModel, without labels */
    uint32_t labels;
    char **label; /* labels names */
    enum sc_scoring scoring;
};

/*
 * Reads `text`, the content of the file that messages call `file`. Every number is within its limit and
 * fits the others; an architecture or option that would compute something else than BERT is SC_EUNSUPPORTED
 * and named. On failure *msg says which field and what to do, and *c needs no free. The caller frees with
 * sc_bert_config_free.
 */
int sc_bert_config_parse(struct sc_bert_config *c, struct sc_span text, const char *file, struct sc_msg *msg);
void sc_bert_config_free(struct sc_bert_config *c);

#endif
