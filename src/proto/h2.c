#include "proto/h2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "base/buf.h"

#define FIELDS_MAX (SC_HTTP_HEADERS_MAX + 8) /* with pseudo headers */
#define TEXT_MAX (SC_HTTP_HEADERS_BYTES + SC_HTTP_LINE_MAX + 64)
#define TEXT_KEPT 2048 /* ... of one head for the next */

/* A block of headers while it comes in. */
struct block {
    int32_t id; /* 0: none does */
    bool trailers, oversized;
    unsigned n;
    struct {
        uint16_t name_n, value_n; /* one behind the other in text */
    } field[FIELDS_MAX];
    struct sc_buf text;
};

struct sc_h2 {
    nghttp2_session *session;
    const struct sc_h2_events *events;
    void *ctx;
    struct block block;   /* between a HEADERS frame and the end of its last continuation */
    size_t block_bytes;   /* received since it began */
    const uint8_t *piece; /* what of the session's output was not taken yet */
    size_t piece_n;
    int64_t now_ms;
    int64_t patience; /* thousandths of a frame */
    bool greeted;     /* the preface is here */
    bool over;        /* terminated: what comes in is not looked at */
    bool broken;
    bool leaving;  /* the first GOAWAY of two is out */
    bool trailing; /* sc_h2_trailers was called */
};

/* ---- patience --------------------------------------------------------------------------- */

static void spend(struct sc_h2 *h, unsigned frames)
{
    h->patience -= (int64_t)frames * 1000;
    if (h->patience < 0)
        sc_h2_terminate(h, SC_H2_ENHANCE_YOUR_CALM);
}

static void regain(struct sc_h2 *h, int64_t thousandths)
{
    h->patience = SC_MIN(h->patience + thousandths, INT64_C(1000) * SC_H2_PATIENCE);
}

/* What a frame costs whoever sends nothing else. */
static unsigned price(const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA: return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    case NGHTTP2_HEADERS: return 0;
    case NGHTTP2_RST_STREAM: return 2;
    case NGHTTP2_SETTINGS: return 5;
    case NGHTTP2_GOAWAY: return 10;
    default: return 1; /* PING, WINDOW_UPDATE, PRIORITY, CONTINUATION, unknown ones */
    }
}

static int on_begin_frame(nghttp2_session *s, const nghttp2_frame_hd *hd, void *user)
{
    struct sc_h2 *h = user;
    (void)s;
    h->greeted = true;
    spend(h, price(hd));
    return 0;
}

static int on_invalid_frame(nghttp2_session *s, const nghttp2_frame *f, int error, void *user)
{
    (void)s;
    (void)f;
    (void)error;
    spend(user, 5);
    return 0;
}

/* ---- heads ------------------------------------------------------------------------------ */

/* The memory of one head serves for the next, unless it was a large one. */
static void drop_block(struct sc_h2 *h)
{
    h->block.id = 0;
    if (h->block.text.cap > TEXT_KEPT)
        sc_buf_free(&h->block.text);
}

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
    struct sc_h2 *h = user;
    (void)s;
    drop_block(h);
    h->block_bytes = 0;
    h->block.id = f->hd.stream_id;
    h->block.trailers = f->headers.cat != NGHTTP2_HCAT_REQUEST;
    h->block.oversized = false;
    h->block.n = 0;
    sc_buf_clear(&h->block.text);
    return 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    struct block *b = &((struct sc_h2 *)user)->block;
    size_t room = TEXT_MAX - b->text.n;
    (void)s;
    (void)flags;
    if (b->id != f->hd.stream_id)
        return 0;
    if (b->n == FIELDS_MAX || name_n > room || value_n > room - name_n) {
        b->oversized = true;
        return 0;
    }
    if (sc_buf_reserve(&b->text, name_n + value_n) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    b->field[b->n].name_n = (uint16_t)name_n;
    b->field[b->n++].value_n = (uint16_t)value_n;
    sc_buf_add(&b->text, name, name_n);
    sc_buf_add(&b->text, value, value_n);
    return 0;
}

/* What two readers of a request could read differently is refused, not left out. */
static int on_invalid_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t name_n,
                             const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    (void)name;
    (void)name_n;
    (void)value;
    (void)value_n;
    (void)flags;
    (void)user;
    nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, f->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static struct sc_span *pseudo(struct sc_h2_head *head, struct sc_span name)
{
    if (sc_span_eq(name, SC_SPAN(":method")))
        return &head->method;
    if (sc_span_eq(name, SC_SPAN(":path")))
        return &head->target;
    if (sc_span_eq(name, SC_SPAN(":scheme")))
        return &head->scheme;
    if (sc_span_eq(name, SC_SPAN(":authority")))
        return &head->authority;
    return NULL;
}

