/* A server over all loops: accepting, handing over, draining, closing. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/connection.h"

/* ---- accepting ------------------------------------------------------------------------ */

static void note_peer(struct sc_conn *c, const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)a;
        memcpy(c->peer_ip, &in->sin_addr, 4);
        c->peer_port = ntohs(in->sin_port);
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)a;
        c->peer6 = malloc(sizeof *c->peer6);
        if (!c->peer6)
            return;
        *c->peer6 = in->sin6_addr;
        c->peer_port = ntohs(in->sin6_port);
    }
}

static void arrive(struct sc_task *t)
{
    sc_conn_start(SC_CONTAINER(t, struct sc_conn, task));
}

static void hand_over(struct sc_http_listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct sc_http_server *s = l->server;
    struct sc_conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->fd = fd;
    c->x.listener = l->index;
    note_peer(c, peer);
    unsigned to = 0;
    if (!l->config.pinned) {
        to = s->next;
        s->next = (to + 1) % s->nparts;
    }
    c->part = s->parts[to];
    if (to == 0) {
        sc_conn_start(c);
    } else {
        c->task.run = arrive;
        sc_loop_post(c->part->loop, &c->task);
    }
}

static void tell_full(struct sc_http_server *s, int err)
{
    uint64_t now = (uint64_t)sc_clock_ms();
    if (s->told_full_ms && now - s->told_full_ms < 1000)
        return;
    s->told_full_ms = now;
    sc_log(SC_LOG_WARN, "cannot accept connections: %s; raise the limit of open files (ulimit -n)",
           strerror(err));
}

/* Without a free descriptor the queue cannot even be shortened: one is kept for that. */
static bool turn_away(struct sc_http_server *s, int listener)
{
    if (s->reserve_fd < 0)
        return false;
    close(s->reserve_fd);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void on_listener(uv_poll_t *h, int status, int events);

static void on_pause_over(uv_timer_t *t)
{
    struct sc_http_listener *l = t->data;
    if (l->server->accepting)
        uv_poll_start(&l->poll, UV_READABLE, on_listener);
}

/* Trying again at once would spin. */
static void pause_accepting(struct sc_http_listener *l)
{
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->pause, on_pause_over, SC_ACCEPT_PAUSE_MS, 0);
}

static void on_listener(uv_poll_t *h, int status, int events)
{
    struct sc_http_listener *l = h->data;
    (void)events;
    if (status < 0) {
        pause_accepting(l);
        return;
    }
    for (int i = 0; i < SC_ACCEPT_BURST && l->server->accepting; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t n = sizeof peer;
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            hand_over(l, fd, &peer);
            continue;
        }
        int err = errno;
        if (err == EAGAIN)
            return;
        if (err == EINTR || err == ECONNABORTED)
            continue;
        tell_full(l->server, err);
        if ((err == EMFILE || err == ENFILE) && turn_away(l->server, l->fd))
            continue;
        pause_accepting(l);
        return;
    }
}

/* ---- life ----------------------------------------------------------------------------- */

static void server_free(struct sc_http_server *s)
{
    for (unsigned i = 0; i < s->nparts; i++) {
        struct sc_http_part *p = s->parts[i];
        while (p && p->spare) {
            struct sc_conn_block *b = p->spare;
            p->spare = b->next;
            free(b);
        }
        free(p);
    }
    if (s->reserve_fd >= 0)
        close(s->reserve_fd);
    free(s->parts);
    free(s->listeners);
    free(s->common);
    free(s);
}

/* The last part or listener without handles takes the server with it. */
static void leave(struct sc_http_server *s)
{
    if (atomic_fetch_sub_explicit(&s->users, 1, memory_order_acq_rel) == 1)
        server_free(s);
}

/* Timers may be made on their loop's thread only. */
static void start_part(struct sc_task *t)
{
    struct sc_http_part *p = SC_CONTAINER(t, struct sc_http_part, start_task);
    const struct sc_http_config *c = &p->server->config;
    const uint32_t ms[SC_DEADLINE_KINDS] = {
        [SC_CONN_TIME_HEADER] = c->header_timeout_ms,      [SC_CONN_TIME_BODY] = c->body_timeout_ms,
        [SC_CONN_TIME_WRITE] = c->write_timeout_ms,        [SC_CONN_TIME_IDLE] = c->idle_timeout_ms,
        [SC_CONN_TIME_LINGER] = SC_CONN_LINGER_MS,         [SC_CONN_TIME_STREAM_BODY] = c->body_timeout_ms,
        [SC_CONN_TIME_STREAM_WRITE] = c->write_timeout_ms, [SC_CONN_TIME_STREAM_LINGER] = SC_CONN_LINGER_MS,
    };
    p->hook.before_block = sc_h2_part_flush;
    sc_loop_add_hook(p->loop, &p->hook);
    sc_deadlines_init(&p->deadlines, &p->loop->uv, ms, sc_conn_expired);
}

