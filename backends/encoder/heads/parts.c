/* The texts of a long request, tokenised in parts by as many threads as have time, and put together again. */
#include <stdlib.h>

#include "base/array.h"
#include "heads/heads_parts.h"

/* What is tokenised in well under a millisecond, and what is worth to be divided: bytes and texts. */
#define PART_BYTES (8u << 10)
#define PART_TEXTS 256u
#define LEAST_BYTES (32u << 10)

struct part {
    uint32_t first, end; /* texts */
    struct sc_run *run;
    int rc;
    struct sc_msg msg;
};

struct parts {
    const struct sc_heads *h;
    const struct sc_run *whole;
    struct part *part;
    uint32_t n;
};

static size_t bytes_of(const struct sc_text *t)
{
    return t->text.n + t->pair.n;
}

bool sc_heads_divides(const struct sc_heads *h, const struct sc_run *w)
{
    size_t bytes = 0;
    for (uint32_t i = 0; h->spread.fn && h->head->divides && i < w->in.n && bytes < LEAST_BYTES; i++)
        bytes += bytes_of(&w->in.texts[i]);
    return bytes >= LEAST_BYTES && w->in.n > 1;
}

/* A text at least in each. */
static uint32_t divide(const struct sc_input *in, struct part *part)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n; n++) {
        uint32_t first = i;
        size_t bytes = 0;
        while (i < in->n && bytes < PART_BYTES && i - first < PART_TEXTS)
            bytes += bytes_of(&in->texts[i++]);
        if (part)
            part[n] = (struct part){.first = first, .end = i};
    }
    return n;
}

static void prepare_part(void *arg, uint32_t i)
{
    const struct parts *all = arg;
    const struct sc_heads *h = all->h;
    struct part *p = &all->part[i];
    p->run = sc_run_new(all->whole->form);
    if (!p->run) {
        p->rc = sc_fail(&p->msg, SC_ENOMEM, "No memory for the texts of this request");
        return;
    }
    struct sc_encoding e = h->spread.take(h->spread.ctx);
    p->run->in = all->whole->in; /* borrowed, until it is put together */
    p->run->in.n = p->end;
    p->run->first = p->first;
    p->rc = h->head->prepare(h, p->run, &e, &p->msg);
    h->spread.give(h->spread.ctx, e);
}

static int append(struct sc_run *w, const struct sc_run *part)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < part->n; i++) {
        uint32_t at = part->begin[i];
        const struct sc_encoding e = {.ids = part->ids + at,
                                      .type_ids = part->types + at,
                                      .origins = part->origins ? part->origins + at : NULL,
                                      .n = part->begin[i + 1] - at};
        rc = sc_run_add(w, &e, part->sequence[i].text, part->origins != NULL);
        if (rc == 0) {
            w->sequence[w->n - 1].tokens = part->sequence[i].tokens;
            w->sequence[w->n - 1].skip = part->sequence[i].skip;
        }
    }
    return rc;
}

int sc_heads_prepare_parts(const struct sc_heads *h, struct sc_run *w, struct sc_msg *msg)
{
    struct parts all = {.h = h, .whole = w, .n = divide(&w->in, NULL)};
    int rc = 0;
    all.part = calloc(all.n, sizeof *all.part);
    if (!all.part)
        return sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
    divide(&w->in, all.part);
    h->spread.fn(h->spread.ctx, all.n, prepare_part, &all);
    for (uint32_t i = 0; i < all.n; i++) {
        struct part *p = &all.part[i];
        if (rc == 0 && p->rc < 0)
            rc = sc_fail(msg, p->rc, "%s", p->msg.text); /* the first text that is wrong */
        if (rc == 0 && append(w, p->run) < 0)
            rc = sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
        if (p->run)
            p->run->in = (struct sc_input){0};
        sc_run_del(p->run);
    }
    free(all.part);
    if (rc == 0 && w->n > w->in.n && w->n > h->max_texts)
        rc = sc_fail(
            msg, SC_ELIMIT,
            "The texts of this request make more than %u windows: send them in several, or raise the model's "
            "setting maxTexts",
            h->max_texts);
    return rc;
}