static void note_field(struct sc_h2_head *head, struct sc_span name, struct sc_span value, bool *has_host)
{
    uint64_t length;
    if (sc_span_eq(name, SC_SPAN("host")))
        *has_host = true;
    else if (sc_span_eq(name, SC_SPAN("content-length")) && sc_span_u64(value, INT64_MAX, &length))
        head->content_length = (int64_t)length;
    else if (sc_span_eq(name, SC_SPAN("expect")))
        *(sc_span_eq_nocase(value, SC_SPAN("100-continue")) ? &head->expects_100 : &head->expects_other) =
            true;
}

/* Cookies may come one by one; outside HTTP/2 they are one field (RFC 9113 §8.2.3). `to` has room for all. */
static void join_cookies(struct sc_h2_head *head, char *to)
{
    struct sc_http_header *first = NULL;
    char *from = to;
    unsigned kept = 0;
    for (unsigned i = 0; i < head->nheaders; i++) {
        struct sc_http_header f = head->headers[i];
        if (sc_span_eq(f.name, SC_SPAN("cookie"))) {
            if (first) {
                memcpy(to, "; ", 2);
                to += 2;
            }
            if (f.value.n)
                memcpy(to, f.value.p, f.value.n);
            to += f.value.n;
            if (first)
                continue;
            first = &head->headers[kept];
        }
        head->headers[kept++] = f;
    }
    head->nheaders = kept;
    if (first)
        first->value = sc_span(from, (size_t)(to - from));
}

/* One block of memory: fields, their text, and room to join cookies in. */
static bool finish_block(const struct block *b, bool ended, struct sc_h2_head *head)
{
    size_t table = (b->n + 1) * sizeof *head->headers;
    char *memory = malloc(table + 2 * b->text.n + 2 * b->n + 1);
    bool has_host = false;
    unsigned cookies = 0;
    size_t bytes = 0;
    if (!memory)
        return false;
    char *text = memory + table;
    if (b->text.n)
        memcpy(text, b->text.p, b->text.n);
    *head = (struct sc_h2_head){.memory = memory,
                                .headers = (struct sc_http_header *)(void *)memory,
                                .content_length = ended ? 0 : -1,
                                .oversized = b->oversized};
    for (unsigned i = 0; i < b->n; i++) {
        struct sc_span name = sc_span(text, b->field[i].name_n);
        struct sc_span value = sc_span(text + name.n, b->field[i].value_n), *at;
        text += name.n + value.n;
        if (name.n && name.p[0] == ':') {
            at = pseudo(head, name);
            if (at)
                *at = value;
            continue;
        }
        head->headers[head->nheaders++] = (struct sc_http_header){name, value};
        note_field(head, name, value, &has_host);
        cookies += sc_span_eq(name, SC_SPAN("cookie"));
        bytes += name.n + value.n + sizeof ": " - 1;
    }
    if (ended)
        head->content_length = 0;
    if (cookies > 1)
        join_cookies(head, text);
    if (!has_host && head->authority.n)
        head->headers[head->nheaders++] = (struct sc_http_header){SC_SPAN("host"), head->authority};
    head->oversized |= bytes > SC_HTTP_HEADERS_BYTES || head->nheaders > SC_HTTP_HEADERS_MAX ||
                       head->method.n + head->target.n + sizeof "  HTTP/2.0" > SC_HTTP_LINE_MAX;
    return true;
}

void sc_h2_head_free(struct sc_h2_head *head)
{
    free(head->memory);
    *head = (struct sc_h2_head){0};
}

/* ---- what comes in ------------------------------------------------------------------------ */

static void refuse(struct sc_h2 *h, int32_t id, uint32_t code)
{
    spend(h, 5);
    sc_h2_reset(h, id, code);
}

