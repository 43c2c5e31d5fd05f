#include "model/report_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"

#define READ_BYTES 16384
#define TURN_READS 4

struct sc_report_lines {
    uv_poll_t poll;
    int fd;
    struct sc_buf line;
    bool skipping; /* the rest of a line that is too long */
    void (*fn)(void *arg, struct sc_span line);
    void *arg;
};

static bool read_some(struct sc_report_lines *r)
{
    char bytes[READ_BYTES];
    ssize_t n = read(r->fd, bytes, sizeof bytes);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    struct sc_span rest = sc_span(bytes, (size_t)n);
    while (rest.n) {
        size_t end = sc_span_find(rest, '\n');
        if (!r->skipping)
            sc_buf_span(&r->line, sc_span_sub(rest, 0, end));
        if (end < rest.n) {
            if (!r->skipping && !r->line.failed)
                r->fn(r->arg, sc_buf_view(&r->line));
            sc_buf_clear(&r->line);
            r->line.failed = 0;
            r->skipping = false;
        } else if (r->line.failed) {
            r->skipping = true;
        }
        rest = sc_span_sub(rest, end + 1, rest.n);
    }
    return true;
}

static void readable(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    for (int i = 0; i < TURN_READS && read_some(h->data); i++)
        ;
}

struct sc_report_lines *sc_report_lines_open(struct sc_loop *l, int fd, size_t longest,
                                             void (*fn)(void *arg, struct sc_span line), void *arg)
{
    struct sc_report_lines *r = sc_alloc(sizeof *r);
    r->fd = fd;
    r->fn = fn;
    r->arg = arg;
    sc_buf_init(&r->line, longest);
    uv_poll_init(&l->uv, &r->poll, fd);
    r->poll.data = r;
    uv_poll_start(&r->poll, UV_READABLE, readable);
    return r;
}

static void closed(uv_handle_t *h)
{
    struct sc_report_lines *r = h->data;
    close(r->fd);
    sc_buf_free(&r->line);
    free(r);
}

void sc_report_lines_close(struct sc_report_lines *r)
{
    if (r)
        uv_close((uv_handle_t *)&r->poll, closed);
}
