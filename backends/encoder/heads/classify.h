/* From logits to the answer of Hugging Face's text-classification pipeline. */
#ifndef SC_ENCODER_CLASSIFY_H
#define SC_ENCODER_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/config.h"

struct sc_classify_options {
    bool has_top_k;   /* asked for: then each text gets a list, best first */
    uint32_t top_k;   /* UINT32_MAX: all */
    bool has_scoring; /* else the model's */
    enum sc_scoring scoring;
};

/* What a model's answers need, made once; read-only, any thread. */
struct sc_classifier {
    uint32_t labels;
    enum sc_scoring scoring;
    char **quoted; /* the labels as JSON strings */
    size_t longest;
};

/* 0 or SC_ENOMEM. The caller frees with sc_classifier_free. */
int sc_classifier_init(struct sc_classifier *c, const struct sc_encoder_config *config);
void sc_classifier_free(struct sc_classifier *c);

/* Most bytes that sc_classify writes for n texts; SIZE_MAX if that is more than a size_t holds. */
size_t sc_classify_bound(const struct sc_classifier *c, const struct sc_classify_options *o, uint32_t n);
/* Bytes of working memory that sc_classify wants. */
size_t sc_classify_work(const struct sc_classifier *c);

/*
 * Writes the answer for n texts, whose logits lie one row after the other and are overwritten with scores, to
 * `to`. Returns its length. One text, or a list without top_k: [{"label": "de", "score": 0.998}, ...]; a list
 * with top_k: one such list for each text.
 */
size_t sc_classify(const struct sc_classifier *c, const struct sc_classify_options *o, bool list,
                   float *logits, uint32_t n, char *to, void *work);

#endif
