/*
 * Snapshots: the configuration and the models as a properties file in <LOG_LOCATION>/config, written after
 * every change and restored at the next start (docs/contract.md, snapshots).
 *
 * Files are read and written blocking: on a pool thread, or before loops run.
 */
#ifndef SC_MODEL_SNAPSHOT_H
#define SC_MODEL_SNAPSHOT_H

#include "model/settings.h"
#include "model/spec.h"

enum sc_snapshot_kind {
    SC_SNAPSHOT_STARTUP, /* once, when the listeners are up */
    SC_SNAPSHOT_CHANGE,  /* after a registration, scaling, unregistration, change of the default */
    SC_SNAPSHOT_SHUTDOWN
};

struct sc_snapshot_version {
    const struct sc_model_spec *spec;
    bool is_default;
};

/*
 * Writes <log_dir>/config/<time>-<kind>.cfg atomically; versions in the order of their models' names. Does
 * nothing if settings->snapshots is false. `now_ms`: wall clock. SC_EEXIST: there is a file of that name,
 * which stays; SC_ESYS. *msg names the file.
 */
int sc_snapshot_save(const struct sc_settings *settings, enum sc_snapshot_kind kind,
                     const struct sc_snapshot_version *versions, unsigned n, int64_t now_ms,
                     struct sc_msg *msg);
/* The file's content alone, for sc_snapshot_save and tests. `name`: the file's. */
void sc_snapshot_write(const struct sc_settings *settings, const char *name,
                       const struct sc_snapshot_version *versions, unsigned n, int64_t now_ms,
                       struct sc_buf *out);

/* Path of the newest snapshot (by the time in its name) in <log_dir>/config, or NULL; the caller frees it. */
char *sc_snapshot_newest(const char *log_dir);

/* True if the file is called as snapshots are. */
bool sc_snapshot_is_named(const char *path);

/* One version to restore. */
struct sc_snapshot_model {
    struct sc_spec_want want; /* mode SC_SPEC_RESTORE; its strings are those below */
    bool is_default;
    char *name, *version, *archive, *runtime, *backend;
    char *settings; /* lines (sc_spec_put_setting) */
};
struct sc_snapshot {
    char *name;
    int count; /* modelCount */
    struct sc_snapshot_model *models;
    unsigned n;
};

/* Reads the value of model_snapshot. SC_EINVAL with *msg: not JSON, or a mandatory key is missing or of
 * another type; *out is empty then. */
int sc_snapshot_read(struct sc_snapshot *out, struct sc_span json, struct sc_msg *msg) SC_MUST_USE;
void sc_snapshot_free(struct sc_snapshot *s);
/* Every model's archive must be in the store: else SC_ENOTFOUND with TorchServe's text, and the server does
 * not start. Blocks. */
int sc_snapshot_validate(const struct sc_snapshot *s, const char *store, struct sc_msg *msg) SC_MUST_USE;

#endif
