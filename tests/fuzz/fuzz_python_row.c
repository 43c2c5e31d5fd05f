/* A request's metadata as the worker reads it: the first two bytes are the body's length, the rest is the
 * block. */
#include <stdlib.h>

#include "row.h"
#include "worker/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    size_t body_n = data[0] | (size_t)data[1] << 8;
    char *body = malloc(body_n ? body_n : 1);
    if (!body)
        return 0;
    memset(body, 'b', body_n);

    struct sc_row_head head;
    struct sc_row_item item;
    const char *why;
    struct sc_span meta = sc_span(data + 2, n - 2);
    if (sc_row_head(meta, body_n, &head, &why) == 0) {
        unsigned fields = 0, headers = 0;
        volatile char last = 0;
        for (size_t at = 0; sc_row_next(meta, sc_span(body, body_n), &at, &item);) {
            fields += item.kind == SC_ROW_FIELD;
            headers += item.kind == SC_ROW_HEADER;
            /* Everything it gives out can be read. */
            for (size_t i = 0; i < item.value.n; i++)
                last = item.value.p[i];
            if (item.name.n)
                last = item.name.p[item.name.n - 1];
        }
        (void)last;
        if (fields != head.fields || headers != head.headers)
            abort();
    }
    free(body);
    return 0;
}
