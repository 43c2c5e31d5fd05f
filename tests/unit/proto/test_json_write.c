#include "test.h"

#include <math.h>

#include "base/limits.h"
#include "proto/json_write.h"
#include "proto/number.h"

static struct sc_buf out;
static struct sc_json_writer w;

static int setup(void **state)
{
    (void)state;
    sc_buf_init(&out, 1 << 20);
    sc_json_write_init(&w, &out, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_buf_free(&out);
    return 0;
}

static void expect(const char *text)
{
    sc_buf_char(&out, '\0');
    assert_string_equal(out.p, text);
}

static void a_status_body_is_26_bytes(void **state)
{
    (void)state;
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "status", "Healthy");
    sc_json_end_object(&w);
    assert_int_equal(sc_json_write_finish(&w), 0);
    assert_int_equal(out.n, 26);
    expect("{\n  \"status\": \"Healthy\"\n}\n");
}

static void nested_values_are_indented_by_two(void **state)
{
    (void)state;
    sc_json_begin_object(&w);
    sc_json_put_int(&w, "code", 404);
    sc_json_key(&w, "models");
    sc_json_begin_array(&w);
    sc_json_begin_object(&w);
    sc_json_put_bool(&w, "a", true);
    sc_json_key(&w, "b");
    sc_json_null(&w);
    sc_json_end_object(&w);
    sc_json_uint(&w, UINT64_MAX);
    sc_json_int(&w, INT64_MIN);
    sc_json_begin_array(&w);
    sc_json_end_array(&w);
    sc_json_begin_object(&w);
    sc_json_end_object(&w);
    sc_json_raw(&w, SC_SPAN("{\"x\":1}"));
    sc_json_end_array(&w);
    sc_json_end_object(&w);
    assert_int_equal(sc_json_write_finish(&w), 0);
    expect("{\n  \"code\": 404,\n  \"models\": [\n    {\n      \"a\": true,\n      \"b\": null\n    },\n"
           "    18446744073709551615,\n    -9223372036854775808,\n    [],\n    {},\n    {\"x\":1}\n  ]\n}\n");
}

static void empty_containers_stay_on_the_line(void **state)
{
    (void)state;
    sc_json_begin_array(&w);
    sc_json_end_array(&w);
    assert_int_equal(sc_json_write_finish(&w), 0);
    expect("[]\n");
}

static void compact_has_no_blanks(void **state)
{
    (void)state;
    sc_json_write_init(&w, &out, true);
    sc_json_begin_array(&w);
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "label", "de");
    sc_json_key(&w, "score");
    sc_json_float(&w, 0.998f);
    sc_json_end_object(&w);
    sc_json_bool(&w, false);
    sc_json_end_array(&w);
    assert_int_equal(sc_json_write_finish(&w), 0);
    expect("[{\"label\":\"de\",\"score\":0.998},false]");
}

static void escapes_are_gsons(void **state)
{
    (void)state;
    sc_json_string(&w, SC_SPAN("<>&='/ \"\\ \b\t\n\f\r \x01\x1f\x7f \xc3\xa4\xe6\x97\xa5\xf0\x9f\x94\xa5"
                               "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa \0"));
    assert_int_equal(sc_json_write_finish(&w), 0);
    expect("\"<>&='/ \\\"\\\\ \\b\\t\\n\\f\\r \\u0001\\u001f\x7f \xc3\xa4\xe6\x97\xa5\xf0\x9f\x94\xa5"
           "\\u2028\\u2029\xe2\x80\xaa \\u0000\"\n");
}

static void what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    sc_json_string(&w, SC_SPAN("a\xff\xe2\x80"));
    assert_int_equal(sc_json_write_finish(&w), 0);
    expect("\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\n");
}

