/* One page: figures, pictures, tables; works from a file, offline, printed. */
#include <inttypes.h>
#include <stdio.h>

#include "load/report_parts.h"
#include "load/svg.h"

const char sc_page_style[] =
    ":root{color-scheme:light dark}body{margin:0;background:#fff;color:#1f2328;font:15px/1.5 "
    "system-ui,sans-serif}"
    "main{max-width:760px;margin:0 auto;padding:24px "
    "16px}h1{font-size:22px;overflow-wrap:anywhere}h2{font-size:17px;"
    "margin-top:32px}table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-"
    "nums}"
    "td,th{padding:4px 8px;text-align:right;border-bottom:1px solid #d8dee4}td:first-child,th:first-child{"
    "text-align:left;overflow-wrap:anywhere}.w{overflow-x:auto}.big{font-size:30px;font-weight:600}"
    ".note{border-left:4px solid #d9480f;padding:4px 12px;margin:8px "
    "0}.soft{color:#656d76}code{overflow-wrap:"
    "anywhere}svg{max-width:100%;height:auto}@media(prefers-color-scheme:dark){body{background:#0d1117;color:"
    "#e6edf3}"
    "td,th{border-color:#30363d}.soft{color:#9198a1}}";

static void cell(struct sc_buf *out, const char *tag, const char *text)
{
    sc_buf_printf(out, "<%s>", tag);
    sc_xml_text(out, text);
    sc_buf_printf(out, "</%s>", tag);
}

static void note(struct sc_buf *out, const char *before, const char *text)
{
    sc_buf_printf(out, "<p class=\"note\"><b>%s</b> ", before);
    sc_xml_text(out, text);
    sc_buf_str(out, "</p>\n");
}

static void head(const struct sc_report *r, struct sc_buf *out)
{
    struct sc_spread rate = sc_measured_rate(r->m);
    struct sc_spread p50 = sc_measured_latency(r->m, 0.5), p99 = sc_measured_latency(r->m, 0.99);
    char when[40], loop[80];
    sc_report_time(r->m->began_ms, when, sizeof when);
    sc_report_loop(r->load, loop, sizeof loop);
    sc_buf_printf(out, "<p class=\"big\">%.1f requests/s</p><p>", rate.median);
    if (r->m->nruns > 1)
        sc_buf_printf(out, "Median of %u runs, %.1f to %.1f. ", r->m->nruns, rate.low, rate.high);
    sc_buf_printf(out, "Latency p50 %.3f ms, p99 %.3f ms", p50.median / 1e6, p99.median / 1e6);
    if (r->m->nruns > 1)
        sc_buf_printf(out, " (%.3f to %.3f)", p99.low / 1e6, p99.high / 1e6);
    sc_buf_printf(out, ". %s; loop %s; %u connections; %s</p>\n", sc_load_protocol(r->load), loop,
                  r->load->connections, when);
}

static void warnings(const struct sc_report *r, struct sc_buf *out)
{
    const struct sc_load_result *a = &r->m->all;
    struct sc_msg why;
    char text[160];
    if (r->m->ended != SC_LOAD_COMPLETE)
        note(out, "Partial:", sc_report_end(r->m->ended));
    if (a->failed) {
        snprintf(text, sizeof text, "%" PRIu64 " requests, not counted as throughput.", a->failed);
        note(out, "Failed:", text);
    }
    if (a->wrong[0])
        note(out, "The first wrong answer:", a->wrong);
    if (sc_load_saturated(r->load, a, &why))
        note(out, "Generator:", why.text);
    for (unsigned i = 0; i < r->nnotes; i++)
        note(out, "Note:", r->notes[i]);
}

static void row(struct sc_buf *out, const char *name, const struct sc_load_result *x, double rate)
{
    sc_buf_str(out, "<tr>");
    cell(out, "td", name);
    sc_buf_printf(out, "<td>%.1f</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%.3f</td>", rate, x->good,
                  x->failed, sc_hist_mean(&x->latency) / 1e6);
    for (unsigned i = 0; i < SC_QUANTILES; i++)
        sc_buf_printf(out, "<td>%.3f</td>", (double)sc_hist_at(&x->latency, sc_quantiles[i].share) / 1e6);
    sc_buf_printf(out, "<td>%.3f</td></tr>\n", (double)x->latency.max / 1e6);
}

