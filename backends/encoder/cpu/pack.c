#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "cpu/attention.h"
#include "cpu/choose.h"
#include "cpu/internal.h"

/* What the packers below share. */
struct source {
    const struct sc_encoder_config *c;
    const struct sc_encoder_weights *w;
    struct sc_cpu_engine *e;
    struct sc_msg *msg;
};

static int no_memory(const struct source *s)
{
    return sc_fail(s->msg, SC_ENOMEM, "%s: no memory for the weights", sc_checkpoint_name(s->w->file));
}

/* A tensor as floats in memory of its own; NULL stays NULL. */
static int floats(const struct source *s, const struct sc_tensor *t, float **out)
{
    if (!t)
        return 0;
    *out = malloc(t->count * sizeof **out);
    if (!*out)
        return no_memory(s);
    sc_tensor_floats(t, *out);
    return 0;
}

static int norm(const struct source *s, const struct sc_norm *n, struct sc_cpu_norm *out)
{
    int rc = floats(s, n->w, &out->gamma);
    return rc < 0 ? rc : floats(s, n->b, &out->beta);
}

/* Up to three products with the same input, packed as one. */
static int product(const struct source *s, const struct sc_matmul_ops *ops,
                   const struct sc_linear *const *parts, size_t n_parts, enum sc_activation act, bool bf16,
                   struct sc_matmul **out)
{
    size_t n = parts[0]->out, k = parts[0]->in;
    float *weight = malloc(n_parts * n * k * sizeof *weight), *bias = malloc(n_parts * n * sizeof *bias);
    for (size_t i = 0; weight && bias && i < n_parts; i++)
        sc_linear_floats(parts[i], weight + i * n * k, bias + i * n);
    if (weight && bias)
        *out = ops->pack(weight, bias, n_parts * n, k, act, bf16);
    free(weight);
    free(bias);
    if (!*out)
        return no_memory(s);
    s->e->scratch = SC_MAX(s->e->scratch, ops->scratch(*out));
    return 0;
}

/* One product of the trunk; one that is not there stays NULL. */
static int one(const struct source *s, const struct sc_linear *l, enum sc_activation act,
               struct sc_matmul **out)
{
    return l->w ? product(s, s->e->ops, &l, 1, act, s->e->bf16, out) : 0;
}

static int layer(const struct source *s, uint32_t i)
{
    struct sc_cpu_engine *e = s->e;
    const struct sc_layer_weights *w = &s->w->layer[i];
    struct sc_cpu_layer *l = &e->layer[i];
    const struct sc_linear *qkv[] = {&w->q, &w->k, &w->v};
    bool last = e->few && i + 1 == e->layers;
    if (w->same_as != i) {
        *l = e->layer[w->same_as];
        l->shared = true;
    }
    l->window = sc_encoder_layer_local(s->c, i) ? s->c->window : SC_ATTENTION_GLOBAL;
    l->rotary = s->c->rotary ? &e->rotary[sc_encoder_layer_local(s->c, i)] : NULL;
    int rc = 0;
    if (last) {
        rc = product(s, e->ops, qkv, 1, SC_ACT_NONE, e->bf16, &l->q);
        if (rc == 0)
            rc = product(s, e->ops, qkv + 1, 2, SC_ACT_NONE, e->bf16, &l->kv);
    } else if (!l->shared) {
        rc = product(s, e->ops, qkv, 3, SC_ACT_NONE, e->bf16, &l->qkv);
    }
    if (rc < 0 || l->shared)
        return rc;
    rc = one(s, &w->attention_out, SC_ACT_NONE, &l->out);
    if (rc == 0)
        rc = one(s, &w->up, s->c->act, &l->up);
    if (rc == 0)
        rc = one(s, &w->gate, SC_ACT_NONE, &l->gate);
    if (rc == 0)
        rc = one(s, &w->down, SC_ACT_NONE, &l->down);
    if (rc == 0)
        rc = norm(s, &w->attention_norm, &l->attention_norm);
    return rc < 0 ? rc : norm(s, &w->norm, &l->norm);
}

