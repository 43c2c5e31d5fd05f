#include "heads/entities.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/error.h"
#include "heads/score.h"

bool sc_aggregation_read(struct sc_span name, enum sc_aggregation *out)
{
    static const struct {
        struct sc_span name;
        enum sc_aggregation how;
    } known[] = {{SC_SPAN("none"), SC_AGGREGATE_NONE},
                 {SC_SPAN("simple"), SC_AGGREGATE_SIMPLE},
                 {SC_SPAN("first"), SC_AGGREGATE_FIRST},
                 {SC_SPAN("average"), SC_AGGREGATE_AVERAGE},
                 {SC_SPAN("max"), SC_AGGREGATE_MAX}};
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (sc_span_eq_nocase(name, known[i].name)) {
            *out = known[i].how;
            return true;
        }
    return false;
}

static struct sc_span behind(struct sc_span s, size_t n)
{
    return sc_span_sub(s, n, s.n);
}

/* A label without B- or I-. */
static struct sc_span tag_of(const char *label, bool *begins)
{
    struct sc_span s = sc_span_str(label);
    *begins = sc_span_starts(s, SC_SPAN("B-"));
    return *begins || sc_span_starts(s, SC_SPAN("I-")) ? behind(s, 2) : s;
}

struct named {
    struct sc_span tag;
    uint32_t label;
};

static int by_tag(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int c = memcmp(x->tag.p, y->tag.p, SC_MIN(x->tag.n, y->tag.n));
    return c ? c : x->tag.n < y->tag.n ? -1 : x->tag.n > y->tag.n;
}

int sc_tags_init(struct sc_tags *t, char *const *labels, uint32_t n)
{
    struct named *sorted = calloc(SC_MAX(n, 1u), sizeof *sorted);
    *t = (struct sc_tags){.n = n, .tag = calloc(SC_MAX(n, 1u), sizeof *t->tag)};
    if (!t->tag || !sorted) {
        free(sorted);
        sc_tags_free(t);
        return SC_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct sc_span label = sc_span_str(labels[i]);
        size_t dash = sc_span_find(label, '-');
        sorted[i] = (struct named){tag_of(labels[i], &t->tag[i].begins), i};
        t->tag[i].group = dash < label.n ? behind(label, dash + 1) : label;
    }
    qsort(sorted, n, sizeof *sorted, by_tag);
    for (uint32_t i = 0, first = 0; i < n; i++) {
        if (!sc_span_eq(sorted[i].tag, sorted[first].tag))
            first = i;
        t->tag[sorted[i].label].same = first;
    }
    free(sorted);
    return 0;
}

void sc_tags_free(struct sc_tags *t)
{
    free(t->tag);
    *t = (struct sc_tags){0};
}

/* The label of a word of tokens [first, last]. */
static struct sc_entity word(const struct sc_tags *t, enum sc_aggregation how, float *rows, uint32_t first,
                             uint32_t last)
{
    uint32_t chosen = first;
    float *row = rows + (size_t)first * t->n;
    if (how == SC_AGGREGATE_MAX) {
        float best = row[sc_best(row, t->n)];
        for (uint32_t i = first + 1; i <= last; i++) {
            const float *other = rows + (size_t)i * t->n;
            float score = other[sc_best(other, t->n)];
            if (score > best) {
                best = score;
                chosen = i;
            }
        }
    } else if (how == SC_AGGREGATE_AVERAGE && last > first) {
        for (uint32_t i = first + 1; i <= last; i++)
            for (uint32_t k = 0; k < t->n; k++)
                row[k] += rows[(size_t)i * t->n + k];
        for (uint32_t k = 0; k < t->n; k++)
            row[k] /= (float)(last - first + 1);
    }
    row = rows + (size_t)chosen * t->n;
    uint32_t label = sc_best(row, t->n);
    return (struct sc_entity){.label = label, .score = row[label], .first = first, .last = last};
}

/* Joins neighbours in place. */
static uint32_t group(const struct sc_tags *t, struct sc_entity *e, uint32_t n)
{
    uint32_t made = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t k = i + 1;
        double sum = e[i].score;
        while (k < n && t->tag[e[k].label].same == t->tag[e[k - 1].label].same && !t->tag[e[k].label].begins)
            sum += e[k++].score;
        e[made++] = (struct sc_entity){
            .label = e[i].label, .score = (float)(sum / (k - i)), .first = e[i].first, .last = e[k - 1].last};
        i = k;
    }
    return made;
}

uint32_t sc_entities_find(const struct sc_tags *t, enum sc_aggregation how, float *rows, const bool *subword,
                          uint32_t n, struct sc_entity *out)
{
    uint32_t made = 0;
    for (uint32_t i = 0; i < n; i++)
        sc_softmax(rows + (size_t)i * t->n, t->n);
    for (uint32_t i = 0; i < n;) {
        uint32_t end = i + 1;
        while (how > SC_AGGREGATE_SIMPLE && end < n && subword[end])
            end++;
        out[made++] = word(t, how, rows, i, end - 1);
        i = end;
    }
    return how == SC_AGGREGATE_NONE ? made : group(t, out, made);
}

static int by_start(const void *a, const void *b)
{
    const struct sc_entity_place *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->entity < y->entity ? -1 : x->entity > y->entity;
}

uint32_t sc_entities_merge(struct sc_entity_place *p, uint32_t n)
{
    if (n == 0)
        return 0;
    qsort(p, n, sizeof *p, by_start);
    uint32_t kept = 0;
    struct sc_entity_place last = p[0];
    for (uint32_t i = 1; i < n; i++) {
        if (p[i].start < last.end) {
            uint32_t length = p[i].end - p[i].start, longest = last.end - last.start;
            if (length > longest || (length == longest && p[i].score > last.score))
                last = p[i];
        } else {
            p[kept++] = last;
            last = p[i];
        }
    }
    p[kept++] = last;
    return kept;
}
