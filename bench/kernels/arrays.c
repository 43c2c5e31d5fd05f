#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers repeat after so many, a prime: drawing them would take longer than what is done with them. */
#define PERIOD ((size_t)1000003)
/* Longer arrays are for timing alone. */
#define HOST_MOST ((size_t)1 << 24)
#define GUARD 256 /* bytes behind an output that nobody may write */

static uint64_t state = 1;
static unsigned failures;

size_t lab_size_of(enum sc_cu_type t)
{
    return t == SC_CU_F32 ? 4 : 2;
}

const char *lab_type_name(enum sc_cu_type t)
{
    static const char *const names[] = {"f16", "bf16", "f32"};
    return names[t];
}

void lab_seed(uint64_t seed)
{
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

uint32_t lab_below(uint32_t n)
{
    return (uint32_t)(((uint64_t)next() * n) >> 32);
}

double lab_normal(void)
{
    double sum = 0; /* of twelve even ones */
    for (int i = 0; i < 6; i++) {
        uint32_t x = next();
        sum += (x & 0xffff) + (x >> 16);
    }
    return sum / 65536.0 - 6.0;
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static void to_type(void *out, enum sc_cu_type t, size_t i, double x)
{
    if (t == SC_CU_F32)
        ((float *)out)[i] = (float)x;
    else if (t == SC_CU_F16)
        ((_Float16 *)out)[i] = (_Float16)x;
    else
        ((uint16_t *)out)[i] = bf16_of((float)x);
}

static double from_type(const void *in, enum sc_cu_type t, size_t i)
{
    if (t == SC_CU_F32)
        return (double)((const float *)in)[i];
    if (t == SC_CU_F16)
        return (double)((const _Float16 *)in)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)in)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return (double)x;
}

static void *need(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (p == NULL)
        abort();
    return p;
}

struct lab_array lab_around(enum sc_cu_type t, size_t n, double mean, double deviation)
{
    size_t size = lab_size_of(t), fresh = n < PERIOD ? n : PERIOD;
    struct lab_array a = {.type = t, .n = n, .device = lab_device_alloc(n * size)};
    char *typed = need(n * size);
    for (size_t i = 0; i < fresh; i++)
        to_type(typed, t, i, mean + deviation * lab_normal());
    for (size_t i = fresh; i < n; i += fresh)
        memcpy(typed + i * size, typed, (n - i < fresh ? n - i : fresh) * size);
    if (n <= HOST_MOST) {
        a.host = need(n * sizeof(double));
        for (size_t i = 0; i < n; i++)
            a.host[i] = from_type(typed, t, i);
    }
    lab_to_device(a.device, typed, n * lab_size_of(t));
    free(typed);
    return a;
}

struct lab_array lab_random(enum sc_cu_type t, size_t n, double deviation)
{
    return lab_around(t, n, 0, deviation);
}

struct lab_array lab_output(enum sc_cu_type t, size_t n)
{
    struct lab_array a = {.type = t, .n = n, .device = lab_device_alloc(n * lab_size_of(t) + GUARD)};
    lab_poison_again(&a);
    return a;
}

struct lab_array lab_words(const uint32_t *words, size_t n)
{
    struct lab_array a = {.type = SC_CU_F32, .n = n, .device = lab_device_alloc(n * 4)};
    lab_to_device(a.device, words, n * 4);
    return a;
}

void lab_free(struct lab_array *a)
{
    free(a->host);
    if (a->device)
        lab_device_free(a->device);
    *a = (struct lab_array){0};
}

void lab_poison_again(struct lab_array *a)
{
    lab_poison(a->device, a->n * lab_size_of(a->type) + GUARD);
}

double *lab_read(const struct lab_array *a)
{
    size_t bytes = a->n * lab_size_of(a->type);
    void *typed = need(bytes);
    double *x = need(a->n * sizeof(double));
    lab_from_device(typed, a->device, bytes);
    for (size_t i = 0; i < a->n; i++)
        x[i] = from_type(typed, a->type, i);
    free(typed);
    return x;
}

void lab_fail(const char *what, const char *why)
{
    printf("  FAILED %s: %s\n", what, why);
    failures++;
}

unsigned lab_failures(void)
{
    return failures;
}

void lab_verdict(const char *what, const struct lab_array *out, const double *ref, double slack)
{
    /* The relative error of rounding a result once is 2.8e-4, 2.3e-3, 2e-8 on average. */
    static const double limits[] = {1e-3, 8e-3, 5e-6};
    double *x = lab_read(out), diff = 0, norm = 0, worst = 0;
    size_t compared = 0, missing = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (isnan(ref[i]))
            continue;
        compared++;
        missing += isnan(x[i]);
        diff += (x[i] - ref[i]) * (x[i] - ref[i]);
        norm += ref[i] * ref[i];
        worst = fmax(worst, fabs(x[i] - ref[i]));
    }
    unsigned char guard[GUARD];
    lab_from_device(guard, (char *)out->device + out->n * lab_size_of(out->type), GUARD);
    bool whole = true;
    for (int i = 0; i < GUARD; i++)
        whole = whole && guard[i] == 0xff;
    double error = norm > 0 ? sqrt(diff / norm) : sqrt(diff);
    bool good = missing == 0 && whole && error <= limits[out->type] * slack;
    printf("  %-6s %-58s %8zu numbers, error %.1e, worst %.1e\n", good ? "ok" : "FAILED", what, compared,
           error, worst);
    if (missing)
        printf("         %zu of them were not written or are not numbers\n", missing);
    if (!whole)
        printf("         written behind the end\n");
    failures += !good;
    free(x);
}

void lab_print_time(const char *what, double seconds, double bytes, double flops)
{
    printf("  %-58s %9.2f us", what, seconds * 1e6);
    if (bytes > 0)
        printf("  %6.0f GB/s (%3.0f %% of a copy)", bytes / seconds / 1e9,
               100 * bytes / seconds / lab_copy_ceiling());
    if (flops > 0)
        printf("  %6.1f TFLOP/s", flops / seconds / 1e12);
    printf("\n");
}
