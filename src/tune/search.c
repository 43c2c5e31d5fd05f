/* What is measured next. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/array.h"
#include "tune/parts.h"

#define FINALISTS 4      /* get curves */
#define SECONDS_MIN 0.15 /* of a run */
#define SECONDS_MAX 5.0
#define SLICES_MIN 2 /* of settling */
#define SLICES_MAX 12
#define RISING 1.1      /* times the slice before the last one: not settled yet */
#define STEEP 1.03      /* times the run before */
#define TRIES_MAX 6     /* of a step in which no answer came */
#define BATCHES_MIN 6.0 /* that a worker completes in a run, so that one more or less matters little */
#define VISITS 18       /* of the final, as it is planned */
#define STAYS 2         /* of them, at most, under one load of the model */

/* Where a phase ends at the latest, as a share of the budget; as planned, the screening does before. */
static const double ends[] = {0.7, 0.9, 1.0, 1.0};

#define FINAL_END 0.95   /* and its last step */
#define SETTLE_MOST 0.05 /* of the budget, of one visit: a rate that rises longer is taken as it is */

/* ---- branches and points ---- */

void sc_tune_init(struct sc_tune *t, const struct sc_tune_goal *goal)
{
    *t = (struct sc_tune){.goal = *goal, .visiting = -1, .settled = -1};
}

void sc_tune_free(struct sc_tune *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        for (unsigned k = 0; k < t->branches[i].npoints; k++)
            free(t->branches[i].points[k].latency);
        free(t->branches[i].points);
    }
    free(t->branches);
    *t = (struct sc_tune){0};
}

int sc_tune_add(struct sc_tune *t, const struct sc_tune_config *c)
{
    if (t->n == SC_TUNE_BRANCHES_MAX)
        return SC_ELIMIT;
    t->branches = sc_realloc_array(t->branches, t->n + 1, sizeof *t->branches);
    t->branches[t->n++] = (struct sc_tune_branch){.config = *c};
    return 0;
}

struct sc_tune_point *sc_tune_point(struct sc_tune_branch *b, unsigned concurrency)
{
    for (unsigned i = 0; i < b->npoints; i++)
        if (b->points[i].concurrency == concurrency)
            return &b->points[i];
    return NULL;
}

struct sc_tune_point *sc_tune_make_point(struct sc_tune_branch *b, unsigned concurrency)
{
    struct sc_tune_point *p = sc_tune_point(b, concurrency);
    if (p || b->npoints == SC_TUNE_POINTS_MAX)
        return p;
    if (!b->points)
        b->points = sc_alloc_array(SC_TUNE_POINTS_MAX, sizeof *b->points);
    p = &b->points[b->npoints++];
    *p = (struct sc_tune_point){.concurrency = concurrency, .latency = sc_alloc(sizeof *p->latency)};
    sc_hist_init(p->latency);
    return p;
}

static void put_out(struct sc_tune_branch *b, bool failed, const char *why)
{
    if (b->out && !failed)
        return;
    b->out = true;
    b->failed |= failed;
    snprintf(b->why, sizeof b->why, "%s", why);
}

void sc_tune_drop(struct sc_tune *t, unsigned branch, bool larger, const char *why)
{
    const struct sc_tune_config *c = &t->branches[branch].config;
    char name[80], text[240];
    sc_tune_name(c, name, sizeof name);
    snprintf(text, sizeof text, "%s: %.150s", name, why);
    for (unsigned i = 0; larger && i < t->n; i++) {
        const struct sc_tune_config *o = &t->branches[i].config;
        if (i != branch && !t->branches[i].npoints && o->way == c->way && o->threads == c->threads &&
            o->batch >= c->batch && o->workers >= c->workers)
            put_out(&t->branches[i], true, text);
    }
    put_out(&t->branches[branch], true, why);
    if (t->visiting == (int)branch)
        t->visiting = -1;
}

bool sc_tune_weigh(struct sc_tune *t, unsigned branch, int64_t bytes)
{
    struct sc_tune_branch *b = &t->branches[branch];
    char why[120];
    b->memory = SC_MAX(b->memory, bytes);
    if (t->goal.memory <= 0 || b->memory <= t->goal.memory)
        return true;
    snprintf(why, sizeof why, "its workers take %.0f MiB, more than the ceiling of %.0f MiB",
             (double)b->memory / 1048576, (double)t->goal.memory / 1048576);
    sc_tune_drop(t, branch, true, why);
    return false;
}

