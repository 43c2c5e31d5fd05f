#include "gpu/inventory.h"

#include <stdio.h>

static int64_t bytes(unsigned long long v)
{
    return v > INT64_MAX ? SC_GPU_UNKNOWN : (int64_t)v;
}

int sc_inventory_count(const struct sc_nvml *n, struct sc_msg *msg)
{
    unsigned count = 0;
    nvmlReturn_t r = n->count(&count);
    if (r != NVML_SUCCESS)
        return sc_fail(msg, SC_ESYS, "the NVIDIA driver does not count its GPUs: %s", n->error(r));
    return (int)SC_MIN(count, (unsigned)SC_GPUS_MAX);
}

static void read_memory(const struct sc_nvml *n, nvmlDevice_t d, struct sc_gpu_info *g)
{
    /* The newer call leaves out what the driver keeps for itself, as its own tool does. */
    struct nvml_memory_v2 v2 = {.version = NVML_MEMORY_V2};
    struct nvml_memory v1;
    if (n->memory_v2 && n->memory_v2(d, &v2) == NVML_SUCCESS) {
        g->memory_used = bytes(v2.used);
        g->memory_total = bytes(v2.total);
    } else if (n->memory(d, &v1) == NVML_SUCCESS) {
        g->memory_used = bytes(v1.used);
        g->memory_total = bytes(v1.total);
    }
}

static bool read_gpu(const struct sc_nvml *n, unsigned index, nvmlDevice_t d, struct sc_gpu_info *g)
{
    struct nvml_utilization u;
    *g = (struct sc_gpu_info){.index = index,
                              .memory_used = SC_GPU_UNKNOWN,
                              .memory_total = SC_GPU_UNKNOWN,
                              .utilization = SC_GPU_UNKNOWN,
                              .memory_utilization = SC_GPU_UNKNOWN};
    if (n->uuid(d, g->uuid, sizeof g->uuid) != NVML_SUCCESS)
        return false;
    if (n->name(d, g->name, sizeof g->name) != NVML_SUCCESS)
        g->name[0] = '\0';
    g->uuid[sizeof g->uuid - 1] = g->name[sizeof g->name - 1] = '\0';
    read_memory(n, d, g);
    if (n->utilization(d, &u) == NVML_SUCCESS) {
        g->utilization = (int)SC_MIN(u.gpu, 100u);
        g->memory_utilization = (int)SC_MIN(u.memory, 100u);
    }
    return true;
}

static void read_processes(nvmlReturn_t (*list)(nvmlDevice_t, unsigned *, struct nvml_process *),
                           unsigned gpu, nvmlDevice_t d, struct sc_gpu_report *r)
{
    struct nvml_process found[SC_GPU_PROCESSES_MAX];
    unsigned count = SC_GPU_PROCESSES_MAX;
    if (!list || list(d, &count, found) != NVML_SUCCESS)
        return;
    for (unsigned i = 0; i < count && i < SC_GPU_PROCESSES_MAX && r->nprocesses < SC_GPU_PROCESSES_MAX; i++)
        r->processes[r->nprocesses++] = (struct sc_gpu_process){
            .gpu = gpu, .pid = (int)(found[i].pid & INT32_MAX), .memory_used = bytes(found[i].memory)};
}

void sc_inventory_read(const struct sc_nvml *n, struct sc_gpu_report *r)
{
    struct sc_msg msg;
    *r = (struct sc_gpu_report){0};
    int count = sc_inventory_count(n, &msg);
    if (count < 0) {
        snprintf(r->error, sizeof r->error, "%.255s", msg.text);
        return;
    }
    for (unsigned i = 0; i < (unsigned)count; i++) {
        nvmlDevice_t d;
        if (n->handle(i, &d) != NVML_SUCCESS || !read_gpu(n, i, d, &r->gpus[r->ngpus]))
            continue;
        r->ngpus++;
        read_processes(n->processes, i, d, r);
        read_processes(n->mps_processes, i, d, r);
    }
}
