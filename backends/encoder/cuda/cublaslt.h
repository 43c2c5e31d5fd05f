/*
 * cuBLASLt, loaded at run time: its functions and values as far as the engine uses them.
 *
 * The library (0.5 GB) comes with CUDA toolkits, with PyTorch and as a wheel of its own; the build needs
 * neither it nor its header.
 */
#ifndef SC_ENCODER_CUDA_CUBLASLT_H
#define SC_ENCODER_CUDA_CUBLASLT_H

#include <stdbool.h>

#include "cuda/driver.h"

/* Path of the library, or of the folder that holds it; looked at before all other places. */
#define SC_ENV_CUBLASLT "SCONCE_CUBLASLT"

typedef int cublasStatus_t;
typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct cublasLtMatmulDesc *cublasLtMatmulDesc_t;
typedef struct cublasLtMatrixLayout *cublasLtMatrixLayout_t;
typedef struct cublasLtMatmulPreference *cublasLtMatmulPreference_t;

typedef struct {
    uint64_t data[8];
} cublasLtMatmulAlgo_t;

typedef struct {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;

enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,

    CUDA_R_32F = 0,
    CUDA_R_16F = 2,
    CUDA_R_16BF = 14,

    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_OP_T = 1,

    CUBLASLT_MATMUL_DESC_TRANSA = 3,
    CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
    CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26,

    CUBLASLT_EPILOGUE_DEFAULT = 1,
    CUBLASLT_EPILOGUE_RELU = 2,
    CUBLASLT_EPILOGUE_BIAS = 4,
    CUBLASLT_EPILOGUE_GELU = 32,

    CUBLASLT_MATRIX_LAYOUT_COLS = 3,
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
};

struct sc_lt {
    void *library;
    cublasLtHandle_t handle;
    size_t version; /* 130101 is 13.1.1 */
    char path[256]; /* where it was found */
    cublasStatus_t (*Create)(cublasLtHandle_t *);
    cublasStatus_t (*Destroy)(cublasLtHandle_t);
    size_t (*GetVersion)(void);
    const char *(*GetStatusName)(cublasStatus_t);
    cublasStatus_t (*MatmulDescCreate)(cublasLtMatmulDesc_t *, int, int);
    cublasStatus_t (*MatmulDescDestroy)(cublasLtMatmulDesc_t);
    cublasStatus_t (*MatmulDescSetAttribute)(cublasLtMatmulDesc_t, int, const void *, size_t);
    cublasStatus_t (*MatrixLayoutCreate)(cublasLtMatrixLayout_t *, int, uint64_t, uint64_t, int64_t);
    cublasStatus_t (*MatrixLayoutDestroy)(cublasLtMatrixLayout_t);
    cublasStatus_t (*MatrixLayoutSetAttribute)(cublasLtMatrixLayout_t, int, const void *, size_t);
    cublasStatus_t (*MatmulPreferenceCreate)(cublasLtMatmulPreference_t *);
    cublasStatus_t (*MatmulPreferenceDestroy)(cublasLtMatmulPreference_t);
    cublasStatus_t (*MatmulPreferenceSetAttribute)(cublasLtMatmulPreference_t, int, const void *, size_t);
    cublasStatus_t (*MatmulAlgoGetHeuristic)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                             cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                             cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                                             cublasLtMatmulHeuristicResult_t *, int *);
    cublasStatus_t (*MatmulAlgoCheck)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                      cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                      const cublasLtMatmulAlgo_t *, cublasLtMatmulHeuristicResult_t *);
    cublasStatus_t (*Matmul)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *alpha, const void *,
                             cublasLtMatrixLayout_t, const void *, cublasLtMatrixLayout_t, const void *beta,
                             const void *, cublasLtMatrixLayout_t, void *, cublasLtMatrixLayout_t,
                             const cublasLtMatmulAlgo_t *, void *, size_t, CUstream);
};

/*
 * Finds and loads the library: SC_ENV_CUBLASLT, the loader's path, CUDA toolkits, and the wheels that Python
 * installations on PATH hold (of PyTorch, of nvidia-cublas). SC_ENOTFOUND: nowhere; *msg has the line that
 * installs it. SC_EUNSUPPORTED: one without a function we need.
 */
int sc_lt_load(struct sc_lt *lt, struct sc_msg *msg) SC_MUST_USE;
/* Makes the handle; the GPU's context is current. SC_ESYS. */
int sc_lt_open(struct sc_lt *lt, struct sc_msg *msg) SC_MUST_USE;
/* Asks for the algorithm of some product: the first question of a process takes a tenth of a second. */
void sc_lt_warm(const struct sc_lt *lt);
/* Frees the handle, if there is one; the library stays loaded. */
void sc_lt_close(struct sc_lt *lt);

/* If s is an error: SC_ESYS with *msg about `what`. Else 0. */
int sc_lt_check(const struct sc_lt *lt, cublasStatus_t s, const char *what, struct sc_msg *msg) SC_MUST_USE;

#endif
