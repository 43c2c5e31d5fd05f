#include "cpu/gemm.h"
#include "cpu/matmul.h"

/* struct sc_matmul is struct sc_gemm here. */
static struct sc_matmul *pack(const float *w, const float *bias, size_t n, size_t k, enum sc_activation act,
                              bool bf16)
{
    if (bf16)
        return NULL;
    return (struct sc_matmul *)sc_gemm_new(sc_kernels_best(), w, bias, n, k, act);
}

static void del(struct sc_matmul *w)
{
    sc_gemm_del((struct sc_gemm *)w);
}

static size_t scratch(const struct sc_matmul *w)
{
    (void)w;
    return 0;
}

static int run(const struct sc_matmul *w, size_t m, const float *a, float *c, void *memory)
{
    (void)memory;
    sc_gemm_run((const struct sc_gemm *)w, m, a, c);
    return 0;
}

const struct sc_matmul_ops *sc_matmul_builtin(void)
{
    static const struct sc_matmul_ops ops = {SC_MATMUL_ABI, "builtin", false, pack, del, scratch, run};
    return &ops;
}
