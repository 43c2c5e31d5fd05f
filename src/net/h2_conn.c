/* HTTP/2 connections: from the session's events to exchanges, and to the socket. */
#include <stdlib.h>

#include "net/stream.h"

#define NO_ROOM "There is no memory for the request now, please try again later."
#define TOO_SLOW "The request did not arrive in time."

/* ---- life of a stream ------------------------------------------------------------------- */

static void stream_free(struct sc_stream *st)
{
    struct sc_conn *c = st->conn;
    sc_deadline_clear(&c->part->deadlines, &st->deadline);
    sc_stream_drop_output(st);
    sc_list_remove(&st->node);
    sc_h2_head_free(&st->head);
    sc_h2_head_free(&st->trailers);
    free(st);
    if (--c->h2->nstreams == 0 && c->fd < 0)
        sc_conn_run(c);
}

static void exchange_end(struct sc_stream *st)
{
    const struct sc_http_app *app = &st->conn->part->server->app;
    app->on_done(&st->x, app->ctx);
    sc_body_free(&st->x.body);
    st->live = st->streaming = false;
    if (!st->id)
        stream_free(st);
}

/* A reset at once would overtake the answer at clients that read only when they have sent all. */
void sc_stream_linger(struct sc_stream *st)
{
    struct sc_deadlines *d = &st->conn->part->deadlines;
    if (st->id && !st->body_done)
        sc_deadline_set(d, &st->deadline, SC_CONN_TIME_STREAM_LINGER);
    else
        sc_deadline_clear(d, &st->deadline);
}

void sc_stream_answered(struct sc_stream *st)
{
    st->answered = true;
    if (!st->out)
        sc_stream_linger(st);
    if (st->live && !st->busy)
        exchange_end(st);
}

/* The application's calls: an answer that it gives in them takes effect when they return. */
static void call(struct sc_stream *st, void (*what)(struct sc_http_exchange *x, void *ctx))
{
    st->busy = true;
    what(&st->x, st->conn->part->server->app.ctx);
    st->busy = false;
    if (st->answered && st->live)
        exchange_end(st);
}

/* Its client is gone, or its connection is. */
static void lose(struct sc_stream *st)
{
    bool at_work = st->body_done || st->streaming || st->x.on_data;
    if (!st->live) {
        stream_free(st);
    } else if (!at_work) {
        st->answered = true;
        exchange_end(st);
    } else if (!st->told_gone) {
        st->told_gone = true;
        call(st, st->conn->part->server->app.on_gone);
    }
}

/* The application may end any stream when it is called: each search begins anew. */
static struct sc_stream *find_work(struct sc_h2_conn *h)
{
    for (struct sc_node *n = h->streams.next; n != &h->streams; n = n->next) {
        struct sc_stream *st = SC_CONTAINER(n, struct sc_stream, node);
        if (st->id ? st->stalled && !st->out : !st->told_gone)
            return st;
    }
    return NULL;
}

/* What the session's calls left to be done: the application must not be called in the middle of them. */
static void attend(struct sc_conn *c)
{
    struct sc_h2_conn *h = c->h2;
    if (SC_LIKELY(!h->attention))
        return;
    h->attention = false;
    for (struct sc_stream *st; (st = find_work(h));) {
        if (!st->id) {
            lose(st);
            continue;
        }
        st->stalled = false;
        if (!st->on_writable || st->answered)
            continue;
        st->busy = true;
        st->on_writable(&st->x);
        st->busy = false;
        if (st->answered)
            exchange_end(st);
    }
}

/* ---- events ----------------------------------------------------------------------------- */

static void request_fields(struct sc_stream *st)
{
    struct sc_http_request *r = &st->x.req;
    const struct sc_h2_head *h = &st->head;
    size_t path = sc_span_find(h->target, '?');
    *r = (struct sc_http_request){
        .method = h->method,
        .target = h->target,
        .path = sc_span_sub(h->target, 0, path),
        .query = sc_span_sub(h->target, path + 1, h->target.n),
        .headers = h->headers,
        .nheaders = h->nheaders,
        .head = sc_span_eq(h->method, SC_SPAN("HEAD")),
        .http2 = true,
        .content_length = h->content_length,
        .scheme = h->scheme,
        .authority = h->authority,
    };
}

