/*
 * SentencePiece's precompiled_charsmap: a double array of byte strings and what each becomes.
 *
 * As the package does it, and only so: a grapheme cluster of less than six bytes becomes what the shortest
 * prefix of it that is in the map becomes, whole; where there is none, or the cluster is longer, each of its
 * characters is looked up alone in the same way.
 */
#include "tokenizer/internal.h"

#define CLUSTER_MAX 6 /* bytes; clusters of so many are taken apart */

static uint32_t unit_at(const struct sc_normalizer *nz, size_t i)
{
    const unsigned char *p = (const unsigned char *)nz->units.p + i * 4;
    return i < nz->units.n / 4 ? p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static size_t unit_offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* What the shortest prefix of s that is in the map becomes. */
static bool look_up(const struct sc_normalizer *nz, const unsigned char *p, size_t n, struct sc_span *to)
{
    size_t at = unit_offset(unit_at(nz, 0));
    for (size_t i = 0; i < n && p[i]; i++) {
        at ^= p[i];
        uint32_t unit = unit_at(nz, at);
        if ((unit & (1u << 31 | 0xFF)) != p[i])
            return false;
        at ^= unit_offset(unit);
        if (unit & 1u << 8) {
            size_t place = unit_at(nz, at) & ((1u << 31) - 1);
            if (place > nz->strings.n)
                return false;
            to->p = nz->strings.p + place;
            to->n = sc_span_find(sc_span_sub(nz->strings, place, nz->strings.n), '\0');
            return true;
        }
    }
    return false;
}

int sc_charsmap_open(struct sc_normalizer *nz, struct sc_span blob)
{
    if (blob.n < 4)
        return SC_EINVAL;
    const unsigned char *p = (const unsigned char *)blob.p;
    uint32_t n = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (n % 4 || n == 0 || n > blob.n - 4)
        return SC_EINVAL;
    nz->units = sc_span_sub(blob, 4, n);
    nz->strings = sc_span_sub(blob, 4 + n, blob.n);
    if (!sc_utf8_valid(nz->strings))
        return SC_EINVAL;
    /* A place inside a character would cut it: what every unit that is a value says is checked once. */
    for (size_t i = 0; i < n / 4; i++) {
        uint32_t unit = unit_at(nz, i);
        size_t place = unit & ((1u << 31) - 1);
        if (unit >> 31 && place < nz->strings.n && ((unsigned char)nz->strings.p[place] & 0xC0) == 0x80)
            return SC_EINVAL;
    }
    return 0;
}

/* --- grapheme clusters ---
 *
 * Without flags and Indic conjuncts: theirs have six bytes and more in any case. */

enum hangul { NONE, LEAD, VOWEL, TAIL, PAIR, TRIPLE };

static enum hangul hangul_of(uint32_t c)
{
    if (c < 0x1100 || c > 0xD7FB)
        return NONE;
    if (c <= 0x11FF)
        return c <= 0x115F ? LEAD : c <= 0x11A7 ? VOWEL : TAIL;
    if (c >= 0xAC00 && c <= 0xD7A3)
        return (c - 0xAC00) % 28 ? TRIPLE : PAIR;
    if (c >= 0xA960 && c <= 0xA97C)
        return LEAD;
    return c >= 0xD7CB ? TAIL : c >= 0xD7B0 && c <= 0xD7C6 ? VOWEL : NONE;
}

static bool hangul_joins(uint32_t a, uint32_t b)
{
    enum hangul first = hangul_of(a), second = hangul_of(b);
    if (first == NONE || second == NONE)
        return false;
    if (first == LEAD)
        return second != TAIL;
    return second == TAIL || (second == VOWEL && (first == PAIR || first == VOWEL));
}

/* The end of the cluster that starts at p. */
static const unsigned char *cluster_end(const struct sc_unicode *u, const unsigned char *p,
                                        const unsigned char *end)
{
    unsigned n;
    uint32_t before = sc_utf8_get(p, &n);
    p += n;
    if (before == '\r' && p < end && *p == '\n')
        return p + 1;
    uint32_t is = sc_unicode_entry(u, before);
    if (is & SC_IS_CONTROL)
        return p;
    for (bool picture = is & SC_IS_PICTURE; p < end; p += n) {
        uint32_t c = sc_utf8_get(p, &n), next = sc_unicode_entry(u, c);
        bool joins = next & SC_IS_EXTEND || (is & SC_IS_PREPEND && !(next & SC_IS_CONTROL)) ||
                     (picture && before == 0x200D && next & SC_IS_PICTURE) || hangul_joins(before, c);
        if (!joins)
            break;
        picture |= (next & SC_IS_PICTURE) != 0;
        before = c;
        is = next;
    }
    return p;
}

/* --- what the map makes of a text ---
 *
 * The package notes for every character what it does to those before; one may be corrected by what follows,
 * so the last one is held back. */

struct mapper {
    struct sc_writer out;
    bool have;
    uint32_t c;
    int32_t change;
};

static void put(struct mapper *m, uint32_t c, int32_t change)
{
    if (m->have)
        sc_writer_put(&m->out, m->c, m->change);
    m->have = true;
    m->c = c;
    m->change = change;
}

static size_t count_chars(const unsigned char *p, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += (p[i] & 0xC0) != 0x80;
    return chars;
}

/* `old` characters become those of `to`: the last ones too many are new, those too few are removed behind the
 * last. */
static void put_mapped(struct mapper *m, size_t old, struct sc_span to)
{
    const unsigned char *p = (const unsigned char *)to.p, *end = p + to.n;
    size_t have = count_chars(p, to.n), i = 0;
    for (unsigned n; p < end; p += n, i++)
        put(m, sc_utf8_get(p, &n), have > old && i >= old);
    if (have < old && m->have)
        m->change -= (int32_t)(old - have);
}

bool sc_normalize_charsmap(struct sc_work *w, const struct sc_normalizer *nz, const struct sc_view *in,
                           struct sc_text *to)
{
    const struct sc_unicode *u = w->t->unicode;
    const unsigned char *p = in->p, *end = p + in->n, *plain = p;
    struct mapper m = {.out = {.w = w, .to = to, .in = in}};
    bool changed = false;
    while (p < end) {
        struct sc_span mapped;
        /* Printable ASCII between its like is a cluster of its own. */
        bool simple = *p >= 0x20 && *p < 0x7F && (p + 1 == end || p[1] < 0x80);
        const unsigned char *stop = simple ? p + 1 : cluster_end(u, p, end);
        bool whole = stop - p < CLUSTER_MAX && look_up(nz, p, (size_t)(stop - p), &mapped);
        while (p < stop) {
            unsigned n = (unsigned)(stop - p);
            if (!whole) {
                sc_utf8_get(p, &n);
                if (simple || !look_up(nz, p, n, &mapped)) {
                    p += n;
                    continue;
                }
            }
            if (!changed && !sc_text_room(w, to, in->n + in->n / 8))
                return true;
            changed = true;
            if (plain < p) {
                if (m.have)
                    sc_writer_put(&m.out, m.c, m.change);
                m.have = false;
                /* All but the last, which what follows may still correct. */
                const unsigned char *last = p - 1;
                while ((*last & 0xC0) == 0x80)
                    last--;
                sc_writer_copy(&m.out, plain, (size_t)(last - plain));
                unsigned bytes;
                put(&m, sc_utf8_get(last, &bytes), 0);
            }
            put_mapped(&m, count_chars(p, n), mapped);
            plain = p += n;
        }
    }
    if (!changed)
        return false;
    if (m.have)
        sc_writer_put(&m.out, m.c, m.change);
    sc_writer_copy(&m.out, plain, (size_t)(end - plain));
    return true;
}
