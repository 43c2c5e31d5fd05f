/*
 * What needs nothing of the model and takes longest of a load: driver, context, kernels, cuBLASLt. It is
 * begun while the model's folder is read and its tokenizer made.
 */
#ifndef SC_ENCODER_CUDA_AHEAD_H
#define SC_ENCODER_CUDA_AHEAD_H

#include "cuda/cublaslt.h"
#include "cuda/device.h"
#include "engine.h"
#include "laps.h"

/* sc_engine_ops.ahead and drop. */
struct sc_engine_ahead *sc_gpu_ahead(int gpu);
void sc_gpu_ahead_drop(struct sc_engine_ahead *a);

/*
 * Waits for it and gives the caller what it made, with the context current; *a is freed in every case. `text`
 * gets what the parts took. On failure *msg is that of the GPU, else of the library, and nothing is to be
 * closed: the codes of sc_gpu_open, sc_lt_load, sc_lt_open.
 */
int sc_gpu_ahead_take(struct sc_engine_ahead *a, struct sc_gpu *gpu, struct sc_lt *lt, struct sc_laps *laps,
                      struct sc_msg *msg) SC_MUST_USE;

#endif
