#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"
#include "model/folder.h"

#define TINY SC_SOURCE_DIR "/tests/data/bert-tiny"

/* ---- safetensors ----------------------------------------------------------------------------- */

/* A file with this header and n bytes of data; says how the reader took it. */
static int parse(const char *header, uint64_t claimed, size_t n, struct sc_msg *msg)
{
    size_t h = strlen(header), size = 8 + h + n;
    unsigned char *file = calloc(1, size);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(claimed >> 8 * i);
    memcpy(file + 8, header, h);
    struct sc_safetensors *s;
    int rc = sc_safetensors_parse(&s, sc_span(file, size), "x.safetensors", msg);
    if (rc == 0)
        sc_safetensors_close(s);
    else
        assert_non_null(strstr(msg->text, "x.safetensors"));
    free(file);
    return rc;
}

static void lies_in_the_header_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *header, *says;
        size_t data;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", NULL, 8},
        {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":[0,"
         "16]}}   ",
         NULL, 16},
        {"{}", NULL, 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "cut short", 7},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "tensors end", 9},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "do not fit", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "do not fit", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}",
         "shape is too large", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", "do not fit",
         0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]}}", "whole number", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", "two numbers", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "byte 49: a whole number", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", "whole number", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8}}", "two numbers", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "shape must be", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,8]}}", "whole number",
         8},
        {"{\"a\":{\"dtype\":null,\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype must be", 8},
        {"{\"a\":[]}", "tensor must be", 0},
        {"{} {}", "behind the end", 0},
        {"{\"a\":{\"shape\":[1,1,1,1,1,1,1,1", "an end before", 0},
        {"{\"a\":{\"shape\":[1,1,1,1,1,1,1,1,x", "no value", 0},
        {"{\"\xff\":{}}", "UTF-8", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "lacks", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "twice", 8},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", "unknown dtype", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", "dimensions", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":"
         "[2],\"data_offsets\":[4,12]}}",
         "overlaps", 12},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":"
         "[1],\"data_offsets\":[4,8]}}",
         "two tensors", 8},
        {"[]", "object", 0},
        {"{\"a\":", "header, byte", 0},
        {"", "header, byte", 0},
    };
    struct sc_msg msg;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int rc = parse(cases[i].header, strlen(cases[i].header), cases[i].data, &msg);
        if (!cases[i].says)
            assert_int_equal(rc, 0);
        else if (rc == 0 || !strstr(msg.text, cases[i].says))
            fail_msg("case %zu: %s", i, rc == 0 ? "accepted" : msg.text);
    }
    assert_int_equal(parse("{}", 100, 0, &msg), SC_EINVAL);
    assert_int_equal(parse("{}", UINT64_MAX, 0, &msg), SC_ELIMIT);
    assert_int_equal(parse("{}", UINT64_MAX - 7, 0, &msg), SC_ELIMIT);
    struct sc_safetensors *s;
    assert_int_equal(sc_safetensors_parse(&s, SC_SPAN("short"), "x", &msg), SC_EINVAL);
}

/* Names with escapes do not stand in the file: each must keep its place while others are added. */
static void escaped_names_are_found(void **state)
{
    (void)state;
    char file[8192], name[32];
    size_t n = 8;
    for (unsigned i = 0; i < 100; i++)
        n += (size_t)snprintf(
            file + n, sizeof file - n,
            "%c\"\\u0061/\\u00e9%u\":{\"dtype\":\"\\u00468_E4M3\",\"shape\":[],\"data_offsets\":[%u,%u]}",
            i ? ',' : '{', i, i, i + 1);
    file[n++] = '}';
    for (unsigned i = 0; i < 8; i++)
        file[i] = (char)((n - 8) >> 8 * i);
    memset(file + n, 0, 100);
    struct sc_safetensors *s;
    struct sc_msg msg;
    if (sc_safetensors_parse(&s, sc_span(file, n + 100), "x", &msg) < 0)
        fail_msg("%s", msg.text);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "a/\xc3\xa9%u", i);
        const struct sc_tensor *t = sc_safetensors_find(s, sc_span_str(name));
        assert_non_null(t);
        assert_int_equal(t->begin, i);
        assert_true(sc_span_eq(t->dtype_name, SC_SPAN("F8_E4M3")));
    }
    sc_safetensors_close(s);
}

