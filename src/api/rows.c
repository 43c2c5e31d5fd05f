#include "api/rows.h"

#include <stdio.h>

#include "proto/multipart.h"
#include "proto/url.h"
#include "worker/meta.h"

static const char urlencoded[] = "application/x-www-form-urlencoded";

static struct sc_span type_of(const struct sc_http_exchange *x)
{
    return sc_http_header_get(&x->req, SC_SPAN("content-type"));
}

bool sc_row_is_plain(const struct sc_http_exchange *x)
{
    struct sc_span type = type_of(x);
    return x->req.content_length >= 0 && !sc_media_is(type, "multipart/form-data") &&
           !sc_media_is(type, urlencoded);
}

static bool describes_body(struct sc_span name)
{
    return sc_span_eq_nocase(name, SC_SPAN("content-length")) ||
           sc_span_eq_nocase(name, SC_SPAN("content-type")) ||
           sc_span_eq_nocase(name, SC_SPAN("inference-header-content-length"));
}

/* Headers as sent, without those of a body that was `made` anew; the length is always there. */
static void add_sent(const struct sc_http_exchange *x, bool made, size_t length, struct sc_meta_writer *w)
{
    char digits[24];
    bool told = false;
    for (unsigned i = 0; i < x->req.nheaders; i++) {
        const struct sc_http_header *h = &x->req.headers[i];
        bool ours = h->name.n && h->name.p[0] == ':';
        if (ours || sc_span_eq_nocase(h->name, SC_SPAN("transfer-encoding")) ||
            (made && describes_body(h->name)))
            continue;
        told |= sc_span_eq_nocase(h->name, SC_SPAN("content-length"));
        sc_meta_add(w, h->name, h->value);
    }
    int n = snprintf(digits, sizeof digits, "%zu", length);
    if (!told)
        sc_meta_add(w, SC_SPAN("content-length"), sc_span(digits, (size_t)n));
}

static void add_ours(const struct sc_row_route *route, struct sc_meta_writer *w)
{
    for (unsigned i = 0; i < route->nadded; i++)
        sc_meta_add(w, route->added[i].name, route->added[i].value);
}

static void add_headers(const struct sc_http_exchange *x, const struct sc_row_route *route, size_t length,
                        struct sc_meta_writer *w)
{
    add_sent(x, route->made, length, w);
    if (!route->no_url_path && !route->legacy)
        sc_meta_add(w, SC_SPAN("url_path"), route->url_path);
    if (!route->legacy && !route->no_explain)
        sc_meta_add(w, SC_SPAN("explain"), route->explain ? SC_SPAN("True") : SC_SPAN("False"));
    add_ours(route, w);
}

void sc_row_describe(const struct sc_http_exchange *x, bool grpc, struct sc_buf *meta)
{
    struct sc_meta_writer w;
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":id"), sc_span_str(x->id));
    sc_meta_add(&w, SC_SPAN(":form"), SC_SPAN("")); /* of no parts: whatever was sent is none of the row */
    if (!grpc)
        add_sent(x, false, (size_t)SC_MAX(x->req.content_length, 0), &w);
    sc_meta_add(&w, SC_SPAN("describe"), SC_SPAN("True"));
    sc_meta_end(&w);
}

static void add_plain(const struct sc_http_exchange *x, const struct sc_row_route *route, size_t length,
                      struct sc_buf *meta)
{
    struct sc_meta_writer w;
    struct sc_span type = route->made ? SC_SPAN("application/json") : type_of(x);
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":id"), sc_span_str(x->id));
    if (type.p)
        sc_meta_add(&w, SC_SPAN(":content-type"), sc_media_type(type));
    add_headers(x, route, length, &w);
    sc_meta_end(&w);
}

void sc_row_plain(const struct sc_http_exchange *x, const struct sc_row_route *route, struct sc_buf *meta)
{
    add_plain(x, route, (size_t)x->req.content_length, meta);
}

/* ---- forms ------------------------------------------------------------------------------------------ */

static void put_uint(char *out, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        out[i] = (char)(v >> 8 * i);
}

/* A parameter that is the bytes [off, off + n) of the body. */
static int add_part(struct sc_meta_writer *w, struct sc_span name, struct sc_span type, size_t off, size_t n,
                    struct sc_msg *msg)
{
    char head[18];
    struct sc_buf value;
    if (name.n > UINT16_MAX)
        return sc_fail(msg, SC_ELIMIT, "the name of a form's field has %zu bytes: at most %u are allowed",
                       name.n, UINT16_MAX);
    sc_buf_init(&value, sizeof head + UINT16_MAX + 1024);
    put_uint(head, off, 8);
    put_uint(head + 8, n, 8);
    put_uint(head + 16, name.n, 2);
    sc_buf_add(&value, head, sizeof head);
    sc_buf_span(&value, name);
    sc_buf_span(&value, sc_span_sub(type, 0, 1024));
    sc_meta_add(w, SC_SPAN(":part"), sc_buf_view(&value));
    int rc = value.failed;
    sc_buf_free(&value);
    return rc;
}

void sc_row_node(const struct sc_http_exchange *x, size_t length, const struct sc_flow_part *parts,
                 unsigned nparts, struct sc_buf *meta)
{
    struct sc_meta_writer w;
    struct sc_msg unused; /* names of models are short */
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":id"), sc_span_str(x->id));
    if (nparts)
        sc_meta_add(&w, SC_SPAN(":form"), SC_SPAN(""));
    for (unsigned i = 0; i < nparts; i++)
        (void)add_part(&w, parts[i].name, sc_span(NULL, 0), parts[i].off, parts[i].n, &unused);
    add_sent(x, false, length, &w);
    sc_meta_end(&w);
}

