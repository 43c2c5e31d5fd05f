/*
 * The data path between one loop of the frontend and one worker process: shared memory and
 * wake-ups, no sockets (docs/design.md §3.4; the memory-ordering argument is in channel.c).
 *
 *   board     one per worker process: running pages of its lanes, its sleep flag, a socket that wakes it
 *   channel   one per (loop, worker): submission, completion and release rings, the
 *             worker's response arena, the loop's eventfd, a socket for descriptors of large bodies
 *
 * The frontend makes both, sends the descriptors to the worker (SC_CTL_ATTACH) and is the
 * "host" side; the worker is not trusted: everything it writes is copied once and then
 * checked, and a broken rule is SC_EPEER, after which the owner must end the worker.
 * A channel belongs to one epoch (one life of a frontend and of a worker); it is never reused.
 */
#ifndef SC_WORKER_CHANNEL_H
#define SC_WORKER_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"
#include "worker/arena.h"

/* ---- host side (frontend) -------------------------------------------------------------- */

struct sc_board;
struct sc_chan;

#define SC_BOARD_FDS 2 /* memory, socket to wake by */
#define SC_CHAN_FDS 5  /* rings, response memory, request memory, eventfd, socket */

/* lanes: 1..SC_LANES_MAX. Any thread; afterwards the functions below say who may call. */
int sc_board_new(struct sc_board **out, uint32_t lanes, uint64_t epoch) SC_MUST_USE;
/* Of the lanes only the first n are looked at from now on: what others would write costs no memory until
 * then. n grows; a new board looks at all. */
void sc_board_use(struct sc_board *b, uint32_t n);
/* Only after every channel of the board is deleted. */
void sc_board_del(struct sc_board *b);
/* Descriptors to pass to the worker; they stay the board's. */
void sc_board_fds(const struct sc_board *b, int fds[SC_BOARD_FDS]);

/* What a lane is computing now, as it says. */
struct sc_running {
    int64_t since_ns; /* sc_clock_ns when the page was written; 0 if the lane is idle */
    uint32_t n;       /* 0..SC_LANE_RUNNING_MAX, cut to it whatever the worker wrote */
    uint64_t ids[SC_LANE_RUNNING_MAX];
};
/* Copies a lane's page. Any thread. A torn read is possible while the worker lives; after its death it is
 * exact. */
void sc_board_running(const struct sc_board *b, uint32_t lane, struct sc_running *out);
/* How many are looked at. */
uint32_t sc_board_lanes(const struct sc_board *b);
/* Since the board was made, as the worker says: batches begun, requests and cost in them, and how many of
 * them were how large. Bucket i: of more than 2^(i-1) and at most 2^i; the last one: of more. */
#define SC_BATCH_BUCKETS 18
struct sc_board_work {
    uint64_t batches, requests, cost;
    uint64_t sizes[SC_BATCH_BUCKETS], costs[SC_BATCH_BUCKETS]; /* costs: of those whose cost is known */
};
/* Any thread. */
void sc_board_work(const struct sc_board *b, struct sc_board_work *out);

/* request_fd/request_bytes: the memory of the request arena that this channel's submissions point into
 * (sc_shm_create, readonly_peers). The descriptor is duplicated. */
struct sc_chan_spec {
    struct sc_board *board;
    int request_fd;
    size_t request_bytes;
    size_t response_bytes; /* the worker's arena for answers on this channel */
    uint64_t max_response; /* max_response_size: longer answers are SC_EPEER */
    uint64_t epoch;
};
int sc_chan_new(struct sc_chan **out, const struct sc_chan_spec *spec) SC_MUST_USE;
void sc_chan_del(struct sc_chan *c);
void sc_chan_fds(const struct sc_chan *c, int fds[SC_CHAN_FDS]);
/* The eventfd that the worker writes; poll it for reading. */
int sc_chan_wake_fd(const struct sc_chan *c);

