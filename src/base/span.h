/*
 * Bytes with a length: how everything that comes from outside is passed around.
 *
 * A span owns nothing. It is not NUL-terminated and may contain NULs. An empty span may
 * have a NULL pointer.
 */
#ifndef SC_BASE_SPAN_H
#define SC_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sc_span {
    const char *p;
    size_t n;
};

/* A span over a string literal, without its NUL. */
#define SC_SPAN(lit) ((struct sc_span){("" lit), sizeof(lit) - 1})
/* printf("%.*s", SC_FMT(span)) */
#define SC_FMT(s) (int)(s).n, (s).p

static inline struct sc_span sc_span(const void *p, size_t n)
{
    return (struct sc_span){p, n};
}

static inline struct sc_span sc_span_str(const char *s)
{
    return (struct sc_span){s, s ? strlen(s) : 0};
}

static inline bool sc_span_eq(struct sc_span a, struct sc_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Equality that ignores the case of ASCII letters (header names, media types). */
bool sc_span_eq_nocase(struct sc_span a, struct sc_span b);

static inline bool sc_span_starts(struct sc_span s, struct sc_span prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* Bytes [from, from + n) of s, cut to what s has. */
static inline struct sc_span sc_span_sub(struct sc_span s, size_t from, size_t n)
{
    if (from > s.n)
        from = s.n;
    if (n > s.n - from)
        n = s.n - from;
    return (struct sc_span){s.p ? s.p + from : s.p, n};
}

/* Index of byte c in s, or s.n if it is not there. */
static inline size_t sc_span_find(struct sc_span s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : s.n;
}

/* s without blanks (space, tab) at either end. */
struct sc_span sc_span_trim(struct sc_span s);

/* A decimal number that fills the whole span, no sign, no blanks. False if it is anything
 * else or exceeds max. */
bool sc_span_u64(struct sc_span s, uint64_t max, uint64_t *out);
/* The same with an optional leading '-' or '+', as Java's Integer.parseInt reads it. */
bool sc_span_i32(struct sc_span s, int32_t *out);

/* Writes v in decimal digits, at most SC_U64_DIGITS; the byte behind the last. */
#define SC_U64_DIGITS 20
static inline char *sc_put_u64(char *w, uint64_t v)
{
    char digits[SC_U64_DIGITS];
    size_t n = 0;
    do
        digits[sizeof digits - ++n] = (char)('0' + v % 10);
    while (v /= 10);
    memcpy(w, digits + sizeof digits - n, n);
    return w + n;
}

/* A NUL-terminated copy on the heap, NULL if memory is gone. The caller frees it. */
char *sc_span_dup(struct sc_span s);

/* True if s is well-formed UTF-8 (no surrogates, no overlong forms). */
bool sc_utf8_valid(struct sc_span s);

#endif
