/*
 * The worker's side of board and channels. Orders and the reasons for them are in channel.c; this
 * side trusts the frontend, but checks geometry and ranges all the same, since a frontend
 * of another build or a bug should end in a message, not in a crash.
 *
 * Submissions and sleep belong to one thread. Answers come from every lane: each channel has a lock around
 * its arena and its completion ring; bodies over COPY_LOCKED are copied outside of it.
 */
#include "worker/channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/port_parts.h"
#include "worker/shm.h"

#define COPY_LOCKED 4096    /* bytes */
#define META_ROOM 256       /* kept free behind a reserved body */
#define WAIT_FIRST_NS 20000 /* first pause of a sender without room; doubled up to */
#define WAIT_LONGEST_NS 1000000

/* ---- submissions --------------------------------------------------------------------- */

static int take(struct sc_port *p, unsigned channel, struct sc_work *out)
{
    struct sc_port_end *e = &p->ends[channel];
    struct sc_sub_desc d = e->first;
    e->has_first = false;
    sc_ring_consumed(&e->sub, &e->shared->sub);

    bool large = d.flags & SC_DESC_LARGE;
    uint64_t inside = d.meta_len + (large ? 0 : d.body_len);
    if (d.epoch != p->epoch || inside < d.meta_len || d.off > e->request_bytes ||
        inside > e->request_bytes - d.off)
        return SC_EPROTO;
    *out = (struct sc_work){.id = d.id,
                            .channel = channel,
                            .flags = d.flags & ~SC_DESC_LARGE,
                            .meta = sc_span(e->request + d.off, d.meta_len),
                            .arrival_ns = d.arrival_ns,
                            .cost = d.cost};
    if (!large) {
        out->body = sc_span(e->request + d.off + d.meta_len, (size_t)d.body_len);
        return 1;
    }
    const char *why;
    int fd = sc_large_receive(e->sock, (struct sc_large_tag){d.id, d.epoch}, &why);
    if (fd < 0)
        return fd;
    int rc = sc_large_map(fd, d.body_len, &out->body_map, &why);
    close(fd);
    if (rc < 0)
        return rc;
    out->body = sc_span(out->body_map, (size_t)d.body_len);
    return 1;
}

/* The first of a ring, which stays there. 1, 0 when there is none, or SC_EPROTO. */
static int look(struct sc_port_end *e)
{
    if (e->has_first)
        return 1;
    uint32_t waiting = sc_ring_waiting(&e->sub, &e->shared->sub);
    if (waiting > SC_RING_ENTRIES)
        return SC_EPROTO;
    if (waiting == 0)
        return 0;
    sc_slot_read(&e->shared->subs[e->sub.mine % SC_RING_ENTRIES], &e->first);
    e->has_first = true;
    return 1;
}

int sc_port_next(struct sc_port *p, struct sc_work *out)
{
    unsigned best = p->channels, channel = p->turn;
    int64_t oldest = INT64_MAX;
    for (unsigned i = 0; i < p->channels; i++) {
        struct sc_port_end *e = &p->ends[channel];
        int rc = look(e);
        if (rc < 0)
            return rc;
        int64_t turn = rc == 1 ? sc_submission_turn(e->first.flags, e->first.arrival_ns) : INT64_MAX;
        if (turn < oldest) {
            best = channel;
            oldest = turn;
        }
        channel = channel + 1 == p->channels ? 0 : channel + 1;
    }
    if (best == p->channels)
        return 0;
    p->turn = best + 1 == p->channels ? 0 : best + 1; /* of those that came at once each has its turn */
    return take(p, best, out);
}

void sc_port_done(struct sc_port *p, struct sc_work *w)
{
    (void)p;
    if (!w->body_map)
        return;
    sc_shm_unmap(w->body_map, w->body.n);
    w->body_map = NULL;
    w->body = sc_span(NULL, 0);
}

bool sc_port_sleep(struct sc_port *p)
{
    sc_sleep_announce(&p->board->worker_sleeps);
    /* The shared indices, not this side's cached ones: another thread may be in sc_port_next now. */
    for (unsigned i = 0; i < p->channels; i++) {
        struct sc_ring_shared *r = &p->ends[i].shared->sub;
        if (atomic_load_explicit(&r->tail, memory_order_acquire) !=
            atomic_load_explicit(&r->head, memory_order_relaxed)) {
            atomic_store_explicit(&p->board->worker_sleeps, 0, memory_order_relaxed);
            return false;
        }
    }
    return true;
}

