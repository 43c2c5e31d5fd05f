#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "heads/answers.h"
#include "heads/embed.h"
#include "heads/entities.h"
#include "heads/put.h"
#include "heads/rank.h"
#include "heads/score.h"

static json_t *cases; /* of tests/data/make_head_cases.py */

static int load(void **state)
{
    (void)state;
    cases = json_load_file(SC_SOURCE_DIR "/tests/data/heads.json", 0, NULL);
    return cases ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(cases);
    return 0;
}

static float number(const json_t *a, size_t i)
{
    return (float)json_number_value(json_array_get(a, i));
}

static uint32_t whole(const json_t *a, size_t i)
{
    return (uint32_t)json_integer_value(json_array_get(a, i));
}

/* ---- entities ------------------------------------------------------------------------------------ */

static void same_entities(const struct sc_tags *t, char *const *labels, const json_t *c, const char *name,
                          enum sc_aggregation how)
{
    const json_t *logits = json_object_get(c, "logits"), *subword = json_object_get(c, "subword"),
                 *want = json_object_get(c, name);
    uint32_t n = (uint32_t)json_array_size(logits);
    float *rows = malloc(n * t->n * sizeof *rows);
    bool *goes_on = malloc(n * sizeof *goes_on);
    struct sc_entity *got = malloc(n * sizeof *got);
    for (uint32_t i = 0; i < n; i++) {
        goes_on[i] = json_is_true(json_array_get(subword, i));
        for (uint32_t k = 0; k < t->n; k++)
            rows[i * t->n + k] = number(json_array_get(logits, i), k);
    }
    uint32_t made = sc_entities_find(t, how, rows, goes_on, n, got);
    assert_int_equal(made, json_array_size(want));
    for (uint32_t i = 0; i < made; i++) {
        const json_t *w = json_array_get(want, i);
        struct sc_span called =
            how == SC_AGGREGATE_NONE ? sc_span_str(labels[got[i].label]) : t->tag[got[i].label].group;
        assert_true(sc_span_eq(called, sc_span_str(json_string_value(json_array_get(w, 0)))));
        assert_true(fabsf(got[i].score - number(w, 1)) < 1e-5f);
        assert_int_equal(got[i].first, whole(w, 2));
        assert_int_equal(got[i].last, whole(w, 3));
    }
    free(rows);
    free(goes_on);
    free(got);
}

static void entities_are_those_of_the_pipeline(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "simple", "first", "average", "max"};
    const json_t *labels = json_object_get(cases, "labels"), *all = json_object_get(cases, "entities");
    char *label[16];
    uint32_t n = (uint32_t)json_array_size(labels);
    for (uint32_t i = 0; i < n; i++)
        label[i] = strdup(json_string_value(json_array_get(labels, i)));
    struct sc_tags t;
    assert_int_equal(sc_tags_init(&t, label, n), 0);
    assert_true(json_array_size(all) > 3);
    for (size_t i = 0; i < json_array_size(all); i++)
        for (size_t k = 0; k < 5; k++) {
            enum sc_aggregation how;
            assert_true(sc_aggregation_read(sc_span_str(names[k]), &how));
            same_entities(&t, label, json_array_get(all, i), names[k], how);
        }
    enum sc_aggregation how;
    assert_false(sc_aggregation_read(SC_SPAN("simpl"), &how));
    sc_tags_free(&t);
    for (uint32_t i = 0; i < n; i++)
        free(label[i]);
}

static void of_entities_that_overlap_the_longest_stays(void **state)
{
    (void)state;
    struct sc_entity_place p[] = {
        {10, 14, .5f, 0}, {0, 4, .9f, 1}, {2, 9, .1f, 2}, {12, 16, .6f, 3}, {20, 20, 1, 4}};
    assert_int_equal(sc_entities_merge(p, 5), 3);
    assert_int_equal(p[0].entity, 2);
    assert_int_equal(p[1].entity, 3);
    assert_int_equal(p[2].entity, 4);
    assert_int_equal(sc_entities_merge(p, 0), 0);
}

/* ---- answers ------------------------------------------------------------------------------------- */

