/* Hostile bodies to archives of the Transformers example: forms, JSON, Python literals. The first line is the
 * type. */
#include <stdlib.h>
#include <string.h>

#include "heads/example_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span all = sc_span((const char *)data, size);
    size_t end = sc_span_find(all, '\n');
    struct sc_span type = sc_span_sub(all, 0, end), body = sc_span_sub(all, end + 1, all.n);
    for (int form = SC_EXAMPLE_TEXT; form <= SC_EXAMPLE_QUESTION; form++) {
        struct sc_input in;
        struct sc_msg msg = {""};
        int rc = sc_example_body(&in, (enum sc_example_form)form, body, type, &msg);
        if (rc == 0 && in.n != 1)
            abort();
        if (rc == 0 && (!sc_utf8_valid(in.texts[0].text) || !sc_utf8_valid(in.texts[0].pair)))
            abort();
        if (rc == SC_EPROTO && !msg.text[0])
            abort();
        sc_input_free(&in);
    }
    return 0;
}
