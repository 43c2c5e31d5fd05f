/* Bias + activation, gated activation, rotary positions. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

double lab_act(uint32_t act, double x)
{
    switch (act) {
    case SC_CU_GELU_ERF: return 0.5 * x * erfc(-x / sqrt(2));
    case SC_CU_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case SC_CU_RELU: return x < 0 ? 0 : x;
    case SC_CU_SILU: return x / (1 + exp(-x));
    case SC_CU_TANH: return tanh(x);
    default: return x;
    }
}

static const char *const act_names[] = {"none", "gelu", "gelu_tanh", "relu", "silu", "tanh"};

static void check_activate(enum sc_cu_type t, uint32_t rows, uint32_t cols, uint32_t act, bool gated,
                           bool with_bias)
{
    uint32_t wide = gated ? 2 * cols : cols;
    struct lab_array x = lab_random(t, (size_t)rows * wide, 2), bias = lab_random(t, wide, 1);
    struct lab_array out = lab_output(t, (size_t)rows * cols), count = lab_words(&rows, 1);
    if (gated) {
        struct sc_cu_glu a = {x.device, with_bias ? bias.device : NULL, out.device, count.device, cols, act};
        lab_launch(sc_cu_launch_glu(t, &a, rows), &a, sizeof(a));
    } else {
        struct sc_cu_activate a = {x.device, with_bias ? bias.device : NULL, out.device, count.device, cols,
                                   act};
        lab_launch(sc_cu_launch_activate(t, &a, rows), &a, sizeof(a));
    }
    double *ref = calloc((size_t)rows * cols + 1, sizeof(double));
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < cols; c++) {
            double *y = &ref[(size_t)r * cols + c];
            *y = lab_act(act, x.host[(size_t)r * wide + c] + (with_bias ? bias.host[c] : 0));
            if (gated)
                *y *= x.host[(size_t)r * wide + cols + c] + (with_bias ? bias.host[cols + c] : 0);
        }
    char what[96];
    snprintf(what, sizeof(what), "%s %s, %u rows of %u%s", gated ? "gated" : "", act_names[act], rows, cols,
             with_bias ? " +bias" : "");
    lab_verdict(what, &out, ref, act == SC_CU_NONE || t != SC_CU_F32 ? 1 : 3);
    free(ref);
    lab_free(&x), lab_free(&bias), lab_free(&out), lab_free(&count);
}

static void check_rotary(enum sc_cu_type t, uint32_t rows, uint32_t heads, uint32_t d)
{
    enum { PLACES = 8192 };
    size_t width = (size_t)3 * heads * d;
    struct lab_array qkv = lab_random(t, rows * width, 1), count = lab_words(&rows, 1);
    struct lab_array table = lab_random(SC_CU_F32, (size_t)PLACES * d, 1);
    struct sc_cu_token *tokens = calloc(rows + 1, sizeof(*tokens));
    float *turns = malloc((size_t)PLACES * d * sizeof(float));
    for (uint32_t p = 0; p < PLACES; p++)
        for (uint32_t i = 0; i < d / 2; i++) {
            double angle = p * pow(10000, -2.0 * i / d);
            turns[(size_t)p * d + 2 * i] = (float)cos(angle);
            turns[(size_t)p * d + 2 * i + 1] = (float)sin(angle);
        }
    lab_to_device(table.device, turns, (size_t)PLACES * d * sizeof(float));
    for (uint32_t r = 0; r < rows; r++)
        tokens[r] = (struct sc_cu_token){0, lab_below(PLACES) | 1u << 24};
    struct lab_array on_device = lab_words((const uint32_t *)tokens, (size_t)rows * 2);

    /* In place: what it works on is moved to where a guard is. */
    struct lab_array out = lab_output(t, rows * width);
    void *raw = malloc(rows * width * lab_size_of(t) + 1);
    lab_from_device(raw, qkv.device, rows * width * lab_size_of(t));
    lab_to_device(out.device, raw, rows * width * lab_size_of(t));
    free(raw);
    struct sc_cu_rotary a = {on_device.device, out.device, table.device, count.device, heads, d};
    lab_launch(sc_cu_launch_rotary(t, &a, rows), &a, sizeof(a));

    double *ref = malloc((rows * width + 1) * sizeof(double));
    for (size_t i = 0; i < rows * width; i++)
        ref[i] = qkv.host[i];
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t h = 0; h < 2 * heads; h++)
            for (uint32_t i = 0; i < d / 2; i++) {
                const float *turn = turns + (size_t)(tokens[r].at & 0xffffff) * d + 2 * i;
                double *lo = ref + r * width + h * d + i, *hi = lo + d / 2, x = *lo, y = *hi;
                *lo = x * (double)turn[0] - y * (double)turn[1];
                *hi = y * (double)turn[0] + x * (double)turn[1];
            }
    char what[96];
    snprintf(what, sizeof(what), "rotary %s, %u rows, %u heads of %u", lab_type_name(t), rows, heads, d);
    lab_verdict(what, &out, ref, 1);
    free(ref), free(turns), free(tokens);
    lab_free(&qkv), lab_free(&count), lab_free(&table), lab_free(&on_device), lab_free(&out);
}