/* ---- which load ---- */

static uint64_t full(const struct sc_tune_branch *b)
{
    return (uint64_t)b->config.batch * b->config.workers;
}

/* So many that every worker has a batch at work and one ahead. */
static unsigned first_concurrency(const struct sc_tune *t, const struct sc_tune_branch *b)
{
    uint64_t c = 1;
    while (c < 2 * full(b))
        c *= 2;
    return (unsigned)SC_MIN(c, t->goal.most);
}

static unsigned screen(const struct sc_tune *t, struct sc_tune_branch *b)
{
    if (t->visit_steps == 0)
        return first_concurrency(t, b);
    const struct sc_tune_point *p = sc_tune_point(b, t->visit_concurrency);
    return p && !sc_tune_keeps(t, p) ? t->visit_concurrency / 2 : 0;
}

/* Again under the best load, then under a heavier one, if it is not known what that gives. */
static unsigned look_again(const struct sc_tune *t, struct sc_tune_branch *b)
{
    const struct sc_tune_point *best = sc_tune_best(t, b);
    if (!best)
        return screen(t, b); /* it had no turn when all were */
    if (t->visit_steps == 0)
        return best->concurrency;
    unsigned up = best->concurrency * 2;
    if (t->visit_steps > 1 || up > t->goal.most || up > 8 * full(b))
        return 0;
    const struct sc_tune_point *above = sc_tune_point(b, up);
    if (!above)
        return up;
    up -= best->concurrency / 2;
    return !sc_tune_keeps(t, above) && up > best->concurrency && !sc_tune_point(b, up) ? up : 0;
}

/* What is not known yet; then what looked better in its one run than all that is known well. */
static unsigned curve(const struct sc_tune *t, struct sc_tune_branch *b)
{
    const struct sc_tune_point *best = sc_tune_best(t, b);
    for (unsigned c = 1; c <= t->goal.most && c <= 8 * full(b); c *= 2)
        if (!sc_tune_point(b, c) && b->npoints < SC_TUNE_POINTS_MAX)
            return c;
    for (unsigned i = 0; best && i < b->npoints; i++) {
        const struct sc_tune_point *p = &b->points[i];
        if (p->nruns == 1 && sc_tune_keeps(t, p) && sc_tune_interval(p).mean > sc_tune_interval(best).mean)
            return p->concurrency;
    }
    return 0;
}

/* 0: the visit is over. */
static unsigned concurrency(const struct sc_tune *t, struct sc_tune_branch *b)
{
    if (t->again || t->settling)
        return t->visit_concurrency;
    switch (t->phase) {
    case SC_TUNE_SCREEN: return screen(t, b);
    case SC_TUNE_FINAL: return look_again(t, b);
    case SC_TUNE_CURVES: return curve(t, b);
    case SC_TUNE_DONE: break;
    }
    return 0;
}

/* ---- how long ---- */

static double clamp(double v, double low, double high)
{
    return fmin(fmax(v, low), high);
}

/* Of a run: what the phase has, shared among its visits. */
static double run_seconds(const struct sc_tune *t)
{
    const double of = t->goal.budget, step = SC_TUNE_REPEAT * 1.5;
    double visit = 0, steps = 1;
    switch (t->phase) {
    case SC_TUNE_SCREEN:
        visit = 0.45 * of / SC_MAX(t->n, 1u);
        steps = t->goal.p99 > 0 ? 3 : 1;
        break;
    case SC_TUNE_FINAL: visit = 0.35 * of / VISITS; break;
    case SC_TUNE_CURVES: return clamp(0.1 * of / FINALISTS / 8, SECONDS_MIN, SECONDS_MAX);
    case SC_TUNE_DONE: break;
    }
    return clamp((visit - t->loading - SLICES_MIN * SECONDS_MIN) / steps / step, SECONDS_MIN, SECONDS_MAX);
}

/* ---- who is next ---- */

