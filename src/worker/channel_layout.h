/*
 * What the two sides of the data path share: the layout of board and channel, and the few
 * steps that both take. Private to channel.c and port.c; the argument why the ordering is enough is
 * the essay at the top of channel.c.
 *
 * Only the frontend writes the headers, before the worker sees them, and never reads them
 * again: what it needs to know of the geometry it keeps to itself.
 */
#ifndef SC_WORKER_CHANNEL_LAYOUT_H
#define SC_WORKER_CHANNEL_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/array.h"
#include "base/limits.h"
#include "worker/channel.h"

#define SC_CHAN_VERSION 4
#define SC_BOARD_MAGIC UINT64_C(0x6472616f62206373)
#define SC_CHAN_MAGIC UINT64_C(0x6e6e616863206373)

/* Two cache lines: the processor fetches them in pairs. */
#define SC_APART 128

_Static_assert((SC_RING_ENTRIES & (SC_RING_ENTRIES - 1)) == 0, "a power of two");
_Static_assert((SC_CHAN_HELD_MAX & (SC_CHAN_HELD_MAX - 1)) == 0, "a power of two");

/* ---- board -------------------------------------------------------------------------- */

struct sc_board_page {
    _Alignas(
        SC_APART) _Atomic int64_t since_ns; /* written last by begin, first by end; 0: the rest is void */
    _Atomic uint32_t n;
    _Atomic uint64_t ids[SC_LANE_RUNNING_MAX];
    _Atomic uint64_t batches, requests; /* since the board was made; only counted, as what follows */
    _Atomic uint64_t cost;
    _Atomic uint64_t sizes[SC_BATCH_BUCKETS], costs[SC_BATCH_BUCKETS];
};

static inline unsigned sc_batch_bucket(uint64_t v)
{
    return v <= 1 ? 0 : (unsigned)SC_MIN(64 - __builtin_clzll(v - 1), SC_BATCH_BUCKETS - 1);
}

static inline void sc_page_count(struct sc_board_page *page, uint32_t requests)
{
    atomic_fetch_add_explicit(&page->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&page->requests, requests, memory_order_relaxed);
    atomic_fetch_add_explicit(&page->sizes[sc_batch_bucket(requests)], 1, memory_order_relaxed);
}

static inline void sc_page_cost(struct sc_board_page *page, uint64_t cost)
{
    atomic_fetch_add_explicit(&page->cost, cost, memory_order_relaxed);
    atomic_fetch_add_explicit(&page->costs[sc_batch_bucket(cost)], 1, memory_order_relaxed);
}

struct sc_board_shared {
    uint64_t magic;
    uint64_t epoch;
    uint32_t version;
    uint32_t lanes;
    _Alignas(SC_APART) _Atomic uint32_t worker_sleeps;
    struct sc_board_page pages[];
};

static inline size_t sc_board_bytes(uint32_t lanes)
{
    size_t n = sizeof(struct sc_board_shared) + lanes * sizeof(struct sc_board_page);
    return (n + 4095) & ~(size_t)4095;
}

/* ---- channel ------------------------------------------------------------------------ */

/*
 * Indices count for ever and are cut to the ring when used; tail is written by the producer,
 * head by the consumer.
 */
struct sc_ring_shared {
    _Alignas(SC_APART) _Atomic uint32_t tail;
    _Alignas(SC_APART) _Atomic uint32_t head;
};

/* One descriptor, moved as eight words so that each is read exactly once. */
struct sc_slot {
    _Alignas(64) _Atomic uint64_t w[8];
};

struct sc_sub_desc {
    uint64_t id;
    uint64_t epoch;
    uint64_t off;
    uint64_t body_len;
    uint32_t meta_len;
    uint32_t flags;
    int64_t arrival_ns;
    uint64_t cost;
    uint64_t unused;
};

/* An answer lies in its block, or in its memory file, body first and metadata right behind it. */
struct sc_comp_desc {
    uint64_t id;
    uint64_t epoch;
    uint64_t off;
    uint64_t body_len;
    uint32_t meta_len;
    uint32_t flags;
    uint32_t status;
    uint32_t batch;
    int64_t taken_ns;
    uint64_t unused_too;
};

