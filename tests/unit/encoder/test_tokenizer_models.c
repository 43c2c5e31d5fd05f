/* BPE, Unigram and what surrounds them: small vocabularies whose tokens can be told by hand. The comparison
 * with the package is tests/e2e/test_tokenizer_families.py. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tokenizer/internal.h"

#define POSITIONS 64

/* Byte-level: "Ġ" is \u0120. */
#define BYTES                                                                                             \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"                              \
    "\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"</"                                    \
    "s>\",1],\"cls\":[\"<s>\",0],\"trim_offsets\":true,"                                                  \
    "\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"                                   \
    "\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":2,\"content\":\"<mask>\"," \
    "\"special\":true,"                                                                                   \
    "\"lstrip\":true}],"                                                                                  \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"</"                                               \
    "s>\":1,\"<mask>\":2,\"a\":3,\"b\":4,\"\\u0120\":5,\"ab\":6,"                                         \
    "\"\\u0120ab\":7,\"aa\":8,\"\\u00c3\":9,\"\\u00a9\":10,\"aaaa\":11},\"merges\":[\"a "                 \
    "b\",[\"a\",\"a\"],[\"\\u0120\",\"ab\"],"                                                             \
    "[\"aa\",\"aa\"]]}"
#define UNIGRAM(more)                                                                                       \
    "\"normalizer\":{\"type\":\"NFKC\"},"                                                                   \
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\"}," \
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"},"                                     \
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0," more                                                    \
    "\"vocab\":[[\"<unk>\",0],[\"\\u2581\",-2],[\"a\",-2],[\"b\",-2],"                                      \
    "[\"ab\",-3],[\"\\u2581a\",-3.5],[\"<0xC3>\",-9],[\"<0xA9>\",-9]]}"

static struct sc_tokenizer *parse(const char *json)
{
    struct sc_msg msg = {""};
    struct sc_tokenizer *t = NULL;
    char *whole = malloc(strlen(json) + 3);
    size_t n = (size_t)snprintf(whole, strlen(json) + 3, "{%s}", json);
    if (sc_tokenizer_parse(&t, &(struct sc_tokenizer_files){.json = sc_span(whole, n)}, POSITIONS, &msg) < 0)
        fail_msg("%s", msg.text);
    free(whole);
    return t;
}

struct want {
    uint32_t id, start, end, word;
};

