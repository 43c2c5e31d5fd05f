#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "proto/url.h"

/* "n:S1|S2|..." of a target, or the error's text. */
static const char *path(const char *target)
{
    static char text[512];
    struct sc_path p;
    struct sc_msg msg;
    if (sc_path_parse(&p, sc_span_str(target), &msg) < 0) {
        snprintf(text, sizeof text, "%s", msg.text);
    } else {
        int n = snprintf(text, sizeof text, "%u:", p.n);
        for (unsigned i = 0; i < p.n && i < SC_PATH_SEGMENTS; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%.*s", i ? "|" : "", SC_FMT(p.segments[i]));
    }
    sc_path_free(&p);
    return text;
}

static void a_path_is_decoded_and_then_split(void **state)
{
    (void)state;
    assert_string_equal(path("/predictions/echo"), "2:predictions|echo");
    assert_string_equal(path("/predictions/echo/?a=b/c"), "2:predictions|echo");
    assert_string_equal(path("/predictions/echo///"), "2:predictions|echo");
    assert_string_equal(path("/predictions%2Fecho"), "2:predictions|echo");
    assert_string_equal(path("/a+b/c%20d#frag/x"), "2:a+b|c d");
    assert_string_equal(path("//a"), "2:|a");
    assert_string_equal(path("/"), "0:");
    assert_string_equal(path(""), "0:");
    assert_string_equal(path("*"), "0:");
    assert_string_equal(path("http://host/ping"), "3:|host|ping");
    assert_string_equal(path("/%E6%97%A5"), "1:\xe6\x97\xa5");
    assert_string_equal(path("/%ff%E6x"), "1:\xef\xbf\xbd\xef\xbf\xbdx");
    assert_string_equal(path("/a?%zz"), "1:a");
}

static void malformed_escapes_say_where(void **state)
{
    (void)state;
    assert_string_equal(path("/predictions/echo%"),
                        "unterminated escape sequence at index 17 of: /predictions/echo%");
    assert_string_equal(path("/a%2?x=1"), "unterminated escape sequence at index 2 of: /a%2?x=1");
    assert_string_equal(path("/a%g1b"), "invalid hex byte 'g1' at index 3 of '/a%g1b'");
    struct sc_query q;
    struct sc_msg msg;
    assert_int_equal(sc_query_parse(&q, SC_SPAN("/models?limit=%zz"), &msg), SC_EINVAL);
    assert_string_equal(msg.text, "invalid hex byte 'zz' at index 15 of '/models?limit=%zz'");
    sc_query_free(&q);
    assert_int_equal(sc_query_parse(&q, SC_SPAN("/models?a=1&b%4&c"), &msg), SC_EINVAL);
    assert_string_equal(msg.text, "unterminated escape sequence at index 13 of: /models?a=1&b%4&c");
    sc_query_free(&q);
}

static void the_rest_of_a_path_is_one_text(void **state)
{
    (void)state;
    struct sc_path p;
    assert_int_equal(sc_path_parse(&p, SC_SPAN("/predictions/m/1.0/a%2fb/1/2/3/4/5/6/7/?q"), NULL), 0);
    assert_int_equal(p.n, 12);
    assert_true(sc_span_eq(sc_path_rest(&p, 3), SC_SPAN("a/b/1/2/3/4/5/6/7")));
    assert_true(sc_span_eq(sc_path_rest(&p, 0), SC_SPAN("predictions/m/1.0/a/b/1/2/3/4/5/6/7")));
    assert_int_equal(sc_path_rest(&p, 12).n, 0);
    sc_path_free(&p);
    char nul[] = "/models/a%00b";
    assert_int_equal(sc_path_parse(&p, sc_span_str(nul), NULL), 0);
    assert_true(sc_span_eq(p.segments[1], SC_SPAN("a\0b")));
    sc_path_free(&p);
}

static const char *pairs(const struct sc_query *q)
{
    static char text[512];
    int n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < q->n; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "[%.*s=%.*s]", SC_FMT(q->params[i].name),
                      SC_FMT(q->params[i].value));
    return text;
}

static const char *query(const char *target)
{
    struct sc_query q;
    assert_int_equal(sc_query_parse(&q, sc_span_str(target), NULL), 0);
    const char *text = pairs(&q);
    sc_query_free(&q);
    return text;
}

static void queries_are_split_as_by_the_original(void **state)
{
    (void)state;
    assert_string_equal(query("/x"), "");
    assert_string_equal(query("/x?"), "");
    assert_string_equal(query("/x?a=1&b=2;c=3"), "[a=1][b=2][c=3]");
    assert_string_equal(query("/x?a&b=&=c&&;d==e=f#g=h"), "[a=][b=][c=][d==e=f]");
    assert_string_equal(query("/x?a+b=c+d%2B%3D%26"), "[a b=c d+=&]");
    assert_string_equal(query("/x?name%5B%5D=A&name[]=B"), "[name[]=A][name[]=B]");
    assert_string_equal(query("/x?url=http://h/a?b=c"), "[url=http://h/a?b=c]");
    assert_string_equal(query("/x?\xff=%ff%ff%ff"), "[\xef\xbf\xbd=\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd]");
}