_Static_assert(sizeof(struct sc_sub_desc) == sizeof(struct sc_slot), "one slot");
_Static_assert(sizeof(struct sc_comp_desc) == sizeof(struct sc_slot), "one slot");

#define SC_DESC_LARGE (UINT32_C(1) << 31) /* flag: the body is in a memory file of its own */
#define SC_RELEASE_LARGE UINT64_MAX       /* release ring: a large answer, no block */

struct sc_chan_shared {
    uint64_t magic;
    uint64_t epoch;
    uint32_t version;
    uint32_t ring_entries;
    uint32_t held_max;
    uint32_t block_min;
    uint64_t request_bytes;
    uint64_t response_bytes;
    uint64_t max_response;
    _Alignas(SC_APART) _Atomic uint32_t host_sleeps;
    struct sc_ring_shared sub;  /* host to worker */
    struct sc_ring_shared comp; /* worker to host */
    struct sc_ring_shared rel;  /* host to worker */
    _Alignas(SC_APART) struct sc_slot subs[SC_RING_ENTRIES];
    struct sc_slot comps[SC_RING_ENTRIES];
    _Atomic uint64_t rels[SC_CHAN_HELD_MAX];
};

#define SC_CHAN_BYTES ((sizeof(struct sc_chan_shared) + 4095) & ~(size_t)4095)

/* ---- steps both sides take ------------------------------------------------------------ */

/* One side's own knowledge of a ring. The other's index is cached: it is read again only when the cached one
 * says full, or empty. */
struct sc_ring_end {
    uint32_t mine;
    uint32_t theirs;
};

static inline void sc_slot_read(const struct sc_slot *s, void *desc)
{
    uint64_t w[8];
    for (int i = 0; i < 8; i++)
        w[i] = atomic_load_explicit(&s->w[i], memory_order_relaxed);
    memcpy(desc, w, sizeof w);
}

static inline void sc_slot_write(struct sc_slot *s, const void *desc)
{
    uint64_t w[8];
    memcpy(w, desc, sizeof w);
    for (int i = 0; i < 8; i++)
        atomic_store_explicit(&s->w[i], w[i], memory_order_relaxed);
}

/* Free entries for the producer, or more than `entries` if the consumer's index is impossible. */
static inline uint32_t sc_ring_room(struct sc_ring_end *e, const struct sc_ring_shared *r, uint32_t entries)
{
    if (e->mine - e->theirs >= entries)
        e->theirs = atomic_load_explicit(&r->head, memory_order_acquire);
    uint32_t used = e->mine - e->theirs;
    return used > entries ? UINT32_MAX : entries - used;
}

/* Entries for the consumer, or more than `entries` if the producer's index is impossible. */
static inline uint32_t sc_ring_waiting(struct sc_ring_end *e, const struct sc_ring_shared *r)
{
    if (e->mine == e->theirs)
        e->theirs = atomic_load_explicit(&r->tail, memory_order_acquire);
    return e->theirs - e->mine;
}

static inline void sc_ring_publish(struct sc_ring_end *e, struct sc_ring_shared *r)
{
    atomic_store_explicit(&r->tail, ++e->mine, memory_order_release);
}

static inline void sc_ring_consumed(struct sc_ring_end *e, struct sc_ring_shared *r)
{
    atomic_store_explicit(&r->head, ++e->mine, memory_order_release);
}

/* Full barrier between publishing and looking at the sleep flag, and the other way round. */
static inline void sc_full_barrier(void)
{
#if defined(__SANITIZE_THREAD__) && defined(__x86_64__)
    /* ThreadSanitizer has no model of fences (and gcc refuses them); it needs none here, as
     * no data is passed by this ordering. */
    __asm__ volatile("mfence" ::: "memory");
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Announces sleep. The caller then looks once more for work. */
static inline void sc_sleep_announce(_Atomic uint32_t *sleeps)
{
    atomic_store_explicit(sleeps, 1, memory_order_relaxed);
    sc_full_barrier();
}

/* After publishing: true if the other side sleeps and it falls to the caller to wake it. */
static inline bool sc_sleep_claim(_Atomic uint32_t *sleeps)
{
    sc_full_barrier();
    return atomic_load_explicit(sleeps, memory_order_relaxed) != 0 &&
           atomic_exchange_explicit(sleeps, 0, memory_order_relaxed) != 0;
}

#endif