static void assert_tokens(const struct sc_tokenizer *t, const char *text, const struct want *want, uint32_t n)
{
    static const struct sc_encode_options o = {.origins = true, .no_specials = true};
    struct sc_encoding e = {0};
    assert_int_equal(sc_tokenizer_encode_with(t, sc_span_str(text), sc_span(NULL, 0), &o, &e), 0);
    assert_int_equal(e.n, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct sc_origin *from = &e.origins[i];
        if (e.ids[i] != want[i].id || from->chars.start != want[i].start || from->chars.end != want[i].end ||
            from->word != want[i].word || from->sequence != 0)
            fail_msg("%s: token %u is %u at %u..%u, word %u", text, i, e.ids[i], from->chars.start,
                     from->chars.end, from->word);
    }
    /* A word that is remembered has the same tokens. */
    struct sc_encode_options ids = {.no_specials = true};
    assert_int_equal(sc_tokenizer_encode_with(t, sc_span_str(text), sc_span(NULL, 0), &ids, &e), 0);
    assert_int_equal(e.n, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(e.ids[i], want[i].id);
    sc_encoding_free(&e);
}
#define ASSERT_TOKENS(t, text, ...)                            \
    assert_tokens(t, text, (const struct want[]){__VA_ARGS__}, \
                  sizeof((const struct want[]){__VA_ARGS__}) / sizeof(struct want))

static void bpe_merges_by_rank(void **state)
{
    (void)state;
    struct sc_tokenizer *t = parse(BYTES);
    /* "a b" was learnt before "a a". */
    ASSERT_TOKENS(t, "aab", {3, 0, 1, 0}, {6, 1, 3, 0});
    ASSERT_TOKENS(t, "aaaaa", {11, 0, 4, 0}, {3, 4, 5, 0});
    /* Blanks belong to the word but not to its place; bytes of one character share it. */
    ASSERT_TOKENS(t, "ab ab", {6, 0, 2, 0}, {7, 3, 5, 1});
    ASSERT_TOKENS(t, "\u00e9b", {9, 0, 1, 0}, {10, 0, 1, 0}, {4, 1, 2, 0});
    ASSERT_TOKENS(t, "a <mask>b", {3, 0, 1, 0}, {2, 2, 8, 1}, {4, 8, 9, 2});
    sc_tokenizer_del(t);
}

static void unigram_takes_the_likeliest(void **state)
{
    (void)state;
    struct sc_tokenizer *t = parse(UNIGRAM(""));
    ASSERT_TOKENS(t, "ab", {1, 0, 1, 0}, {4, 0, 2, 0});
    ASSERT_TOKENS(t, "a a", {5, 0, 1, 0}, {5, 1, 3, 1});
    /* What is unknown is one token as far as it goes. */
    ASSERT_TOKENS(t, "xyb", {1, 0, 1, 0}, {0, 0, 2, 0}, {3, 2, 3, 0});
    /* U+FB01 becomes two characters. */
    ASSERT_TOKENS(t, "\ufb01", {1, 0, 1, 0}, {0, 0, 1, 0});
    sc_tokenizer_del(t);
    t = parse(UNIGRAM("\"byte_fallback\":true,"));
    ASSERT_TOKENS(t, "\u00e9", {1, 0, 1, 0}, {6, 0, 1, 0}, {7, 0, 1, 0});
    ASSERT_TOKENS(t, "\u00e8", {1, 0, 1, 0}, {0, 0, 1, 0});
    sc_tokenizer_del(t);
}

static void windows_overlap(void **state)
{
    (void)state;
    struct sc_tokenizer *t = parse(BYTES);
    struct sc_encoding e = {0};
    /* Five tokens: 3 4 3 4 3, as b and a do not merge. */
    struct sc_span text = SC_SPAN("babab"), question = SC_SPAN("b");
    struct sc_encode_options o = {
        .origins = true, .max_length = 8, .truncation = SC_TRUNCATE_SECOND, .stride = 1};
    uint32_t n = 0;
    assert_int_equal(sc_tokenizer_windows(t, question, text, &o, &e, &n), 0);
    assert_int_equal(n, 1); /* b ab ab: four special tokens, one of the question */
    assert_int_equal(e.n, 8);
    assert_int_equal(e.sequences[0].start, 1);
    assert_int_equal(e.sequences[0].end, 2);
    assert_int_equal(e.sequences[1].start, 4);
    assert_int_equal(e.sequences[1].end, 7);
    assert_int_equal(e.origins[0].sequence, SC_NO_SEQUENCE);
    assert_int_equal(e.origins[0].word, SC_NO_WORD);
    assert_int_equal(e.origins[5].sequence, 1);
    o.max_length = 7;
    assert_int_equal(sc_tokenizer_windows(t, question, text, &o, &e, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(e.ids[5], 6);
    sc_tokenizer_window(t, &e, 1);
    assert_int_equal(e.origins[4].chars.start, 1);
    assert_int_equal(e.origins[5].chars.end, 5);
    /* No room for more than the stride; a question that fills all. */
    o.stride = 2;
    assert_int_equal(sc_tokenizer_windows(t, question, text, &o, &e, &n), SC_ELIMIT);
    o.max_length = 5;
    o.stride = 0;
    assert_int_equal(sc_tokenizer_windows(t, question, text, &o, &e, &n), SC_ELIMIT);
    o.max_length = 4;
    assert_int_equal(sc_tokenizer_windows(t, question, text, &o, &e, &n), SC_ELIMIT);
    o = (struct sc_encode_options){.stride = 1};
    assert_int_equal(sc_tokenizer_windows(t, question, text, &o, &e, &n), SC_EUNSUPPORTED);
    assert_int_equal(sc_tokenizer_windows(t, text, sc_span(NULL, 0), &o, &e, &n), 0);
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
}

static void options_are_kept(void **state)
{
    (void)state;
    struct sc_tokenizer *t = parse(BYTES);
    struct sc_encoding e = {0};
    struct sc_encode_options o = {.max_length = 4};
    struct sc_span text = SC_SPAN("babababab");
    assert_int_equal(sc_tokenizer_encode_with(t, text, sc_span(NULL, 0), &o, &e), 0);
    assert_int_equal(e.n, 4);
    o.no_specials = true;
    assert_int_equal(sc_tokenizer_encode_with(t, text, sc_span(NULL, 0), &o, &e), 0);
    assert_int_equal(e.n, 4);
    assert_int_equal(e.ids[0], 4);
    o.truncation = SC_TRUNCATE_FIRST;
    assert_int_equal(sc_tokenizer_encode_with(t, text, SC_SPAN("b"), &o, &e), 0);
    assert_int_equal(e.sequences[0].end, 3);
    assert_int_equal(sc_tokenizer_encode_with(t, text, SC_SPAN("bbbb"), &o, &e), SC_ELIMIT);
    o = (struct sc_encode_options){.max_length = 2};
    assert_int_equal(sc_tokenizer_encode_with(t, text, sc_span(NULL, 0), &o, &e), SC_ELIMIT);
    assert_int_equal(sc_tokenizer_id(t, SC_SPAN("<mask>")), 2);
    assert_int_equal(sc_tokenizer_id(t, SC_SPAN("nothing")), UINT32_MAX);
    assert_true(sc_tokenizer_is_special(t, 2) && !sc_tokenizer_is_special(t, 3));
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
}

static void assert_decoded(const struct sc_tokenizer *t, const uint32_t *ids, uint32_t n, bool skip,
                           const char *want)
{
    struct sc_buf out;
    sc_buf_init(&out, 1 << 16);
    assert_int_equal(sc_tokenizer_decode(t, ids, n, skip, &out), 0);
    if (!sc_span_eq(sc_buf_view(&out), sc_span_str(want)))
        fail_msg("\"%.*s\" instead of \"%s\"", (int)out.n, out.p, want);
    sc_buf_free(&out);
}

static void ids_become_text(void **state)
{
    (void)state;
    struct sc_tokenizer *t = parse(BYTES);
    const uint32_t ids[] = {0, 6, 7, 9, 10, 9, 99, 2};
    assert_decoded(t, ids, 8, false, "<s>ab ab\u00e9\ufffd<mask>");
    assert_decoded(t, ids, 8, true, "ab ab\u00e9\ufffd");
    assert_decoded(t, ids, 0, true, "");
    struct sc_buf small;
    sc_buf_init(&small, 3);
    assert_int_equal(sc_tokenizer_decode(t, ids, 8, false, &small), SC_ELIMIT);
    sc_buf_free(&small);
    sc_tokenizer_del(t);
    t = parse(UNIGRAM(""));
    assert_decoded(t, (const uint32_t[]){5, 5, 1, 4}, 4, false, "a a ab");
    sc_tokenizer_del(t);
    t = parse(
        "\"decoder\":{\"type\":\"CTC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}");
    sc_buf_init(&small, 3);
    assert_int_equal(sc_tokenizer_decode(t, ids, 1, false, &small), SC_EUNSUPPORTED);
    sc_buf_free(&small);
    sc_tokenizer_del(t);
}

/* A step that is not linear would take hours. */
static void time_is_linear_in_the_text(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a",      "ab ",    " ",      "\u0301", "\u0323\u0301", "<mask>",          " <mask>",
        "\u1100", "\uac00", "\u3000", "x",      "\u00e9",       "\U0001f600\u200d"};
    static const char *const jsons[] = {
        BYTES,
        UNIGRAM("\"byte_fallback\":true,"),
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"BertNormalizer\"},{\"type\":"
        "\"NFC\"},{\"type\":\"Replace\","
        "\"pattern\":{\"Regex\":\" "
        "{2,}\"},\"content\":\"\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\"aab\"},\"content\":\"aa\"}"
        "]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},{\"type\":"
        "\"Split\",\"pattern\":{"
        "\"String\":\"xxy\"},\"behavior\":\"MergedWithNext\"}]},"
        "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"a\",\"vocab\":{"
        "\"a\":0,\"aa\":1},"
        "\"merges\":[\"a a\"]}",
    };
    static const struct sc_encode_options o = {.origins = true};
    for (size_t k = 0; k < SC_COUNT(jsons); k++) {
        struct sc_tokenizer *t = parse(jsons[k]);
        struct sc_encoding e = {0};
        for (size_t i = 0; i < SC_COUNT(units); i++) {
            size_t n = strlen(units[i]), total = (i ? 60000u : 1u << 20) / n * n;
            char *text = malloc(total);
            for (size_t at = 0; at < total; at += n)
                memcpy(text + at, units[i], n);
            int64_t start = sc_clock_ms();
            assert_int_equal(sc_tokenizer_encode_with(t, sc_span(text, total), sc_span(text, total), &o, &e),
                             0);
            if (sc_clock_ms() - start > 20000)
                fail_msg("%zu bytes of \"%s\" took %lld ms", total, units[i],
                         (long long)(sc_clock_ms() - start));
            assert_true(e.n <= POSITIONS);
            free(text);
        }
        sc_encoding_free(&e);
        sc_tokenizer_del(t);
    }
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (!text) {
        unlink(path);
        return;
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void folders(void **state)
{
    (void)state;
    char dir[] = "/tmp/sc-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct sc_tokenizer *t = NULL;
    struct sc_msg msg = {""};
    put_file(dir, "sentencepiece.bpe.model", "x");
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_EUNSUPPORTED);
    assert_non_null(strstr(msg.text, "sentencepiece.bpe.model is not read; make a tokenizer.json"));
    put_file(dir, "vocab.json",
             "{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"ab\":4,\"<unk>\":5,\"<mask>\":6,\"<pad>\":7}");
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_EUNSUPPORTED);
    put_file(dir, "merges.txt", "#version: 0.2\na b\r\n");
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), 0);
    struct sc_encoding e = {0};
    assert_int_equal(sc_tokenizer_encode(t, SC_SPAN("ab<mask>"), SC_SPAN("b"), &e), 0);
    const uint32_t want[] = {0, 4, 6, 1, 1, 3, 1};
    assert_int_equal(e.n, SC_COUNT(want));
    assert_memory_equal(e.ids, want, sizeof(want));
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    put_file(dir, "merges.txt", "a b c\n");
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_EINVAL);
    put_file(dir, "merges.txt", "a b\n");
    put_file(dir, "tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}");
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_EUNSUPPORTED);
    assert_non_null(strstr(msg.text, "GPT2Tokenizer"));
    static const char *const names[] = {"sentencepiece.bpe.model", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < SC_COUNT(names); i++)
        put_file(dir, names[i], NULL);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_merges_by_rank),
        cmocka_unit_test(unigram_takes_the_likeliest),
        cmocka_unit_test(windows_overlap),
        cmocka_unit_test(options_are_kept),
        cmocka_unit_test(ids_become_text),
        cmocka_unit_test(time_is_linear_in_the_text),
        cmocka_unit_test(folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
