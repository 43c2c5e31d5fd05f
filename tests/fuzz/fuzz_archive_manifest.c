/* Any bytes as MANIFEST.json: what is taken has a known runtime, what is not leaves nothing and says why. */
#include <stdlib.h>

#include "archive/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sc_manifest empty;
    struct sc_manifest m;
    struct sc_msg msg = {0}, cause = {0};
    int rc = sc_manifest_read(&m, sc_span(data, size), &msg, &cause);
    if (rc == 0 && (!m.runtime || (strcmp(m.runtime, "python") != 0 && strcmp(m.runtime, "python3") != 0 &&
                                   strcmp(m.runtime, "LSP") != 0)))
        abort();
    if (rc < 0 && (memcmp(&m, &empty, sizeof m) != 0 || !msg.text[0] || !cause.text[0]))
        abort();
    sc_manifest_free(&m);
    return 0;
}