static void halves_become_floats(void **state)
{
    (void)state;
    /* 1, -2, largest, smallest subnormal, infinity, -0 */
    static const uint16_t half[] = {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x7C00, 0x8000};
    static const float want[] = {1, -2, 65504, 0x1p-24f, __builtin_inff(), -0.0f};
    static const uint16_t brain[] = {0x3F80, 0xC000, 0x7F80};
    static const float want_brain[] = {1, -2, __builtin_inff()};
    float got[6];
    struct sc_tensor t = {.dtype = SC_DTYPE_F16, .count = 6, .data = (const unsigned char *)half};
    sc_tensor_floats(&t, got);
    assert_memory_equal(got, want, sizeof want);
    t = (struct sc_tensor){.dtype = SC_DTYPE_BF16, .count = 3, .data = (const unsigned char *)brain};
    sc_tensor_floats(&t, got);
    assert_memory_equal(got, want_brain, sizeof want_brain);
}

/* ---- config.json ----------------------------------------------------------------------------- */

#define SIZES                                                                                                \
    "\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"intermediate_size\":48,\"vocab_" \
    "size\":82,"                                                                                             \
    "\"max_position_embeddings\":48"
#define HEAD "\"model_type\":\"bert\",\"architectures\":[\"BertForSequenceClassification\"],"

static void what_is_not_bert_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{" HEAD SIZES "}", NULL},
        {"{" HEAD SIZES ",\"position_embedding_type\":\"relative_key\"}", "relative_key"},
        {"{" HEAD SIZES ",\"hidden_act\":\"mish\"}", "mish"},
        {"{" HEAD SIZES ",\"hidden_act\":7}", "hidden_act"},
        {"{" HEAD SIZES ",\"is_decoder\":true}", "is_decoder"},
        {"{" HEAD SIZES ",\"quantization_config\":{\"bits\":4}}", "quantization_config"},
        {"{" HEAD SIZES ",\"problem_type\":\"guessing\"}", "problem_type"},
        {"{" HEAD SIZES ",\"layer_norm_eps\":-1}", "layer_norm_eps"},
        {"{" HEAD SIZES ",\"type_vocab_size\":1000}", "type_vocab_size"},
        {"{" HEAD SIZES ",\"id2label\":{\"0\":\"a\",\"2\":\"b\"}}", "id2label"},
        {"{" HEAD SIZES ",\"id2label\":{}}", "id2label"},
        {"{\"model_type\":\"deberta\"," SIZES "}", "deberta"},
        {"{\"model_type\":\"bert\"," SIZES "}", "architectures"},
        {"{\"model_type\":\"bert\",\"architectures\":[\"BertForMultipleChoice\"]," SIZES "}",
         "BertForMultipleChoice"},
        {"{" HEAD "\"hidden_size\":32}", "num_hidden_layers"},
        {"{" HEAD "\"hidden_size\":1000000000,\"num_hidden_layers\":2}", "hidden_size"},
        {"{" HEAD "\"hidden_size\":\"32\"}", "hidden_size"},
        {"{" HEAD "\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":3,\"intermediate_"
         "size\":48,\"vocab_size\":82,\"max_position_embeddings\":48}",
         "num_attention_heads"},
        {"[]", "object"},
        {"{", "line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sc_encoder_config c;
        struct sc_msg msg = {""};
        int rc = sc_encoder_config_parse(&c, sc_span_str(cases[i].text), "config.json", NULL, &msg);
        if (cases[i].says) {
            if (rc == 0 || !strstr(msg.text, cases[i].says) || !strstr(msg.text, "config.json"))
                fail_msg("case %zu: %s", i, rc == 0 ? "accepted" : msg.text);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(c.labels, 2);
        assert_string_equal(c.label[1], "LABEL_1");
        assert_int_equal(c.scoring, SC_SCORE_SOFTMAX);
        sc_encoder_config_free(&c);
    }
}

