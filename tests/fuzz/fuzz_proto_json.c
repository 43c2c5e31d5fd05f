/* Any bytes as a JSON document: the reader must end, and what it takes is written again and read alike. */
#include <stdlib.h>

#include "base/limits.h"
#include "proto/json_read.h"
#include "proto/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes the document's events; returns the reader's last word. */
static int rewrite(struct sc_span text, struct sc_buf *out, struct sc_buf *texts)
{
    struct sc_json_reader r;
    struct sc_json_writer w;
    struct sc_span s;
    struct sc_msg msg;
    int ev;
    sc_json_read_init(&r, text);
    sc_json_write_init(&w, out, false);
    while ((ev = sc_json_next(&r)) > 0) {
        switch ((enum sc_json_event)ev) {
        case SC_JSON_END: break;
        case SC_JSON_OBJECT: sc_json_begin_object(&w); break;
        case SC_JSON_OBJECT_END: sc_json_end_object(&w); break;
        case SC_JSON_ARRAY: sc_json_begin_array(&w); break;
        case SC_JSON_ARRAY_END: sc_json_end_array(&w); break;
        case SC_JSON_KEY:
        case SC_JSON_STRING:
            if (sc_json_text(&r, texts, &s) < 0 || !sc_utf8_valid(s) || !sc_json_is(&r, s))
                abort();
            if (ev == SC_JSON_KEY)
                sc_json_key_span(&w, s);
            else
                sc_json_string(&w, s);
            break;
        case SC_JSON_NUMBER:
            (void)sc_json_number(&r);
            sc_json_raw(&w, r.raw);
            break;
        case SC_JSON_TRUE: sc_json_bool(&w, true); break;
        case SC_JSON_FALSE: sc_json_bool(&w, false); break;
        case SC_JSON_NULL: sc_json_null(&w); break;
        }
    }
    if (ev < 0)
        return sc_json_read_error(&r, &msg);
    if (sc_json_write_finish(&w) != 0)
        abort();
    return ev;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_buf first, second, texts;
    sc_buf_init(&first, SIZE_MAX / 2);
    sc_buf_init(&second, SIZE_MAX / 2);
    sc_buf_init(&texts, SIZE_MAX / 2);
    if (rewrite(sc_span(data, size), &first, &texts) == SC_JSON_END) {
        if (rewrite(sc_buf_view(&first), &second, &texts) != SC_JSON_END ||
            !sc_span_eq(sc_buf_view(&first), sc_buf_view(&second)))
            abort();
    }
    sc_buf_free(&first);
    sc_buf_free(&second);
    sc_buf_free(&texts);
    return 0;
}
