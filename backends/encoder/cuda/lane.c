#include "cuda/lane.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define ALIGN 256u
#define SPIN_NS 300000 /* a sleep costs more than most waits that are shorter */

/* ---- places ------------------------------------------------------------------------------------ */

struct sc_gpu_stage sc_gpu_stage_of(const struct sc_gpu_shape *s)
{
    struct sc_gpu_stage p = {.counts = 0, .tokens = 8};
    uint32_t tile = sizeof(struct sc_cu_tile) / sizeof(uint32_t);
    p.begin = p.tokens + 2 * s->tokens;
    p.index = p.begin + s->sequences + 1;
    p.small = (p.index + s->picks + 3) / 4 * 4;
    p.large = p.small + tile * s->small;
    p.words = p.large + tile * s->large;
    return p;
}

/* The largest batch there can be: one token a sequence at worst. */
static struct sc_gpu_shape largest(const struct sc_gpu_engine *e)
{
    uint32_t t = e->base.max_tokens;
    return (struct sc_gpu_shape){.tokens = t,
                                 .sequences = t,
                                 .picks = t,
                                 .small = SC_CU_SMALL_TILES(t, t),
                                 .large = SC_CU_LARGE_TILES(t, t)};
}

/* Sizes of a lane's buffers in the order of the fields from `stage` on. */
enum { BUFFERS = 10 };
static void sizes(const struct sc_gpu_engine *e, size_t size[BUFFERS])
{
    const struct sc_encoder_config *c = &e->config;
    struct sc_gpu_shape most = largest(e);
    size_t t = e->base.max_tokens, one = sc_gpu_type_size(e->type);
    size_t width = SC_MAX(c->hidden, c->embedding), inside = (size_t)c->intermediate * (c->gated ? 2 : 1);
    for (uint32_t i = 0; i < c->dense_n; i++)
        width = SC_MAX(width, (size_t)c->dense[i].out);
    size_t all[BUFFERS] = {
        sc_gpu_stage_of(&most).words * sizeof(uint32_t),
        t * sizeof(uint32_t), /* iota */
        t * width * one,      /* x */
        t * width * one,      /* r */
        t * width * one,      /* s */
        t * width * one,      /* context */
        t * SC_MAX(3 * (size_t)c->hidden, inside) * one,
        c->gated ? t * c->intermediate * one : 0,
        e->out_bytes,
        e->products.workspace,
    };
    for (size_t i = 0; i < BUFFERS; i++)
        size[i] = (all[i] + ALIGN - 1) / ALIGN * ALIGN;
}

size_t sc_gpu_lane_bytes(const struct sc_gpu_engine *e)
{
    size_t size[BUFFERS], sum = 0;
    sizes(e, size);
    for (size_t i = 0; i < BUFFERS; i++)
        sum += size[i];
    return sum;
}

static int allocate(struct sc_gpu_lane *l, struct sc_msg *msg)
{
    const struct sc_gpu_engine *e = l->e;
    const struct sc_cuda *c = &e->gpu.cuda;
    CUdeviceptr *const place[BUFFERS] = {&l->stage,   &l->iota, &l->x,     &l->r,   &l->s,
                                         &l->context, &l->wide, &l->gated, &l->out, &l->workspace};
    size_t size[BUFFERS];
    void *pinned = NULL, *results = NULL;
    sizes(e, size);
    CUresult r = c->MemAlloc(&l->memory, e->lane_bytes);
    if (r == CUDA_SUCCESS)
        r = c->MemHostAlloc(&pinned, size[0], 0);
    if (r == CUDA_SUCCESS)
        r = c->MemHostAlloc(&results, e->out_bytes, 0);
    l->pinned = pinned;
    l->results = results;
    int rc = sc_cuda_check(c, r, "Memory of a lane", msg);
    if (rc < 0)
        return rc;
    CUdeviceptr at = l->memory;
    for (size_t i = 0; i < BUFFERS; i++) {
        *place[i] = at;
        at += size[i];
    }
    /* Products read rows behind the batch in a bucket: they shall be numbers. */
    r = c->MemsetD8Async(l->memory, 0, e->lane_bytes, l->stream);
    for (uint32_t i = 0; i < e->base.max_tokens; i++)
        l->pinned[i] = i;
    if (r == CUDA_SUCCESS)
        r = c->MemcpyHtoDAsync(l->iota, l->pinned, e->base.max_tokens * sizeof(uint32_t), l->stream);
    if (r == CUDA_SUCCESS)
        r = c->StreamSynchronize(l->stream);
    return sc_cuda_check(c, r, "Memory of a lane", msg);
}

