/* Which lines the pictures of a report have. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "load/report.h"
#include "load/svg.h"

#define NAME 48

/* A chart with memory for its points. */
struct drawing {
    struct sc_chart chart;
    char names[SC_CHART_LINES][NAME];
};

static double *add_line(struct drawing *d, const char *name, size_t n)
{
    if (d->chart.nlines == SC_CHART_LINES || n == 0)
        return NULL;
    double *xy = sc_alloc_array(2 * n, sizeof *xy);
    unsigned i = d->chart.nlines++;
    snprintf(d->names[i], NAME, "%s", name);
    d->chart.lines[i] = (struct sc_chart_line){.name = d->names[i], .x = xy, .y = xy + n, .n = n};
    return xy;
}

/* Latency by percentile; the axis gives each nine the same room. */
static void percentiles(struct drawing *d, const char *name, const struct sc_hist *h)
{
    enum { STEPS = 240 };
    double nines = h->count > 1 ? fmin(log10((double)h->count), 6) : 0.5;
    double *xy = h->count ? add_line(d, name, STEPS + 1) : NULL;
    for (unsigned i = 0; xy && i <= STEPS; i++) {
        xy[i] = nines * i / STEPS;
        xy[STEPS + 1 + i] = (double)sc_hist_at(h, i == STEPS ? 1 : 1 - pow(10, -xy[i])) / 1e6;
    }
}

static void draw_latency(struct drawing *d, const struct sc_report *r)
{
    static const struct sc_chart_tick at[] = {{0, "0 %"},      {0.30103, "50 %"}, {1, "90 %"},
                                              {2, "99 %"},     {3, "99.9 %"},     {4, "99.99 %"},
                                              {5, "99.999 %"}, {6, "99.9999 %"}};
    const struct sc_measured *m = r->m;
    char name[NAME];
    d->chart.title = "Latency by percentile";
    d->chart.x_title = "share of requests that are not slower";
    d->chart.y_title = "ms";
    d->chart.y_log = true;
    d->chart.x_ticks = at;
    d->chart.nx_ticks = SC_COUNT(at);
    bool open = r->load->rate > 0;
    percentiles(d, open ? "from the intended time" : "all runs", &m->all.latency);
    if (open)
        percentiles(d, "from the sending", &m->all.service);
    for (unsigned i = 0; i < m->nruns && m->nruns > 1; i++) {
        snprintf(name, sizeof name, "run %u", i + 1);
        percentiles(d, name, &m->runs[i].latency);
    }
}

static void draw_time(struct drawing *d, const struct sc_report *r, bool latency)
{
    const struct sc_measured *m = r->m;
    d->chart.title = latency ? "Latency over time" : "Requests a second over time";
    d->chart.x_title = "seconds of the run";
    d->chart.y_title = latency ? "ms, mean" : "requests/s";
    for (unsigned i = 0; i < m->nruns; i++) {
        const struct sc_series *s = &m->runs[i].series;
        double width = (double)s->width * 1e-9;
        char name[NAME];
        /* What came in after the end stands in a stretch of its own, which is not a whole one. */
        unsigned n = SC_MIN(s->n, (unsigned)ceil(m->runs[i].seconds / width));
        snprintf(name, sizeof name, "run %u", i + 1);
        double *xy = add_line(d, name, n);
        for (unsigned k = 0; xy && k < n; k++) {
            const struct sc_series_point *p = &s->point[k];
            double stretch = fmin(width, m->runs[i].seconds - k * width);
            xy[k] = (k + 0.5) * width;
            xy[n + k] = latency ? (p->good ? (double)p->sum / (double)p->good / 1e6 : NAN)
                                : (double)p->good / fmax(stretch, width / 4);
        }
        if (latency || !m->runs[i].failed)
            continue;
        snprintf(name, sizeof name, "run %u, failed", i + 1);
        xy = add_line(d, name, n);
        for (unsigned k = 0; xy && k < n; k++) {
            xy[k] = (k + 0.5) * width;
            xy[n + k] = (double)s->point[k].failed / width;
        }
    }
}

static void sampled(struct drawing *d, const struct sc_samples *s, const char *name, int gpu, unsigned which)
{
    double *xy = sc_samples_mean(s, gpu, which) < 0 ? NULL : add_line(d, name, s->n);
    for (unsigned i = 0; xy && i < s->n; i++) {
        double v = sc_samples_value(&s->list[i], gpu, which);
        xy[i] = (double)s->list[i].seconds;
        xy[s->n + i] = v < 0 ? NAN : v;
    }
}

static void draw_samples(struct drawing *d, const struct sc_report *r, bool gpus)
{
    const struct sc_samples *s = &r->m->samples;
    char name[NAME];
    d->chart.title = gpus ? "GPUs: time with a kernel" : "The machine, generator and server together";
    d->chart.x_title = "seconds, pauses between runs included";
    d->chart.y_title = "percent";
    for (unsigned i = 0; gpus && i < s->ngpus; i++) {
        snprintf(name, sizeof name, "GPU %u", i);
        sampled(d, s, name, (int)i, 0);
    }
    if (!gpus) {
        sampled(d, s, "processors", -1, 0);
        sampled(d, s, "memory", -1, 1);
    }
}

const char *sc_report_picture_name(enum sc_picture which)
{
    static const char *const names[SC_PICTURES] = {"latency", "rate_over_time", "latency_over_time",
                                                   "machine", "gpu"};
    return names[which];
}

bool sc_report_picture(const struct sc_report *r, enum sc_picture which, bool alone, struct sc_buf *out)
{
    struct drawing d = {0};
    switch (which) {
    case SC_PICTURE_LATENCY: draw_latency(&d, r); break;
    case SC_PICTURE_TIME: draw_time(&d, r, false); break;
    case SC_PICTURE_TIME_LATENCY: draw_time(&d, r, true); break;
    case SC_PICTURE_HOST: draw_samples(&d, r, false); break;
    case SC_PICTURE_GPU: draw_samples(&d, r, true); break;
    }
    bool drawn = sc_svg_chart(&d.chart, alone, out);
    for (unsigned i = 0; i < d.chart.nlines; i++)
        free((double *)d.chart.lines[i].x);
    return drawn;
}
