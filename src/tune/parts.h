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
/* Its interval is that narrow after enough runs, or it has all the runs that it may have. */
bool sc_tune_is_sure(const struct sc_tune *t, const struct sc_tune_branch *b, double precision);
/* The rate that it may have: its interval's upper end, and at least SC_TUNE_UNSURE above its mean after a
 * single step. 0: it has no point. */
double sc_tune_reach(const struct sc_tune *t, const struct sc_tune_branch *b);
/* The notes on a search that a reader must not miss, for people; false: this one does not apply. */
#define SC_TUNE_NOTES 4
bool sc_tune_note(const struct sc_tune *t, unsigned which, struct sc_msg *text);
/* For qsort of doubles. */
int sc_tune_by_value(const void *a, const void *b);
/* Student's t for 95 %, two sides, by degrees of freedom (from 1). */
double sc_tune_student(unsigned freedom);
/* Under how many loads of the model the point was measured. */
unsigned sc_tune_loads(const struct sc_tune_point *p);
/* Sets `luck` of all points by what is known. */
void sc_tune_learn_luck(struct sc_tune *t);
/* The branch's point under so many requests at once; NULL: there is none. */
struct sc_tune_point *sc_tune_point(struct sc_tune_branch *b, unsigned concurrency);
/* The same, made if need be; NULL: there are SC_TUNE_POINTS_MAX. */
struct sc_tune_point *sc_tune_make_point(struct sc_tune_branch *b, unsigned concurrency);

#endif
