#include "cpu/attention.h"

#include <math.h>
#include <string.h>

#include "base/array.h"

/* Rows of q that go together over all keys, in tiles. */
#define TILES 4

/* Panels of nr columns for `n` columns. */
static size_t panels(const struct sc_kernels *kern, size_t n)
{
    return (n + kern->nr - 1) / kern->nr;
}

size_t sc_attention_work(const struct sc_kernels *kern, size_t n, size_t d)
{
    size_t columns = panels(kern, n) * kern->nr, rows = (size_t)TILES * kern->mr;
    size_t keys = columns * d, values = panels(kern, d) * kern->nr * n;
    return keys + values + rows * columns + rows * panels(kern, d) * kern->nr;
}

/* Keys as the tile wants them: d rows of nr keys for each panel; keys beyond n are 0. */
static void pack_keys(const struct sc_kernels *kern, const float *k, size_t stride, size_t n, size_t d,
                      float *to)
{
    size_t nr = kern->nr;
    for (size_t from = 0; from < n; from += nr, to += nr * d) {
        size_t count = SC_MIN(nr, n - from);
        if (count < nr)
            memset(to, 0, nr * d * sizeof *to);
        for (size_t j = 0; j < count; j++) {
            const float *key = k + (from + j) * stride;
            for (size_t p = 0; p < d; p++)
                to[p * nr + j] = key[p];
        }
    }
}

/* Values whose size is no multiple of nr: rows widened with zeros. */
static void widen_values(const float *v, size_t stride, size_t n, size_t d, float *to, size_t width)
{
    for (size_t j = 0; j < n; j++) {
        memcpy(to + j * width, v + j * stride, d * sizeof *to);
        memset(to + j * width + d, 0, (width - d) * sizeof *to);
    }
}

/* What `rows` tokens from `first` on see of n keys: [low, high), low at the begin of a panel of keys. */
struct range {
    size_t low, high;
};

static struct range sight(size_t first, size_t rows, size_t n, size_t window, size_t nr)
{
    size_t low = first > window ? first - window : 0, last = first + rows - 1;
    return (struct range){low / nr * nr, last < n && window < n - 1 - last ? last + window + 1 : n};
}

/* The softmax of one row over what its token sees; all else that is in r becomes 0. */
static float softmax(const struct sc_kernels *kern, float *scores, size_t i, struct range r, size_t n,
                     size_t window, float factor)
{
    struct range own = sight(i, 1, n, window, 1);
    memset(scores, 0, (own.low - r.low) * sizeof *scores);
    memset(scores + own.high - r.low, 0, (r.high - own.high) * sizeof *scores);
    return kern->softmax(scores + own.low - r.low, own.high - own.low, factor);
}

void sc_attention(const struct sc_kernels *kern, const float *q, size_t q_stride, const float *k,
                  const float *v, size_t kv_stride, size_t n, size_t seen, size_t d, size_t window,
                  float *out, size_t out_stride, float *work)
{
    size_t nr = kern->nr, mr = kern->mr, group = TILES * mr;
    size_t columns = panels(kern, seen) * nr, width = panels(kern, d) * nr;
    float *keys = work, *values = keys + columns * d, *scores = values + width * seen,
          *wide = scores + group * columns;
    float factor = 1.0f / sqrtf((float)d);
    const float *vp = v;
    size_t v_stride = kv_stride;

    pack_keys(kern, k, kv_stride, seen, d, keys);
    if (width != d) {
        widen_values(v, kv_stride, seen, d, values, width);
        vp = values;
        v_stride = width;
    }
    for (size_t first = 0; first < n; first += group) {
        size_t rows = SC_MIN(group, n - first), tiles = (rows + mr - 1) / mr;
        struct range r = sight(first, rows, seen, window, nr);
        for (size_t column = r.low; column < r.high; column += nr)
            for (size_t t = 0, row = 0; t < tiles; t++) {
                unsigned height = (unsigned)((rows - row + tiles - t - 1) / (tiles - t));
                kern->tile(height, d, q + (first + row) * q_stride, q_stride, keys + column * d, nr,
                           scores + row * columns + column - r.low, columns, NULL, false);
                row += height;
            }
        float inverse[TILES * SC_TILE_ROWS_MAX];
        for (size_t row = 0; row < rows; row++)
            inverse[row] = softmax(kern, scores + row * columns, first + row, r, seen, window, factor);
        float *to = width == d ? out + first * out_stride : wide;
        size_t to_stride = width == d ? out_stride : width;
        for (size_t column = 0; column < width; column += nr)
            for (size_t t = 0, row = 0; t < tiles; t++) {
                unsigned height = (unsigned)((rows - row + tiles - t - 1) / (tiles - t));
                kern->tile(height, r.high - r.low, scores + row * columns, columns,
                           vp + r.low * v_stride + column, v_stride, to + row * to_stride + column, to_stride,
                           NULL, false);
                row += height;
            }
        for (size_t row = 0; row < rows; row++) {
            float *at = out + (first + row) * out_stride;
            if (width != d)
                memcpy(at, wide + row * width, d * sizeof *at);
            kern->scale(at, d, inverse[row]);
        }
    }
}

void sc_attention_one(const struct sc_kernels *kern, const float *q, const float *k, const float *v,
                      size_t kv_stride, size_t n, size_t d, float *out, float *work)
{
    for (size_t j = 0; j < n; j++)
        work[j] = kern->dot(q, k + j * kv_stride, d);
    float inverse = kern->softmax(work, n, 1.0f / sqrtf((float)d));
    memset(out, 0, d * sizeof *out);
    for (size_t j = 0; j < n; j++)
        kern->axpy(out, work[j] * inverse, v + j * kv_stride, d);
}
