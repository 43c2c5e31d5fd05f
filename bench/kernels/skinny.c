/* The product of few rows, alone and as the chain that one short text takes through a model. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EPS 1e-12f

/* parts: 1 bias, 2 residual, 4 norm, 8 beta, 16 normed wanted */
static void check_shape(enum sc_cu_type t, uint32_t rows, uint32_t n, uint32_t k, uint32_t act,
                        unsigned parts)
{
    struct lab_array x = lab_around(t, (size_t)rows * k, 0.3, 1), w = lab_random(t, (size_t)n * k, 0.05);
    struct lab_array bias = lab_random(t, n, 1), residual = lab_random(t, (size_t)rows * n, 1);
    struct lab_array gamma = lab_around(SC_CU_F32, k, 1, 0.2), beta = lab_random(SC_CU_F32, k, 0.2);
    struct lab_array out = lab_output(t, (size_t)rows * n), normed = lab_output(t, (size_t)rows * k);
    struct lab_array count = lab_words(&rows, 1);
    struct sc_cu_skinny a = {.x = x.device,
                             .w = w.device,
                             .bias = parts & 1 ? bias.device : NULL,
                             .residual = parts & 2 ? residual.device : NULL,
                             .gamma = parts & 4 ? gamma.device : NULL,
                             .beta = parts & 8 ? beta.device : NULL,
                             .normed = parts & 16 ? normed.device : NULL,
                             .out = out.device,
                             .rows = count.device,
                             .n = n,
                             .k = k,
                             .act = act,
                             .eps = EPS};
    char what[96];
    int at =
        snprintf(what, sizeof(what), "skinny %s, %u rows, %u to %u, act %u%s%s%s", lab_type_name(t), rows, k,
                 n, act, parts & 1 ? " bias" : "", parts & 2 ? " residual" : "", parts & 4 ? " norm" : "");
    if (!sc_cu_skinny_fits(t, &a)) {
        lab_fail(what, "does not fit");
        return;
    }
    lab_launch(sc_cu_launch_skinny(t, &a, rows), &a, sizeof(a));
    double *in = malloc((x.n + 1) * sizeof(double)), *ref = calloc(out.n + 1, sizeof(double));
    for (uint32_t r = 0; r < rows; r++) {
        double *y = in + (size_t)r * k, mean = 0, squares = 0;
        for (uint32_t c = 0; c < k; c++)
            mean += (y[c] = x.host[(size_t)r * k + c]) / k;
        for (uint32_t c = 0; c < k; c++)
            squares += (y[c] - mean) * (y[c] - mean) / k;
        for (uint32_t c = 0; parts & 4 && c < k; c++)
            y[c] =
                (y[c] - mean) / sqrt(squares + (double)EPS) * gamma.host[c] + (parts & 8 ? beta.host[c] : 0);
        for (uint32_t o = 0; o < n; o++) {
            double sum = parts & 1 ? bias.host[o] : 0;
            for (uint32_t c = 0; c < k; c++)
                sum += y[c] * w.host[(size_t)o * k + c];
            ref[(size_t)r * n + o] = lab_act(act, sum) + (parts & 2 ? residual.host[(size_t)r * n + o] : 0);
        }
    }
    lab_verdict(what, &out, ref, 1);
    if (parts & 16) {
        snprintf(what + at, sizeof(what) - (size_t)at, ": normed");
        lab_verdict(what, &normed, in, 1);
    }
    free(in), free(ref);
    struct lab_array *all[] = {&x, &w, &bias, &residual, &gamma, &beta, &out, &normed, &count};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        lab_free(all[i]);
}

static void check(enum sc_cu_type t)
{
    if (t == SC_CU_F32)
        return;
    static const uint32_t rows[] = {0, 1, 5, 15, 16, 17, 33, 64};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_shape(t, rows[i], 2304, 768, SC_CU_NONE, 1 | 4 | 8 | 16);
        check_shape(t, rows[i], 768, 3072, SC_CU_NONE, 1 | 2);
    }
    check_shape(t, 16, 768, 768, SC_CU_NONE, 1 | 2);
    check_shape(t, 16, 3072, 768, SC_CU_GELU_ERF, 1 | 4 | 8 | 16);
    check_shape(t, 16, 4096, 1024, SC_CU_GELU_TANH, 1 | 4);
    check_shape(t, 16, 1024, 4096, SC_CU_NONE, 0);
    check_shape(t, 1, 768, 768, SC_CU_TANH, 1);
    check_shape(t, 7, 96, 96, SC_CU_NONE, 4 | 16);
    check_shape(t, 7, 40, 200, SC_CU_RELU, 1);
    check_shape(t, 7, 8, 8, SC_CU_NONE, 1 | 2);
    check_shape(t, 20, 3000, 1000, SC_CU_SILU, 4 | 8 | 16);
    check_shape(t, 20, 2000, 2048, SC_CU_SILU, 1);
}

/* A model's layers, each with weights of its own, so that they come from memory as they would. */
struct chain {
    uint32_t layers, hidden, inter, heads;
    struct sc_cu_skinny qkv[24], project[24], up[24], down[24];
    struct sc_cu_attention attention;
    enum sc_cu_type t;
    uint32_t rows;
    bool large;
};

