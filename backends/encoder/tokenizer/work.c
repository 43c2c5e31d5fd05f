/* The memory that encoding works with: it grows with the longest text and shrinks behind huge ones. */
#include <stdlib.h>

#include "tokenizer/internal.h"

bool sc_work_room(struct sc_work *w, void *p, size_t *cap, size_t n, size_t size)
{
    void *old;
    memcpy(&old, p, sizeof(old));
    if (n <= *cap)
        return true;
    size_t more = SC_MAX(n, *cap * 2);
    more = SC_MAX(more, (size_t)64);
    void *grown = more <= SIZE_MAX / size ? realloc(old, more * size) : NULL;
    if (!grown) {
        w->failed = SC_ENOMEM;
        return false;
    }
    memcpy(p, &grown, sizeof(grown));
    *cap = more;
    return true;
}

static void trim(void *p, size_t *cap, size_t size)
{
    if (*cap * size <= SC_TOKENIZER_WORK_KEPT)
        return;
    void *old, *none = NULL;
    memcpy(&old, p, sizeof(old));
    free(old);
    memcpy(p, &none, sizeof(none));
    *cap = 0;
}

static void trim_text(struct sc_text *t)
{
    trim(&t->p, &t->cap, 1);
    trim(&t->from, &t->from_cap, sizeof(*t->from));
}

void sc_work_trim(struct sc_work *w)
{
    for (size_t i = 0; i < SC_COUNT(w->normal); i++)
        trim_text(&w->normal[i]);
    for (size_t i = 0; i < SC_COUNT(w->steps); i++)
        trim_text(&w->steps[i]);
    trim(&w->forms, &w->forms_cap, sizeof(*w->forms));
    trim(&w->symbols, &w->symbols_cap, sizeof(*w->symbols));
    trim(&w->heap, &w->heap_cap, sizeof(*w->heap));
    trim(&w->nodes, &w->nodes_cap, sizeof(*w->nodes));
}

void sc_work_del(struct sc_work *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < SC_COUNT(w->normal); i++) {
        free(w->normal[i].p);
        free(w->normal[i].from);
    }
    for (size_t i = 0; i < SC_COUNT(w->steps); i++) {
        free(w->steps[i].p);
        free(w->steps[i].from);
    }
    for (size_t i = 0; i < SC_COUNT(w->seq); i++) {
        free(w->seq[i].ids);
        free(w->seq[i].at);
    }
    free(w->forms);
    free(w->symbols);
    free(w->heap);
    free(w->nodes);
    free(w->bert);
    free(w->cache);
    free(w);
}

/* --- tokens --- */

/* Room for one more, which may mean that the front goes. */
static bool tokens_room(struct sc_work *w, struct sc_tokens *o)
{
    if (o->left && o->n >= 2 * (size_t)o->keep && o->n) {
        uint32_t drop = o->n - o->keep;
        memmove(o->ids, o->ids + drop, o->keep * sizeof(*o->ids));
        if (w->origins)
            memmove(o->at, o->at + drop, o->keep * sizeof(*o->at));
        o->n = o->keep;
    }
    size_t cap = o->cap, at_cap = o->at_cap;
    bool ok = sc_work_room(w, &o->ids, &cap, (size_t)o->n + 1, sizeof(*o->ids)) &&
              (!w->origins || sc_work_room(w, &o->at, &at_cap, (size_t)o->n + 1, sizeof(*o->at)));
    o->cap = (uint32_t)cap;
    o->at_cap = (uint32_t)at_cap;
    o->full |= !ok;
    return ok;
}

void sc_tokens_push(struct sc_work *w, uint32_t id, struct sc_token at)
{
    struct sc_tokens *o = w->out;
    o->total++;
    if (!o->left && o->n >= o->keep) {
        o->full = !o->exact;
        return;
    }
    if ((o->n == o->cap || (w->origins && o->n == o->at_cap) || (o->left && o->n >= 2 * (size_t)o->keep)) &&
        !tokens_room(w, o))
        return;
    o->ids[o->n] = id;
    if (w->origins)
        o->at[o->n] = at;
    o->n++;
    if (!o->left && o->n == o->keep)
        o->full = !o->exact;
}

void sc_work_push(struct sc_work *w, uint32_t id, const struct sc_view *v, size_t start, size_t end)
{
    struct sc_token at = {.word = w->word};
    if (w->origins) {
        if (start < end) {
            at.start = sc_view_from(v, start).start;
            at.end = sc_view_from(v, end - 1).end;
        } else {
            at.start = at.end = sc_view_from(v, 0).start + (uint32_t)start;
        }
        if (w->t->spaces) {
            at.lead = w->t->spaces[id] & 255;
            at.trail = w->t->spaces[id] >> 8;
        }
    }
    sc_tokens_push(w, id, at);
}