static void calls_that_do_not_match_are_an_error(void **state)
{
    (void)state;
    sc_json_begin_object(&w);
    sc_json_int(&w, 1); /* no key */
    assert_int_equal(sc_json_write_finish(&w), SC_EINVAL);

    sc_json_write_init(&w, &out, false);
    sc_json_begin_object(&w);
    sc_json_end_array(&w);
    assert_int_equal(sc_json_write_finish(&w), SC_EINVAL);

    sc_json_write_init(&w, &out, false);
    sc_json_begin_object(&w);
    sc_json_key(&w, "a");
    sc_json_end_object(&w);
    assert_int_equal(sc_json_write_finish(&w), SC_EINVAL);

    sc_json_write_init(&w, &out, false);
    assert_int_equal(sc_json_write_finish(&w), SC_EINVAL);

    sc_json_write_init(&w, &out, false);
    sc_json_int(&w, 1);
    sc_json_int(&w, 2);
    assert_int_equal(sc_json_write_finish(&w), SC_EINVAL);

    sc_json_write_init(&w, &out, false);
    sc_json_end_array(&w);
    assert_int_equal(sc_json_write_finish(&w), SC_EINVAL);
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SC_JSON_DEPTH_MAX; i++)
        sc_json_begin_array(&w);
    for (unsigned i = 0; i < SC_JSON_DEPTH_MAX; i++)
        sc_json_end_array(&w);
    assert_int_equal(sc_json_write_finish(&w), 0);

    sc_json_write_init(&w, &out, false);
    for (unsigned i = 0; i <= SC_JSON_DEPTH_MAX; i++)
        sc_json_begin_array(&w);
    assert_int_equal(sc_json_write_finish(&w), SC_ELIMIT);

    struct sc_buf small;
    sc_buf_init(&small, 10);
    sc_json_write_init(&w, &small, false);
    sc_json_string(&w, SC_SPAN("longer than ten"));
    assert_int_equal(sc_json_write_finish(&w), SC_ELIMIT);
    sc_buf_free(&small);
}

static const char *java(double v)
{
    static char text[SC_NUMBER_MAX + 1];
    text[sc_number_java(text, v)] = '\0';
    return text;
}

static void metric_values_are_javas_doubles(void **state)
{
    (void)state;
    assert_string_equal(java(3), "3.0");
    assert_string_equal(java(0), "0.0");
    assert_string_equal(java(-0.0), "-0.0");
    assert_string_equal(java(1e7), "1.0E7");
    assert_string_equal(java(9999999), "9999999.0");
    assert_string_equal(java(12345678.5), "1.23456785E7");
    assert_string_equal(java(0.001), "0.001");
    assert_string_equal(java(9.9e-4), "9.9E-4");
    assert_string_equal(java(290371.129), "290371.129");
    assert_string_equal(java(290371.12), "290371.12");
    assert_string_equal(java(12345678901 / 1000.0), "1.2345678901E7");
    assert_string_equal(java(0.1 + .2), "0.30000000000000004");
    assert_string_equal(java(-0.1), "-0.1");
    assert_string_equal(java(1.7976931348623157e308), "1.7976931348623157E308");
    assert_string_equal(java(5e-324), "5.0E-324");
    assert_string_equal(java(NAN), "NaN");
    assert_string_equal(java(-INFINITY), "-Infinity");
}

static const char *json(double v, bool single)
{
    static char text[SC_NUMBER_MAX + 1];
    text[sc_number_json(text, v, single)] = '\0';
    return text;
}

static void json_numbers_are_pythons(void **state)
{
    (void)state;
    assert_string_equal(json(0.1, false), "0.1");
    assert_string_equal(json((double)0.1f, true), "0.1");
    assert_string_equal(json((double)0.99837476f, true), "0.99837476");
    assert_string_equal(json(1e16, false), "1e+16");
    assert_string_equal(json(1e15, false), "1000000000000000.0");
    assert_string_equal(json(1e-4, false), "0.0001");
    assert_string_equal(json(1.5e-5, false), "1.5e-05");
    assert_string_equal(json(-1e300, false), "-1e+300");
    assert_string_equal(json(1.0 / 3, false), "0.3333333333333333");
    sc_json_double(&w, INFINITY);
    assert_int_equal(sc_json_write_finish(&w), 0);
    expect("null\n");
}

static void numbers_read_back_alike(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252u;
    for (unsigned i = 0; i < 20000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        char text[SC_NUMBER_MAX];
        assert_true(sc_number_read(sc_span(text, sc_number_json(text, v, false)), &back));
        assert_memory_equal(&v, &back, sizeof v);
        assert_true(sc_number_java(text, v) <= sizeof text);
        v = (double)(int64_t)(bits % 100000000) / 1000;
        assert_true(sc_number_read(sc_span(text, sc_number_java(text, v)), &back) && v == back);
        assert_true(sc_number_read(sc_span(text, sc_number_json(text, v, false)), &back));
        assert_true(v == back);
    }
}

int main(void)
{
#define WITH_BUF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BUF(a_status_body_is_26_bytes),
        WITH_BUF(nested_values_are_indented_by_two),
        WITH_BUF(empty_containers_stay_on_the_line),
        WITH_BUF(compact_has_no_blanks),
        WITH_BUF(escapes_are_gsons),
        WITH_BUF(what_is_no_utf8_is_replaced),
        WITH_BUF(calls_that_do_not_match_are_an_error),
        WITH_BUF(depth_and_size_are_bounded),
        WITH_BUF(metric_values_are_javas_doubles),
        WITH_BUF(json_numbers_are_pythons),
        cmocka_unit_test(numbers_read_back_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
