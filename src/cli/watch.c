#include "cli/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CLEAR "\033[H\033[J"

int sc_watch_run(struct sc_watch *w, int (*look)(const struct sc_watch *w, void *context), void *context)
{
    w->terminal = isatty(STDOUT_FILENO);
    w->colour = w->terminal && !w->json && !getenv("NO_COLOR");
    for (;;) {
        int rc = look(w, context);
        if (!w->every_s || ferror(stdout))
            return rc;
        nanosleep(&(struct timespec){.tv_sec = w->every_s}, NULL);
    }
}

void sc_watch_show(const struct sc_watch *w, const struct sc_buf *page)
{
    if (w->every_s && w->terminal && !w->json)
        fwrite(CLEAR, 1, sizeof CLEAR - 1, stdout);
    if (page->n)
        fwrite(page->p, 1, page->n, stdout);
    fflush(stdout);
}