static void forward(void *ctx, unsigned i)
{
    (void)i;
    struct chain *c = ctx;
    for (uint32_t l = 0; l < c->layers; l++) {
        lab_launch(sc_cu_launch_skinny(c->t, &c->qkv[l], c->rows), &c->qkv[l], sizeof(c->qkv[l]));
        lab_launch(sc_cu_launch_attention(c->t, &c->attention, c->large, 4), &c->attention,
                   sizeof(c->attention));
        lab_launch(sc_cu_launch_skinny(c->t, &c->project[l], c->rows), &c->project[l], sizeof(c->project[l]));
        lab_launch(sc_cu_launch_skinny(c->t, &c->up[l], c->rows), &c->up[l], sizeof(c->up[l]));
        lab_launch(sc_cu_launch_skinny(c->t, &c->down[l], c->rows), &c->down[l], sizeof(c->down[l]));
    }
}

static void one(void *ctx, unsigned i)
{
    struct chain *c = ctx;
    lab_launch(sc_cu_launch_skinny(c->t, &c->qkv[i % c->layers], c->rows), &c->qkv[i % c->layers],
               sizeof(c->qkv[0]));
}

static void time_model(enum sc_cu_type t, const char *name, uint32_t layers, uint32_t hidden, uint32_t inter,
                       uint32_t rows)
{
    struct lab_array w[4], act[5], count = lab_words(&rows, 1), bias = lab_random(t, 2 * (size_t)inter, 0.1);
    struct lab_array gamma = lab_around(SC_CU_F32, hidden, 1, 0.2), beta = lab_random(SC_CU_F32, hidden, 0.2);
    const uint32_t n[4] = {3 * hidden, hidden, inter, hidden}, k[4] = {hidden, hidden, hidden, inter};
    for (int i = 0; i < 4; i++)
        w[i] = lab_random(t, (size_t)layers * n[i] * k[i], 0.02);
    /* x before its norm, x after it, qkv, what attention gives, what the wide linear gives */
    const uint32_t width[5] = {hidden, hidden, 3 * hidden, hidden, inter};
    for (int i = 0; i < 5; i++)
        act[i] = lab_random(t, (size_t)rows * width[i], 1);
    const uint32_t begin[2] = {0, rows};
    struct sc_cu_tile small[4], large[4];
    struct sc_cu_counts counts;
    sc_cu_tiles(begin, NULL, 1, small, large, &counts);
    uint32_t tiles = counts.small + counts.large;
    struct lab_array tile = lab_words((uint32_t *)(counts.small ? small : large), 16),
                     many = lab_words(&tiles, 1);
    struct chain *c = calloc(1, sizeof(*c));
    *c = (struct chain){.layers = layers, .t = t, .rows = rows, .large = counts.large > 0};
    size_t size = lab_size_of(t);
    for (uint32_t l = 0; l < layers; l++) {
        struct sc_cu_skinny *to[4] = {&c->qkv[l], &c->project[l], &c->up[l], &c->down[l]};
        const int in[4] = {0, 3, 0, 4}, out[4] = {2, 0, 4, 0};
        for (int i = 0; i < 4; i++) {
            bool norm = i == 0 || i == 2;
            *to[i] = (struct sc_cu_skinny){.x = act[in[i]].device,
                                           .w = (char *)w[i].device + (size_t)l * n[i] * k[i] * size,
                                           .bias = bias.device,
                                           .residual = norm ? NULL : act[1].device,
                                           .gamma = norm ? gamma.device : NULL,
                                           .beta = norm ? beta.device : NULL,
                                           .normed = norm ? act[1].device : NULL,
                                           .out = act[out[i]].device,
                                           .rows = count.device,
                                           .n = n[i],
                                           .k = k[i],
                                           .act = i == 2 ? SC_CU_GELU_ERF : SC_CU_NONE,
                                           .eps = EPS};
        }
    }
    c->attention = (struct sc_cu_attention){.qkv = act[2].device,
                                            .out = act[3].device,
                                            .tiles = tile.device,
                                            .count = many.device,
                                            .heads = hidden / 64,
                                            .head_dim = 64,
                                            .scale = 0.125f};
    char what[96];
    double bytes = 0;
    for (int i = 0; i < 4; i++)
        bytes += (double)(w[i].n * size);
    snprintf(what, sizeof(what), "%s %s, a text of %u tokens, all layers", name, lab_type_name(t), rows);
    lab_print_time(what, lab_time(forward, c, 1), bytes, 0);
    struct sc_cu_skinny *kinds[4] = {c->qkv, c->project, c->up, c->down};
    for (int i = 0; i < 4; i++) {
        for (uint32_t l = 0; l < layers; l++)
            c->qkv[l] = kinds[i][l];
        snprintf(what, sizeof(what), "  skinny, %u rows, %u to %u", rows, k[i], n[i]);
        lab_print_time(what, lab_time(one, c, layers),
                       bytes * n[i] * k[i] / ((double)hidden * (4.0 * hidden + 2.0 * inter)) / layers, 0);
    }
    for (int i = 0; i < 4; i++)
        lab_free(&w[i]);
    for (int i = 0; i < 5; i++)
        lab_free(&act[i]);
    lab_free(&count), lab_free(&bias), lab_free(&gamma), lab_free(&beta), lab_free(&tile), lab_free(&many);
    free(c);
}

static void measure(enum sc_cu_type t)
{
    if (t == SC_CU_F32)
        return;
    static const uint32_t rows[] = {1, 16, 32, 64, 128, 150};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        time_model(t, "BERT-base", 12, 768, 3072, rows[i]);
    time_model(t, "BERT-large", 24, 1024, 4096, 16);
    time_model(t, "MiniLM-L6", 6, 384, 1536, 16);
}

const struct lab_bench lab_skinny = {"skinny", check, measure};
