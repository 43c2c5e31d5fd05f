#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "proto/multipart.h"

/* "[name,type,f=data]..." of a body, with "!" at an error; from the heap for the sanitizer. */
static const char *parts(const char *boundary, const char *body, size_t n)
{
    static char text[1024];
    char type[300];
    snprintf(type, sizeof type, "multipart/form-data; boundary=%s", boundary);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, body, n);
    struct sc_multipart m;
    struct sc_part part;
    struct sc_msg msg;
    assert_int_equal(sc_multipart_init(&m, sc_span_str(type), sc_span(copy, n), &msg), 1);
    int rc, k = 0;
    text[0] = '\0';
    while ((rc = sc_multipart_next(&m, &part, &msg)) == 1)
        k += snprintf(text + k, sizeof text - (size_t)k, "[%.*s,%.*s%s=%.*s]", SC_FMT(part.name),
                      SC_FMT(part.content_type), part.has_filename ? ",f" : "", SC_FMT(part.data));
    if (rc < 0)
        snprintf(text + k, sizeof text - (size_t)k, "!");
    else
        assert_int_equal(sc_multipart_next(&m, &part, &msg), 0);
    free(copy);
    return text;
}

static const char *parts_of(const char *body)
{
    return parts("XX", body, strlen(body));
}

static void parts_come_in_order(void **state)
{
    (void)state;
    assert_string_equal(
        parts_of("--XX\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a;b.jpg\"\r\n"
                 "Content-Type: image/jpeg\r\n\r\nbytes\r\n\r\n--XX\r\n"
                 "content-disposition: form-data; name=text\r\n\r\n\r\n--XX--\r\n"),
        "[data,image/jpeg,f=bytes\r\n][text,=]");
}

static void a_preamble_an_epilogue_and_bare_line_feeds_do_no_harm(void **state)
{
    (void)state;
    assert_string_equal(
        parts_of("hello\r\n--XX  \r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--XX--\r\nbye"),
        "[a,=1]");
    assert_string_equal(parts_of("--XX\nContent-Disposition: form-data; name=a\n\n1\n2\n--XX--"),
                        "[a,=1\n2]");
    assert_string_equal(parts_of("--XX--"), "");
}

static void what_looks_like_a_boundary_is_data(void **state)
{
    (void)state;
    assert_string_equal(
        parts_of("--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n--XXY\r\n --XX\r\nx--XX--\r\n"
                 "--X\r\n--XX--"),
        "[a,=--XXY\r\n --XX\r\nx--XX--\r\n--X]");
}

static void malformed_bodies_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "no boundary at all",
        "--XX",
        "--XX\r\n",
        "--XX\r\nContent-Disposition: form-data; name=a\r\n",
        "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n",
        "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\ndata",
        "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\ndata\r\n--XX",
        "--XX\r\nContent-Disposition: form-data\r\n\r\ndata\r\n--XX--",
        "--XX\r\nContent-Type: text/plain\r\n\r\ndata\r\n--XX--",
        "--XX\r\nno colon\r\n\r\ndata\r\n--XX--",
        "--XX\r\nContent-Disposition: form-data; name=a; filename=f\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nZGF0YQ==\r\n--XX--",
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        assert_string_equal(parts_of(cases[i]), "!");
}

static void every_truncation_is_noticed(void **state)
{
    (void)state;
    static const char body[] =
        "--XX\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n12345\r\n--XX--";
    for (size_t n = 1; n < sizeof body - 1; n++) {
        const char *seen = parts("XX", body, n);
        assert_int_equal(seen[strlen(seen) - 1], '!');
    }
    assert_string_equal(parts("XX", body, sizeof body - 1), "[a,,f=12345]");
    assert_string_equal(parts_of(""), ""); /* nothing was cut: there is no body */
}

static void the_header_decides(void **state)
{
    (void)state;
    struct sc_multipart m;
    struct sc_part part;
    struct sc_msg msg;
    assert_int_equal(sc_multipart_init(&m, SC_SPAN("multipart/form-data; boundary"), SC_SPAN(""), &msg),
                     SC_EINVAL);
    assert_string_equal(msg.text, "Needs a boundary value");
    assert_int_equal(sc_multipart_init(&m, SC_SPAN("multipart/form-data"), SC_SPAN(""), &msg), 0);
    assert_int_equal(sc_multipart_next(&m, &part, &msg), 0);
    assert_int_equal(sc_multipart_init(&m, SC_SPAN("application/json; boundary=x"), SC_SPAN(""), &msg), 0);
    char type[SC_FORM_BOUNDARY_MAX + 64] = "Multipart/Form-Data; boundary=";
    memset(type + 30, 'b', SC_FORM_BOUNDARY_MAX);
    assert_int_equal(sc_multipart_init(&m, sc_span_str(type), SC_SPAN(""), &msg), 1);
    type[30 + SC_FORM_BOUNDARY_MAX] = 'b';
    assert_int_equal(sc_multipart_init(&m, sc_span_str(type), SC_SPAN(""), &msg), SC_ELIMIT);
}

/* Boundaries without line ends, packed: the time must not grow with the square. */
static void a_hostile_body_takes_linear_time(void **state)
{
    (void)state;
    size_t n = 6u << 20;
    char *body = malloc(n);
    for (size_t i = 0; i + 5 <= n; i += 5)
        memcpy(body + i, i % 2 ? "\n--X " : "\n--XX", 5);
    struct sc_multipart m;
    struct sc_part part;
    int64_t start = sc_clock_ms();
    assert_int_equal(
        sc_multipart_init(&m, SC_SPAN("multipart/form-data; boundary=X"), sc_span(body, n), NULL), 1);
    while (sc_multipart_next(&m, &part, NULL) == 1)
        ;
    assert_true(sc_clock_ms() - start < 5000);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_in_order),
        cmocka_unit_test(a_preamble_an_epilogue_and_bare_line_feeds_do_no_harm),
        cmocka_unit_test(what_looks_like_a_boundary_is_data),
        cmocka_unit_test(malformed_bodies_are_refused),
        cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(the_header_decides),
        cmocka_unit_test(a_hostile_body_takes_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
