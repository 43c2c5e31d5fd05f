/*
 * A small application and a server around it, for the tests of the net room.
 *
 * GET /ping: the answer of a healthy server. /echo: the body, with its content type. /early:
 * answers before the body. /later: answers from another turn of the loop. /hang: answers when
 * the client is gone. /status/N: answer N with an empty reason. /named/N: with the phrase.
 * /size/N: N bytes. /stream/N: N chunks. /abort: a stream without an end. /headers: headers a
 * hostile handler might set. /full: no room for the body. Everything else: 404.
 */
#ifndef SC_TEST_ECHO_APP_H
#define SC_TEST_ECHO_APP_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "net/http.h"

struct echo {
    struct sc_loops *loops;
    struct sc_http_server *server;
    struct sc_task ask; /* what the test wants done on loop 0 */
    sem_t asked;
    int port;
    pthread_t thread;
    atomic_int requests, gone, done, refused_chunks, drained, open_bodies;
    atomic_size_t largest_wait;
};

struct echo_job {
    struct sc_task task;
    struct sc_http_exchange *x;
    uv_timer_t timer;
    unsigned left;
};

static struct sc_http_response echo_text(int status, const char *text)
{
    return (struct sc_http_response){
        .status = status, .content_type = SC_SPAN("text/plain"), .body = sc_span_str(text)};
}

static void echo_answer(struct sc_http_exchange *x, int status, const char *text)
{
    struct sc_http_response r = echo_text(status, text);
    sc_http_respond(x, &r);
}

static bool echo_at(const struct sc_http_exchange *x, const char *path, unsigned *number)
{
    size_t n = strlen(path);
    if (path[n - 1] != '/')
        return sc_span_eq(x->req.path, sc_span_str(path));
    uint64_t v;
    if (!sc_span_starts(x->req.path, sc_span_str(path)) ||
        !sc_span_u64(sc_span_sub(x->req.path, n, x->req.path.n), UINT32_MAX, &v))
        return false;
    *number = (unsigned)v;
    return true;
}

static void echo_later(struct sc_task *t)
{
    struct echo_job *j = SC_CONTAINER(t, struct echo_job, task);
    echo_answer(j->x, 200, "later");
}

/* Chunks of 100,000 bytes are refused at some point by who does not read. */
static void echo_more(struct sc_http_exchange *x)
{
    static char big[100000];
    struct echo_job *j = x->user;
    char small[16];
    for (; j->left; j->left--) {
        struct sc_span piece = sc_span(big, sizeof big);
        if (!sc_span_starts(x->req.query, SC_SPAN("big")))
            piece = sc_span(small, (size_t)snprintf(small, sizeof small, "part%u", j->left));
        int rc = sc_http_stream_chunk(x, piece);
        if (rc == SC_ELIMIT)
            return;
        if (rc < 0)
            break;
    }
    sc_http_stream_end(x);
}

static int echo_no_room(struct sc_body *b, size_t need)
{
    (void)b;
    (void)need;
    return SC_AGAIN;
}

static void echo_free_nothing(struct sc_body *b)
{
    (void)b;
}

static const struct sc_body_ops echo_full = {.grow = echo_no_room, .free = echo_free_nothing};

static void echo_request(struct sc_http_exchange *x, void *ctx)
{
    struct echo *e = ctx;
    unsigned n;
    e->requests++;
    if (echo_at(x, "/early", NULL))
        echo_answer(x, 200, "early");
    else if (echo_at(x, "/full", NULL))
        x->body.ops = &echo_full;
    else if (echo_at(x, "/nope", NULL))
        echo_answer(x, 404, "nope");
    else if (echo_at(x, "/later", NULL) || echo_at(x, "/stream/", &n))
        x->user = calloc(1, sizeof(struct echo_job));
}

static void echo_headers(struct sc_http_exchange *x)
{
    const struct sc_http_header more[] = {
        {SC_SPAN("ts_stream_next"), SC_SPAN("true")},
        {SC_SPAN("X-Evil"), SC_SPAN("a\r\nSet-Cookie: b")},
        {SC_SPAN("bad name"), SC_SPAN("x")},
        {SC_SPAN("Content-Length"), SC_SPAN("0")},
        {SC_SPAN("x-request-id"), SC_SPAN("mine")},
        {SC_SPAN("connection"), SC_SPAN("close")},
        {SC_SPAN("Access-Control-Allow-Origin"), SC_SPAN("handler")},
    };
    struct sc_http_response r = {
        .status = 200, .headers = more, .nheaders = SC_COUNT(more), .body = SC_SPAN("ok")};
    sc_http_respond(x, &r);
}

static void echo_release(void *p)
{
    free(p);
}

