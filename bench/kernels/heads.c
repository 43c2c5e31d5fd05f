/* Pooling, rows picked out, linears of few outputs. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void check_pool(enum sc_cu_type t, uint32_t hidden, uint32_t pooling, bool f32)
{
    static const uint32_t begin[] = {0, 1, 3, 3, 20, 151, 663, 671}; /* the third is empty */
    static const uint32_t first[] = {0, 2, 3, 7, 20, 600, 664};      /* f32: what is before is left out */
    enum { N = 7 };
    static const char *const names[] = {"cls", "mean", "max", "last"};
    struct lab_array x = lab_random(t, (size_t)begin[N] * hidden, 1), places = lab_words(begin, N + 1);
    struct lab_array starts = lab_words(first, N);
    const uint32_t n = N;
    struct lab_array count = lab_words(&n, 1), out = lab_output(f32 ? SC_CU_F32 : t, (size_t)N * hidden);
    struct sc_cu_pool a = {x.device, places.device, out.device, count.device,
                           hidden,   pooling,       f32,        f32 ? starts.device : NULL};
    lab_launch(sc_cu_launch_pool(t, &a, N), &a, sizeof(a));
    double *ref = calloc((size_t)N * hidden, sizeof(double));
    for (uint32_t s = 0; s < N; s++)
        for (uint32_t c = 0, from = f32 ? first[s] : begin[s]; c < hidden && from < begin[s + 1]; c++) {
            const double *column = x.host + c;
            double sum = 0, max = -INFINITY;
            for (uint32_t r = from; r < begin[s + 1]; r++) {
                sum += column[(size_t)r * hidden];
                max = fmax(max, column[(size_t)r * hidden]);
            }
            const double of[] = {column[(size_t)from * hidden], sum / (begin[s + 1] - from), max,
                                 column[(size_t)(begin[s + 1] - 1) * hidden]};
            ref[(size_t)s * hidden + c] = of[pooling];
        }
    char what[96];
    snprintf(what, sizeof(what), "pool %s %s of %u%s", names[pooling], lab_type_name(t), hidden,
             f32 ? " to f32" : "");
    lab_verdict(what, &out, ref, 1);
    free(ref);
    lab_free(&x), lab_free(&places), lab_free(&starts), lab_free(&count), lab_free(&out);
}

static void check_gather(enum sc_cu_type t, uint32_t rows, uint32_t cols, bool f32)
{
    enum { FROM = 100 };
    uint32_t index[64];
    for (uint32_t i = 0; i < rows; i++)
        index[i] = lab_below(FROM);
    struct lab_array x = lab_random(t, (size_t)FROM * cols, 1), places = lab_words(index, rows);
    struct lab_array count = lab_words(&rows, 1), out = lab_output(f32 ? SC_CU_F32 : t, (size_t)rows * cols);
    struct sc_cu_gather a = {x.device, places.device, out.device, count.device, cols, f32};
    lab_launch(sc_cu_launch_gather(t, &a, rows), &a, sizeof(a));
    double *ref = calloc((size_t)rows * cols + 1, sizeof(double));
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t c = 0; c < cols; c++)
            ref[(size_t)i * cols + c] = x.host[(size_t)index[i] * cols + c];
    char what[96];
    snprintf(what, sizeof(what), "gather %s, %u rows of %u%s", lab_type_name(t), rows, cols,
             f32 ? " to f32" : "");
    lab_verdict(what, &out, ref, 1e-3);
    free(ref);
    lab_free(&x), lab_free(&places), lab_free(&count), lab_free(&out);
}

