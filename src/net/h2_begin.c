/* How a connection that began as HTTP/1.1 becomes one of HTTP/2: by its first bytes, or by an upgrade. */
#include <stdlib.h>

#include "net/stream.h"

bool sc_h2_conn_sniff(struct sc_conn *c)
{
    size_t n = SC_MIN((size_t)(c->end - c->pos), (size_t)SC_H2_PREFACE_BYTES);
    bool same = memcmp(c->block->data + c->pos, SC_H2_PREFACE, n) == 0;
    if (same && n < SC_H2_PREFACE_BYTES)
        return false;
    c->fresh = false;
    if (same)
        sc_h2_conn_begin(c);
    return true;
}

/* Fields that are about the connection have no place in HTTP/2. */
static bool is_hop(struct sc_span name)
{
    static const struct sc_span hops[] = {{"connection", 10},       {"upgrade", 7},
                                          {"http2-settings", 14},   {"keep-alive", 10},
                                          {"proxy-connection", 16}, {"transfer-encoding", 17}};
    for (size_t i = 0; i < SC_COUNT(hops); i++)
        if (sc_span_eq_nocase(name, hops[i]))
            return true;
    return false;
}

static struct sc_span copy_span(char **w, struct sc_span s)
{
    struct sc_span copy = sc_span(*w, s.n);
    if (s.n)
        memcpy(*w, s.p, s.n);
    *w += s.n;
    return copy;
}

/* The head's own memory is the read buffer, which is about to be used for something else. */
static bool copy_head(const struct sc_http1_head *from, struct sc_h2_head *to)
{
    size_t n = from->nheaders * sizeof *to->headers + from->method.n + from->target.n;
    for (unsigned i = 0; i < from->nheaders; i++)
        n += from->headers[i].name.n + from->headers[i].value.n;
    *to = (struct sc_h2_head){.memory = malloc(n), .scheme = SC_SPAN("http")};
    if (!to->memory)
        return false;
    to->headers = to->memory;
    char *w = (char *)(to->headers + from->nheaders);
    to->method = copy_span(&w, from->method);
    to->target = copy_span(&w, from->target);
    for (unsigned i = 0; i < from->nheaders; i++) {
        const struct sc_http_header *f = &from->headers[i];
        if (is_hop(f->name))
            continue;
        struct sc_http_header *copy = &to->headers[to->nheaders++];
        copy->name = copy_span(&w, f->name);
        for (char *c = w - f->name.n; c < w; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
        copy->value = copy_span(&w, f->value);
        if (sc_span_eq(copy->name, SC_SPAN("host")))
            to->authority = copy->value;
    }
    return true;
}

bool sc_h2_conn_upgrade(struct sc_conn *c)
{
    static const char switching[] =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n";
    const struct sc_http1_head *h = &c->block->head;
    struct iovec iov = {(void *)switching, sizeof switching - 1};
    struct sc_span settings = h->h2_settings;
    struct sc_h2_head head;
    if (!h->says_upgrade || !settings.p || h->http10 || h->content_length || h->expect || c->tls ||
        c->part->draining || !copy_head(h, &head))
        return false;
    if (!sc_h2_conn_begin(c)) {
        sc_h2_head_free(&head);
        return true;
    }
    /* What the session sends goes out behind it. */
    if (sc_conn_send(c, &iov, 1) && !sc_h2_conn_first(c, &head, settings))
        sc_conn_close(c);
    return true;
}