/* Of a line of growing batches the last two measured were behind its best: larger ones are, too. */
static bool line_is_lost(const struct sc_tune *t, unsigned at)
{
    const struct sc_tune_config *c = &t->branches[at].config;
    const struct sc_tune_branch *best = NULL;
    unsigned lost = 0;
    for (unsigned i = 0; i < at; i++) {
        const struct sc_tune_branch *b = &t->branches[i];
        if (b->config.way != c->way || b->config.workers != c->workers || b->config.threads != c->threads ||
            sc_tune_score(t, b) <= 0)
            continue;
        lost = best && sc_tune_is_behind(t, b, best) ? lost + 1 : 0;
        if (!best || sc_tune_score(t, b) > sc_tune_score(t, best))
            best = b;
    }
    return lost >= 2;
}

/* The screening takes longer than was planned. */
static bool is_late(const struct sc_tune *t)
{
    unsigned left = 0;
    for (unsigned i = 0; i < t->n; i++)
        left += !t->branches[i].out && !t->branches[i].npoints;
    return t->phase == SC_TUNE_SCREEN && t->spent > 0.55 * t->goal.budget * (t->n - left + 1) / t->n;
}

/* In the order of this neighbours come far apart, and lines of any length are begun anywhere: multiples of
 * the golden ratio, without their whole part (Weyl's equidistribution). */
static double scattered(unsigned i)
{
    return fmod(i * 0.6180339887498949, 1);
}

/* The next that had no turn in this round, in order, or where there may not be the time for all of them, so
 * that those that have a turn are spread over all; `fresh`: and was never measured. */
static int pick_in_turn(struct sc_tune *t, bool fresh)
{
    const bool spread = is_late(t);
    int next = -1;
    for (unsigned i = 0; i < t->n; i++) {
        struct sc_tune_branch *b = &t->branches[i];
        if (b->out || b->round > t->round || (fresh && b->npoints))
            continue;
        if (t->phase != SC_TUNE_CURVES && line_is_lost(t, i))
            put_out(b, false, "the two batches before it lost already");
        else if (next < 0 || (t->phase == SC_TUNE_CURVES && sc_tune_leader(t) == (int)i) ||
                 (spread && scattered(i) < scattered((unsigned)next)))
            next = (int)i;
    }
    return next;
}

/*
 * Of the leader and the one that could best be better, who is known less: UGapE (Gabillon, Ghavamzadeh and
 * Lazaric, "Best arm identification: a unified approach to fixed budget and fixed confidence", NIPS 2012).
 * -1: the leader is known as well as is wanted, and so is all that reaches up to it.
 */
static int pick_unsure(const struct sc_tune *t)
{
    const int leader = sc_tune_leader(t);
    const double precision = fmin(t->goal.precision, SC_TUNE_TIE); /* of those that contest */
    int next = -1;
    if (leader < 0 || t->branches[leader].out)
        return -1;
    const struct sc_tune_branch *first = &t->branches[leader];
    const struct sc_tune_interval in = sc_tune_interval(sc_tune_best(t, first));
    for (unsigned i = 0; i < t->n; i++) {
        const struct sc_tune_branch *b = &t->branches[i];
        if ((int)i != leader && !b->out && sc_tune_score(t, b) > 0 && !sc_tune_is_sure(t, b, precision) &&
            sc_tune_reach(t, b) >= in.mean - in.half &&
            (next < 0 || sc_tune_reach(t, b) > sc_tune_reach(t, &t->branches[next])))
            next = (int)i;
    }
    if (next < 0)
        return sc_tune_is_sure(t, first, t->goal.precision) ? -1 : leader;
    return !sc_tune_is_sure(t, first, precision) &&
                   in.half >= sc_tune_interval(sc_tune_best(t, &t->branches[next])).half
               ? leader
               : next;
}

static int pick(struct sc_tune *t)
{
    int next = t->phase == SC_TUNE_FINAL ? pick_unsure(t) : -1;
    return next < 0 ? pick_in_turn(t, t->phase == SC_TUNE_FINAL) : next;
}

/* How many open branches are better. */
static unsigned rank(const struct sc_tune *t, const struct sc_tune_branch *b)
{
    unsigned n = 0;
    double score = sc_tune_score(t, b);
    for (unsigned i = 0; i < t->n; i++) {
        const struct sc_tune_branch *o = &t->branches[i];
        double other = o->out || o == b ? -1 : sc_tune_score(t, o);
        n += other > score || (other == score && o < b);
    }
    return n;
}