/* Angles in single precision, as PyTorch computes them. */
static int rotary(const struct source *s, float theta, struct sc_cpu_rotary *r)
{
    size_t half = s->c->head_dim / 2, n = (size_t)s->c->positions * half;
    r->theta = theta;
    r->cos = malloc(n * sizeof(float));
    r->sin = malloc(n * sizeof(float));
    if (!r->cos || !r->sin)
        return no_memory(s);
    for (size_t i = 0; i < half; i++) {
        float power = (float)(2 * i) / (float)s->c->head_dim;
        float frequency = 1.0f / (float)pow((double)theta, (double)power);
        for (size_t t = 0; t < s->c->positions; t++) {
            float angle = (float)t * frequency;
            r->cos[t * half + i] = cosf(angle);
            r->sin[t * half + i] = sinf(angle);
        }
    }
    return 0;
}

static int trunk(const struct source *s)
{
    struct sc_cpu_engine *e = s->e;
    int rc = floats(s, s->w->words, &e->words);
    if (rc == 0)
        rc = floats(s, s->w->positions, &e->places);
    if (rc == 0)
        rc = floats(s, s->w->types, &e->segments);
    if (rc == 0)
        rc = norm(s, &s->w->embedding_norm, &e->embedding_norm);
    if (rc == 0)
        rc = one(s, &s->w->projection, SC_ACT_NONE, &e->projection);
    if (rc == 0 && s->c->rotary)
        rc = rotary(s, s->c->theta_global, &e->rotary[0]);
    if (rc == 0 && s->c->rotary)
        rc = rotary(s, s->c->theta_local, &e->rotary[1]);
    for (uint32_t i = 0; rc == 0 && i < e->layers; i++)
        rc = layer(s, i);
    return rc < 0 ? rc : norm(s, &s->w->final_norm, &e->final_norm);
}

static int decoder(const struct source *s)
{
    struct sc_cpu_engine *e = s->e;
    e->decoder = e->words;
    int rc = floats(s, s->w->out.b, &e->decoder_bias);
    if (rc < 0 || s->w->out.w == s->w->words)
        return rc;
    rc = floats(s, s->w->out.w, &e->own_decoder);
    e->decoder = e->own_decoder;
    return rc;
}

/* Heads are fp32 whatever the layers are: they are small, and what they give is the answer. */
static int head(const struct source *s)
{
    struct sc_cpu_engine *e = s->e;
    const struct sc_linear *dense = &s->w->head_dense, *out = &s->w->out;
    int rc = 0;
    e->head_size = dense->w ? dense->out : e->hidden;
    e->dense_size[0] = e->hidden;
    if (dense->w)
        rc = product(s, e->ops, &dense, 1, s->c->head_act, false, &e->head_dense);
    if (rc == 0)
        rc = norm(s, &s->w->head_norm, &e->head_norm);
    if (rc == 0 && e->base.task == SC_TASK_FILL_MASK)
        rc = decoder(s);
    else if (rc == 0 && out->w)
        rc = product(s, sc_matmul_builtin(), &out, 1, SC_ACT_NONE, false, &e->out);
    for (; rc == 0 && e->dense_n < s->c->dense_n; e->dense_n++) {
        const struct sc_linear *l = &s->w->dense[e->dense_n];
        rc = product(s, e->ops, &l, 1, s->c->dense[e->dense_n].act, false, &e->dense[e->dense_n]);
        e->dense_size[e->dense_n + 1] = l->out;
        e->row = SC_MAX(e->row, l->out);
    }
    return rc;
}

/* Whether all tokens of a sequence are needed behind the last layer. */
static bool few_wanted(const struct sc_encoder_config *c)
{
    bool one_token = c->pooling == SC_POOL_CLS || c->pooling == SC_POOL_LAST;
    return c->task == SC_TASK_FILL_MASK ||
           ((c->task == SC_TASK_SEQUENCE || c->task == SC_TASK_EMBED) && one_token);
}

