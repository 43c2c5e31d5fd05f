#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "model/arch.h"
#include "model/json.h"

#define NAME_BYTES 256

/* What the finders below share. */
struct source {
    const struct sc_checkpoint *file;
    const struct sc_encoder_config *c;
    const char *prefix;    /* that the trunk's names have in this file, or "" */
    uint32_t group, layer; /* what stands for '#' */
    struct sc_msg *msg;
};

/* prefix, template with numbers for '#', tail; cut at the end of `to`, which then is no tensor's name. */
static void expand(char to[NAME_BYTES], const struct source *s, const char *prefix, const char *template,
                   const char *tail)
{
    size_t n = (size_t)snprintf(to, NAME_BYTES, "%s", prefix);
    /* ALBERT's names have two numbers, group and layer in it; others only the layer. */
    bool two = strchr(template, '#') != strrchr(template, '#'), first = true;
    for (const char *p = template; *p && n + 16 < NAME_BYTES; p++) {
        if (*p == '#') {
            n += (size_t)snprintf(to + n, NAME_BYTES - n, "%u", two && first ? s->group : s->layer);
            first = false;
        } else {
            to[n++] = *p;
        }
    }
    snprintf(to + n, NAME_BYTES - n, "%s", tail);
}

static const struct sc_tensor *find(const struct source *s, const char *name)
{
    const struct sc_tensor *t = sc_checkpoint_find(s->file, sc_span_str(name));
    if (t)
        return t;
    /* Models converted from TensorFlow before 2019 have these names; transformers reads them, too. */
    static const char *const old[][2] = {{".LayerNorm.weight", ".LayerNorm.gamma"},
                                         {".LayerNorm.bias", ".LayerNorm.beta"}};
    char full[NAME_BYTES];
    for (size_t i = 0; i < SC_COUNT(old); i++) {
        size_t tail = strlen(old[i][0]), length = strlen(name);
        if (length <= tail || strcmp(name + length - tail, old[i][0]) != 0)
            continue;
        snprintf(full, sizeof full, "%.*s%s", (int)(length - tail), name, old[i][1]);
        return sc_checkpoint_find(s->file, sc_span_str(full));
    }
    return NULL;
}

/* A tensor as it must be: [rows, columns], or [rows] if columns is 0. */
static int check(const struct source *s, const char *name, const struct sc_tensor *t, uint64_t rows,
                 uint64_t columns)
{
    const char *file = sc_checkpoint_name(s->file);
    if (!t)
        return sc_fail(s->msg, SC_ENOTFOUND,
                       "%s: tensor %s is missing, which config.json calls for; save the model again with "
                       "save_pretrained",
                       file, name);
    if (t->dtype == SC_DTYPE_OTHER)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: tensor %s is of dtype %.*s; save the model in F32, F16 or BF16", file, name,
                       SC_FMT(t->dtype_name));
    bool fits = columns ? t->dims == 2 && t->shape[0] == rows && t->shape[1] == columns
                        : t->dims == 1 && t->shape[0] == rows;
    if (fits)
        return 0;
    char want[64];
    snprintf(want, sizeof want, columns ? "[%llu, %llu]" : "[%llu]", (unsigned long long)rows,
             (unsigned long long)columns);
    return sc_fail(s->msg, SC_EINVAL,
                   "%s: tensor %s has %u dimensions (%llu, %llu), config.json calls for %s: the two files do "
                   "not belong together",
                   file, name, t->dims, (unsigned long long)(t->dims > 0 ? t->shape[0] : 0),
                   (unsigned long long)(t->dims > 1 ? t->shape[1] : 0), want);
}

/* A tensor of the trunk. */
static int tensor(const struct source *s, const char *template, const char *tail, uint64_t rows,
                  uint64_t columns, const struct sc_tensor **out)
{
    char name[NAME_BYTES];
    expand(name, s, s->prefix, template, tail);
    *out = find(s, name);
    return check(s, name + strlen(s->prefix), *out, rows, columns);
}

