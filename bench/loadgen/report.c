#include "loadgen/loadgen.h"

#include "base/array.h"

static const char *const names[SC_LOAD_ERRORS] = {"bad_status", "bad_body", "short_read", "reset",
                                                  "connect",    "protocol", "timeout",    "unsent"};
static const struct {
    const char *name;
    double share;
} points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}};

const char *sc_load_error_name(enum sc_load_error e)
{
    return names[e];
}

static void hist_json(const struct sc_hist *h, struct sc_buf *out)
{
    sc_buf_printf(out, "{\"mean\": %.1f", sc_hist_mean(h) / 1e3);
    for (unsigned i = 0; i < SC_COUNT(points); i++)
        sc_buf_printf(out, ", \"%s\": %.1f", points[i].name, (double)sc_hist_at(h, points[i].share) / 1e3);
    sc_buf_printf(out, ", \"min\": %.1f, \"max\": %.1f}", h->count ? (double)h->min / 1e3 : 0,
                  (double)h->max / 1e3);
}

void sc_load_json(const struct sc_load_config *c, const struct sc_load_result *r, struct sc_buf *out)
{
    sc_buf_printf(out, "{\"loop\": \"%s\", \"threads\": %u, \"connections\": %u, ",
                  c->rate > 0 ? c->poisson ? "open-poisson" : "open-constant" : "closed", c->threads,
                  c->connections);
    if (c->rate > 0)
        sc_buf_printf(out, "\"offered\": %.1f, ", c->rate);
    sc_buf_printf(out, "\"seconds\": %.6f, \"rate\": %.2f, \"good\": %llu, \"failed\": %llu, \"errors\": {",
                  r->seconds, sc_load_rate(r), (unsigned long long)r->good, (unsigned long long)r->failed);
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
        sc_buf_printf(out, "%s\"%s\": %llu", e ? ", " : "", names[e], (unsigned long long)r->errors[e]);
    sc_buf_printf(out, "}, \"bad_status\": %u, \"connects\": %llu, \"bytes_in\": %llu, \"bytes_out\": %llu, ",
                  r->bad_status, (unsigned long long)r->connects, (unsigned long long)r->bytes_in,
                  (unsigned long long)r->bytes_out);
    sc_buf_str(out, "\"latency_us\": ");
    hist_json(&r->latency, out);
    if (c->rate > 0) {
        sc_buf_str(out, ", \"service_us\": ");
        hist_json(&r->service, out);
    }
    sc_buf_str(out, "}\n");
}

static void hist_text(const char *name, const struct sc_hist *h, struct sc_buf *out)
{
    sc_buf_printf(out, "%-10s mean %.0f us", name, sc_hist_mean(h) / 1e3);
    for (unsigned i = 0; i < SC_COUNT(points); i++)
        sc_buf_printf(out, ", %s %.0f", points[i].name, (double)sc_hist_at(h, points[i].share) / 1e3);
    sc_buf_printf(out, ", max %.0f\n", (double)h->max / 1e3);
}

void sc_load_text(const struct sc_load_config *c, const struct sc_load_result *r, struct sc_buf *out)
{
    sc_buf_printf(out, "%.0f requests/s (%llu good in %.2f s, %u connections, %u threads", sc_load_rate(r),
                  (unsigned long long)r->good, r->seconds, c->connections, c->threads);
    if (c->rate > 0)
        sc_buf_printf(out, ", %.0f/s offered", c->rate);
    sc_buf_str(out, ")\n");
    hist_text("latency", &r->latency, out);
    if (c->rate > 0)
        hist_text("from send", &r->service, out);
    if (r->failed) {
        sc_buf_printf(out, "%llu FAILED:", (unsigned long long)r->failed);
        for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
            if (r->errors[e])
                sc_buf_printf(out, " %s %llu", names[e], (unsigned long long)r->errors[e]);
        if (r->bad_status)
            sc_buf_printf(out, " (first wrong status: %u)", r->bad_status);
        sc_buf_char(out, '\n');
    }
}
