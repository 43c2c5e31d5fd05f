/* Token classification: entities with the places where they stand. */
#include <stdlib.h>

#include "heads/heads_parts.h"
#include "heads/put.h"

static enum sc_aggregation strategy(const struct sc_heads *h, const struct sc_run *w)
{
    return w->in.options.has_aggregation ? w->in.options.aggregation : h->aggregation;
}

/* Text i in windows that overlap by the request's stride. */
static int windows(const struct sc_heads *h, struct sc_run *w, uint32_t i, struct sc_encoding *e,
                   struct sc_msg *msg)
{
    struct sc_encode_options how = {.origins = true, .stride = w->in.options.stride};
    uint32_t n;
    int rc = sc_tokenizer_windows(h->tokenizer, w->in.texts[i].text, sc_span(NULL, 0), &how, e, &n);
    if (rc == SC_ELIMIT)
        return sc_fail(msg, SC_EINVAL,
                       "stride is %u: it must be less than the %u tokens that the model takes",
                       w->in.options.stride, sc_tokenizer_max_length(h->tokenizer));
    for (uint32_t k = 0; rc == 0 && k < n; k++) {
        if (w->n >= h->max_texts)
            return sc_fail(
                msg, SC_ELIMIT,
                "The texts of this request make more than %u windows: send them in several, or raise "
                "the model's setting maxTexts",
                h->max_texts);
        sc_tokenizer_window(h->tokenizer, e, k);
        rc = sc_run_add(w, e, i, true);
    }
    return rc < 0 ? sc_fail(msg, rc, "The texts of this request cannot be tokenised") : 0;
}

static int prepare(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    int rc = sc_heads_plain(h, w, msg);
    if (rc == 0 && w->in.options.stride && strategy(h, w) == SC_AGGREGATE_NONE)
        rc = sc_fail(msg, SC_EINVAL, "stride goes with an aggregation_strategy other than \"none\"");
    for (uint32_t i = w->first; rc == 0 && i < w->in.n; i++)
        rc = w->in.options.stride ? windows(h, w, i, e, msg)
                                  : sc_heads_encode(h, w, i, w->in.texts[i].text, true, e, msg);
    return rc;
}

static int begin(const struct sc_heads *h, struct sc_run *w)
{
    (void)h;
    w->entities = malloc(sc_run_tokens(w) * sizeof *w->entities);
    w->entities_n = calloc(w->n, sizeof *w->entities_n);
    return w->entities && w->entities_n ? 0 : SC_ENOMEM;
}

static uint32_t characters(struct sc_span s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += (s.p[i] & 0xC0) != 0x80;
    return n;
}

/* Whether a token goes on the word before it, by the pipeline's rules. */
static bool goes_on(const struct sc_heads *h, uint32_t id, const struct sc_origin *o, struct sc_span text)
{
    if (id == h->unknown)
        return false;
    if (h->word_pieces)
        return characters(sc_tokenizer_token(h->tokenizer, id)) != o->chars.end - o->chars.start;
    if (o->chars.start == 0)
        return false;
    /* No blank around the place where it begins. */
    char before = text.p[o->bytes.start - 1];
    char at = o->bytes.start < text.n ? text.p[o->bytes.start] : 'x';
    return before != ' ' && at != ' ';
}

static int take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    uint32_t first = w->begin[i], n = w->begin[i + 1] - first, kept = 0;
    struct sc_span text = w->in.texts[w->sequence[i].text].text;
    uint32_t *place = malloc(n * sizeof *place);
    bool *subword = malloc(n * sizeof *subword);
    struct sc_entity *out = w->entities + first;
    if (place && subword) {
        for (uint32_t k = 0; k < n; k++) {
            const struct sc_origin *o = &w->origins[first + k];
            if (o->sequence == SC_NO_SEQUENCE)
                continue;
            if (kept < k)
                memcpy(rows + (size_t)kept * h->columns, rows + (size_t)k * h->columns,
                       h->columns * sizeof *rows);
            subword[kept] = goes_on(h, w->ids[first + k], o, text);
            place[kept++] = k;
        }
        uint32_t made = w->entities_n[i] =
            sc_entities_find(&h->tags, strategy(h, w), rows, subword, kept, out);
        for (uint32_t k = 0; k < made; k++) {
            out[k].first = place[out[k].first];
            out[k].last = place[out[k].last];
        }
    }
    bool good = place && subword;
    free(place);
    free(subword);
    return good ? 0 : SC_ENOMEM;
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static bool ignored(const struct sc_heads *h, const struct sc_run *w, uint32_t label)
{
    struct sc_span name = strategy(h, w) == SC_AGGREGATE_NONE ? sc_span_str(h->classifier.label[label])
                                                              : h->tags.tag[label].group;
    const struct sc_options *o = &w->in.options;
    if (!o->has_names)
        return sc_span_eq(name, SC_SPAN("O"));
    for (uint32_t i = 0; i < o->names_n; i++)
        if (sc_span_eq(name, o->names[i]))
            return true;
    return false;
}

static struct sc_span surface(const struct sc_run *w, uint32_t sequence, uint32_t from, uint32_t to)
{
    struct sc_span text = w->in.texts[w->sequence[sequence].text].text;
    uint32_t start = w->origins[from].bytes.start, end = w->origins[to].bytes.end;
    return sc_span_sub(text, start, end > start ? end - start : 0);
}

