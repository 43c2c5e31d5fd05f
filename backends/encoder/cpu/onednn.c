/*
 * The module that multiplies with oneDNN, 2.x or 3.x, whichever it is compiled against.
 *
 * Facts it is built on (measured): the packed layout that oneDNN chooses is the same for every number of
 * rows, so one packed copy serves all; a primitive for a new number of rows takes a millisecond to make, so
 * rows come in a few sizes, made when the weight is packed; run-time dimensions fall back to the reference
 * code and are never used. Primitives are shared by all threads, which oneDNN allows with user scratch
 * memory.
 */
#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/matmul.h"

/* More rows than this go in several calls. */
#define ROWS 256
#define SIZES (64 / 8 + (ROWS - 64) / 16)

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t md_t;
typedef const_dnnl_memory_desc_t md_in;
#define MD_IN(md) (md)
#else
typedef dnnl_memory_desc_t md_t;
typedef const dnnl_memory_desc_t *md_in;
#define MD_IN(md) (&(md))
#endif

struct sized {
    dnnl_primitive_t primitive;
    md_t a, c, scratch;
};

struct sc_matmul {
    size_t n, k;
    size_t scratch; /* the library's; behind it lie the activations in bf16 */
    bool bf16;
    dnnl_memory_t w, bias;
    struct sized size[SIZES];
};

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static bool md_make(md_t *md, int64_t rows, int64_t columns, bool bf16, dnnl_format_tag_t tag)
{
    dnnl_dims_t dims = {rows, columns};
    dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(md, 2, dims, type, tag) == dnnl_success;
#else
    return dnnl_memory_desc_init_by_tag(md, 2, dims, type, tag) == dnnl_success;
#endif
}

static void md_free(md_t *md)
{
#if DNNL_VERSION_MAJOR >= 3
    if (*md)
        dnnl_memory_desc_destroy(*md);
    *md = NULL;
#else
    (void)md;
#endif
}

static void md_copy(md_t *to, md_in from)
{
#if DNNL_VERSION_MAJOR >= 3
    if (dnnl_memory_desc_clone(to, from) != dnnl_success)
        *to = NULL;
#else
    *to = *from;
#endif
}

/* Rows of size class i, and the class that holds m rows. */
static size_t rows_of(size_t i)
{
    return i < 8 ? (i + 1) * 8 : 64 + (i - 7) * 16;
}

static size_t class_of(size_t m)
{
    return m <= 64 ? (m + 7) / 8 - 1 : 7 + (m - 64 + 15) / 16;
}

static bool attributes(dnnl_primitive_attr_t *attr, enum sc_activation act)
{
    static const struct {
        dnnl_alg_kind_t alg;
        float alpha;
    } known[] = {
        [SC_ACT_GELU] = {dnnl_eltwise_gelu_erf, 0}, [SC_ACT_GELU_TANH] = {dnnl_eltwise_gelu_tanh, 0},
        [SC_ACT_RELU] = {dnnl_eltwise_relu, 0},     [SC_ACT_SILU] = {dnnl_eltwise_swish, 1},
        [SC_ACT_TANH] = {dnnl_eltwise_tanh, 0},
    };
    if (dnnl_primitive_attr_create(attr) != dnnl_success)
        return false;
    bool ok = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user) == dnnl_success;
    dnnl_post_ops_t ops = NULL;
    if (ok && act != SC_ACT_NONE) {
        ok = dnnl_post_ops_create(&ops) == dnnl_success;
#if DNNL_VERSION_MAJOR >= 3
        ok = ok && dnnl_post_ops_append_eltwise(ops, known[act].alg, known[act].alpha, 0) == dnnl_success;
#else
        ok = ok && dnnl_post_ops_append_eltwise(ops, 1, known[act].alg, known[act].alpha, 0) == dnnl_success;
#endif
        ok = ok && dnnl_primitive_attr_set_post_ops(*attr, ops) == dnnl_success;
    }
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (!ok)
        dnnl_primitive_attr_destroy(*attr);
    return ok;
}

