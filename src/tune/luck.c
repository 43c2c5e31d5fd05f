/*
 * Loads differ: the same configuration, loaded again, is a little faster or slower for as long as it runs
 * (where threads and memory happen to lie, who of the clients fell to which worker), and its runs under one
 * load, which are alike, do not show it.
 *
 * How much is a property of the machine, so it is learned from all points that were measured under several
 * loads: the variance s^2 of the loads' medians around their point's mean, pooled, together with what is
 * believed before anything is known, PRIOR, as if that had been seen PRIOR_FREEDOM times (a scaled inverse
 * chi-squared prior; A. Gelman et al., Bayesian Data Analysis, 2.6).
 */
#include <math.h>

#include "base/array.h"
#include "tune/parts.h"

#define PRIOR 0.01 /* deviation of a load, as a share of the rate */
#define PRIOR_FREEDOM 4

unsigned sc_tune_loads(const struct sc_tune_point *p)
{
    unsigned n = p->nruns > 0;
    for (unsigned i = 1; i < p->nruns; i++)
        n += p->runs[i].load != p->runs[i - 1].load;
    return n;
}

/* The median rate of the runs under the load that run `at` is the first of; at: the first of the next. */
static double median_of_load(const struct sc_tune_point *p, unsigned *at)
{
    double v[SC_TUNE_RUNS_MAX];
    unsigned n = 0, load = p->runs[*at].load;
    for (; *at < p->nruns && p->runs[*at].load == load; ++*at)
        v[n++] = p->runs[*at].rate;
    qsort(v, n, sizeof *v, sc_tune_by_value);
    return (v[n / 2] + v[(n - 1) / 2]) / 2;
}

/* Adds the point's squares to *squares; returns their degrees of freedom. */
static unsigned deviations(const struct sc_tune_point *p, double *squares)
{
    double medians[SC_TUNE_RUNS_MAX], mean = 0;
    unsigned n = 0;
    for (unsigned at = 0; at < p->nruns;)
        medians[n++] = median_of_load(p, &at);
    for (unsigned i = 0; i < n; i++)
        mean += medians[i] / n;
    if (n < 2 || mean <= 0)
        return 0;
    for (unsigned i = 0; i < n; i++)
        *squares += (medians[i] / mean - 1) * (medians[i] / mean - 1);
    return n - 1;
}

void sc_tune_learn_luck(struct sc_tune *t)
{
    unsigned freedom = PRIOR_FREEDOM;
    double squares = PRIOR_FREEDOM * PRIOR * PRIOR;
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; k < t->branches[i].npoints; k++)
            freedom += deviations(&t->branches[i].points[k], &squares);
    const double luck = sc_tune_student(freedom) * sqrt(squares / freedom);
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; k < t->branches[i].npoints; k++)
            t->branches[i].points[k].luck = luck;
}
