/* HTTP/2 of the generator against a server of the test's own (nghttp2) that misbehaves as told. */
#include "test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "load/load.h"

enum manner {
    ECHO,
    LEAVING, /* GOAWAY with every tenth request, which is answered; later ones are refused */
    RESET,   /* every tenth stream is reset */
    CUT,     /* every tenth request ends the connection within its answer */
    NO_H2,   /* answers in HTTP/1.1 */
    SILENT,
};

#define PEERS 32

struct stream {
    struct sc_buf body;
    size_t sent;
    struct stream *next;
};

struct peer {
    int fd;
    nghttp2_session *session;
    bool leaving, cut;
    struct stream *streams; /* all that there were */
};

static struct server {
    enum manner manner;
    int listener, quit[2];
    unsigned served;
    pthread_t thread;
    struct peer peers[PEERS];
} server;

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct stream *s = source->ptr;
    size_t n = s->body.n - s->sent;
    (void)session, (void)id, (void)user;
    n = n < room ? n : room;
    if (n)
        memcpy(to, s->body.p + s->sent, n);
    s->sent += n;
    if (s->sent == s->body.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void serve(struct peer *p, int32_t id)
{
    struct stream *s = nghttp2_session_get_stream_user_data(p->session, id);
    nghttp2_nv status = {
        .name = (uint8_t *)":status", .value = (uint8_t *)"200", .namelen = 7, .valuelen = 3};
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
    if (server.manner == SILENT)
        return;
    bool tenth = ++server.served % 10 == 0;
    if (tenth && server.manner == RESET) {
        nghttp2_submit_rst_stream(p->session, 0, id, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    nghttp2_submit_response(p->session, id, &status, 1, &body);
    if (tenth && server.manner == CUT)
        p->cut = true;
    if (tenth && server.manner == LEAVING) {
        nghttp2_submit_goaway(p->session, 0, id, NGHTTP2_NO_ERROR, NULL, 0);
        p->leaving = true;
    }
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    struct stream *s = sc_alloc(sizeof *s);
    struct peer *p = user;
    s->next = p->streams;
    p->streams = s;
    sc_buf_init(&s->body, 1 << 24);
    nghttp2_session_set_stream_user_data(session, f->hd.stream_id, s);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)flags, (void)user;
    if (s)
        sc_buf_add(&s->body, p, n);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
    (void)session;
    if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) &&
        f->hd.flags & NGHTTP2_FLAG_END_STREAM)
        serve(user, f->hd.stream_id);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)code, (void)user;
    if (s)
        sc_buf_free(&s->body);
    return 0;
}

