/*
 * What Replace and Split look for: a string, a run of characters of a class, or GPT-2's pattern. Regular
 * expressions are read as far as they say one of the latter two; the families' files have no others.
 */
#include "tokenizer/internal.h"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* --- reading --- */

struct reader {
    struct sc_span s;
    size_t at;
};

static int peek(const struct reader *r)
{
    return r->at < r->s.n ? (unsigned char)r->s.p[r->at] : -1;
}

static bool take(struct reader *r, const char *word)
{
    struct sc_span rest = sc_span_sub(r->s, r->at, r->s.n), w = sc_span_str(word);
    if (!sc_span_starts(rest, w))
        return false;
    r->at += w.n;
    return true;
}

static bool add_char(struct sc_pattern *p, uint32_t first, uint32_t last)
{
    if (p->n_chars == SC_COUNT(p->chars) || last < first)
        return false;
    p->chars[p->n_chars].first = first;
    p->chars[p->n_chars++].last = last;
    return true;
}

/* A character as it is or behind a backslash. */
static bool read_char(struct reader *r, uint32_t *c)
{
    static const char special[] = ".*+?()|^$[]{}\\";
    if (peek(r) < 0)
        return false;
    if (take(r, "\\n"))
        *c = '\n';
    else if (take(r, "\\r"))
        *c = '\r';
    else if (take(r, "\\t"))
        *c = '\t';
    else if (peek(r) == '\\') {
        r->at++;
        if (peek(r) <= 0 || (!strchr(special, peek(r)) && peek(r) != '-' && peek(r) != '/'))
            return false;
        *c = (uint32_t)peek(r);
        r->at++;
    } else {
        unsigned n;
        if (peek(r) == 0 || strchr(special, peek(r)))
            return false;
        *c = sc_utf8_get((const unsigned char *)r->s.p + r->at, &n);
        r->at += n;
    }
    return true;
}

/* A class or a character, the latter maybe as the start of a range where `ranges`. */
static bool read_item(struct reader *r, struct sc_pattern *p, bool ranges)
{
    uint32_t first, last;
    if (take(r, "\\s"))
        p->bits |= SC_IS_REGEX_SPACE;
    else if (take(r, "\\p{L}"))
        p->bits |= SC_IS_LETTER;
    else if (take(r, "\\p{N}"))
        p->bits |= SC_IS_NUMBER;
    else {
        if (!read_char(r, &first))
            return false;
        last = first;
        if (ranges && r->at + 1 < r->s.n && r->s.p[r->at] == '-' && r->s.p[r->at + 1] != ']') {
            r->at++;
            if (!read_char(r, &last))
                return false;
        }
        return add_char(p, first, last);
    }
    return true;
}

static bool read_number(struct reader *r, uint32_t *n)
{
    size_t start = r->at;
    while (peek(r) >= '0' && peek(r) <= '9' && r->at - start < 4)
        r->at++;
    uint64_t value = 0;
    bool ok = sc_span_u64(sc_span_sub(r->s, start, r->at - start), 9999, &value);
    *n = (uint32_t)value;
    return ok && value > 0;
}

/* Nothing, +, {n} or {n,}. */
static bool read_count(struct reader *r, struct sc_pattern *p)
{
    p->least = p->most = 1;
    if (take(r, "+")) {
        p->most = UINT32_MAX;
        return true;
    }
    if (!take(r, "{"))
        return true;
    if (!read_number(r, &p->least))
        return false;
    p->most = p->least;
    if (take(r, ","))
        p->most = UINT32_MAX;
    return take(r, "}");
}

int sc_pattern_regex(struct sc_pattern *p, struct sc_span regex)
{
    *p = (struct sc_pattern){.kind = SC_PATTERN_RUN};
    if (sc_span_eq(regex, SC_SPAN(GPT2))) {
        p->kind = SC_PATTERN_GPT2;
        return 0;
    }
    struct reader r = {.s = regex};
    bool ok = true;
    if (take(&r, "[")) {
        p->negated = take(&r, "^");
        do
            ok = read_item(&r, p, true);
        while (ok && peek(&r) != ']');
        ok = ok && take(&r, "]");
    } else {
        ok = read_item(&r, p, false);
    }
    ok = ok && read_count(&r, p) && r.at == regex.n;
    return ok ? 0 : SC_EUNSUPPORTED;
}