static bool has_room(struct sc_body *b, size_t need)
{
    return need <= b->cap || (b->ops && b->ops->grow(b, need) >= 0);
}

/* Asks the application, unless the request is refused as it is. */
static void begin(struct sc_stream *st, bool ended)
{
    struct sc_conn *c = st->conn;
    const struct sc_http_server *s = c->part->server;
    const struct sc_h2_head *h = &st->head;
    uint64_t announced = h->content_length > 0 ? (uint64_t)h->content_length : 0;
    bool grpc = s->listeners[st->x.listener].config.h2_only;
    if (h->oversized) {
        st->x.req.method = SC_SPAN("GET"); /* as an HTTP/1 message that cannot be read is logged */
        st->x.req.target = SC_SPAN("/bad-request");
        sc_stream_fail(st, 400, "BadRequestException", "Invalid HTTP message.");
        return;
    }
    if (h->expects_other || (!grpc && announced > s->config.max_request_size)) {
        sc_stream_fail(st, h->expects_other ? 417 : 413, NULL, NULL);
        return;
    }
    st->live = true;
    call(st, s->app.on_request);
    if (!st->live)
        return;
    if (!st->x.on_data && announced > s->config.max_request_size)
        sc_stream_fail(st, 413, NULL, NULL);
    else if (!st->x.on_data && announced && !has_room(&st->x.body, announced))
        sc_stream_fail(st, 503, "ServiceUnavailableException", NO_ROOM);
    else if (h->expects_100 && !ended)
        sc_h2_continue(c->h2->session, st->id);
    if (st->live && !ended && !st->x.on_data)
        sc_deadline_set(&c->part->deadlines, &st->deadline, SC_CONN_TIME_STREAM_BODY);
}

static struct sc_stream *stream_new(struct sc_conn *c, int32_t id, struct sc_h2_head *head)
{
    struct sc_h2_conn *h = c->h2;
    struct sc_http_part *p = c->part;
    /* Streams that were reset under the application count until it has let go of them. */
    struct sc_stream *st = h->nstreams < 2 * SC_H2_STREAMS_MAX ? calloc(1, sizeof *st) : NULL;
    if (!st)
        return NULL;
    st->conn = c;
    st->id = id;
    st->head = *head;
    st->x.loop = p->loop;
    st->x.listener = c->x.listener;
    st->x.start_ns = c->read_ns;
    sc_body_init_heap(&st->x.body);
    sc_http_uuid(p->random, st->x.id);
    request_fields(st);
    sc_list_push_back(&h->streams, &st->node);
    h->nstreams++;
    h->nopen++;
    atomic_store_explicit(&p->counts.requests, p->counts.requests + 1, memory_order_relaxed);
    return st;
}

static void *on_head(void *ctx, int32_t id, struct sc_h2_head *head, bool ended)
{
    struct sc_stream *st = stream_new(ctx, id, head);
    if (st)
        begin(st, ended);
    return st;
}

static void on_data(void *stream, struct sc_span piece)
{
    struct sc_stream *st = stream;
    struct sc_conn *c = st->conn;
    struct sc_body *b = &st->x.body;
    uint64_t max = c->part->server->config.max_request_size;
    if (!st->live || st->answered)
        return;
    if (st->x.on_data) {
        st->busy = true;
        st->x.on_data(&st->x, piece);
        st->busy = false;
        if (st->answered)
            exchange_end(st);
        return;
    }
    if (piece.n > max || b->len > max - piece.n) {
        sc_stream_fail(st, 413, NULL, NULL);
        return;
    }
    if (!has_room(b, b->len + piece.n)) {
        sc_stream_fail(st, 503, "ServiceUnavailableException", NO_ROOM);
        return;
    }
    memcpy(b->p + b->len, piece.p, piece.n);
    b->len += piece.n;
    sc_h2_consumed(c->h2->session, st->id, piece.n);
    sc_deadline_set(&c->part->deadlines, &st->deadline, SC_CONN_TIME_STREAM_BODY);
}

