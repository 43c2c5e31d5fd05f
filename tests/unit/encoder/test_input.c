#include "test.h"

#include <stdlib.h>

#include "heads/classify.h"
#include "heads/input.h"

#define JSON "application/json"
#define FORM "application/x-www-form-urlencoded"

/* Every body below is read from memory of its exact size. */
static char *held;

static int parse(struct sc_input *in, const char *type, const char *body, size_t n, uint32_t max,
                 struct sc_msg *msg)
{
    free(held);
    held = malloc(n + 1);
    memcpy(held, body, n);
    msg->text[0] = '\0';
    return sc_input_parse(in, SC_FORM_PIPELINE, sc_span(n ? held : NULL, n), type, max, msg);
}

/* The texts of a good body, joined by '|', a pair by '+', a list in brackets. */
static void reads_as(const char *type, const char *body, const char *want)
{
    struct sc_input in;
    struct sc_msg msg;
    if (parse(&in, type, body, strlen(body), 100, &msg) < 0)
        fail_msg("%s: %s", body, msg.text);
    char got[256] = "";
    if (in.list)
        strcat(got, "[");
    for (uint32_t i = 0; i < in.n; i++) {
        if (i)
            strcat(got, "|");
        strncat(got, in.texts[i].text.p, in.texts[i].text.n);
        if (in.texts[i].pair.p) {
            strcat(got, "+");
            strncat(got, in.texts[i].pair.p, in.texts[i].pair.n);
        }
    }
    if (in.list)
        strcat(got, "]");
    assert_string_equal(got, want);
    sc_input_free(&in);
}

static void texts_come_in_many_shapes(void **state)
{
    (void)state;
    reads_as("", "plain", "plain");
    reads_as("text/plain", "{\"text\": 1}", "{\"text\": 1}");
    reads_as("application/octet-stream", "a=b", "a=b");
    reads_as(JSON, " \"one\" ", "one");
    reads_as(JSON, "[\"one\", \"tw\\u006f\"]", "[one|two]");
    reads_as(JSON, "[\"\\u0061\\n\", \"b\", \"\\\"c\\\"\", \"d\\/\"]", "[a\n|b|\"c\"|d/]");
    reads_as(JSON, "[]", "[]");
    reads_as(JSON, "{\"text\": \"\"}", "");
    reads_as(JSON, "{\"inputs\": \"a\", \"options\": {\"wait\": [true]}}", "a");
    reads_as(JSON, "{\"inputs\": [\"a\", {\"text\": \"b\", \"text_pair\": \"c\"}]}", "[a|b+c]");
    reads_as(JSON, "{\"inputs\": {\"text\": \"b\", \"text_pair\": \"c\"}}", "b+c");
    reads_as(JSON, "{\"text_pair\": \"c\", \"text\": \"b\"}", "b+c");
    reads_as(JSON, "\"a\\ud800b\"",
             "a\xef\xbf\xbd"
             "b");
    reads_as("application/vnd.x+json", "[\"a\"]", "[a]");
    reads_as(FORM, "what curl -d sends", "what curl -d sends");
    reads_as(FORM, "{\"text\": \"a\"}", "a");
    reads_as(FORM, "lang=x&text=caf%C3%A9+au%20lait%", "caf\xc3\xa9 au lait%");
    reads_as(FORM, "text=a&text=b", "[a|b]");
    reads_as(FORM, "E = mc2", "E = mc2");
}

static void parameters_are_understood(void **state)
{
    (void)state;
    struct sc_input in;
    struct sc_msg msg;
    const char *body = "{\"parameters\": {\"top_k\": 3, \"function_to_apply\": \"Sigmoid\", \"other\": {}}, "
                       "\"inputs\": \"a\"}";
    assert_int_equal(parse(&in, JSON, body, strlen(body), 1, &msg), 0);
    assert_true(in.options.has_top_k && in.options.top_k == 3);
    assert_true(in.options.has_scoring && in.options.scoring == SC_SCORE_SIGMOID);
    sc_input_free(&in);
    body = "{\"\\u0069nputs\": \"a\", \"parameters\": null}";
    assert_int_equal(parse(&in, JSON, body, strlen(body), 1, &msg), 0);
    assert_true(in.n == 1 && !in.options.has_top_k && !in.options.has_scoring);
    sc_input_free(&in);
    body = "{\"inputs\": \"a\", \"parameters\": {\"top_k\": null, \"function_to_apply\": null}}";
    assert_int_equal(parse(&in, JSON, body, strlen(body), 1, &msg), 0);
    assert_true(in.options.has_top_k && in.options.top_k == UINT32_MAX && !in.options.has_scoring);
    sc_input_free(&in);
}

