/* The words that an encoding's owner tokenised before. Another tokenizer's are forgotten. */
#include <stdlib.h>

#include "tokenizer/internal.h"

struct sc_cached *sc_cache_slot(struct sc_work *w, const unsigned char *p, size_t n)
{
    if (n == 0 || n > SC_CACHE_KEY)
        return NULL;
    if (w->cache_serial != w->t->serial) {
        if (!w->cache)
            w->cache = malloc(SC_CACHE_ENTRIES * sizeof(*w->cache));
        if (!w->cache)
            return NULL;
        memset(w->cache, 0, SC_CACHE_ENTRIES * sizeof(*w->cache));
        w->cache_serial = w->t->serial;
    }
    uint64_t parts[3] = {0}, hash;
    memcpy(parts, p, n);
    hash = (parts[0] ^ n) * UINT64_C(0x9E3779B97F4A7C15);
    hash = (hash ^ hash >> 29 ^ parts[1]) * UINT64_C(0xBF58476D1CE4E5B9);
    hash = (hash ^ hash >> 32 ^ parts[2]) * UINT64_C(0x94D049BB133111EB);
    return &w->cache[hash >> 52];
}

bool sc_cache_use(struct sc_work *w, const struct sc_cached *slot, const struct sc_view *word)
{
    if (slot->size != word->n || memcmp(slot->key, word->p, word->n) != 0)
        return false;
    for (unsigned i = 0; i < slot->n && !w->out->full; i++)
        sc_work_push(w, slot->ids[i], word, i ? slot->ends[i - 1] : 0, slot->ends[i]);
    return true;
}

void sc_cache_begin(struct sc_cached *slot, const struct sc_view *word)
{
    if (!slot)
        return;
    memcpy(slot->key, word->p, word->n);
    slot->size = (uint8_t)word->n;
    slot->n = 0;
}

void sc_cache_add(struct sc_cached *slot, uint32_t id, size_t end)
{
    if (!slot || !slot->size)
        return;
    if (slot->n == SC_CACHE_TOKENS) {
        slot->size = 0;
        return;
    }
    slot->ids[slot->n] = id;
    slot->ends[slot->n++] = (uint8_t)end;
}