static struct sc_http_part *part_new(struct sc_http_server *s, struct sc_loop *loop)
{
    struct sc_http_part *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->server = s;
    p->loop = loop;
    sc_list_init(&p->conns);
    sc_list_init(&p->dirty);
    if (getrandom(p->random, sizeof p->random, 0) != (ssize_t)sizeof p->random)
        p->random[0] = (uint64_t)sc_clock_ns() | 1;
    p->start_task.run = start_part;
    if (loop->index == 0)
        start_part(&p->start_task); /* this is its thread; connections may come at once */
    else
        sc_loop_post(loop, &p->start_task);
    return p;
}

static int listener_start(struct sc_http_listener *l, struct sc_loop *loop)
{
    int on = 1;
    setsockopt(l->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on unix sockets */
    int rc = uv_poll_init(&loop->uv, &l->poll, l->fd);
    if (rc)
        return rc;
    uv_timer_init(&loop->uv, &l->pause);
    l->open_handles = 2;
    l->poll.data = l->pause.data = l;
    return uv_poll_start(&l->poll, UV_READABLE, on_listener);
}

int sc_http_server_new(struct sc_http_server **out, struct sc_loops *loops, const struct sc_http_config *c,
                       const struct sc_http_app *app, const struct sc_http_listen *listeners, unsigned n,
                       struct sc_msg *msg)
{
    unsigned nparts = sc_loops_count(loops);
    struct sc_http_server *s = calloc(1, sizeof *s);
    if (s) {
        s->parts = calloc(nparts, sizeof *s->parts);
        s->listeners = calloc(n ? n : 1, sizeof *s->listeners);
        s->reserve_fd = -1;
        s->config = *c;
    }
    if (!s || !s->parts || !s->listeners || n > SC_LISTENERS_MAX || !sc_http_server_prepare(s)) {
        if (s)
            server_free(s);
        return sc_fail(msg, SC_ENOMEM, "cannot make an HTTP server with %u listeners (at most %d)", n,
                       SC_LISTENERS_MAX);
    }
    if (!s->config.max_connections)
        s->config.max_connections = SC_CONNECTIONS_MAX;
    s->loops = loops;
    s->app = *app;
    s->nparts = nparts;
    s->accepting = true;
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    /* One for this function, so that a failure in its middle can be closed like a server. */
    atomic_init(&s->users, 1);
    int rc = 0;
    for (unsigned i = 0; i < nparts && !rc; i++) {
        s->parts[i] = part_new(s, sc_loops_at(loops, i));
        rc = s->parts[i] ? 0 : UV_ENOMEM;
    }
    for (unsigned i = 0; i < n; i++) {
        struct sc_http_listener *l = &s->listeners[s->nlisteners++];
        *l =
            (struct sc_http_listener){.server = s, .fd = listeners[i].fd, .config = listeners[i], .index = i};
        if (!rc)
            rc = listener_start(l, sc_loops_at(loops, 0));
    }
    atomic_store(&s->users, nparts + 1);
    if (rc) {
        sc_http_server_close(s);
        return sc_fail(msg, SC_ESYS, "cannot watch the listening sockets: %s", uv_strerror(rc));
    }
    *out = s;
    return 0;
}

/* ---- the end -------------------------------------------------------------------------- */

static void on_listener_closed(uv_handle_t *h)
{
    struct sc_http_listener *l = h->data;
    struct sc_http_server *s = l->server;
    l->open_handles--;
    for (unsigned i = 0; i < s->nlisteners; i++)
        if (s->listeners[i].open_handles)
            return;
    leave(s);
}

/* Loop 0. Its share of the server ends when its handles are closed, but not before the server does. */
static void stop_accepting(struct sc_http_server *s)
{
    if (!s->accepting)
        return;
    s->accepting = false;
    for (unsigned i = 0; i < s->nlisteners; i++) {
        struct sc_http_listener *l = &s->listeners[i];
        if (l->open_handles)
            uv_poll_stop(&l->poll);
        close(l->fd);
        l->fd = -1;
    }
}

static void close_listeners(struct sc_http_server *s)
{
    unsigned open_handles = 0;
    for (unsigned i = 0; i < s->nlisteners; i++) {
        struct sc_http_listener *l = &s->listeners[i];
        open_handles += l->open_handles;
        if (l->open_handles) {
            uv_close((uv_handle_t *)&l->poll, on_listener_closed);
            uv_close((uv_handle_t *)&l->pause, on_listener_closed);
        }
    }
    if (open_handles == 0)
        leave(s);
}

static void on_all_drained(struct sc_task *t)
{
    struct sc_http_server *s = SC_CONTAINER(t, struct sc_http_part, drained_task)->server;
    if (--s->undrained == 0 && s->on_drained && !s->closing)
        s->on_drained(s->drained_arg);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct sc_deadlines *d = h->data;
    leave(SC_CONTAINER(d, struct sc_http_part, deadlines)->server);
}

static void check_empty(struct sc_http_part *p)
{
    if (p->nconns)
        return;
    if (p->draining && !p->drained) {
        p->drained = true;
        p->drained_task.run = on_all_drained;
        sc_loop_post(p->server->parts[0]->loop, &p->drained_task);
    }
    if (p->closing && !p->timer_closed) {
        p->timer_closed = true;
        sc_loop_remove_hook(p->loop, &p->hook);
        sc_deadlines_close(&p->deadlines, on_timer_closed);
    }
}

void sc_http_part_left(struct sc_http_part *p)
{
    p->nconns--;
    check_empty(p);
}

static void drain_part(struct sc_task *t)
{
    struct sc_http_part *p = SC_CONTAINER(t, struct sc_http_part, drain_task);
    p->draining = true;
    for (struct sc_node *n = p->conns.next, *next; n != &p->conns; n = next) {
        next = n->next;
        sc_conn_drain(SC_CONTAINER(n, struct sc_conn, node));
    }
    check_empty(p);
}

void sc_http_server_drain(struct sc_http_server *s, void (*done)(void *arg), void *arg)
{
    stop_accepting(s);
    s->on_drained = done;
    s->drained_arg = arg;
    s->undrained = s->nparts;
    for (unsigned i = 0; i < s->nparts; i++) {
        s->parts[i]->drain_task.run = drain_part;
        sc_loop_post(s->parts[i]->loop, &s->parts[i]->drain_task);
    }
}

static void close_part(struct sc_task *t)
{
    struct sc_http_part *p = SC_CONTAINER(t, struct sc_http_part, close_task);
    p->closing = true;
    for (struct sc_node *n = p->conns.next, *next; n != &p->conns; n = next) {
        next = n->next;
        sc_conn_shut(SC_CONTAINER(n, struct sc_conn, node));
    }
    check_empty(p);
}

void sc_http_server_close(struct sc_http_server *s)
{
    if (s->closing)
        return;
    s->closing = true;
    stop_accepting(s);
    for (unsigned i = 0; i < s->nparts; i++) {
        if (!s->parts[i]) {
            leave(s);
            continue;
        }
        s->parts[i]->close_task.run = close_part;
        sc_loop_post(s->parts[i]->loop, &s->parts[i]->close_task);
    }
    close_listeners(s);
}

void sc_http_server_counters(const struct sc_http_server *s, struct sc_http_counters *sum)
{
    *sum = (struct sc_http_counters){0};
    for (unsigned i = 0; i < s->nparts; i++) {
        struct sc_conn_counts *n = &s->parts[i]->counts;
        sum->connections += atomic_load_explicit(&n->connections, memory_order_relaxed);
        sum->requests += atomic_load_explicit(&n->requests, memory_order_relaxed);
        sum->responses_2xx += atomic_load_explicit(&n->r2xx, memory_order_relaxed);
        sum->responses_4xx += atomic_load_explicit(&n->r4xx, memory_order_relaxed);
        sum->responses_5xx += atomic_load_explicit(&n->r5xx, memory_order_relaxed);
    }
}

struct sc_span sc_http_header_get(const struct sc_http_request *r, struct sc_span name)
{
    for (unsigned i = 0; i < r->nheaders; i++)
        if (sc_span_eq_nocase(r->headers[i].name, name))
            return r->headers[i].value.p ? r->headers[i].value : sc_span("", 0);
    return sc_span(NULL, 0);
}