int sc_gpu_lane_new(struct sc_engine_lane **out, const struct sc_engine *base, struct sc_msg *msg)
{
    const struct sc_gpu_engine *e = SC_CONTAINER(base, struct sc_gpu_engine, base);
    const struct sc_cuda *c = &e->gpu.cuda;
    struct sc_gpu_lane *l = calloc(1, sizeof *l);
    if (!l)
        return sc_fail(msg, SC_ENOMEM, "No memory for a lane");
    l->base.engine = base;
    l->e = e;
    int rc = sc_cuda_check(c, c->CtxSetCurrent(e->gpu.context), e->gpu.name, msg);
    if (rc == 0)
        rc = sc_cuda_check(c, c->StreamCreate(&l->stream, CU_STREAM_NON_BLOCKING, e->priority),
                           "cuStreamCreate", msg);
    if (rc == 0)
        rc = sc_cuda_check(c, c->EventCreate(&l->done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING),
                           "cuEventCreate", msg);
    if (rc == 0)
        rc = allocate(l, msg);
    if (rc == 0)
        rc = sc_product_lane_init(&l->product, &e->products, l->stream, l->workspace, msg);
    if (rc < 0) {
        sc_gpu_lane_del(&l->base);
        return rc;
    }
    *out = &l->base;
    return 0;
}

void sc_gpu_lane_del(struct sc_engine_lane *base)
{
    struct sc_gpu_lane *l = SC_CONTAINER(base, struct sc_gpu_lane, base);
    const struct sc_cuda *c = &l->e->gpu.cuda;
    sc_gpu_enter(&l->e->gpu);
    if (l->stream)
        c->StreamSynchronize(l->stream);
    for (uint32_t i = 0; i < l->graphs; i++)
        if (l->graph[i].exec)
            c->GraphExecDestroy(l->graph[i].exec);
    sc_product_lane_free(&l->product);
    if (l->results)
        c->MemFreeHost(l->results);
    if (l->pinned)
        c->MemFreeHost(l->pinned);
    if (l->memory)
        c->MemFree(l->memory);
    if (l->done)
        c->EventDestroy(l->done);
    if (l->stream)
        c->StreamDestroy(l->stream);
    free(l);
}

/* ---- staging ----------------------------------------------------------------------------------- */

