/*
 * NFD, NFKD, NFC and NFKC.
 *
 * Each character carries whether it takes the place of one of the text or is new, as the package counts it:
 * marks that change places keep that, and so the places that tokens are said to come from stay the package's.
 */
#include "tokenizer/internal.h"

struct former {
    struct sc_work *w;
    struct sc_writer out;
    bool compose;
    /* The character that what follows may compose with, and what came behind it without doing so. */
    bool have;
    struct sc_form composee;
    size_t held;         /* in w->forms, from the front */
    uint32_t last_class; /* of the last held one; 0 if none is held */
    /* Marks that wait for the end of their run: in w->forms behind those held. */
    size_t pending;
};

static void emit(struct former *f, struct sc_form c)
{
    sc_writer_put(&f->out, c.c, c.change);
}

static void flush_held(struct former *f)
{
    for (size_t i = 0; i < f->held; i++)
        emit(f, f->w->forms[i]);
    f->held = 0;
    f->last_class = 0;
}

/* A character of the decomposed text, in its final order. */
static void compose(struct former *f, struct sc_form c)
{
    if (!f->have) {
        if (c.class) {
            emit(f, c);
            return;
        }
        f->composee = c;
        f->have = true;
        return;
    }
    bool blocked = f->held && f->last_class >= c.class;
    if (!blocked) {
        uint32_t made = sc_unicode_compose(f->composee.c, c.c);
        if (made) {
            f->composee.c = made;
            f->composee.change += c.change - 1;
            return;
        }
    }
    if (c.class == 0) {
        emit(f, f->composee);
        flush_held(f);
        f->composee = c;
        return;
    }
    /* Its own place, or one of a mark before it, in the run that is being handed on. */
    f->w->forms[f->held++] = c;
    f->last_class = c.class;
}

/* Sorts the n forms of `run` by ascending class, equals in their order, into `to`. */
static void sort_run(const struct sc_form *run, size_t n, struct sc_form *to)
{
    size_t places[256] = {0}, at = 0;
    for (size_t i = 0; i < n; i++)
        places[run[i].class]++;
    for (size_t class = 0; class < SC_COUNT(places); class ++) {
        size_t count = places[class];
        places[class] = at;
        at += count;
    }
    for (size_t i = 0; i < n; i++)
        to[places[run[i].class]++] = run[i];
}

/* Hands on the pending marks in canonical order. */
static void end_run(struct former *f)
{
    struct sc_work *w = f->w;
    size_t n = f->pending, first = w->n_forms - n;
    f->pending = 0;
    if (!n)
        return;
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = w->forms[first + i - 1].class <= w->forms[first + i].class;
    if (!sorted) {
        /* Behind the run, because compose() holds marks where the run lies. */
        if (!sc_work_room(w, &w->forms, &w->forms_cap, first + 2 * n, sizeof(*w->forms)))
            return;
        sort_run(w->forms + first, n, w->forms + first + n);
        first += n;
    }
    for (size_t i = 0; i < n; i++) {
        struct sc_form c = w->forms[first + i];
        if (f->compose)
            compose(f, c);
        else
            emit(f, c);
    }
}

static void take(struct former *f, struct sc_form c)
{
    struct sc_work *w = f->w;
    if (c.class == 0) {
        end_run(f);
        if (f->compose)
            compose(f, c);
        else
            emit(f, c);
        return;
    }
    if (f->pending == 0)
        w->n_forms = f->held;
    if (!sc_work_room(w, &w->forms, &w->forms_cap, w->n_forms + 1, sizeof(*w->forms)))
        return;
    w->forms[w->n_forms++] = c;
    f->pending++;
}

bool sc_normalize_form(struct sc_work *w, enum sc_normalizer_kind kind, const struct sc_view *in,
                       struct sc_text *to)
{
    bool compatible = kind == SC_NORMALIZER_NFKC || kind == SC_NORMALIZER_NFKD;
    bool composed = kind == SC_NORMALIZER_NFC || kind == SC_NORMALIZER_NFKC;
    uint32_t maybe = composed     ? compatible ? SC_NFKC_MAYBE : SC_NFC_MAYBE
                     : compatible ? SC_NFKD_MAYBE
                                  : SC_NFD_MAYBE;
    const unsigned char *p = in->p, *end = p + in->n, *quiet = p;
    unsigned n;
    for (; p < end; p += n)
        if (*p < 0x80)
            n = 1;
        else if (sc_unicode_entry(w->t->unicode, sc_utf8_get(p, &n)) & maybe)
            break;
    if (p == end)
        return false;
    /* What is behind it may compose with the last character that does not change. */
    while (composed && p > quiet && (*--p & 0xC0) == 0x80)
        ;
    if (!sc_text_room(w, to, in->n + in->n / 2))
        return true;
    struct former f = {.w = w, .out = {.w = w, .to = to, .in = in}, .compose = composed};
    w->n_forms = 0;
    sc_writer_copy(&f.out, in->p, (size_t)(p - in->p));
    while (p < end) {
        uint32_t c = sc_utf8_get(p, &n), entry = sc_unicode_entry(w->t->unicode, c), form[SC_FORM_MAX];
        unsigned count = sc_unicode_decompose(entry, c, compatible, form);
        for (unsigned i = 0; i < count; i++)
            take(&f, (struct sc_form){.c = form[i],
                                      .change = i > 0,
                                      .class = SC_CHAR_CLASS(sc_unicode_entry(w->t->unicode, form[i]))});
        p += n;
    }
    end_run(&f);
    if (f.have)
        emit(&f, f.composee);
    flush_held(&f);
    return true;
}
