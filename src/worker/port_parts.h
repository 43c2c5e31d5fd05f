/* What the files of the port share: port_attach.c maps it, port.c works on it. */
#ifndef SC_WORKER_PORT_PARTS_H
#define SC_WORKER_PORT_PARTS_H

#include <pthread.h>

#include "worker/channel.h"
#include "worker/channel_layout.h"

/* The worker's end of one channel. */
struct sc_port_end {
    struct sc_chan_shared *shared;
    const char *request;
    size_t request_bytes;
    void *response;
    size_t response_bytes;
    uint64_t max_response;
    int wake_fd;
    int sock;

    /* Of the thread that calls sc_port_next. */
    struct sc_ring_end sub;
    struct sc_sub_desc first; /* of the ring, if it was looked at: still there */
    bool has_first;

    _Alignas(SC_APART) pthread_mutex_t lock; /* of all below */
    struct sc_arena arena;
    struct sc_ring_end comp, rel;
    uint32_t out;   /* answers sent whose release has not come back */
    uint32_t large; /* those of them in memory files */
    _Alignas(SC_APART) _Atomic uint32_t unflushed;
};

struct sc_port {
    struct sc_board_shared *board;
    size_t board_bytes;
    uint32_t lanes;
    int wake_fd;
    uint64_t epoch;
    unsigned channels;
    unsigned turn;
    _Atomic bool closed;
    _Atomic int64_t looked_ns;
    struct sc_port_end *ends;
};

#endif
