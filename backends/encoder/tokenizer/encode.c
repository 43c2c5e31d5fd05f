/*
 * Text to ids: added tokens are cut out, what lies between them is normalised, split into words and given to
 * the model; then truncation and the post-processor's template.
 */
#include <stdlib.h>

#include "tokenizer/internal.h"

/* --- added tokens --- */

static uint32_t is_at(const struct sc_work *w, struct sc_span s, size_t at)
{
    unsigned n;
    return sc_unicode_entry(w->t->unicode, sc_utf8_get((const unsigned char *)s.p + at, &n));
}

static size_t char_before(struct sc_span s, size_t at)
{
    do
        at--;
    while (((unsigned char)s.p[at] & 0xC0) == 0x80);
    return at;
}

static size_t char_behind(struct sc_span s, size_t at)
{
    do
        at++;
    while (at < s.n && ((unsigned char)s.p[at] & 0xC0) == 0x80);
    return at;
}

/* The next added token from *pos on: its index and place; *pos goes behind it. */
static bool find_added(const struct sc_work *w, const struct sc_matcher *m, struct sc_span s, size_t *pos,
                       uint32_t *index, size_t *start, size_t *stop)
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
        if (*index == SC_TRIE_NONE) {
            (*pos)++;
            continue;
        }
        *stop = *pos += len;
        bool inside = (*start && is_at(w, s, char_before(s, *start)) & SC_IS_WORD) ||
                      (*stop < s.n && is_at(w, s, *stop) & SC_IS_WORD);
        if (!w->t->added[*index].single_word || !inside)
            return true;
    }
    return false;
}

/* The start of the white space that ends at `at`, not before `least`. */
static size_t space_before(const struct sc_work *w, struct sc_span s, size_t at, size_t least)
{
    while (at > least) {
        size_t start = char_before(s, at);
        if (start < least || !(is_at(w, s, start) & SC_IS_SPACE))
            break;
        at = start;
    }
    return at;
}

static size_t space_behind(const struct sc_work *w, struct sc_span s, size_t at)
{
    while (at < s.n && is_at(w, s, at) & SC_IS_SPACE)
        at = char_behind(s, at);
    return at;
}

/* Whether s starts with white space, or the character that stands for a blank in byte-level tokens. */
static bool starts_with_space(const struct sc_unicode *u, struct sc_span s)
{
    unsigned n;
    return s.n && (sc_span_starts(s, SC_SPAN("\u0120")) ||
                   sc_unicode_entry(u, sc_utf8_get((const unsigned char *)s.p, &n)) & SC_IS_SPACE);
}

void sc_count_spaces(const struct sc_unicode *u, struct sc_span s, uint32_t *lead, uint32_t *trail)
{
    *lead = *trail = 0;
    for (size_t at = 0; starts_with_space(u, sc_span_sub(s, at, s.n)); at = char_behind(s, at))
        (*lead)++;
    for (size_t end = s.n; end > 0; (*trail)++) {
        end = char_before(s, end);
        if (!starts_with_space(u, sc_span_sub(s, end, s.n)))
            break;
    }
}

static void push_added(struct sc_work *w, uint32_t id, const struct sc_view *v, size_t start, size_t stop)
{
    struct sc_token at = {.word = w->word++};
    if (w->origins) {
        at.start = sc_view_from(v, start).start;
        at.end = sc_view_from(v, stop - 1).end;
        if (w->t->trim.on)
            sc_count_spaces(w->t->unicode, sc_span(v->p + start, stop - start), &at.lead, &at.trail);
    }
    sc_tokens_push(w, id, at);
}

static void piece(struct sc_work *w, struct sc_view v, bool normal);

/* Cuts the matcher's tokens out of the text; what lies between goes on as a piece. */
static void cut_added(struct sc_work *w, const struct sc_matcher *m, struct sc_view v, bool normal)
{
    struct sc_span s = sc_span(v.p, v.n);
    size_t pos = 0, done = 0, start, stop, space_end = 0;
    uint32_t index;
    while (!w->out->full && !w->inexact && find_added(w, m, s, &pos, &index, &start, &stop)) {
        const struct sc_added *a = &w->t->added[index];
        if (a->lstrip)
            start = SC_MAX(space_before(w, s, start, SC_MIN(done, start)), done);
        if (a->rstrip) {
            /* Blanks that a token before took already are not passed twice: time stays linear. */
            stop = space_end = space_behind(w, s, SC_MAX(stop, space_end));
        }
        if (done < start)
            piece(w, sc_view_sub(&v, done, start), normal);
        if (w->out->full || w->inexact)
            return;
        push_added(w, a->id, &v, start, stop);
        done = stop;
    }
    if (!w->out->full && !w->inexact && done < v.n)
        piece(w, sc_view_sub(&v, done, v.n), normal);
}

