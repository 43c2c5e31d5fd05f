/* Inside of the HTTP server: the bytes of TLS connections. Only for files of this room. */
#ifndef SC_NET_TLS_CONN_H
#define SC_NET_TLS_CONN_H

#include <sys/types.h>
#include <sys/uio.h>

#include <openssl/ssl.h>

#include "net/tls.h"

struct sc_conn;

/* A session of the context that is in use, and what it reads and writes through, which is its own; NULL:
 * there is none, or no memory. */
BIO *sc_tls_session(struct sc_tls *t, SSL **ssl);
/* What those are made by; NULL: no memory. */
BIO_METHOD *sc_tls_method(void);

/* c becomes a TLS connection, before its first byte. False: it is to be closed. */
bool sc_tls_begin(struct sc_conn *c, struct sc_tls *t);
/* Goes on with the handshake. True: it is over, c may be read (and speaks HTTP/2 if that was agreed on). */
bool sc_tls_handshake(struct sc_conn *c);
/* As recv and sendmsg on the descriptor. After a send that took not all, the next one begins with the rest.
 */
ssize_t sc_tls_recv(struct sc_conn *c, void *to, size_t room);
ssize_t sc_tls_send(struct sc_conn *c, const struct iovec *iov, int n);
/* Tells the client that nothing more comes. */
void sc_tls_finish(struct sc_conn *c);
void sc_tls_end(struct sc_conn *c);

#endif
