#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "proto/grpc.h"

static void http_statuses_become_codes(void **state)
{
    static const struct {
        int status;
        enum sc_grpc_code code;
    } cases[] = {{200, SC_GRPC_OK},
                 {206, SC_GRPC_OK},
                 {400, SC_GRPC_INVALID_ARGUMENT},
                 {404, SC_GRPC_NOT_FOUND},
                 {405, SC_GRPC_FAILED_PRECONDITION},
                 {413, SC_GRPC_RESOURCE_EXHAUSTED},
                 {429, SC_GRPC_RESOURCE_EXHAUSTED},
                 {499, SC_GRPC_CANCELLED},
                 {500, SC_GRPC_INTERNAL},
                 {503, SC_GRPC_UNAVAILABLE},
                 {504, SC_GRPC_DEADLINE_EXCEEDED},
                 {507, SC_GRPC_INTERNAL},
                 {0, SC_GRPC_UNKNOWN},
                 {302, SC_GRPC_UNKNOWN},
                 {600, SC_GRPC_UNKNOWN},
                 {-7, SC_GRPC_UNKNOWN}};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        assert_int_equal(sc_grpc_code_of_http(cases[i].status), cases[i].code);
}

static void timeouts_have_digits_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"1n", 1},
                {"20u", 20000},
                {"5m", 5000000},
                {"3S", 3000000000},
                {"2M", 120000000000},
                {"1H", 3600000000000},
                {"0n", 0},
                {"99999999H", INT64_MAX / 4}};
    static const char *const bad[] = {"",     "S",   "1",   "1s",  "100000000S", "-1S",
                                      "1.5S", " 1S", "1 S", "+1S", "x1S"};
    int64_t ns;
    (void)state;
    for (size_t i = 0; i < SC_COUNT(good); i++) {
        assert_int_equal(sc_grpc_timeout(sc_span_str(good[i].text), &ns), 0);
        assert_true(ns == good[i].ns);
    }
    for (size_t i = 0; i < SC_COUNT(bad); i++)
        assert_int_equal(sc_grpc_timeout(sc_span_str(bad[i]), &ns), SC_EINVAL);
    assert_int_equal(sc_grpc_timeout(sc_span(NULL, 0), &ns), SC_EINVAL);
}

static void texts_are_percent_encoded(void **state)
{
    struct sc_buf b;
    (void)state;
    sc_buf_init(&b, 1000);
    sc_grpc_put_text(&b, SC_SPAN("a b\n100%~\x7f\xc3\xa4\0z"));
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("a b%0A100%25~%7F%C3%A4%00z")));
    sc_buf_free(&b);
}

static void codings_are_known_by_name(void **state)
{
    enum sc_grpc_coding c;
    (void)state;
    assert_true(sc_grpc_coding(sc_span(NULL, 0), &c) == 0 && c == SC_GRPC_IDENTITY);
    assert_true(sc_grpc_coding(SC_SPAN("identity"), &c) == 0 && c == SC_GRPC_IDENTITY);
    assert_true(sc_grpc_coding(SC_SPAN("gzip"), &c) == 0 && c == SC_GRPC_GZIP);
    assert_true(sc_grpc_coding(SC_SPAN("deflate"), &c) == 0 && c == SC_GRPC_DEFLATE);
    assert_int_equal(sc_grpc_coding(SC_SPAN("snappy"), &c), SC_EUNSUPPORTED);
    assert_int_equal(sc_grpc_coding(SC_SPAN(""), &c), SC_EUNSUPPORTED);
}

/* ---- frames ------------------------------------------------------------------------------------------- */

#define MAX 1000

/* "[message]..." of what comes in pieces of `step` bytes from the heap, then what it ended with: "." between
 * two messages, "+" within one, or what was wrong. */
static const char *read_all(enum sc_grpc_coding coding, struct sc_span bytes, size_t step)
{
    static char said[8 * MAX];
    struct sc_grpc_reader r;
    struct sc_span message;
    int rc = 0, k = 0;
    sc_grpc_reader_init(&r, coding, MAX);
    for (size_t at = 0; rc >= 0 && at < bytes.n; at += step) {
        size_t n = SC_MIN(step, bytes.n - at);
        char *piece = malloc(n);
        memcpy(piece, bytes.p + at, n);
        struct sc_span in = sc_span(piece, n);
        while ((rc = sc_grpc_read(&r, &in, &message)) == 1)
            k += snprintf(said + k, sizeof said - (size_t)k, "[%.*s]", SC_FMT(message));
        assert_true(rc < 0 || in.n == 0);
        free(piece);
    }
    if (rc < 0)
        snprintf(said + k, sizeof said - (size_t)k, "%d: %s", rc, r.problem);
    else
        snprintf(said + k, sizeof said - (size_t)k, "%s", sc_grpc_reader_idle(&r) ? "." : "+");
    sc_grpc_reader_free(&r);
    return said;
}

