#include "load/measure.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"

struct progress {
    const struct sc_measure *m;
    unsigned run;
    bool warming;
};

static void told(void *ctx, const struct sc_load_progress *p)
{
    const struct progress *to = ctx;
    struct sc_load_progress now = *p;
    now.warming |= to->warming;
    to->m->progress(to->m->ctx, to->run, &now);
}

static int warm_up(const struct sc_measure *m, const struct sc_load_watch *watch, enum sc_load_end *end,
                   struct sc_msg *msg)
{
    struct sc_load_config c = *m->load;
    struct sc_load_result *r = sc_alloc(sizeof *r);
    c.warmup = c.duration = 0;
    c.count = m->warmup_count;
    int rc = sc_load_run(&c, r, watch, msg);
    *end = rc == 0 ? r->ended : SC_LOAD_STOPPED;
    free(r);
    return rc;
}

static int run_all(const struct sc_measure *m, struct sc_measured *out, struct sc_msg *msg)
{
    struct sc_load_config c = *m->load;
    struct progress p = {.m = m, .warming = m->warmup_count > 0};
    struct sc_load_watch watch = {.stop = m->stop, .progress = m->progress ? told : NULL, .ctx = &p};
    int rc = 0;
    if (m->warmup_count) {
        c.warmup = 0;
        rc = warm_up(m, &watch, &out->ended, msg);
    }
    p.warming = false;
    if (rc == 0 && out->ended == SC_LOAD_COMPLETE && m->warm)
        m->warm(m->ctx);
    for (; rc == 0 && p.run < m->runs && out->ended == SC_LOAD_COMPLETE; p.run++) {
        struct sc_load_result *r = &out->runs[p.run];
        c.seed = m->load->seed + p.run * UINT64_C(7919);
        rc = sc_load_run(&c, r, &watch, msg);
        if (rc < 0)
            break;
        out->nruns++;
        out->ended = r->ended;
        out->all.seconds += r->seconds;
        sc_load_merge(&out->all, r);
    }
    return rc;
}

int sc_measure(const struct sc_measure *m, struct sc_measured *out, struct sc_msg *msg)
{
    *out = (struct sc_measured){.began_ms = sc_wall_ms()};
    if (m->runs == 0 || m->runs > SC_LOAD_RUNS_MAX)
        return sc_fail(msg, SC_EINVAL, "%u runs: from 1 to %d", m->runs, SC_LOAD_RUNS_MAX);
    int rc = sc_load_check(m->load, msg);
    if (rc < 0)
        return rc;
    sc_hist_init(&out->all.latency);
    sc_hist_init(&out->all.service);
    sc_hist_init(&out->all.lag);
    sc_series_init(&out->all.series);
    out->runs = sc_alloc_array(m->runs, sizeof *out->runs);
    struct sc_sampler *s = sc_sampler_start(m->exe, m->metrics);
    rc = run_all(m, out, msg);
    sc_sampler_stop(s, &out->samples);
    out->all.ended = out->ended;
    if (rc < 0)
        sc_measured_free(out);
    return rc;
}

void sc_measured_free(struct sc_measured *m)
{
    free(m->runs);
    sc_samples_free(&m->samples);
    *m = (struct sc_measured){0};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct sc_spread spread(const struct sc_measured *m,
                               double (*value)(const struct sc_load_result *, double), double q)
{
    if (m->nruns == 0)
        return (struct sc_spread){0};
    double *v = sc_alloc_array(m->nruns, sizeof *v);
    for (unsigned i = 0; i < m->nruns; i++)
        v[i] = value(&m->runs[i], q);
    qsort(v, m->nruns, sizeof *v, by_value);
    unsigned mid = m->nruns / 2;
    struct sc_spread s = {
        .median = m->nruns % 2 ? v[mid] : (v[mid - 1] + v[mid]) / 2, .low = v[0], .high = v[m->nruns - 1]};
    free(v);
    return s;
}

static double rate(const struct sc_load_result *r, double q)
{
    (void)q;
    return sc_load_rate(r);
}

static double latency(const struct sc_load_result *r, double q)
{
    return q < 0 ? sc_hist_mean(&r->latency) : (double)sc_hist_at(&r->latency, q);
}

struct sc_spread sc_measured_rate(const struct sc_measured *m)
{
    return spread(m, rate, 0);
}

struct sc_spread sc_measured_latency(const struct sc_measured *m, double q)
{
    return spread(m, latency, q);
}
