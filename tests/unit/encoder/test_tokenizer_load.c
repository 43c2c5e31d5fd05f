/* Files that lie: each is refused by name, none crashes or takes memory that its size does not justify. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "tokenizer/internal.h"

#define MODEL(more)                                                                                        \
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\"," more \
    "\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"##b\":4}}"
#define NORMALIZER                                                                                   \
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true," \
    "\"strip_accents\":null,\"lowercase\":true}"
#define PRE "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"
#define POST "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]}"
#define TEMPLATE(single)                                                                                   \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":" single                               \
    ",\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}]," \
    "\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[1]},\"far\":{\"id\":\"far\",\"ids\":[77]}}}"
#define FILE_OF(model, normalizer, pre, post) "{" model "," normalizer "," pre "," post "}"
#define GOOD FILE_OF(MODEL(""), NORMALIZER, PRE, POST)
#define WITH(more) "{" MODEL("") "," NORMALIZER "," PRE "," POST "," more "}"
#define VOCAB(v) FILE_OF("\"model\":{\"type\":\"WordPiece\",\"vocab\":" v "}", NORMALIZER, PRE, POST)

#define BPE(more, merges)                                                                                \
    FILE_OF("\"model\":{\"type\":\"BPE\"," more "\"vocab\":{\"a\":0,\"b\":1,\"x\":2},\"merges\":" merges \
            "}",                                                                                         \
            "\"normalizer\":null", "\"pre_tokenizer\":null", "\"post_processor\":null")
#define UNIGRAM(vocab, unk)                                                            \
    FILE_OF("\"model\":{\"type\":\"Unigram\",\"unk_id\":" unk ",\"vocab\":" vocab "}", \
            "\"normalizer\":null", "\"pre_tokenizer\":null", "\"post_processor\":null")
#define IN(inner) "{\"type\":\"Sequence\",\"normalizers\":[" inner "]}"
#define NESTED "\"normalizer\":" IN(IN(IN(IN(IN(IN(IN(IN(IN(IN("{\"type\":\"NFC\"}"))))))))))
#define NFC "{\"type\":\"NFC\"}"
#define NFC8 NFC "," NFC "," NFC "," NFC "," NFC "," NFC "," NFC "," NFC

static int parse(const char *json, const char *vocab, const char *config, uint32_t positions,
                 struct sc_msg *msg)
{
    struct sc_tokenizer *t = NULL;
    struct sc_tokenizer_files files = {
        .json = sc_span_str(json), .vocab = sc_span_str(vocab), .config = sc_span_str(config)};
    int rc = sc_tokenizer_parse(&t, &files, positions, msg);
    assert_true(rc == 0 ? t != NULL : t == NULL);
    sc_tokenizer_del(t);
    return rc;
}

static void what_must_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        GOOD,
        FILE_OF("\"model\":{\"continuing_subword_prefix\":\"##\",\"vocab\":{\"[UNK]\":2,\"x\":9}}",
                NORMALIZER, PRE, POST),
        WITH("\"padding\":{\"strategy\":{\"Fixed\":128}},\"truncation\":null,\"added_tokens\":[],\"decoder\":"
             "7"),
        FILE_OF(MODEL(""), "\"normalizer\":null", "\"pre_tokenizer\":null", "\"post_processor\":null"),
        FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[]}", PRE, POST),
        BPE("\"dropout\":0.0,", "[]"),
        UNIGRAM("[[\"<unk>\",0]]", "0"),
        FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]")),
        WITH("\"added_tokens\":[{\"id\":1,\"content\":\"[CLS]\",\"special\":true},{\"id\":5,\"content\":"
             "\"new\"}]"),
    };
    for (size_t i = 0; i < SC_COUNT(good); i++) {
        struct sc_msg msg = {""};
        if (parse(good[i], NULL, NULL, 64, &msg) < 0)
            fail_msg("%s\nwas refused: %s", good[i], msg.text);
    }
}

struct refusal {
    const char *json;
    int rc;
    const char *names; /* what the message must name */
};

