/* Embedding + LayerNorm; residual + bias + LayerNorm. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void normalise(double *x, uint32_t n, const double *gamma, const double *beta, double eps)
{
    double mean = 0, squares = 0;
    for (uint32_t c = 0; c < n; c++)
        mean += x[c] / n;
    for (uint32_t c = 0; c < n; c++)
        squares += (x[c] - mean) * (x[c] - mean) / n;
    for (uint32_t c = 0; c < n; c++)
        x[c] = (x[c] - mean) / sqrt(squares + eps) * gamma[c] + (beta ? beta[c] : 0);
}

#define EPS 1e-5f

/* parts: 1 position, 2 type, 4 norm, 8 beta */
static void check_embed(enum sc_cu_type t, uint32_t rows, uint32_t hidden, unsigned parts)
{
    enum { WORDS = 1000, POSITIONS = 514, TYPES = 2 };
    struct lab_array word = lab_random(t, (size_t)WORDS * hidden, 0.05);
    struct lab_array position = lab_random(t, (size_t)POSITIONS * hidden, 0.05);
    struct lab_array type = lab_random(t, (size_t)TYPES * hidden, 0.05);
    struct lab_array gamma = lab_around(SC_CU_F32, hidden, 1, 0.2), beta = lab_random(SC_CU_F32, hidden, 0.2);
    struct lab_array out = lab_output(t, (size_t)rows * hidden), count = lab_words(&rows, 1);
    struct sc_cu_token *tokens = calloc(rows + 1, sizeof(*tokens));
    for (uint32_t r = 0; r < rows; r++)
        tokens[r] = (struct sc_cu_token){lab_below(WORDS), lab_below(POSITIONS) | lab_below(TYPES) << 24};
    struct lab_array on_device = lab_words((const uint32_t *)tokens, (size_t)rows * 2);
    struct sc_cu_embed a = {.tokens = on_device.device,
                            .word = word.device,
                            .position = parts & 1 ? position.device : NULL,
                            .type = parts & 2 ? type.device : NULL,
                            .gamma = parts & 4 ? gamma.device : NULL,
                            .beta = parts & 8 ? beta.device : NULL,
                            .out = out.device,
                            .rows = count.device,
                            .hidden = hidden,
                            .eps = EPS};
    lab_launch(sc_cu_launch_embed(t, &a, rows), &a, sizeof(a));

    double *ref = calloc((size_t)rows * hidden + 1, sizeof(double));
    for (uint32_t r = 0; r < rows; r++) {
        double *x = ref + (size_t)r * hidden;
        for (uint32_t c = 0; c < hidden; c++) {
            x[c] = word.host[(size_t)tokens[r].id * hidden + c];
            x[c] += parts & 1 ? position.host[(size_t)(tokens[r].at & 0xffffff) * hidden + c] : 0;
            x[c] += parts & 2 ? type.host[(size_t)(tokens[r].at >> 24) * hidden + c] : 0;
        }
        if (parts & 4)
            normalise(x, hidden, gamma.host, parts & 8 ? beta.host : NULL, (double)EPS);
    }
    char what[96];
    snprintf(what, sizeof(what), "embed %s, %u rows of %u%s%s%s%s", lab_type_name(t), rows, hidden,
             parts & 1 ? " +position" : "", parts & 2 ? " +type" : "", parts & 4 ? " norm" : "",
             parts & 8 ? " beta" : "");
    lab_verdict(what, &out, ref, 1);
    free(ref);
    free(tokens);
    struct lab_array *all[] = {&word, &position, &type, &gamma, &beta, &out, &count, &on_device};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        lab_free(all[i]);
}

/* parts: 1 bias, 2 residual, 4 sum wanted, 8 norm wanted, 16 beta, 32 in place of the residual */
static void check_norm(enum sc_cu_type t, uint32_t rows, uint32_t hidden, unsigned parts)
{
    size_t n = (size_t)rows * hidden;
    struct lab_array x = lab_around(t, n, 0.5, 2), residual = lab_random(t, n, 1),
                     bias = lab_random(t, hidden, 0.5);
    struct lab_array gamma = lab_around(SC_CU_F32, hidden, 1, 0.2), beta = lab_random(SC_CU_F32, hidden, 0.2);
    struct lab_array sum = lab_output(t, n), out = lab_output(t, n), count = lab_words(&rows, 1);
    bool in_place = parts & 32;
    struct sc_cu_norm a = {.x = x.device,
                           .bias = parts & 1 ? bias.device : NULL,
                           .residual = parts & 2 ? residual.device : NULL,
                           .gamma = gamma.device,
                           .beta = parts & 16 ? beta.device : NULL,
                           .sum = parts & 4 ? sum.device : NULL,
                           .out = !(parts & 8) ? NULL
                                  : in_place   ? residual.device
                                               : out.device,
                           .rows = count.device,
                           .hidden = hidden,
                           .eps = EPS};
    lab_launch(sc_cu_launch_norm(t, &a, rows), &a, sizeof(a));

    double *ref = calloc(n + 1, sizeof(double));
    for (size_t i = 0; i < n; i++)
        ref[i] = x.host[i] + (parts & 1 ? bias.host[i % hidden] : 0) + (parts & 2 ? residual.host[i] : 0);
    char what[96];
    int at = snprintf(what, sizeof(what), "norm %s, %u rows of %u%s%s%s%s", lab_type_name(t), rows, hidden,
                      parts & 1 ? " +bias" : "", parts & 2 ? " +residual" : "", parts & 16 ? " beta" : "",
                      in_place ? " in place" : "");
    if (parts & 4) {
        snprintf(what + at, sizeof(what) - (size_t)at, ": sum");
        lab_verdict(what, &sum, ref, 1);
    }
    if (parts & 8) {
        for (uint32_t r = 0; r < rows; r++)
            normalise(ref + (size_t)r * hidden, hidden, gamma.host, parts & 16 ? beta.host : NULL,
                      (double)EPS);
        what[at] = 0;
        if (in_place) { /* lab_verdict wants the guard behind: the result is moved to where one is */
            void *raw = malloc(n * lab_size_of(t) + 1);
            lab_from_device(raw, residual.device, n * lab_size_of(t));
            lab_to_device(out.device, raw, n * lab_size_of(t));
            free(raw);
        }
        lab_verdict(what, &out, ref, 1);
    }
    free(ref);
    struct lab_array *all[] = {&x, &residual, &bias, &gamma, &beta, &sum, &out, &count};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        lab_free(all[i]);
}

