#include "backend.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine.h"
#include "heads/classify.h"
#include "heads/input.h"
#include "model/folder.h"
#include "tokenizer/tokenizer.h"

/* Bytes of text for one token, for the frontend's guess: English has about 4.5, Chinese 3. */
#define BYTES_PER_TOKEN 4
#define ENCODINGS_KEPT SC_LANES_MAX

struct sconce_model {
    struct sc_tokenizer *tokenizer;
    struct sc_engine *engine;
    struct sc_classifier classifier;
    uint32_t types;
    uint32_t max_texts, batch_tokens;
    /* The tokenizer's buffers, lent to whoever prepares a request. */
    pthread_mutex_t lock;
    struct sc_encoding kept[ENCODINGS_KEPT];
    unsigned kept_n;
};

/* A request between prepare and answer. */
struct work {
    struct sc_classify_options options;
    bool list;
    int failed;      /* what the computation of one of its texts failed with */
    uint32_t n;      /* texts */
    uint32_t *begin; /* n + 1 places in ids and types */
    uint32_t *ids;
    uint8_t *types;
    uint32_t cap;  /* tokens there is room for */
    float *logits; /* n rows, while it is executed */
};

struct sconce_lane {
    struct sconce_model *m;
    struct sc_engine_lane *engine;
    uint32_t *ids, *begin; /* the batch that is being filled: batch_tokens and one more */
    uint8_t *types;
    float *logits; /* of the batch: a row for each sequence */
    size_t logits_rows;
    void *ranking;
};

static struct sconce_error *error_of(int code, const char *text)
{
    enum sconce_code status = code == SC_ENOMEM                        ? SCONCE_OUT_OF_MEMORY
                              : code == SC_EINVAL || code == SC_ELIMIT ? SCONCE_BAD_REQUEST
                                                                       : SCONCE_INTERNAL;
    return sconce_error_new(status, "%s", text);
}

/* ---- model --------------------------------------------------------------------------------- */

