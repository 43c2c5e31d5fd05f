#include "heads/classify.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/limits.h"
#include "heads/put.h"

int sc_classifier_init(struct sc_classifier *c, char *const *label, uint32_t labels, enum sc_scoring scoring)
{
    *c = (struct sc_classifier){.labels = labels, .scoring = scoring};
    sc_buf_init(&c->text, SC_ENCODER_CONFIG_BYTES * (size_t)6);
    c->quoted = calloc(SC_MAX(labels, 1u), sizeof *c->quoted);
    c->label = calloc(SC_MAX(labels, 1u), sizeof *c->label);
    bool good = c->label && c->quoted;
    for (uint32_t i = 0; good && i < labels; i++) {
        good = (c->label[i] = sc_span_dup(sc_span_str(label[i]))) != NULL;
        c->quoted[i].n = c->text.n; /* where it begins, until the buffer has stopped moving */
        sc_put_string(&c->text, sc_span_str(label[i]));
    }
    if (!good || c->text.failed) {
        sc_classifier_free(c);
        return SC_ENOMEM;
    }
    for (uint32_t i = 0; i < labels; i++) {
        size_t from = c->quoted[i].n, to = i + 1 < labels ? c->quoted[i + 1].n : c->text.n;
        c->quoted[i] = sc_span(c->text.p + from, to - from);
    }
    return 0;
}

void sc_classifier_free(struct sc_classifier *c)
{
    for (uint32_t i = 0; c->label && i < c->labels; i++)
        free(c->label[i]);
    free(c->label);
    free(c->quoted);
    sc_buf_free(&c->text);
    *c = (struct sc_classifier){0};
}

void sc_classify_score(const struct sc_classifier *c, const struct sc_options *o, float *row)
{
    switch (o->has_scoring ? o->scoring : c->scoring) {
    case SC_SCORE_NONE: return;
    case SC_SCORE_SOFTMAX: sc_softmax(row, c->labels); return;
    case SC_SCORE_SIGMOID:
        for (uint32_t i = 0; i < c->labels; i++)
            row[i] = sc_sigmoid(row[i]);
        return;
    }
}

static void put_entry(const struct sc_classifier *c, struct sc_buf *out, uint32_t label, float score)
{
    sc_buf_str(out, "{\"label\": ");
    sc_buf_span(out, c->quoted[label]);
    sc_buf_str(out, ", \"score\": ");
    sc_put_float(out, score);
    sc_buf_char(out, '}');
}

static void put_tei_entry(const struct sc_classifier *c, struct sc_buf *out, uint32_t label, float score)
{
    sc_buf_str(out, "{\"score\": ");
    sc_put_float(out, score);
    sc_buf_str(out, ", \"label\": ");
    sc_buf_span(out, c->quoted[label]);
    sc_buf_char(out, '}');
}

typedef void put_fn(const struct sc_classifier *c, struct sc_buf *out, uint32_t label, float score);

static void put_ranking(const struct sc_classifier *c, uint32_t k, const float *scores,
                        struct sc_ranked *work, put_fn *put, struct sc_buf *out)
{
    for (uint32_t i = 0; i < c->labels; i++)
        work[i] = (struct sc_ranked){scores[i], i};
    sc_rank(work, c->labels, k);
    for (uint32_t i = 0; i < k; i++) {
        if (i > 0)
            sc_buf_str(out, ", ");
        put(c, out, work[i].index, work[i].score);
    }
}

/* The k best labels of each text, in a list of its own if `nested`. */
static int put_rankings(const struct sc_classifier *c, const struct sc_options *o, bool nested, uint32_t k,
                        float *logits, uint32_t n, put_fn *put, struct sc_buf *out)
{
    struct sc_ranked *work = malloc(c->labels * sizeof *work);
    if (!work)
        return SC_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        float *row = logits + (size_t)i * c->labels;
        sc_classify_score(c, o, row);
        sc_buf_str(out, i == 0 ? (nested ? "[" : "") : nested ? ", [" : ", ");
        put_ranking(c, k, row, work, put, out);
        if (nested)
            sc_buf_char(out, ']');
    }
    free(work);
    return 0;
}

int sc_classify(const struct sc_classifier *c, const struct sc_options *o, bool list, float *logits,
                uint32_t n, struct sc_buf *out)
{
    int rc = 0;
    sc_buf_char(out, '[');
    if (o->has_top_k)
        rc = put_rankings(c, o, list, SC_MIN(o->top_k, c->labels), logits, n, put_entry, out);
    for (uint32_t i = 0; !o->has_top_k && i < n; i++) {
        float *row = logits + (size_t)i * c->labels;
        sc_classify_score(c, o, row);
        uint32_t best = sc_best(row, c->labels);
        if (i > 0)
            sc_buf_str(out, ", ");
        put_entry(c, out, best, row[best]);
    }
    sc_buf_char(out, ']');
    return rc;
}

int sc_classify_tei(const struct sc_classifier *c, const struct sc_options *o, bool list, float *logits,
                    uint32_t n, struct sc_buf *out)
{
    sc_buf_char(out, '[');
    int rc = put_rankings(c, o, list, c->labels, logits, n, put_tei_entry, out);
    sc_buf_char(out, ']');
    return rc;
}