/* Where in the body the data lies. */
static size_t offset_of(const char *body, struct sc_span data)
{
    return data.n ? (size_t)(data.p - body) : 0;
}

static int multipart(struct sc_multipart *m, const char *body, struct sc_meta_writer *w, struct sc_msg *msg)
{
    struct sc_part part;
    int rc;
    while ((rc = sc_multipart_next(m, &part, msg)) == 1) {
        struct sc_span type = {NULL, 0};
        if (part.has_filename)
            type =
                part.content_type.p ? sc_media_type(part.content_type) : SC_SPAN("application/octet-stream");
        rc = add_part(w, part.name, type, offset_of(body, part.data), part.data.n, msg);
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* The values are never longer than what was sent: they take its place. */
static int form(struct sc_http_exchange *x, struct sc_span body, struct sc_meta_writer *w, struct sc_msg *msg)
{
    struct sc_query q = {0};
    struct sc_span none = {NULL, 0};
    int rc = sc_form_parse(&q, body, msg);
    size_t at = 0;
    for (unsigned i = 0; rc == 0 && i < q.n; i++) {
        struct sc_span v = q.params[i].value;
        if (v.n)
            memcpy(x->body.p + at, v.p, v.n);
        rc = add_part(w, q.params[i].name, none, v.n ? at : 0, v.n, msg);
        at += v.n;
    }
    sc_query_free(&q);
    return rc;
}

/* The query's values go behind the body, where the worker finds them as it does a form's. */
static int query(struct sc_http_exchange *x, struct sc_meta_writer *w, struct sc_msg *msg)
{
    struct sc_query q = {0};
    struct sc_span none = {NULL, 0};
    size_t more = 0;
    int rc = sc_query_parse(&q, x->req.target, msg);
    for (unsigned i = 0; rc == 0 && i < q.n; i++)
        more += q.params[i].value.n;
    if (rc == 0 && x->body.len + more > x->body.cap)
        rc = x->body.ops->grow(&x->body, x->body.len + more) < 0 ? SC_ENOMEM : 0;
    for (unsigned i = 0; rc == 0 && i < q.n; i++) {
        struct sc_span v = q.params[i].value;
        size_t at = x->body.len;
        if (v.n)
            memcpy(x->body.p + x->body.len, v.p, v.n);
        x->body.len += v.n;
        rc = add_part(w, q.params[i].name, none, at, v.n, msg);
    }
    sc_query_free(&q);
    return rc;
}

int sc_row_of_body(struct sc_http_exchange *x, const struct sc_row_route *route, struct sc_buf *meta,
                   struct sc_msg *msg)
{
    struct sc_multipart m;
    struct sc_meta_writer w;
    struct sc_span type = type_of(x);
    size_t length = x->body.len;
    bool urlform = !route->made && sc_media_is(type, urlencoded);
    int rc = urlform || route->made ? 0 : sc_multipart_init(&m, type, sc_body_span(&x->body), msg);
    bool plain = !urlform && rc == 0;
    if (rc < 0)
        return rc;
    if (plain && !(route->legacy && x->req.query.n)) {
        add_plain(x, route, length, meta);
        return meta->failed;
    }
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":id"), sc_span_str(x->id));
    sc_meta_add(&w, SC_SPAN(":form"), SC_SPAN(""));
    rc = route->legacy ? query(x, &w, msg) : 0;
    struct sc_span sent = sc_span(x->body.p, length);
    m.body = sent; /* it may have moved */
    if (rc == 0)
        rc = plain     ? add_part(&w, SC_SPAN("body"), sc_media_type(type), 0, sent.n, msg)
             : urlform ? form(x, sent, &w, msg)
                       : multipart(&m, x->body.p, &w, msg);
    if (rc == 0)
        add_headers(x, route, length, &w);
    sc_meta_end(&w);
    return rc < 0 ? rc : meta->failed;
}

/* ---- gRPC ------------------------------------------------------------------------------------------- */

int sc_row_of_parts(const char *id, const struct sc_row_route *route, const struct sc_row_part *parts,
                    size_t n, struct sc_buf *meta, struct sc_msg *msg)
{
    struct sc_meta_writer w;
    struct sc_span none = {NULL, 0};
    size_t at = 0;
    int rc = n > SC_FORM_PARTS_MAX
                 ? sc_fail(msg, SC_ELIMIT, "%zu inputs: at most %d are allowed", n, SC_FORM_PARTS_MAX)
                 : 0;
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":id"), sc_span_str(id));
    sc_meta_add(&w, SC_SPAN(":form"), SC_SPAN(""));
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = add_part(&w, parts[i].name, none, at, parts[i].data.n, msg);
        at += parts[i].data.n;
    }
    add_ours(route, &w);
    sc_meta_end(&w);
    return rc < 0 ? rc : meta->failed;
}

void sc_row_of_json(const char *id, const struct sc_row_route *route, struct sc_buf *meta)
{
    struct sc_meta_writer w;
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":id"), sc_span_str(id));
    sc_meta_add(&w, SC_SPAN(":content-type"), SC_SPAN("application/json"));
    add_ours(route, &w);
    sc_meta_end(&w);
}
