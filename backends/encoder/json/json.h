/*
 * A JSON reader that builds nothing: the caller asks for what it expects and gets spans.
 *
 * Made for what strangers send: request bodies with lists of texts (as fast as they can be
 * scanned) and headers of weight files. Time is linear in the input, memory at most one buffer of its
 * size (for strings with escapes), nesting bounded by SC_JSON_DEPTH_MAX, no recursion.
 * Strict RFC 8259; the bytes must be valid UTF-8, which the caller has checked where it matters. Not
 * thread-safe; one reader reads one document.
 *
 *     sc_json_reader_init(&r, bytes);
 *     rc = sc_json_enter(&r, '{');
 *     while (rc >= 0 && (rc = sc_json_next_key(&r, &key)) > 0)
 *         rc = sc_json_string(&r, &value);       or another value, or sc_json_skip
 *     if (rc == 0) rc = sc_json_end(&r);
 *
 * Every function returns a negative code on failure (SC_EINVAL, SC_ELIMIT, SC_ENOMEM), and r->error and
 * sc_json_at then say what was wrong where; later calls may be made but mean nothing.
 */
#ifndef SC_ENCODER_JSON_H
#define SC_ENCODER_JSON_H

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"

struct sc_json_reader {
    const char *start, *p, *end;
    const char *error; /* what was wrong: a static string */
    char *decoded;     /* strings that had escapes; made when the first is met */
    size_t decoded_n;
    unsigned depth;
    bool fresh; /* just behind an opening bracket */
};

void sc_json_reader_init(struct sc_json_reader *r, struct sc_span bytes);
/* Frees decoded strings: spans that the reader gave are invalid afterwards. */
void sc_json_reader_free(struct sc_json_reader *r);
/* Offset of the next byte to be read. */
static inline size_t sc_json_at(const struct sc_json_reader *r)
{
    return (size_t)(r->p - r->start);
}

/* First byte of the next value: one of { [ " - 0..9 t f n, or another byte that will fail, or 0 at the end.
 */
char sc_json_peek(struct sc_json_reader *r);

/* Goes into an object ('{') or a list ('['). */
int sc_json_enter(struct sc_json_reader *r, char open);
/* 1: *key is the next member's name, its value follows; 0: the object is over. */
int sc_json_next_key(struct sc_json_reader *r, struct sc_span *key);
/* 1: a value follows; 0: the list is over. */
int sc_json_next_item(struct sc_json_reader *r);

/* The text lies in the document or in the reader's own memory, valid until the reader is freed. */
int sc_json_string(struct sc_json_reader *r, struct sc_span *out);
/* A whole number from 0 to max without fraction or exponent. */
int sc_json_u64(struct sc_json_reader *r, uint64_t max, uint64_t *out);
int sc_json_null(struct sc_json_reader *r);
/* Reads past any value. */
int sc_json_skip(struct sc_json_reader *r);
/* Nothing but blanks may follow. */
int sc_json_end(struct sc_json_reader *r);

#endif
