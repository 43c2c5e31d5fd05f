#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "cpu/attention.h"
#include "cpu/internal.h"

#define ALIGN 64

/* ---- lanes --------------------------------------------------------------------------------- */

static void free_memory(struct sc_cpu_lane *l)
{
    free(l->x);
    free(l->h);
    free(l->qkv);
    free(l->context);
    free(l->sum);
    free(l->wide);
    free(l->gate);
    free(l->work);
    free(l->wanted);
    free(l->scratch);
    *l = (struct sc_cpu_lane){.base = l->base, .e = l->e};
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
static int grow(struct sc_cpu_lane *l, size_t tokens, size_t longest)
{
    if (tokens <= l->tokens && longest <= l->longest)
        return 0;
    const struct sc_cpu_engine *e = l->e;
    tokens = SC_MIN(SC_MAX(tokens, 2 * l->tokens), (size_t)e->base.max_tokens);
    longest = SC_MIN(SC_MAX(longest, l->longest), (size_t)e->base.positions);
    free_memory(l);
    size_t rows = sc_matmul_rows(tokens) + sc_matmul_rows(SC_CPU_CHUNK) - SC_CPU_CHUNK;
    size_t chunk = sc_matmul_rows(SC_MIN(tokens, (size_t)SC_CPU_CHUNK));
    size_t row = e->hidden * sizeof(float), wide = SC_MAX(e->intermediate, e->row) * sizeof(float);
    bool gated = e->layer[0].gate != NULL;
    l->x = aligned(rows * row);
    l->h = aligned(e->pre_norm ? rows * row : 0);
    l->qkv = aligned(rows * SC_MAX(row * 3, e->embedding * sizeof(float)));
    l->context = aligned(rows * row);
    l->sum = aligned(chunk * e->row * sizeof(float));
    l->wide = aligned(chunk * wide);
    l->gate = aligned(gated ? chunk * e->intermediate * sizeof(float) : 0);
    l->work = aligned(sc_attention_work(e->kernels, longest, e->head) * sizeof(float));
    l->wanted = aligned(e->few ? tokens * sizeof *l->wanted : 0);
    l->scratch = aligned(e->scratch);
    if (!l->x || !l->h || !l->qkv || !l->context || !l->sum || !l->wide || !l->gate || !l->work ||
        !l->wanted || !l->scratch) {
        free_memory(l);
        return SC_ENOMEM;
    }
    l->tokens = tokens;
    l->longest = longest;
    return 0;
}

static int lane_new(struct sc_engine_lane **out, const struct sc_engine *e, struct sc_msg *msg)
{
    struct sc_cpu_lane *l = calloc(1, sizeof *l);
    if (!l)
        return sc_fail(msg, SC_ENOMEM, "No memory for a lane");
    l->base.engine = e;
    l->e = (const struct sc_cpu_engine *)e;
    *out = &l->base;
    return 0;
}

static void lane_del(struct sc_engine_lane *base)
{
    struct sc_cpu_lane *l = SC_CONTAINER(base, struct sc_cpu_lane, base);
    free_memory(l);
    free(l);
}

/* ---- embeddings ------------------------------------------------------------------------------ */

static int embed(struct sc_cpu_lane *l, const struct sc_batch *b, size_t tokens)
{
    const struct sc_cpu_engine *e = l->e;
    size_t n = e->embedding;
    float *to = e->projection ? l->qkv : l->x;
    for (uint32_t i = 0; i < b->sequences; i++) {
        size_t place = e->position_offset;
        for (uint32_t t = b->begin[i]; t < b->begin[i + 1]; t++, to += n) {
            const float *position = NULL, *segment = NULL;
            if (e->places && e->position_by_pad && b->ids[t] == e->pad_id)
                position = e->places + e->pad_id * n;
            else if (e->places)
                position = e->places + place++ * n;
            if (e->segments)
                segment = e->segments + (b->types ? b->types[t] : 0) * n;
            e->kernels->layer_norm(to, e->words + b->ids[t] * n, position, segment, e->embedding_norm.gamma,
                                   e->embedding_norm.beta, n, e->eps);
        }
    }
    return e->projection ? sc_cpu_multiply(l, e->projection, tokens, l->qkv, l->x) : 0;
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* to = norm(x + y); y may be NULL. */
static void normalise(const struct sc_cpu_engine *e, const struct sc_cpu_norm *norm, float *to,
                      const float *x, const float *y, size_t rows)
{
    size_t h = e->hidden;
    for (size_t i = 0; i < rows * h; i += h)
        e->kernels->layer_norm(to + i, x + i, y ? y + i : NULL, NULL, norm->gamma, norm->beta, h, e->eps);
}

/* l->wide = act(up a) or act(up a) * gate a; l->sum = down l->wide */
static int mlp(struct sc_cpu_lane *l, const struct sc_cpu_layer *w, size_t n, const float *a)
{
    int rc = sc_cpu_multiply(l, w->up, n, a, l->wide);
    if (rc == 0 && w->gate) {
        rc = sc_cpu_multiply(l, w->gate, n, a, l->gate);
        l->e->kernels->multiply(l->wide, l->gate, n * l->e->intermediate);
    }
    return rc < 0 ? rc : sc_cpu_multiply(l, w->down, n, l->wide, l->sum);
}

/* From the attention's output in l->context to the layer's output in l->x, row by row independent. */
static int second_half(struct sc_cpu_lane *l, const struct sc_cpu_layer *w, size_t rows)
{
    const struct sc_cpu_engine *e = l->e;
    size_t h = e->hidden;
    for (size_t first = 0; first < rows; first += SC_CPU_CHUNK) {
        size_t n = SC_MIN((size_t)SC_CPU_CHUNK, rows - first);
        float *x = l->x + first * h;
        int rc = sc_cpu_multiply(l, w->out, n, l->context + first * h, l->sum);
        if (rc < 0)
            return rc;
        if (e->pre_norm) {
            float *a = l->h + first * h;
            e->kernels->axpy(x, 1, l->sum, n * h);
            normalise(e, &w->norm, a, x, NULL, n);
            rc = mlp(l, w, n, a);
            e->kernels->axpy(x, 1, l->sum, n * h);
        } else {
            normalise(e, &w->attention_norm, x, x, l->sum, n);
            rc = mlp(l, w, n, x);
            normalise(e, &w->norm, x, x, l->sum, n);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What a layer's attention looks at: the states, or their norm. */
static float *attended(struct sc_cpu_lane *l, const struct sc_cpu_layer *w, size_t tokens)
{
    if (!l->e->pre_norm || !w->attention_norm.gamma)
        return l->x;
    normalise(l->e, &w->attention_norm, l->h, l->x, NULL, tokens);
    return l->h;
}

/* Turns `parts` times the heads of one row by its place in the sequence. */
static void turn(const struct sc_cpu_engine *e, const struct sc_cpu_rotary *r, float *row, size_t parts,
                 size_t place)
{
    size_t d = e->head, half = d / 2;
    for (size_t i = 0; r && i < parts * e->heads; i++)
        e->kernels->rotate(row + i * d, r->cos + place * half, r->sin + place * half, half);
}

static int whole_layer(struct sc_cpu_lane *l, const struct sc_cpu_layer *w, const struct sc_batch *b,
                       size_t tokens)
{
    const struct sc_cpu_engine *e = l->e;
    size_t h = e->hidden, d = e->head;
    int rc = sc_cpu_multiply(l, w->qkv, tokens, attended(l, w, tokens), l->qkv);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < b->sequences; i++) {
        size_t at = b->begin[i] - b->begin[0], n = b->begin[i + 1] - b->begin[i];
        float *rows = l->qkv + at * 3 * h;
        for (size_t t = 0; w->rotary && t < n; t++)
            turn(e, w->rotary, rows + t * 3 * h, 2, t);
        for (uint32_t head = 0; head < e->heads; head++)
            sc_attention(e->kernels, rows + head * d, 3 * h, rows + h + head * d, rows + 2 * h + head * d,
                         3 * h, n, b->keys ? b->keys[i] : n, d, w->window, l->context + at * h + head * d, h,
                         l->work);
    }
    return second_half(l, w, tokens);
}

/* The tokens that leave the last layer, ascending, as places behind the batch's first; their number. */
static size_t want(struct sc_cpu_lane *l, const struct sc_batch *b)
{
    const struct sc_cpu_engine *e = l->e;
    uint32_t first = b->begin[0];
    if (e->base.task == SC_TASK_FILL_MASK) {
        for (uint32_t i = 0; i < b->picks_n; i++)
            l->wanted[i] = b->picks[i] - first;
        return b->picks_n;
    }
    for (uint32_t i = 0; i < b->sequences; i++)
        l->wanted[i] =
            (e->pooling == SC_POOL_LAST ? b->begin[i + 1] - 1 : b->begin[i] + (b->skip ? b->skip[i] : 0)) -
            first;
    return b->sequences;
}

/* The wanted rows of x to its beginning. */
static void gather(const struct sc_cpu_lane *l, float *x, size_t rows)
{
    size_t h = l->e->hidden;
    for (size_t i = 0; i < rows; i++)
        if (l->wanted[i] != i)
            memcpy(x + i * h, x + l->wanted[i] * h, h * sizeof *x);
}

/* Only the wanted tokens leave the last layer: all others are looked at, but not computed further. */
static int last_layer(struct sc_cpu_lane *l, const struct sc_cpu_layer *w, const struct sc_batch *b,
                      size_t tokens, size_t rows)
{
    const struct sc_cpu_engine *e = l->e;
    size_t h = e->hidden, d = e->head;
    float *kv = l->qkv, *q = l->qkv + sc_matmul_rows(tokens) * 2 * h, *a = attended(l, w, tokens);
    int rc = sc_cpu_multiply(l, w->kv, tokens, a, kv);
    if (rc < 0)
        return rc;
    gather(l, l->x, rows);
    if (a != l->x)
        gather(l, a, rows);
    rc = sc_cpu_multiply(l, w->q, rows, a, q);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0, at_row = 0; i < b->sequences; i++) {
        size_t at = b->begin[i] - b->begin[0], n = b->begin[i + 1] - b->begin[i];
        float *keys = kv + at * 2 * h;
        bool any = at_row < rows && l->wanted[at_row] < at + n;
        for (size_t t = 0; any && w->rotary && t < n; t++)
            turn(e, w->rotary, keys + t * 2 * h, 1, t);
        for (; at_row < rows && l->wanted[at_row] < at + n; at_row++) {
            size_t place = l->wanted[at_row] - at;
            size_t low = place > w->window ? place - w->window : 0;
            size_t high = w->window < n - 1 - place ? place + w->window + 1 : n;
            float *own = q + at_row * h;
            turn(e, w->rotary, own, 1, place);
            for (uint32_t head = 0; head < e->heads; head++)
                sc_attention_one(e->kernels, own + head * d, keys + low * 2 * h + head * d,
                                 keys + low * 2 * h + h + head * d, 2 * h, high - low, d,
                                 l->context + at_row * h + head * d, l->work);
        }
    }
    return second_half(l, w, rows);
}

static int run(struct sc_engine_lane *base, const struct sc_batch *b, float *out)
{
    struct sc_cpu_lane *l = SC_CONTAINER(base, struct sc_cpu_lane, base);
    const struct sc_cpu_engine *e = l->e;
    size_t longest = 0, tokens = b->begin[b->sequences] - b->begin[0], rows = tokens;
    for (uint32_t i = 0; i < b->sequences; i++)
        longest = SC_MAX(longest, (size_t)(b->begin[i + 1] - b->begin[i]));
    int rc = grow(l, tokens, longest);
    if (rc < 0)
        return rc;
    rc = embed(l, b, tokens);
    for (uint32_t i = 0; rc == 0 && i + e->few < e->layers; i++)
        rc = whole_layer(l, &e->layer[i], b, tokens);
    if (rc == 0 && e->few) {
        rows = want(l, b);
        rc = last_layer(l, &e->layer[e->layers - 1], b, tokens, rows);
    }
    if (rc == 0 && e->final_norm.gamma)
        normalise(e, &e->final_norm, l->x, l->x, NULL, rows);
    return rc < 0 ? rc : sc_cpu_head(l, b, rows, out);
}

static void describe(const struct sc_engine *base, char *text, size_t size)
{
    const struct sc_cpu_engine *e = (const struct sc_cpu_engine *)base;
    snprintf(text, size, "cpu, %s, matrix product %s, %s", e->bf16 ? "bf16" : "fp32", e->ops->name,
             e->kernels->name);
}

const struct sc_engine_ops sc_engine_cpu_ops = {
    .name = "cpu",
    .new = sc_cpu_engine_new,
    .del = sc_cpu_engine_del,
    .describe = describe,
    .lane_new = lane_new,
    .lane_del = lane_del,
    .run = run,
};
