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

/* What the driver keeps for itself; 0 where it is part of what is used. */
static int64_t read_memory(const struct sc_nvml *n, nvmlDevice_t d, int64_t *used, int64_t *total)
{
    /* The newer call leaves out what the driver keeps for itself, as its own tool does. */
    struct nvml_memory_v2 v2 = {.version = NVML_MEMORY_V2};
    struct nvml_memory v1;
    if (n->memory_v2 && n->memory_v2(d, &v2) == NVML_SUCCESS) {
        *used = bytes(v2.used);
        *total = bytes(v2.total);
        return SC_MAX(bytes(v2.reserved), 0);
    }
    if (n->memory(d, &v1) == NVML_SUCCESS) {
        *used = bytes(v1.used);
        *total = bytes(v1.total);
    }
    return 0;
}

static void read_number(nvmlReturn_t (*call)(nvmlDevice_t, unsigned *), nvmlDevice_t d, int *out)
{
    unsigned v;
    if (call && call(d, &v) == NVML_SUCCESS && v <= INT32_MAX)
        *out = (int)v;
}

static void read_mode(const struct sc_nvml *n, nvmlDevice_t d, struct sc_gpu_info *g)
{
    unsigned current, pending;
    int mode;
    if (n->compute_mode && n->compute_mode(d, &mode) == NVML_SUCCESS && mode >= 0 && mode < 100)
        g->compute_mode = mode;
    if (n->mig_mode && n->mig_mode(d, &current, &pending) == NVML_SUCCESS)
        g->mig = current != 0;
    read_number(n->power, d, &g->power);
    read_number(n->power_limit, d, &g->power_limit);
}

static void nothing_known(struct sc_gpu_info *g, unsigned index)
{
    *g = (struct sc_gpu_info){.index = index,
                              .memory_used = SC_GPU_UNKNOWN,
                              .memory_total = SC_GPU_UNKNOWN,
                              .utilization = SC_GPU_UNKNOWN,
                              .memory_utilization = SC_GPU_UNKNOWN,
                              .sm_utilization = SC_GPU_UNKNOWN,
                              .bandwidth_utilization = SC_GPU_UNKNOWN,
                              .compute_mode = SC_GPU_UNKNOWN,
                              .mig = SC_GPU_UNKNOWN,
                              .power = SC_GPU_UNKNOWN,
                              .power_limit = SC_GPU_UNKNOWN};
}

/* What the driver remembers of the memory's errors. */
static void read_errors(const struct sc_nvml *n, nvmlDevice_t d, struct sc_gpu_info *g)
{
    unsigned corrected, uncorrected, pending, failed = 0;
    unsigned long long errors;
    if (n->ecc && n->ecc(d, 1, 0, &errors) == NVML_SUCCESS)
        g->ecc_errors = SC_MAX(bytes(errors), 0);
    if (n->remapped && n->remapped(d, &corrected, &uncorrected, &pending, &failed) == NVML_SUCCESS && failed)
        snprintf(g->trouble, sizeof g->trouble, "a row of its memory is broken and could not be replaced");
}

static nvmlReturn_t read_gpu(const struct sc_nvml *n, nvmlDevice_t d, struct sc_gpu_info *g)
{
    struct nvml_utilization u;
    nvmlReturn_t r = n->uuid(d, g->uuid, sizeof g->uuid);
    if (r != NVML_SUCCESS)
        return r;
    if (n->name(d, g->name, sizeof g->name) != NVML_SUCCESS)
        g->name[0] = '\0';
    g->uuid[sizeof g->uuid - 1] = g->name[sizeof g->name - 1] = '\0';
    g->memory_reserved = read_memory(n, d, &g->memory_used, &g->memory_total);
    read_mode(n, d, g);
    read_errors(n, d, g);
    /* Of a GPU that is gone some calls still answer, from what the driver remembers. */
    r = n->utilization(d, &u);
    if (r == NVML_SUCCESS) {
        g->utilization = (int)SC_MIN(u.gpu, 100u);
        g->memory_utilization = (int)SC_MIN(u.memory, 100u);
    }
    return r == NVML_ERROR_GPU_IS_LOST ? r : NVML_SUCCESS;
}

static void read_instances(const struct sc_nvml *n, unsigned gpu, nvmlDevice_t d, struct sc_gpu_report *r)
{
    unsigned count;
    if (!n->mig_count || !n->mig_handle || n->mig_count(d, &count) != NVML_SUCCESS)
        return;
    for (unsigned k = 0; k < count && r->ninstances < SC_GPU_INSTANCES_MAX; k++) {
        struct sc_gpu_instance *i = &r->instances[r->ninstances];
        nvmlDevice_t part;
        *i = (struct sc_gpu_instance){
            .gpu = gpu, .memory_used = SC_GPU_UNKNOWN, .memory_total = SC_GPU_UNKNOWN};
        if (n->mig_handle(d, k, &part) != NVML_SUCCESS ||
            n->uuid(part, i->uuid, sizeof i->uuid) != NVML_SUCCESS)
            continue;
        i->uuid[sizeof i->uuid - 1] = '\0';
        (void)read_memory(n, part, &i->memory_used, &i->memory_total);
        r->ninstances++;
    }
}

/* A client of MPS may stand in both lists. */
static void add_process(struct sc_gpu_report *r, const struct sc_gpu_process *p)
{
    for (unsigned i = 0; i < r->nprocesses; i++)
        if (r->processes[i].gpu == p->gpu && r->processes[i].pid == p->pid) {
            r->processes[i].mps |= p->mps;
            return;
        }
    if (r->nprocesses < SC_GPU_PROCESSES_MAX)
        r->processes[r->nprocesses++] = *p;
}

static void read_processes(nvmlReturn_t (*list)(nvmlDevice_t, unsigned *, struct nvml_process *), int mps,
                           unsigned gpu, nvmlDevice_t d, struct sc_gpu_report *r)
{
    struct nvml_process found[SC_GPU_PROCESSES_MAX];
    unsigned count = SC_GPU_PROCESSES_MAX;
    if (!list || list(d, &count, found) != NVML_SUCCESS)
        return;
    for (unsigned i = 0; i < count && i < SC_GPU_PROCESSES_MAX; i++)
        add_process(r, &(struct sc_gpu_process){.gpu = gpu,
                                                .pid = (int)(found[i].pid & INT32_MAX),
                                                .memory_used = bytes(found[i].memory),
                                                .mps = mps});
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
    if (!n->driver || n->driver(r->driver, sizeof r->driver) != NVML_SUCCESS)
        r->driver[0] = '\0';
    r->driver[sizeof r->driver - 1] = '\0';
    for (unsigned i = 0; i < (unsigned)count; i++) {
        struct sc_gpu_info *g = &r->gpus[r->ngpus];
        nvmlDevice_t d;
        nothing_known(g, i);
        nvmlReturn_t rc = n->handle(i, &d);
        if (rc == NVML_SUCCESS)
            rc = read_gpu(n, d, g);
        r->ngpus += rc == NVML_SUCCESS || rc == NVML_ERROR_GPU_IS_LOST;
        if (rc == NVML_ERROR_GPU_IS_LOST)
            snprintf(g->trouble, sizeof g->trouble, SC_GPU_LOST);
        if (rc != NVML_SUCCESS)
            continue;
        if (g->mig == 1)
            read_instances(n, i, d, r);
        read_processes(n->processes, 0, i, d, r);
        read_processes(n->mps_processes, 1, i, d, r);
    }
}
