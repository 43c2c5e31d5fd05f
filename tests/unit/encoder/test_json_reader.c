#include "test.h"

#include <stdlib.h>

#include "base/limits.h"
#include "json/json.h"

/* Reads text as any value and says how that ended. A copy of its exact size lets the sanitizer see a byte too
 * far. */
static int skim(const char *text, size_t n)
{
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    struct sc_json_reader r;
    sc_json_reader_init(&r, sc_span(copy, n));
    int rc = sc_json_skip(&r);
    if (rc == 0)
        rc = sc_json_end(&r);
    assert_true(rc == 0 || r.error);
    sc_json_reader_free(&r);
    free(copy);
    return rc;
}

static void valid_documents_are_read(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",
        "[]",
        " [1, -0.5e+3, 0, 1E9] ",
        "null",
        "true",
        "\"\"",
        "{\"a\": {\"b\": [[], {}, \"x\"]}, \"c\": false}",
        "\"\\u00e9\\n\\ud83d\\ude00\"",
        "[\"a long text without anything special in it at all\", \"\xc3\xa9\"]"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(skim(good[i], strlen(good[i])), 0);
}

static void every_prefix_and_every_slip_is_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "[,1]",
                                      "[1 2]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{a:1}",
                                      "{\"a\":1,}",
                                      "01",
                                      "1.",
                                      "-",
                                      "+1",
                                      ".5",
                                      "1e",
                                      "nul",
                                      "True",
                                      "\"\n\"",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\ud800\"",
                                      "\"\\udc00\\ud800\"",
                                      "\"\\ud800\\u0041\"",
                                      "[1]]",
                                      "{} x",
                                      "'a'"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(skim(bad[i], strlen(bad[i])) < 0);
    static const char whole[] =
        "{\"inputs\": [\"one two three four\", \"\\u00e9t\\u00e9\"], \"n\": [1.5e3, null]}";
    for (size_t n = 0; n < sizeof whole - 1; n++)
        assert_true(skim(whole, n) < 0);
    assert_int_equal(skim(whole, sizeof whole - 1), 0);
    assert_true(skim("[1]\0", 4) < 0);
}

static void strings_are_decoded_and_plain_ones_not_copied(void **state)
{
    (void)state;
    static const char text[] =
        "[\"plain\", \"\\\"\\\\\\/\\b\\f\\n\\r\\t \\u0041\\u00E9\\u20ac\\ud83d\\uDE00 end\", \"\\u0000\"]";
    struct sc_json_reader r;
    struct sc_span s;
    sc_json_reader_init(&r, sc_span_str(text));
    assert_int_equal(sc_json_enter(&r, '['), 0);
    assert_int_equal(sc_json_next_item(&r), 1);
    assert_int_equal(sc_json_string(&r, &s), 0);
    assert_true(s.p == text + 2 && s.n == 5);
    assert_int_equal(sc_json_next_item(&r), 1);
    assert_int_equal(sc_json_string(&r, &s), 0);
    assert_true(sc_span_eq(s, SC_SPAN("\"\\/\b\f\n\r\t A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 end")));
    assert_int_equal(sc_json_next_item(&r), 1);
    assert_int_equal(sc_json_string(&r, &s), 0);
    assert_true(s.n == 1 && s.p[0] == '\0');
    assert_int_equal(sc_json_next_item(&r), 0);
    assert_int_equal(sc_json_end(&r), 0);
    sc_json_reader_free(&r);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char deep[4096];
    for (size_t depth = 1; depth < 2000; depth += depth < 100 ? 1 : 100) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        assert_int_equal(skim(deep, 2 * depth), depth <= SC_JSON_DEPTH_MAX ? 0 : SC_ELIMIT);
    }
}

static void numbers_have_a_ceiling(void **state)
{
    (void)state;
    struct sc_json_reader r;
    uint64_t v;
    sc_json_reader_init(&r, SC_SPAN("18446744073709551615"));
    assert_int_equal(sc_json_u64(&r, UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    static const char *const bad[] = {"18446744073709551616", "1.0", "-1", "1e3", "007", "x", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sc_json_reader_init(&r, sc_span_str(bad[i]));
        assert_int_equal(sc_json_u64(&r, UINT64_MAX, &v), SC_EINVAL);
    }
    sc_json_reader_init(&r, SC_SPAN("8"));
    assert_int_equal(sc_json_u64(&r, 7, &v), SC_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents_are_read),
        cmocka_unit_test(every_prefix_and_every_slip_is_an_error),
        cmocka_unit_test(strings_are_decoded_and_plain_ones_not_copied),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(numbers_have_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
