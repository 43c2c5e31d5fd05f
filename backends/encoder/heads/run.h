/*
 * A request on its way through the encoder: its texts, the sequences of tokens that they became, and what the
 * engine made of them. First the thread of prepare has it; then lanes may take the rows of different
 * sequences at the same time; at the end one lane writes the answer.
 */
#ifndef SC_ENCODER_RUN_H
#define SC_ENCODER_RUN_H

#include <stdatomic.h>

#include "heads/answers.h"
#include "heads/input.h"
#include "tokenizer/tokenizer.h"

struct sc_sequence {
    uint32_t text;  /* which of in.texts it is of */
    uint32_t picks; /* place in picks of its first one */
    uint32_t keys;  /* of its tokens, those that are attended to: the others are padding; 0: all */
    uint32_t skip;  /* of its tokens, the first so many are not pooled */
    struct sc_range
        tokens; /* of the text (question answering: of the context), from the sequence's begin on */
};

struct sc_run {
    enum sc_form form;
    struct sc_span type; /* of the body, as sent; the request's */
    struct sc_input in;

    uint32_t first; /* of in.texts, the first that prepare takes */
    uint32_t n;     /* sequences; several of one text where it is cut into windows */
    struct sc_sequence *sequence;
    uint32_t *begin; /* n + 1 places in ids, types and origins */
    uint32_t *ids;
    uint8_t *types;
    struct sc_origin *origins; /* where the task needs them */
    uint32_t *picks;           /* places in ids */
    uint32_t picks_n;
    uint32_t *targets; /* fill-mask: ids that may be filled in, options.names_n of them */

    float *kept; /* the head's results, in its own layout */
    struct sc_ranked *ranked;
    struct sc_answers *answers; /* one for each sequence */
    struct sc_entity *entities; /* of sequence i from begin[i] on, entities_n[i] of them */
    uint32_t *entities_n;
    struct sc_msg refused; /* what is wrong with it, where the answer tells */
    struct sc_buf answer;  /* written by prepare: nothing has to be computed */
    atomic_int failed;     /* what the computation of one of its sequences failed with */

    /* private */
    uint32_t sequence_cap, token_cap, picks_cap;
};

/* NULL if memory is gone. */
struct sc_run *sc_run_new(enum sc_form form);
/* NULL is fine. */
void sc_run_del(struct sc_run *w);

/* Adds what e holds as a sequence of text `text`; its origins if `origins`. SC_ENOMEM, SC_ELIMIT. */
int sc_run_add(struct sc_run *w, const struct sc_encoding *e, uint32_t text, bool origins);
/* Fills the latest sequence up to `length` tokens with padding that nothing attends to. */
int sc_run_pad(struct sc_run *w, uint32_t length, uint32_t id);
/* Wants the rows of one of the latest sequence's tokens; ascending. */
int sc_run_pick(struct sc_run *w, uint32_t place);

static inline uint32_t sc_run_tokens(const struct sc_run *w)
{
    return w->n ? w->begin[w->n] : 0;
}
/* Picks of sequence i. */
static inline uint32_t sc_run_picks(const struct sc_run *w, uint32_t i)
{
    return (i + 1 < w->n ? w->sequence[i + 1].picks : w->picks_n) - w->sequence[i].picks;
}

#endif
