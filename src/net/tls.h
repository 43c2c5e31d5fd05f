/*
 * TLS of listeners (OpenSSL 3): key material from files, read again when asked to, and the bytes of
 * connections. TLS 1.2 and 1.3, session tickets, ALPN.
 *
 * Connections keep the context that they began with; a reload is for new ones.
 */
#ifndef SC_NET_TLS_H
#define SC_NET_TLS_H

#include "base/error.h"
#include "proto/http1.h"

/* Where keys come from: the keystore if there is one, else the pair. Strings outlive what is made of it. */
struct sc_tls_source {
    const char *private_key_file, *certificate_file;      /* PEM; the certificate with its chain */
    const char *keystore, *keystore_pass, *keystore_type; /* PKCS#12 */
    const char *client_ca;                                /* PEM; NULL: clients need no certificate */
    bool h2_only;                                         /* HTTP/1.1 is not offered */
};

struct sc_tls;

struct sc_tls *sc_tls_new(const struct sc_tls_source *s);
/* After the last connection is gone. */
void sc_tls_del(struct sc_tls *t);
/*
 * Reads the files; new connections use what they hold. Blocks. 0; 1 with a warning in *msg (expired); or
 * SC_EINVAL, SC_ENOTFOUND, SC_EUNSUPPORTED with file and remedy in *msg: what was in use stays. Until it
 * succeeded once, connections are closed when they come. Loop 0, or before there are loops.
 */
int sc_tls_load(struct sc_tls *t, struct sc_msg *msg) SC_MUST_USE;

#endif
