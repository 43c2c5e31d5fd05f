#include "load/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/limits.h"
#include "load/answer.h"
#include "proto/http1.h"

struct client {
    const char *address;
    int fd;
    char host[256];   /* as the address names it */
    SSL_CTX *context; /* https */
    SSL *tls;
    int64_t end; /* ms */
    struct sc_msg *msg;
};

static int failed(const struct client *c, int code, const char *what)
{
    return sc_fail(c->msg, code, "%s: %s", c->address, what);
}

/* Waits for the socket. */
static int await(const struct client *c, short events)
{
    for (;;) {
        int64_t left = c->end - sc_clock_ms();
        struct pollfd p = {.fd = c->fd, .events = events};
        if (left <= 0)
            return failed(c, SC_ETIMEOUT, "no answer in time");
        int n = poll(&p, 1, (int)SC_MIN(left, 60000));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return failed(c, SC_ESYS, strerror(errno));
    }
}

static int connect_to(struct client *c, int family, const struct sockaddr *to, socklen_t n)
{
    int err = 0;
    socklen_t size = sizeof err;
    c->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return failed(c, SC_ESYS, strerror(errno));
    if (connect(c->fd, to, n) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return failed(c, SC_ECLOSED, strerror(errno));
    int rc = await(c, POLLOUT);
    if (rc == 0 && (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0 || err))
        rc = failed(c, SC_ECLOSED, strerror(err ? err : errno));
    return rc;
}

static int open_unix(struct client *c, struct sc_span path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (path.n == 0 || path.n >= sizeof a.sun_path)
        return failed(c, SC_EINVAL, "this is no path of a socket");
    memcpy(a.sun_path, path.p, path.n);
    return connect_to(c, AF_UNIX, (const struct sockaddr *)&a, sizeof a);
}

static int open_tcp(struct client *c, struct sc_span rest, uint16_t default_port)
{
    char *host = c->host, service[8];
    uint64_t port = default_port;
    rest = sc_span_sub(rest, 0, sc_span_find(rest, '/'));
    struct sc_span name = sc_span_sub(rest, 0, sc_span_find(rest, ':'));
    if (name.n == 0 || name.n >= sizeof c->host ||
        (name.n < rest.n && !sc_span_u64(sc_span_sub(rest, name.n + 1, rest.n), 65535, &port)))
        return failed(c, SC_EINVAL, "want http[s]://HOST[:PORT] or unix:/PATH");
    /* A server that listens on all addresses is asked where it is nearest. */
    snprintf(host, sizeof c->host, "%.*s",
             SC_FMT(sc_span_eq(name, SC_SPAN("0.0.0.0")) ? SC_SPAN("127.0.0.1") : name));
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return failed(c, SC_EINVAL, gai_strerror(rc));
    rc = SC_ECLOSED;
    for (const struct addrinfo *a = list; a && rc == SC_ECLOSED; a = a->ai_next) {
        if (c->fd >= 0)
            close(c->fd);
        rc = connect_to(c, a->ai_family, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(list);
    return rc;
}

/* Waits for what a TLS operation that returned rc lacks: 0, or it has failed. */
static int await_tls(struct client *c, int rc)
{
    switch (SSL_get_error(c->tls, rc)) {
    case SSL_ERROR_WANT_READ: return await(c, POLLIN);
    case SSL_ERROR_WANT_WRITE: return await(c, POLLOUT);
    default:
        if (SSL_get_verify_mode(c->tls) != SSL_VERIFY_NONE && SSL_get_verify_result(c->tls) != X509_V_OK)
            return failed(c, SC_ECLOSED,
                          "its certificate cannot be verified; SSL_CERT_FILE names those that are believed");
        return failed(
            c, SC_ECLOSED,
            "TLS failed; a server with tls_client_ca can only be asked by clients with a certificate");
    }
}

static bool is_loopback(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getpeername(fd, (struct sockaddr *)&a, &n) < 0)
        return false;
    if (a.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)&a)->sin6_addr);
    return a.ss_family == AF_INET &&
           ntohl(((const struct sockaddr_in *)(const void *)&a)->sin_addr.s_addr) >> 24 == 127;
}

