/* tokenizer.json's pipeline: normalizer, pre_tokenizer, post_processor, decoder. */
#include <stdlib.h>

#include "tokenizer/config.h"

static const char file_json[] = SC_TOKENIZER_JSON;

static int unsupported(struct sc_msg *msg, const char *component, const char *what, const char *why)
{
    return sc_fail(msg, SC_EUNSUPPORTED, "%s: %s of type \"" SC_NAME "\" is not supported%s", file_json,
                   component, what ? what : "", why);
}

/* A copy of s that lives as long as the tokenizer. */
static int keep(struct sc_tokenizer_spec *spec, struct sc_span s, struct sc_span *out, struct sc_msg *msg)
{
    char *copy = spec->n_kept < SC_COUNT(spec->kept) ? malloc(s.n + 1) : NULL;
    if (!copy)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory for a part of %zu bytes", file_json, s.n);
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    spec->kept[spec->n_kept++] = copy;
    *out = sc_span(copy, s.n);
    return 0;
}

/* The parts of a component, which may be Sequences of parts, in order. `list` is the field that a Sequence
 * has them in. */
static int flatten(const json_t *o, const char *component, const char *list,
                   const json_t *parts[SC_TOKENIZER_STEPS_MAX], uint32_t *n, struct sc_msg *msg)
{
    struct {
        const json_t *o;
        size_t at;
    } stack[SC_TOKENIZER_NESTED_MAX];
    size_t depth = 0;
    *n = 0;
    if (!o || json_is_null(o))
        return 0;
    stack[depth].o = o;
    stack[depth++].at = SIZE_MAX;
    while (depth) {
        const json_t *v = stack[depth - 1].o;
        if (stack[depth - 1].at != SIZE_MAX) {
            if (stack[depth - 1].at == json_array_size(v)) {
                depth--;
                continue;
            }
            v = json_array_get(v, stack[depth - 1].at++);
        } else {
            depth--;
        }
        const char *type = json_string_value(json_object_get(v, "type"));
        if (!type)
            return sc_fail(msg, SC_EINVAL, "%s: %s must be an object with a type; the file is damaged",
                           file_json, component);
        if (strcmp(type, "Sequence") != 0) {
            if (*n == SC_TOKENIZER_STEPS_MAX)
                return sc_fail(msg, SC_ELIMIT, "%s: %s has more than %u parts", file_json, component,
                               SC_TOKENIZER_STEPS_MAX);
            parts[(*n)++] = v;
            continue;
        }
        const json_t *inner = json_object_get(v, list);
        if (!json_is_array(inner))
            return sc_json_not_a(msg, file_json, component, list, "a list");
        if (depth == SC_COUNT(stack))
            return sc_fail(msg, SC_ELIMIT, "%s: %s is nested more than %zu deep", file_json, component,
                           SC_COUNT(stack));
        stack[depth].o = inner;
        stack[depth++].at = 0;
    }
    return 0;
}

/* {"String": "x"} or {"Regex": "x"} */
static int read_pattern(const json_t *o, const char *component, struct sc_tokenizer_spec *spec,
                        struct sc_pattern *p, struct sc_msg *msg)
{
    const json_t *pattern = json_object_get(o, "pattern"), *string = json_object_get(pattern, "String"),
                 *regex = json_object_get(pattern, "Regex");
    if (!json_is_string(string) && !json_is_string(regex))
        return sc_json_not_a(msg, file_json, component, "pattern", "a String or a Regex");
    if (string) {
        *p = (struct sc_pattern){.kind = SC_PATTERN_LITERAL};
        return keep(spec, sc_json_span(string), &p->literal, msg);
    }
    if (sc_pattern_regex(p, sc_json_span(regex)) < 0)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: %s: the regular expression \"%.120s\" is not supported: only runs of one class "
                       "of characters "
                       "and GPT-2's are",
                       file_json, component, json_string_value(regex));
    return 0;
}

/* --- normalizer --- */

