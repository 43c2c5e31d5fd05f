#include "cli/tune_space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/span.h"

#define VALUES 64

/* ---- options ---- */

struct unit {
    const char *name;
    double factor;
};

/* "20ms": a number above 0 and one of the units, of which the last may have no name. */
static int quantity(const char *option, const char *text, const struct unit *units, double *to,
                    struct sc_msg *msg)
{
    char *end;
    double v = strtod(text, &end);
    for (const struct unit *u = units; end != text && v > 0 && v < 1e15; u++) {
        if (strcmp(end, u->name) == 0) {
            *to = v * u->factor;
            return 0;
        }
        if (!u[1].name)
            break;
    }
    return sc_fail(msg, SC_EINVAL, "--%s: \"%s\" is not a number above 0 with a unit, as in 5%s", option,
                   text, units[0].name);
}

int sc_tune_goal(struct sc_tune_goal *g, const struct sc_bench_options *o, struct sc_msg *msg)
{
    static const struct unit latency[] = {{"ms", 1e6}, {"s", 1e9}, {"us", 1e3}, {NULL, 0}},
                             budget[] = {{"m", 60}, {"s", 1}, {"h", 3600}, {"min", 60}, {"", 1}, {NULL, 0}},
                             memory[] = {{"G", 1073741824.0},
                                         {"M", 1048576.0},
                                         {"GiB", 1073741824.0},
                                         {"MiB", 1048576.0},
                                         {"GB", 1e9},
                                         {"MB", 1e6},
                                         {NULL, 0}};
    double bytes = 0;
    *g = (struct sc_tune_goal){.budget = 300, .precision = o->precision / 100, .most = (unsigned)o->most};
    int rc = o->p99 ? quantity("p99", o->p99, latency, &g->p99, msg) : 0;
    if (rc == 0 && o->budget)
        rc = quantity("budget", o->budget, budget, &g->budget, msg);
    if (rc == 0 && o->memory)
        rc = quantity("memory", o->memory, memory, &bytes, msg);
    g->memory = (int64_t)bytes;
    if (rc == 0 && (o->most == 0 || o->most > SC_LOAD_CONNECTIONS_MAX))
        rc = sc_fail(msg, SC_EINVAL, "--concurrency: from 1 to %u", SC_LOAD_CONNECTIONS_MAX);
    if (rc == 0 && (g->precision <= 0 || g->precision > 1))
        rc = sc_fail(msg, SC_EINVAL, "--precision: above 0, at most 100 percent");
    return rc;
}

struct list {
    unsigned v[VALUES], n;
};

/* Numbers between commas, growing and each once. */
static int numbers(const char *option, const char *text, unsigned low, unsigned high, struct list *to,
                   struct sc_msg *msg)
{
    struct sc_span rest = sc_span_str(text);
    to->n = 0;
    while (to->n < VALUES) {
        size_t comma = sc_span_find(rest, ',');
        uint64_t v;
        if (!sc_span_u64(sc_span_trim(sc_span_sub(rest, 0, comma)), high, &v) || v < low ||
            (to->n && v <= to->v[to->n - 1]))
            break;
        to->v[to->n++] = (unsigned)v;
        if (comma >= rest.n)
            return 0;
        rest = sc_span_sub(rest, comma + 1, rest.n);
    }
    return sc_fail(msg, SC_EINVAL, "--%s: \"%s\" is no list of growing numbers from %u to %u, as in 1,2,8",
                   option, text, low, high);
}

static void powers(struct list *to, unsigned most)
{
    to->n = 0;
    for (unsigned v = 1; v <= most; v *= 2)
        to->v[to->n++] = v;
}

