/*
 * GPUs as the engine sees them: which one a worker gets, and what the gpu agent tells of them. Loop 0.
 *
 * The agent (gpu/agent.h) runs in a slot of the supervisor, like a worker; its reports are lines of its
 * standard output. Without GPUs there is none.
 */
#ifndef SC_MODEL_GPUS_H
#define SC_MODEL_GPUS_H

#include "gpu/report.h"
#include "model/engine_private.h"

/* The next worker's GPU by its model's settings; -1: none. */
int sc_gpus_choose(struct sc_version *v);
/* True if the model's workers get GPUs. */
bool sc_gpus_used(const struct sc_version *v);
/* The numbers of the GPUs that the model may use, in their order; how many there are. */
unsigned sc_gpus_allowed(const struct sc_version *v, int ids[SC_GPUS_MAX]);
/* The driver's index of the server's GPU `gpu_id`, below SC_GPUS_MAX. */
unsigned sc_gpus_physical(const struct sc_engine *e, int gpu_id);
/* CUDA_VISIBLE_DEVICES of a worker with parallelLevel; false: it gets no such variable. */
bool sc_gpus_block(const struct sc_version *v, int gpu_id, char *out, size_t size);

/* Starts the agent if there are GPUs to use and none runs. */
void sc_gpus_start(struct sc_engine *e);
/* A state of a slot with the agent's tag. */
void sc_gpus_state(struct sc_engine *e, const struct sc_ctl_slot *s, int *fds, unsigned nfds);
#define SC_GPUS_TAG "\tgpu-agent"
/* Notes a driver that does not answer; ends an agent that hangs. */
void sc_gpus_tick(struct sc_engine *e, int64_t now);
void sc_gpus_close(struct sc_engine *e);
void sc_gpus_free(struct sc_engine *e);
/* Why the GPU with that index of the driver is not to be used any more; NULL: it is. */
const char *sc_gpus_trouble(const struct sc_engine *e, unsigned index);
/* False: there is no agent that could report. */
bool sc_gpus_hoped_for(const struct sc_engine *e);
/*
 * Of the time since `since`, the ns in which the GPUs' driver answered nobody; 0 for a model without GPUs.
 * Any loop. A fault after which the driver resets a GPU stops all there is on it, for 4 to 50 s (seen on an
 * H100, driver 580), and is no worker's doing. At most SC_GPU_STALL_MAX_MS of a stall.
 */
int64_t sc_gpus_stalled(const struct sc_version *v, int64_t since, int64_t now);
/* The latest report; NULL: none yet. */
const struct sc_gpu_report *sc_gpus_report(const struct sc_engine *e);

#endif
