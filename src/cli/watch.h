/* `--watch`: a page of text on standard output, once or again and again. */
#ifndef SC_CLI_WATCH_H
#define SC_CLI_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct sc_watch {
    int32_t every_s; /* 0: one look */
    bool json;       /* one object a look instead of a page */
    bool terminal;   /* set by sc_watch_run: standard output is one */
    bool colour;     /* set by sc_watch_run: it is a page, and colours are wanted */
};

/* Calls look until there is no next time, or nobody reads any more. Returns what it returned last. */
int sc_watch_run(struct sc_watch *w, int (*look)(const struct sc_watch *w, void *context), void *context);
/* Shows what a look has found, at once, so that a live view does not flicker; in place of the last page. */
void sc_watch_show(const struct sc_watch *w, const struct sc_buf *page);

#endif
