/* From requests to the metadata of rows. */
#include "test.h"

#include "api/rows.h"
#include "worker/meta.h"

static struct sc_http_exchange x;
static struct sc_http_header headers[8];
static struct sc_buf meta;
static const struct sc_row_route route = {.url_path = {"v1/x", 4}, .explain = true};

static bool length; /* the client tells it */

static void request(const char *type, struct sc_span body)
{
    x = (struct sc_http_exchange){.id = "1234"};
    sc_body_init_heap(&x.body);
    if (body.n) {
        assert_int_equal(x.body.ops->grow(&x.body, body.n), 0);
        memcpy(x.body.p, body.p, body.n);
        x.body.len = body.n;
    }
    unsigned n = 0;
    headers[n++] = (struct sc_http_header){SC_SPAN("Host"), SC_SPAN("h")};
    if (type)
        headers[n++] = (struct sc_http_header){SC_SPAN("Content-Type"), sc_span_str(type)};
    if (length)
        headers[n++] = (struct sc_http_header){SC_SPAN("Content-Length"), SC_SPAN("999")};
    headers[n++] = (struct sc_http_header){SC_SPAN("Transfer-Encoding"), SC_SPAN("chunked")};
    headers[n++] = (struct sc_http_header){SC_SPAN("explain"), SC_SPAN("no")};
    x.req.headers = headers;
    x.req.nheaders = n;
    x.req.content_length = (int64_t)body.n;
    sc_buf_init(&meta, 1 << 20);
}

static int tear_down(void **state)
{
    (void)state;
    sc_body_free(&x.body);
    sc_buf_free(&meta);
    return 0;
}

/* The i-th value of a key; a NULL pointer if there is none. */
static struct sc_span value_of(const char *key, unsigned i)
{
    size_t at = 0;
    struct sc_span k, v;
    while (sc_meta_next(sc_buf_view(&meta), &at, &k, &v))
        if (sc_span_eq(k, sc_span_str(key)) && i-- == 0)
            return v;
    return sc_span(NULL, 0);
}

static uint64_t uint_at(struct sc_span v, size_t at, unsigned n)
{
    uint64_t u = 0;
    while (n--)
        u = u << 8 | (unsigned char)v.p[at + n];
    return u;
}

static void assert_part(unsigned i, const char *name, const char *type, struct sc_span data)
{
    struct sc_span v = value_of(":part", i);
    assert_non_null(v.p);
    uint64_t off = uint_at(v, 0, 8), len = uint_at(v, 8, 8), nlen = uint_at(v, 16, 2);
    assert_true(sc_span_eq(sc_span_sub(v, 18, nlen), sc_span_str(name)));
    assert_true(sc_span_eq(sc_span_sub(v, 18 + nlen, v.n), sc_span_str(type)));
    assert_true(off + len <= x.body.len);
    assert_true(sc_span_eq(sc_span(x.body.p + off, len), data));
}

static void a_body_is_one_parameter(void **state)
{
    (void)state;
    request("application/json ; charset=utf-8", SC_SPAN("{}"));
    assert_true(sc_row_is_plain(&x));
    sc_row_plain(&x, &route, &meta);
    assert_true(sc_span_eq(value_of(":id", 0), SC_SPAN("1234")));
    assert_true(sc_span_eq(value_of(":content-type", 0), SC_SPAN("application/json")));
    assert_true(sc_span_eq(value_of("Host", 0), SC_SPAN("h")));
    assert_null(value_of("Content-Length", 0).p);
    assert_null(value_of("Transfer-Encoding", 0).p);
    assert_true(sc_span_eq(value_of("content-length", 0), SC_SPAN("2")));
    assert_true(sc_span_eq(value_of("url_path", 0), SC_SPAN("v1/x")));
    /* The server's comes after the client's: later wins. */
    assert_true(sc_span_eq(value_of("explain", 0), SC_SPAN("no")));
    assert_true(sc_span_eq(value_of("explain", 1), SC_SPAN("True")));
    assert_null(value_of(":form", 0).p);
}

static void the_clients_length_stays_as_it_is(void **state)
{
    (void)state;
    length = true;
    request(NULL, SC_SPAN("x"));
    length = false;
    sc_row_plain(&x, &route, &meta);
    assert_true(sc_span_eq(value_of("Content-Length", 0), SC_SPAN("999")));
    assert_null(value_of("content-length", 0).p);
}

static void a_header_cannot_be_one_of_ours(void **state)
{
    (void)state;
    request(NULL, SC_SPAN("x"));
    headers[0].name = SC_SPAN(":form");
    sc_row_plain(&x, &route, &meta);
    assert_null(value_of(":form", 0).p);
    assert_null(value_of(":content-type", 0).p);
}

