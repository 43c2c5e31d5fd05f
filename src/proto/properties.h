/*
 * Java's .properties, the syntax of config.properties and snapshots (docs/contract.md §5.1): text
 * in, a table of strings out, and back. No I/O; not thread-safe.
 *
 * Bytes of the text are ISO-8859-1, as Java reads them; keys and values in the table are UTF-8 and end with
 * NUL.
 */
#ifndef SC_PROTO_PROPERTIES_H
#define SC_PROTO_PROPERTIES_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

struct sc_property {
    char *key, *value;
    unsigned line; /* where it stands in its file; 0: it was set otherwise */
};

/* In the order of first appearance. All zeros is an empty table; free it with sc_properties_free. */
struct sc_properties {
    struct sc_property *items;
    unsigned n, cap;
    char *file; /* of the latest read, for messages */
};

void sc_properties_free(struct sc_properties *p);

/*
 * Adds what the text says; a later value replaces an earlier one. `file` is its name in messages (file:line).
 * SC_EINVAL: malformed escape, or a NUL; SC_ELIMIT: beyond SC_SETTINGS_FILE_BYTES or SC_SETTINGS_KEYS_MAX;
 * SC_ENOMEM.
 */
int sc_properties_read(struct sc_properties *p, struct sc_span text, const char *file,
                       struct sc_msg *msg) SC_MUST_USE;

/*
 * Replaces every $$NAME$$ in values (NAME: two characters or more, no '$') by what `lookup` returns for it,
 * usually getenv's answer. NULL: SC_EINVAL, `Invalid Environment Variable NAME (file:line)`.
 */
int sc_properties_expand(struct sc_properties *p, const char *(*lookup)(const char *name, void *ctx),
                         void *ctx, struct sc_msg *msg) SC_MUST_USE;

/* The value, or NULL; the table's, until the key is set again. */
const char *sc_properties_get(const struct sc_properties *p, const char *key);
/* The property itself, for its line. */
const struct sc_property *sc_properties_find(const struct sc_properties *p, const char *key);
/* Copies both. 0, SC_ELIMIT or SC_ENOMEM. */
int sc_properties_set(struct sc_properties *p, const char *key, const char *value) SC_MUST_USE;

/* Appends key=value lines that read back identically, escaped as Java's store does. */
void sc_properties_write(const struct sc_properties *p, struct sc_buf *out);

#endif
