#include "load/svg.h"

#include <math.h>
#include <stdio.h>

#include "base/array.h"

#define WIDTH 720
#define HEIGHT 300
#define LEFT 70
#define RIGHT 20
#define TOP 46
#define BOTTOM 50
#define LEGEND_ROW 16
#define TICKS_MAX 16

const char sc_svg_style[] =
    ".sc{--ink:#1f2328;--soft:#656d76;--grid:#d8dee4;--back:#ffffff;--c0:#2563c9;--c1:#d9480f;--c2:#2b8a3e;"
    "--c3:#9c36b5;--c4:#c2255c;--c5:#0b7285;--c6:#846005;--c7:#5c5f66}"
    "@media(prefers-color-scheme:dark){.sc{--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--back:#0d1117;"
    "--c0:#79aeff;--c1:#ff9a5c;--c2:#69db7c;--c3:#da8fff;--c4:#ff8fab;--c5:#66d9e8;--c6:#e8c45a;--c7:#adb5bd}"
    "}"
    ".sc text{font:12px system-ui,sans-serif;fill:var(--soft)}.sc .t{font-size:14px;font-weight:600;"
    "fill:var(--ink)}.sc .g{stroke:var(--grid);stroke-width:1}.sc .b{fill:var(--back)}"
    ".sc polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}";

void sc_xml_text(struct sc_buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        switch (*p) {
        case '<': sc_buf_str(out, "&lt;"); break;
        case '>': sc_buf_str(out, "&gt;"); break;
        case '&': sc_buf_str(out, "&amp;"); break;
        case '"': sc_buf_str(out, "&quot;"); break;
        default: sc_buf_char(out, (*p < ' ' && *p != '\n') || *p == 127 ? ' ' : (char)*p);
        }
    }
}

/* An axis: values from low to high on pixels from..to. */
struct axis {
    bool log;
    double low, high, from, to;
};

static bool fits(const struct axis *a, double v)
{
    return isfinite(v) && (!a->log || v > 0);
}

static double place(const struct axis *a, double v)
{
    double l = a->log ? log10(a->low) : a->low, h = a->log ? log10(a->high) : a->high;
    double x = a->log ? log10(v) : v;
    return a->from + (x - l) / (h - l) * (a->to - a->from);
}

static bool visible(const struct sc_chart_line *line, const struct axis *x, const struct axis *y, size_t i)
{
    return fits(x, line->x[i]) && fits(y, line->y[i]);
}

/* 1, 2 or 5 times a power of ten, so that there are about five of them. */
static double round_step(double span)
{
    double power = pow(10, floor(log10(span / 5))), left = span / 5 / power;
    return (left < 1.5 ? 1 : left < 3.5 ? 2 : left < 7.5 ? 5 : 10) * power;
}

static void widen(struct axis *a)
{
    if (a->log) {
        a->low = pow(10, floor(log10(a->low)));
        a->high = pow(10, ceil(log10(a->high)));
        if (a->high <= a->low)
            a->high = a->low * 10;
        return;
    }
    if (a->high <= a->low)
        a->high = a->low + (a->low > 0 ? a->low : 1);
    double step = round_step(a->high - a->low);
    a->low = floor(a->low / step) * step;
    a->high = ceil(a->high / step) * step;
}

static unsigned ticks(const struct axis *a, double to[TICKS_MAX])
{
    unsigned n = 0;
    double step = a->log ? 10 : round_step(a->high - a->low);
    while (n < TICKS_MAX) {
        double v = a->log ? a->low * pow(step, n) : a->low + n * step;
        if (v > a->high * 1.000001)
            break;
        to[n++] = fabs(v) < step / 1000 && !a->log ? 0 : v;
    }
    return n;
}

static void number(struct sc_buf *out, double v)
{
    if (fabs(v) >= 1e6)
        sc_buf_printf(out, "%.4gM", v / 1e6);
    else if (fabs(v) >= 10000)
        sc_buf_printf(out, "%.4gk", v / 1000);
    else
        sc_buf_printf(out, "%.4g", v);
}

static void x_tick(struct sc_buf *out, const struct axis *x, const struct axis *y, double at,
                   const char *text)
{
    double px = place(x, at);
    sc_buf_printf(out, "<line class=\"g\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", px, y->to, px,
                  y->from);
    sc_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", px, y->from + 17);
    if (text)
        sc_xml_text(out, text);
    else
        number(out, at);
    sc_buf_str(out, "</text>");
}

