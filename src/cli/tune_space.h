/* What `sconce tune` tries, and what it is to keep: from its options and what the model and the machine are.
 */
#ifndef SC_CLI_TUNE_SPACE_H
#define SC_CLI_TUNE_SPACE_H

#include "cli/bench_options.h"
#include "tune/tune.h"

struct sc_tune_facts {
    bool native; /* our own executor serves it */
    bool gpu;    /* its workers are on one */
    bool mps;    /* there is MPS */
    unsigned cores;
};

/* SC_EINVAL with *msg: an option cannot be understood. */
int sc_tune_goal(struct sc_tune_goal *g, const struct sc_bench_options *o, struct sc_msg *msg) SC_MUST_USE;
/* Adds the configurations. SC_EINVAL, SC_ELIMIT with *msg. */
int sc_tune_space(struct sc_tune *t, const struct sc_bench_options *o, const struct sc_tune_facts *f,
                  struct sc_msg *msg) SC_MUST_USE;

#endif
