#include "heads/classify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

/* {"label": , "score": -1.17549435e-38}, and brackets around it, with something to spare. */
#define ENTRY_BYTES 64

struct ranked {
    float score;
    uint32_t index;
};

static char *quote(const char *s)
{
    char *out = malloc(strlen(s) * 6 + 3), *to = out;
    if (!out)
        return NULL;
    *to++ = '"';
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = (char)c;
        } else if (c < 0x20) {
            to += snprintf(to, 7, "\\u%04x", c); /* room: six bytes a character and the quotes */
        } else {
            *to++ = (char)c;
        }
    }
    *to++ = '"';
    *to = '\0';
    return out;
}

int sc_classifier_init(struct sc_classifier *c, const struct sc_encoder_config *config)
{
    *c = (struct sc_classifier){.labels = config->labels, .scoring = config->scoring};
    c->quoted = calloc(c->labels, sizeof(*c->quoted));
    for (uint32_t i = 0; c->quoted && i < c->labels; i++) {
        c->quoted[i] = quote(config->label[i]);
        if (!c->quoted[i])
            break;
        c->longest = SC_MAX(c->longest, strlen(c->quoted[i]));
        if (i + 1 == c->labels)
            return 0;
    }
    sc_classifier_free(c);
    return SC_ENOMEM;
}

void sc_classifier_free(struct sc_classifier *c)
{
    for (uint32_t i = 0; c->quoted && i < c->labels; i++)
        free(c->quoted[i]);
    free(c->quoted);
    *c = (struct sc_classifier){0};
}

static uint32_t entries(const struct sc_classifier *c, const struct sc_classify_options *o)
{
    return o->has_top_k ? SC_MIN(o->top_k, c->labels) : 1;
}

size_t sc_classify_bound(const struct sc_classifier *c, const struct sc_classify_options *o, uint32_t n)
{
    size_t bytes;
    if (__builtin_mul_overflow((c->longest + ENTRY_BYTES) * entries(c, o) + ENTRY_BYTES, (size_t)n + 1,
                               &bytes))
        return SIZE_MAX;
    return bytes;
}

size_t sc_classify_work(const struct sc_classifier *c)
{
    return c->labels * sizeof(struct ranked);
}

static void score(enum sc_scoring scoring, float *x, uint32_t n)
{
    if (scoring == SC_SCORE_NONE)
        return;
    float top = x[0], total = 0;
    for (uint32_t i = 1; i < n; i++)
        top = fmaxf(top, x[i]);
    for (uint32_t i = 0; i < n; i++) {
        x[i] = scoring == SC_SCORE_SIGMOID ? 1.0f / (1.0f + expf(-x[i])) : expf(x[i] - top);
        total += x[i];
    }
    for (uint32_t i = 0; scoring == SC_SCORE_SOFTMAX && i < n; i++)
        x[i] /= total;
}

/* Best first; equals in the order of their labels, as Python's sort leaves them. */
static int better(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static char *put(char *to, const char *s, size_t n)
{
    memcpy(to, s, n);
    return to + n;
}

static char *put_entry(char *to, const char *label, float value)
{
    to = put(to, "{\"label\": ", 10);
    to = put(to, label, strlen(label));
    to = put(to, ", \"score\": ", 11);
    /* A number that is none (from a damaged model) has no name in JSON. */
    if (!isfinite(value))
        return put(to, "null}", 5);
    int n = snprintf(to, 24, "%.9g", (double)value);
    bool whole = strcspn(to, ".e") == (size_t)n;
    to += n;
    return whole ? put(to, ".0}", 3) : put(to, "}", 1);
}

static char *put_best(const struct sc_classifier *c, char *to, const float *scores)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < c->labels; i++)
        if (scores[i] > scores[best])
            best = i;
    return put_entry(to, c->quoted[best], scores[best]);
}

static char *put_ranking(const struct sc_classifier *c, uint32_t k, char *to, const float *scores,
                         struct ranked *work)
{
    for (uint32_t i = 0; i < c->labels; i++)
        work[i] = (struct ranked){scores[i], i};
    qsort(work, c->labels, sizeof *work, better);
    for (uint32_t i = 0; i < k; i++) {
        if (i > 0)
            to = put(to, ", ", 2);
        to = put_entry(to, c->quoted[work[i].index], work[i].score);
    }
    return to;
}

size_t sc_classify(const struct sc_classifier *c, const struct sc_classify_options *o, bool list,
                   float *logits, uint32_t n, char *to, void *work)
{
    char *start = to;
    bool nested = list && o->has_top_k;
    to = put(to, "[", 1);
    for (uint32_t i = 0; i < n; i++) {
        float *row = logits + (size_t)i * c->labels;
        score(o->has_scoring ? o->scoring : c->scoring, row, c->labels);
        if (i > 0)
            to = put(to, ", ", 2);
        if (nested)
            to = put(to, "[", 1);
        to = o->has_top_k ? put_ranking(c, entries(c, o), to, row, work) : put_best(c, to, row);
        if (nested)
            to = put(to, "]", 1);
    }
    to = put(to, "]", 1);
    return (size_t)(to - start);
}
