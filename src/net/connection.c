#include "net/connection.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "proto/h2.h"

#define NO_ROOM "There is no memory for the request now, please try again later."
#define TOO_SLOW "The request did not arrive in time."

static void on_event(uv_poll_t *h, int status, int events);

/* ---- life ----------------------------------------------------------------------------- */

void sc_conn_start(struct sc_conn *c)
{
    struct sc_http_part *p = c->part;
    const struct sc_http_config *cfg = &p->server->config;
    c->state = SC_CONN_HEAD;
    c->x.loop = p->loop;
    c->deadline = (struct sc_deadline){0};
    const struct sc_http_listen *listen = &p->server->listeners[c->x.listener].config;
    if (p->nconns >= cfg->max_connections || p->draining || p->closing ||
        (listen->tls && !sc_tls_begin(c, listen->tls)) || uv_poll_init(&p->loop->uv, &c->poll, c->fd) != 0) {
        sc_tls_end(c);
        close(c->fd);
        free(c->peer6);
        free(c);
        return;
    }
    c->poll.data = c;
    c->fresh = true;
    p->nconns++;
    sc_list_push_back(&p->conns, &c->node);
    atomic_store_explicit(&p->counts.connections, p->counts.connections + 1, memory_order_relaxed);
    /* What was sent together with the connect is often here already: a wake-up saved. */
    c->running = true;
    if (!listen->h2_only || c->tls || sc_h2_conn_begin(c))
        sc_conn_read(c);
    c->running = false;
    sc_conn_run(c);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct sc_conn *c = h->data;
    c->handle_closed = true;
    sc_conn_run(c);
}

void sc_conn_close(struct sc_conn *c)
{
    if (c->fd < 0)
        return;
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    if (c->tls) {
        if (!c->broken)
            sc_tls_finish(c);
        sc_tls_end(c);
    }
    if (c->broken) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(c->fd);
    c->fd = -1;
    sc_deadline_clear(&c->part->deadlines, &c->deadline);
    sc_conn_drop_output(c);
}

static void destroy(struct sc_conn *c)
{
    struct sc_http_part *p = c->part;
    sc_conn_return(c);
    sc_h2_conn_free(c);
    sc_list_remove(&c->node);
    free(c->peer6);
    free(c);
    sc_http_part_left(p);
}

void sc_conn_drain(struct sc_conn *c)
{
    /* The run closes it if it is between requests. */
    sc_conn_run(c);
}

/* ---- exchanges ------------------------------------------------------------------------ */

static void exchange_begin(struct sc_conn *c)
{
    const struct sc_http1_head *h = &c->block->head;
    c->x.req = (struct sc_http_request){
        .method = h->method,
        .target = h->target,
        .path = h->path,
        .query = h->query,
        .headers = h->headers,
        .nheaders = h->nheaders,
        .head = sc_span_eq(h->method, SC_SPAN("HEAD")),
        .http10 = h->http10,
        .content_length = h->content_length,
    };
    sc_body_init_heap(&c->x.body);
    c->x.user = NULL;
    c->x.on_data = NULL;
    c->x.quiet = false;
    c->x.status = 0;
    sc_http_uuid(c->part->random, c->x.id);
    c->live = true;
    c->answered = c->streaming = c->stalled = c->told_gone = false;
}

/* The application is done with it, and we are. */
static void exchange_end(struct sc_conn *c)
{
    const struct sc_http_app *app = &c->part->server->app;
    app->on_done(&c->x, app->ctx);
    sc_body_free(&c->x.body);
    c->live = c->answered = c->streaming = false;
}

/* The answer was given (by the application, or by us in its place): what becomes of the connection? */
static void settle(struct sc_conn *c)
{
    if (c->live)
        exchange_end(c);
    c->answered = false;
    if (c->fd < 0)
        return;
    if (c->close) {
        c->state = SC_CONN_CLOSING;
        return;
    }
    if (!c->body_done) {
        c->state = SC_CONN_SKIP;
        return;
    }
    c->state = SC_CONN_HEAD;
    c->floor = 0;
    c->x.start_ns = c->read_ns;
    sc_http1_head_init(&c->block->head, c->block->headers, SC_COUNT(c->block->headers));
}

/* The client went away, or its connection broke. */
static void client_gone(struct sc_conn *c)
{
    const struct sc_http_app *app = &c->part->server->app;
    bool at_work = c->live && !c->answered && (c->state == SC_CONN_WAIT || c->streaming);
    sc_conn_close(c);
    if (at_work && !c->told_gone) {
        c->told_gone = true;
        app->on_gone(&c->x, app->ctx);
    } else if (c->live && !at_work) {
        c->answered = true;
    }
}

void sc_conn_shut(struct sc_conn *c)
{
    c->running = true;
    client_gone(c);
    c->running = false;
    sc_conn_run(c);
}

