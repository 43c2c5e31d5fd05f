/*
 * A form of hostile bytes: the first line is the Content-Type, the rest the body. Parts lie in the body, one
 * behind the other; what is refused says why; the same parts between other boundaries are read alike.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "proto/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sc_part parts[SC_FORM_PARTS_MAX];

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* How many parts there are, or why not. */
static int read_parts(struct sc_span type, struct sc_span body, struct sc_part *out)
{
    struct sc_multipart m;
    struct sc_msg msg = {""};
    int rc = sc_multipart_init(&m, type, body, &msg), n = 0;
    check(rc >= 0 || *msg.text);
    if (rc <= 0)
        return rc < 0 ? rc : SC_EUNSUPPORTED;
    const char *end = body.p;
    while ((rc = sc_multipart_next(&m, &out[n], &msg)) == 1) {
        const struct sc_part *p = &out[n++];
        check(p->name.n > 0 && p->name.p >= end && p->data.p >= p->name.p + p->name.n);
        check(p->data.p + p->data.n <= body.p + body.n && n <= SC_FORM_PARTS_MAX);
        end = p->data.p + p->data.n;
    }
    check(rc == 0 || *msg.text);
    return rc < 0 ? rc : n;
}

/* "--" and a boundary that stands in no data. */
static size_t choose_boundary(char *out, size_t room, struct sc_span body)
{
    size_t n = 0;
    for (unsigned i = 0; n == 0 || memmem(body.p, body.n, out, n); i++)
        n = (size_t)snprintf(out, room, "--zZ%u", i);
    return n;
}

static void again(struct sc_span body, int n)
{
    static struct sc_part second[SC_FORM_PARTS_MAX];
    struct sc_buf form, type;
    char line[32];
    size_t line_n = choose_boundary(line, sizeof line, body);
    sc_buf_init(&form, 64u << 20);
    sc_buf_init(&type, 1024);
    sc_buf_str(&type, "Multipart/Form-Data; x=\";\"; boundary=\"");
    sc_buf_add(&type, line + 2, line_n - 2);
    sc_buf_str(&type, "\"");
    for (int i = 0; i < n; i++) {
        sc_buf_add(&form, line, line_n);
        sc_buf_str(&form, "\r\ncontent-disposition: form-data; name=p");
        sc_buf_str(&form, parts[i].has_filename ? "; filename=\"\"\r\n" : "\r\n");
        if (parts[i].content_type.p) {
            sc_buf_str(&form, "Content-Type: ");
            sc_buf_add(&form, parts[i].content_type.p, parts[i].content_type.n);
            sc_buf_str(&form, "\r\n");
        }
        sc_buf_str(&form, "\r\n");
        sc_buf_add(&form, parts[i].data.p, parts[i].data.n);
        sc_buf_str(&form, "\r\n");
    }
    sc_buf_add(&form, line, line_n);
    sc_buf_str(&form, "--");
    check(!form.failed && read_parts(sc_buf_view(&type), sc_buf_view(&form), second) == n);
    for (int i = 0; i < n; i++) {
        check(second[i].has_filename == parts[i].has_filename);
        check(sc_span_eq(second[i].data, parts[i].data));
        check(sc_span_eq(second[i].content_type, parts[i].content_type));
    }
    sc_buf_free(&form);
    sc_buf_free(&type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span all = sc_span(data, size);
    size_t line = sc_span_find(all, '\n');
    struct sc_span body = sc_span_sub(all, line + 1, size);
    int n = read_parts(sc_span_sub(all, 0, line), body, parts);
    if (n >= 0)
        again(body, n);
    return 0;
}