/* A product of m rows with weights laid out as w says (format any: as oneDNN likes). */
static bool describe(dnnl_primitive_desc_t *pd, md_t *a, md_t *c, size_t m, const struct sc_matmul *g,
                     md_in w, const_dnnl_primitive_attr_t attr)
{
    md_t bias;
    memset(&bias, 0, sizeof bias);
    bool ok = md_make(a, (int64_t)m, (int64_t)g->k, g->bf16, dnnl_ab) &&
              md_make(c, (int64_t)m, (int64_t)g->n, false, dnnl_ab) &&
              md_make(&bias, 1, (int64_t)g->n, false, dnnl_ab);
#if DNNL_VERSION_MAJOR >= 3
    ok = ok && dnnl_matmul_primitive_desc_create(pd, engine, *a, w, bias, *c, attr) == dnnl_success;
#else
    dnnl_matmul_desc_t desc;
    ok = ok && dnnl_matmul_desc_init(&desc, a, w, &bias, c) == dnnl_success &&
         dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL) == dnnl_success;
#endif
    md_free(&bias);
    return ok;
}

static bool reorder(dnnl_memory_t to, md_in to_md, const float *w, size_t n, size_t k)
{
    /* The file's [n][k] is the transposed of what matmul takes: strides say so. */
    dnnl_dims_t dims = {(int64_t)k, (int64_t)n}, strides = {1, (int64_t)k};
    md_t md;
#if DNNL_VERSION_MAJOR >= 3
    if (dnnl_memory_desc_create_with_strides(&md, 2, dims, dnnl_f32, strides) != dnnl_success)
        return false;
#else
    if (dnnl_memory_desc_init_by_strides(&md, 2, dims, dnnl_f32, strides) != dnnl_success)
        return false;
#endif
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t p = NULL;
    bool ok =
        dnnl_memory_create(&from, MD_IN(md), engine, (void *)(uintptr_t)w) == dnnl_success &&
        dnnl_reorder_primitive_desc_create(&pd, MD_IN(md), engine, to_md, engine, NULL) == dnnl_success &&
        dnnl_primitive_create(&p, pd) == dnnl_success;
    if (ok) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        ok = dnnl_primitive_execute(p, stream, 2, args) == dnnl_success &&
             dnnl_stream_wait(stream) == dnnl_success;
    }
    if (p)
        dnnl_primitive_destroy(p);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (from)
        dnnl_memory_destroy(from);
    md_free(&md);
    return ok;
}

static bool make_weight(struct sc_matmul *g, const float *w, const_dnnl_primitive_attr_t attr, md_t *packed)
{
    md_t any, a, c;
    memset(&a, 0, sizeof a);
    memset(&c, 0, sizeof c);
    if (!md_make(&any, (int64_t)g->k, (int64_t)g->n, g->bf16, dnnl_format_tag_any))
        return false;
    dnnl_primitive_desc_t pd = NULL;
    bool ok = describe(&pd, &a, &c, 128, g, MD_IN(any), attr);
    if (ok) {
        md_in chosen = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        md_copy(packed, chosen);
        ok = dnnl_memory_create(&g->w, MD_IN(*packed), engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
             reorder(g->w, MD_IN(*packed), w, g->n, g->k);
        dnnl_primitive_desc_destroy(pd);
    }
    md_free(&any);
    md_free(&a);
    md_free(&c);
    return ok;
}

static bool make_bias(struct sc_matmul *g, const float *bias)
{
    md_t md;
    void *to;
    bool ok = md_make(&md, 1, (int64_t)g->n, false, dnnl_ab);
    ok = ok && dnnl_memory_create(&g->bias, MD_IN(md), engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
         dnnl_memory_get_data_handle(g->bias, &to) == dnnl_success;
    if (ok)
        memcpy(to, bias, g->n * sizeof *bias);
    md_free(&md);
    return ok;
}

static bool make_size(struct sc_matmul *g, size_t i, md_in packed, const_dnnl_primitive_attr_t attr)
{
    struct sized *s = &g->size[i];
    dnnl_primitive_desc_t pd = NULL;
    if (!describe(&pd, &s->a, &s->c, rows_of(i), g, packed, attr))
        return false;
    bool ok = dnnl_primitive_create(&s->primitive, pd) == dnnl_success;
    md_in scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    md_copy(&s->scratch, scratch);
    size_t bytes = dnnl_memory_desc_get_size(scratch);
    if (bytes > g->scratch)
        g->scratch = bytes;
    dnnl_primitive_desc_destroy(pd);
    return ok;
}

static void del(struct sc_matmul *g)
{
    for (size_t i = 0; i < SIZES; i++) {
        if (g->size[i].primitive)
            dnnl_primitive_destroy(g->size[i].primitive);
        md_free(&g->size[i].a);
        md_free(&g->size[i].c);
        md_free(&g->size[i].scratch);
    }
    if (g->w)
        dnnl_memory_destroy(g->w);
    if (g->bias)
        dnnl_memory_destroy(g->bias);
    free(g);
}

static struct sc_matmul *pack(const float *w, const float *bias, size_t n, size_t k, enum sc_activation act,
                              bool bf16)
{
    struct sc_matmul *g = calloc(1, sizeof *g);
    dnnl_primitive_attr_t attr;
    if (!g || !attributes(&attr, act)) {
        free(g);
        return NULL;
    }
    g->n = n;
    g->k = k;
    g->bf16 = bf16;
    md_t packed;
    memset(&packed, 0, sizeof packed);
    bool ok = make_weight(g, w, attr, &packed) && make_bias(g, bias);
    for (size_t i = 0; ok && i < SIZES; i++)
        ok = make_size(g, i, MD_IN(packed), attr);
    md_free(&packed);
    dnnl_primitive_attr_destroy(attr);
    if (!ok) {
        del(g);
        return NULL;
    }
    return g;
}

/* Up to a cache line's begin, so that both parts of the scratch lie on one. */
static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t scratch(const struct sc_matmul *g)
{
    return rounded(g->scratch) + (g->bf16 ? ROWS * g->k * sizeof(uint16_t) : 0);
}

/* Rounds to nearest, ties to even, as processors do; a NaN stays one. Only where AVX-512 is: it is as wide.
 */
#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#endif
static void
to_bf16(const float *a, size_t n, uint16_t *to)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, a + i, sizeof bits);
        uint32_t nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
        to[i] = (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : nearest);
    }
}

