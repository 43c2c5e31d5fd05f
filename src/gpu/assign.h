/*
 * Which GPUs there are to use and which a worker gets: TorchServe's rules (docs/contract.md §11). Pure
 * functions.
 */
#ifndef SC_GPU_ASSIGN_H
#define SC_GPU_ASSIGN_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"
#include "gpu/report.h"

/* ---- CUDA_VISIBLE_DEVICES -------------------------------------------------------------------------- */

/*
 * The number of GPUs that the value makes: of its comma-separated integers, or UUIDs of GPUs and instances of
 * MIG, which CUDA takes, too (empty entries at the end do not count). SC_ENOTFOUND: NULL or empty, so the
 * driver is asked. SC_EINVAL: an entry is neither; *msg begins with TorchServe's text behind "Invalid
 * configuration: ".
 */
int sc_gpu_visible_count(const char *value, struct sc_msg *msg) SC_MUST_USE;
/* The driver's index of what a process under that variable calls GPU `gpu_id`; r (may be NULL) knows UUIDs.
 * The id itself when the variable says nothing about it that is understood. */
unsigned sc_gpu_physical(const char *value, unsigned gpu_id, const struct sc_gpu_report *r);
/* That entry of the variable's value, as it stands there; empty: there is none. */
struct sc_span sc_gpu_entry(const char *value, unsigned gpu_id);

/* ---- a worker's GPUs ------------------------------------------------------------------------------- */

struct sc_gpu_choice {
    unsigned gpus;      /* of the server: min(detected, number_of_gpu) */
    bool cpu;           /* deviceType: cpu */
    const int *devices; /* deviceIds, each below gpus */
    unsigned ndevices;  /* 0: all */
    unsigned level;     /* parallelLevel; 0: none */
};

/* True if the model's workers get GPUs. */
bool sc_gpu_used(const struct sc_gpu_choice *c);

/*
 * The next worker's gpu_id, the first of its GPUs; -1: none. A model without deviceIds and parallelLevel uses
 * the server's counter, which is counted up first (so that with more than one GPU the first worker gets GPU
 * 1); another one the model's, which is counted up afterwards. Counters begin with 0.
 *
 * Unlike there, blocks of parallelLevel never reach beyond the last GPU when it does not divide their number.
 */
int sc_gpu_next(const struct sc_gpu_choice *c, unsigned *server_counter, unsigned *model_counter);

/*
 * CUDA_VISIBLE_DEVICES of a worker with parallelLevel whose block begins with `gpu_id` (as sc_gpu_next gave
 * it): "2,3", or what these are called in our own variable, `visible` (may be NULL). SC_ENOTFOUND: such a
 * worker gets no such variable (no level, no GPU). SC_ELIMIT: no room.
 */
int sc_gpu_block(const struct sc_gpu_choice *c, int gpu_id, const char *visible, char *out,
                 size_t size) SC_MUST_USE;

/*
 * Workers of a model with parallelLevel on GPUs: *min and *max are cut to what the GPUs allow. SC_ELIMIT,
 * with TorchServe's text in *msg: not even one.
 */
int sc_gpu_clamp(const struct sc_gpu_choice *c, const char *model, int *min, int *max,
                 struct sc_msg *msg) SC_MUST_USE;

#endif