static void headers_complete(struct sc_h2 *h, const nghttp2_frame *f)
{
    int32_t id = f->hd.stream_id;
    bool ended = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct sc_h2_head head;
    bool trailers = h->block.trailers, whole = h->block.id == id && finish_block(&h->block, ended, &head);
    drop_block(h);
    if (!whole) {
        refuse(h, id, SC_H2_INTERNAL_ERROR);
        return;
    }
    void *stream = nghttp2_session_get_stream_user_data(h->session, id);
    if (!trailers) {
        stream = h->events->request(h->ctx, id, &head, ended);
        if (!stream) {
            sc_h2_head_free(&head);
            refuse(h, id, SC_H2_REFUSED_STREAM);
            return;
        }
        nghttp2_session_set_stream_user_data(h->session, id, stream);
        if (ended)
            h->events->end(stream, NULL);
    } else if (stream && ended && !head.oversized) {
        h->events->end(stream, &head);
    } else {
        sc_h2_head_free(&head);
        refuse(h, id, SC_H2_PROTOCOL_ERROR);
    }
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
    struct sc_h2 *h = user;
    if (h->over)
        return 0;
    if (f->hd.type == NGHTTP2_HEADERS) {
        headers_complete(h, f);
    } else if (f->hd.type == NGHTTP2_DATA && (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        void *stream = nghttp2_session_get_stream_user_data(s, f->hd.stream_id);
        if (stream)
            h->events->end(stream, NULL);
    } else if (f->hd.type == NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_ACK) && h->leaving) {
        /* What the client sent before it heard of our leaving is here by now. */
        h->leaving = false;
        nghttp2_submit_goaway(s, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(s),
                              NGHTTP2_NO_ERROR, NULL, 0);
    }
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *user)
{
    struct sc_h2 *h = user;
    (void)flags;
    /* What is stored, or not wanted, makes room for other streams at once: each stream has a bound of its
     * own. */
    nghttp2_session_consume_connection(s, n);
    void *stream = h->over ? NULL : nghttp2_session_get_stream_user_data(s, id);
    if (stream && n)
        h->events->data(stream, sc_span(p, n));
    return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *user)
{
    struct sc_h2 *h = user;
    void *stream = nghttp2_session_get_stream_user_data(s, id);
    if (stream)
        h->events->closed(stream, code);
    return 0;
}

int sc_h2_receive(struct sc_h2 *h, struct sc_span in, int64_t now_ms)
{
    if (h->broken)
        return SC_EPROTO;
    if (h->over || in.n == 0)
        return 0;
    regain(h, (now_ms - h->now_ms) * SC_H2_PATIENCE_PER_S);
    h->now_ms = now_ms;
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)in.p, in.n);
    if (n < 0) {
        h->broken = true;
        return n == NGHTTP2_ERR_NOMEM ? SC_ENOMEM : SC_EPROTO;
    }
    if (h->block.id) {
        h->block_bytes += in.n;
        if (h->block_bytes > SC_H2_BLOCK_BYTES)
            sc_h2_terminate(h, SC_H2_ENHANCE_YOUR_CALM);
    }
    return 0;
}

/* ---- what goes out ------------------------------------------------------------------------ */

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct sc_h2 *h = user;
    void *stream = nghttp2_session_get_stream_user_data(s, id);
    bool end = false;
    (void)source;
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    h->trailing = false;
    size_t n = h->events->take(stream, (char *)to, room, &end);
    if (end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (end && h->trailing)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    /* Who makes us send may answer with pings and window updates. */
    if (n)
        regain(h, 2000);
    return n || end ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

size_t sc_h2_send(struct sc_h2 *h, char *to, size_t room)
{
    size_t n = 0;
    while (n < room) {
        if (h->piece_n == 0) {
            ssize_t got = h->broken ? 0 : nghttp2_session_mem_send(h->session, &h->piece);
            if (got < 0)
                h->broken = true;
            if (got <= 0)
                break;
            h->piece_n = (size_t)got;
        }
        size_t k = SC_MIN(h->piece_n, room - n);
        memcpy(to + n, h->piece, k);
        h->piece += k;
        h->piece_n -= k;
        n += k;
    }
    return n;
}

bool sc_h2_alive(const struct sc_h2 *h)
{
    return !h->broken &&
           (h->piece_n || nghttp2_session_want_read(h->session) || nghttp2_session_want_write(h->session));
}

bool sc_h2_owed(const struct sc_h2 *h)
{
    return !h->greeted || h->block.id;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void to_nv(nghttp2_nv *nv, struct sc_span name, struct sc_span value)
{
    *nv = (nghttp2_nv){.name = (uint8_t *)name.p,
                       .namelen = name.n,
                       .value = (uint8_t *)(value.n ? value.p : ""),
                       .valuelen = value.n};
}

static unsigned fields_to_nv(nghttp2_nv *nv, const struct sc_http_header *fields, unsigned n)
{
    n = SC_MIN(n, (unsigned)SC_H2_ANSWER_FIELDS_MAX);
    for (unsigned i = 0; i < n; i++) {
        to_nv(&nv[i], fields[i].name, fields[i].value);
        /* No two are the same: they would only push others out of the table. */
        if (sc_span_eq(fields[i].name, SC_SPAN("x-request-id")))
            nv[i].flags = NGHTTP2_NV_FLAG_NO_INDEX;
    }
    return n;
}

int sc_h2_answer(struct sc_h2 *h, int32_t id, int status, const struct sc_http_header *fields, unsigned n,
                 bool body)
{
    nghttp2_nv nv[SC_H2_ANSWER_FIELDS_MAX + 1];
    nghttp2_data_provider source = {.read_callback = read_body};
    char digits[4] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10),
                      (char)('0' + status % 10), '\0'};
    to_nv(&nv[0], SC_SPAN(":status"), sc_span(digits, 3));
    n = 1 + fields_to_nv(nv + 1, fields, n);
    return nghttp2_submit_response(h->session, id, nv, n, body ? &source : NULL) == 0 ? 0 : SC_ENOMEM;
}

