/* From an id to its sequence: a hash table with a secret seed, since clients choose the ids. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/array.h"
#include "model/sequence_parts.h"

#define BUCKETS_MIN 64

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static uint64_t hash_of(const struct sc_sequences *t, struct sc_span id)
{
    uint64_t h = mix(t->spec.seed ^ id.n);
    for (size_t i = 0; i < id.n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, id.p + i, SC_MIN(id.n - i, (size_t)8));
        h = mix(h ^ word ^ t->spec.seed);
    }
    return h;
}

static struct sc_sequence **slot_of(const struct sc_sequences *t, uint64_t hash)
{
    return &t->buckets[hash & (t->nbuckets - 1)];
}

struct sc_sequence *sc_sequence_index_find(const struct sc_sequences *t, struct sc_span id)
{
    uint64_t hash = hash_of(t, id);
    struct sc_sequence *s = *slot_of(t, hash);
    while (s && (s->hash != hash || !sc_span_eq(sc_span(s->id, s->id_n), id)))
        s = s->chain;
    return s;
}

static void put(struct sc_sequences *t, struct sc_sequence *s)
{
    struct sc_sequence **at = slot_of(t, s->hash);
    s->chain = *at;
    *at = s;
}

/* Grows and shrinks with what is in it. */
static void resize(struct sc_sequences *t)
{
    struct sc_sequence **old = t->buckets;
    size_t n = t->nbuckets;
    if (t->nindexed > n)
        t->nbuckets *= 2;
    else if (t->nindexed < n / 8 && n > BUCKETS_MIN)
        t->nbuckets /= 2;
    else
        return;
    t->buckets = sc_alloc_array(t->nbuckets, sizeof(struct sc_sequence *));
    for (size_t i = 0; i < n; i++)
        for (struct sc_sequence *s = old[i], *next; s; s = next) {
            next = s->chain;
            put(t, s);
        }
    free(old);
}

void sc_sequence_index_add(struct sc_sequences *t, struct sc_sequence *s)
{
    s->hash = hash_of(t, sc_span(s->id, s->id_n));
    put(t, s);
    t->nindexed++;
    resize(t);
}

void sc_sequence_index_remove(struct sc_sequences *t, struct sc_sequence *s)
{
    struct sc_sequence **at = slot_of(t, s->hash);
    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    t->nindexed--;
    resize(t);
}

void sc_sequence_index_init(struct sc_sequences *t)
{
    t->nbuckets = BUCKETS_MIN;
    t->buckets = sc_alloc_array(t->nbuckets, sizeof(struct sc_sequence *));
}

void sc_sequence_index_free(struct sc_sequences *t)
{
    free(t->buckets);
}
