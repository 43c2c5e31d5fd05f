/* Any bytes as a metrics.yaml. */
#include <stdlib.h>

#include "metrics/declared.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct sc_declared *m)
{
    for (; m; m = m->next)
        if (!*m->name || !*m->unit || m->ndims > SC_METRIC_LABELS_MAX)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_declarations d;
    struct sc_msg msg;
    if (sc_declarations_read(&d, sc_span(data, size), "fuzz", &msg) == 0) {
        look_at(d.server);
        look_at(d.model);
        (void)!sc_declarations_check_prometheus(&d, &msg);
        sc_declarations_free(&d);
    } else if (d.server || d.model) {
        abort();
    }
    return 0;
}
