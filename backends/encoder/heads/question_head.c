/* Extractive question answering: spans of the context, which is cut into windows where it is long. */
#include <stdlib.h>

#include "heads/heads_parts.h"
#include "heads/put.h"

/* The pipeline's defaults. */
#define MAX_SEQ_LEN 384u
#define DOC_STRIDE 128u
#define MAX_QUESTION_LEN 64u
#define MAX_ANSWER_LEN 15u

static struct sc_answer_options options_of(const struct sc_run *w)
{
    const struct sc_options *o = &w->in.options;
    return (struct sc_answer_options){
        .top_k = o->has_top_k ? SC_MIN(o->top_k, (uint32_t)SC_ENCODER_ANSWERS_MAX) : 1,
        .max_tokens = o->max_answer_len ? o->max_answer_len : MAX_ANSWER_LEN,
        .impossible = o->impossible == SC_YES,
        .align = o->align != SC_NO,
    };
}

/* The question's first tokens. */
static int shorten(const struct sc_heads *h, struct sc_span *question, uint32_t most, struct sc_encoding *e)
{
    struct sc_encode_options how = {.origins = true, .no_specials = true};
    int rc = sc_tokenizer_encode_with(h->tokenizer, *question, sc_span(NULL, 0), &how, e);
    if (rc == 0 && e->n > most)
        question->n = e->origins[most - 1].bytes.end;
    return rc;
}

/* Question i with all windows of its context. */
static int windows(const struct sc_heads *h, struct sc_run *w, uint32_t i, struct sc_encoding *e,
                   struct sc_msg *msg)
{
    const struct sc_options *o = &w->in.options;
    uint32_t room = sc_tokenizer_max_length(h->tokenizer);
    uint32_t length = SC_MIN(o->max_seq_len ? o->max_seq_len : MAX_SEQ_LEN, room), n = 0;
    struct sc_encode_options how = {.origins = true,
                                    .max_length = length,
                                    .truncation = SC_TRUNCATE_SECOND,
                                    .stride = o->doc_stride ? o->doc_stride : SC_MIN(length / 2, DOC_STRIDE)};
    struct sc_span question = w->in.texts[i].text, context = w->in.texts[i].pair;
    int rc = shorten(h, &question, o->max_question_len ? o->max_question_len : MAX_QUESTION_LEN, e);
    if (rc == 0)
        rc = sc_tokenizer_windows(h->tokenizer, question, context, &how, e, &n);
    if (rc == SC_ELIMIT)
        return sc_fail(msg, SC_EINVAL,
                       "Question %u leaves no room for a context in %u tokens that go on by more than "
                       "doc_stride, %u: shorten it, or send a smaller doc_stride or max_question_len",
                       i, length, how.stride);
    for (uint32_t k = 0; rc == 0 && k < n; k++) {
        if (w->n >= h->max_texts)
            return sc_fail(msg, SC_ELIMIT,
                           "The contexts of this request make more than %u windows: send them in several, or "
                           "raise the model's setting maxTexts",
                           h->max_texts);
        sc_tokenizer_window(h->tokenizer, e, k);
        rc = sc_run_add(w, e, i, true);
        if (rc == 0)
            w->sequence[w->n - 1].tokens = e->sequences[1];
    }
    return rc < 0 ? sc_fail(msg, rc, "The texts of this request cannot be tokenised") : 0;
}

static bool is_blank(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!memchr(" \t\r\n", s.p[i], 4))
            return false;
    return true;
}

