#include "test.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/choose.h"
#include "engine.h"
#include "model/folder.h"

#define TOLERANCE 1e-4

/* The cases of a folder that make_bert_cases.py wrote, as one batch. */
struct cases {
    struct sc_batch batch;
    uint32_t *ids, *begin;
    uint8_t *types;
    float *logits;
};

static struct cases read_cases(const char *dir, uint32_t labels)
{
    char path[512];
    snprintf(path, sizeof path, "%s/expected.json", dir);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    json_t *list = json_object_get(root, "cases");
    struct cases c = {0};
    uint32_t n = (uint32_t)json_array_size(list), tokens = 0;
    assert_true(n > 0);
    for (uint32_t i = 0; i < n; i++)
        tokens += (uint32_t)json_array_size(json_object_get(json_array_get(list, i), "ids"));
    c.ids = calloc(tokens, sizeof *c.ids);
    c.types = calloc(tokens, 1);
    c.begin = calloc(n + 1, sizeof *c.begin);
    c.logits = calloc((size_t)n * labels, sizeof *c.logits);
    for (uint32_t i = 0, t = 0; i < n; i++) {
        json_t *one = json_array_get(list, i), *ids = json_object_get(one, "ids"),
               *types = json_object_get(one, "types");
        for (size_t k = 0; k < json_array_size(ids); k++, t++) {
            c.ids[t] = (uint32_t)json_integer_value(json_array_get(ids, k));
            c.types[t] = (uint8_t)json_integer_value(json_array_get(types, k));
        }
        c.begin[i + 1] = t;
        for (uint32_t k = 0; k < labels; k++)
            c.logits[i * labels + k] =
                (float)json_number_value(json_array_get(json_object_get(one, "logits"), k));
    }
    c.batch = (struct sc_batch){.ids = c.ids, .types = c.types, .begin = c.begin, .sequences = n};
    json_decref(root);
    return c;
}

static void cases_free(struct cases *c)
{
    free(c->ids);
    free(c->types);
    free(c->begin);
    free(c->logits);
}

static struct sc_engine *engine_of(const char *dir, const char *matmul)
{
    struct sc_msg msg, warning;
    struct sc_encoder_folder f;
    struct sc_engine *e = NULL;
    const struct sc_engine_options o = {.max_tokens = 4096, .matmul = matmul, .plugin_dir = SC_BUILD_DIR};
    if (sc_encoder_folder_open(&f, dir, NULL, &msg) < 0 ||
        sc_engine_cpu_ops.new(&e, &f.config, &f.weights, &o, &warning, &msg) < 0)
        fail_msg("%s", msg.text);
    sc_encoder_folder_close(&f);
    return e;
}

static struct sc_engine_lane *lane_of(const struct sc_engine *e)
{
    struct sc_engine_lane *l;
    struct sc_msg msg;
    assert_int_equal(e->ops->lane_new(&l, e, &msg), 0);
    return l;
}

static double worst(const float *a, const float *b, size_t n)
{
    double w = 0;
    for (size_t i = 0; i < n; i++)
        w = fmax(w, isfinite(a[i]) ? fabs((double)a[i] - (double)b[i]) : INFINITY);
    return w;
}

static void compare_folder(const char *dir, const char *matmul)
{
    struct sc_engine *e = engine_of(dir, matmul);
    struct sc_engine_lane *l = lane_of(e);
    uint32_t labels = sc_engine_columns(e);
    struct cases c = read_cases(dir, labels);
    size_t n = (size_t)c.batch.sequences * labels;
    float *got = calloc(n, sizeof *got);

    /* Together, and again each alone: a sequence must not notice its neighbours. */
    assert_int_equal(sc_engine_run(l, &c.batch, got), 0);
    double together = worst(got, c.logits, n), alone = 0;
    for (uint32_t i = 0; i < c.batch.sequences; i++) {
        uint32_t begin[2] = {0, c.begin[i + 1] - c.begin[i]};
        struct sc_batch one = {
            .ids = c.ids + c.begin[i], .types = c.types + c.begin[i], .begin = begin, .sequences = 1};
        assert_int_equal(sc_engine_run(l, &one, got), 0);
        alone = fmax(alone, worst(got, c.logits + (size_t)i * labels, labels));
    }
    print_message("%s, %s: largest difference %.2g in a batch, %.2g alone\n", dir, matmul, together, alone);
    assert_true(together < TOLERANCE);
    assert_true(alone < TOLERANCE);
    free(got);
    cases_free(&c);
    sc_engine_lane_del(l);
    sc_engine_del(e);
}

