/* Fill-mask: the most likely tokens for each mask of a text. */
#include <stdlib.h>

#include "heads/heads_parts.h"
#include "heads/put.h"

#define TOP_K 5u /* the pipeline's */

static uint32_t wanted(const struct sc_heads *h, const struct sc_run *w)
{
    const struct sc_options *o = &w->in.options;
    uint32_t k = o->has_top_k ? o->top_k : TOP_K;
    return SC_MIN(k, o->has_names ? o->names_n : h->columns);
}

/* The targets' ids, each once, in place of their names' order; a target that is no token is its first one. */
static int target_ids(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    struct sc_options *o = &w->in.options;
    struct sc_encode_options how = {.no_specials = true};
    uint32_t n = 0;
    w->targets = malloc(SC_MAX(o->names_n, 1u) * sizeof *w->targets);
    if (!w->targets)
        return sc_fail(msg, SC_ENOMEM, "No memory for the targets");
    for (uint32_t i = 0; i < o->names_n; i++) {
        uint32_t id = sc_tokenizer_id(h->tokenizer, o->names[i]);
        if (id == UINT32_MAX) {
            int rc = sc_tokenizer_encode_with(h->tokenizer, o->names[i], sc_span(NULL, 0), &how, e);
            if (rc < 0)
                return sc_fail(msg, rc, "A target cannot be tokenised");
            if (e->n == 0)
                continue;
            id = e->ids[0];
        }
        bool known = id >= h->columns;
        for (uint32_t k = 0; k < n && !known; k++)
            known = w->targets[k] == id;
        if (!known)
            w->targets[n++] = id;
    }
    o->names_n = n;
    return n ? 0 : sc_fail(msg, SC_EINVAL, "At least one target must be a token of the model");
}

static int prepare(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    int rc = sc_heads_plain(h, w, msg);
    if (rc == 0 && w->in.options.has_names)
        rc = target_ids(h, w, e, msg);
    for (uint32_t i = 0; rc == 0 && i < w->in.n; i++) {
        rc = sc_heads_encode(h, w, i, w->in.texts[i].text, false, e, msg);
        if (rc < 0)
            return rc;
        uint32_t before = w->picks_n;
        for (uint32_t k = w->begin[i]; rc == 0 && k < w->begin[i + 1]; k++)
            if (w->ids[k] == h->mask)
                rc = sc_run_pick(w, k);
        if (rc < 0)
            return sc_fail(msg, rc, "No memory for the texts of this request");
        struct sc_span mask = sc_tokenizer_token(h->tokenizer, h->mask);
        if (w->picks_n == before)
            return sc_fail(msg, SC_EINVAL, "Text %u has no mask, %.*s, among its first %u tokens", i,
                           SC_FMT(mask), sc_tokenizer_max_length(h->tokenizer));
    }
    /* The best of a whole vocabulary for thousands of masks: memory that a client must not command. */
    if (rc == 0 && (uint64_t)w->picks_n * wanted(h, w) > SC_ENCODER_FILLED_MAX)
        rc = sc_fail(msg, SC_ELIMIT, "top_k is %u for %u masks: at most %u answers in one request",
                     wanted(h, w), w->picks_n, SC_ENCODER_FILLED_MAX);
    return rc;
}

static int begin(const struct sc_heads *h, struct sc_run *w)
{
    w->ranked = malloc((size_t)w->picks_n * wanted(h, w) * sizeof *w->ranked);
    return w->ranked ? 0 : SC_ENOMEM;
}

static int take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    uint32_t k = wanted(h, w), n = w->in.options.has_names ? w->in.options.names_n : h->columns;
    struct sc_ranked *all = malloc(n * sizeof *all);
    if (!all)
        return SC_ENOMEM;
    for (uint32_t p = 0; p < sc_run_picks(w, i); p++) {
        float *row = rows + (size_t)p * h->columns;
        sc_softmax(row, h->columns);
        for (uint32_t t = 0; t < n; t++) {
            uint32_t id = w->in.options.has_names ? w->targets[t] : t;
            all[t] = (struct sc_ranked){row[id], id};
        }
        sc_rank(all, n, k);
        memcpy(w->ranked + (size_t)(w->sequence[i].picks + p) * k, all, k * sizeof *all);
    }
    free(all);
    return 0;
}

/* ids as a JSON string. */
static int put_decoded(const struct sc_heads *h, const uint32_t *ids, uint32_t n, bool skip_special,
                       struct sc_buf *word, struct sc_buf *out)
{
    sc_buf_clear(word);
    int rc = sc_tokenizer_decode(h->tokenizer, ids, n, skip_special, word);
    sc_put_string(out, sc_buf_view(word));
    return rc < 0 ? rc : word->failed;
}

/* The fillings of pick p of sequence i. */
static int put_pick(const struct sc_heads *h, struct sc_run *w, uint32_t i, uint32_t p, struct sc_buf *word,
                    struct sc_buf *out)
{
    uint32_t k = wanted(h, w), *ids = w->ids + w->begin[i], n = w->begin[i + 1] - w->begin[i];
    uint32_t place = w->picks[p];
    int rc = 0;
    sc_buf_char(out, '[');
    for (uint32_t j = 0; rc == 0 && j < k; j++) {
        const struct sc_ranked *r = &w->ranked[(size_t)p * k + j];
        sc_buf_str(out, j > 0 ? ", {\"score\": " : "{\"score\": ");
        sc_put_float(out, r->score);
        sc_buf_str(out, ", \"token\": ");
        sc_put_uint(out, r->index);
        sc_buf_str(out, ", \"token_str\": ");
        rc = put_decoded(h, &r->index, 1, false, word, out);
        sc_buf_str(out, ", \"sequence\": ");
        w->ids[place] = r->index;
        if (rc == 0) /* of several masks the others are shown, and with them all special tokens */
            rc = put_decoded(h, ids, n, sc_run_picks(w, i) == 1, word, out);
        w->ids[place] = h->mask;
        sc_buf_char(out, '}');
    }
    sc_buf_char(out, ']');
    return rc;
}

static int write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    struct sc_buf word;
    int rc = 0;
    sc_buf_init(&word, SC_ENCODER_ANSWER_BYTES);
    if (w->in.list)
        sc_buf_char(out, '[');
    for (uint32_t i = 0; rc == 0 && i < w->n; i++) {
        uint32_t n = sc_run_picks(w, i), first = w->sequence[i].picks;
        if (i > 0)
            sc_buf_str(out, ", ");
        if (n > 1)
            sc_buf_char(out, '[');
        for (uint32_t p = 0; rc == 0 && p < n; p++) {
            if (p > 0)
                sc_buf_str(out, ", ");
            rc = put_pick(h, w, i, first + p, &word, out);
        }
        if (n > 1)
            sc_buf_char(out, ']');
    }
    if (w->in.list)
        sc_buf_char(out, ']');
    sc_buf_free(&word);
    return rc;
}

const struct sc_head sc_head_mask = {
    .what = "a model that fills in masks",
    .forms = "",
    .prepare = prepare,
    .begin = begin,
    .take = take,
    .write = write,
};
