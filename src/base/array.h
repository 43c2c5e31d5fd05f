/* Small helpers for arrays, bounds and intrusive structures. */
#ifndef SC_BASE_ARRAY_H
#define SC_BASE_ARRAY_H

#include <stddef.h>

#define SC_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SC_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SC_MAX(a, b) ((a) > (b) ? (a) : (b))

/* The structure of type `type` whose member `member` is at `ptr`. */
#define SC_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define SC_MUST_USE __attribute__((warn_unused_result))
#define SC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define SC_LIKELY(x) __builtin_expect(!!(x), 1)
#define SC_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
