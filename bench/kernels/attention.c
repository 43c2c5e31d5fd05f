/* Attention over packed sequences. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch and its tiles. */
struct batch {
    uint32_t *begin, sequences, tokens;
    struct sc_cu_counts counts;
    struct lab_array tiles[2], count[2]; /* small, large */
};

static struct batch batch_of(const uint32_t *lengths, uint32_t n)
{
    struct batch b = {.begin = calloc(n + 1, sizeof(uint32_t)), .sequences = n};
    for (uint32_t i = 0; i < n; i++)
        b.begin[i + 1] = b.begin[i] + lengths[i];
    b.tokens = b.begin[n];
    uint32_t max[2] = {SC_CU_SMALL_TILES(b.tokens, n), SC_CU_LARGE_TILES(b.tokens, n)};
    struct sc_cu_tile *tiles[2] = {calloc(max[0] + 1, sizeof(struct sc_cu_tile)),
                                   calloc(max[1] + 1, sizeof(struct sc_cu_tile))};
    sc_cu_tiles(b.begin, NULL, n, tiles[0], tiles[1], &b.counts);
    uint32_t count[2] = {b.counts.small, b.counts.large};
    for (int i = 0; i < 2; i++) {
        if (count[i] > max[i])
            lab_fail("tiles", "more than their bound");
        b.tiles[i] = lab_words((const uint32_t *)tiles[i], (size_t)count[i] * 4);
        b.count[i] = lab_words(&count[i], 1);
        free(tiles[i]);
    }
    return b;
}

static void batch_free(struct batch *b)
{
    free(b->begin);
    for (int i = 0; i < 2; i++)
        lab_free(&b->tiles[i]), lab_free(&b->count[i]);
}

static void reference_row(double *out, const double *qkv, const struct batch *b, uint32_t s, uint32_t row,
                          uint32_t head, uint32_t heads, uint32_t d, uint32_t window)
{
    size_t hidden = (size_t)heads * d, stride = 3 * hidden;
    uint32_t length = b->begin[s + 1] - b->begin[s];
    const double *base = qkv + b->begin[s] * stride + (size_t)head * d, *q = base + row * stride;
    double *p = malloc(length * sizeof(double)), max = -INFINITY, sum = 0;
    for (uint32_t k = 0; k < length; k++) {
        uint32_t away = k > row ? k - row : row - k;
        p[k] = -INFINITY;
        if (window && away > window)
            continue;
        p[k] = 0;
        for (uint32_t c = 0; c < d; c++)
            p[k] += q[c] * base[hidden + k * stride + c];
        p[k] /= sqrt(d);
        max = fmax(max, p[k]);
    }
    memset(out, 0, d * sizeof(double));
    for (uint32_t k = 0; k < length; k++) {
        if (p[k] == -INFINITY)
            continue;
        double w = exp(p[k] - max);
        sum += w;
        for (uint32_t c = 0; c < d; c++)
            out[c] += w * base[2 * hidden + k * stride + c];
    }
    for (uint32_t c = 0; c < d; c++)
        out[c] /= sum;
    free(p);
}

static void run(enum sc_cu_type t, const struct batch *b, struct sc_cu_attention *a)
{
    uint32_t count[2] = {b->counts.small, b->counts.large};
    for (int i = 0; i < 2; i++) {
        a->tiles = b->tiles[i].device;
        a->count = b->count[i].device;
        lab_launch(sc_cu_launch_attention(t, a, i, count[i]), a, sizeof(*a));
    }
}

static void check_shape(enum sc_cu_type t, const char *name, const uint32_t *lengths, uint32_t n,
                        uint32_t heads, uint32_t d, uint32_t window)
{
    struct batch b = batch_of(lengths, n);
    size_t hidden = (size_t)heads * d, outs = b.tokens * hidden;
    struct lab_array qkv = lab_random(t, 3 * outs, 1.2), out = lab_output(t, outs);
    struct sc_cu_attention a = {.qkv = qkv.device,
                                .out = out.device,
                                .heads = heads,
                                .head_dim = d,
                                .window = window,
                                .scale = 1 / sqrtf(d),
                                .multiprocessors = lab_multiprocessors()};
    run(t, &b, &a);

    double *ref = malloc((outs + 1) * sizeof(double));
    for (size_t i = 0; i < outs; i++)
        ref[i] = NAN; /* not looked at, unless below */
    for (uint32_t s = 0; s < n; s++) {
        uint32_t length = lengths[s];
        for (uint32_t row = 0; row < length; row++)
            for (uint32_t h = 0; h < heads; h++)
                if (length < 300 || row < 2 || row + 2 > length || lab_below(length) < 40)
                    reference_row(ref + (b.begin[s] + row) * hidden + (size_t)h * d, qkv.host, &b, s, row, h,
                                  heads, d, window);
    }
    char what[96];
    snprintf(what, sizeof(what), "attention %s, %s, %u heads of %u%s", lab_type_name(t), name, heads, d,
             window ? ", window" : "");
    lab_verdict(what, &out, ref, 1);
    double *all = lab_read(&out);
    size_t missing = 0;
    for (size_t i = 0; i < outs; i++)
        missing += isnan(all[i]);
    if (missing)
        lab_fail(what, "rows were not written");
    free(all);
    free(ref);
    lab_free(&qkv), lab_free(&out);
    batch_free(&b);
}

