#include "load/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/array.h"
#include "load/report_parts.h"

const struct sc_quantile sc_quantiles[SC_QUANTILES] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}};

const char *sc_report_end(enum sc_load_end end)
{
    static const char *const names[] = {"complete", "interrupted", "the server is gone"};
    return names[end];
}

void sc_report_loop(const struct sc_load_config *c, char *to, size_t size)
{
    if (c->rate > 0)
        snprintf(to, size, "open, %s, %.15g/s", c->poisson ? "Poisson" : "constant", c->rate);
    else
        snprintf(to, size, "closed, %u at once", c->connections * c->streams);
}

void sc_report_time(int64_t ms, char *to, size_t size)
{
    time_t s = (time_t)(ms / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    strftime(to, size, "%Y-%m-%dT%H:%M:%SZ", &t);
}

static void hist_text(const char *name, const struct sc_hist *h, struct sc_buf *out)
{
    sc_buf_printf(out, "%-10s mean %.3f ms", name, sc_hist_mean(h) / 1e6);
    for (unsigned i = 0; i < SC_QUANTILES; i++)
        sc_buf_printf(out, ", %s %.3f", sc_quantiles[i].name,
                      (double)sc_hist_at(h, sc_quantiles[i].share) / 1e6);
    sc_buf_printf(out, ", max %.3f\n", (double)h->max / 1e6);
}

static void errors_text(const struct sc_load_result *a, struct sc_buf *out)
{
    if (!a->failed)
        return;
    sc_buf_printf(out, "%" PRIu64 " FAILED:", a->failed);
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
        if (a->errors[e])
            sc_buf_printf(out, " %s %" PRIu64, sc_load_error_name(e), a->errors[e]);
    sc_buf_char(out, '\n');
    if (a->wrong[0])
        sc_buf_printf(out, "the first wrong answer: %s\n", a->wrong);
}

void sc_report_text(const struct sc_report *r, struct sc_buf *out)
{
    const struct sc_load_result *a = &r->m->all;
    struct sc_spread rate = sc_measured_rate(r->m);
    struct sc_msg why;
    char loop[80];
    sc_report_loop(r->load, loop, sizeof loop);
    sc_buf_printf(out, "%s: %.1f requests/s", r->subject, rate.median);
    if (r->m->nruns > 1)
        sc_buf_printf(out, " (median of %u runs, %.1f to %.1f)", r->m->nruns, rate.low, rate.high);
    sc_buf_printf(out, "\n%" PRIu64 " good in %.2f s; %s, %s, %u connections, %u threads\n", a->good,
                  a->seconds, sc_load_protocol(r->load), loop, r->load->connections, r->load->threads);
    hist_text("latency", &a->latency, out);
    if (r->load->rate > 0)
        hist_text("from send", &a->service, out);
    errors_text(a, out);
    for (unsigned i = 0; i < r->m->samples.ngpus; i++)
        sc_buf_printf(out, "GPU %u      busy %.0f %%, %.0f MiB, %.0f W (means)\n", i,
                      sc_samples_mean(&r->m->samples, (int)i, 0), sc_samples_mean(&r->m->samples, (int)i, 1),
                      sc_samples_mean(&r->m->samples, (int)i, 2));
    if (sc_load_saturated(r->load, a, &why))
        sc_buf_printf(out, "NOTE: %s\n", why.text);
    for (unsigned i = 0; i < r->nnotes; i++)
        sc_buf_printf(out, "NOTE: %s\n", r->notes[i]);
    if (r->m->ended != SC_LOAD_COMPLETE)
        sc_buf_printf(out, "PARTIAL: %s\n", sc_report_end(r->m->ended));
}

/* ---- CSV ---- */

void sc_report_csv(const struct sc_report *r, struct sc_buf *out)
{
    sc_buf_str(out, "run,protocol,loop,connections,threads,offered_per_s,seconds,requests_per_s,good,failed");
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
        sc_buf_printf(out, ",%s", sc_load_error_name(e));
    sc_buf_str(out, ",mean_ms");
    for (unsigned i = 0; i < SC_QUANTILES; i++)
        sc_buf_printf(out, ",%s_ms", sc_quantiles[i].name);
    sc_buf_str(out, ",max_ms,lag_p99_ms,generator_cpu,ended\n");
    for (unsigned k = 0; k < r->m->nruns; k++) {
        const struct sc_load_result *x = &r->m->runs[k];
        const struct sc_load_config *c = r->load;
        sc_buf_printf(out, "%u,%s,%s,%u,%u,%.15g,%.6f,%.3f,%" PRIu64 ",%" PRIu64, k + 1, sc_load_protocol(c),
                      sc_report_loop_name(c), c->connections, c->threads, c->rate, x->seconds,
                      sc_load_rate(x), x->good, x->failed);
        for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
            sc_buf_printf(out, ",%" PRIu64, x->errors[e]);
        sc_buf_printf(out, ",%.6f", sc_hist_mean(&x->latency) / 1e6);
        for (unsigned i = 0; i < SC_QUANTILES; i++)
            sc_buf_printf(out, ",%.6f", (double)sc_hist_at(&x->latency, sc_quantiles[i].share) / 1e6);
        sc_buf_printf(out, ",%.6f,%.6f,%.3f,%s\n", (double)x->latency.max / 1e6,
                      (double)sc_hist_at(&x->lag, 0.99) / 1e6, x->cpu_busiest, sc_report_end(x->ended));
    }
}

const char *sc_report_loop_name(const struct sc_load_config *c)
{
    return c->rate <= 0 ? "closed" : c->poisson ? "open-poisson" : "open-constant";
}
