#include "tune/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/array.h"
#include "load/page.h"
#include "tune/parts.h"

#define SHOWN 12 /* configurations in the terminal */

/* The branches by falling score; those without one last. */
static unsigned *ranking(const struct sc_tune *t)
{
    unsigned *order = sc_alloc_array(t->n + 1, sizeof *order);
    for (unsigned i = 0; i < t->n; i++) {
        unsigned at = i;
        for (; at && sc_tune_score(t, &t->branches[order[at - 1]]) < sc_tune_score(t, &t->branches[i]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return order;
}

static unsigned measured(const struct sc_tune *t)
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++)
        n += t->branches[i].npoints > 0;
    return n;
}

/* ---- what a reader has to know ---- */

static const struct sc_tune_point *recommended_point(const struct sc_tune *t)
{
    int best = sc_tune_recommended(t);
    return best < 0 ? NULL : sc_tune_best(t, &t->branches[best]);
}

static bool not_narrow(const struct sc_tune *t, struct sc_msg *why)
{
    const struct sc_tune_point *p = recommended_point(t);
    struct sc_tune_interval i = p ? sc_tune_interval(p) : (struct sc_tune_interval){0};
    if (!p || i.half <= t->goal.precision * i.mean)
        return false;
    if (isinf(i.half))
        (void)sc_fail(why, 0,
                      "it was measured once: how sure its figure is cannot be said; a larger --budget helps");
    else
        (void)sc_fail(
            why, 0,
            "the interval of its rate, ± %.1f %%, is not as narrow as --precision wants (± %g %%): the "
            "machine is noisy, or the budget too small",
            i.half / i.mean * 100, t->goal.precision * 100);
    return true;
}

/* Those that are not known well enough to say that they are slower. */
static bool rivals(const struct sc_tune *t, struct sc_msg *why)
{
    const int best = sc_tune_recommended(t);
    const struct sc_tune_branch *first = NULL;
    unsigned n = 0;
    char name[80], known[40] = "measured once";
    for (unsigned i = 0; best >= 0 && i < t->n; i++) {
        const struct sc_tune_branch *b = &t->branches[i];
        if (!sc_tune_may_be_faster(t, i, (unsigned)best))
            continue;
        n++;
        if (!first || sc_tune_reach(t, b) > sc_tune_reach(t, first))
            first = b;
    }
    if (!n)
        return false;
    const struct sc_tune_interval i = sc_tune_interval(sc_tune_best(t, first));
    sc_tune_name(&first->config, name, sizeof name);
    if (isfinite(i.half))
        snprintf(known, sizeof known, "± %.1f %%", i.half / i.mean * 100);
    (void)sc_fail(
        why, 0,
        "%u configuration%s may be faster than the recommended one, not being known within --precision "
        "(± %g %%)%s %s: %.1f requests/s, %s; a larger --budget helps",
        n, n > 1 ? "s" : "", t->goal.precision * 100, n > 1 ? ", first of all" : ":", name, i.mean, known);
    return true;
}

/* Branches that the budget left out. */
static bool left_out(const struct sc_tune *t, struct sc_msg *why)
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++)
        n += strcmp(t->branches[i].why, SC_TUNE_NO_TIME) == 0;
    if (n)
        (void)sc_fail(why, 0, "there was no time for %u configuration%s: a larger --budget helps", n,
                      n > 1 ? "s" : "");
    return n > 0;
}

static bool saturated(const struct sc_tune *t, struct sc_msg *why)
{
    const struct sc_tune_point *p = recommended_point(t);
    (void)sc_fail(
        why, 0,
        "the load generator itself was at its limit when the recommended configuration was measured: "
        "faster ones may not be told apart; --threads, or cores of its own, help");
    return p && p->saturated;
}

bool sc_tune_note(const struct sc_tune *t, unsigned which, struct sc_msg *text)
{
    static bool (*const notes[SC_TUNE_NOTES])(const struct sc_tune *,
                                              struct sc_msg *) = {not_narrow, rivals, left_out, saturated};
    return notes[which](t, text);
}

/* ---- text ---- */

static void memory(int64_t bytes, char *to, size_t size)
{
    if (bytes)
        snprintf(to, size, "%.0f", (double)bytes / 1048576);
    else
        *to = '\0';
}

