/*
 * An NVML of our own for tests: SCONCE_NVML names it. FAKE_NVML in its environment says how it behaves:
 *
 *     gpus=N           number of GPUs (2)
 *     fail=CALL        that call returns an error: init, count, handle, uuid, memory, utilization
 *     hang=CALL        that call never returns; the same names
 *     after=N          fail and hang begin with the N-th such call (1)
 *
 * parted by blanks. GPU i has 1000 * (i + 1) MiB, of which 100 * (i + 1) + 1 are used, utilisation 10 * i and
 * i, and process 4000 + i.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/nvml.h"

#define EXPORT __attribute__((visibility("default")))
#define MIB (1ull << 20)

enum { UNKNOWN = 999 };

struct nvmlDevice_st {
    unsigned index;
};

static struct nvmlDevice_st devices[64];

/* The value of a word of FAKE_NVML; "" if it is not there. */
static const char *word(const char *name, char value[64])
{
    const char *all = getenv("FAKE_NVML");
    size_t n = strlen(name);
    value[0] = '\0';
    for (const char *at = all; at && *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (strncmp(at, name, n) == 0 && at[n] == '=')
            snprintf(value, 64, "%.*s", (int)strcspn(at + n + 1, " "), at + n + 1);
    return value;
}

static nvmlReturn_t enter(const char *call)
{
    static unsigned calls;
    char hang[64], fail[64], after[64];
    word("hang", hang);
    word("fail", fail);
    if (strcmp(hang, call) != 0 && strcmp(fail, call) != 0)
        return NVML_SUCCESS;
    if (++calls < (unsigned)strtoul(word("after", after), NULL, 10))
        return NVML_SUCCESS;
    while (strcmp(hang, call) == 0)
        pause();
    return UNKNOWN;
}

static unsigned gpus(void)
{
    char value[64];
    word("gpus", value);
    return *value ? (unsigned)strtoul(value, NULL, 10) : 2;
}

EXPORT nvmlReturn_t nvmlInit_v2(void);
EXPORT nvmlReturn_t nvmlInit_v2(void)
{
    return enter("init");
}

EXPORT nvmlReturn_t nvmlShutdown(void);
EXPORT nvmlReturn_t nvmlShutdown(void)
{
    return NVML_SUCCESS;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t r);
EXPORT const char *nvmlErrorString(nvmlReturn_t r)
{
    return r == UNKNOWN ? "Driver/library version mismatch" : "an error";
}

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *n);
EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = gpus();
    return enter("count");
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *d);
EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *d)
{
    devices[i % SC_COUNT(devices)].index = i;
    *d = &devices[i % SC_COUNT(devices)];
    return enter("handle");
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *out, unsigned size);
EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *out, unsigned size)
{
    snprintf(out, size, "GPU-00000000-0000-0000-0000-%012u", d->index);
    return enter("uuid");
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *out, unsigned size);
EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *out, unsigned size)
{
    snprintf(out, size, "Fake \"GPU\" %u", d->index);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, struct nvml_memory *m);
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, struct nvml_memory *m)
{
    m->total = 1000 * (d->index + 1) * MIB;
    m->used = (100 * (d->index + 1) + 301) * MIB; /* with what the driver keeps for itself */
    m->free = m->total - m->used;
    return enter("memory");
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, struct nvml_memory_v2 *m);
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, struct nvml_memory_v2 *m)
{
    char old[64];
    if (m->version != NVML_MEMORY_V2 || strcmp(word("old", old), "memory") == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    m->total = 1000 * (d->index + 1) * MIB;
    m->reserved = 300 * MIB;
    m->used = (100 * (d->index + 1) + 1) * MIB;
    m->free = m->total - m->used - m->reserved;
    return enter("memory");
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, struct nvml_utilization *u);
EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, struct nvml_utilization *u)
{
    u->gpu = 10 * d->index;
    u->memory = d->index;
    return enter("utilization");
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n,
                                                            struct nvml_process *out);
EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n,
                                                            struct nvml_process *out)
{
    if (*n < 1)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    *n = 1;
    out[0] = (struct nvml_process){.pid = 4000 + d->index, .memory = d->index ? ~0ull : 50 * MIB};
    return enter("processes");
}
