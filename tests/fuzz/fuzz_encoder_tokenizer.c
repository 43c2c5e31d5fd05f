/* Arbitrary bytes through every way to normalise, split and tokenise: ids stay in the vocabulary and within
 * the maximum length, origins within the text and on characters. */
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "tokenizer/internal.h"

#define MAX_POSITIONS 48
/* "a" becomes "e" with U+0301, "bc" a blank. */
#define CHARSMAP "IAAAAACAAQBhFQAAYpgBAAAAAAABAACABQAAgAAAAABjCQAAAGXMgQAgAA=="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char head[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"[SEP]\",\"special\":true},"
    "{\"id\":2,\"content\":\"[CLS]\",\"special\":true,\"lstrip\":true,\"rstrip\":true}%s],"
    "\"normalizer\":{\"type\":\"BertNormalizer\",%s},"
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",3],\"cls\":[\"[CLS]\",2]},"
    "\"truncation\":{\"max_length\":%u,\"direction\":\"%s\"},"
    "\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":20,\"vocab\":{\"[PAD]\":0,"
    "\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3";

static const struct {
    const char *added, *normalizer, *side;
    unsigned length;
} kinds[] = {
    {"", "\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true",
     "Right", 48},
    {"", "\"clean_text\":false,\"handle_chinese_chars\":false,\"strip_accents\":false,\"lowercase\":false",
     "Left", 9},
    {"", "\"clean_text\":false,\"handle_chinese_chars\":true,\"strip_accents\":false,\"lowercase\":true",
     "Right", 8},
    {",{\"id\":389,\"content\":\"ab\"},{\"id\":390,\"content\":\" \",\"rstrip\":true}",
     "\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":true,\"lowercase\":false", "Right",
     9},
};

