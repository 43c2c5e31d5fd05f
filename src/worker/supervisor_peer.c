#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

struct sc_out {
    struct sc_out *next;
    size_t n;
    uint16_t type;
    unsigned nfds;
    int fds[SC_CTL_FDS];
    char bytes[];
};

static void out_free(struct sc_out *o)
{
    for (unsigned i = 0; i < o->nfds; i++)
        close(o->fds[i]);
    free(o);
}

void sc_peer_init(struct sc_peer *p)
{
    *p = (struct sc_peer){.fd = -1};
    p->last = &p->first;
}

int sc_peer_open(struct sc_super *s, struct sc_peer *p, int fd, uint64_t event)
{
    sc_peer_init(p);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = event};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
        close(fd);
        return SC_ESYS;
    }
    p->fd = fd;
    p->event = event;
    return SC_OK;
}

void sc_peer_close(struct sc_super *s, struct sc_peer *p)
{
    while (p->first) {
        struct sc_out *o = p->first;
        p->first = o->next;
        out_free(o);
    }
    if (p->fd >= 0) {
        /* A child between fork and exec may still hold the socket: closing alone would leave it watched. */
        (void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, p->fd, NULL);
        close(p->fd);
    }
    sc_peer_init(p);
}

static int watch(struct sc_super *s, struct sc_peer *p, bool writable)
{
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.u64 = p->event};
    return epoll_ctl(s->epoll, EPOLL_CTL_MOD, p->fd, &e) < 0 ? SC_ESYS : SC_OK;
}

static int queue(struct sc_super *s, struct sc_peer *p, uint16_t type, struct sc_span a, struct sc_span b,
                 const int *fds, unsigned nfds)
{
    size_t size = sizeof(struct sc_out) + a.n + b.n;
    if (size > s->queue_bytes - p->bytes || nfds > SC_CTL_QUEUE_FDS - p->fds)
        return SC_ELIMIT;
    struct sc_out *o = malloc(size);
    if (!o)
        return SC_ENOMEM;
    o->next = NULL;
    o->type = type;
    o->n = a.n + b.n;
    if (a.n)
        memcpy(o->bytes, a.p, a.n);
    if (b.n)
        memcpy(o->bytes + a.n, b.p, b.n);
    for (o->nfds = 0; o->nfds < nfds; o->nfds++) {
        o->fds[o->nfds] = fcntl(fds[o->nfds], F_DUPFD_CLOEXEC, 0);
        if (o->fds[o->nfds] < 0) {
            out_free(o);
            return SC_ESYS;
        }
    }
    bool first = !p->first;
    *p->last = o;
    p->last = &o->next;
    p->bytes += size;
    p->fds += nfds;
    return first ? watch(s, p, true) : SC_OK;
}

int sc_peer_send(struct sc_super *s, struct sc_peer *p, uint16_t type, struct sc_span a, struct sc_span b,
                 const int *fds, unsigned nfds)
{
    if (p->fd < 0)
        return SC_ECLOSED;
    int rc = p->first ? SC_AGAIN : sc_ctl_send(p->fd, type, a, b, fds, nfds);
    return rc == SC_AGAIN ? queue(s, p, type, a, b, fds, nfds) : rc;
}

int sc_peer_flush(struct sc_super *s, struct sc_peer *p)
{
    while (p->first) {
        struct sc_out *o = p->first;
        int rc = sc_ctl_send(p->fd, o->type, sc_span(o->bytes, o->n), sc_span(NULL, 0), o->fds, o->nfds);
        if (rc < 0)
            return rc == SC_AGAIN ? SC_OK : rc;
        p->bytes -= sizeof *o + o->n;
        p->fds -= o->nfds;
        p->first = o->next;
        if (!p->first)
            p->last = &p->first;
        out_free(o);
    }
    return watch(s, p, false);
}
