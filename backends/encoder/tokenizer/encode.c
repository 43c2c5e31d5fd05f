/*
 * Text to ids in one pass: added tokens are cut out, the rest is normalised character by character into
 * words, and a finished word becomes the longest tokens that it starts with.
 *
 * The pass ends when the ids are full, so that a text of megabytes costs what its first words cost (and a
 * check of its UTF-8). All memory is set aside before it starts.
 */
#include <stdlib.h>

#include "tokenizer/internal.h"

/* --- ids
 * ------------------------------------------------------------------------------------------------------- */

/* The ids of one text. Those beyond `keep` are dropped at the end, or at the front with `left`. */
struct ids {
    uint32_t *p; /* room for 2 * keep and the pieces of one word */
    uint32_t n, keep;
    uint64_t total; /* ids that the whole text has, where `exact` */
    bool left;
    bool exact; /* go on counting when full */
    bool full;
};

/* Takes in the k ids that were written behind n. */
static void ids_commit(struct ids *o, uint32_t k)
{
    o->n += k;
    o->total += k;
    if (o->n < o->keep)
        return;
    if (!o->left) {
        o->n = o->keep;
        o->full = !o->exact;
    } else if (o->n >= 2 * o->keep) {
        memmove(o->p, o->p + o->n - o->keep, o->keep * sizeof(*o->p));
        o->n = o->keep;
    }
}

/* --- words
 * ----------------------------------------------------------------------------------------------------- */

struct mark {
    uint32_t c;
    uint32_t class;
};

struct scan {
    const struct sc_tokenizer *t;
    struct ids *ids;
    /* The word so far; nothing is added once it has more than t->word_max characters. */
    unsigned char *word;
    uint32_t n, chars;
    /* Marks waiting for the end of their run, where they are sorted. */
    struct mark *marks;
    uint32_t n_marks;
    /* The normalised text, where it is wanted instead of ids; room for all that may come. */
    char *text;
    size_t text_n;
};

#define WORD_BYTES(t) (((size_t)(t)->word_max + 1) * 4 + 16)
#define MARKS(t) ((size_t)(t)->word_max + 2)
#define TEXT_BYTES(n) ((n) * 3 + 16) /* no character becomes more than three times its bytes */

static void end_word(struct scan *s)
{
    const struct sc_tokenizer *t = s->t;
    if (!s->chars)
        return;
    uint32_t *out = s->ids->p + s->ids->n, k = 0, root = 0;
    bool known = s->chars <= t->word_max;
    for (size_t at = 0, len; known && at < s->n; at += len) {
        len = 0;
        uint32_t id = sc_trie_longest(&t->words, root, s->word + at, s->n - at, &len);
        known = id != SC_TRIE_NONE;
        out[k++] = id;
        root = t->continuing;
    }
    if (!known) {
        out[0] = t->unk;
        k = 1;
    }
    s->n = s->chars = 0;
    ids_commit(s->ids, k);
}

static inline void word_add(struct scan *s, const void *p, unsigned n, unsigned chars)
{
    if (s->chars <= s->t->word_max) {
        memcpy(s->word + s->n, p, n);
        s->n += n;
    }
    s->chars += s->chars <= s->t->word_max ? chars : 0;
}

static inline void text_add(struct scan *s, const void *p, unsigned n)
{
    memcpy(s->text + s->text_n, p, n);
    s->text_n += n;
}

static inline void add(struct scan *s, const void *p, unsigned n, unsigned chars)
{
    if (s->text)
        text_add(s, p, n);
    else
        word_add(s, p, n, chars);
}