static int prepare(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    const struct sc_input *in = &w->in;
    if (in->ranking)
        return sc_fail(msg, SC_EINVAL, "This model is %s: it does not rank texts for a query", h->head->what);
    if (in->options.has_top_k && in->options.top_k > SC_ENCODER_ANSWERS_MAX)
        return sc_fail(msg, SC_EINVAL, "top_k must be at most %d answers of a question",
                       SC_ENCODER_ANSWERS_MAX);
    for (uint32_t i = w->first; i < in->n; i++) {
        if (!in->texts[i].pair.p)
            return sc_fail(
                msg, SC_EINVAL,
                "This model is %s: send {\"question\": \"...\", \"context\": \"...\"} or a list of such",
                h->head->what);
        if (is_blank(in->texts[i].text) || is_blank(in->texts[i].pair))
            return sc_fail(msg, SC_EINVAL, "Question %u or its context is empty", i);
        int rc = windows(h, w, i, e, msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int begin(const struct sc_heads *h, struct sc_run *w)
{
    (void)h;
    w->answers = calloc(w->n, sizeof *w->answers);
    return w->answers ? 0 : SC_ENOMEM;
}

/* Where the tokens of the context lie and the words that they are of, in bytes. */
static void places(const struct sc_origin *o, uint32_t n, struct sc_answer_token *to)
{
    for (uint32_t i = 0; i < n;) {
        uint32_t end = i + 1;
        while (end < n && o[i].word != SC_NO_WORD && o[end].word == o[i].word)
            end++;
        for (uint32_t k = i; k < end; k++)
            to[k] = (struct sc_answer_token){.start = o[k].bytes.start,
                                             .end = o[k].bytes.end,
                                             .word_start = o[i].bytes.start,
                                             .word_end = o[end - 1].bytes.end};
        i = end;
    }
}

static int take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    (void)h;
    const struct sc_sequence *s = &w->sequence[i];
    uint32_t n = s->tokens.end - s->tokens.start;
    struct sc_answer_token *token = malloc(SC_MAX(n, 1u) * sizeof *token);
    struct sc_answer_options o = options_of(w);
    if (!token)
        return SC_ENOMEM;
    places(w->origins + w->begin[i] + s->tokens.start, n, token);
    int rc = sc_answers_add(&w->answers[i], &o, w->in.texts[s->text].pair, rows,
                            w->begin[i + 1] - w->begin[i], s->tokens.start, s->tokens.end, token);
    free(token);
    return rc;
}

/* Characters of s before byte `to`. */
static uint32_t characters(struct sc_span s, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < to; i++)
        n += (s.p[i] & 0xC0) != 0x80;
    return n;
}

static void put_answer(struct sc_span context, const struct sc_answer *a, struct sc_buf *out)
{
    uint32_t start = characters(context, a->start);
    struct sc_span text = sc_span_sub(context, a->start, a->end - a->start);
    sc_buf_str(out, "{\"score\": ");
    sc_put_float(out, a->score);
    sc_buf_str(out, ", \"start\": ");
    sc_put_uint(out, start);
    sc_buf_str(out, ", \"end\": ");
    sc_put_uint(out, start + characters(text, (uint32_t)text.n));
    sc_buf_str(out, ", \"answer\": ");
    sc_put_string(out, text);
    sc_buf_char(out, '}');
}

/* One answer as such, several or none as a list. */
static int write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    (void)h;
    struct sc_answer_options o = options_of(w);
    if (w->in.list)
        sc_buf_char(out, '[');
    for (uint32_t from = 0; from < w->n;) {
        uint32_t text = w->sequence[from].text, to = from + 1;
        struct sc_answers *a = &w->answers[from];
        int rc = 0;
        for (; rc == 0 && to < w->n && w->sequence[to].text == text; to++)
            rc = sc_answers_join(a, w->in.texts[text].pair, &w->answers[to]);
        if (rc < 0 || sc_answers_end(a, &o) < 0)
            return SC_ENOMEM;
        if (from > 0)
            sc_buf_str(out, ", ");
        if (a->n != 1)
            sc_buf_char(out, '[');
        for (uint32_t k = 0; k < a->n; k++) {
            if (k > 0)
                sc_buf_str(out, ", ");
            put_answer(w->in.texts[text].pair, &a->found[k], out);
        }
        if (a->n != 1)
            sc_buf_char(out, ']');
        from = to;
    }
    if (w->in.list)
        sc_buf_char(out, ']');
    return 0;
}

const struct sc_head sc_head_question = {
    .what = "a model that answers questions from a context",
    .forms = "",
    .divides = true,
    .prepare = prepare,
    .begin = begin,
    .take = take,
    .write = write,
};
