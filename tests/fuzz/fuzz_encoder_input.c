/* Hostile request bodies, in every content type that is read differently. */
#include <stdlib.h>

#include "heads/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"application/json", "application/x-www-form-urlencoded",
                                        "text/plain"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct sc_input in;
        struct sc_msg msg = {""};
        int rc = sc_input_parse(&in, sc_span(data, size), types[i], 50, &msg);
        if (rc < 0) {
            if (!msg.text[0])
                abort();
            continue;
        }
        if (in.n > 50)
            abort();
        for (uint32_t k = 0; k < in.n; k++)
            if (!sc_utf8_valid(in.texts[k].text) || !sc_utf8_valid(in.texts[k].pair))
                abort();
        sc_input_free(&in);
    }
    return 0;
}
