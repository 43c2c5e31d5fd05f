/*
 * Charts of lines as SVG: readable in light and dark (colours are CSS variables), no scripts, nothing from
 * elsewhere. Pure.
 */
#ifndef SC_LOAD_SVG_H
#define SC_LOAD_SVG_H

#include <stdbool.h>

#include "base/buf.h"

#define SC_CHART_LINES 8 /* colours that can be told apart */

struct sc_chart_line {
    const char *name;
    const double *x, *y; /* points that are not finite, or not above 0 on a logarithmic axis, are left out */
    size_t n;
};

struct sc_chart_tick {
    double at;
    const char *text;
};

struct sc_chart {
    const char *title, *x_title, *y_title;
    bool x_log, y_log;
    const struct sc_chart_tick *x_ticks; /* NULL: round numbers */
    unsigned nx_ticks;
    struct sc_chart_line lines[SC_CHART_LINES];
    unsigned nlines;
};

/* Appends the picture. alone: a document of its own. False, and nothing appended: no line has a point. */
bool sc_svg_chart(const struct sc_chart *c, bool alone, struct sc_buf *out);
/* The style that pictures need which are not alone. */
extern const char sc_svg_style[];
/* Text with what XML and HTML take for markup escaped; what XML forbids becomes a blank. */
void sc_xml_text(struct sc_buf *out, const char *text);

#endif
