#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "proto/json_read.h"
#include "proto/number.h"

static const char letters[] = {".{}[]ks1tf0"};

/* The events of a text as letters, "!" at an error. From the heap, so that the sanitizer sees every byte read
 * beyond the end. */
static const char *events(const char *text, size_t n, struct sc_msg *msg)
{
    static char seen[256];
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    struct sc_json_reader r;
    sc_json_read_init(&r, sc_span(copy, n));
    size_t k = 0;
    int ev;
    while ((ev = sc_json_next(&r)) > 0 && k < sizeof seen - 2)
        seen[k++] = letters[ev];
    seen[k++] = ev < 0 ? '!' : '.';
    seen[k] = '\0';
    assert_int_equal(sc_json_next(&r), ev);
    if (ev < 0)
        assert_int_equal(sc_json_read_error(&r, msg), ev);
    free(copy);
    return seen;
}

static void documents_become_events(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"a\": [1, \"x\", true, false, null, {}, []], \"b\":{\"c\":-0.5e+3}}", "{k[1stf0{}[]]k{k1}}."},
        {" \t\r\n[ ] \n", "[]."},
        {"\"just a string\"", "s."},
        {"0", "1."},
        {"-0", "1."},
        {"-12.50E-7", "1."},
        {"null", "0."},
        {"[[[]]]", "[[[]]]."},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        assert_string_equal(events(cases[i][0], strlen(cases[i][0]), NULL), cases[i][1]);
}

static void malformed_documents_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        " ",
        "{",
        "[",
        "]",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1]",
        "[1}",
        "1 2",
        "[] []",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "tru",
        "truex",
        "nul",
        "True",
        "'a'",
        "\"a",
        "\"a\\",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\x01\"",
        "\"\x80\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf{}",
        "/**/1",
        "[1]//",
        "[1]]",
        "{} x",
        "\"\xff\"",
        "{\"a\":1 \"b\":2}",
        "[\"a\" \"b\"]",
        "\"123456\x01 9\"",
        "\"\\ud83\"",
        "\v1",
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        const char *seen = events(cases[i], strlen(cases[i]), NULL);
        if (seen[strlen(seen) - 1] != '!')
            fail_msg("accepted: %s", cases[i]);
    }
    assert_int_equal(events("\"a\0b\"", 5, NULL)[0], '!');
    assert_string_equal(events("1\0", 2, NULL), "1!");
}

/* Every beginning of a document but the whole is an error, and none reads beyond its end. */
static void truncated_documents_are_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"k\\u00e4\\ud83d\\udd25\": [1.5e-3, \"x\xc3\xa4yyyyyyyyyyyyyy\", true, null], \"z\": {}}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        const char *seen = events(text, n, NULL);
        assert_int_equal(seen[strlen(seen) - 1], '!');
    }
    assert_string_equal(events(text, sizeof text - 1, NULL), "{k[1st0]k{}}.");
}

static void errors_name_line_column_and_byte(void **state)
{
    (void)state;
    struct sc_msg m;
    static const char text[] = "{\n  \"a\": 1,\n  \"b\": x\n}";
    events(text, strlen(text), &m);
    assert_string_equal(m.text, "Invalid JSON: something that is no value at line 3 column 8 (byte 19)");
    events("[1 2]", 5, &m);
    assert_string_equal(m.text, "Invalid JSON: no ',' or ']' behind a value at line 1 column 4 (byte 3)");
    events("", 0, &m);
    assert_string_equal(m.text, "Invalid JSON: no value at all at line 1 column 1 (byte 0)");
    events(" ", 1, &m);
    assert_string_equal(m.text, "Invalid JSON: no value at all at line 1 column 2 (byte 1)");
}

/* What is JSON and yet not what the caller can use is told in the same way, at the event that was read last.
 */
static void callers_can_refuse_an_event(void **state)
{
    (void)state;
    static const size_t begins[] = {0, 1, 8, 9, 13, 19, 20, 21, 25, 31, 35};
    struct sc_json_reader r;
    for (size_t k = 0; k < SC_COUNT(begins); k++) {
        sc_json_read_init(&r, SC_SPAN("{\"key\": [-1, \"s\" , {}] , \"z\" : null}"));
        for (size_t i = 0; i <= k; i++)
            assert_true(sc_json_next(&r) > 0);
        assert_int_equal(sc_json_refuse(&r, SC_ELIMIT, "not this"), SC_ELIMIT);
        assert_int_equal(r.problem_at, begins[k]);
        assert_int_equal(sc_json_next(&r), SC_ELIMIT);
    }
    struct sc_msg m;
    assert_int_equal(sc_json_read_error(&r, &m), SC_ELIMIT);
    assert_string_equal(m.text, "Invalid JSON: not this at line 1 column 36 (byte 35)");
    /* the first error stays */
    sc_json_read_init(&r, SC_SPAN("[1 2]"));
    while (sc_json_next(&r) > 0)
        ;
    assert_int_equal(sc_json_refuse(&r, SC_ELIMIT, "not this"), SC_EINVAL);
    assert_int_equal(r.problem_at, 3);
}

