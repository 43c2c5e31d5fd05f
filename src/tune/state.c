#include "tune/state.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "tune/parts.h"

/* ---- writing ---- */

static json_t *histogram(const struct sc_hist *h)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < SC_HIST_BUCKETS; i++)
        if (h->bucket[i])
            json_array_append_new(list, json_pack("[i, I]", (int)i, (json_int_t)h->bucket[i]));
    return json_pack("{s:I, s:I, s:I, s:o}", "min", (json_int_t)(h->count ? h->min : 0), "max",
                     (json_int_t)h->max, "sum", (json_int_t)h->sum, "buckets", list);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *point(const struct sc_tune *t, const struct sc_tune_point *p)
{
    struct sc_tune_interval i = sc_tune_interval(p);
    json_t *runs = json_array();
    for (unsigned k = 0; k < p->nruns; k++)
        json_array_append_new(
            runs, json_pack("[f, f, i]", p->runs[k].rate, p->runs[k].seconds, (int)p->runs[k].load));
    return json_pack("{s:i, s:f, s:o, s:f, s:f, s:b, s:b, s:I, s:o, s:o}", "concurrency", (int)p->concurrency,
                     "rate", i.mean, "half_interval", number(i.half), "p50_ms",
                     (double)sc_hist_at(p->latency, 0.5) / 1e6, "p99_ms", sc_tune_p99(p) / 1e6, "keeps_goal",
                     sc_tune_keeps(t, p), "generator_saturated", p->saturated, "failed",
                     (json_int_t)p->failed, "runs", runs, "latency_ns", histogram(p->latency));
}

static json_t *branch(const struct sc_tune *t, unsigned at)
{
    const struct sc_tune_branch *b = &t->branches[at];
    json_t *points = json_array();
    for (unsigned i = 0; i < b->npoints; i++)
        json_array_append_new(points, point(t, &b->points[i]));
    return json_pack("{s:i, s:i, s:i, s:s, s:i, s:b, s:b, s:s, s:I, s:b, s:o}", "batchSize",
                     (int)b->config.batch, "workers", (int)b->config.workers, "threads", b->config.threads,
                     "gpuSharing", sc_tune_way_name(b->config.way), "round", (int)b->round, "out", b->out,
                     "failed", b->failed, "why", b->why, "memory", (json_int_t)b->memory, "pareto",
                     sc_tune_on_front(t, at), "points", points);
}

void sc_tune_json(const struct sc_tune *t, const struct sc_tune_about *a, const char *key, struct sc_buf *out)
{
    const int best = sc_tune_recommended(t);
    char why[600];
    struct sc_msg note;
    json_t *all = json_array(), *facts = json_object(), *notes = json_array();
    for (unsigned i = 0; i < t->n; i++)
        json_array_append_new(all, branch(t, i));
    for (unsigned i = 0; i < a->nfacts; i++)
        json_object_set_new(facts, a->facts[i].name, json_string(a->facts[i].value));
    for (unsigned i = 0; i < a->nnotes; i++)
        json_array_append_new(notes, json_string(a->notes[i]));
    for (unsigned i = 0; i < SC_TUNE_NOTES; i++)
        if (sc_tune_note(t, i, &note))
            json_array_append_new(notes, json_string(note.text));
    sc_tune_reason(t, best, why, sizeof why);
    json_t *j = json_pack(
        "{s:i, s:s*, s:s*, s:s, s:b, s:I, s:o, s:{s:f, s:I, s:f, s:f, s:i}, s:f, s:f, s:s, s:i, s:o, s:s, "
        "s:s*, s:o, s:o, s:o}",
        "version", 1, "subject", a->subject, "command", a->command, "ended", a->ended, "partial",
        t->phase != SC_TUNE_DONE, "began_ms", (json_int_t)a->began_ms, "key", json_loads(key, 0, NULL),
        "goal", "p99_ms", t->goal.p99 / 1e6, "memory", (json_int_t)t->goal.memory, "budget_s", t->goal.budget,
        "precision", t->goal.precision, "most_at_once", (int)t->goal.most, "spent_s", t->spent, "loading_s",
        a->loading, "phase", sc_tune_phase_name(t->phase), "round", (int)t->round, "recommended",
        best < 0 ? json_null() : json_integer(best), "reason", why, "settings", a->settings, "machine", facts,
        "notes", notes, "configurations", all);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (text)
        sc_buf_str(out, text);
    else
        out->failed = SC_ENOMEM;
    sc_buf_char(out, '\n');
    free(text);
    json_decref(j);
}

/* ---- reading ---- */

/* False: it is no number from low to high. */
static bool real(const json_t *j, double low, double high, double *to)
{
    *to = json_number_value(j);
    return json_is_number(j) && *to >= low && *to <= high;
}

static bool whole(const json_t *j, const char *name, int64_t low, int64_t high, int64_t *to)
{
    const json_t *v = json_object_get(j, name);
    *to = (int64_t)json_integer_value(v);
    return json_is_integer(v) && *to >= low && *to <= high;
}

static bool read_histogram(const json_t *j, struct sc_hist *h)
{
    int64_t min, max, sum;
    const json_t *list = json_object_get(j, "buckets"), *one;
    size_t i;
    if (!whole(j, "min", 0, INT64_MAX, &min) || !whole(j, "max", 0, INT64_MAX, &max) ||
        !whole(j, "sum", 0, INT64_MAX, &sum) || !json_is_array(list))
        return false;
    json_array_foreach(list, i, one)
    {
        json_int_t at = json_integer_value(json_array_get(one, 0)),
                   n = json_integer_value(json_array_get(one, 1));
        if (json_array_size(one) != 2 || at < 0 || at >= (json_int_t)SC_HIST_BUCKETS || n < 1 ||
            n > INT32_MAX)
            return false;
        h->bucket[at] = (uint64_t)n;
        h->count += (uint64_t)n;
    }
    h->min = h->count ? (uint64_t)min : UINT64_MAX;
    h->max = (uint64_t)max;
    h->sum = (uint64_t)sum;
    return true;
}

