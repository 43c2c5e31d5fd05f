#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mix.h"
#include "cuda/ahead.h"
#include "cuda/lane.h"

#define WORKSPACE ((size_t)16 << 20) /* of a lane's products */
#define RESULTS ((size_t)8 << 20)    /* that leave together */
#define RESERVE ((size_t)128 << 20)  /* for the library's kernels and graphs */
#define MIB (1u << 20)

static int type_of(const struct sc_gpu *g, const char *dtype, enum sc_cu_type *out, struct sc_msg *msg)
{
    if (!dtype || strcmp(dtype, "auto") == 0 || strcmp(dtype, "fp16") == 0)
        *out = SC_CU_F16;
    else if (strcmp(dtype, "bf16") == 0)
        *out = SC_CU_BF16;
    else if (strcmp(dtype, "fp32") == 0)
        *out = SC_CU_F32;
    else
        return sc_fail(msg, SC_EINVAL, "dtype \"%.40s\" is not known: fp16, bf16 or fp32", dtype);
    if (*out == SC_CU_BF16 && !g->bf16)
        return sc_fail(msg, SC_EUNSUPPORTED, "%s cannot compute in bf16; set dtype: fp16", g->name);
    return 0;
}

static int priority_of(const struct sc_gpu *g, bool high, int *out, struct sc_msg *msg)
{
    int least = 0, greatest = 0;
    int rc = sc_cuda_check(&g->cuda, g->cuda.StreamPriorities(&least, &greatest), g->name, msg);
    *out = high ? greatest : least;
    return rc;
}

/* Before anything is allocated: all of it, with the numbers shown. `weights`: bytes that are not there yet.
 */
static int plan(struct sc_gpu_engine *e, size_t weights, unsigned lanes, struct sc_msg *msg)
{
    size_t free_bytes = 0, total = 0;
    int rc = sc_cuda_check(&e->gpu.cuda, e->gpu.cuda.MemGetInfo(&free_bytes, &total), e->gpu.name, msg);
    if (rc < 0)
        return rc;
    e->lane_bytes = sc_gpu_lane_bytes(e);
    size_t need = weights + SC_MAX(lanes, 1u) * e->lane_bytes + RESERVE;
    if (need <= free_bytes)
        return 0;
    return sc_fail(
        msg, SC_ENOMEM,
        "%s has %zu MiB of its %zu free, and the model needs %zu: weights %zu, %u lanes of %zu for "
        "maxBatchTokens %u, %zu for the library; lower maxBatchTokens or the number of workers",
        e->gpu.name, free_bytes / MIB, total / MIB, need / MIB + 1, weights / MIB, SC_MAX(lanes, 1u),
        e->lane_bytes / MIB, e->base.max_tokens, RESERVE / MIB);
}

