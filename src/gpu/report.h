/*
 * What the gpu agent says of the GPUs, and its form: one JSON line a report.
 *
 *     {"gpus":[{"index":0,"uuid":"GPU-...","name":"...","memoryUsed":B,"memoryTotal":B,"utilization":3,
 *     "memoryUtilization":1,"computeMode":0,"mig":0,"power":MW,"powerLimit":MW,"memoryReserved":B,
 *     "eccErrors":1,"trouble":"XID 79","smUtilization":41,"bandwidthUtilization":12}],"instances":[{"gpu":0,
 *     "uuid":"MIG-...","memoryUsed":B,"memoryTotal":B}],"processes":[{"gpu":0,"pid":4711,"memoryUsed":B,
 *     "mps":1}],"driver":"580.1"}
 *
 * Memory in bytes, utilisation in percent, power in milliwatts, null for what the driver does not tell; the
 * last five of a GPU only where there is something to say.
 * Instead of all, {"error": "..."} when the driver does not answer. No I/O, no thread of its own.
 */
#ifndef SC_GPU_REPORT_H
#define SC_GPU_REPORT_H

#include <stdint.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"

#define SC_GPU_UNKNOWN (-1)

struct sc_gpu_info {
    unsigned index; /* of the driver: the order of the bus */
    char uuid[96], name[96];
    int64_t memory_used, memory_total; /* bytes, or SC_GPU_UNKNOWN */
    int64_t memory_reserved;           /* bytes of the total that the driver keeps for itself */
    int utilization,
        memory_utilization; /* percent (of time with a kernel; with memory accesses), or unknown */
    int sm_utilization, bandwidth_utilization; /* percent (of the multiprocessors; of the memory's bandwidth),
                                                  or unknown (gpm.h) */
    int compute_mode;                          /* SC_COMPUTE_..., or unknown */
    int mig;                                   /* 1: divided into instances; 0; unknown: it cannot be */
    int power, power_limit;                    /* mW, or unknown */
    int64_t ecc_errors; /* of its memory, uncorrected, since the driver was loaded; 0: none, or not told */
    char trouble[96];   /* why it is not to be used (health.h); "": nothing is known against it */
};

#define SC_GPU_LOST "it is lost: the driver does not reach it"

/* As the driver numbers them. */
enum { SC_COMPUTE_DEFAULT = 0, SC_COMPUTE_PROHIBITED = 2, SC_COMPUTE_EXCLUSIVE_PROCESS = 3 };

/* A part of a GPU in MIG mode. */
struct sc_gpu_instance {
    unsigned gpu;
    char uuid[96];
    int64_t memory_used, memory_total;
};

struct sc_gpu_process {
    unsigned gpu;
    int pid;
    int64_t memory_used;
    int mps; /* 1: a client of MPS */
};

struct sc_gpu_report {
    unsigned ngpus, nprocesses, ninstances;
    struct sc_gpu_info gpus[SC_GPUS_MAX];
    struct sc_gpu_process processes[SC_GPU_PROCESSES_MAX];
    struct sc_gpu_instance instances[SC_GPU_INSTANCES_MAX];
    char driver[80]; /* its version; "": not told */
    char error[256]; /* "": none */
};

/* Appends the line with its LF. */
void sc_gpu_report_write(const struct sc_gpu_report *r, struct sc_buf *out);
/* Reads a line (with or without LF); unknown members are skipped. SC_EINVAL for anything else; *r is then
 * empty. */
int sc_gpu_parse_line(struct sc_span line, struct sc_gpu_report *r) SC_MUST_USE;

/* NULL: there is none of that index. */
const struct sc_gpu_info *sc_gpu_report_find(const struct sc_gpu_report *r, unsigned index);
/* GPUMemoryUtilization: used of total, in percent; SC_GPU_UNKNOWN. */
double sc_gpu_memory_percent(const struct sc_gpu_info *g);
/* Bytes that programs may still take; SC_GPU_UNKNOWN. */
int64_t sc_gpu_memory_free(const struct sc_gpu_info *g);
/*
 * `gpuUsage` of a worker in describe, TorchServe 0.12's text. gpu_id < 0: "N/A". `physical` is the driver's
 * index of that GPU (sc_gpu_physical); r NULL, or without that GPU: "failed to obtained gpu usage" (sic).
 */
void sc_gpu_usage(const struct sc_gpu_report *r, int gpu_id, unsigned physical, char *out, size_t size);

#endif