static int read_bert(const json_t *o, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "normalizer";
    if (spec->bert_normalizer)
        return unsupported(msg, where, "BertNormalizer", " twice");
    spec->bert_normalizer = true;
    spec->bert_at = spec->n_normalizers;
    int rc = sc_config_bool(o, file_json, where, "clean_text", &spec->options.clean_text, msg);
    if (!rc)
        rc = sc_config_bool(o, file_json, where, "handle_chinese_chars", &spec->options.handle_chinese_chars,
                            msg);
    if (!rc)
        rc = sc_config_bool(o, file_json, where, "lowercase", &spec->options.lowercase, msg);
    return rc ? rc : sc_config_strip(o, file_json, where, &spec->strip_accents, msg);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int read_charsmap(const json_t *o, struct sc_tokenizer_spec *spec, struct sc_normalizer *nz,
                         struct sc_msg *msg)
{
    struct sc_span text = sc_json_span(json_object_get(o, "precompiled_charsmap")), blob;
    int rc = keep(spec, text, &blob, msg);
    if (rc)
        return rc;
    /* In place: what comes out is shorter. */
    char *to = spec->kept[spec->n_kept - 1];
    size_t n = 0;
    uint32_t bits = 0, have = 0;
    while (text.n && text.p[text.n - 1] == '=')
        text.n--;
    for (size_t i = 0; i < text.n; i++) {
        int v = base64_value(text.p[i]);
        if (v < 0)
            return sc_json_not_a(msg, file_json, "normalizer", "precompiled_charsmap", "base64");
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8)
            to[n++] = (char)(bits >> (have -= 8));
    }
    if (sc_charsmap_open(nz, sc_span(to, n)) < 0)
        return sc_json_not_a(msg, file_json, "normalizer", "precompiled_charsmap",
                             "a map as SentencePiece writes it");
    return 0;
}

static int read_normalizer(const json_t *o, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const struct {
        const char *name;
        enum sc_normalizer_kind kind;
    } kinds[] = {{"Lowercase", SC_NORMALIZER_LOWERCASE},
                 {"NFC", SC_NORMALIZER_NFC},
                 {"NFD", SC_NORMALIZER_NFD},
                 {"NFKC", SC_NORMALIZER_NFKC},
                 {"NFKD", SC_NORMALIZER_NFKD},
                 {"StripAccents", SC_NORMALIZER_STRIP_ACCENTS},
                 {"Strip", SC_NORMALIZER_STRIP},
                 {"Replace", SC_NORMALIZER_REPLACE},
                 {"Prepend", SC_NORMALIZER_PREPEND},
                 {"Nmt", SC_NORMALIZER_NMT},
                 {"Precompiled", SC_NORMALIZER_CHARSMAP}};
    static const char where[] = "normalizer";
    const char *type = json_string_value(json_object_get(o, "type"));
    if (strcmp(type, "BertNormalizer") == 0)
        return read_bert(o, spec, msg);
    size_t k = 0;
    while (k < SC_COUNT(kinds) && strcmp(kinds[k].name, type) != 0)
        k++;
    if (k == SC_COUNT(kinds))
        return unsupported(msg, where, type, "");
    struct sc_normalizer *nz = &spec->normalizers[spec->n_normalizers++];
    struct sc_span content = {0};
    *nz = (struct sc_normalizer){.kind = kinds[k].kind, .left = true, .right = true};
    int rc = 0;
    switch (nz->kind) {
    case SC_NORMALIZER_STRIP:
        rc = sc_config_bool(o, file_json, where, "strip_left", &nz->left, msg);
        return rc ? rc : sc_config_bool(o, file_json, where, "strip_right", &nz->right, msg);
    case SC_NORMALIZER_REPLACE:
        rc = read_pattern(o, where, spec, &nz->pattern, msg);
        if (!rc)
            rc = sc_config_string(o, file_json, where, "content", &content, msg);
        if (!rc && content.n > SC_TOKENIZER_AFFIX_MAX)
            rc = sc_fail(msg, SC_ELIMIT, "%s: normalizer.content may have %u bytes", file_json,
                         SC_TOKENIZER_AFFIX_MAX);
        return rc ? rc : keep(spec, content, &nz->content, msg);
    case SC_NORMALIZER_PREPEND:
        rc = sc_config_string(o, file_json, where, "prepend", &content, msg);
        return rc ? rc : keep(spec, content, &nz->content, msg);
    case SC_NORMALIZER_CHARSMAP: return read_charsmap(o, spec, nz, msg);
    case SC_NORMALIZER_CLEAN:
    case SC_NORMALIZER_CHINESE:
    case SC_NORMALIZER_BERT_STRIP:
    case SC_NORMALIZER_LOWERCASE:
    case SC_NORMALIZER_NFC:
    case SC_NORMALIZER_NFD:
    case SC_NORMALIZER_NFKC:
    case SC_NORMALIZER_NFKD:
    case SC_NORMALIZER_STRIP_ACCENTS:
    case SC_NORMALIZER_NMT: break;
    }
    return 0;
}