static void logits_are_those_of_transformers(void **state)
{
    (void)state;
    compare_folder(SC_SOURCE_DIR "/tests/data/bert-tiny", "builtin");
    compare_folder(SC_SOURCE_DIR "/tests/data/bert-tiny-half", "builtin");
}

/* Built beside us if oneDNN was there at build time. */
static void onednn_computes_the_same(void **state)
{
    (void)state;
    struct sc_msg warning, msg;
    const struct sc_matmul_ops *ops;
    assert_int_equal(sc_matmul_choose(&ops, "onednn", SC_BUILD_DIR, &warning, &msg), 0);
    if (warning.text[0]) {
        print_message("%s\n", warning.text);
        skip();
    }
    compare_folder(SC_SOURCE_DIR "/tests/data/bert-tiny", "onednn");
    compare_folder(SC_SOURCE_DIR "/tests/data/bert-tiny-half", "onednn");
}

/* By hand: SC_BERT_CASES names a folder of folders that make_bert_cases.py --large wrote. */
static void larger_models_too(void **state)
{
    (void)state;
    const char *root = getenv("SC_BERT_CASES");
    DIR *d = root ? opendir(root) : NULL;
    if (!d)
        skip();
    struct sc_msg warning, msg;
    const struct sc_matmul_ops *ops;
    assert_int_equal(sc_matmul_choose(&ops, "onednn", SC_BUILD_DIR, &warning, &msg), 0);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char dir[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(dir, sizeof dir, "%s/%s", root, entry->d_name);
        compare_folder(dir, "builtin");
        compare_folder(dir, "onednn");
    }
    closedir(d);
}

static void a_missing_module_is_a_warning_and_a_wrong_setting_an_error(void **state)
{
    (void)state;
    struct sc_msg warning, msg;
    const struct sc_matmul_ops *ops;
    assert_int_equal(sc_matmul_choose(&ops, "onednn", "/nowhere", &warning, &msg), 0);
    assert_ptr_equal(ops, sc_matmul_builtin());
    assert_non_null(strstr(warning.text, "install libdnnl"));

    assert_int_equal(sc_matmul_choose(&ops, "builtin", "/nowhere", &warning, &msg), 0);
    assert_string_equal(warning.text, "");
    assert_int_equal(sc_matmul_choose(&ops, "mkl", "/nowhere", &warning, &msg), SC_EINVAL);
    assert_non_null(strstr(msg.text, "onednn"));
}

static void tokens_outside_the_tables_are_refused(void **state)
{
    (void)state;
    struct sc_engine *e = engine_of(SC_SOURCE_DIR "/tests/data/bert-tiny", "builtin");
    struct sc_engine_lane *l = lane_of(e);
    uint32_t ids[4200] = {0}, begin[101] = {0, 4};
    uint8_t types[4200] = {0};
    float out[303];
    struct sc_batch b = {.ids = ids, .types = types, .begin = begin, .sequences = 1};
    assert_int_equal(sc_engine_run(l, &b, out), 0);
    ids[2] = 82;
    assert_int_equal(sc_engine_run(l, &b, out), SC_EINVAL);
    ids[2] = 0;
    types[3] = 2;
    assert_int_equal(sc_engine_run(l, &b, out), SC_EINVAL);
    types[3] = 0;
    begin[1] = 49;
    assert_int_equal(sc_engine_run(l, &b, out), SC_EINVAL);
    begin[1] = 0;
    assert_int_equal(sc_engine_run(l, &b, out), SC_EINVAL);
    for (uint32_t i = 0; i <= 100; i++)
        begin[i] = i * 42;
    b.sequences = 100;
    assert_int_equal(sc_engine_run(l, &b, out), SC_ELIMIT);
    b.sequences = 97;
    assert_int_equal(sc_engine_run(l, &b, out), 0);
    sc_engine_lane_del(l);
    sc_engine_del(e);
}

