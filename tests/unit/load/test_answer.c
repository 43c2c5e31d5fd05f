#include "test.h"

#include <stdlib.h>

#include "base/error.h"
#include "load/answer.h"

static struct sc_body body;

static void begin(struct sc_answer *a, enum sc_body_want want, struct sc_span expected)
{
    sc_body_begin(&body, want, expected);
    sc_answer_begin(a, &body);
}

/* Feeds text in pieces of at most `piece` bytes; the first verdict that is not 0, or 0. Fails the test if the
 * answer is complete before the end. */
static int feed(struct sc_answer *a, const char *text, size_t piece)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n; at += piece) {
        size_t m = n - at < piece ? n - at : piece;
        /* A copy of its own, so that sanitizers see a read beyond it. */
        char *copy = malloc(m);
        memcpy(copy, text + at, m);
        int rc = sc_answer_feed(a, copy, m);
        free(copy);
        if (rc != 0) {
            if (rc == 1)
                assert_int_equal(at + m, n);
            return rc;
        }
    }
    return 0;
}

static void each(const char *text, bool differs, unsigned status, bool closes)
{
    struct sc_answer a = {0};
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        begin(&a, SC_BODY_COMPARE, SC_SPAN("hello world"));
        assert_false(sc_answer_begun(&a));
        assert_int_equal(feed(&a, text, piece), 1);
        assert_true(sc_answer_begun(&a));
        assert_int_equal(a.status, status);
        assert_int_equal(body.differs, differs);
        assert_int_equal(a.close, closes);
    }
    sc_answer_free(&a);
}

static void a_sized_answer_in_any_pieces(void **state)
{
    (void)state;
    each("HTTP/1.1 200 OK\r\nContent-Length: 11\r\nx: y\r\n\r\nhello world", false, 200, false);
    each("HTTP/1.1 200 \r\nx-y: z\r\ncontent-length:11\r\nConnection: close\r\n\r\nhello world", false, 200,
         true);
}

static void a_chunked_answer_in_any_pieces(void **state)
{
    (void)state;
    each("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n006;x=y\r\n world\r\n0\r\na: "
         "b\r\n\r\n",
         false, 200, false);
}

static void a_wrong_body_is_noticed(void **state)
{
    (void)state;
    each("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello_world", true, 200, false);
    each("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello worl", true, 200, false);
    each("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello world!", true, 200, false);
    each("HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n", true, 503, false);
    each("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true, 200, false);
}

static void interim_answers_are_passed_over(void **state)
{
    (void)state;
    each("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world", false, 200,
         false);
}

static void a_body_may_end_with_the_connection(void **state)
{
    (void)state;
    struct sc_answer a = {0};
    begin(&a, SC_BODY_COMPARE, SC_SPAN("hello world"));
    assert_int_equal(feed(&a, "HTTP/1.0 200 OK\r\n\r\nhello world", 3), 0);
    assert_int_equal(sc_answer_eof(&a), 1);
    assert_false(body.differs);
    assert_true(a.close);
    sc_answer_free(&a);
}

static void an_answer_that_is_cut_short_is_no_answer(void **state)
{
    (void)state;
    struct sc_answer a = {0};
    begin(&a, SC_BODY_COMPARE, SC_SPAN("hello world"));
    assert_int_equal(feed(&a, "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello worl", 7), 0);
    assert_int_equal(sc_answer_eof(&a), SC_ECLOSED);
    sc_answer_free(&a);
}

static void what_is_no_answer_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH_9.2\r\nabc\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sc_answer a = {0};
        begin(&a, SC_BODY_COUNT, SC_SPAN(""));
        assert_int_equal(feed(&a, bad[i], strlen(bad[i])), SC_EPROTO);
        sc_answer_free(&a);
    }
}

static void a_head_without_end_is_refused(void **state)
{
    (void)state;
    struct sc_answer a = {0};
    begin(&a, SC_BODY_COUNT, SC_SPAN(""));
    char block[1000];
    memset(block, 'a', sizeof block);
    int rc = 0, fed = 0;
    for (; rc == 0 && fed < 1000; fed++)
        rc = sc_answer_feed(&a, block, sizeof block);
    assert_int_equal(rc, SC_ELIMIT);
    assert_true(fed > 60 && fed < 70);
    sc_answer_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sized_answer_in_any_pieces),
        cmocka_unit_test(a_chunked_answer_in_any_pieces),
        cmocka_unit_test(a_wrong_body_is_noticed),
        cmocka_unit_test(interim_answers_are_passed_over),
        cmocka_unit_test(a_body_may_end_with_the_connection),
        cmocka_unit_test(an_answer_that_is_cut_short_is_no_answer),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_head_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
