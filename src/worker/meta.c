#include "worker/meta.h"

#include "base/error.h"

static void add_uint(struct sc_buf *b, uint64_t v, unsigned bytes)
{
    unsigned char le[8];
    for (unsigned i = 0; i < bytes; i++)
        le[i] = (unsigned char)(v >> (8 * i));
    sc_buf_add(b, le, bytes);
}

static uint32_t get_uint(const char *p, unsigned bytes)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint32_t)(unsigned char)p[i] << (8 * i);
    return v;
}

void sc_meta_begin(struct sc_meta_writer *w, struct sc_buf *out)
{
    *w = (struct sc_meta_writer){.out = out, .start = out->n};
    add_uint(out, 0, 2);
}

void sc_meta_add(struct sc_meta_writer *w, struct sc_span key, struct sc_span value)
{
    if (key.n > UINT16_MAX || value.n > UINT32_MAX || w->count == UINT16_MAX)
        return;
    if (sc_buf_reserve(w->out, 6 + key.n + value.n) < 0)
        return;
    add_uint(w->out, key.n, 2);
    add_uint(w->out, value.n, 4);
    sc_buf_span(w->out, key);
    sc_buf_span(w->out, value);
    w->count++;
}

void sc_meta_end(struct sc_meta_writer *w)
{
    if (w->out->failed)
        return;
    w->out->p[w->start] = (char)(w->count & 0xff);
    w->out->p[w->start + 1] = (char)(w->count >> 8);
}

bool sc_meta_next(struct sc_span meta, size_t *at, struct sc_span *key, struct sc_span *value)
{
    size_t i = *at ? *at : 2;
    if (i > meta.n || meta.n - i < 6)
        return false;
    size_t k = get_uint(meta.p + i, 2), v = get_uint(meta.p + i + 2, 4);
    i += 6;
    if (k > meta.n - i || v > meta.n - i - k)
        return false;
    *key = sc_span(meta.p + i, k);
    *value = sc_span(meta.p + i + k, v);
    *at = i + k + v;
    return true;
}

struct sc_span sc_meta_get(struct sc_span meta, struct sc_span key)
{
    size_t at = 0;
    struct sc_span k, v;
    while (sc_meta_next(meta, &at, &k, &v))
        if (sc_span_eq(k, key))
            return v;
    return sc_span(NULL, 0);
}

bool sc_meta_valid(struct sc_span meta)
{
    if (meta.n < 2)
        return false;
    size_t at = 0;
    uint32_t n = 0;
    struct sc_span k, v;
    while (sc_meta_next(meta, &at, &k, &v))
        n++;
    return (at ? at : 2) == meta.n && n == get_uint(meta.p, 2);
}
