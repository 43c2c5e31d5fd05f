/* What a tokenizer is inside: filled by the loaders (load.c, config*.c), read by everything that encodes. */
#ifndef SC_ENCODER_TOKENIZER_INTERNAL_H
#define SC_ENCODER_TOKENIZER_INTERNAL_H

#include "base/limits.h"
#include "tokenizer/chars.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"
#include "tokenizer/unicode.h"

/* A token that is found in the text itself, before words are made. */
struct sc_added {
    struct sc_span text;
    uint32_t id;
    bool lstrip, rstrip; /* takes the white space before, behind */
    bool normalized;     /* is looked for in the normalised text */
    bool single_word;    /* counts only where no word goes on before or behind it */
    bool special;
};

/* Finds the leftmost longest of some added tokens; values of the trie are indices of `added`. */
struct sc_matcher {
    struct sc_trie trie;
    uint32_t n;
    int only;         /* the byte that all of them start with, -1 if there are several */
    bool starts[256]; /* whether one starts with that byte */
};

/* --- patterns: what Replace and Split look for (pattern.c) --- */

enum sc_pattern_kind {
    SC_PATTERN_LITERAL,
    SC_PATTERN_RUN, /* a class of characters, so and so many times */
    SC_PATTERN_GPT2,
};

struct sc_pattern {
    enum sc_pattern_kind kind;
    struct sc_span literal;
    uint32_t bits; /* RUN: any of these classes, */
    struct {
        uint32_t first, last;
    } chars[SC_TOKENIZER_PATTERN_CHARS]; /* or one of these characters, */
    uint32_t n_chars;
    bool negated; /* or none of all that */
    uint32_t least, most;
};

/* --- the steps of the pipeline --- */

enum sc_normalizer_kind {
    SC_NORMALIZER_CLEAN,      /* BertNormalizer's clean_text */
    SC_NORMALIZER_CHINESE,    /* BertNormalizer's handle_chinese_chars */
    SC_NORMALIZER_BERT_STRIP, /* BertNormalizer's strip_accents, behind NFD */
    SC_NORMALIZER_LOWERCASE,
    SC_NORMALIZER_NFC,
    SC_NORMALIZER_NFD,
    SC_NORMALIZER_NFKC,
    SC_NORMALIZER_NFKD,
    SC_NORMALIZER_STRIP_ACCENTS,
    SC_NORMALIZER_STRIP,
    SC_NORMALIZER_REPLACE,
    SC_NORMALIZER_PREPEND,
    SC_NORMALIZER_NMT,
    SC_NORMALIZER_CHARSMAP, /* Precompiled */
};

struct sc_normalizer {
    enum sc_normalizer_kind kind;
    bool left, right; /* STRIP */
    struct sc_pattern pattern;
    struct sc_span content; /* REPLACE, PREPEND */
    struct sc_span units;   /* CHARSMAP: the double array, 32 bits a unit, little end first */
    struct sc_span strings; /* CHARSMAP: what characters become, each ended by a NUL */
};

enum sc_split_kind {
    SC_SPLIT_CLASS,   /* at characters of a class */
    SC_SPLIT_WORDS,   /* Whitespace: \w+|[^\w\s]+ */
    SC_SPLIT_PATTERN, /* Split */
    SC_SPLIT_METASPACE,
    SC_SPLIT_BYTE_LEVEL,
};

enum sc_behavior {
    SC_REMOVED,
    SC_ISOLATED,
    SC_MERGED_WITH_PREVIOUS,
    SC_MERGED_WITH_NEXT,
    SC_CONTIGUOUS,
};

enum sc_prepend { SC_PREPEND_ALWAYS, SC_PREPEND_FIRST, SC_PREPEND_NEVER };

