#include "tune/apply.h"

#include <stdio.h>
#include <string.h>

#include "proto/yaml.h"
#include "tune/parts.h"

unsigned sc_tune_keys(const struct sc_tune_config *c, bool native, struct sc_tune_key keys[SC_TUNE_KEYS_MAX])
{
    unsigned n = 0;
    keys[n].name = "minWorkers";
    snprintf(keys[n++].value, sizeof keys->value, "%u", c->workers);
    keys[n].name = "maxWorkers";
    snprintf(keys[n++].value, sizeof keys->value, "%u", c->workers);
    keys[n].name = "batchSize";
    snprintf(keys[n++].value, sizeof keys->value, "%u", c->batch);
    if (c->threads >= 0) {
        keys[n].name = "tokenizerThreads";
        snprintf(keys[n++].value, sizeof keys->value, "%d", c->threads);
    }
    if (native && c->way != SC_TUNE_NO_GPU) {
        keys[n].name = "workerKind";
        snprintf(keys[n++].value, sizeof keys->value, "%s", c->way == SC_TUNE_LANES ? "lane" : "process");
    }
    return n;
}

/* ---- YAML ---- */

/* The line begins with one of the keys, in quotes or not, and a colon. */
static bool sets(struct sc_span line, const struct sc_tune_key *keys, unsigned n)
{
    const bool quoted = line.n && (line.p[0] == '"' || line.p[0] == '\'');
    const char quote = quoted ? line.p[0] : '\0';
    struct sc_span rest = sc_span_sub(line, quoted, line.n);
    for (unsigned i = 0; i < n; i++) {
        struct sc_span name = sc_span_str(keys[i].name);
        if (!sc_span_starts(rest, name))
            continue;
        struct sc_span after = sc_span_sub(rest, name.n, rest.n);
        if (quoted && (after.n == 0 || after.p[0] != quote))
            continue;
        after = sc_span_trim(sc_span_sub(after, quoted, after.n));
        if (after.n && after.p[0] == ':')
            return true;
    }
    return false;
}

struct check {
    const struct sc_tune_key *keys;
    unsigned n, seen;
    bool wrong;
};

static int look(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    struct check *c = arg;
    (void)msg;
    for (unsigned k = 0; i->depth == 1 && k < c->n; k++)
        if (sc_span_eq(i->path, sc_span_str(c->keys[k].name))) {
            c->seen++;
            c->wrong |= !sc_span_eq(i->value, sc_span_str(c->keys[k].value));
        }
    return 0;
}

int sc_tune_edit(struct sc_buf *text, const struct sc_tune_key *keys, unsigned n, const char *file,
                 struct sc_msg *msg)
{
    struct sc_buf out;
    struct sc_msg why;
    struct check c = {.keys = keys, .n = n};
    bool dropping = false;
    sc_buf_init(&out, SC_SETTINGS_FILE_BYTES);
    for (size_t at = 0; at < text->n;) {
        struct sc_span line = sc_span_sub(sc_buf_view(text), at, text->n);
        size_t end = SC_MIN(sc_span_find(line, '\n') + 1, line.n);
        line = sc_span_sub(line, 0, end);
        at += end;
        /* What is indented belongs to the key before it. */
        if (!dropping || (line.p[0] != ' ' && line.p[0] != '\t'))
            dropping = sets(line, keys, n);
        if (!dropping)
            sc_buf_span(&out, line);
    }
    if (out.n && out.p[out.n - 1] != '\n')
        sc_buf_char(&out, '\n');
    for (unsigned i = 0; i < n; i++)
        sc_buf_printf(&out, "%s: %s\n", keys[i].name, keys[i].value);
    int rc = out.failed ? sc_fail(msg, SC_ELIMIT, "%.300s: it is too large", file)
                        : sc_yaml_each(sc_buf_view(&out), file, look, &c, &why);
    if (!out.failed && (rc < 0 || c.seen != n || c.wrong))
        rc = sc_fail(msg, SC_EINVAL,
                     "%.300s: it is not written key by key in lines, so it is not changed; set these by hand",
                     file);
    sc_buf_free(text);
    *text = out;
    return rc;
}

/* ---- the record ---- */

void sc_tune_put_record(const struct sc_tune *t, const struct sc_tune_entry *like, struct sc_tune_record *r)
{
    for (unsigned i = 0; i < t->n; i++) {
        const struct sc_tune_config *c = &t->branches[i].config;
        struct sc_tune_entry e = *like;
        unsigned ways = 0;
        e.workers = (int)c->workers;
        e.batch_size = (int)c->batch;
        for (unsigned k = 0; k < t->n && c->way != SC_TUNE_NO_GPU; k++) {
            const struct sc_tune_branch *b = &t->branches[k];
            double score = sc_tune_score(t, b);
            if (b->config.workers != c->workers || b->config.batch != c->batch || score <= 0 ||
                score <= e.per_second[b->config.way])
                continue;
            ways += e.per_second[b->config.way] <= 0;
            e.per_second[b->config.way] = score;
            e.worker_memory = b->memory / b->config.workers;
        }
        e.best = SC_TUNE_TIMESLICE;
        for (int w = 0; w < SC_TUNE_WAYS; w++)
            if (e.per_second[w] > e.per_second[e.best])
                e.best = (enum sc_tune_way)w;
        if (ways > 1)
            sc_tune_record_put(r, &e);
    }
}
