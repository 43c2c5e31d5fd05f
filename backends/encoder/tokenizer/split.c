/*
 * The pre-tokenizers: a piece goes through them depth first, each handing what it splits off to the one
 * behind it and the last one to the model. Nothing is collected, and all ends once enough tokens are there.
 */
#include "tokenizer/internal.h"

static void step(struct sc_work *w, uint32_t at, struct sc_view v);

static void word(struct sc_work *w, struct sc_view v)
{
    switch (w->t->model) {
    case SC_MODEL_WORDPIECE: sc_wordpiece(w, &v); break;
    case SC_MODEL_BPE: sc_bpe(w, &v); break;
    case SC_MODEL_UNIGRAM: sc_unigram(w, &v); break;
    }
    w->word++;
}

static void hand_on(struct sc_work *w, uint32_t at, const struct sc_view *v, size_t start, size_t end)
{
    if (start >= end || w->out->full)
        return;
    if (at + 1 == w->t->n_splits)
        word(w, sc_view_sub(v, start, end));
    else
        step(w, at + 1, sc_view_sub(v, start, end));
}

/* --- segments: matches and what lies between them, put together as the behavior says --- */

struct segments {
    struct sc_work *w;
    uint32_t at;
    const struct sc_view *v;
    enum sc_behavior behavior;
    bool held, held_match; /* a segment that what follows may be added to */
    size_t start, end;
};

static void segments_end(struct segments *g)
{
    if (g->held)
        hand_on(g->w, g->at, g->v, g->start, g->end);
    g->held = false;
}

static void segment(struct segments *g, size_t start, size_t end, bool match)
{
    bool joins = false;
    switch (g->behavior) {
    case SC_REMOVED:
        if (!match)
            hand_on(g->w, g->at, g->v, start, end);
        return;
    case SC_ISOLATED: hand_on(g->w, g->at, g->v, start, end); return;
    case SC_CONTIGUOUS: joins = match == g->held_match; break;
    case SC_MERGED_WITH_PREVIOUS: joins = match && !g->held_match; break;
    case SC_MERGED_WITH_NEXT: joins = !match && g->held_match; break;
    }
    if (g->held && joins) {
        g->end = end;
    } else {
        segments_end(g);
        g->held = true;
        g->start = start;
        g->end = end;
    }
    g->held_match = match;
}

/* --- the steps --- */

static void split_class(struct sc_work *w, uint32_t at, const struct sc_view *v)
{
    const struct sc_split *s = &w->t->splits[at];
    struct segments g = {.w = w, .at = at, .v = v, .behavior = s->behavior};
    size_t start = 0;
    unsigned n;
    for (size_t i = 0; i < v->n && !w->out->full; i += n) {
        if (!(sc_unicode_entry(w->t->unicode, sc_utf8_get(v->p + i, &n)) & s->bits))
            continue;
        if (start < i)
            segment(&g, start, i, false);
        segment(&g, i, i + n, true);
        start = i + n;
    }
    if (start < v->n)
        segment(&g, start, v->n, false);
    segments_end(&g);
}

static void split_words(struct sc_work *w, uint32_t at, const struct sc_view *v)
{
    uint32_t kind = SC_IS_SPACE;
    size_t start = 0;
    unsigned n;
    for (size_t i = 0; i < v->n && !w->out->full; i += n) {
        uint32_t is = sc_unicode_entry(w->t->unicode, sc_utf8_get(v->p + i, &n)) & (SC_IS_WORD | SC_IS_SPACE);
        if (is == kind)
            continue;
        if (kind != SC_IS_SPACE)
            hand_on(w, at, v, start, i);
        kind = is;
        start = i;
    }
    if (kind != SC_IS_SPACE)
        hand_on(w, at, v, start, v->n);
}

