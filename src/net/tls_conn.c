/* TLS between a connection and its descriptor: nothing here blocks, and nothing goes out in clear but the
 * answer to a client that speaks no TLS. */
#include "net/tls_conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "net/connection.h"

#define RECORD 16384   /* data of one TLS record */
#define HANDSHAKE 0x16 /* first byte of a client that speaks TLS */

/* docs/contract.md §1: what TorchServe's listener says. */
static const char speak_tls[] =
    "HTTP/1.1 403 Forbidden\r\n"
    "content-type: application/json\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache; no-store, must-revalidate, private\r\n"
    "Expires: Thu, 01 Jan 1970 00:00:00 UTC\r\n"
    "content-length: 71\r\n"
    "connection: close\r\n\r\n"
    "{\n  \"status\": \"This TorchServe instance only accepts HTTPS requests\"\n}\n";

/* ---- the descriptor, for OpenSSL: its own read and write take longer than recv and send ---- */

static int bio_outcome(BIO *b, ssize_t n, size_t *done, void (*retry)(BIO *b))
{
    BIO_clear_flags(b, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY | BIO_FLAGS_IN_EOF);
    *done = n > 0 ? (size_t)n : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        retry(b);
    else if (n == 0)
        BIO_set_flags(b, BIO_FLAGS_IN_EOF);
    return n > 0;
}

static void retry_read(BIO *b)
{
    BIO_set_retry_read(b);
}

static void retry_write(BIO *b)
{
    BIO_set_retry_write(b);
}

static int bio_read(BIO *b, char *to, size_t room, size_t *done)
{
    struct sc_conn *c = BIO_get_data(b);
    return bio_outcome(b, recv(c->fd, to, room, 0), done, retry_read);
}

static int bio_write(BIO *b, const char *from, size_t n, size_t *done)
{
    struct sc_conn *c = BIO_get_data(b);
    return bio_outcome(b, send(c->fd, from, n, MSG_NOSIGNAL), done, retry_write);
}

static long bio_ctrl(BIO *b, int what, long n, void *p)
{
    (void)n;
    (void)p;
    return what == BIO_CTRL_EOF ? BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0 : what == BIO_CTRL_FLUSH;
}

BIO_METHOD *sc_tls_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "connection");
    if (m && BIO_meth_set_read_ex(m, bio_read) && BIO_meth_set_write_ex(m, bio_write) &&
        BIO_meth_set_ctrl(m, bio_ctrl))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* ---- life ---- */

bool sc_tls_begin(struct sc_conn *c, struct sc_tls *t)
{
    BIO *b = sc_tls_session(t, &c->tls);
    if (!b)
        return false;
    BIO_set_data(b, c);
    BIO_set_init(b, 1);
    SSL_set_accept_state(c->tls);
    return true;
}

void sc_tls_end(struct sc_conn *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
    c->tls_more = c->tls_blocked = false;
}

/* SSL_get_error needs it empty; clearing an empty queue takes longer than the look. */
static void no_errors(void)
{
    if (SC_UNLIKELY(ERR_peek_error()))
        ERR_clear_error();
}

void sc_tls_finish(struct sc_conn *c)
{
    no_errors();
    if (c->tls && c->tls_ready && !c->out)
        SSL_shutdown(c->tls);
    no_errors();
}

/* What an operation that returned rc <= 0 is as a system call: 0 at the end, or -1 with errno. */
static ssize_t outcome(struct sc_conn *c, int rc)
{
    int error = SSL_get_error(c->tls, rc);
    no_errors();
    c->tls_blocked = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else
        errno = ECONNRESET;
    return -1;
}

/* TLS has not begun: the rest of the connection is in clear, and over. */
static void refuse_plain(struct sc_conn *c)
{
    struct iovec iov = {(void *)speak_tls, sizeof speak_tls - 1};
    sc_tls_end(c);
    c->state = SC_CONN_CLOSING;
    c->linger = true;
    sc_conn_send(c, &iov, 1);
}

bool sc_tls_handshake(struct sc_conn *c)
{
    const unsigned char *protocol;
    unsigned n;
    char first;
    if (!c->tls_begun) {
        ssize_t got = recv(c->fd, &first, 1, MSG_PEEK);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (got == 1 && first != HANDSHAKE) {
            refuse_plain(c);
            return false;
        }
        c->tls_begun = true;
    }
    no_errors();
    int rc = SSL_do_handshake(c->tls);
    if (rc != 1) {
        if (outcome(c, rc) == 0 || errno != EAGAIN)
            sc_conn_close(c);
        return false;
    }
    c->tls_ready = true;
    c->tls_blocked = false;
    SSL_get0_alpn_selected(c->tls, &protocol, &n);
    bool h2 = (n == 2 && memcmp(protocol, "h2", 2) == 0) ||
              c->part->server->listeners[c->x.listener].config.h2_only;
    if (h2 && !sc_h2_conn_begin(c))
        return false;
    return true;
}

ssize_t sc_tls_recv(struct sc_conn *c, void *to, size_t room)
{
    size_t n;
    no_errors();
    int rc = SSL_read_ex(c->tls, to, room, &n);
    c->tls_more = rc == 1 && SSL_has_pending(c->tls);
    return rc == 1 ? (ssize_t)n : outcome(c, 0);
}

/* The bytes of iov from `at` on, at most a record; *p is where they are. */
static size_t gather(const struct iovec *iov, int n, size_t at, char *buffer, const char **p)
{
    size_t got = 0;
    for (int i = 0; i < n && got < RECORD; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        size_t k = SC_MIN(iov[i].iov_len - at, RECORD - got);
        const char *from = (const char *)iov[i].iov_base + at;
        at = 0;
        if (got == 0 && (k == RECORD || i == n - 1)) {
            *p = from; /* a record of one piece needs no copy */
            return k;
        }
        memcpy(buffer + got, from, k);
        got += k;
    }
    *p = buffer;
    return got;
}

ssize_t sc_tls_send(struct sc_conn *c, const struct iovec *iov, int n)
{
    char buffer[RECORD];
    const char *p;
    size_t sent = 0, k, done;
    while ((k = gather(iov, n, sent, buffer, &p)) > 0) {
        no_errors();
        int rc = SSL_write_ex(c->tls, p, k, &done);
        if (rc != 1) {
            bool blocked = c->tls_blocked;
            ssize_t what = outcome(c, 0);
            c->tls_blocked = blocked; /* c->out waits for the descriptor anyway */
            if (what < 0 && errno == EAGAIN && sent)
                return (ssize_t)sent;
            if (what == 0)
                errno = EPIPE;
            return -1;
        }
        sent += done;
    }
    return (ssize_t)sent;
}
