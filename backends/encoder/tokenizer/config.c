/* tokenizer.json and tokenizer_config.json: every field that matters is checked, every part that is not ours
 * refused. */
#include <jansson.h>
#include <stdlib.h>

#include "tokenizer/internal.h"

static const char file_json[] = "tokenizer.json";
static const char file_config[] = "tokenizer_config.json";

/* --- fields
 * ---------------------------------------------------------------------------------------------------- */

/* Names come from the file: cut, so that a hostile one leaves room for the remedy. */
#define NAME "%.60s"

static int not_a(struct sc_msg *msg, const char *file, const char *where, const char *field, const char *want)
{
    return sc_fail(msg, SC_EINVAL,
                   "%s: %s%s%s must be %s; the file is damaged or was not written by tokenizers", file, where,
                   *where ? "." : "", field, want);
}

static struct sc_span span_of(const json_t *string)
{
    return sc_span(json_string_value(string), json_string_length(string));
}

/* An optional boolean: leaves *out alone where the field is missing. */
static int get_bool(const json_t *o, const char *file, const char *where, const char *field, bool *out,
                    struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, field);
    if (v && !json_is_boolean(v))
        return not_a(msg, file, where, field, "true or false");
    if (v)
        *out = json_is_true(v);
    return 0;
}

/* An optional integer from lo to hi. */
static int get_int(const json_t *o, const char *where, const char *field, int64_t lo, int64_t hi,
                   int64_t *out, struct sc_msg *msg)
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

static int get_string(const json_t *o, const char *file, const char *where, const char *field,
                      struct sc_span *out, struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, field);
    if (v && !json_is_string(v))
        return not_a(msg, file, where, field, "a string");
    if (v)
        *out = span_of(v);
    return 0;
}

/* strip_accents: true, false or null (as lowercase). */
static int get_strip(const json_t *o, const char *file, const char *where, int *out, struct sc_msg *msg)
{
    const json_t *v = json_object_get(o, "strip_accents");
    if (v && !json_is_boolean(v) && !json_is_null(v))
        return not_a(msg, file, where, "strip_accents", "true, false or null");
    if (v)
        *out = json_is_null(v) ? -1 : json_is_true(v);
    return 0;
}

/* A component of tokenizer.json that has to be of the one type we know. */
static int want_type(const json_t *o, const char *component, const char *type, struct sc_msg *msg)
{
    const char *got = json_string_value(json_object_get(o, "type"));
    if (!json_is_object(o))
        return sc_fail(msg, o && !json_is_null(o) ? SC_EINVAL : SC_EUNSUPPORTED,
                       "%s: %s is %s" SC_TOKENIZER_REMEDY, file_json, component,
                       o && !json_is_null(o) ? "not an object" : "missing");
    if (!got || strcmp(got, type) != 0)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: %s of type \"" NAME "\" is not supported, only %s" SC_TOKENIZER_REMEDY, file_json,
                       component, got ? got : "", type);
    return 0;
}

/* --- tokenizer.json
 * -------------------------------------------------------------------------------------------- */

static int read_vocab(const json_t *model, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return not_a(msg, file_json, "model", "vocab", "an object of tokens and ids");
    size_t n = json_object_size(vocab);
    if (n > SC_TOKENIZER_VOCAB_MAX)
        return sc_fail(msg, SC_ELIMIT, "%s: model.vocab has %zu tokens, at most %u are served", file_json, n,
                       SC_TOKENIZER_VOCAB_MAX);
    spec->vocab = calloc(n, sizeof(*spec->vocab));
    if (!spec->vocab)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory for %zu tokens", file_json, n);
    for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *id = json_object_iter_value(it);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= SC_TOKENIZER_VOCAB_MAX)
            return sc_fail(msg, SC_EINVAL,
                           "%s: model.vocab: the id of \"" NAME "\" must be a whole number below %u",
                           file_json, key, SC_TOKENIZER_VOCAB_MAX);
        spec->vocab[spec->n_vocab++] =
            (struct sc_trie_key){.text = sc_span_str(key), .value = (uint32_t)json_integer_value(id)};
    }
    return 0;
}