static void model_unload(struct sconce_model *m)
{
    sc_engine_del(m->engine);
    sc_tokenizer_del(m->tokenizer);
    sc_classifier_free(&m->classifier);
    for (unsigned i = 0; i < m->kept_n; i++)
        sc_encoding_free(&m->kept[i]);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Settings and tokenizer, which the model's configuration bounds. */
static struct sconce_error *load_settings(struct sconce_host *h, struct sconce_model *m,
                                          const struct sc_encoder_folder *b)
{
    struct sc_msg msg;
    int64_t length, texts, tokens;
    uint32_t own =
        b->config.max_length ? SC_MIN(b->config.max_length, b->config.positions) : b->config.positions;
    struct sconce_error *e = sconce_host_setting_int(h, "maxLength", 2, b->config.positions, own, &length);
    if (e)
        return e;
    int rc = sc_tokenizer_load(&m->tokenizer, b->dir, (uint32_t)length, &msg);
    if (rc < 0)
        return sconce_error_new(SCONCE_INTERNAL, "%s", msg.text);
    if (sc_tokenizer_vocab_size(m->tokenizer) > b->config.vocab)
        return sconce_error_new(SCONCE_INTERNAL,
                                "%s: the tokenizer has %u tokens, config.json's vocab_size is %u: the files "
                                "do not belong together",
                                sconce_host_model_dir(h), sc_tokenizer_vocab_size(m->tokenizer),
                                b->config.vocab);
    e = sconce_host_setting_int(h, "maxTexts", 1, SC_ENCODER_TEXTS_MAX, SC_ENCODER_TEXTS, &texts);
    if (e)
        return e;
    /* A batch must hold the longest text. */
    int64_t least = sc_tokenizer_max_length(m->tokenizer);
    e = sconce_host_setting_int(h, "maxBatchTokens", least,
                                SC_MAX(least, (int64_t)SC_ENCODER_BATCH_TOKENS_MAX),
                                SC_MAX(least, (int64_t)SC_ENCODER_BATCH_TOKENS), &tokens);
    if (e)
        return e;
    m->max_texts = (uint32_t)texts;
    m->batch_tokens = (uint32_t)tokens;
    m->types = b->config.types;
    return NULL;
}

static struct sconce_error *load(struct sconce_host *h, struct sconce_model *m,
                                 const struct sc_encoder_folder *b)
{
    struct sc_msg msg, warning = {""};
    char how[128];
    int64_t start = sc_clock_ms();
    if (b->config.task != SC_TASK_SEQUENCE)
        return sconce_error_new(SCONCE_INTERNAL,
                                "%s: this is a model for %s, of which the encoder backend serves "
                                "text-classification only",
                                sconce_host_model_dir(h), sc_task_name(b->config.task));
    struct sconce_error *e = load_settings(h, m, b);
    if (e)
        return e;
    const struct sc_engine_options o = {
        .max_tokens = m->batch_tokens,
        .dtype = sconce_host_setting(h, "dtype"),
        .matmul = sconce_host_setting(h, "matmul"),
        .plugin_dir = sconce_host_backend_dir(h),
    };
    int rc = sc_engine_cpu_ops.new(&m->engine, &b->config, &b->weights, &o, &warning, &msg);
    if (rc < 0)
        return sconce_error_new(rc == SC_ENOMEM ? SCONCE_OUT_OF_MEMORY : SCONCE_INTERNAL, "%s", msg.text);
    if (warning.text[0])
        sconce_log(h, SCONCE_WARN, "%s", warning.text);
    if (sc_classifier_init(&m->classifier, &b->config) < 0)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for the labels");
    m->engine->ops->describe(m->engine, how, sizeof how);
    sconce_log(h, SCONCE_INFO, "encoder: %u layers of %u, %u labels; %s; batches of up to %u tokens; %lld ms",
               b->config.layers, b->config.hidden, b->config.labels, how, m->batch_tokens,
               (long long)(sc_clock_ms() - start));
    return NULL;
}

static struct sconce_error *model_load(struct sconce_host *h, struct sconce_model **out,
                                       struct sconce_model_info *info)
{
    struct sc_encoder_folder b;
    struct sc_msg msg;
    if (sconce_host_model_dir(h)[0] == '\0')
        return sconce_error_new(
            SCONCE_INTERNAL,
            "The encoder needs a model folder: name it, as in --models name=/path/to/folder");
    int rc = sc_encoder_folder_open(&b, sconce_host_model_dir(h), NULL, &msg);
    if (rc < 0)
        return sconce_error_new(rc == SC_ENOMEM ? SCONCE_OUT_OF_MEMORY : SCONCE_INTERNAL, "%s", msg.text);
    struct sconce_model *m = calloc(1, sizeof *m);
    if (!m) {
        sc_encoder_folder_close(&b);
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for the model");
    }
    pthread_mutex_init(&m->lock, NULL);
    struct sconce_error *e = load(h, m, &b);
    sc_encoder_folder_close(&b);
    if (e) {
        model_unload(m);
        return e;
    }
    info->max_batch_cost = m->batch_tokens;
    info->bytes_per_cost = BYTES_PER_TOKEN;
    *out = m;
    return NULL;
}

/* ---- prepare ------------------------------------------------------------------------------- */

static struct sc_encoding encoding_take(struct sconce_model *m)
{
    struct sc_encoding e = {0};
    pthread_mutex_lock(&m->lock);
    if (m->kept_n > 0)
        e = m->kept[--m->kept_n];
    pthread_mutex_unlock(&m->lock);
    return e;
}

static void encoding_give(struct sconce_model *m, struct sc_encoding e)
{
    pthread_mutex_lock(&m->lock);
    bool keep = m->kept_n < ENCODINGS_KEPT;
    if (keep)
        m->kept[m->kept_n++] = e;
    pthread_mutex_unlock(&m->lock);
    if (!keep)
        sc_encoding_free(&e);
}

static void work_del(struct work *w)
{
    if (!w)
        return;
    free(w->begin);
    free(w->ids);
    free(w->types);
    free(w->logits);
    free(w);
}

static int work_add(struct work *w, const struct sc_encoding *e)
{
    uint32_t have = w->begin[w->n];
    if (e->n > UINT32_MAX / 4 - have)
        return SC_ELIMIT;
    if (e->n > w->cap - have) {
        /* Exact for the first text, which mostly is the only one. */
        uint32_t cap = SC_MAX(have + e->n, 2 * w->cap);
        uint32_t *ids = realloc(w->ids, cap * sizeof *ids);
        if (!ids)
            return SC_ENOMEM;
        w->ids = ids;
        uint8_t *types = realloc(w->types, cap);
        if (!types)
            return SC_ENOMEM;
        w->types = types;
        w->cap = cap;
    }
    memcpy(w->ids + have, e->ids, e->n * sizeof *e->ids);
    memcpy(w->types + have, e->type_ids, e->n);
    w->begin[++w->n] = have + e->n;
    return 0;
}

static int tokenise(struct sconce_model *m, const struct sc_input *in, struct work *w, struct sc_msg *msg)
{
    struct sc_encoding enc = encoding_take(m);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < in->n; i++) {
        const struct sc_text *t = &in->texts[i];
        if (t->pair.p && m->types < 2)
            rc = sc_fail(msg, SC_EINVAL,
                         "This model does not take text pairs (type_vocab_size is 1): send \"text\" only");
        else
            rc = sc_tokenizer_encode(m->tokenizer, t->text, t->pair, &enc);
        if (rc == 0)
            rc = work_add(w, &enc);
    }
    encoding_give(m, enc);
    return rc;
}