static void what_is_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        /* Not known: named. */
        {FILE_OF("\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}", NORMALIZER, PRE, POST), SC_EUNSUPPORTED,
         "\"WordLevel\""},
        {FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"ByteLevel\"}", PRE, POST), SC_EUNSUPPORTED,
         "normalizer of type \"ByteLevel\""},
        {FILE_OF(MODEL(""), NORMALIZER, "\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}", POST),
         SC_EUNSUPPORTED, "\"UnicodeScripts\""},
        {FILE_OF(MODEL(""), NORMALIZER, "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", POST), SC_EUNSUPPORTED,
         "\"ByteLevel\" is not supported but with a BPE model"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, "\"post_processor\":{\"type\":\"Odd\"}"), SC_EUNSUPPORTED,
         "\"Odd\""},
        {FILE_OF(MODEL(""), NORMALIZER, PRE,
                 "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"BertProcessing\","
                 "\"sep\":[\"x\",2],"
                 "\"cls\":[\"y\",1]},{\"type\":\"TemplateProcessing\"}]}"),
         SC_EUNSUPPORTED, "\"TemplateProcessing\" is not supported behind another one"},
        {FILE_OF(MODEL(""),
                 "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a|b*\"},\"content\":\"\"}",
                 PRE, POST),
         SC_EUNSUPPORTED, "\"a|b*\""},
        {BPE("\"dropout\":0.1,", "[]"), SC_EUNSUPPORTED, "model.dropout"},
        {WITH("\"truncation\":{\"max_length\":9,\"strategy\":\"OnlyThird\"}"), SC_EUNSUPPORTED, "OnlyThird"},
        {FILE_OF(MODEL("\"max_input_chars_per_word\":5000,"), NORMALIZER, PRE, POST), SC_EUNSUPPORTED,
         "5000"},
        {WITH("\"added_tokens\":[{\"id\":5,\"content\":\"\\u0301\"}]"), SC_EUNSUPPORTED,
         "nothing once normalised"},
        {WITH("\"added_tokens\":[{\"id\":5,\"content\":\"X\"},{\"id\":6,\"content\":\"x\"}]"),
         SC_EUNSUPPORTED, "twice"},
        /* Too much. */
        {FILE_OF(MODEL(""), NESTED, PRE, POST), SC_ELIMIT, "nested more than 8 deep"},
        {FILE_OF(MODEL(""),
                 "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" NFC8 "," NFC8 "," NFC "]}", PRE,
                 POST),
         SC_ELIMIT, "more than 16 parts"},
        /* Damaged. */
        {BPE("", "{}"), SC_EINVAL, "model.merges"},
        {BPE("", "[[\"a\"]]"), SC_EINVAL, "model.merges[0]"},
        {BPE("", "[\"ab\"]"), SC_EINVAL, "merge 0"},
        {BPE("", "[\"a c\"]"), SC_EINVAL, "merge 0 (\"a\" and \"c\")"},
        {BPE("\"unk_token\":\"<unk>\",", "[]"), SC_EINVAL, "unknown token \"<unk>\""},
        {UNIGRAM("{}", "0"), SC_EINVAL, "model.vocab"},
        {UNIGRAM("[]", "0"), SC_EINVAL, "model.vocab"},
        {UNIGRAM("[[\"<unk>\",0],[\"a\"]]", "0"), SC_EINVAL, "model.vocab[1]"},
        {UNIGRAM("[[\"<unk>\",0]]", "1"), SC_EINVAL, "model.unk_id"},
        {UNIGRAM("[[\"<unk>\",0]]", "null"), SC_EINVAL, "model.unk_id"},
        {FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}",
                 PRE, POST),
         SC_EINVAL, "precompiled_charsmap"},
        {FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A?\"}", PRE,
                 POST),
         SC_EINVAL, "base64"},
        {FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"Sequence\"}", PRE, POST), SC_EINVAL,
         "normalizer.normalizers"},
        {FILE_OF(MODEL(""), "\"normalizer\":7", PRE, POST), SC_EINVAL, "normalizer must be an object"},
        {FILE_OF(MODEL(""), NORMALIZER, "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":7}", POST),
         SC_EINVAL, "pattern"},
        {FILE_OF(MODEL(""), NORMALIZER, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}",
                 POST),
         SC_EINVAL, "one character"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, "\"post_processor\":{\"type\":\"RobertaProcessing\"}"),
         SC_EINVAL, "sep and cls"},
        {"", SC_EINVAL, "tokenizer.json: line"},
        {"[]", SC_EINVAL, "not a JSON object"},
        {"{\"model\":", SC_EINVAL, "tokenizer.json: line"},
        {"{\"a\":1,\"a\":2}", SC_EINVAL, "duplicate"},
        {"{\"model\":\"\xff\"}", SC_EINVAL, "tokenizer.json: line"},
        {"{}", SC_EINVAL, "model is missing"},
        {"{\"model\":7}", SC_EINVAL, "model is not an object"},
        {VOCAB("[]"), SC_EINVAL, "model.vocab"},
        {VOCAB("{}"), SC_EINVAL, "model.vocab"},
        {VOCAB("{\"a\":0}"), SC_EINVAL, "[UNK]"},
        {VOCAB("{\"[UNK]\":0,\"a\":-1}"), SC_EINVAL, "\"a\""},
        {VOCAB("{\"[UNK]\":0,\"a\":1048576}"), SC_EINVAL, "\"a\""},
        {VOCAB("{\"[UNK]\":0,\"a\":1.5}"), SC_EINVAL, "\"a\""},
        {VOCAB("{\"[UNK]\":0,\"a\":\"1\"}"), SC_EINVAL, "\"a\""},
        {VOCAB("{\"[UNK]\":0,\"a\":99999999999999999999}"), SC_EINVAL, "tokenizer.json: line"},
        {VOCAB("{\"[UNK]\":0,\"a\":1,\"b\":1}"), SC_EINVAL, "id 1 belongs to two tokens"},
        {FILE_OF(MODEL("\"max_input_chars_per_word\":-1,"), NORMALIZER, PRE, POST), SC_EINVAL,
         "max_input_chars_per_word"},
        {FILE_OF("\"model\":{\"type\":\"WordPiece\",\"unk_token\":7,\"vocab\":{\"a\":1}}", NORMALIZER, PRE,
                 POST),
         SC_EINVAL, "model.unk_token"},
        {FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":\"yes\"}", PRE, POST),
         SC_EINVAL, "normalizer.lowercase"},
        {FILE_OF(MODEL(""), "\"normalizer\":{\"type\":\"BertNormalizer\",\"strip_accents\":0}", PRE, POST),
         SC_EINVAL, "normalizer.strip_accents"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE,
                 "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\"],\"cls\":[]}"),
         SC_EINVAL, "sep and cls"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE,
                 "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",900],\"cls\":[\"[CLS]\","
                 "1]}"),
         SC_EINVAL, "id 900"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("[]")), SC_EINVAL, "sequence A once"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("7")), SC_EINVAL, "lists of pieces"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("[7]")), SC_EINVAL, "id and a type_id"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("[{\"Sequence\":{\"id\":\"C\",\"type_id\":0}}]")),
         SC_EINVAL, "A or B"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("[{\"Sequence\":{\"id\":\"A\",\"type_id\":300}}]")),
         SC_EINVAL, "type_id"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE, TEMPLATE("[{\"SpecialToken\":{\"id\":\"no\",\"type_id\":0}}]")),
         SC_EINVAL, "special_tokens"},
        {FILE_OF(MODEL(""), NORMALIZER, PRE,
                 TEMPLATE("[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"far\","
                          "\"type_id\":0}}]")),
         SC_EINVAL, "id 77"},
        {WITH("\"added_tokens\":7"), SC_EINVAL, "added_tokens"},
        {WITH("\"added_tokens\":[7]"), SC_EINVAL, "added_tokens"},
        {WITH("\"added_tokens\":[{\"content\":\"x\"}]"), SC_EINVAL, "added_tokens.id"},
        {WITH("\"added_tokens\":[{\"id\":5,\"content\":\"\"}]"), SC_EINVAL, "1 to 512 bytes"},
        {WITH("\"added_tokens\":[{\"id\":9,\"content\":\"x\"}]"), SC_EINVAL, "says id 9 but has id 5"},
        {WITH("\"added_tokens\":[{\"id\":0,\"content\":\"a\"}]"), SC_EINVAL, "says id 0 but has id 3"},
        {WITH("\"added_tokens\":[{\"id\":5,\"content\":\"x\",\"lstrip\":1}]"), SC_EINVAL,
         "added_tokens.lstrip"},
        {WITH("\"truncation\":{\"max_length\":0}"), SC_EINVAL, "truncation.max_length"},
        {WITH("\"truncation\":{\"max_length\":3}"), SC_EINVAL, "no room for text"},
        {WITH("\"truncation\":{\"max_length\":9,\"direction\":\"Up\"}"), SC_EINVAL, "truncation.direction"},
        {WITH("\"truncation\":[]"), SC_EINVAL, "truncation"},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct sc_msg msg = {""};
        int rc = parse(cases[i].json, NULL, NULL, 64, &msg);
        if (rc != cases[i].rc || !strstr(msg.text, cases[i].names))
            fail_msg("%s\n%d instead of %d, message: %s", cases[i].json, rc, cases[i].rc, msg.text);
    }
}