static int read_model(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    const json_t *model = json_object_get(root, "model");
    /* Files of old releases leave the type out; what only WordPiece has tells it. */
    bool untyped = json_is_object(model) && !json_object_get(model, "type") &&
                   json_object_get(model, "continuing_subword_prefix") && !json_object_get(model, "merges");
    int rc = untyped ? 0 : want_type(model, "model", "WordPiece", msg);
    if (!rc)
        rc = get_string(model, file_json, "model", "unk_token", &spec->unk, msg);
    if (!rc)
        rc = get_string(model, file_json, "model", "continuing_subword_prefix", &spec->prefix, msg);
    if (!rc)
        rc = get_int(model, "model", "max_input_chars_per_word", 0, INT64_MAX, &spec->word_max, msg);
    return rc ? rc : read_vocab(model, spec, msg);
}

static int read_normalizer(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "normalizer";
    const json_t *o = json_object_get(root, where);
    int rc = want_type(o, where, "BertNormalizer", msg);
    if (!rc)
        rc = get_bool(o, file_json, where, "clean_text", &spec->options.clean_text, msg);
    if (!rc)
        rc = get_bool(o, file_json, where, "handle_chinese_chars", &spec->options.handle_chinese_chars, msg);
    if (!rc)
        rc = get_bool(o, file_json, where, "lowercase", &spec->options.lowercase, msg);
    return rc ? rc : get_strip(o, file_json, where, &spec->strip_accents, msg);
}

/* One of added_tokens, or of tokenizer_config.json's added_tokens_decoder (`where` names it). */
static int read_added(const json_t *o, const char *file, const char *where, struct sc_added *a,
                      struct sc_msg *msg)
{
    bool special = false, single_word = false;
    if (!json_is_object(o))
        return sc_fail(msg, SC_EINVAL, "%s: %s must hold objects", file, where);
    int rc = get_string(o, file, where, "content", &a->text, msg);
    if (!rc)
        rc = get_bool(o, file, where, "special", &special, msg);
    a->normalized = !special;
    if (!rc)
        rc = get_bool(o, file, where, "normalized", &a->normalized, msg);
    if (!rc)
        rc = get_bool(o, file, where, "lstrip", &a->lstrip, msg);
    if (!rc)
        rc = get_bool(o, file, where, "rstrip", &a->rstrip, msg);
    if (!rc)
        rc = get_bool(o, file, where, "single_word", &single_word, msg);
    if (rc)
        return rc;
    if (a->text.n == 0 || a->text.n > SC_TOKENIZER_ADDED_BYTES)
        return sc_fail(msg, SC_EINVAL, "%s: %s: the content of a token must have 1 to %u bytes", file, where,
                       SC_TOKENIZER_ADDED_BYTES);
    if (single_word)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: %s: token \"" NAME
                       "\" is single_word, which is not supported; add it without single_word",
                       file, where, a->text.p);
    return 0;
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
        int rc = read_added(o, file_json, where, a, msg);
        if (!rc)
            rc = get_int(o, where, "id", 0, SC_TOKENIZER_VOCAB_MAX - 1, &id, msg);
        if (!rc && id < 0)
            rc = not_a(msg, file_json, where, "id", "there");
        if (rc)
            return rc;
        a->id = (uint32_t)id;
    }
    return 0;
}

