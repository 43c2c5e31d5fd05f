/* TLS of the generator's connections (OpenSSL), and the bytes of all of them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "load/client.h"

static bool is_loopback(const struct sc_load_config *c)
{
    if (c->address.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)&c->address)->sin6_addr);
    const struct sockaddr_in *a = (const void *)&c->address;
    return c->address.ss_family == AF_INET && ntohl(a->sin_addr.s_addr) >> 24 == 127;
}

static bool is_address(const char *name)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, name, &ignored) == 1 || inet_pton(AF_INET6, name, &ignored) == 1;
}

int sc_load_tls_open(struct sc_load_plan *p, struct sc_msg *msg)
{
    static const unsigned char h1[] = "\x8http/1.1", h2[] = "\x2h2";
    const struct sc_load_config *c = p->config;
    bool one = c->protocol == SC_LOAD_HTTP1;
    p->tls = SSL_CTX_new(TLS_client_method());
    if (!p->tls ||
        SSL_CTX_set_alpn_protos(p->tls, one ? h1 : h2, (unsigned)(one ? sizeof h1 : sizeof h2) - 1) != 0)
        return sc_fail(msg, SC_ENOMEM, "no memory for TLS");
    SSL_CTX_set_mode(p->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(p->tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (!is_loopback(c)) {
        SSL_CTX_set_default_verify_paths(p->tls);
        SSL_CTX_set_verify(p->tls, SSL_VERIFY_PEER, NULL);
    }
    return 0;
}

void sc_load_tls_close(struct sc_load_plan *p)
{
    SSL_CTX_free(p->tls);
    p->tls = NULL;
}

bool sc_load_tls_begin(const struct sc_load_plan *p, struct sc_load_conn *c)
{
    const char *name = p->config->name;
    c->tls = SSL_new(p->tls);
    /* SSL_set1_host knows addresses, too; a server name must be none (RFC 6066 §3). */
    return c->tls && SSL_set_fd(c->tls, c->fd) == 1 && SSL_set1_host(c->tls, name) == 1 &&
           (is_address(name) || SSL_set_tlsext_host_name(c->tls, name) == 1);
}

int sc_load_tls_handshake(const struct sc_load_plan *p, struct sc_load_conn *c, struct sc_msg *why)
{
    const unsigned char *chosen;
    unsigned n;
    ERR_clear_error();
    int rc = SSL_connect(c->tls);
    if (rc == 1) {
        SSL_get0_alpn_selected(c->tls, &chosen, &n);
        if (p->config->protocol == SC_LOAD_HTTP1 || (n == 2 && memcmp(chosen, "h2", 2) == 0))
            return 1;
        return sc_fail(why, SC_EPROTO, "no connection: the server did not agree to HTTP/2 (ALPN)");
    }
    rc = SSL_get_error(c->tls, rc);
    if (rc == SSL_ERROR_WANT_READ || rc == SSL_ERROR_WANT_WRITE)
        return 0;
    char text[200] = "the server closed the connection";
    unsigned long e = ERR_peek_error();
    long verified = SSL_get_verify_result(c->tls);
    if (SSL_get_verify_mode(c->tls) != SSL_VERIFY_NONE && verified != X509_V_OK)
        return sc_fail(why, SC_EPROTO,
                       "no connection: its certificate: %s; SSL_CERT_FILE names those that are believed",
                       X509_verify_cert_error_string(verified));
    if (e)
        ERR_error_string_n(e, text, sizeof text);
    return sc_fail(why, SC_EPROTO, "no connection: TLS: %s", text);
}

void sc_load_tls_end(struct sc_load_conn *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
}

/* Of a TLS operation that returned rc, as recv and send say it. */
static ssize_t tls_error(SSL *tls, int rc)
{
    switch (SSL_get_error(tls, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: errno = ECONNRESET; return -1;
    }
}

ssize_t sc_load_recv(struct sc_load_conn *c, char *to, size_t room)
{
    size_t got = 0, n;
    int rc = 1;
    if (!c->tls)
        return recv(c->fd, to, room, 0);
    ERR_clear_error();
    /* A record at a time; callers take less than `room` as a sign that there is no more. */
    while (got < room && (rc = SSL_read_ex(c->tls, to + got, room - got, &n)) == 1)
        got += n;
    return got ? (ssize_t)got : tls_error(c->tls, rc);
}

ssize_t sc_load_send(struct sc_load_conn *c, const char *from, size_t n)
{
    size_t sent;
    if (!c->tls)
        return send(c->fd, from, n, MSG_NOSIGNAL);
    ERR_clear_error();
    int rc = SSL_write_ex(c->tls, from, n, &sent);
    return rc == 1 ? (ssize_t)sent : tls_error(c->tls, rc) < 0 ? -1 : (errno = ECONNRESET, -1);
}