static void split_pattern(struct sc_work *w, uint32_t at, const struct sc_view *v, const struct sc_pattern *p,
                          enum sc_behavior behavior, bool invert)
{
    struct segments g = {.w = w, .at = at, .v = v, .behavior = behavior};
    struct sc_span s = sc_span(v->p, v->n);
    size_t done = 0, start = 0, end;
    while (!w->out->full && sc_pattern_find(w->t->unicode, p, s, &start, &end)) {
        if (done < start)
            segment(&g, done, start, invert);
        segment(&g, start, end, !invert);
        done = start = end;
    }
    if (done < v->n)
        segment(&g, done, v->n, invert);
    segments_end(&g);
}

/* v behind `mark` in this step's own text; `blanks` become the mark too. */
static struct sc_view marked(struct sc_work *w, uint32_t at, const struct sc_view *v, struct sc_span mark,
                             bool prefix, bool blanks)
{
    struct sc_text *to = &w->steps[at];
    struct sc_writer o = {.w = w, .to = to, .in = v};
    to->n = 0;
    if (!sc_text_room(w, to, v->n + mark.n))
        return (struct sc_view){0};
    if (prefix) {
        memcpy(to->p, mark.p, mark.n);
        for (size_t i = 0; i < mark.n && w->track; i++)
            to->from[i] = sc_view_from(v, 0);
        to->n = mark.n;
    }
    for (size_t done = 0; done < v->n;) {
        const unsigned char *blank = blanks ? memchr(v->p + done, ' ', v->n - done) : NULL;
        size_t stop = blank ? (size_t)(blank - v->p) : v->n;
        sc_writer_copy(&o, v->p + done, stop - done);
        done = stop;
        if (!blank)
            break;
        unsigned n;
        sc_writer_put(&o, sc_utf8_get((const unsigned char *)mark.p, &n), 0);
        done++;
    }
    return sc_text_view(w, to);
}

static void metaspace(struct sc_work *w, uint32_t at, const struct sc_view *v)
{
    const struct sc_split *s = &w->t->splits[at];
    bool starts = sc_span_starts(sc_span(v->p, v->n), s->replacement) || *v->p == ' ';
    bool prefix = !starts && (s->prepend == SC_PREPEND_ALWAYS ||
                              (s->prepend == SC_PREPEND_FIRST && sc_view_from(v, 0).start == 0));
    struct sc_view text = *v;
    if (prefix || memchr(v->p, ' ', v->n))
        text = marked(w, at, v, s->replacement, prefix, true);
    if (s->split)
        split_pattern(w, at, &text, &s->pattern, SC_MERGED_WITH_NEXT, false);
    else
        hand_on(w, at, &text, 0, text.n);
}

static void byte_level(struct sc_work *w, uint32_t at, const struct sc_view *v)
{
    const struct sc_split *s = &w->t->splits[at];
    struct sc_view text = *v;
    if (s->prefix_space && *v->p != ' ')
        text = marked(w, at, v, SC_SPAN(" "), true, false);
    if (s->use_regex)
        split_pattern(w, at, &text, &s->pattern, SC_ISOLATED, false);
    else
        hand_on(w, at, &text, 0, text.n);
}

/* As deep as the steps are many, of which there are at most SC_TOKENIZER_STEPS_MAX. */
static void step(struct sc_work *w, uint32_t at, struct sc_view v)
{
    const struct sc_split *s = &w->t->splits[at];
    switch (s->kind) {
    case SC_SPLIT_CLASS: split_class(w, at, &v); break;
    case SC_SPLIT_WORDS: split_words(w, at, &v); break;
    case SC_SPLIT_PATTERN: split_pattern(w, at, &v, &s->pattern, s->behavior, s->invert); break;
    case SC_SPLIT_METASPACE: metaspace(w, at, &v); break;
    case SC_SPLIT_BYTE_LEVEL: byte_level(w, at, &v); break;
    }
}

void sc_split_words(struct sc_work *w, struct sc_view v)
{
    if (!v.n || w->out->full)
        return;
    if (w->t->n_splits)
        step(w, 0, v);
    else
        word(w, v);
}