static void the_first_of_a_name_wins(void **state)
{
    (void)state;
    struct sc_query q;
    struct sc_span v;
    int32_t n = -1;
    assert_int_equal(sc_query_parse(&q, SC_SPAN("/x?a=1&a=2&b=x&c=-7&d=TRUE&e=yes&f=2147483648"), NULL), 0);
    assert_true(sc_query_get(&q, "a", &v));
    assert_true(sc_span_eq(v, SC_SPAN("1")));
    assert_false(sc_query_get(&q, "A", &v));
    assert_true(sc_query_int(&q, "a", &n) && n == 1);
    assert_false(sc_query_int(&q, "b", &n));
    assert_true(sc_query_int(&q, "c", &n) && n == -7);
    assert_false(sc_query_int(&q, "f", &n));
    assert_false(sc_query_int(&q, "none", &n));
    assert_true(sc_query_bool(&q, "d", false));
    assert_false(sc_query_bool(&q, "e", true));
    assert_true(sc_query_bool(&q, "none", true));
    sc_query_free(&q);
}

static void parameters_are_bounded(void **state)
{
    (void)state;
    size_t n = 2 + 2 * (SC_QUERY_PARAMS_MAX + 10);
    char *text = malloc(n);
    text[0] = '/';
    text[1] = '?';
    for (size_t i = 2; i < n; i += 2)
        memcpy(text + i, "a&", 2);
    struct sc_query q;
    struct sc_msg msg;
    assert_int_equal(sc_query_parse(&q, sc_span(text, n), NULL), 0);
    assert_int_equal(q.n, SC_QUERY_PARAMS_MAX);
    sc_query_free(&q);
    assert_int_equal(sc_form_parse(&q, sc_span(text + 2, n - 2), &msg), SC_ELIMIT);
    sc_query_free(&q);
    free(text);
}

static void forms_drop_what_is_no_pair_at_the_end(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},           {"a=1&b=2", "[a=1][b=2]"}, {"{\"a\":1}", ""},
        {"a=1&b", "[a=1]"}, {"a&b=1", "[a=][b=1]"},    {"a=x;y+z%21", "[a=x;y z!]"},
        {"a=1&", "[a=1]"},  {"a=1\r\nb=2", "[a=1]"},   {"data=\xe6\x97\xa5%00", "[data=\xe6\x97\xa5"},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct sc_query q;
        assert_int_equal(sc_form_parse(&q, sc_span_str(cases[i][0]), NULL), 0);
        if (i + 1 < SC_COUNT(cases))
            assert_string_equal(pairs(&q), cases[i][1]);
        else
            assert_int_equal(q.params[0].value.n, 4);
        sc_query_free(&q);
    }
    struct sc_query q;
    struct sc_msg msg;
    static const char *const bad[][2] = {
        {"a=1&b=%zz&c=2", "Invalid hex byte at index '0' in string: '%zz'"},
        {"b=%41x%4", "Invalid hex byte at index '4' in string: '%41x%4'"},
        {"%4=1", "Bad string: '%4'"},
        {"=1", "empty name"},
        {"a=1&&b=2", "empty name"},
    };
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(sc_form_parse(&q, sc_span_str(bad[i][0]), &msg), SC_EINVAL);
        assert_string_equal(msg.text, bad[i][1]);
        sc_query_free(&q);
    }
}

static void values_of_forms_are_bytes_and_names_are_text(void **state)
{
    (void)state;
    struct sc_query q;
    assert_int_equal(sc_form_parse(&q, SC_SPAN("a=%ff\xfe+&\xff=%00"), NULL), 0);
    assert_int_equal(q.n, 2);
    assert_true(sc_span_eq(q.params[0].value, SC_SPAN("\xff\xfe ")));
    assert_true(sc_span_eq(q.params[1].name, SC_SPAN("\xef\xbf\xbd")));
    assert_true(sc_span_eq(q.params[1].value, sc_span("", 1)));
    sc_query_free(&q);
}

static void media_types_are_cut_and_compared(void **state)
{
    (void)state;
    struct sc_span v;
    assert_true(sc_span_eq(sc_media_type(SC_SPAN(" Text/Plain ; charset=x")), SC_SPAN("Text/Plain")));
    assert_true(sc_media_is(SC_SPAN("APPLICATION/json;charset=utf-8"), "application/json"));
    assert_false(sc_media_is(SC_SPAN("application/jsonp"), "application/json"));
    assert_false(sc_media_is(SC_SPAN(""), "application/json"));
    assert_int_equal(sc_media_param(SC_SPAN("a/b; x=\"1;2\"; Boundary=\"q r\""), "boundary", &v), 1);
    assert_true(sc_span_eq(v, SC_SPAN("q r")));
    assert_int_equal(sc_media_param(SC_SPAN("a/b; boundary"), "boundary", &v), SC_EINVAL);
    assert_int_equal(sc_media_param(SC_SPAN("a/b; boundary="), "boundary", &v), SC_EINVAL);
    assert_int_equal(sc_media_param(SC_SPAN("a/b; xboundary=1"), "boundary", &v), 0);
    assert_int_equal(sc_media_param(SC_SPAN("a/b; q=\"unended; boundary=1"), "boundary", &v), 0);
    assert_int_equal(sc_media_param(SC_SPAN("a/b"), "boundary", &v), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_decoded_and_then_split),
        cmocka_unit_test(malformed_escapes_say_where),
        cmocka_unit_test(the_rest_of_a_path_is_one_text),
        cmocka_unit_test(queries_are_split_as_by_the_original),
        cmocka_unit_test(the_first_of_a_name_wins),
        cmocka_unit_test(parameters_are_bounded),
        cmocka_unit_test(forms_drop_what_is_no_pair_at_the_end),
        cmocka_unit_test(values_of_forms_are_bytes_and_names_are_text),
        cmocka_unit_test(media_types_are_cut_and_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