struct sc_split {
    enum sc_split_kind kind;
    uint32_t bits; /* CLASS */
    enum sc_behavior behavior;
    struct sc_pattern pattern;
    bool invert;
    bool prefix_space, use_regex; /* BYTE_LEVEL */
    enum sc_prepend prepend;      /* METASPACE */
    bool split;
    struct sc_span replacement; /* METASPACE: one character */
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

/* What the post-processors do with offsets: blanks are no part of a token's place. */
struct sc_trim {
    bool on, prefix_space;
};

enum sc_model_kind { SC_MODEL_WORDPIECE, SC_MODEL_BPE, SC_MODEL_UNIGRAM };

struct sc_merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank, id;
};

struct sc_bpe {
    struct sc_merge *merges; /* open addressing, a power of two */
    uint32_t mask;
    unsigned shift;
    uint32_t bytes[256]; /* the ids of single bytes (byte-level), or of <0x00> ... <0xFF> (byte_fallback) */
    bool byte_level;     /* tokens are bytes: root 1 of the trie has them as such */
    bool byte_fallback, fuse_unk, ignore_merges;
    struct sc_span prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
};

struct sc_unigram {
    double *scores; /* by id */
    double unk_score;
    uint32_t bytes[256]; /* the ids of <0x00> ... <0xFF>, SC_TRIE_NONE for those that are not there */
    bool byte_fallback;
};

enum sc_decoder {
    SC_DECODER_NONE,
    SC_DECODER_WORDPIECE,
    SC_DECODER_BYTE_LEVEL,
    SC_DECODER_METASPACE,
    SC_DECODER_OTHER
};

struct sc_tokenizer {
    uint64_t serial; /* of this process: tells caches of different tokenizers apart */

    struct sc_normalizer normalizers[SC_TOKENIZER_STEPS_MAX];
    uint32_t n_normalizers;
    struct sc_split splits[SC_TOKENIZER_STEPS_MAX];
    uint32_t n_splits;
    const struct sc_unicode *unicode;
    bool track; /* a step asks where the text came from: origins are followed even if nobody wants them */
    /* BERT's own normalizer, pre-tokenizer and model, which are done in one pass (bert.c). */
    bool bert;
    struct sc_chars_options options;
    struct sc_chars chars;

    enum sc_model_kind model;
    struct sc_trie words; /* root 0: the vocabulary; root 1: what continues a word, or bytes */
    uint32_t continuing;  /* WordPiece: the root for all but the first piece of a word */
    uint32_t unk;         /* SC_TRIE_NONE: characters without a token vanish (BPE) */
    uint32_t word_max;    /* characters; longer words are unknown (WordPiece) */
    struct sc_bpe bpe;
    struct sc_unigram unigram;

    struct sc_added *added;
    uint32_t n_added;
    char *
        *normal; /* by added token: its text as the normalizers leave it, NULL where that is not asked for */
    struct sc_matcher raw, normalized;

    struct sc_template single, pair;
    struct sc_trim trim;
    uint16_t *spaces; /* by id: white space that the token starts (low byte) and ends with */
    uint32_t max_length;
    bool truncate_left;
    enum sc_truncation truncation;

    enum sc_decoder decoder;
    bool decoder_cleanup, decoder_drops_first;
    struct sc_span decoder_mark; /* WordPiece's prefix, Metaspace's replacement */

    struct sc_span *tokens; /* by id */
    bool *specials;         /* by id */
    uint32_t vocab_size;    /* ids are below */
    uint32_t model_size;    /* entries of the vocabulary without added tokens, as the package counts them */
    char *text;             /* the tokens' bytes */
    void *kept[SC_TOKENIZER_STEPS_MAX * 4]; /* what the steps' spans point at */
    uint32_t n_kept;
};

/* --- text on its way through the pipeline --- */

/* Bytes, and where each comes from: its character's bytes in the original. Without `from` they are the
 * original's own, from byte `base` on. */
struct sc_view {
    const unsigned char *p;
    size_t n;
    const struct sc_range *from;
    uint32_t base;
};

struct sc_text {
    unsigned char *p;
    struct sc_range *from;
    size_t n, cap, from_cap;
};

/* One token of a sequence while it is made. */
struct sc_token {
    uint32_t start, end; /* bytes of the original */
    uint32_t word;
    uint32_t lead, trail; /* white space of the token's text; of added tokens what they matched */
};

