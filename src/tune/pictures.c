/* The pictures of a search: curves of the best configurations, a map of all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/array.h"
#include "load/svg.h"
#include "tune/parts.h"
#include "tune/report.h"

const char *sc_tune_picture_name(enum sc_tune_picture which)
{
    static const char *const names[] = {"latency_by_rate", "rate_by_load", "configurations"};
    return names[which];
}

/* ---- curves ---- */

#define CURVES 6

static int by_concurrency(const void *a, const void *b)
{
    const struct sc_tune_point *x = *(const struct sc_tune_point *const *)a,
                               *y = *(const struct sc_tune_point *const *)b;
    return (x->concurrency > y->concurrency) - (x->concurrency < y->concurrency);
}

/* The best that have more than one point. */
static unsigned best_curves(const struct sc_tune *t, unsigned to[CURVES])
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++) {
        double score = sc_tune_score(t, &t->branches[i]);
        if (t->branches[i].npoints < 2 || score <= 0)
            continue;
        unsigned at = n;
        while (at && sc_tune_score(t, &t->branches[to[at - 1]]) < score)
            at--;
        for (unsigned k = SC_MIN(n, CURVES - 1u); k > at; k--)
            to[k] = to[k - 1];
        if (at < CURVES)
            to[at] = i;
        n = SC_MIN(n + 1, CURVES);
    }
    return n;
}

static bool curves(const struct sc_tune *t, bool by_load, bool alone, struct sc_buf *out)
{
    struct sc_chart c = {.title = by_load ? "Throughput by requests at once" : "Latency by throughput",
                         .x_title = by_load ? "requests at once" : "requests/s",
                         .y_title = by_load ? "requests/s" : "p99, ms",
                         .x_log = by_load,
                         .y_log = !by_load};
    unsigned which[CURVES];
    double xy[CURVES][2][SC_TUNE_POINTS_MAX];
    char names[CURVES][80];
    c.nlines = best_curves(t, which);
    for (unsigned i = 0; i < c.nlines; i++) {
        const struct sc_tune_branch *b = &t->branches[which[i]];
        const struct sc_tune_point *p[SC_TUNE_POINTS_MAX];
        for (unsigned k = 0; k < b->npoints; k++)
            p[k] = &b->points[k];
        qsort(p, b->npoints, sizeof(struct sc_tune_point *), by_concurrency);
        for (unsigned k = 0; k < b->npoints; k++) {
            bool fit = p[k]->nruns && !p[k]->failed;
            double rate = sc_tune_interval(p[k]).mean;
            xy[i][0][k] = by_load ? p[k]->concurrency : rate;
            xy[i][1][k] = !fit ? NAN : by_load ? rate : sc_tune_p99(p[k]) / 1e6;
        }
        sc_tune_name(&b->config, names[i], sizeof names[i]);
        c.lines[i] = (struct sc_chart_line){names[i], xy[i][0], xy[i][1], b->npoints};
    }
    return sc_svg_chart(&c, alone, out);
}

/* ---- the map ---- */

#define CELL_W 74
#define CELL_H 26
#define MAP_LEFT 90
#define MAP_TOP 46

static int by_number(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

/* The different values, growing; their number. */
static unsigned values(const struct sc_tune *t, bool workers, unsigned to[SC_TUNE_BRANCHES_MAX])
{
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++) {
        unsigned v = workers ? t->branches[i].config.workers : t->branches[i].config.batch, k = 0;
        while (k < n && to[k] != v)
            k++;
        if (k == n)
            to[n++] = v;
    }
    qsort(to, n, sizeof *to, by_number);
    return n;
}

static unsigned index_of(const unsigned *list, unsigned v)
{
    unsigned i = 0;
    while (list[i] != v)
        i++;
    return i;
}