static int read_truncation(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "truncation";
    const json_t *o = json_object_get(root, where);
    if (!o || json_is_null(o))
        return 0;
    if (!json_is_object(o))
        return not_a(msg, file_json, "", where, "an object or null");
    struct sc_span strategy = SC_SPAN("LongestFirst"), direction = SC_SPAN("Right");
    int rc = get_int(o, where, "max_length", 1, INT64_MAX, &spec->truncation, msg);
    if (!rc)
        rc = get_string(o, file_json, where, "strategy", &strategy, msg);
    if (!rc)
        rc = get_string(o, file_json, where, "direction", &direction, msg);
    if (rc)
        return rc;
    if (!sc_span_eq(strategy, SC_SPAN("LongestFirst")))
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: truncation.strategy \"" NAME "\" is not supported; set it to \"LongestFirst\"",
                       file_json, strategy.p);
    spec->truncate_left = sc_span_eq(direction, SC_SPAN("Left"));
    if (!spec->truncate_left && !sc_span_eq(direction, SC_SPAN("Right")))
        return not_a(msg, file_json, where, "direction", "\"Left\" or \"Right\"");
    return 0;
}

/* --- post-processor
 * -------------------------------------------------------------------------------------------- */

static int add_piece(struct sc_template *t, enum sc_piece_kind kind, uint32_t id, uint8_t type_id)
{
    if (t->n == SC_TOKENIZER_PIECES_MAX)
        return SC_ELIMIT;
    t->pieces[t->n++] = (struct sc_piece){.kind = kind, .id = id, .type_id = type_id};
    t->specials += kind == SC_PIECE_ID;
    return 0;
}

static int bert_template(struct sc_tokenizer_spec *spec, uint32_t cls, uint32_t sep)
{
    int rc = 0;
    for (int two = 0; two < 2; two++) {
        struct sc_template *t = two ? &spec->pair : &spec->single;
        rc |= add_piece(t, SC_PIECE_ID, cls, 0) | add_piece(t, SC_PIECE_A, 0, 0) |
              add_piece(t, SC_PIECE_ID, sep, 0);
        if (two)
            rc |= add_piece(t, SC_PIECE_B, 0, 1) | add_piece(t, SC_PIECE_ID, sep, 1);
    }
    return rc;
}

static int bad_template(struct sc_msg *msg, const char *what)
{
    return sc_fail(msg, SC_EINVAL,
                   "%s: post_processor: %s; the file is damaged or was not written by tokenizers", file_json,
                   what);
}

static bool id_in_range(const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < SC_TOKENIZER_VOCAB_MAX;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}} */
static int read_piece(const json_t *o, const json_t *specials, struct sc_template *t, struct sc_msg *msg)
{
    const json_t *special = json_object_get(o, "SpecialToken"), *sequence = json_object_get(o, "Sequence");
    const json_t *body = special ? special : sequence;
    const char *id = json_string_value(json_object_get(body, "id"));
    const json_t *type = json_object_get(body, "type_id");
    if (!id || !json_is_integer(type) || json_integer_value(type) < 0 || json_integer_value(type) > UINT8_MAX)
        return bad_template(msg, "a piece needs an id and a type_id from 0 to 255");
    uint8_t type_id = (uint8_t)json_integer_value(type);
    int rc = 0;
    if (special) {
        const json_t *ids = json_object_get(json_object_get(specials, id), "ids");
        if (!json_is_array(ids) || json_array_size(ids) == 0)
            return bad_template(msg, "a special token of the template is not in special_tokens");
        for (size_t i = 0; i < json_array_size(ids) && !rc; i++) {
            if (!id_in_range(json_array_get(ids, i)))
                return bad_template(msg, "ids of special_tokens must be ids of the vocabulary");
            rc = add_piece(t, SC_PIECE_ID, (uint32_t)json_integer_value(json_array_get(ids, i)), type_id);
        }
    } else if (strcmp(id, "A") == 0 || strcmp(id, "B") == 0) {
        rc = add_piece(t, id[0] == 'A' ? SC_PIECE_A : SC_PIECE_B, 0, type_id);
    } else {
        return bad_template(msg, "a sequence must be A or B");
    }
    return rc ? bad_template(msg, "the template has too many pieces") : 0;
}