/* Tokens [from, to] of the work as text; a token that is not in the vocabulary as it was sent. */
static int put_word(const struct sc_heads *h, const struct sc_run *w, uint32_t sequence, uint32_t from,
                    uint32_t to, struct sc_buf *out)
{
    struct sc_buf word;
    int rc = 0;
    sc_buf_init(&word, SC_ENCODER_ANSWER_BYTES);
    for (uint32_t i = from; rc == 0 && i <= to;) {
        uint32_t end = i;
        while (end <= to && w->ids[end] != h->unknown)
            end++;
        if (word.n && h->word_pieces)
            sc_buf_char(&word, ' ');
        if (end > i)
            rc = sc_tokenizer_decode(h->tokenizer, w->ids + i, end - i, false, &word);
        else
            sc_buf_span(&word, surface(w, sequence, i, i));
        i = end > i ? end : i + 1;
    }
    if (rc == SC_EUNSUPPORTED) { /* the text itself is as good */
        sc_put_string(out, surface(w, sequence, from, to));
        rc = 0;
    } else {
        sc_put_string(out, sc_buf_view(&word));
    }
    rc = rc < 0 ? rc : word.failed;
    sc_buf_free(&word);
    return rc;
}

static int put_entity(const struct sc_heads *h, const struct sc_run *w, uint32_t sequence,
                      const struct sc_entity *e, struct sc_buf *out)
{
    uint32_t first = w->begin[sequence] + e->first, last = w->begin[sequence] + e->last;
    int rc = 0;
    if (strategy(h, w) == SC_AGGREGATE_NONE) {
        sc_buf_str(out, "{\"entity\": ");
        sc_buf_span(out, h->classifier.quoted[e->label]);
        sc_buf_str(out, ", \"score\": ");
        sc_put_float(out, e->score);
        sc_buf_str(out, ", \"index\": ");
        sc_put_uint(out, e->first);
        sc_buf_str(out, ", \"word\": ");
        sc_put_string(out, w->ids[first] == h->unknown ? surface(w, sequence, first, first)
                                                       : sc_tokenizer_token(h->tokenizer, w->ids[first]));
    } else {
        sc_buf_str(out, "{\"entity_group\": ");
        sc_put_string(out, h->tags.tag[e->label].group);
        sc_buf_str(out, ", \"score\": ");
        sc_put_float(out, e->score);
        sc_buf_str(out, ", \"word\": ");
        rc = put_word(h, w, sequence, first, last, out);
    }
    sc_buf_str(out, ", \"start\": ");
    sc_put_uint(out, w->origins[first].chars.start);
    sc_buf_str(out, ", \"end\": ");
    sc_put_uint(out, w->origins[last].chars.end);
    sc_buf_char(out, '}');
    return rc;
}

struct found {
    uint32_t sequence;
    const struct sc_entity *e;
};

/* The entities of sequences [from, to), which are one text's windows. */
static int put_text(const struct sc_heads *h, const struct sc_run *w, uint32_t from, uint32_t to,
                    struct sc_buf *out)
{
    uint32_t most = 0, n = 0;
    for (uint32_t s = from; s < to; s++)
        most += w->entities_n[s];
    struct found *all = calloc(SC_MAX(most, 1u), sizeof *all);
    struct sc_entity_place *place = malloc(SC_MAX(most, 1u) * sizeof *place);
    int rc = all && place ? 0 : SC_ENOMEM;
    for (uint32_t s = from; rc == 0 && s < to; s++)
        for (uint32_t k = 0; k < w->entities_n[s]; k++) {
            const struct sc_entity *e = &w->entities[w->begin[s] + k];
            if (ignored(h, w, e->label))
                continue;
            all[n] = (struct found){s, e};
            place[n] = (struct sc_entity_place){.start = w->origins[w->begin[s] + e->first].chars.start,
                                                .end = w->origins[w->begin[s] + e->last].chars.end,
                                                .score = e->score,
                                                .entity = n};
            n++;
        }
    if (rc == 0 && to - from > 1)
        n = sc_entities_merge(place, n);
    sc_buf_char(out, '[');
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        if (i > 0)
            sc_buf_str(out, ", ");
        rc = put_entity(h, w, all[place[i].entity].sequence, all[place[i].entity].e, out);
    }
    sc_buf_char(out, ']');
    free(all);
    free(place);
    return rc;
}

static int write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    int rc = 0;
    if (w->in.list)
        sc_buf_char(out, '[');
    for (uint32_t from = 0; rc == 0 && from < w->n;) {
        uint32_t to = from + 1;
        while (to < w->n && w->sequence[to].text == w->sequence[from].text)
            to++;
        if (from > 0)
            sc_buf_str(out, ", ");
        rc = put_text(h, w, from, to, out);
        from = to;
    }
    if (w->in.list)
        sc_buf_char(out, ']');
    return rc;
}

const struct sc_head sc_head_token = {
    .what = "a token classifier",
    .forms = "",
    .divides = true,
    .prepare = prepare,
    .begin = begin,
    .take = take,
    .write = write,
};