/* What each family's config.json means, in one line: positions, offset, types, embedding, flags. */
static void families_become_one_description(void **state)
{
    (void)state;
#define FAMILY(type, class) "{\"model_type\":\"" type "\",\"architectures\":[\"" class "\"],"
    static const struct {
        const char *text;
        enum sc_task task;
        uint32_t positions, offset, types, embedding;
        bool projected, modern;
    } cases[] = {
        {FAMILY("bert", "BertForTokenClassification") SIZES "}", SC_TASK_TOKEN, 48, 0, 2, 32, false, false},
        {FAMILY("roberta", "RobertaForMaskedLM") SIZES ",\"pad_token_id\":5}", SC_TASK_FILL_MASK, 42, 6, 2,
         32, false, false},
        {FAMILY("xlm-roberta", "XLMRobertaForQuestionAnswering") SIZES ",\"type_vocab_size\":1}", SC_TASK_QA,
         46, 2, 1, 32, false, false},
        {FAMILY("camembert", "CamembertModel") SIZES ",\"pad_token_id\":null}", SC_TASK_EMBED, 46, 2, 2, 32,
         false, false},
        {FAMILY("distilbert",
                "DistilBertForSequenceClassification") "\"dim\":32,\"n_layers\":2,\"n_heads\":2,"
                                                       "\"hidden_dim\":48,\"vocab_size\":82,\"max_position_"
                                                       "embeddings\":48,\"type_vocab_size\":7}",
         SC_TASK_SEQUENCE, 48, 0, 0, 32, false, false},
        {FAMILY("electra", "ElectraForMaskedLM") SIZES "}", SC_TASK_FILL_MASK, 48, 0, 2, 128, true, false},
        {FAMILY("electra", "ElectraModel") SIZES ",\"embedding_size\":32}", SC_TASK_EMBED, 48, 0, 2, 32,
         false, false},
        {FAMILY("albert", "AlbertModel") SIZES ",\"embedding_size\":32}", SC_TASK_EMBED, 48, 0, 2, 32, true,
         false},
        {FAMILY("modernbert", "ModernBertForMaskedLM") SIZES "}", SC_TASK_FILL_MASK, 48, 0, 0, 32, false,
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sc_encoder_config c;
        struct sc_msg msg = {""};
        if (sc_encoder_config_parse(&c, sc_span_str(cases[i].text), "config.json", NULL, &msg) < 0)
            fail_msg("case %zu: %s", i, msg.text);
        assert_int_equal(c.task, cases[i].task);
        assert_int_equal(c.hidden, 32);
        assert_int_equal(c.head_dim, 16);
        assert_int_equal(c.positions, cases[i].positions);
        assert_int_equal(c.position_offset, cases[i].offset);
        assert_int_equal(c.types, cases[i].types);
        assert_int_equal(c.embedding, cases[i].embedding);
        assert_int_equal(c.projected, cases[i].projected);
        assert_int_equal(c.rotary && c.gated && c.pre_norm, cases[i].modern);
        assert_int_equal(sc_encoder_columns(&c), c.task == SC_TASK_FILL_MASK ? 82
                                                 : c.task == SC_TASK_EMBED   ? 32
                                                                             : 2);
        sc_encoder_config_free(&c);
    }
}

#define MODERN \
    "{\"model_type\":\"modernbert\",\"architectures\":[\"ModernBertForSequenceClassification\"]," SIZES

static void modernbert_has_local_layers(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        unsigned local; /* a bit a layer */
        uint32_t window;
        float global, near;
    } cases[] = {
        {"", 2, 64, 160000, 10000},
        {",\"global_attn_every_n_layers\":1,\"local_attention\":9,\"global_rope_theta\":5000.5", 0, 4,
         5000.5f, 10000},
        {",\"layer_types\":[\"sliding_attention\",\"full_attention\"],\"rope_parameters\":{\"full_"
         "attention\":"
         "{\"rope_type\":\"default\",\"rope_theta\":7},\"sliding_attention\":{\"rope_theta\":8}}",
         1, 64, 7, 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sc_encoder_config c;
        struct sc_msg msg = {""};
        char text[1024];
        snprintf(text, sizeof text, MODERN "%s}", cases[i].more);
        if (sc_encoder_config_parse(&c, sc_span_str(text), "config.json", NULL, &msg) < 0)
            fail_msg("case %zu: %s", i, msg.text);
        for (uint32_t k = 0; k < 2; k++) {
            assert_int_equal(sc_encoder_layer_local(&c, k), cases[i].local >> k & 1);
            assert_true(sc_encoder_layer_theta(&c, k) ==
                        (cases[i].local >> k & 1 ? cases[i].near : cases[i].global));
        }
        assert_int_equal(c.window, cases[i].window);
        sc_encoder_config_free(&c);
    }
}

static void other_options_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {MODERN ",\"layer_types\":[\"full_attention\"]}", "layer_types"},
        {MODERN ",\"layer_types\":[\"full_attention\",\"linear_attention\"]}", "linear_attention"},
        {MODERN ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"yarn\"}}}", "yarn"},
        {MODERN ",\"rope_scaling\":{\"type\":\"linear\"}}", "rope_scaling"},
        {MODERN ",\"local_attention\":-1}", "local_attention"},
        {MODERN ",\"norm_bias\":1}", "norm_bias"},
        {MODERN ",\"norm_eps\":\"small\"}", "norm_eps"},
        {MODERN ",\"classifier_pooling\":\"max\"}", "classifier_pooling"},
        {MODERN ",\"classifier_activation\":\"mish\"}", "classifier_activation"},
        {MODERN ",\"global_rope_theta\":0}", "global_rope_theta"},
        {FAMILY("roberta", "RobertaModel") SIZES ",\"pad_token_id\":47}", "max_position_embeddings"},
        {FAMILY("roberta", "RobertaModel") SIZES ",\"pad_token_id\":-1}", "pad_token_id"},
        {FAMILY("roberta", "BertModel") SIZES "}", "BertModel"},
        {FAMILY("roberta", "RobertaForCausalLM") SIZES "}", "RobertaForCausalLM"},
        {FAMILY("electra", "ElectraForPreTraining") SIZES "}", "ElectraForPreTraining"},
        {FAMILY("albert", "AlbertModel") SIZES ",\"num_hidden_groups\":3}", "num_hidden_groups"},
        {FAMILY("albert", "AlbertModel") SIZES ",\"inner_group_num\":200}", "400 layers"},
        {FAMILY("albert", "AlbertModel") SIZES ",\"embedding_size\":0}", "embedding_size"},
        {FAMILY("bert", "BertModel") SIZES ",\"add_cross_attention\":true}", "add_cross_attention"},
        {FAMILY("bert", "BertModel") SIZES ",\"pruned_heads\":{\"0\":[1]}}", "pruned_heads"},
        {FAMILY("bert", "BertForMaskedLM") SIZES ",\"tie_word_embeddings\":\"yes\"}", "tie_word_embeddings"},
        {"{\"model_type\":\"modernbert\",\"architectures\":[\"ModernBertModel\"],\"hidden_size\":33,\"num_"
         "hidden_"
         "layers\":1,\"num_attention_heads\":3,\"intermediate_size\":4,\"vocab_size\":5,\"max_position_"
         "embeddings\":6}",
         "even size, not 11"},
        {"{\"architectures\":[\"BertModel\"]," SIZES "}", "model_type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sc_encoder_config c;
        struct sc_msg msg = {""};
        int rc = sc_encoder_config_parse(&c, sc_span_str(cases[i].text), "config.json", NULL, &msg);
        if (rc == 0 || !strstr(msg.text, cases[i].says) || !strstr(msg.text, "config.json"))
            fail_msg("case %zu: %s", i, rc == 0 ? "accepted" : msg.text);
    }
}

