/*
 * What happened when: answers, failures and their latencies in equal stretches of time. A stretch begins with
 * a tenth of a second and is doubled when there would be too many. Not thread-safe: each thread has its own,
 * merged at the end.
 */
#ifndef SC_LOAD_SERIES_H
#define SC_LOAD_SERIES_H

#include <stdint.h>

#define SC_SERIES_POINTS 512
#define SC_SERIES_FIRST_NS (100 * 1000000)

struct sc_series_point {
    uint64_t good, failed;
    uint64_t sum, max; /* ns, of the latencies of good ones */
};

struct sc_series {
    int64_t width; /* ns */
    unsigned n;    /* points in use */
    struct sc_series_point point[SC_SERIES_POINTS];
};

void sc_series_init(struct sc_series *s);
/* Counts an answer `t` ns after the start (at least 0). */
void sc_series_good(struct sc_series *s, int64_t t, int64_t latency);
void sc_series_failed(struct sc_series *s, int64_t t);
/* Adds what `from`, which began at the same time, has counted; *from may get wider. */
void sc_series_merge(struct sc_series *s, struct sc_series *from);

#endif