void sc_h2_continue(struct sc_h2 *h, int32_t id)
{
    nghttp2_nv nv;
    to_nv(&nv, SC_SPAN(":status"), SC_SPAN("100"));
    nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, id, NULL, &nv, 1, NULL);
}

void sc_h2_trailers(struct sc_h2 *h, int32_t id, const struct sc_http_header *fields, unsigned n)
{
    nghttp2_nv nv[SC_H2_ANSWER_FIELDS_MAX];
    n = fields_to_nv(nv, fields, n);
    h->trailing = n && nghttp2_submit_trailer(h->session, id, nv, n) == 0;
}

void sc_h2_resume(struct sc_h2 *h, int32_t id)
{
    nghttp2_session_resume_data(h->session, id);
}

void sc_h2_reset(struct sc_h2 *h, int32_t id, uint32_t code)
{
    nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, code);
}

void sc_h2_consumed(struct sc_h2 *h, int32_t id, size_t n)
{
    nghttp2_session_consume_stream(h->session, id, n);
}

void sc_h2_shutdown(struct sc_h2 *h)
{
    static const uint8_t ping[8] = "leaving";
    if (h->over || h->leaving)
        return;
    h->leaving = true;
    nghttp2_submit_shutdown_notice(h->session);
    nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, ping);
}

void sc_h2_terminate(struct sc_h2 *h, uint32_t code)
{
    if (h->over)
        return;
    h->over = true;
    nghttp2_session_terminate_session(h->session, code);
}

/* ---- life --------------------------------------------------------------------------------- */

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
    return c;
}

static int start(struct sc_h2 *h)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, SC_H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, SC_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, TEXT_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = NULL;
    int rc = callbacks && nghttp2_option_new(&option) == 0 ? 0 : SC_ENOMEM;
    if (rc == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        if (nghttp2_session_server_new2(&h->session, callbacks, h, option) != 0)
            rc = SC_ENOMEM;
    }
    if (rc == 0 &&
        (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, SC_COUNT(settings)) != 0 ||
         nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, SC_H2_CONN_WINDOW) != 0))
        rc = SC_ENOMEM;
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rc;
}

int sc_h2_new(struct sc_h2 **out, const struct sc_h2_events *events, void *ctx)
{
    struct sc_h2 *h = calloc(1, sizeof *h);
    if (!h)
        return SC_ENOMEM;
    h->events = events;
    h->ctx = ctx;
    h->patience = INT64_C(1000) * SC_H2_PATIENCE;
    sc_buf_init(&h->block.text, TEXT_MAX);
    if (start(h) < 0) {
        sc_h2_del(h);
        return SC_ENOMEM;
    }
    *out = h;
    return 0;
}

void sc_h2_del(struct sc_h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    sc_buf_free(&h->block.text);
    free(h);
}

/* ---- upgrade from HTTP/1.1 ------------------------------------------------------------------ */

/* base64url without padding (RFC 7540 §3.2.1). The number of bytes, or SC_EINVAL. */
static int decode_settings(struct sc_span in, uint8_t out[SC_H2_SETTINGS_BYTES])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;
    int n = 0;
    while (in.n && in.p[in.n - 1] == '=')
        in.n--;
    if (in.n > SC_H2_SETTINGS_BYTES)
        return SC_EINVAL;
    for (size_t i = 0; i < in.n; i++) {
        const char *at = in.p[i] ? strchr(alphabet, in.p[i]) : NULL;
        if (!at)
            return SC_EINVAL;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    return n;
}

int sc_h2_upgrade(struct sc_h2 *h, struct sc_span settings, bool head_request, void *stream)
{
    uint8_t payload[SC_H2_SETTINGS_BYTES];
    int n = decode_settings(settings, payload);
    if (n < 0 || nghttp2_session_upgrade2(h->session, payload, (size_t)n, head_request, NULL) != 0)
        return SC_EINVAL;
    /* A server's session does not keep what it is given for the stream. */
    return nghttp2_session_set_stream_user_data(h->session, 1, stream) == 0 ? 0 : SC_EINVAL;
}
