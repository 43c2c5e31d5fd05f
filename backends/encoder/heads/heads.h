/*
 * Heads: what stands between a client's words and the engine's numbers. Each task has one (struct sc_head in
 * heads_parts.h); this is what the backend uses.
 *
 *   prepare   body to texts and options (input.c), texts to sequences (the head)
 *   begin, take   the engine's rows, a sequence at a time, are reduced to what the answer needs
 *   write     the answer, in the form that the request has
 */
#ifndef SC_ENCODER_HEADS_H
#define SC_ENCODER_HEADS_H

#include "heads/classify.h"
#include "heads/prompts.h"
#include "heads/run.h"
#include "model/config.h"
#include "tokenizer/tokenizer.h"

struct sc_head;
struct sc_example;

/* Threads that help to tokenise a long request, and encodings for them. */
struct sc_spread_by {
    void (*fn)(void *ctx, uint32_t n, void (*piece)(void *arg, uint32_t i),
               void *arg); /* NULL: there are none */
    struct sc_encoding (*take)(void *ctx);
    void (*give)(void *ctx, struct sc_encoding e);
    void *ctx;
};

/* Of a model; read-only once filled, any thread. */
struct sc_heads {
    const struct sc_head *head;
    enum sc_task task;
    const struct sc_tokenizer *tokenizer;
    const char *model; /* its name */
    const char *dtype; /* as /info says: "float32" */
    uint32_t columns;  /* of the engine's rows */
    uint32_t types;    /* rows of the token type table */
    uint32_t max_texts, batch_tokens;
    bool truncate; /* texts that are too long, unless the request says otherwise */
    enum sc_pooling pooling;
    enum sc_wish normalize; /* SC_UNSAID: interfaces yes, /predictions as `folder_normalize` */
    bool folder_normalize;
    bool skip_prompt;    /* prompts are not pooled */
    uint32_t dimensions; /* of vectors that a request does not cut itself; 0: all */
    struct sc_prompts prompts;
    enum sc_aggregation aggregation; /* of requests that name none */
    struct sc_classifier classifier;
    struct sc_tags tags;
    uint32_t unknown, mask; /* ids, UINT32_MAX: none */
    bool word_pieces;       /* tokens that go on a word begin with ## */
    struct sc_spread_by spread;
    struct sc_example *example; /* archives of TorchServe's Transformers example; NULL: it is none */
    char interfaces[160];       /* names of the forms that this model has, separated by blanks */
};

/* What heads are made of; everything is borrowed and must outlive them. */
struct sc_heads_spec {
    const struct sc_encoder_config *config;
    const struct sc_tokenizer *tokenizer;
    const char *dir;  /* of config.json */
    const char *root; /* the model's folder, which may be above it */
    const char *model, *dtype;
    uint32_t max_texts, batch_tokens;
    /* A setting of the model, NULL if there is none. */
    const char *(*setting)(void *ctx, const char *key);
    /* The key of setting i, NULL behind the last. */
    const char *(*setting_key)(void *ctx, unsigned i);
    void *ctx;
};

/* SC_EINVAL with *msg for a setting or file that is wrong, SC_ENOMEM; nothing to free then. */
int sc_heads_init(struct sc_heads *h, const struct sc_heads_spec *spec, struct sc_msg *msg);
void sc_heads_free(struct sc_heads *h);

/* Text of a line of the log: "3 labels", "vectors of 384, mean". */
void sc_heads_describe(const struct sc_heads *h, char *text, size_t size);

/* Its answer and its failures are those of the Transformers example. */
static inline bool sc_run_is_example(const struct sc_heads *h, const struct sc_run *w)
{
    return h->example && w->form == SC_FORM_PIPELINE;
}

/*
 * Reads a body and makes its sequences, by means of the caller's encoding. The body must outlive the work.
 * SC_EINVAL, SC_ELIMIT or SC_ENOMEM with *msg for the client.
 */
int sc_heads_prepare(const struct sc_heads *h, struct sc_run *w, struct sc_span body,
                     const char *content_type, struct sc_encoding *e, struct sc_msg *msg);
/* Rows of h->columns that the engine gives for sequence i. */
uint32_t sc_heads_rows(const struct sc_heads *h, const struct sc_run *w, uint32_t i);
/* Memory for the results; after prepare, on its thread. SC_ENOMEM. */
int sc_heads_begin(const struct sc_heads *h, struct sc_run *w);
/* Takes the rows of sequence i, which are used up; those of others may be taken at the same time. SC_ENOMEM.
 */
int sc_heads_take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows);
/* Appends the answer. SC_ENOMEM, or the failure of out. */
int sc_heads_write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out);

#endif
