/*
 * The server's behaviour over time: pipelines, slow and vanished clients, limits, draining.
 * "serve PORT [loops]" serves /ping and the like for measurements.
 */
#include "test.h"

#include <malloc.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "echo_app.h"

#define PING "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"

static struct echo server;

/* The log of this program: the access lines are what is tested. */
static char access_lines[4096];
static size_t access_n;
static pthread_mutex_t access_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int warnings;

bool sc_log_enabled(enum sc_logger logger, enum sc_log_level level)
{
    (void)level;
    return logger == SC_LOGGER_ACCESS;
}

void sc_log_line(enum sc_logger logger, enum sc_log_level level, const char *thread, struct sc_span line)
{
    (void)level;
    (void)thread;
    pthread_mutex_lock(&access_lock);
    if (logger == SC_LOGGER_ACCESS && access_n + line.n + 1 < sizeof access_lines) {
        memcpy(access_lines + access_n, line.p, line.n);
        access_n += line.n;
        access_lines[access_n++] = '\n';
        access_lines[access_n] = '\0';
    }
    pthread_mutex_unlock(&access_lock);
}

void sc_log(enum sc_log_level level, const char *fmt, ...)
{
    (void)level;
    (void)fmt;
    warnings++;
}

void sc_log_thread_name(const char *name)
{
    (void)name;
}

static void start(unsigned loops, void (*change)(struct sc_http_config *c))
{
    struct sc_http_config c = echo_config;
    if (change)
        change(&c);
    echo_start(&server, loops, &c);
}

/* Waits up to 3 s. */
static bool becomes(atomic_int *value, int want)
{
    for (int i = 0; i < 3000 && *value != want; i++)
        usleep(1000);
    return *value == want;
}

static void stop(void)
{
    assert_true(becomes(&server.done, server.requests));
    echo_stop(&server);
    assert_int_equal(server.done, server.requests);
}

/* ---- pipelines ---------------------------------------------------------------------------- */

struct pipeline {
    int fd;
    int n;
};

static void *send_pipeline(void *arg)
{
    struct pipeline *p = arg;
    char text[128];
    for (int i = 0; i < p->n; i++) {
        int n = snprintf(text, sizeof text, "GET /size/%d HTTP/1.1\r\n\r\n", i % 300);
        if (i % 100 == 99)
            n = snprintf(text, sizeof text,
                         "POST /later HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        echo_send(p->fd, text, (size_t)n);
    }
    return NULL;
}

static void ten_thousand_pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    start(2, NULL);
    struct pipeline p = {.fd = echo_connect(&server), .n = 10000};
    pthread_t t;
    pthread_create(&t, NULL, send_pipeline, &p);
    static char in[1 << 16];
    size_t n = 0, from = 0;
    int answers = 0;
    while (answers < p.n) {
        ssize_t got = echo_recv(p.fd, in + n, sizeof in - 1 - n, 3000);
        assert_true(got > 0);
        n += (size_t)got;
        in[n] = '\0';
        for (;;) {
            char *end = strstr(in + from, "\r\n\r\n"), *length = strstr(in + from, "content-length: ");
            if (!end)
                break;
            size_t body = strtoul(length + 16, NULL, 10);
            if (end + 4 + body > in + n)
                break;
            assert_int_equal(body, answers % 100 == 99 ? 5 : answers % 300);
            from = (size_t)(end + 4 + body - in);
            answers++;
        }
        memmove(in, in + from, n - from);
        n -= from;
        from = 0;
    }
    pthread_join(t, NULL);
    close(p.fd);
    stop();
}

