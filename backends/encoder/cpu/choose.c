#include "cpu/choose.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sc_matmul_ops *load(const char *dir, struct sc_msg *why)
{
    char *path;
    if (asprintf(&path, "%s/libsconce_encoder_onednn.so", dir) < 0) {
        sc_fail(why, SC_ENOMEM, "no memory");
        return NULL;
    }
    /* One thread per lane: OpenMP's own would fight for the same cores, and spin while they wait. */
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("OMP_WAIT_POLICY", "passive", 1);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    free(path);
    if (!module) {
        sc_fail(why, SC_ENOTFOUND, "%s", dlerror());
        return NULL;
    }
    void *symbol = dlsym(module, "sc_matmul_module");
    sc_matmul_module_fn fn;
    _Static_assert(sizeof fn == sizeof symbol, "POSIX has it so");
    memcpy(&fn, &symbol, sizeof fn);
    const struct sc_matmul_ops *ops = fn ? fn() : NULL;
    if (!ops || ops->abi != SC_MATMUL_ABI) {
        sc_fail(why, SC_EVERSION,
                ops || !fn ? "the module is of another version of Sconce" : "the library refuses to start");
        dlclose(module);
        return NULL;
    }
    return ops;
}

int sc_matmul_choose(const struct sc_matmul_ops **out, const char *setting, const char *dir,
                     struct sc_msg *warning, struct sc_msg *msg)
{
    bool automatic = !setting || strcmp(setting, "auto") == 0;
    warning->text[0] = '\0';
    *out = sc_matmul_builtin();
    if (!automatic && strcmp(setting, "builtin") != 0 && strcmp(setting, "onednn") != 0)
        return sc_fail(msg, SC_EINVAL, "matmul is \"%.60s\"; it must be auto, onednn or builtin", setting);
    bool wanted = automatic ? strcmp(sc_kernels_best()->name, "avx512") == 0 : strcmp(setting, "onednn") == 0;
    if (!wanted)
        return 0;
    struct sc_msg why;
    const struct sc_matmul_ops *ops = load(dir, &why);
    if (ops)
        *out = ops;
    else
        sc_fail(
            warning, 0,
            "oneDNN is not there, the built-in matrix product is used (a tenth to a fifth slower on "
            "processors with AVX-512): install libdnnl2 (Debian 12; elsewhere the libdnnl that Sconce was "
            "built with, see below) or set matmul: builtin to silence this. %.200s",
            why.text);
    return 0;
}
