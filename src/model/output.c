#include "model/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/utf8.h"
#include "metrics/backend.h"

#define DRAIN_BYTES (1u << 20) /* a grandchild may go on writing while its dead parent is collected */
#define CROWDED_MS 5

struct sc_output {
    uv_poll_t poll;
    uv_timer_t timer; /* a line that waits for its end, or a log that is behind */
    int fd, handles;
    bool is_stderr, closing;
    bool paused; /* the log is behind: the pipe is not polled */
    unsigned waited_ms;
    size_t n;          /* bytes of a line that has not ended */
    bool after_return; /* the last line ended with a carriage return: a newline belongs to it */
    bool in_pieces;    /* what is there continues a line that was too long */
    struct sc_metrics *metrics;
    void (*on_pid)(void *ctx, int pid);
    void *ctx;
    char *thread;
    size_t tail_n;
    char tail[2 * SC_OUTPUT_TAIL_BYTES];
    char line[SC_OUTPUT_LINE_BYTES];
};

/* ---- lines ------------------------------------------------------------------------------------------- */

static void keep(struct sc_output *o, struct sc_span s)
{
    if (s.n >= SC_OUTPUT_TAIL_BYTES)
        s = sc_span_sub(s, s.n - SC_OUTPUT_TAIL_BYTES + 1, s.n);
    if (o->tail_n + s.n + 1 > sizeof o->tail) {
        size_t kept = SC_OUTPUT_TAIL_BYTES - 1;
        memmove(o->tail, o->tail + o->tail_n - kept, kept);
        o->tail_n = kept;
    }
    if (s.n)
        memcpy(o->tail + o->tail_n, s.p, s.n);
    o->tail_n += s.n;
    o->tail[o->tail_n++] = '\n';
}

static bool harmless(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c >= 0x7F)
            return false;
    }
    return true;
}

/* Copies as much of *s as fits, replacing what a terminal or a reader could stumble over; advances *s. */
static size_t clean(char *out, size_t room, struct sc_span *s)
{
    size_t n = 0, i = 0;
    while (i < s->n && n + 4 <= room) {
        unsigned char c = (unsigned char)s->p[i];
        unsigned k = sc_utf8_length(s->p + i, s->n - i);
        bool control = (c < ' ' && c != '\t') || c == 0x7F;
        /* U+0080 to U+009F are controls, too. */
        if (k == 0 || (k == 2 && c == 0xC2 && (unsigned char)s->p[i + 1] < 0xA0)) {
            memcpy(out + n, SC_UTF8_REPLACEMENT, 3);
            n += 3;
            i += k ? k : 1;
            continue;
        }
        if (control)
            out[n] = '?';
        else
            memcpy(out + n, s->p + i, k);
        n += k;
        i += k;
    }
    *s = sc_span_sub(*s, i, s->n);
    return n;
}

static void log_text(struct sc_output *o, struct sc_span s)
{
    enum sc_log_level level = o->is_stderr ? SC_LOG_WARN : SC_LOG_INFO;
    if (s.n <= SC_LOG_LINE_MAX && harmless(s)) {
        keep(o, s);
        sc_log_line(SC_LOGGER_MODEL, level, o->thread, s);
        return;
    }
    char piece[SC_LOG_LINE_MAX];
    do {
        struct sc_span c = sc_span(piece, clean(piece, sizeof piece, &s));
        keep(o, c);
        sc_log_line(SC_LOGGER_MODEL, level, o->thread, c);
    } while (s.n);
}

static void tell_pid(struct sc_output *o, struct sc_span s)
{
    uint64_t pid;
    if (o->on_pid && sc_span_starts(s, SC_SPAN("[PID]")) &&
        sc_span_u64(sc_span_sub(s, 5, s.n), INT_MAX, &pid))
        o->on_pid(o->ctx, (int)pid);
}

static void take_line(struct sc_output *o, struct sc_span s)
{
    /* The C++ backend's lines have this before them. */
    struct sc_span rest = sc_span_starts(s, SC_SPAN("INFO > ")) ? sc_span_sub(s, 7, s.n) : s;
    bool piece = o->in_pieces;
    o->in_pieces = false;
    if (!piece && rest.n && rest.p[0] == '[') {
        if (sc_span_starts(rest, SC_SPAN("[METRICS]"))) {
            if (o->metrics)
                sc_metrics_backend_line(o->metrics, s, sc_span_sub(rest, 9, rest.n), o->thread);
            return;
        }
        tell_pid(o, rest);
    }
    log_text(o, s);
}

/* Takes the lines out of the buffer, of which the first `old` bytes hold no end of a line. */
static void take_lines(struct sc_output *o, size_t old)
{
    size_t start = 0;
    for (size_t i = old; i < o->n; i++) {
        char c = o->line[i];
        if (c != '\n' && c != '\r') {
            o->after_return = false;
            continue;
        }
        if (c == '\n' && o->after_return && i == start)
            o->after_return = false;
        else {
            take_line(o, sc_span(o->line + start, i - start));
            o->after_return = c == '\r';
        }
        start = i + 1;
    }
    o->n -= start;
    if (start)
        memmove(o->line, o->line + start, o->n);
    if (o->n == sizeof o->line) {
        take_line(o, sc_span(o->line, o->n));
        o->in_pieces = true;
        o->n = 0;
    }
}

