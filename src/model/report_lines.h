/* Reports that a helper process prints, a line each, read on a loop. A line that is too long is dropped. */
#ifndef SC_MODEL_REPORT_LINES_H
#define SC_MODEL_REPORT_LINES_H

#include "base/span.h"
#include "net/loop.h"

struct sc_report_lines;

/* Takes fd over, a pipe's reading end; fn gets every line without its newline, on loop l, until the close. */
struct sc_report_lines *sc_report_lines_open(struct sc_loop *l, int fd, size_t longest,
                                             void (*fn)(void *arg, struct sc_span line), void *arg);
/* NULL is fine. */
void sc_report_lines_close(struct sc_report_lines *r);

#endif
