/* Views of text, and texts that are written character by character. */
#include <stdlib.h>

#include "tokenizer/internal.h"

struct sc_range sc_view_from(const struct sc_view *v, size_t i)
{
    if (v->n == 0)
        return (struct sc_range){v->base, v->base};
    i = SC_MIN(i, v->n - 1);
    if (v->from)
        return v->from[i];
    size_t start = i, end = i + 1;
    while (start > 0 && (v->p[start] & 0xC0) == 0x80)
        start--;
    while (end < v->n && (v->p[end] & 0xC0) == 0x80)
        end++;
    return (struct sc_range){v->base + (uint32_t)start, v->base + (uint32_t)end};
}

struct sc_view sc_view_sub(const struct sc_view *v, size_t start, size_t end)
{
    return (struct sc_view){.p = v->p + start,
                            .n = end - start,
                            .from = v->from ? v->from + start : NULL,
                            .base = v->base + (uint32_t)start};
}

bool sc_text_room(struct sc_work *w, struct sc_text *to, size_t more)
{
    if (to->n + more > to->cap && !sc_work_room(w, &to->p, &to->cap, to->n + more, 1))
        return false;
    return !w->track || to->n + more <= to->from_cap ||
           sc_work_room(w, &to->from, &to->from_cap, to->n + more, sizeof(*to->from));
}

struct sc_view sc_text_view(const struct sc_work *w, const struct sc_text *t)
{
    return (struct sc_view){.p = t->p, .n = t->n, .from = w->track ? t->from : NULL};
}

/* Passes the next character of `in`. */
static void consume(struct sc_writer *o)
{
    const struct sc_view *in = o->in;
    if (o->at < in->n)
        o->at++;
    while (o->at < in->n && (in->p[o->at] & 0xC0) == 0x80)
        o->at++;
}

void sc_writer_put(struct sc_writer *o, uint32_t c, int32_t change)
{
    struct sc_text *to = o->to;
    if (!sc_text_room(o->w, to, 4))
        return;
    unsigned n = sc_utf8_put((char *)to->p + to->n, c);
    if (o->w->track) {
        struct sc_range from;
        if (change <= 0)
            from = sc_view_from(o->in, o->at);
        else if (o->at)
            from = sc_view_from(o->in, o->at - 1);
        else
            from = (struct sc_range){sc_view_from(o->in, 0).start, sc_view_from(o->in, 0).start};
        for (unsigned i = 0; i < n; i++)
            to->from[to->n + i] = from;
        for (; change <= 0; change++)
            consume(o);
    }
    to->n += n;
}

void sc_writer_copy(struct sc_writer *o, const unsigned char *p, size_t n)
{
    struct sc_text *to = o->to;
    if (!n || !sc_text_room(o->w, to, n))
        return;
    memcpy(to->p + to->n, p, n);
    if (o->w->track) {
        /* Position counts: after marks changed places this need not be where p lies. */
        if (o->in->from && o->in->n - o->at >= n && o->in->p + o->at == p) {
            memcpy(to->from + to->n, o->in->from + o->at, n * sizeof(*to->from));
            o->at += n;
        } else {
            for (size_t i = 0; i < n; i++) {
                if ((p[i] & 0xC0) != 0x80 && i)
                    consume(o);
                to->from[to->n + i] = sc_view_from(o->in, o->at);
            }
            consume(o);
        }
    }
    to->n += n;
}

void sc_writer_skip(struct sc_writer *o, size_t n)
{
    for (; o->w->track && n; n--)
        consume(o);
}
