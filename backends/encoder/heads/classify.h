/* From logits to the answer of Hugging Face's text-classification pipeline, or of others in its place. */
#ifndef SC_ENCODER_CLASSIFY_H
#define SC_ENCODER_CLASSIFY_H

#include "base/buf.h"
#include "heads/options.h"
#include "heads/score.h"
#include "model/config.h"

/* What a model's answers need, made once; read-only, any thread. */
struct sc_classifier {
    uint32_t labels;
    enum sc_scoring scoring;
    char **label;
    struct sc_span *quoted; /* as JSON strings; in `text` */
    struct sc_buf text;
};

/* 0 or SC_ENOMEM. The names are copied; the caller frees with sc_classifier_free. */
int sc_classifier_init(struct sc_classifier *c, char *const *label, uint32_t labels, enum sc_scoring scoring);
void sc_classifier_free(struct sc_classifier *c);

/* One row of logits becomes scores. */
void sc_classify_score(const struct sc_classifier *c, const struct sc_options *o, float *row);

/*
 * Appends the answer for n texts, whose logits lie one row after the other and are overwritten with scores.
 * One text, or a list without top_k: [{"label": "de", "score": 0.998}, ...]; a list with top_k: one such list
 * for each text. SC_ENOMEM, else failures are out's.
 */
int sc_classify(const struct sc_classifier *c, const struct sc_options *o, bool list, float *logits,
                uint32_t n, struct sc_buf *out);
/* As /predict of text-embeddings-inference: all labels, best first. */
int sc_classify_tei(const struct sc_classifier *c, const struct sc_options *o, bool list, float *logits,
                    uint32_t n, struct sc_buf *out);

#endif
