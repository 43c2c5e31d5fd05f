/* A board, its channels and, for tests within one process, the worker's port to them. */
#ifndef SC_TEST_CHANNEL_PAIR_H
#define SC_TEST_CHANNEL_PAIR_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/channel.h"

#define PAIR_EPOCH 7
#define PAIR_MAX_RESPONSE (4u << 20)

struct pair {
    unsigned channels;
    size_t request_bytes;
    size_t response_bytes;
    struct sc_board *board;
    struct sc_chan *chan[SC_LOOPS_MAX];
    char *request[SC_LOOPS_MAX];
    int request_fd[SC_LOOPS_MAX];
    struct sc_port *port;
};

static inline void pair_make_host(struct pair *p, unsigned channels, uint32_t lanes, size_t response_bytes)
{
    *p = (struct pair){
        .channels = channels, .request_bytes = SC_ARENA_BYTES, .response_bytes = response_bytes};
    if (sc_board_new(&p->board, lanes, PAIR_EPOCH) < 0)
        abort();
    for (unsigned i = 0; i < channels; i++) {
        void *base;
        p->request_fd[i] = sc_shm_create("test-requests", p->request_bytes, true, &base);
        p->request[i] = base;
        struct sc_chan_spec spec = {.board = p->board,
                                    .request_fd = p->request_fd[i],
                                    .request_bytes = p->request_bytes,
                                    .response_bytes = response_bytes,
                                    .max_response = PAIR_MAX_RESPONSE,
                                    .epoch = PAIR_EPOCH};
        if (p->request_fd[i] < 0 || sc_chan_new(&p->chan[i], &spec) < 0)
            abort();
    }
}

/* The worker's descriptors, duplicated as a socket would. */
static inline unsigned pair_fds(struct pair *p, int *fds)
{
    unsigned n = SC_BOARD_FDS + p->channels * SC_CHAN_FDS;
    sc_board_fds(p->board, fds);
    for (unsigned i = 0; i < p->channels; i++)
        sc_chan_fds(p->chan[i], fds + SC_BOARD_FDS + i * SC_CHAN_FDS);
    for (unsigned i = 0; i < n; i++)
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
    return n;
}

static inline void pair_make_port(struct pair *p)
{
    int fds[SC_BOARD_FDS + SC_LOOPS_MAX * SC_CHAN_FDS];
    pair_fds(p, fds);
    struct sc_msg msg;
    if (sc_port_new(&p->port, fds, p->channels, PAIR_EPOCH, &msg) < 0)
        abort();
}

static inline void pair_make(struct pair *p, unsigned channels, size_t response_bytes)
{
    pair_make_host(p, channels, 4, response_bytes);
    pair_make_port(p);
}

static inline void pair_free(struct pair *p)
{
    sc_port_del(p->port);
    for (unsigned i = 0; i < p->channels; i++) {
        sc_chan_del(p->chan[i]);
        munmap(p->request[i], p->request_bytes);
        close(p->request_fd[i]);
    }
    sc_board_del(p->board);
}

/* A sealed memory file of n bytes `fill`. */
static inline int pair_large(size_t n, int fill, int seals)
{
    int fd = memfd_create("test-large", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)n) < 0)
        abort();
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        abort();
    memset(p, fill, n);
    munmap(p, n);
    if (seals && fcntl(fd, F_ADD_SEALS, seals) < 0)
        abort();
    return fd;
}
#define PAIR_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#endif
