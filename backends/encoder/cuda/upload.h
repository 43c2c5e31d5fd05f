/* Tensors on their way to the GPU: converted in pieces, into pinned memory, while the piece before is copied.
 */
#ifndef SC_ENCODER_CUDA_UPLOAD_H
#define SC_ENCODER_CUDA_UPLOAD_H

#include "cuda/device.h"
#include "model/safetensors.h"

struct sc_upload {
    const struct sc_gpu *gpu;
    CUstream stream;
    CUevent taken[2]; /* the copy out of that half has ended */
    unsigned char *pinned;
    float *floats;
    unsigned half;
};

/* The caller ends with sc_upload_close, whatever happens. */
int sc_upload_open(struct sc_upload *u, const struct sc_gpu *g, struct sc_msg *msg) SC_MUST_USE;
/* `count` elements of t from `first` on, as type `type`, to `to`. SC_EINVAL if a number does not fit fp16;
 * t's name is then in *msg. */
int sc_upload_tensor(struct sc_upload *u, CUdeviceptr to, const struct sc_tensor *t, uint64_t first,
                     uint64_t count, enum sc_cu_type type, struct sc_msg *msg) SC_MUST_USE;
/* Bytes as they are. */
int sc_upload_bytes(struct sc_upload *u, CUdeviceptr to, const void *from, size_t bytes,
                    struct sc_msg *msg) SC_MUST_USE;
/* Waits for all copies. */
int sc_upload_finish(struct sc_upload *u, struct sc_msg *msg) SC_MUST_USE;
void sc_upload_close(struct sc_upload *u);

#endif
