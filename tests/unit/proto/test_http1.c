#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "proto/http1.h"

#define MAX_HEADERS SC_HTTP_HEADERS_MAX

static struct sc_http_header headers[MAX_HEADERS];
static struct sc_http1_head head;

static int parse(struct sc_span s)
{
    sc_http1_head_init(&head, headers, MAX_HEADERS);
    return sc_http1_head_parse(&head, s.p, s.n);
}
#define PARSE(text) parse(SC_SPAN(text))

static void assert_span(struct sc_span s, const char *want)
{
    if (!sc_span_eq(s, sc_span_str(want)))
        fail_msg("got \"%.*s\", want \"%s\"", SC_FMT(s), want);
}

static void a_head_is_taken_apart(void **state)
{
    (void)state;
    static const char text[] = "POST /predictions/m?a=b?c HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\n"
                               "x-blanks: \t a b \t\r\nContent-Length: 12\r\n\r\nbody";
    assert_int_equal(parse(sc_span_str(text)), strlen(text) - 4);
    assert_span(head.method, "POST");
    assert_span(head.target, "/predictions/m?a=b?c");
    assert_span(head.path, "/predictions/m");
    assert_span(head.query, "a=b?c");
    assert_span(head.version, "HTTP/1.1");
    assert_int_equal(head.nheaders, 4);
    assert_span(head.headers[0].name, "Host");
    assert_span(head.headers[0].value, "x:80");
    assert_span(head.headers[1].value, "");
    assert_span(head.headers[2].value, "a b");
    assert_int_equal(head.content_length, 12);
    assert_true(head.keep_alive);
    assert_false(head.http10);
    assert_int_equal(head.expect, SC_HTTP1_EXPECT_NONE);
}

static void versions_and_connection_headers_decide_on_keep_alive(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive, http10;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", true, false},
        {"GET / HTTP/1.0\r\n\r\n", false, true},
        {"GET / HTTP/0.9\r\n\r\n", false, true},
        {"GET / HTTP/9.9\r\n\r\n", true, false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, true},
        {"GET / HTTP/1.1\r\nconnection: te, close\r\n\r\n", false, false},
        {"GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false, false},
        {"GET / HTTP/1.1\r\nConnection: closed,,\r\n\r\n", true, false},
        {"GET / HTTP/1.1\r\nConnectiom: close\r\n\r\n", true, false},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        assert_true(parse(sc_span_str(cases[i].text)) > 0);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
        assert_int_equal(head.http10, cases[i].http10);
    }
}

static void expectations_are_told_apart(void **state)
{
    (void)state;
    assert_true(PARSE("GET / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n") > 0);
    assert_int_equal(head.expect, SC_HTTP1_EXPECT_CONTINUE);
    assert_true(PARSE("GET / HTTP/1.1\r\nExpect: 100-continue\r\nExpect: more\r\n\r\n") > 0);
    assert_int_equal(head.expect, SC_HTTP1_EXPECT_OTHER);
    assert_true(PARSE("GET / HTTP/1.1\r\nExpect: more\r\nExpect: 100-continue\r\n\r\n") > 0);
    assert_int_equal(head.expect, SC_HTTP1_EXPECT_OTHER);
    assert_true(PARSE("GET / HTTP/1.0\r\nExpect: more\r\n\r\n") > 0);
    assert_int_equal(head.expect, SC_HTTP1_EXPECT_NONE);
}

static void exactly_the_forbidden_bytes_are_refused(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        char text[64];
        bool ctl = b < 0x20 || b == 0x7f;
        bool token =
            b && strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b);

        int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nab: c%cd\r\n\r\n", b);
        assert_int_equal(parse(sc_span(text, (size_t)n)) > 0, !ctl || b == '\t');
        n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\na%cb: c\r\n\r\n", b);
        assert_int_equal(parse(sc_span(text, (size_t)n)) > 0, token || b == ':');
        n = snprintf(text, sizeof text, "GET /a%cb HTTP/1.1\r\n\r\n", b);
        assert_int_equal(parse(sc_span(text, (size_t)n)) > 0, !ctl && b != ' ');
        n = snprintf(text, sizeof text, "G%cT / HTTP/1.1\r\n\r\n", b);
        assert_int_equal(parse(sc_span(text, (size_t)n)) > 0, token);
    }
}

