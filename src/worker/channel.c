/*
 * The host's side of board and channel, and why the shared memory works without locks.
 *
 * Passing data. Each ring has one producer and one consumer. The producer fills a slot and whatever
 * the slot points to, then stores its new tail with release; the consumer loads tail with acquire
 * and then reads. So everything written before the store is seen after the load. In the other direction the
 * consumer stores head with release after it has copied the slot, and the producer loads head with
 * acquire before it writes that slot again: a slot is never overwritten while it is read. Blocks
 * follow the same two edges: a request's block is reused after its answer was taken from the completion ring,
 * an answer's block after its offset was taken from the release ring. Each side
 * keeps its own index in private memory and only ever stores it; it reads the other's
 * index again only when the copy it has says full or empty, so that a busy ring moves a cache line
 * once per batch instead of once per message.
 *
 * Waking. One eventfd write per sleep, none while the other side is awake. The sleeper S and the producer P
 * do
 *
 *     S: flag = 1;  full barrier;  look for work;  none: wait on the descriptor
 *     P: tail = t;  full barrier;  look at flag;   set: exchange(flag, 0); was set: write the descriptor
 *
 * Acquire and release allow each side to read before its own store is visible; then both could
 * read the old value, S would sleep and P would not wake it. The two barriers are totally ordered: if S's is
 * first, P reads flag = 1 (or 0, from another producer's exchange, which then writes the descriptor);
 * if P's is first, S finds the work. The exchange picks one of several
 * producers. A descriptor written late, after S woke for another reason, costs one empty round.
 * P does this in flush, not with each message: publishing in between is seen by an awake consumer at once,
 * and by a sleeping one not before the flush, which both sides therefore call before they wait for anything.
 *
 * Death. A process can be killed between any two instructions, and what it has stored stays. A completion
 * counts from the store of tail: before it, the slot is outside the ring. A running page counts from the
 * store of since_ns, which is the last of begin and the first of end (and begin clears it first, in case no
 * end came): a page that counts is whole. A worker that dies between publishing and waking leaves the loop
 * asleep; the owner polls once more when it learns of the death.
 *
 * Distrust. The worker can write every byte of board and rings, its arena and its ends of the
 * descriptors, at any time. So the host reads from shared memory only: the other index, checked
 * against the ring's size; slots, each word once, into a copy that is then checked; metadata, copied with the
 * length checked before. It follows no offset that it has not checked against what it knows itself. Flags
 * of files opened by the host and held by both are the worker's too: O_NONBLOCK can be taken away. Therefore
 * no call of the host's relies on it: sockets are used with MSG_DONTWAIT, the eventfd is drained with
 * RWF_NOWAIT, and the worker is woken by a byte in a socket, because a write to an eventfd that it has filled
 * up could be made to block.
 */
#include "worker/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "worker/channel_layout.h"
#include "worker/shm.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- board -------------------------------------------------------------------------- */

struct sc_board {
    struct sc_board_shared *shared;
    size_t bytes;
    uint32_t room;          /* lanes that it has pages for */
    _Atomic uint32_t lanes; /* that are looked at */
    int memory_fd;
    int wake[2]; /* ours, the worker's */
};

int sc_board_new(struct sc_board **out, uint32_t lanes, uint64_t epoch)
{
    *out = NULL;
    if (lanes == 0 || lanes > SC_LANES_MAX)
        return SC_EINVAL;
    struct sc_board *b = calloc(1, sizeof *b);
    if (!b)
        return SC_ENOMEM;
    b->room = lanes;
    atomic_init(&b->lanes, lanes);
    b->bytes = sc_board_bytes(lanes);
    b->memory_fd = b->wake[0] = b->wake[1] = -1;

    void *base;
    b->memory_fd = sc_shm_create("sconce-board", b->bytes, false, &base);
    if (b->memory_fd < 0)
        goto fail;
    b->shared = base;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, b->wake) < 0)
        goto fail;

    b->shared->magic = SC_BOARD_MAGIC;
    b->shared->version = SC_CHAN_VERSION;
    b->shared->epoch = epoch;
    b->shared->lanes = lanes;
    *out = b;
    return 0;
fail:
    sc_board_del(b);
    return SC_ESYS;
}

void sc_board_del(struct sc_board *b)
{
    if (!b)
        return;
    sc_shm_unmap(b->shared, b->bytes);
    close_fd(&b->memory_fd);
    close_fd(&b->wake[0]);
    close_fd(&b->wake[1]);
    free(b);
}

