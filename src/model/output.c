#include "model/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"

#define TAIL 2048
#define TURN 16 /* reads of one wake-up */

struct sc_output {
    uv_poll_t poll;
    int fd;
    char thread[128];
    bool is_stderr;
    char line[SC_LOG_LINE_MAX];
    size_t n;
    char tail[TAIL];
    size_t ntail;
};

static void keep(struct sc_output *o, struct sc_span s)
{
    if (s.n > TAIL)
        s = sc_span_sub(s, s.n - TAIL, s.n);
    if (o->ntail + s.n > TAIL) {
        size_t drop = o->ntail + s.n - TAIL;
        memmove(o->tail, o->tail + drop, o->ntail - drop);
        o->ntail -= drop;
    }
    memcpy(o->tail + o->ntail, s.p, s.n);
    o->ntail += s.n;
}

static void end_line(struct sc_output *o)
{
    sc_log_line(SC_LOGGER_MODEL, o->is_stderr ? SC_LOG_WARN : SC_LOG_INFO, o->thread, sc_span(o->line, o->n));
    o->n = 0;
}

static bool read_some(struct sc_output *o)
{
    char bytes[4096];
    ssize_t n = read(o->fd, bytes, sizeof bytes);
    if (n <= 0)
        return false;
    keep(o, sc_span(bytes, (size_t)n));
    for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            end_line(o);
        else if (o->n < sizeof o->line)
            o->line[o->n++] = bytes[i];
    }
    return true;
}

static void readable(uv_poll_t *h, int status, int events)
{
    struct sc_output *o = h->data;
    (void)status;
    (void)events;
    for (int i = 0; i < TURN && read_some(o); i++)
        ;
}

struct sc_output *sc_output_open(struct sc_loop *l, int fd, const struct sc_output_spec *spec)
{
    struct sc_output *o = sc_alloc(sizeof *o);
    o->fd = fd;
    o->is_stderr = spec->is_stderr;
    strncpy(o->thread, spec->thread, sizeof o->thread - 1);
    uv_poll_init(&l->uv, &o->poll, fd);
    o->poll.data = o;
    uv_poll_start(&o->poll, UV_READABLE, readable);
    return o;
}

static void closed(uv_handle_t *h)
{
    struct sc_output *o = h->data;
    close(o->fd);
    free(o);
}

void sc_output_close(struct sc_output *o)
{
    uv_close((uv_handle_t *)&o->poll, closed);
}

struct sc_span sc_output_tail(const struct sc_output *o)
{
    return sc_span(o->tail, o->ntail);
}

void sc_output_drain(struct sc_output *o)
{
    for (int i = 0; i < TURN * 16 && read_some(o); i++)
        ;
    if (o->n)
        end_line(o);
}
