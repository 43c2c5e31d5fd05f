/*
 * Strings to numbers, built once, then asked for the longest key that a text starts with.
 *
 * A trie whose edges lie in one open-addressed table: (state, byte) → the edge's slot, which is the next
 * state. Several tries with roots 0 … SC_TRIE_ROOTS - 1 share a table. Read-only once built, so any thread
 * may ask.
 */
#ifndef SC_ENCODER_TOKENIZER_TRIE_H
#define SC_ENCODER_TOKENIZER_TRIE_H

#include <stdint.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

#define SC_TRIE_ROOTS 2u
#define SC_TRIE_NONE UINT32_MAX
#define SC_TRIE_VALUES ((1u << 21) - 1) /* values are below */

/* Occupied (1 bit), state (27), byte (8), value + 1 or 0 (21): an edge, and what ends behind it. */
struct sc_trie {
    uint64_t *slots;
    uint32_t mask;
    unsigned shift;
};

struct sc_trie_key {
    struct sc_span text;
    uint32_t root;
    uint32_t value;
};

/*
 * Builds from n keys, which it sorts; of equal keys the one with the largest value counts, empty ones are
 * left out. SC_ELIMIT over SC_TRIE_NODES_MAX edges or on keys made to collide, SC_ENOMEM.
 */
SC_MUST_USE int sc_trie_init(struct sc_trie *t, struct sc_trie_key *keys, size_t n);
void sc_trie_free(struct sc_trie *t);

/* The value of exactly this key, or SC_TRIE_NONE. */
uint32_t sc_trie_find(const struct sc_trie *t, uint32_t root, struct sc_span key);

static inline uint64_t sc_trie_edge(uint32_t state, unsigned char c)
{
    return UINT64_C(1) << 35 | (uint64_t)state << 8 | c;
}

static inline uint32_t sc_trie_slot(const struct sc_trie *t, uint64_t edge)
{
    return (uint32_t)((edge * UINT64_C(0x9E3779B97F4A7C15)) >> t->shift);
}

/* The value of the longest key that p starts with, its length to *len; SC_TRIE_NONE if there is none. */
static inline uint32_t sc_trie_longest(const struct sc_trie *t, uint32_t root, const unsigned char *p,
                                       size_t n, size_t *len)
{
    uint32_t state = root, best = SC_TRIE_NONE;
    for (size_t i = 0; i < n; i++) {
        uint64_t edge = sc_trie_edge(state, p[i]);
        uint32_t at = sc_trie_slot(t, edge);
        uint64_t slot;
        while ((slot = t->slots[at]) >> 21 != edge) {
            if (!slot)
                return best;
            at = (at + 1) & t->mask;
        }
        if (slot & SC_TRIE_VALUES) {
            best = (uint32_t)(slot & SC_TRIE_VALUES) - 1;
            *len = i + 1;
        }
        state = at + SC_TRIE_ROOTS;
    }
    return best;
}

/* The same byte by byte. */
struct sc_trie_walk {
    uint32_t state;
    uint32_t value; /* of the key that is complete here, or SC_TRIE_NONE */
};

static inline struct sc_trie_walk sc_trie_start(uint32_t root)
{
    return (struct sc_trie_walk){.state = root, .value = SC_TRIE_NONE};
}

/* False if no key goes on with c. */
static inline bool sc_trie_step(const struct sc_trie *t, struct sc_trie_walk *w, unsigned char c)
{
    uint64_t edge = sc_trie_edge(w->state, c), slot;
    uint32_t at = sc_trie_slot(t, edge);
    while ((slot = t->slots[at]) >> 21 != edge) {
        if (!slot)
            return false;
        at = (at + 1) & t->mask;
    }
    w->value = slot & SC_TRIE_VALUES ? (uint32_t)(slot & SC_TRIE_VALUES) - 1 : SC_TRIE_NONE;
    w->state = at + SC_TRIE_ROOTS;
    return true;
}

#endif
