/*
 * Writes JSON in exactly TorchServe's manner (docs/contract.md §2.5) behind the content of a buffer: two
 * blanks of indent, `"key": value`, [] and {} for empty, fields in the order of the calls, one LF at the end.
 * Or compact.
 *
 * No allocation but the buffer's; a writer may live on the stack. Errors stick and are returned by finish.
 * Strings that are no UTF-8 get U+FFFD for what is malformed, as Java's decoder does.
 */
#ifndef SC_PROTO_JSON_WRITE_H
#define SC_PROTO_JSON_WRITE_H

#include "base/array.h"
#include "base/buf.h"

struct sc_json_writer {
    struct sc_buf *out;
    uint64_t arrays; /* bit d: the container at depth d is an array */
    uint64_t filled; /* bit d: it has an item */
    unsigned depth;
    bool compact;
    bool after_key;
    bool done; /* the one value is complete */
    int failed;
};

void sc_json_write_init(struct sc_json_writer *w, struct sc_buf *out, bool compact);
/* Ends the document: adds the LF (not if compact). Returns 0, the buffer's failure, SC_ELIMIT if it was
 * nested beyond SC_JSON_DEPTH_MAX, or SC_EINVAL if calls did not match (a bug of the caller). */
int sc_json_write_finish(struct sc_json_writer *w) SC_MUST_USE;

void sc_json_begin_object(struct sc_json_writer *w);
void sc_json_end_object(struct sc_json_writer *w);
void sc_json_begin_array(struct sc_json_writer *w);
void sc_json_end_array(struct sc_json_writer *w);
void sc_json_key(struct sc_json_writer *w, const char *name);
void sc_json_key_span(struct sc_json_writer *w, struct sc_span name);
void sc_json_string(struct sc_json_writer *w, struct sc_span s);
void sc_json_int(struct sc_json_writer *w, int64_t v);
void sc_json_uint(struct sc_json_writer *w, uint64_t v);
void sc_json_bool(struct sc_json_writer *w, bool v);
void sc_json_null(struct sc_json_writer *w);
/* Shortest digits that read back alike: 0.998, 3.0; what is not finite becomes null. */
void sc_json_double(struct sc_json_writer *w, double v);
void sc_json_float(struct sc_json_writer *w, float v);
/* A value that is JSON already; it is put as it is. */
void sc_json_raw(struct sc_json_writer *w, struct sc_span json);

/* "key": value in one call. */
void sc_json_put_string(struct sc_json_writer *w, const char *name, struct sc_span s);
void sc_json_put_str(struct sc_json_writer *w, const char *name, const char *s);
void sc_json_put_int(struct sc_json_writer *w, const char *name, int64_t v);
void sc_json_put_bool(struct sc_json_writer *w, const char *name, bool v);

/* Only the escaped text of a string, without quotes. */
void sc_json_escape(struct sc_buf *out, struct sc_span s);

#endif
