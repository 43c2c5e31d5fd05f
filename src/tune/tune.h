/*
 * The search of `sconce tune`: which configuration of a model is measured next, under which load, for how
 * long, and what the figures say. Pure: the caller measures and gives the runs back, time is what it says.
 * All of the search follows from what was measured, so that it can go on from a file (state.h).
 *
 * A *branch* is a configuration; its *points* are the numbers of requests at once under which it was
 * measured.
 *
 *   screening   every branch, shortly, at twice the requests that its workers take at once; with a limit of
 *               p99 at half of that, and again, until it is kept. A line of growing batches ends after two
 *               that lost
 *   final       again and again the leader or the one that reaches highest of those whose interval reaches
 *               up to the leader's, whichever of the two is known less, loaded anew after two visits;
 *               until there is none, or all are known as well as the precision wants. Then those that had
 *               no turn in the screening
 *   curves      the best few at the other numbers of requests at once
 *
 * Before a branch is measured after another one, or under a new load, its rate has to *settle*: what is done
 * only at the first requests (graphs, caches, clocks) would be taken for noise.
 */
#ifndef SC_TUNE_TUNE_H
#define SC_TUNE_TUNE_H

#include <stdbool.h>

#include "base/limits.h"
#include "gpu/tune_record.h"
#include "load/load.h"

#define SC_TUNE_NO_GPU SC_TUNE_WAYS /* in place of a way to share one */

struct sc_tune_config {
    unsigned batch, workers;
    int threads; /* that tokenise; -1: not said */
    enum sc_tune_way way;
};

struct sc_tune_run {
    double rate, seconds; /* right answers a second, in so many seconds */
    unsigned load;        /* of the model: runs with one number had the same */
};

struct sc_tune_point {
    unsigned concurrency;
    struct sc_tune_run runs[SC_TUNE_RUNS_MAX];
    unsigned nruns;
    struct sc_hist *latency; /* ns, of all its runs */
    uint64_t failed;         /* requests; then it is not kept */
    bool saturated;          /* the generator may have set the figures */
    double luck; /* half of the 95 % interval of a load's rate, as a share of it (luck.c); 0: not known */
};

struct sc_tune_branch {
    struct sc_tune_config config;
    struct sc_tune_point *points; /* SC_TUNE_POINTS_MAX */
    unsigned npoints;
    unsigned round; /* the next one it takes part in */
    bool out;       /* it is not measured any more; `why` says why, as part of a sentence */
    bool failed;    /* not to be used: a request failed, too much memory, it did not load */
    char why[240];
    int64_t memory; /* bytes of its workers; 0: not known */
};

struct sc_tune_goal {
    double p99;       /* ns; 0: none */
    int64_t memory;   /* bytes; 0: no ceiling */
    double budget;    /* seconds */
    double precision; /* half of the 95 % interval, as a share of the rate */
    unsigned most;    /* requests at once */
};

enum sc_tune_phase { SC_TUNE_SCREEN, SC_TUNE_FINAL, SC_TUNE_CURVES, SC_TUNE_DONE };

struct sc_tune {
    struct sc_tune_goal goal;
    struct sc_tune_branch *branches;
    unsigned n;
    double spent;   /* seconds of the budget: the caller's to count */
    double loading; /* seconds of the budget that it takes to change to another branch: the caller's to say */
    enum sc_tune_phase phase;
    unsigned round, loads; /* loads of the model so far */
    /* private: where the visit stands */
    int visiting;
    unsigned visit_steps, visit_concurrency;
    bool again;      /* the last step was too short */
    bool reload;     /* the visit begins with another load, though the branch stays */
    unsigned stays;  /* visits under this load */
    double least;    /* seconds of a run of this visit, so that it has enough answers */
    unsigned slices; /* of settling, so far; answers in the last two */
    double slice[2];
    int64_t settled;          /* under so many at once; -1: not */
    bool settling, resettled; /* in this visit: the load is still the same; a step was thrown away */
    int settled_branch;
};

struct sc_tune_step {
    unsigned branch, concurrency, runs;
    double seconds, warmup; /* of each run; before each */
    bool settle;            /* nothing of it is kept */
    bool reload;            /* first the model is loaded anew, though the branch was measured last */
};