/* What the parser said about the first `len` bytes that were fed `step` at a time. */
struct outcome {
    int rc;
    struct sc_http1_head head;
    struct sc_http_header headers[MAX_HEADERS];
};

static void feed(struct outcome *o, struct sc_span s, size_t first, size_t step)
{
    sc_http1_head_init(&o->head, o->headers, MAX_HEADERS);
    size_t n = first;
    while ((o->rc = sc_http1_head_parse(&o->head, s.p, n)) == SC_AGAIN && n < s.n)
        n = SC_MIN(s.n, n + step);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->rc, b->rc);
    if (a->rc < 0)
        return;
    assert_int_equal(a->head.content_length, b->head.content_length);
    assert_int_equal(a->head.keep_alive, b->head.keep_alive);
    assert_int_equal(a->head.expect, b->head.expect);
    assert_ptr_equal(a->head.query.p, b->head.query.p);
    assert_int_equal(a->head.nheaders, b->head.nheaders);
    assert_memory_equal(a->headers, b->headers, a->head.nheaders * sizeof a->headers[0]);
}

static void cuts_make_no_difference(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "\r\n\r\nGET /ping?x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ("POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
         "5\r\nhello\r\n0\r\n\r\n"),
        "POST /p HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "\r\rGET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: no end",
        "\r\n\r",
    };
    static struct outcome whole, cut;
    for (size_t i = 0; i < SC_COUNT(texts); i++) {
        struct sc_span s = sc_span_str(texts[i]);
        feed(&whole, s, s.n, 1);
        for (size_t at = 0; at <= s.n; at++) {
            feed(&cut, s, at, s.n);
            assert_same(&whole, &cut);
        }
        for (size_t step = 1; step < 5; step++) {
            feed(&cut, s, 0, step);
            assert_same(&whole, &cut);
        }
    }
}

static void the_largest_head_fits_the_buffer_and_no_larger_one_passes(void **state)
{
    (void)state;
    assert_true(SC_HTTP1_HEAD_MAX < SC_CONN_READ_BYTES);
    static char text[SC_HTTP1_HEAD_MAX + 16];
    size_t n = 0;
    for (int i = 0; i < SC_HTTP1_BLANKS_MAX; i++)
        text[n++] = i % 2 ? '\n' : '\r';
    n += (size_t)sprintf(text + n, "GET /");
    memset(text + n, 'a', SC_HTTP_LINE_MAX - 14);
    n += SC_HTTP_LINE_MAX - 14;
    n += (size_t)sprintf(text + n, " HTTP/1.1\r\n");
    for (int i = 0; i < SC_HTTP_HEADERS_MAX; i++) {
        size_t len = i ? 80 : SC_HTTP_HEADERS_BYTES - 80 * (SC_HTTP_HEADERS_MAX - 1);
        memset(text + n, 'b', len);
        text[n + 1] = ':';
        n += len;
        text[n++] = '\r';
        text[n++] = '\n';
    }
    text[n++] = '\r';
    text[n++] = '\n';
    assert_int_equal(n, SC_HTTP1_HEAD_MAX);
    assert_int_equal(parse(sc_span(text, n)), n);
    static struct outcome o;
    feed(&o, sc_span(text, n), 0, 7);
    assert_int_equal(o.rc, n);

    /* Without an end in sight the answer comes before the buffer is full. */
    memset(text, 'A', sizeof text);
    assert_int_equal(parse(sc_span(text, SC_HTTP_LINE_MAX + 1)), SC_AGAIN);
    assert_int_equal(parse(sc_span(text, SC_HTTP_LINE_MAX + 2)), SC_EINVAL);
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\r\n", 2);
    assert_int_equal(parse(sc_span(text, SC_HTTP1_BLANKS_MAX + 2)), SC_EINVAL);
}