/* The tokens of one sequence. Those beyond `keep` are dropped at the end, or at the front with `left`. */
struct sc_tokens {
    uint32_t *ids;
    struct sc_token *at; /* where origins are wanted */
    uint32_t n, cap, at_cap;
    uint32_t keep;
    uint64_t total; /* tokens that the whole text has, where `exact` */
    bool left;
    bool exact; /* go on counting when full */
    bool full;
};

struct sc_form {
    uint32_t c;
    int32_t change;
    uint32_t class;
};

struct sc_symbol {
    uint32_t id, len;
    int32_t prev, next;
};

struct sc_candidate {
    uint32_t rank, id;
    int32_t at;
};

struct sc_node {
    double score;
    uint32_t start, id; /* start: UINT32_MAX where no path ends */
};

/* Words that came before, and their tokens. */
#define SC_CACHE_ENTRIES 4096u
#define SC_CACHE_KEY 23u
#define SC_CACHE_TOKENS 8u
struct sc_cached {
    uint32_t ids[SC_CACHE_TOKENS];
    uint8_t ends[SC_CACHE_TOKENS];
    uint8_t n, size; /* tokens, bytes of the key; no entry if size is 0 */
    unsigned char key[SC_CACHE_KEY];
};

/* The working memory behind an sc_encoding. */
struct sc_work {
    const struct sc_tokenizer *t;
    bool origins; /* tokens are asked for with their places */
    bool track;   /* texts carry theirs */
    int failed;   /* 0, SC_ENOMEM: checked once at the end */
    bool inexact; /* bert.c cannot say where a token comes from: the whole pipeline has to */
    uint32_t word;
    struct sc_tokens *out; /* one of seq */
    struct sc_tokens seq[2];
    struct sc_text normal[2], steps[SC_TOKENIZER_STEPS_MAX];
    struct sc_form *forms;
    size_t n_forms, forms_cap;
    struct sc_symbol *symbols;
    size_t symbols_cap;
    struct sc_candidate *heap;
    size_t heap_n, heap_cap;
    struct sc_node *nodes;
    size_t nodes_cap;
    void *bert; /* bert.c's words and marks */
    size_t bert_cap;
    struct sc_cached *cache;
    uint64_t cache_serial;
    /* What sc_tokenizer_window needs of sc_tokenizer_windows. */
    const struct sc_template *template;
    struct sc_span texts[2];
    uint32_t windowed, room,
        step; /* the sequence that is cut, its ids a window, ids between windows' starts */
    bool no_specials;
};

/* --- work.c --- */

/* Room for n elements of `size` bytes at *p; contents are kept. False, and w->failed, if memory is gone. */
bool sc_work_room(struct sc_work *w, void *p, size_t *cap, size_t n, size_t size);
/* Frees what one huge text left behind. */
void sc_work_trim(struct sc_work *w);
void sc_work_del(struct sc_work *w);

/* A token from bytes [start, end) of v. */
void sc_work_push(struct sc_work *w, uint32_t id, const struct sc_view *v, size_t start, size_t end);
/* The same with everything said. */
void sc_tokens_push(struct sc_work *w, uint32_t id, struct sc_token at);

/* --- cache.c --- */

/* Where a word of these bytes would be remembered; NULL if it would not. */
struct sc_cached *sc_cache_slot(struct sc_work *w, const unsigned char *p, size_t n);
/* Pushes the tokens of the word if it is remembered there. */
bool sc_cache_use(struct sc_work *w, const struct sc_cached *slot, const struct sc_view *word);
/* From here on the slot is this word's; tokens are added in order, each from where the one before ends. All
 * that may have a NULL slot; one with too many tokens is forgotten. */
void sc_cache_begin(struct sc_cached *slot, const struct sc_view *word);
void sc_cache_add(struct sc_cached *slot, uint32_t id, size_t end);

/* --- text.c --- */

