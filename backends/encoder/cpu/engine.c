#include "cpu/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "cpu/attention.h"

/* Rows that go through the second half of a layer together: the wide activations between its two
 * products then stay in the cache. Twice the block of rows of gemm.c. */
#define CHUNK 288
#define ALIGN 64

struct norm {
    float *gamma, *beta;
};

struct layer {
    struct sc_matmul *qkv;    /* not in the last layer */
    struct sc_matmul *q, *kv; /* in the last layer only, where only first tokens ask */
    struct sc_matmul *out, *up, *down;
    struct norm attention_norm, norm;
};

struct sc_engine {
    const struct sc_matmul_ops *ops;
    const struct sc_kernels *kernels;
    uint32_t hidden, layers, heads, head, intermediate;
    uint32_t vocab, positions, types, labels;
    uint32_t max_tokens;
    float eps;
    float *words, *places, *segments;
    struct norm embedding_norm;
    struct layer *layer;
    struct sc_matmul *pooler;
    struct sc_matmul *classifier; /* always the builtin's: oneDNN would pad few labels to 64 */
    size_t scratch;
};

struct sc_engine_lane {
    const struct sc_engine *e;
    size_t tokens;  /* room for so many */
    size_t longest; /* room for a sequence of so many */
    float *x, *qkv, *context, *sum, *wide, *work;
    void *scratch;
};

/* ---- weights ------------------------------------------------------------------------------- */

/* What the readers below share. */
struct source {
    const struct sc_bert *b;
    struct sc_engine *e;
    struct sc_msg *msg;
};

static int no_memory(const struct source *s)
{
    return sc_fail(s->msg, SC_ENOMEM, "%s: no memory for the weights", s->b->weights_file);
}

/* Tensor `name` as floats in memory of its own. */
static int floats(const struct source *s, const char *name, size_t rows, size_t columns, float **out)
{
    const struct sc_tensor *t;
    int rc = sc_bert_tensor(s->b, name, rows, columns, &t, s->msg);
    if (rc < 0)
        return rc;
    *out = malloc(t->count * sizeof **out);
    if (!*out)
        return no_memory(s);
    sc_tensor_floats(t, *out);
    return 0;
}

static int norm(const struct source *s, const char *prefix, struct norm *n)
{
    char name[128];
    snprintf(name, sizeof name, "%s.weight", prefix);
    int rc = floats(s, name, s->e->hidden, 0, &n->gamma);
    if (rc < 0)
        return rc;
    snprintf(name, sizeof name, "%s.bias", prefix);
    return floats(s, name, s->e->hidden, 0, &n->beta);
}

/* Up to three linear layers with the same input (n rows of k each) packed as one. */
static int linear(const struct source *s, const struct sc_matmul_ops *ops, const char *prefix,
                  const char *const *parts, size_t n_parts, size_t n, size_t k, enum sc_activation act,
                  struct sc_matmul **out)
{
    const struct sc_tensor *w[3], *b[3];
    for (size_t i = 0; i < n_parts; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s.weight", prefix, parts[i]);
        int rc = sc_bert_tensor(s->b, name, n, k, &w[i], s->msg);
        if (rc < 0)
            return rc;
        snprintf(name, sizeof name, "%s%s.bias", prefix, parts[i]);
        rc = sc_bert_tensor(s->b, name, n, 0, &b[i], s->msg);
        if (rc < 0)
            return rc;
    }
    float *weight = malloc(n_parts * n * k * sizeof *weight), *bias = malloc(n_parts * n * sizeof *bias);
    for (size_t i = 0; weight && bias && i < n_parts; i++) {
        sc_tensor_floats(w[i], weight + i * n * k);
        sc_tensor_floats(b[i], bias + i * n);
    }
    if (weight && bias)
        *out = ops->pack(weight, bias, n_parts * n, k, act);
    free(weight);
    free(bias);
    if (!*out)
        return no_memory(s);
    s->e->scratch = SC_MAX(s->e->scratch, ops->scratch(*out));
    return 0;
}

