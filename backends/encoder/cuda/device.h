/*
 * One GPU: the driver, its context, and the encoder's kernels loaded into it.
 *
 * The context is the device's primary one, which cuBLASLt uses too. Everything here is read-only after
 * sc_gpu_open; a thread makes the context current (sc_gpu_enter) before it calls the driver.
 */
#ifndef SC_ENCODER_CUDA_DEVICE_H
#define SC_ENCODER_CUDA_DEVICE_H

#include <stdbool.h>

#include "cuda/driver.h"
#include "cuda/kernels.h"
#include "laps.h"

#define SC_ENV_GPU_KERNELS "SCONCE_GPU_KERNELS" /* "generic": not the kernels made for this GPU (tests) */

struct sc_gpu {
    struct sc_cuda cuda;
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction function[SC_CU_KERNEL_COUNT]; /* NULL: not in the image */
    bool dependent_launch;                   /* kernels may begin before the one before them has ended */
    bool shareable;                          /* memory can be exported as a descriptor */
    bool bf16;
    uint32_t multiprocessors; /* 0: the image is not the one for this GPU */
    int capability;           /* 90 is 9.0 */
    int driver;               /* 13000 is CUDA 13.0 */
    char name[128];
    struct CUuuid uuid;
};

/*
 * Opens GPU number `index` of those this process sees. On failure *msg names what is missing: the driver, a
 * GPU, a newer GPU, kernels that the program was built without (SC_ENOTFOUND, SC_EUNSUPPORTED, SC_ESYS,
 * SC_ENOMEM), and nothing is to be closed. The context is current afterwards. The parts go to laps.
 */
int sc_gpu_open(struct sc_gpu *g, int index, struct sc_laps *laps, struct sc_msg *msg) SC_MUST_USE;
void sc_gpu_close(struct sc_gpu *g);

/* Makes the context current in this thread. SC_ESYS. */
int sc_gpu_enter(const struct sc_gpu *g);

/* Enqueues a kernel; args is its structure of parameters. SC_ESYS. */
int sc_gpu_launch(const struct sc_gpu *g, CUstream s, struct sc_cu_launch l, const void *args) SC_MUST_USE;

#endif
