#include <string.h>

#include "base/array.h"
#include "cpu/internal.h"

/* One vector for each sequence: the mean or the maximum of its n states. */
static void pool_one(const struct sc_cpu_engine *e, const float *x, size_t n, float *to)
{
    size_t h = e->hidden;
    memcpy(to, x, h * sizeof *to);
    for (size_t t = 1; t < n; t++) {
        const float *row = x + t * h;
        if (e->pooling == SC_POOL_MEAN)
            e->kernels->axpy(to, 1, row, h);
        for (size_t i = 0; e->pooling == SC_POOL_MAX && i < h; i++)
            to[i] = row[i] > to[i] ? row[i] : to[i];
    }
    if (e->pooling == SC_POOL_MEAN)
        e->kernels->scale(to, h, 1.0f / (float)n);
}

/* out(norm(act(dense(x)))) for n rows, as far as there are such; where the rows behind norm are. */
static int before_out(struct sc_cpu_lane *l, const float *x, size_t n, const float **to)
{
    const struct sc_cpu_engine *e = l->e;
    size_t size = e->head_size;
    *to = x;
    if (!e->head_dense)
        return 0;
    int rc = sc_cpu_multiply(l, e->head_dense, n, x, l->sum);
    for (size_t i = 0; rc == 0 && e->head_norm.gamma && i < n * size; i += size)
        e->kernels->layer_norm(l->sum + i, l->sum + i, NULL, NULL, e->head_norm.gamma, e->head_norm.beta,
                               size, e->eps);
    *to = l->sum;
    return rc;
}

/* The vocabulary for n rows. The table is read once for all of them, which is what it costs: it is not
 * packed. */
static void decode(const struct sc_cpu_engine *e, const float *x, size_t n, float *out)
{
    size_t size = e->head_size, vocab = e->base.vocab;
    for (size_t v = 0; v < vocab; v++)
        for (size_t i = 0; i < n; i++)
            out[i * vocab + v] = e->kernels->dot(x + i * size, e->decoder + v * size, size) +
                                 (e->decoder_bias ? e->decoder_bias[v] : 0);
}

/* sentence-transformers' Dense modules, one after the other. */
static int dense_modules(struct sc_cpu_lane *l, const float *x, size_t n, float *out)
{
    const struct sc_cpu_engine *e = l->e;
    for (uint32_t i = 0; i < e->dense_n; i++) {
        float *to = i % 2 ? l->wide : l->sum;
        int rc = sc_cpu_multiply(l, e->dense[i], n, x, to);
        if (rc < 0)
            return rc;
        x = to;
    }
    memcpy(out, x, n * e->dense_size[e->dense_n] * sizeof *out);
    return 0;
}

int sc_cpu_head(struct sc_cpu_lane *l, const struct sc_batch *b, size_t rows, float *out)
{
    const struct sc_cpu_engine *e = l->e;
    const float *x = l->x;
    bool pooled = !e->few && (e->base.task == SC_TASK_SEQUENCE || e->base.task == SC_TASK_EMBED);
    for (uint32_t i = 0; pooled && i < b->sequences; i++) {
        uint32_t from = b->begin[i] + (b->skip ? b->skip[i] : 0);
        pool_one(e, l->x + (size_t)(from - b->begin[0]) * e->hidden, b->begin[i + 1] - from,
                 l->context + (size_t)i * e->hidden);
    }
    if (pooled) {
        x = l->context;
        rows = b->sequences;
    }
    for (size_t first = 0; first < rows; first += SC_CPU_CHUNK) {
        size_t n = SC_MIN((size_t)SC_CPU_CHUNK, rows - first);
        const float *in = x + first * e->hidden, *behind = in;
        float *to = out + first * e->base.columns;
        int rc = e->base.task == SC_TASK_EMBED ? dense_modules(l, in, n, to) : before_out(l, in, n, &behind);
        if (rc < 0)
            return rc;
        if (e->base.task == SC_TASK_FILL_MASK)
            decode(e, behind, n, to);
        else if (e->base.task != SC_TASK_EMBED && sc_matmul_builtin()->run(e->out, n, behind, to, NULL) < 0)
            return SC_ESYS;
    }
    return 0;
}
