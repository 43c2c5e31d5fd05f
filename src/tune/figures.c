/* What the figures of a search say: intervals, who leads, what to use and why. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/array.h"
#include "tune/parts.h"

double sc_tune_student(unsigned freedom)
{
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                               2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086};
    return freedom <= SC_COUNT(t) ? t[freedom - 1] : freedom <= 40 ? 2.05 : 2.0;
}

int sc_tune_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct sc_tune_interval sc_tune_interval(const struct sc_tune_point *p)
{
    struct sc_tune_interval i = {.half = INFINITY, .n = p->nruns};
    const unsigned n = p->nruns, cut = n < 5 ? 0 : (unsigned)(SC_TUNE_TRIM * n), kept = n - 2 * cut;
    double v[SC_TUNE_RUNS_MAX], mean = 0, squares = 0;
    for (unsigned k = 0; k < n; k++)
        v[k] = p->runs[k].rate;
    qsort(v, n, sizeof *v, sc_tune_by_value);
    for (unsigned k = cut; k < n - cut; k++)
        i.mean += v[k] / kept;
    for (unsigned k = 0; k < n; k++) {
        v[k] = v[SC_MIN(SC_MAX(k, cut), n - cut - 1)];
        mean += v[k] / n;
    }
    for (unsigned k = 0; k < n; k++)
        squares += (v[k] - mean) * (v[k] - mean);
    if (n > 1)
        i.half = fmax(sc_tune_student(kept - 1) * sqrt(squares / (n - 1) / n) * n / kept,
                      p->luck * i.mean / sqrt(sc_tune_loads(p)));
    return i;
}

double sc_tune_p99(const struct sc_tune_point *p)
{
    return (double)sc_hist_at(p->latency, 0.99);
}

bool sc_tune_keeps(const struct sc_tune *t, const struct sc_tune_point *p)
{
    return p->nruns && p->latency->count && !p->failed && (t->goal.p99 <= 0 || sc_tune_p99(p) <= t->goal.p99);
}

const struct sc_tune_point *sc_tune_best(const struct sc_tune *t, const struct sc_tune_branch *b)
{
    const struct sc_tune_point *best = NULL;
    double rate = 0;
    bool sure = false; /* a single run, as curves are made of, only where there is nothing better */
    for (unsigned i = 0; i < b->npoints; i++) {
        const struct sc_tune_point *p = &b->points[i];
        double mean = sc_tune_interval(p).mean;
        bool more = p->nruns > 1;
        if (!sc_tune_keeps(t, p) || mean <= 0 || (sure && !more) || (sure == more && mean <= rate))
            continue;
        sure = more;
        rate = mean;
        best = p;
    }
    return best;
}

double sc_tune_score(const struct sc_tune *t, const struct sc_tune_branch *b)
{
    const struct sc_tune_point *p = b->failed ? NULL : sc_tune_best(t, b);
    return p ? sc_tune_interval(p).mean : 0;
}

int sc_tune_leader(const struct sc_tune *t)
{
    int best = -1;
    double score = 0;
    for (unsigned all = 0; all < 2 && best < 0; all++)
        for (unsigned i = 0; i < t->n; i++)
            if ((all || !t->branches[i].out) && sc_tune_score(t, &t->branches[i]) > score) {
                score = sc_tune_score(t, &t->branches[i]);
                best = (int)i;
            }
    return best;
}

bool sc_tune_is_behind(const struct sc_tune *t, const struct sc_tune_branch *b,
                       const struct sc_tune_branch *leader)
{
    const struct sc_tune_point *p = sc_tune_best(t, b), *q = sc_tune_best(t, leader);
    if (!p || !q)
        return !p && q;
    struct sc_tune_interval a = sc_tune_interval(p), z = sc_tune_interval(q);
    return a.mean + a.half < z.mean - z.half;
}

bool sc_tune_is_sure(const struct sc_tune *t, const struct sc_tune_branch *b, double precision)
{
    const struct sc_tune_point *p = sc_tune_best(t, b);
    struct sc_tune_interval i = p ? sc_tune_interval(p) : (struct sc_tune_interval){0};
    return (i.n >= SC_TUNE_SURE && i.half <= precision * i.mean) || i.n + SC_TUNE_REPEAT > SC_TUNE_RUNS_MAX;
}

double sc_tune_reach(const struct sc_tune *t, const struct sc_tune_branch *b)
{
    const struct sc_tune_point *p = b->failed ? NULL : sc_tune_best(t, b);
    struct sc_tune_interval i = p ? sc_tune_interval(p) : (struct sc_tune_interval){0};
    return i.mean + fmax(i.half, i.n <= SC_TUNE_REPEAT ? SC_TUNE_UNSURE * i.mean : 0);
}

bool sc_tune_may_be_faster(const struct sc_tune *t, unsigned branch, unsigned recommended)
{
    const struct sc_tune_branch *b = &t->branches[branch];
    const double score = sc_tune_score(t, b);
    return branch != recommended && score > 0 && sc_tune_reach(t, b) - score > t->goal.precision * score &&
           sc_tune_reach(t, b) > sc_tune_score(t, &t->branches[recommended]);
}