/* `rows` rows of k columns of a layer's part, as up to three products. */
static int product(const struct source *s, const char *part, struct sc_linear *const *to, uint32_t n_to,
                   uint32_t rows, uint32_t k, bool bias)
{
    const struct sc_tensor *w, *b = NULL;
    char template[NAME_BYTES];
    snprintf(template, sizeof template, "%s%s", s->c->arch->names->layer, part);
    int rc = tensor(s, template, ".weight", (uint64_t)rows * n_to, k, &w);
    if (rc == 0 && bias)
        rc = tensor(s, template, ".bias", (uint64_t)rows * n_to, 0, &b);
    for (uint32_t i = 0; rc == 0 && i < n_to; i++)
        *to[i] = (struct sc_linear){.w = w, .b = b, .row = i * rows, .out = rows, .in = k};
    return rc;
}

static int norm(const struct source *s, const char *template, uint32_t n, bool bias, struct sc_norm *out)
{
    int rc = tensor(s, template, ".weight", n, 0, &out->w);
    return rc == 0 && bias ? tensor(s, template, ".bias", n, 0, &out->b) : rc;
}

static int layer_norm(const struct source *s, const char *part, struct sc_norm *out)
{
    char template[NAME_BYTES];
    snprintf(template, sizeof template, "%s%s", s->c->arch->names->layer, part);
    return norm(s, template, s->c->hidden, s->c->norm_bias, out);
}

static int layer(const struct source *s, struct sc_layer_weights *l, bool first)
{
    const struct sc_encoder_config *c = s->c;
    const struct sc_arch_names *n = c->arch->names;
    struct sc_linear *qkv[] = {&l->q, &l->k, &l->v}, *up[] = {&l->up, &l->gate}, *one[1];
    const char *const names[] = {n->q, n->k, n->v};
    int rc = 0;
    if (n->qkv)
        rc = product(s, n->qkv, qkv, 3, c->hidden, c->hidden, c->attention_bias);
    for (size_t i = 0; rc == 0 && !n->qkv && i < 3; i++)
        rc = product(s, names[i], qkv + i, 1, c->hidden, c->hidden, c->attention_bias);
    one[0] = &l->attention_out;
    if (rc == 0)
        rc = product(s, n->attention_out, one, 1, c->hidden, c->hidden, c->attention_bias);
    if (rc == 0)
        rc = product(s, n->up, up, c->gated ? 2 : 1, c->intermediate, c->hidden, c->mlp_bias);
    one[0] = &l->down;
    if (rc == 0)
        rc = product(s, n->down, one, 1, c->hidden, c->intermediate, c->mlp_bias);
    /* Before the first layer's attention comes the embeddings' norm. */
    if (rc == 0 && !(c->pre_norm && first))
        rc = layer_norm(s, n->attention_norm, &l->attention_norm);
    return rc < 0 ? rc : layer_norm(s, n->norm, &l->norm);
}

/* ALBERT's group of layer i, as transformers counts it: in floating point. */
static uint32_t group_of(const struct sc_encoder_config *c, uint32_t i)
{
    uint32_t turn = i / c->per_group, turns = c->layers / c->per_group;
    return (uint32_t)((double)turn / ((double)turns / c->groups));
}