void sc_board_fds(const struct sc_board *b, int fds[SC_BOARD_FDS])
{
    fds[0] = b->memory_fd;
    fds[1] = b->wake[1];
}

void sc_board_use(struct sc_board *b, uint32_t n)
{
    atomic_store(&b->lanes, SC_MIN(n, b->room));
}

uint32_t sc_board_lanes(const struct sc_board *b)
{
    return atomic_load(&b->lanes);
}

void sc_board_running(const struct sc_board *b, uint32_t lane, struct sc_running *out)
{
    out->since_ns = 0;
    out->n = 0;
    if (lane >= sc_board_lanes(b))
        return;
    const struct sc_board_page *page = &b->shared->pages[lane];
    out->since_ns = atomic_load_explicit(&page->since_ns, memory_order_acquire);
    if (out->since_ns == 0)
        return;
    uint32_t n = atomic_load_explicit(&page->n, memory_order_relaxed);
    out->n = SC_MIN(n, SC_LANE_RUNNING_MAX);
    for (uint32_t i = 0; i < out->n; i++)
        out->ids[i] = atomic_load_explicit(&page->ids[i], memory_order_relaxed);
}

void sc_board_work(const struct sc_board *b, struct sc_board_work *out)
{
    *out = (struct sc_board_work){0};
    for (uint32_t i = 0, n = sc_board_lanes(b); i < n; i++) {
        const struct sc_board_page *page = &b->shared->pages[i];
        out->batches += atomic_load_explicit(&page->batches, memory_order_relaxed);
        out->requests += atomic_load_explicit(&page->requests, memory_order_relaxed);
        out->cost += atomic_load_explicit(&page->cost, memory_order_relaxed);
        for (unsigned k = 0; k < SC_BATCH_BUCKETS; k++) {
            out->sizes[k] += atomic_load_explicit(&page->sizes[k], memory_order_relaxed);
            out->costs[k] += atomic_load_explicit(&page->costs[k], memory_order_relaxed);
        }
    }
}

/* ---- channel ------------------------------------------------------------------------ */

/* An answer that the caller has not released. */
struct held {
    uint64_t off;
    uint32_t grains; /* of the response arena, from off; 0: map */
    uint32_t turn;   /* how often this entry was used: tokens of the past do not fit */
    void *map;
    size_t map_bytes;
    uint32_t next; /* 1 + index of the next unused entry */
    bool used;
};

struct sc_chan {
    struct sc_chan_shared *shared;
    struct sc_board *board;
    struct sc_ring_end sub, comp, rel;
    uint64_t epoch;
    uint64_t request_bytes;
    uint64_t max_response;
    const char *response; /* read-only */
    size_t response_bytes;
    const char *broken; /* the rule that the worker broke; then nothing more is believed */
    bool unflushed;
    bool asleep;     /* sleep is announced */
    bool drain;      /* the eventfd is readable or will be */
    unsigned awakes; /* counts, to drain now and then without a reason */

    uint64_t *grains; /* bit set: part of a held answer */
    struct held *held;
    uint32_t held_fresh;  /* entries from here on were never used */
    uint32_t held_unused; /* 1 + index of the first unused entry below, or 0 */
    uint32_t large;       /* held answers with a map */

    int memory_fd, response_fd, request_fd, wake_fd;
    int sock[2]; /* ours, the worker's */
    char meta[SC_ANSWER_META_BYTES];
};

int sc_chan_new(struct sc_chan **out, const struct sc_chan_spec *spec)
{
    *out = NULL;
    if (spec->response_bytes == 0 || spec->response_bytes % SC_ARENA_BLOCK_MAX != 0)
        return SC_EINVAL;
    struct sc_chan *c = calloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    c->memory_fd = c->response_fd = c->request_fd = c->wake_fd = c->sock[0] = c->sock[1] = -1;
    c->board = spec->board;
    c->epoch = spec->epoch;
    c->request_bytes = spec->request_bytes;
    c->response_bytes = spec->response_bytes;
    c->max_response = spec->max_response;

    int rc = SC_ENOMEM;
    c->grains = calloc((c->response_bytes / SC_ARENA_BLOCK_MIN + 63) / 64, sizeof *c->grains);
    c->held = calloc(SC_CHAN_HELD_MAX, sizeof *c->held);
    if (!c->grains || !c->held)
        goto fail;

    rc = SC_ESYS;
    void *base;
    c->memory_fd = sc_shm_create("sconce-rings", SC_CHAN_BYTES, false, &base);
    if (c->memory_fd < 0)
        goto fail;
    c->shared = base;
    c->response_fd = sc_shm_file_sized("sconce-answers", c->response_bytes);
    if (c->response_fd < 0 || sc_shm_finish(c->response_fd, false) < 0)
        goto fail;
    c->response = sc_shm_map(c->response_fd, c->response_bytes, false);
    c->request_fd = fcntl(spec->request_fd, F_DUPFD_CLOEXEC, 0);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!c->response || c->request_fd < 0 || c->wake_fd < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, c->sock) < 0)
        goto fail;

    struct sc_chan_shared *s = c->shared;
    s->magic = SC_CHAN_MAGIC;
    s->version = SC_CHAN_VERSION;
    s->epoch = c->epoch;
    s->ring_entries = SC_RING_ENTRIES;
    s->held_max = SC_CHAN_HELD_MAX;
    s->block_min = SC_ARENA_BLOCK_MIN;
    s->request_bytes = c->request_bytes;
    s->response_bytes = c->response_bytes;
    s->max_response = c->max_response;
    *out = c;
    return 0;