/* --- matching --- */

static bool in_class(const struct sc_unicode *u, const struct sc_pattern *p, uint32_t c)
{
    bool in = p->bits && sc_unicode_entry(u, c) & p->bits;
    for (uint32_t i = 0; i < p->n_chars && !in; i++)
        in = c >= p->chars[i].first && c <= p->chars[i].last;
    return in != p->negated;
}

static bool find_run(const struct sc_unicode *u, const struct sc_pattern *p, struct sc_span s, size_t *start,
                     size_t *end)
{
    size_t at = *start, from = at;
    uint32_t count = 0;
    while (at < s.n) {
        unsigned n;
        uint32_t c = sc_utf8_get((const unsigned char *)s.p + at, &n);
        if (in_class(u, p, c)) {
            if (!count)
                from = at;
            at += n;
            if (++count < p->most)
                continue;
            break;
        }
        if (count >= p->least)
            break;
        count = 0;
        at += n;
    }
    if (count < p->least)
        return false;
    *start = from;
    *end = at;
    return true;
}

/* How far the characters of a class go from p on. */
static const unsigned char *run_of(const struct sc_unicode *u, uint32_t bits, bool negated,
                                   const unsigned char *p, const unsigned char *end)
{
    for (unsigned n; p < end; p += n)
        if (!(sc_unicode_entry(u, sc_utf8_get(p, &n)) & bits) != negated)
            break;
    return p;
}

/* The length of one of 's 't 're 've 'm 'll 'd at p, 0 if there is none. */
static unsigned contraction(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 2 || *p != '\'')
        return 0;
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd')
        return 2;
    if (end - p < 3)
        return 0;
    return (p[1] == 'r' && p[2] == 'e') || (p[1] == 'v' && p[2] == 'e') || (p[1] == 'l' && p[2] == 'l') ? 3
                                                                                                        : 0;
}

/* Every character is in some alternative: a match begins where the last one ended. */
static const unsigned char *gpt2_end(const struct sc_unicode *u, const unsigned char *p,
                                     const unsigned char *end)
{
    const uint32_t other = SC_IS_REGEX_SPACE | SC_IS_LETTER | SC_IS_NUMBER;
    unsigned n = contraction(p, end);
    if (n)
        return p + n;
    const unsigned char *word = *p == ' ' && p + 1 < end ? p + 1 : p;
    uint32_t is = sc_unicode_entry(u, sc_utf8_get(word, &n));
    if (is & SC_IS_LETTER)
        return run_of(u, SC_IS_LETTER, false, word + n, end);
    if (is & SC_IS_NUMBER)
        return run_of(u, SC_IS_NUMBER, false, word + n, end);
    if (!(is & SC_IS_REGEX_SPACE))
        return run_of(u, other, true, word + n, end);
    const unsigned char *stop = run_of(u, SC_IS_REGEX_SPACE, false, p, end);
    if (stop == end)
        return stop;
    /* The last blank is left to the word behind it, unless it is alone. */
    const unsigned char *last = stop - 1;
    while ((*last & 0xC0) == 0x80)
        last--;
    return last > p ? last : stop;
}

bool sc_pattern_find(const struct sc_unicode *u, const struct sc_pattern *p, struct sc_span s, size_t *start,
                     size_t *end)
{
    if (*start >= s.n)
        return false;
    if (p->kind == SC_PATTERN_RUN)
        return find_run(u, p, s, start, end);
    if (p->kind == SC_PATTERN_GPT2) {
        const unsigned char *text = (const unsigned char *)s.p;
        *end = (size_t)(gpt2_end(u, text + *start, text + s.n) - text);
        return true;
    }
    if (!p->literal.n)
        return false;
    const char *at = memmem(s.p + *start, s.n - *start, p->literal.p, p->literal.n);
    if (!at)
        return false;
    *start = (size_t)(at - s.p);
    *end = *start + p->literal.n;
    return true;
}