/* No branches yet. */
void sc_tune_init(struct sc_tune *t, const struct sc_tune_goal *goal);
void sc_tune_free(struct sc_tune *t);
/* SC_ELIMIT: there are SC_TUNE_BRANCHES_MAX. Branches of one way, workers and threads come with growing
 * batches, one behind the other. */
int sc_tune_add(struct sc_tune *t, const struct sc_tune_config *c) SC_MUST_USE;

/* What is to be measured next; false: it is over. */
bool sc_tune_next(struct sc_tune *t, struct sc_tune_step *step);
/* What came out. Errors are no throughput: failed requests take the branch out, but 503 only the point; of
 * settling they do not count. */
void sc_tune_take(struct sc_tune *t, const struct sc_tune_step *step, const struct sc_load_result *runs,
                  unsigned nruns, bool saturated);
#define SC_TUNE_REPEAT 3 /* runs of a step, but of curves */
/* The branch cannot be used; nor can those with at least its batch and workers that share alike, if `larger`.
 */
void sc_tune_drop(struct sc_tune *t, unsigned branch, bool larger, const char *why);
/* Memory of the branch as it runs; above the ceiling it is dropped (false), and larger ones with it. */
bool sc_tune_weigh(struct sc_tune *t, unsigned branch, int64_t bytes);

/* ---- what the figures say ---- */

/*
 * The mean of the runs without the SC_TUNE_TRIM share of them at each end (from five runs: of fewer, all), so
 * that a stray run does not count, and half of its 95 % interval, infinite below two runs. By Tukey and
 * McLaughlin 1963 (R. Wilcox, Introduction to Robust Estimation and Hypothesis Testing, 4.3): of n runs g at
 * each end are left out, s is the deviation of all with those g set to the nearest that stays, and
 * half = t(0.975; n - 2g - 1) s / ((1 - 2g/n) sqrt(n)); with g = 0 that is Student's. No narrower than what
 * loads differ by leaves unknown: luck / sqrt(loads), as a share of the mean.
 */
struct sc_tune_interval {
    double mean, half;
    unsigned n;
};
#define SC_TUNE_TRIM 0.25
struct sc_tune_interval sc_tune_interval(const struct sc_tune_point *p);
double sc_tune_p99(const struct sc_tune_point *p); /* ns */
/* The branch's best point that keeps the goal, or NULL. */
const struct sc_tune_point *sc_tune_best(const struct sc_tune *t, const struct sc_tune_branch *b);
/* The branch with the highest rate of those that are still measured, else of all that can be used; or -1. */
int sc_tune_leader(const struct sc_tune *t);
/* Which to use, or -1: of those that cannot be told from the leader and are within SC_TUNE_TIE of it, the
 * cheaper one: least memory (where known, and 2 % apart), then fewest processes, fewest workers, fewest
 * threads, lanes before timeslice before mps, the smallest batch. */
int sc_tune_recommended(const struct sc_tune *t);
/* True if its interval reaches above the recommended one's rate and is wider than the precision wants. */
bool sc_tune_may_be_faster(const struct sc_tune *t, unsigned branch, unsigned recommended);
/* True if no other measured branch that keeps the goal has both a higher rate and a lower p99. */
bool sc_tune_on_front(const struct sc_tune *t, unsigned branch);
/* Why it is recommended, in one sentence. */
void sc_tune_reason(const struct sc_tune *t, int recommended, char *to, size_t size);
/* "batch 8, 2 workers, mps" */
void sc_tune_name(const struct sc_tune_config *c, char *to, size_t size);
const char *sc_tune_phase_name(enum sc_tune_phase phase);
const char *sc_tune_way_name(enum sc_tune_way way); /* "cpu" for SC_TUNE_NO_GPU */

#define SC_TUNE_TIE 0.03
#define SC_TUNE_UNSURE 0.15               /* of the rate, at least, after a single step: its runs are alike */
#define SC_TUNE_SURE (4 * SC_TUNE_REPEAT) /* runs before anything is decided */

#endif
