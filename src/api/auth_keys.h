/*
 * The three keys of token authorization (docs/contract.md §10) as plain data: making, rendering, keeping,
 * comparing. No thread, no clock of its own: times are arguments, in ns since 1970.
 */
#ifndef SC_API_AUTH_KEYS_H
#define SC_API_AUTH_KEYS_H

#include <stdint.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

enum sc_auth_kind { SC_AUTH_MANAGEMENT, SC_AUTH_INFERENCE, SC_AUTH_API, SC_AUTH_KINDS };

#define SC_AUTH_KEY_BYTES 8          /* six random bytes in URL-safe base64 */
#define SC_AUTH_NEVER INT64_MAX      /* expiry of the API key */
#define SC_AUTH_FILE_BYTES 1024      /* the key file is a quarter of this */
#define SC_AUTH_FILE "key_file.json" /* in the server's working folder */
#define SC_AUTH_STATE_BYTES (SC_AUTH_KINDS * 16)

struct sc_auth_key {
    char text[SC_AUTH_KEY_BYTES];
    int64_t expires_ns;
};

struct sc_auth_keys {
    struct sc_auth_key of[SC_AUTH_KINDS];
};

/* When a key made at now_ns with a life of so many minutes expires: whole seconds, as TorchServe. At once for
 * what is not positive or no number; the end of time as we count it (2262) for what is beyond it. */
int64_t sc_auth_expiry(int64_t now_ns, double life_min);
/* A new random key. SC_ESYS: the system gives no random bytes. */
int sc_auth_key_make(struct sc_auth_key *k, int64_t expires_ns) SC_MUST_USE;
/* Appends the key file's text: TorchServe's JSON, without a line feed at the end. */
void sc_auth_keys_render(const struct sc_auth_keys *k, struct sc_buf *out);

/* What a later frontend needs, as bytes; read refuses what write did not write. */
void sc_auth_keys_write(const struct sc_auth_keys *k, char out[SC_AUTH_STATE_BYTES]);
bool sc_auth_keys_read(struct sc_auth_keys *k, struct sc_span state);

/* The word of an Authorization header `Bearer WORD`; a NULL pointer if it has another form or is absent. */
struct sc_span sc_auth_bearer(struct sc_span header);
/* True if `given` is the key. The time it takes tells nothing of the key. */
bool sc_auth_key_equal(const char key[SC_AUTH_KEY_BYTES], struct sc_span given);

#endif
