/* A search for people: a table for the terminal, CSV, pictures, one page of HTML. Writers append to a buffer,
 * whose failure the caller looks at; no I/O. */
#ifndef SC_TUNE_REPORT_H
#define SC_TUNE_REPORT_H

#include "tune/state.h"

void sc_tune_text(const struct sc_tune *t, const struct sc_tune_about *a, struct sc_buf *out);
/* A line for each point under a line of names. */
void sc_tune_csv(const struct sc_tune *t, struct sc_buf *out);
/* One page without anything from elsewhere and without scripts, for light and dark. */
void sc_tune_html(const struct sc_tune *t, const struct sc_tune_about *a, struct sc_buf *out);

/* Pictures. `alone`: as a document of its own. False, and nothing appended: there is nothing to be seen. */
enum sc_tune_picture { SC_TUNE_LATENCY_BY_RATE, SC_TUNE_RATE_BY_LOAD, SC_TUNE_HEAT };
#define SC_TUNE_PICTURES 3
bool sc_tune_picture(const struct sc_tune *t, enum sc_tune_picture which, bool alone, struct sc_buf *out);
/* What they are called as files, without ".svg". */
const char *sc_tune_picture_name(enum sc_tune_picture which);

#endif
