#include "heads/heads.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "heads/example.h"
#include "heads/heads_parts.h"

static const struct sc_head *head_of(enum sc_task t)
{
    switch (t) {
    case SC_TASK_SEQUENCE: return &sc_head_sequence;
    case SC_TASK_TOKEN: return &sc_head_token;
    case SC_TASK_QA: return &sc_head_question;
    case SC_TASK_FILL_MASK: return &sc_head_mask;
    case SC_TASK_EMBED: break;
    }
    return &sc_head_embed;
}

/* ---- settings ------------------------------------------------------------------------------------ */

static int read_wish(const struct sc_heads_spec *s, const char *key, enum sc_wish *out, struct sc_msg *msg)
{
    const char *v = s->setting(s->ctx, key);
    if (!v)
        return 0;
    if (strcmp(v, "true") != 0 && strcmp(v, "false") != 0)
        return sc_fail(msg, SC_EINVAL, "setting %s is \"%.60s\": it must be true or false", key, v);
    *out = v[0] == 't' ? SC_YES : SC_NO;
    return 0;
}

static int read_dimensions(struct sc_heads *h, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    const char *v = s->setting(s->ctx, "dimensions");
    uint64_t n = 0;
    if (!v || h->task != SC_TASK_EMBED)
        return 0;
    if (!sc_span_u64(sc_span_str(v), h->columns, &n) || n == 0)
        return sc_fail(msg, SC_EINVAL, "setting dimensions is \"%.60s\": it must be an integer from 1 to %u",
                       v, h->columns);
    h->dimensions = (uint32_t)n;
    return 0;
}

static int read_scoring(struct sc_heads *h, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    static const char *const names[] = {
        [SC_SCORE_SOFTMAX] = "softmax", [SC_SCORE_SIGMOID] = "sigmoid", [SC_SCORE_NONE] = "none"};
    const char *v = s->setting(s->ctx, "scoring");
    if (!v)
        return 0;
    for (size_t i = 0; i < SC_COUNT(names); i++)
        if (strcmp(v, names[i]) == 0) {
            h->classifier.scoring = (enum sc_scoring)i;
            return 0;
        }
    return sc_fail(msg, SC_EINVAL, "setting scoring is \"%.60s\": it must be softmax, sigmoid or none", v);
}

static int read_aggregation(struct sc_heads *h, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    const char *v = s->setting(s->ctx, "aggregationStrategy");
    if (!v || sc_aggregation_read(sc_span_str(v), &h->aggregation))
        return 0;
    return sc_fail(msg, SC_EINVAL,
                   "setting aggregationStrategy is \"%.60s\": it must be none, simple, first, average or max",
                   v);
}

/* prompts.NAME, prompt and promptName over what the folder has. */
static int read_prompts(struct sc_heads *h, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    static const char prefix[] = "prompts.";
    int rc = sc_prompts_load(&h->prompts, s->root, msg);
    const char *key, *name = s->setting(s->ctx, "promptName"), *text = s->setting(s->ctx, "prompt");
    for (unsigned i = 0; rc == 0 && (key = s->setting_key(s->ctx, i)); i++)
        if (strncmp(key, prefix, sizeof prefix - 1) == 0)
            rc = sc_prompts_set(&h->prompts, key + sizeof prefix - 1, s->setting(s->ctx, key), msg);
    if (rc == 0 && text) {
        rc = sc_prompts_set(&h->prompts, "", text, msg);
        h->prompts.standard = sc_prompts_find(&h->prompts, SC_SPAN(""));
    }
    if (rc < 0 || !name)
        return rc;
    h->prompts.standard = sc_prompts_find(&h->prompts, sc_span_str(name));
    char known[300];
    sc_prompts_names(&h->prompts, known, sizeof known);
    return h->prompts.standard == SC_NO_PROMPT
               ? sc_fail(msg, SC_EINVAL, "setting promptName is \"%.60s\": there is no such prompt, but %s",
                         name, known[0] ? known : "none at all")
               : 0;
}

