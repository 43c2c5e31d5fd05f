/* Added tokens: their ids, and what finds them in a text. */
#include <stdlib.h>

#include "tokenizer/config.h"

static const char no_memory[] = "no memory for the added tokens";

/* Gives each added token the id that the package gives it, which has to be the one that the file says. */
int sc_tokenizer_place_added(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    t->added = spec->added;
    t->n_added = (uint32_t)spec->n_added;
    spec->added = NULL;
    bool any_new = false;
    uint32_t largest_new = 0;
    for (uint32_t i = 0; i < t->n_added; i++) {
        struct sc_added *a = &t->added[i];
        if (!sc_utf8_valid(a->text))
            return sc_fail(msg, SC_EINVAL, "added token %u is not UTF-8; the file is damaged", i);
        uint32_t id = sc_trie_find(&t->words, 0, a->text);
        if (id == SC_TRIE_NONE) {
            id = any_new ? largest_new + 1 : t->model_size;
            any_new = true;
            largest_new = id;
            /* Behind the vocabulary, one slot for each added token was kept. */
            if (id >= t->vocab_size + t->n_added || t->tokens[id].p)
                return sc_fail(msg, SC_EINVAL,
                               "added token \"%.*s\" would share id %u; the vocabulary has holes",
                               (int)SC_MIN(a->text.n, (size_t)60), a->text.p, id);
            t->tokens[id] = a->text;
        } else if (id >= t->model_size) {
            any_new = true;
            largest_new = SC_MAX(largest_new, id);
        }
        if (a->id != UINT32_MAX && a->id != id)
            return sc_fail(msg, SC_EINVAL,
                           "added token \"%.*s\" says id %u but has id %u in the vocabulary; save the "
                           "tokenizer again with save_pretrained",
                           (int)SC_MIN(a->text.n, (size_t)60), a->text.p, a->id, id);
        a->id = id;
        t->specials[id] |= a->special;
    }
    for (uint32_t i = 0; i < t->n_added; i++)
        t->vocab_size = SC_MAX(t->vocab_size, t->added[i].id + 1);
    return 0;
}

/* `texts` has what each added token is looked for as. */
static int build_matcher(struct sc_matcher *m, const struct sc_tokenizer *t, const struct sc_span *texts,
                         bool normalized, struct sc_msg *msg)
{
    struct sc_trie_key *keys = calloc((size_t)t->n_added + 1, sizeof(*keys));
    if (!keys)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    m->only = -1;
    for (uint32_t i = 0; i < t->n_added; i++) {
        if (t->added[i].normalized != normalized)
            continue;
        keys[m->n++] = (struct sc_trie_key){.text = texts[i], .value = i};
        m->starts[(unsigned char)texts[i].p[0]] = true;
        m->only = (unsigned char)texts[i].p[0];
    }
    for (unsigned c = 0, several = 0; c < 256; c++)
        if (m->starts[c] && several++)
            m->only = -1;
    int rc = sc_trie_init(&m->trie, keys, m->n);
    for (uint32_t i = 1; i < m->n && !rc; i++)
        if (sc_span_eq(keys[i - 1].text, keys[i].text))
            rc = sc_fail(msg, SC_EUNSUPPORTED,
                         "added token \"%.*s\" is there twice (as the normalizer leaves it); remove one",
                         (int)SC_MIN(keys[i].text.n, (size_t)60), keys[i].text.p);
    free(keys);
    return rc == SC_ENOMEM ? sc_fail(msg, rc, no_memory) : rc;
}

/* A normalised added token's text as the normalizer leaves it, on the heap. */
static int normalize_added(const struct sc_tokenizer *t, struct sc_work *w, const struct sc_added *a,
                           char **out, struct sc_span *text, struct sc_msg *msg)
{
    struct sc_view v = {.p = (const unsigned char *)a->text.p, .n = a->text.n};
    w->t = t;
    v = sc_normalize(w, v);
    *out = malloc(v.n + 1);
    if (!*out || w->failed)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    if (v.n == 0)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "added token \"%.*s\" is nothing once normalised; remove it or add it with "
                       "normalized=False",
                       (int)SC_MIN(a->text.n, (size_t)60), a->text.p);
    memcpy(*out, v.p, v.n);
    *text = sc_span(*out, v.n);
    return 0;
}

int sc_tokenizer_build_matchers(struct sc_tokenizer *t, struct sc_msg *msg)
{
    struct sc_span *texts = calloc((size_t)t->n_added + 1, sizeof(*texts));
    struct sc_work *w = calloc(1, sizeof(*w));
    t->normal = calloc((size_t)t->n_added + 1, sizeof(*t->normal));
    int rc = texts && t->normal && w ? 0 : sc_fail(msg, SC_ENOMEM, no_memory);
    for (uint32_t i = 0; i < t->n_added && !rc; i++) {
        texts[i] = t->added[i].text;
        if (t->added[i].normalized) {
            rc = normalize_added(t, w, &t->added[i], &t->normal[i], &texts[i], msg);
            /* The package calls it so, too. */
            t->tokens[t->added[i].id] = texts[i];
        }
    }
    if (!rc)
        rc = build_matcher(&t->raw, t, texts, false, msg);
    if (!rc)
        rc = build_matcher(&t->normalized, t, texts, true, msg);
    free(texts);
    sc_work_del(w);
    return rc;
}
