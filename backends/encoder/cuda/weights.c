#include "cuda/weights.h"

#include <math.h>
#include <stdlib.h>

#include "base/mix.h"
#include "cuda/upload.h"

#define ALIGN 256u
#define FEW_OUTPUTS 64u /* labels: a kernel of ours is faster than a product */

/* Walks over all tensors in one order: to count, to fill, or to find what is there. */
struct packer {
    const struct sc_encoder_config *c;
    const struct sc_encoder_weights *w;
    enum sc_cu_type type;
    struct sc_gpu_weights *out;
    struct sc_products *products; /* NULL: only count */
    struct sc_upload *upload;     /* NULL: do not fill */
    uint32_t rows, result_rows;
    size_t at;
    uint64_t identity; /* of all that was placed */
    struct sc_msg *msg;
};

static CUdeviceptr place(struct packer *p, size_t bytes)
{
    CUdeviceptr at = p->out->block.at + p->at;
    p->at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static int elements(struct packer *p, CUdeviceptr to, const struct sc_tensor *t, uint64_t first,
                    uint64_t count, enum sc_cu_type type)
{
    const uint64_t what[] = {to - p->out->block.at, t->begin, t->dtype, first, count, type};
    p->identity = sc_mix_bytes(p->identity, what, sizeof what);
    p->identity = sc_mix_bytes(p->identity, t->name.p, t->name.n);
    return p->upload ? sc_upload_tensor(p->upload, to, t, first, count, type, p->msg) : 0;
}

static int table(struct packer *p, const struct sc_tensor *t, enum sc_cu_type type, CUdeviceptr *out)
{
    *out = 0;
    if (!t)
        return 0;
    *out = place(p, t->count * sc_gpu_type_size(type));
    return elements(p, *out, t, 0, t->count, type);
}

static int norm(struct packer *p, const struct sc_norm *n, struct sc_gpu_norm *out)
{
    int rc = table(p, n->w, SC_CU_F32, &out->gamma);
    return rc < 0 ? rc : table(p, n->b, SC_CU_F32, &out->beta);
}

/* Products with the same input, one below the other. */
static int stack(struct packer *p, const struct sc_linear *const *parts, size_t n, enum sc_cu_type bias_type,
                 struct sc_gpu_linear *out)
{
    size_t size = sc_gpu_type_size(p->type), bias_size = sc_gpu_type_size(bias_type);
    *out = (struct sc_gpu_linear){.k = parts[0]->in};
    if (!parts[0]->w)
        return 0;
    for (size_t i = 0; i < n; i++)
        out->n += parts[i]->out;
    bool tied = n == 1 && parts[0]->w == p->w->words && parts[0]->row == 0;
    out->w = tied ? p->out->words : place(p, (size_t)out->n * out->k * size);
    out->b = parts[0]->b ? place(p, out->n * bias_size) : 0;
    uint64_t row = 0;
    for (size_t i = 0; i < n; i++) {
        const struct sc_linear *l = parts[i];
        int rc = tied ? 0
                      : elements(p, out->w + row * out->k * size, l->w, (uint64_t)l->row * l->in,
                                 (uint64_t)l->out * l->in, p->type);
        if (rc == 0 && out->b)
            rc = elements(p, out->b + row * bias_size, l->b, l->row, l->out, bias_type);
        if (rc < 0)
            return rc;
        row += l->out;
    }
    return 0;
}

static int cuda_type(enum sc_cu_type t)
{
    return t == SC_CU_F16 ? CUDA_R_16F : t == SC_CU_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* The activations that come with a product for nothing. GELU there is the one by tanh: from the one by erf it
 * differs by less than 5e-4, which is what 16-bit results are rounded by, but not those of fp32. */
static int epilogue(const struct packer *p, enum sc_activation act)
{
    if (act == SC_ACT_RELU)
        return CUBLASLT_EPILOGUE_RELU;
    if ((act == SC_ACT_GELU || act == SC_ACT_GELU_TANH) && p->type != SC_CU_F32)
        return CUBLASLT_EPILOGUE_GELU;
    return CUBLASLT_EPILOGUE_DEFAULT;
}

/* Describes the product: with its bias if `bias`, then with act if the library has it. `result`: it gives the
 * engine's results, in fp32. */
static int describe(struct packer *p, struct sc_gpu_linear *l, bool bias, enum sc_activation act, bool result)
{
    enum sc_cu_type type = result ? SC_CU_F32 : p->type;
    if (!p->products || !l->n)
        return 0;
    struct sc_product_kind kind = {.n = l->n,
                                   .k = l->k,
                                   .in = cuda_type(p->type),
                                   .out = cuda_type(type),
                                   .epilogue = bias ? epilogue(p, act) : CUBLASLT_EPILOGUE_DEFAULT,
                                   .adds = l->adds};
    l->adds_bias = bias;
    l->applies_act = kind.epilogue != CUBLASLT_EPILOGUE_DEFAULT || act == SC_ACT_NONE;
    l->has_product = true;
    static const float some = 0;
    struct sc_cu_skinny probe = {.n = l->n, .k = l->k};
    l->skinny = !result && sc_cu_skinny_fits(p->type, &probe);
    probe.gamma = &some;
    l->skinny_norm = !result && sc_cu_skinny_fits(p->type, &probe);
    return sc_product_init(p->products, &l->product, kind, l->w, bias ? l->b : 0,
                           result ? p->result_rows : p->rows, p->msg);
}

static int one(struct packer *p, const struct sc_linear *l, bool bias, enum sc_activation act,
               struct sc_gpu_linear *out)
{
    int rc = stack(p, &l, 1, p->type, out);
    return rc < 0 ? rc : describe(p, out, bias, act, false);
}

/* A product to which the residual is added. */
static int onto_residual(struct packer *p, const struct sc_linear *l, struct sc_gpu_linear *out)
{
    int rc = stack(p, &l, 1, p->type, out);
    out->adds = true;
    return rc < 0 ? rc : describe(p, out, true, SC_ACT_NONE, false);
}

static int pack_layer(struct packer *p, const struct sc_layer_weights *w, struct sc_gpu_layer *l)
{
    const struct sc_linear *const qkv[] = {&w->q, &w->k, &w->v}, *const up[] = {&w->up, &w->gate};
    bool gated = p->c->gated;
    int rc = stack(p, qkv, 3, p->type, &l->qkv);
    if (rc == 0)
        rc = describe(p, &l->qkv, true, SC_ACT_NONE, false);
    if (rc == 0)
        rc = onto_residual(p, &w->attention_out, &l->out);
    if (rc == 0)
        rc = norm(p, &w->attention_norm, &l->attention_norm);
    if (rc == 0)
        rc = stack(p, up, gated ? 2 : 1, p->type, &l->up);
    if (rc == 0)
        rc = describe(p, &l->up, !gated, gated ? SC_ACT_NONE : p->c->act, false);
    if (rc == 0)
        rc = onto_residual(p, &w->down, &l->down);
    return rc < 0 ? rc : norm(p, &w->norm, &l->norm);
}

/* cos and sin of place / theta^(2 i / head_dim), in fp32 as Transformers computes them. */
static int rotary(struct packer *p, float theta, CUdeviceptr *out)
{
    uint32_t half = p->c->head_dim / 2, places = p->c->positions;
    size_t bytes = (size_t)places * half * 2 * sizeof(float);
    *out = place(p, bytes);
    p->identity = sc_mix_bytes(p->identity, &theta, sizeof theta);
    if (!p->upload)
        return 0;
    float *t = malloc(bytes);
    if (!t)
        return sc_fail(p->msg, SC_ENOMEM, "No memory for the rotary positions");
    for (uint32_t i = 0; i < half; i++) {
        float step = 1.0f / powf(theta, (float)(2 * i) / (float)p->c->head_dim);
        for (uint32_t place_at = 0; place_at < places; place_at++) {
            float *pair = t + ((size_t)place_at * half + i) * 2;
            pair[0] = cosf((float)place_at * step);
            pair[1] = sinf((float)place_at * step);
        }
    }
    int rc = sc_upload_bytes(p->upload, *out, t, bytes, p->msg);
    free(t);
    return rc;
}

static int pack_head(struct packer *p)
{
    const struct sc_encoder_config *c = p->c;
    const struct sc_encoder_weights *w = p->w;
    struct sc_gpu_weights *o = p->out;
    int rc = one(p, &w->head_dense, false, c->head_act, &o->head_dense);
    if (rc == 0)
        rc = norm(p, &w->head_norm, &o->head_norm);
    if (rc == 0 && w->out.w) {
        const struct sc_linear *out = &w->out;
        bool few = out->out <= FEW_OUTPUTS;
        rc = stack(p, &out, 1, few ? p->type : SC_CU_F32, &o->out);
        if (rc == 0 && !few)
            rc = describe(p, &o->out, true, SC_ACT_NONE, true);
    }
    for (uint32_t i = 0; rc == 0 && i < c->dense_n; i++) {
        const struct sc_linear *l = &w->dense[i];
        bool last = i + 1 == c->dense_n;
        rc = stack(p, &l, 1, last ? SC_CU_F32 : p->type, &o->dense[i]);
        if (rc == 0)
            rc = describe(p, &o->dense[i], true, SC_ACT_NONE, last);
    }
    return rc;
}

static int pack(struct packer *p)
{
    const struct sc_encoder_config *c = p->c;
    const struct sc_encoder_weights *w = p->w;
    struct sc_gpu_weights *o = p->out;
    struct sc_gpu_layer counted;
    int rc = table(p, w->words, p->type, &o->words);
    if (rc == 0)
        rc = table(p, w->positions, p->type, &o->positions);
    if (rc == 0)
        rc = table(p, w->types, p->type, &o->types);
    if (rc == 0)
        rc = norm(p, &w->embedding_norm, &o->embedding_norm);
    if (rc == 0)
        rc = one(p, &w->projection, true, SC_ACT_NONE, &o->projection);
    for (uint32_t i = 0; rc == 0 && i < c->layers; i++)
        if (w->layer[i].same_as == i)
            rc = pack_layer(p, &w->layer[i], o->layer ? &o->layer[i] : &counted);
    if (rc == 0)
        rc = norm(p, &w->final_norm, &o->final_norm);
    if (rc == 0 && c->rotary)
        rc = rotary(p, c->theta_global, &o->rotary_global);
    if (rc == 0 && c->rotary)
        rc = rotary(p, c->theta_local, &o->rotary_local);
    return rc < 0 ? rc : pack_head(p);
}

static uint64_t files_of(const struct sc_encoder_config *c, const struct sc_encoder_weights *w)
{
    uint64_t one = sc_checkpoint_identity(w->file), h = sc_mix_bytes(SC_MIX_START, &one, sizeof one);
    for (uint32_t i = 0; i < c->dense_n; i++) {
        one = w->dense_file[i] ? sc_checkpoint_identity(w->dense_file[i]) : 0;
        h = sc_mix_bytes(h, &one, sizeof one);
    }
    return h;
}

int sc_gpu_weights_size(const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
                        enum sc_cu_type t, size_t *bytes, uint64_t *identity, struct sc_msg *msg)
{
    struct sc_gpu_weights none = {.type = t};
    struct packer p = {.c = c, .w = w, .type = t, .out = &none, .identity = files_of(c, w), .msg = msg};
    int rc = pack(&p);
    *bytes = p.at;
    *identity = p.identity;
    return rc;
}

static int prepare(struct sc_gpu_weights *o, const struct sc_encoder_weights *w,
                   const struct sc_encoder_config *c, enum sc_cu_type t, struct sc_msg *msg)
{
    *o = (struct sc_gpu_weights){.type = t,
                                 .layers = c->layers,
                                 .layer = calloc(c->layers, sizeof *o->layer),
                                 .same_as = calloc(c->layers, sizeof *o->same_as)};
    if (!o->layer || !o->same_as)
        return sc_fail(msg, SC_ENOMEM, "No memory for the weights");
    for (uint32_t i = 0; i < c->layers; i++)
        o->same_as[i] = w->layer[i].same_as;
    return 0;
}

int sc_gpu_weights_load(struct sc_gpu_weights *out, const struct sc_gpu *gpu, struct sc_products *g,
                        const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
                        enum sc_cu_type t, uint32_t rows, uint32_t result_rows, struct sc_msg *msg)
{
    size_t bytes;
    uint64_t identity;
    struct sc_upload upload = {.gpu = gpu};
    struct packer p = {.c = c,
                       .w = w,
                       .type = t,
                       .out = out,
                       .products = g,
                       .upload = &upload,
                       .rows = rows,
                       .result_rows = result_rows,
                       .msg = msg};
    int rc = prepare(out, w, c, t, msg);
    if (rc == 0)
        rc = sc_gpu_weights_size(c, w, t, &bytes, &identity, msg);
    if (rc == 0)
        rc = sc_gpu_block_new(gpu, bytes, &out->block, msg);
    if (rc == 0)
        rc = sc_upload_open(&upload, gpu, msg);
    if (rc == 0)
        rc = pack(&p);
    if (rc == 0)
        rc = sc_upload_finish(&upload, msg);
    sc_upload_close(&upload);
    return rc < 0 ? rc : sc_gpu_block_protect(gpu, &out->block, msg);
}

int sc_gpu_weights_adopt(struct sc_gpu_weights *out, struct sc_gpu_block *filled, struct sc_products *g,
                         const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
                         enum sc_cu_type t, uint32_t rows, uint32_t result_rows, struct sc_msg *msg)
{
    struct packer p = {.c = c,
                       .w = w,
                       .type = t,
                       .out = out,
                       .products = g,
                       .rows = rows,
                       .result_rows = result_rows,
                       .msg = msg};
    int rc = prepare(out, w, c, t, msg);
    out->block = *filled;
    *filled = (struct sc_gpu_block){0};
    return rc < 0 ? rc : pack(&p);
}

void sc_gpu_weights_free(struct sc_gpu_weights *w, const struct sc_gpu *gpu, struct sc_products *g)
{
    for (uint32_t i = 0; w->layer && i < w->layers; i++) {
        struct sc_gpu_linear *all[] = {&w->layer[i].qkv, &w->layer[i].out, &w->layer[i].up,
                                       &w->layer[i].down};
        for (size_t k = 0; k < SC_COUNT(all); k++)
            sc_product_free(g, &all[k]->product);
    }
    sc_product_free(g, &w->projection.product);
    sc_product_free(g, &w->head_dense.product);
    sc_product_free(g, &w->out.product);
    for (size_t i = 0; i < SC_COUNT(w->dense); i++)
        sc_product_free(g, &w->dense[i].product);
    sc_gpu_block_free(gpu, &w->block);
    free(w->layer);
    free(w->same_as);
    *w = (struct sc_gpu_weights){0};
}
