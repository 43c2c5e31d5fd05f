#include "metrics/line.h"

#include <stdlib.h>
#include <time.h>

bool sc_metric_value(struct sc_span s, double *out)
{
    char text[SC_METRIC_VALUE_MAX + 1], *end;
    if (s.n == 0 || s.n > SC_METRIC_VALUE_MAX)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *out = strtod(text, &end);
    return end == text + s.n;
}

struct sc_span sc_metric_seconds(void)
{
    static _Thread_local time_t known = -1;
    static _Thread_local char text[20];
    static _Thread_local size_t n;
    time_t now = time(NULL);
    if (now != known) {
        known = now;
        n = (size_t)(sc_put_u64(text, (uint64_t)now) - text);
    }
    return sc_span(text, n);
}

/* --- lines of workers -------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           is_blank(c);
}

static bool is_value(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == ',' || c == '.' || c == 'e';
}

/* The longest non-empty beginning of *s made of such characters, up to `end`, which must follow it; both are
 * taken off. */
static bool take(struct sc_span *s, bool (*of)(char c), char end, struct sc_span *out)
{
    size_t n = 0;
    while (n < s->n && of(s->p[n]))
        n++;
    if (n == 0 || n == s->n || s->p[n] != end)
        return false;
    *out = sc_span_sub(*s, 0, n);
    *s = sc_span_sub(*s, n + 1, s->n);
    return true;
}

static bool skip(struct sc_span *s, struct sc_span word)
{
    if (!sc_span_starts(*s, word))
        return false;
    *s = sc_span_sub(*s, word.n, s->n);
    return true;
}

static void take_dims(struct sc_span s, struct sc_metric_line *out)
{
    while (s.n) {
        size_t n = sc_span_find(s, ',');
        struct sc_span d = sc_span_sub(s, 0, n);
        s = sc_span_sub(s, n + 1, s.n);
        size_t colon = sc_span_find(d, ':');
        struct sc_span v = sc_span_sub(d, colon + 1, d.n);
        if (colon >= d.n || v.n == 0 || sc_span_find(v, ':') < v.n || out->ndims == SC_METRIC_LABELS_MAX)
            continue;
        out->keys[out->ndims] = sc_span_sub(d, 0, colon);
        out->values[out->ndims++] = v;
    }
}

bool sc_metric_line_parse(struct sc_span s, struct sc_metric_line *out)
{
    *out = (struct sc_metric_line){0};
    while (s.n && is_blank(s.p[0]))
        s = sc_span_sub(s, 1, s.n);
    if (!take(&s, is_word, '.', &out->name) || !take(&s, is_word, ':', &out->unit) ||
        !take(&s, is_value, '|', &out->value) || !skip(&s, SC_SPAN("#")))
        return false;
    size_t n = sc_span_find(s, '|');
    take_dims(sc_span_sub(s, 0, n), out);
    s = sc_span_sub(s, n, s.n);
    if (skip(&s, SC_SPAN("|#type:"))) {
        n = SC_MIN(sc_span_find(s, '|'), sc_span_find(s, ','));
        out->type = sc_span_sub(s, 0, n);
        s = sc_span_sub(s, n, s.n);
        if (n == 0)
            return false;
    }
    if (!skip(&s, SC_SPAN("|#hostname:")))
        return false;
    n = sc_span_find(s, ',');
    out->host = sc_span_sub(s, 0, n);
    s = sc_span_sub(s, n + 1, s.n);
    size_t m = sc_span_find(s, ',');
    out->time = sc_span_sub(s, 0, m);
    if (m < s.n)
        out->ids = sc_span_sub(s, m + 1, s.n);
    return out->host.n && out->time.n;
}
