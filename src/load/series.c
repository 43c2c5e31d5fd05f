#include "load/series.h"

#include <string.h>

void sc_series_init(struct sc_series *s)
{
    memset(s, 0, sizeof *s);
    s->width = SC_SERIES_FIRST_NS;
}

static void add(struct sc_series_point *to, const struct sc_series_point *p)
{
    to->good += p->good;
    to->failed += p->failed;
    to->sum += p->sum;
    if (p->max > to->max)
        to->max = p->max;
}

static void widen(struct sc_series *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct sc_series_point p = s->point[i];
        s->point[i] = (struct sc_series_point){0};
        add(&s->point[i / 2], &p);
    }
    s->n = (s->n + 1) / 2;
    s->width *= 2;
}

static struct sc_series_point *at(struct sc_series *s, int64_t t)
{
    while ((t < 0 ? 0 : t) / s->width >= SC_SERIES_POINTS)
        widen(s);
    unsigned i = t < 0 ? 0 : (unsigned)(t / s->width);
    if (i >= s->n)
        s->n = i + 1;
    return &s->point[i];
}

void sc_series_good(struct sc_series *s, int64_t t, int64_t latency)
{
    uint64_t v = latency < 0 ? 0 : (uint64_t)latency;
    add(at(s, t), &(struct sc_series_point){.good = 1, .sum = v, .max = v});
}

void sc_series_failed(struct sc_series *s, int64_t t)
{
    at(s, t)->failed++;
}

void sc_series_merge(struct sc_series *s, struct sc_series *from)
{
    while (s->width < from->width)
        widen(s);
    while (from->width < s->width)
        widen(from);
    for (unsigned i = 0; i < from->n; i++)
        add(&s->point[i], &from->point[i]);
    if (from->n > s->n)
        s->n = from->n;
}