/* The server answers in the application's place and closes. */
static void fail(struct sc_conn *c, int status, const char *type, const char *message)
{
    c->close = true;
    c->body_done = false;
    if (c->streaming) {
        /* An answer has begun: there is no place for another one. */
        c->broken = true;
        sc_conn_close(c);
    } else if (status == 413) {
        sc_conn_refuse(c, status);
    } else {
        sc_conn_error(c, status, type, message);
    }
    c->answered = true;
}

static void bad_message(struct sc_conn *c)
{
    fail(c, 400, "BadRequestException", "Invalid HTTP message.");
}

static void body_complete(struct sc_conn *c)
{
    const struct sc_http_app *app = &c->part->server->app;
    c->body_done = true;
    c->state = SC_CONN_WAIT;
    if (!c->answered)
        app->on_body(&c->x, app->ctx);
}

/* ---- steps: each returns true if there may be another one ------------------------------- */

/* 413 and 417 by the server, before the application hears of the request. */
static void refuse_head(struct sc_conn *c, int status)
{
    const struct sc_http1_head *h = &c->block->head;
    /* Whether a client that expected 100 still sends its body cannot be known: what follows must not be read
     * as a request. */
    if (h->expect != SC_HTTP1_EXPECT_NONE && !c->body_done)
        c->close = true;
    sc_conn_refuse(c, status);
    c->answered = true;
}

static void begin_body(struct sc_conn *c)
{
    if (c->chunked) {
        c->state = SC_CONN_CHUNKED;
    } else if (!c->answered && c->x.body.cap < c->left &&
               (!c->x.body.ops || c->x.body.ops->grow(&c->x.body, c->left) < 0)) {
        fail(c, 503, "ServiceUnavailableException", NO_ROOM);
    }
}

static void request(struct sc_conn *c)
{
    struct sc_http_part *p = c->part;
    const struct sc_http_server *s = p->server;
    const struct sc_http1_head *h = &c->block->head;
    if (SC_UNLIKELY(h->upgrades_h2c) && sc_h2_conn_upgrade(c))
        return;
    atomic_store_explicit(&p->counts.requests, p->counts.requests + 1, memory_order_relaxed);
    c->close = !h->keep_alive || p->draining;
    c->body_done = h->content_length == 0;
    c->chunked = h->content_length < 0;
    c->left = c->chunked ? 0 : (uint64_t)h->content_length;
    if (c->chunked)
        sc_http1_chunked_init(&c->block->chunked);
    c->linger = false;
    c->state = SC_CONN_BODY;
    if (h->expect == SC_HTTP1_EXPECT_OTHER) {
        refuse_head(c, 417);
        return;
    }
    if (h->content_length > 0 && (uint64_t)h->content_length > s->config.max_request_size) {
        refuse_head(c, 413);
        return;
    }
    exchange_begin(c);
    c->expects = h->expect == SC_HTTP1_EXPECT_CONTINUE && h->content_length != 0;
    s->app.on_request(&c->x, s->app.ctx);
    if (c->expects && !c->answered)
        sc_conn_continue(c);
    c->expects = false;
    if (h->content_length == 0)
        body_complete(c);
    else if (c->fd >= 0)
        begin_body(c);
    if (c->fd < 0)
        client_gone(c);
}

static bool step_head(struct sc_conn *c)
{
    /* Nothing new is begun for a client that does not take what it was sent. */
    if (c->out)
        return false;
    if (c->pos == c->end) {
        if (c->part->draining || c->eof)
            sc_conn_close(c);
        return false;
    }
    if (SC_UNLIKELY(c->fresh)) {
        if (sc_h2_conn_sniff(c))
            return true;
        if (c->eof)
            sc_conn_close(c);
        return false;
    }
    struct sc_http1_head *h = &c->block->head;
    int n = sc_http1_head_parse(h, c->block->data + c->pos, c->end - c->pos);
    if (n == SC_AGAIN) {
        if (c->eof)
            sc_conn_close(c);
        return false;
    }
    if (n < 0) {
        c->live = false;
        bad_message(c);
        return true;
    }
    if (h->content_length < 0 && c->pos > 0 && SC_CONN_READ_BYTES - (c->pos + (uint32_t)n) < 2048) {
        /* Chunks pass through the buffer behind the head: make room there. */
        memmove(c->block->data, c->block->data + c->pos, c->end - c->pos);
        c->end -= c->pos;
        c->pos = 0;
        sc_http1_head_init(h, c->block->headers, SC_COUNT(c->block->headers));
        return true;
    }
    c->pos += (uint32_t)n;
    c->floor = c->pos;
    request(c);
    return true;
}

