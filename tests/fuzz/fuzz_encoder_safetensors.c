/* Hostile weight files: any bytes are either refused or every tensor's bytes can be read. */
#include <stdlib.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_safetensors *s;
    struct sc_msg msg;
    if (sc_safetensors_parse(&s, sc_span(data, size), "fuzz", &msg) < 0)
        return 0;
    for (size_t i = 0; i < sc_safetensors_count(s); i++) {
        const struct sc_tensor *t = sc_safetensors_at(s, i);
        if (sc_safetensors_find(s, t->name) != t)
            abort();
        if (t->dtype == SC_DTYPE_OTHER)
            continue;
        float *out = malloc(t->count * sizeof *out + 1);
        sc_tensor_floats(t, out);
        free(out);
    }
    sc_safetensors_close(s);
    return 0;
}
