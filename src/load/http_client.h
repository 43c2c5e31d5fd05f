/* One HTTP request at a time, blocking: for commands that ask a server. */
#ifndef SC_LOAD_HTTP_CLIENT_H
#define SC_LOAD_HTTP_CLIENT_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

struct sc_fetched {
    int status;
    struct sc_buf body;
};

/*
 * GET `path` from `address` (http[s]://HOST[:PORT] or unix:/PATH; a certificate must
 * be good for HOST, unless it is this machine's loopback) with a bearer token (NULL: none), on a
 * connection of its own. ms: for all of it. 0, or an error with a *msg that names the address: SC_ECLOSED,
 * SC_EPROTO, SC_ELIMIT, SC_ETIMEOUT, SC_ESYS, SC_EINVAL. Free the answer in every case.
 */
int sc_http_get(struct sc_fetched *a, const char *address, uint16_t default_port, const char *path,
                const char *token, int64_t ms, struct sc_msg *msg) SC_MUST_USE;
/* The same with another method, without a body. */
int sc_http_ask(struct sc_fetched *a, const char *method, const char *address, uint16_t default_port,
                const char *path, const char *token, int64_t ms, struct sc_msg *msg) SC_MUST_USE;
void sc_fetched_free(struct sc_fetched *a);

/* Appends text percent-encoded, all but RFC 3986's unreserved characters and those of `also`. */
void sc_http_escape(struct sc_buf *out, const char *text, const char *also);

#endif