/* One request on its way to the worker. Layout of the block: meta, then body. */
struct sc_submission {
    uint64_t id;       /* the host's; unique in the epoch, echoed by the worker */
    uint64_t off;      /* of meta in the request arena */
    uint32_t meta_len; /* encoded metadata (worker/meta.h) */
    uint32_t flags;    /* SC_SUBMIT_... */
    uint64_t body_len;
    int body_fd;        /* -1: the body follows meta in the arena. Else a sealed memfd (SHRINK, GROW, WRITE)
                           of body_len bytes; stays the host's */
    int64_t arrival_ns; /* when the request arrived */
    uint64_t cost;      /* the host's guess of the cost */
};
enum {
    SC_SUBMIT_ALONE = 1,  /* must be computed in a batch of its own: a suspect, a description */
    SC_SUBMIT_HIGH = 4,   /* before others that came up to SC_PRIORITY_NS earlier */
    SC_SUBMIT_LOW = 8,    /* behind those that come up to SC_PRIORITY_NS later */
    SC_SUBMIT_CANCEL = 2, /* no request: nobody waits for the answer to `id` any more (sc_chan_cancel) */
};

/* When it is a submission's turn among others: its arrival, as its priority makes it. */
static inline int64_t sc_submission_turn(uint32_t flags, int64_t arrival_ns)
{
    return arrival_ns - (flags & SC_SUBMIT_HIGH  ? SC_PRIORITY_NS
                         : flags & SC_SUBMIT_LOW ? -SC_PRIORITY_NS
                                                 : 0);
}
/*
 * Appends a submission; the worker may see it at once but is not woken before
 * sc_chan_flush. SC_AGAIN if the ring (or the socket, for a large body: it takes about ten) is full;
 * SC_EINVAL if the block is not in the request arena; SC_EPEER as poll. The host's loop only, as all below.
 */
int sc_chan_submit(struct sc_chan *c, const struct sc_submission *s) SC_MUST_USE;
/*
 * Appends the news that nobody waits for the answer to a submission any more. It binds the worker to nothing:
 * the id stays in flight until its last completion. SC_AGAIN and SC_EPEER as submit.
 */
int sc_chan_cancel(struct sc_chan *c, uint64_t id) SC_MUST_USE;
/* Wakes the worker if it sleeps and something was submitted since. Releases wake nobody: a worker takes them
 * up when it next needs room. */
void sc_chan_flush(struct sc_chan *c);

/* The answer goes on: more completions for this id follow, and it stays in flight. */
enum { SC_COMPLETE_MORE = 1 };

struct sc_completion {
    uint64_t id;
    uint32_t status;     /* as the worker gave it, unchecked but for its range 0..999 */
    uint32_t flags;      /* SC_COMPLETE_...; no others pass */
    int64_t taken_ns;    /* sc_clock_ns when computing began, as the worker says: unchecked; 0: never */
    uint32_t batch;      /* requests computed together, as the worker says: unchecked; 0: it does not */
    struct sc_span meta; /* copied: valid until the next poll of this channel */
    struct sc_span body; /* in shared memory (the worker may still scribble on it) or in a mapping of its own;
                            valid until sc_chan_release */
    uint64_t token;      /* for sc_chan_release */
};
/*
 * The next completion: 1 and *out filled, 0 if there is none, SC_EPEER if the worker broke a
 * rule (*msg says which), SC_ESYS if there is no address space for a large answer; both are for good. Checks
 * that lie with the channel: ranges, sizes, blocks released twice or overlapping, seals, epoch. Whether the
 * id is in flight is for the caller to check.
 */
int sc_chan_poll(struct sc_chan *c, struct sc_completion *out, struct sc_msg *msg) SC_MUST_USE;
/* Gives the completion's memory back to the worker (or unmaps it). A token that is not held (0, or
 * released before) does nothing. A worker that has SC_CHAN_HELD_MAX answers out, SC_CHAN_LARGE_MAX of them
 * large, waits: copy what a slow client will not take soon. */
void sc_chan_release(struct sc_chan *c, uint64_t token);

/*
 * Before the loop sleeps: announces it, so that the worker writes the eventfd with its next
 * completion. False if completions have arrived meanwhile: poll first. sc_chan_awake withdraws it
 * and drains the eventfd.
 */
bool sc_chan_sleep(struct sc_chan *c) SC_MUST_USE;
void sc_chan_awake(struct sc_chan *c);

/* ---- worker side --------------------------------------------------------------------------- */

/*
 * The worker's end of all channels of one attachment. Thread-safe where it says so. A frontend that
 * died shows as sc_port_closed: the port then swallows answers.
 */
struct sc_port;

/* fds: SC_BOARD_FDS, then SC_CHAN_FDS per channel; owned by the port on success and on failure. */
int sc_port_new(struct sc_port **out, const int *fds, unsigned channels, uint64_t epoch,
                struct sc_msg *msg) SC_MUST_USE;
