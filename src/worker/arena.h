/*
 * Block allocator over a piece of shared memory.
 *
 * The memory is shared, the book-keeping is not: it lives in memory of the one side that
 * allocates, so that nothing the other side writes can confuse it. Used by the frontend for
 * request bodies (one arena per model version and loop) and by a worker for its answers
 * (one per channel). Not thread-safe: the owner serialises.
 *
 * Blocks are powers of two from SC_ARENA_BLOCK_MIN to SC_ARENA_BLOCK_MAX (a buddy system);
 * allocation and release cost a few dozen instructions.
 */
#ifndef SC_WORKER_ARENA_H
#define SC_WORKER_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct sc_arena {
    char *base;  /* the mapping */
    size_t size; /* bytes, a multiple of SC_ARENA_BLOCK_MAX */
    size_t used; /* bytes in allocated blocks */
    struct sc_arena_map *map;
};

/* Book-keeping for [base, base + size). 0, SC_EINVAL (size) or SC_ENOMEM. Owns only the book-keeping. */
int sc_arena_init(struct sc_arena *a, void *base, size_t size);
void sc_arena_free(struct sc_arena *a);

/*
 * A block of at least n bytes, its offset in *off and its real size in *got (may be NULL). NULL if there is
 * no room now or n is 0 or above SC_ARENA_BLOCK_MAX.
 */
void *sc_arena_alloc(struct sc_arena *a, size_t n, uint64_t *off, size_t *got);
/* Releases the block at off. SC_EINVAL, and nothing done, if no allocated block begins there. */
int sc_arena_release(struct sc_arena *a, uint64_t off);

/* ---- shared memory files ------------------------------------------------------------ */

/*
 * A sealed memory file of `size` bytes (a multiple of the page size), mapped read-write at
 * *base: it cannot shrink or grow, and with `readonly_peers` nobody who maps it later can
 * write it (F_SEAL_FUTURE_WRITE). Returns the descriptor (close-on-exec) or SC_ESYS. The caller owns both.
 */
int sc_shm_create(const char *name, size_t size, int readonly_peers, void **base);

#endif
