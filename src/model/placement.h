/*
 * Which GPU a worker gets, and whether it gets one: room, health, what its like has taken (gpu/placement.h
 * has the arithmetic; docs/gpu-sharing.md). Loop 0.
 *
 * A worker's GPU is TorchServe's choice (gpus.h) when it is made. Before it is started it is *placed*: with
 * gpu_placement=turns it keeps that GPU if it can, else it gets the next in turn that has room; with =memory
 * the best one. Nothing but that is changed: a worker that has been started keeps its GPU over its lives.
 */
#ifndef SC_MODEL_PLACEMENT_H
#define SC_MODEL_PLACEMENT_H

#include "model/engine_private.h"

enum sc_placed { SC_PLACED, SC_PLACE_WAITS, SC_PLACE_REFUSED };

/* Sets w->gpu_id and w->placed. REFUSED: with the code and the words of the refusal; the worker is as before.
 */
enum sc_placed sc_placement_settle(struct sc_worker *w, int64_t now, int *rc, struct sc_msg *why);

/* Takes note of what processes have taken: after each report. */
void sc_placement_learn(struct sc_engine *e);
/* GPU memory of a worker of that kind as measured; 0: not yet. */
int64_t sc_placement_cost(const struct sc_worker *w);
/* GPU memory of the worker's process by the latest report; SC_GPU_UNKNOWN. */
int64_t sc_placement_memory(const struct sc_worker *w);
/* What a worker that has loaded says of itself. */
void sc_placement_told(struct sc_worker *w, struct sc_span facts);
/* The same and its parts, bytes. weights, lane (each): what the worker said; 0: nothing. context: what is
 * left of the process's; SC_GPU_UNKNOWN where the one or the other is not known. Of a process with `members`
 * models (executorGroup; else 1) each has an equal part of that. */
struct sc_gpu_memory {
    int64_t process, weights, lane, context;
    unsigned members;
};
struct sc_gpu_memory sc_placement_parts(const struct sc_worker *w);

/* Moves workers off GPUs that are not to be used any more. */
void sc_placement_tick(struct sc_engine *e);
void sc_placement_free(struct sc_engine *e);

/* Adds to what a worker said of its failure what the server knows of it: compute mode, memory limit. */
void sc_placement_explain(const struct sc_worker *w, char *text, size_t size);

#endif
