/* What the host uses: TorchServe's system gauges (docs/contract.md §7.1), read from /proc and
 * statvfs. */
#ifndef SC_METRICS_SYSTEM_H
#define SC_METRICS_SYSTEM_H

#include "metrics/registry.h"

/* Sets CPUUtilization (since the sample before; at first, since the host's start), Memory… and Disk… (of /).
 * What cannot be read keeps its value. Loop 0, once a minute by default. */
void sc_metrics_sample_system(struct sc_metrics *m);

/* The first line of /proc/stat, in ticks. False if it is something else. */
bool sc_system_cpu(struct sc_span stat, uint64_t *busy, uint64_t *total);

struct sc_system_memory {
    double used, available; /* MiB; used is without buffers and page cache */
    double percent;         /* 100 * (total - available) / total */
};

/* /proc/meminfo. False if a field that is needed is missing. */
bool sc_system_memory(struct sc_span meminfo, struct sc_system_memory *out);

#endif
