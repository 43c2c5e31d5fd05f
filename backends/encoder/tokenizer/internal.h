/* What a tokenizer is inside: filled by load.c and config.c, read by encode.c. */
#ifndef SC_ENCODER_TOKENIZER_INTERNAL_H
#define SC_ENCODER_TOKENIZER_INTERNAL_H

#include "base/limits.h"
#include "tokenizer/chars.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"

#define SC_TOKENIZER_REMEDY                                                                              \
    "; only WordPiece tokenizers of the BERT family are served: save the model's own BertTokenizerFast " \
    "with "                                                                                              \
    "save_pretrained"

/* A token that is found in the text itself, before words are made. */
struct sc_added {
    struct sc_span text;
    uint32_t id;
    bool lstrip, rstrip; /* takes the white space before, behind */
    bool normalized;     /* is looked for in the normalised text */
};

/* Finds the leftmost longest of some added tokens; values of the trie are indices of `added`. */
struct sc_matcher {
    struct sc_trie trie;
    uint32_t n;
    int only;         /* the byte that all of them start with, -1 if there are several */
    bool starts[256]; /* whether one starts with that byte */
};

enum sc_piece_kind { SC_PIECE_ID, SC_PIECE_A, SC_PIECE_B };

struct sc_piece {
    enum sc_piece_kind kind;
    uint8_t type_id;
    uint32_t id;
};

/* How the ids of one text or two are put together. */
struct sc_template {
    struct sc_piece pieces[SC_TOKENIZER_PIECES_MAX];
    uint32_t n;
    uint32_t specials; /* pieces that are ids */
};

struct sc_tokenizer {
    struct sc_chars_options options;
    struct sc_chars chars;
    struct sc_chars split; /* no normalisation, for text that has had it; only with normalised added tokens */

    struct sc_trie words;
    uint32_t continuing; /* the root for all but the first piece of a word */
    uint32_t unk;
    uint32_t word_max; /* characters; longer words are unknown */

    struct sc_added *added;
    uint32_t n_added;
    struct sc_matcher raw, normalized;

    struct sc_template single, pair;
    uint32_t max_length;
    bool truncate_left;

    struct sc_span *tokens; /* by id */
    uint32_t vocab_size;    /* ids are below */
    uint32_t model_size;    /* entries of the vocabulary without added tokens, as the package counts them */
    char *text;             /* the tokens' bytes */
};

/*
 * As sc_tokenizer_load, from memory: `json` is tokenizer.json, or if it has a NULL pointer `vocab` is
 * vocab.txt; `config` is tokenizer_config.json, with a NULL pointer if there is none. The spans are not kept.
 */
int sc_tokenizer_parse(struct sc_tokenizer **out, struct sc_span json, struct sc_span vocab,
                       struct sc_span config, uint32_t max_positions, struct sc_msg *msg);

/* The normalised text of s behind what `out` holds; for texts of bounded size (added tokens). */
int sc_tokenizer_normalize(const struct sc_tokenizer *t, struct sc_span s, struct sc_buf *out);

/* --- config.c: what the JSON files say
 * ------------------------------------------------------------------------- */

/* What the files say before it is put together; spans point into the JSON documents or into vocab.txt. */
struct sc_tokenizer_spec {
    struct sc_span unk, prefix;
    int64_t word_max;
    struct sc_chars_options options;
    int strip_accents;  /* -1: as lowercase */
    int64_t truncation; /* ids; 0: not said */
    bool truncate_left;
    struct sc_trie_key *vocab; /* on the heap: text and id */
    size_t n_vocab;
    struct sc_added *added; /* on the heap */
    size_t n_added;
    struct sc_template single, pair;
    struct sc_span cls, sep; /* the template's, where the files give only names (vocab.txt) */
};

typedef struct json_t json_t;

/* Both free nothing of spec; the caller does, also after a failure. */
int sc_tokenizer_read_json(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg);
/* tokenizer_config.json beside a tokenizer.json (vocab_only false) or alone with vocab.txt. `root` may be
 * NULL. */
int sc_tokenizer_read_config(const json_t *root, bool vocab_only, struct sc_tokenizer_spec *spec,
                             struct sc_msg *msg);

#endif