static void open_peer(struct peer *p, int fd)
{
    nghttp2_session_callbacks *cb;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
    *p = (struct peer){.fd = fd};
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    assert_int_equal(nghttp2_session_server_new(&p->session, cb, p), 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(p->session, 0, settings, 1);
}

static void close_peer(struct peer *p)
{
    nghttp2_session_del(p->session);
    for (struct stream *s; (s = p->streams); free(s)) {
        p->streams = s->next;
        sc_buf_free(&s->body);
    }
    close(p->fd);
    *p = (struct peer){.fd = -1};
}

/* Sends what there is. False: the connection is over. */
static bool answer(struct peer *p)
{
    for (;;) {
        const uint8_t *out;
        ssize_t n = nghttp2_session_mem_send(p->session, &out);
        if (n <= 0)
            break;
        if (p->cut && n > 20) { /* in the middle of an answer */
            (void)!send(p->fd, out, (size_t)n - 1, MSG_NOSIGNAL);
            return false;
        }
        for (ssize_t at = 0, sent; at < n; at += sent)
            if ((sent = send(p->fd, out + at, (size_t)(n - at), MSG_NOSIGNAL)) <= 0)
                return false;
    }
    /* Who leaves waits for the client to close: with bytes unread the end would be a reset. */
    return p->leaving || nghttp2_session_want_read(p->session) || nghttp2_session_want_write(p->session);
}

static bool listen_to(struct peer *p)
{
    static const char no[] = "HTTP/1.1 400 no\r\ncontent-length: 0\r\n\r\n";
    uint8_t in[65536];
    ssize_t n = recv(p->fd, in, sizeof in, 0);
    if (n <= 0)
        return false;
    if (server.manner == NO_H2) {
        (void)!send(p->fd, no, sizeof no - 1, MSG_NOSIGNAL);
        return true; /* closed with bytes unread it would be reset, and the answer lost */
    }
    return nghttp2_session_mem_recv(p->session, in, (size_t)n) >= 0 && answer(p);
}

static void *run(void *arg)
{
    struct pollfd fds[PEERS + 2] = {{.fd = server.quit[0], .events = POLLIN},
                                    {.fd = server.listener, .events = POLLIN}};
    (void)arg;
    for (int i = 0; i < PEERS; i++)
        server.peers[i].fd = -1;
    for (;;) {
        for (int i = 0; i < PEERS; i++)
            fds[i + 2] = (struct pollfd){.fd = server.peers[i].fd, .events = POLLIN};
        poll(fds, PEERS + 2, -1);
        if (fds[0].revents)
            break;
        for (int i = 0; i < PEERS; i++)
            if (fds[i + 2].revents && !listen_to(&server.peers[i]))
                close_peer(&server.peers[i]);
        for (int i = 0; i < PEERS && fds[1].revents; i++)
            if (server.peers[i].fd < 0) {
                open_peer(&server.peers[i], accept(server.listener, NULL, NULL));
                fds[1].revents = 0;
            }
    }
    for (int i = 0; i < PEERS; i++)
        if (server.peers[i].fd >= 0)
            close_peer(&server.peers[i]);
    return NULL;
}

static struct sc_load_result r;

static void load(enum manner manner, struct sc_load_config *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    struct sc_msg msg = {""};
    char url[64];
    server = (struct server){.manner = manner, .listener = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(server.listener, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(server.listener, 64), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(pipe(server.quit), 0);
    assert_int_equal(pthread_create(&server.thread, NULL, run, NULL), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/x", ntohs(a.sin_port));
    assert_int_equal(sc_load_url(c, url, &msg), 0);
    int rc = sc_load_run(c, &r, NULL, &msg);
    close(server.quit[1]);
    pthread_join(server.thread, NULL);
    close(server.quit[0]);
    close(server.listener);
    if (rc < 0)
        fail_msg("%s", msg.text);
}

static struct sc_load_config config(void)
{
    struct sc_load_config c;
    sc_load_defaults(&c);
    c.protocol = SC_LOAD_HTTP2;
    c.check = SC_LOAD_ECHO;
    c.random_min = 1;
    c.random_max = 100000; /* above the window that a peer grants at first */
    c.warmup = 0;
    c.duration = 0;
    c.count = 200;
    c.connections = c.threads = 2;
    c.streams = 4;
    return c;
}

static void streams_share_connections(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    load(ECHO, &c);
    assert_int_equal(r.good, 200);
    assert_int_equal(r.failed, 0);
    assert_int_equal(server.served, 200);
    assert_int_equal(r.connects, 2);
}

/* What the server said it has not looked at is asked again and counts once (RFC 9113 §6.8). */
static void a_goaway_costs_connections_and_no_request(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    c.random_max = 100; /* an answer that is complete when the connection goes */
    load(LEAVING, &c);
    assert_int_equal(r.good + r.failed, 200);
    assert_int_equal(r.failed, 0);
    assert_true(r.connects >= 15);
}

static void a_reset_stream_is_one_failure(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    load(RESET, &c);
    assert_int_equal(r.good, 180);
    assert_int_equal(r.errors[SC_LOAD_RESET] + r.errors[SC_LOAD_SHORT], 20);
    assert_int_equal(r.connects, 2);
}

static void a_connection_that_breaks_takes_its_streams(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    load(CUT, &c);
    assert_int_equal(r.good + r.failed, 200);
    assert_true(r.failed >= 10 && r.errors[SC_LOAD_SHORT] > 0);
    assert_true(r.connects > 2);
}

static void an_answer_in_another_protocol_is_no_answer(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    c.count = 20;
    load(NO_H2, &c);
    assert_int_equal(r.good, 0);
    assert_true(r.errors[SC_LOAD_PROTOCOL] > 0);
}

static void a_silent_server_times_out_stream_by_stream(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    c.count = 16;
    c.timeout = 0.1;
    load(SILENT, &c);
    assert_int_equal(r.errors[SC_LOAD_TIMEOUT], 16);
    assert_int_equal(r.connects, 2); /* a stream is given up, not the connection */
}

static void headers_that_are_none_are_refused(void **state)
{
    (void)state;
    struct sc_load_config c = config();
    struct sc_msg msg;
    char url[] = "http://127.0.0.1:9/", many[80 * 8 + 1] = "";
    assert_int_equal(sc_load_url(&c, url, &msg), 0);
    c.headers = ": x\r\n";
    assert_int_equal(sc_load_run(&c, &r, NULL, &msg), SC_EINVAL);
    for (int i = 0; i < 80; i++)
        strcat(many, "a: b\r\n");
    c.headers = many;
    assert_int_equal(sc_load_run(&c, &r, NULL, &msg), SC_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_share_connections),
        cmocka_unit_test(a_goaway_costs_connections_and_no_request),
        cmocka_unit_test(a_reset_stream_is_one_failure),
        cmocka_unit_test(a_connection_that_breaks_takes_its_streams),
        cmocka_unit_test(an_answer_in_another_protocol_is_no_answer),
        cmocka_unit_test(a_silent_server_times_out_stream_by_stream),
        cmocka_unit_test(headers_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