static struct sconce_error *request_prepare(struct sconce_model *m, struct sconce_request *r, uint64_t *cost)
{
    struct sc_input in;
    struct sc_msg msg;
    size_t size;
    const void *body = sconce_request_body(r, &size);
    int rc = sc_input_parse(&in, sc_span(body, size), sconce_request_content_type(r), m->max_texts, &msg);
    if (rc < 0)
        return error_of(rc, msg.text);
    struct work *w = calloc(1, sizeof *w);
    if (w)
        w->begin = calloc((size_t)in.n + 1, sizeof *w->begin);
    sc_fail(&msg, 0, "The texts of this request cannot be tokenised");
    if (w && w->begin) {
        w->options = in.options;
        w->list = in.list;
        rc = tokenise(m, &in, w, &msg);
    } else {
        rc = SC_ENOMEM;
    }
    sc_input_free(&in);
    if (rc < 0) {
        work_del(w);
        return error_of(rc, rc == SC_ENOMEM ? "No memory for the texts of this request" : msg.text);
    }
    *cost = w->begin[w->n];
    sconce_request_set_data(r, w);
    return NULL;
}

static void request_discard(struct sconce_model *m, struct sconce_request *r)
{
    (void)m;
    work_del(sconce_request_data(r));
    sconce_request_set_data(r, NULL);
}

/* ---- execute ------------------------------------------------------------------------------- */

static void lane_destroy(struct sconce_lane *l)
{
    sc_engine_lane_del(l->engine);
    free(l->ids);
    free(l->types);
    free(l->begin);
    free(l->logits);
    free(l->ranking);
    free(l);
}

static struct sconce_error *lane_create(struct sconce_model *m, unsigned index, struct sconce_lane **out)
{
    (void)index;
    struct sconce_lane *l = calloc(1, sizeof *l);
    if (!l)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for a lane");
    size_t tokens = m->batch_tokens;
    l->m = m;
    struct sc_msg msg;
    if (m->engine->ops->lane_new(&l->engine, m->engine, &msg) < 0) {
        lane_destroy(l);
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "%s", msg.text);
    }
    l->ids = malloc(tokens * sizeof *l->ids);
    l->types = malloc(tokens);
    l->begin = calloc(tokens + 1, sizeof *l->begin);
    l->ranking = malloc(sc_classify_work(&m->classifier));
    if (!l->ids || !l->types || !l->begin || !l->ranking) {
        lane_destroy(l);
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for a lane of %zu tokens", tokens);
    }
    *out = l;
    return NULL;
}

