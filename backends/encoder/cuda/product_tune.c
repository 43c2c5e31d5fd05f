#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/product_cache.h"

#define CANDIDATES 8
#define RUNS 3
#define LAUNCHES_MAX 48

struct tuner {
    struct sc_products *g;
    struct sc_product_lane *lane;
    CUdeviceptr x, y;
    CUevent start, stop;
    cublasLtMatmulPreference_t preference;
    bool filled;
};

/* Enough launches for the clock, over all weights of the class: a forward pass finds them in memory, not in
 * the cache, too. */
static uint32_t launches(const struct sc_product_class *c, uint32_t rows)
{
    uint32_t least = rows <= 1024 ? 12 : 4;
    return SC_MIN(SC_MAX(c->members, least), rows <= 4096 ? LAUNCHES_MAX : 8u);
}

static bool enqueue(struct tuner *t, const struct sc_product_class *c, uint32_t rows,
                    const cublasLtMatmulAlgo_t *algo)
{
    const struct sc_product *p = c->first;
    for (uint32_t i = launches(c, rows); i > 0; i--) {
        if (sc_product_try(t->lane, p, rows, t->x, t->x, t->y, algo) != CUBLAS_STATUS_SUCCESS)
            return false;
        p = p->next ? p->next : c->first;
    }
    return true;
}

/* Milliseconds of one graph's launches: the best of some runs. INFINITY if it cannot be run. */
static float measure(struct tuner *t, const struct sc_product_class *c, uint32_t rows,
                     const cublasLtMatmulAlgo_t *algo)
{
    const struct sc_cuda *cu = t->g->cuda;
    CUstream s = t->lane->stream;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    float best = INFINITY;
    /* Once outside a capture: the library loads the algorithm's kernels. */
    if (sc_product_try(t->lane, c->first, rows, t->x, t->x, t->y, algo) != CUBLAS_STATUS_SUCCESS ||
        cu->StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) != CUDA_SUCCESS)
        return best;
    bool good = enqueue(t, c, rows, algo);
    good = cu->StreamEndCapture(s, &graph) == CUDA_SUCCESS && good &&
           cu->GraphInstantiate(&exec, graph, 0) == CUDA_SUCCESS;
    for (int run = 0; good && run <= RUNS; run++) {
        float ms = INFINITY;
        good = cu->EventRecord(t->start, s) == CUDA_SUCCESS && cu->GraphLaunch(exec, s) == CUDA_SUCCESS &&
               cu->EventRecord(t->stop, s) == CUDA_SUCCESS && cu->EventSynchronize(t->stop) == CUDA_SUCCESS &&
               cu->EventElapsedTime(&ms, t->start, t->stop) == CUDA_SUCCESS;
        if (good && run > 0)
            best = SC_MIN(best, ms);
    }
    if (exec)
        cu->GraphExecDestroy(exec);
    if (graph)
        cu->GraphDestroy(graph);
    return good ? best : INFINITY;
}

static size_t widest(const struct sc_products *g)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < g->classes; i++) {
        const struct sc_product_class *c = &g->class[i];
        size_t one = c->kind.in == CUDA_R_32F ? 4 : 2;
        bytes = SC_MAX(bytes, one * c->kind.k * SC_MIN(c->rows_max, g->bucket[g->buckets - 1]));
    }
    return bytes;
}

/* Numbers of both signs and some exponents, as activations are: timings on zeros flatter. */
static bool fill(struct tuner *t)
{
    const struct sc_cuda *cu = t->g->cuda;
    size_t piece = 1u << 20, bytes = widest(t->g);
    uint16_t *host = malloc(piece);
    if (!host)
        return false;
    uint64_t seed = 88172645463325252u;
    for (size_t i = 0; i < piece / sizeof *host; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        /* Between 1/4 and 2 in fp16, tiny to 2 in bf16 and fp32. */
        host[i] = (uint16_t)((seed & 0x83ffu) | (0x3400u + (seed >> 16 & 0x0c00u) % 0x0c00u));
    }
    CUresult r = CUDA_SUCCESS;
    for (size_t at = 0; r == CUDA_SUCCESS && at < bytes; at += piece)
        r = cu->MemcpyHtoDAsync(t->x + at, host, SC_MIN(piece, bytes - at), t->lane->stream);
    if (r == CUDA_SUCCESS)
        r = cu->StreamSynchronize(t->lane->stream);
    free(host);
    return r == CUDA_SUCCESS;
}