/* Puts out those beyond the first few. */
static void prune(struct sc_tune *t)
{
    const int leader = sc_tune_leader(t);
    bool go[SC_TUNE_BRANCHES_MAX] = {false};
    for (unsigned i = 0; leader >= 0 && i < t->n; i++)
        go[i] = !t->branches[i].out && rank(t, &t->branches[i]) >= FINALISTS;
    for (unsigned i = 0; leader >= 0 && i < t->n; i++) {
        struct sc_tune_branch *b = &t->branches[i];
        char why[120];
        if (!go[i])
            continue;
        snprintf(why, sizeof why, "%.0f %% behind the best%s",
                 100 - 100 * sc_tune_score(t, b) / sc_tune_score(t, &t->branches[leader]),
                 sc_tune_may_be_faster(t, i, (unsigned)leader) ? ", but not known well enough" : "");
        put_out(b, false, why);
    }
}

static void end_phase(struct sc_tune *t)
{
    for (unsigned i = 0; t->phase == SC_TUNE_FINAL && i < t->n; i++)
        if (!t->branches[i].npoints)
            put_out(&t->branches[i], false, SC_TUNE_NO_TIME);
    if (t->phase == SC_TUNE_FINAL)
        prune(t);
    t->phase++;
    t->round++;
}

static void end_visit(struct sc_tune *t)
{
    t->branches[t->visiting].round = t->round + 1;
    t->visiting = -1;
}

/* Nothing is measured before the rate has settled: after a change of the branch, and under a new load. */
static bool is_settled(const struct sc_tune *t, struct sc_tune_branch *b, unsigned c)
{
    return t->settled == (int64_t)c ||
           (t->settled >= 0 && (t->phase == SC_TUNE_CURVES || sc_tune_point(b, c)));
}

static struct sc_tune_step make_step(const struct sc_tune *t, struct sc_tune_branch *b, unsigned c)
{
    struct sc_tune_step s = {.branch = (unsigned)t->visiting, .concurrency = c, .runs = 1};
    s.settle = !is_settled(t, b, c);
    s.seconds = fmax(run_seconds(t), t->least);
    if (s.settle) {
        s.seconds = clamp(s.seconds / 4, SECONDS_MIN, 1);
        return s;
    }
    s.warmup = clamp(s.seconds / 2, 0.1, 1);
    if (t->phase != SC_TUNE_CURVES || sc_tune_point(b, c))
        s.runs = SC_TUNE_REPEAT;
    return s;
}

/* Of the phase. Something has to be measured; the leader gets some points of its curve, though they cost a
 * little more. */
static double end_of(const struct sc_tune *t)
{
    const int leader = t->phase == SC_TUNE_CURVES ? sc_tune_leader(t) : -1;
    bool any = false;
    for (unsigned i = 0; i < t->n; i++) {
        any |= t->branches[i].out;
        for (unsigned k = 0; k < t->branches[i].npoints; k++)
            any |= t->branches[i].points[k].nruns > 0; /* a step that was too short leaves none */
    }
    if (!any)
        return INFINITY;
    return leader >= 0 && t->branches[leader].npoints < 3 ? 1.2 : ends[t->phase];
}

bool sc_tune_next(struct sc_tune *t, struct sc_tune_step *step)
{
    while (t->phase != SC_TUNE_DONE) {
        const bool no_time = t->spent >= end_of(t) * t->goal.budget && t->spent > 0;
        if (t->visiting < 0 && !no_time && (t->visiting = pick(t)) >= 0) {
            t->visit_steps = t->slices = 0;
            t->again = t->settling = t->resettled = false;
            t->least = 0;
            t->reload = t->phase == SC_TUNE_FINAL && t->settled_branch == t->visiting && t->stays >= STAYS;
            t->stays = t->settled_branch == t->visiting && !t->reload ? t->stays + 1 : 1;
            if (t->reload || !t->loads || t->settled_branch != t->visiting) {
                t->settled = -1;
                t->loads++;
            }
            t->settled_branch = t->visiting;
        }
        if (t->visiting < 0 || no_time) {
            if (t->visiting >= 0)
                end_visit(t);
            end_phase(t);
            continue;
        }
        struct sc_tune_branch *b = &t->branches[t->visiting];
        unsigned c = concurrency(t, b);
        if (c == 0) {
            if (t->phase != SC_TUNE_CURVES && sc_tune_score(t, b) <= 0)
                put_out(b, false, "one request at a time does not keep the goal either");
            end_visit(t);
            continue;
        }
        t->visit_concurrency = c;
        *step = make_step(t, b, c);
        if (t->phase == SC_TUNE_FINAL &&
            t->spent + step->runs * (step->seconds + step->warmup) > FINAL_END * t->goal.budget) {
            end_visit(t); /* the curves would have no time */
            end_phase(t);
            continue;
        }
        step->reload = t->reload;
        t->reload = false;
        t->settling |= step->settle;
        return true;
    }
    return false;
}

