#include "heads/answers.h"

#include <math.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/error.h"
#include "heads/score.h"

void sc_answers_free(struct sc_answers *a)
{
    free(a->found);
    free(a->table);
    *a = (struct sc_answers){0};
}

/* Probabilities of column `which` over [CLS] and the context; the others' are 0. */
static void normalise(float *rows, uint32_t which, uint32_t n, uint32_t from, uint32_t to)
{
    float top = rows[which], total;
    for (uint32_t i = from; i < to; i++)
        top = fmaxf(top, rows[2 * i + which]);
    total = rows[which] = expf(rows[which] - top);
    for (uint32_t i = 1; i < n; i++) {
        bool in = i >= from && i < to;
        float *x = &rows[2 * i + which];
        *x = in ? expf(*x - top) : 0;
        total += *x;
    }
    for (uint32_t i = 0; i < n; i++)
        rows[2 * i + which] /= total;
}

static bool same_text(struct sc_span context, const struct sc_answer *a, uint32_t start, uint32_t end)
{
    return sc_span_eq_nocase(sc_span_sub(context, a->start, a->end - a->start),
                             sc_span_sub(context, start, end - start));
}

/* FNV-1a, of lower-case letters. */
static uint32_t hash_of(struct sc_span s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        h = (h ^ (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c)) * 16777619u;
    }
    return h;
}

/* The place in the table of that answer, or the empty one where it belongs. */
static uint32_t *slot_of(const struct sc_answers *a, struct sc_span context, uint32_t start, uint32_t end)
{
    uint32_t mask = 2 * a->cap - 1;
    uint32_t i = hash_of(sc_span_sub(context, start, end - start)) & mask;
    while (a->table[i] && !same_text(context, &a->found[a->table[i] - 1], start, end))
        i = (i + 1) & mask;
    return &a->table[i];
}

/* Room for one more, and a table twice as large. */
static int grow(struct sc_answers *a, struct sc_span context)
{
    if (a->n < a->cap)
        return 0;
    uint32_t cap = a->cap ? 2 * a->cap : 16;
    struct sc_answer *found = realloc(a->found, cap * sizeof *found);
    if (!found)
        return SC_ENOMEM;
    a->found = found;
    uint32_t *table = calloc(2 * (size_t)cap, sizeof *table);
    if (!table)
        return SC_ENOMEM;
    free(a->table);
    a->table = table;
    a->cap = cap;
    for (uint32_t i = 0; i < a->n; i++)
        *slot_of(a, context, found[i].start, found[i].end) = i + 1;
    return 0;
}

static int note(struct sc_answers *a, struct sc_span context, float score, uint32_t start, uint32_t end)
{
    if (grow(a, context) < 0)
        return SC_ENOMEM;
    uint32_t *slot = slot_of(a, context, start, end);
    if (*slot) {
        a->found[*slot - 1].score += score;
        return 0;
    }
    a->found[a->n++] = (struct sc_answer){score, start, end};
    *slot = a->n;
    return 0;
}

/* The best spans of a window, as a heap's worth of (score, start * n + end). */
struct spans {
    struct sc_ranked *best;
    uint32_t n, want;
};

/* Keeps the `want` best: the array is sorted each time that it has twice as many. */
static void offer(struct spans *s, float score, uint32_t index)
{
    s->best[s->n++] = (struct sc_ranked){score, index};
    if (s->n == 2 * s->want) {
        sc_rank(s->best, s->n, s->want);
        s->n = s->want;
    }
}

int sc_answers_add(struct sc_answers *a, const struct sc_answer_options *o, struct sc_span context,
                   float *rows, uint32_t n, uint32_t from, uint32_t to, const struct sc_answer_token *tokens)
{
    normalise(rows, 0, n, from, to);
    normalise(rows, 1, n, from, to);
    float null_score = rows[0] * rows[1];
    a->null_score = a->any ? fminf(a->null_score, null_score) : null_score;
    a->any = true;
    /* Some fall together when they are aligned to words. */
    uint64_t want = o->align ? 2 * (uint64_t)o->top_k + 10 : o->top_k;
    uint64_t all = (uint64_t)(to - from) * (to - from);
    struct spans s = {.want = (uint32_t)SC_MIN(SC_MIN(want, all), (uint64_t)UINT32_MAX / 4)};
    if (s.want == 0)
        return 0;
    s.best = malloc(2 * (size_t)s.want * sizeof *s.best);
    if (!s.best)
        return SC_ENOMEM;
    for (uint32_t i = from; i < to; i++)
        for (uint32_t k = i; k < to && k - i < o->max_tokens; k++)
            offer(&s, rows[2 * i] * rows[2 * k + 1], (i - from) * (to - from) + (k - from));
    sc_rank(s.best, s.n, SC_MIN(s.n, s.want));
    s.n = SC_MIN(s.n, s.want);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s.n; i++) {
        const struct sc_answer_token *x = &tokens[s.best[i].index / (to - from)];
        const struct sc_answer_token *y = &tokens[s.best[i].index % (to - from)];
        rc = o->align ? note(a, context, s.best[i].score, x->word_start, y->word_end)
                      : note(a, context, s.best[i].score, x->start, y->end);
    }
    free(s.best);
    return rc;
}

int sc_answers_join(struct sc_answers *a, struct sc_span context, const struct sc_answers *window)
{
    if (window->any)
        a->null_score = a->any ? fminf(a->null_score, window->null_score) : window->null_score;
    a->any |= window->any;
    for (uint32_t i = 0; i < window->n; i++)
        if (note(a, context, window->found[i].score, window->found[i].start, window->found[i].end) < 0)
            return SC_ENOMEM;
    return 0;
}

static int by_score(const void *a, const void *b)
{
    const struct sc_answer *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : (x->end > y->end) - (x->end < y->end);
}

int sc_answers_end(struct sc_answers *a, const struct sc_answer_options *o)
{
    if (o->impossible) {
        if (grow(a, sc_span(NULL, 0)) < 0)
            return SC_ENOMEM;
        a->found[a->n++] = (struct sc_answer){a->null_score, 0, 0};
    }
    qsort(a->found, a->n, sizeof *a->found, by_score);
    a->n = SC_MIN(a->n, o->top_k);
    return 0;
}