/* A text's numbers are the same bits wherever it lies in a batch, if the batch is no tiny one. */
static void check_same(enum sc_cu_type t, uint32_t length)
{
    enum { HEADS = 3, D = 64, HIDDEN = HEADS * D };
    const uint32_t first[] = {length, 2000}, second[] = {5, 77, 2700, 130, length};
    struct batch one = batch_of(first, 2), two = batch_of(second, 5);
    size_t row = 3 * HIDDEN * lab_size_of(t);
    struct lab_array x = lab_random(t, (size_t)one.tokens * 3 * HIDDEN, 1);
    struct lab_array y = lab_random(t, (size_t)two.tokens * 3 * HIDDEN, 1);
    char *raw = malloc(length * row);
    lab_from_device(raw, x.device, length * row);
    lab_to_device((char *)y.device + two.begin[4] * row, raw, length * row);
    struct lab_array got[2] = {lab_output(t, (size_t)one.tokens * HIDDEN),
                               lab_output(t, (size_t)two.tokens * HIDDEN)};
    struct sc_cu_attention a = {.qkv = x.device,
                                .out = got[0].device,
                                .heads = HEADS,
                                .head_dim = D,
                                .scale = 1 / sqrtf(D),
                                .multiprocessors = lab_multiprocessors()};
    run(t, &one, &a);
    a.qkv = y.device, a.out = got[1].device;
    run(t, &two, &a);
    double *of[2] = {lab_read(&got[0]), lab_read(&got[1])};
    if (memcmp(of[0], of[1] + (size_t)two.begin[4] * HIDDEN, (size_t)length * HIDDEN * sizeof(double)) != 0)
        lab_fail("attention", "the same text has other numbers in another batch");
    free(of[0]), free(of[1]), free(raw);
    lab_free(&x), lab_free(&y), lab_free(&got[0]), lab_free(&got[1]);
    batch_free(&one), batch_free(&two);
}

static void check(enum sc_cu_type t)
{
    static const uint32_t mixed[] = {1,  2,  3,  7,  8, 9,  13,  15,  16,  17,  0,   31,  33, 47,
                                     61, 64, 65, 67, 0, 97, 127, 128, 129, 131, 150, 257, 263};
    static const uint32_t d[] = {32, 64, 96, 128, 8, 80, 20, 256};
    static const uint32_t part[] = {17, 61, 150, 251}, one[] = {1}, book[] = {8192}, none[] = {0},
                          equal[] = {512, 512, 512}, page[] = {1009, 300, 12},
                          tall[] = {64, 193, 512, 0, 1021, 384};
    for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
        check_shape(t, "lengths 0..263", mixed, 27, 3, d[i], 0);
        check_shape(t, "lengths 0..263", mixed, 27, 2, d[i], 5);
        check_shape(t, "lengths 64..1021", tall, 6, 3, d[i], 0);
        check_shape(t, "few tokens", part, 4, 3, d[i], 0);
        check_shape(t, "few tokens", part, 4, 2, d[i], 20);
    }
    check_shape(t, "one token", one, 1, 12, 64, 0);
    check_shape(t, "no token", none, 1, 12, 64, 0);
    check_shape(t, "3 x 512", equal, 3, 12, 64, 0);
    check_shape(t, "1009, 300, 12", page, 3, 12, 64, 0);
    check_shape(t, "1009, 300, 12", page, 3, 12, 64, 64);
    check_shape(t, "8192", book, 1, 1, 64, 0);
    check_shape(t, "8192", book, 1, 1, 64, 64);
    check_same(t, 13);
    check_same(t, 61);
    check_same(t, 150);
}

struct timed {
    struct sc_cu_launch launch[2];
    struct sc_cu_attention a[2][2];
    uint32_t count[2];
};