/* The block that an earlier process filled with just these weights on this GPU, if it was kept. */
static bool find_kept(struct sc_gpu_engine *e, const struct sc_engine_options *o, const char *name,
                      size_t bytes, struct sc_gpu_block *b)
{
    uint64_t size = 0;
    struct sc_msg unused;
    int fd = o->kept ? o->kept(o->keeper, name, &size) : -1;
    bool good = fd >= 0 && size >= bytes && sc_gpu_block_import(&e->gpu, fd, size, b, &unused) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static void keep(struct sc_gpu_engine *e, const struct sc_engine_options *o, const char *name)
{
    int fd;
    struct sc_msg unused;
    if (!o->keep || sc_gpu_block_export(&e->gpu, &e->weights.block, &fd, &unused) < 0)
        return;
    o->keep(o->keeper, name, fd, e->weights.block.size);
    close(fd);
}

static int load_weights(struct sc_gpu_engine *e, const struct sc_encoder_config *c,
                        const struct sc_encoder_weights *w, const struct sc_engine_options *o,
                        uint32_t result_rows, struct sc_msg *msg)
{
    char name[64];
    size_t bytes;
    uint64_t identity, gpu = sc_mix_bytes(SC_MIX_START, &e->gpu.uuid, sizeof e->gpu.uuid);
    struct sc_gpu_block block = {0};
    int rc = sc_gpu_weights_size(c, w, e->type, &bytes, &identity, msg);
    if (rc < 0)
        return rc;
    snprintf(name, sizeof name, "encoder-%016llx-%016llx", (unsigned long long)gpu,
             (unsigned long long)identity);
    e->mapped = find_kept(e, o, name, bytes, &block);
    rc = plan(e, e->mapped ? 0 : bytes, o->lanes, msg);
    if (e->mapped) {
        int adopted = sc_gpu_weights_adopt(&e->weights, &block, &e->products, c, w, e->type, o->max_tokens,
                                           result_rows, msg);
        return rc < 0 ? rc : adopted;
    }
    if (rc == 0)
        rc = sc_gpu_weights_load(&e->weights, &e->gpu, &e->products, c, w, e->type, o->max_tokens,
                                 result_rows, msg);
    if (rc == 0)
        keep(e, o, name);
    return rc;
}

/* $SCONCE_CACHE, or sconce below the user's cache folder; "" if there is neither. */
static void cache_folder(char *path, size_t size)
{
    const char *named = getenv("SCONCE_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (named)
        n = snprintf(path, size, "%s", named);
    else if (xdg && *xdg)
        n = snprintf(path, size, "%s/sconce", xdg);
    else if (home && *home)
        n = snprintf(path, size, "%s/.cache/sconce", home);
    if (n <= 0 || (size_t)n >= size)
        path[0] = '\0';
}

/* With a lane of its own, so that lanes made later find everything chosen. */
static int tune(struct sc_gpu_engine *e, struct sc_msg *msg)
{
    struct sc_engine_lane *base;
    char folder[4096], identity[240];
    int64_t start = sc_clock_ms();
    cache_folder(folder, sizeof folder);
    snprintf(identity, sizeof identity, "%s, %d.%d, driver %d, cuBLASLt %zu, workspace %zu", e->gpu.name,
             e->gpu.capability / 10, e->gpu.capability % 10, e->gpu.driver, e->products.lt.version,
             WORKSPACE);
    int rc = sc_gpu_lane_new(&base, &e->base, msg);
    if (rc < 0)
        return rc;
    struct sc_gpu_lane *l = SC_CONTAINER(base, struct sc_gpu_lane, base);
    /* Both are large enough: x takes r's place too, and wide is the widest. */
    rc = sc_products_tune(&e->products, &l->product, l->x, l->wide, identity, folder, msg);
    sc_gpu_lane_del(base);
    snprintf(e->cache, sizeof e->cache, "%u algorithms chosen and %u known, %lld ms", e->products.tuned,
             e->products.cached, (long long)(sc_clock_ms() - start));
    return rc;
}

static void engine_del(struct sc_engine *base)
{
    struct sc_gpu_engine *e = SC_CONTAINER(base, struct sc_gpu_engine, base);
    if (e->gpu.context)
        sc_gpu_enter(&e->gpu);
    sc_gpu_weights_free(&e->weights, &e->gpu, &e->products);
    sc_products_close(&e->products);
    if (e->gpu.context)
        sc_gpu_close(&e->gpu);
    free(e);
}

/* The configuration's numbers, without what its owner frees. */
static struct sc_encoder_config numbers_of(const struct sc_encoder_config *c)
{
    struct sc_encoder_config n = *c;
    n.arch = NULL;
    n.label = NULL;
    for (size_t i = 0; i < SC_COUNT(n.dense); i++)
        n.dense[i].dir = NULL;
    return n;
}

static int load(struct sc_gpu_engine *e, const struct sc_encoder_config *c,
                const struct sc_encoder_weights *w, const struct sc_engine_options *o, struct sc_msg *msg)
{
    struct sc_engine_ahead *ahead = o->ahead ? o->ahead : sc_gpu_ahead(o->gpu);
    struct sc_laps laps;
    struct sc_lt lt;
    if (!ahead)
        return sc_fail(msg, SC_ENOMEM, "No memory for the engine");
    int rc = sc_gpu_ahead_take(ahead, &e->gpu, &lt, &laps, msg);
    if (rc < 0)
        return rc;
    sc_products_open(&e->products, &e->gpu.cuda, &lt, o->max_tokens, WORKSPACE);
    rc = type_of(&e->gpu, o->dtype, &e->type, msg);
    if (rc == 0)
        rc = priority_of(&e->gpu, o->high, &e->priority, msg);
    if (rc < 0)
        return rc;
    laps.at = sc_clock_ns();
    size_t row = (size_t)e->base.columns * sizeof(float);
    e->out_bytes = SC_MAX(row, SC_MIN(RESULTS, row * o->max_tokens));
    rc = load_weights(e, c, w, o, (uint32_t)(e->out_bytes / row), msg);
    sc_lap(&laps, e->mapped ? "weights mapped" : "weights");
    if (rc == 0)
        rc = tune(e, msg);
    sc_lap(&laps, "algorithms");
    if (rc == 0 && o->tell)
        o->tell(o->keeper, laps.text);
    return rc;
}

static int engine_new(struct sc_engine **out, const struct sc_encoder_config *c,
                      const struct sc_encoder_weights *w, const struct sc_engine_options *o,
                      struct sc_msg *warning, struct sc_msg *msg)
{
    struct sc_gpu_engine *e = calloc(1, sizeof *e);
    warning->text[0] = '\0';
    if (!e)
        return sc_fail(msg, SC_ENOMEM, "No memory for the engine");
    sc_engine_base(&e->base, &sc_engine_cuda_ops, c, o);
    e->config = numbers_of(c);
    e->graphs = true;
    int rc = load(e, c, w, o, msg);
    if (rc < 0) {
        engine_del(&e->base);
        return rc;
    }
    *out = &e->base;
    return 0;
}

static void describe(const struct sc_engine *base, char *text, size_t size)
{
    static const char *const type[] = {[SC_CU_F16] = "fp16", [SC_CU_BF16] = "bf16", [SC_CU_F32] = "fp32"};
    const struct sc_gpu_engine *e = SC_CONTAINER(base, struct sc_gpu_engine, base);
    snprintf(text, size, "%s, %s, %s kernels, cuBLASLt %zu (%s), weights %zu MiB%s, a lane %zu MiB",
             e->gpu.name, type[e->type], e->gpu.dependent_launch ? "sm_90" : "generic",
             e->products.lt.version, e->cache, e->weights.block.size / MIB,
             e->mapped ? " (there already)" : "", e->lane_bytes / MIB);
}

static void memory(const struct sc_engine *base, uint64_t *weights, uint64_t *lane)
{
    const struct sc_gpu_engine *e = SC_CONTAINER(base, struct sc_gpu_engine, base);
    *weights = e->weights.block.size;
    *lane = e->lane_bytes;
}

const struct sc_engine_ops sc_engine_cuda_ops = {
    .name = "cuda",
    .device = true,
    .ahead = sc_gpu_ahead,
    .drop = sc_gpu_ahead_drop,
    .new = engine_new,
    .memory = memory,
    .del = engine_del,
    .describe = describe,
    .lane_new = sc_gpu_lane_new,
    .lane_del = sc_gpu_lane_del,
    .run = sc_gpu_lane_run,
};
