#include "cuda/ahead.h"

#include <pthread.h>
#include <stdlib.h>

struct sc_engine_ahead {
    int index;
    pthread_t thread, library;
    bool has_thread, has_library;
    struct sc_gpu gpu;
    struct sc_lt lt;
    int gpu_rc, lt_rc;
    struct sc_msg gpu_msg, lt_msg;
    struct sc_laps laps;
};

/* Half a gigabyte of file to be mapped and bound, beside the driver's own start. */
static void *load_library(void *arg)
{
    struct sc_engine_ahead *a = arg;
    a->lt_rc = sc_lt_load(&a->lt, &a->lt_msg);
    return NULL;
}

static void *bring_up(void *arg)
{
    struct sc_engine_ahead *a = arg;
    sc_laps_start(&a->laps);
    a->gpu_rc = sc_gpu_open(&a->gpu, a->index, &a->laps, &a->gpu_msg);
    if (a->has_library)
        pthread_join(a->library, NULL);
    else
        load_library(a);
    sc_lap(&a->laps, "cuBLASLt's file");
    if (a->gpu_rc == 0 && a->lt_rc == 0) {
        a->lt_rc = sc_lt_open(&a->lt, &a->lt_msg);
        sc_lap(&a->laps, "its handle");
    }
    if (a->gpu_rc == 0 && a->lt_rc == 0) {
        sc_lt_warm(&a->lt);
        sc_lap(&a->laps, "its first call");
    }
    return NULL;
}

struct sc_engine_ahead *sc_gpu_ahead(int gpu)
{
    struct sc_engine_ahead *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->index = gpu;
    a->has_library = pthread_create(&a->library, NULL, load_library, a) == 0;
    a->has_thread = pthread_create(&a->thread, NULL, bring_up, a) == 0;
    return a;
}

static void finish(struct sc_engine_ahead *a)
{
    if (a->has_thread)
        pthread_join(a->thread, NULL);
    else
        bring_up(a);
    a->has_thread = false;
}

static void close_all(struct sc_engine_ahead *a)
{
    if (a->gpu_rc == 0 && sc_gpu_enter(&a->gpu) == 0)
        sc_lt_close(&a->lt);
    if (a->gpu_rc == 0)
        sc_gpu_close(&a->gpu);
    free(a);
}

void sc_gpu_ahead_drop(struct sc_engine_ahead *a)
{
    if (!a)
        return;
    finish(a);
    close_all(a);
}

int sc_gpu_ahead_take(struct sc_engine_ahead *a, struct sc_gpu *gpu, struct sc_lt *lt, struct sc_laps *laps,
                      struct sc_msg *msg)
{
    finish(a);
    *laps = a->laps;
    int rc = a->gpu_rc < 0 ? a->gpu_rc : a->lt_rc;
    if (rc < 0)
        *msg = a->gpu_rc < 0 ? a->gpu_msg : a->lt_msg;
    else if (sc_gpu_enter(&a->gpu) < 0)
        rc = sc_fail(msg, SC_ESYS, "%s: its context cannot be used", a->gpu.name);
    if (rc < 0) {
        close_all(a);
        return rc;
    }
    *gpu = a->gpu;
    *lt = a->lt;
    free(a);
    return 0;
}