/* Where byte i of v comes from. */
struct sc_range sc_view_from(const struct sc_view *v, size_t i);
struct sc_view sc_view_sub(const struct sc_view *v, size_t start, size_t end);
/* Makes room for `more` bytes behind to->n; false if memory is gone. */
bool sc_text_room(struct sc_work *w, struct sc_text *to, size_t more);
struct sc_view sc_text_view(const struct sc_work *w, const struct sc_text *t);

/*
 * Writes a text that replaces another character by character, and follows where each comes from the way the
 * package does: by position, not by meaning.
 */
struct sc_writer {
    struct sc_work *w;
    struct sc_text *to;
    const struct sc_view *in;
    size_t at; /* bytes of `in` that are consumed; followed only with w->track */
};
/* Character c: change 0 takes the place of the next one of `in`, 1 is new, -k also removes the k behind. */
void sc_writer_put(struct sc_writer *o, uint32_t c, int32_t change);
/* n bytes of `in` from where the writer is, as they are. Where nobody tracks, `p` says which. */
void sc_writer_copy(struct sc_writer *o, const unsigned char *p, size_t n);
/* n characters of `in` are passed over. */
void sc_writer_skip(struct sc_writer *o, size_t n);

/* --- normalize.c, forms.c, charsmap.c --- */

/* The normalised text, which lies in `in` or in w. */
struct sc_view sc_normalize(struct sc_work *w, struct sc_view in);
/* Each writes the normalised text into `to`; false leaves it as it was: nothing changes. */
bool sc_normalize_form(struct sc_work *w, enum sc_normalizer_kind kind, const struct sc_view *in,
                       struct sc_text *to);
bool sc_normalize_charsmap(struct sc_work *w, const struct sc_normalizer *nz, const struct sc_view *in,
                           struct sc_text *to);
/* Takes a precompiled_charsmap apart, checked: SC_EINVAL. */
int sc_charsmap_open(struct sc_normalizer *nz, struct sc_span blob);

/* --- pattern.c --- */

/* Reads a regular expression. SC_EUNSUPPORTED if it is none of those that are known. */
int sc_pattern_regex(struct sc_pattern *p, struct sc_span regex);
/* The first match in s from *start on; its end to *end. */
bool sc_pattern_find(const struct sc_unicode *u, const struct sc_pattern *p, struct sc_span s, size_t *start,
                     size_t *end);

/* --- split.c --- */

/* Splits a piece of normalised text into words and gives them to the model. */
void sc_split_words(struct sc_work *w, struct sc_view v);

/* --- models: the tokens of one word --- */

void sc_wordpiece(struct sc_work *w, const struct sc_view *word);
void sc_bpe(struct sc_work *w, const struct sc_view *word);
void sc_unigram(struct sc_work *w, const struct sc_view *word);

/* --- bert.c: BERT in one pass --- */

/* A stretch of text without added tokens. May set w->inexact, and is then worth nothing. */
void sc_bert(struct sc_work *w, struct sc_span text, uint32_t base);

/* --- bytes.c: GPT-2's characters for bytes --- */

uint32_t sc_byte_char(unsigned char b);
/* The byte that c stands for, -1 if it is not one of these. */
int sc_char_byte(uint32_t c);

/* --- encode.c --- */

/* Characters of white space, or of what stands for it in byte-level tokens, at either end of s. */
void sc_count_spaces(const struct sc_unicode *u, struct sc_span s, uint32_t *lead, uint32_t *trail);

/* --- load.c --- */

/*
 * As sc_tokenizer_load, from memory: `json` is tokenizer.json, or if it has a NULL pointer `vocab` is
 * vocab.txt, or with `merges` (merges.txt) vocab.json; `config` is tokenizer_config.json, with a NULL pointer
 * if there is none. The spans are not kept.
 */
struct sc_tokenizer_files {
    struct sc_span json, vocab, merges, config;
    struct sc_tokenizer_choice choice;
};
int sc_tokenizer_parse(struct sc_tokenizer **out, const struct sc_tokenizer_files *files,
                       uint32_t max_positions, struct sc_msg *msg);

#endif
