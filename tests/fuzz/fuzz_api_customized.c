/* What a handler says of its model, put into a description: whatever it is, the description stays JSON. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/customized.h"
#include "proto/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_buf out;
    struct sc_json_writer w;
    struct sc_json_reader r;
    int ev;
    sc_buf_init(&out, 1 << 24);
    sc_json_write_init(&w, &out, size % 2);
    sc_json_begin_array(&w);
    sc_json_begin_object(&w);
    sc_customized_put(&w, sc_span((const char *)data, size));
    sc_json_end_object(&w);
    sc_json_end_array(&w);
    if (sc_json_write_finish(&w) < 0)
        abort();
    sc_json_read_init(&r, sc_buf_view(&out));
    while ((ev = sc_json_next(&r)) > 0)
        continue;
    if (ev < 0)
        abort();
    sc_buf_free(&out);
    return 0;
}