static void take_rest(struct sc_output *o)
{
    if (o->n)
        take_line(o, sc_span(o->line, o->n));
    o->n = 0;
}

/* Bytes read; 0 at the end, negative when there are none now. */
static ssize_t read_some(struct sc_output *o)
{
    size_t old = o->n, room = SC_MIN(sizeof o->line - old, (size_t)SC_OUTPUT_TURN_BYTES);
    ssize_t r;
    do
        r = read(o->fd, o->line + old, room);
    while (r < 0 && errno == EINTR);
    if (r > 0) {
        o->n += (size_t)r;
        take_lines(o, old);
    }
    return r;
}

/* ---- turns ------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t);

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct sc_output *o = p->data;
    (void)events;
    if (sc_log_crowded() && o->waited_ms < SC_OUTPUT_PATIENCE_MS) {
        o->paused = true;
        uv_poll_stop(&o->poll);
        uv_timer_start(&o->timer, on_timer, CROWDED_MS, 0);
        return;
    }
    ssize_t r = status < 0 ? 0 : read_some(o);
    if (r == 0 || (r < 0 && errno != EAGAIN)) {
        take_rest(o);
        uv_poll_stop(&o->poll);
        uv_timer_stop(&o->timer);
        return;
    }
    if (!sc_log_crowded())
        o->waited_ms = 0;
    if (o->n == 0)
        uv_timer_stop(&o->timer);
    else if (!uv_is_active((uv_handle_t *)&o->timer))
        uv_timer_start(&o->timer, on_timer, SC_OUTPUT_PARTIAL_MS, 0);
}

/* Half a metric is none; text is shown as far as it goes. */
static bool may_be_metric(struct sc_span s)
{
    const struct sc_span before = SC_SPAN("INFO > "), mark = SC_SPAN("[METRICS]");
    if (sc_span_starts(s, before))
        s = sc_span_sub(s, before.n, s.n);
    return sc_span_starts(mark, sc_span_sub(s, 0, mark.n));
}

static void on_timer(uv_timer_t *t)
{
    struct sc_output *o = t->data;
    if (o->paused) {
        o->paused = false;
        o->waited_ms += CROWDED_MS;
        uv_poll_start(&o->poll, UV_READABLE, on_readable);
        return;
    }
    if (!may_be_metric(sc_span(o->line, o->n)))
        take_rest(o);
}

void sc_output_drain(struct sc_output *o)
{
    size_t total = 0;
    for (ssize_t r; total < DRAIN_BYTES && (r = read_some(o)) > 0;)
        total += (size_t)r;
    take_rest(o);
    o->in_pieces = o->after_return = false;
}

void sc_output_forget(struct sc_output *o)
{
    o->tail_n = 0;
}

struct sc_span sc_output_tail(const struct sc_output *o)
{
    struct sc_span s = sc_span(o->tail, o->tail_n);
    if (s.n <= SC_OUTPUT_TAIL_BYTES)
        return s;
    s = sc_span_sub(s, s.n - SC_OUTPUT_TAIL_BYTES, s.n);
    size_t cut = sc_span_find(s, '\n') + 1;
    return cut < s.n ? sc_span_sub(s, cut, s.n) : s;
}

/* ---- life -------------------------------------------------------------------------------------------- */

struct sc_output *sc_output_open(struct sc_loop *l, int fd, const struct sc_output_spec *spec)
{
    struct sc_output *o = malloc(sizeof *o); /* its buffers take memory when they are used */
    int flags = fcntl(fd, F_GETFL);
    if (!o || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || uv_poll_init(&l->uv, &o->poll, fd)) {
        free(o);
        close(fd);
        return NULL;
    }
    o->fd = fd;
    o->is_stderr = spec->is_stderr;
    o->closing = o->paused = o->after_return = o->in_pieces = false;
    o->waited_ms = 0;
    o->n = o->tail_n = 0;
    o->metrics = spec->metrics;
    o->on_pid = spec->on_pid;
    o->ctx = spec->ctx;
    o->thread = sc_strdup(spec->thread);
    o->handles = 2;
    uv_timer_init(&l->uv, &o->timer);
    o->poll.data = o->timer.data = o;
    uv_poll_start(&o->poll, UV_READABLE, on_readable);
    return o;
}

static void on_closed(uv_handle_t *h)
{
    struct sc_output *o = h->data;
    if (--o->handles > 0)
        return;
    close(o->fd);
    free(o->thread);
    free(o);
}

void sc_output_close(struct sc_output *o)
{
    if (!o || o->closing)
        return;
    o->closing = true;
    uv_close((uv_handle_t *)&o->poll, on_closed);
    uv_close((uv_handle_t *)&o->timer, on_closed);
}
