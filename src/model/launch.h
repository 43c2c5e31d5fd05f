/*
 * What stands before a Python worker's script: its interpreter, torchrun, the CPU launcher (docs/running.md,
 * "Several processes, one worker"). Reads files' existence alone; loop 0.
 */
#ifndef SC_MODEL_LAUNCH_H
#define SC_MODEL_LAUNCH_H

#include "model/engine_private.h"

struct sc_launch {
    const struct sc_settings *settings;
    const struct sc_model_spec *spec;
    unsigned id;                  /* the worker's */
    unsigned instance, instances; /* its part of the cores, for the CPU launcher; 0 instances: all of them */
};

/* Environment of launched workers: how many ranks there are, and the parallelType of several. */
#define SC_ENV_RANKS "SCONCE_RANKS"
#define SC_ENV_PARALLEL "SCONCE_PARALLEL"

/* Adds a string of SLOT_START: first those of argv, then those of the environment. */
void sc_start_add(struct sc_buf *b, uint32_t *count, const char *fmt, ...) SC_PRINTF(3, 4);

/* GPUs (or ranks) of one worker; 0 where the model says nothing of the kind. */
unsigned sc_launch_level(const struct sc_model_spec *s);
/* Processes that torchrun starts per worker; 0: no torchrun. */
unsigned sc_launch_ranks(const struct sc_model_spec *s);
/* Arguments from the program to run up to the script's own, which follow; with the flags and ranks of *start.
 */
void sc_launch_arguments(const struct sc_launch *l, const char *home, struct sc_ctl_start *start,
                         struct sc_buf *b);
void sc_launch_environment(const struct sc_launch *l, struct sc_ctl_start *start, struct sc_buf *b);

/* True if the worker's slot runs a launcher. */
bool sc_launch_used(const struct sc_worker *w);
/* Into how many parts the CPU launcher divides the cores among the version's workers, and the first part that
 * none has; 0: it does not. */
unsigned sc_launch_instances(const struct sc_version *v, unsigned *free_instance);

/* The process that serves, rank 0, as it said when it was loaded; fallback: it did not. */
int sc_launch_pid(struct sc_span text, int fallback);

#endif
