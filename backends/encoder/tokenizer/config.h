/*
 * What the JSON files say before it is put together: config.c reads tokenizer.json's model, added tokens and
 * truncation, config_steps.c its pipeline, config_class.c tokenizer_config.json.
 */
#ifndef SC_ENCODER_TOKENIZER_CONFIG_H
#define SC_ENCODER_TOKENIZER_CONFIG_H

#include <jansson.h>

#include "tokenizer/internal.h"

#define SC_TOKENIZER_JSON "tokenizer.json"
#define SC_TOKENIZER_CONFIG "tokenizer_config.json"
/* Names come from the file: cut, so that a hostile one leaves room for the remedy. */
#define SC_NAME "%.60s"

/* Spans point into the JSON documents or text files, but for the steps', which point into `kept`. */
struct sc_tokenizer_spec {
    enum sc_model_kind model;
    struct sc_span unk;    /* no pointer: none */
    struct sc_span prefix; /* WordPiece */
    int64_t word_max;
    struct sc_bpe bpe; /* its switches and affixes */
    bool byte_fallback;
    json_t *merges;             /* BPE: borrowed; or */
    struct sc_span merges_text; /* merges.txt */
    double *scores;             /* Unigram: on the heap, by id */
    uint32_t unk_id;            /* Unigram */

    struct sc_normalizer normalizers[SC_TOKENIZER_STEPS_MAX];
    uint32_t n_normalizers;
    bool bert_normalizer;
    uint32_t bert_at; /* before which of the normalizers its steps go */
    struct sc_chars_options options;
    int strip_accents; /* -1: as lowercase */
    struct sc_split splits[SC_TOKENIZER_STEPS_MAX];
    uint32_t n_splits;
    bool bert_splits; /* they are BertPreTokenizer's alone */
    struct sc_trim trim;
    void *kept[SC_TOKENIZER_STEPS_MAX * 4];
    uint32_t n_kept;

    int64_t truncation; /* ids; 0: not said */
    enum sc_truncation strategy;
    bool truncate_left;
    struct sc_trie_key *vocab; /* on the heap: text and id */
    size_t n_vocab;
    struct sc_added *added; /* on the heap */
    size_t n_added;
    struct sc_template single, pair;
    struct sc_span cls, sep; /* the template's, where the files give only names (vocab.txt, vocab.json) */
    bool double_sep;         /* between a pair, and no types: RoBERTa's */

    enum sc_decoder decoder;
    bool decoder_cleanup, decoder_drops_first;
    struct sc_span decoder_mark;
};

/* All free nothing of spec; the caller does with sc_tokenizer_spec_free, also after a failure. */
int sc_tokenizer_read_json(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg);
int sc_tokenizer_read_steps(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg);
/* tokenizer_config.json beside a tokenizer.json, or alone with vocab.txt or vocab.json. `root` may be NULL.
 */
enum sc_tokenizer_beside { SC_BESIDE_JSON, SC_BESIDE_WORDPIECE, SC_BESIDE_BPE };
int sc_tokenizer_read_config(const json_t *root, enum sc_tokenizer_beside beside,
                             struct sc_tokenizer_spec *spec, struct sc_msg *msg);
void sc_tokenizer_spec_free(struct sc_tokenizer_spec *spec);

/* files.c: a token on each line. */
int sc_tokenizer_read_vocab_txt(struct sc_span file, struct sc_tokenizer_spec *spec, struct sc_msg *msg);
/* An object of tokens and ids: model.vocab, vocab.json. `where` names it. */
int sc_tokenizer_read_vocab(const json_t *vocab, const char *where, struct sc_tokenizer_spec *spec,
                            struct sc_msg *msg);
/* [CLS] A [SEP] and [CLS] A [SEP] B [SEP]; RoBERTa's has two in between and no types. */
void sc_template_set(struct sc_template *single, struct sc_template *pair, uint32_t cls, uint32_t sep,
                     bool roberta);
/* ByteLevel as the last step of a BPE model. */
int sc_tokenizer_byte_level(struct sc_tokenizer_spec *spec, bool prefix_space, bool use_regex,
                            struct sc_msg *msg);

/* added.c: takes the added tokens over, once the vocabulary's trie is there; then what finds them, once the
 * steps are. */
int sc_tokenizer_place_added(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, struct sc_msg *msg);
int sc_tokenizer_build_matchers(struct sc_tokenizer *t, struct sc_msg *msg);

/* --- fields --- */

/* "FILE: WHERE.FIELD must be WANT; ...", SC_EINVAL. */
int sc_json_not_a(struct sc_msg *msg, const char *file, const char *where, const char *field,
                  const char *want);
struct sc_span sc_json_span(const json_t *string);
/* Optional fields: leave *out alone where they are missing. */
int sc_config_bool(const json_t *o, const char *file, const char *where, const char *field, bool *out,
                   struct sc_msg *msg);
int sc_config_int(const json_t *o, const char *where, const char *field, int64_t lo, int64_t hi, int64_t *out,
                  struct sc_msg *msg);
int sc_config_string(const json_t *o, const char *file, const char *where, const char *field,
                     struct sc_span *out, struct sc_msg *msg);
/* strip_accents: true, false or null (as lowercase). */
int sc_config_strip(const json_t *o, const char *file, const char *where, int *out, struct sc_msg *msg);
/* One of added_tokens, or of tokenizer_config.json's added_tokens_decoder (`where` names it). */
int sc_json_added(const json_t *o, const char *file, const char *where, struct sc_added *a,
                  struct sc_msg *msg);

#endif