static int load_layer(const struct source *s, uint32_t index)
{
    static const char *const all[] = {"query", "key", "value"}, *const dense[] = {"dense"};
    struct sc_engine *e = s->e;
    struct layer *l = &e->layer[index];
    char prefix[64], part[96];
    snprintf(prefix, sizeof prefix, "encoder.layer.%u", index);

    int rc;
    snprintf(part, sizeof part, "%s.attention.self.", prefix);
    if (index + 1 < e->layers) {
        rc = linear(s, e->ops, part, all, 3, e->hidden, e->hidden, SC_ACT_NONE, &l->qkv);
    } else {
        rc = linear(s, e->ops, part, all, 1, e->hidden, e->hidden, SC_ACT_NONE, &l->q);
        if (rc == 0)
            rc = linear(s, e->ops, part, all + 1, 2, e->hidden, e->hidden, SC_ACT_NONE, &l->kv);
    }
    snprintf(part, sizeof part, "%s.attention.output.", prefix);
    if (rc == 0)
        rc = linear(s, e->ops, part, dense, 1, e->hidden, e->hidden, SC_ACT_NONE, &l->out);
    snprintf(part, sizeof part, "%s.intermediate.", prefix);
    if (rc == 0)
        rc = linear(s, e->ops, part, dense, 1, e->intermediate, e->hidden, s->b->config.act, &l->up);
    snprintf(part, sizeof part, "%s.output.", prefix);
    if (rc == 0)
        rc = linear(s, e->ops, part, dense, 1, e->hidden, e->intermediate, SC_ACT_NONE, &l->down);
    snprintf(part, sizeof part, "%s.attention.output.LayerNorm", prefix);
    if (rc == 0)
        rc = norm(s, part, &l->attention_norm);
    snprintf(part, sizeof part, "%s.output.LayerNorm", prefix);
    return rc < 0 ? rc : norm(s, part, &l->norm);
}

static int load(const struct source *s)
{
    static const char *const dense[] = {"dense"}, *const classifier[] = {"classifier"};
    struct sc_engine *e = s->e;
    int rc = floats(s, "embeddings.word_embeddings.weight", e->vocab, e->hidden, &e->words);
    if (rc == 0)
        rc = floats(s, "embeddings.position_embeddings.weight", e->positions, e->hidden, &e->places);
    if (rc == 0)
        rc = floats(s, "embeddings.token_type_embeddings.weight", e->types, e->hidden, &e->segments);
    if (rc == 0)
        rc = norm(s, "embeddings.LayerNorm", &e->embedding_norm);
    for (uint32_t i = 0; rc == 0 && i < e->layers; i++)
        rc = load_layer(s, i);
    if (rc < 0 || !e->labels)
        return rc;
    rc = linear(s, e->ops, "pooler.", dense, 1, e->hidden, e->hidden, SC_ACT_TANH, &e->pooler);
    if (rc < 0)
        return rc;
    return linear(s, sc_matmul_builtin(), "", classifier, 1, e->labels, e->hidden, SC_ACT_NONE,
                  &e->classifier);
}

int sc_engine_new(struct sc_engine **out, const struct sc_bert *b, const struct sc_matmul_ops *ops,
                  uint32_t max_tokens, struct sc_msg *msg)
{
    const struct sc_bert_config *c = &b->config;
    struct sc_engine *e = calloc(1, sizeof *e);
    if (!e)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory for the weights", b->weights_file);
    *e = (struct sc_engine){
        .ops = ops,
        .kernels = sc_kernels_best(),
        .hidden = c->hidden,
        .layers = c->layers,
        .heads = c->heads,
        .head = c->hidden / c->heads,
        .intermediate = c->intermediate,
        .vocab = c->vocab,
        .positions = c->positions,
        .types = c->types,
        .labels = c->has_head ? c->labels : 0,
        .max_tokens = max_tokens,
        .eps = c->norm_eps,
        .layer = calloc(c->layers, sizeof *e->layer),
    };
    struct source s = {.b = b, .e = e, .msg = msg};
    int rc = e->layer ? load(&s) : no_memory(&s);
    if (rc < 0) {
        sc_engine_del(e);
        return rc;
    }
    *out = e;
    return 0;
}

static void norm_free(struct norm *n)
{
    free(n->gamma);
    free(n->beta);
}

static void matmul_free(const struct sc_matmul_ops *ops, struct sc_matmul *w)
{
    if (w)
        ops->del(w);
}

void sc_engine_del(struct sc_engine *e)
{
    if (!e)
        return;
    for (uint32_t i = 0; e->layer && i < e->layers; i++) {
        struct layer *l = &e->layer[i];
        struct sc_matmul *all[] = {l->qkv, l->q, l->kv, l->out, l->up, l->down};
        for (size_t k = 0; k < SC_COUNT(all); k++)
            matmul_free(e->ops, all[k]);
        norm_free(&l->attention_norm);
        norm_free(&l->norm);
    }
    matmul_free(e->ops, e->pooler);
    matmul_free(sc_matmul_builtin(), e->classifier);
    norm_free(&e->embedding_norm);
    free(e->words);
    free(e->places);
    free(e->segments);
    free(e->layer);
    free(e);
}