/* Elsewhere a certificate must be good for the name; what this machine listens on is believed. */
static int start_tls(struct client *c)
{
    int rc, waited = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    c->context = SSL_CTX_new(TLS_client_method());
    c->tls = c->context ? SSL_new(c->context) : NULL;
    if (!c->tls || SSL_set_fd(c->tls, c->fd) != 1)
        return failed(c, SC_ENOMEM, "no memory for TLS");
    SSL_set_options(c->tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (!is_loopback(c->fd)) {
        SSL_CTX_set_default_verify_paths(c->context);
        SSL_set_verify(c->tls, SSL_VERIFY_PEER, NULL);
        SSL_set1_host(c->tls, c->host);
    }
    while (waited == 0 && (rc = SSL_connect(c->tls)) != 1)
        waited = await_tls(c, rc);
    return waited;
}

static int open_address(struct client *c, uint16_t default_port)
{
    struct sc_span a = sc_span_str(c->address), http = SC_SPAN("http://"), socket = SC_SPAN("unix:"),
                   https = SC_SPAN("https://");
    if (sc_span_eq_nocase(sc_span_sub(a, 0, https.n), https)) {
        int rc = open_tcp(c, sc_span_sub(a, https.n, a.n), default_port == 8081 ? 8444 : default_port);
        return rc < 0 ? rc : start_tls(c);
    }
    if (sc_span_eq_nocase(sc_span_sub(a, 0, http.n), http))
        return open_tcp(c, sc_span_sub(a, http.n, a.n), default_port);
    if (sc_span_eq_nocase(sc_span_sub(a, 0, socket.n), socket))
        return open_unix(c, sc_span_sub(a, socket.n, a.n));
    return failed(c, SC_EINVAL, "want http[s]://HOST[:PORT] or unix:/PATH");
}

static int send_all(struct client *c, struct sc_span s)
{
    while (s.n && c->tls) {
        size_t n;
        if (SSL_write_ex(c->tls, s.p, s.n, &n) == 1) {
            s = sc_span_sub(s, n, s.n);
            continue;
        }
        int rc = await_tls(c, 0);
        if (rc < 0)
            return rc;
    }
    while (s.n) {
        ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);
        if (n > 0) {
            s = sc_span_sub(s, (size_t)n, s.n);
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return failed(c, SC_ECLOSED, strerror(errno));
        int rc = await(c, POLLOUT);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Until the answer is complete: a server may leave the connection open in spite of what it was told. */
static int receive(struct client *c, struct sc_answer *a)
{
    char in[16384];
    int rc = 0;
    while (rc == 0) {
        size_t got = 0;
        ssize_t n = 0;
        if (!c->tls)
            n = recv(c->fd, in, sizeof in, 0);
        else if (SSL_read_ex(c->tls, in, sizeof in, &got) == 1)
            n = (ssize_t)got;
        else if (SSL_get_error(c->tls, 0) != SSL_ERROR_ZERO_RETURN && (rc = await_tls(c, 0)) == 0)
            continue;
        if (rc < 0)
            return rc;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return failed(c, SC_ECLOSED, strerror(errno));
        if (n < 0) {
            if ((rc = await(c, POLLIN)) < 0)
                return rc;
            continue;
        }
        if (n == 0 && !sc_answer_begun(a))
            return failed(c, SC_EPROTO, "closed without an answer");
        rc = n ? sc_answer_feed(a, in, (size_t)n) : sc_answer_eof(a);
    }
    if (rc == 1 && a->body->differs)
        return failed(c, SC_ELIMIT, "the answer is too large");
    return rc == 1 ? 0 : failed(c, SC_EPROTO, "what answers there speaks another language");
}

int sc_http_get(struct sc_fetched *a, const char *address, uint16_t default_port, const char *path,
                const char *token, int64_t ms, struct sc_msg *msg)
{
    return sc_http_ask(a, "GET", address, default_port, path, token, ms, msg);
}

int sc_http_ask(struct sc_fetched *a, const char *method, const char *address, uint16_t default_port,
                const char *path, const char *token, int64_t ms, struct sc_msg *msg)
{
    struct client c = {.address = address, .fd = -1, .end = sc_clock_ms() + ms, .msg = msg};
    struct sc_buf out;
    struct sc_answer answer = {0};
    struct sc_body body = {0};
    *a = (struct sc_fetched){0};
    sc_buf_init(&out, SC_HTTP1_HEAD_MAX);
    sc_body_begin(&body, SC_BODY_KEEP, sc_span(NULL, 0));
    sc_answer_begin(&answer, &body);
    sc_buf_printf(&out, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s", method, path,
                  strcmp(method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
    if (token)
        sc_buf_printf(&out, "Authorization: Bearer %s\r\n", token);
    sc_buf_str(&out, "\r\n");
    int rc = out.failed ? failed(&c, SC_ELIMIT, "the request is too large") : open_address(&c, default_port);
    if (rc == 0 && c.fd >= 0)
        rc = send_all(&c, sc_buf_view(&out));
    if (rc == 0 && c.fd >= 0)
        rc = receive(&c, &answer);
    a->status = (int)answer.status;
    a->body = body.kept;
    sc_answer_free(&answer);
    SSL_free(c.tls);
    SSL_CTX_free(c.context);
    if (c.fd >= 0)
        close(c.fd);
    sc_buf_free(&out);
    return rc;
}

void sc_fetched_free(struct sc_fetched *a)
{
    sc_buf_free(&a->body);
}

void sc_http_escape(struct sc_buf *out, const char *text, const char *also)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
            strchr("-._~", *p) || strchr(also, *p))
            sc_buf_char(out, (char)*p);
        else
            sc_buf_printf(out, "%%%02X", *p);
}
