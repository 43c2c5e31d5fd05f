/* The generator against a small server of the test's own that misbehaves as told. */
#include "test.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "load/load.h"

enum manner {
    ECHO,
    STALL,   /* answers nothing from 100 ms to 300 ms after its start */
    FLIP,    /* every tenth body is another */
    HANG_UP, /* every tenth answer is cut short */
    CLOSING, /* every answer closes the connection */
    SILENT,  /* never answers */
    FAILING, /* 503 */
};

#define CLIENTS 16
struct server {
    enum manner manner;
    int listener, quit[2];
    uint16_t port;
    int64_t start;
    unsigned served;
    pthread_t thread;
};

struct peer {
    int fd;
    size_t n;
    char bytes[65536];
};

/* Answers the request that is complete in p, if one is. False: the connection is to be closed. */
static bool serve(struct server *s, struct peer *p)
{
    char *end = memmem(p->bytes, p->n, "\r\n\r\n", 4);
    if (!end)
        return true;
    size_t head = (size_t)(end - p->bytes) + 4;
    char *at = memmem(p->bytes, head, "content-length: ", 16);
    size_t body = at ? strtoul(at + 16, NULL, 10) : 0;
    if (p->n < head + body || s->manner == SILENT)
        return true;
    assert_int_equal(p->n, head + body);
    s->served++;
    bool tenth = s->served % 10 == 0;
    char text[256];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\n%scontent-length: %zu\r\n\r\n",
                     s->manner == FAILING ? "503 no" : "200 OK",
                     s->manner == CLOSING ? "Connection: close\r\n" : "", body);
    if (s->manner == FLIP && tenth)
        p->bytes[head] ^= 1;
    /* In one piece: two small ones would wait for each other's acknowledgement. */
    struct iovec parts[] = {{text, (size_t)n},
                            {p->bytes + head, s->manner == HANG_UP && tenth ? body - 1 : body}};
    assert_int_equal(writev(p->fd, parts, 2), parts[0].iov_len + parts[1].iov_len);
    p->n = 0;
    return s->manner != CLOSING && !(s->manner == HANG_UP && tenth);
}

static void *run_server(void *arg)
{
    struct server *s = arg;
    static struct peer peers[CLIENTS];
    struct pollfd fds[CLIENTS + 2] = {{.fd = s->quit[0], .events = POLLIN},
                                      {.fd = s->listener, .events = POLLIN}};
    for (int i = 0; i < CLIENTS; i++)
        fds[i + 2] = (struct pollfd){.fd = peers[i].fd = -1, .events = POLLIN};
    for (;;) {
        poll(fds, CLIENTS + 2, 1000);
        if (fds[0].revents)
            break;
        int64_t since = sc_clock_ms() - s->start;
        if (s->manner == STALL && since >= 100 && since < 300)
            usleep((useconds_t)(300 - since) * 1000);
        for (int i = 0; i < CLIENTS; i++) {
            struct peer *p = &peers[i];
            if (p->fd < 0 || !(fds[i + 2].revents))
                continue;
            ssize_t n = recv(p->fd, p->bytes + p->n, sizeof p->bytes - p->n, 0);
            p->n += n > 0 ? (size_t)n : 0;
            if (n <= 0 || !serve(s, p)) {
                close(p->fd);
                p->fd = fds[i + 2].fd = -1;
            }
        }
        for (int i = 0; i < CLIENTS && fds[1].revents; i++) {
            if (peers[i].fd < 0) {
                peers[i].fd = fds[i + 2].fd = accept(s->listener, NULL, NULL);
                peers[i].n = 0;
                fds[1].revents = 0;
            }
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        if (peers[i].fd >= 0)
            close(peers[i].fd);
    return NULL;
}

static void start(struct server *s, enum manner manner, struct sc_load_config *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    *s = (struct server){
        .manner = manner, .listener = socket(AF_INET, SOCK_STREAM, 0), .start = sc_clock_ms()};
    assert_int_equal(bind(s->listener, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(s->listener, 64), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pipe(s->quit), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);

    static char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/x", s->port);
    struct sc_msg msg;
    sc_load_defaults(c);
    assert_int_equal(sc_load_url(c, url, &msg), 0);
    c->check = SC_LOAD_ECHO;
    c->random_min = 1;
    c->random_max = 400;
    c->warmup = 0;
    c->duration = 0;
    c->count = 200;
    c->connections = 8;
    c->threads = 2;
    c->timeout = 5;
}

static void end(struct server *s)
{
    close(s->quit[1]);
    pthread_join(s->thread, NULL);
    close(s->quit[0]);
    close(s->listener);
}

static struct sc_load_result r;

static void load(struct sc_load_config *c)
{
    struct sc_msg msg = {""};
    int rc = sc_load_run(c, &r, NULL, &msg);
    if (rc < 0)
        fail_msg("%s", msg.text);
}

static void a_count_is_met_and_every_echo_checked(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, ECHO, &c);
    load(&c);
    end(&s);
    assert_int_equal(r.good, 200);
    assert_int_equal(r.failed, 0);
    assert_int_equal(r.latency.count, 200);
    assert_int_equal(s.served, 200);
    assert_int_equal(r.connects, 8);
    assert_true(r.seconds > 0 && sc_load_rate(&r) > 0);
}

static void warm_up_is_sent_and_not_counted(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, ECHO, &c);
    c.warmup = 0.1;
    load(&c);
    end(&s);
    assert_int_equal(r.good, 200);
    assert_true(s.served > 200);
}

static void a_wrong_echo_is_a_failure(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, FLIP, &c);
    load(&c);
    end(&s);
    assert_int_equal(r.good, 180);
    assert_int_equal(r.errors[SC_LOAD_BAD_BODY], 20);
    assert_int_equal(r.failed, 20);
}

