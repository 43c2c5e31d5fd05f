/* tokenizer_config.json: special tokens where only a vocabulary is there, switches and lengths in any case.
 */
#include <stdlib.h>

#include "tokenizer/config.h"

static const char file_config[] = SC_TOKENIZER_CONFIG;

/* A special token's name: a string, or an object as AddedToken is written. Null and missing leave it. */
static int get_token(const json_t *root, const char *field, struct sc_span *out, struct sc_msg *msg)
{
    const json_t *v = json_object_get(root, field);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) > SC_TOKENIZER_ADDED_BYTES)
        return sc_json_not_a(msg, file_config, "", field, "a token");
    *out = sc_json_span(v);
    return 0;
}

static int add_special(const json_t *root, const char *field, struct sc_span text, bool lstrip,
                       struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    for (size_t i = 0; i < spec->n_added; i++)
        if (sc_span_eq(spec->added[i].text, text)) {
            spec->added[i].special = true;
            return 0;
        }
    struct sc_added *a = &spec->added[spec->n_added++];
    *a = (struct sc_added){.text = text, .id = UINT32_MAX, .lstrip = lstrip, .special = true};
    const json_t *v = json_object_get(root, field);
    if (!json_is_object(v))
        return 0;
    int rc = sc_json_added(v, file_config, field, a, msg);
    a->special = true;
    /* Written without "special", a special token is one all the same. */
    if (!json_object_get(v, "normalized"))
        a->normalized = false;
    return rc;
}

/* The tokens that are found in the text where only a vocabulary says what ids they have. */
static int read_specials(const json_t *root, bool bpe, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    static const char *const fields[] = {"pad_token",  "unk_token", "cls_token", "sep_token",
                                         "mask_token", "bos_token", "eos_token"};
    struct sc_span names[] = {SC_SPAN("[PAD]"), SC_SPAN("[UNK]"), SC_SPAN("[CLS]"), SC_SPAN("[SEP]"),
                              SC_SPAN("[MASK]")},
                   roberta[] = {SC_SPAN("<pad>"),  SC_SPAN("<unk>"), SC_SPAN("<s>"), SC_SPAN("</s>"),
                                SC_SPAN("<mask>"), SC_SPAN("<s>"),   SC_SPAN("</s>")};
    struct sc_span *name = bpe ? roberta : names;
    size_t n = bpe ? SC_COUNT(roberta) : SC_COUNT(names);
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
            return sc_fail(msg, SC_EINVAL, "%s: added_tokens_decoder: \"" SC_NAME "\" is not an id",
                           file_config, json_object_iter_key(it));
        a->id = (uint32_t)id;
        rc = sc_json_added(json_object_iter_value(it), file_config, "added_tokens_decoder", a, msg);
    }
    for (size_t i = 0; i < n && !rc; i++) {
        rc = get_token(root, fields[i], &name[i], msg);
        if (!rc)
            rc = add_special(root, fields[i], name[i], bpe && i == 4, spec, msg);
    }
    spec->unk = name[1];
    spec->cls = name[2];
    spec->sep = name[3];
    return rc;
}

/* vocab.json and merges.txt as RobertaTokenizer reads them. */
static int read_roberta(const json_t *root, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    const char *class = json_string_value(json_object_get(root, "tokenizer_class"));
    bool prefix = false, trim = true;
    if (class && strncmp(class, "Roberta", 7) != 0)
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "%s: vocab.json with merges.txt is read as RobertaTokenizer's, tokenizer_class \"" SC_NAME
            "\" needs a tokenizer.json; save the tokenizer with save_pretrained",
            file_config, class);
    int rc = sc_config_bool(root, file_config, "", "add_prefix_space", &prefix, msg);
    if (!rc)
        rc = sc_config_bool(root, file_config, "", "trim_offsets", &trim, msg);
    spec->trim = (struct sc_trim){.on = trim, .prefix_space = prefix};
    spec->double_sep = true;
    spec->decoder = SC_DECODER_BYTE_LEVEL;
    spec->unk = sc_span(NULL, 0); /* all bytes are in the vocabulary */
    return rc ? rc : sc_tokenizer_byte_level(spec, prefix, true, msg);
}

int sc_tokenizer_read_config(const json_t *root, enum sc_tokenizer_beside beside,
                             struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    int rc = beside == SC_BESIDE_JSON ? 0 : read_specials(root, beside == SC_BESIDE_BPE, spec, msg);
    if (!rc && beside == SC_BESIDE_BPE)
        rc = read_roberta(root, spec, msg);
    if (rc || !root)
        return rc;
    if (!json_is_object(root))
        return sc_fail(msg, SC_EINVAL, "%s: not a JSON object; the file is damaged", file_config);

    /* transformers gives these precedence over tokenizer.json, but only in the classes that know them. */
    const char *class = json_string_value(json_object_get(root, "tokenizer_class"));
    bool generic =
        class && (strcmp(class, "PreTrainedTokenizerFast") == 0 || strcmp(class, "TokenizersBackend") == 0);
    if (spec->bert_normalizer && (beside != SC_BESIDE_JSON || !generic)) {
        rc = sc_config_bool(root, file_config, "", "do_lower_case", &spec->options.lowercase, msg);
        if (!rc)
            rc = sc_config_bool(root, file_config, "", "tokenize_chinese_chars",
                                &spec->options.handle_chinese_chars, msg);
        if (!rc)
            rc = sc_config_strip(root, file_config, "", &spec->strip_accents, msg);
    }
    struct sc_span side = {0};
    if (!rc)
        rc = sc_config_string(root, file_config, "", "truncation_side", &side, msg);
    if (rc)
        return rc;
    if (side.p && !sc_span_eq(side, SC_SPAN("left")) && !sc_span_eq(side, SC_SPAN("right")))
        return sc_json_not_a(msg, file_config, "", "truncation_side", "\"left\" or \"right\"");
    if (side.p)
        spec->truncate_left = sc_span_eq(side, SC_SPAN("left"));

    const json_t *most = json_object_get(root, "model_max_length");
    double value = json_number_value(most);
    if (most && !json_is_null(most) && (!json_is_number(most) || value < 1))
        return sc_json_not_a(msg, file_config, "", "model_max_length", "a number above 0");
    if (most && !json_is_null(most) && value < SC_TOKENIZER_LENGTH_MAX &&
        (spec->truncation == 0 || value < (double)spec->truncation))
        spec->truncation = (int64_t)value;
    return 0;
}
