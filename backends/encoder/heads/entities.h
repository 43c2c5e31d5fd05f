/*
 * Token classification: from scores of tokens to entities, by the rules of Hugging Face's pipeline.
 *
 *   none     every token is an entity of its own
 *   simple   neighbours of the same tag are joined; a B- label begins another
 *   first, average, max   words get one label first: that of their first token, of their tokens' mean, of the
 *            token with the highest score; words are then joined as by simple
 *
 * Pure: no text, no tokenizer.
 */
#ifndef SC_ENCODER_ENTITIES_H
#define SC_ENCODER_ENTITIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum sc_aggregation {
    SC_AGGREGATE_NONE,
    SC_AGGREGATE_SIMPLE,
    SC_AGGREGATE_FIRST,
    SC_AGGREGATE_AVERAGE,
    SC_AGGREGATE_MAX
};

/* By its name in any letter case; false if there is no such. */
bool sc_aggregation_read(struct sc_span name, enum sc_aggregation *out);

/* What labels say of groups, made once; read-only then. */
struct sc_tags {
    uint32_t n;
    struct sc_tag {
        uint32_t same;        /* equal for labels of one tag: B-PER, I-PER and PER */
        bool begins;          /* B-... */
        struct sc_span group; /* how a group that begins with it is called; in the label */
    } *tag;
};
/* The labels are borrowed. SC_ENOMEM; the caller frees with sc_tags_free. */
int sc_tags_init(struct sc_tags *t, char *const *labels, uint32_t n);
void sc_tags_free(struct sc_tags *t);

/* A token or a row of them. */
struct sc_entity {
    uint32_t label; /* of a group: its first token's or word's */
    float score;
    uint32_t first, last; /* tokens, the last one included */
};

/*
 * n tokens with a row of t->n logits each, which become probabilities and are then used up; subword[i]: token
 * i goes on the word of token i - 1. Writes at most n entities to out; returns how many, all labels included.
 */
uint32_t sc_entities_find(const struct sc_tags *t, enum sc_aggregation how, float *rows, const bool *subword,
                          uint32_t n, struct sc_entity *out);

/* What entities of overlapping windows have in common; in the text's own units. */
struct sc_entity_place {
    uint32_t start, end;
    float score;
    uint32_t entity; /* the caller's */
};
/* Sorts by start and of those that overlap keeps the longest, then the best. Returns how many are left. */
uint32_t sc_entities_merge(struct sc_entity_place *p, uint32_t n);

#endif
