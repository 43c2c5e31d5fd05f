/* What the files of the search share. Private to this room. */
#ifndef SC_TUNE_PARTS_H
#define SC_TUNE_PARTS_H

#include <stdlib.h>

#include "base/buf.h"
#include "tune/tune.h"

#define SC_TUNE_NO_TIME "there was no time for it"

/* The point has answers, and its p99 is within the goal. */
bool sc_tune_keeps(const struct sc_tune *t, const struct sc_tune_point *p);
/* Mean rate of the best point; 0: there is none, or the branch is not to be used. */
double sc_tune_score(const struct sc_tune *t, const struct sc_tune_branch *b);
/* True if b's interval lies wholly below the leader's. */
bool sc_tune_is_behind(const struct sc_tune *t, const struct sc_tune_branch *b,
                       const struct sc_tune_branch *leader);
/* The branch's point under so many requests at once; NULL: there is none. */
struct sc_tune_point *sc_tune_point(struct sc_tune_branch *b, unsigned concurrency);
/* The same, made if need be; NULL: there are SC_TUNE_POINTS_MAX. */
struct sc_tune_point *sc_tune_make_point(struct sc_tune_branch *b, unsigned concurrency);

#endif