static void on_end(void *stream, struct sc_h2_head *trailers)
{
    struct sc_stream *st = stream;
    struct sc_conn *c = st->conn;
    st->body_done = true;
    if (trailers) {
        st->trailers = *trailers;
        st->x.req.trailers = trailers->headers;
        st->x.req.ntrailers = trailers->nheaders;
    }
    if (!st->live || st->answered)
        return;
    sc_deadline_clear(&c->part->deadlines, &st->deadline);
    call(st, c->part->server->app.on_body);
}

static void on_closed(void *stream, uint32_t code)
{
    struct sc_stream *st = stream;
    struct sc_h2_conn *h = st->conn->h2;
    (void)code;
    st->id = 0;
    h->nopen--;
    sc_deadline_clear(&st->conn->part->deadlines, &st->deadline);
    sc_stream_drop_output(st);
    if (!st->live)
        stream_free(st);
    else
        h->attention = true;
}

static const struct sc_h2_events events = {
    .request = on_head, .data = on_data, .end = on_end, .take = sc_stream_take, .closed = on_closed};

/* ---- the connection ----------------------------------------------------------------------- */

static void on_age(uv_timer_t *t)
{
    struct sc_h2_conn *h = t->data;
    if (h->aged) {
        sc_conn_shut(h->conn);
        return;
    }
    h->aged = h->draining = true;
    sc_h2_shutdown(h->session);
    sc_h2_conn_touch(h->conn);
    if (h->grace_ms)
        uv_timer_start(t, on_age, h->grace_ms, 0);
}

bool sc_h2_conn_first(struct sc_conn *c, struct sc_h2_head *head, struct sc_span settings)
{
    struct sc_stream *st = stream_new(c, 1, head);
    if (!st)
        sc_h2_head_free(head);
    if (!st || sc_h2_upgrade(c->h2->session, settings, st->x.req.head, st) < 0)
        return false;
    st->x.start_ns = c->x.start_ns;
    begin(st, true);
    on_end(st, NULL);
    return true;
}

bool sc_h2_conn_begin(struct sc_conn *c)
{
    const struct sc_http_listen *l = &c->part->server->listeners[c->x.listener].config;
    struct sc_h2_conn *h = calloc(1, sizeof *h);
    if (!h || sc_h2_new(&h->session, &events, c) < 0) {
        free(h);
        sc_conn_close(c);
        return false;
    }
    h->conn = c;
    sc_list_init(&h->streams);
    sc_list_init(&h->dirty);
    c->h2 = h;
    c->state = SC_CONN_H2;
    c->floor = 0;
    c->close = false;
    if (l->h2_only && l->max_age_ms) {
        h->ages = true;
        h->grace_ms = l->max_age_grace_ms;
        uv_timer_init(&c->part->loop->uv, &h->age);
        h->age.data = h;
        uv_timer_start(&h->age, on_age, l->max_age_ms, 0);
    }
    sc_h2_conn_touch(c);
    return true;
}

static void on_age_closed(uv_handle_t *t)
{
    free(t->data);
}

void sc_h2_conn_free(struct sc_conn *c)
{
    struct sc_h2_conn *h = c->h2;
    if (!h)
        return;
    c->h2 = NULL;
    sc_list_remove(&h->dirty);
    sc_h2_del(h->session);
    if (h->ages)
        uv_close((uv_handle_t *)&h->age, on_age_closed);
    else
        free(h);
}

bool sc_h2_conn_lose(struct sc_conn *c)
{
    struct sc_h2_conn *h = c->h2;
    if (!h || h->lost)
        return false;
    h->lost = true;
    if (h->ages)
        uv_timer_stop(&h->age);
    for (struct sc_node *n = h->streams.next; n != &h->streams; n = n->next) {
        struct sc_stream *st = SC_CONTAINER(n, struct sc_stream, node);
        st->id = 0;
        sc_deadline_clear(&c->part->deadlines, &st->deadline);
        sc_stream_drop_output(st);
    }
    h->nopen = 0;
    h->attention = true;
    attend(c);
    return true;
}

