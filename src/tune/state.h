/*
 * A search as JSON: what people and programs read of it, and what it goes on from after an interruption.
 * No I/O.
 */
#ifndef SC_TUNE_STATE_H
#define SC_TUNE_STATE_H

#include "base/buf.h"
#include "load/measure.h"
#include "tune/tune.h"

/* What a report tells beside the figures. Strings are the caller's. */
struct sc_tune_about {
    const char *subject, *command;
    const char *ended;    /* "complete", or why it is partial */
    const char *settings; /* the recommended ones as lines for people; NULL: there are none */
    int64_t began_ms;
    double loading; /* seconds that went into loading beside the budget */
    const struct sc_fact *facts;
    unsigned nfacts;
    const char *const *notes;
    unsigned nnotes;
};

/* All of it, raw histograms included. `key`: JSON of what must be the same for the search to go on. */
void sc_tune_json(const struct sc_tune *t, const struct sc_tune_about *a, const char *key,
                  struct sc_buf *out);

/*
 * Goes on from what sc_tune_json wrote: t has its branches, none measured. *loading and *began_ms are those
 * of the file. SC_EINVAL with *msg, which names `file`: it is no such file, or another key; *t is then to be
 * freed.
 */
int sc_tune_resume(struct sc_tune *t, struct sc_span text, const char *file, const char *key, double *loading,
                   int64_t *began_ms, struct sc_msg *msg) SC_MUST_USE;

#endif
