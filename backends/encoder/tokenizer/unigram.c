/*
 * Unigram: the tokens that together are most likely, found by one pass over the word (Viterbi). Words that
 * came before are remembered with their tokens.
 */
#include "tokenizer/internal.h"

static inline void reach(struct sc_node *to, double score, size_t start, uint32_t id)
{
    if (to->start != UINT32_MAX && score <= to->score)
        return;
    to->score = score;
    to->start = (uint32_t)start;
    to->id = id;
}

/* Fills in the best path to each place. */
static void search(const struct sc_tokenizer *t, struct sc_node *nodes, const struct sc_view *word)
{
    const struct sc_unigram *u = &t->unigram;
    for (size_t i = 0; i <= word->n; i++)
        nodes[i] = (struct sc_node){.start = UINT32_MAX};
    unsigned n;
    for (size_t at = 0; at < word->n; at += n) {
        double here = nodes[at].score;
        bool single = false;
        sc_utf8_get(word->p + at, &n);
        struct sc_trie_walk walk = sc_trie_start(0);
        for (size_t i = at; i < word->n && sc_trie_step(&t->words, &walk, word->p[i]); i++) {
            if (walk.value == SC_TRIE_NONE)
                continue;
            reach(&nodes[i + 1], u->scores[walk.value] + here, at, walk.value);
            single |= i + 1 - at == n;
        }
        if (!single)
            reach(&nodes[at + n], u->unk_score + here, at, t->unk);
    }
}

static void push_unknown(struct sc_work *w, const struct sc_view *word, size_t start, size_t end,
                         struct sc_cached *slot)
{
    const struct sc_tokenizer *t = w->t;
    uint32_t id = sc_trie_find(&t->words, 0, sc_span(word->p + start, end - start));
    bool bytes = id == SC_TRIE_NONE && t->unigram.byte_fallback;
    for (size_t i = start; i < end && bytes; i++)
        bytes = t->unigram.bytes[word->p[i]] != SC_TRIE_NONE;
    if (bytes) {
        if (slot)
            slot->size = 0; /* several tokens for the same bytes: not in the cache's form */
        for (size_t i = start; i < end; i++)
            sc_work_push(w, t->unigram.bytes[word->p[i]], word, start, end);
        return;
    }
    if (id == SC_TRIE_NONE)
        id = t->unk;
    sc_cache_add(slot, id, end);
    sc_work_push(w, id, word, start, end);
}

void sc_unigram(struct sc_work *w, const struct sc_view *word)
{
    const struct sc_tokenizer *t = w->t;
    struct sc_cached *slot = sc_cache_slot(w, word->p, word->n);
    if (slot && sc_cache_use(w, slot, word))
        return;
    if (word->n >= UINT32_MAX || !sc_work_room(w, &w->nodes, &w->nodes_cap, word->n + 1, sizeof(*w->nodes)))
        return;
    struct sc_node *nodes = w->nodes;
    search(t, nodes, word);

    /* The path is found from its end: each node on it is told where the next one begins. */
    uint32_t behind = UINT32_MAX;
    for (size_t end = word->n; end;) {
        size_t start = nodes[end].start;
        nodes[end].start = behind;
        behind = (uint32_t)end;
        end = start;
    }
    sc_cache_begin(slot, word);
    for (size_t start = 0, end = behind; start < word->n && !w->out->full;) {
        uint32_t id = nodes[end].id;
        size_t next = nodes[end].start;
        if (id == t->unk) {
            while (next != UINT32_MAX && nodes[next].id == t->unk) {
                end = next;
                next = nodes[end].start;
            }
            push_unknown(w, word, start, end, slot);
        } else {
            sc_cache_add(slot, id, end);
            sc_work_push(w, id, word, start, end);
        }
        start = end;
        end = next;
    }
    if (w->out->full && slot)
        slot->size = 0;
}
