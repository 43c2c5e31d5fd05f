/* What the files of the spec share: the steps of sc_spec_prepare. */
#ifndef SC_MODEL_SPEC_PARTS_H
#define SC_MODEL_SPEC_PARTS_H

#include "model/settings.h"
#include "model/spec.h"

/* What a model-config.yaml says of the numbers that others say, too; 0: nothing. */
struct sc_spec_yaml {
    bool present; /* there is a file that can be read */
    int min_workers, max_workers, batch_size, max_batch_delay, response_timeout, startup_timeout;
};

/* The scalar `backend` of the text, or "". SC_EINVAL: the text is no YAML mapping; *msg tells. */
int sc_spec_yaml_backend(char out[32], struct sc_span text, const char *file, struct sc_msg *msg) SC_MUST_USE;

/*
 * A Python model's file, as TorchServe reads it: *y, and the fields of *s that only the file sets. What is of
 * a wrong type or out of bounds is told to fn and counts as nothing. `gpus`: how many there are; -1: not
 * known. SC_EINVAL as above; *s and *y are then as before.
 */
int sc_spec_yaml_read(struct sc_model_spec *s, struct sc_spec_yaml *y, struct sc_span text, const char *file,
                      int gpus, sc_settings_note fn, void *ctx, struct sc_msg *msg) SC_MUST_USE;

/* A native model's file: obeyed, or SC_EINVAL. Unknown scalars become extras. */
int sc_spec_native_read(struct sc_model_spec *s, struct sc_span text, struct sc_msg *msg) SC_MUST_USE;

/*
 * The numbers of a Python model, whoever names them (first hit wins):
 *
 *   batchSize, maxBatchDelay   call, YAML (> 0), `models`, 1 and 100
 *   time limits                call, YAML, `models`, default_*_timeout. TorchServe: a YAML without them beats
 * the call with 120 (workers-and-handlers §16, Q14) workers, at the start      YAML if minWorkers > 0 and
 * maxWorkers >= minWorkers, `models`, default workers workers, by a call         YAML under the same
 * condition, initial_workers, default_workers_per_model, 0
 *
 * A snapshot's numbers beat them all. SC_EINVAL with *err: too few GPUs, a batch too large.
 */
int sc_spec_settle(struct sc_model_spec *s, const struct sc_spec_yaml *y, const struct sc_settings *settings,
                   const struct sc_spec_want *want, sc_settings_note fn, void *ctx,
                   struct sc_archive_error *err) SC_MUST_USE;

/* The same for a native model; `yaml` is its file's text (NULL pointer: there is none). TorchServe's rules,
 * but what the file says is obeyed or refused. SC_EINVAL or SC_ELIMIT with *msg. */
int sc_spec_settle_native(struct sc_model_spec *s, struct sc_span yaml, const struct sc_settings *settings,
                          const struct sc_spec_want *want, sc_settings_note fn, void *ctx,
                          struct sc_msg *msg) SC_MUST_USE;

/* A key of sharing a GPU (workerKind, sharedWeights, mps...): 1, it is taken; 0, it is none of them;
 * SC_EINVAL with *msg. */
int sc_spec_mps_key(struct sc_model_spec *s, struct sc_span key, struct sc_span value,
                    struct sc_msg *msg) SC_MUST_USE;
/* SC_EINVAL: they contradict the server's settings, or the backend; *msg names both. */
int sc_spec_mps_check(const struct sc_model_spec *s, const struct sc_settings *settings,
                      struct sc_msg *msg) SC_MUST_USE;

/*
 * What lies beside an entry of the store, as <name>.sconce.yaml, and goes over the model's own file (`file`,
 * which is *yaml; NULL: it has none), key by key of the first level. 1: *yaml is both, as JSON; 0: there is
 * nothing; SC_EINVAL, SC_ELIMIT, SC_ESYS with *msg.
 */
#define SC_SPEC_OVERRIDE ".sconce.yaml"
int sc_spec_override(const char *store, struct sc_span name, const char *file, struct sc_buf *yaml,
                     struct sc_msg *msg) SC_MUST_USE;

/* One setting as a line, KEY=VALUE with escapes. */
void sc_spec_put_setting(struct sc_buf *b, const char *key, const char *value);
/* The first such line, which is taken off: its key, its value unescaped in place of b's content. */
bool sc_spec_take_setting(struct sc_span *text, struct sc_span *key, struct sc_buf *b);
/* sc_spec_ask_extra for every such line. SC_EINVAL or SC_ELIMIT with *msg. */
int sc_spec_ask_settings(struct sc_model_spec *s, struct sc_span lines, struct sc_msg *msg) SC_MUST_USE;

#endif
