/* What a handler says of its model, as a description shows it. The expectations are what TorchServe 0.12 made
 * of these. */
#include "test.h"

#include <stdio.h>

#include "api/customized.h"

/* The field as it stands in an object of an array; compact. */
static void shows(struct sc_span result, const char *want)
{
    struct sc_buf out;
    struct sc_json_writer w;
    sc_buf_init(&out, 1 << 20);
    sc_json_write_init(&w, &out, true);
    sc_json_begin_array(&w);
    sc_json_begin_object(&w);
    sc_json_put_int(&w, "n", 1);
    sc_customized_put(&w, result);
    sc_json_end_object(&w);
    sc_json_end_array(&w);
    assert_int_equal(sc_json_write_finish(&w), 0);
    sc_buf_char(&out, '\0');
    assert_string_equal(out.p, want);
    sc_buf_free(&out);
}

#define EMPTY "[{\"n\":1,\"customizedMetadata\":{}}]"
#define HOLDS(text) "[{\"n\":1,\"customizedMetadata\":" text "}]"

static void no_bytes_are_no_field(void **state)
{
    (void)state;
    shows(SC_SPAN(""), "[{\"n\":1}]");
}

static void objects_stand_as_they_are(void **state)
{
    (void)state;
    shows(SC_SPAN("{}"), EMPTY);
    shows(SC_SPAN(" {\"a\": [1, 2.50, 1e5, -0, 123456789012345678901234567890], \"b\": {\"c\": true}} \n"),
          HOLDS("{\"a\":[1,2.50,1e5,-0,123456789012345678901234567890],\"b\":{\"c\":true}}"));
    shows(SC_SPAN("{\"\\u0061\\n\": \"\\u00e9\\\"<&\"}"), HOLDS("{\"a\\n\":\"\xc3\xa9\\\"<&\"}"));
}

static void null_stays_in_lists_alone(void **state)
{
    (void)state;
    shows(SC_SPAN("{\"a\": null, \"b\": [null, {\"c\": null}], \"d\": null}"), HOLDS("{\"b\":[null,{}]}"));
}

static void pythons_words_for_what_is_no_number_are_texts(void **state)
{
    (void)state;
    shows(SC_SPAN("{\"NaN\": [NaN, -Infinity, Infinity, 1], \"a\": \"NaN \\\" NaN\"}"),
          HOLDS("{\"NaN\":[\"NaN\",\"-Infinity\",\"Infinity\",1],\"a\":\"NaN \\\" NaN\"}"));
    shows(SC_SPAN("{\"a\": NaNs}"), EMPTY);
    shows(SC_SPAN("{NaN: 1, \"b\": Infinity, \"c\": \\"), EMPTY);
    shows(SC_SPAN("{\"a\": -Inf"), EMPTY);
}

static void what_is_no_object_is_an_empty_one(void **state)
{
    (void)state;
    shows(SC_SPAN("null"), EMPTY);
    shows(SC_SPAN("[{\"a\": 1}]"), EMPTY);
    shows(SC_SPAN("\"text\""), EMPTY);
    shows(SC_SPAN("no json {"), EMPTY);
    shows(SC_SPAN("{\"a\": 1"), EMPTY);
    shows(SC_SPAN("{\"a\": 1} {}"), EMPTY);
    shows(SC_SPAN("{\"a\": \"\xff\"}"), EMPTY);
    shows(SC_SPAN("\0"), EMPTY);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[512], want[600];
    for (unsigned deep = 60; deep < 70; deep++) {
        size_t n = 0;
        for (unsigned i = 1; i < deep; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "{\"a\":");
        n += (size_t)snprintf(text + n, sizeof text - n, "{}");
        for (unsigned i = 1; i < deep; i++)
            text[n++] = '}';
        snprintf(want, sizeof want, HOLDS("%.*s"), (int)n, text);
        shows(sc_span(text, n), deep + 2 <= SC_JSON_DEPTH_MAX ? want : EMPTY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_bytes_are_no_field),
        cmocka_unit_test(objects_stand_as_they_are),
        cmocka_unit_test(null_stays_in_lists_alone),
        cmocka_unit_test(what_is_no_object_is_an_empty_one),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(pythons_words_for_what_is_no_number_are_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
