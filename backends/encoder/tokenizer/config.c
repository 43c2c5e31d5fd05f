/* tokenizer.json: every field that matters is checked, every part that is not known refused. */
#include "tokenizer/config.h"

#include <stdlib.h>

static const char file_json[] = SC_TOKENIZER_JSON;

/* --- fields --- */

int sc_json_not_a(struct sc_msg *msg, const char *file, const char *where, const char *field,
                  const char *want)
{
    return sc_fail(msg, SC_EINVAL,
                   "%s: %s%s%s must be %s; the file is damaged or was not written by tokenizers", file, where,
                   *where ? "." : "", field, want);
}

struct sc_span sc_json_span(const json_t *string)
{
    return sc_span(json_string_value(string), json_string_length(string));
}

int sc_config_bool(const json_t *o, const char *file, const char *where, const char *field, bool *out,
                   struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, field);
    if (v && !json_is_boolean(v))
        return sc_json_not_a(msg, file, where, field, "true or false");
    if (v)
        *out = json_is_true(v);
    return 0;
}

int sc_config_int(const json_t *o, const char *where, const char *field, int64_t lo, int64_t hi, int64_t *out,
                  struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, field);
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi)
        return sc_fail(msg, SC_EINVAL, "%s: %s.%s must be a whole number from %lld to %lld", file_json, where,
                       field, (long long)lo, (long long)hi);
    *out = json_integer_value(v);
    return 0;
}

int sc_config_string(const json_t *o, const char *file, const char *where, const char *field,
                     struct sc_span *out, struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, field);
    if (v && !json_is_string(v))
        return sc_json_not_a(msg, file, where, field, "a string");
    if (v)
        *out = sc_json_span(v);
    return 0;
}

int sc_config_strip(const json_t *o, const char *file, const char *where, int *out, struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, "strip_accents");
    if (v && !json_is_boolean(v) && !json_is_null(v))
        return sc_json_not_a(msg, file, where, "strip_accents", "true, false or null");
    if (v)
        *out = json_is_null(v) ? -1 : json_is_true(v);
    return 0;
}

/* A string or null, which leaves *out alone. */
static int get_optional(const json_t *o, const char *field, struct sc_span *out, struct sc_msg *msg)
{
    if (json_is_null(json_object_get(o, field)))
        return 0;
    return sc_config_string(o, file_json, "model", field, out, msg);
}

/* --- models --- */

static int too_many(struct sc_msg *msg, const char *where, size_t n)
{
    return sc_fail(msg, SC_ELIMIT, "%s has %zu tokens, at most %u are served", where, n,
                   SC_TOKENIZER_VOCAB_MAX);
}

static int no_memory(struct sc_msg *msg, size_t n)
{
    return sc_fail(msg, SC_ENOMEM, "%s: no memory for %zu tokens", file_json, n);
}

int sc_tokenizer_read_vocab(const json_t *vocab, const char *where, struct sc_tokenizer_spec *spec,
                            struct sc_msg *msg)
{
    size_t n = json_object_size(vocab);
    if (!json_is_object(vocab) || n == 0)
        return sc_fail(msg, SC_EINVAL, "%s must be an object of tokens and ids; the file is damaged", where);
    if (n > SC_TOKENIZER_VOCAB_MAX)
        return too_many(msg, where, n);
    spec->vocab = calloc(n, sizeof(*spec->vocab));
    if (!spec->vocab)
        return no_memory(msg, n);
    for (void *it = json_object_iter((json_t *)(uintptr_t)vocab); it;
         it = json_object_iter_next((json_t *)(uintptr_t)vocab, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *id = json_object_iter_value(it);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= SC_TOKENIZER_VOCAB_MAX)
            return sc_fail(msg, SC_EINVAL, "%s: the id of \"" SC_NAME "\" must be a whole number below %u",
                           where, key, SC_TOKENIZER_VOCAB_MAX);
        spec->vocab[spec->n_vocab++] =
            (struct sc_trie_key){.text = sc_span_str(key), .value = (uint32_t)json_integer_value(id)};
    }
    return 0;
}

static int read_wordpiece(const json_t *model, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    spec->model = SC_MODEL_WORDPIECE;
    spec->unk = SC_SPAN("[UNK]");
    int rc = sc_config_string(model, file_json, "model", "unk_token", &spec->unk, msg);
    if (!rc)
        rc = sc_config_string(model, file_json, "model", "continuing_subword_prefix", &spec->prefix, msg);
    if (!rc)
        rc = sc_config_int(model, "model", "max_input_chars_per_word", 0, INT64_MAX, &spec->word_max, msg);
    return rc;
}

