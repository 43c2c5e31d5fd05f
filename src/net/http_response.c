/* Answers: heads in TorchServe's order (docs/contract.md §2.4), whole and streamed bodies. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "net/connection.h"
#include "proto/h2.h"

/* "Client Error (4xx)" and its like */
#define SC_UNKNOWN_PHRASE_MAX 32

#define COPY_MAX 4096 /* smaller bodies go behind the head: one piece is cheaper to send than two */

static const struct {
    short status;
    const char *phrase;
} phrases[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Request Entity Too Large"},
    {414, "Request-URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Requested Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Entity"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Unordered Collection"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {510, "Not Extended"},
    {511, "Network Authentication Required"},
};

static const char *phrase_of(int status)
{
    for (size_t i = 0; i < SC_COUNT(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return NULL;
}

static const char *class_of(int status)
{
    static const char *const names[] = {"Informational", "Success", "Redirection", "Client Error",
                                        "Server Error"};
    int class = status / 100;
    return class >= 1 && class <= 5 ? names[class - 1] : "Unknown Status";
}

/* ---- pieces --------------------------------------------------------------------------- */

static char *put(char *w, const void *p, size_t n)
{
    memcpy(w, p, n);
    return w + n;
}
#define PUT(w, literal) put(w, "" literal, sizeof(literal) - 1)

static char *put_span(char *w, struct sc_span s)
{
    return s.n ? put(w, s.p, s.n) : w;
}

/* For what comes from handlers: a line end in it would begin a header, or an answer, of its own. */
static char *put_clean(char *w, struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        *w++ = (c < 0x20 && c != '\t') || c == 0x7f ? ' ' : (char)c;
    }
    return w;
}

static char *put_status(char *w, int status, const char *reason)
{
    if (SC_LIKELY(status == 200 && !reason))
        return PUT(w, "HTTP/1.1 200 OK\r\n");
    w = PUT(w, "HTTP/1.1 ");
    *w++ = (char)('0' + status / 100);
    *w++ = (char)('0' + status / 10 % 10);
    *w++ = (char)('0' + status % 10);
    *w++ = ' ';
    if (!reason)
        reason = phrase_of(status);
    if (reason)
        w = put_clean(w, sc_span_str(reason));
    else
        w += snprintf(w, SC_UNKNOWN_PHRASE_MAX, "%s (%d)", class_of(status), status);
    return PUT(w, "\r\n");
}

static uint64_t next_random(uint64_t s[4])
{
    /* xoshiro256** */
    uint64_t x = s[1] * 5, result = ((x << 7) | (x >> 57)) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

static const char hex_digits[] = "0123456789abcdef";

void sc_http_uuid(uint64_t random[4], char out[37])
{
    static const unsigned char at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    unsigned char b[16];
    uint64_t r[2] = {next_random(random), next_random(random)};
    memcpy(b, r, sizeof b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++) {
        out[at[i]] = hex_digits[b[i] >> 4];
        out[at[i] + 1] = hex_digits[b[i] & 15];
    }
    out[8] = out[13] = out[18] = out[23] = '-';
    out[36] = '\0';
}

/* ---- heads ---------------------------------------------------------------------------- */

/* CORS and cache headers are the same in every answer: made once, as text and as fields. */
bool sc_http_server_prepare(struct sc_http_server *s)
{
    const struct {
        const char *name, *value;
    } all[SC_HTTP_COMMON_FIELDS] = {
        {"access-control-allow-origin", s->config.cors_origin},
        {"access-control-allow-methods", s->config.cors_methods},
        {"access-control-allow-headers", s->config.cors_headers},
        {"Pragma", "no-cache"},
        {"Cache-Control", "no-cache; no-store, must-revalidate, private"},
        {"Expires", "Thu, 01 Jan 1970 00:00:00 UTC"},
    };
    size_t n = 0;
    for (size_t i = 0; i < SC_COUNT(all); i++)
        n += strlen(all[i].name) + (all[i].value ? strlen(all[i].value) : 0) + 4;
    char *w = s->common = malloc(n);
    if (!w)
        return false;
    for (size_t i = 0; i < SC_COUNT(all); i++) {
        if (!all[i].value || !*all[i].value)
            continue;
        struct sc_http_header *f = &s->fields[s->nfields++];
        f->name = sc_span_str(all[i].name);
        w = put_span(w, f->name);
        w = PUT(w, ": ");
        f->value = sc_span(w, strlen(all[i].value));
        w = put_clean(w, sc_span_str(all[i].value));
        w = PUT(w, "\r\n");
        if (i < SC_HTTP_CORS_FIELDS) {
            s->cors_n = (size_t)(w - s->common);
            s->ncors = s->nfields;
        }
    }
    s->common_n = (size_t)(w - s->common);
    /* Everything else of a head that has no extra headers must fit beside it. */
    return s->common_n < SC_HTTP_RESPONSE_HEAD_MAX / 2;
}

/* Names that are the server's alone; a handler's are dropped. */
static bool is_ours(struct sc_span name)
{
    static const struct sc_span ours[] = {
        {"connection", 10},   {"content-length", 14}, {"transfer-encoding", 17},
        {"x-request-id", 12}, {"pragma", 6},          {"cache-control", 13},
        {"expires", 7},
    };
    for (size_t i = 0; i < SC_COUNT(ours); i++)
        if (sc_span_eq_nocase(name, ours[i]))
            return true;
    return false;
}

static bool is_name(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= 0x20 || c == ':' || c >= 0x7f)
            return false;
    }
    return s.n > 0;
}

bool sc_http_may_add(const struct sc_http_header *f)
{
    return is_name(f->name) && !is_ours(f->name);
}

static char *put_extra(char *w, const struct sc_http_response *r)
{
    for (unsigned i = 0; i < r->nheaders; i++) {
        const struct sc_http_header *f = &r->headers[i];
        if (!sc_http_may_add(f))
            continue;
        w = put_span(w, f->name);
        w = PUT(w, ": ");
        w = put_clean(w, f->value);
        w = PUT(w, "\r\n");
    }
    return w;
}

bool sc_http_sets(const struct sc_http_response *r, struct sc_span name)
{
    for (unsigned i = 0; i < r->nheaders; i++)
        if (sc_span_eq_nocase(r->headers[i].name, name))
            return true;
    return false;
}

/* CORS headers without those that the handler set itself. */
static char *put_cors(char *w, const struct sc_http_server *s, const struct sc_http_response *r)
{
    for (unsigned i = 0; i < s->ncors; i++) {
        const struct sc_http_header *f = &s->fields[i];
        if (sc_http_sets(r, f->name))
            continue;
        w = put_span(w, f->name);
        w = PUT(w, ": ");
        w = put_span(w, f->value);
        w = PUT(w, "\r\n");
    }
    return w;
}

#define TOO_LARGE                                                     \
    "{\n  \"code\": 500,\n  \"type\": \"InternalServerException\",\n" \
    "  \"message\": \"The headers of the response are too large.\"\n}\n"

static const struct sc_http_response too_large = {
    .status = 500,
    .content_type = {"application/json", 16},
    .body = {TOO_LARGE, sizeof TOO_LARGE - 1},
};

/* r, or what is sent in its place if its head is too large. */
const struct sc_http_response *sc_http_fitting(const struct sc_http_server *s,
                                               const struct sc_http_response *r)
{
    size_t n = s->common_n + 512 + r->content_type.n + (r->reason ? strlen(r->reason) : 0);
    for (unsigned i = 0; i < r->nheaders; i++)
        n += r->headers[i].name.n + r->headers[i].value.n + 4;
    return n <= SC_HTTP_RESPONSE_HEAD_MAX ? r : &too_large;
}

/* Everything up to where content-length or transfer-encoding goes. */
static char *put_head(char *w, struct sc_conn *c, const struct sc_http_response *r)
{
    const struct sc_http_server *s = c->part->server;
    w = put_status(w, r->status, r->reason);
    if (r->content_type.p) {
        w = PUT(w, "content-type: ");
        w = put_clean(w, r->content_type);
        w = PUT(w, "\r\n");
    }
    if (SC_UNLIKELY(r->nheaders))
        w = put_extra(w, r);
    w = PUT(w, "x-request-id: ");
    w = put(w, c->x.id, 36);
    w = PUT(w, "\r\n");
    if (SC_UNLIKELY(r->nheaders && s->cors_n)) {
        w = put_cors(w, s, r);
        return put(w, s->common + s->cors_n, s->common_n - s->cors_n);
    }
    return put(w, s->common, s->common_n);
}

static char *put_connection(char *w, bool close)
{
    return close ? PUT(w, "connection: close\r\n\r\n") : PUT(w, "connection: keep-alive\r\n\r\n");
}

static void bump(_Atomic uint64_t *n)
{
    /* Only this loop writes it. */
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

void sc_conn_account(struct sc_conn *c, struct sc_http_exchange *x, int status, bool parsed)
{
    struct sc_conn_counts *n = &c->part->counts;
    x->status = status;
    if (x->quiet)
        return;
    bump(status / 100 == 2 ? &n->r2xx : status / 100 == 4 ? &n->r4xx : &n->r5xx);
    sc_conn_log(c, x, status, parsed);
    const struct sc_http_config *config = &c->part->server->config;
    if (config->answered)
        config->answered(config->answered_ctx, status);
}

static void account(struct sc_conn *c, int status, bool parsed)
{
    sc_conn_account(c, &c->x, status, parsed);
    if (status >= 400)
        c->close = c->linger = true;
    if (status < 200)
        c->close = true; /* it looks like the announcement of another answer */
    if (c->expects)
        c->close = c->linger = true; /* the body may follow or not: what comes next cannot be told */
}

bool sc_http_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* ---- whole answers -------------------------------------------------------------------- */

/* True: the body was released, or will be once it is sent. */
static bool send_whole(struct sc_conn *c, const struct sc_http_response *r, bool parsed)
{
    account(c, r->status, parsed);
    bool bodied = sc_http_has_body(r->status);
    char *w = put_head(c->part->scratch, c, r);
    if (r->status != 204) { /* RFC 9110 §8.6: none there; in a 304 it is that of the answer in the cache */
        w = PUT(w, "content-length: ");
        w = sc_put_u64(w, r->status >= 200 ? r->body.n : 0);
        w = PUT(w, "\r\n");
    }
    w = put_connection(w, c->close);
    struct iovec iov[2];
    int n = 1;
    if (bodied && !(parsed && c->x.req.head) && r->body.n) {
        if (r->body.n <= COPY_MAX) {
            w = put(w, r->body.p, r->body.n);
        } else {
            iov[n++] = (struct iovec){(void *)r->body.p, r->body.n};
        }
    }
    iov[0] = (struct iovec){c->part->scratch, (size_t)(w - c->part->scratch)};
    if (r->release && n == 2 && r->body.n > SC_CONN_WRITE_BYTES) {
        sc_conn_send_held(c, iov, r->release, r->release_arg);
        return true;
    }
    sc_conn_send(c, iov, n);
    return false;
}

void sc_http_respond(struct sc_http_exchange *x, const struct sc_http_response *r)
{
    if (x->req.http2) {
        sc_stream_respond(x, r);
        return;
    }
    struct sc_conn *c = sc_conn_of(x);
    bool held = false;
    if (c->fd >= 0)
        held = send_whole(c, sc_http_fitting(c->part->server, r), true);
    if (r->release && !held)
        r->release(r->release_arg);
    c->answered = true;
    sc_conn_run(c);
}

/* ---- streamed answers ------------------------------------------------------------------ */

void sc_http_stream_begin(struct sc_http_exchange *x, const struct sc_http_response *head,
                          void (*on_writable)(struct sc_http_exchange *x))
{
    if (x->req.http2) {
        sc_stream_begin(x, head, on_writable);
        return;
    }
    struct sc_conn *c = sc_conn_of(x);
    const struct sc_http_response *r = sc_http_fitting(c->part->server, head);
    c->streaming = true;
    c->on_writable = on_writable;
    c->chunks = !x->req.http10;
    if (!c->chunks)
        c->close = true;
    if (c->fd < 0)
        return;
    account(c, r->status, true);
    char *w = put_head(c->part->scratch, c, r);
    if (c->chunks)
        w = PUT(w, "transfer-encoding: chunked\r\n");
    w = put_connection(w, c->close);
    struct iovec iov = {c->part->scratch, (size_t)(w - c->part->scratch)};
    sc_conn_send(c, &iov, 1);
    sc_conn_rest(c);
}

int sc_http_stream_chunk(struct sc_http_exchange *x, struct sc_span data)
{
    if (x->req.http2)
        return sc_stream_chunk(x, data);
    struct sc_conn *c = sc_conn_of(x);
    if (c->fd < 0)
        return SC_ECLOSED;
    if (c->out_bytes >= SC_CONN_STREAM_BYTES) {
        c->stalled = true;
        return SC_ELIMIT;
    }
    if (data.n == 0 || x->req.head)
        return 0;
    char size[24];
    struct iovec iov[3] = {
        {size, 0},
        {(void *)data.p, data.n},
        {(void *)"\r\n", 2},
    };
    if (c->chunks)
        iov[0].iov_len = (size_t)snprintf(size, sizeof size, "%zx\r\n", data.n);
    bool ok = c->chunks ? sc_conn_send(c, iov, 3) : sc_conn_send(c, iov + 1, 1);
    if (c->out)
        sc_conn_rest(c);
    return ok ? 0 : SC_ECLOSED;
}

void sc_http_stream_end(struct sc_http_exchange *x)
{
    sc_http_stream_finish(x, NULL, 0);
}

void sc_http_stream_finish(struct sc_http_exchange *x, const struct sc_http_header *trailers, unsigned n)
{
    if (x->req.http2) {
        sc_stream_finish(x, trailers, n);
        return;
    }
    struct sc_conn *c = sc_conn_of(x);
    struct iovec last = {(void *)"0\r\n\r\n", 5};
    if (c->chunks && !x->req.head)
        sc_conn_send(c, &last, 1);
    c->answered = true;
    sc_conn_run(c);
}

void sc_http_stream_abort(struct sc_http_exchange *x)
{
    if (x->req.http2) {
        sc_stream_reset(x, SC_H2_INTERNAL_ERROR);
        return;
    }
    struct sc_conn *c = sc_conn_of(x);
    /* Without chunks an orderly end would look like the whole answer. */
    if (!c->chunks) {
        c->broken = true;
        sc_conn_close(c);
    }
    c->close = c->linger = true;
    c->answered = true;
    sc_conn_run(c);
}

void sc_http_reset(struct sc_http_exchange *x, uint32_t code)
{
    if (x->req.http2) {
        sc_stream_reset(x, code);
        return;
    }
    struct sc_conn *c = sc_conn_of(x);
    c->broken = c->close = true;
    sc_conn_close(c);
    c->answered = true;
    sc_conn_run(c);
}

void sc_http_consumed(struct sc_http_exchange *x, size_t n)
{
    if (x->req.http2)
        sc_stream_consumed(x, n);
}

/* ---- answers by the server itself -------------------------------------------------------- */

void sc_conn_continue(struct sc_conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(void *)text, sizeof text - 1};
    sc_conn_send(c, &iov, 1);
}

void sc_conn_refuse(struct sc_conn *c, int status)
{
    char *w = put_status(c->part->scratch, status, NULL);
    w = PUT(w, "content-length: 0\r\n");
    w = c->close ? PUT(w, "connection: close\r\n\r\n") : PUT(w, "\r\n");
    struct iovec iov = {c->part->scratch, (size_t)(w - c->part->scratch)};
    c->linger = true;
    sc_conn_send(c, &iov, 1);
}

void sc_conn_error(struct sc_conn *c, int status, const char *type, const char *message)
{
    char body[512];
    int n = snprintf(body, sizeof body, "{\n  \"code\": %d,\n  \"type\": \"%s\",\n  \"message\": \"%s\"\n}\n",
                     status, type, message);
    bool parsed = c->live;
    if (!parsed)
        sc_http_uuid(c->part->random, c->x.id);
    struct sc_http_response r = {
        .status = status,
        .content_type = SC_SPAN("application/json"),
        .body = sc_span(body, (size_t)n),
    };
    send_whole(c, &r, parsed);
}
