/*
 * An HTTP/2 session fed with hostile bytes, behind a good preface unless the first bit says otherwise; the
 * rest of the first byte chooses how they are cut. Requests are answered at once, later, in pieces, with
 * trailers, or reset. Spans must lie in the head's memory, every stream that was opened must be closed or
 * left, and limits must hold.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "proto/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAMS 600

struct stream {
    struct sc_h2_head head;
    int32_t id;
    size_t left, got;
    bool open;
};

static struct stream streams[STREAMS];
static unsigned nstreams;
static struct sc_h2 *session;
static uint64_t sum;

static void check(int ok)
{
    if (!ok)
        abort();
}

static void read_span(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++)
        sum += (uint8_t)s.p[i];
}

static void answer(struct stream *st)
{
    const struct sc_http_header fields[] = {{SC_SPAN("x-request-id"), SC_SPAN("1")},
                                            {SC_SPAN("Content-Type"), SC_SPAN("text/plain")}};
    if (st->id % 7 == 3)
        sc_h2_reset(session, st->id, SC_H2_CANCEL);
    else
        (void)sc_h2_answer(session, st->id, 200, fields, 2, st->left > 0);
}

static void *on_request(void *ctx, int32_t id, struct sc_h2_head *head, bool ended)
{
    (void)ctx;
    if (nstreams == STREAMS || id % 11 == 5)
        return NULL;
    struct stream *st = &streams[nstreams++];
    *st = (struct stream){.head = *head, .id = id, .left = (size_t)id % 5 * 9000, .open = true};
    check(head->oversized || head->nheaders <= SC_HTTP_HEADERS_MAX);
    check(head->oversized || head->method.n + head->target.n < SC_HTTP_LINE_MAX);
    check(!ended || head->content_length == 0);
    for (unsigned i = 0; i < head->nheaders; i++) {
        read_span(head->headers[i].name);
        read_span(head->headers[i].value);
    }
    read_span(head->target);
    if (head->expects_100)
        sc_h2_continue(session, id);
    if (id % 3 == 0)
        answer(st);
    return st;
}

static void on_data(void *stream, struct sc_span piece)
{
    struct stream *st = stream;
    check(st->open && piece.n > 0);
    read_span(piece);
    st->got += piece.n;
    if (st->id % 5)
        sc_h2_consumed(session, st->id, piece.n);
}

static void on_end(void *stream, struct sc_h2_head *trailers)
{
    struct stream *st = stream;
    check(st->open);
    check(st->head.content_length < 0 || st->got == (uint64_t)st->head.content_length);
    if (trailers)
        sc_h2_head_free(trailers);
    if (st->id % 3)
        answer(st);
}

static size_t on_take(void *stream, char *to, size_t room, bool *end)
{
    const struct sc_http_header trailer = {SC_SPAN("grpc-status"), SC_SPAN("0")};
    struct stream *st = stream;
    size_t n = SC_MIN(room, st->left);
    check(st->open);
    memset(to, 'x', n);
    st->left -= n;
    *end = st->left == 0;
    if (*end && st->id % 2)
        sc_h2_trailers(session, st->id, &trailer, 1);
    return n;
}

static void on_closed(void *stream, uint32_t code)
{
    struct stream *st = stream;
    (void)code;
    check(st->open);
    st->open = false;
    sc_h2_head_free(&st->head);
}

static const struct sc_h2_events events = {
    .request = on_request, .data = on_data, .end = on_end, .take = on_take, .closed = on_closed};

static int feed(const char *p, size_t n, size_t step)
{
    char out[3000];
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += step) {
        rc = sc_h2_receive(session, sc_span(p + at, SC_MIN(step, n - at)), (int64_t)at);
        while (sc_h2_send(session, out, sizeof out) == sizeof out)
            ;
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = SC_H2_PREFACE "\0\0\0\4\0\0\0\0"; /* the literal's NUL is its last byte */
    if (size == 0 || sc_h2_new(&session, &events, NULL) < 0)
        return 0;
    size_t step = 1 + (data[0] >> 1) * 37u;
    nstreams = 0;
    int rc = data[0] & 1 ? 0 : feed(hello, sizeof hello, sizeof hello);
    if (rc == 0)
        rc = feed((const char *)data + 1, size - 1, step);
    check(rc == 0 || !sc_h2_alive(session));
    sc_h2_shutdown(session);
    (void)feed("", 0, 1);
    sc_h2_del(session);
    for (unsigned i = 0; i < nstreams; i++)
        if (streams[i].open)
            sc_h2_head_free(&streams[i].head);
    return 0;
}