/* ---- chunked ---------------------------------------------------------------------------- */

struct dechunked {
    int rc;
    char body[4096];
    size_t n, rest; /* bytes behind the body */
};

static void dechunk(struct dechunked *d, struct sc_span s, size_t step)
{
    struct sc_http1_chunked c;
    sc_http1_chunked_init(&c);
    *d = (struct dechunked){.rc = SC_AGAIN};
    size_t at = 0;
    while (d->rc == SC_AGAIN && at < s.n) {
        struct sc_span in = sc_span_sub(s, at, step), data;
        at += in.n;
        while ((d->rc = sc_http1_chunked_next(&c, &in, &data)) == 1) {
            assert_true(data.n > 0);
            memcpy(d->body + d->n, data.p, data.n);
            d->n += data.n;
        }
        d->rest = s.n - at + in.n;
    }
}

static void chunks_become_a_body(void **state)
{
    (void)state;
    static const char text[] = "5\r\nhello\r\n0A;x=\"y z\"\r\n0123456789\r\n00\r\nT: v\r\nU:\r\n\r\nnext";
    static struct dechunked d;
    for (size_t step = 1; step <= sizeof text; step++) {
        dechunk(&d, sc_span_str(text), step);
        assert_int_equal(d.rc, 0);
        assert_int_equal(d.rest, 4);
        assert_span(sc_span(d.body, d.n), "hello0123456789");
    }
}

static void malformed_chunks_are_refused_wherever_they_are_cut(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\r\n",
        "+1\r\na",
        "-1\r\na",
        "0x1\r\na",
        " 1\r\na",
        "1 \r\na",
        "1\na",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "g\r\n",
        "1;a\x01\r\na",
        "1;a\nb\r\na",
        "0\r\n\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx\r\n",
        "0\r\nx: y\n",
        "0\r\nx: \x7f\r\n",
        "0000000000000001\r\na",
        "fffffffffffffffff\r\na",
    };
    static struct dechunked d;
    for (size_t i = 0; i < SC_COUNT(texts); i++)
        for (size_t step = 1; step < 20; step++) {
            dechunk(&d, sc_span_str(texts[i]), step);
            assert_int_equal(d.rc, i ? SC_EINVAL : SC_AGAIN);
        }
    char line[SC_HTTP_CHUNK_LINE_MAX + 8];
    memset(line, 'x', sizeof line);
    memcpy(line, "1;", 2);
    dechunk(&d, sc_span(line, sizeof line), sizeof line);
    assert_int_equal(d.rc, SC_EINVAL);
}

/* "bench": nanoseconds per head of what wrk and curl send. */
static void bench(void)
{
    static const char *const texts[] = {
        "GET /ping HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
        "POST /predictions/echo HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: "
        "*/*\r\n"
        "Content-Type: application/json\r\nContent-Length: 42\r\n\r\n",
    };
    for (size_t i = 0; i < SC_COUNT(texts); i++) {
        enum { ROUNDS = 5000000 };
        struct sc_span s = sc_span_str(texts[i]);
        int64_t from = sc_clock_ns();
        for (int k = 0; k < ROUNDS; k++)
            if (parse(s) < 0)
                abort();
        printf("%zu bytes: %.1f ns\n", s.n, (double)(sc_clock_ns() - from) / ROUNDS);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "bench") == 0) {
        bench();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(versions_and_connection_headers_decide_on_keep_alive),
        cmocka_unit_test(expectations_are_told_apart),
        cmocka_unit_test(exactly_the_forbidden_bytes_are_refused),
        cmocka_unit_test(cuts_make_no_difference),
        cmocka_unit_test(the_largest_head_fits_the_buffer_and_no_larger_one_passes),
        cmocka_unit_test(chunks_become_a_body),
        cmocka_unit_test(malformed_chunks_are_refused_wherever_they_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
