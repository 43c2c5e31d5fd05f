#include "load/schedule.h"

#include <math.h>

void sc_rng_init(struct sc_rng *r, uint64_t seed)
{
    /* splitmix64: neighbouring seeds give unrelated streams. */
    uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    r->state = (z ^ (z >> 31)) | 1;
}

uint64_t sc_rng_next(struct sc_rng *r)
{
    uint64_t x = r->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return x * UINT64_C(2685821657736338717);
}

static double gap(struct sc_schedule *s)
{
    if (!s->poisson)
        return s->interval;
    double u = ((double)(sc_rng_next(&s->rng) >> 11) + 0.5) * 0x1p-53; /* (0, 1) */
    return -log(u) * s->interval;
}

void sc_schedule_init(struct sc_schedule *s, double rate, bool poisson, unsigned index, unsigned of,
                      uint64_t seed, int64_t start_ns)
{
    *s = (struct sc_schedule){.start = start_ns, .interval = 1e9 * of / rate, .poisson = poisson};
    sc_rng_init(&s->rng, seed + index);
    s->next = poisson ? gap(s) : s->interval * index / of;
}

void sc_schedule_advance(struct sc_schedule *s)
{
    s->next += gap(s);
}