static int settings(struct sc_heads *h, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    enum sc_wish truncate = SC_YES;
    int rc = read_wish(s, "truncate", &truncate, msg);
    h->truncate = truncate != SC_NO;
    if (rc == 0)
        rc = read_wish(s, "normalize", &h->normalize, msg);
    if (rc == 0)
        rc = read_dimensions(h, s, msg);
    if (rc == 0)
        rc = read_scoring(h, s, msg);
    if (rc == 0)
        rc = read_aggregation(h, s, msg);
    return rc == 0 && h->task == SC_TASK_EMBED ? read_prompts(h, s, msg) : rc;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static uint32_t token_of(const struct sc_tokenizer *t, struct sc_span a, struct sc_span b)
{
    uint32_t id = sc_tokenizer_id(t, a);
    return id != UINT32_MAX ? id : sc_tokenizer_id(t, b);
}

static bool has_word_pieces(const struct sc_tokenizer *t)
{
    uint32_t n = sc_tokenizer_vocab_size(t);
    for (uint32_t i = 0; i < n; i++) {
        struct sc_span s = sc_tokenizer_token(t, i);
        if (s.n > 2 && sc_span_starts(s, SC_SPAN("##")))
            return true;
    }
    return false;
}

static int init_labels(struct sc_heads *h, const struct sc_encoder_config *c)
{
    int rc = sc_classifier_init(&h->classifier, c->label, c->labels, c->scoring);
    return rc == 0 && h->task == SC_TASK_TOKEN ? sc_tags_init(&h->tags, h->classifier.label, c->labels) : rc;
}

int sc_heads_init(struct sc_heads *h, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    const struct sc_encoder_config *c = s->config;
    *h = (struct sc_heads){.head = head_of(c->task),
                           .task = c->task,
                           .tokenizer = s->tokenizer,
                           .model = s->model,
                           .dtype = s->dtype,
                           .columns = sc_encoder_columns(c),
                           .types = c->types,
                           .max_texts = s->max_texts,
                           .batch_tokens = s->batch_tokens,
                           .pooling = c->pooling,
                           .folder_normalize = c->normalize,
                           .skip_prompt = c->skip_prompt,
                           .prompts.standard = SC_NO_PROMPT};
    int rc = c->task == SC_TASK_SEQUENCE || c->task == SC_TASK_TOKEN ? init_labels(h, c) : 0;
    if (rc < 0)
        sc_fail(msg, rc, "No memory for the labels");
    else
        rc = settings(h, s, msg);
    h->unknown = token_of(s->tokenizer, SC_SPAN("[UNK]"), SC_SPAN("<unk>"));
    h->mask = token_of(s->tokenizer, SC_SPAN("[MASK]"), SC_SPAN("<mask>"));
    h->word_pieces = h->task == SC_TASK_TOKEN && has_word_pieces(s->tokenizer);
    if (rc == 0 && h->task == SC_TASK_FILL_MASK && h->mask == UINT32_MAX)
        rc = sc_fail(msg, SC_EINVAL,
                     "%s: the tokenizer has neither [MASK] nor <mask>: nothing can be filled in", s->dir);
    if (rc == 0)
        rc = sc_example_new(&h->example, s, msg);
    if (h->example)
        h->head = &sc_head_example;
    bool ranker = !h->example && h->task == SC_TASK_SEQUENCE && h->columns == 1;
    snprintf(h->interfaces, sizeof h->interfaces, "%s%s%s tei/tokenize tei/info", h->head->forms,
             ranker ? " tei/rerank cohere/rerank cohere/rerank_v2" : "",
             h->example ? "" : " kserve/infer kserve/metadata");
    if (rc < 0)
        sc_heads_free(h);
    return rc;
}

void sc_heads_free(struct sc_heads *h)
{
    sc_classifier_free(&h->classifier);
    sc_tags_free(&h->tags);
    sc_prompts_free(&h->prompts);
    sc_example_del(h->example);
}

void sc_heads_describe(const struct sc_heads *h, char *text, size_t size)
{
    if (h->task == SC_TASK_SEQUENCE || h->task == SC_TASK_TOKEN)
        snprintf(text, size, "%s of %u label%s", h->head->what, h->columns, h->columns == 1 ? "" : "s");
    else if (h->task == SC_TASK_EMBED)
        snprintf(text, size, "%s of %u numbers", h->head->what, h->columns);
    else
        snprintf(text, size, "%s", h->head->what);
}

/* ---- a request ----------------------------------------------------------------------------------- */

int sc_heads_plain(const struct sc_heads *h, const struct sc_run *w, struct sc_msg *msg)
{
    if (w->in.questions)
        return sc_fail(msg, SC_EINVAL, "This model is %s: it does not take a question and a context",
                       h->head->what);
    if (w->in.ranking)
        return sc_fail(msg, SC_EINVAL, "This model is %s: it does not rank texts for a query", h->head->what);
    for (uint32_t i = 0; i < w->in.n; i++)
        if (w->in.texts[i].pair.p)
            return sc_fail(msg, SC_EINVAL,
                           "This model is %s: it does not take text pairs, send \"text\" only",
                           h->head->what);
    return 0;
}

int sc_heads_encode(const struct sc_heads *h, struct sc_run *w, uint32_t i, struct sc_span text, bool origins,
                    struct sc_encoding *e, struct sc_msg *msg)
{
    const struct sc_options *o = &w->in.options;
    struct sc_span pair = w->in.texts[i].pair;
    bool cut = o->truncate == SC_UNSAID ? h->truncate : o->truncate == SC_YES;
    struct sc_encode_options how = {.origins = origins};
    uint32_t windows = 1;
    int rc;
    if (cut) {
        rc = sc_tokenizer_encode_with(h->tokenizer, text, pair, &how, e);
    } else {
        /* What would not fit in one window is too long. */
        how.truncation = pair.p ? SC_TRUNCATE_SECOND : SC_TRUNCATE_DEFAULT;
        rc = sc_tokenizer_windows(h->tokenizer, text, pair, &how, e, &windows);
        if (rc == SC_ELIMIT || windows > 1)
            return sc_fail(
                msg, SC_ELIMIT,
                "Text %u has more than %u tokens, which is what the model takes: shorten it, or have it "
                "cut by \"truncate\": true",
                i, sc_tokenizer_max_length(h->tokenizer));
    }
    for (uint32_t k = 0; rc == 0 && h->types > 0 && k < e->n; k++)
        if (e->type_ids[k] >= h->types)
            return sc_fail(msg, SC_EINVAL,
                           "This model does not take text pairs (type_vocab_size is %u): send \"text\" only",
                           h->types);
    if (rc == SC_EINVAL)
        return sc_fail(msg, rc, "Text %u is not valid UTF-8: convert it to UTF-8 before sending it", i);
    if (rc == 0)
        rc = sc_run_add(w, e, i, origins);
    return rc < 0 ? sc_fail(msg, rc, "The texts of this request are too many to be tokenised") : 0;
}

int sc_heads_prepare(const struct sc_heads *h, struct sc_run *w, struct sc_span body,
                     const char *content_type, struct sc_encoding *e, struct sc_msg *msg)
{
    int rc = h->head->read && w->form == SC_FORM_PIPELINE ? h->head->read(h, w, body, msg)
             : w->form == SC_FORM_KSERVE_METADATA         ? 0
             : w->form == SC_FORM_KSERVE_INFER
                 ? sc_heads_tensors_read(h, w, body, msg)
                 : sc_input_parse(&w->in, w->form, body, content_type, h->max_texts, msg);
    if (rc < 0)
        return rc;
    if (w->form == SC_FORM_TEI_INFO || w->form == SC_FORM_KSERVE_METADATA) {
        rc = w->form == SC_FORM_TEI_INFO ? sc_heads_info(h, w) : sc_heads_tensors_tell(h, w);
        return rc < 0 ? sc_fail(msg, rc, "No memory for the answer") : rc;
    }
    if (w->form == SC_FORM_TEI_TOKENIZE)
        return sc_heads_tokenize(h, w, e, msg);
    return sc_heads_divides(h, w) ? sc_heads_prepare_parts(h, w, msg) : h->head->prepare(h, w, e, msg);
}

uint32_t sc_heads_rows(const struct sc_heads *h, const struct sc_run *w, uint32_t i)
{
    switch (h->task) {
    case SC_TASK_SEQUENCE:
    case SC_TASK_EMBED: return 1;
    case SC_TASK_TOKEN:
    case SC_TASK_QA: return w->begin[i + 1] - w->begin[i];
    case SC_TASK_FILL_MASK: break;
    }
    return sc_run_picks(w, i);
}

int sc_heads_begin(const struct sc_heads *h, struct sc_run *w)
{
    return w->n ? h->head->begin(h, w) : 0;
}

int sc_heads_take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    return h->head->take(h, w, i, rows);
}

int sc_heads_write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    if (w->answer.n) {
        sc_buf_span(out, sc_buf_view(&w->answer));
        return out->failed;
    }
    int rc = w->form == SC_FORM_KSERVE_INFER ? sc_heads_tensors_write(h, w, out) : h->head->write(h, w, out);
    return rc < 0 ? rc : out->failed;
}