/* ---- what came out ---- */

/* What is wrong with the branch, or NULL. 503 says that there were too many at once; all else is its own. */
static const char *fault(const struct sc_load_result *r, char *to, size_t size)
{
    if (r->failed == 0 || (r->errors[SC_LOAD_BAD_STATUS] == r->failed && r->bad_status == 503))
        return NULL;
    unsigned e = 0;
    while (e + 1 < SC_LOAD_ERRORS && !r->errors[e])
        e++;
    snprintf(to, size, "%" PRIu64 " of %" PRIu64 " requests failed: %.160s", r->failed, r->failed + r->good,
             r->wrong[0] ? r->wrong : sc_load_error_name((enum sc_load_error)e));
    return to;
}

/* Settled is a rate that does not rise any more, but for noise and a batch more or less. */
static void settle(struct sc_tune *t, const struct sc_tune_step *step, double answers)
{
    const double before = t->slice[t->slices < 2 ? 0 : t->slices % 2],
                 batch = t->branches[step->branch].config.batch;
    t->slice[t->slices++ % 2] = answers;
    if (t->slices < SLICES_MIN || (answers > RISING * before + batch && t->slices < SLICES_MAX &&
                                   t->slices * step->seconds < SETTLE_MOST * t->goal.budget && !is_late(t)))
        return;
    t->slices = 0;
    t->settled = step->concurrency;
}

/* Each run is clearly faster than the one before. */
static bool are_rising(const struct sc_load_result *runs, unsigned nruns)
{
    for (unsigned i = 1; i < nruns; i++)
        if (sc_load_rate(&runs[i]) < STEEP * sc_load_rate(&runs[i - 1]))
            return false;
    return nruns > 2;
}

void sc_tune_take(struct sc_tune *t, const struct sc_tune_step *step, const struct sc_load_result *runs,
                  unsigned nruns, bool saturated)
{
    struct sc_tune_branch *b = &t->branches[step->branch];
    double answers = 0, failed = 0;
    char why[240];
    if (step->settle) {
        settle(t, step, nruns ? (double)runs[0].within : 0);
        return;
    }
    struct sc_tune_point *p = sc_tune_make_point(b, step->concurrency);
    for (unsigned i = 0; i < nruns; i++) {
        answers += (double)runs[i].within / nruns;
        failed += (double)runs[i].failed;
        if (fault(&runs[i], why, sizeof why)) {
            sc_tune_drop(t, step->branch, false, why);
            return;
        }
    }
    if (!t->resettled && !is_late(t) && are_rising(runs, nruns)) {
        t->resettled = t->settling = true;
        t->settled = -1;
        return;
    }
    t->settling = false;
    t->visit_steps++;
    /* Whole batches end at once: a run of few of them says little. */
    double batch = fmin(b->config.batch, fmax(1, (double)step->concurrency / b->config.workers));
    double want = (t->phase == SC_TUNE_SCREEN ? BATCHES_MIN / 2 : BATCHES_MIN) * batch * b->config.workers,
           most = clamp(t->goal.budget / 20, 0.5, 10);
    const bool none = answers == 0 && t->visit_steps < TRIES_MAX;
    t->again = failed == 0 && (none || (!t->again && answers < want / 2 && step->seconds < most));
    most = none ? 10 : most;
    if (t->again)
        t->least = fmin(most, step->seconds * fmin(want / fmax(answers, 1), 20));
    for (unsigned i = 0; !t->again && p && i < nruns; i++) {
        p->failed += runs[i].failed;
        p->saturated |= saturated;
        if (p->nruns == SC_TUNE_RUNS_MAX)
            continue;
        p->runs[p->nruns++] = (struct sc_tune_run){sc_load_rate(&runs[i]), runs[i].seconds, t->loads};
        sc_hist_merge(p->latency, &runs[i].latency);
    }
    sc_tune_learn_luck(t);
}
