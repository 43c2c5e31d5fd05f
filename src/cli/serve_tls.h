/* TLS of a server's listeners, as its settings have it. */
#ifndef SC_CLI_SERVE_TLS_H
#define SC_CLI_SERVE_TLS_H

#include "model/settings.h"
#include "net/tls.h"

/* REST: of https addresses. gRPC: enable_grpc_ssl, which uses the pair of files, never the keystore. */
enum { SC_TLS_REST, SC_TLS_GRPC, SC_TLS_KINDS };

struct sc_serve_tls {
    struct sc_tls *kind[SC_TLS_KINDS]; /* NULL: not wanted */
};

bool sc_is_https(const char *address);
/* The settings outlive it. Nothing is read yet. */
void sc_serve_tls_make(struct sc_serve_tls *t, const struct sc_settings *s);
void sc_serve_tls_free(struct sc_serve_tls *t);
/* Reads all files; each failure, warning and success goes to `tell`. False: something could not be read. */
bool sc_serve_tls_load(struct sc_serve_tls *t,
                       void (*tell)(void *ctx, enum sc_log_level level, const char *text), void *ctx);
/* Whether a server could begin with these settings: 0, or why not in *msg. */
int sc_serve_tls_check(const struct sc_settings *s, struct sc_msg *msg) SC_MUST_USE;

#endif