static void a_question_for_a_description_has_an_empty_row(void **state)
{
    (void)state;
    request("application/json", SC_SPAN("{}"));
    sc_row_describe(&x, false, &meta);
    assert_true(sc_span_eq(value_of(":id", 0), SC_SPAN("1234")));
    assert_non_null(value_of(":form", 0).p); /* no parts: whatever the body is, the row is empty */
    assert_null(value_of(":content-type", 0).p);
    assert_true(sc_span_eq(value_of("Content-Type", 0), SC_SPAN("application/json")));
    assert_true(sc_span_eq(value_of("content-length", 0), SC_SPAN("2")));
    assert_true(sc_span_eq(value_of("describe", 0), SC_SPAN("True")));
    assert_true(sc_span_eq(value_of("explain", 0), SC_SPAN("no"))); /* the client's own */
    assert_null(value_of("explain", 1).p);
    assert_null(value_of("url_path", 0).p);
}

static void a_body_of_unknown_length_waits(void **state)
{
    (void)state;
    struct sc_msg msg;
    request("text/plain", SC_SPAN("abc"));
    x.req.content_length = -1;
    assert_false(sc_row_is_plain(&x));
    assert_int_equal(sc_row_of_body(&x, &route, &meta, &msg), 0);
    assert_true(sc_span_eq(value_of("content-length", 0), SC_SPAN("3")));
    assert_true(sc_span_eq(value_of(":content-type", 0), SC_SPAN("text/plain")));
}

static void an_urlencoded_body_is_decoded_where_it_lies(void **state)
{
    (void)state;
    struct sc_msg msg;
    request("Application/X-WWW-form-urlencoded", SC_SPAN("a=b+c&%C3%A9=&d=%26%3D&last"));
    assert_false(sc_row_is_plain(&x));
    assert_int_equal(sc_row_of_body(&x, &route, &meta, &msg), 0);
    assert_non_null(value_of(":form", 0).p);
    assert_part(0, "a", "", SC_SPAN("b c"));
    assert_part(1, "\xc3\xa9", "", SC_SPAN(""));
    assert_part(2, "d", "", SC_SPAN("&="));
    assert_null(value_of(":part", 3).p);
    assert_true(sc_span_eq(value_of("content-length", 0), SC_SPAN("27")));
}

static void bytes_that_are_no_utf8_do_not_outgrow_the_body(void **state)
{
    (void)state;
    struct sc_msg msg;
    request("application/x-www-form-urlencoded", SC_SPAN("a=%FF%FF%FF&b=\xff\xff\xff\xff\xff\xff"));
    int rc = sc_row_of_body(&x, &route, &meta, &msg);
    assert_true(rc == 0 || rc == SC_EINVAL);
}

static void a_bad_escape_has_torchserves_text(void **state)
{
    (void)state;
    struct sc_msg msg;
    request("application/x-www-form-urlencoded", SC_SPAN("%zz=1"));
    assert_int_equal(sc_row_of_body(&x, &route, &meta, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "Bad string: '%zz'");
}

static void parts_of_a_form_are_told_where_they_lie(void **state)
{
    (void)state;
    struct sc_msg msg;
    request(
        "multipart/form-data; boundary=b",
        SC_SPAN("--b\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Type: text/plain\r\n\r\n1\r\n"
                "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\nContent-Type: text/a; "
                "charset=x\r\n\r\n\r\n\r\n"
                "--b\r\nContent-Disposition: form-data; name=\"g\"; filename=\"n\"\r\n\r\nzz\r\n--b--\r\n"));
    assert_int_equal(sc_row_of_body(&x, &route, &meta, &msg), 0);
    assert_part(0, "x", "", SC_SPAN("1"));
    assert_part(1, "f", "text/a", SC_SPAN("\r\n"));
    assert_part(2, "g", "application/octet-stream", SC_SPAN("zz"));
}

static void a_form_without_a_boundary_is_a_body(void **state)
{
    (void)state;
    struct sc_msg msg;
    request("multipart/form-data", SC_SPAN("abc"));
    assert_int_equal(sc_row_of_body(&x, &route, &meta, &msg), 0);
    assert_null(value_of(":form", 0).p);
    tear_down(NULL);
    request("multipart/form-data; boundary", SC_SPAN("abc"));
    assert_int_equal(sc_row_of_body(&x, &route, &meta, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "Needs a boundary value");
}

int main(void)
{
#define ROW(f) cmocka_unit_test_teardown(f, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(a_body_is_one_parameter),
        ROW(the_clients_length_stays_as_it_is),
        ROW(a_header_cannot_be_one_of_ours),
        ROW(a_question_for_a_description_has_an_empty_row),
        ROW(a_body_of_unknown_length_waits),
        ROW(an_urlencoded_body_is_decoded_where_it_lies),
        ROW(bytes_that_are_no_utf8_do_not_outgrow_the_body),
        ROW(a_bad_escape_has_torchserves_text),
        ROW(parts_of_a_form_are_told_where_they_lie),
        ROW(a_form_without_a_boundary_is_a_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