static inline void add_apart(struct scan *s, const void *p, unsigned n, unsigned chars)
{
    if (s->text) {
        text_add(s, p, n);
        return;
    }
    end_word(s);
    word_add(s, p, n, chars);
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
    if (s->n_marks == MARKS(s->t)) {
        /* A word that is too long already: which of its marks come first changes nothing any more. */
        if (!s->text)
            return;
        end_marks(s);
    }
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
        else if (item.act == SC_CHAR_WORD || s->text)
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
static void take(struct scan *s, const struct sc_chars *chars, const unsigned char *p, unsigned n, uint32_t c)
{
    uint32_t entry = sc_chars_entry(chars, c);
    const char *to = chars->pool.p + SC_CHAR_ARG(entry);
    enum sc_char_act act = SC_CHAR_ACT(entry);
    if (SC_UNLIKELY(s->n_marks) && act != SC_CHAR_DROP && act != SC_CHAR_MARK && act != SC_CHAR_LIST)
        end_marks(s);
    switch (act) {
    case SC_CHAR_WORD: add(s, p, n, 1); break;
    case SC_CHAR_WORD_MAP: add(s, to + 2, (unsigned char)to[0], (unsigned char)to[1]); break;
    case SC_CHAR_SPACE:
        if (!s->text)
            end_word(s);
        else if (chars->options.clean_text)
            text_add(s, " ", 1);
        else
            text_add(s, p, n);
        break;
    case SC_CHAR_PUNCT: add_apart(s, p, n, 1); break;
    case SC_CHAR_PUNCT_MAP: add_apart(s, to + 2, (unsigned char)to[0], (unsigned char)to[1]); break;
    case SC_CHAR_ALONE:
    case SC_CHAR_ALONE_MAP:
        if (s->text)
            text_add(s, " ", 1);
        if (act == SC_CHAR_ALONE)
            add_apart(s, p, n, 1);
        else
            add_apart(s, to + 2, (unsigned char)to[0], (unsigned char)to[1]);
        if (s->text)
            text_add(s, " ", 1);
        break;
    case SC_CHAR_DROP:
    case SC_CHAR_DROP_START: break;
    case SC_CHAR_MARK: add_mark(s, c, SC_CHAR_ARG(entry)); break;
    case SC_CHAR_LIST: add_list(s, to); break;
    case SC_CHAR_HANGUL: add_hangul(s, c); break;
    }
}

/* The plain ASCII that p starts with goes into the word; returns what is behind it. */
static const unsigned char *take_ascii(struct scan *s, const struct sc_chars *chars, const unsigned char *p,
                                       const unsigned char *end)
{
    if (SC_UNLIKELY(s->n_marks) && chars->ascii[*p])
        end_marks(s);
    const unsigned char *from = p, *stop = end;
    uint32_t room = s->t->word_max + 1 - s->chars;
    if (s->chars > s->t->word_max)
        room = 0;
    if ((size_t)(end - p) > room)
        stop = p + room;
    unsigned char *w = s->word + s->n, b;
    while (p < stop && (b = chars->ascii[*p])) {
        *w++ = b;
        p++;
    }
    s->n += (uint32_t)(p - from);
    s->chars += (uint32_t)(p - from);
    /* What is over the longest word only has to be passed. */
    if (p == stop)
        while (p < end && chars->ascii[*p])
            p++;
    return p;
}

/* A stretch of text without added tokens. */
static void scan_words(struct scan *s, const struct sc_chars *chars, struct sc_span text)
{
    const unsigned char *p = (const unsigned char *)text.p, *end = p + text.n;
    while (p < end) {
        if (!s->text) {
            p = take_ascii(s, chars, p, end);
            if (p == end)
                break;
        }
        unsigned n;
        uint32_t c = sc_utf8_get(p, &n);
        take(s, chars, p, n, c);
        p += n;
        if (!s->text && s->ids->full)
            return;
    }
    end_marks(s);
    if (!s->text)
        end_word(s);
}

int sc_tokenizer_normalize(const struct sc_tokenizer *t, struct sc_span text, struct sc_buf *out)
{
    int rc = sc_buf_reserve(out, TEXT_BYTES(text.n));
    if (rc)
        return rc;
    struct mark marks[SC_TOKENIZER_ADDED_BYTES + 1];
    struct mark *room = MARKS(t) <= SC_COUNT(marks) ? marks : malloc(MARKS(t) * sizeof(*room));
    if (!room)
        return SC_ENOMEM;
    struct scan s = {.t = t, .marks = room, .text = out->p + out->n};
    scan_words(&s, &t->chars, text);
    out->n += s.text_n;
    if (room != marks)
        free(room);
    return 0;
}

/* --- added tokens
 * ---------------------------------------------------------------------------------------------- */

/* The next added token from *pos on: its index and place; *pos goes behind it. */
static bool find_added(const struct sc_matcher *m, struct sc_span s, size_t *pos, uint32_t *index,
                       size_t *start, size_t *stop)
{
    while (m->n && *pos < s.n) {
        if (m->only >= 0) {
            const char *at = memchr(s.p + *pos, m->only, s.n - *pos);
            if (!at)
                return false;
            *pos = (size_t)(at - s.p);
        } else if (!m->starts[(unsigned char)s.p[*pos]]) {
            (*pos)++;
            continue;
        }
        size_t len = 0;
        *index = sc_trie_longest(&m->trie, 0, (const unsigned char *)s.p + *pos, s.n - *pos, &len);
        *start = *pos;
        if (*index != SC_TRIE_NONE) {
            *stop = *pos += len;
            return true;
        }
        (*pos)++;
    }
    return false;
}

/* The start of the white space that ends at `at`, not before `least`. */
static size_t space_before(struct sc_span s, size_t at, size_t least)
{
    while (at > least) {
        size_t start = at - 1;
        while (start > least && ((unsigned char)s.p[start] & 0xC0) == 0x80)
            start--;
        unsigned n;
        if (!sc_char_is_space(sc_utf8_get((const unsigned char *)s.p + start, &n)))
            break;
        at = start;
    }
    return at;
}

static size_t space_behind(struct sc_span s, size_t at)
{
    while (at < s.n) {
        unsigned n;
        if (!sc_char_is_space(sc_utf8_get((const unsigned char *)s.p + at, &n)))
            break;
        at += n;
    }
    return at;
}

static void scan_piece(struct scan *s, struct sc_span text, bool normal);

/* Cuts the matcher's tokens out of text; what lies between goes on as a piece. */
static void scan_added(struct scan *s, const struct sc_matcher *m, struct sc_span text, bool normal)
{
    size_t pos = 0, done = 0, start, stop, space_end = 0;
    uint32_t index;
    while (!s->ids->full && find_added(m, text, &pos, &index, &start, &stop)) {
        const struct sc_added *a = &s->t->added[index];
        if (a->lstrip)
            start = SC_MAX(space_before(text, start, SC_MIN(done, start)), done);
        if (a->rstrip) {
            /* Blanks that a token before took already are not passed twice: time stays linear. */
            stop = space_end = space_behind(text, SC_MAX(stop, space_end));
        }
        if (done < start)
            scan_piece(s, sc_span_sub(text, done, start - done), normal);
        if (s->ids->full)
            return;
        s->ids->p[s->ids->n] = a->id;
        ids_commit(s->ids, 1);
        done = stop;
    }
    if (!s->ids->full && done < text.n)
        scan_piece(s, sc_span_sub(text, done, text.n - done), normal);
}

/* A piece between added tokens: of the text as it came, or of the normalised text. */
static void scan_piece(struct scan *s, struct sc_span text, bool normal)
{
    const struct sc_tokenizer *t = s->t;
    if (normal || !t->normalized.n) {
        scan_words(s, normal ? &t->split : &t->chars, text);
        return;
    }
    struct scan writer = {.t = t, .marks = s->marks, .text = s->text};
    struct scan reader = *s;
    scan_words(&writer, &t->chars, text);
    reader.text = NULL;
    scan_added(&reader, &t->normalized, sc_span(s->text, writer.text_n), true);
}

static void encode_text(struct scan *s, struct sc_span text)
{
    struct scan reader = *s;
    /* Only scan_piece writes text, and only where normalised added tokens have to be found. */
    if (!s->t->normalized.n)
        reader.text = NULL;
    scan_added(&reader, &s->t->raw, text, false);
    struct ids *o = s->ids;
    if (o->left && o->n > o->keep) {
        memmove(o->p, o->p + o->n - o->keep, o->keep * sizeof(*o->p));
        o->n = o->keep;
    }
}

/* --- encodings
 * ------------------------------------------------------------------------------------------------- */

void sc_encoding_free(struct sc_encoding *e)
{
    free(e->ids);
    free(e->type_ids);
    free(e->scratch);
    memset(e, 0, sizeof(*e));
}

static int reserve(const struct sc_tokenizer *t, struct sc_encoding *e, size_t scratch)
{
    if (e->cap < t->max_length) {
        uint32_t *ids = realloc(e->ids, t->max_length * sizeof(*ids));
        if (ids)
            e->ids = ids;
        uint8_t *type_ids = realloc(e->type_ids, t->max_length);
        if (type_ids)
            e->type_ids = type_ids;
        if (!ids || !type_ids)
            return SC_ENOMEM;
        e->cap = t->max_length;
    }
    if (e->scratch_cap < scratch) {
        /* Nothing of the old content counts: freed first, so that both never exist at once. */
        free(e->scratch);
        e->scratch = malloc(scratch);
        e->scratch_cap = e->scratch ? scratch : 0;
        if (!e->scratch)
            return SC_ENOMEM;
    }
    return 0;
}

/* Shortens both to `most` together as the package's LongestFirst does: the longer one first. */
static void truncate_pair(struct ids *a, struct ids *b, uint32_t most)
{
    if (a->total + b->total <= most)
        return;
    uint64_t less = SC_MIN(a->total, b->total), more;
    more = less > most ? less : SC_MAX(less, most - less);
    if (less + more > most) {
        less = most / 2;
        more = less + most % 2;
    }
    bool swapped = a->total > b->total;
    uint32_t na = (uint32_t)(swapped ? more : less), nb = (uint32_t)(swapped ? less : more);
    if (a->n > na) {
        a->p += a->left ? a->n - na : 0;
        a->n = na;
    }
    if (b->n > nb) {
        b->p += b->left ? b->n - nb : 0;
        b->n = nb;
    }
}

static void assemble(const struct sc_template *t, const struct ids *a, const struct ids *b,
                     struct sc_encoding *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct sc_piece *p = &t->pieces[i];
        const struct ids *from = p->kind == SC_PIECE_A ? a : p->kind == SC_PIECE_B ? b : NULL;
        uint32_t count = from ? from->n : 1;
        if (from)
            memcpy(e->ids + n, from->p, count * sizeof(*e->ids));
        else
            e->ids[n] = p->id;
        memset(e->type_ids + n, p->type_id, count);
        n += count;
    }
    e->n = n;
}