/* Padding that is not attended to changes nothing for the others, and its own rows are those of its places.
 */
static void padding_is_computed_and_not_seen(void **state)
{
    (void)state;
    struct sc_engine *e = engine_of(SC_SOURCE_DIR "/tests/data/example/token", "builtin");
    struct sc_engine_lane *l = lane_of(e);
    static const uint32_t ids[15] = {2, 8, 9, 10, 11, 3}, begin[] = {0, 6, 15};
    uint32_t columns = sc_engine_columns(e), both[12] = {0};
    float alone[6 * 9], out[15 * 9];
    assert_int_equal(columns, 9);
    struct sc_batch b = {.ids = ids, .begin = begin, .sequences = 1};
    assert_int_equal(sc_engine_run(l, &b, alone), 0);
    memcpy(both, ids, 6 * sizeof *ids);
    const uint32_t padded[] = {0, 12}, keys[] = {6};
    b = (struct sc_batch){.ids = both, .begin = padded, .sequences = 1, .keys = keys};
    assert_int_equal(sc_engine_run(l, &b, out), 0);
    for (uint32_t i = 0; i < 6 * columns; i++)
        assert_true(fabsf(alone[i] - out[i]) < 1e-5f);
    /* Shorter padding: the same rows as far as it goes. */
    float less[8 * 9];
    const uint32_t shorter[] = {0, 8};
    b.begin = shorter;
    assert_int_equal(sc_engine_run(l, &b, less), 0);
    for (uint32_t i = 0; i < 8 * columns; i++)
        assert_true(fabsf(less[i] - out[i]) < 1e-5f);
    const uint32_t none[] = {0}, many[] = {9};
    b.keys = none;
    assert_int_equal(sc_engine_run(l, &b, less), SC_EINVAL);
    b.keys = many;
    assert_int_equal(sc_engine_run(l, &b, less), SC_EINVAL);
    sc_engine_lane_del(l);
    sc_engine_del(e);
}

/* Only where its rows are wanted: whoever takes one row of a sequence need not compute it. */
static void padding_is_for_rows_of_tokens(void **state)
{
    (void)state;
    static const uint32_t ids[10] = {2, 8, 9, 10, 11, 3}, begin[] = {0, 10}, keys[] = {6};
    struct sc_batch b = {.ids = ids, .begin = begin, .sequences = 1, .keys = keys};
    struct sc_engine e = {.columns = 9, .vocab = 99, .positions = 64, .max_tokens = 64};
    for (int task = 0; task <= SC_TASK_EMBED; task++) {
        e.task = (enum sc_task)task;
        bool tokens = e.task == SC_TASK_TOKEN || e.task == SC_TASK_QA;
        assert_int_equal(sc_engine_check(&e, &b), tokens ? 0 : SC_EUNSUPPORTED);
    }
    e.task = SC_TASK_TOKEN;
    e.local = true;
    assert_int_equal(sc_engine_check(&e, &b), SC_EUNSUPPORTED);
}