static void check(enum sc_cu_type t)
{
    static const uint32_t hidden[] = {8, 32, 37, 96, 128, 312, 384, 768, 1000, 1024, 1536, 4096, 4100, 4104};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        check_embed(t, 131, hidden[i], 15);
        check_norm(t, 131, hidden[i], 1 | 2 | 4 | 8 | 16);
    }
    static const uint32_t rows[] = {0, 1, 2, 7, 8192};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_embed(t, rows[i], 768, 15);
        check_norm(t, rows[i], 768, 1 | 2 | 8 | 16);
    }
    for (unsigned parts = 0; parts < 8; parts++)
        check_embed(t, 13, 768, parts);
    check_norm(t, 61, 768, 8);
    check_norm(t, 61, 768, 4 | 2 | 1);
    check_norm(t, 61, 768, 2 | 8 | 16 | 32);
    check_norm(t, 61, 1536, 2 | 8 | 16 | 32);
    check_norm(t, 61, 37, 2 | 8 | 16 | 32);
}

struct timed {
    struct sc_cu_launch launch;
    struct sc_cu_norm norm[2];
    struct sc_cu_embed embed[2];
};

static void one_norm(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    lab_launch(c->launch, &c->norm[i % 2], sizeof(c->norm[0]));
}

static void one_embed(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    lab_launch(c->launch, &c->embed[i % 2], sizeof(c->embed[0]));
}

static void time_shape(enum sc_cu_type t, uint32_t rows, uint32_t hidden)
{
    enum { WORDS = 30522 };
    size_t n = (size_t)rows * hidden, size = lab_size_of(t);
    struct lab_array x[2], residual[2], out[2], bias = lab_random(t, hidden, 1);
    struct lab_array gamma = lab_around(SC_CU_F32, hidden, 1, 0.2), beta = lab_random(SC_CU_F32, hidden, 0.2);
    struct lab_array word = lab_random(t, (size_t)WORDS * hidden, 1), count = lab_words(&rows, 1);
    struct sc_cu_token *tokens = calloc(rows, sizeof(*tokens));
    for (uint32_t r = 0; r < rows; r++)
        tokens[r] = (struct sc_cu_token){lab_below(WORDS), r % 16};
    struct lab_array on_device = lab_words((const uint32_t *)tokens, (size_t)rows * 2);
    struct timed c;
    for (int i = 0; i < 2; i++) {
        x[i] = lab_random(t, n, 1), residual[i] = lab_random(t, n, 1), out[i] = lab_output(t, n);
        c.norm[i] = (struct sc_cu_norm){.x = x[i].device,
                                        .bias = bias.device,
                                        .residual = residual[i].device,
                                        .gamma = gamma.device,
                                        .beta = beta.device,
                                        .out = out[i].device,
                                        .rows = count.device,
                                        .hidden = hidden,
                                        .eps = EPS};
        c.embed[i] = (struct sc_cu_embed){.tokens = on_device.device,
                                          .word = word.device,
                                          .position = word.device,
                                          .type = word.device,
                                          .gamma = gamma.device,
                                          .beta = beta.device,
                                          .out = out[i].device,
                                          .rows = count.device,
                                          .hidden = hidden,
                                          .eps = EPS};
    }
    char what[96];
    c.launch = sc_cu_launch_norm(t, &c.norm[0], rows);
    snprintf(what, sizeof(what), "norm +bias +residual %s, %u x %u", lab_type_name(t), rows, hidden);
    lab_print_time(what, lab_time(one_norm, &c, 20), 3.0 * (double)(n * size), 0);
    c.launch = sc_cu_launch_embed(t, &c.embed[0], rows);
    snprintf(what, sizeof(what), "embed %s, %u x %u", lab_type_name(t), rows, hidden);
    lab_print_time(what, lab_time(one_embed, &c, 20), 2.0 * (double)(n * size), 0);
    for (int i = 0; i < 2; i++)
        lab_free(&x[i]), lab_free(&residual[i]), lab_free(&out[i]);
    lab_free(&bias), lab_free(&gamma), lab_free(&beta), lab_free(&word), lab_free(&count),
        lab_free(&on_device);
    free(tokens);
}

static void measure(enum sc_cu_type t)
{
    time_shape(t, 16, 768);
    time_shape(t, 8192, 768);
    time_shape(t, 32768, 768);
    time_shape(t, 32768, 384);
    time_shape(t, 16384, 1024);
    time_shape(t, 8192, 4096);
}

const struct lab_bench lab_rows = {"rows", check, measure};
