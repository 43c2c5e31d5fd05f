/* Arbitrary bytes through every way to normalise: ids stay in the vocabulary and within the maximum length.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "tokenizer/internal.h"

#define MAX_POSITIONS 48

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
static struct sc_tokenizer *tokenizers[SC_COUNT(kinds)];

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
        struct sc_msg msg = {""};
        struct sc_span none = {0};
        if (sc_tokenizer_parse(&tokenizers[k], sc_buf_view(&json), none, none, MAX_POSITIONS, &msg) < 0) {
            fprintf(stderr, "%s\n", msg.text);
            abort();
        }
        sc_buf_free(&json);
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
        int rc = sc_tokenizer_encode(t, text, pair, &e);
        if (rc == SC_EINVAL)
            continue;
        if (rc || e.n < 2 || e.n > sc_tokenizer_max_length(t))
            abort();
        for (uint32_t i = 0; i < e.n; i++)
            if (e.ids[i] >= sc_tokenizer_vocab_size(t) || e.type_ids[i] > 1)
                abort();
    }
    return 0;
}
