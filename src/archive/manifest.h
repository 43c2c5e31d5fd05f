/*
 * MAR-INF/MANIFEST.json, and WAR-INF's of workflows (docs/contract.md §12). Plain data; unknown fields are
 * ignored, numbers and booleans count as text (as in TorchServe), other types are an error, a missing
 * manifest is an empty one.
 */
#ifndef SC_ARCHIVE_MANIFEST_H
#define SC_ARCHIVE_MANIFEST_H

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

/* Strings are the manifest's; NULL: not given. */
struct sc_manifest {
    char *model_name, *model_version, *handler;
    char *serialized_file, *model_file, *requirements_file, *config_file;
    char *runtime; /* "python" unless given; checked */
    char *created_on, *archiver_version;
    char *workflow_name, *spec_file; /* a workflow's; its handler is `handler` */
};

/* An empty manifest: runtime python, nothing else. */
void sc_manifest_init(struct sc_manifest *m);
/* SC_EINVAL: *msg is what TorchServe would say ("Failed to parse signature.json.", "Runtime is not defined or
 * invalid."), *cause what is wrong. *m, whatever it held, is empty after a failure. */
int sc_manifest_read(struct sc_manifest *m, struct sc_span json, struct sc_msg *msg,
                     struct sc_msg *cause) SC_MUST_USE;
/* The same for a workflow's manifest, which must name the workflow, its date and its archiver. */
int sc_manifest_read_workflow(struct sc_manifest *m, struct sc_span json, struct sc_msg *msg,
                              struct sc_msg *cause) SC_MUST_USE;
void sc_manifest_free(struct sc_manifest *m);

#endif