/* --- pre-tokenizer --- */

static int add_split(struct sc_tokenizer_spec *spec, struct sc_split s, struct sc_msg *msg)
{
    if (spec->n_splits == SC_TOKENIZER_STEPS_MAX)
        return sc_fail(msg, SC_ELIMIT, "%s: pre_tokenizer has more than %u parts", file_json,
                       SC_TOKENIZER_STEPS_MAX);
    if (spec->n_splits && spec->splits[spec->n_splits - 1].kind == SC_SPLIT_BYTE_LEVEL)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: pre_tokenizer: ByteLevel is supported only as the last part", file_json);
    spec->splits[spec->n_splits++] = s;
    return 0;
}

static int read_behavior(const json_t *o, enum sc_behavior *out, struct sc_msg *msg)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const char *name = json_string_value(json_object_get(o, "behavior"));
    for (size_t i = 0; i < SC_COUNT(names) && name; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum sc_behavior)i;
            return 0;
        }
    return sc_json_not_a(msg, file_json, "pre_tokenizer", "behavior",
                         "one of the five that tokenizers knows");
}

int sc_tokenizer_byte_level(struct sc_tokenizer_spec *spec, bool prefix_space, bool use_regex,
                            struct sc_msg *msg)
{
    if (spec->model != SC_MODEL_BPE)
        return unsupported(msg, "pre_tokenizer", "ByteLevel", " but with a BPE model");
    spec->bpe.byte_level = true;
    return add_split(spec,
                     (struct sc_split){.kind = SC_SPLIT_BYTE_LEVEL,
                                       .prefix_space = prefix_space,
                                       .use_regex = use_regex,
                                       .pattern = {.kind = SC_PATTERN_GPT2}},
                     msg);
}

/* Metaspace, of this release and of older ones, as pre-tokenizer or decoder. */
static int read_metaspace(const json_t *o, const char *where, struct sc_tokenizer_spec *spec,
                          struct sc_split *s, struct sc_msg *msg)
{
    static const char *const schemes[] = {"always", "first", "never"};
    struct sc_span replacement = SC_SPAN("\u2581"), scheme = {0};
    bool prefix = true;
    s->kind = SC_SPLIT_METASPACE;
    s->split = true;
    int rc = sc_config_string(o, file_json, where, "replacement", &replacement, msg);
    if (!rc)
        rc = sc_config_bool(o, file_json, where, "add_prefix_space", &prefix, msg);
    if (!rc)
        rc = sc_config_bool(o, file_json, where, "split", &s->split, msg);
    if (!rc)
        rc = sc_config_string(o, file_json, where, "prepend_scheme", &scheme, msg);
    if (!rc && sc_utf8_length(replacement.p, replacement.n) != replacement.n)
        rc = sc_json_not_a(msg, file_json, where, "replacement", "one character");
    if (rc)
        return rc;
    s->prepend = prefix ? SC_PREPEND_ALWAYS : SC_PREPEND_NEVER;
    for (size_t i = 0; scheme.p; i++) {
        if (i == SC_COUNT(schemes))
            return sc_json_not_a(msg, file_json, where, "prepend_scheme", "always, first or never");
        if (sc_span_eq(scheme, sc_span_str(schemes[i]))) {
            s->prepend = (enum sc_prepend)i;
            break;
        }
    }
    rc = keep(spec, replacement, &s->replacement, msg);
    s->pattern = (struct sc_pattern){.kind = SC_PATTERN_LITERAL, .literal = s->replacement};
    return rc;
}

