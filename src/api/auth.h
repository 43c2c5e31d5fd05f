/*
 * Token authorization: which key a call needs, and the keys of this server's life (docs/contract.md §10).
 *
 * The keys are checked on every loop without a lock; they are made and renewed on loop 0, which writes the
 * key file (a small file: it may block for a moment). What must outlive this process goes through `save`.
 */
#ifndef SC_API_AUTH_H
#define SC_API_AUTH_H

#include "api/auth_keys.h"

struct sc_auth;

struct sc_auth_config {
    const char *folder;   /* where the key file is written */
    double life_min;      /* token_expiration_min */
    struct sc_span state; /* what an earlier process saved; a NULL pointer: this is the first */
    /* Keeps the state for the next process. */
    void (*save)(void *ctx, struct sc_span state);
    void *ctx;
};

/*
 * The first process makes three keys and writes the file; later ones take what was saved and leave the file
 * as it is (also when somebody has deleted it). SC_ESYS with *msg; nothing to free then.
 */
int sc_auth_new(struct sc_auth **out, const struct sc_auth_config *c, struct sc_msg *msg) SC_MUST_USE;
/* NULL is fine. */
void sc_auth_del(struct sc_auth *a);

/* True if the Authorization header (a NULL pointer: none) has that key, and it has not expired. Any thread.
 */
bool sc_auth_allows(const struct sc_auth *a, enum sc_auth_kind kind, struct sc_span header);
/* A new key of that kind with a new expiry; the old one is void once the file is written. If it cannot be
 * written, the old one stays: SC_ESYS with *msg. Loop 0. */
int sc_auth_renew(struct sc_auth *a, enum sc_auth_kind kind, struct sc_msg *msg) SC_MUST_USE;

#endif
