/* Whether the workers of a GPU are clients of MPS: the rule of docs/gpu-sharing.md, "auto". Pure. */
#ifndef SC_GPU_MPS_RULE_H
#define SC_GPU_MPS_RULE_H

#include <stdbool.h>

enum sc_mps_way { SC_WAY_UNDECIDED, SC_WAY_OFF, SC_WAY_MANAGED, SC_WAY_EXTERNAL };

struct sc_mps_facts {
    bool must_manage, must_watch; /* mps=managed, mps=external; neither: auto */
    bool program;                 /* nvidia-cuda-mps-control can be run */
    bool broken;                  /* a daemon of ours could not be had, or kept */
    bool external;                /* somebody's daemon lives there, serves the GPU and may be used */
    const char *obstacle;         /* why none may; NULL: none lives there */
    bool managed;                 /* ours runs already, with workers */
    int compute_mode, mig;        /* as sc_gpu_info has them */
    int recorded;                 /* what was measured for what is placed there: 1 MPS, 0 not; -1: nothing */
    unsigned models;              /* with workers on the GPU */
    unsigned processes;           /* workers of the model that has most, if they are processes */
};

/* Never UNDECIDED. *why: for the log, a static text or the obstacle. What must be and cannot be had is OFF.
 */
enum sc_mps_way sc_mps_decide(const struct sc_mps_facts *f, const char **why);

#endif
