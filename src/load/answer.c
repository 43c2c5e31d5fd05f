#include "load/answer.h"

#include <stdlib.h>

#include "base/error.h"

enum stage { HEAD, BODY, UNTIL_CLOSE, CHUNK_LINE, CHUNK, CHUNK_END, TRAILER, DONE };

void sc_answer_free(struct sc_answer *a)
{
    free(a->partial);
    *a = (struct sc_answer){0};
}

void sc_answer_begin(struct sc_answer *a, struct sc_body *body)
{
    a->status = 0;
    a->close = false;
    a->body = body;
    a->stage = HEAD;
    a->left = 0;
    a->partial_n = 0;
}

bool sc_answer_begun(const struct sc_answer *a)
{
    return a->stage != HEAD || a->partial_n;
}

static int complete(struct sc_answer *a)
{
    sc_body_end(a->body);
    a->stage = DONE;
    return 1;
}

/* One header line. */
static int header(struct sc_answer *a, struct sc_span line, bool *chunked, bool *sized)
{
    size_t colon = sc_span_find(line, ':');
    if (colon == line.n)
        return SC_EPROTO;
    struct sc_span value = sc_span_trim(sc_span_sub(line, colon + 1, line.n));
    line.n = colon;
    /* Lengths first: most headers are neither of these. */
    if (line.n == 14 && sc_span_eq_nocase(line, SC_SPAN("content-length"))) {
        if (!sc_span_u64(value, UINT64_MAX / 2, &a->left))
            return SC_EPROTO;
        *sized = true;
    } else if (line.n == 17 && sc_span_eq_nocase(line, SC_SPAN("transfer-encoding"))) {
        *chunked = sc_span_eq_nocase(value, SC_SPAN("chunked"));
    } else if (line.n == 10 && sc_span_eq_nocase(line, SC_SPAN("connection"))) {
        a->close = sc_span_eq_nocase(value, SC_SPAN("close"));
    }
    return 0;
}

/* A whole head with its empty line. 1: the answer has no body. */
static int head(struct sc_answer *a, struct sc_span h)
{
    bool chunked = false, sized = false;
    uint64_t status;
    if (h.n < 14 || !sc_span_starts(h, SC_SPAN("HTTP/1.")) || h.p[8] != ' ' ||
        !sc_span_u64(sc_span_sub(h, 9, 3), 999, &status))
        return SC_EPROTO;
    a->status = (unsigned)status;
    a->close = h.p[7] == '0';
    a->left = 0;
    size_t at = sc_span_find(h, '\n') + 1;
    while (at < h.n - 2) {
        struct sc_span line = sc_span_sub(h, at, h.n);
        line.n = sc_span_find(line, '\n');
        at += line.n + 1;
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (header(a, line, &chunked, &sized) < 0)
            return SC_EPROTO;
    }
    if (status < 200) {
        a->stage = HEAD; /* 100 Continue and the like: the answer itself follows */
        return 0;
    }
    if (status == 204 || status == 304)
        return complete(a);
    if (chunked) {
        a->stage = CHUNK_LINE;
    } else if (sized) {
        a->stage = BODY;
        return a->left ? 0 : complete(a);
    } else {
        a->close = true;
        a->stage = UNTIL_CLOSE;
    }
    return 0;
}

static int keep(struct sc_answer *a, const char *p, size_t n)
{
    if (!a->partial && !(a->partial = malloc(SC_ANSWER_HEAD_MAX)))
        return SC_ELIMIT;
    if (n > SC_ANSWER_HEAD_MAX - a->partial_n)
        return SC_ELIMIT;
    memcpy(a->partial + a->partial_n, p, n);
    a->partial_n += n;
    return 0;
}

/*
 * Takes bytes up to and with the next `end` from p, over several calls if need be. 1: *whole is the text with
 * its end, *took what was taken of p; 0: all was taken and the end has not come.
 */
static int upto(struct sc_answer *a, const char *end, const char *p, size_t n, struct sc_span *whole,
                size_t *took)
{
    size_t e = strlen(end);
    if (a->partial_n == 0) {
        const char *at = memmem(p, n, end, e);
        if (at) {
            *took = (size_t)(at - p) + e;
            *whole = sc_span(p, *took);
            return 1;
        }
        *took = n;
        return keep(a, p, n);
    }
    size_t before = a->partial_n, from = before < e ? 0 : before - (e - 1);
    size_t room = SC_ANSWER_HEAD_MAX - before, more = n < room ? n : room;
    int rc = keep(a, p, more);
    if (rc < 0)
        return rc;
    const char *at = memmem(a->partial + from, a->partial_n - from, end, e);
    if (!at) {
        *took = n;
        return more < n ? SC_ELIMIT : 0;
    }
    whole->p = a->partial;
    whole->n = (size_t)(at - a->partial) + e;
    *took = whole->n - before;
    a->partial_n = 0;
    return 1;
}

static int chunk_line(struct sc_answer *a, struct sc_span line)
{
    uint64_t size = 0;
    size_t digits = 0;
    for (; digits < line.n; digits++) {
        char c = line.p[digits];
        unsigned d = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a') + 10;
        if (d > 15)
            break;
        if (size >> 56)
            return SC_EPROTO;
        size = size << 4 | d;
    }
    if (digits == 0)
        return SC_EPROTO;
    a->left = size;
    a->stage = size ? CHUNK : TRAILER;
    return 0;
}

/* Bytes of a body or chunk: how many of n belong to it. */
static size_t pass(struct sc_answer *a, const char *p, size_t n)
{
    if (n > a->left)
        n = (size_t)a->left;
    sc_body_add(a->body, p, n);
    a->left -= n;
    return n;
}

int sc_answer_feed(struct sc_answer *a, const char *p, size_t n)
{
    int rc = 0;
    while (rc == 0 && n) {
        size_t took = n;
        struct sc_span text;
        switch ((enum stage)a->stage) {
        case HEAD:
            rc = upto(a, "\r\n\r\n", p, n, &text, &took);
            if (rc == 1)
                rc = head(a, text);
            break;
        case BODY:
            took = pass(a, p, n);
            if (a->left == 0)
                rc = complete(a);
            break;
        case UNTIL_CLOSE: sc_body_add(a->body, p, n); break;
        case CHUNK_LINE:
            rc = upto(a, "\r\n", p, n, &text, &took);
            if (rc == 1)
                rc = chunk_line(a, text);
            break;
        case CHUNK:
            took = pass(a, p, n);
            if (a->left == 0)
                a->stage = CHUNK_END;
            break;
        case CHUNK_END:
            rc = upto(a, "\r\n", p, n, &text, &took);
            if (rc == 1) {
                a->stage = CHUNK_LINE;
                rc = text.n == 2 ? 0 : SC_EPROTO;
            }
            break;
        case TRAILER:
            rc = upto(a, "\r\n", p, n, &text, &took);
            if (rc == 1)
                rc = text.n == 2 ? complete(a) : 0;
            break;
        case DONE: return SC_EPROTO;
        }
        p += took;
        n -= took;
    }
    return rc == 1 && n ? SC_EPROTO : rc;
}

int sc_answer_eof(struct sc_answer *a)
{
    return a->stage == UNTIL_CLOSE ? complete(a) : SC_ECLOSED;
}
