/* Whether a worker has room on a GPU, and which GPU is best for it (docs/gpu-sharing.md, "Which GPU"). Pure.
 */
#ifndef SC_GPU_PLACEMENT_H
#define SC_GPU_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/error.h"
#include "gpu/report.h"

/* A GPU that a worker may get. Bytes; 0 where there is nothing. */
struct sc_gpu_place {
    int gpu_id;                     /* the server's number of it */
    const struct sc_gpu_info *info; /* NULL: nothing is known of it */
    const char *trouble;            /* why it is not to be used; NULL: it is */
    bool alone;                     /* one process at a time: EXCLUSIVE_PROCESS, and no MPS */
    unsigned processes, ending;     /* on it: those that stay, those about to end */
    unsigned workers;               /* of ours, those about to be included */
    int64_t promised; /* that workers will still take which are starting, as far as they were measured */
    int64_t guessed;  /* the same of those that were not; for the choice alone */
    int64_t leaving;  /* of those that are ending */
};

enum sc_gpu_fit {
    SC_FIT_NO,
    SC_FIT_LATER, /* when those that are ending have gone */
    SC_FIT_YES
};

/* need: what such a worker has taken; 0: not measured, and then it is refused only where no CUDA program at
 * all would start. *why, but for YES: the reason with its arithmetic. *memory: the reason is memory. */
enum sc_gpu_fit sc_gpu_fits(const struct sc_gpu_place *p, int64_t need, bool *memory, struct sc_msg *why);

/*
 * The best place of those that fit (now, or if none does: later): where most memory is left after it; among
 * those within a sixteenth of the best, the one with fewest workers, then the least busy, then the first. -1:
 * none.
 */
int sc_gpu_pick(const struct sc_gpu_place *p, unsigned n, int64_t need);

#endif