static void reads(enum sc_grpc_coding coding, struct sc_span bytes, const char *want)
{
    for (size_t step = 1; step <= bytes.n + 1; step += step < 20 ? 1 : 97)
        assert_string_equal(read_all(coding, bytes, step), want);
}

#define READS(bytes, want) reads(SC_GRPC_IDENTITY, SC_SPAN(bytes), want)

static void messages_come_out_however_they_are_cut(void **state)
{
    (void)state;
    READS("", ".");
    READS("\0\0\0\0\0", "[].");
    READS("\0\0\0\0\2hi", "[hi].");
    READS("\0\0\0\0\2hi\0\0\0\0\0\0\0\0\0\3you", "[hi][][you].");
    READS("\0\0\0\0\2h", "+");
    READS("\0\0\0\0\2hi\0\0\0", "[hi]+");
}

static void bad_frames_end_the_stream(void **state)
{
    char text[64];
    (void)state;
    snprintf(text, sizeof text, "[hi]%d: gRPC frame header malformed: reserved bits not zero", SC_EINVAL);
    READS("\0\0\0\0\2hi\2\0\0\0\0", text);
    READS("\0\0\0\0\2hi\x81\0\0\0\0", text);
    snprintf(text, sizeof text, "%d: gRPC message exceeds maximum size", SC_ELIMIT);
    READS("\0\0\0\3\xe9", text);
    READS("\0\xff\xff\xff\xff", text);
    snprintf(text, sizeof text, "%d: ", SC_EINVAL);
    assert_int_equal(strncmp(read_all(SC_GRPC_IDENTITY, SC_SPAN("\1\0\0\0\1x"), 6), text, strlen(text)), 0);
}

/* n equal bytes, compressed and framed. */
static struct sc_span packed(struct sc_buf *b, int window, size_t n)
{
    char plain[2 * MAX], head[SC_GRPC_HEAD], out[2 * MAX];
    z_stream z = {.next_in = (unsigned char *)plain,
                  .avail_in = (unsigned)n,
                  .next_out = (unsigned char *)out,
                  .avail_out = sizeof out};
    memset(plain, 'x', sizeof plain);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    sc_buf_clear(b);
    sc_grpc_head(head, sizeof out - z.avail_out);
    head[0] = 1;
    sc_buf_add(b, head, sizeof head);
    sc_buf_add(b, out, sizeof out - z.avail_out);
    deflateEnd(&z);
    return sc_buf_view(b);
}

static void compressed_messages_are_bounded_in_both_sizes(void **state)
{
    static const struct {
        enum sc_grpc_coding coding;
        int window;
    } ways[] = {{SC_GRPC_GZIP, 31}, {SC_GRPC_DEFLATE, 15}};
    char want[MAX + 64];
    struct sc_buf b;
    (void)state;
    sc_buf_init(&b, 8 * MAX);
    for (size_t i = 0; i < SC_COUNT(ways); i++) {
        reads(ways[i].coding, packed(&b, ways[i].window, 0), "[].");
        reads(ways[i].coding, packed(&b, ways[i].window, 3), "[xxx].");
        memset(want, 'x', sizeof want);
        want[0] = '[';
        strcpy(want + 1 + MAX, "].");
        reads(ways[i].coding, packed(&b, ways[i].window, MAX), want);
        snprintf(want, sizeof want, "%d: Decompressed gRPC message exceeds maximum size", SC_ELIMIT);
        reads(ways[i].coding, packed(&b, ways[i].window, MAX + 1), want);
        snprintf(want, sizeof want, "%d: the compressed message is cut or malformed", SC_EINVAL);
        (void)packed(&b, ways[i].window, 500); /* cut within its frame */
        sc_grpc_head(b.p, b.n - SC_GRPC_HEAD - 1);
        b.p[0] = 1;
        reads(ways[i].coding, sc_span(b.p, b.n - 1), want);
        reads(ways[i].coding, SC_SPAN("\1\0\0\0\3abc"), want);
        reads(ways[i].coding, SC_SPAN("\1\0\0\0\0"), want);
        reads(ways[i].coding, SC_SPAN("\0\0\0\0\2hi"), "[hi]."); /* a frame may be as it is */
    }
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_statuses_become_codes),
        cmocka_unit_test(timeouts_have_digits_and_a_unit),
        cmocka_unit_test(texts_are_percent_encoded),
        cmocka_unit_test(codings_are_known_by_name),
        cmocka_unit_test(messages_come_out_however_they_are_cut),
        cmocka_unit_test(bad_frames_end_the_stream),
        cmocka_unit_test(compressed_messages_are_bounded_in_both_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
