#include "tokenizer/trie.h"

#include <stdlib.h>

#include "base/limits.h"

#define PROBES_MAX 512 /* honest keys need a few dozen */

static int by_root_and_text(const void *va, const void *vb)
{
    const struct sc_trie_key *a = va, *b = vb;
    if (a->root != b->root)
        return a->root < b->root ? -1 : 1;
    size_t n = SC_MIN(a->text.n, b->text.n);
    int order = n ? memcmp(a->text.p, b->text.p, n) : 0;
    if (order)
        return order;
    if (a->text.n != b->text.n)
        return a->text.n < b->text.n ? -1 : 1;
    return a->value < b->value ? -1 : a->value > b->value;
}

/* Edges that the sorted keys make: of each key what it does not share with the one before it. */
static size_t count_edges(const struct sc_trie_key *keys, size_t n)
{
    size_t edges = 0;
    for (size_t i = 0; i < n; i++) {
        size_t common = 0;
        if (i && keys[i - 1].root == keys[i].root) {
            size_t most = SC_MIN(keys[i - 1].text.n, keys[i].text.n);
            while (common < most && keys[i - 1].text.p[common] == keys[i].text.p[common])
                common++;
        }
        edges += keys[i].text.n - common;
    }
    return edges;
}

static int add(struct sc_trie *t, const struct sc_trie_key *key)
{
    uint32_t state = key->root, at = 0;
    for (size_t i = 0; i < key->text.n; i++) {
        uint64_t edge = sc_trie_edge(state, (unsigned char)key->text.p[i]);
        unsigned probes = 0;
        for (at = sc_trie_slot(t, edge); t->slots[at] && t->slots[at] >> 21 != edge; at = (at + 1) & t->mask)
            if (++probes > PROBES_MAX)
                return SC_ELIMIT;
        if (!t->slots[at])
            t->slots[at] = edge << 21;
        state = at + SC_TRIE_ROOTS;
    }
    if (key->text.n)
        t->slots[at] = (t->slots[at] & ~(uint64_t)SC_TRIE_VALUES) | (key->value + 1);
    return 0;
}

int sc_trie_init(struct sc_trie *t, struct sc_trie_key *keys, size_t n)
{
    memset(t, 0, sizeof(*t));
    if (n)
        qsort(keys, n, sizeof(*keys), by_root_and_text);
    size_t edges = count_edges(keys, n);
    if (edges > SC_TRIE_NODES_MAX)
        return SC_ELIMIT;
    unsigned bits = 4;
    while (((size_t)1 << bits) < edges * 2)
        bits++;
    t->slots = calloc((size_t)1 << bits, sizeof(*t->slots));
    if (!t->slots)
        return SC_ENOMEM;
    t->mask = (uint32_t)(((size_t)1 << bits) - 1);
    t->shift = 64 - bits;
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++)
        rc = keys[i].value < SC_TRIE_VALUES ? add(t, &keys[i]) : SC_ELIMIT;
    if (rc)
        sc_trie_free(t);
    return rc;
}

void sc_trie_free(struct sc_trie *t)
{
    free(t->slots);
    memset(t, 0, sizeof(*t));
}

uint32_t sc_trie_find(const struct sc_trie *t, uint32_t root, struct sc_span key)
{
    size_t len = 0;
    uint32_t value = sc_trie_longest(t, root, (const unsigned char *)key.p, key.n, &len);
    return len == key.n ? value : SC_TRIE_NONE;
}