static int read_template(const json_t *o, const char *field, struct sc_template *t, struct sc_msg *msg)
{
    const json_t *list = json_object_get(o, field), *specials = json_object_get(o, "special_tokens");
    if (!json_is_array(list))
        return bad_template(msg, "single and pair must be lists of pieces");
    for (size_t i = 0; i < json_array_size(list); i++) {
        int rc = read_piece(json_array_get(list, i), specials, t, msg);
        if (rc)
            return rc;
    }
    unsigned a = 0, b = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        a += t->pieces[i].kind == SC_PIECE_A;
        b += t->pieces[i].kind == SC_PIECE_B;
    }
    if (a != 1 || b != (strcmp(field, "pair") == 0))
        return bad_template(msg, "single must have the sequence A once, pair A and B once each");
    return 0;
}

/* ["[SEP]", 102] */
static int read_token_and_id(const json_t *o, const char *field, uint32_t *id, struct sc_msg *msg)
{
    const json_t *pair = json_object_get(o, field);
    if (!json_is_array(pair) || json_array_size(pair) != 2 || !id_in_range(json_array_get(pair, 1)))
        return bad_template(msg, "sep and cls must be pairs of a token and its id");
    *id = (uint32_t)json_integer_value(json_array_get(pair, 1));
    return 0;
}

static int read_post_processor(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "post_processor";
    const json_t *o = json_object_get(root, where);
    const char *type = json_string_value(json_object_get(o, "type"));
    if (type && strcmp(type, "BertProcessing") == 0) {
        uint32_t cls = 0, sep = 0;
        int rc = read_token_and_id(o, "sep", &sep, msg);
        if (!rc)
            rc = read_token_and_id(o, "cls", &cls, msg);
        return rc ? rc : bert_template(spec, cls, sep);
    }
    int rc = want_type(o, where, "TemplateProcessing", msg);
    if (!rc)
        rc = read_template(o, "single", &spec->single, msg);
    return rc ? rc : read_template(o, "pair", &spec->pair, msg);
}

int sc_tokenizer_read_json(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    if (!json_is_object(root))
        return sc_fail(msg, SC_EINVAL, "%s: not a JSON object; the file is damaged", file_json);
    int rc = read_model(root, spec, msg);
    if (!rc)
        rc = read_normalizer(root, spec, msg);
    if (!rc)
        rc = want_type(json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "BertPreTokenizer", msg);
    if (!rc)
        rc = read_post_processor(root, spec, msg);
    if (!rc)
        rc = read_added_tokens(root, spec, msg);
    return rc ? rc : read_truncation(root, spec, msg);
}

/* --- tokenizer_config.json
 * ------------------------------------------------------------------------------------- */

/* A special token's name: a string, or an object as AddedToken is written. Null and missing leave it. */
static int get_token(const json_t *root, const char *field, struct sc_span *out, struct sc_msg *msg)
{
    const json_t *v = json_object_get(root, field);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) > SC_TOKENIZER_ADDED_BYTES)
        return not_a(msg, file_config, "", field, "a token");
    *out = span_of(v);
    return 0;
}

static int add_special(const json_t *root, const char *field, struct sc_span text,
                       struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    for (size_t i = 0; i < spec->n_added; i++)
        if (sc_span_eq(spec->added[i].text, text))
            return 0;
    struct sc_added *a = &spec->added[spec->n_added++];
    *a = (struct sc_added){.text = text, .id = UINT32_MAX};
    const json_t *v = json_object_get(root, field);
    if (!json_is_object(v))
        return 0;
    int rc = read_added(v, file_config, field, a, msg);
    /* Written without "special", a special token is one all the same. */
    if (!json_object_get(v, "normalized"))
        a->normalized = false;
    return rc;
}