void sc_port_awake(struct sc_port *p)
{
    char bytes[64];
    atomic_store_explicit(&p->board->worker_sleeps, 0, memory_order_relaxed);
    while (recv(p->wake_fd, bytes, sizeof bytes, MSG_DONTWAIT) == (ssize_t)sizeof bytes)
        ;
}

/* ---- running pages --------------------------------------------------------------------- */

void sc_port_begin(struct sc_port *p, uint32_t lane, const uint64_t *ids, uint32_t n)
{
    if (lane >= p->lanes)
        return;
    struct sc_board_page *page = &p->board->pages[lane];
    n = SC_MIN(n, SC_LANE_RUNNING_MAX);
    /* An exchange, not a store: its acquire half keeps the content from being written while an old page is
     * still valid. */
    atomic_exchange_explicit(&page->since_ns, 0, memory_order_acq_rel);
    for (uint32_t i = 0; i < n; i++)
        atomic_store_explicit(&page->ids[i], ids[i], memory_order_relaxed);
    atomic_store_explicit(&page->n, n, memory_order_relaxed);
    atomic_store_explicit(&page->since_ns, sc_clock_ns(), memory_order_release);
    sc_page_count(page, n);
}

void sc_port_cost(struct sc_port *p, uint32_t lane, uint64_t cost)
{
    if (lane < p->lanes)
        sc_page_cost(&p->board->pages[lane], cost);
}

void sc_port_end(struct sc_port *p, uint32_t lane)
{
    if (lane < p->lanes)
        atomic_store_explicit(&p->board->pages[lane].since_ns, 0, memory_order_release);
}

void sc_port_list(struct sc_port *p, uint32_t lane, const uint64_t *ids, uint32_t n, uint32_t fresh)
{
    if (lane >= p->lanes)
        return;
    struct sc_board_page *page = &p->board->pages[lane];
    n = SC_MIN(n, SC_LANE_RUNNING_MAX);
    if (fresh)
        sc_page_count(page, fresh);
    if (n == 0) {
        sc_port_end(p, lane);
        return;
    }
    /*
     * The page is valid all the time: who dies in the middle has listed all that was open before and after.
     * Upwards, and each store after the one before it: what moves down is at its new place before the old one
     * is written over, or cut off by the count.
     */
    for (uint32_t i = 0; i < n; i++)
        atomic_store_explicit(&page->ids[i], ids[i], memory_order_release);
    atomic_store_explicit(&page->n, n, memory_order_release);
    atomic_store_explicit(&page->since_ns, sc_clock_ns(), memory_order_release);
}

void sc_port_touch(struct sc_port *p, uint32_t lane)
{
    if (lane < p->lanes && atomic_load_explicit(&p->board->pages[lane].since_ns, memory_order_relaxed) != 0)
        atomic_store_explicit(&p->board->pages[lane].since_ns, sc_clock_ns(), memory_order_release);
}

/* ---- answers --------------------------------------------------------------------------- */

static void wake_host(struct sc_port_end *e)
{
    if (sc_sleep_claim(&e->shared->host_sleeps))
        eventfd_write(e->wake_fd, 1);
}

/* Takes up what the host has released. With the lock. */
static void reclaim(struct sc_port_end *e)
{
    for (uint32_t n = sc_ring_waiting(&e->rel, &e->shared->rel); n > 0 && n <= SC_CHAN_HELD_MAX; n--) {
        uint64_t entry =
            atomic_load_explicit(&e->shared->rels[e->rel.mine % SC_CHAN_HELD_MAX], memory_order_relaxed);
        sc_ring_consumed(&e->rel, &e->shared->rel);
        e->out -= e->out > 0;
        if (entry == SC_RELEASE_LARGE)
            e->large -= e->large > 0;
        else
            sc_arena_release(&e->arena, entry);
    }
}

