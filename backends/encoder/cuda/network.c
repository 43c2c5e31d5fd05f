/* The encoder as a sequence of launches. */
#include <stddef.h>

#include "cuda/lane.h"

/* Where the rows of the computation are at one moment. */
struct forward {
    struct sc_gpu_lane *l;
    const struct sc_gpu_engine *e;
    const struct sc_gpu_weights *w;
    struct sc_gpu_shape shape;
    struct sc_gpu_stage stage;
    enum sc_cu_type type;
    bool skinny;                       /* few rows: norms are part of the products that follow */
    CUdeviceptr counted;               /* the number of rows, on the device */
    uint32_t rows;                     /* and at most */
    CUdeviceptr x;                     /* normalised rows: input of products */
    CUdeviceptr r;                     /* sums not yet normalised; pre_norm: the residual stream */
    CUdeviceptr s;                     /* what a product gives before it is added */
    CUdeviceptr context;               /* of attention */
    CUdeviceptr wide;                  /* queries, keys and values; inside of the MLP */
    const struct sc_gpu_norm *pending; /* skinny: x is r behind this norm and not there yet */
};

static void *at(CUdeviceptr p)
{
    return (void *)(uintptr_t)p;
}

static const uint32_t *count_of(const struct forward *f, size_t offset)
{
    return at(f->l->stage + f->stage.counts * sizeof(uint32_t) + offset);
}

static enum sc_cu_act act_of(enum sc_activation act)
{
    switch (act) {
    case SC_ACT_NONE: return SC_CU_NONE;
    case SC_ACT_GELU: return SC_CU_GELU_ERF;
    case SC_ACT_GELU_TANH: return SC_CU_GELU_TANH;
    case SC_ACT_RELU: return SC_CU_RELU;
    case SC_ACT_SILU: return SC_CU_SILU;
    case SC_ACT_TANH: return SC_CU_TANH;
    }
    return SC_CU_NONE;
}

static CUdeviceptr row(const struct forward *f, CUdeviceptr p, size_t rows, size_t columns)
{
    return p + rows * columns * sc_gpu_type_size(f->type);
}