static bool read_point(const json_t *j, struct sc_tune_branch *b)
{
    int64_t concurrency, failed, load;
    const json_t *runs = json_object_get(j, "runs"), *one;
    size_t i;
    if (!whole(j, "concurrency", 1, SC_LOAD_CONNECTIONS_MAX, &concurrency) ||
        !whole(j, "failed", 0, INT64_MAX, &failed) || json_array_size(runs) > SC_TUNE_RUNS_MAX ||
        b->npoints == SC_TUNE_POINTS_MAX || sc_tune_point(b, (unsigned)concurrency))
        return false;
    struct sc_tune_point *p = sc_tune_make_point(b, (unsigned)concurrency);
    p->failed = (uint64_t)failed;
    p->saturated = json_is_true(json_object_get(j, "generator_saturated"));
    json_array_foreach(runs, i, one)
    {
        struct sc_tune_run *r = &p->runs[p->nruns++];
        const json_t *of = json_array_get(one, 2);
        if (!real(json_array_get(one, 0), 0, 1e12, &r->rate) ||
            !real(json_array_get(one, 1), 0, 1e9, &r->seconds) || !json_is_integer(of) ||
            (load = json_integer_value(of)) < 0 || load > INT32_MAX)
            return false;
        r->load = (unsigned)load;
    }
    return read_histogram(json_object_get(j, "latency_ns"), p->latency);
}

static bool read_branch(const json_t *j, struct sc_tune_branch *b)
{
    int64_t batch, workers, threads, round;
    const json_t *way = json_object_get(j, "gpuSharing"), *why = json_object_get(j, "why"), *one;
    size_t i;
    if (!whole(j, "batchSize", b->config.batch, b->config.batch, &batch) ||
        !whole(j, "workers", b->config.workers, b->config.workers, &workers) ||
        !whole(j, "threads", b->config.threads, b->config.threads, &threads) ||
        !whole(j, "round", 0, INT32_MAX, &round) || !whole(j, "memory", 0, INT64_MAX, &b->memory) ||
        !json_is_string(way) || strcmp(json_string_value(way), sc_tune_way_name(b->config.way)) != 0 ||
        !json_is_string(why))
        return false;
    b->round = (unsigned)round;
    b->out = json_is_true(json_object_get(j, "out"));
    b->failed = json_is_true(json_object_get(j, "failed"));
    snprintf(b->why, sizeof b->why, "%s", json_string_value(why));
    json_array_foreach(json_object_get(j, "points"), i, one)
    {
        if (!read_point(one, b))
            return false;
    }
    return true;
}

static bool read_all(struct sc_tune *t, const json_t *j, double *loading, int64_t *began_ms)
{
    const json_t *all = json_object_get(j, "configurations"), *phase = json_object_get(j, "phase");
    int64_t round;
    if (!real(json_object_get(j, "spent_s"), 0, 1e9, &t->spent) ||
        !real(json_object_get(j, "loading_s"), 0, 1e9, loading) ||
        !whole(j, "began_ms", 0, INT64_MAX, began_ms) || !whole(j, "round", 0, INT32_MAX, &round) ||
        json_array_size(all) != t->n || !json_is_string(phase))
        return false;
    t->round = (unsigned)round;
    for (t->phase = SC_TUNE_SCREEN; strcmp(json_string_value(phase), sc_tune_phase_name(t->phase)) != 0;
         t->phase++)
        if (t->phase == SC_TUNE_DONE)
            return false;
    for (unsigned i = 0; i < t->n; i++)
        if (!read_branch(json_array_get(all, i), &t->branches[i]))
            return false;
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; k < t->branches[i].npoints; k++)
            for (unsigned r = 0; r < t->branches[i].points[k].nruns; r++)
                t->loads = SC_MAX(t->loads, t->branches[i].points[k].runs[r].load);
    sc_tune_learn_luck(t);
    return true;
}

int sc_tune_resume(struct sc_tune *t, struct sc_span text, const char *file, const char *key, double *loading,
                   int64_t *began_ms, struct sc_msg *msg)
{
    json_error_t error;
    json_t *j = json_loadb(text.p ? text.p : "", text.n, 0, &error), *want = json_loads(key, 0, NULL);
    const json_t *have = json_object_get(j, "key"), *v;
    const char *name;
    int rc = 0;
    if (!j || !json_is_object(have))
        rc = sc_fail(msg, SC_EINVAL, "%s: this is no file of a search", file);
    json_object_foreach(want, name, v) if (rc == 0 && !json_equal(v, json_object_get(have, name)))
    {
        char *a = json_dumps(json_object_get(have, name), JSON_ENCODE_ANY),
             *b = json_dumps(v, JSON_ENCODE_ANY);
        rc = sc_fail(msg, SC_EINVAL, "%s: that search had another %s: %.100s, not %.100s", file, name,
                     a ? a : "none", b ? b : "none");
        free(a);
        free(b);
    }
    if (rc == 0 && !read_all(t, j, loading, began_ms))
        rc = sc_fail(msg, SC_EINVAL, "%s: it is damaged, or another version's", file);
    json_decref(want);
    json_decref(j);
    return rc;
}