static int layers(struct source *s, struct sc_encoder_weights *w)
{
    const struct sc_encoder_config *c = s->c;
    for (uint32_t i = 0; i < c->layers; i++) {
        struct sc_layer_weights *l = &w->layer[i];
        s->layer = i;
        if (c->groups) {
            s->group = group_of(c, i);
            s->layer = i % c->per_group;
            uint32_t same = s->layer;
            while (group_of(c, same) != s->group)
                same += c->per_group;
            if (same != i) {
                *l = w->layer[same];
                continue;
            }
        }
        l->same_as = i;
        int rc = layer(s, l, i == 0);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int trunk(struct source *s, struct sc_encoder_weights *w)
{
    const struct sc_encoder_config *c = s->c;
    const struct sc_arch_names *n = c->arch->names;
    int rc = tensor(s, n->words, ".weight", c->vocab, c->embedding, &w->words);
    if (rc == 0 && n->positions)
        rc = tensor(s, n->positions, ".weight", (uint64_t)c->positions + c->position_offset, c->embedding,
                    &w->positions);
    if (rc == 0 && c->types)
        rc = tensor(s, n->types, ".weight", c->types, c->embedding, &w->types);
    if (rc == 0)
        rc = norm(s, n->embedding_norm, c->embedding, c->norm_bias, &w->embedding_norm);
    if (rc == 0 && c->projected) {
        rc = tensor(s, n->projection, ".weight", c->hidden, c->embedding, &w->projection.w);
        if (rc == 0)
            rc = tensor(s, n->projection, ".bias", c->hidden, 0, &w->projection.b);
        w->projection.out = c->hidden;
        w->projection.in = c->embedding;
    }
    if (rc == 0)
        rc = layers(s, w);
    return rc == 0 && n->final_norm ? norm(s, n->final_norm, c->hidden, c->norm_bias, &w->final_norm) : rc;
}

/* ---- heads ------------------------------------------------------------------------------------- */

/* A head's tensor: by its whole name, or with the trunk's prefix as the pooler has it. */
static int head_tensor(const struct source *s, const char *name, const char *tail, uint64_t rows,
                       uint64_t columns, const struct sc_tensor **out)
{
    char full[NAME_BYTES];
    expand(full, s, s->prefix, name, tail);
    *out = find(s, full);
    if (!*out) {
        expand(full, s, "", name, tail);
        *out = find(s, full);
    }
    return check(s, full, *out, rows, columns);
}

static int decoder(const struct source *s, const struct sc_arch_head *h, struct sc_encoder_weights *w)
{
    const struct sc_encoder_config *c = s->c;
    w->out = (struct sc_linear){.w = w->words, .out = c->vocab, .in = c->embedding};
    int rc = 0;
    if (!c->tied)
        rc = head_tensor(s, h->out, ".weight", c->vocab, c->embedding, &w->out.w);
    if (rc < 0 || !c->decoder_bias)
        return rc;
    /* Tied, the bias is one tensor under two names, of which a file may have either; else the decoder's own.
     */
    if (h->out_bias && c->tied && head_tensor(s, h->out_bias, "", c->vocab, 0, &w->out.b) == 0)
        return 0;
    rc = head_tensor(s, h->out, ".bias", c->vocab, 0, &w->out.b);
    return rc < 0 && h->out_bias ? head_tensor(s, h->out_bias, "", c->vocab, 0, &w->out.b) : rc;
}

static int head(const struct source *s, struct sc_encoder_weights *w)
{
    const struct sc_encoder_config *c = s->c;
    const struct sc_arch_head *h = c->arch->heads[c->task];
    bool mask = c->task == SC_TASK_FILL_MASK;
    uint32_t wide = mask ? c->embedding : c->hidden;
    int rc = 0;
    if (h->dense) {
        w->head_dense = (struct sc_linear){.out = wide, .in = c->hidden};
        rc = head_tensor(s, h->dense, ".weight", wide, c->hidden, &w->head_dense.w);
        if (rc == 0 && c->head_bias)
            rc = head_tensor(s, h->dense, ".bias", wide, 0, &w->head_dense.b);
    }
    if (rc == 0 && h->norm)
        rc = head_tensor(s, h->norm, ".weight", wide, 0, &w->head_norm.w);
    if (rc == 0 && h->norm && c->norm_bias)
        rc = head_tensor(s, h->norm, ".bias", wide, 0, &w->head_norm.b);
    if (rc < 0 || mask)
        return rc < 0 ? rc : decoder(s, h, w);
    w->out = (struct sc_linear){.out = c->labels, .in = c->hidden};
    rc = head_tensor(s, h->out, ".weight", c->labels, c->hidden, &w->out.w);
    return rc < 0 ? rc : head_tensor(s, h->out, ".bias", c->labels, 0, &w->out.b);
}

/* sentence-transformers' Dense modules have folders, and files, of their own. */
static int dense_modules(struct sc_encoder_weights *w, const struct sc_encoder_config *c, struct sc_msg *msg)
{
    for (uint32_t i = 0; i < c->dense_n; i++) {
        const struct sc_dense_config *d = &c->dense[i];
        int rc = sc_checkpoint_open(&w->dense_file[i], d->dir, msg);
        if (rc < 0)
            return rc;
        struct source s = {.file = w->dense_file[i], .c = c, .prefix = "", .msg = msg};
        w->dense[i] = (struct sc_linear){.out = d->out, .in = d->in};
        rc = tensor(&s, "linear", ".weight", d->out, d->in, &w->dense[i].w);
        if (rc == 0 && d->bias)
            rc = tensor(&s, "linear", ".bias", d->out, 0, &w->dense[i].b);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int sc_encoder_weights_open(struct sc_encoder_weights *w, const struct sc_encoder_config *c, const char *dir,
                            struct sc_msg *msg)
{
    *w = (struct sc_encoder_weights){.layers = c->layers, .layer = calloc(c->layers, sizeof *w->layer)};
    int rc =
        w->layer ? sc_checkpoint_open(&w->file, dir, msg) : sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    if (rc == 0) {
        struct source s = {.file = w->file, .c = c, .prefix = c->arch->prefix, .msg = msg};
        char name[NAME_BYTES];
        expand(name, &s, s.prefix, c->arch->names->words, ".weight");
        if (!find(&s, name))
            s.prefix = "";
        rc = trunk(&s, w);
        if (rc == 0 && c->task != SC_TASK_EMBED)
            rc = head(&s, w);
    }
    if (rc == 0)
        rc = dense_modules(w, c, msg);
    if (rc < 0)
        sc_encoder_weights_close(w);
    return rc;
}

void sc_encoder_weights_close(struct sc_encoder_weights *w)
{
    sc_checkpoint_close(w->file);
    for (size_t i = 0; i < SC_COUNT(w->dense_file); i++)
        sc_checkpoint_close(w->dense_file[i]);
    free(w->layer);
    *w = (struct sc_encoder_weights){0};
}

void sc_linear_floats(const struct sc_linear *l, float *w, float *b)
{
    sc_tensor_floats_at(l->w, (uint64_t)l->row * l->in, (uint64_t)l->out * l->in, w);
    if (!b)
        return;
    if (l->b)
        sc_tensor_floats_at(l->b, l->row, l->out, b);
    else
        memset(b, 0, l->out * sizeof *b);
}

static uint64_t size_of(const struct sc_tensor *t)
{
    return t ? t->end - t->begin : 0;
}

static uint64_t linear_size(const struct sc_linear *l)
{
    return l->w ? size_of(l->w) / l->w->shape[0] * l->out + (l->b ? size_of(l->b) / l->b->count * l->out : 0)
                : 0;
}

uint64_t sc_encoder_weights_bytes(const struct sc_encoder_weights *w)
{
    const struct sc_linear *all[] = {&w->projection, &w->head_dense, w->out.w == w->words ? NULL : &w->out};
    uint64_t n = size_of(w->words) + size_of(w->positions) + size_of(w->types) +
                 size_of(w->embedding_norm.w) + size_of(w->embedding_norm.b) + size_of(w->final_norm.w) +
                 size_of(w->final_norm.b) + size_of(w->head_norm.w) + size_of(w->head_norm.b);
    for (size_t i = 0; i < SC_COUNT(all); i++)
        n += all[i] ? linear_size(all[i]) : 0;
    for (size_t i = 0; i < SC_COUNT(w->dense); i++)
        n += linear_size(&w->dense[i]);
    for (uint32_t i = 0; i < w->layers; i++) {
        const struct sc_layer_weights *l = &w->layer[i];
        const struct sc_linear *parts[] = {&l->q,  &l->k,    &l->v,   &l->attention_out,
                                           &l->up, &l->gate, &l->down};
        if (l->same_as != i)
            continue;
        for (size_t k = 0; k < SC_COUNT(parts); k++)
            n += linear_size(parts[k]);
        n += size_of(l->attention_norm.w) + size_of(l->attention_norm.b) + size_of(l->norm.w) +
             size_of(l->norm.b);
    }
    return n;
}