/* Whole files: the models and steps that BERT has not. */
static const char *const files[] = {
    "{\"added_tokens\":[{\"id\":2,\"content\":\"<m>\",\"special\":true,\"lstrip\":true},"
    "{\"id\":3,\"content\":\"ab\",\"single_word\":true}],\"normalizer\":{\"type\":\"NFC\"},"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},"
    "\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"b\",1],\"cls\":[\"a\",0],\"trim_offsets\":"
    "true,"
    "\"add_prefix_space\":true},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"fuse_unk\":true,\"vocab\":{\"a\":0,\"b\":1,\"<m>\":2,"
    "\"ab\":3,"
    "\"\\u0120\":4,\"\\u0120a\":5,\"aa\":6,\"aaaa\":7,\"\\u00c3\":8},\"merges\":[[\"a\",\"a\"],[\"aa\","
    "\"aa\"],[\"a\",\"b\"],"
    "\"\\u0120 a\"]}}",
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"},{\"type\":\"NFKC\"},{"
    "\"type\":\"Replace\","
    "\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},{\"type\":\"Strip\"},{\"type\":\"Lowercase\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"first\"},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":[[\"<unk>\",0],[\"a\",-2],"
    "[\"ab\",-3],"
    "[\"\\u2581\",-2],[\"\\u2581a\",-2.5],[\"<0xC3>\",-9],[\"<0xA4>\",-9],[\"\\u00e9\",-4],["
    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",-1]]}}",
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},{\"type\":\"StripAccents\"},"
    "{\"type\":"
    "\"BertNormalizer\"},{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"" CHARSMAP
    "\"},{\"type\":\"Prepend\",\"prepend\":\"x\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":"
    "\"Digits\"},{\"type\":"
    "\"Split\",\"pattern\":{\"Regex\":\"\\\\p{L}+\"},\"behavior\":\"MergedWithPrevious\"}]},"
    "\"truncation\":{\"max_length\":7,\"strategy\":\"OnlySecond\",\"direction\":\"Left\"},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"continuing_subword_prefix\":\"#\",\"end_of_word_"
    "suffix\":\"$\","
    "\"byte_fallback\":true,\"vocab\":{\"?\":0,\"a\":1,\"#a\":2,\"aa\":3,\"#a$\":4,\"aaa$\":5,\"<0xE4>\":6},"
    "\"merges\":[\"a #a\","
    "\"aa #a$\"]}}",
};
static struct sc_tokenizer *tokenizers[SC_COUNT(kinds) + SC_COUNT(files)];

static void load(size_t k, struct sc_span json)
{
    struct sc_msg msg = {""};
    if (sc_tokenizer_parse(&tokenizers[k], &(struct sc_tokenizer_files){.json = json}, MAX_POSITIONS, &msg) <
        0) {
        fprintf(stderr, "%s\n", msg.text);
        abort();
    }
}

/* Every Latin letter and a few hundred others, alone and inside words, so that all paths meet known tokens.
 */
static void build(void)
{
    for (size_t k = 0; k < SC_COUNT(kinds); k++) {
        struct sc_buf json;
        sc_buf_init(&json, 1 << 20);
        char text[2048];
        snprintf(text, sizeof(text), head, kinds[k].added, kinds[k].normalizer, kinds[k].length,
                 kinds[k].side);
        sc_buf_str(&json, text);
        unsigned id = 4;
        for (uint32_t c = '!'; id < 389; c++) {
            char utf8[5] = {0};
            sc_utf8_put(utf8, c);
            if (utf8[0] == '\\' || utf8[0] == '"')
                continue;
            sc_buf_printf(&json, ",\"%s\":%u", utf8, id++);
            if (id < 389)
                sc_buf_printf(&json, ",\"##%s\":%u", utf8, id++);
        }
        sc_buf_str(&json, "}}}");
        load(k, sc_buf_view(&json));
        sc_buf_free(&json);
    }
    for (size_t i = 0; i < SC_COUNT(files); i++)
        load(SC_COUNT(kinds) + i, sc_span_str(files[i]));
}

static void check(const struct sc_tokenizer *t, const struct sc_encoding *e, struct sc_span text,
                  struct sc_span pair)
{
    if (e->n > sc_tokenizer_max_length(t))
        abort();
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->ids[i] >= sc_tokenizer_vocab_size(t) || e->type_ids[i] > 1)
            abort();
        const struct sc_origin *o = &e->origins[i];
        struct sc_span from = o->sequence ? pair : text;
        if (o->sequence == SC_NO_SEQUENCE)
            continue;
        if (o->bytes.start > o->bytes.end || o->bytes.end > from.n || o->chars.start > o->chars.end ||
            o->chars.end > from.n || o->word == SC_NO_WORD)
            abort();
        if (o->bytes.start < from.n && ((unsigned char)from.p[o->bytes.start] & 0xC0) == 0x80)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sc_encoding e;
    if (!tokenizers[0])
        build();
    /* The first byte says whether and where the rest is cut into a pair. */
    size_t cut = size ? data[0] : 0;
    struct sc_span text = sc_span((const char *)data + (size > 0), size - (size > 0)), pair = {0};
    if (cut % 2 && cut <= text.n) {
        pair = sc_span_sub(text, cut, text.n);
        text = sc_span_sub(text, 0, cut);
    }
    for (size_t k = 0; k < SC_COUNT(tokenizers); k++) {
        const struct sc_tokenizer *t = tokenizers[k];
        struct sc_encode_options o = {.origins = true};
        uint32_t ids[MAX_POSITIONS], n = 0;
        int rc = sc_tokenizer_encode(t, text, pair, &e);
        if (rc == SC_EINVAL || rc == SC_ELIMIT)
            continue;
        if (rc || e.n > MAX_POSITIONS)
            abort();
        n = e.n;
        memcpy(ids, e.ids, n * sizeof(*ids));
        /* Who asks for origins gets the same ids. */
        if (sc_tokenizer_encode_with(t, text, pair, &o, &e) || e.n != n ||
            (n && memcmp(ids, e.ids, n * sizeof(*ids)) != 0))
            abort();
        check(t, &e, text, pair);
        o.truncation = SC_TRUNCATE_SECOND;
        o.stride = 1;
        if (sc_tokenizer_windows(t, text, pair, &o, &e, &n) == 0)
            for (uint32_t i = 0; i < n; i++) {
                sc_tokenizer_window(t, &e, i);
                check(t, &e, text, pair);
            }
    }
    return 0;
}