static void a_task_may_be_chosen(void **state)
{
    (void)state;
    struct sc_encoder_choice choice = {.has_task = true, .has_pooling = true, .pooling = SC_POOL_LAST};
    struct sc_encoder_config c;
    struct sc_msg msg = {""};
    assert_int_equal(sc_task_named("embeddings", &choice.task), 0);
    assert_int_equal(
        sc_encoder_config_parse(&c, SC_SPAN("{\"model_type\":\"bert\"," SIZES "}"), "x", &choice, &msg), 0);
    assert_int_equal(c.pooling, SC_POOL_LAST);
    assert_int_equal(c.labels, 0);
    assert_string_equal(sc_task_name(c.task), "embeddings");
    sc_encoder_config_free(&c);
    assert_int_equal(sc_task_named("summaries", &choice.task), SC_ENOTFOUND);
    assert_int_equal(sc_pooling_named("first", &choice.pooling), SC_ENOTFOUND);
}

/* ---- folders --------------------------------------------------------------------------------- */

static char dir[64];

static void copy(const char *name, size_t cut)
{
    char path[128];
    snprintf(path, sizeof path, TINY "/%s", name);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    static char bytes[200000];
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n - cut, f), n - cut);
    fclose(f);
}

static void write_config(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "we");
    fputs(text, f);
    fclose(f);
}

