/* What a batch costs beside its tokens: t(n) = a + b n, fitted when the model is loaded. */
#include <sched.h>
#include <stdlib.h>

#include "backend_parts.h"
#include "base/array.h"
#include "base/clock.h"

#define SMALL 8u
#define SEQUENCE 64u                     /* tokens of one at most */
#define LONG_ENOUGH_NS INT64_C(50000000) /* of a run: no larger one is tried */
#define THREADS_MAX 8                    /* more tokenise faster than any GPU computes */

/* The shorter of two runs of n tokens, which are all the same; -1: it failed. */
static int64_t time_of(const struct sconce_model *m, struct sc_engine_lane *l, uint32_t n)
{
    const uint32_t pick = 0, most = SC_MIN(SEQUENCE, sc_tokenizer_max_length(m->tokenizer));
    uint32_t *ids = calloc(n, sizeof *ids), *begin = calloc((size_t)n + 1, sizeof *begin), sequences = 0;
    int64_t best = -1;
    for (uint32_t at = 0; begin && at < n; begin[++sequences] = at)
        at += SC_MIN(most, n - at);
    struct sc_batch b = {.ids = ids, .begin = begin, .sequences = sequences, .picks = &pick, .picks_n = 1};
    size_t rows = sc_engine_rows(m->engine, &b);
    float *out = malloc(SC_MAX(rows, 1u) * sc_engine_columns(m->engine) * sizeof *out);
    for (int run = 0; ids && begin && out && run < 2; run++) {
        int64_t start = sc_clock_ns();
        if (sc_engine_run(l, &b, out) < 0) {
            best = -1;
            break;
        }
        int64_t took = sc_clock_ns() - start;
        best = best < 0 ? took : SC_MIN(best, took);
    }
    free(ids);
    free(begin);
    free(out);
    return best;
}

uint32_t sc_pace_overhead(const struct sconce_model *m)
{
    struct sc_engine_lane *l;
    struct sc_msg unused;
    uint32_t large = 4 * SMALL, overhead = 0;
    if (m->batch_tokens <= large || m->engine->ops->lane_new(&l, m->engine, &unused) < 0)
        return 0;
    int64_t least = time_of(m, l, SMALL), took = time_of(m, l, large);
    while (least > 0 && took > 0 && took < 2 * least && took < LONG_ENOUGH_NS && large < m->batch_tokens) {
        large = SC_MIN(large, m->batch_tokens / 4) * 4;
        took = time_of(m, l, large);
        if (large > m->batch_tokens / 4)
            break;
    }
    sc_engine_lane_del(l);
    if (least <= 0 || took <= 0)
        return 0;
    if (took <= least) /* a full batch takes no longer than the smallest */
        return m->batch_tokens;
    double each = (double)(took - least) / (large - SMALL);
    double fixed = (double)least - each * SMALL;
    if (fixed > 0)
        overhead = (uint32_t)SC_MIN(fixed / each, (double)m->batch_tokens);
    return overhead;
}

struct sconce_error *sc_pace_threads(struct sconce_host *h, const struct sconce_model *m, uint32_t *out)
{
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    bool cpu = strcmp(m->engine->ops->name, "cpu") == 0;
    int64_t n, own = cpu ? 1 : SC_MIN(SC_MAX(cpus / 2, 1), THREADS_MAX);
    struct sconce_error *e = sconce_host_setting_int(h, "tokenizerThreads", 0, SC_LANES_MAX, own, &n);
    *out = e ? 0 : (uint32_t)n;
    return e;
}
