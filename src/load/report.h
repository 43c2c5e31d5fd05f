/*
 * A measurement as people and programs want to read it: text, JSON, CSV, pictures, one page of HTML. Writers
 * append to a buffer, whose failure the caller looks at; no I/O.
 */
#ifndef SC_LOAD_REPORT_H
#define SC_LOAD_REPORT_H

#include "base/buf.h"
#include "load/measure.h"

struct sc_report {
    const char *subject; /* what was measured: an address, a model */
    const char *command; /* as it was typed */
    const struct sc_load_config *load;
    const struct sc_measured *m;
    const struct sc_fact *facts;
    unsigned nfacts;
    const char *const *notes; /* what a reader has to know */
    unsigned nnotes;
};

#define SC_REPORT_BYTES (64u << 20)

/* A few lines for the terminal. */
void sc_report_text(const struct sc_report *r, struct sc_buf *out);
/* One JSON object on one line: everything, the histograms' buckets ([largest value in us, count]) included.
 */
void sc_report_json(const struct sc_report *r, struct sc_buf *out);
/* A line for each run under a line of names. */
void sc_report_csv(const struct sc_report *r, struct sc_buf *out);
/* One page without anything from elsewhere and without scripts, for light and dark. */
void sc_report_html(const struct sc_report *r, struct sc_buf *out);

/* The pictures of a report. `alone`: as a document of its own, else to stand in HTML. False: there is nothing
 * to be seen on this one. */
enum sc_picture {
    SC_PICTURE_LATENCY,
    SC_PICTURE_TIME,
    SC_PICTURE_TIME_LATENCY,
    SC_PICTURE_HOST,
    SC_PICTURE_GPU
};
#define SC_PICTURES 5
bool sc_report_picture(const struct sc_report *r, enum sc_picture which, bool alone, struct sc_buf *out);
/* What they are called as files, without ".svg". */
const char *sc_report_picture_name(enum sc_picture which);

/* "open, Poisson, 500/s" */
void sc_report_loop(const struct sc_load_config *c, char *to, size_t size);
/* "complete", "interrupted", "the server is gone" */
const char *sc_report_end(enum sc_load_end end);

#endif
