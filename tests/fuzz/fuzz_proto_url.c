/* Any bytes as a target (path and query), a form, a Content-Type with a multipart body: whatever is returned
 * lies in memory that can be read. */
#include <stdlib.h>

#include "proto/multipart.h"
#include "proto/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sum;

static void touch(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++)
        sum += (unsigned char)s.p[i];
}

/* A form's values are bytes, a query's are text. */
static void touch_query(struct sc_query *q, bool text)
{
    for (unsigned i = 0; i < q->n; i++) {
        touch(q->params[i].name);
        touch(q->params[i].value);
        if (text && !sc_utf8_valid(q->params[i].value))
            abort();
    }
    sc_query_free(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span s = sc_span(data, size);
    struct sc_msg msg;
    struct sc_path path;
    if (sc_path_parse(&path, s, &msg) == 0) {
        touch(path.decoded);
        for (unsigned i = 0; i < path.n && i < SC_PATH_SEGMENTS; i++) {
            touch(path.segments[i]);
            touch(sc_path_rest(&path, i));
        }
    }
    sc_path_free(&path);

    struct sc_query q;
    (void)!sc_query_parse(&q, s, &msg);
    touch_query(&q, true);
    (void)!sc_form_parse(&q, s, &msg);
    touch_query(&q, false);

    size_t line = sc_span_find(s, '\n');
    struct sc_multipart m;
    struct sc_part part;
    struct sc_span body = sc_span_sub(s, line + 1, size);
    if (sc_multipart_init(&m, sc_span_sub(s, 0, line), body, &msg) != 1 &&
        sc_multipart_init(&m, SC_SPAN("multipart/form-data; boundary=X"), body, &msg) != 1)
        abort();
    while (sc_multipart_next(&m, &part, &msg) == 1) {
        touch(part.name);
        touch(part.content_type);
        touch(part.data);
    }
    return 0;
}