static int run_some(const struct sc_matmul *g, size_t m, const float *a, float *c, void *memory)
{
    const struct sized *s = &g->size[class_of(m)];
    dnnl_memory_t in = NULL, out = NULL, work = NULL;
    void *from = (void *)(uintptr_t)a;
    if (g->bf16) {
        from = (char *)memory + rounded(g->scratch);
        to_bf16(a, m * g->k, from);
    }
    bool ok = dnnl_memory_create(&in, MD_IN(s->a), engine, from) == dnnl_success &&
              dnnl_memory_create(&out, MD_IN(s->c), engine, c) == dnnl_success &&
              dnnl_memory_create(&work, MD_IN(s->scratch), engine, memory) == dnnl_success;
    if (ok) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, in},
                                        {DNNL_ARG_WEIGHTS, g->w},
                                        {DNNL_ARG_BIAS, g->bias},
                                        {DNNL_ARG_DST, out},
                                        {DNNL_ARG_SCRATCHPAD, work}};
        ok = dnnl_primitive_execute(s->primitive, stream, 5, args) == dnnl_success;
    }
    if (in)
        dnnl_memory_destroy(in);
    if (out)
        dnnl_memory_destroy(out);
    if (work)
        dnnl_memory_destroy(work);
    return ok ? 0 : -1;
}

static int run(const struct sc_matmul *g, size_t m, const float *a, float *c, void *memory)
{
    for (size_t row = 0; row < m; row += ROWS) {
        size_t rows = m - row < ROWS ? m - row : ROWS;
        if (run_some(g, rows, a + row * g->k, c + row * g->n, memory) < 0)
            return -1;
    }
    return 0;
}

const struct sc_matmul_ops *sc_matmul_module(void);

/* The engine and stream live as long as the process: the module is never unloaded once it works. */
__attribute__((visibility("default"))) const struct sc_matmul_ops *sc_matmul_module(void)
{
    static struct sc_matmul_ops ops = {SC_MATMUL_ABI, "onednn", false, pack, del, scratch, run};
    if (!stream && (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success ||
                    dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success))
        return NULL;
    /* With AVX-512 alone it can, too, but converts in software. ISAs are sets of bits. */
    int isa = (int)dnnl_get_effective_cpu_isa(), needed = dnnl_cpu_isa_avx512_core_bf16;
    ops.bf16 = (isa & needed) == needed;
    return &ops;
}
