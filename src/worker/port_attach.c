/* The worker's end of an attachment: board and channels are mapped, and checked, or refused with a reason. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/port_parts.h"
#include "worker/shm.h"

#define CLOSED_LOOK_NS 1000000 /* how often sc_port_closed asks the kernel */

static void *map_all(int fd, bool write, uint64_t *size)
{
    if (sc_shm_size(fd, size) < 0 || *size == 0 || *size > SIZE_MAX / 2)
        return NULL;
    return sc_shm_map(fd, (size_t)*size, write);
}

static int attach_board(struct sc_port *p, int memory_fd, struct sc_msg *msg)
{
    uint64_t size;
    p->board = map_all(memory_fd, true, &size);
    if (!p->board)
        return sc_fail(msg, SC_ESYS, "the board cannot be mapped: %s", strerror(errno));
    p->board_bytes = (size_t)size;
    if (size < sizeof *p->board || p->board->magic != SC_BOARD_MAGIC || p->board->version != SC_CHAN_VERSION)
        return sc_fail(msg, SC_EVERSION, "the frontend's board has another version; restart the server");
    p->lanes = p->board->lanes;
    if (p->lanes == 0 || p->lanes > SC_LANES_MAX || size < sc_board_bytes(p->lanes) ||
        p->board->epoch != p->epoch)
        return sc_fail(msg, SC_EPROTO, "the frontend's board does not fit this attachment");
    return 0;
}

static int attach_channel(struct sc_port *p, struct sc_port_end *e, const int fds[SC_CHAN_FDS],
                          struct sc_msg *msg)
{
    uint64_t rings, response, request;
    e->shared = map_all(fds[0], true, &rings);
    if (e->shared && rings != SC_CHAN_BYTES) {
        sc_shm_unmap(e->shared, (size_t)rings);
        e->shared = NULL;
        return sc_fail(msg, SC_EVERSION, "the frontend's channel has another version; restart the server");
    }
    if (!e->shared)
        return sc_fail(msg, SC_ESYS, "the channel cannot be mapped: %s", strerror(errno));
    const struct sc_chan_shared *s = e->shared;
    if (s->magic != SC_CHAN_MAGIC || s->version != SC_CHAN_VERSION || s->ring_entries != SC_RING_ENTRIES ||
        s->held_max != SC_CHAN_HELD_MAX || s->block_min != SC_ARENA_BLOCK_MIN)
        return sc_fail(msg, SC_EVERSION, "the frontend's channel has another version; restart the server");
    e->response = map_all(fds[1], true, &response);
    if (e->response)
        e->response_bytes = (size_t)response;
    e->request = map_all(fds[2], false, &request);
    if (e->request)
        e->request_bytes = (size_t)request;
    if (!e->response || !e->request)
        return sc_fail(msg, SC_ESYS, "an arena cannot be mapped: %s", strerror(errno));
    if (s->epoch != p->epoch || s->response_bytes != response || s->request_bytes > request)
        return sc_fail(msg, SC_EPROTO, "the frontend's channel does not fit this attachment");
    e->max_response = s->max_response;
    return sc_arena_init(&e->arena, e->response, e->response_bytes);
}

int sc_port_new(struct sc_port **out, const int *fds, unsigned channels, uint64_t epoch, struct sc_msg *msg)
{
    *out = NULL;
    int rc = SC_ENOMEM;
    unsigned made = 0;
    struct sc_port *p = calloc(1, sizeof *p);
    if (p && channels > 0 && channels <= SC_LOOPS_MAX)
        p->ends = aligned_alloc(SC_APART, channels * sizeof *p->ends);
    if (!p || !p->ends) {
        for (unsigned i = 0; i < SC_BOARD_FDS + channels * SC_CHAN_FDS; i++)
            close(fds[i]);
        free(p);
        return channels == 0 || channels > SC_LOOPS_MAX
                   ? sc_fail(msg, SC_EPROTO, "an attachment of %u channels", channels)
                   : sc_fail(msg, SC_ENOMEM, "no memory for the channels");
    }
    memset(p->ends, 0, channels * sizeof *p->ends);
    p->epoch = epoch;
    p->channels = channels;
    p->wake_fd = fds[1];
    rc = attach_board(p, fds[0], msg);
    close(fds[0]);
    for (; made < channels; made++) {
        const int *f = fds + SC_BOARD_FDS + made * SC_CHAN_FDS;
        struct sc_port_end *e = &p->ends[made];
        e->wake_fd = f[3];
        e->sock = f[4];
        pthread_mutex_init(&e->lock, NULL);
        if (rc == 0)
            rc = attach_channel(p, e, f, msg);
        close(f[0]);
        close(f[1]);
        close(f[2]);
    }
    if (rc < 0) {
        sc_port_del(p);
        return rc;
    }
    *out = p;
    return 0;
}

void sc_port_del(struct sc_port *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->channels; i++) {
        struct sc_port_end *e = &p->ends[i];
        sc_arena_free(&e->arena);
        if (e->shared)
            sc_shm_unmap(e->shared, SC_CHAN_BYTES);
        sc_shm_unmap(e->response, e->response_bytes);
        sc_shm_unmap((void *)(uintptr_t)e->request, e->request_bytes);
        close(e->wake_fd);
        close(e->sock);
        pthread_mutex_destroy(&e->lock);
    }
    sc_shm_unmap(p->board, p->board_bytes);
    close(p->wake_fd);
    free(p->ends);
    free(p);
}

unsigned sc_port_channels(const struct sc_port *p)
{
    return p->channels;
}

int sc_port_wake_fd(const struct sc_port *p)
{
    return p->wake_fd;
}

int sc_port_hup_fd(const struct sc_port *p)
{
    return p->ends[0].sock;
}

bool sc_port_closed(const struct sc_port *port)
{
    struct sc_port *p = (struct sc_port *)(uintptr_t)port; /* only its memory of what it saw */
    if (atomic_load_explicit(&p->closed, memory_order_relaxed))
        return true;
    int64_t now = sc_clock_ns();
    if (now - atomic_load_explicit(&p->looked_ns, memory_order_relaxed) < CLOSED_LOOK_NS)
        return false;
    atomic_store_explicit(&p->looked_ns, now, memory_order_relaxed);
    struct pollfd f = {.fd = p->ends[0].sock};
    if (poll(&f, 1, 0) != 1 || !(f.revents & (POLLHUP | POLLERR | POLLNVAL)))
        return false;
    atomic_store_explicit(&p->closed, true, memory_order_relaxed);
    return true;
}