/* The tokens that are found in the text where only vocab.txt says what ids they have. */
static int read_specials(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char *const fields[] = {"pad_token", "unk_token", "cls_token", "sep_token", "mask_token"};
    struct sc_span names[] = {SC_SPAN("[PAD]"), SC_SPAN("[UNK]"), SC_SPAN("[CLS]"), SC_SPAN("[SEP]"),
                              SC_SPAN("[MASK]")};
    json_t *decoder = json_object_get(root, "added_tokens_decoder");
    if (decoder && (!json_is_object(decoder) || json_object_size(decoder) > SC_TOKENIZER_ADDED_MAX))
        return sc_fail(msg, SC_EINVAL, "%s: added_tokens_decoder must be an object of at most %u tokens",
                       file_config, SC_TOKENIZER_ADDED_MAX);
    const json_t *more = json_object_get(root, "additional_special_tokens");
    if (json_array_size(more))
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "%s: additional_special_tokens need a tokenizer.json; save the tokenizer with save_pretrained",
            file_config);
    spec->added = calloc(json_object_size(decoder) + SC_COUNT(fields), sizeof(*spec->added));
    if (!spec->added)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory for the special tokens", file_config);
    int rc = 0;
    for (void *it = json_object_iter(decoder); it && !rc; it = json_object_iter_next(decoder, it)) {
        uint64_t id;
        struct sc_added *a = &spec->added[spec->n_added++];
        if (!sc_span_u64(sc_span_str(json_object_iter_key(it)), SC_TOKENIZER_VOCAB_MAX - 1, &id))
            return sc_fail(msg, SC_EINVAL, "%s: added_tokens_decoder: \"" NAME "\" is not an id", file_config,
                           json_object_iter_key(it));
        a->id = (uint32_t)id;
        rc = read_added(json_object_iter_value(it), file_config, "added_tokens_decoder", a, msg);
    }
    for (size_t i = 0; i < SC_COUNT(fields) && !rc; i++) {
        rc = get_token(root, fields[i], &names[i], msg);
        if (!rc)
            rc = add_special(root, fields[i], names[i], spec, msg);
    }
    spec->unk = names[1];
    spec->cls = names[2];
    spec->sep = names[3];
    return rc;
}

int sc_tokenizer_read_config(const json_t *root, bool vocab_only, struct sc_tokenizer_spec *spec,
                             struct sc_msg *msg)
{
    int rc = vocab_only ? read_specials(root, spec, msg) : 0;
    if (rc || !root)
        return rc;
    if (!json_is_object(root))
        return sc_fail(msg, SC_EINVAL, "%s: not a JSON object; the file is damaged", file_config);

    /* transformers gives these precedence over tokenizer.json, but only in the classes that know them. */
    const char *class = json_string_value(json_object_get(root, "tokenizer_class"));
    bool generic =
        class && (strcmp(class, "PreTrainedTokenizerFast") == 0 || strcmp(class, "TokenizersBackend") == 0);
    if (vocab_only || !generic) {
        rc = get_bool(root, file_config, "", "do_lower_case", &spec->options.lowercase, msg);
        if (!rc)
            rc = get_bool(root, file_config, "", "tokenize_chinese_chars",
                          &spec->options.handle_chinese_chars, msg);
        if (!rc)
            rc = get_strip(root, file_config, "", &spec->strip_accents, msg);
    }
    struct sc_span side = {0};
    if (!rc)
        rc = get_string(root, file_config, "", "truncation_side", &side, msg);
    if (rc)
        return rc;
    if (side.p && !sc_span_eq(side, SC_SPAN("left")) && !sc_span_eq(side, SC_SPAN("right")))
        return not_a(msg, file_config, "", "truncation_side", "\"left\" or \"right\"");
    if (side.p)
        spec->truncate_left = sc_span_eq(side, SC_SPAN("left"));

    const json_t *most = json_object_get(root, "model_max_length");
    double value = json_number_value(most);
    if (most && !json_is_null(most) && (!json_is_number(most) || value < 1))
        return not_a(msg, file_config, "", "model_max_length", "a number above 0");
    if (most && !json_is_null(most) && value < SC_TOKENIZER_LENGTH_MAX &&
        (spec->truncation == 0 || value < (double)spec->truncation))
        spec->truncation = (int64_t)value;
    return 0;
}