fail:
    sc_chan_del(c);
    return rc;
}

void sc_chan_del(struct sc_chan *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->held_fresh; i++)
        if (c->held[i].used && c->held[i].map)
            sc_shm_unmap(c->held[i].map, c->held[i].map_bytes);
    sc_shm_unmap(c->shared, SC_CHAN_BYTES);
    sc_shm_unmap((void *)(uintptr_t)c->response, c->response_bytes);
    close_fd(&c->memory_fd);
    close_fd(&c->response_fd);
    close_fd(&c->request_fd);
    close_fd(&c->wake_fd);
    close_fd(&c->sock[0]);
    close_fd(&c->sock[1]);
    free(c->grains);
    free(c->held);
    free(c);
}

void sc_chan_fds(const struct sc_chan *c, int fds[SC_CHAN_FDS])
{
    fds[0] = c->memory_fd;
    fds[1] = c->response_fd;
    fds[2] = c->request_fd;
    fds[3] = c->wake_fd;
    fds[4] = c->sock[1];
}

int sc_chan_wake_fd(const struct sc_chan *c)
{
    return c->wake_fd;
}

static int broken(struct sc_chan *c, const char *why)
{
    if (!c->broken)
        c->broken = why;
    return SC_EPEER;
}

/* ---- to the worker ------------------------------------------------------------------- */

static int room_to_submit(struct sc_chan *c)
{
    if (c->broken)
        return SC_EPEER;
    uint32_t room = sc_ring_room(&c->sub, &c->shared->sub, SC_RING_ENTRIES);
    if (room > SC_RING_ENTRIES)
        return broken(c, "an impossible head of the submission ring");
    return room == 0 ? SC_AGAIN : 0;
}

static void push(struct sc_chan *c, const struct sc_sub_desc *d)
{
    sc_slot_write(&c->shared->subs[c->sub.mine % SC_RING_ENTRIES], d);
    sc_ring_publish(&c->sub, &c->shared->sub);
    c->unflushed = true;
}

int sc_chan_submit(struct sc_chan *c, const struct sc_submission *s)
{
    uint64_t inside = s->meta_len + (s->body_fd < 0 ? s->body_len : 0);
    if (!c->broken &&
        (inside < s->meta_len || s->off > c->request_bytes || inside > c->request_bytes - s->off))
        return SC_EINVAL;
    int room = room_to_submit(c);
    if (room < 0)
        return room;
    if (s->body_fd >= 0) {
        int rc = sc_large_send(c->sock[0], (struct sc_large_tag){s->id, c->epoch}, s->body_fd);
        if (rc < 0) /* a worker that is gone is its supervisor's news, not ours */
            return rc == SC_ECLOSED ? SC_AGAIN : rc;
    }

    struct sc_sub_desc d = {.id = s->id,
                            .epoch = c->epoch,
                            .off = s->off,
                            .body_len = s->body_len,
                            .meta_len = s->meta_len,
                            .flags = (s->flags & (SC_SUBMIT_ALONE | SC_SUBMIT_HIGH | SC_SUBMIT_LOW)) |
                                     (s->body_fd >= 0 ? SC_DESC_LARGE : 0),
                            .arrival_ns = s->arrival_ns,
                            .cost = s->cost};
    push(c, &d);
    return 0;
}

int sc_chan_cancel(struct sc_chan *c, uint64_t id)
{
    int room = room_to_submit(c);
    if (room < 0)
        return room;
    struct sc_sub_desc d = {.id = id, .epoch = c->epoch, .flags = SC_SUBMIT_CANCEL};
    push(c, &d);
    return 0;
}

