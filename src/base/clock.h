/* Time: one monotonic clock for durations (the same in every process of the host), one wall clock for people.
 */
#ifndef SC_BASE_CLOCK_H
#define SC_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t sc_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t sc_clock_ms(void)
{
    return sc_clock_ns() / 1000000;
}

/* Since 1970, UTC. */
static inline int64_t sc_wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t sc_wall_ms(void)
{
    return sc_wall_ns() / 1000000;
}

#endif
