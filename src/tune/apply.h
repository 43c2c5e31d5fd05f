/* Where a recommendation goes: into a model's YAML, and into the record that mps=auto obeys. */
#ifndef SC_TUNE_APPLY_H
#define SC_TUNE_APPLY_H

#include "base/buf.h"
#include "tune/tune.h"

struct sc_tune_key {
    const char *name;
    char value[24];
};
#define SC_TUNE_KEYS_MAX 6
/* The keys of model-config.yaml that make the configuration; their number. native: our own executor serves
 * it. */
unsigned sc_tune_keys(const struct sc_tune_config *c, bool native, struct sc_tune_key keys[SC_TUNE_KEYS_MAX]);

/*
 * Sets keys of the first level in the text of a YAML file; all else, comments too, stays as it is. SC_EINVAL
 * with *msg, which names `file`: it is not written line by line (or is no YAML), so that this cannot be done;
 * *text holds rubbish then. SC_ELIMIT.
 */
int sc_tune_edit(struct sc_buf *text, const struct sc_tune_key *keys, unsigned n, const char *file,
                 struct sc_msg *msg) SC_MUST_USE;

/* Puts into r, for every batch and number of workers, which way to share the GPU was best, where more than
 * one was measured. `like`: gpu, driver, content, model and time of each entry. */
void sc_tune_put_record(const struct sc_tune *t, const struct sc_tune_entry *like, struct sc_tune_record *r);

#endif
