/* Bytes to and from a connection's socket, and the buffers for them. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/connection.h"

bool sc_conn_borrow(struct sc_conn *c)
{
    struct sc_http_part *p = c->part;
    struct sc_conn_block *b = p->spare;
    if (b) {
        p->spare = b->next;
        p->nspare--;
    } else {
        b = malloc(sizeof *b);
        if (!b)
            return false;
    }
    c->block = b;
    c->pos = c->end = c->floor = 0;
    sc_http1_head_init(&b->head, b->headers, SC_COUNT(b->headers));
    return true;
}

void sc_conn_return(struct sc_conn *c)
{
    struct sc_http_part *p = c->part;
    struct sc_conn_block *b = c->block;
    if (!b)
        return;
    c->block = NULL;
    if (p->nspare >= SC_CONN_SPARE_BLOCKS) {
        free(b);
        return;
    }
    /* The block used last is used next: it is in the cache. */
    b->next = p->spare;
    p->spare = b;
    p->nspare++;
}

/* ---- reading -------------------------------------------------------------------------- */

size_t sc_conn_space(struct sc_conn *c)
{
    if (!c->block)
        return SC_CONN_READ_BYTES;
    if (c->pos == c->end) {
        c->pos = c->end = c->floor;
    } else if (c->end == SC_CONN_READ_BYTES && c->pos > c->floor) {
        memmove(c->block->data + c->floor, c->block->data + c->pos, c->end - c->pos);
        c->end -= c->pos - c->floor;
        c->pos = c->floor;
        if (c->state == SC_CONN_HEAD)
            sc_http1_head_init(&c->block->head, c->block->headers, SC_COUNT(c->block->headers));
    }
    return SC_CONN_READ_BYTES - c->end;
}

/* Where the next bytes go: the body itself, nowhere, or the read buffer. */
static size_t destination(struct sc_conn *c, char **to)
{
    struct sc_http_part *p = c->part;
    switch ((enum sc_conn_state)c->state) {
    case SC_CONN_BODY:
        if (c->pos != c->end)
            break;
        *to = c->x.body.p + c->x.body.len;
        return SC_MIN(c->left, c->x.body.cap - c->x.body.len);
    case SC_CONN_SKIP:
        if (c->chunked || c->pos != c->end)
            break;
        *to = p->scratch;
        return SC_MIN(c->left, sizeof p->scratch);
    case SC_CONN_LINGER: *to = p->scratch; return sizeof p->scratch;
    case SC_CONN_HEAD:
    case SC_CONN_CHUNKED:
    case SC_CONN_WAIT:
    case SC_CONN_H2:
    case SC_CONN_CLOSING: break;
    }
    if (!c->block && !sc_conn_borrow(c)) {
        sc_conn_close(c);
        return 0;
    }
    size_t space = sc_conn_space(c);
    *to = c->block->data + c->end;
    return space;
}

static void received(struct sc_conn *c, const char *to, size_t n)
{
    if (c->block && to == c->block->data + c->end) {
        if (c->state == SC_CONN_HEAD && c->pos == c->end)
            c->x.start_ns = c->read_ns;
        c->end += (uint32_t)n;
        return;
    }
    if (c->state == SC_CONN_BODY)
        c->x.body.len += n;
    if (c->state != SC_CONN_LINGER)
        c->left -= n;
}

bool sc_conn_read(struct sc_conn *c)
{
    char *to = NULL;
    if (SC_UNLIKELY(c->tls && !c->tls_ready) && !sc_tls_handshake(c))
        return false;
    size_t room = destination(c, &to);
    if (room == 0)
        return false;
    ssize_t n = SC_UNLIKELY(c->tls) ? sc_tls_recv(c, to, room) : recv(c->fd, to, room, 0);
    if (n > 0) {
        c->read_ns = c->part->loop->now_ns = sc_clock_ns();
        c->got = true;
        received(c, to, (size_t)n);
        return true;
    }
    if (n == 0)
        c->eof = true;
    else if (errno != EAGAIN && errno != EINTR)
        sc_conn_close(c);
    return false;
}

/* ---- writing -------------------------------------------------------------------------- */

void sc_conn_out_free(struct sc_conn_out *o)
{
    if (o->release)
        o->release(o->arg);
    free(o);
}

static void append(struct sc_conn *c, struct sc_conn_out *o)
{
    if (c->out)
        c->out_last->next = o;
    else
        c->out = o;
    c->out_last = o;
    c->out_bytes += sizeof *o + o->n;
}

static bool keep_rest(struct sc_conn *c, const struct iovec *iov, int n, size_t sent, size_t total)
{
    struct sc_conn_out *o = malloc(sizeof *o + (total - sent));
    if (!o) {
        sc_conn_close(c);
        return false;
    }
    *o = (struct sc_conn_out){.p = o->data, .n = total - sent};
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        if (sent >= iov[i].iov_len) {
            sent -= iov[i].iov_len;
            continue;
        }
        memcpy(o->data + at, (char *)iov[i].iov_base + sent, iov[i].iov_len - sent);
        at += iov[i].iov_len - sent;
        sent = 0;
    }
    append(c, o);
    return true;
}

/* What the descriptor takes now: a count, or -1 with errno. */
static ssize_t send_now(struct sc_conn *c, const struct iovec *iov, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
    ssize_t sent;
    if (SC_UNLIKELY(c->tls))
        return sc_tls_send(c, iov, n);
    do {
        sent = n == 1 ? send(c->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                      : sendmsg(c->fd, &m, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

bool sc_conn_send(struct sc_conn *c, const struct iovec *iov, int n)
{
    if (c->fd < 0)
        return false;
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return true;
    ssize_t sent = 0;
    if (!c->out) {
        sent = send_now(c, iov, n);
        if (SC_LIKELY((size_t)sent == total))
            return true;
        if (sent < 0) {
            if (errno != EAGAIN) {
                sc_conn_close(c);
                return false;
            }
            sent = 0;
        }
    }
    return keep_rest(c, iov, n, (size_t)sent, total);
}

bool sc_conn_send_held(struct sc_conn *c, const struct iovec iov[2], void (*release)(void *arg), void *arg)
{
    struct sc_conn_out *o = malloc(sizeof *o);
    if (!sc_conn_send(c, iov, 1) || !o) {
        free(o);
        release(arg);
        if (c->fd >= 0)
            sc_conn_close(c);
        return false;
    }
    *o = (struct sc_conn_out){.p = iov[1].iov_base, .n = iov[1].iov_len, .release = release, .arg = arg};
    append(c, o);
    return c->out != o || sc_conn_flush(c);
}

bool sc_conn_flush(struct sc_conn *c)
{
    while (c->out) {
        struct sc_conn_out *o = c->out;
        /* More than this at a time would keep the other connections waiting. */
        struct iovec iov = {(void *)(o->p + o->at), SC_MIN(o->n - o->at, SC_CONN_WRITE_BYTES)};
        ssize_t n = send_now(c, &iov, 1);
        if (n < 0) {
            if (errno == EAGAIN)
                return true;
            sc_conn_close(c);
            return false;
        }
        c->sent = true;
        o->at += (size_t)n;
        if (o->at < o->n)
            return true;
        c->out = o->next;
        c->out_bytes -= sizeof *o + o->n;
        sc_conn_out_free(o);
    }
    return true;
}

void sc_conn_drop_output(struct sc_conn *c)
{
    while (c->out) {
        struct sc_conn_out *o = c->out;
        c->out = o->next;
        sc_conn_out_free(o);
    }
    c->out_last = NULL;
    c->out_bytes = 0;
}
