#include "worker/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "base/limits.h"
#include "worker/shm.h"

/*
 * A buddy system on bitmaps. Order k has blocks of SC_ARENA_BLOCK_MIN << k bytes; bit i of order k's map is
 * set while its block i is free and not part of a larger free block. The lowest free block is taken,
 * so that a quiet arena keeps using the same few pages. Above each map lies a summary, one bit
 * per non-zero word, and above those one word with a bit per order that has anything free.
 */
#define ORDERS 14

_Static_assert((uint64_t)SC_ARENA_BLOCK_MIN << (ORDERS - 1) == SC_ARENA_BLOCK_MAX, "orders span the sizes");

struct sc_arena_map {
    size_t size;               /* of the mapping that all this lies in */
    uint32_t orders;           /* bit k: order k has a free block */
    uint64_t *words[ORDERS];   /* free blocks */
    uint64_t *summary[ORDERS]; /* words that are not zero */
    uint8_t *taken; /* per smallest block: 1 + order of the allocated block that begins here, or 0 */
};

static size_t words_for(size_t bits)
{
    return (bits + 63) / 64;
}

static void set_free(struct sc_arena_map *m, unsigned k, size_t i)
{
    m->words[k][i / 64] |= UINT64_C(1) << (i % 64);
    m->summary[k][i / 4096] |= UINT64_C(1) << (i / 64 % 64);
    m->orders |= 1u << k;
}

static void clear_free(struct sc_arena_map *m, unsigned k, size_t i, size_t summary_words)
{
    m->words[k][i / 64] &= ~(UINT64_C(1) << (i % 64));
    if (m->words[k][i / 64])
        return;
    m->summary[k][i / 4096] &= ~(UINT64_C(1) << (i / 64 % 64));
    for (size_t w = 0; w < summary_words; w++)
        if (m->summary[k][w])
            return;
    m->orders &= ~(1u << k);
}

static size_t blocks(size_t size, unsigned k)
{
    return size / ((size_t)SC_ARENA_BLOCK_MIN << k);
}

static size_t summary_words(size_t size, unsigned k)
{
    return words_for(words_for(blocks(size, k)));
}

int sc_arena_init(struct sc_arena *a, void *base, size_t size)
{
    *a = (struct sc_arena){.base = base, .size = size};
    if (size == 0 || size % SC_ARENA_BLOCK_MAX != 0)
        return SC_EINVAL;

    size_t total = 0;
    for (unsigned k = 0; k < ORDERS; k++)
        total += words_for(blocks(size, k)) + summary_words(size, k);

    /* Most of it is never touched, and a heap would touch all of it to make it zero. */
    size_t bytes = sizeof(struct sc_arena_map) + total * sizeof(uint64_t) + blocks(size, 0);
    struct sc_arena_map *m =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED)
        return SC_ENOMEM;
    m->size = bytes;
    uint64_t *at = (uint64_t *)(m + 1);
    m->taken = (uint8_t *)(at + total);
    for (unsigned k = 0; k < ORDERS; k++) {
        m->words[k] = at;
        at += words_for(blocks(size, k));
        m->summary[k] = at;
        at += summary_words(size, k);
    }
    for (size_t i = 0; i < blocks(size, ORDERS - 1); i++)
        set_free(m, ORDERS - 1, i);
    a->map = m;
    return 0;
}

void sc_arena_free(struct sc_arena *a)
{
    if (a->map)
        munmap(a->map, a->map->size);
    *a = (struct sc_arena){0};
}

static size_t lowest_free(const struct sc_arena_map *m, unsigned k)
{
    size_t s = 0;
    while (!m->summary[k][s])
        s++;
    size_t w = s * 64 + (size_t)__builtin_ctzll(m->summary[k][s]);
    return w * 64 + (size_t)__builtin_ctzll(m->words[k][w]);
}

void *sc_arena_alloc(struct sc_arena *a, size_t n, uint64_t *off, size_t *got)
{
    struct sc_arena_map *m = a->map;
    if (n == 0 || n > SC_ARENA_BLOCK_MAX)
        return NULL;
    size_t grains = (n - 1) / SC_ARENA_BLOCK_MIN;
    unsigned order = grains ? 64 - (unsigned)__builtin_clzll(grains) : 0;

    uint32_t fit = m->orders >> order << order;
    if (!fit)
        return NULL;
    unsigned k = (unsigned)__builtin_ctz(fit);
    size_t i = lowest_free(m, k);
    clear_free(m, k, i, summary_words(a->size, k));
    while (k > order) {
        k--;
        i *= 2;
        set_free(m, k, i + 1);
    }

    size_t bytes = (size_t)SC_ARENA_BLOCK_MIN << order;
    m->taken[i << order] = (uint8_t)(order + 1);
    a->used += bytes;
    *off = (uint64_t)i * bytes;
    if (got)
        *got = bytes;
    return a->base + *off;
}

int sc_arena_release(struct sc_arena *a, uint64_t off)
{
    struct sc_arena_map *m = a->map;
    if (off >= a->size || off % SC_ARENA_BLOCK_MIN != 0)
        return SC_EINVAL;
    size_t i = (size_t)off / SC_ARENA_BLOCK_MIN;
    if (!m->taken[i])
        return SC_EINVAL;
    unsigned k = m->taken[i] - 1u;
    m->taken[i] = 0;
    a->used -= (size_t)SC_ARENA_BLOCK_MIN << k;

    i >>= k;
    for (; k < ORDERS - 1; k++, i /= 2) {
        size_t buddy = i ^ 1;
        if (!(m->words[k][buddy / 64] >> (buddy % 64) & 1))
            break;
        clear_free(m, k, buddy, summary_words(a->size, k));
    }
    set_free(m, k, i);
    return 0;
}
