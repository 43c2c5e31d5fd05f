/* Answers over HTTP/2: the same heads as HTTP/1's (http_response.c), bodies that wait for windows. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/error.h"
#include "net/stream.h"

/* ---- fields ------------------------------------------------------------------------------- */

struct fields {
    struct sc_http_header at[SC_H2_ANSWER_FIELDS_MAX];
    unsigned n;
    struct sc_buf clean; /* values that could not be sent as they are; reserved beforehand */
    char number[SC_U64_DIGITS];
};

static bool is_clean(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static void add(struct fields *f, struct sc_span name, struct sc_span value)
{
    value = sc_span_trim(value);
    if (f->n == SC_H2_ANSWER_FIELDS_MAX)
        return;
    if (!is_clean(value) && f->clean.cap - f->clean.n >= value.n) {
        char *to = f->clean.p + f->clean.n;
        for (size_t i = 0; i < value.n; i++) {
            unsigned char c = (unsigned char)value.p[i];
            to[i] = (c < 0x20 && c != '\t') || c == 0x7f ? ' ' : (char)c;
        }
        f->clean.n += value.n;
        value = sc_span_trim(sc_span(to, value.n));
    }
    f->at[f->n++] = (struct sc_http_header){name, value};
}

static void add_all(struct fields *f, const struct sc_http_header *more, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (sc_http_may_add(&more[i]))
            add(f, more[i].name, more[i].value);
}

static void fields_begin(struct fields *f)
{
    f->n = 0;
    sc_buf_init(&f->clean, SC_HTTP_RESPONSE_HEAD_MAX);
}

/* Room for the values of r that must be cleaned; without memory they are sent empty. */
static void reserve_clean(struct fields *f, const struct sc_http_response *r)
{
    size_t n = is_clean(r->content_type) ? 0 : r->content_type.n;
    for (unsigned i = 0; i < r->nheaders; i++)
        n += is_clean(r->headers[i].value) ? 0 : r->headers[i].value.n;
    if (n)
        (void)sc_buf_reserve(&f->clean, n);
}

static void add_length(struct fields *f, size_t n)
{
    size_t digits = (size_t)(sc_put_u64(f->number, n) - f->number);
    add(f, SC_SPAN("content-length"), sc_span(f->number, digits));
}

/* In HTTP/1's order. */
static void answer_fields(struct fields *f, const struct sc_stream *st, const struct sc_http_response *r)
{
    const struct sc_http_server *s = st->conn->part->server;
    fields_begin(f);
    reserve_clean(f, r);
    if (r->content_type.p)
        add(f, SC_SPAN("content-type"), r->content_type);
    add_all(f, r->headers, r->nheaders);
    if (r->bare)
        return;
    add(f, SC_SPAN("x-request-id"), sc_span(st->x.id, 36));
    for (unsigned i = 0; i < s->nfields; i++)
        if (i >= s->ncors || !sc_http_sets(r, s->fields[i].name))
            add(f, s->fields[i].name, s->fields[i].value);
}

/* ---- bodies --------------------------------------------------------------------------------- */

/* A copy of it, or, if it is released by that, itself. */
static bool append(struct sc_stream *st, struct sc_span data, void (*release)(void *arg), void *arg)
{
    struct sc_conn_out *o = malloc(sizeof *o + (release ? 0 : data.n));
    if (!o)
        return false;
    *o = (struct sc_conn_out){.p = data.p, .n = data.n, .release = release, .arg = arg};
    if (!release)
        o->p = memcpy(o->data, data.p, data.n);
    if (st->out)
        st->out_last->next = o;
    else
        st->out = o;
    st->out_last = o;
    st->out_bytes += sizeof *o + o->n;
    if (st->deadline.kind1 != SC_CONN_TIME_STREAM_WRITE + 1)
        sc_deadline_set(&st->conn->part->deadlines, &st->deadline, SC_CONN_TIME_STREAM_WRITE);
    return true;
}

void sc_stream_drop_output(struct sc_stream *st)
{
    while (st->out) {
        struct sc_conn_out *o = st->out;
        st->out = o->next;
        sc_conn_out_free(o);
    }
    st->out_last = NULL;
    st->out_bytes = 0;
    free(st->end_fields);
    st->end_fields = NULL;
    st->nend_fields = 0;
}

size_t sc_stream_take(void *stream, char *to, size_t room, bool *end)
{
    struct sc_stream *st = stream;
    struct sc_h2_conn *h = st->conn->h2;
    struct sc_deadlines *d = &st->conn->part->deadlines;
    size_t n = 0;
    while (st->out && n < room) {
        struct sc_conn_out *o = st->out;
        size_t k = SC_MIN(o->n - o->at, room - n);
        memcpy(to + n, o->p + o->at, k);
        n += k;
        o->at += k;
        if (o->at < o->n)
            break;
        st->out = o->next;
        st->out_bytes -= sizeof *o + o->n;
        sc_conn_out_free(o);
    }
    if (st->out) {
        sc_deadline_set(d, &st->deadline, SC_CONN_TIME_STREAM_WRITE);
        return n;
    }
    *end = st->answered;
    if (*end)
        sc_stream_linger(st);
    else
        sc_deadline_clear(d, &st->deadline);
    if (*end && st->nend_fields)
        sc_h2_trailers(h->session, st->id, st->end_fields, st->nend_fields);
    h->attention |= st->stalled;
    return n;
}

/* A copy of trailers in one block of memory, cleaned. */
static void keep_trailers(struct sc_stream *st, const struct sc_http_header *fields, unsigned n)
{
    size_t bytes = 0;
    n = SC_MIN(n, (unsigned)SC_H2_ANSWER_FIELDS_MAX);
    for (unsigned i = 0; i < n; i++)
        bytes += fields[i].name.n + fields[i].value.n;
    struct sc_http_header *to = n ? malloc(n * sizeof *to + bytes) : NULL;
    if (!to)
        return;
    char *text = (char *)(to + n);
    for (unsigned i = 0; i < n; i++) {
        if (!sc_http_may_add(&fields[i]))
            continue;
        struct sc_http_header *f = &to[st->nend_fields++];
        memcpy(text, fields[i].name.p, fields[i].name.n);
        f->name = sc_span(text, fields[i].name.n);
        text += f->name.n;
        f->value = sc_span(text, fields[i].value.n);
        for (size_t k = 0; k < f->value.n; k++) {
            unsigned char b = (unsigned char)fields[i].value.p[k];
            *text++ = (b < 0x20 && b != '\t') || b == 0x7f ? ' ' : (char)b;
        }
        f->value = sc_span_trim(f->value);
    }
    st->end_fields = to;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Status codes below 200 announce another answer; here the one that there is takes their place. */
static const struct sc_http_response not_final = {
    .status = 500,
    .content_type = {"application/json", 16},
    .body = SC_SPAN("{\n  \"code\": 500,\n  \"type\": \"InternalServerException\",\n"
                    "  \"message\": \"The status of the response cannot be sent over HTTP/2.\"\n}\n"),
};

static const struct sc_http_response *sendable(const struct sc_stream *st, const struct sc_http_response *r)
{
    return r->status < 200 ? &not_final : sc_http_fitting(st->conn->part->server, r);
}

static void send_fields(struct sc_stream *st, int status, struct fields *f, bool body)
{
    struct sc_h2 *h = st->conn->h2->session;
    if (sc_h2_answer(h, st->id, status, f->at, f->n, body) < 0)
        sc_h2_reset(h, st->id, SC_H2_INTERNAL_ERROR);
    sc_buf_free(&f->clean);
    sc_h2_conn_touch(st->conn);
}

/* True: the body was released, or will be once it is sent. */
static bool send_whole(struct sc_stream *st, const struct sc_http_response *r)
{
    struct fields f;
    bool held = r->release && r->body.n > SC_CONN_WRITE_BYTES;
    bool bodied = sc_http_has_body(r->status), sent = bodied && !st->x.req.head && r->body.n;
    sc_conn_account(st->conn, &st->x, r->status, true);
    answer_fields(&f, st, r);
    if (!r->bare && r->status != 204)
        add_length(&f, bodied ? r->body.n : 0);
    keep_trailers(st, r->trailers, r->ntrailers);
    held = held && sent;
    if (sent && !append(st, r->body, held ? r->release : NULL, r->release_arg)) {
        sc_buf_free(&f.clean);
        sc_h2_reset(st->conn->h2->session, st->id, SC_H2_INTERNAL_ERROR);
        sc_h2_conn_touch(st->conn);
        return false;
    }
    send_fields(st, r->status, &f, sent || st->nend_fields);
    return held;
}

void sc_stream_respond(struct sc_http_exchange *x, const struct sc_http_response *r)
{
    struct sc_stream *st = sc_stream_of(x);
    bool held = st->id && st->conn->fd >= 0 && send_whole(st, sendable(st, r));
    if (r->release && !held)
        r->release(r->release_arg);
    sc_stream_answered(st);
}

void sc_stream_begin(struct sc_http_exchange *x, const struct sc_http_response *head,
                     void (*on_writable)(struct sc_http_exchange *x))
{
    struct sc_stream *st = sc_stream_of(x);
    const struct sc_http_response *r = sendable(st, head);
    struct fields f;
    st->streaming = true;
    st->on_writable = on_writable;
    if (!st->id || st->conn->fd < 0)
        return;
    sc_conn_account(st->conn, &st->x, r->status, true);
    answer_fields(&f, st, r);
    send_fields(st, r->status, &f, true);
}

int sc_stream_chunk(struct sc_http_exchange *x, struct sc_span data)
{
    struct sc_stream *st = sc_stream_of(x);
    if (!st->id || st->conn->fd < 0)
        return SC_ECLOSED;
    if (st->out_bytes >= SC_CONN_STREAM_BYTES) {
        st->stalled = true;
        return SC_ELIMIT;
    }
    if (data.n == 0 || x->req.head)
        return 0;
    if (!append(st, data, NULL, NULL))
        return SC_ECLOSED;
    sc_h2_resume(st->conn->h2->session, st->id);
    sc_h2_conn_touch(st->conn);
    return 0;
}

void sc_stream_finish(struct sc_http_exchange *x, const struct sc_http_header *trailers, unsigned n)
{
    struct sc_stream *st = sc_stream_of(x);
    if (st->id && st->conn->fd >= 0) {
        keep_trailers(st, trailers, n);
        sc_h2_resume(st->conn->h2->session, st->id);
        sc_h2_conn_touch(st->conn);
    }
    sc_stream_answered(st);
}

void sc_stream_reset(struct sc_http_exchange *x, uint32_t code)
{
    struct sc_stream *st = sc_stream_of(x);
    if (st->id && st->conn->fd >= 0) {
        sc_stream_drop_output(st);
        sc_h2_reset(st->conn->h2->session, st->id, code);
        sc_h2_conn_touch(st->conn);
    }
    sc_stream_answered(st);
}

void sc_stream_consumed(struct sc_http_exchange *x, size_t n)
{
    struct sc_stream *st = sc_stream_of(x);
    if (!st->id || st->conn->fd < 0)
        return;
    sc_h2_consumed(st->conn->h2->session, st->id, n);
    sc_h2_conn_touch(st->conn);
}

struct sc_conn *sc_stream_conn(struct sc_http_exchange *x)
{
    return sc_stream_of(x)->conn;
}

void sc_stream_fail(struct sc_stream *st, int status, const char *type, const char *message)
{
    char body[512];
    struct fields f;
    if (st->streaming) {
        sc_h2_reset(st->conn->h2->session, st->id, SC_H2_INTERNAL_ERROR);
        sc_h2_conn_touch(st->conn);
    } else if (!type) {
        fields_begin(&f);
        add_length(&f, 0);
        send_fields(st, status, &f, false);
    } else {
        int n =
            snprintf(body, sizeof body, "{\n  \"code\": %d,\n  \"type\": \"%s\",\n  \"message\": \"%s\"\n}\n",
                     status, type, message);
        struct sc_http_response r = {
            .status = status, .content_type = SC_SPAN("application/json"), .body = sc_span(body, (size_t)n)};
        send_whole(st, &r);
    }
    sc_stream_answered(st);
}