static int ways(const char *text, const struct sc_tune_facts *f, bool want[SC_TUNE_WAYS + 1],
                struct sc_msg *msg)
{
    struct sc_span rest = sc_span_str(text ? text : "timeslice,mps,lanes");
    if (!f->gpu) {
        want[SC_TUNE_NO_GPU] = true;
        return text ? sc_fail(msg, SC_EINVAL, "--sharing: this model's workers are not on a GPU") : 0;
    }
    for (;;) {
        size_t comma = sc_span_find(rest, ','), way = 0;
        struct sc_span word = sc_span_trim(sc_span_sub(rest, 0, comma));
        while (way < SC_TUNE_WAYS && !sc_span_eq(word, sc_span_str(sc_tune_way_name((enum sc_tune_way)way))))
            way++;
        if (way == SC_TUNE_WAYS)
            return sc_fail(msg, SC_EINVAL, "--sharing: \"%.*s\" is none of timeslice, mps, lanes",
                           (int)SC_MIN(word.n, 40u), word.p);
        if (text && way == SC_TUNE_MPS && !f->mps)
            return sc_fail(msg, SC_EINVAL, "--sharing: there is no MPS on this machine");
        want[way] = (way != SC_TUNE_LANES || f->native) && (way != SC_TUNE_MPS || f->mps);
        if (comma >= rest.n)
            return 0;
        rest = sc_span_sub(rest, comma + 1, rest.n);
    }
}

/* One worker shares with nobody: it is measured once, in the way that needs least. */
static bool makes_sense(enum sc_tune_way way, unsigned workers, const bool want[SC_TUNE_WAYS + 1])
{
    return workers > 1 || way == SC_TUNE_NO_GPU || way == SC_TUNE_LANES ||
           (way == SC_TUNE_TIMESLICE && !want[SC_TUNE_LANES]) ||
           (way == SC_TUNE_MPS && !want[SC_TUNE_LANES] && !want[SC_TUNE_TIMESLICE]);
}

int sc_tune_space(struct sc_tune *t, const struct sc_bench_options *o, const struct sc_tune_facts *f,
                  struct sc_msg *msg)
{
    static const enum sc_tune_way order[] = {SC_TUNE_NO_GPU, SC_TUNE_LANES, SC_TUNE_TIMESLICE, SC_TUNE_MPS};
    struct list batches, workers, threads = {.n = 0};
    bool want[SC_TUNE_WAYS + 1] = {false};
    const unsigned lanes = f->native ? SC_LANES_MAX : SC_WORKERS_MAX;
    powers(&batches, 128);
    /* Handlers may wait for something else than the processor. */
    powers(&workers, f->gpu ? 8 : SC_MIN(f->native ? f->cores : 2 * f->cores, 16u));
    if (f->native && !f->gpu)
        threads = (struct list){{0, 1}, 2};
    int rc = o->batches ? numbers("batches", o->batches, 1, SC_BATCH_SIZE_MAX, &batches, msg) : 0;
    if (rc == 0 && o->worker_list)
        rc = numbers("workers", o->worker_list, 1, lanes, &workers, msg);
    if (rc == 0 && o->thread_list && !f->native)
        rc = sc_fail(msg, SC_EINVAL, "--tokenizer-threads: a handler of Python has none");
    if (rc == 0 && o->thread_list)
        rc = numbers("tokenizer-threads", o->thread_list, 0, SC_LANES_MAX, &threads, msg);
    if (rc == 0)
        rc = ways(o->sharing, f, want, msg);
    for (unsigned i = 0; rc == 0 && i < SC_COUNT(order); i++)
        for (unsigned k = 0; want[order[i]] && k < SC_MAX(threads.n, 1u); k++)
            for (unsigned w = 0; w < workers.n; w++)
                for (unsigned b = 0; makes_sense(order[i], workers.v[w], want) && rc == 0 && b < batches.n;
                     b++)
                    rc =
                        sc_tune_add(t, &(struct sc_tune_config){.batch = batches.v[b],
                                                                .workers = workers.v[w],
                                                                .threads = threads.n ? (int)threads.v[k] : -1,
                                                                .way = order[i]});
    if (rc == SC_ELIMIT)
        rc = sc_fail(msg, SC_ELIMIT, "more than %d configurations", SC_TUNE_BRANCHES_MAX);
    return rc;
}