/* A piece between added tokens: of the text as it came, or of the normalised text. */
static void piece(struct sc_work *w, struct sc_view v, bool normal)
{
    const struct sc_tokenizer *t = w->t;
    if (t->bert && !w->track) {
        sc_bert(w, sc_span(v.p, v.n), v.base);
        return;
    }
    if (!normal) {
        v = sc_normalize(w, v);
        if (t->normalized.n) {
            cut_added(w, &t->normalized, v, true);
            return;
        }
    }
    sc_split_words(w, v);
}

static void tokenize(struct sc_work *w, struct sc_tokens *out, struct sc_span text)
{
    struct sc_view v = {.p = (const unsigned char *)text.p, .n = text.n};
    uint32_t keep = out->keep;
    bool left = out->left, exact = out->exact;
    /* BERT's one pass first; where it cannot say where a token comes from all steps do. */
    for (int again = 0; again < 2; again++) {
        w->out = out;
        w->word = 0;
        w->inexact = false;
        w->track = w->t->track || (w->origins && (!w->t->bert || again));
        out->n = 0;
        out->total = 0;
        out->full = keep == 0 && !exact;
        cut_added(w, &w->t->raw, v, false);
        if (!w->inexact)
            break;
    }
    if (left && out->n > keep) {
        uint32_t drop = out->n - keep;
        memmove(out->ids, out->ids + drop, keep * sizeof(*out->ids));
        if (w->origins)
            memmove(out->at, out->at + drop, keep * sizeof(*out->at));
        out->n = keep;
    }
}

/* --- encodings --- */

void sc_encoding_free(struct sc_encoding *e)
{
    free(e->ids);
    free(e->type_ids);
    free(e->origins);
    sc_work_del(e->work);
    memset(e, 0, sizeof(*e));
}

static int reserve(struct sc_encoding *e, uint32_t n, bool origins)
{
    uint32_t cap = SC_MAX(n, (uint32_t)1);
    if (!e->work && !(e->work = calloc(1, sizeof(*e->work))))
        return SC_ENOMEM;
    if (e->cap < cap) {
        uint32_t *ids = realloc(e->ids, cap * sizeof(*ids));
        if (ids)
            e->ids = ids;
        uint8_t *type_ids = realloc(e->type_ids, cap);
        if (type_ids)
            e->type_ids = type_ids;
        free(e->origins);
        e->origins = NULL;
        if (!ids || !type_ids)
            return SC_ENOMEM;
        e->cap = cap;
    }
    if (origins && !e->origins)
        e->origins = malloc(e->cap * sizeof(*e->origins));
    return origins && !e->origins ? SC_ENOMEM : 0;
}

/* Shortens what is kept of both to `most` together as the package's LongestFirst does: the longer one first.
 */
static void longest_first(uint64_t a, uint64_t b, uint32_t most, uint32_t *keep_a, uint32_t *keep_b)
{
    uint64_t less = SC_MIN(a, b), more;
    more = less > most ? less : SC_MAX(less, most - less);
    if (less + more > most) {
        less = most / 2;
        more = less + most % 2;
    }
    *keep_a = (uint32_t)(a > b ? more : less);
    *keep_b = (uint32_t)(a > b ? less : more);
}

/* A stretch of a sequence's tokens. */
struct part {
    const struct sc_tokens *tokens;
    uint32_t first, n;
};

static struct part keep_part(const struct sc_tokens *o, uint32_t keep)
{
    uint32_t n = SC_MIN(o->n, keep);
    return (struct part){.tokens = o, .first = o->left ? o->n - n : 0, .n = n};
}

/* Bytes to characters for places that mostly go up. */
struct counter {
    struct sc_span text;
    uint32_t byte, chars;
};

static uint32_t chars_before(struct counter *c, uint32_t byte)
{
    byte = (uint32_t)SC_MIN(byte, c->text.n);
    for (; c->byte < byte; c->byte++)
        c->chars += ((unsigned char)c->text.p[c->byte] & 0xC0) != 0x80;
    for (; c->byte > byte; c->byte--)
        c->chars -= ((unsigned char)c->text.p[c->byte - 1] & 0xC0) != 0x80;
    return c->chars;
}