static void echo_body(struct sc_http_exchange *x, void *ctx)
{
    (void)ctx;
    struct echo_job *j = x->user;
    unsigned n;
    if (echo_at(x, "/ping", NULL)) {
        struct sc_http_response r = {.status = 200,
                                     .content_type = SC_SPAN("application/json"),
                                     .body = SC_SPAN("{\n  \"status\": \"Healthy\"\n}\n")};
        sc_http_respond(x, &r);
    } else if (echo_at(x, "/echo", NULL)) {
        struct sc_http_response r = {.status = 200,
                                     .content_type = sc_http_header_get(&x->req, SC_SPAN("Content-Type")),
                                     .body = sc_body_span(&x->body)};
        sc_http_respond(x, &r);
    } else if (echo_at(x, "/later", NULL)) {
        j->x = x;
        j->task.run = echo_later;
        sc_loop_post(x->loop, &j->task);
    } else if (echo_at(x, "/hang", NULL)) {
        return;
    } else if (echo_at(x, "/status/", &n) || echo_at(x, "/named/", &n)) {
        struct sc_http_response r = echo_text((int)n, "body");
        r.reason = sc_span_starts(x->req.path, SC_SPAN("/status/")) ? "" : NULL;
        sc_http_respond(x, &r);
    } else if (echo_at(x, "/size/", &n)) {
        char *p = malloc(n + 1);
        memset(p, 'z', n);
        struct sc_http_response r = {
            .status = 200, .body = sc_span(p, n), .release = echo_release, .release_arg = p};
        sc_http_respond(x, &r);
    } else if (echo_at(x, "/stream/", &n)) {
        struct sc_http_response r = {.status = 200, .reason = ""};
        j->left = n;
        sc_http_stream_begin(x, &r, echo_more);
        echo_more(x);
    } else if (echo_at(x, "/abort", NULL)) {
        struct sc_http_response r = {.status = 200};
        sc_http_stream_begin(x, &r, NULL);
        (void)sc_http_stream_chunk(x, SC_SPAN("half"));
        sc_http_stream_abort(x);
    } else if (echo_at(x, "/headers", NULL)) {
        echo_headers(x);
    } else {
        echo_answer(x, 404, "unknown");
    }
}

static void echo_gone(struct sc_http_exchange *x, void *ctx)
{
    struct echo *e = ctx;
    e->gone++;
    if (echo_at(x, "/hang", NULL))
        echo_answer(x, 200, "nobody reads this");
    else if (sc_span_starts(x->req.path, SC_SPAN("/stream/")))
        sc_http_stream_abort(x);
}

static void echo_done(struct sc_http_exchange *x, void *ctx)
{
    struct echo *e = ctx;
    free(x->user);
    x->user = NULL;
    e->done++;
}

static const struct sc_http_config echo_config = {
    .max_request_size = 6553500,
    .header_timeout_ms = 60000,
    .body_timeout_ms = 60000,
    .write_timeout_ms = 60000,
};

static const struct sc_http_app echo_app = {
    .on_request = echo_request, .on_body = echo_body, .on_gone = echo_gone, .on_done = echo_done};

static void *echo_main(void *arg)
{
    struct echo *e = arg;
    sc_loops_run(e->loops);
    return NULL;
}

static const char *echo_address = "http://127.0.0.1:0";

static void echo_start(struct echo *e, unsigned nloops, const struct sc_http_config *config)
{
    struct sc_msg msg = {{0}};
    memset(e, 0, sizeof *e);
    sem_init(&e->asked, 0, 0);
    struct sc_http_app app = echo_app;
    app.ctx = e;
    int fd = sc_listen(sc_span_str(echo_address), 80, &msg);
    struct sc_http_listen listen = {.fd = fd};
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0 ||
        sc_loops_new(&e->loops, nloops, &msg) < 0 ||
        sc_http_server_new(&e->server, e->loops, config, &app, &listen, 1, &msg) < 0) {
        fprintf(stderr, "echo server: %s\n", msg.text);
        abort();
    }
    e->port = ntohs(a.sin_port);
    pthread_create(&e->thread, NULL, echo_main, e);
}

static void echo_ask(struct echo *e, void (*what)(struct sc_task *t))
{
    e->ask.run = what;
    sc_loop_post(sc_loops_at(e->loops, 0), &e->ask);
    sem_wait(&e->asked);
}

static void echo_close(struct sc_task *t)
{
    struct echo *e = SC_CONTAINER(t, struct echo, ask);
    sc_http_server_close(e->server);
    sc_loops_stop(e->loops);
    sem_post(&e->asked);
}

/* Every exchange must have come to its end. */
static void echo_stop(struct echo *e)
{
    echo_ask(e, echo_close);
    pthread_join(e->thread, NULL);
    sc_loops_del(e->loops);
    sem_destroy(&e->asked);
}

/* ---- the client's side ------------------------------------------------------------------ */

static int echo_connect(const struct echo *e)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)e->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void echo_send(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        p += sent;
        n -= (size_t)sent;
    }
}

/* Waits at most ms for something to read: its length, 0 at the end, -1 if nothing came, -2 on a reset. */
static ssize_t echo_recv(int fd, char *p, size_t n, int ms)
{
    struct pollfd w = {.fd = fd, .events = POLLIN};
    if (poll(&w, 1, ms) <= 0)
        return -1;
    ssize_t got = recv(fd, p, n, 0);
    return got < 0 ? -2 : got;
}

/* Reads until `want` is there (then true), the end, or 3 s passed. p[n] is NUL. */
static bool echo_until(int fd, char *p, size_t cap, size_t *n, const char *want)
{
    p[*n] = '\0';
    while (!strstr(p, want) && *n + 1 < cap) {
        ssize_t got = echo_recv(fd, p + *n, cap - 1 - *n, 3000);
        if (got <= 0)
            return false;
        *n += (size_t)got;
        p[*n] = '\0';
    }
    return strstr(p, want) != NULL;
}

#endif