static bool step_body(struct sc_conn *c)
{
    size_t n = SC_MIN(c->left, (size_t)(c->end - c->pos));
    if (n) {
        memcpy(c->x.body.p + c->x.body.len, c->block->data + c->pos, n);
        c->x.body.len += n;
        c->pos += (uint32_t)n;
        c->left -= n;
    }
    if (c->left == 0)
        body_complete(c);
    else if (c->eof)
        client_gone(c);
    else
        return false;
    return true;
}

/* Takes a piece of a chunked body into memory. */
static bool take_piece(struct sc_conn *c, struct sc_span data)
{
    struct sc_body *b = &c->x.body;
    uint64_t max = c->part->server->config.max_request_size;
    if (data.n > max || b->len > max - data.n) {
        fail(c, 413, NULL, NULL);
        return false;
    }
    if (b->len + data.n > b->cap && (!b->ops || b->ops->grow(b, b->len + data.n) < 0)) {
        fail(c, 503, "ServiceUnavailableException", NO_ROOM);
        return false;
    }
    memcpy(b->p + b->len, data.p, data.n);
    b->len += data.n;
    return true;
}

/* Also skips the rest of a chunked body that was answered already. */
static bool step_chunked(struct sc_conn *c)
{
    struct sc_span in = sc_span(c->block->data + c->pos, c->end - c->pos), data;
    bool skip = c->state == SC_CONN_SKIP;
    int rc;
    while ((rc = sc_http1_chunked_next(&c->block->chunked, &in, &data)) == 1)
        if (!skip && !take_piece(c, data))
            break;
    c->pos = c->end - (uint32_t)in.n;
    if (rc == 1)
        return true; /* refused */
    if (rc == 0) {
        if (skip)
            c->body_done = c->answered = true;
        else
            body_complete(c);
        return true;
    }
    if (rc == SC_AGAIN && !c->eof)
        return false;
    if (rc == SC_AGAIN)
        client_gone(c);
    else if (skip)
        c->close = c->answered = true; /* its answer is out: just an end */
    else
        bad_message(c);
    return true;
}

static bool step_skip(struct sc_conn *c)
{
    if (c->chunked)
        return step_chunked(c);
    size_t n = SC_MIN(c->left, (size_t)(c->end - c->pos));
    c->pos += (uint32_t)n;
    c->left -= n;
    if (c->left == 0)
        c->body_done = c->answered = true;
    else if (c->eof)
        sc_conn_close(c);
    else
        return false;
    return true;
}

/* A close while bytes of the client are unread would reset the connection and take the answer with it. */
static bool step_closing(struct sc_conn *c)
{
    if (c->out)
        return false;
    if (c->broken || c->eof || (c->body_done && c->pos == c->end && !c->linger)) {
        sc_conn_close(c);
        return false;
    }
    sc_tls_finish(c);
    shutdown(c->fd, SHUT_WR);
    c->state = SC_CONN_LINGER;
    c->pos = c->end;
    return true;
}

static bool step(struct sc_conn *c)
{
    if (c->answered) {
        settle(c);
        return true;
    }
    if (c->fd < 0)
        return c->h2 && sc_h2_conn_lose(c);
    switch ((enum sc_conn_state)c->state) {
    case SC_CONN_H2: return sc_h2_conn_step(c);
    case SC_CONN_HEAD: return step_head(c);
    case SC_CONN_BODY: return step_body(c);
    case SC_CONN_CHUNKED: return step_chunked(c);
    case SC_CONN_SKIP: return step_skip(c);
    case SC_CONN_CLOSING: return step_closing(c);
    case SC_CONN_WAIT:
        if (c->eof)
            client_gone(c);
        return c->eof;
    case SC_CONN_LINGER:
        if (c->eof)
            sc_conn_close(c);
        return false;
    }
    return false;
}

/* ---- between the steps ------------------------------------------------------------------ */

static unsigned wanted_events(struct sc_conn *c)
{
    unsigned want = c->out || c->tls_blocked ? UV_WRITABLE : 0;
    if (c->eof)
        return want;
    switch ((enum sc_conn_state)c->state) {
    case SC_CONN_BODY:
    case SC_CONN_CHUNKED:
    case SC_CONN_SKIP:
    case SC_CONN_H2:
    case SC_CONN_LINGER: return want | UV_READABLE;
    case SC_CONN_CLOSING: return want;
    case SC_CONN_HEAD:
    case SC_CONN_WAIT:
        /* Reading on tells when the client goes away; with a full buffer only the poll can. */
        if (sc_conn_space(c) > 0)
            return want | UV_READABLE;
        return c->hup ? want : want | UV_DISCONNECT;
    }
    return want;
}

static void watch(struct sc_conn *c)
{
    unsigned want = wanted_events(c);
    if (SC_LIKELY(want == c->events))
        return;
    c->events = (uint8_t)want;
    if (want)
        uv_poll_start(&c->poll, (int)want, on_event);
    else
        uv_poll_stop(&c->poll);
}