/* The byte of the `chars`-th character, near where the counter is. */
static uint32_t byte_of(struct counter *c, uint32_t chars)
{
    while (c->chars < chars && c->byte < c->text.n)
        c->chars += ((unsigned char)c->text.p[c->byte++] & 0xC0) != 0x80;
    while (c->byte < c->text.n && ((unsigned char)c->text.p[c->byte] & 0xC0) == 0x80)
        c->byte++;
    while (c->chars > chars)
        c->chars -= ((unsigned char)c->text.p[--c->byte] & 0xC0) != 0x80;
    return c->byte;
}

/* Takes white space that belongs to the token but not to the word out of its place, as ByteLevel does. */
static void trim(const struct sc_trim *how, const struct sc_token *at, bool first, struct counter *c,
                 struct sc_origin *o)
{
    uint32_t lead = at->lead;
    if (lead && how->prefix_space && (first || o->chars.start == 0))
        lead = lead == 1 ? 0 : lead;
    if (lead)
        o->chars.start = SC_MIN(o->chars.start + lead, o->chars.end);
    if (at->trail && o->chars.end >= at->trail)
        o->chars.end = SC_MAX(o->chars.end - at->trail, o->chars.start);
    o->bytes.start = byte_of(c, o->chars.start);
    o->bytes.end = byte_of(c, o->chars.end);
}

static void set_origins(const struct sc_tokenizer *t, const struct part *from, struct sc_span text,
                        uint8_t sequence, struct sc_origin *to)
{
    struct counter c = {.text = text};
    for (uint32_t i = 0; i < from->n; i++) {
        const struct sc_token *at = &from->tokens->at[from->first + i];
        struct sc_origin *o = &to[i];
        *o = (struct sc_origin){.bytes = {at->start, at->end}, .word = at->word, .sequence = sequence};
        o->chars.start = chars_before(&c, at->start);
        o->chars.end = chars_before(&c, at->end);
        if (t->trim.on && (at->lead || at->trail))
            trim(&t->trim, at, i == 0, &c, o);
    }
}

static void assemble(const struct sc_tokenizer *tok, const struct sc_work *w, const struct part parts[2],
                     struct sc_encoding *e)
{
    const struct sc_template *t = w->template;
    uint32_t n = 0;
    e->sequences[0] = e->sequences[1] = (struct sc_range){0, 0};
    for (uint32_t i = 0; i < t->n; i++) {
        const struct sc_piece *p = &t->pieces[i];
        if (p->kind == SC_PIECE_ID) {
            if (w->no_specials)
                continue;
            e->ids[n] = p->id;
            if (w->origins)
                e->origins[n] = (struct sc_origin){.word = SC_NO_WORD, .sequence = SC_NO_SEQUENCE};
            e->type_ids[n++] = p->type_id;
            continue;
        }
        uint8_t sequence = p->kind == SC_PIECE_B;
        const struct part *from = &parts[sequence];
        if (from->n)
            memcpy(e->ids + n, from->tokens->ids + from->first, from->n * sizeof(*e->ids));
        memset(e->type_ids + n, p->type_id, from->n);
        if (w->origins)
            set_origins(tok, from, w->texts[sequence], sequence, e->origins + n);
        e->sequences[sequence] = (struct sc_range){n, n + from->n};
        n += from->n;
    }
    e->n = n;
}

/* What both ways to encode begin with: checks, buffers, how many ids there is room for. */
static int begin(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                 const struct sc_encode_options *o, struct sc_encoding *e, uint32_t *room)
{
    e->n = 0;
    e->sequences[0] = e->sequences[1] = (struct sc_range){0, 0};
    if (!sc_utf8_valid(text) || (pair.p && !sc_utf8_valid(pair)))
        return SC_EINVAL;
    if (text.n > SC_TOKENIZER_TEXT_MAX || pair.n > SC_TOKENIZER_TEXT_MAX)
        return SC_ELIMIT;
    const struct sc_template *template = pair.p ? &t->pair : &t->single;
    uint32_t most = o->max_length ? SC_MIN(o->max_length, t->max_length) : t->max_length,
             specials = o->no_specials ? 0 : template->specials;
    if (most <= specials)
        return SC_ELIMIT;
    int rc = reserve(e, most, o->origins);
    if (rc)
        return rc;
    struct sc_work *w = e->work;
    w->t = t;
    w->origins = o->origins;
    w->failed = 0;
    w->template = template;
    w->texts[0] = text;
    w->texts[1] = pair;
    w->no_specials = o->no_specials;
    *room = most - specials;
    return 0;
}

