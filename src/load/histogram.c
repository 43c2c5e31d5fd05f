#include "load/histogram.h"

#include <string.h>

#define PER_POWER (1u << SC_HIST_BITS)
#define VALUE_MAX ((UINT64_C(1) << SC_HIST_VALUE_BITS) - 1)

unsigned sc_hist_bucket(uint64_t value)
{
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    if (value < 2 * PER_POWER)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - SC_HIST_BITS;
    /* The top bit of the shifted value is always set: it carries over into the power's own range. */
    return (shift << SC_HIST_BITS) + (unsigned)(value >> shift);
}

uint64_t sc_hist_bucket_max(unsigned bucket)
{
    if (bucket < 2 * PER_POWER)
        return bucket;
    unsigned shift = (bucket >> SC_HIST_BITS) - 1;
    uint64_t top = (bucket & (PER_POWER - 1)) | PER_POWER;
    return ((top + 1) << shift) - 1;
}

void sc_hist_init(struct sc_hist *h)
{
    memset(h, 0, sizeof *h);
    h->min = UINT64_MAX;
}

void sc_hist_record(struct sc_hist *h, int64_t value)
{
    uint64_t v = value < 0 ? 0 : (uint64_t)value;
    h->bucket[sc_hist_bucket(v)]++;
    h->count++;
    h->sum += v;
    if (v < h->min)
        h->min = v;
    if (v > h->max)
        h->max = v;
}

void sc_hist_merge(struct sc_hist *h, const struct sc_hist *from)
{
    for (unsigned i = 0; i < SC_HIST_BUCKETS; i++)
        h->bucket[i] += from->bucket[i];
    h->count += from->count;
    h->sum += from->sum;
    if (from->min < h->min)
        h->min = from->min;
    if (from->max > h->max)
        h->max = from->max;
}

uint64_t sc_hist_at(const struct sc_hist *h, double q)
{
    if (h->count == 0)
        return 0;
    /* The rank is the smallest whole number not below q * count; at least the first value counts. */
    double exact = q * (double)h->count;
    uint64_t rank = exact <= 1 ? 1 : (uint64_t)exact;
    if ((double)rank < exact)
        rank++;
    if (rank >= h->count)
        return h->max;
    uint64_t seen = 0;
    for (unsigned i = 0; i < SC_HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= rank) {
            uint64_t top = sc_hist_bucket_max(i);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}

double sc_hist_mean(const struct sc_hist *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}