void sc_port_del(struct sc_port *p);
unsigned sc_port_channels(const struct sc_port *p);
/* Readable when the frontend wakes the worker. */
int sc_port_wake_fd(const struct sc_port *p);

struct sc_work {
    uint64_t id;
    unsigned channel;
    uint32_t flags;
    struct sc_span meta;
    struct sc_span body; /* read-only memory; valid until the answer */
    void *body_map;      /* of a large body, body.n bytes, unmapped by sc_port_done */
    int64_t arrival_ns;
    int64_t taken_ns; /* sc_clock_ns when its computing began: the worker's to set, sent with the answer */
    uint32_t batch;   /* requests of its batch: the same */
    uint64_t cost;
};
/* The first submission of a channel, of that where its turn comes first (sc_submission_turn): 1, 0 if there
 * is none, or an error (SC_EPROTO, SC_ESYS: detach). With SC_SUBMIT_CANCEL only the id counts, which may be
 * that of any request of this channel, answered ones included. One thread at a time. */
int sc_port_next(struct sc_port *p, struct sc_work *out) SC_MUST_USE;
/* Unmaps what sc_port_next mapped for this work; call before the answer is sent. Any thread. */
void sc_port_done(struct sc_port *p, struct sc_work *w);

/* As on the host side, by one thread at a time, which need not be the one in sc_port_next: announce sleep;
 * false if there is work. Then wait on the wake fd, then call awake. */
bool sc_port_sleep(struct sc_port *p) SC_MUST_USE;
void sc_port_awake(struct sc_port *p);

/* Writes lane's running page before a batch starts, and clears it after. One thread per lane. */
void sc_port_begin(struct sc_port *p, uint32_t lane, const uint64_t *ids, uint32_t n);
void sc_port_end(struct sc_port *p, uint32_t lane);
/* What the batch costs, in the backend's unit, where it has one. Any thread. */
void sc_port_cost(struct sc_port *p, uint32_t lane, uint64_t cost);
/*
 * The set that the lane computes has changed: writes the page anew (n = 0: clears it); `fresh` of the ids
 * have come since the last time, and count as a batch. At no moment is an id that stays missing on the page,
 * if it has not moved to a higher place. Also restarts the clock of responseTimeout; touch does that alone.
 */
void sc_port_list(struct sc_port *p, uint32_t lane, const uint64_t *ids, uint32_t n, uint32_t fresh);
void sc_port_touch(struct sc_port *p, uint32_t lane);

/*
 * An answer. reserve gives room for `size` body bytes (block of the response arena, or a memfd when it
 * does not fit), NULL if there is neither; send publishes the first body_len bytes with
 * the metadata; cancel gives the room back. Without reserve, send copies `body` itself. send blocks (briefly
 * polling) while the completion ring is full or the host holds too many answers, unless the port is closed;
 * then it returns 0. SC_ELIMIT if metadata exceeds SC_ANSWER_META_BYTES or the body max_response or what was
 * reserved, SC_ENOMEM or SC_ESYS without memory; nothing was sent then. What was reserved is used up in every
 * case. Any thread; one answer per id. Of w only id, channel and taken_ns are
 * read.
 */
struct sc_answer {
    void *p; /* where to write the body */
    size_t size;
    uint64_t off;         /* private */
    int fd;               /* private */
    unsigned channel;     /* private */
    unsigned char inside; /* private */
};
void *sc_port_reserve(struct sc_port *p, const struct sc_work *w, size_t size, struct sc_answer *a);
void sc_port_cancel(struct sc_port *p, struct sc_answer *a);
int sc_port_send(struct sc_port *p, const struct sc_work *w, uint32_t status, struct sc_span meta,
                 struct sc_answer *reserved, struct sc_span body);
/* As send, with a part of the answer (SC_COMPLETE_MORE): sc_port_send ends it. */
int sc_port_part(struct sc_port *p, const struct sc_work *w, uint32_t status, struct sc_span meta,
                 struct sc_answer *reserved, struct sc_span body);
/* Wakes the frontend's loops if they sleep and something was sent since. Any thread. */
void sc_port_flush(struct sc_port *p);

/* True once the frontend's socket has hung up. It asks the kernel at most once a millisecond. */
bool sc_port_closed(const struct sc_port *p);
/* A descriptor that shows POLLHUP (and POLLRDHUP) when the frontend is gone: the socket of channel 0. Do not
 * poll it for reading, which is what large bodies make it. */
int sc_port_hup_fd(const struct sc_port *p);

#endif
