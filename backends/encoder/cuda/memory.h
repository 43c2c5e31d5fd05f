/*
 * GPU memory of one model's weights: mapped memory that can be given away as a descriptor and outlives the
 * process that filled it, read-only once it is filled.
 */
#ifndef SC_ENCODER_CUDA_MEMORY_H
#define SC_ENCODER_CUDA_MEMORY_H

#include "cuda/device.h"

struct sc_gpu_block {
    CUdeviceptr at;
    size_t size; /* as reserved: a multiple of the granularity */
    CUmemGenericAllocationHandle handle;
    bool mapped; /* else memory of the ordinary kind, which cannot be shared */
};

/* At least `size` bytes that kernels and copies may write. SC_ENOMEM, SC_ESYS. */
int sc_gpu_block_new(const struct sc_gpu *g, size_t size, struct sc_gpu_block *b,
                     struct sc_msg *msg) SC_MUST_USE;
/* The block behind a descriptor that sc_gpu_block_export made, read-only; the descriptor stays the caller's.
 * `size` is that of the block. */
int sc_gpu_block_import(const struct sc_gpu *g, int fd, size_t size, struct sc_gpu_block *b,
                        struct sc_msg *msg) SC_MUST_USE;
/* Ends writing: a later write by a kernel is a fault. Nothing happens to memory that is not mapped. */
int sc_gpu_block_protect(const struct sc_gpu *g, const struct sc_gpu_block *b,
                         struct sc_msg *msg) SC_MUST_USE;
/* A descriptor (close-on-exec) for the block, the caller's; SC_EUNSUPPORTED if it is not mapped. */
int sc_gpu_block_export(const struct sc_gpu *g, const struct sc_gpu_block *b, int *fd,
                        struct sc_msg *msg) SC_MUST_USE;
void sc_gpu_block_free(const struct sc_gpu *g, struct sc_gpu_block *b);

#endif