static void check(enum sc_cu_type t)
{
    for (uint32_t act = SC_CU_NONE; act <= SC_CU_TANH; act++) {
        check_activate(t, 19, 3072, act, false, true);
        check_activate(t, 19, 37, act, false, true);
        check_activate(t, 19, 1152, act, true, false);
    }
    static const uint32_t rows[] = {0, 1, 3, 4, 5, 8192};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_activate(t, rows[i], 384, SC_CU_GELU_ERF, false, true);
        check_activate(t, rows[i], 384, SC_CU_GELU_ERF, true, true);
        check_rotary(t, rows[i] % 1000, 12, 64);
    }
    check_activate(t, 7, 16384, SC_CU_GELU_ERF, false, false);
    check_activate(t, 7, 37, SC_CU_GELU_ERF, true, true);
    check_rotary(t, 131, 3, 32);
    check_rotary(t, 131, 3, 96);
    check_rotary(t, 131, 3, 128);
    check_rotary(t, 131, 3, 20);
}

struct timed {
    struct sc_cu_launch launch;
    struct sc_cu_activate activate[2];
    struct sc_cu_glu glu[2];
};

static void one_activate(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    lab_launch(c->launch, &c->activate[i % 2], sizeof(c->activate[0]));
}

static void one_glu(void *ctx, unsigned i)
{
    struct timed *c = ctx;
    lab_launch(c->launch, &c->glu[i % 2], sizeof(c->glu[0]));
}

static void time_shape(enum sc_cu_type t, uint32_t rows, uint32_t cols)
{
    size_t n = (size_t)rows * cols, size = lab_size_of(t);
    struct lab_array x[2], out[2], bias = lab_random(t, 2 * (size_t)cols, 1), count = lab_words(&rows, 1);
    struct timed c;
    char what[96];
    for (int i = 0; i < 2; i++)
        x[i] = lab_random(t, n, 2), out[i] = lab_output(t, n);
    for (uint32_t act = SC_CU_GELU_ERF; act <= SC_CU_GELU_TANH; act++) {
        for (int i = 0; i < 2; i++)
            c.activate[i] =
                (struct sc_cu_activate){x[i].device, bias.device, out[i].device, count.device, cols, act};
        c.launch = sc_cu_launch_activate(t, &c.activate[0], rows);
        snprintf(what, sizeof(what), "%s +bias %s, %u x %u", act_names[act], lab_type_name(t), rows, cols);
        lab_print_time(what, lab_time(one_activate, &c, 10), 2.0 * (double)(n * size), 0);
    }
    for (int i = 0; i < 2; i++)
        c.glu[i] =
            (struct sc_cu_glu){x[i].device, NULL, out[i].device, count.device, cols / 2, SC_CU_GELU_ERF};
    c.launch = sc_cu_launch_glu(t, &c.glu[0], rows);
    snprintf(what, sizeof(what), "gated gelu %s, %u x %u", lab_type_name(t), rows, cols / 2);
    lab_print_time(what, lab_time(one_glu, &c, 10), 1.5 * (double)(n * size), 0);
    for (int i = 0; i < 2; i++)
        lab_free(&x[i]), lab_free(&out[i]);
    lab_free(&bias), lab_free(&count);
}

static void measure(enum sc_cu_type t)
{
    time_shape(t, 8192, 3072);
    time_shape(t, 32768, 3072);
}

const struct lab_bench lab_elements = {"elements", check, measure};
