/* model_snapshot and `models`: whatever they hold, they are read or refused, and what was read can be freed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/snapshot.h"
#include "model/spec_models.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hear(void *ctx, enum sc_log_level level, const char *text)
{
    (void)ctx;
    (void)level;
    if (!*text)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_msg msg = {""};
    struct sc_snapshot s;
    struct sc_spec_models m;
    char *text = sc_span_dup(sc_span(data, size));
    if (!text)
        return 0;
    int rc = sc_snapshot_read(&s, sc_span(text, size), &msg);
    if (rc < 0 && (!msg.text[0] || s.models || s.name))
        abort();
    if (rc == 0) {
        for (unsigned i = 0; i < s.n; i++)
            if (!s.models[i].want.url || !s.models[i].want.version || s.models[i].want.min_workers < 0)
                abort();
        (void)!sc_snapshot_validate(&s, NULL, &msg);
        sc_snapshot_free(&s);
    }
    if (sc_spec_models_check(text, &msg) == 0) {
        sc_spec_models_find(&m, text, "m", "1.0", hear, NULL);
        if (m.min_workers != SC_SPEC_UNSET && m.min_workers <= 0)
            abort();
    }
    free(text);
    return 0;
}