static void check_linear(enum sc_cu_type t, uint32_t rows, uint32_t ins, uint32_t outs, uint32_t act,
                         bool f32)
{
    struct lab_array x = lab_random(t, (size_t)rows * ins, 1), w = lab_random(t, (size_t)outs * ins, 0.05);
    struct lab_array bias = lab_random(t, outs, 1), count = lab_words(&rows, 1);
    struct lab_array out = lab_output(f32 ? SC_CU_F32 : t, (size_t)rows * outs);
    struct sc_cu_linear a = {x.device, w.device, bias.device, out.device, count.device, ins, outs, act, f32};
    lab_launch(sc_cu_launch_linear(t, &a, rows), &a, sizeof(a));
    double *ref = calloc((size_t)rows * outs + 1, sizeof(double));
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t o = 0; o < outs; o++) {
            double sum = bias.host[o];
            for (uint32_t c = 0; c < ins; c++)
                sum += x.host[(size_t)r * ins + c] * w.host[(size_t)o * ins + c];
            ref[(size_t)r * outs + o] = lab_act(act, sum);
        }
    char what[96];
    snprintf(what, sizeof(what), "linear %s, %u rows, %u to %u%s", lab_type_name(t), rows, ins, outs,
             f32 ? ", f32" : "");
    lab_verdict(what, &out, ref, 1);
    free(ref);
    lab_free(&x), lab_free(&w), lab_free(&bias), lab_free(&count), lab_free(&out);
}

static void check(enum sc_cu_type t)
{
    for (uint32_t pooling = SC_CU_POOL_CLS; pooling <= SC_CU_POOL_LAST; pooling++) {
        check_pool(t, 768, pooling, true);
        check_pool(t, 384, pooling, false);
        check_pool(t, 37, pooling, false);
    }
    check_gather(t, 0, 768, false);
    check_gather(t, 61, 768, false);
    check_gather(t, 61, 768, true);
    check_gather(t, 5, 37, true);
    static const uint32_t outs[] = {1, 2, 7, 9, 35};
    for (size_t i = 0; i < sizeof(outs) / sizeof(outs[0]); i++)
        check_linear(t, 131, 768, outs[i], SC_CU_NONE, true);
    check_linear(t, 0, 768, 2, SC_CU_NONE, true);
    check_linear(t, 1, 768, 768, SC_CU_TANH, false);
    check_linear(t, 17, 37, 41, SC_CU_RELU, false);
    check_linear(t, 17, 1024, 16, SC_CU_GELU_ERF, false);
}

struct timed {
    struct sc_cu_launch launch;
    struct sc_cu_pool pool;
    struct sc_cu_linear linear;
};

static void one_pool(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    (void)i;
    lab_launch(c->launch, &c->pool, sizeof(c->pool));
}

static void one_linear(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    (void)i;
    lab_launch(c->launch, &c->linear, sizeof(c->linear));
}

static void measure(enum sc_cu_type t)
{
    enum { TOKENS = 32768, HIDDEN = 768 };
    struct lab_array x = lab_random(t, (size_t)TOKENS * HIDDEN, 1), w = lab_random(t, 9 * HIDDEN, 1);
    struct lab_array out = lab_output(SC_CU_F32, (size_t)2048 * HIDDEN);
    uint32_t begin[2049], n = 2048, rows = TOKENS;
    for (uint32_t i = 0; i <= n; i++)
        begin[i] = 16 * i;
    struct lab_array places = lab_words(begin, n + 1), sequences = lab_words(&n, 1),
                     tokens = lab_words(&rows, 1);
    struct timed c = {
        .pool = {x.device, places.device, out.device, sequences.device, HIDDEN, SC_CU_POOL_MEAN, true, NULL},
        .linear = {x.device, w.device, NULL, out.device, tokens.device, HIDDEN, 9, SC_CU_NONE, true},
    };
    double bytes = (double)x.n * (double)lab_size_of(t);
    char what[96];
    c.launch = sc_cu_launch_pool(t, &c.pool, n);
    snprintf(what, sizeof(what), "pool mean %s, 2048 x 16 x 768", lab_type_name(t));
    lab_print_time(what, lab_time(one_pool, &c, 10), bytes, 0);
    c.launch = sc_cu_launch_linear(t, &c.linear, TOKENS);
    snprintf(what, sizeof(what), "linear %s, 32768 rows, 768 to 9", lab_type_name(t));
    lab_print_time(what, lab_time(one_linear, &c, 10), bytes, 0);
    lab_free(&x), lab_free(&w), lab_free(&out), lab_free(&places), lab_free(&sequences), lab_free(&tokens);
}

const struct lab_bench lab_heads = {"heads", check, measure};