static void ask_much(int fd, int requests, int size)
{
    char text[64];
    int n = snprintf(text, sizeof text, "GET /size/%d HTTP/1.1\r\n\r\n", size);
    for (int i = 0; i < requests; i++)
        if (send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            return;
}

static void short_write_timeout(struct sc_http_config *c)
{
    c->write_timeout_ms = 150;
}

static void a_client_that_never_reads_gets_one_answer_ahead_and_is_dropped(void **state)
{
    (void)state;
    start(1, short_write_timeout);
    int fd = echo_connect(&server);
    ask_much(fd, 3000, 8 << 20);
    usleep(80000);
    assert_true(server.requests <= 2); /* one in the kernel at most, one waiting */
    usleep(250000);
    assert_true(server.requests <= 2);
    /* A reset: what was not taken does not stay in the kernel either. */
    static char in[1 << 16];
    size_t n = 0;
    ssize_t got;
    while ((got = echo_recv(fd, in, sizeof in, 1000)) > 0)
        n += (size_t)got;
    assert_int_equal(got, -2);
    assert_true(n < 16 << 20);
    close(fd);
    stop();
}

static void a_slow_reader_gets_all(void **state)
{
    (void)state;
    start(1, NULL);
    int fd = echo_connect(&server), small = 200000;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    ask_much(fd, 3, 3000000);
    static char in[20000];
    size_t n = 0;
    ssize_t got;
    while (n < 9000000 && (got = echo_recv(fd, in, sizeof in, 2000)) > 0)
        n += (size_t)got;
    assert_in_range(n, 9000000, 9001000);
    close(fd);
    stop();
}

/* ---- streams -------------------------------------------------------------------------------- */

static void a_stream_waits_for_its_reader(void **state)
{
    (void)state;
    start(1, NULL);
    int fd = echo_connect(&server);
    static const char ask[] = "GET /stream/300?big HTTP/1.0\r\n\r\n";
    echo_send(fd, ask, sizeof ask - 1);
    usleep(50000);
    assert_int_equal(server.done, 0); /* 30 MB fit nowhere */
    static char in[100000];
    size_t n = 0;
    ssize_t got;
    while ((got = echo_recv(fd, in, sizeof in, 2000)) > 0)
        n += (size_t)got;
    assert_int_equal(got, 0);
    assert_in_range(n, 30000000, 30000500);
    close(fd);
    stop();
}

static void a_stream_ends_when_its_reader_is_gone(void **state)
{
    (void)state;
    start(1, short_write_timeout);
    static const char ask[] = "GET /stream/300?big HTTP/1.1\r\n\r\n";
    int gone = echo_connect(&server), asleep = echo_connect(&server);
    echo_send(gone, ask, sizeof ask - 1);
    echo_send(asleep, ask, sizeof ask - 1);
    assert_true(becomes(&server.requests, 2));
    usleep(20000);
    close(gone);
    assert_true(becomes(&server.done, 2));
    assert_int_equal(server.gone, 2);
    close(asleep);
    stop();
}

/* ---- clients that vanish ---------------------------------------------------------------------- */

static void a_client_that_goes_away_is_noticed_while_its_answer_is_made(void **state)
{
    (void)state;
    start(2, NULL);
    static const char ask[] = "GET /hang HTTP/1.1\r\n\r\n";
    char more[1000];
    memset(more, 'x', sizeof more);
    for (int flood = 0; flood < 2; flood++) {
        int fd = echo_connect(&server);
        echo_send(fd, ask, sizeof ask - 1);
        /* A full read buffer must not hide the end. */
        for (int i = 0; flood && i < 100; i++)
            echo_send(fd, more, sizeof more);
        assert_true(becomes(&server.requests, flood + 1));
        usleep(20000);
        close(fd);
        assert_true(becomes(&server.gone, flood + 1));
    }
    stop();
}

static void truncated_requests_harm_nobody(void **state)
{
    (void)state;
    start(1, NULL);
    static const char *const texts[] = {
        "GET /pi",
        "POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "POST /early HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
        "POST /nope HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        "",
    };
    for (size_t i = 0; i < SC_COUNT(texts); i++)
        for (int reset = 0; reset < 2; reset++) {
            int fd = echo_connect(&server);
            echo_send(fd, texts[i], strlen(texts[i]));
            struct linger now = {.l_onoff = reset, .l_linger = 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            if (reset)
                usleep(5000);
            close(fd);
        }
    assert_true(becomes(&server.requests, 10));
    assert_true(becomes(&server.done, 10));
    assert_int_equal(server.gone, 0); /* the application never had them whole */
    stop();
}

/* ---- time-outs -------------------------------------------------------------------------------- */

static void short_times(struct sc_http_config *c)
{
    c->header_timeout_ms = 100;
    c->body_timeout_ms = 100;
    c->idle_timeout_ms = 250;
}

static void slow_senders_are_told_and_idle_ones_closed(void **state)
{
    (void)state;
    start(1, short_times);
    static const char *const texts[] = {
        "GET /ping HTTP/1.1\r\nHost:",
        "POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    };
    char in[1024];
    for (size_t i = 0; i < SC_COUNT(texts); i++) {
        size_t n = 0;
        int fd = echo_connect(&server);
        echo_send(fd, texts[i], strlen(texts[i]));
        assert_true(echo_until(fd, in, sizeof in, &n, "RequestTimeoutException"));
        assert_int_equal(strncmp(in, "HTTP/1.1 408 Request Timeout\r\n", 30), 0);
        assert_int_equal(echo_recv(fd, in, sizeof in, 1000), 0);
        close(fd);
    }
    int fd = echo_connect(&server);
    size_t n = 0;
    usleep(150000);
    echo_send(fd, PING, strlen(PING));
    assert_true(echo_until(fd, in, sizeof in, &n, "Healthy"));
    int64_t from = sc_clock_ms();
    assert_int_equal(echo_recv(fd, in, sizeof in, 1000), 0);
    assert_in_range(sc_clock_ms() - from, 200, 900);
    close(fd);
    stop();
}

/* A byte now and then is progress for a body, but not for a head. */
static void a_trickle_does_not_hold_a_head_open(void **state)
{
    (void)state;
    start(1, short_times);
    int fd = echo_connect(&server);
    static const char head[] = "GET /ping HTTP/1.1\r\nHost: trickle-trickle-trickle";
    char in[1024];
    ssize_t got = -1;
    for (size_t i = 0; i < sizeof head - 1 && got < 0; i++) {
        echo_send(fd, head + i, 1);
        got = echo_recv(fd, in, sizeof in, 10);
    }
    assert_true(got > 0);
    assert_int_equal(strncmp(in, "HTTP/1.1 408", 12), 0);
    close(fd);
    stop();
}

/* ---- bodies ------------------------------------------------------------------------------------ */

static void large_bodies_come_back_unchanged(void **state)
{
    (void)state;
    start(1, NULL);
    enum { SIZE = 5000000 };
    char *body = malloc(SIZE), *in = malloc(SIZE + 1000), text[128];
    for (size_t i = 0; i < SIZE; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    for (int chunked = 0; chunked < 2; chunked++) {
        int fd = echo_connect(&server);
        if (!chunked) {
            int n = snprintf(text, sizeof text, "POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n", SIZE);
            echo_send(fd, text, (size_t)n);
            echo_send(fd, body, SIZE);
        } else {
            int n = snprintf(text, sizeof text, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            echo_send(fd, text, (size_t)n);
            for (size_t at = 0, step = 1; at < SIZE; at += step, step = SC_MIN(SIZE - at, step * 3 % 70001)) {
                n = snprintf(text, sizeof text, "%zx\r\n", step);
                echo_send(fd, text, (size_t)n);
                echo_send(fd, body + at, step);
                echo_send(fd, "\r\n", 2);
            }
            echo_send(fd, "0\r\n\r\n", 5);
        }
        size_t n = 0;
        char *start_of_body = NULL;
        while (!start_of_body || n < (size_t)(start_of_body - in) + SIZE) {
            ssize_t got = echo_recv(fd, in + n, SIZE + 1000 - n, 3000);
            assert_true(got > 0);
            n += (size_t)got;
            if (!start_of_body)
                start_of_body = (char *)memmem(in, n, "\r\n\r\n", 4) + 4;
        }
        assert_int_equal(n - (size_t)(start_of_body - in), SIZE);
        assert_memory_equal(start_of_body, body, SIZE);
        close(fd);
    }
    free(body);
    free(in);
    stop();
}

/* ---- limits of the server -------------------------------------------------------------------------- */

static void two_connections(struct sc_http_config *c)
{
    c->max_connections = 2;
}

static bool answers_ping(int fd)
{
    char in[512];
    size_t n = 0;
    echo_send(fd, PING, strlen(PING));
    return echo_until(fd, in, sizeof in, &n, "Healthy");
}

static void more_connections_than_allowed_are_closed_at_once(void **state)
{
    (void)state;
    start(1, two_connections);
    int a = echo_connect(&server), b = echo_connect(&server), c = echo_connect(&server);
    char byte;
    assert_true(answers_ping(a) && answers_ping(b));
    assert_true(echo_recv(c, &byte, 1, 1000) != -1);
    close(c);
    close(a);
    usleep(20000);
    c = echo_connect(&server);
    assert_true(answers_ping(c));
    close(b);
    close(c);
    stop();
}

static void without_descriptors_clients_are_turned_away_and_nothing_spins(void **state)
{
    (void)state;
    start(1, NULL);
    int held = echo_connect(&server);
    assert_true(answers_ping(held));
    int waiting[4];
    for (int i = 0; i < 4; i++)
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 1; /* what is open stays open; poll wants as many as it watches */
    setrlimit(RLIMIT_NOFILE, &none);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)server.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 4; i++)
        assert_int_equal(connect(waiting[i], (struct sockaddr *)&a, sizeof a), 0);
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    usleep(250000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    int64_t used_us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
    bool still = answers_ping(held);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(still);
    assert_true(used_us < 100000);
    assert_true(warnings >= 1);
    usleep(150000);
    int later = echo_connect(&server);
    assert_true(answers_ping(later));
    for (int i = 0; i < 4; i++)
        close(waiting[i]);
    close(later);
    close(held);
    stop();
}

/* ---- counters, log, drain -------------------------------------------------------------------------- */

static void with_log(struct sc_http_config *c)
{
    c->access_log = true;
    c->cors_origin = "https://example.org";
    c->cors_methods = "";
}

/* A failed assertion must not leave the lock taken: the server writes lines. */
static char log_copy[sizeof access_lines];

static void copy_log(void)
{
    pthread_mutex_lock(&access_lock);
    memcpy(log_copy, access_lines, sizeof log_copy);
    pthread_mutex_unlock(&access_lock);
}

static void answers_are_counted_logged_and_carry_cors_headers(void **state)
{
    (void)state;
    start(1, with_log);
    access_n = 0;
    int fd = echo_connect(&server);
    struct sockaddr_in me;
    socklen_t len = sizeof me;
    getsockname(fd, (struct sockaddr *)&me, &len);
    char in[2048], want[512];
    size_t n = 0;
    static const char ask[] =
        "GET /ping?a=\"b HTTP/1.1\r\n\r\nPUT /status/302 HTTP/1.1\r\n\r\nGET /nope HTTP/1.0\r\n\r\n";
    echo_send(fd, ask, sizeof ask - 1);
    assert_true(echo_until(fd, in, sizeof in, &n, "\r\n\r\nnope"));
    assert_non_null(
        strstr(in, "\r\naccess-control-allow-origin: https://example.org\r\nPragma: no-cache\r\n"));
    assert_null(strstr(in, "allow-methods"));
    close(fd);
    fd = echo_connect(&server);
    n = 0;
    echo_send(fd, "?\r\n", 3);
    assert_true(echo_until(fd, in, sizeof in, &n, "BadRequest"));
    close(fd);
    static const char *const lines[] = {"GET /ping?a=\"b HTTP/1.1\" 200 ", "PUT /status/302 HTTP/1.1\" 302 ",
                                        "GET /nope HTTP/1.0\" 404 "};
    copy_log();
    const char *at = log_copy;
    for (size_t i = 0; i < SC_COUNT(lines); i++) {
        int len_want = snprintf(want, sizeof want, "/127.0.0.1:%d \"%s", ntohs(me.sin_port), lines[i]);
        assert_memory_equal(at, want, (size_t)len_want);
        at += len_want;
        size_t digits = strspn(at, "0123456789");
        assert_in_range(digits, 1, 4); /* milliseconds */
        assert_int_equal(at[digits], '\n');
        at += digits + 1;
    }
    assert_non_null(strstr(at, " \"GET /bad-request HTTP/1.0\" 400 "));
    struct sc_http_counters c;
    sc_http_server_counters(server.server, &c);
    assert_int_equal(c.connections, 2);
    assert_int_equal(c.requests, 3);
    assert_int_equal(c.responses_2xx, 1);
    assert_int_equal(c.responses_4xx, 2);
    assert_int_equal(c.responses_5xx, 1);
    stop();
}

static void a_unix_socket_serves_the_same(void **state)
{
    (void)state;
    char address[64];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(address, sizeof address, "unix:/tmp/sc-test-http-%d", (int)getpid());
    snprintf(a.sun_path, sizeof a.sun_path, "%s", address + 5);
    echo_address = address;
    start(2, with_log);
    echo_address = "http://127.0.0.1:0";
    access_n = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_true(answers_ping(fd));
    assert_true(answers_ping(fd));
    static const char want[] = "127.0.0.1 \"GET /ping HTTP/1.1\" 200 ";
    copy_log();
    assert_memory_equal(log_copy, want, sizeof want - 1);
    close(fd);
    stop();
    unlink(a.sun_path);
}

static void on_drained(void *arg)
{
    struct echo *e = arg;
    e->drained++;
}

static void ask_drain(struct sc_task *t)
{
    struct echo *e = SC_CONTAINER(t, struct echo, ask);
    sc_http_server_drain(e->server, on_drained, e);
    sem_post(&e->asked);
}

static void a_drain_lets_work_finish_and_closes_the_idle(void **state)
{
    (void)state;
    start(2, NULL);
    int idle = echo_connect(&server), half = echo_connect(&server), busy = echo_connect(&server);
    char in[2048];
    assert_true(answers_ping(idle) && answers_ping(half) && answers_ping(busy));
    echo_send(half, PING, 10);
    static const char ask[] = "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe";
    echo_send(busy, ask, sizeof ask - 1);
    assert_true(becomes(&server.requests, 4));
    usleep(60000); /* for the half, which nothing tells */
    echo_ask(&server, ask_drain);
    assert_int_equal(echo_recv(idle, in, sizeof in, 1000), 0);
    assert_int_equal(echo_connect(&server), -1);
    usleep(20000);
    assert_int_equal(server.drained, 0);
    size_t n = 0;
    echo_send(half, &PING[10], strlen(PING) - 10);
    assert_true(echo_until(half, in, sizeof in, &n, "Healthy"));
    assert_non_null(strstr(in, "connection: close"));
    assert_int_equal(echo_recv(half, in, sizeof in, 1000), 0);
    n = 0;
    echo_send(busy, "llo", 3);
    assert_true(echo_until(busy, in, sizeof in, &n, "hello"));
    assert_int_equal(echo_recv(busy, in, sizeof in, 1000), 0);
    assert_true(becomes(&server.drained, 1));
    close(idle);
    close(half);
    close(busy);
    stop();
}

static void closing_ends_everything_at_once(void **state)
{
    (void)state;
    start(2, NULL);
    int fd[8];
    for (int i = 0; i < 8; i++) {
        fd[i] = echo_connect(&server);
        static const char ask[] = "GET /hang HTTP/1.1\r\n\r\n";
        echo_send(fd[i], i % 2 ? ask : PING, i % 2 ? sizeof ask - 1 : strlen(PING));
    }
    assert_true(becomes(&server.requests, 8));
    echo_stop(&server);
    assert_int_equal(server.gone, 4);
    assert_int_equal(server.done, 8);
    for (int i = 0; i < 8; i++)
        close(fd[i]);
}

static void serve(int port, unsigned loops)
{
    static struct echo e;
    struct sc_msg msg;
    char address[64];
    struct sc_http_config config = {.max_request_size = 6553500,
                                    .header_timeout_ms = 60000,
                                    .body_timeout_ms = 60000,
                                    .write_timeout_ms = 60000};
    struct sc_http_app app = echo_app;
    app.ctx = &e;
    struct sc_span a =
        sc_span(address, (size_t)snprintf(address, sizeof address, "http://127.0.0.1:%d", port));
    int fd = sc_listen(a, 80, &msg);
    struct sc_http_listen listen = {.fd = fd};
    if (fd < 0 || sc_loops_new(&e.loops, loops, &msg) < 0 ||
        sc_http_server_new(&e.server, e.loops, &config, &app, &listen, 1, &msg) < 0) {
        fprintf(stderr, "%s\n", msg.text);
        exit(1);
    }
    sc_loops_run(e.loops);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "serve") == 0) {
        serve(atoi(argv[2]), argc > 3 ? (unsigned)atoi(argv[3]) : 1);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_client_that_never_reads_gets_one_answer_ahead_and_is_dropped),
        cmocka_unit_test(a_slow_reader_gets_all),
        cmocka_unit_test(a_stream_waits_for_its_reader),
        cmocka_unit_test(a_stream_ends_when_its_reader_is_gone),
        cmocka_unit_test(a_client_that_goes_away_is_noticed_while_its_answer_is_made),
        cmocka_unit_test(truncated_requests_harm_nobody),
        cmocka_unit_test(slow_senders_are_told_and_idle_ones_closed),
        cmocka_unit_test(a_trickle_does_not_hold_a_head_open),
        cmocka_unit_test(large_bodies_come_back_unchanged),
        cmocka_unit_test(more_connections_than_allowed_are_closed_at_once),
        cmocka_unit_test(without_descriptors_clients_are_turned_away_and_nothing_spins),
        cmocka_unit_test(answers_are_counted_logged_and_carry_cors_headers),
        cmocka_unit_test(a_unix_socket_serves_the_same),
        cmocka_unit_test(a_drain_lets_work_finish_and_closes_the_idle),
        cmocka_unit_test(closing_ends_everything_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
