/*
 * The kernels themselves, in GNU C vector extensions, compiled once per instruction set: the
 * including file names the table and says how wide a vector is and how large a tile. No
 * intrinsics, so the same lines serve any processor with vectors.
 */
#include "cpu/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/array.h"

#define W SC_VECTOR_FLOATS
#define MR SC_TILE_ROWS
#define NV SC_TILE_VECTORS
#define NR (W * NV)

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef float vf_memory __attribute__((vector_size(W * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *p)
{
    return *(const vf_memory *)p;
}

INLINE void store(float *p, vf v)
{
    *(vf_memory *)p = v;
}

/* f - 0 is f for every f, which f + 0 is not (-0): the compiler leaves only the broadcast. */
INLINE vf splat(float f)
{
    return f - (vf){};
}

/* The first n < W elements of p, `fill` in the others. */
INLINE vf load_part(const float *p, size_t n, float fill)
{
    float t[W];
    for (size_t i = 0; i < W; i++)
        t[i] = i < n ? p[i] : fill;
    return load(t);
}

INLINE void store_part(float *p, vf v, size_t n)
{
    float t[W];
    store(t, v);
    memcpy(p, t, n * sizeof *p);
}

INLINE float sum_of(vf v)
{
    float t[W];
    store(t, v);
    for (size_t step = W / 2; step > 0; step /= 2)
        for (size_t i = 0; i < step; i++)
            t[i] += t[i + step];
    return t[0];
}

INLINE vf select(vi mask, vf a, vf b)
{
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

INLINE vf at_least(vf a, vf low)
{
    return select(a < low, low, a);
}

INLINE vf at_most(vf a, vf high)
{
    return select(a > high, high, a);
}

/*
 * exp(x), relative error about 1e-7; 0 below -87.3 (where the result would be subnormal), and
 * x above 88 is taken as 88. NaN stays NaN in at_least and at_most.
 */
INLINE vf exp_of(vf x)
{
    vi tiny = x < splat(-87.3f);
    x = at_most(at_least(x, splat(-87.3f)), splat(88.0f));
    /* x = n ln 2 + r: adding and taking away 1.5 * 2^23 rounds to the nearest whole number. */
    const vf magic = splat(12582912.0f);
    vf shifted = x * splat(1.44269504f) + magic;
    vf n = shifted - magic;
    vf r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
    vf p = splat(1.0f / 5040);
    p = p * r + splat(1.0f / 720);
    p = p * r + splat(1.0f / 120);
    p = p * r + splat(1.0f / 24);
    p = p * r + splat(1.0f / 6);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    vi power = (((vi)shifted - (vi)magic) + 127) << 23;
    return select(tiny, (vf){}, p * (vf)power);
}

INLINE vf tanh_of(vf x)
{
    return splat(1.0f) - splat(2.0f) / (exp_of(x * splat(2.0f)) + splat(1.0f));
}

/*
 * erf(x / sqrt 2) = x P(x^2) / Q(x^2) on |x| <= 5.4, beyond which it is 1 in single precision. The
 * coefficients are our own least-maximum fit; its error is 1.1e-8, below that of the arithmetic.
 */
INLINE vf erf_of_half(vf x)
{
    /* Exactly 1 there, not nearly: x times what is missing would be no small number for a large x. */
    vi high = x > splat(5.4f), low = x < splat(-5.4f);
    vf t = x * x;
    vf p = splat(4.677389497942386e-08f);
    p = p * t + splat(1.2720006452582311e-05f);
    p = p * t + splat(0.00032863809610717f);
    p = p * t + splat(0.009301669895648956f);
    p = p * t + splat(0.06674393266439438f);
    p = p * t + splat(0.797884464263916f);
    vf q = splat(1.2165960470156278e-06f);
    q = q * t + splat(7.239935075631365e-05f);
    q = q * t + splat(0.0018589664250612259f);
    q = q * t + splat(0.02837853692471981f);
    q = q * t + splat(0.25031721591949463f);
    q = q * t + splat(1.0f);
    return select(high, splat(1.0f), select(low, splat(-1.0f), x * p / q));
}

INLINE vf activated(enum sc_activation act, vf x)
{
    switch (act) {
    case SC_ACT_NONE: return x;
    case SC_ACT_GELU: return splat(0.5f) * x * (splat(1.0f) + erf_of_half(x));
    case SC_ACT_GELU_TANH: {
        vf inner = splat(0.79788456f) * (x + splat(0.044715f) * x * x * x);
        return splat(0.5f) * x * (splat(1.0f) + tanh_of(inner));
    }
    case SC_ACT_RELU: return at_least(x, (vf){});
    case SC_ACT_SILU: return x / (splat(1.0f) + exp_of(-x));
    case SC_ACT_TANH: return tanh_of(x);
    }
    return x;
}

INLINE void activate_as(enum sc_activation act, float *x, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(x + i, activated(act, load(x + i)));
    if (i < n)
        store_part(x + i, activated(act, load_part(x + i, n - i, 0)), n - i);
}

static void activate(enum sc_activation act, float *x, size_t n)
{
    switch (act) {
    case SC_ACT_NONE: return;
    case SC_ACT_GELU: activate_as(SC_ACT_GELU, x, n); return;
    case SC_ACT_GELU_TANH: activate_as(SC_ACT_GELU_TANH, x, n); return;
    case SC_ACT_RELU: activate_as(SC_ACT_RELU, x, n); return;
    case SC_ACT_SILU: activate_as(SC_ACT_SILU, x, n); return;
    case SC_ACT_TANH: activate_as(SC_ACT_TANH, x, n); return;
    }
}

/* One tile with a number of rows that the compiler knows, so that it lives in registers. */
INLINE void tile_rows(const unsigned rows, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                      float *c, size_t ldc, const float *bias, bool accumulate)
{
    vf acc[MR][NV];
    if (bias) {
#pragma GCC unroll 16
        for (unsigned i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (unsigned v = 0; v < NV; v++)
                acc[i][v] = load(bias + v * W);
    } else if (accumulate) {
#pragma GCC unroll 16
        for (unsigned i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (unsigned v = 0; v < NV; v++)
                acc[i][v] = load(c + i * ldc + v * W);
    } else {
#pragma GCC unroll 16
        for (unsigned i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (unsigned v = 0; v < NV; v++)
                acc[i][v] = (vf){};
    }
    for (size_t p = 0; p < k; p++) {
        vf bv[NV];
#pragma GCC unroll 4
        for (unsigned v = 0; v < NV; v++)
            bv[v] = load(b + v * W);
#pragma GCC unroll 16
        for (unsigned i = 0; i < rows; i++) {
            vf av = splat(a[i * lda + p]);
#pragma GCC unroll 4
            for (unsigned v = 0; v < NV; v++)
                acc[i][v] += av * bv[v];
        }
        b += ldb;
    }
#pragma GCC unroll 16
    for (unsigned i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (unsigned v = 0; v < NV; v++)
            store(c + i * ldc + v * W, acc[i][v]);
}

static void tile(unsigned rows, size_t k, const float *a, size_t lda, const float *b, size_t ldb, float *c,
                 size_t ldc, const float *bias, bool accumulate)
{
#define ROWS(n) \
    case n: tile_rows(n, k, a, lda, b, ldb, c, ldc, bias, accumulate); return
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
#if SC_TILE_ROWS > 4
        ROWS(5);
        ROWS(6);
#endif
#if SC_TILE_ROWS > 6
        ROWS(7);
        ROWS(8);
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
        ROWS(13);
        ROWS(14);
#endif
    }
#undef ROWS
}

static float softmax(float *x, size_t n, float scale)
{
    vf top = splat(-INFINITY);
    size_t i = 0;
    for (; i + W <= n; i += W)
        top = at_least(load(x + i), top);
    if (i < n)
        top = at_least(load_part(x + i, n - i, -INFINITY), top);
    float tops[W], max = -INFINITY;
    store(tops, top);
    for (size_t k = 0; k < W; k++)
        max = tops[k] > max ? tops[k] : max;

    vf total = {}, shift = splat(max), factor = splat(scale);
    for (i = 0; i + W <= n; i += W) {
        vf e = exp_of((load(x + i) - shift) * factor);
        store(x + i, e);
        total += e;
    }
    if (i < n) {
        vf e = exp_of((load_part(x + i, n - i, -INFINITY) - shift) * factor);
        store_part(x + i, e, n - i);
        total += e;
    }
    return 1.0f / sum_of(total);
}

static void scale(float *x, size_t n, float f)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(x + i, load(x + i) * splat(f));
    for (; i < n; i++)
        x[i] *= f;
}

static void multiply(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(x + i, load(x + i) * load(y + i));
    for (; i < n; i++)
        x[i] *= y[i];
}

static void rotate(float *x, const float *cos, const float *sin, size_t half)
{
    size_t i = 0;
    for (; i + W <= half; i += W) {
        vf a = load(x + i), b = load(x + half + i), c = load(cos + i), s = load(sin + i);
        store(x + i, a * c - b * s);
        store(x + half + i, b * c + a * s);
    }
    for (; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cos[i] - b * sin[i];
        x[half + i] = b * cos[i] + a * sin[i];
    }
}

INLINE vf sum3(const float *x, const float *y, const float *z, size_t i)
{
    vf v = load(x + i);
    if (y)
        v += load(y + i);
    if (z)
        v += load(z + i);
    return v;
}

static void layer_norm(float *out, const float *x, const float *y, const float *z, const float *gamma,
                       const float *beta, size_t n, float eps)
{
    vf total = {};
    float rest = 0;
    size_t i = 0, whole = n - n % W;
    for (; i < whole; i += W) {
        vf v = sum3(x, y, z, i);
        store(out + i, v);
        total += v;
    }
    for (; i < n; i++) {
        out[i] = x[i] + (y ? y[i] : 0) + (z ? z[i] : 0);
        rest += out[i];
    }
    float mean = (sum_of(total) + rest) / (float)n;

    /* The variance from the differences: the sum of squares would lose digits where the mean is large. */
    vf squares = {};
    rest = 0;
    for (i = 0; i < whole; i += W) {
        vf d = load(out + i) - splat(mean);
        squares += d * d;
    }
    for (; i < n; i++)
        rest += (out[i] - mean) * (out[i] - mean);
    float inverse = 1.0f / sqrtf((sum_of(squares) + rest) / (float)n + eps);

    for (i = 0; i < whole; i += W) {
        vf v = (load(out + i) - splat(mean)) * splat(inverse) * load(gamma + i);
        store(out + i, beta ? v + load(beta + i) : v);
    }
    for (; i < n; i++)
        out[i] = (out[i] - mean) * inverse * gamma[i] + (beta ? beta[i] : 0);
}

static float dot(const float *a, const float *b, size_t n)
{
    vf total[2] = {};
    size_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
        total[0] += load(a + i) * load(b + i);
        total[1] += load(a + i + W) * load(b + i + W);
    }
    for (; i + W <= n; i += W)
        total[0] += load(a + i) * load(b + i);
    float sum = sum_of(total[0] + total[1]);
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void axpy(float *y, float f, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(y + i, load(y + i) + splat(f) * load(x + i));
    for (; i < n; i++)
        y[i] += f * x[i];
}

const struct sc_kernels SC_KERNELS_TABLE = {
    .name = SC_KERNELS_NAME,
    .mr = MR,
    .nr = NR,
    .tile = tile,
    .activate = activate,
    .softmax = softmax,
    .scale = scale,
    .multiply = multiply,
    .rotate = rotate,
    .layer_norm = layer_norm,
    .dot = dot,
    .axpy = axpy,
};
