/* HTTP/1.1: one request at a time on a connection. */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "load/client.h"

struct h1 {
    size_t sent;
    struct sc_answer answer;
};

static void opened(struct sc_load_run *r, struct sc_load_conn *c)
{
    (void)r;
    if (!c->private)
        c->private = sc_alloc(sizeof(struct h1));
}

static void flush(struct sc_load_run *r, struct sc_load_conn *c)
{
    struct h1 *h = c->private;
    struct sc_load_slot *s = c->slots;
    while (s->busy && h->sent < s->out.n) {
        ssize_t n = sc_load_send(c, s->out.p + h->sent, s->out.n - h->sent);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            /* A server that answers before it has read all may close: the answer is still to be read. */
            if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
                sc_load_broken(r, c, SC_LOAD_RESET);
            return;
        }
        h->sent += (size_t)n;
        sc_load_client(r)->result.bytes_out += (uint64_t)n;
    }
}

static void launch(struct sc_load_run *r, struct sc_load_slot *s)
{
    struct h1 *h = s->conn->private;
    h->sent = 0;
    sc_answer_begin(&h->answer, &s->body);
    flush(r, s->conn);
}

static void answered(struct sc_load_run *r, struct sc_load_conn *c)
{
    struct h1 *h = c->private;
    struct sc_load_slot *s = c->slots;
    s->status = h->answer.status;
    /* A request that is not sent to its end cannot be followed by another. */
    bool reusable = !h->answer.close && h->sent == s->out.n;
    sc_load_answered(r, s, reusable);
    if (!reusable)
        sc_load_reconnect(r, c);
}

static void ended(struct sc_load_run *r, struct sc_load_conn *c, bool reset)
{
    struct h1 *h = c->private;
    if (!c->slots->busy)
        sc_load_broken(r, c, SC_LOAD_RESET); /* an idle connection may be closed by the server */
    else if (!reset && sc_answer_eof(&h->answer) == 1)
        answered(r, c);
    else
        sc_load_broken(r, c, sc_answer_begun(&h->answer) ? SC_LOAD_SHORT : SC_LOAD_RESET);
}

static void readable(struct sc_load_run *r, struct sc_load_conn *c, bool hung_up)
{
    struct h1 *h = c->private;
    char *in = sc_load_in(r);
    for (;;) {
        ssize_t n = sc_load_recv(c, in, SC_LOAD_READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            ended(r, c, n < 0);
            return;
        }
        sc_load_client(r)->result.bytes_in += (uint64_t)n;
        int rc = c->slots->busy ? sc_answer_feed(&h->answer, in, (size_t)n) : SC_EPROTO;
        if (rc < 0) {
            sc_load_broken(r, c, SC_LOAD_PROTOCOL);
            return;
        }
        int fd = c->fd;
        if (rc == 1)
            answered(r, c);
        /* Edge-triggered: what a short read has not seen will be told; the end of the stream has been told.
         */
        if (c->fd != fd || c->state != SC_CONN_OPEN || (!hung_up && (size_t)n < SC_LOAD_READ_BYTES))
            return;
    }
}

static bool forget(struct sc_load_run *r, struct sc_load_slot *s)
{
    (void)r;
    (void)s;
    return false;
}

static void closed(struct sc_load_conn *c, bool last)
{
    struct h1 *h = c->private;
    if (!last || !h)
        return;
    sc_answer_free(&h->answer);
    free(h);
    c->private = NULL;
}

const struct sc_load_transport sc_load_h1 = {
    .opened = opened,
    .launch = launch,
    .readable = readable,
    .writable = flush,
    .forget = forget,
    .closed = closed,
};
