#include "heads/score.h"

#include <stdbool.h>
#include <stdlib.h>

/* No number is worse than all. */
static int better(const void *a, const void *b)
{
    const struct sc_ranked *x = a, *y = b;
    bool xn = isnan(x->score), yn = isnan(y->score);
    if (xn != yn)
        return xn ? 1 : -1;
    if (!xn && x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void swap(struct sc_ranked *a, struct sc_ranked *b)
{
    struct sc_ranked t = *a;
    *a = *b;
    *b = t;
}

/* x is a heap of n, the worst on top, but for x[i]. */
static void sink(struct sc_ranked *x, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t worst = i;
        for (uint32_t c = 2 * i + 1; c < n && c <= 2 * i + 2; c++)
            if (better(&x[c], &x[worst]) > 0)
                worst = c;
        if (worst == i)
            return;
        swap(&x[i], &x[worst]);
        i = worst;
    }
}

void sc_rank(struct sc_ranked *x, uint32_t n, uint32_t k)
{
    /* A few of a whole vocabulary: no need to sort it. */
    if (k < n) {
        for (uint32_t i = k / 2; i-- > 0;)
            sink(x, k, i);
        for (uint32_t i = k; k > 0 && i < n; i++)
            if (better(&x[i], &x[0]) < 0) {
                swap(&x[i], &x[0]);
                sink(x, k, 0);
            }
        n = k;
    }
    qsort(x, n, sizeof *x, better);
}
