#include "cuda/cublaslt.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LIBRARY "libcublasLt.so.13"
#define INSTALL "pip install \"nvidia-cublas>=13,<14\""

struct symbol {
    const char *name;
    size_t offset;
};

#define SYMBOL(field) {"cublasLt" #field, offsetof(struct sc_lt, field)}
static const struct symbol symbols[] = {
    SYMBOL(Create),
    SYMBOL(Destroy),
    SYMBOL(GetVersion),
    SYMBOL(GetStatusName),
    SYMBOL(MatmulDescCreate),
    SYMBOL(MatmulDescDestroy),
    SYMBOL(MatmulDescSetAttribute),
    SYMBOL(MatrixLayoutCreate),
    SYMBOL(MatrixLayoutDestroy),
    SYMBOL(MatrixLayoutSetAttribute),
    SYMBOL(MatmulPreferenceCreate),
    SYMBOL(MatmulPreferenceDestroy),
    SYMBOL(MatmulPreferenceSetAttribute),
    SYMBOL(MatmulAlgoGetHeuristic),
    SYMBOL(MatmulAlgoCheck),
    SYMBOL(Matmul),
};

/* Where Python keeps packages, below a prefix such as /usr or a virtual environment. */
static const char *const packages[] = {
    "lib/python3*/site-packages",
    "lib/python3*/dist-packages",
    "local/lib/python3*/dist-packages",
};

static bool try_path(struct sc_lt *lt, const char *path)
{
    lt->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lt->library)
        snprintf(lt->path, sizeof lt->path, "%s", path);
    return lt->library != NULL;
}

static bool try_pattern(struct sc_lt *lt, const char *pattern)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    for (size_t i = 0; !lt->library && i < found.gl_pathc; i++)
        try_path(lt, found.gl_pathv[i]);
    globfree(&found);
    return lt->library != NULL;
}

static bool try_prefix(struct sc_lt *lt, const char *prefix, int length)
{
    char pattern[4096];
    for (size_t i = 0; i < SC_COUNT(packages); i++) {
        int n = snprintf(pattern, sizeof pattern, "%.*s/%s/nvidia/cu13/lib/" LIBRARY, length, prefix,
                         packages[i]);
        if (n > 0 && (size_t)n < sizeof pattern && try_pattern(lt, pattern))
            return true;
    }
    return false;
}

/* The Python installations that commands of this environment would use: .../bin on PATH. */
static bool try_pythons(struct sc_lt *lt)
{
    const char *home = getenv("HOME"), *env = getenv("VIRTUAL_ENV");
    if (env && *env && try_prefix(lt, env, (int)strlen(env)))
        return true;
    for (const char *p = getenv("PATH"); p && *p;) {
        size_t n = strcspn(p, ":");
        if (n > 4 && n < 2048 && strncmp(p + n - 4, "/bin", 4) == 0 && try_prefix(lt, p, (int)n - 4))
            return true;
        p += n + (p[n] == ':');
    }
    char local[2048];
    if (home && (size_t)snprintf(local, sizeof local, "%s/.local", home) < sizeof local &&
        try_prefix(lt, local, (int)strlen(local)))
        return true;
    return try_prefix(lt, "/usr", 4);
}

static bool try_named(struct sc_lt *lt, const char *named)
{
    struct stat st;
    char path[4096];
    if (stat(named, &st) == 0 && S_ISDIR(st.st_mode)) {
        int n = snprintf(path, sizeof path, "%s/" LIBRARY, named);
        return n > 0 && (size_t)n < sizeof path && try_path(lt, path);
    }
    return try_path(lt, named);
}

int sc_lt_load(struct sc_lt *lt, struct sc_msg *msg)
{
    static const char *const toolkits[] = {"/usr/local/cuda/lib64/" LIBRARY,
                                           "/usr/local/cuda-13*/lib64/" LIBRARY};
    const char *named = getenv(SC_ENV_CUBLASLT);
    *lt = (struct sc_lt){0};
    if (named && *named) {
        if (!try_named(lt, named))
            return sc_fail(msg, SC_ENOTFOUND, SC_ENV_CUBLASLT "=%s: %s", named, dlerror());
    } else if (!try_path(lt, LIBRARY)) {
        for (size_t i = 0; !lt->library && i < SC_COUNT(toolkits); i++)
            try_pattern(lt, toolkits[i]);
        if (!lt->library && !try_pythons(lt))
            return sc_fail(msg, SC_ENOTFOUND,
                           "cuBLASLt (" LIBRARY
                           ") is neither in the loader's path nor in a CUDA toolkit nor in a "
                           "Python on PATH; install it: " INSTALL ", or name its folder in " SC_ENV_CUBLASLT
                           ", or set device: cpu");
    }
    for (size_t i = 0; i < SC_COUNT(symbols); i++) {
        void *at = dlsym(lt->library, symbols[i].name);
        if (!at) {
            int rc = sc_fail(msg, SC_EUNSUPPORTED, "%s has no function %s; install a newer one: " INSTALL,
                             lt->path, symbols[i].name);
            dlclose(lt->library);
            *lt = (struct sc_lt){0};
            return rc;
        }
        *(void **)(void *)((char *)lt + symbols[i].offset) = at;
    }
    lt->version = lt->GetVersion();
    return 0;
}

int sc_lt_open(struct sc_lt *lt, struct sc_msg *msg)
{
    return sc_lt_check(lt, lt->Create(&lt->handle), lt->path, msg);
}

void sc_lt_warm(const struct sc_lt *lt)
{
    enum { N = 64 };
    cublasLtMatmulDesc_t d = NULL;
    cublasLtMatrixLayout_t m = NULL;
    cublasLtMatmulPreference_t p = NULL;
    cublasLtMatmulHeuristicResult_t result;
    int n = 0;
    if (lt->MatmulDescCreate(&d, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
        lt->MatrixLayoutCreate(&m, CUDA_R_16F, N, N, N) == CUBLAS_STATUS_SUCCESS &&
        lt->MatmulPreferenceCreate(&p) == CUBLAS_STATUS_SUCCESS)
        (void)lt->MatmulAlgoGetHeuristic(lt->handle, d, m, m, m, m, p, 1, &result, &n);
    if (p)
        lt->MatmulPreferenceDestroy(p);
    if (m)
        lt->MatrixLayoutDestroy(m);
    if (d)
        lt->MatmulDescDestroy(d);
}

void sc_lt_close(struct sc_lt *lt)
{
    if (lt->handle)
        lt->Destroy(lt->handle);
    *lt = (struct sc_lt){0};
}

int sc_lt_check(const struct sc_lt *lt, cublasStatus_t s, const char *what, struct sc_msg *msg)
{
    if (s == CUBLAS_STATUS_SUCCESS)
        return 0;
    return sc_fail(msg, SC_ESYS, "%s: %s (%d)", what, lt->GetStatusName(s), s);
}
