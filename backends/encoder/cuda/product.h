/*
 * Matrix products of the GPU engine: cuBLASLt with algorithms chosen by measuring.
 *
 * y[rows, n] = f(x[rows, k] w[n, k]^T + b), all row-major. Products of one shape, type and epilogue are a
 * class, and for each class an algorithm is kept per bucket of rows: read from the cache file, else chosen at
 * load. After sc_products_tune everything here but struct sc_product_lane is read-only.
 */
#ifndef SC_ENCODER_CUDA_PRODUCT_H
#define SC_ENCODER_CUDA_PRODUCT_H

#include <stdbool.h>

#include "base/limits.h"
#include "cuda/cublaslt.h"

#define SC_PRODUCT_BUCKETS 64

#define SC_ENV_GPU_TUNE \
    "SCONCE_GPU_TUNE" /* "off": the library's own choices (under tools that make GPUs slow) */

struct sc_product_kind {
    uint32_t n, k;
    int in, out;  /* CUDA_R_...: type of x and w; of y and b */
    int epilogue; /* CUBLASLT_EPILOGUE_DEFAULT, _RELU or _GELU (by tanh), plus _BIAS if there is a b */
    int adds;     /* 1: y = f(...) + c */
};

struct sc_product_choice {
    cublasLtMatmulAlgo_t algo;
    uint64_t workspace;
    bool known;
};

struct sc_product_class {
    struct sc_product_kind kind;
    cublasLtMatrixLayout_t w;
    uint32_t rows_max;
    uint32_t members; /* products of this class, linked by sc_product.next */
    struct sc_product *first;
    struct sc_product_choice choice[SC_PRODUCT_BUCKETS];
};

/* One product: one weight. */
struct sc_product {
    uint32_t class;
    CUdeviceptr w, b; /* b 0: none */
    cublasLtMatmulDesc_t desc;
    struct sc_product *next;
};

struct sc_products {
    const struct sc_cuda *cuda;
    struct sc_lt lt;
    size_t workspace; /* bytes of a lane's */
    uint32_t buckets, bucket[SC_PRODUCT_BUCKETS];
    struct sc_product_class class[SC_ENCODER_PRODUCT_CLASSES];
    uint32_t classes;
    uint32_t tuned, cached; /* choices made now, and read from the file */
};

/* The views of x and y that a lane's products use: one thread. */
struct sc_product_lane {
    const struct sc_products *g;
    CUstream stream;
    CUdeviceptr workspace; /* g->workspace bytes, aligned to 256 */
    struct {
        cublasLtMatrixLayout_t x, y;
        uint32_t rows;
    } view[SC_ENCODER_PRODUCT_CLASSES];
};

/*
 * Products of up to rows_max rows by `lt`, which is open and becomes g's. The caller closes with
 * sc_products_close.
 */
void sc_products_open(struct sc_products *g, const struct sc_cuda *cuda, const struct sc_lt *lt,
                      uint32_t rows_max, size_t workspace);
void sc_products_close(struct sc_products *g);

/* The bucket of `rows`: the fewest rows not below it for which algorithms are chosen. 1 <= rows <= rows_max.
 */
uint32_t sc_products_bucket(const struct sc_products *g, uint32_t rows);

/* Describes a product; *p stays where it is and lives until sc_product_free. Its rows never exceed rows_max.
 */
int sc_product_init(struct sc_products *g, struct sc_product *p, struct sc_product_kind kind, CUdeviceptr w,
                    CUdeviceptr b, uint32_t rows_max, struct sc_msg *msg) SC_MUST_USE;
void sc_product_free(struct sc_products *g, struct sc_product *p);

/*
 * Chooses an algorithm for every class and bucket by timing what the library proposes on `lane`'s stream, x
 * of random numbers and y, both large enough for every product. `identity` names GPU and driver; folder
 * `cache` keeps choices for the next time (NULL or "": nowhere). What a cache file does not have, or has for
 * another identity, is measured; a file that cannot be read or written costs only time.
 */
int sc_products_tune(struct sc_products *g, struct sc_product_lane *lane, CUdeviceptr x, CUdeviceptr y,
                     const char *identity, const char *cache, struct sc_msg *msg) SC_MUST_USE;

int sc_product_lane_init(struct sc_product_lane *l, const struct sc_products *g, CUstream stream,
                         CUdeviceptr workspace, struct sc_msg *msg) SC_MUST_USE;
void sc_product_lane_free(struct sc_product_lane *l);

/* Enqueues product p on the lane's stream; c (which may be y) counts if it adds. SC_ESYS. */
int sc_product_run(struct sc_product_lane *l, const struct sc_product *p, uint32_t rows, CUdeviceptr x,
                   CUdeviceptr c, CUdeviceptr y) SC_MUST_USE;
/* The same with an algorithm that is being tried. CUBLAS_STATUS_... */
cublasStatus_t sc_product_try(struct sc_product_lane *l, const struct sc_product *p, uint32_t rows,
                              CUdeviceptr x, CUdeviceptr c, CUdeviceptr y, const cublasLtMatmulAlgo_t *algo);

#endif