static void once(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    for (int kind = 0; kind < 2; kind++)
        if (c->count[kind])
            lab_launch(c->launch[kind], &c->a[i % 2][kind], sizeof(c->a[0][0]));
}

static void time_shape(enum sc_cu_type t, const char *name, uint32_t (*length)(uint32_t), uint32_t tokens,
                       uint32_t heads, uint32_t d, uint32_t window)
{
    uint32_t *lengths = calloc(tokens, sizeof(uint32_t)), n = 0;
    for (uint32_t sum = 0; sum + length(n) <= tokens; n++)
        sum += lengths[n] = length(n);
    struct batch b = batch_of(lengths, n);
    size_t hidden = (size_t)heads * d, outs = b.tokens * hidden;
    struct lab_array qkv[2], out[2];
    struct timed c = {.count = {b.counts.small, b.counts.large}};
    for (int i = 0; i < 2; i++) {
        qkv[i] = lab_random(t, 3 * outs, 1), out[i] = lab_output(t, outs);
        for (int kind = 0; kind < 2; kind++) {
            c.a[i][kind] = (struct sc_cu_attention){.qkv = qkv[i].device,
                                                    .out = out[i].device,
                                                    .tiles = b.tiles[kind].device,
                                                    .count = b.count[kind].device,
                                                    .heads = heads,
                                                    .head_dim = d,
                                                    .window = window,
                                                    .scale = 1 / sqrtf(d),
                                                    .multiprocessors = lab_multiprocessors()};
            c.launch[kind] = sc_cu_launch_attention(t, &c.a[0][kind], kind, c.count[kind]);
        }
    }
    double flops = 0;
    for (uint32_t i = 0; i < n; i++) {
        double keys = window && 2 * window + 1 < lengths[i] ? 2 * window + 1 : lengths[i];
        flops += 4.0 * lengths[i] * keys * (double)hidden;
    }
    char what[96];
    snprintf(what, sizeof(what), "attention %s, %s, %u heads of %u%s", lab_type_name(t), name, heads, d,
             window ? ", window" : "");
    lab_print_time(what, lab_time(once, &c, 10), 4.0 * (double)(outs * lab_size_of(t)), flops);
    for (int i = 0; i < 2; i++)
        lab_free(&qkv[i]), lab_free(&out[i]);
    batch_free(&b);
    free(lengths);
}

static uint32_t of_16(uint32_t i)
{
    return (void)i, 16;
}
static uint32_t of_32(uint32_t i)
{
    return (void)i, 32;
}
static uint32_t of_64(uint32_t i)
{
    return (void)i, 64;
}
static uint32_t of_128(uint32_t i)
{
    return (void)i, 128;
}
static uint32_t of_150(uint32_t i)
{
    return (void)i, 150;
}
static uint32_t of_512(uint32_t i)
{
    return (void)i, 512;
}
static uint32_t of_1024(uint32_t i)
{
    return (void)i, 1024;
}
static uint32_t of_8192(uint32_t i)
{
    return (void)i, 8192;
}
static uint32_t of_any(uint32_t i)
{
    return i % 16 == 15 ? 150 : 5 + i * 7 % 36;
}

static void measure(enum sc_cu_type t)
{
    time_shape(t, "1 x 16", of_16, 16, 12, 64, 0);
    time_shape(t, "1 x 150", of_150, 150, 12, 64, 0);
    time_shape(t, "1 x 1024", of_1024, 1024, 12, 64, 0);
    time_shape(t, "512 x 16", of_16, 8192, 12, 64, 0);
    time_shape(t, "2048 x 16", of_16, 32768, 12, 64, 0);
    time_shape(t, "1024 x 32", of_32, 32768, 12, 64, 0);
    time_shape(t, "512 x 64", of_64, 32768, 12, 64, 0);
    time_shape(t, "256 x 128", of_128, 32768, 12, 64, 0);
    time_shape(t, "218 x 150", of_150, 32768, 12, 64, 0);
    time_shape(t, "64 x 512", of_512, 32768, 12, 64, 0);
    time_shape(t, "mixed 5..40, 150", of_any, 32768, 12, 64, 0);
    time_shape(t, "4 x 8192", of_8192, 32768, 12, 64, 0);
    time_shape(t, "4 x 8192", of_8192, 32768, 12, 64, 64);
    time_shape(t, "2048 x 16", of_16, 32768, 12, 32, 0);
    time_shape(t, "64 x 512", of_512, 32768, 12, 32, 0);
    time_shape(t, "64 x 512", of_512, 32768, 8, 96, 0);
    time_shape(t, "64 x 512", of_512, 32768, 8, 128, 0);
}

const struct lab_bench lab_attention = {"attention", check, measure};