static void same_answers(const json_t *c)
{
    struct sc_answer_options o = {.top_k = (uint32_t)json_integer_value(json_object_get(c, "top_k")),
                                  .max_tokens = 5,
                                  .impossible = json_is_true(json_object_get(c, "impossible")),
                                  .align = json_is_true(json_object_get(c, "align"))};
    struct sc_span context = sc_span_str(json_string_value(json_object_get(c, "context")));
    const json_t *windows = json_object_get(c, "windows"), *want = json_object_get(c, "answers");
    struct sc_answers all = {0};
    for (size_t i = 0; i < json_array_size(windows); i++) {
        const json_t *w = json_array_get(windows, i), *rows = json_object_get(w, "rows"),
                     *tokens = json_object_get(w, "tokens");
        struct sc_answer_token token[64];
        struct sc_answers one = {0};
        float row[256];
        for (size_t k = 0; k < json_array_size(rows); k++)
            row[k] = number(rows, k);
        for (size_t k = 0; k < json_array_size(tokens); k++) {
            const json_t *t = json_array_get(tokens, k);
            token[k] = (struct sc_answer_token){whole(t, 0), whole(t, 1), whole(t, 2), whole(t, 3)};
        }
        assert_int_equal(sc_answers_add(&one, &o, context, row, (uint32_t)json_array_size(rows) / 2,
                                        (uint32_t)json_integer_value(json_object_get(w, "from")),
                                        (uint32_t)json_integer_value(json_object_get(w, "to")), token),
                         0);
        assert_int_equal(sc_answers_join(&all, context, &one), 0);
        sc_answers_free(&one);
    }
    assert_int_equal(sc_answers_end(&all, &o), 0);
    assert_int_equal(all.n, json_array_size(want));
    for (uint32_t i = 0; i < all.n; i++) {
        const json_t *w = json_array_get(want, i);
        assert_true(fabsf(all.found[i].score - number(w, 0)) < 1e-5f);
        assert_int_equal(all.found[i].start, whole(w, 1));
        assert_int_equal(all.found[i].end, whole(w, 2));
    }
    sc_answers_free(&all);
}

static void answers_are_those_of_the_pipeline(void **state)
{
    (void)state;
    const json_t *all = json_object_get(cases, "questions");
    assert_true(json_array_size(all) > 3);
    for (size_t i = 0; i < json_array_size(all); i++)
        same_answers(json_array_get(all, i));
}

/* ---- numbers and vectors -------------------------------------------------------------------------- */

static void floats_are_printfs(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (int i = 0; i < 300000; i++) {
        seed = seed * 1664525u + 1013904223u;
        /* Every exponent once in a while, those of embeddings mostly. */
        uint32_t bits = i % 4 ? (seed & 0x807FFFFF) | (110 + (seed >> 23) % 22) << 23 : seed;
        float v;
        memcpy(&v, &bits, sizeof v);
        char got[SC_PUT_FLOAT_MAX + 1], want[64];
        got[sc_put_float_text(got, v)] = '\0';
        snprintf(want, sizeof want, "%.9g", (double)v);
        if (!isfinite(v))
            strcpy(want, "null");
        else if (strcspn(want, ".e") == strlen(want))
            strcat(want, ".0");
        assert_string_equal(got, want);
    }
}

static void writes(const char *want, struct sc_buf *b)
{
    sc_buf_char(b, '\0');
    assert_string_equal(b->p, want);
    sc_buf_clear(b);
}

static void numbers_look_as_in_python(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 1000);
    sc_put_vector(&b, (float[]){0, -1, 0.5f, 1e-10f, 123456792, 1e30f, -0.001f}, 7);
    writes("[0.0, -1.0, 0.5, 1.00000001e-10, 123456792.0, 1.00000002e+30, -0.00100000005]", &b);
    sc_put_vector(&b, NULL, 0);
    writes("[]", &b);
    sc_put_vector_base64(&b, (float[]){1}, 1);
    writes("\"AACAPw==\"", &b);
    sc_put_vector_base64(&b, (float[]){1, 2}, 2);
    writes("\"AACAPwAAAEA=\"", &b);
    sc_put_vector_base64(&b, (float[]){1, 2, -3}, 3);
    writes("\"AACAPwAAAEAAAEDA\"", &b);
    sc_put_string(&b, SC_SPAN("a\"\\\n\x01\xc3\xa9"));
    writes("\"a\\\"\\\\\\n\\u0001\xc3\xa9\"", &b);
    sc_buf_free(&b);
}