static enum sc_truncation truncation_of(const struct sc_tokenizer *t, const struct sc_encode_options *o,
                                        bool pair)
{
    enum sc_truncation way = o->truncation == SC_TRUNCATE_DEFAULT ? t->truncation : o->truncation;
    /* There is nothing else to shorten. */
    return !pair ? SC_TRUNCATE_FIRST : way == SC_TRUNCATE_DEFAULT ? SC_TRUNCATE_LONGEST : way;
}

int sc_tokenizer_encode_with(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                             const struct sc_encode_options *o, struct sc_encoding *e)
{
    uint32_t room = 0;
    int rc = begin(t, text, pair, o, e, &room);
    if (rc)
        return rc;
    struct sc_work *w = e->work;
    struct sc_tokens *a = &w->seq[0], *b = &w->seq[1];
    enum sc_truncation way = truncation_of(t, o, pair.p != NULL);
    a->keep = b->keep = room;
    a->left = b->left = t->truncate_left;
    /* Which of a pair is longer has to be known to the last id only where an odd one is left over. */
    a->exact = b->exact = pair.p && (way != SC_TRUNCATE_LONGEST || room % 2);
    b->n = 0;
    b->total = 0;
    tokenize(w, a, text);
    if (pair.p)
        tokenize(w, b, pair);
    uint32_t keep_a = room, keep_b = room;
    if (pair.p && a->total + b->total > room) {
        if (way == SC_TRUNCATE_LONGEST) {
            longest_first(a->total, b->total, room, &keep_a, &keep_b);
        } else {
            uint64_t other = way == SC_TRUNCATE_FIRST ? b->total : a->total;
            if (other >= room)
                return SC_ELIMIT;
            *(way == SC_TRUNCATE_FIRST ? &keep_a : &keep_b) = room - (uint32_t)other;
        }
    }
    struct part parts[2] = {keep_part(a, keep_a), keep_part(b, keep_b)};
    rc = w->failed;
    if (!rc)
        assemble(t, w, parts, e);
    sc_work_trim(w);
    return rc;
}

int sc_tokenizer_encode(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                        struct sc_encoding *e)
{
    static const struct sc_encode_options none;
    return sc_tokenizer_encode_with(t, text, pair, &none, e);
}

/* --- windows --- */

void sc_tokenizer_window(const struct sc_tokenizer *t, struct sc_encoding *e, uint32_t k)
{
    struct sc_work *w = e->work;
    struct part parts[2];
    for (uint32_t i = 0; i < 2; i++)
        parts[i] = (struct part){.tokens = &w->seq[i], .n = w->seq[i].n};
    struct part *cut = &parts[w->windowed];
    uint32_t n = cut->n, past = k * w->step;
    if (cut->tokens->left) {
        uint32_t stop = n - SC_MIN(past, n);
        cut->first = stop - SC_MIN(stop, w->room);
        cut->n = stop - cut->first;
    } else {
        cut->first = SC_MIN(past, n);
        cut->n = SC_MIN(w->room, n - cut->first);
    }
    assemble(t, w, parts, e);
}

int sc_tokenizer_windows(const struct sc_tokenizer *t, struct sc_span text, struct sc_span pair,
                         const struct sc_encode_options *o, struct sc_encoding *e, uint32_t *n)
{
    uint32_t room = 0;
    enum sc_truncation way = truncation_of(t, o, pair.p != NULL);
    if (way == SC_TRUNCATE_LONGEST)
        return SC_EUNSUPPORTED;
    int rc = begin(t, text, pair, o, e, &room);
    if (rc)
        return rc;
    struct sc_work *w = e->work;
    w->windowed = way == SC_TRUNCATE_SECOND;
    for (uint32_t i = 0; i < 2; i++) {
        struct sc_tokens *s = &w->seq[i];
        s->keep = UINT32_MAX;
        s->left = s->exact = false;
        s->n = 0;
        s->total = 0;
        if (w->texts[i].p || i == 0)
            tokenize(w, s, w->texts[i]);
        s->left = t->truncate_left;
    }
    rc = w->failed;
    uint32_t other = w->seq[!w->windowed].n, all = w->seq[w->windowed].n;
    /* What fits needs no room kept for a stride. */
    bool fits = (uint64_t)other + all <= room;
    w->room = fits ? all : room - SC_MIN(other, room);
    if (!rc && !fits && w->room <= o->stride)
        rc = SC_ELIMIT;
    sc_work_trim(w);
    if (rc)
        return rc;
    w->step = fits ? SC_MAX(all, (uint32_t)1) : w->room - o->stride;
    *n = fits ? 1 : (all - w->room + w->step - 1) / w->step + 1;
    sc_tokenizer_window(t, e, 0);
    return 0;
}