static void expect(const char *says)
{
    struct sc_encoder_folder f;
    struct sc_engine *e;
    struct sc_msg msg = {""}, warning;
    const struct sc_engine_options o = {.max_tokens = 1024, .matmul = "builtin"};
    int rc = sc_encoder_folder_open(&f, dir, NULL, &msg);
    if (rc == 0) {
        rc = sc_engine_cpu_ops.new(&e, &f.config, &f.weights, &o, &warning, &msg);
        if (rc == 0)
            sc_engine_del(e);
        sc_encoder_folder_close(&f);
    }
    if (!says)
        assert_int_equal(rc, 0);
    else if (rc == 0 || !strstr(msg.text, says))
        fail_msg("%s expected: %s", says, rc == 0 ? "accepted" : msg.text);
}

static void a_missing_cut_or_lying_file_is_named(void **state)
{
    (void)state;
    char other[128];
    strcpy(dir, "/tmp/sc-model-XXXXXX");
    assert_non_null(mkdtemp(dir));
    expect("config.json");
    copy("config.json", 0);
    expect("model.safetensors is missing");
    snprintf(other, sizeof other, "%s/pytorch_model.bin", dir);
    fclose(fopen(other, "we"));
    expect("safe_serialization");
    copy("model.safetensors", 0);
    expect(NULL);
    copy("model.safetensors", 5);
    expect("cut short");
    copy("model.safetensors", 0);
    write_config("{" HEAD SIZES ",\"num_labels\":3}");
    expect(NULL);
    write_config("{" HEAD SIZES ",\"num_labels\":4}");
    expect("tensor classifier.weight");
    write_config(
        "{" HEAD
        "\"hidden_size\":16384,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"intermediate_size\":48,"
        "\"vocab_size\":8000000,\"max_position_embeddings\":48}");
    expect("do not belong together");
    write_config(
        "{" HEAD
        "\"hidden_size\":32,\"num_hidden_layers\":3,\"num_attention_heads\":2,\"intermediate_size\":48,"
        "\"vocab_size\":82,\"max_position_embeddings\":48,\"num_labels\":3}");
    expect("encoder.layer.2");
    unlink(other);
    static const char *const names[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(other, sizeof other, "%s/%s", dir, names[i]);
        unlink(other);
    }
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_in_the_header_are_found),
        cmocka_unit_test(escaped_names_are_found),
        cmocka_unit_test(halves_become_floats),
        cmocka_unit_test(what_is_not_bert_is_refused_by_name),
        cmocka_unit_test(families_become_one_description),
        cmocka_unit_test(modernbert_has_local_layers),
        cmocka_unit_test(other_options_are_refused_by_name),
        cmocka_unit_test(a_task_may_be_chosen),
        cmocka_unit_test(a_missing_cut_or_lying_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