static void deep_json_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 1 << 20 };
    char *json = malloc(DEPTH + 1);
    memset(json, '[', DEPTH);
    json[DEPTH] = '\0';
    struct sc_msg msg = {""};
    assert_int_equal(parse(json, NULL, NULL, 64, &msg), SC_EINVAL);
    free(json);
}

/* Every prefix of a good file, and every file with one byte changed, is read without harm. */
static void damaged_anywhere(void **state)
{
    (void)state;
    char json[] = WITH("\"added_tokens\":[{\"id\":5,\"content\":\"x\"}],\"truncation\":{\"max_length\":9}");
    struct sc_tokenizer *t;
    for (size_t i = 0; i + 1 < sizeof(json); i++) {
        struct sc_tokenizer_files all = {.json = sc_span(json, sizeof(json) - 1)},
                                  cut = {.json = sc_span(json, i)};
        assert_int_equal(sc_tokenizer_parse(&t, &cut, 64, NULL), SC_EINVAL);
        static const char odd[] = {'"', '0', '\xff'};
        char was = json[i];
        for (size_t k = 0; k < sizeof(odd); k++) {
            json[i] = odd[k];
            if (sc_tokenizer_parse(&t, &all, 64, NULL) == 0)
                sc_tokenizer_del(t);
        }
        json[i] = was;
    }
}

