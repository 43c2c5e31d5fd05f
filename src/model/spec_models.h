/* The `models` setting: {"<model>": {"<version>": {"<parameter>": value, ...}}} (docs/contract.md §5). */
#ifndef SC_MODEL_SPEC_MODELS_H
#define SC_MODEL_SPEC_MODELS_H

#include "base/array.h"
#include "base/error.h"
#include "model/settings.h"
#include "model/spec.h"

/* What it says of one version; SC_SPEC_UNSET, or "": nothing. */
struct sc_spec_models {
    int min_workers, max_workers, batch_size, max_batch_delay, response_timeout, startup_timeout;
    char runtime[16];
};

/* SC_EINVAL with *msg if the text is no JSON object: the start ends then. */
int sc_spec_models_check(const char *json, struct sc_msg *msg) SC_MUST_USE;
/* Fills *out for that model and version; fn hears of values of a wrong type, which count as nothing. */
void sc_spec_models_find(struct sc_spec_models *out, const char *json, const char *model, const char *version,
                         sc_settings_note fn, void *ctx);

#endif
