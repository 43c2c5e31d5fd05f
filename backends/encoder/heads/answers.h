/*
 * Extractive question answering: from start and end logits of windows to answers, by the rules of Hugging
 * Face's pipeline (Transformers 4).
 *
 * A window's logits become probabilities over its context alone; a span's score is the product of its ends'.
 * The same answer found in several places gathers their scores.
 *
 * Pure: no tokenizer; places are bytes of the context.
 */
#ifndef SC_ENCODER_ANSWERS_H
#define SC_ENCODER_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct sc_answer_options {
    uint32_t top_k;      /* 1 or more */
    uint32_t max_tokens; /* of an answer (max_answer_len) */
    bool impossible;     /* "no answer" is one of the answers */
    bool align;          /* answers are made of whole words */
};

/* Where a token of the context lies, and the word that it is of. */
struct sc_answer_token {
    uint32_t start, end;
    uint32_t word_start, word_end;
};

struct sc_answer {
    float score;
    uint32_t start, end;
};

/* The answers of one question, growing from window to window; zero-initialise, free with sc_answers_free. */
struct sc_answers {
    struct sc_answer *found;
    uint32_t n, cap;
    uint32_t *table;  /* places in found by text, 1 more than the place; 2 * cap of them */
    float null_score; /* least so far */
    bool any;
};
void sc_answers_free(struct sc_answers *a);

/*
 * Adds a window: `rows` are its n pairs of start and end logits, of which the first is of [CLS] and those
 * from `from` to `to` are of the context, whose tokens are tokens[0 .. to - from). The rows are used up.
 * SC_ENOMEM.
 */
int sc_answers_add(struct sc_answers *a, const struct sc_answer_options *o, struct sc_span context,
                   float *rows, uint32_t n, uint32_t from, uint32_t to, const struct sc_answer_token *tokens);
/* Adds what another window of the same context has found. SC_ENOMEM. */
int sc_answers_join(struct sc_answers *a, struct sc_span context, const struct sc_answers *window);
/* After the last window: the best first, at most top_k; an impossible one has start == end == 0. SC_ENOMEM.
 */
int sc_answers_end(struct sc_answers *a, const struct sc_answer_options *o);

#endif
