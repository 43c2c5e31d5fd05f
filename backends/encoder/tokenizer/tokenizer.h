/*
 * Text to token ids, and back, identical to Hugging Face's `tokenizers`.
 *
 * A tokenizer is loaded once and then read-only: any number of threads may encode with it,
 * each with its own sc_encoding. Models: WordPiece, BPE (bytes or characters) and Unigram with the
 * normalizers, pre-tokenizers and post-processors that the BERT, RoBERTa, XLM-R, CamemBERT, ALBERT,
 * DistilBERT, ELECTRA and ModernBERT families' files have. A part that is not known is refused by name.
 */
#ifndef SC_ENCODER_TOKENIZER_H
#define SC_ENCODER_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/span.h"

struct sc_tokenizer;

/*
 * Reads tokenizer.json (preferred), or vocab.txt, or vocab.json with merges.txt, each with
 * tokenizer_config.json, from `dir`. Truncation comes from the configuration (model_max_length,
 * tokenizer.json's truncation) and is never above max_positions (the model's); padding in the
 * configuration is ignored. SC_ENOTFOUND if there is none of these files. On failure *msg names file, field
 * and remedy. The caller frees with sc_tokenizer_del.
 */
int sc_tokenizer_load(struct sc_tokenizer **out, const char *dir, uint32_t max_positions, struct sc_msg *msg);
/* What a caller says over the files, as callers of AutoTokenizer.from_pretrained can. Zero: nothing. */
enum sc_casing { SC_CASE_OF_FILES, SC_CASE_LOWER, SC_CASE_KEPT };
struct sc_tokenizer_choice {
    enum sc_casing casing; /* do_lower_case: tokenizers of other families than BERT do not look at it */
    bool any_length;       /* the files' truncation does not count, only max_positions */
};
int sc_tokenizer_load_with(struct sc_tokenizer **out, const char *dir, uint32_t max_positions,
                           const struct sc_tokenizer_choice *choice, struct sc_msg *msg);
void sc_tokenizer_del(struct sc_tokenizer *t);

uint32_t sc_tokenizer_vocab_size(const struct sc_tokenizer *t);
/* Most ids that one encoding has, special tokens included. */
uint32_t sc_tokenizer_max_length(const struct sc_tokenizer *t);
/* The token as the vocabulary writes it ("##ing", "Ġthe"), empty if id is out of range or unused. Lives as
 * long as the tokenizer. */
struct sc_span sc_tokenizer_token(const struct sc_tokenizer *t, uint32_t id);
/* The id of a token written so, added tokens included; UINT32_MAX if there is none. */
uint32_t sc_tokenizer_id(const struct sc_tokenizer *t, struct sc_span token);
/* True for added tokens that are special ([CLS], <mask>, ...). */
bool sc_tokenizer_is_special(const struct sc_tokenizer *t, uint32_t id);

/* --- encodings --- */

struct sc_range {
    uint32_t start, end; /* half-open */
};

#define SC_NO_WORD UINT32_MAX
#define SC_NO_SEQUENCE UINT8_MAX

/* Where a token comes from. The post-processor's own tokens ([CLS], </s>) come from nowhere: ranges 0..0,
 * SC_NO_WORD, SC_NO_SEQUENCE. */
struct sc_origin {
    struct sc_range chars; /* Unicode characters of its text: the package's offsets */
    struct sc_range bytes; /* the same characters in bytes */
    uint32_t word;         /* the package's word id: tokens of one word share it */
    uint8_t sequence;      /* 0: the text, 1: its pair */
};

/* The caller's buffers, reused from call to call; zero-initialise, free with sc_encoding_free. */
struct sc_encoding {
    uint32_t *ids;
    uint8_t *type_ids;
    struct sc_origin *origins; /* of the n ids, where options asked for them */
    uint32_t n;                /* ids in use */
    uint32_t cap;
    struct sc_range sequences[2]; /* places in ids of the text's and the pair's tokens */
    struct sc_work *work;         /* the tokenizer's working memory */
};
void sc_encoding_free(struct sc_encoding *e);

/* Which of a pair is shortened. */
enum sc_truncation {
    SC_TRUNCATE_DEFAULT, /* as tokenizer.json says, else the longer one first */
    SC_TRUNCATE_LONGEST,
    SC_TRUNCATE_FIRST,
    SC_TRUNCATE_SECOND,
};

/* Zero is what sc_tokenizer_encode does. */
struct sc_encode_options {
    bool origins;
    bool no_specials;    /* without the post-processor's tokens; their room is left to the text */
    uint32_t max_length; /* ids at most, where that is less than sc_tokenizer_max_length; 0: that */
    enum sc_truncation truncation;
    uint32_t stride; /* sc_tokenizer_windows: ids that a window shares with the one before it */
};

/*
 * Encodes one text, or a pair if `pair` has a non-NULL pointer, special tokens added, truncated to
 * max_length. Invalid UTF-8 is SC_EINVAL (the caller decides what to answer). SC_ENOMEM if
 * memory is gone. Costs time linear in the text's length, whatever the text.
 */
int sc_tokenizer_encode(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                        struct sc_encoding *e);
/* The same with options; also SC_ELIMIT where the text that must not be shortened leaves the other no room,
 * or max_length has no room beside the special tokens. */
int sc_tokenizer_encode_with(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                             const struct sc_encode_options *o, struct sc_encoding *e);

/*
 * The same for a text that is cut into overlapping windows rather than shortened (the package's overflowing
 * tokens, "stride"): a single text, or with SC_TRUNCATE_FIRST or SECOND that one of a pair, the other
 * repeated in each. *n says how many windows there are, at least 1; the first one is in e.
 * sc_tokenizer_window puts window k < n of the last such call with e there. SC_ELIMIT also for a stride that
 * is not below the room that a window has for the text, SC_EUNSUPPORTED for a pair whose default truncation
 * is the longest first.
 */
int sc_tokenizer_windows(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                         const struct sc_encode_options *o, struct sc_encoding *e, uint32_t *n);
void sc_tokenizer_window(const struct sc_tokenizer *t, struct sc_encoding *e, uint32_t k);

/* --- back to text --- */

/*
 * Appends what the package's decode makes of the ids, special tokens left out on request, ids that are not in
 * the vocabulary always. SC_EUNSUPPORTED if tokenizer.json has a decoder that is not one of WordPiece,
 * ByteLevel, Metaspace or none; SC_ELIMIT, SC_ENOMEM as out says.
 */
int sc_tokenizer_decode(const struct sc_tokenizer *t, const uint32_t *ids, uint32_t n, bool skip_special,
                        struct sc_buf *out);

#endif
