/* From a registration of a workflow to its archive's content. Blocks: on a pool thread. */
#ifndef SC_MODEL_WORKFLOW_LOAD_H
#define SC_MODEL_WORKFLOW_LOAD_H

#include "model/settings.h"
#include "model/workflow.h"

/*
 * Finds and unpacks the archive that w->url names (in the workflow store, or a URL that is allowed), reads
 * manifest and specification, and fills w's name (the manifest's, unless one is given), specification, folder
 * and handler. 0, or a negative code with *err as the client is told it; in both cases files may have come,
 * and w says which.
 */
int sc_workflow_load(struct sc_workflow *w, const struct sc_settings *settings, const char *name,
                     struct sc_archive_error *err) SC_MUST_USE;

#endif