void sc_chan_flush(struct sc_chan *c)
{
    if (!c->unflushed)
        return;
    c->unflushed = false;
    /* A full socket has bytes to wake by already, and a closed one nobody to wake. */
    if (sc_sleep_claim(&c->board->shared->worker_sleeps))
        (void)!send(c->board->wake[0], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- from the worker ------------------------------------------------------------------ */

/* Bits of the word `at` that belong to grains [first, first + n); at moves on from first / 64 to the last. */
static uint64_t grain_mask(size_t at, size_t first, size_t n)
{
    uint64_t mask = ~UINT64_C(0);
    if (at == first / 64)
        mask &= ~UINT64_C(0) << (first % 64);
    if (at == (first + n - 1) / 64)
        mask &= ~UINT64_C(0) >> (63 - (first + n - 1) % 64);
    return mask;
}

static bool grains_free(const struct sc_chan *c, size_t first, size_t n)
{
    for (size_t w = first / 64; w <= (first + n - 1) / 64; w++)
        if (c->grains[w] & grain_mask(w, first, n))
            return false;
    return true;
}

static void grains_flip(struct sc_chan *c, size_t first, size_t n)
{
    for (size_t w = first / 64; w <= (first + n - 1) / 64; w++)
        c->grains[w] ^= grain_mask(w, first, n);
}

static struct held *held_take(struct sc_chan *c, uint64_t *token)
{
    uint32_t i;
    if (c->held_unused) {
        i = c->held_unused - 1;
        c->held_unused = c->held[i].next;
    } else if (c->held_fresh < SC_CHAN_HELD_MAX) {
        i = c->held_fresh++;
    } else {
        return NULL;
    }
    struct held *h = &c->held[i];
    h->used = true;
    h->turn++;
    *token = (uint64_t)h->turn << 32 | (i + 1);
    return h;
}

/* Hands an entry of the release ring to the worker. */
static void give_back(struct sc_chan *c, uint64_t entry)
{
    uint32_t room = sc_ring_room(&c->rel, &c->shared->rel, SC_CHAN_HELD_MAX);
    /* It has an entry for every answer that a worker may have out, and this one is among them. */
    if (room == 0 || room > SC_CHAN_HELD_MAX) {
        broken(c, "the release ring is not read");
        return;
    }
    atomic_store_explicit(&c->shared->rels[c->rel.mine % SC_CHAN_HELD_MAX], entry, memory_order_relaxed);
    sc_ring_publish(&c->rel, &c->shared->rel);
}

static int take_large(struct sc_chan *c, const struct sc_comp_desc *d, struct sc_completion *out)
{
    const char *why = NULL;
    if (c->large >= SC_CHAN_LARGE_MAX)
        return broken(c, "more large answers at a time than agreed");
    int fd = sc_large_receive(c->sock[0], (struct sc_large_tag){d->id, d->epoch}, &why);
    if (fd < 0)
        return broken(c, why);
    void *map;
    uint64_t bytes = d->body_len + d->meta_len;
    int rc = sc_large_map(fd, bytes, &map, &why);
    close(fd);
    if (rc < 0) {
        broken(c, why);
        return rc == SC_ESYS ? SC_ESYS : SC_EPEER;
    }
    struct held *h = held_take(c, &out->token);
    if (!h) {
        sc_shm_unmap(map, (size_t)bytes);
        return broken(c, "more answers at a time than agreed");
    }
    h->grains = 0;
    h->map = map;
    h->map_bytes = (size_t)bytes;
    c->large++;
    out->body = sc_span(map, (size_t)d->body_len);
    memcpy(c->meta, (const char *)map + d->body_len, d->meta_len);
    return 1;
}

static int take_block(struct sc_chan *c, const struct sc_comp_desc *d, struct sc_completion *out)
{
    uint64_t bytes = d->body_len + d->meta_len;
    if (bytes > SC_ARENA_BLOCK_MAX || d->off % SC_ARENA_BLOCK_MIN != 0 || d->off >= c->response_bytes ||
        bytes > c->response_bytes - d->off)
        return broken(c, "an answer outside its arena");
    size_t first = (size_t)d->off / SC_ARENA_BLOCK_MIN;
    size_t n = ((size_t)bytes + SC_ARENA_BLOCK_MIN - 1) / SC_ARENA_BLOCK_MIN;
    if (!grains_free(c, first, n))
        return broken(c, "an answer in memory that is not given back yet");

    memcpy(c->meta, c->response + d->off + d->body_len, d->meta_len);
    if (d->body_len == 0) {
        give_back(c, d->off);
        return c->broken ? SC_EPEER : 1;
    }
    struct held *h = held_take(c, &out->token);
    if (!h)
        return broken(c, "more answers at a time than agreed");
    grains_flip(c, first, n);
    h->off = d->off;
    h->grains = (uint32_t)n;
    h->map = NULL;
    out->body = sc_span(c->response + d->off, (size_t)d->body_len);
    return 1;
}

static int poll_one(struct sc_chan *c, struct sc_completion *out)
{
    if (c->broken)
        return SC_EPEER;
    uint32_t waiting = sc_ring_waiting(&c->comp, &c->shared->comp);
    if (waiting == 0)
        return 0;
    if (waiting > SC_RING_ENTRIES)
        return broken(c, "an impossible tail of the completion ring");
    struct sc_comp_desc d;
    sc_slot_read(&c->shared->comps[c->comp.mine % SC_RING_ENTRIES], &d);
    sc_ring_consumed(&c->comp, &c->shared->comp);

    if (d.epoch != c->epoch)
        return broken(c, "an answer of another epoch");
    if (d.status > 999)
        return broken(c, "a status out of range");
    if (d.flags & ~(SC_DESC_LARGE | SC_COMPLETE_MORE))
        return broken(c, "a flag that means nothing");
    if (d.meta_len > SC_ANSWER_META_BYTES)
        return broken(c, "metadata over the limit");
    if (d.body_len > c->max_response)
        return broken(c, "an answer longer than max_response_size");

    *out = (struct sc_completion){.id = d.id,
                                  .status = d.status,
                                  .flags = d.flags & ~SC_DESC_LARGE,
                                  .taken_ns = d.taken_ns,
                                  .batch = d.batch};
    out->meta = sc_span(c->meta, d.meta_len);
    if (d.flags & SC_DESC_LARGE)
        return take_large(c, &d, out);
    if (d.body_len + d.meta_len > 0)
        return take_block(c, &d, out);
    return 1;
}

int sc_chan_poll(struct sc_chan *c, struct sc_completion *out, struct sc_msg *msg)
{
    int rc = poll_one(c, out);
    if (SC_UNLIKELY(rc < 0))
        return sc_fail(msg, rc, "the worker broke the rules of its channel: %s", c->broken);
    return rc;
}

void sc_chan_release(struct sc_chan *c, uint64_t token)
{
    uint32_t i = (uint32_t)token - 1; /* token 0, for answers that hold nothing, becomes too large */
    if (i >= c->held_fresh || !c->held[i].used || c->held[i].turn != token >> 32)
        return;
    struct held *h = &c->held[i];
    if (h->map) {
        sc_shm_unmap(h->map, h->map_bytes);
        h->map = NULL;
        c->large--;
        give_back(c, SC_RELEASE_LARGE);
    } else {
        grains_flip(c, (size_t)h->off / SC_ARENA_BLOCK_MIN, h->grains);
        give_back(c, h->off);
    }
    h->used = false;
    h->next = c->held_unused;
    c->held_unused = i + 1;
}

/* ---- sleep --------------------------------------------------------------------------- */

bool sc_chan_sleep(struct sc_chan *c)
{
    sc_sleep_announce(&c->shared->host_sleeps);
    if (!c->broken && sc_ring_waiting(&c->comp, &c->shared->comp) == 0)
        return c->asleep = true;
    /* Withdrawn by exchange: a worker that was faster writes the eventfd, now or soon. */
    if (atomic_exchange_explicit(&c->shared->host_sleeps, 0, memory_order_relaxed) == 0)
        c->drain = true;
    return false;
}

static bool drain(int fd)
{
    uint64_t count;
    struct iovec iov = {&count, sizeof count};
    ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
        n = read(fd, &count, sizeof count);
    return n == (ssize_t)sizeof count;
}

void sc_chan_awake(struct sc_chan *c)
{
    /*
     * The descriptor needs a read only if the worker claimed a sleep; until that write arrives, it is still
     * to come. Every sixteenth time it is read anyway, or one uncalled-for write would
     * keep it readable for ever.
     */
    if (c->asleep && atomic_exchange_explicit(&c->shared->host_sleeps, 0, memory_order_relaxed) == 0)
        c->drain = true;
    c->asleep = false;
    if ((c->drain || c->awakes++ % 16 == 15) && drain(c->wake_fd))
        c->drain = false;
}