#define LAUNCH(f, name, args, rows) \
    sc_gpu_launch(&(f)->e->gpu, (f)->l->stream, sc_cu_launch_##name((f)->type, args, rows), args)

/* ---- pieces ------------------------------------------------------------------------------------ */

static int norm_of(struct forward *f, CUdeviceptr x, const struct sc_gpu_norm *n, CUdeviceptr out,
                   uint32_t columns)
{
    struct sc_cu_norm a = {.x = at(x),
                           .gamma = at(n->gamma),
                           .beta = at(n->beta),
                           .out = at(out),
                           .rows = at(f->counted),
                           .hidden = columns,
                           .eps = f->e->config.norm_eps};
    return LAUNCH(f, norm, &a, f->rows);
}

static int normalise(struct forward *f, CUdeviceptr x, const struct sc_gpu_norm *n, CUdeviceptr out)
{
    return norm_of(f, x, n, out, f->e->config.hidden);
}

static int activate(struct forward *f, CUdeviceptr x, CUdeviceptr bias, uint32_t columns,
                    enum sc_activation act)
{
    if (!bias && act == SC_ACT_NONE)
        return 0;
    struct sc_cu_activate a = {.x = at(x),
                               .bias = at(bias),
                               .out = at(x),
                               .rows = at(f->counted),
                               .cols = columns,
                               .act = act_of(act)};
    return LAUNCH(f, activate, &a, f->rows);
}

/* y = act(n(x) w^T + b) + residual by the kernel for few rows; n may be NULL, residual and normed 0. */
static int few_rows(struct forward *f, const struct sc_gpu_linear *w, CUdeviceptr x,
                    const struct sc_gpu_norm *n, CUdeviceptr normed, enum sc_activation act,
                    CUdeviceptr residual, CUdeviceptr y)
{
    struct sc_cu_skinny a = {.x = at(x),
                             .w = at(w->w),
                             .bias = at(w->b),
                             .residual = at(residual),
                             .gamma = n ? at(n->gamma) : NULL,
                             .beta = n ? at(n->beta) : NULL,
                             .normed = n ? at(normed) : NULL,
                             .out = at(y),
                             .rows = at(f->counted),
                             .n = w->n,
                             .k = w->k,
                             .act = act_of(act),
                             .eps = f->e->config.norm_eps};
    return LAUNCH(f, skinny, &a, f->rows);
}

/* y = act(x w^T + b) */
static int product(struct forward *f, const struct sc_gpu_linear *w, CUdeviceptr x, enum sc_activation act,
                   CUdeviceptr y)
{
    if (f->rows <= SC_CU_SKINNY_ROWS && w->skinny)
        return few_rows(f, w, x, NULL, 0, act, 0, y);
    int rc = sc_product_run(&f->l->product, &w->product, f->rows, x, 0, y);
    if (rc < 0 || (w->adds_bias && w->applies_act))
        return rc;
    return activate(f, y, w->adds_bias ? 0 : w->b, w->n, act);
}

static int attention_of(struct forward *f, uint32_t window, bool large)
{
    const struct sc_encoder_config *c = &f->e->config;
    uint32_t tiles = large ? f->shape.large : f->shape.small;
    if (tiles == 0)
        return 0;
    struct sc_cu_attention a = {
        .qkv = at(f->wide),
        .out = at(f->context),
        .tiles = at(f->l->stage + (large ? f->stage.large : f->stage.small) * sizeof(uint32_t)),
        .count =
            count_of(f, large ? offsetof(struct sc_cu_counts, large) : offsetof(struct sc_cu_counts, small)),
        .heads = c->heads,
        .head_dim = c->head_dim,
        .window = window,
        .scale = 1.0f / __builtin_sqrtf((float)c->head_dim),
        .multiprocessors = f->e->gpu.multiprocessors,
    };
    return sc_gpu_launch(&f->e->gpu, f->l->stream, sc_cu_launch_attention(f->type, &a, large, tiles), &a);
}

static int attention(struct forward *f, uint32_t layer)
{
    const struct sc_encoder_config *c = &f->e->config;
    bool local = sc_encoder_layer_local(c, layer);
    if (c->rotary) {
        struct sc_cu_rotary a = {.tokens = at(f->l->stage + f->stage.tokens * sizeof(uint32_t)),
                                 .qkv = at(f->wide),
                                 .table = at(local ? f->w->rotary_local : f->w->rotary_global),
                                 .rows = at(f->counted),
                                 .heads = c->heads,
                                 .head_dim = c->head_dim};
        int rc = LAUNCH(f, rotary, &a, f->rows);
        if (rc < 0)
            return rc;
    }
    uint32_t window = local ? c->window : 0;
    int rc = attention_of(f, window, false);
    return rc < 0 ? rc : attention_of(f, window, true);
}

static int gather(struct forward *f, CUdeviceptr x, CUdeviceptr index, CUdeviceptr out, bool floats)
{
    struct sc_cu_gather a = {.x = at(x),
                             .index = at(index),
                             .out = at(out),
                             .rows = at(f->counted),
                             .cols = f->e->config.hidden,
                             .out_f32 = floats};
    return LAUNCH(f, gather, &a, f->rows);
}

/* From here on the rows are those of the index. */
static void count_picks(struct forward *f)
{
    f->counted = (CUdeviceptr)(uintptr_t)count_of(f, offsetof(struct sc_cu_counts, picks));
    f->rows = f->shape.picks;
}

/* Behind the last layer's attention: only the index's rows of context and residual go on. */
static int narrow(struct forward *f)
{
    const struct sc_encoder_config *c = &f->e->config;
    CUdeviceptr index = f->l->stage + f->stage.index * sizeof(uint32_t);
    CUdeviceptr kept =
        row(f, f->wide, f->shape.tokens, 2 * (size_t)c->hidden); /* sc_gpu_few sees to the room */
    count_picks(f);
    int rc = gather(f, f->context, index, f->s, false);
    if (rc == 0)
        rc = gather(f, c->pre_norm ? f->r : f->x, index, kept, false);
    CUdeviceptr free_now = f->context;
    f->context = f->s;
    f->s = free_now;
    *(c->pre_norm ? &f->r : &f->x) = kept;
    return rc;
}

bool sc_gpu_few(const struct sc_gpu_engine *e, const struct sc_gpu_shape *s)
{
    const struct sc_encoder_config *c = &e->config;
    uint64_t inside = (uint64_t)c->intermediate * (c->gated ? 2 : 1);
    bool some = c->task == SC_TASK_FILL_MASK || ((c->task == SC_TASK_SEQUENCE || c->task == SC_TASK_EMBED) &&
                                                 (c->pooling == SC_POOL_CLS || c->pooling == SC_POOL_LAST));
    return some && s->tokens > 2 * SC_CU_SKINNY_ROWS && 2 * (uint64_t)s->picks <= s->tokens &&
           s->picks * inside <= (uint64_t)s->tokens * 2 * c->hidden;
}

/* ---- layers ------------------------------------------------------------------------------------ */

/* Inside of the MLP, from x (skinny: r behind norm n) to *y. */
static int inside(struct forward *f, const struct sc_gpu_layer *w, const struct sc_gpu_norm *n,
                  CUdeviceptr *y)
{
    const struct sc_encoder_config *c = &f->e->config;
    int rc;
    if (f->skinny)
        rc =
            few_rows(f, &w->up, f->r, n, c->pre_norm ? 0 : f->x, c->gated ? SC_ACT_NONE : c->act, 0, f->wide);
    else if (c->gated)
        rc = sc_product_run(&f->l->product, &w->up.product, f->rows, f->x, 0, f->wide);
    else
        rc = product(f, &w->up, f->x, c->act, f->wide);
    *y = f->wide;
    if (rc < 0 || !c->gated)
        return rc;
    *y = f->l->gated;
    struct sc_cu_glu a = {.x = at(f->wide),
                          .bias = f->skinny ? NULL : at(w->up.b),
                          .out = at(*y),
                          .rows = at(f->counted),
                          .cols = c->intermediate,
                          .act = act_of(c->act)};
    return LAUNCH(f, glu, &a, f->rows);
}

/* sum = x w^T + b + residual, and the normalised sum to f->x. sum may be residual. */
static int join(struct forward *f, const struct sc_gpu_linear *w, CUdeviceptr x, CUdeviceptr residual,
                CUdeviceptr sum, const struct sc_gpu_norm *n)
{
    int rc = sc_product_run(&f->l->product, &w->product, f->rows, x, residual, sum);
    return rc < 0 ? rc : normalise(f, sum, n, f->x);
}

/* BERT: norms behind attention and MLP. */
static int post_norm_layer(struct forward *f, const struct sc_gpu_layer *w, uint32_t index, bool last)
{
    CUdeviceptr h = 0;
    int rc = f->skinny && f->pending ? few_rows(f, &w->qkv, f->r, f->pending, f->x, SC_ACT_NONE, 0, f->wide)
                                     : product(f, &w->qkv, f->x, SC_ACT_NONE, f->wide);
    if (rc == 0)
        rc = attention(f, index);
    if (rc == 0 && last && sc_gpu_few(f->e, &f->shape))
        rc = narrow(f);
    if (rc < 0)
        return rc;
    if (f->skinny) {
        rc = few_rows(f, &w->out, f->context, NULL, 0, SC_ACT_NONE, f->x, f->r);
        if (rc == 0)
            rc = inside(f, w, &w->attention_norm, &h);
        f->pending = &w->norm;
        return rc < 0 ? rc : few_rows(f, &w->down, h, NULL, 0, SC_ACT_NONE, f->x, f->r);
    }
    rc = join(f, &w->out, f->context, f->x, f->s, &w->attention_norm);
    if (rc == 0)
        rc = inside(f, w, NULL, &h);
    return rc < 0 ? rc : join(f, &w->down, h, f->x, f->s, &w->norm);
}

/* ModernBERT: norms before them; `next` is the one that follows the layer. */
static int pre_norm_layer(struct forward *f, const struct sc_gpu_layer *w, uint32_t index,
                          const struct sc_gpu_norm *next, bool last)
{
    CUdeviceptr h = 0;
    bool identity = !w->attention_norm.gamma;
    int rc;
    if (f->skinny)
        rc = few_rows(f, &w->qkv, f->r, identity ? NULL : &w->attention_norm, 0, SC_ACT_NONE, 0, f->wide);
    else
        rc = product(f, &w->qkv, identity ? f->r : f->x, SC_ACT_NONE, f->wide);
    if (rc == 0)
        rc = attention(f, index);
    if (rc == 0 && last && sc_gpu_few(f->e, &f->shape))
        rc = narrow(f);
    if (rc < 0)
        return rc;
    if (f->skinny) {
        rc = few_rows(f, &w->out, f->context, NULL, 0, SC_ACT_NONE, f->r, f->r);
        if (rc == 0)
            rc = inside(f, w, &w->norm, &h);
        return rc < 0 ? rc : few_rows(f, &w->down, h, NULL, 0, SC_ACT_NONE, f->r, f->r);
    }
    rc = join(f, &w->out, f->context, f->r, f->r, &w->norm);
    if (rc == 0)
        rc = inside(f, w, NULL, &h);
    return rc < 0 ? rc : join(f, &w->down, h, f->r, f->r, next);
}

static int embed(struct forward *f)
{
    const struct sc_encoder_config *c = &f->e->config;
    CUdeviceptr rows = c->pre_norm ? f->r : f->x, first = f->w->projection.n ? f->s : rows;
    struct sc_cu_embed a = {.tokens = at(f->l->stage + f->stage.tokens * sizeof(uint32_t)),
                            .word = at(f->w->words),
                            .position = at(f->w->positions),
                            .type = at(f->w->types),
                            .gamma = at(f->w->embedding_norm.gamma),
                            .beta = at(f->w->embedding_norm.beta),
                            .out = at(first),
                            .rows = at(f->counted),
                            .hidden = c->embedding,
                            .eps = c->norm_eps};
    int rc = LAUNCH(f, embed, &a, f->rows);
    if (rc < 0 || !f->w->projection.n)
        return rc;
    return product(f, &f->w->projection, first, SC_ACT_NONE, rows);
}

static bool skinny_layers(const struct forward *f)
{
    const struct sc_gpu_layer *w = &f->w->layer[0];
    return f->rows <= SC_CU_SKINNY_ROWS && w->qkv.skinny_norm && w->out.skinny && w->up.skinny_norm &&
           w->down.skinny;
}

static int trunk(struct forward *f)
{
    const struct sc_encoder_config *c = &f->e->config;
    f->skinny = skinny_layers(f);
    int rc = embed(f);
    for (uint32_t i = 0; rc == 0 && i < c->layers; i++) {
        const struct sc_gpu_layer *w = &f->w->layer[f->w->same_as[i]];
        bool last = i + 1 == c->layers;
        if (c->pre_norm)
            rc = pre_norm_layer(
                f, w, i, last ? &f->w->final_norm : &f->w->layer[f->w->same_as[i + 1]].attention_norm, last);
        else
            rc = post_norm_layer(f, w, i, last);
    }
    if (rc < 0 || !f->skinny)
        return rc;
    return normalise(f, f->r, c->pre_norm ? &f->w->final_norm : f->pending, f->x);
}

/* ---- heads ------------------------------------------------------------------------------------- */

static int pool(struct forward *f, uint32_t first, CUdeviceptr out, bool floats)
{
    static const enum sc_cu_pooling of[] = {[SC_POOL_CLS] = SC_CU_POOL_CLS,
                                            [SC_POOL_MEAN] = SC_CU_POOL_MEAN,
                                            [SC_POOL_MAX] = SC_CU_POOL_MAX,
                                            [SC_POOL_LAST] = SC_CU_POOL_LAST};
    struct sc_cu_pool a = {.x = at(f->x),
                           .begin = at(f->l->stage + (f->stage.begin + first) * sizeof(uint32_t)),
                           .first = at(f->l->stage + (f->stage.index + first) * sizeof(uint32_t)),
                           .out = at(out),
                           .rows = at(f->counted),
                           .hidden = f->e->config.hidden,
                           .pooling = of[f->e->config.pooling],
                           .out_f32 = floats};
    return LAUNCH(f, pool, &a, f->rows);
}

/* The rows that the head is about, from `first` on, to out. */
static int select_rows(struct forward *f, uint32_t first, CUdeviceptr out, bool floats)
{
    const struct sc_encoder_config *c = &f->e->config;
    if (sc_gpu_few(f->e, &f->shape))
        return gather(f, f->x, f->l->iota + first * sizeof(uint32_t), out, floats);
    if (c->task != SC_TASK_FILL_MASK && (c->pooling == SC_POOL_MEAN || c->pooling == SC_POOL_MAX))
        return pool(f, first, out, floats);
    return gather(f, f->x, f->l->stage + (f->stage.index + first) * sizeof(uint32_t), out, floats);
}

static bool by_token(const struct sc_encoder_config *c)
{
    return c->task == SC_TASK_TOKEN || c->task == SC_TASK_QA;
}

/* Rows in which nothing is needed any more but x, behind the layers. */
static CUdeviceptr unused(const struct forward *f)
{
    return f->x == f->l->s ? f->l->r : f->l->s;
}

/* x = act(x w^T + b) */
static int replace(struct forward *f, const struct sc_gpu_linear *w, enum sc_activation act)
{
    CUdeviceptr to = unused(f);
    int rc = product(f, w, f->x, act, to);
    f->x = to;
    return rc;
}

/* What the last product takes lies in x afterwards. */
static int before_last(struct forward *f)
{
    const struct sc_encoder_config *c = &f->e->config;
    const struct sc_gpu_weights *w = f->w;
    int rc = 0;
    if (c->task == SC_TASK_EMBED && c->dense_n == 0)
        return 0; /* selected when it leaves */
    if (!by_token(c)) {
        count_picks(f);
        if (!sc_gpu_few(f->e, &f->shape)) {
            CUdeviceptr to = unused(f);
            rc = select_rows(f, 0, to, false);
            f->x = to;
        }
    }
    if (rc == 0 && w->head_dense.n)
        rc = replace(f, &w->head_dense, c->head_act);
    if (rc == 0 && w->head_norm.gamma)
        rc = norm_of(f, f->x, &w->head_norm, f->x, w->out.k);
    for (uint32_t i = 0; rc == 0 && i + 1 < c->dense_n; i++)
        rc = replace(f, &w->dense[i], c->dense[i].act);
    return rc;
}

/* `n` rows of results from `first` on; f->counted counts them. */
static int emit(struct forward *f, uint32_t first, uint32_t n)
{
    const struct sc_encoder_config *c = &f->e->config;
    struct sc_gpu_lane *l = f->l;
    if (c->task == SC_TASK_EMBED && c->dense_n == 0) {
        f->rows = n;
        return select_rows(f, first, l->out, true);
    }
    bool embed_dense = c->task == SC_TASK_EMBED;
    const struct sc_gpu_linear *w = embed_dense ? &f->w->dense[c->dense_n - 1] : &f->w->out;
    CUdeviceptr x = row(f, f->x, first, w->k);
    if (!w->has_product) {
        struct sc_cu_linear a = {.x = at(x),
                                 .w = at(w->w),
                                 .bias = at(w->b),
                                 .out = at(l->out),
                                 .rows = at(f->counted),
                                 .ins = w->k,
                                 .outs = w->n,
                                 .act = SC_CU_NONE,
                                 .out_f32 = true};
        return LAUNCH(f, linear, &a, n);
    }
    int rc = sc_product_run(&l->product, &w->product, n, x, 0, l->out);
    if (rc < 0 || !embed_dense)
        return rc;
    struct forward floats = *f;
    floats.type = SC_CU_F32;
    floats.rows = n;
    return activate(&floats, l->out, 0, w->n, c->dense[c->dense_n - 1].act);
}

static struct forward start(struct sc_gpu_lane *l, const struct sc_gpu_shape *s)
{
    struct forward f = {.l = l,
                        .e = l->e,
                        .w = &l->e->weights,
                        .shape = *s,
                        .stage = sc_gpu_stage_of(s),
                        .type = l->e->type,
                        .rows = s->tokens,
                        .x = l->x,
                        .r = l->r,
                        .s = l->s,
                        .context = l->context,
                        .wide = l->wide};
    f.counted = (CUdeviceptr)(uintptr_t)count_of(&f, offsetof(struct sc_cu_counts, tokens));
    return f;
}

int sc_gpu_forward(struct sc_gpu_lane *l, const struct sc_gpu_shape *s)
{
    struct forward f = start(l, s);
    int rc = trunk(&f);
    if (rc == 0)
        rc = before_last(&f);
    l->last = f.x;
    if (rc < 0 || s->rows == 0)
        return rc;
    if (!by_token(&l->e->config))
        count_picks(&f);
    return emit(&f, 0, s->rows);
}

int sc_gpu_piece(struct sc_gpu_lane *l, const struct sc_gpu_shape *s, uint32_t first, uint32_t n)
{
    struct forward f = start(l, s);
    f.x = l->last;
    f.counted = (CUdeviceptr)(uintptr_t)count_of(&f, SC_GPU_PIECE_WORD * sizeof(uint32_t));
    return emit(&f, first, n);
}
