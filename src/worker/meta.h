/*
 * Metadata of a request or an answer: a short list of (key, value) byte strings in one block.
 *
 * Encoding, little-endian: u16 count, then per pair u16 key length, u32 value length, key
 * bytes, value bytes. Request keys that begin with ':' are ours (":content-type",
 * ":path"), all others are header names as sent. Answers: ":content-type", ":reason",
 * ":type" (error type), other keys are response headers. Readers trust nothing.
 */
#ifndef SC_WORKER_META_H
#define SC_WORKER_META_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

struct sc_meta_writer {
    struct sc_buf *out;
    size_t start;
    uint16_t count;
};
void sc_meta_begin(struct sc_meta_writer *w, struct sc_buf *out);
/* Pairs whose key exceeds 65,535 bytes are dropped. */
void sc_meta_add(struct sc_meta_writer *w, struct sc_span key, struct sc_span value);
void sc_meta_end(struct sc_meta_writer *w);

/* Iterates: start with *at = 0; false at the end or at the first malformed byte. */
bool sc_meta_next(struct sc_span meta, size_t *at, struct sc_span *key, struct sc_span *value);
/* The first value of key, an empty span with NULL pointer if there is none. */
struct sc_span sc_meta_get(struct sc_span meta, struct sc_span key);
/* True if the whole block is well-formed. */
bool sc_meta_valid(struct sc_span meta);

#endif
