#include "load/payload.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "load/schedule.h"

static const char *const words[] = {
    "the",    "of",    "and",     "model",   "time",   "people",    "first",    "water", "been",    "call",
    "who",    "oil",   "its",     "now",     "find",   "long",      "down",     "day",   "did",     "get",
    "come",   "made",  "may",     "part",    "over",   "new",       "sound",    "take",  "only",    "little",
    "work",   "know",  "place",   "year",    "live",   "me",        "back",     "give",  "most",    "very",
    "after",  "thing", "our",     "just",    "name",   "good",      "sentence", "man",   "think",   "say",
    "great",  "where", "help",    "through", "much",   "before",    "line",     "right", "too",     "mean",
    "old",    "any",   "same",    "tell",    "boy",    "follow",    "came",     "want",  "show",    "also",
    "around", "form",  "three",   "small",   "set",    "put",       "end",      "does",  "another", "well",
    "large",  "must",  "big",     "even",    "such",   "because",   "turn",     "here",  "why",     "ask",
    "went",   "men",   "read",    "need",    "land",   "different", "home",     "us",    "move",    "try",
    "kind",   "hand",  "picture", "again",   "change", "off",       "play",     "spell", "air",     "away",
    "animal", "house", "point",   "page",    "letter", "mother",    "answer",   "found", "study",   "still",
    "learn"};

static void add_body(struct sc_payload *p, struct sc_span body)
{
    if ((p->n & (p->n - 1)) == 0)
        p->bodies = sc_realloc_array(p->bodies, p->n ? 2 * p->n : 1, sizeof *p->bodies);
    p->bodies[p->n++] = body;
}

/* The buffer's memory is the payload's from now on. */
static struct sc_span keep(struct sc_payload *p, struct sc_buf *b)
{
    p->memory = sc_realloc_array(p->memory, p->nmemory + 1, sizeof *p->memory);
    p->memory[p->nmemory++] = b->p;
    return sc_buf_view(b);
}

static int read_all(struct sc_payload *p, const char *path, struct sc_span *out, struct sc_msg *msg)
{
    struct sc_buf b;
    sc_buf_init(&b, SC_LOAD_PAYLOAD_BYTES - p->used);
    int rc = sc_file_read(path, &b, msg);
    *out = keep(p, &b);
    p->used += b.n;
    return rc;
}

static int one_file(struct sc_payload *p, const char *path, struct sc_msg *msg)
{
    struct sc_span body;
    if (p->n == SC_LOAD_PAYLOADS_MAX)
        return sc_fail(msg, SC_ELIMIT, "more than %u bodies", SC_LOAD_PAYLOADS_MAX);
    int rc = read_all(p, path, &body, msg);
    if (rc == 0)
        add_body(p, body);
    return rc;
}

static int is_visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

int sc_payload_path(struct sc_payload *p, const char *path, struct sc_msg *msg)
{
    struct stat st;
    struct dirent **list;
    char name[4096];
    int rc = 0;
    if (stat(path, &st) < 0)
        return sc_fail(msg, SC_ENOTFOUND, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return one_file(p, path, msg);
    int n = scandir(path, &list, is_visible, alphasort);
    if (n < 0)
        return sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        int len = snprintf(name, sizeof name, "%s/%s", path, list[i]->d_name);
        free(list[i]);
        if (rc == 0 && len < (int)sizeof name && stat(name, &st) == 0 && S_ISREG(st.st_mode))
            rc = one_file(p, name, msg);
    }
    free(list);
    if (rc == 0 && p->n == 0)
        rc = sc_fail(msg, SC_EINVAL, "%s: there is no file in this folder", path);
    return rc;
}

int sc_payload_lines(struct sc_payload *p, const char *path, struct sc_msg *msg)
{
    struct sc_span rest;
    int rc = read_all(p, path, &rest, msg);
    while (rc == 0 && rest.n) {
        struct sc_span line = sc_span_sub(rest, 0, sc_span_find(rest, '\n'));
        rest = sc_span_sub(rest, line.n + 1, rest.n);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n == 0)
            continue;
        if (p->n == SC_LOAD_PAYLOADS_MAX)
            return sc_fail(msg, SC_ELIMIT, "%s: more than %u lines", path, SC_LOAD_PAYLOADS_MAX);
        add_body(p, line);
    }
    if (rc == 0 && p->n == 0)
        rc = sc_fail(msg, SC_EINVAL, "%s: there are no lines in it", path);
    if (rc == 0 && (p->bodies[0].p[0] == '{' || p->bodies[0].p[0] == '['))
        p->content_type = "application/json";
    return rc;
}

