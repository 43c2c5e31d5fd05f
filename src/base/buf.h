/*
 * A growing byte buffer with a maximum that is set when it is made (limits.h names them).
 *
 * A write that would pass the maximum, or for which memory cannot be had, sets `failed`
 * and changes nothing more; the owner checks once at the end. Not thread-safe.
 */
#ifndef SC_BASE_BUF_H
#define SC_BASE_BUF_H

#include "base/error.h"
#include "base/span.h"

struct sc_buf {
    char *p;
    size_t n; /* bytes in use */
    size_t cap;
    size_t max;
    int failed; /* 0, SC_ELIMIT or SC_ENOMEM; sticky */
};

void sc_buf_init(struct sc_buf *b, size_t max);
/* Frees the memory; the buffer is as after init. */
void sc_buf_free(struct sc_buf *b);
/* Forgets the content and the failure, keeps the memory. */
static inline void sc_buf_clear(struct sc_buf *b)
{
    b->n = 0;
    b->failed = 0;
}
/* Room for `more` bytes behind n: 0, SC_ELIMIT or SC_ENOMEM. */
int sc_buf_reserve(struct sc_buf *b, size_t more);
void sc_buf_add(struct sc_buf *b, const void *p, size_t n);
static inline void sc_buf_span(struct sc_buf *b, struct sc_span s)
{
    sc_buf_add(b, s.p, s.n);
}
static inline void sc_buf_str(struct sc_buf *b, const char *s)
{
    sc_buf_add(b, s, strlen(s));
}
void sc_buf_char(struct sc_buf *b, char c);
void sc_buf_printf(struct sc_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first n bytes and moves the rest to the front. */
void sc_buf_consume(struct sc_buf *b, size_t n);
static inline struct sc_span sc_buf_view(const struct sc_buf *b)
{
    return sc_span(b->p, b->n);
}

#endif