uint32_t sc_engine_labels(const struct sc_engine *e)
{
    return e->labels;
}

double sc_engine_flops(const struct sc_engine *e, uint32_t n)
{
    double h = e->hidden, t = n;
    return e->layers * (2 * t * h * (4 * h + 2 * (double)e->intermediate) + 4 * t * t * h);
}

/* ---- lanes --------------------------------------------------------------------------------- */

static void free_memory(struct sc_engine_lane *l)
{
    free(l->x);
    free(l->qkv);
    free(l->context);
    free(l->sum);
    free(l->wide);
    free(l->work);
    free(l->scratch);
    *l = (struct sc_engine_lane){.e = l->e};
}

/* Zeroed, since the rows that a matrix library reads beyond the batch should be numbers. */
static void *aligned(size_t bytes)
{
    bytes = (SC_MAX(bytes, 1u) + ALIGN - 1) / ALIGN * ALIGN;
    void *p = aligned_alloc(ALIGN, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

/* Room for `tokens`, in sequences of up to `longest`; both within the model's limits, so no product
 * overflows. */
static int grow(struct sc_engine_lane *l, size_t tokens, size_t longest)
{
    if (tokens <= l->tokens && longest <= l->longest)
        return 0;
    const struct sc_engine *e = l->e;
    tokens = SC_MIN(SC_MAX(tokens, 2 * l->tokens), (size_t)e->max_tokens);
    longest = SC_MIN(SC_MAX(longest, l->longest), (size_t)e->positions);
    free_memory(l);
    size_t rows = sc_matmul_rows(tokens) + sc_matmul_rows(CHUNK) - CHUNK, row = e->hidden * sizeof(float);
    size_t chunk = sc_matmul_rows(SC_MIN(tokens, (size_t)CHUNK));
    l->x = aligned(rows * row);
    l->qkv = aligned(rows * row * 3);
    l->context = aligned(rows * row);
    l->sum = aligned(chunk * row);
    l->wide = aligned(chunk * e->intermediate * sizeof(float));
    l->work = aligned(sc_attention_work(e->kernels, longest, e->head) * sizeof(float));
    l->scratch = aligned(e->scratch);
    if (!l->x || !l->qkv || !l->context || !l->sum || !l->wide || !l->work || !l->scratch) {
        free_memory(l);
        return SC_ENOMEM;
    }
    l->tokens = tokens;
    l->longest = longest;
    return 0;
}

struct sc_engine_lane *sc_engine_lane_new(const struct sc_engine *e)
{
    struct sc_engine_lane *l = calloc(1, sizeof *l);
    if (l)
        l->e = e;
    return l;
}

void sc_engine_lane_del(struct sc_engine_lane *l)
{
    if (!l)
        return;
    free_memory(l);
    free(l);
}

/* ---- forward ------------------------------------------------------------------------------- */

static int check(const struct sc_engine *e, const struct sc_batch *b, size_t *longest)
{
    *longest = 0;
    for (uint32_t i = 0; i < b->sequences; i++) {
        if (b->begin[i + 1] <= b->begin[i] || b->begin[i + 1] - b->begin[i] > e->positions)
            return SC_EINVAL;
        *longest = SC_MAX(*longest, (size_t)(b->begin[i + 1] - b->begin[i]));
    }
    uint32_t tokens = b->begin[b->sequences] - b->begin[0];
    if (tokens > e->max_tokens)
        return SC_ELIMIT;
    for (uint32_t t = b->begin[0]; t < b->begin[b->sequences]; t++)
        if (b->ids[t] >= e->vocab || b->types[t] >= e->types)
            return SC_EINVAL;
    return 0;
}

static void embed(const struct sc_engine *e, const struct sc_batch *b, float *x)
{
    size_t h = e->hidden;
    for (uint32_t i = 0; i < b->sequences; i++)
        for (uint32_t t = b->begin[i]; t < b->begin[i + 1]; t++, x += h)
            e->kernels->layer_norm(x, e->words + b->ids[t] * h, e->places + (t - b->begin[i]) * h,
                                   e->segments + b->types[t] * h, e->embedding_norm.gamma,
                                   e->embedding_norm.beta, h, e->eps);
}

static int multiply(struct sc_engine_lane *l, const struct sc_matmul *w, size_t m, const float *a, float *c)
{
    return l->e->ops->run(w, m, a, c, l->scratch) == 0 ? 0 : SC_ESYS;
}

/* From the attention's output in l->context to the layer's output in l->x, row by row independent. */
static int second_half(struct sc_engine_lane *l, const struct layer *w, size_t rows)
{
    const struct sc_engine *e = l->e;
    size_t h = e->hidden;
    for (size_t first = 0; first < rows; first += CHUNK) {
        size_t n = SC_MIN((size_t)CHUNK, rows - first);
        float *x = l->x + first * h;
        int rc = multiply(l, w->out, n, l->context + first * h, l->sum);
        for (size_t i = 0; rc == 0 && i < n; i++)
            e->kernels->layer_norm(x + i * h, x + i * h, l->sum + i * h, NULL, w->attention_norm.gamma,
                                   w->attention_norm.beta, h, e->eps);
        if (rc == 0)
            rc = multiply(l, w->up, n, x, l->wide);
        if (rc == 0)
            rc = multiply(l, w->down, n, l->wide, l->sum);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n; i++)
            e->kernels->layer_norm(x + i * h, x + i * h, l->sum + i * h, NULL, w->norm.gamma, w->norm.beta, h,
                                   e->eps);
    }
    return 0;
}

static int whole_layer(struct sc_engine_lane *l, const struct layer *w, const struct sc_batch *b,
                       size_t tokens)
{
    const struct sc_engine *e = l->e;
    size_t h = e->hidden, d = e->head;
    int rc = multiply(l, w->qkv, tokens, l->x, l->qkv);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < b->sequences; i++) {
        size_t at = b->begin[i] - b->begin[0], n = b->begin[i + 1] - b->begin[i];
        const float *rows = l->qkv + at * 3 * h;
        for (uint32_t head = 0; head < e->heads; head++)
            sc_attention(e->kernels, rows + head * d, 3 * h, rows + h + head * d, rows + 2 * h + head * d,
                         3 * h, n, d, l->context + at * h + head * d, h, l->work);
    }
    return second_half(l, w, tokens);
}

