/* Embeddings: one vector for each text. */
#include <stdlib.h>

#include "heads/embed.h"
#include "heads/heads_parts.h"

static uint32_t width(const struct sc_heads *h, const struct sc_run *w)
{
    return w->in.options.dimensions ? w->in.options.dimensions : h->dimensions ? h->dimensions : h->columns;
}

/* The prompt of the request, else the model's own; empty: none. */
static int prompt_of(const struct sc_heads *h, const struct sc_run *w, struct sc_span *out,
                     struct sc_msg *msg)
{
    const struct sc_options *o = &w->in.options;
    uint32_t at = h->prompts.standard;
    *out = o->prompt;
    if (o->prompt.p)
        return 0;
    if (o->prompt_name.p) {
        char known[300];
        sc_prompts_names(&h->prompts, known, sizeof known);
        at = sc_prompts_find(&h->prompts, o->prompt_name);
        if (at == SC_NO_PROMPT)
            return sc_fail(msg, SC_EINVAL, "The model has no prompt of the name \"%.*s\", but %s",
                           (int)SC_MIN(o->prompt_name.n, 60u), o->prompt_name.p,
                           known[0] ? known : "none at all");
    }
    *out = at == SC_NO_PROMPT ? sc_span(NULL, 0) : sc_span_str(h->prompts.prompt[at].text);
    return 0;
}

static int prepare(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    struct sc_input *in = &w->in;
    struct sc_span prompt;
    struct sc_buf joined;
    uint32_t skip = 0;
    int rc = sc_heads_plain(h, w, msg);
    if (rc == 0 && in->options.dimensions > h->columns)
        rc = sc_fail(msg, SC_EINVAL, "dimensions is %u: this model's vectors have %u", in->options.dimensions,
                     h->columns);
    if (rc == 0)
        rc = prompt_of(h, w, &prompt, msg);
    /* As sentence-transformers counts: the prompt alone, with the special tokens before it. */
    if (rc == 0 && h->skip_prompt && prompt.n) {
        rc = sc_tokenizer_encode(h->tokenizer, prompt, sc_span(NULL, 0), e);
        skip = e->sequences[0].end;
        if (rc < 0)
            sc_fail(msg, rc, "The prompt cannot be tokenised");
    }
    if (rc < 0)
        return rc;
    sc_buf_init(&joined, SIZE_MAX / 2);
    for (uint32_t i = w->first; rc == 0 && i < in->n; i++) {
        struct sc_span text = in->texts[i].text;
        if (prompt.n) {
            sc_buf_clear(&joined);
            sc_buf_span(&joined, prompt);
            sc_buf_span(&joined, text);
            text = sc_buf_view(&joined);
            if (joined.failed)
                rc = sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
        }
        if (rc == 0)
            rc = sc_heads_encode(h, w, i, text, false, e, msg);
        if (rc == 0) /* something is pooled, however long the prompt */
            w->sequence[w->n - 1].skip = SC_MIN(skip, w->begin[w->n] - w->begin[w->n - 1] - 1);
    }
    sc_buf_free(&joined);
    return rc;
}

static int begin(const struct sc_heads *h, struct sc_run *w)
{
    w->kept = malloc((size_t)w->n * width(h, w) * sizeof *w->kept);
    return w->kept ? 0 : SC_ENOMEM;
}

static int take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    enum sc_wish wish = w->in.options.normalize != SC_UNSAID ? w->in.options.normalize : h->normalize;
    uint32_t n = width(h, w);
    /* The interfaces promise vectors of length 1; /predictions is what the folder says. */
    bool normalise = wish == SC_UNSAID ? h->folder_normalize || w->form != SC_FORM_PIPELINE : wish == SC_YES;
    float *v = w->kept + (size_t)i * n;
    /* The folder's Normalize module comes before vectors are cut, what is asked for comes after it: as
     * sentence-transformers, text-embeddings-inference and OpenAI have it. */
    if (normalise && wish == SC_UNSAID && w->form == SC_FORM_PIPELINE) {
        sc_embed_normalise(rows, h->columns);
        normalise = false;
    }
    memcpy(v, rows, n * sizeof *v);
    if (normalise)
        sc_embed_normalise(v, n);
    return 0;
}

static int write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    uint32_t n = width(h, w);
    struct sc_embed_answer a = {.form = w->form,
                                .list = w->in.list,
                                .base64 = w->in.options.base64,
                                .vectors = w->kept,
                                .n = w->n,
                                .stride = n,
                                .width = n,
                                .tokens = sc_run_tokens(w),
                                .model = h->model};
    sc_embed_write(&a, out);
    return 0;
}

const struct sc_head sc_head_embed = {
    .what = "an embedding model",
    .forms = "openai/embeddings tei/embed tei/similarity",
    .divides = true,
    .prepare = prepare,
    .begin = begin,
    .take = take,
    .write = write,
};