/* The vectors of one sequence of n tokens, its first `skip` not pooled. */
static void vectors_of(enum sc_pooling pooling, const uint32_t *ids, uint32_t n, uint32_t skip, float *out)
{
    struct sc_encoder_folder f;
    struct sc_engine *e;
    struct sc_msg msg, warning;
    const struct sc_engine_options o = {.max_tokens = 64, .matmul = "builtin"};
    const struct sc_encoder_choice c = {
        .has_task = true, .task = SC_TASK_EMBED, .has_pooling = true, .pooling = pooling};
    const uint32_t begin[] = {0, 3, 3 + n}, skips[] = {0, skip};
    uint32_t all[64] = {2, 5, 3};
    float both[2 * 32];
    memcpy(all + 3, ids, n * sizeof *ids);
    assert_int_equal(sc_encoder_folder_open(&f, SC_SOURCE_DIR "/tests/data/bert-tiny", &c, &msg), 0);
    assert_int_equal(sc_engine_cpu_ops.new(&e, &f.config, &f.weights, &o, &warning, &msg), 0);
    sc_encoder_folder_close(&f);
    struct sc_engine_lane *l = lane_of(e);
    assert_int_equal(sc_engine_columns(e), 32);
    struct sc_batch b = {.ids = all, .begin = begin, .sequences = 2, .skip = skips};
    assert_int_equal(sc_engine_run(l, &b, both), 0);
    memcpy(out, both + 32, 32 * sizeof *out);
    sc_engine_lane_del(l);
    sc_engine_del(e);
}

/* A prompt is computed and not pooled: include_prompt of sentence-transformers. */
static void what_is_skipped_is_not_pooled(void **state)
{
    (void)state;
    static const uint32_t ids[] = {2, 8, 9, 10, 11, 3};
    float row[6][32], got[32], largest[32];
    for (uint32_t i = 0; i < 6; i++)
        vectors_of(SC_POOL_CLS, ids, 6, i, row[i]);
    vectors_of(SC_POOL_LAST, ids, 6, 4, got);
    assert_true(worst(got, row[5], 32) < 1e-6);
    assert_true(worst(row[0], row[2], 32) > 1e-2);
    for (uint32_t skip = 0; skip < 6; skip++) {
        float mean[32] = {0};
        for (uint32_t k = 0; k < 32; k++) {
            largest[k] = row[skip][k];
            for (uint32_t i = skip; i < 6; i++) {
                mean[k] += row[i][k] / (float)(6 - skip);
                largest[k] = fmaxf(largest[k], row[i][k]);
            }
        }
        vectors_of(SC_POOL_MEAN, ids, 6, skip, got);
        assert_true(worst(got, mean, 32) < 1e-5);
        vectors_of(SC_POOL_MAX, ids, 6, skip, got);
        assert_true(worst(got, largest, 32) < 1e-5);
    }
    const uint32_t begin[] = {0, 6}, skip[] = {6};
    const struct sc_batch b = {.ids = ids, .begin = begin, .sequences = 1, .skip = skip};
    struct sc_engine e = {
        .task = SC_TASK_EMBED, .columns = 9, .vocab = 99, .positions = 64, .max_tokens = 64};
    assert_int_equal(sc_engine_check(&e, &b), SC_EINVAL);
    e.task = SC_TASK_SEQUENCE;
    assert_int_equal(sc_engine_check(&e, &b), SC_EUNSUPPORTED);
}