/* The cheaper one, of two that are as fast. */
static bool is_cheaper(const struct sc_tune_branch *a, const struct sc_tune_branch *b)
{
    static const int8_t way[] = {
        [SC_TUNE_NO_GPU] = 0, [SC_TUNE_LANES] = 1, [SC_TUNE_TIMESLICE] = 2, [SC_TUNE_MPS] = 3};
    const struct sc_tune_config *c = &a->config, *d = &b->config;
    const int order[] = {(c->way == SC_TUNE_LANES ? 1 : (int)c->workers) -
                             (d->way == SC_TUNE_LANES ? 1 : (int)d->workers),
                         (int)c->workers - (int)d->workers, c->threads - d->threads,
                         way[c->way] - way[d->way], (int)c->batch - (int)d->batch};
    if (a->memory && b->memory && llabs(a->memory - b->memory) * 50 > SC_MAX(a->memory, b->memory))
        return a->memory < b->memory;
    for (unsigned i = 0; i < SC_COUNT(order); i++)
        if (order[i])
            return order[i] < 0;
    return false;
}

int sc_tune_recommended(const struct sc_tune *t)
{
    const int leader = sc_tune_leader(t);
    int best = leader;
    for (unsigned i = 0; leader >= 0 && i < t->n; i++) {
        const struct sc_tune_branch *b = &t->branches[i], *first = &t->branches[leader];
        if (sc_tune_score(t, b) < (1 - SC_TUNE_TIE) * sc_tune_score(t, first) ||
            sc_tune_is_behind(t, b, first))
            continue;
        /* One that was looked at once is known too little. */
        const unsigned runs = sc_tune_best(t, first)->nruns;
        if (sc_tune_best(t, b)->nruns >= SC_MIN(runs, SC_TUNE_REPEAT + 1u) &&
            is_cheaper(b, &t->branches[best]))
            best = (int)i;
    }
    return best;
}

bool sc_tune_on_front(const struct sc_tune *t, unsigned branch)
{
    const struct sc_tune_branch *b = &t->branches[branch];
    const struct sc_tune_point *p = b->failed ? NULL : sc_tune_best(t, b);
    for (unsigned i = 0; p && i < t->n; i++) {
        const struct sc_tune_branch *o = &t->branches[i];
        const struct sc_tune_point *q = o == b || o->failed ? NULL : sc_tune_best(t, o);
        if (q && sc_tune_interval(q).mean > sc_tune_interval(p).mean && sc_tune_p99(q) < sc_tune_p99(p))
            return false;
    }
    return p != NULL;
}

const char *sc_tune_phase_name(enum sc_tune_phase phase)
{
    static const char *const names[] = {"screening", "final", "curves", "done"};
    return names[phase];
}

const char *sc_tune_way_name(enum sc_tune_way way)
{
    static const char *const names[] = {"timeslice", "mps", "lanes", "cpu"};
    return names[way];
}

void sc_tune_name(const struct sc_tune_config *c, char *to, size_t size)
{
    int n = snprintf(to, size, "batch %u, %u worker%s", c->batch, c->workers, c->workers > 1 ? "s" : "");
    if (c->threads >= 0)
        n += snprintf(to + n, size - (size_t)n, ", %d thread%s", c->threads, c->threads == 1 ? "" : "s");
    if (c->way != SC_TUNE_NO_GPU)
        snprintf(to + n, size - (size_t)n, ", %s", sc_tune_way_name(c->way));
}

/* The best of the others that were measured as long as the first. */
static int second(const struct sc_tune *t, int first)
{
    int best = -1;
    for (unsigned i = 0; i < t->n; i++) {
        const struct sc_tune_branch *b = &t->branches[i];
        if ((int)i != first && (!b->out || t->branches[first].out) && sc_tune_score(t, b) > 0 &&
            (best < 0 || sc_tune_score(t, b) > sc_tune_score(t, &t->branches[best])))
            best = (int)i;
    }
    return best;
}

void sc_tune_reason(const struct sc_tune *t, int recommended, char *to, size_t size)
{
    struct sc_buf b;
    char name[80];
    unsigned measured = 0;
    sc_buf_init(&b, 2048);
    for (unsigned i = 0; i < t->n; i++)
        measured += t->branches[i].npoints > 0;
    if (recommended < 0) {
        if (t->goal.p99 > 0 && measured)
            snprintf(to, size, "none of the %u configurations measured keeps p99 below %g ms", measured,
                     t->goal.p99 / 1e6);
        else
            snprintf(to, size, "none of the %u configurations measured could be used", measured);
        return;
    }
    const struct sc_tune_branch *r = &t->branches[recommended];
    const struct sc_tune_point *p = sc_tune_best(t, r);
    struct sc_tune_interval i = sc_tune_interval(p);
    sc_tune_name(&r->config, name, sizeof name);
    sc_buf_printf(&b, "%s: %.1f requests/s", name, i.mean);
    if (i.n > 1)
        sc_buf_printf(&b, " (± %.1f %%)", i.half / i.mean * 100);
    sc_buf_printf(&b, " with p99 %.3f ms at %u at once", sc_tune_p99(p) / 1e6, p->concurrency);
    int leader = sc_tune_leader(t), next = second(t, recommended);
    if (leader != recommended) {
        sc_tune_name(&t->branches[leader].config, name, sizeof name);
        sc_buf_printf(&b, ", as fast as %s within the noise, and cheaper", name);
    } else if (next >= 0) {
        double behind = 1 - sc_tune_score(t, &t->branches[next]) / i.mean;
        sc_tune_name(&t->branches[next].config, name, sizeof name);
        sc_buf_printf(&b, ", the most of %u configurations%s; %s is next, %.0f %% behind", measured,
                      t->goal.p99 > 0 ? " that keep p99" : "", name, behind * 100);
        if (!sc_tune_is_behind(t, &t->branches[next], r))
            sc_buf_str(&b, ", which is within the noise");
    }
    snprintf(to, size, "%.*s", (int)b.n, b.p ? b.p : "");
    sc_buf_free(&b);
}
