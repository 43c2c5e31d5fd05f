#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "cpu/attention.h"
#include "cpu/gemm.h"

static const char *const names[] = {"portable", "avx2", "avx512"};

static uint32_t seed;

static float random_float(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed / 2147483648.0f;
}

static float *random_floats(size_t n)
{
    float *p = malloc((n + 1) * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = random_float();
    return p;
}

/* Calls fn for every table that this processor can run. */
static void each(void (*fn)(const struct sc_kernels *))
{
    for (size_t i = 0; i < 3; i++) {
        const struct sc_kernels *k = sc_kernels_named(names[i]);
        if (!k)
            continue;
        seed = 1;
        fn(k);
    }
    assert_null(sc_kernels_named("abacus"));
}

static double exact(enum sc_activation act, double x)
{
    switch (act) {
    case SC_ACT_NONE: return x;
    case SC_ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
    case SC_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case SC_ACT_RELU: return x > 0 ? x : 0;
    case SC_ACT_SILU: return x / (1 + exp(-x));
    case SC_ACT_TANH: return tanh(x);
    }
    return 0;
}

static void activations_of(const struct sc_kernels *k)
{
    enum { N = 40013 };
    float *x = malloc(N * sizeof *x);
    for (int act = SC_ACT_NONE; act <= SC_ACT_TANH; act++) {
        for (int i = 0; i < N; i++)
            x[i] = ((float)i - N / 2) / 2000.0f;
        k->activate((enum sc_activation)act, x, N);
        for (int i = 0; i < N; i++) {
            double at = (double)(((float)i - N / 2) / 2000.0f), want = exact((enum sc_activation)act, at);
            /* One unit in the last place is 1e-6 from 8 on. */
            assert_true(fabs((double)x[i] - want) < (fabs(at) < 4 ? 1e-6 : 2e-6));
        }
    }
    float far[5] = {-1e30f, -100, 0, 100, 1e30f};
    k->activate(SC_ACT_GELU, far, 5);
    assert_true(far[0] == 0 && far[1] == 0 && far[2] == 0 && far[3] == 100 && far[4] == 1e30f);
    free(x);
}

static void activations_are_exact_to_a_millionth(void **state)
{
    (void)state;
    each(activations_of);
}

static void softmax_of(const struct sc_kernels *k)
{
    for (size_t n = 1; n < 70; n++) {
        float *x = random_floats(n), *y = malloc(n * sizeof *y);
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] *= 300;
        float inverse = k->softmax(y, n, 0.125f);
        double top = -INFINITY, sum = 0;
        for (size_t i = 0; i < n; i++)
            top = fmax(top, (double)x[i]);
        for (size_t i = 0; i < n; i++)
            sum += exp(((double)x[i] - top) * 0.125);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs((double)(y[i] * inverse) - exp(((double)x[i] - top) * 0.125) / sum) < 1e-6);
        free(x);
        free(y);
    }
}

static void softmax_sums_to_one_at_every_length(void **state)
{
    (void)state;
    each(softmax_of);
}

static void norm_of(const struct sc_kernels *k)
{
    for (size_t n = 1; n < 70; n += 3) {
        float *x = random_floats(n), *y = random_floats(n), *g = random_floats(n), *b = random_floats(n);
        float *out = malloc(n * sizeof *out);
        /* A mean far from 0: the sum of squares alone would lose the variance. */
        for (size_t i = 0; i < n; i++)
            x[i] += 1000;
        k->layer_norm(out, x, y, NULL, g, b, n, 1e-3f);
        double mean = 0, var = 0;
        for (size_t i = 0; i < n; i++)
            mean += (double)(x[i] + y[i]) / (double)n;
        for (size_t i = 0; i < n; i++)
            var += pow((double)(x[i] + y[i]) - mean, 2) / (double)n;
        for (size_t i = 0; i < n; i++)
            assert_true(fabs((double)out[i] -
                             ((double)(x[i] + y[i]) - mean) / sqrt(var + 1e-3) * (double)g[i] -
                             (double)b[i]) < 2e-3);
        free(x);
        free(y);
        free(g);
        free(b);
        free(out);
    }
}

static void norm_survives_a_large_mean(void **state)
{
    (void)state;
    each(norm_of);
}

