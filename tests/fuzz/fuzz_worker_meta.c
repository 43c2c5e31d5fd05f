/* Metadata from a worker: read within its bounds, and a valid block says the same when written again. */
#include <stdlib.h>

#include "worker/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span meta = sc_span(data, size), key, value;
    struct sc_buf copy;
    sc_buf_init(&copy, 1 << 22);
    struct sc_meta_writer w;
    sc_meta_begin(&w, &copy);
    size_t at = 0, before = 0;
    while (sc_meta_next(meta, &at, &key, &value)) {
        if (at <= before || at > size || key.p + key.n != value.p)
            abort();
        before = at;
        sc_meta_add(&w, key, value);
        struct sc_span got = sc_meta_get(meta, key);
        if (!got.p)
            abort();
        if (w.count > 64) /* looking each up is quadratic */
            break;
    }
    sc_meta_end(&w);
    if (w.count <= 64 && sc_meta_valid(meta) && !sc_span_eq(sc_buf_view(&copy), meta))
        abort();
    sc_buf_free(&copy);
    return 0;
}