static void axes(const struct sc_chart *c, const struct axis *x, const struct axis *y, struct sc_buf *out)
{
    double at[TICKS_MAX];
    unsigned n = ticks(y, at);
    for (unsigned i = 0; i < n; i++) {
        double py = place(y, at[i]);
        sc_buf_printf(out, "<line class=\"g\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", LEFT, py,
                      WIDTH - RIGHT, py);
        sc_buf_printf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 8, py + 4);
        number(out, at[i]);
        sc_buf_str(out, "</text>");
    }
    for (unsigned i = 0; i < c->nx_ticks; i++)
        if (c->x_ticks[i].at >= x->low && c->x_ticks[i].at <= x->high * 1.000001)
            x_tick(out, x, y, c->x_ticks[i].at, c->x_ticks[i].text);
    n = c->nx_ticks ? 0 : ticks(x, at);
    for (unsigned i = 0; i < n; i++)
        x_tick(out, x, y, at[i], NULL);
    sc_buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2,
                  HEIGHT - 10);
    sc_xml_text(out, c->x_title);
    sc_buf_printf(out, "</text><text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">",
                  (TOP + HEIGHT - BOTTOM) / 2);
    sc_xml_text(out, c->y_title);
    sc_buf_str(out, "</text>");
}

static void draw_line(const struct sc_chart_line *l, unsigned colour, const struct axis *x,
                      const struct axis *y, struct sc_buf *out)
{
    size_t shown = 0, last = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!visible(l, x, y, i))
            continue;
        if (shown++ == 0)
            sc_buf_printf(out, "<polyline style=\"stroke:var(--c%u)\" points=\"", colour);
        sc_buf_printf(out, "%.1f,%.1f ", place(x, l->x[i]), place(y, l->y[i]));
        last = i;
    }
    if (shown)
        sc_buf_str(out, "\"/>");
    /* A line of one point is none. */
    if (shown == 1)
        sc_buf_printf(out, "<circle style=\"fill:var(--c%u)\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", colour,
                      place(x, l->x[last]), place(y, l->y[last]));
}

/* Names stand in rows above the chart. Writes them (out not NULL); the number of rows. */
static int legend(const struct sc_chart *c, struct sc_buf *out)
{
    int x = LEFT, row = 0;
    for (unsigned i = 0; i < c->nlines && c->nlines > 1; i++) {
        const int width = 36 + 7 * (int)strlen(c->lines[i].name);
        if (x > LEFT && x + width > WIDTH) {
            x = LEFT;
            row++;
        }
        if (out) {
            sc_buf_printf(out,
                          "<rect style=\"fill:var(--c%u)\" x=\"%d\" y=\"%d\" width=\"14\" height=\"3\"/>", i,
                          x, 30 + row * LEGEND_ROW);
            sc_buf_printf(out, "<text x=\"%d\" y=\"%d\">", x + 18, 36 + row * LEGEND_ROW);
            sc_xml_text(out, c->lines[i].name);
            sc_buf_str(out, "</text>");
        }
        x += width;
    }
    return row + 1;
}

bool sc_svg_chart(const struct sc_chart *c, bool alone, struct sc_buf *out)
{
    struct axis x = {.log = c->x_log, .low = INFINITY, .high = -INFINITY, .from = LEFT, .to = WIDTH - RIGHT};
    struct axis y = {.log = c->y_log, .low = INFINITY, .high = -INFINITY, .from = HEIGHT - BOTTOM, .to = TOP};
    for (unsigned k = 0; k < c->nlines; k++)
        for (size_t i = 0; i < c->lines[k].n; i++) {
            const struct sc_chart_line *l = &c->lines[k];
            if (!visible(l, &x, &y, i))
                continue;
            x.low = fmin(x.low, l->x[i]);
            x.high = fmax(x.high, l->x[i]);
            y.low = fmin(y.low, l->y[i]);
            y.high = fmax(y.high, l->y[i]);
        }
    if (!isfinite(x.low))
        return false;
    if (!y.log)
        y.low = fmin(y.low, 0);
    if (!c->x_ticks && !x.log)
        x.low = fmin(x.low, 0);
    if (x.high <= x.low)
        x.high = x.low + 1;
    if (x.log)
        widen(&x);
    widen(&y);
    const int lower = (legend(c, NULL) - 1) * LEGEND_ROW; /* than with one row of names */
    sc_buf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sc\" role=\"img\" viewBox=\"0 0 %d %d\" "
                  "width=\"%d\" height=\"%d\"><title>",
                  WIDTH, HEIGHT + lower, WIDTH, HEIGHT + lower);
    sc_xml_text(out, c->title);
    sc_buf_str(out, "</title>");
    if (alone)
        sc_buf_printf(out, "<style>%s</style>", sc_svg_style);
    sc_buf_printf(out, "<rect class=\"b\" width=\"%d\" height=\"%d\"/><text class=\"t\" x=\"%d\" y=\"18\">",
                  WIDTH, HEIGHT + lower, LEFT);
    sc_xml_text(out, c->title);
    sc_buf_str(out, "</text>");
    legend(c, out);
    if (lower)
        sc_buf_printf(out, "<g transform=\"translate(0 %d)\">", lower);
    axes(c, &x, &y, out);
    for (unsigned k = 0; k < c->nlines; k++)
        draw_line(&c->lines[k], k, &x, &y, out);
    if (lower)
        sc_buf_str(out, "</g>");
    sc_buf_str(out, "</svg>\n");
    return true;
}
