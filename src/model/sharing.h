/*
 * How workers share their GPUs: which are clients of MPS, the keepers of the daemons (gpu/mps_keeper.h), and
 * whether who should be a client is one (docs/gpu-sharing.md). Loop 0.
 *
 * A worker is *held*, without a process, until its GPU's way is decided and, if that is MPS, the daemon
 * answers. A GPU's way is decided when a worker is made for it, so at the start and when a model is
 * registered or scaled up; not when one dies. Who lives with another way is replaced, one after the other.
 */
#ifndef SC_MODEL_SHARING_H
#define SC_MODEL_SHARING_H

#include "model/engine_private.h"

/* A worker that has its GPU: true, it may be started now; false: it is held, and started later. */
bool sc_sharing_place(struct sc_worker *w);
/* What the worker's process is to know: environment and keeper. */
void sc_sharing_environment(const struct sc_worker *w, struct sc_ctl_start *start, struct sc_buf *b);
/* The number under which the worker's process finds its GPU; -1: none. A daemon of ours shows its clients one
 * GPU. */
int sc_sharing_gpu(const struct sc_worker *w);
/* The worker, whose model was unregistered, has gone: those that stay on its GPU may go another way. */
void sc_sharing_left(const struct sc_worker *w);
/* The worker has been given more lanes: the same. */
void sc_sharing_again(const struct sc_worker *w);
/* gpuSharing: "mps", "lanes", "timeslice"; NULL: the worker has no GPU. */
const char *sc_sharing_name(const struct sc_worker *w);

#define SC_SHARING_TAG "\tmps\t" /* of a keeper's slot; then which */
void sc_sharing_state(struct sc_engine *e, const struct sc_ctl_slot *s, struct sc_span tag,
                      struct sc_span text, int *fds, unsigned nfds);
void sc_sharing_tick(struct sc_engine *e, int64_t now);
void sc_sharing_close(struct sc_engine *e);
void sc_sharing_free(struct sc_engine *e);

#endif