static void vectors_are_cut_and_normalised(void **state)
{
    (void)state;
    float v[] = {3, 4, 12}, zero[] = {0, 0};
    sc_embed_normalise(v, 2);
    assert_true(fabsf(v[0] - .6f) < 1e-6f && fabsf(v[1] - .8f) < 1e-6f && v[2] == 12);
    sc_embed_normalise(zero, 2);
    assert_true(zero[0] == 0 && zero[1] == 0);
    struct sc_buf b;
    sc_buf_init(&b, 1000);
    float two[] = {1, 2, 9, 3, 4, 9};
    struct sc_embed_answer a = {
        .form = SC_FORM_PIPELINE, .vectors = two, .n = 1, .stride = 3, .width = 2, .tokens = 7, .model = "m"};
    sc_embed_write(&a, &b);
    writes("[1.0, 2.0]", &b);
    a.n = 2;
    a.list = true;
    sc_embed_write(&a, &b);
    writes("[[1.0, 2.0], [3.0, 4.0]]", &b);
    a.form = SC_FORM_OPENAI_EMBEDDINGS;
    sc_embed_write(&a, &b);
    writes(
        "{\"object\": \"list\", \"data\": [{\"object\": \"embedding\", \"index\": 0, \"embedding\": [1.0, "
        "2.0]}, "
        "{\"object\": \"embedding\", \"index\": 1, \"embedding\": [3.0, 4.0]}], \"model\": \"m\", \"usage\": "
        "{\"prompt_tokens\": 7, \"total_tokens\": 7}}",
        &b);
    sc_buf_free(&b);
}

/* ---- rankings ------------------------------------------------------------------------------------ */

static void the_best_are_found_without_sorting_all(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 60; n++)
        for (uint32_t k = 0; k <= n + 1; k += 3) {
            struct sc_ranked x[64], all[64];
            for (uint32_t i = 0; i < n; i++)
                all[i] = x[i] =
                    (struct sc_ranked){i % 7 == 3 ? __builtin_nanf("") : (float)((i * 37) % 11), i};
            sc_rank(all, n, n);
            sc_rank(x, n, k);
            for (uint32_t i = 0; i < k && i < n; i++)
                assert_int_equal(x[i].index, all[i].index);
            for (uint32_t i = 1; i < n; i++)
                assert_true(isnan(all[i].score) || all[i - 1].score >= all[i].score);
        }
}

static void rankings_are_in_the_words_of_their_interface(void **state)
{
    (void)state;
    struct sc_input in;
    struct sc_msg msg;
    struct sc_buf b;
    float scores[] = {.25f, .5f, .5f};
    sc_buf_init(&b, 4000);
    static const char body[] =
        "{\"query\": \"q\", \"texts\": [\"a\", \"b\\n\", \"c\"], \"return_text\": true}";
    assert_int_equal(sc_input_parse(&in, SC_FORM_TEI_RERANK, sc_span_str(body), "", 10, &msg), 0);
    assert_int_equal(sc_rank_write(&in, SC_FORM_TEI_RERANK, scores, &b), 0);
    writes("[{\"index\": 1, \"text\": \"b\\n\", \"score\": 0.5}, {\"index\": 2, \"text\": \"c\", \"score\": "
           "0.5}, "
           "{\"index\": 0, \"text\": \"a\", \"score\": 0.25}]",
           &b);
    sc_input_free(&in);
    static const char cohere[] =
        "{\"query\": \"q\", \"documents\": [\"a\", {\"text\": \"b\", \"more\": [1]}, \"c\"], \"top_n\": 1}";
    assert_int_equal(sc_input_parse(&in, SC_FORM_COHERE_RERANK, sc_span_str(cohere), "", 10, &msg), 0);
    assert_int_equal(sc_rank_write(&in, SC_FORM_COHERE_RERANK, scores, &b), 0);
    sc_buf_char(&b, '\0');
    assert_non_null(
        strstr(b.p, "\"results\": [{\"index\": 1, \"relevance_score\": 0.5}], \"meta\": {\"api_version\": "
                    "{\"version\": \"1\"}"));
    sc_input_free(&in);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entities_are_those_of_the_pipeline),
        cmocka_unit_test(of_entities_that_overlap_the_longest_stays),
        cmocka_unit_test(answers_are_those_of_the_pipeline),
        cmocka_unit_test(floats_are_printfs),
        cmocka_unit_test(numbers_look_as_in_python),
        cmocka_unit_test(vectors_are_cut_and_normalised),
        cmocka_unit_test(the_best_are_found_without_sorting_all),
        cmocka_unit_test(rankings_are_in_the_words_of_their_interface),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