void sc_payload_text(struct sc_payload *p, struct sc_span text)
{
    struct sc_buf b;
    sc_buf_init(&b, text.n + 1);
    sc_buf_span(&b, text);
    struct sc_span body = keep(p, &b);
    add_body(p, body);
}

/* ---- made up ---- */

enum shape { FIXED, EVEN, NORMAL, LOGNORMAL };

struct lengths {
    enum shape shape;
    double a, b;
};

/* "A" or "A:B" */
static unsigned numbers(const char *s, double *a, double *b)
{
    char *end;
    *a = strtod(s, &end);
    if (end == s || !isfinite(*a) || *a < 0)
        return 0;
    if (*end == '\0')
        return 1;
    const char *second = end + 1;
    if (*end != ':')
        return 0;
    *b = strtod(second, &end);
    return end != second && *end == '\0' && isfinite(*b) && *b >= 0 ? 2 : 0;
}

static bool read_lengths(const char *s, struct lengths *l)
{
    static const struct {
        const char *name;
        enum shape shape;
    } shapes[] = {{"normal:", NORMAL}, {"lognormal:", LOGNORMAL}};
    for (unsigned i = 0; i < SC_COUNT(shapes); i++) {
        size_t n = strlen(shapes[i].name);
        if (strncmp(s, shapes[i].name, n) != 0)
            continue;
        l->shape = shapes[i].shape;
        return numbers(s + n, &l->a, &l->b) == 2 && l->a > 0;
    }
    unsigned n = numbers(s, &l->a, &l->b);
    l->shape = n == 2 ? EVEN : FIXED;
    return n && l->a >= 1 && (n == 1 || l->b >= l->a);
}

static double share(struct sc_rng *rng)
{
    return ((double)(sc_rng_next(rng) >> 11) + 0.5) * 0x1p-53; /* (0, 1) */
}

static unsigned draw(const struct lengths *l, struct sc_rng *rng)
{
    double v = l->a;
    double bell = sqrt(-2 * log(share(rng))) * cos(2 * M_PI * share(rng));
    switch (l->shape) {
    case FIXED: break;
    case EVEN: v = l->a + floor(share(rng) * (l->b - l->a + 1)); break;
    case NORMAL: v = l->a + bell * l->b; break;
    case LOGNORMAL: v = l->a * exp(bell * l->b); break;
    }
    return (unsigned)fmin(fmax(round(v), 1), SC_LOAD_WORDS_MAX);
}

static void put_words(struct sc_buf *b, unsigned n, struct sc_rng *rng)
{
    for (unsigned i = 0; i < n; i++) {
        if (i)
            sc_buf_char(b, ' ');
        sc_buf_str(b, words[sc_rng_next(rng) % SC_COUNT(words)]);
    }
}

int sc_payload_made(struct sc_payload *p, size_t n, const char *lengths, const char *around, uint64_t seed,
                    struct sc_msg *msg)
{
    struct lengths l;
    struct sc_rng rng;
    if (!read_lengths(lengths, &l))
        return sc_fail(
            msg, SC_EINVAL,
            "\"%s\" says no lengths: N, MIN:MAX, normal:MEAN:DEVIATION or lognormal:MEDIAN:SIGMA words",
            lengths);
    if (around && !strstr(around, "{text}"))
        return sc_fail(msg, SC_EINVAL, "\"%s\" has no {text} to put the text into", around);
    sc_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        struct sc_buf b, text;
        sc_buf_init(&b, SC_LOAD_PAYLOAD_BYTES);
        sc_buf_init(&text, SC_LOAD_PAYLOAD_BYTES);
        put_words(&text, draw(&l, &rng), &rng);
        const char *rest = around ? around : "{text}";
        for (const char *at; (at = strstr(rest, "{text}")); rest = at + 6) {
            sc_buf_add(&b, rest, (size_t)(at - rest));
            sc_buf_span(&b, sc_buf_view(&text));
        }
        sc_buf_str(&b, rest);
        sc_buf_free(&text);
        struct sc_span body = keep(p, &b);
        if (b.failed)
            return sc_fail(msg, b.failed, "no memory for the texts");
        add_body(p, body);
    }
    p->content_type = around && (around[0] == '{' || around[0] == '[') ? "application/json" : "text/plain";
    return 0;
}

void sc_payload_free(struct sc_payload *p)
{
    for (size_t i = 0; i < p->nmemory; i++)
        free(p->memory[i]);
    free(p->memory);
    free(p->bodies);
    *p = (struct sc_payload){0};
}