/* Chosen by one timing; the two fastest are timed again, so that luck does not choose. */
static void choose(struct tuner *t, struct sc_product_class *c, uint32_t rows, struct sc_product_choice *out)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    const struct sc_lt *lt = &t->g->lt;
    uint32_t class = c->first->class;
    int n = 0, first = -1, second = -1;
    float ms[CANDIDATES];
    if (!t->filled && !fill(t))
        return;
    t->filled = true;
    /* Sets the views' rows. */
    if (sc_product_try(t->lane, c->first, rows, t->x, t->x, t->y, NULL) != CUBLAS_STATUS_SUCCESS)
        return;
    if (lt->MatmulAlgoGetHeuristic(lt->handle, c->first->desc, c->w, t->lane->view[class].x,
                                   t->lane->view[class].y, t->lane->view[class].y, t->preference, CANDIDATES,
                                   found, &n) != CUBLAS_STATUS_SUCCESS)
        return;
    for (int i = 0; i < n; i++) {
        ms[i] = found[i].state == CUBLAS_STATUS_SUCCESS && found[i].workspaceSize <= t->g->workspace
                    ? measure(t, c, rows, &found[i].algo)
                    : INFINITY;
        if (!isfinite(ms[i]))
            continue;
        if (first < 0 || ms[i] < ms[first]) {
            second = first;
            first = i;
        } else if (second < 0 || ms[i] < ms[second]) {
            second = i;
        }
    }
    if (first < 0)
        return;
    if (second >= 0 && measure(t, c, rows, &found[second].algo) < measure(t, c, rows, &found[first].algo))
        first = second;
    *out = (struct sc_product_choice){
        .algo = found[first].algo, .workspace = found[first].workspaceSize, .known = true};
}

/* True if the library of this process accepts what a file says. */
static bool acceptable(struct tuner *t, const struct sc_product_class *c, uint32_t rows,
                       const struct sc_product_entry *e)
{
    uint32_t class = c->first->class;
    uint64_t columns = rows;
    cublasLtMatmulHeuristicResult_t result = {0};
    struct sc_product_lane *l = t->lane;
    const struct sc_lt *lt = &t->g->lt;
    l->view[class].rows = 0;
    return lt->MatrixLayoutSetAttribute(l->view[class].x, CUBLASLT_MATRIX_LAYOUT_COLS, &columns,
                                        sizeof columns) == CUBLAS_STATUS_SUCCESS &&
           lt->MatrixLayoutSetAttribute(l->view[class].y, CUBLASLT_MATRIX_LAYOUT_COLS, &columns,
                                        sizeof columns) == CUBLAS_STATUS_SUCCESS &&
           lt->MatmulAlgoCheck(lt->handle, c->first->desc, c->w, l->view[class].x, l->view[class].y,
                               l->view[class].y, &e->algo, &result) == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= t->g->workspace;
}

static void choose_all(struct tuner *t, struct sc_product_cache *cache)
{
    struct sc_products *g = t->g;
    const char *tune = getenv(SC_ENV_GPU_TUNE);
    if (tune && strcmp(tune, "off") == 0)
        return;
    for (uint32_t i = 0; i < g->classes; i++) {
        struct sc_product_class *c = &g->class[i];
        for (uint32_t k = 0; c->first && k < g->buckets; k++) {
            uint32_t rows = SC_MIN(g->bucket[k], c->rows_max);
            const struct sc_product_entry *known = sc_product_cache_find(cache, &c->kind, rows);
            if (known && acceptable(t, c, rows, known)) {
                c->choice[k] = (struct sc_product_choice){
                    .algo = known->algo, .workspace = known->workspace, .known = true};
                g->cached++;
            } else {
                choose(t, c, rows, &c->choice[k]);
                g->tuned++;
                struct sc_product_entry e = {.kind = c->kind,
                                             .rows = rows,
                                             .workspace = c->choice[k].workspace,
                                             .algo = c->choice[k].algo};
                if (c->choice[k].known)
                    sc_product_cache_add(cache, &e);
            }
            if (rows >= c->rows_max)
                break;
        }
    }
}

int sc_products_tune(struct sc_products *g, struct sc_product_lane *lane, CUdeviceptr x, CUdeviceptr y,
                     const char *identity, const char *cache_dir, struct sc_msg *msg)
{
    const struct sc_cuda *cu = g->cuda;
    struct tuner t = {.g = g, .lane = lane, .x = x, .y = y};
    struct sc_product_cache cache;
    uint64_t workspace = g->workspace;
    sc_product_cache_read(&cache, cache_dir, identity);
    int rc = sc_cuda_check(cu, cu->EventCreate(&t.start, 0), "cuEventCreate", msg);
    if (rc == 0)
        rc = sc_cuda_check(cu, cu->EventCreate(&t.stop, 0), "cuEventCreate", msg);
    if (rc == 0)
        rc = sc_lt_check(&g->lt, g->lt.MatmulPreferenceCreate(&t.preference),
                         "cublasLtMatmulPreferenceCreate", msg);
    if (rc == 0)
        rc = sc_lt_check(&g->lt,
                         g->lt.MatmulPreferenceSetAttribute(t.preference,
                                                            CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                            &workspace, sizeof workspace),
                         "cublasLtMatmulPreferenceSetAttribute", msg);
    if (rc == 0) {
        choose_all(&t, &cache);
        rc = sc_cuda_check(cu, cu->StreamSynchronize(lane->stream), "Choosing algorithms", msg);
    }
    if (rc == 0 && g->tuned > 0)
        (void)sc_product_cache_write(&cache, cache_dir, identity);
    if (t.preference)
        g->lt.MatmulPreferenceDestroy(t.preference);
    if (t.start)
        cu->EventDestroy(t.start);
    if (t.stop)
        cu->EventDestroy(t.stop);
    sc_product_cache_free(&cache);
    return rc;
}
