#include "heads/run.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/limits.h"

struct sc_run *sc_run_new(enum sc_form form)
{
    struct sc_run *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->form = form;
    sc_buf_init(&w->answer, SC_ENCODER_ANSWER_BYTES);
    return w;
}

void sc_run_del(struct sc_run *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; w->answers && i < w->n; i++)
        sc_answers_free(&w->answers[i]);
    free(w->answers);
    free(w->sequence);
    free(w->begin);
    free(w->ids);
    free(w->types);
    free(w->origins);
    free(w->picks);
    free(w->targets);
    free(w->kept);
    free(w->ranked);
    free(w->entities);
    free(w->entities_n);
    sc_buf_free(&w->answer);
    sc_input_free(&w->in);
    free(w);
}

/* *p for `cap` elements of `size` bytes. */
static int resize(void *p, uint32_t cap, size_t size)
{
    void **array = p;
    void *more = realloc(*array, cap * size);
    if (!more)
        return SC_ENOMEM;
    *array = more;
    return 0;
}

/* Exact for the first text, which mostly is the only one. */
static uint32_t larger(uint32_t cap, uint32_t need)
{
    return SC_MAX(need, cap > UINT32_MAX / 8 ? cap : 2 * cap);
}

static int room(struct sc_run *w, uint32_t tokens, bool origins)
{
    uint32_t have = sc_run_tokens(w);
    if (tokens > UINT32_MAX / 8 - have || w->n >= UINT32_MAX / 8)
        return SC_ELIMIT;
    if (w->n == w->sequence_cap) {
        uint32_t cap = SC_MAX(larger(w->sequence_cap, w->n + 1), w->in.n);
        if (resize(&w->sequence, cap, sizeof *w->sequence) < 0 ||
            resize(&w->begin, cap + 1, sizeof *w->begin) < 0)
            return SC_ENOMEM;
        w->sequence_cap = cap;
        w->begin[0] = 0;
    }
    if (have + tokens <= w->token_cap)
        return 0;
    uint32_t cap = larger(w->token_cap, have + tokens);
    if (resize(&w->ids, cap, sizeof *w->ids) < 0 || resize(&w->types, cap, sizeof *w->types) < 0 ||
        (origins && resize(&w->origins, cap, sizeof *w->origins) < 0))
        return SC_ENOMEM;
    w->token_cap = cap;
    return 0;
}

int sc_run_add(struct sc_run *w, const struct sc_encoding *e, uint32_t text, bool origins)
{
    int rc = room(w, e->n, origins);
    if (rc < 0)
        return rc;
    uint32_t at = w->begin[w->n];
    memcpy(w->ids + at, e->ids, e->n * sizeof *e->ids);
    memcpy(w->types + at, e->type_ids, e->n);
    if (origins)
        memcpy(w->origins + at, e->origins, e->n * sizeof *e->origins);
    w->sequence[w->n] = (struct sc_sequence){.text = text, .picks = w->picks_n, .tokens = e->sequences[0]};
    w->begin[++w->n] = at + e->n;
    return 0;
}

int sc_run_pad(struct sc_run *w, uint32_t length, uint32_t id)
{
    uint32_t end = w->begin[w->n], have = end - w->begin[w->n - 1], more = length > have ? length - have : 0;
    int rc = more ? room(w, more, w->origins != NULL) : 0;
    if (rc < 0 || !more)
        return rc;
    for (uint32_t i = 0; i < more; i++)
        w->ids[end + i] = id;
    memset(w->types + end, 0, more);
    if (w->origins)
        memset(w->origins + end, 0, more * sizeof *w->origins);
    w->sequence[w->n - 1].keys = have;
    w->begin[w->n] = end + more;
    return 0;
}

int sc_run_pick(struct sc_run *w, uint32_t place)
{
    if (w->picks_n == w->picks_cap) {
        uint32_t cap = larger(w->picks_cap, w->picks_n + 1);
        if (resize(&w->picks, cap, sizeof *w->picks) < 0)
            return SC_ENOMEM;
        w->picks_cap = cap;
    }
    w->picks[w->picks_n++] = place;
    return 0;
}