static uint32_t encode(const char *vocab, const char *config, const char *text, uint32_t *ids, size_t max)
{
    struct sc_tokenizer *t = NULL;
    struct sc_msg msg = {""};
    struct sc_encoding e = {0};
    struct sc_tokenizer_files files = {.vocab = sc_span_str(vocab), .config = sc_span_str(config)};
    if (sc_tokenizer_parse(&t, &files, 64, &msg) < 0)
        fail_msg("%s", msg.text);
    assert_int_equal(sc_tokenizer_encode(t, sc_span_str(text), sc_span(NULL, 0), &e), 0);
    uint32_t n = e.n;
    assert_true(n <= max);
    memcpy(ids, e.ids, n * sizeof(*ids));
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    return n;
}

#define SPECIALS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static void assert_ids(const char *vocab, const char *config, const char *text, const uint32_t *want,
                       size_t n)
{
    uint32_t ids[64];
    assert_int_equal(encode(vocab, config, text, ids, SC_COUNT(ids)), n);
    assert_memory_equal(ids, want, n * sizeof(*want));
}
#define ASSERT_IDS(vocab, config, text, ...)                         \
    assert_ids(vocab, config, text, (const uint32_t[]){__VA_ARGS__}, \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* As transformers reads it: white space at the end of lines goes, of equal lines the last counts. */
static void vocab_txt_lines(void **state)
{
    (void)state;
    ASSERT_IDS(SPECIALS "foo \nbar\r\n\n\u3000\n##x\nfoo\nlast", NULL, "foo bar barx last", 2, 10, 6, 6, 9,
               11, 3);
    ASSERT_IDS(SPECIALS "A\na", "{\"do_lower_case\":false,\"model_max_length\":1e30}", "a A", 2, 6, 5, 3);
    ASSERT_IDS(SPECIALS "A\na", "{\"do_lower_case\":true}", "a A", 2, 6, 6, 3);
    ASSERT_IDS(SPECIALS "a\n\u00e1", "{\"strip_accents\":false}", "\u00e1", 2, 6, 3);
    ASSERT_IDS(SPECIALS "a", "{\"model_max_length\":4}", "a a a a", 2, 5, 5, 3);
    ASSERT_IDS(SPECIALS "a\nb", "{\"model_max_length\":4,\"truncation_side\":\"left\"}", "a a a b", 2, 5, 6,
               3);
    /* A mask token that the vocabulary lacks comes behind it. */
    ASSERT_IDS("[PAD]\n[UNK]\n[CLS]\n[SEP]\na", NULL, "a[MASK]", 2, 4, 5, 3);
    ASSERT_IDS(SPECIALS "<s>\n</s>\na", "{\"cls_token\":\"<s>\",\"sep_token\":{\"content\":\"</s>\"}}",
               "a<s>", 5, 7, 5, 6);
    ASSERT_IDS(
        SPECIALS "a",
        "{\"added_tokens_decoder\":{\"5\":{\"content\":\"a\",\"lstrip\":true},\"6\":{\"content\":\"new\"}}}",
        "NEW A", 2, 6, 5, 3);
}

static void vocab_txt_refused(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *config;
        int rc;
        const char *names;
    } cases[] = {
        {"", NULL, SC_EINVAL, "vocab.txt"},
        {"a\nb\n", NULL, SC_EINVAL, "[UNK]"},
        {"[UNK]\n\xff\n", NULL, SC_EINVAL, "not UTF-8"},
        {SPECIALS, "[]", SC_EINVAL, "tokenizer_config.json: not a JSON object"},
        {SPECIALS, "{", SC_EINVAL, "tokenizer_config.json: line"},
        {SPECIALS, "{\"do_lower_case\":1}", SC_EINVAL, "do_lower_case"},
        {SPECIALS, "{\"model_max_length\":0}", SC_EINVAL, "model_max_length"},
        {SPECIALS, "{\"model_max_length\":\"512\"}", SC_EINVAL, "model_max_length"},
        {SPECIALS, "{\"model_max_length\":3}", SC_EINVAL, "no room for text"},
        {SPECIALS, "{\"truncation_side\":\"up\"}", SC_EINVAL, "truncation_side"},
        {SPECIALS, "{\"cls_token\":5}", SC_EINVAL, "cls_token"},
        {SPECIALS, "{\"unk_token\":\"<unk>\"}", SC_EINVAL, "<unk>"},
        {SPECIALS, "{\"additional_special_tokens\":[\"x\"]}", SC_EUNSUPPORTED, "additional_special_tokens"},
        {SPECIALS, "{\"added_tokens_decoder\":{\"x\":{}}}", SC_EINVAL, "\"x\" is not an id"},
        {SPECIALS, "{\"added_tokens_decoder\":{\"9\":{\"content\":\"new\"}}}", SC_EINVAL, "says id 9"},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct sc_msg msg = {""};
        struct sc_tokenizer *t;
        struct sc_tokenizer_files files = {.vocab = sc_span_str(cases[i].vocab),
                                           .config = sc_span_str(cases[i].config)};
        int rc = sc_tokenizer_parse(&t, &files, 64, &msg);
        if (rc != cases[i].rc || !strstr(msg.text, cases[i].names))
            fail_msg("case %zu: %d instead of %d, message: %s", i, rc, cases[i].rc, msg.text);
    }
}

