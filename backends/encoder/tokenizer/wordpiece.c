#include "tokenizer/internal.h"

void sc_wordpiece(struct sc_work *w, const struct sc_view *word)
{
    const struct sc_tokenizer *t = w->t;
    struct sc_tokens *out = w->out;
    size_t chars = 0;
    for (size_t i = 0; i < word->n && chars <= t->word_max; i++)
        chars += (word->p[i] & 0xC0) != 0x80;
    bool known = chars <= t->word_max;
    uint32_t ids[SC_TOKENIZER_WORD_MAX], n = 0, root = 0;
    size_t ends[SC_TOKENIZER_WORD_MAX];
    for (size_t at = 0, len; known && at < word->n; at += len) {
        len = 0;
        uint32_t id = sc_trie_longest(&t->words, root, word->p + at, word->n - at, &len);
        known = id != SC_TRIE_NONE && n < SC_COUNT(ids);
        if (known) {
            ids[n] = id;
            ends[n++] = at + len;
        }
        root = t->continuing;
    }
    if (!known) {
        sc_work_push(w, t->unk, word, 0, word->n);
        return;
    }
    for (uint32_t i = 0; i < n && !out->full; i++)
        sc_work_push(w, ids[i], word, i ? ends[i - 1] : 0, ends[i]);
}