/* A memory file for a body of n bytes and its metadata; pages come when touched. */
static bool reserve_large(size_t n, struct sc_answer *a)
{
    if (n > SIZE_MAX / 2 - SC_ANSWER_META_BYTES)
        return false;
    a->fd = sc_shm_file("sconce-answer");
    if (a->fd < 0)
        return false;
    if (ftruncate(a->fd, (off_t)(n + SC_ANSWER_META_BYTES)) == 0) {
        a->p = mmap(NULL, n + SC_ANSWER_META_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
        if (a->p != MAP_FAILED) {
            a->size = n;
            return true;
        }
    }
    close(a->fd);
    a->fd = -1;
    a->p = NULL;
    return false;
}

/* Room for n body bytes and `behind` of metadata. With the lock or (locked = false) taking it. */
static bool reserve(struct sc_port_end *e, size_t n, size_t behind, bool locked, struct sc_answer *a)
{
    if (n <= SC_ARENA_BLOCK_MAX && behind <= SC_ARENA_BLOCK_MAX - n) {
        if (!locked)
            pthread_mutex_lock(&e->lock);
        reclaim(e);
        a->p = sc_arena_alloc(&e->arena, n + behind, &a->off, &a->size);
        if (!locked)
            pthread_mutex_unlock(&e->lock);
        a->inside = a->p != NULL;
    }
    return a->inside || reserve_large(n, a);
}

void *sc_port_reserve(struct sc_port *p, const struct sc_work *w, size_t size, struct sc_answer *a)
{
    struct sc_port_end *e = &p->ends[w->channel];
    *a = (struct sc_answer){.fd = -1, .channel = w->channel};
    if (size > e->max_response || !reserve(e, size, META_ROOM, false, a))
        return NULL;
    return a->p;
}

void sc_port_cancel(struct sc_port *p, struct sc_answer *a)
{
    struct sc_port_end *e = &p->ends[a->channel];
    if (a->inside) {
        pthread_mutex_lock(&e->lock);
        sc_arena_release(&e->arena, a->off);
        pthread_mutex_unlock(&e->lock);
    } else if (a->fd >= 0) {
        munmap(a->p, a->size + SC_ANSWER_META_BYTES);
        close(a->fd);
    }
    *a = (struct sc_answer){.fd = -1, .channel = a->channel};
}

/*
 * With the lock, which is given up meanwhile: a pause, because there is no room. False if the port is closed.
 * What is published has to be known to the host first, or both would wait.
 */
static bool pause_for_room(struct sc_port *p, struct sc_port_end *e, long *pause_ns)
{
    pthread_mutex_unlock(&e->lock);
    wake_host(e);
    struct timespec t = {0, *pause_ns};
    nanosleep(&t, NULL);
    *pause_ns = SC_MIN(*pause_ns * 2, WAIT_LONGEST_NS);
    bool open = !sc_port_closed(p);
    pthread_mutex_lock(&e->lock);
    return open;
}

/* With the lock: publishes the descriptor. 0, also when the port is closed, or SC_ESYS. */
static int push(struct sc_port *p, struct sc_port_end *e, struct sc_comp_desc *d, int fd)
{
    long pause_ns = WAIT_FIRST_NS;
    bool holds = d->body_len + d->meta_len > 0;
    for (;;) {
        reclaim(e);
        uint32_t room = sc_ring_room(&e->comp, &e->shared->comp, SC_RING_ENTRIES);
        int rc = SC_AGAIN;
        if (room > 0 && (!holds || e->out < SC_CHAN_HELD_MAX) && (fd < 0 || e->large < SC_CHAN_LARGE_MAX))
            rc = fd < 0 ? 0 : sc_large_send(e->sock, (struct sc_large_tag){d->id, d->epoch}, fd);
        if (rc == 0)
            break;
        if (rc != SC_AGAIN)
            return rc == SC_ECLOSED ? 0 : rc;
        if (!pause_for_room(p, e, &pause_ns))
            return 0;
    }
    if (holds) {
        e->out++;
        e->large += fd >= 0;
    }
    sc_slot_write(&e->shared->comps[e->comp.mine % SC_RING_ENTRIES], d);
    sc_ring_publish(&e->comp, &e->shared->comp);
    atomic_store_explicit(&e->unflushed, 1, memory_order_release);
    return 0;
}

static int send_inside(struct sc_port *p, struct sc_port_end *e, struct sc_comp_desc *d, struct sc_answer *a)
{
    if (a->p) {
        d->off = a->off;
        a->inside = 0; /* the host's from here on */
    }
    pthread_mutex_lock(&e->lock);
    int rc = push(p, e, d, -1);
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static int send_large(struct sc_port *p, struct sc_port_end *e, struct sc_comp_desc *d, struct sc_answer *a)
{
    int fd = a->fd;
    a->fd = -1;
    munmap(a->p, a->size + SC_ANSWER_META_BYTES);
    d->flags |= SC_DESC_LARGE;
    int rc = sc_large_seal(fd, d->body_len + d->meta_len);
    if (rc == 0) {
        pthread_mutex_lock(&e->lock);
        rc = push(p, e, d, fd);
        pthread_mutex_unlock(&e->lock);
    }
    close(fd);
    return rc;
}

/* Metadata that has no room behind a reserved body: both move. */
static int move_reserved(struct sc_port *p, struct sc_port_end *e, struct sc_answer *a, size_t body,
                         size_t behind)
{
    struct sc_answer bigger = {.fd = -1, .channel = a->channel};
    if (!reserve(e, body, behind, false, &bigger))
        return SC_ENOMEM;
    memcpy(bigger.p, a->p, body);
    sc_port_cancel(p, a);
    *a = bigger;
    return 0;
}

static int complete(struct sc_port *p, const struct sc_work *w, uint32_t status, uint32_t flags,
                    struct sc_span meta, struct sc_answer *reserved, struct sc_span body)
{
    struct sc_port_end *e = &p->ends[w->channel];
    struct sc_comp_desc d = {.id = w->id,
                             .epoch = p->epoch,
                             .body_len = body.n,
                             .meta_len = (uint32_t)meta.n,
                             .flags = flags,
                             .status = status,
                             .batch = w->batch,
                             .taken_ns = w->taken_ns};
    struct sc_answer own = {.fd = -1, .channel = w->channel};
    struct sc_answer *a = reserved && reserved->p ? reserved : &own;
    int rc = SC_ELIMIT;
    if (meta.n > SC_ANSWER_META_BYTES || body.n > e->max_response || (a == reserved && body.n > a->size))
        goto out;

    if (a == reserved) {
        rc = a->inside && meta.n > a->size - body.n ? move_reserved(p, e, a, body.n, meta.n) : 0;
        if (rc < 0)
            goto out;
    } else if (body.n + meta.n > 0) {
        bool small = body.n + meta.n <= COPY_LOCKED;
        if (small)
            pthread_mutex_lock(&e->lock);
        bool got = reserve(e, body.n, meta.n, small, a);
        if (got && small && a->inside) {
            /* The common case takes the lock once. */
            if (body.n)
                memcpy(a->p, body.p, body.n);
            if (meta.n)
                memcpy((char *)a->p + body.n, meta.p, meta.n);
            d.off = a->off;
            rc = push(p, e, &d, -1);
            pthread_mutex_unlock(&e->lock);
            return rc;
        }
        if (small)
            pthread_mutex_unlock(&e->lock);
        rc = SC_ENOMEM;
        if (!got)
            goto out;
        if (body.n)
            memcpy(a->p, body.p, body.n);
    }
    if (meta.n)
        memcpy((char *)a->p + body.n, meta.p, meta.n);
    if (a->p && body.n + meta.n == 0)
        sc_port_cancel(p, a); /* nothing to hold, so the host would not give it back */
    rc = a->fd >= 0 ? send_large(p, e, &d, a) : send_inside(p, e, &d, a);
out:
    if (a->inside || a->fd >= 0)
        sc_port_cancel(p, a);
    *a = (struct sc_answer){.fd = -1, .channel = w->channel};
    return rc;
}

int sc_port_send(struct sc_port *p, const struct sc_work *w, uint32_t status, struct sc_span meta,
                 struct sc_answer *reserved, struct sc_span body)
{
    return complete(p, w, status, 0, meta, reserved, body);
}

int sc_port_part(struct sc_port *p, const struct sc_work *w, uint32_t status, struct sc_span meta,
                 struct sc_answer *reserved, struct sc_span body)
{
    return complete(p, w, status, SC_COMPLETE_MORE, meta, reserved, body);
}

void sc_port_flush(struct sc_port *p)
{
    for (unsigned i = 0; i < p->channels; i++) {
        struct sc_port_end *e = &p->ends[i];
        if (atomic_load_explicit(&e->unflushed, memory_order_relaxed) &&
            atomic_exchange_explicit(&e->unflushed, 0, memory_order_acquire))
            wake_host(e);
    }
}
