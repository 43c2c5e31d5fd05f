#include "cpu/kernels.h"

#include <string.h>

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#endif

const struct sc_kernels *sc_kernels_best(void)
{
#if defined(__x86_64__)
    if (has_avx512())
        return &sc_kernels_avx512;
    if (has_avx2())
        return &sc_kernels_avx2;
#endif
    return &sc_kernels_portable;
}

const struct sc_kernels *sc_kernels_named(const char *name)
{
    if (strcmp(name, sc_kernels_portable.name) == 0)
        return &sc_kernels_portable;
#if defined(__x86_64__)
    if (strcmp(name, sc_kernels_avx2.name) == 0 && has_avx2())
        return &sc_kernels_avx2;
    if (strcmp(name, sc_kernels_avx512.name) == 0 && has_avx512())
        return &sc_kernels_avx512;
#endif
    return NULL;
}