static void cell(const struct sc_tune *t, unsigned at, double most, int x, int y, struct sc_buf *out)
{
    const struct sc_tune_branch *b = &t->branches[at];
    char name[80];
    double score = sc_tune_score(t, b);
    bool best = sc_tune_recommended(t) == (int)at;
    sc_tune_name(&b->config, name, sizeof name);
    sc_buf_printf(out,
                  "<g><title>%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" "
                  "style=\"fill:var(--c0);fill-opacity:%.3f;stroke:var(%s);stroke-width:%d\"/>",
                  name, x, y, CELL_W - 2, CELL_H - 2, score > 0 ? 0.05 + 0.6 * score / most : 0,
                  best ? "--c1" : "--grid", best ? 3 : 1);
    sc_buf_printf(out, "<text class=\"v\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">", x + CELL_W / 2 - 1,
                  y + 16);
    if (score > 0)
        sc_buf_printf(out, score < 100 ? "%.1f" : "%.0f", score);
    else
        sc_buf_str(out, b->failed ? "failed" : b->npoints ? "–" : "");
    sc_buf_str(out, "</text></g>");
}

/* The grids of each way and number of threads, one below the other. */
static bool heat(const struct sc_tune *t, bool alone, struct sc_buf *out)
{
    unsigned *batches = sc_alloc_array(2 * SC_TUNE_BRANCHES_MAX, sizeof *batches),
             *workers = batches + SC_TUNE_BRANCHES_MAX;
    unsigned nb = values(t, false, batches), nw = values(t, true, workers), grids = 0;
    struct sc_tune_config grid[SC_TUNE_BRANCHES_MAX];
    double most = 0;
    for (unsigned i = 0; i < t->n; i++) {
        const struct sc_tune_config *c = &t->branches[i].config;
        unsigned k = 0;
        while (k < grids && (grid[k].way != c->way || grid[k].threads != c->threads))
            k++;
        if (k == grids)
            grid[grids++] = *c;
        most = fmax(most, sc_tune_score(t, &t->branches[i]));
    }
    int each = 24 + (int)nw * CELL_H, width = MAP_LEFT + (int)nb * CELL_W + 10,
        height = MAP_TOP + (int)grids * each + 34;
    if (most > 0)
        sc_buf_printf(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sc\" role=\"img\" viewBox=\"0 0 %d %d\" "
            "width=\"%d\" height=\"%d\"><title>Configurations</title>",
            width, height, width, height);
    if (most > 0 && alone)
        sc_buf_printf(out, "<style>%s</style>", sc_svg_style);
    if (most > 0)
        sc_buf_printf(
            out,
            "<style>.sc .v{fill:var(--ink)}</style><rect class=\"b\" width=\"%d\" height=\"%d\"/><text "
            "class=\"t\" x=\"10\" y=\"18\">Requests/s by configuration</text>",
            width, height);
    for (unsigned g = 0; most > 0 && g < grids; g++) {
        int top = MAP_TOP + (int)g * each;
        sc_buf_printf(out, "<text x=\"10\" y=\"%d\">%s", top - 6, sc_tune_way_name(grid[g].way));
        if (grid[g].threads >= 0)
            sc_buf_printf(out, ", %d thread%s", grid[g].threads, grid[g].threads == 1 ? "" : "s");
        sc_buf_str(out, "</text>");
        for (unsigned k = 0; k < nw; k++)
            sc_buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%u worker%s</text>", MAP_LEFT - 8,
                          top + (int)k * CELL_H + 16, workers[k], workers[k] > 1 ? "s" : "");
        for (unsigned i = 0; i < t->n; i++) {
            const struct sc_tune_config *c = &t->branches[i].config;
            if (c->way == grid[g].way && c->threads == grid[g].threads)
                cell(t, i, most, MAP_LEFT + (int)index_of(batches, c->batch) * CELL_W,
                     top + (int)index_of(workers, c->workers) * CELL_H, out);
        }
    }
    for (unsigned k = 0; most > 0 && k < nb; k++)
        sc_buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">batch %u</text>",
                      MAP_LEFT + (int)k * CELL_W + CELL_W / 2, height - 20, batches[k]);
    if (most > 0)
        sc_buf_str(out, "</svg>\n");
    free(batches);
    return most > 0;
}

bool sc_tune_picture(const struct sc_tune *t, enum sc_tune_picture which, bool alone, struct sc_buf *out)
{
    return which == SC_TUNE_HEAT ? heat(t, alone, out) : curves(t, which == SC_TUNE_RATE_BY_LOAD, alone, out);
}
