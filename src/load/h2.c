/* HTTP/2 with prior knowledge (RFC 9113 §3.3) or by ALPN, and gRPC on it; framing and HPACK are nghttp2's. */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "load/client.h"

#define WINDOW (1 << 30)      /* the generator always has room */
#define OUT_BYTES (64u << 10) /* sent in one call */
#define FIELDS_MAX 64

struct h2 {
    nghttp2_session *session;
    struct sc_load_run *run;
    struct sc_load_conn *conn;
    size_t from, n; /* of out: not sent yet */
    bool failing;   /* a request could not be sent: the connection has to go */
    bool draining;  /* GOAWAY: what is begun is answered, new requests wait for the next connection */
    char out[OUT_BYTES];
};

/* ---- requests ---- */

static void field(struct sc_load_plan *p, const char *name, size_t name_n, const char *value, size_t value_n)
{
    p->fields[p->nfields++] =
        (nghttp2_nv){.name = (uint8_t *)name,
                     .value = (uint8_t *)value,
                     .namelen = name_n,
                     .valuelen = value_n,
                     .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static void field_str(struct sc_load_plan *p, const char *name, const char *value)
{
    field(p, name, strlen(name), value, strlen(value));
}

/* Header lines as HTTP/1.1 has them, names in lower case. */
static int lines(struct sc_load_plan *p, struct sc_msg *msg)
{
    struct sc_span rest = sc_buf_view(&p->text);
    while (rest.n) {
        size_t n = sc_span_find(rest, '\r');
        struct sc_span line = sc_span_sub(rest, 0, n);
        rest = sc_span_sub(rest, n + 2, rest.n);
        size_t colon = sc_span_find(line, ':');
        if (colon == 0 || colon == line.n)
            return sc_fail(msg, SC_EINVAL, "\"%.*s\" is no header", SC_FMT(line));
        if (p->nfields + 2 >= FIELDS_MAX)
            return sc_fail(msg, SC_ELIMIT, "more than %d headers", FIELDS_MAX);
        struct sc_span value = sc_span_trim(sc_span_sub(line, colon + 1, line.n));
        for (char *c = p->text.p + (line.p - p->text.p); *c != ':'; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 32) : *c;
        field(p, line.p, colon, value.p, value.n);
    }
    return 0;
}

int sc_load_h2_fields(struct sc_load_plan *p, bool body, struct sc_msg *msg)
{
    const struct sc_load_config *c = p->config;
    bool grpc = c->protocol == SC_LOAD_GRPC;
    p->fields = sc_alloc_array(FIELDS_MAX, sizeof *p->fields);
    sc_buf_init(&p->text, SC_LOAD_HEAD_BYTES);
    sc_buf_str(&p->text, c->headers ? c->headers : "");
    if (p->text.failed)
        return sc_fail(msg, SC_ELIMIT, "the headers are larger than %u bytes", SC_LOAD_HEAD_BYTES);
    field_str(p, ":method", grpc ? "POST" : c->method ? c->method : body ? "POST" : "GET");
    field_str(p, ":scheme", c->tls ? "https" : "http");
    field_str(p, ":path",
              grpc ? "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions" : c->target);
    field_str(p, ":authority", c->host);
    if (grpc) {
        field_str(p, "content-type", "application/grpc");
        field_str(p, "te", "trailers");
    }
    return lines(p, msg);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct sc_load_slot *s = source->ptr;
    size_t n = s->out.n - s->taken;
    (void)session;
    (void)user;
    if (s->stream != id || !s->busy)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* forgotten */
    n = n < room ? n : room;
    memcpy(to, s->out.p + s->taken, n);
    s->taken += n;
    if (s->taken == s->out.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void launch(struct sc_load_run *r, struct sc_load_slot *s)
{
    struct h2 *h = s->conn->private;
    const struct sc_load_plan *p = sc_load_plan(r);
    nghttp2_nv fields[FIELDS_MAX + 1];
    size_t n = p->nfields;
    s->stream = -1;
    if (h->draining) {
        sc_load_dirty(r, s->conn);
        return;
    }
    memcpy(fields, p->fields, n * sizeof *fields);
    if (s->out.n && p->config->protocol == SC_LOAD_HTTP2)
        fields[n++] = (nghttp2_nv){.name = (uint8_t *)"content-length",
                                   .value = (uint8_t *)s->message->length,
                                   .namelen = 14,
                                   .valuelen = strlen(s->message->length),
                                   .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
    s->taken = 0;
    s->stream = nghttp2_submit_request(h->session, NULL, fields, n, s->out.n ? &body : NULL, s);
    if (s->stream < 0)
        h->failing = true; /* out of ids or memory: seen when the connection is written */
    sc_load_dirty(r, s->conn);
}

/* ---- answers ---- */

static struct sc_load_slot *slot_of(nghttp2_session *session, int32_t id)
{
    struct sc_load_slot *s = nghttp2_session_get_stream_user_data(session, id);
    return s && s->busy && s->stream == id ? s : NULL;
}

static unsigned decimal(const uint8_t *p, size_t n)
{
    uint64_t v;
    return sc_span_u64(sc_span(p, n), 999, &v) ? (unsigned)v : 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    struct sc_load_slot *s = slot_of(session, f->hd.stream_id);
    (void)flags;
    (void)user;
    if (!s)
        return 0;
    if (name_n == 7 && memcmp(name, ":status", 7) == 0)
        s->status = decimal(value, value_n);
    else if (name_n == 11 && memcmp(name, "grpc-status", 11) == 0)
        s->grpc_status = (int)decimal(value, value_n);
    else if (name_n == 12 && memcmp(name, "grpc-message", 12) == 0)
        snprintf(s->grpc_text, sizeof s->grpc_text, "%.*s", (int)SC_MIN(value_n, (size_t)90),
                 (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    struct sc_load_slot *s = slot_of(session, id);
    (void)flags;
    (void)user;
    if (s)
        sc_body_add(&s->body, (const char *)p, n);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2 *h = user;
    struct sc_load_slot *s = slot_of(session, id);
    if (!s)
        return 0;
    if (h->draining && code == NGHTTP2_REFUSED_STREAM) {
        s->stream = -1; /* the server has not looked at it (RFC 9113 §8.7) */
        return 0;
    }
    if (code != NGHTTP2_NO_ERROR || s->status < 200) {
        sc_load_failed(h->run, s, s->status ? SC_LOAD_SHORT : SC_LOAD_RESET);
        return 0;
    }
    sc_body_end(&s->body);
    sc_load_answered(h->run, s, true);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    struct h2 *h = user;
    (void)session;
    h->draining |= f->hd.type == NGHTTP2_GOAWAY;
    return 0;
}

static int on_not_sent(nghttp2_session *session, const nghttp2_frame *f, int error, void *user)
{
    struct h2 *h = user;
    (void)session;
    (void)error;
    for (unsigned i = 0; f->hd.type == NGHTTP2_HEADERS && i < h->conn->nslots; i++) {
        struct sc_load_slot *s = &h->conn->slots[i];
        if (!s->busy || s->stream != f->hd.stream_id)
            continue;
        s->stream = -1;
        h->failing |= !h->draining;
    }
    return 0;
}

/* ---- the connection ---- */

static void opened(struct sc_load_run *r, struct sc_load_conn *c)
{
    struct h2 *h = sc_alloc(sizeof *h);
    nghttp2_session_callbacks *cb;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW}};
    h->run = r;
    h->conn = c;
    c->private = h;
    if (nghttp2_session_callbacks_new(&cb) != 0) {
        sc_load_broken(r, c, SC_LOAD_CONNECT);
        return;
    }
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    int rc = nghttp2_session_client_new(&h->session, cb, h);
    nghttp2_session_callbacks_del(cb);
    if (rc != 0 ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, SC_COUNT(settings)) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, WINDOW) != 0) {
        sc_load_broken(r, c, SC_LOAD_CONNECT);
        return;
    }
    sc_load_dirty(r, c);
}

/* Puts what the session has to say behind what is not sent yet. False: the session is beyond repair. */
static bool fill(struct h2 *h)
{
    if (h->from == h->n)
        h->from = h->n = 0;
    while (h->n <= OUT_BYTES / 2) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n < 0 || (size_t)n > OUT_BYTES - h->n)
            return false;
        if (n == 0)
            return true;
        memcpy(h->out + h->n, p, (size_t)n);
        h->n += (size_t)n;
    }
    return true;
}

static void ended(struct sc_load_run *r, struct sc_load_conn *c)
{
    struct h2 *h = c->private;
    bool begun = false, some = false;
    for (unsigned i = 0; i < c->nslots; i++) {
        begun |= c->slots[i].busy && c->slots[i].stream >= 0;
        some |= c->slots[i].busy && c->slots[i].status;
    }
    if (h->draining && !begun)
        sc_load_reconnect(r, c);
    else
        /* What was no HTTP/2 has made the session say so, which is known once that would be sent. */
        sc_load_broken(r, c,
                       some                                                 ? SC_LOAD_SHORT
                       : !fill(h) || !nghttp2_session_want_read(h->session) ? SC_LOAD_PROTOCOL
                                                                            : SC_LOAD_RESET);
}

static void writable(struct sc_load_run *r, struct sc_load_conn *c)
{
    struct h2 *h = c->private;
    for (;;) {
        if (!fill(h) || h->failing) {
            sc_load_broken(r, c, SC_LOAD_RESET);
            return;
        }
        if (h->from == h->n)
            break;
        ssize_t n = sc_load_send(c, h->out + h->from, h->n - h->from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                sc_load_broken(r, c, SC_LOAD_RESET);
            return;
        }
        h->from += (size_t)n;
        sc_load_client(r)->result.bytes_out += (uint64_t)n;
    }
    if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        ended(r, c);
}

static void readable(struct sc_load_run *r, struct sc_load_conn *c, bool hung_up)
{
    struct h2 *h = c->private;
    char *in = sc_load_in(r);
    sc_load_dirty(r, c); /* acknowledgements, window updates */
    for (;;) {
        ssize_t n = sc_load_recv(c, in, SC_LOAD_READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            ended(r, c);
            return;
        }
        sc_load_client(r)->result.bytes_in += (uint64_t)n;
        if (nghttp2_session_mem_recv(h->session, (const uint8_t *)in, (size_t)n) < 0) {
            sc_load_broken(r, c, SC_LOAD_PROTOCOL);
            return;
        }
        if (!hung_up && (size_t)n < SC_LOAD_READ_BYTES)
            return;
    }
}

static bool forget(struct sc_load_run *r, struct sc_load_slot *s)
{
    struct h2 *h = s->conn->private;
    if (s->stream > 0) {
        nghttp2_session_set_stream_user_data(h->session, s->stream, NULL);
        nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->stream, NGHTTP2_CANCEL);
        s->stream = -1;
    }
    sc_load_dirty(r, s->conn);
    return true;
}

static void closed(struct sc_load_conn *c, bool last)
{
    struct h2 *h = c->private;
    (void)last;
    if (!h)
        return;
    nghttp2_session_del(h->session);
    free(h);
    c->private = NULL;
}

const struct sc_load_transport sc_load_h2 = {
    .opened = opened,
    .launch = launch,
    .readable = readable,
    .writable = writable,
    .forget = forget,
    .closed = closed,
};