static void answer(struct sconce_lane *l, struct sconce_request *r, struct work *w)
{
    const struct sc_classifier *c = &l->m->classifier;
    sconce_request_set_data(r, NULL);
    if (w->failed) {
        sconce_response_fail(r, error_of(w->failed, w->failed == SC_ENOMEM
                                                        ? "No memory to compute this request"
                                                        : "The computation of this request failed"));
        work_del(w);
        return;
    }
    char *to = sconce_response_reserve(r, sc_classify_bound(c, &w->options, w->n));
    if (to)
        sconce_response_send(r, "application/json",
                             sc_classify(c, &w->options, w->list, w->logits, w->n, to, l->ranking));
    else
        sconce_response_fail(
            r, sconce_error_new(
                   SCONCE_BAD_REQUEST,
                   "The answer would exceed max_response_size: send fewer texts or a smaller top_k"));
    work_del(w);
}

/* Where the texts of a batch come from and its logits go: text `first` of request `request` and those that
 * follow. */
struct cursor {
    size_t request;
    uint32_t text;
};

static void advance(struct cursor *c, const struct work *w)
{
    if (++c->text >= w->n) {
        c->request++;
        c->text = 0;
    }
}

/* Computes the n sequences that were filled in from *c on, and answers requests that are then complete. */
static void compute(struct sconce_lane *l, struct sconce_request **requests, struct cursor *c, uint32_t n)
{
    size_t labels = l->m->classifier.labels;
    struct sc_batch b = {.ids = l->ids, .types = l->types, .begin = l->begin, .sequences = n};
    int rc = 0;
    if (n > l->logits_rows) {
        free(l->logits);
        l->logits = malloc(n * labels * sizeof *l->logits);
        l->logits_rows = l->logits ? n : 0;
        if (!l->logits)
            rc = SC_ENOMEM;
    }
    if (rc == 0)
        rc = sc_engine_run(l->engine, &b, l->logits);
    for (uint32_t i = 0; i < n; i++) {
        struct sconce_request *r = requests[c->request];
        struct work *w = sconce_request_data(r);
        /* A code that blames the client cannot be right here: what it sent was checked. */
        if (rc < 0)
            w->failed = rc == SC_ENOMEM ? rc : SC_ESYS;
        else if (w->logits)
            memcpy(w->logits + c->text * labels, l->logits + i * labels, labels * sizeof *l->logits);
        bool complete = c->text + 1 == w->n;
        advance(c, w);
        if (complete)
            answer(l, r, w);
    }
}

static void lane_execute(struct sconce_lane *l, struct sconce_request **requests, size_t n)
{
    size_t labels = l->m->classifier.labels;
    uint32_t tokens = 0, sequences = 0;
    struct cursor done = {0};
    for (size_t i = 0; i < n; i++) {
        struct work *w = sconce_request_data(requests[i]);
        w->logits = w->n ? malloc(w->n * labels * sizeof *w->logits) : NULL;
        if (w->n && !w->logits)
            w->failed = SC_ENOMEM;
        for (uint32_t t = 0; t < w->n; t++) {
            uint32_t length = w->begin[t + 1] - w->begin[t];
            if (tokens + length > l->m->batch_tokens) {
                compute(l, requests, &done, sequences);
                tokens = sequences = 0;
            }
            memcpy(l->ids + tokens, w->ids + w->begin[t], length * sizeof *l->ids);
            memcpy(l->types + tokens, w->types + w->begin[t], length);
            tokens += length;
            l->begin[++sequences] = tokens;
        }
        if (w->n == 0) {
            /* An empty list has nothing to wait for; the cursor must not stop at it. */
            if (sequences > 0)
                compute(l, requests, &done, sequences);
            tokens = sequences = 0;
            done = (struct cursor){.request = i + 1};
            answer(l, requests[i], w);
        }
    }
    if (sequences > 0)
        compute(l, requests, &done, sequences);
}

const struct sconce_backend_ops *sc_encoder_ops(void)
{
    static const struct sconce_backend_ops ops = {
        .major = SCONCE_BACKEND_MAJOR,
        .minor = SCONCE_BACKEND_MINOR,
        .name = "encoder",
        .model_load = model_load,
        .model_unload = model_unload,
        .lane_create = lane_create,
        .lane_destroy = lane_destroy,
        .request_prepare = request_prepare,
        .request_discard = request_discard,
        .lane_execute = lane_execute,
    };
    return &ops;
}
