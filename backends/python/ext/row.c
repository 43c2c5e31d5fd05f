#include "row.h"

#include "worker/meta.h"

static uint64_t get_uint(const char *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return v;
}

/* u16 length, then as many bytes: the name; what follows is left in *s. */
static bool take_name(struct sc_span *s, struct sc_span *name)
{
    if (s->n < 2)
        return false;
    size_t n = get_uint(s->p, 2);
    if (n > s->n - 2)
        return false;
    *name = sc_span(s->p + 2, n);
    *s = sc_span(s->p + 2 + n, s->n - 2 - n);
    return true;
}

static bool read_part(struct sc_span v, struct sc_span body, struct sc_row_item *out)
{
    if (v.n < 16)
        return false;
    uint64_t off = get_uint(v.p, 8), n = get_uint(v.p + 8, 8);
    if (off > body.n || n > body.n - off)
        return false;
    v = sc_span(v.p + 16, v.n - 16);
    out->kind = SC_ROW_FIELD;
    out->value = sc_span(body.p ? body.p + off : NULL, (size_t)n);
    if (!take_name(&v, &out->name))
        return false;
    out->type = v;
    return true;
}

static bool read_param(struct sc_span v, struct sc_row_item *out)
{
    out->kind = SC_ROW_FIELD;
    out->type = sc_span(NULL, 0);
    if (!take_name(&v, &out->name))
        return false;
    out->value = v;
    return true;
}

int sc_row_head(struct sc_span meta, size_t body, struct sc_row_head *out, const char **why)
{
    *out = (struct sc_row_head){0};
    if (!sc_meta_valid(meta)) {
        *why = "metadata that is not well-formed";
        return SC_EPROTO;
    }
    /* Only its length matters here. */
    struct sc_span any = sc_span(NULL, body);
    struct sc_row_item item;
    struct sc_span key, value;
    for (size_t at = 0; sc_meta_next(meta, &at, &key, &value);) {
        if (key.n == 0 || key.p[0] != ':') {
            out->headers++;
        } else if (sc_span_eq(key, SC_SPAN(":id"))) {
            out->id = value;
        } else if (sc_span_eq(key, SC_SPAN(":content-type"))) {
            out->type = value;
        } else if (sc_span_eq(key, SC_SPAN(":form"))) {
            out->form = true;
        } else if (sc_span_eq(key, SC_SPAN(":part"))
                       ? read_part(value, any, &item)
                       : sc_span_eq(key, SC_SPAN(":param")) && read_param(value, &item)) {
            out->fields++;
        } else {
            *why = "a parameter that is malformed or lies outside of the body";
            return SC_EPROTO;
        }
    }
    return 0;
}

bool sc_row_next(struct sc_span meta, struct sc_span body, size_t *at, struct sc_row_item *out)
{
    struct sc_span key, value;
    while (sc_meta_next(meta, at, &key, &value)) {
        if (key.n == 0 || key.p[0] != ':') {
            *out = (struct sc_row_item){.kind = SC_ROW_HEADER, .name = key, .value = value};
            return true;
        }
        if (sc_span_eq(key, SC_SPAN(":part")) ? read_part(value, body, out)
                                              : sc_span_eq(key, SC_SPAN(":param")) && read_param(value, out))
            return true;
    }
    return false;
}
