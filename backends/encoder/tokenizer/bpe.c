/*
 * Byte pair encoding: of all adjacent pairs the one whose merge was learnt first is merged, again and again.
 *
 * Short words are searched for it, long ones keep a heap. Words that came before are remembered with their
 * tokens.
 */
#include "tokenizer/internal.h"

#define SCANNED_MAX 48 /* symbols; a heap is quicker for more */

static const struct sc_merge *find_merge(const struct sc_bpe *b, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    if (!b->merges)
        return NULL;
    for (uint32_t at = (uint32_t)(pair * UINT64_C(0x9E3779B97F4A7C15) >> b->shift);;
         at = (at + 1) & b->mask) {
        if (b->merges[at].pair == pair)
            return &b->merges[at];
        if (b->merges[at].pair == UINT64_MAX)
            return NULL;
    }
}

/* --- symbols --- */

struct symbols {
    struct sc_symbol *p;
    size_t n;
    bool unk; /* one that waits for others to join it */
    uint32_t unk_len;
};

static void add(struct symbols *s, uint32_t id, uint32_t len)
{
    s->p[s->n] =
        (struct sc_symbol){.id = id, .len = len, .prev = (int32_t)s->n - 1, .next = (int32_t)s->n + 1};
    s->n++;
}

static void flush_unk(const struct sc_tokenizer *t, struct symbols *s)
{
    if (s->unk)
        add(s, t->unk, s->unk_len);
    s->unk = false;
}

/* The id of a character with what has to be put before or behind it. */
static uint32_t char_id(const struct sc_tokenizer *t, const unsigned char *p, unsigned n, bool first,
                        bool last)
{
    char s[2 * SC_TOKENIZER_AFFIX_MAX + 4];
    struct sc_span before = first ? sc_span(NULL, 0) : t->bpe.prefix,
                   behind = last ? t->bpe.suffix : sc_span(NULL, 0);
    if (!before.n && !behind.n)
        return sc_trie_find(&t->words, 0, sc_span(p, n));
    size_t at = 0;
    if (before.n)
        memcpy(s, before.p, before.n);
    at += before.n;
    memcpy(s + at, p, n);
    at += n;
    if (behind.n)
        memcpy(s + at, behind.p, behind.n);
    return sc_trie_find(&t->words, 0, sc_span(s, at + behind.n));
}

static bool fall_back(const struct sc_tokenizer *t, struct symbols *s, const unsigned char *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (t->bpe.bytes[p[i]] == SC_TRIE_NONE)
            return false;
    for (unsigned i = 0; i < n; i++)
        add(s, t->bpe.bytes[p[i]], 1);
    return true;
}

static void unknown(const struct sc_tokenizer *t, struct symbols *s, unsigned n)
{
    if (t->unk == SC_TRIE_NONE)
        return;
    if (s->unk && t->bpe.fuse_unk) {
        s->unk_len += n;
        return;
    }
    flush_unk(t, s);
    s->unk = true;
    s->unk_len = n;
}

/* A byte whose character no token has: it is unknown under the bytes that its character would have. */
static void add_byte(const struct sc_tokenizer *t, struct symbols *s, unsigned char b)
{
    if (t->bpe.bytes[b] == SC_TRIE_NONE) {
        unknown(t, s, 1);
        return;
    }
    flush_unk(t, s);
    add(s, t->bpe.bytes[b], 1);
}

static void add_char(const struct sc_tokenizer *t, struct symbols *s, const unsigned char *p, unsigned n,
                     bool first, bool last)
{
    uint32_t id = char_id(t, p, n, first, last);
    if (id == SC_TRIE_NONE) {
        if (!t->bpe.byte_fallback || !fall_back(t, s, p, n))
            unknown(t, s, n);
        return;
    }
    flush_unk(t, s);
    add(s, id, n);
}

/* --- merging --- */

static void join(struct sc_symbol *p, size_t n, int32_t at, uint32_t id)
{
    struct sc_symbol *left = &p[at], *right = &p[left->next];
    left->id = id;
    left->len += right->len;
    left->next = right->next;
    right->len = 0;
    if ((size_t)left->next < n)
        p[left->next].prev = at;
}

