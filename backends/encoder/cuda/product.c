#include "cuda/product.h"

#include <string.h>

/* Four steps an octave from 64 on; below, the tiles' own 16. */
static void make_buckets(struct sc_products *g, uint32_t rows_max)
{
    uint32_t rows = 0;
    while (g->buckets + 1 < SC_PRODUCT_BUCKETS && rows < rows_max) {
        uint32_t step = 16;
        while (step * 8 <= rows)
            step *= 2;
        rows = SC_MIN(rows + step, rows_max);
        g->bucket[g->buckets++] = rows;
    }
    g->bucket[g->buckets - 1] = rows_max;
}

void sc_products_open(struct sc_products *g, const struct sc_cuda *cuda, const struct sc_lt *lt,
                      uint32_t rows_max, size_t workspace)
{
    *g = (struct sc_products){.cuda = cuda, .lt = *lt, .workspace = workspace};
    make_buckets(g, rows_max);
}

void sc_products_close(struct sc_products *g)
{
    for (uint32_t i = 0; i < g->classes; i++)
        if (g->class[i].w)
            g->lt.MatrixLayoutDestroy(g->class[i].w);
    g->classes = 0;
    sc_lt_close(&g->lt);
}

static uint32_t bucket_index(const struct sc_products *g, uint32_t rows)
{
    uint32_t low = 0, high = g->buckets - 1;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (g->bucket[mid] < rows)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint32_t sc_products_bucket(const struct sc_products *g, uint32_t rows)
{
    return g->bucket[bucket_index(g, rows)];
}

/* The class of kind, made if there is none yet. */
static int class_of(struct sc_products *g, struct sc_product_kind kind, struct sc_product_class **out,
                    struct sc_msg *msg)
{
    for (uint32_t i = 0; i < g->classes; i++)
        if (memcmp(&g->class[i].kind, &kind, sizeof kind) == 0) {
            *out = &g->class[i];
            return 0;
        }
    if (g->classes == SC_ENCODER_PRODUCT_CLASSES)
        return sc_fail(msg, SC_ELIMIT, "The model has more than %u kinds of matrix products",
                       SC_ENCODER_PRODUCT_CLASSES);
    struct sc_product_class *c = &g->class[g->classes];
    *c = (struct sc_product_class){.kind = kind};
    /* cuBLASLt's matrices are column-major: w is there [k, n], and transposed in the product. */
    int rc = sc_lt_check(&g->lt, g->lt.MatrixLayoutCreate(&c->w, kind.in, kind.k, kind.n, kind.k),
                         "cublasLtMatrixLayoutCreate", msg);
    if (rc < 0)
        return rc;
    g->classes++;
    *out = c;
    return 0;
}

static cublasStatus_t describe(const struct sc_products *g, struct sc_product *p,
                               const struct sc_product_kind *kind)
{
    static const int transposed = CUBLAS_OP_T;
    const struct sc_lt *lt = &g->lt;
    cublasStatus_t s = lt->MatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = lt->MatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = lt->MatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &kind->epilogue,
                                       sizeof kind->epilogue);
    if (s == CUBLAS_STATUS_SUCCESS && p->b)
        s = lt->MatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &kind->out,
                                       sizeof kind->out);
    if (s == CUBLAS_STATUS_SUCCESS && p->b)
        s = lt->MatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->b, sizeof p->b);
    return s;
}

int sc_product_init(struct sc_products *g, struct sc_product *p, struct sc_product_kind kind, CUdeviceptr w,
                    CUdeviceptr b, uint32_t rows_max, struct sc_msg *msg)
{
    struct sc_product_class *c = NULL;
    kind.epilogue = b ? (kind.epilogue & ~CUBLASLT_EPILOGUE_DEFAULT) | CUBLASLT_EPILOGUE_BIAS : kind.epilogue;
    int rc = class_of(g, kind, &c, msg);
    if (rc < 0)
        return rc;
    *p = (struct sc_product){.class = (uint32_t)(c - g->class), .w = w, .b = b, .next = c->first};
    c->first = p;
    c->members++;
    c->rows_max = SC_MAX(c->rows_max, rows_max);
    return sc_lt_check(&g->lt, describe(g, p, &c->kind), "cublasLtMatmulDesc", msg);
}