bool sc_h2_conn_empty(const struct sc_conn *c)
{
    return !c->h2 || c->h2->nstreams == 0;
}

bool sc_h2_conn_step(struct sc_conn *c)
{
    struct sc_h2_conn *h = c->h2;
    if (c->part->draining && !h->draining) {
        h->draining = true;
        sc_h2_shutdown(h->session);
        sc_h2_conn_touch(c);
    }
    if (c->pos == c->end) {
        if (c->eof)
            sc_conn_close(c);
        return c->eof;
    }
    struct sc_span in = sc_span(c->block->data + c->pos, c->end - c->pos);
    c->pos = c->end;
    if (sc_h2_receive(h->session, in, c->read_ns / 1000000) < 0)
        sc_conn_close(c);
    else
        sc_h2_conn_touch(c);
    attend(c);
    return true;
}

int sc_h2_conn_deadline(const struct sc_conn *c)
{
    if (sc_h2_owed(c->h2->session))
        return SC_CONN_TIME_HEADER;
    return c->h2->nopen ? -1 : SC_CONN_TIME_IDLE;
}

void sc_h2_conn_expired(struct sc_conn *c)
{
    sc_h2_terminate(c->h2->session, SC_H2_NO_ERROR);
    sc_h2_conn_touch(c);
}

void sc_stream_expired(struct sc_deadline *d, unsigned kind)
{
    struct sc_stream *st = SC_CONTAINER(d, struct sc_stream, deadline);
    struct sc_conn *c = st->conn;
    c->running = true;
    if (kind == SC_CONN_TIME_STREAM_BODY)
        sc_stream_fail(st, 408, "RequestTimeoutException", TOO_SLOW);
    else
        sc_h2_reset(c->h2->session, st->id,
                    kind == SC_CONN_TIME_STREAM_LINGER ? SC_H2_NO_ERROR : SC_H2_CANCEL);
    sc_h2_conn_touch(c);
    c->running = false;
    sc_conn_run(c);
}

/* ---- sending ------------------------------------------------------------------------------ */

void sc_h2_conn_touch(struct sc_conn *c)
{
    struct sc_h2_conn *h = c->h2;
    if (h->is_dirty || c->fd < 0)
        return;
    h->is_dirty = true;
    sc_list_push_back(&c->part->dirty, &h->dirty);
}

static void send_all(struct sc_conn *c)
{
    struct sc_http_part *p = c->part;
    struct sc_h2_conn *h = c->h2;
    while (c->fd >= 0 && !c->out) {
        struct iovec iov = {p->scratch, sc_h2_send(h->session, p->scratch, sizeof p->scratch)};
        if (iov.iov_len == 0)
            break;
        sc_conn_send(c, &iov, 1);
    }
}

static void flush(struct sc_conn *c)
{
    struct sc_h2_conn *h = c->h2;
    if (c->fd < 0 || c->state != SC_CONN_H2)
        return;
    c->running = true;
    if (h->draining && h->nopen == 0)
        sc_h2_terminate(h->session, SC_H2_NO_ERROR);
    send_all(c);
    attend(c);
    if (c->fd >= 0 && !c->out && !sc_h2_alive(h->session)) {
        sc_h2_conn_lose(c);
        c->body_done = c->linger = true;
        c->state = SC_CONN_CLOSING;
    }
    c->running = false;
    sc_conn_run(c);
}

void sc_h2_part_flush(struct sc_loop_hook *k)
{
    struct sc_http_part *p = SC_CONTAINER(k, struct sc_http_part, hook);
    struct sc_node now;
    if (SC_LIKELY(sc_list_empty(&p->dirty)))
        return;
    /* Who becomes dirty in here has its turn after the others' events. */
    sc_list_insert_before(p->dirty.next, &now);
    sc_list_remove(&p->dirty);
    for (struct sc_node *n; (n = sc_list_pop(&now));) {
        struct sc_h2_conn *h = SC_CONTAINER(n, struct sc_h2_conn, dirty);
        h->is_dirty = false;
        flush(h->conn);
    }
    if (!sc_list_empty(&p->dirty))
        sc_loop_poke(p->loop);
}