/* Strings are read eight bytes at a time: every byte at every place among eight, the one before it included.
 */
static void bytes_of_strings_are_judged_one_by_one(void **state)
{
    (void)state;
    static const char around[] = "abcdefghijklmnopqrst";
    for (size_t at = 0; at < sizeof around - 1; at++)
        for (unsigned c = 0; c < 256; c++) {
            char text[sizeof around + 2];
            struct sc_msg m;
            text[0] = '"';
            memcpy(text + 1, around, sizeof around - 1);
            text[sizeof around] = '"';
            text[1 + at] = (char)c;
            /* behind a backslash stands a letter, behind a quote the end should come */
            bool escapes = c == '\\' && strchr("bfnrt", at + 1 < sizeof around - 1 ? around[at + 1] : 'x');
            bool good = escapes || (c >= 0x20 && c < 0x80 && c != '"' && c != '\\');
            assert_string_equal(events(text, sizeof text - 1, &m), good ? "s." : c == '"' ? "s!" : "!");
        }
}

static void hexadecimal_digits_are_judged_one_by_one(void **state)
{
    (void)state;
    static const char digits[] = "0123456789abcdefABCDEF";
    for (unsigned at = 0; at < 4; at++)
        for (unsigned c = 1; c < 256; c++) {
            char text[] = "\"\\u1234\"";
            text[3 + at] = (char)c;
            struct sc_json_reader r;
            sc_json_read_init(&r, sc_span(text, sizeof text - 1));
            if (!strchr(digits, (int)c)) {
                assert_int_equal(sc_json_next(&r), SC_EINVAL);
                continue;
            }
            uint32_t cp = (uint32_t)strtoul((char[5]){text[3], text[4], text[5], text[6]}, NULL, 16);
            char want[4];
            unsigned n = sc_utf8_put(want, cp);
            assert_int_equal(sc_json_next(&r), SC_JSON_STRING);
            assert_true(sc_json_is(&r, sc_span(want, n)));
        }
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[2 * SC_JSON_DEPTH_MAX + 2];
    memset(text, '[', SC_JSON_DEPTH_MAX);
    memset(text + SC_JSON_DEPTH_MAX, ']', SC_JSON_DEPTH_MAX);
    struct sc_json_reader r;
    sc_json_read_init(&r, sc_span(text, 2 * SC_JSON_DEPTH_MAX));
    int ev;
    while ((ev = sc_json_next(&r)) > 0)
        ;
    assert_int_equal(ev, SC_JSON_END);
    memset(text, '[', sizeof text);
    sc_json_read_init(&r, sc_span(text, sizeof text));
    while ((ev = sc_json_next(&r)) > 0)
        ;
    assert_int_equal(ev, SC_ELIMIT);
    assert_int_equal(r.problem_at, SC_JSON_DEPTH_MAX);
}

static void strings_lie_where_they_lie_or_are_unescaped(void **state)
{
    (void)state;
    static const char text[] =
        "[\"plain \xc3\xa4\", \"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u00e4\\u65e5\\uD83D\\uDD25\","
        " \"\\ud83d\", \"\\ud83dx\\udd25\", \"\\udc00\\ud800\", \"\\ud800\\u0041\", \"a\\u0000b\", \"\"]";
    static const struct sc_span want[] = {SC_SPAN("plain \xc3\xa4"),
                                          SC_SPAN("\"\\/\b\f\n\r\t"),
                                          SC_SPAN("\xc3\xa4\xe6\x97\xa5\xf0\x9f\x94\xa5"),
                                          SC_SPAN("\xef\xbf\xbd"),
                                          SC_SPAN("\xef\xbf\xbdx\xef\xbf\xbd"),
                                          SC_SPAN("\xef\xbf\xbd\xef\xbf\xbd"),
                                          SC_SPAN("\xef\xbf\xbd\x41"),
                                          SC_SPAN("a\0b"),
                                          SC_SPAN("")};
    struct sc_span got[SC_COUNT(want)];
    struct sc_buf buf;
    sc_buf_init(&buf, 1000);
    assert_int_equal(sc_buf_reserve(&buf, sizeof text), 0);
    struct sc_json_reader r;
    sc_json_read_init(&r, sc_span(text, sizeof text - 1));
    assert_int_equal(sc_json_next(&r), SC_JSON_ARRAY);
    for (size_t i = 0; i < SC_COUNT(want); i++) {
        assert_int_equal(sc_json_next(&r), SC_JSON_STRING);
        assert_int_equal(sc_json_text(&r, &buf, &got[i]), 0);
        assert_true(sc_json_is(&r, want[i]));
        assert_false(sc_json_is(&r, SC_SPAN("plain")));
    }
    /* with room for all none has moved */
    for (size_t i = 0; i < SC_COUNT(want); i++)
        assert_true(sc_span_eq(got[i], want[i]));
    assert_ptr_equal(got[0].p, text + 2);
    sc_buf_free(&buf);

    sc_buf_init(&buf, 3);
    sc_json_read_init(&r, SC_SPAN("\"\\n\\n\\n\\n\""));
    assert_int_equal(sc_json_next(&r), SC_JSON_STRING);
    assert_int_equal(sc_json_text(&r, &buf, &got[0]), SC_ELIMIT);
    sc_buf_free(&buf);
}

