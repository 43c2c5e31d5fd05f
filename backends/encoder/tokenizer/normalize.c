/* The normalizers, one after the other; each leaves a text alone that it would not change. */
#include "tokenizer/internal.h"

/* Reads the character at p and passes it. */
static inline uint32_t next(const unsigned char **p)
{
    unsigned n;
    uint32_t c = sc_utf8_get(*p, &n);
    *p += n;
    return c;
}

/* The first character of v with one of `bits`; v's end if there is none. */
static const unsigned char *find_bits(const struct sc_work *w, const struct sc_view *v, uint32_t bits)
{
    const unsigned char *p = v->p, *end = p + v->n;
    while (p < end) {
        const unsigned char *at = p;
        if (sc_unicode_entry(w->t->unicode, next(&p)) & bits)
            return at;
    }
    return end;
}

/* --- one character at a time --- */

/* What nmt does to c: UINT32_MAX drops it, anything else replaces it. */
static uint32_t nmt(uint32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F)
        return UINT32_MAX;
    if (c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD)
        return ' ';
    return c;
}

/* c as the normalizer leaves it, UINT32_MAX if it goes; of two characters the second to *more. */
static uint32_t map_char(const struct sc_work *w, enum sc_normalizer_kind kind, uint32_t c, uint32_t *more)
{
    uint32_t entry = sc_unicode_entry(w->t->unicode, c), to[2];
    if (kind == SC_NORMALIZER_NMT)
        return nmt(c);
    if (kind == SC_NORMALIZER_STRIP_ACCENTS)
        return entry & SC_IS_MARK ? UINT32_MAX : c;
    if (kind == SC_NORMALIZER_BERT_STRIP)
        return entry & SC_IS_BERT_MARK ? UINT32_MAX : c;
    if (kind == SC_NORMALIZER_CLEAN)
        return entry & SC_IS_UNCLEAN ? UINT32_MAX : entry & SC_IS_SPACE ? ' ' : c;
    if (!(entry & SC_IS_CASED))
        return c;
    if (sc_unicode_lower(c, to) == 2)
        *more = to[1];
    return to[0];
}

static bool map_chars(struct sc_work *w, enum sc_normalizer_kind kind, const struct sc_view *in,
                      struct sc_text *to)
{
    const unsigned char *p = in->p, *end = p + in->n, *plain = p;
    struct sc_writer o = {.w = w, .to = to, .in = in};
    bool changed = false;
    while (p < end) {
        const unsigned char *at = p;
        uint32_t more = 0, c = next(&p), mapped = map_char(w, kind, c, &more);
        if (mapped == c && !more)
            continue;
        if (!changed && !sc_text_room(w, to, in->n + in->n / 8))
            return true;
        changed = true;
        sc_writer_copy(&o, plain, (size_t)(at - plain));
        plain = p;
        if (mapped == UINT32_MAX) {
            sc_writer_skip(&o, 1);
            continue;
        }
        sc_writer_put(&o, mapped, 0);
        if (more)
            sc_writer_put(&o, more, 1);
    }
    if (changed)
        sc_writer_copy(&o, plain, (size_t)(end - plain));
    return changed;
}

static bool chinese(struct sc_work *w, const struct sc_view *in, struct sc_text *to)
{
    const unsigned char *p = find_bits(w, in, SC_IS_CHINESE), *end = in->p + in->n, *plain = in->p;
    if (p == end)
        return false;
    struct sc_writer o = {.w = w, .to = to, .in = in};
    while (p < end) {
        const unsigned char *at = p;
        uint32_t c = next(&p);
        if (!(sc_unicode_entry(w->t->unicode, c) & SC_IS_CHINESE))
            continue;
        sc_writer_copy(&o, plain, (size_t)(at - plain));
        plain = p;
        sc_writer_put(&o, ' ', 0);
        sc_writer_put(&o, c, 1);
        sc_writer_put(&o, ' ', 1);
    }
    sc_writer_copy(&o, plain, (size_t)(end - plain));
    return true;
}

/* --- the whole text --- */

