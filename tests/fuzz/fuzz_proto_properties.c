/* Any bytes as a .properties file: what is read, written and read again must be the same. */
#include <stdlib.h>

#include "proto/properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *lookup(const char *name, void *ctx)
{
    (void)ctx;
    return name[0] == 'A' ? "value" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_properties a = {0}, b = {0};
    struct sc_buf out;
    struct sc_msg msg;
    sc_buf_init(&out, SIZE_MAX / 2);
    if (sc_properties_read(&a, sc_span(data, size), "fuzz", &msg) == 0) {
        (void)!sc_properties_expand(&a, lookup, NULL, &msg);
        sc_properties_write(&a, &out);
        if (out.n < 1000000 && sc_properties_read(&b, sc_buf_view(&out), "again", &msg) != 0)
            abort();
        if (out.n < 1000000 && a.n != b.n)
            abort();
        for (unsigned i = 0; i < b.n; i++)
            if (strcmp(a.items[i].key, b.items[i].key) != 0 ||
                strcmp(a.items[i].value, b.items[i].value) != 0)
                abort();
    }
    sc_properties_free(&a);
    sc_properties_free(&b);
    sc_buf_free(&out);
    return 0;
}