/* tokenizer_config.json's switches have precedence, as in AutoTokenizer, except in the class that knows none.
 */
static void config_beside_json(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        bool lowercase;
        uint32_t max_length;
    } cases[] = {
        {"{}", true, 64},
        {"{\"do_lower_case\":false}", false, 64},
        {"{\"do_lower_case\":false,\"tokenizer_class\":\"BertTokenizerFast\"}", false, 64},
        {"{\"do_lower_case\":false,\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"model_max_length\":10}",
         true, 10},
        {"{\"model_max_length\":1000000000000000019884624838656}", true, 64},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct sc_tokenizer *t = NULL;
        struct sc_tokenizer_files files = {.json = sc_span_str(GOOD), .config = sc_span_str(cases[i].config)};
        assert_int_equal(sc_tokenizer_parse(&t, &files, 64, NULL), 0);
        assert_int_equal(t->options.lowercase, cases[i].lowercase);
        assert_int_equal(sc_tokenizer_max_length(t), cases[i].max_length);
        sc_tokenizer_del(t);
    }
}

static void folders(void **state)
{
    (void)state;
    char dir[] = "/tmp/sc-tokenizer-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    struct sc_tokenizer *t;
    struct sc_msg msg = {""};
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_ENOTFOUND);
    assert_non_null(strstr(msg.text, dir));
    assert_int_equal(sc_tokenizer_load(&t, "/nowhere/at/all", 64, &msg), SC_ENOTFOUND);

    /* A FIFO must not hang, a folder and a huge file not be read. */
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_EINVAL);
    assert_non_null(strstr(msg.text, "not a regular file"));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_EINVAL);
    rmdir(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(truncate(path, (off_t)SC_TOKENIZER_FILE_BYTES + 1), 0);
    assert_int_equal(sc_tokenizer_load(&t, dir, 64, &msg), SC_ELIMIT);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_must_pass),       cmocka_unit_test(what_is_refused),
        cmocka_unit_test(deep_json_is_refused), cmocka_unit_test(damaged_anywhere),
        cmocka_unit_test(vocab_txt_lines),      cmocka_unit_test(vocab_txt_refused),
        cmocka_unit_test(config_beside_json),   cmocka_unit_test(folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
