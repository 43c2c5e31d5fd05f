#include "linger.h"

#include "base/array.h"

#define MEMORY 32.0      /* batches after which one counts 1/e */
#define RIDGE 0.02       /* variance, in squared means, below which batches count as alike */
#define PRIOR 0.5        /* the fixed part of the time, then */
#define SHARE 8          /* of a batch's time, at most */
#define LEAST_NS 50000.0 /* what can be waited for at all */
#define OFF_MIN_NS INT64_C(500000000)
#define OFF_MAX_NS INT64_C(60000000000)

void sc_linger_took(struct sc_linger *l, uint32_t n, int64_t took_ns)
{
    const double keep = 1 - 1 / MEMORY;
    l->weight = keep * l->weight + 1;
    l->n = keep * l->n + n;
    l->nn = keep * l->nn + (double)n * n;
    l->t = keep * l->t + (double)took_ns;
    l->nt = keep * l->nt + (double)n * (double)took_ns;
    l->answered = n;
}

/* The line's value at no requests. */
static double fixed_cost(const struct sc_linger *l)
{
    double n = l->n / l->weight, t = l->t / l->weight;
    double variance = SC_MAX(l->nn / l->weight - n * n, 0), covariance = l->nt / l->weight - n * t;
    double ridge = RIDGE * n * n, prior = (1 - PRIOR) * t / n;
    double fixed = t - n * (covariance + ridge * prior) / (variance + ridge);
    return SC_MAX(0, SC_MIN(fixed, t));
}

void sc_linger_begin(struct sc_linger *l, int64_t now_ns)
{
    l->free_ns = now_ns;
    l->until_ns = l->since_ns = 0;
    l->found = 0;
    l->empty = false;
}

void sc_linger_found(struct sc_linger *l)
{
    l->found += !l->empty;
}

void sc_linger_empty(struct sc_linger *l)
{
    l->empty = true;
}

/* How long, from when the worker was free. */
static int64_t budget(const struct sc_linger *l, int64_t now_ns)
{
    if (l->weight < 1 || now_ns < l->off_until_ns)
        return 0;
    double most = SC_MIN(l->t / l->weight / SHARE, fixed_cost(l) / 2);
    return most < LEAST_NS ? 0 : SC_MIN((int64_t)most, l->most_ns);
}

int64_t sc_linger_until(struct sc_linger *l, uint32_t n, int64_t now_ns)
{
    l->empty = true;
    if (!l->until_ns) {
        l->had = n;
        l->wanted = SC_MIN(l->batch_size, l->found + l->answered);
        l->until_ns = l->free_ns + budget(l, now_ns);
    }
    if (n >= l->wanted || now_ns >= l->until_ns)
        return 0;
    if (!l->since_ns)
        l->since_ns = now_ns;
    return l->until_ns;
}

void sc_linger_end(struct sc_linger *l, uint32_t n, int64_t now_ns)
{
    if (!l->since_ns)
        return;
    double share = SC_MIN(1, (double)(n - l->had) / (l->wanted - l->had));
    l->worth_ns += (fixed_cost(l) * share - (double)(now_ns - l->since_ns) - l->worth_ns) / 8;
    if (l->worth_ns >= 0) {
        l->off_for_ns = 0;
        return;
    }
    l->off_for_ns = SC_MAX(OFF_MIN_NS, SC_MIN(OFF_MAX_NS, 2 * l->off_for_ns));
    l->off_until_ns = now_ns + l->off_for_ns;
    l->worth_ns = 0;
}