static int add_class(struct sc_tokenizer_spec *spec, uint32_t bits, enum sc_behavior behavior,
                     struct sc_msg *msg)
{
    return add_split(spec, (struct sc_split){.kind = SC_SPLIT_CLASS, .bits = bits, .behavior = behavior},
                     msg);
}

static int read_split(const json_t *o, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "pre_tokenizer";
    const char *type = json_string_value(json_object_get(o, "type"));
    struct sc_split s = {.kind = SC_SPLIT_PATTERN};
    bool individual = false, prefix_space = false, use_regex = true;
    int rc = 0;
    if (strcmp(type, "BertPreTokenizer") == 0) {
        rc = add_class(spec, SC_IS_SPACE, SC_REMOVED, msg);
        return rc ? rc : add_class(spec, SC_IS_PUNCT, SC_ISOLATED, msg);
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_class(spec, SC_IS_SPACE, SC_REMOVED, msg);
    if (strcmp(type, "Whitespace") == 0)
        return add_split(spec, (struct sc_split){.kind = SC_SPLIT_WORDS}, msg);
    if (strcmp(type, "Punctuation") == 0) {
        enum sc_behavior behavior = SC_ISOLATED;
        if (json_object_get(o, "behavior"))
            rc = read_behavior(o, &behavior, msg);
        return rc ? rc : add_class(spec, SC_IS_PUNCT, behavior, msg);
    }
    if (strcmp(type, "Digits") == 0) {
        rc = sc_config_bool(o, file_json, where, "individual_digits", &individual, msg);
        return rc ? rc : add_class(spec, SC_IS_DIGIT, individual ? SC_ISOLATED : SC_CONTIGUOUS, msg);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        rc = sc_config_bool(o, file_json, where, "add_prefix_space", &prefix_space, msg);
        if (!rc)
            rc = sc_config_bool(o, file_json, where, "use_regex", &use_regex, msg);
        return rc ? rc : sc_tokenizer_byte_level(spec, prefix_space, use_regex, msg);
    }
    if (strcmp(type, "Metaspace") == 0) {
        rc = read_metaspace(o, where, spec, &s, msg);
        return rc ? rc : add_split(spec, s, msg);
    }
    if (strcmp(type, "Split") != 0)
        return unsupported(msg, where, type, "");
    rc = read_pattern(o, where, spec, &s.pattern, msg);
    if (!rc)
        rc = read_behavior(o, &s.behavior, msg);
    if (!rc)
        rc = sc_config_bool(o, file_json, where, "invert", &s.invert, msg);
    return rc ? rc : add_split(spec, s, msg);
}

/* --- post-processor --- */

static int add_piece(struct sc_template *t, enum sc_piece_kind kind, uint32_t id, uint8_t type_id)
{
    if (t->n == SC_TOKENIZER_PIECES_MAX)
        return SC_ELIMIT;
    t->pieces[t->n++] = (struct sc_piece){.kind = kind, .id = id, .type_id = type_id};
    t->specials += kind == SC_PIECE_ID;
    return 0;
}

void sc_template_set(struct sc_template *single, struct sc_template *pair, uint32_t cls, uint32_t sep,
                     bool roberta)
{
    *single = *pair = (struct sc_template){0};
    for (int two = 0; two < 2; two++) {
        struct sc_template *t = two ? pair : single;
        add_piece(t, SC_PIECE_ID, cls, 0);
        add_piece(t, SC_PIECE_A, 0, 0);
        add_piece(t, SC_PIECE_ID, sep, 0);
    }
    if (roberta)
        add_piece(pair, SC_PIECE_ID, sep, 0);
    add_piece(pair, SC_PIECE_B, 0, !roberta);
    add_piece(pair, SC_PIECE_ID, sep, !roberta);
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
    *t = (struct sc_template){0};
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

static int read_trim(const json_t *o, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "post_processor";
    if (spec->trim.on)
        return unsupported(msg, where, "ByteLevel", " twice");
    spec->trim = (struct sc_trim){.on = true, .prefix_space = true};
    int rc = sc_config_bool(o, file_json, where, "trim_offsets", &spec->trim.on, msg);
    return rc ? rc : sc_config_bool(o, file_json, where, "add_prefix_space", &spec->trim.prefix_space, msg);
}

static int read_post_processor(const json_t *o, struct sc_tokenizer_spec *spec, bool *template,
                               struct sc_msg *msg)
{
    static const char where[] = "post_processor";
    const char *type = json_string_value(json_object_get(o, "type"));
    if (strcmp(type, "ByteLevel") == 0)
        return read_trim(o, spec, msg);
    bool bert = strcmp(type, "BertProcessing") == 0, roberta = strcmp(type, "RobertaProcessing") == 0;
    if ((!bert && !roberta && strcmp(type, "TemplateProcessing") != 0) || *template)
        return unsupported(msg, where, type, *template ? " behind another one" : "");
    *template = true;
    int rc = roberta ? read_trim(o, spec, msg) : 0;
    if (bert || roberta) {
        uint32_t cls = 0, sep = 0;
        if (!rc)
            rc = read_token_and_id(o, "sep", &sep, msg);
        if (!rc)
            rc = read_token_and_id(o, "cls", &cls, msg);
        if (!rc)
            sc_template_set(&spec->single, &spec->pair, cls, sep, roberta);
        return rc;
    }
    if (!rc)
        rc = read_template(o, "single", &spec->single, msg);
    return rc ? rc : read_template(o, "pair", &spec->pair, msg);
}

/* --- decoder: needed only where ids become text, so that an unknown one is no reason to refuse the model ---
 */

static int read_decoder(const json_t *o, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char where[] = "decoder";
    const char *type = json_string_value(json_object_get(o, "type"));
    struct sc_split s = {0};
    int rc = 0;
    spec->decoder = !o || json_is_null(o) ? SC_DECODER_NONE : SC_DECODER_OTHER;
    if (type && strcmp(type, "WordPiece") == 0) {
        struct sc_span prefix = SC_SPAN("##");
        spec->decoder = SC_DECODER_WORDPIECE;
        spec->decoder_cleanup = true;
        rc = sc_config_bool(o, file_json, where, "cleanup", &spec->decoder_cleanup, msg);
        if (!rc)
            rc = sc_config_string(o, file_json, where, "prefix", &prefix, msg);
        return rc ? rc : keep(spec, prefix, &spec->decoder_mark, msg);
    }
    if (type && strcmp(type, "ByteLevel") == 0)
        spec->decoder = SC_DECODER_BYTE_LEVEL;
    if (type && strcmp(type, "Metaspace") == 0) {
        spec->decoder = SC_DECODER_METASPACE;
        rc = read_metaspace(o, where, spec, &s, msg);
        spec->decoder_mark = s.replacement;
        spec->decoder_drops_first = s.prepend != SC_PREPEND_NEVER;
    }
    return rc;
}

int sc_tokenizer_read_steps(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    const json_t *parts[SC_TOKENIZER_STEPS_MAX];
    uint32_t n = 0;
    int rc = flatten(json_object_get(root, "normalizer"), "normalizer", "normalizers", parts, &n, msg);
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = read_normalizer(parts[i], spec, msg);
    /* Its four steps take room too. */
    if (!rc && spec->n_normalizers + 5 * spec->bert_normalizer > SC_TOKENIZER_STEPS_MAX)
        rc = sc_fail(msg, SC_ELIMIT, "%s: normalizer has too many parts beside BertNormalizer", file_json);
    if (!rc)
        rc =
            flatten(json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", parts, &n, msg);
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = read_split(parts[i], spec, msg);
    if (!rc)
        spec->bert_splits =
            n == 1 && strcmp(json_string_value(json_object_get(parts[0], "type")), "BertPreTokenizer") == 0;
    if (!rc)
        rc = flatten(json_object_get(root, "post_processor"), "post_processor", "processors", parts, &n, msg);
    bool template = false;
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = read_post_processor(parts[i], spec, &template, msg);
    if (!rc && !template) {
        add_piece(&spec->single, SC_PIECE_A, 0, 0);
        add_piece(&spec->pair, SC_PIECE_A, 0, 0);
        add_piece(&spec->pair, SC_PIECE_B, 0, 1);
    }
    return rc ? rc : read_decoder(json_object_get(root, "decoder"), spec, msg);
}