static void bad_bodies_are_told_what_to_send(void **state)
{
    (void)state;
    static const struct {
        const char *type, *body, *says;
    } cases[] = {
        {"", "", "empty"},
        {JSON, "", "empty"},
        {JSON, "  ", "no value"},
        {JSON, "{\"text\": \"a\"", "byte"},
        {JSON, "{\"text\": 7}", "a text or a list"},
        {JSON, "[1, 2]", "must be a text"},
        {JSON, "[[\"a\", \"b\"]]", "must be a text"},
        {JSON, "{}", "no \"text\""},
        {JSON, "{\"instances\": [\"a\"]}", "no \"text\""},
        {JSON, "{\"text\": \"a\", \"inputs\": \"b\"}", "twice"},
        {JSON, "{\"text\": [\"a\"], \"text_pair\": \"b\"}", "text_pair"},
        {JSON, "{\"inputs\": [{\"text_pair\": \"b\"}]}", "has no \"text\""},
        {JSON, "{\"text\": \"a\", \"parameters\": {\"top_k\": 0}}", "top_k"},
        {JSON, "{\"text\": \"a\", \"parameters\": {\"top_k\": -1}}", "whole number"},
        {JSON, "{\"text\": \"a\", \"parameters\": {\"top_k\": 1.5}}", "whole number"},
        {JSON, "{\"text\": \"a\", \"parameters\": {\"top_k\": 4294967296}}", "whole number"},
        {JSON, "{\"text\": \"a\", \"parameters\": []}", "parameters"},
        {JSON, "{\"text\": \"a\", \"parameters\": {\"function_to_apply\": 1}}",
         "byte 50: function_to_apply must"},
        {JSON, "{\"text\": \"a\", \"text_pair\": [\"b\"]}", "byte 27: a string or null"},
        {JSON, "[{\"text\": null}]", "byte 10: a string"},
        {JSON, "[\"a\"] x", "behind the end"},
        {JSON, "[\"a\", ", "an end before"},
        {JSON, "{\"text\": [\"a\"", "an end before"},
        {JSON, "{\"text\": \"a\", \"parameters\": {\"function_to_apply\": \"relu\"}}", "function_to_apply"},
        {JSON, "\"\xff\"", "UTF-8"},
        {"text/plain", "\xc3", "UTF-8"},
        {FORM, "text=%ff", "UTF-8"},
        {"multipart/form-data", "--x", "multipart"},
    };
    struct sc_input in;
    struct sc_msg msg;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int rc = parse(&in, cases[i].type, cases[i].body, strlen(cases[i].body), 100, &msg);
        if (rc == 0 || !strstr(msg.text, cases[i].says))
            fail_msg("%s: %s", cases[i].body, rc == 0 ? "accepted" : msg.text);
    }
}

static void too_many_texts_name_the_limit_and_the_setting(void **state)
{
    (void)state;
    enum { N = 100000 };
    char *body = malloc(N * 4 + 2);
    for (size_t i = 0; i < N; i++)
        memcpy(body + 1 + i * 4, "\"a\",", 4);
    body[0] = '[';
    body[N * 4] = ']';
    struct sc_input in;
    struct sc_msg msg;
    assert_int_equal(parse(&in, JSON, body, N * 4 + 1, 1024, &msg), SC_ELIMIT);
    assert_non_null(strstr(msg.text, "1024"));
    assert_non_null(strstr(msg.text, "maxTexts"));
    assert_int_equal(parse(&in, JSON, body, N * 4 + 1, N, &msg), 0);
    assert_int_equal(in.n, N);
    sc_input_free(&in);
    free(body);
    free(held);
    held = NULL;
}

/* ---- answers ------------------------------------------------------------------------------- */

static void answers_as(bool list, bool has_k, uint32_t k, enum sc_scoring scoring, float *logits, uint32_t n,
                       const char *want)
{
    char *names[] = {(char[]){"de"}, (char[]){"a \"b\"\n"}};
    struct sc_classifier c;
    struct sc_buf out;
    assert_int_equal(sc_classifier_init(&c, names, 2, scoring), 0);
    struct sc_options o = {.has_top_k = has_k, .top_k = k};
    sc_buf_init(&out, 1000);
    assert_int_equal(sc_classify(&c, &o, list, logits, n, &out), 0);
    sc_buf_char(&out, '\0');
    assert_string_equal(out.p, want);
    sc_buf_free(&out);
    sc_classifier_free(&c);
}

static void answers_are_those_of_the_pipeline(void **state)
{
    (void)state;
    answers_as(false, false, 0, SC_SCORE_SOFTMAX, (float[]){0, 0}, 1,
               "[{\"label\": \"de\", \"score\": 0.5}]");
    answers_as(true, false, 0, SC_SCORE_NONE, (float[]){1, 2, -3, -4.5f}, 2,
               "[{\"label\": \"a \\\"b\\\"\\n\", \"score\": 2.0}, {\"label\": \"de\", \"score\": -3.0}]");
    answers_as(false, true, UINT32_MAX, SC_SCORE_SIGMOID, (float[]){0, 100}, 1,
               "[{\"label\": \"a \\\"b\\\"\\n\", \"score\": 1.0}, {\"label\": \"de\", \"score\": 0.5}]");
    answers_as(true, true, 1, SC_SCORE_NONE, (float[]){1e-30f, 0, 5, 5}, 2,
               "[[{\"label\": \"de\", \"score\": 1e-30}], [{\"label\": \"de\", \"score\": 5.0}]]");
    answers_as(true, false, 0, SC_SCORE_NONE, NULL, 0, "[]");
    answers_as(false, false, 0, SC_SCORE_NONE, (float[]){__builtin_nanf(""), 0}, 1,
               "[{\"label\": \"de\", \"score\": null}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_in_many_shapes),
        cmocka_unit_test(parameters_are_understood),
        cmocka_unit_test(bad_bodies_are_told_what_to_send),
        cmocka_unit_test(too_many_texts_name_the_limit_and_the_setting),
        cmocka_unit_test(answers_are_those_of_the_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