/* Half of the interval in percent of the mean; "": it is not known. */
static void percent(const struct sc_tune_interval *i, char *to, size_t size)
{
    if (i->mean > 0 && isfinite(i->half))
        snprintf(to, size, "%.1f", i->half / i->mean * 100);
    else
        *to = '\0';
}

static void line(const struct sc_tune *t, unsigned at, struct sc_buf *out)
{
    const struct sc_tune_branch *b = &t->branches[at];
    const struct sc_tune_point *p = sc_tune_best(t, b);
    struct sc_tune_interval i = sc_tune_interval(p);
    char name[80], mib[32], half[32];
    sc_tune_name(&b->config, name, sizeof name);
    memory(b->memory, mib, sizeof mib);
    percent(&i, half, sizeof half);
    sc_buf_printf(out, "%s%s %-34s %10.1f %7s %9.3f %9.3f %8u %8s\n",
                  (int)at == sc_tune_recommended(t) ? ">" : " ", sc_tune_on_front(t, at) ? "*" : " ", name,
                  i.mean, half, (double)sc_hist_at(p->latency, 0.5) / 1e6, sc_tune_p99(p) / 1e6,
                  p->concurrency, mib);
}

void sc_tune_text(const struct sc_tune *t, const struct sc_tune_about *a, struct sc_buf *out)
{
    unsigned *order = ranking(t), shown = 0;
    struct sc_msg why;
    char reason[600];
    sc_buf_printf(out, "%s: %u of %u configurations measured in %.0f s", a->subject, measured(t), t->n,
                  t->spent);
    if (a->loading > 0)
        sc_buf_printf(out, ", and %.0f s of loading", a->loading);
    sc_buf_printf(out, "\n   %-34s %10s %7s %9s %9s %8s %8s\n", "", "requests/s", "± %", "p50, ms", "p99, ms",
                  "at once", "MiB");
    for (unsigned i = 0; i < t->n && shown < SHOWN; i++)
        if (sc_tune_score(t, &t->branches[order[i]]) > 0) {
            line(t, order[i], out);
            shown++;
        }
    for (unsigned i = 0; i < t->n; i++)
        if (t->branches[i].failed && t->branches[i].why[0]) {
            char name[80];
            sc_tune_name(&t->branches[i].config, name, sizeof name);
            sc_buf_printf(out, "   %s not used: %s\n", name, t->branches[i].why);
        }
    if (shown)
        sc_buf_str(out, "   > recommended, * on the Pareto front of throughput and p99\n");
    if (t->phase != SC_TUNE_DONE)
        sc_buf_printf(out, "PARTIAL: %s\n", a->ended);
    sc_tune_reason(t, sc_tune_recommended(t), reason, sizeof reason);
    sc_buf_printf(out, "recommended: %s\n", reason);
    for (unsigned i = 0; i < SC_TUNE_NOTES; i++)
        if (sc_tune_note(t, i, &why))
            sc_buf_printf(out, "NOTE: %s\n", why.text);
    for (unsigned i = 0; i < a->nnotes; i++)
        sc_buf_printf(out, "NOTE: %s\n", a->notes[i]);
    if (a->settings)
        sc_buf_printf(out, "\n%s", a->settings);
    free(order);
}

/* ---- CSV ---- */

void sc_tune_csv(const struct sc_tune *t, struct sc_buf *out)
{
    sc_buf_str(
        out, "batchSize,workers,threads,gpuSharing,concurrency,rate,half_interval,runs,p50_ms,p99_ms,failed,"
             "keeps_goal,generator_saturated,memory,pareto,recommended\n");
    const int best = sc_tune_recommended(t);
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; k < t->branches[i].npoints; k++) {
            const struct sc_tune_branch *b = &t->branches[i];
            const struct sc_tune_point *p = &b->points[k];
            struct sc_tune_interval in = sc_tune_interval(p);
            sc_buf_printf(out, "%u,%u,", b->config.batch, b->config.workers);
            if (b->config.threads >= 0)
                sc_buf_printf(out, "%d", b->config.threads);
            sc_buf_printf(out, ",%s,%u,%.1f,", sc_tune_way_name(b->config.way), p->concurrency, in.mean);
            if (isfinite(in.half))
                sc_buf_printf(out, "%.1f", in.half);
            sc_buf_printf(out, ",%u,%.6f,%.6f,%" PRIu64 ",%d,%d,%" PRId64 ",%d,%d\n", in.n,
                          (double)sc_hist_at(p->latency, 0.5) / 1e6, sc_tune_p99(p) / 1e6, p->failed,
                          sc_tune_keeps(t, p), p->saturated, b->memory, sc_tune_on_front(t, i),
                          (int)i == best);
        }
}

