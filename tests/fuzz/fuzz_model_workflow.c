/* Any bytes as a workflow's specification: what is taken is a graph that can be run to its end, what is not
 * says why. */
#include <stdlib.h>

#include "model/workflow_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_workflow_spec s;
    struct sc_archive_error err;
    if (sc_workflow_spec_read(&s, sc_span(data, size), "f.yaml", &err) < 0) {
        if (!err.type || !err.msg.text[0] || s.n)
            abort();
        return 0;
    }
    uint64_t ran = 0;
    for (unsigned round = 0; round < s.n; round++)
        for (unsigned i = 0; i < s.n; i++)
            if ((s.nodes[i].before & ~ran) == 0)
                ran |= UINT64_C(1) << i;
    if (s.n == 0 || (unsigned)__builtin_popcountll(ran) != s.n || s.nodes[s.start].before || !s.leaves)
        abort();
    sc_workflow_spec_free(&s);
    return 0;
}
