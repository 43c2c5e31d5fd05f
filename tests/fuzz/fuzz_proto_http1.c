/*
 * Heads and chunked bodies from hostile bytes. The first byte chooses how the rest is cut; the
 * outcome must be that of the whole, spans must lie within the input, and limits must hold.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "proto/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int rc;
    struct sc_http1_head head;
    struct sc_http_header headers[SC_HTTP_HEADERS_MAX];
};

static void check(int ok)
{
    if (!ok)
        abort();
}

static void feed(struct outcome *o, const char *p, size_t n, size_t step)
{
    sc_http1_head_init(&o->head, o->headers, SC_HTTP_HEADERS_MAX);
    size_t have = SC_MIN(step, n);
    while ((o->rc = sc_http1_head_parse(&o->head, p, have)) == SC_AGAIN && have < n)
        have = SC_MIN(n, have + step);
}

static void within(struct sc_span s, const char *p, int n)
{
    check(s.p >= p && s.n <= (size_t)n && s.p + s.n <= p + n);
}

struct body {
    int rc;
    uint64_t sum;
    size_t n, rest;
};

static void dechunk(struct body *b, const char *p, size_t n, size_t step)
{
    struct sc_http1_chunked c;
    sc_http1_chunked_init(&c);
    *b = (struct body){.rc = SC_AGAIN};
    for (size_t at = 0; at < n && b->rc == SC_AGAIN;) {
        struct sc_span in = sc_span(p + at, SC_MIN(step, n - at)), data;
        at += in.n;
        while ((b->rc = sc_http1_chunked_next(&c, &in, &data)) == 1) {
            check(data.n > 0 && data.p >= p && data.p + data.n <= p + n);
            for (size_t i = 0; i < data.n; i++)
                b->sum = b->sum * 31 + (uint8_t)data.p[i];
            b->n += data.n;
        }
        b->rest = n - at + in.n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t step = 1 + data[0] % 97, n = size - 1;
    const char *p = (const char *)data + 1;
    static struct outcome whole, cut;
    feed(&whole, p, n, n ? n : 1);
    feed(&cut, p, n, step);
    check(whole.rc == cut.rc);
    check(whole.rc != SC_AGAIN || n < SC_HTTP1_HEAD_MAX);
    if (whole.rc > 0) {
        const struct sc_http1_head *h = &whole.head;
        check((size_t)whole.rc <= n && whole.rc <= SC_HTTP1_HEAD_MAX);
        check(h->nheaders == cut.head.nheaders && h->content_length == cut.head.content_length &&
              h->content_length >= -1 && h->keep_alive == cut.head.keep_alive &&
              h->expect == cut.head.expect);
        check(memcmp(whole.headers, cut.headers, h->nheaders * sizeof whole.headers[0]) == 0);
        within(h->target, p, whole.rc);
        within(h->path, p, whole.rc);
        within(h->query, p, whole.rc);
        for (unsigned i = 0; i < h->nheaders; i++) {
            within(h->headers[i].name, p, whole.rc);
            within(h->headers[i].value, p, whole.rc);
            check(h->headers[i].name.n > 0 && !memchr(h->headers[i].value.p, '\n', h->headers[i].value.n));
        }
    }
    size_t skip = whole.rc > 0 ? (size_t)whole.rc : 0;
    struct body a, b;
    dechunk(&a, p + skip, n - skip, n ? n : 1);
    dechunk(&b, p + skip, n - skip, step);
    check(a.rc == b.rc);
    check(a.rc < 0 || (a.sum == b.sum && a.n == b.n && a.rest == b.rest));
    return 0;
}