int sc_tokenizer_encode(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                        struct sc_encoding *e)
{
    e->n = 0;
    if (!sc_utf8_valid(text) || (pair.p && !sc_utf8_valid(pair)))
        return SC_EINVAL;
    const struct sc_template *template = pair.p ? &t->pair : &t->single;
    uint32_t keep = t->max_length - template->specials;
    size_t longest = t->normalized.n ? SC_MAX(text.n, pair.p ? pair.n : 0) : 0;
    if (longest > SIZE_MAX / 8)
        return SC_ENOMEM;
    size_t id_room = (size_t)keep * 2 + t->word_max + 2;
    size_t ids_bytes = id_room * sizeof(uint32_t) * (pair.p ? 2 : 1),
           marks_bytes = MARKS(t) * sizeof(struct mark);
    int rc = reserve(t, e, ids_bytes + marks_bytes + WORD_BYTES(t) + (longest ? TEXT_BYTES(longest) : 0));
    if (rc)
        return rc;

    char *at = e->scratch;
    /* Which of a pair is longer has to be known to the last id only where an odd one is left over. */
    struct ids a = {.p = e->scratch, .keep = keep, .left = t->truncate_left, .exact = pair.p && keep % 2};
    struct ids b = a;
    b.p = a.p + id_room;
    struct scan s = {.t = t, .ids = &a};
    at += ids_bytes;
    s.marks = (struct mark *)(void *)at;
    at += marks_bytes;
    s.word = (unsigned char *)at;
    s.text = at + WORD_BYTES(t);

    encode_text(&s, text);
    if (pair.p) {
        s.ids = &b;
        encode_text(&s, pair);
        truncate_pair(&a, &b, keep);
    }
    assemble(template, &a, &b, e);
    return 0;
}
