/*
 * The body of an answer as it passes: counted, compared with what it should be, or kept to be looked at when
 * it is complete. No I/O; one object per request on its way.
 */
#ifndef SC_LOAD_BODY_H
#define SC_LOAD_BODY_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

#define SC_BODY_EXCERPT 160

enum sc_body_want { SC_BODY_COUNT, SC_BODY_COMPARE, SC_BODY_KEEP };

struct sc_body {
    enum sc_body_want want;
    struct sc_span expected; /* compare: the caller's, until the answer is complete */
    uint64_t n;              /* bytes so far */
    bool differs;            /* compare: it is not what was expected; keep: it is too large to be kept */
    struct sc_buf kept;      /* keep: all of it, with a NUL behind it at the end */
    size_t excerpt_n;
    char excerpt[SC_BODY_EXCERPT]; /* its beginning, for people */
};

/* A zeroed object is ready to begin; free releases what it holds. */
void sc_body_begin(struct sc_body *b, enum sc_body_want want, struct sc_span expected);
void sc_body_add(struct sc_body *b, const char *p, size_t n);
/* Nothing follows: *differs is final. */
void sc_body_end(struct sc_body *b);
void sc_body_free(struct sc_body *b);

#endif