static void merge_short(const struct sc_bpe *b, struct sc_symbol *p, size_t n)
{
    const struct sc_merge *merges[SCANNED_MAX];
    for (size_t i = 0; i + 1 < n; i++)
        merges[i] = find_merge(b, p[i].id, p[i + 1].id);
    merges[n - 1] = NULL;
    for (;;) {
        int32_t best = -1;
        uint32_t rank = UINT32_MAX;
        for (int32_t i = 0; (size_t)i < n; i = p[i].next)
            if (merges[i] && merges[i]->rank < rank) {
                rank = merges[i]->rank;
                best = i;
            }
        if (best < 0)
            return;
        join(p, n, best, merges[best]->id);
        int32_t before = p[best].prev, behind = p[best].next;
        merges[best] = (size_t)behind < n ? find_merge(b, p[best].id, p[behind].id) : NULL;
        if (before >= 0)
            merges[before] = find_merge(b, p[before].id, p[best].id);
    }
}

static bool before(struct sc_candidate a, struct sc_candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_add(struct sc_work *w, const struct sc_bpe *b, int32_t left, int32_t right)
{
    const struct sc_merge *m = find_merge(b, w->symbols[left].id, w->symbols[right].id);
    if (!m || !sc_work_room(w, &w->heap, &w->heap_cap, w->heap_n + 1, sizeof(*w->heap)))
        return;
    struct sc_candidate c = {.rank = m->rank, .id = m->id, .at = left};
    size_t i = w->heap_n++;
    for (; i && before(c, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
}

static struct sc_candidate heap_take(struct sc_work *w)
{
    struct sc_candidate top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_n; i = child) {
        if (child + 1 < w->heap_n && before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!before(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

static void merge_long(struct sc_work *w, const struct sc_bpe *b, size_t n)
{
    struct sc_symbol *p = w->symbols;
    w->heap_n = 0;
    for (size_t i = 0; i + 1 < n; i++)
        heap_add(w, b, (int32_t)i, (int32_t)i + 1);
    while (w->heap_n) {
        struct sc_candidate c = heap_take(w);
        if (p[c.at].len == 0 || (size_t)p[c.at].next >= n)
            continue;
        const struct sc_merge *m = find_merge(b, p[c.at].id, p[p[c.at].next].id);
        if (!m || m->id != c.id)
            continue;
        join(p, n, c.at, c.id);
        if (p[c.at].prev >= 0)
            heap_add(w, b, p[c.at].prev, c.at);
        if ((size_t)p[c.at].next < n)
            heap_add(w, b, c.at, p[c.at].next);
    }
}

/* --- words --- */

static size_t make_symbols(struct sc_work *w, const struct sc_view *word)
{
    const struct sc_tokenizer *t = w->t;
    if (!sc_work_room(w, &w->symbols, &w->symbols_cap, word->n + 1, sizeof(*w->symbols)))
        return 0;
    struct symbols s = {.p = w->symbols};
    if (t->bpe.byte_level) {
        for (size_t i = 0; i < word->n; i++)
            add_byte(t, &s, word->p[i]);
    } else {
        unsigned n;
        for (size_t i = 0; i < word->n; i += n) {
            sc_utf8_get(word->p + i, &n);
            add_char(t, &s, word->p + i, n, i == 0, i + n == word->n);
        }
    }
    flush_unk(t, &s);
    return s.n;
}

void sc_bpe(struct sc_work *w, const struct sc_view *word)
{
    const struct sc_tokenizer *t = w->t;
    if (t->bpe.ignore_merges) {
        uint32_t id = sc_trie_find(&t->words, t->bpe.byte_level ? 1 : 0, sc_span(word->p, word->n));
        if (id != SC_TRIE_NONE) {
            sc_work_push(w, id, word, 0, word->n);
            return;
        }
    }
    struct sc_cached *slot = sc_cache_slot(w, word->p, word->n);
    if (slot && sc_cache_use(w, slot, word))
        return;
    size_t n = make_symbols(w, word), at = 0;
    if (n > 1 && n <= SCANNED_MAX)
        merge_short(&t->bpe, w->symbols, n);
    else if (n > 1)
        merge_long(w, &t->bpe, n);
    sc_cache_begin(slot, word);
    for (size_t i = 0; i < n; i = (size_t)w->symbols[i].next) {
        const struct sc_symbol *s = &w->symbols[i];
        sc_cache_add(slot, s->id, at + s->len);
        sc_work_push(w, s->id, word, at, at + s->len);
        at += s->len;
    }
}