static void runs(const struct sc_report *r, struct sc_buf *out)
{
    char name[32];
    sc_buf_str(
        out,
        "<h2>Runs</h2><div class=\"w\"><table><tr><th></th><th>requests/s</th><th>good</th><th>failed</th>"
        "<th>mean, ms</th>");
    for (unsigned i = 0; i < SC_QUANTILES; i++)
        cell(out, "th", sc_quantiles[i].name);
    sc_buf_str(out, "<th>max</th></tr>\n");
    for (unsigned i = 0; i < r->m->nruns; i++) {
        snprintf(name, sizeof name, "run %u", i + 1);
        row(out, name, &r->m->runs[i], sc_load_rate(&r->m->runs[i]));
    }
    if (r->m->nruns > 1)
        row(out, "all", &r->m->all, sc_measured_rate(r->m).median);
    sc_buf_str(out, "</table></div>\n");
    if (!r->m->all.failed)
        return;
    sc_buf_str(out, "<h2>Failures</h2><table>");
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
        if (r->m->all.errors[e])
            sc_buf_printf(out, "<tr><td>%s</td><td>%" PRIu64 "</td></tr>\n", sc_load_error_name(e),
                          r->m->all.errors[e]);
    sc_buf_str(out, "</table>\n");
}

static void gpus(const struct sc_samples *s, struct sc_buf *out)
{
    if (!s->ngpus)
        return;
    sc_buf_str(
        out, "<h2>GPUs</h2><table><tr><th></th><th>busy, %</th><th>memory, MiB</th><th>power, W</th></tr>\n");
    for (unsigned i = 0; i < s->ngpus; i++) {
        sc_buf_printf(out, "<tr><td>GPU %u, ", i);
        sc_xml_text(out, s->gpu_name[i]);
        sc_buf_str(out, "</td>");
        for (unsigned which = 0; which < 3; which++)
            sc_buf_printf(out, "<td>%.1f</td>", sc_samples_mean(s, (int)i, which));
        sc_buf_str(out, "</tr>\n");
    }
    sc_buf_printf(out, "</table><p class=\"soft\">Means over the measurement; driver ");
    sc_xml_text(out, s->driver);
    sc_buf_str(out, ".</p>\n");
}

static void metrics(const struct sc_samples *s, struct sc_buf *out)
{
    if (s->scrapes == 0)
        return;
    sc_buf_str(out, "<h2>The server's own metrics</h2>");
    if (s->scrapes_failed)
        note(out, "Not all of them could be read:", s->trouble);
    sc_buf_str(out,
               "<p class=\"soft\">What moved; counters by how much, gauges their mean and largest value.</p>"
               "<div class=\"w\"><table><tr><th></th><th>counted</th><th>mean</th><th>max</th></tr>\n");
    for (unsigned i = 0; i < s->nmetrics; i++) {
        const struct sc_metric_seen *m = &s->metrics[i];
        if (m->min >= m->max)
            continue;
        sc_buf_str(out, "<tr>");
        cell(out, "td", m->name);
        if (m->counter)
            sc_buf_printf(out, "<td>%g</td><td></td><td></td></tr>\n", m->last - m->first);
        else
            sc_buf_printf(out, "<td></td><td>%g</td><td>%g</td></tr>\n", m->sum / m->n, m->max);
    }
    sc_buf_str(out, "</table></div>\n");
}

void sc_report_html(const struct sc_report *r, struct sc_buf *out)
{
    sc_buf_str(out,
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
               "content=\"width=device-width,initial-scale=1\"><title>");
    sc_xml_text(out, r->subject);
    sc_buf_printf(out, "</title><style>%s%s</style></head><body><main>\n", sc_page_style, sc_svg_style);
    cell(out, "h1", r->subject);
    head(r, out);
    warnings(r, out);
    for (unsigned i = 0; i < SC_PICTURES; i++) {
        size_t at = out->n;
        sc_buf_str(out, "<p>");
        if (sc_report_picture(r, (enum sc_picture)i, false, out))
            sc_buf_str(out, "</p>\n");
        else
            out->n = at;
    }
    runs(r, out);
    gpus(&r->m->samples, out);
    metrics(&r->m->samples, out);
    sc_buf_str(out, "<h2>Where and how</h2><table>");
    for (unsigned i = 0; i < r->nfacts; i++) {
        sc_buf_str(out, "<tr>");
        cell(out, "td", r->facts[i].name);
        cell(out, "td", r->facts[i].value);
        sc_buf_str(out, "</tr>\n");
    }
    sc_buf_printf(out, "<tr><td>generator, CPU seconds</td><td>%.2f</td></tr>", r->m->all.cpu);
    sc_buf_printf(out, "<tr><td>generator, busiest thread, of a core</td><td>%.2f</td></tr>",
                  r->m->all.cpu_busiest);
    sc_buf_printf(out, "<tr><td>generator, lateness p99, ms</td><td>%.3f</td></tr></table>\n",
                  (double)sc_hist_at(&r->m->all.lag, 0.99) / 1e6);
    sc_buf_str(out, "<p><code>");
    sc_xml_text(out, r->command);
    sc_buf_str(out, "</code></p></main></body></html>\n");
}
