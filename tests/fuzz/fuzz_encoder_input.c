/* Hostile request bodies, in every interface and content type that is read differently. */
#include <stdlib.h>

#include "heads/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_one(enum sc_form form, struct sc_span body, const char *type)
{
    struct sc_input in;
    struct sc_msg msg = {""};
    int rc = sc_input_parse(&in, form, body, type, 50, &msg);
    if (rc < 0) {
        if (!msg.text[0])
            abort();
        return;
    }
    if (in.n > 50)
        abort();
    for (uint32_t k = 0; k < in.n; k++)
        if (!sc_utf8_valid(in.texts[k].text) || !sc_utf8_valid(in.texts[k].pair))
            abort();
    sc_input_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"application/json", "application/x-www-form-urlencoded",
                                        "text/plain"};
    for (int form = 0; form < SC_FORMS; form++)
        for (size_t i = 0; i < (form == SC_FORM_PIPELINE ? sizeof types / sizeof types[0] : 1); i++)
            read_one((enum sc_form)form, sc_span(data, size), types[i]);
    return 0;
}
