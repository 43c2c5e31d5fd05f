/*
 * Latencies counted in buckets of bounded relative width, so that a percentile of any number of requests
 * costs a fixed 37 KiB and is wrong by less than 1 %.
 *
 * A bucket is 1 wide below 256 and from there on 1/128 of the power of two it lies in. Values are nanoseconds
 * by convention; nothing depends on it. Not thread-safe: each thread has its own, merged at the end.
 */
#ifndef SC_LOAD_HISTOGRAM_H
#define SC_LOAD_HISTOGRAM_H

#include <stdint.h>

#define SC_HIST_BITS 7        /* 2^7 buckets in a power of two: 0.8 % at most */
#define SC_HIST_VALUE_BITS 42 /* 2^42 ns = 73 minutes; larger values count as that */
#define SC_HIST_BUCKETS ((SC_HIST_VALUE_BITS - SC_HIST_BITS + 1) << SC_HIST_BITS)

struct sc_hist {
    uint64_t count;
    uint64_t sum;
    uint64_t min; /* exact; UINT64_MAX while nothing is recorded */
    uint64_t max; /* exact, not cut at the largest bucket */
    uint64_t bucket[SC_HIST_BUCKETS];
};

void sc_hist_init(struct sc_hist *h);
/* Counts a value; a negative one counts as 0. */
void sc_hist_record(struct sc_hist *h, int64_t value);
/* Adds what `from` has counted. */
void sc_hist_merge(struct sc_hist *h, const struct sc_hist *from);
/*
 * The value that a share q (0..1) of the recorded ones do not exceed: the upper end of its bucket, and never
 * more than the largest value recorded. 0 if nothing is recorded.
 */
uint64_t sc_hist_at(const struct sc_hist *h, double q);
/* 0 if nothing is recorded. */
double sc_hist_mean(const struct sc_hist *h);

/* The bucket of a value, and the largest value of a bucket. */
unsigned sc_hist_bucket(uint64_t value);
uint64_t sc_hist_bucket_max(unsigned bucket);

#endif
