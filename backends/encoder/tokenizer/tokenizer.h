/*
 * Text to token ids, identical to Hugging Face's `tokenizers`.
 *
 * A tokenizer is loaded once and then read-only: any number of threads may encode with it,
 * each with its own sc_encoding. WordPiece (the BERT family) comes first; other models of
 * tokenizer.json are refused by name.
 */
#ifndef SC_ENCODER_TOKENIZER_H
#define SC_ENCODER_TOKENIZER_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

struct sc_tokenizer;

/*
 * Reads tokenizer.json (preferred) or vocab.txt with tokenizer_config.json from `dir`. Truncation comes
 * from the configuration (model_max_length, tokenizer.json's truncation) and is never above max_positions
 * (the model's); padding in the configuration is ignored. On failure *msg names file, field and remedy. The
 * caller frees with sc_tokenizer_del.
 */
int sc_tokenizer_load(struct sc_tokenizer **out, const char *dir, uint32_t max_positions, struct sc_msg *msg);
void sc_tokenizer_del(struct sc_tokenizer *t);

uint32_t sc_tokenizer_vocab_size(const struct sc_tokenizer *t);
/* Most ids that one encoding has, special tokens included. */
uint32_t sc_tokenizer_max_length(const struct sc_tokenizer *t);
/* The token's text, empty if id is out of range. Lives as long as the tokenizer. */
struct sc_span sc_tokenizer_token(const struct sc_tokenizer *t, uint32_t id);

/* The caller's buffers, reused from call to call; zero-initialise, free with sc_encoding_free. */
struct sc_encoding {
    uint32_t *ids;
    uint8_t *type_ids;
    uint32_t n; /* ids in use */
    uint32_t cap;
    void *scratch; /* the tokenizer's working memory */
    size_t scratch_cap;
};
void sc_encoding_free(struct sc_encoding *e);

/*
 * Encodes one text, or a pair if `pair` has a non-NULL pointer, special tokens added, truncated to
 * max_length. Invalid UTF-8 is SC_EINVAL (the caller decides what to answer). SC_ENOMEM if
 * memory is gone. Costs time linear in the text's length, whatever the text.
 */
int sc_tokenizer_encode(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                        struct sc_encoding *e);

#endif