static bool by_token(const struct sc_gpu_engine *e)
{
    return e->base.task == SC_TASK_TOKEN || e->base.task == SC_TASK_QA;
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static void count_tiles(const struct sc_batch *b, bool *small, bool *large)
{
    *small = *large = false;
    uint32_t most = sc_cu_small_length(b->begin[b->sequences] - b->begin[0]);
    for (uint32_t i = 0; i < b->sequences; i++)
        *(b->begin[i + 1] - b->begin[i] <= most ? small : large) = true;
}

/* The shape of exactly this batch, or of all like it if `rounded`. */
static struct sc_gpu_shape shape_of(const struct sc_gpu_engine *e, const struct sc_batch *b, bool rounded)
{
    struct sc_gpu_shape s = {.tokens = b->begin[b->sequences] - b->begin[0], .sequences = b->sequences};
    bool small, large;
    s.picks = by_token(e) ? 0 : e->base.task == SC_TASK_FILL_MASK ? b->picks_n : b->sequences;
    if (rounded) {
        s.tokens = sc_products_bucket(&e->products, s.tokens);
        s.sequences = SC_MIN(power_of_two(s.sequences), s.tokens);
        s.picks = SC_MIN(s.picks ? power_of_two(s.picks) : 0, s.tokens);
    }
    count_tiles(b, &small, &large);
    s.small = small ? SC_CU_SMALL_TILES(s.tokens, s.sequences) : 0;
    s.large = large ? SC_CU_LARGE_TILES(s.tokens, s.sequences) : 0;
    uint32_t rows = by_token(e) ? s.tokens : s.picks;
    s.rows = (uint64_t)rows * e->base.columns * sizeof(float) <= e->out_bytes ? rows : 0;
    return s;
}

static void stage_tokens(const struct sc_gpu_engine *e, const struct sc_batch *b, struct sc_cu_token *to)
{
    const struct sc_encoder_config *c = &e->config;
    for (uint32_t i = 0; i < b->sequences; i++) {
        uint32_t counted = 0;
        for (uint32_t t = b->begin[i]; t < b->begin[i + 1]; t++, to++) {
            uint32_t place = c->position_offset + counted;
            if (c->position_by_pad && b->ids[t] == c->pad_id)
                place = c->pad_id;
            else
                counted++;
            uint32_t segment = c->types && b->types ? b->types[t] : 0;
            *to = (struct sc_cu_token){.id = b->ids[t], .at = place | segment << 24};
        }
    }
}

static void stage_index(const struct sc_gpu_engine *e, const struct sc_batch *b, uint32_t *to)
{
    uint32_t first = b->begin[0];
    bool last = e->config.pooling == SC_POOL_LAST;
    if (e->base.task == SC_TASK_FILL_MASK)
        for (uint32_t i = 0; i < b->picks_n; i++)
            to[i] = b->picks[i] - first;
    else if (!by_token(e))
        for (uint32_t i = 0; i < b->sequences; i++)
            to[i] = (last ? b->begin[i + 1] - 1 : b->begin[i] + (b->skip ? b->skip[i] : 0)) - first;
}

static void stage(struct sc_gpu_lane *l, const struct sc_batch *b, const struct sc_gpu_shape *s)
{
    const struct sc_gpu_engine *e = l->e;
    struct sc_gpu_stage p = sc_gpu_stage_of(s);
    struct sc_cu_counts *counts = (void *)(l->pinned + p.counts);
    *counts = (struct sc_cu_counts){.tokens = b->begin[b->sequences] - b->begin[0],
                                    .sequences = b->sequences,
                                    .picks = by_token(e)                         ? 0
                                             : e->base.task == SC_TASK_FILL_MASK ? b->picks_n
                                                                                 : b->sequences};
    stage_tokens(e, b, (void *)(l->pinned + p.tokens));
    for (uint32_t i = 0; i <= b->sequences; i++)
        l->pinned[p.begin + i] = b->begin[i] - b->begin[0];
    stage_index(e, b, l->pinned + p.index);
    sc_cu_tiles(l->pinned + p.begin, b->keys, b->sequences, (void *)(l->pinned + p.small),
                (void *)(l->pinned + p.large), counts);
}

/* ---- running ----------------------------------------------------------------------------------- */

static int copy_results(struct sc_gpu_lane *l, size_t rows)
{
    size_t bytes = rows * l->e->base.columns * sizeof(float);
    return l->e->gpu.cuda.MemcpyDtoHAsync(l->results, l->out, bytes, l->stream) == CUDA_SUCCESS ? 0 : SC_ESYS;
}

/* All that the GPU does for a batch; what is captured. */
static int enqueue(struct sc_gpu_lane *l, const struct sc_gpu_shape *s)
{
    size_t bytes = sc_gpu_stage_of(s).words * sizeof(uint32_t);
    if (l->e->gpu.cuda.MemcpyHtoDAsync(l->stage, l->pinned, bytes, l->stream) != CUDA_SUCCESS)
        return SC_ESYS;
    int rc = sc_gpu_forward(l, s);
    return rc < 0 || s->rows == 0 ? rc : copy_results(l, s->rows);
}

static int wait(struct sc_gpu_lane *l)
{
    const struct sc_cuda *c = &l->e->gpu.cuda;
    CUresult r = c->EventRecord(l->done, l->stream);
    if (r == CUDA_SUCCESS) {
        int64_t end = sc_clock_ns() + SPIN_NS;
        do
            r = c->EventQuery(l->done);
        while (r == CUDA_ERROR_NOT_READY && sc_clock_ns() < end);
        if (r == CUDA_ERROR_NOT_READY)
            r = c->EventSynchronize(l->done);
    }
    return r == CUDA_SUCCESS ? 0 : SC_ESYS;
}

/* NULL if the capture failed: then nothing has been enqueued. */
static CUgraphExec capture(struct sc_gpu_lane *l, const struct sc_gpu_shape *s)
{
    const struct sc_cuda *c = &l->e->gpu.cuda;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    if (c->StreamBeginCapture(l->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) != CUDA_SUCCESS)
        return NULL;
    int rc = enqueue(l, s);
    if (c->StreamEndCapture(l->stream, &graph) != CUDA_SUCCESS || rc < 0 ||
        c->GraphInstantiate(&exec, graph, 0) != CUDA_SUCCESS)
        exec = NULL;
    if (graph)
        c->GraphDestroy(graph);
    return exec;
}

/* The entry for a shape; the one unused for longest goes if there is no room. */
static struct sc_gpu_graph *entry_of(struct sc_gpu_lane *l, const struct sc_gpu_shape *s, bool *seen)
{
    struct sc_gpu_graph *oldest = l->graph;
    *seen = true;
    for (uint32_t i = 0; i < l->graphs; i++) {
        if (memcmp(&l->graph[i].shape, s, sizeof *s) == 0)
            return &l->graph[i];
        if (l->graph[i].used < oldest->used)
            oldest = &l->graph[i];
    }
    *seen = false;
    if (l->graphs < SC_ENCODER_GRAPHS)
        oldest = &l->graph[l->graphs++];
    else if (oldest->exec)
        l->e->gpu.cuda.GraphExecDestroy(oldest->exec);
    *oldest = (struct sc_gpu_graph){.shape = *s};
    return oldest;
}

/* A graph is captured when a shape comes for the second time: rare ones are not worth it, and by then the
 * kernels have been loaded. */
static int run_graph(struct sc_gpu_lane *l, const struct sc_gpu_shape *s)
{
    bool seen;
    struct sc_gpu_graph *g = entry_of(l, s, &seen);
    g->used = ++l->clock;
    if (seen && !g->exec)
        g->exec = capture(l, s);
    if (!g->exec)
        return enqueue(l, s);
    return l->e->gpu.cuda.GraphLaunch(g->exec, l->stream) == CUDA_SUCCESS ? 0 : SC_ESYS;
}

/* Results that do not fit at once. */
static int pieces(struct sc_gpu_lane *l, const struct sc_gpu_shape *s, uint32_t rows, float *out)
{
    size_t columns = l->e->base.columns;
    uint32_t most = (uint32_t)(l->e->out_bytes / (columns * sizeof(float)));
    int rc = wait(l);
    for (uint32_t first = 0; rc == 0 && first < rows; first += most) {
        uint32_t n = SC_MIN(most, rows - first);
        l->pinned[SC_GPU_PIECE_WORD] = n;
        if (l->e->gpu.cuda.MemcpyHtoDAsync(l->stage + SC_GPU_PIECE_WORD * sizeof(uint32_t),
                                           l->pinned + SC_GPU_PIECE_WORD, sizeof(uint32_t),
                                           l->stream) != CUDA_SUCCESS)
            return SC_ESYS;
        rc = sc_gpu_piece(l, s, first, n);
        if (rc == 0)
            rc = copy_results(l, n);
        if (rc == 0)
            rc = wait(l);
        if (rc == 0)
            memcpy(out + first * columns, l->results, n * columns * sizeof(float));
    }
    return rc;
}

int sc_gpu_lane_run(struct sc_engine_lane *base, const struct sc_batch *b, float *out)
{
    struct sc_gpu_lane *l = SC_CONTAINER(base, struct sc_gpu_lane, base);
    const struct sc_gpu_engine *e = l->e;
    uint32_t rows = sc_engine_rows(&e->base, b);
    bool rounded = e->graphs && b->begin[b->sequences] - b->begin[0] <= SC_ENCODER_GRAPH_TOKENS;
    struct sc_gpu_shape s = shape_of(e, b, rounded);
    if (rounded && s.rows == 0) {
        rounded = false;
        s = shape_of(e, b, false);
    }
    int rc = sc_gpu_enter(&e->gpu);
    if (rc < 0)
        return rc;
    stage(l, b, &s);
    rc = rounded ? run_graph(l, &s) : enqueue(l, &s);
    if (rc == 0 && s.rows == 0)
        return pieces(l, &s, rows, out);
    if (rc == 0)
        rc = wait(l);
    if (rc == 0)
        memcpy(out, l->results, (size_t)rows * e->base.columns * sizeof(float));
    return rc;
}
