/*
 * BERT's normalizer, pre-tokenizer and WordPiece in one pass: each character goes through one table into the
 * word, and a finished word becomes the longest tokens that it starts with.
 *
 * The pass ends when the ids are full, so that a text of megabytes costs what its first words cost. All
 * memory is set aside before it starts.
 */
#include <stdlib.h>

#include "tokenizer/internal.h"

struct mark {
    uint32_t c;
    uint32_t class;
};

struct scan {
    const struct sc_tokenizer *t;
    struct sc_work *w;
    bool origins;
    /* The word so far; nothing is added once it has more than t->word_max characters. */
    unsigned char *word;
    struct sc_range *from; /* of its bytes, where origins are wanted */
    uint32_t n, chars;
    struct sc_range at,
        whole; /* the character that is being taken; the word with all that is not kept of it */
    /* Marks waiting for the end of their run, where they are sorted. */
    struct mark *marks;
    uint32_t n_marks;
};

#define WORD_BYTES(t) (((size_t)(t)->word_max + 1) * 4 + 16)
#define MARKS(t) ((size_t)(t)->word_max + 2)

static void push(struct scan *s, uint32_t id, struct sc_range from)
{
    sc_tokens_push(s->w, id, (struct sc_token){.start = from.start, .end = from.end, .word = s->w->word});
}

static void end_word(struct scan *s)
{
    const struct sc_tokenizer *t = s->t;
    if (!s->chars)
        return;
    uint32_t ids[SC_TOKENIZER_WORD_MAX + 1], ends[SC_TOKENIZER_WORD_MAX + 1], k = 0, root = 0;
    bool known = s->chars <= t->word_max;
    for (size_t at = 0, len; known && at < s->n; at += len) {
        len = 0;
        uint32_t id = sc_trie_longest(&t->words, root, s->word + at, s->n - at, &len);
        known = id != SC_TRIE_NONE;
        ids[k] = id;
        ends[k++] = (uint32_t)(at + len);
        root = t->continuing;
    }
    if (!known)
        push(s, t->unk, s->whole);
    for (uint32_t i = 0, start = 0; known && i < k; start = ends[i++])
        push(s, ids[i],
             s->origins ? (struct sc_range){s->from[start].start, s->from[ends[i] - 1].end}
                        : (struct sc_range){0});
    s->n = s->chars = 0;
    s->w->word++;
}

static inline void add(struct scan *s, const void *p, unsigned n, unsigned chars)
{
    if (s->origins) {
        if (!s->chars)
            s->whole.start = s->at.start;
        s->whole.end = s->at.end;
    }
    if (s->chars > s->t->word_max)
        return;
    memcpy(s->word + s->n, p, n);
    for (unsigned i = 0; i < n && s->origins; i++)
        s->from[s->n + i] = s->at;
    s->n += n;
    s->chars += chars;
}

static inline void add_apart(struct scan *s, const void *p, unsigned n, unsigned chars)
{
    end_word(s);
    add(s, p, n, chars);
    end_word(s);
}

/* Hands on the waiting marks by ascending class, equals in their order. */
static void end_marks(struct scan *s)
{
    uint32_t left = s->n_marks;
    for (uint32_t class = 0; left;) {
        uint32_t next = UINT32_MAX;
        for (uint32_t i = 0; i < s->n_marks; i++)
            if (s->marks[i].class > class)
                next = SC_MIN(next, s->marks[i].class);
        for (uint32_t i = 0; i < s->n_marks; i++) {
            if (s->marks[i].class != next)
                continue;
            char utf8[4];
            add(s, utf8, sc_utf8_put(utf8, s->marks[i].c), 1);
            left--;
        }
        class = next;
    }
    s->n_marks = 0;
}

static void add_mark(struct scan *s, uint32_t c, uint32_t class)
{
    /* Where sorted marks come from depends on marks that are not even kept. */
    s->w->inexact |= s->origins;
    /* A word that is too long already: which of its marks come first changes nothing any more. */
    if (s->n_marks < MARKS(s->t))
        s->marks[s->n_marks++] = (struct mark){c, class};
}

static void add_list(struct scan *s, const char *p)
{
    for (unsigned n = (unsigned char)*p++; n; n--, p += sizeof(struct sc_char_item)) {
        struct sc_char_item item;
        memcpy(&item, p, sizeof(item));
        if (item.act == SC_CHAR_MARK) {
            unsigned bytes;
            add_mark(s, sc_utf8_get((const unsigned char *)item.utf8, &bytes), item.class);
            continue;
        }
        end_marks(s);
        if (item.act == SC_CHAR_PUNCT)
            add_apart(s, item.utf8, item.n, 1);
        else if (item.act == SC_CHAR_WORD)
            add(s, item.utf8, item.n, 1);
        else
            end_word(s);
    }
}

