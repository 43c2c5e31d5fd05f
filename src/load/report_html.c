/* One page: figures, pictures, tables; works from a file, offline, printed. */
#include <inttypes.h>
#include <stdio.h>

#include "load/page.h"
#include "load/report_parts.h"

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
        sc_page_note(out, "Partial:", sc_report_end(r->m->ended));
    if (a->failed) {
        snprintf(text, sizeof text, "%" PRIu64 " requests, not counted as throughput.", a->failed);
        sc_page_note(out, "Failed:", text);
    }
    if (a->wrong[0])
        sc_page_note(out, "The first wrong answer:", a->wrong);
    if (sc_load_saturated(r->load, a, &why))
        sc_page_note(out, "Generator:", why.text);
    for (unsigned i = 0; i < r->nnotes; i++)
        sc_page_note(out, "Note:", r->notes[i]);
}

static void row(struct sc_buf *out, const char *name, const struct sc_load_result *x, double rate)
{
    sc_buf_str(out, "<tr>");
    sc_page_element(out, "td", "", name);
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
        sc_page_element(out, "th", "", sc_quantiles[i].name);
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
        sc_page_note(out, "Not all of them could be read:", s->trouble);
    sc_buf_str(out,
               "<p class=\"soft\">What moved; counters by how much, gauges their mean and largest value.</p>"
               "<div class=\"w\"><table><tr><th></th><th>counted</th><th>mean</th><th>max</th></tr>\n");
    for (unsigned i = 0; i < s->nmetrics; i++) {
        const struct sc_metric_seen *m = &s->metrics[i];
        if (m->min >= m->max)
            continue;
        sc_buf_str(out, "<tr>");
        sc_page_element(out, "td", "", m->name);
        if (m->counter)
            sc_buf_printf(out, "<td>%.15g</td><td></td><td></td></tr>\n", m->last - m->first);
        else
            sc_buf_printf(out, "<td></td><td>%.9g</td><td>%.9g</td></tr>\n", m->sum / m->n, m->max);
    }
    sc_buf_str(out, "</table></div>\n");
}

void sc_report_html(const struct sc_report *r, struct sc_buf *out)
{
    sc_page_begin(out, r->subject);
    head(r, out);
    warnings(r, out);
    for (unsigned i = 0; i < SC_PICTURES; i++) {
        size_t at = sc_page_open_picture(out);
        sc_page_close_picture(out, at, sc_report_picture(r, (enum sc_picture)i, false, out));
    }
    runs(r, out);
    gpus(&r->m->samples, out);
    metrics(&r->m->samples, out);
    sc_page_facts(out, r->facts, r->nfacts);
    sc_buf_printf(out, "<tr><td>generator, CPU seconds</td><td>%.2f</td></tr>", r->m->all.cpu);
    sc_buf_printf(out, "<tr><td>generator, busiest thread, of a core</td><td>%.2f</td></tr>",
                  r->m->all.cpu_busiest);
    sc_buf_printf(out, "<tr><td>generator, lateness p99, ms</td><td>%.3f</td></tr>\n",
                  (double)sc_hist_at(&r->m->all.lag, 0.99) / 1e6);
    sc_page_end(out, r->command);
}