static void gemm_of(const struct sc_kernels *kern)
{
    static const size_t sizes[][3] = {{1, 1, 1},     {1, 3, 5},    {2, 17, 9},    {5, 16, 385}, {7, 33, 64},
                                      {13, 32, 400}, {15, 70, 31}, {150, 40, 20}, {29, 5, 800}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
        float *a = random_floats(m * k), *w = random_floats(n * k), *bias = random_floats(n),
              *c = random_floats(m * n);
        c[m * n] = 12345;
        struct sc_gemm *g = sc_gemm_new(kern, w, bias, n, k, s % 2 ? SC_ACT_RELU : SC_ACT_NONE);
        assert_non_null(g);
        sc_gemm_run(g, m, a, c);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) {
                double want = (double)bias[j];
                for (size_t p = 0; p < k; p++)
                    want += (double)a[i * k + p] * (double)w[j * k + p];
                if (s % 2 && want < 0)
                    want = 0;
                assert_true(fabs((double)c[i * n + j] - want) < 2e-5 * (double)(k + 10));
            }
        assert_true(c[m * n] == 12345);
        sc_gemm_del(g);
        free(a);
        free(w);
        free(bias);
        free(c);
    }
}

static void products_are_right_at_odd_sizes(void **state)
{
    (void)state;
    each(gemm_of);
}

/* padded: a third of the tokens is seen by all. */
static void attention_within(const struct sc_kernels *kern, size_t window, bool padded)
{
    static const size_t sizes[][2] = {{1, 8},   {2, 64},  {7, 10}, {16, 32},
                                      {17, 24}, {33, 64}, {61, 5}, {130, 16}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s][0], d = sizes[s][1], stride = 3 * d + 2;
        float *x = random_floats(n * stride), *out = random_floats(n * (d + 1)), *first = random_floats(d);
        float *work = malloc((sc_attention_work(kern, n, d) + n) * sizeof *work);
        size_t keys = padded ? (n + 2) / 3 : n;
        sc_attention(kern, x, stride, x + d, x + 2 * d, stride, n, keys, d, window, out, d + 1, work);
        sc_attention_one(kern, x, x + d, x + 2 * d, stride, n, d, first, work);
        for (size_t i = 0; i < n; i++) {
            double p[130], top = -INFINITY, sum = 0;
            for (size_t j = 0; j < n; j++) {
                p[j] = 0;
                for (size_t c = 0; c < d; c++)
                    p[j] += (double)x[i * stride + c] * (double)x[j * stride + d + c] / sqrt((double)d);
                if ((i > j ? i - j : j - i) > window || j >= keys)
                    p[j] = -INFINITY;
                top = fmax(top, p[j]);
            }
            for (size_t j = 0; j < n; j++)
                sum += p[j] = exp(p[j] - top);
            for (size_t c = 0; c < d; c++) {
                double want = 0;
                for (size_t j = 0; j < n; j++)
                    want += p[j] / sum * (double)x[j * stride + 2 * d + c];
                assert_true(fabs((double)out[i * (d + 1) + c] - want) < 1e-5);
                assert_true(i > 0 || window < n - 1 || padded || fabs((double)first[c] - want) < 1e-5);
            }
        }
        free(x);
        free(out);
        free(first);
        free(work);
    }
}

static void attention_of(const struct sc_kernels *kern)
{
    static const size_t windows[] = {SC_ATTENTION_GLOBAL, 0, 1, 7, 32, 63};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
        attention_within(kern, windows[i], false);
    attention_within(kern, SC_ATTENTION_GLOBAL, true);
}

static void attention_is_right_at_odd_sizes(void **state)
{
    (void)state;
    each(attention_of);
}

static void turns_of(const struct sc_kernels *k)
{
    for (size_t half = 1; half < 40; half += 3) {
        float *x = random_floats(2 * half), *y = random_floats(2 * half), *angle = random_floats(half);
        float *cosines = random_floats(half), *sines = random_floats(half);
        memcpy(y, x, 2 * half * sizeof *y);
        for (size_t i = 0; i < half; i++) {
            cosines[i] = cosf(3 * angle[i]);
            sines[i] = sinf(3 * angle[i]);
        }
        k->rotate(x, cosines, sines, half);
        for (size_t i = 0; i < half; i++) {
            double c = cos(3 * (double)angle[i]), s = sin(3 * (double)angle[i]), a = (double)y[i],
                   b = (double)y[half + i];
            assert_true(fabs((double)x[i] - (a * c - b * s)) < 1e-6);
            assert_true(fabs((double)x[half + i] - (b * c + a * s)) < 1e-6);
        }
        memcpy(x, y, 2 * half * sizeof *x);
        k->multiply(x, y, 2 * half);
        for (size_t i = 0; i < 2 * half; i++)
            assert_true(x[i] == y[i] * y[i]);
        free(x);
        free(y);
        free(angle);
        free(cosines);
        free(sines);
    }
}

static void pairs_are_turned(void **state)
{
    (void)state;
    each(turns_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_exact_to_a_millionth),
        cmocka_unit_test(softmax_sums_to_one_at_every_length),
        cmocka_unit_test(norm_survives_a_large_mean),
        cmocka_unit_test(products_are_right_at_odd_sizes),
        cmocka_unit_test(attention_is_right_at_odd_sizes),
        cmocka_unit_test(pairs_are_turned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