static int read_bpe(const json_t *model, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    struct sc_bpe *b = &spec->bpe;
    const json_t *dropout = json_object_get(model, "dropout");
    spec->model = SC_MODEL_BPE;
    spec->unk = sc_span(NULL, 0);
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: model.dropout is not supported: it makes ids random; set it to null", file_json);
    int rc = get_optional(model, "unk_token", &spec->unk, msg);
    if (!rc)
        rc = get_optional(model, "continuing_subword_prefix", &b->prefix, msg);
    if (!rc)
        rc = get_optional(model, "end_of_word_suffix", &b->suffix, msg);
    if (!rc)
        rc = sc_config_bool(model, file_json, "model", "fuse_unk", &b->fuse_unk, msg);
    if (!rc)
        rc = sc_config_bool(model, file_json, "model", "byte_fallback", &b->byte_fallback, msg);
    if (!rc)
        rc = sc_config_bool(model, file_json, "model", "ignore_merges", &b->ignore_merges, msg);
    if (rc)
        return rc;
    if (b->prefix.n > SC_TOKENIZER_AFFIX_MAX || b->suffix.n > SC_TOKENIZER_AFFIX_MAX)
        return sc_fail(msg, SC_ELIMIT, "%s: model's prefix and suffix of subwords may have %u bytes",
                       file_json, SC_TOKENIZER_AFFIX_MAX);
    spec->merges = json_object_get(model, "merges");
    if (!json_is_array(spec->merges))
        return sc_json_not_a(msg, file_json, "model", "merges", "a list");
    if (json_array_size(spec->merges) > SC_TOKENIZER_MERGES_MAX)
        return sc_fail(msg, SC_ELIMIT, "%s: model.merges has %zu entries, at most %u are served", file_json,
                       json_array_size(spec->merges), SC_TOKENIZER_MERGES_MAX);
    return 0;
}

/* [["<unk>", 0.0], ["▁the", -3.2], ...]: ids are places. */
static int read_unigram(const json_t *model, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unk_id = json_object_get(model, "unk_id");
    size_t n = json_array_size(vocab);
    spec->model = SC_MODEL_UNIGRAM;
    if (n == 0)
        return sc_json_not_a(msg, file_json, "model", "vocab", "a list of tokens with their scores");
    if (n > SC_TOKENIZER_VOCAB_MAX)
        return too_many(msg, "tokenizer.json: model.vocab", n);
    if (!json_is_integer(unk_id) || json_integer_value(unk_id) < 0 || (size_t)json_integer_value(unk_id) >= n)
        return sc_fail(
            msg, SC_EINVAL,
            "%s: model.unk_id must be the place of the unknown token in model.vocab: without one no text "
            "with a new character can be served",
            file_json);
    spec->vocab = calloc(n, sizeof(*spec->vocab));
    spec->scores = calloc(n, sizeof(*spec->scores));
    if (!spec->vocab || !spec->scores)
        return no_memory(msg, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(vocab, i), *token = json_array_get(entry, 0),
                     *score = json_array_get(entry, 1);
        if (json_array_size(entry) != 2 || !json_is_string(token) || !json_is_number(score))
            return sc_fail(msg, SC_EINVAL,
                           "%s: model.vocab[%zu] must be a token and its score; the file is damaged",
                           file_json, i);
        spec->vocab[spec->n_vocab++] =
            (struct sc_trie_key){.text = sc_json_span(token), .value = (uint32_t)i};
        spec->scores[i] = json_number_value(score);
    }
    spec->unk = spec->vocab[json_integer_value(unk_id)].text;
    spec->unk_id = (uint32_t)json_integer_value(unk_id);
    return sc_config_bool(model, file_json, "model", "byte_fallback", &spec->byte_fallback, msg);
}

static int read_model(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    const json_t *model = json_object_get(root, "model");
    if (!json_is_object(model))
        return sc_fail(msg, SC_EINVAL, "%s: model is %s; the file is damaged", file_json,
                       model ? "not an object" : "missing");
    const char *type = json_string_value(json_object_get(model, "type"));
    /* Files of old releases leave the type out; what only one of them has tells it. */
    if (!json_object_get(model, "type"))
        type = json_object_get(model, "merges")                      ? "BPE"
               : json_is_array(json_object_get(model, "vocab"))      ? "Unigram"
               : json_object_get(model, "continuing_subword_prefix") ? "WordPiece"
                                                                     : "";
    int rc;
    if (type && strcmp(type, "WordPiece") == 0)
        rc = read_wordpiece(model, spec, msg);
    else if (type && strcmp(type, "BPE") == 0)
        rc = read_bpe(model, spec, msg);
    else if (type && strcmp(type, "Unigram") == 0)
        return read_unigram(model, spec, msg);
    else
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: model of type \"" SC_NAME
                       "\" is not supported, only WordPiece, BPE and Unigram are",
                       file_json, type ? type : "");
    return rc ? rc
              : sc_tokenizer_read_vocab(json_object_get(model, "vocab"), "tokenizer.json: model.vocab", spec,
                                        msg);
}