static int dtype(struct sc_cpu_engine *e, const char *name, struct sc_msg *msg)
{
    if (!name || strcmp(name, "auto") == 0 || strcmp(name, "fp32") == 0)
        return 0;
    if (strcmp(name, "bf16") != 0)
        return sc_fail(msg, SC_EINVAL, "dtype is \"%.60s\"; on the CPU it must be fp32 or bf16", name);
    if (!e->ops->bf16)
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "dtype: bf16 needs a processor with AVX512_BF16 or AMX_BF16 and oneDNN (matmul: onednn); "
            "matrix products are \"%s\" here: leave it out, or set fp32",
            e->ops->name);
    e->bf16 = true;
    return 0;
}

int sc_cpu_engine_new(struct sc_engine **out, const struct sc_encoder_config *c,
                      const struct sc_encoder_weights *w, const struct sc_engine_options *o,
                      struct sc_msg *warning, struct sc_msg *msg)
{
    const struct sc_matmul_ops *ops;
    int rc = sc_matmul_choose(&ops, o->matmul, o->plugin_dir, warning, msg);
    if (rc < 0)
        return rc;
    struct sc_cpu_engine *e = calloc(1, sizeof *e);
    struct source s = {.c = c, .w = w, .e = e, .msg = msg};
    if (!e)
        return no_memory(&s);
    *e = (struct sc_cpu_engine){
        .ops = ops,
        .kernels = sc_kernels_best(),
        .hidden = c->hidden,
        .layers = c->layers,
        .heads = c->heads,
        .head = c->head_dim,
        .intermediate = c->intermediate,
        .embedding = c->embedding,
        .eps = c->norm_eps,
        .pre_norm = c->pre_norm,
        .few = few_wanted(c),
        .pooling = c->pooling,
        .position_offset = c->position_offset,
        .position_by_pad = c->position_by_pad,
        .pad_id = c->pad_id,
        .row = SC_MAX(c->hidden, c->embedding),
        .layer = calloc(c->layers, sizeof *e->layer),
    };
    sc_engine_base(&e->base, &sc_engine_cpu_ops, c, o);
    rc = e->layer ? dtype(e, o->dtype, msg) : no_memory(&s);
    if (rc == 0)
        rc = trunk(&s);
    if (rc == 0)
        rc = head(&s);
    if (rc < 0) {
        sc_cpu_engine_del(&e->base);
        return rc;
    }
    *out = &e->base;
    return 0;
}

static void norm_free(struct sc_cpu_norm *n)
{
    free(n->gamma);
    free(n->beta);
}

static void matmul_free(const struct sc_matmul_ops *ops, struct sc_matmul *w)
{
    if (w)
        ops->del(w);
}

void sc_cpu_engine_del(struct sc_engine *base)
{
    struct sc_cpu_engine *e = SC_CONTAINER(base, struct sc_cpu_engine, base);
    for (uint32_t i = 0; e->layer && i < e->layers; i++) {
        struct sc_cpu_layer *l = &e->layer[i];
        struct sc_matmul *all[] = {l->qkv, l->out, l->up, l->gate, l->down};
        matmul_free(e->ops, l->q);
        matmul_free(e->ops, l->kv);
        if (l->shared)
            continue;
        for (size_t k = 0; k < SC_COUNT(all); k++)
            matmul_free(e->ops, all[k]);
        norm_free(&l->attention_norm);
        norm_free(&l->norm);
    }
    matmul_free(e->ops, e->projection);
    matmul_free(e->ops, e->head_dense);
    matmul_free(sc_matmul_builtin(), e->out);
    for (size_t i = 0; i < SC_COUNT(e->dense); i++)
        matmul_free(e->ops, e->dense[i]);
    for (size_t i = 0; i < SC_COUNT(e->rotary); i++) {
        free(e->rotary[i].cos);
        free(e->rotary[i].sin);
    }
    norm_free(&e->embedding_norm);
    norm_free(&e->final_norm);
    norm_free(&e->head_norm);
    free(e->words);
    free(e->places);
    free(e->segments);
    free(e->own_decoder);
    free(e->decoder_bias);
    free(e->layer);
    free(e);
}