static void a_short_answer_is_a_failure_and_the_load_goes_on(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, HANG_UP, &c);
    load(&c);
    end(&s);
    assert_int_equal(r.good, 180);
    assert_int_equal(r.errors[SC_LOAD_SHORT], 20);
    assert_int_equal(r.failed, 20);
}

static void a_server_that_closes_politely_costs_only_connections(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, CLOSING, &c);
    load(&c);
    end(&s);
    assert_int_equal(r.good, 200);
    assert_int_equal(r.failed, 0);
    assert_true(r.connects >= 200);
}

static void a_wrong_status_is_named(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, FAILING, &c);
    load(&c);
    end(&s);
    assert_int_equal(r.good, 0);
    assert_int_equal(r.errors[SC_LOAD_BAD_STATUS], 200);
    assert_int_equal(r.bad_status, 503);
}

static void a_silent_server_times_out(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, SILENT, &c);
    c.count = 8;
    c.timeout = 0.1;
    load(&c);
    end(&s);
    assert_int_equal(r.good, 0);
    assert_int_equal(r.errors[SC_LOAD_TIMEOUT], 8);
}

/*
 * The server stands still for 200 of 500 ms. A closed loop has 8 slow requests then; an open loop must find
 * two fifths of all requests slow, each from its own due time.
 */
static void an_open_loop_sees_a_stall_in_full(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, STALL, &c);
    c.count = 0;
    c.duration = 0.5;
    c.rate = 400;
    load(&c);
    end(&s);
    assert_int_equal(r.failed, 0);
    assert_true(r.good >= 199 && r.good <= 201);
    assert_true(r.latency.max > 150 * 1000000);
    /* 80 requests were due in the stall and waited 200, 197.5, 195 ... ms. */
    assert_true(sc_hist_at(&r.latency, 0.75) > 20 * 1000000);
    assert_true(sc_hist_at(&r.latency, 0.85) > 70 * 1000000);
    /* Measured from the sending, only what was on the 8 connections then was slow. */
    assert_true(sc_hist_at(&r.service, 0.85) < sc_hist_at(&r.latency, 0.85));
}

static void an_open_loop_keeps_its_rate(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, ECHO, &c);
    c.count = 0;
    c.duration = 0.4;
    c.rate = 500;
    c.poisson = true;
    c.warmup = 0.05;
    load(&c);
    end(&s);
    assert_int_equal(r.failed, 0);
    assert_true(r.good > 140 && r.good < 260);
}

/* Connections that can never be had: requests that were due are counted as not sent, none is forgotten. */
static void requests_without_a_connection_are_unsent(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    start(&s, ECHO, &c);
    end(&s);
    c.count = 50;
    c.rate = 1000;
    c.timeout = 0.1;
    load(&c);
    assert_int_equal(r.good, 0);
    assert_int_equal(r.errors[SC_LOAD_UNSENT], 50);
    assert_true(r.errors[SC_LOAD_CONNECT] > 0);
}

static void given_bodies_are_taken_in_turn(void **state)
{
    (void)state;
    struct server s;
    struct sc_load_config c;
    const struct sc_span bodies[] = {SC_SPAN("one"), SC_SPAN("two"), SC_SPAN("three")};
    start(&s, ECHO, &c);
    c.random_min = c.random_max = 0;
    c.bodies = bodies;
    c.nbodies = 3;
    c.check = SC_LOAD_EQUAL;
    c.answer = SC_SPAN("two");
    c.count = 99;
    c.connections = c.threads = 1;
    load(&c);
    end(&s);
    assert_int_equal(r.good, 33);
    assert_int_equal(r.errors[SC_LOAD_BAD_BODY], 66);
}

static void a_config_without_sense_is_refused(void **state)
{
    (void)state;
    struct sc_load_config c;
    struct sc_msg msg;
    char url[] = "ftp://127.0.0.1/", none[] = "http://:80/";
    sc_load_defaults(&c);
    assert_int_equal(sc_load_url(&c, url, &msg), SC_EINVAL);
    assert_int_equal(sc_load_url(&c, none, &msg), SC_EINVAL);
    c.threads = 2;
    assert_int_equal(sc_load_run(&c, &r, NULL, &msg), SC_EINVAL);
    sc_load_defaults(&c);
    c.count = 5;
    assert_int_equal(sc_load_run(&c, &r, NULL, &msg), SC_EINVAL);
    sc_load_defaults(&c);
    c.check = SC_LOAD_ECHO;
    assert_int_equal(sc_load_run(&c, &r, NULL, &msg), SC_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_is_met_and_every_echo_checked),
        cmocka_unit_test(warm_up_is_sent_and_not_counted),
        cmocka_unit_test(a_wrong_echo_is_a_failure),
        cmocka_unit_test(a_short_answer_is_a_failure_and_the_load_goes_on),
        cmocka_unit_test(a_server_that_closes_politely_costs_only_connections),
        cmocka_unit_test(a_wrong_status_is_named),
        cmocka_unit_test(a_silent_server_times_out),
        cmocka_unit_test(an_open_loop_sees_a_stall_in_full),
        cmocka_unit_test(an_open_loop_keeps_its_rate),
        cmocka_unit_test(requests_without_a_connection_are_unsent),
        cmocka_unit_test(given_bodies_are_taken_in_turn),
        cmocka_unit_test(a_config_without_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