/* --- added tokens --- */

int sc_json_added(const json_t *o, const char *file, const char *where, struct sc_added *a,
                  struct sc_msg *msg)
{
    if (!json_is_object(o))
        return sc_fail(msg, SC_EINVAL, "%s: %s must hold objects", file, where);
    int rc = sc_config_string(o, file, where, "content", &a->text, msg);
    if (!rc)
        rc = sc_config_bool(o, file, where, "special", &a->special, msg);
    a->normalized = !a->special;
    if (!rc)
        rc = sc_config_bool(o, file, where, "normalized", &a->normalized, msg);
    if (!rc)
        rc = sc_config_bool(o, file, where, "lstrip", &a->lstrip, msg);
    if (!rc)
        rc = sc_config_bool(o, file, where, "rstrip", &a->rstrip, msg);
    if (!rc)
        rc = sc_config_bool(o, file, where, "single_word", &a->single_word, msg);
    if (!rc && (a->text.n == 0 || a->text.n > SC_TOKENIZER_ADDED_BYTES))
        return sc_fail(msg, SC_EINVAL, "%s: %s: the content of a token must have 1 to %u bytes", file, where,
                       SC_TOKENIZER_ADDED_BYTES);
    return rc;
}

static int read_added_tokens(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "added_tokens";
    const json_t *list = json_object_get(root, where);
    if (!list || json_is_null(list))
        return 0;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > SC_TOKENIZER_ADDED_MAX)
        return sc_fail(msg, SC_EINVAL, "%s: %s must be a list of at most %u tokens", file_json, where,
                       SC_TOKENIZER_ADDED_MAX);
    spec->added = calloc(n + 1, sizeof(*spec->added));
    if (!spec->added)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory for %zu added tokens", file_json, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        struct sc_added *a = &spec->added[spec->n_added++];
        int64_t id = -1;
        int rc = sc_json_added(o, file_json, where, a, msg);
        if (!rc)
            rc = sc_config_int(o, where, "id", 0, SC_TOKENIZER_VOCAB_MAX - 1, &id, msg);
        if (!rc && id < 0)
            rc = sc_json_not_a(msg, file_json, where, "id", "there");
        if (rc)
            return rc;
        a->id = (uint32_t)id;
    }
    return 0;
}

/* --- truncation --- */

static int read_truncation(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "truncation";
    const json_t *o = json_object_get(root, where);
    if (!o || json_is_null(o))
        return 0;
    if (!json_is_object(o))
        return sc_json_not_a(msg, file_json, "", where, "an object or null");
    struct sc_span strategy = SC_SPAN("LongestFirst"), direction = SC_SPAN("Right");
    int rc = sc_config_int(o, where, "max_length", 1, INT64_MAX, &spec->truncation, msg);
    if (!rc)
        rc = sc_config_string(o, file_json, where, "strategy", &strategy, msg);
    if (!rc)
        rc = sc_config_string(o, file_json, where, "direction", &direction, msg);
    if (rc)
        return rc;
    if (sc_span_eq(strategy, SC_SPAN("LongestFirst")))
        spec->strategy = SC_TRUNCATE_LONGEST;
    else if (sc_span_eq(strategy, SC_SPAN("OnlyFirst")))
        spec->strategy = SC_TRUNCATE_FIRST;
    else if (sc_span_eq(strategy, SC_SPAN("OnlySecond")))
        spec->strategy = SC_TRUNCATE_SECOND;
    else
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: truncation.strategy \"" SC_NAME "\" is not supported; set it to \"LongestFirst\"",
                       file_json, strategy.p);
    spec->truncate_left = sc_span_eq(direction, SC_SPAN("Left"));
    if (!spec->truncate_left && !sc_span_eq(direction, SC_SPAN("Right")))
        return sc_json_not_a(msg, file_json, where, "direction", "\"Left\" or \"Right\"");
    return 0;
}

int sc_tokenizer_read_json(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    if (!json_is_object(root))
        return sc_fail(msg, SC_EINVAL, "%s: not a JSON object; the file is damaged", file_json);
    int rc = read_model(root, spec, msg);
    if (!rc)
        rc = sc_tokenizer_read_steps(root, spec, msg);
    if (!rc)
        rc = read_added_tokens(root, spec, msg);
    return rc ? rc : read_truncation(root, spec, msg);
}

void sc_tokenizer_spec_free(struct sc_tokenizer_spec *spec)
{
    free(spec->vocab);
    free(spec->added);
    free(spec->scores);
    for (uint32_t i = 0; i < spec->n_kept; i++)
        free(spec->kept[i]);
}