/* ---- HTML ---- */

static void row(const struct sc_tune *t, unsigned at, struct sc_buf *out)
{
    const struct sc_tune_branch *b = &t->branches[at];
    const struct sc_tune_point *p = sc_tune_best(t, b);
    struct sc_tune_interval i = p ? sc_tune_interval(p) : (struct sc_tune_interval){0};
    const bool best = (int)at == sc_tune_recommended(t);
    char name[80], mib[32], half[32];
    sc_tune_name(&b->config, name, sizeof name);
    memory(b->memory, mib, sizeof mib);
    percent(&i, half, sizeof half);
    sc_buf_printf(out, "<tr><td>%s%s%s%s</td>", best ? "<b>" : "", name, best ? "</b>" : "",
                  sc_tune_on_front(t, at) ? " *" : "");
    if (p)
        sc_buf_printf(out, "<td>%.1f</td><td>%s</td><td>%.3f</td><td>%.3f</td><td>%u</td>", i.mean, half,
                      (double)sc_hist_at(p->latency, 0.5) / 1e6, sc_tune_p99(p) / 1e6, p->concurrency);
    else
        sc_buf_str(out, "<td></td><td></td><td></td><td></td><td></td>");
    sc_buf_printf(out, "<td>%s</td><td>", mib);
    sc_xml_text(out, best ? "recommended" : b->why);
    sc_buf_str(out, "</td></tr>\n");
}

static void table(const struct sc_tune *t, struct sc_buf *out)
{
    unsigned *order = ranking(t);
    sc_buf_str(
        out,
        "<h2>Configurations</h2><p class=\"soft\">Each at its best load that keeps the goal; * is on the "
        "Pareto front of throughput and p99.</p><div "
        "class=\"w\"><table><tr><th></th><th>requests/s</th><th>± "
        "%</th><th>p50, ms</th><th>p99, ms</th><th>at once</th><th>MiB</th><th></th></tr>\n");
    for (unsigned i = 0; i < t->n; i++)
        row(t, order[i], out);
    sc_buf_str(out, "</table></div>\n");
    free(order);
}

void sc_tune_html(const struct sc_tune *t, const struct sc_tune_about *a, struct sc_buf *out)
{
    const int best = sc_tune_recommended(t);
    char text[600];
    struct sc_msg why;
    sc_page_begin(out, a->subject);
    if (best >= 0) {
        sc_tune_name(&t->branches[best].config, text, sizeof text);
        sc_page_element(out, "p", " class=\"big\"", text);
    }
    sc_tune_reason(t, best, text, sizeof text);
    sc_page_element(out, "p", "", text);
    if (t->phase != SC_TUNE_DONE)
        sc_page_note(out, "Partial:", a->ended);
    for (unsigned i = 0; i < SC_TUNE_NOTES; i++)
        if (sc_tune_note(t, i, &why))
            sc_page_note(out, "Note:", why.text);
    for (unsigned i = 0; i < a->nnotes; i++)
        sc_page_note(out, "Note:", a->notes[i]);
    if (a->settings)
        sc_page_element(out, "pre", "", a->settings);
    for (unsigned i = 0; i < SC_TUNE_PICTURES; i++) {
        size_t at = sc_page_open_picture(out);
        sc_page_close_picture(out, at, sc_tune_picture(t, (enum sc_tune_picture)i, false, out));
    }
    table(t, out);
    sc_page_facts(out, a->facts, a->nfacts);
    sc_buf_printf(
        out,
        "<tr><td>measured, s</td><td>%.0f</td></tr><tr><td>loading beside that, s</td><td>%.0f</td></tr>\n",
        t->spent, a->loading);
    sc_page_end(out, a->command);
}