/* Only first tokens leave the last layer: all others are looked at, but not computed further. */
static int last_layer(struct sc_engine_lane *l, const struct layer *w, const struct sc_batch *b,
                      size_t tokens)
{
    const struct sc_engine *e = l->e;
    size_t h = e->hidden, d = e->head;
    float *kv = l->qkv, *q = l->qkv + sc_matmul_rows(tokens) * 2 * h;
    int rc = multiply(l, w->kv, tokens, l->x, kv);
    if (rc < 0)
        return rc;
    for (uint32_t i = 1; i < b->sequences; i++)
        memcpy(l->x + i * h, l->x + (b->begin[i] - b->begin[0]) * h, h * sizeof *l->x);
    rc = multiply(l, w->q, b->sequences, l->x, q);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < b->sequences; i++) {
        size_t at = b->begin[i] - b->begin[0], n = b->begin[i + 1] - b->begin[i];
        const float *rows = kv + at * 2 * h;
        for (uint32_t head = 0; head < e->heads; head++)
            sc_attention_one(e->kernels, q + i * h + head * d, rows + head * d, rows + h + head * d, 2 * h, n,
                             d, l->context + i * h + head * d, l->work);
    }
    return second_half(l, w, b->sequences);
}

int sc_engine_run(struct sc_engine_lane *l, const struct sc_batch *b, float *out)
{
    const struct sc_engine *e = l->e;
    size_t longest, tokens = b->sequences ? b->begin[b->sequences] - b->begin[0] : 0;
    if (b->sequences == 0)
        return 0;
    int rc = check(e, b, &longest);
    if (rc == 0)
        rc = grow(l, tokens, longest);
    if (rc < 0)
        return rc;
    embed(e, b, l->x);
    for (uint32_t i = 0; rc == 0 && i + 1 < e->layers; i++)
        rc = whole_layer(l, &e->layer[i], b, tokens);
    if (rc == 0)
        rc = last_layer(l, &e->layer[e->layers - 1], b, tokens);
    if (rc < 0)
        return rc;
    if (!e->labels) {
        memcpy(out, l->x, (size_t)b->sequences * e->hidden * sizeof *out);
        return 0;
    }
    rc = multiply(l, e->pooler, b->sequences, l->x, l->context);
    if (rc < 0)
        return rc;
    return sc_matmul_builtin()->run(e->classifier, b->sequences, l->context, out, NULL) == 0 ? 0 : SC_ESYS;
}