/* Unicode 3.12: a syllable is a leading consonant, a vowel and maybe a trailing consonant. */
static void add_hangul(struct scan *s, uint32_t c)
{
    uint32_t i = c - 0xAC00, t = i % 28;
    char utf8[12];
    unsigned n = sc_utf8_put(utf8, 0x1100 + i / 588);
    n += sc_utf8_put(utf8 + n, 0x1161 + i % 588 / 28);
    if (t)
        n += sc_utf8_put(utf8 + n, 0x11A7 + t);
    add(s, utf8, n, t ? 3 : 2);
}

/* What one character that is not a plain ASCII letter does. */
static void take(struct scan *s, const unsigned char *p, unsigned n, uint32_t c)
{
    const struct sc_chars *chars = &s->t->chars;
    uint32_t entry = sc_chars_entry(chars, c);
    const char *to = chars->pool.p + SC_CHAR_ARG(entry);
    enum sc_char_act act = SC_CHAR_ACT(entry);
    if (SC_UNLIKELY(s->n_marks) && act != SC_CHAR_DROP && act != SC_CHAR_MARK && act != SC_CHAR_LIST)
        end_marks(s);
    switch (act) {
    case SC_CHAR_WORD: add(s, p, n, 1); break;
    case SC_CHAR_WORD_MAP: add(s, to + 2, (unsigned char)to[0], (unsigned char)to[1]); break;
    case SC_CHAR_SPACE: end_word(s); break;
    case SC_CHAR_PUNCT:
    case SC_CHAR_ALONE: add_apart(s, p, n, 1); break;
    case SC_CHAR_PUNCT_MAP:
    case SC_CHAR_ALONE_MAP: add_apart(s, to + 2, (unsigned char)to[0], (unsigned char)to[1]); break;
    case SC_CHAR_DROP:
    case SC_CHAR_DROP_START: break;
    case SC_CHAR_MARK: add_mark(s, c, SC_CHAR_ARG(entry)); break;
    case SC_CHAR_LIST: add_list(s, to); break;
    case SC_CHAR_HANGUL: add_hangul(s, c); break;
    }
}

/* The plain ASCII that p starts with goes into the word; returns what is behind it. `at` is p's place. */
static const unsigned char *take_ascii(struct scan *s, const unsigned char *p, const unsigned char *end,
                                       uint32_t at)
{
    const struct sc_chars *chars = &s->t->chars;
    if (SC_UNLIKELY(s->n_marks) && chars->ascii[*p])
        end_marks(s);
    const unsigned char *from = p, *stop = end;
    uint32_t room = s->t->word_max + 1 - s->chars;
    if (s->chars > s->t->word_max)
        room = 0;
    if ((size_t)(end - p) > room)
        stop = p + room;
    unsigned char *to = s->word + s->n, b;
    while (p < stop && (b = chars->ascii[*p])) {
        *to++ = b;
        p++;
    }
    uint32_t n = (uint32_t)(p - from), before = s->chars;
    for (uint32_t i = 0; i < n && s->origins; i++)
        s->from[s->n + i] = (struct sc_range){at + i, at + i + 1};
    s->n += n;
    s->chars += n;
    /* What is over the longest word only has to be passed. */
    if (p == stop)
        while (p < end && chars->ascii[*p])
            p++;
    if (s->origins && p > from) {
        if (!before)
            s->whole.start = at;
        s->whole.end = at + (uint32_t)(p - from);
    }
    return p;
}

void sc_bert(struct sc_work *w, struct sc_span text, uint32_t base)
{
    const struct sc_tokenizer *t = w->t;
    size_t marks = MARKS(t) * sizeof(struct mark),
           from = w->origins ? WORD_BYTES(t) * sizeof(struct sc_range) : 0;
    if (!sc_work_room(w, &w->bert, &w->bert_cap, marks + from + WORD_BYTES(t), 1))
        return;
    struct scan s = {.t = t, .w = w, .origins = w->origins, .marks = w->bert};
    s.from = (struct sc_range *)(void *)((char *)w->bert + marks);
    s.word = (unsigned char *)w->bert + marks + from;

    const unsigned char *p = (const unsigned char *)text.p, *start = p, *end = p + text.n;
    while (p < end) {
        p = take_ascii(&s, p, end, base + (uint32_t)(p - start));
        if (p == end)
            break;
        unsigned n;
        uint32_t c = sc_utf8_get(p, &n);
        if (s.origins) {
            s.at.start = base + (uint32_t)(p - start);
            s.at.end = s.at.start + n;
        }
        take(&s, p, n, c);
        p += n;
        if (w->out->full || w->inexact)
            return;
    }
    end_marks(&s);
    end_word(&s);
}