static void unknown_members_can_be_skipped(void **state)
{
    (void)state;
    struct sc_json_reader r;
    sc_json_read_init(
        &r, SC_SPAN("{\"a\": {\"x\": [1, {\"text\": 2}]}, \"b\": \"s\", \"text\": \"found\", \"c\": [}"));
    assert_int_equal(sc_json_next(&r), SC_JSON_OBJECT);
    unsigned found = 0;
    int ev;
    while ((ev = sc_json_next(&r)) == SC_JSON_KEY) {
        if (sc_json_is(&r, SC_SPAN("text"))) {
            assert_int_equal(sc_json_next(&r), SC_JSON_STRING);
            assert_true(sc_json_is(&r, SC_SPAN("found")));
            found++;
        } else if (sc_json_skip(&r) < 0) {
            break;
        }
    }
    assert_int_equal(found, 1);
    assert_int_equal(r.failed, SC_EINVAL);
    assert_int_equal(sc_json_skip(&r), SC_EINVAL);

    sc_json_read_init(&r, SC_SPAN("[[1,[2]],3]"));
    assert_int_equal(sc_json_next(&r), SC_JSON_ARRAY);
    assert_int_equal(sc_json_next(&r), SC_JSON_ARRAY);
    assert_int_equal(sc_json_skip(&r), 0);
    assert_int_equal(sc_json_next(&r), SC_JSON_NUMBER);
    assert_int_equal(sc_json_skip(&r), 0);
    assert_int_equal(sc_json_next(&r), SC_JSON_ARRAY_END);
    assert_int_equal(sc_json_next(&r), SC_JSON_END);
}

static void integers_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t v;
    } cases[] = {
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-0", true, 0},
        {"3.0", true, 3},
        {"1e3", true, 1000},
        {"1.5", false, 0},
        {"1e300", false, 0},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct sc_json_reader r;
        int64_t v = 0;
        sc_json_read_init(&r, sc_span_str(cases[i].text));
        assert_int_equal(sc_json_next(&r), SC_JSON_NUMBER);
        assert_int_equal(sc_json_int64(&r, &v), cases[i].ok);
        assert_true(v == cases[i].v);
    }
}

/* Against strtod of the C library, at the places where rounding is hard, too. */
static void doubles_are_correctly_rounded(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "0.1",
        "123456789012345678",
        "9007199254740993",
        "1e22",
        "1e23",
        "1.7976931348623157e308",
        "5e-324",
        "2.4e-324",
        "2.2250738585072011e-308",
        "0.5e-400",
        "1e400",
        "-1e999999999999999999",
        "1e-999999999999999999",
        "0e999999999",
        "179769313486231580793728971405301e276",
        "0.000000000000000000000000000000000000000000000000001e51",
        "100000000000000016777215",
        "100000000000000016777216",
        "8.5",
        "4503599627370496.5",
        "9007199254740992.99999999999999999999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        double v, want = strtod(cases[i], NULL);
        assert_true(sc_number_read(sc_span_str(cases[i]), &v));
        assert_memory_equal(&v, &want, sizeof v);
    }
    /* exactly between two doubles, and a digit far behind that decides */
    char text[1200] = "9007199254740993.";
    memset(text + 17, '0', 1000);
    text[1017] = '1';
    double v;
    assert_true(sc_number_read(sc_span(text, 1017), &v) && v == 9007199254740992.0);
    assert_true(sc_number_read(sc_span(text, 1018), &v) && v == 9007199254740994.0);
    assert_false(sc_number_read(SC_SPAN("1 "), &v));
    assert_false(sc_number_read(SC_SPAN(""), &v));
    assert_false(sc_number_read(SC_SPAN("-"), &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_events),
        cmocka_unit_test(malformed_documents_are_refused),
        cmocka_unit_test(truncated_documents_are_refused),
        cmocka_unit_test(errors_name_line_column_and_byte),
        cmocka_unit_test(callers_can_refuse_an_event),
        cmocka_unit_test(bytes_of_strings_are_judged_one_by_one),
        cmocka_unit_test(hexadecimal_digits_are_judged_one_by_one),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(strings_lie_where_they_lie_or_are_unescaped),
        cmocka_unit_test(unknown_members_can_be_skipped),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(doubles_are_correctly_rounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