/* The bits of a text's numbers, alone and among others: our own product adds up in one order. */
static void a_text_has_the_same_bits_in_every_batch(void **state)
{
    (void)state;
    static const char *const dirs[] = {"/tests/data/bert-tiny", "/tests/data/example/token"};
    for (size_t d = 0; d < 2; d++) {
        char dir[256];
        snprintf(dir, sizeof dir, SC_SOURCE_DIR "%s", dirs[d]);
        struct sc_engine *e = engine_of(dir, "builtin");
        struct sc_engine_lane *l = lane_of(e);
        uint32_t ids[600], text[33], begin[41] = {0};
        for (uint32_t i = 0; i < 600; i++)
            ids[i] = 4 + i * 7 % 60;
        for (uint32_t i = 0; i < 33; i++)
            text[i] = 4 + i * 11 % 70;
        for (uint32_t length = 1; length <= 33; length += 8) {
            float *alone = NULL;
            size_t own = 0;
            for (uint32_t others = 0; others <= 39; others += 13) {
                for (uint32_t i = 0; i <= others; i++)
                    begin[i + 1] = begin[i] + (i == others ? length : 1 + i % 13);
                memcpy(ids + begin[others], text, length * sizeof *ids);
                struct sc_batch b = {.ids = ids, .begin = begin, .sequences = others + 1};
                size_t n = (size_t)sc_engine_rows(e, &b) * sc_engine_columns(e);
                float *out = malloc(n * sizeof *out);
                assert_int_equal(sc_engine_run(l, &b, out), 0);
                if (!alone) {
                    alone = out;
                    own = n;
                    continue;
                }
                assert_memory_equal(out + n - own, alone, own * sizeof *out);
                free(out);
            }
            free(alone);
        }
        sc_engine_lane_del(l);
        sc_engine_del(e);
    }
}

static void picks_are_within_the_batch_and_ascend(void **state)
{
    (void)state;
    const struct sc_engine e = {
        .task = SC_TASK_FILL_MASK, .columns = 9, .vocab = 9, .positions = 4, .max_tokens = 9};
    const uint32_t ids[8] = {0}, begin[] = {2, 5, 8};
    uint32_t picks[] = {2, 4, 7};
    /* No types: the model has none, so that nothing is looked at. */
    struct sc_batch b = {.ids = ids, .begin = begin, .sequences = 2, .picks = picks, .picks_n = 3};
    assert_int_equal(sc_engine_check(&e, &b), 0);
    assert_int_equal(sc_engine_rows(&e, &b), 3);
    picks[2] = 8;
    assert_int_equal(sc_engine_check(&e, &b), SC_EINVAL);
    picks[2] = 4;
    assert_int_equal(sc_engine_check(&e, &b), SC_EINVAL);
    picks[0] = 1;
    b.picks_n = 1;
    assert_int_equal(sc_engine_check(&e, &b), SC_EINVAL);
    b.picks_n = 0;
    assert_int_equal(sc_engine_check(&e, &b), 0);
    b = (struct sc_batch){.picks = picks, .picks_n = 1};
    assert_int_equal(sc_engine_check(&e, &b), SC_EINVAL);
}

static void a_dtype_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"fp16", "fp32 or bf16"}, {"int8", "fp32 or bf16"}, {"bf16", "AVX512_BF16"}};
    struct sc_encoder_folder f;
    struct sc_engine *e;
    struct sc_msg msg, warning;
    assert_int_equal(sc_encoder_folder_open(&f, SC_SOURCE_DIR "/tests/data/bert-tiny", NULL, &msg), 0);
    for (size_t i = 0; i < 3; i++) {
        const struct sc_engine_options o = {.max_tokens = 64, .matmul = "builtin", .dtype = cases[i][0]};
        assert_true(sc_engine_cpu_ops.new(&e, &f.config, &f.weights, &o, &warning, &msg) < 0);
        assert_non_null(strstr(msg.text, cases[i][1]));
    }
    sc_encoder_folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(onednn_computes_the_same),
        cmocka_unit_test(larger_models_too),
        cmocka_unit_test(a_missing_module_is_a_warning_and_a_wrong_setting_an_error),
        cmocka_unit_test(padding_is_computed_and_not_seen),
        cmocka_unit_test(padding_is_for_rows_of_tokens),
        cmocka_unit_test(what_is_skipped_is_not_pooled),
        cmocka_unit_test(a_text_has_the_same_bits_in_every_batch),
        cmocka_unit_test(picks_are_within_the_batch_and_ascend),
        cmocka_unit_test(a_dtype_that_cannot_be_is_refused),
        cmocka_unit_test(tokens_outside_the_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