static bool strip(struct sc_work *w, const struct sc_normalizer *nz, const struct sc_view *in,
                  struct sc_text *to)
{
    const unsigned char *p = in->p, *end = p + in->n;
    while (nz->left && p < end) {
        const unsigned char *at = p;
        if (!(sc_unicode_entry(w->t->unicode, next(&p)) & SC_IS_SPACE)) {
            p = at;
            break;
        }
    }
    while (nz->right && end > p) {
        const unsigned char *at = end - 1, *behind;
        while ((*at & 0xC0) == 0x80)
            at--;
        behind = at;
        if (!(sc_unicode_entry(w->t->unicode, next(&behind)) & SC_IS_SPACE))
            break;
        end = at;
    }
    if (p == in->p && end == in->p + in->n)
        return false;
    struct sc_view kept = sc_view_sub(in, (size_t)(p - in->p), (size_t)(end - in->p));
    struct sc_writer o = {.w = w, .to = to, .in = &kept};
    sc_writer_copy(&o, p, kept.n);
    return true;
}

/* Characters that come in for what `o` stands behind: all of them from there. */
static void put_string(struct sc_writer *o, struct sc_span s)
{
    for (const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n; p < end;)
        sc_writer_put(o, next(&p), 1);
}

static bool replace(struct sc_work *w, const struct sc_normalizer *nz, const struct sc_view *in,
                    struct sc_text *to)
{
    struct sc_span all = sc_span(in->p, in->n);
    size_t done = 0, start = 0, end;
    struct sc_writer o = {.w = w, .to = to, .in = in};
    bool changed = false;
    while (sc_pattern_find(w->t->unicode, &nz->pattern, all, &start, &end)) {
        changed = true;
        sc_writer_copy(&o, in->p + done, start - done);
        o.at = end;
        put_string(&o, nz->content);
        done = start = end;
    }
    if (changed)
        sc_writer_copy(&o, in->p + done, in->n - done);
    return changed;
}

static bool prepend(struct sc_work *w, struct sc_span s, const struct sc_view *in, struct sc_text *to)
{
    if (!in->n || !s.n)
        return false;
    struct sc_writer o = {.w = w, .to = to, .in = in};
    const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n, *text = in->p;
    sc_writer_put(&o, next(&p), 0);
    while (p < end)
        sc_writer_put(&o, next(&p), 1);
    uint32_t first = next(&text);
    sc_writer_put(&o, first, 1);
    sc_writer_copy(&o, text, in->n - (size_t)(text - in->p));
    return true;
}

static bool apply(struct sc_work *w, const struct sc_normalizer *nz, const struct sc_view *in,
                  struct sc_text *to)
{
    switch (nz->kind) {
    case SC_NORMALIZER_CLEAN:
    case SC_NORMALIZER_LOWERCASE:
    case SC_NORMALIZER_STRIP_ACCENTS:
    case SC_NORMALIZER_BERT_STRIP:
    case SC_NORMALIZER_NMT: return map_chars(w, nz->kind, in, to);
    case SC_NORMALIZER_CHINESE: return chinese(w, in, to);
    case SC_NORMALIZER_NFC:
    case SC_NORMALIZER_NFD:
    case SC_NORMALIZER_NFKC:
    case SC_NORMALIZER_NFKD: return sc_normalize_form(w, nz->kind, in, to);
    case SC_NORMALIZER_STRIP: return strip(w, nz, in, to);
    case SC_NORMALIZER_REPLACE: return replace(w, nz, in, to);
    case SC_NORMALIZER_PREPEND: return prepend(w, nz->content, in, to);
    case SC_NORMALIZER_CHARSMAP: return sc_normalize_charsmap(w, nz, in, to);
    }
    return false;
}

struct sc_view sc_normalize(struct sc_work *w, struct sc_view in)
{
    const struct sc_tokenizer *t = w->t;
    unsigned to = 0;
    for (uint32_t i = 0; i < t->n_normalizers && in.n; i++) {
        struct sc_text *text = &w->normal[to];
        text->n = 0;
        if (!apply(w, &t->normalizers[i], &in, text))
            continue;
        in = sc_text_view(w, text);
        to = !to;
    }
    return in;
}