void sc_product_free(struct sc_products *g, struct sc_product *p)
{
    if (p->desc)
        g->lt.MatmulDescDestroy(p->desc);
    p->desc = NULL;
}

/* ---- lanes --------------------------------------------------------------------------------- */

int sc_product_lane_init(struct sc_product_lane *l, const struct sc_products *g, CUstream stream,
                         CUdeviceptr workspace, struct sc_msg *msg)
{
    *l = (struct sc_product_lane){.g = g, .stream = stream, .workspace = workspace};
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < g->classes; i++) {
        const struct sc_product_kind *k = &g->class[i].kind;
        l->view[i].rows = 1;
        cublasStatus_t s = g->lt.MatrixLayoutCreate(&l->view[i].x, k->in, k->k, 1, k->k);
        if (s == CUBLAS_STATUS_SUCCESS)
            s = g->lt.MatrixLayoutCreate(&l->view[i].y, k->out, k->n, 1, k->n);
        rc = sc_lt_check(&g->lt, s, "cublasLtMatrixLayoutCreate", msg);
    }
    return rc;
}

void sc_product_lane_free(struct sc_product_lane *l)
{
    for (uint32_t i = 0; l->g && i < l->g->classes; i++) {
        if (l->view[i].x)
            l->g->lt.MatrixLayoutDestroy(l->view[i].x);
        if (l->view[i].y)
            l->g->lt.MatrixLayoutDestroy(l->view[i].y);
    }
    *l = (struct sc_product_lane){0};
}

static cublasStatus_t set_rows(struct sc_product_lane *l, uint32_t class, uint32_t rows)
{
    if (l->view[class].rows == rows)
        return CUBLAS_STATUS_SUCCESS;
    const struct sc_lt *lt = &l->g->lt;
    uint64_t columns = rows;
    cublasStatus_t s =
        lt->MatrixLayoutSetAttribute(l->view[class].x, CUBLASLT_MATRIX_LAYOUT_COLS, &columns, sizeof columns);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = lt->MatrixLayoutSetAttribute(l->view[class].y, CUBLASLT_MATRIX_LAYOUT_COLS, &columns,
                                         sizeof columns);
    l->view[class].rows = s == CUBLAS_STATUS_SUCCESS ? rows : 0;
    return s;
}

cublasStatus_t sc_product_try(struct sc_product_lane *l, const struct sc_product *p, uint32_t rows,
                              CUdeviceptr x, CUdeviceptr c, CUdeviceptr y, const cublasLtMatmulAlgo_t *algo)
{
    static const float one = 1, zero = 0;
    const struct sc_products *g = l->g;
    bool adds = g->class[p->class].kind.adds;
    cublasStatus_t s = set_rows(l, p->class, rows);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    return g->lt.Matmul(g->lt.handle, p->desc, &one, (const void *)(uintptr_t)p->w, g->class[p->class].w,
                        (const void *)(uintptr_t)x, l->view[p->class].x, adds ? &one : &zero,
                        (const void *)(uintptr_t)(adds ? c : y), l->view[p->class].y, (void *)(uintptr_t)y,
                        l->view[p->class].y, algo, (void *)(uintptr_t)l->workspace, g->workspace, l->stream);
}

int sc_product_run(struct sc_product_lane *l, const struct sc_product *p, uint32_t rows, CUdeviceptr x,
                   CUdeviceptr c, CUdeviceptr y)
{
    const struct sc_product_choice *choice = &l->g->class[p->class].choice[bucket_index(l->g, rows)];
    cublasStatus_t s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (choice->known)
        s = sc_product_try(l, p, rows, x, c, y, &choice->algo);
    /* An algorithm of the bucket may not take every number of rows in it: the library then picks one itself.
     */
    if (s != CUBLAS_STATUS_SUCCESS)
        s = sc_product_try(l, p, rows, x, c, y, NULL);
    return s == CUBLAS_STATUS_SUCCESS ? 0 : SC_ESYS;
}