static void time_out_later(struct sc_conn *c)
{
    struct sc_deadlines *s = &c->part->deadlines;
    int kind = -1;
    bool again = false;
    if (c->out) {
        kind = SC_CONN_TIME_WRITE;
        again = c->sent;
    } else if (c->tls && !c->tls_ready) {
        kind = SC_CONN_TIME_HEADER;
    } else if (c->state == SC_CONN_HEAD) {
        again = c->pos == c->end;
        kind = again ? SC_CONN_TIME_IDLE : SC_CONN_TIME_HEADER;
    } else if (c->state == SC_CONN_BODY || c->state == SC_CONN_CHUNKED || c->state == SC_CONN_SKIP) {
        kind = SC_CONN_TIME_BODY;
        again = c->got;
    } else if (c->state == SC_CONN_LINGER) {
        kind = SC_CONN_TIME_LINGER;
    } else if (c->state == SC_CONN_H2) {
        kind = sc_h2_conn_deadline(c);
        again = kind == SC_CONN_TIME_IDLE && c->got;
    }
    c->got = c->sent = false;
    if (kind < 0)
        sc_deadline_clear(s, &c->deadline);
    else if (again || c->deadline.kind1 != kind + 1)
        sc_deadline_set(s, &c->deadline, (unsigned)kind);
}

void sc_conn_rest(struct sc_conn *c)
{
    if (c->running || c->fd < 0)
        return;
    watch(c);
    time_out_later(c);
}

void sc_conn_run(struct sc_conn *c)
{
    if (c->running)
        return;
    c->running = true;
    do {
        while (step(c))
            ;
    } while (SC_UNLIKELY(c->tls_more) && c->fd >= 0 && (wanted_events(c) & UV_READABLE) && sc_conn_read(c));
    c->running = false;
    if (c->fd < 0) {
        /* The handle's end comes later in the loop: thousands that close at once must not hold blocks till
         * then. */
        if (c->live || !sc_h2_conn_empty(c))
            return;
        if (c->handle_closed)
            destroy(c);
        else
            sc_conn_return(c);
        return;
    }
    if ((c->state == SC_CONN_HEAD || c->state == SC_CONN_H2) && c->pos == c->end)
        sc_conn_return(c);
    sc_conn_rest(c);
}

static void on_event(uv_poll_t *h, int status, int events)
{
    struct sc_conn *c = h->data;
    if (c->fd < 0)
        return;
    c->running = true;
    if (status < 0) {
        client_gone(c);
    } else {
        if ((events & UV_WRITABLE) && sc_conn_flush(c) && !c->out) {
            if (c->h2)
                sc_h2_conn_touch(c);
            bool stalled = c->stalled;
            c->stalled = false;
            if (stalled && c->on_writable && !c->answered)
                c->on_writable(&c->x);
        }
        if ((events & UV_READABLE) || (c->tls_blocked && c->fd >= 0))
            sc_conn_read(c);
        if (events & UV_DISCONNECT)
            c->hup = true;
        if (c->fd < 0 || (c->hup && c->state == SC_CONN_WAIT))
            client_gone(c);
    }
    c->running = false;
    sc_conn_run(c);
}

void sc_conn_expired(struct sc_deadline *d, unsigned kind)
{
    struct sc_conn *c = SC_CONTAINER(d, struct sc_conn, deadline);
    if (kind >= SC_CONN_TIME_STREAM_BODY) {
        sc_stream_expired(d, kind);
        return;
    }
    c->running = true;
    switch ((enum sc_conn_deadline)kind) {
    case SC_CONN_TIME_HEADER:
        if (c->tls && !c->tls_ready)
            sc_conn_close(c);
        else if (c->state == SC_CONN_H2)
            sc_h2_conn_expired(c);
        else
            fail(c, 408, "RequestTimeoutException", TOO_SLOW);
        break;
    case SC_CONN_TIME_BODY:
        if (c->state == SC_CONN_SKIP)
            sc_conn_close(c);
        else
            fail(c, 408, "RequestTimeoutException", TOO_SLOW);
        break;
    case SC_CONN_TIME_WRITE:
        /* What it did not take must not stay in the kernel either. */
        c->broken = true;
        client_gone(c);
        break;
    case SC_CONN_TIME_IDLE:
        if (c->state == SC_CONN_H2)
            sc_h2_conn_expired(c);
        else
            sc_conn_close(c);
        break;
    case SC_CONN_TIME_LINGER: sc_conn_close(c); break;
    case SC_CONN_TIME_STREAM_BODY:
    case SC_CONN_TIME_STREAM_WRITE:
    case SC_CONN_TIME_STREAM_LINGER: break;
    }
    c->running = false;
    sc_conn_run(c);
}
