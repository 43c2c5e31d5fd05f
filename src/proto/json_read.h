/*
 * Reads JSON (RFC 8259) that a stranger sent, one event at a time, straight from the bytes: no tree, no
 * recursion, no allocation. Depth is bounded by SC_JSON_DEPTH_MAX. Everything is checked: grammar, UTF-8,
 * escapes; control characters in strings and anything behind the value are errors.
 *
 *     sc_json_read_init(&r, text);
 *     while ((ev = sc_json_next(&r)) > 0) ...        // ends with SC_JSON_END == 0
 *     if (ev < 0) return sc_json_read_error(&r, msg);
 *
 * The text must stay and must not change while the reader is used: memory that another process can write is
 * copied first.
 */
#ifndef SC_PROTO_JSON_READ_H
#define SC_PROTO_JSON_READ_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

enum sc_json_event {
    SC_JSON_END = 0, /* the value was complete and nothing follows; again with every further call */
    SC_JSON_OBJECT,  /* followed by KEY, a value's events, ..., OBJECT_END */
    SC_JSON_OBJECT_END,
    SC_JSON_ARRAY, /* followed by the events of its values, ARRAY_END */
    SC_JSON_ARRAY_END,
    SC_JSON_KEY,
    SC_JSON_STRING,
    SC_JSON_NUMBER,
    SC_JSON_TRUE,
    SC_JSON_FALSE,
    SC_JSON_NULL
};

struct sc_json_reader {
    struct sc_span text;
    size_t pos;      /* behind the latest event */
    size_t at;       /* where it begins */
    uint64_t arrays; /* bit d: the container at depth d is an array */
    unsigned depth;
    uint8_t expect;
    bool escaped;        /* the latest key or string has escapes: raw is not its text */
    struct sc_span raw;  /* the latest key or string between its quotes, or the latest number */
    const char *problem; /* after an error: what is wrong */
    size_t problem_at;   /* and at which byte */
    int failed;
};

void sc_json_read_init(struct sc_json_reader *r, struct sc_span text);
/* The next event, 0 at the end, SC_EINVAL or SC_ELIMIT (nested too deeply); an error sticks. */
int sc_json_next(struct sc_json_reader *r) SC_MUST_USE;
/* After KEY: skips the key's value, whatever it is. After OBJECT or ARRAY: goes to behind its end. After
 * anything else: nothing. Returns 0 or the error. */
int sc_json_skip(struct sc_json_reader *r) SC_MUST_USE;
/* For a caller to whom the latest event says something wrong: makes that the reader's error, with `code` and
 * at the event's first byte. `problem` stays; an earlier error does, too. Returns the error. */
int sc_json_refuse(struct sc_json_reader *r, int code, const char *problem);
/* The error as a sentence with line, column and byte (columns count bytes), for the client. Returns its code.
 */
int sc_json_read_error(const struct sc_json_reader *r, struct sc_msg *msg);

/*
 * The text of the latest key or string: where it lies, or, if it has escapes, unescaped behind the content of
 * `into`, which then owns it. An appended text moves when `into` grows; reserving text.n bytes once is enough
 * for all strings of a document and keeps them in place. \u escapes of lone surrogates become U+FFFD. Returns
 * 0 or into's failure.
 */
int sc_json_text(const struct sc_json_reader *r, struct sc_buf *into, struct sc_span *out) SC_MUST_USE;
/* True if the latest key or string is s; understands escapes. */
bool sc_json_is(const struct sc_json_reader *r, struct sc_span s);
/* The latest number: false if it is not integral or does not fit. */
bool sc_json_int64(const struct sc_json_reader *r, int64_t *out);
/* The latest number; out of range gives an infinity. */
double sc_json_number(const struct sc_json_reader *r);

#endif
