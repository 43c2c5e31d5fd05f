/*
 * When the requests of an open loop are due.
 *
 * The times depend on nothing but the rate and the seed: a server that is slow does not make the next request
 * later, and so cannot hide its slowness (coordinated omission). Pure arithmetic; one object per thread.
 */
#ifndef SC_LOAD_SCHEDULE_H
#define SC_LOAD_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

/* A small generator (xorshift64*): fast, and the same on every machine. Never 0. */
struct sc_rng {
    uint64_t state;
};
void sc_rng_init(struct sc_rng *r, uint64_t seed);
uint64_t sc_rng_next(struct sc_rng *r);

struct sc_schedule {
    int64_t start;   /* ns */
    double interval; /* ns, the mean */
    double next;     /* ns after start */
    bool poisson;
    struct sc_rng rng;
};

/*
 * Share `index` of `of` of a rate (requests per second in all, > 0) from start_ns on. With constant spacing
 * the shares interleave, so that together they are evenly spaced again; with poisson the gaps are
 * exponential, and so are those of the sum.
 */
void sc_schedule_init(struct sc_schedule *s, double rate, bool poisson, unsigned index, unsigned of,
                      uint64_t seed, int64_t start_ns);
/* When the next request is due. */
static inline int64_t sc_schedule_due(const struct sc_schedule *s)
{
    return s->start + (int64_t)s->next;
}
/* Goes on to the one after it. */
void sc_schedule_advance(struct sc_schedule *s);

#endif
