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
 *
 *     mode=N           compute mode of all GPUs (0)
 *     mig=N            GPU 0 is divided into N instances
 *     processes=FILE   lines "GPU PID [MIB] [mps]", the last for MPS clients: these processes instead, of 500
 *                      MiB where nothing else is said
 *     gpm=N            percent of the multiprocessors that are busy, by the counters that newer GPUs have;
 *                      the memory's bandwidth is used by 2; without it there are no such counters
 *     state=FILE       lines "GPU WORD [N]", looked at again at each call:
 *
 * free N, total N (MiB), mode N, ecc N (uncorrected errors), remap (a row that could not be replaced), xid N
 * (an event), lost
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/nvml.h"

#define EXPORT __attribute__((visibility("default")))
#define MIB (1ull << 20)

enum { UNKNOWN = 999 };

struct nvmlDevice_st {
    unsigned index, part; /* part: of MIG, from 1; 0: the GPU itself */
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

/* The file that a word of FAKE_NVML names; NULL. */
static FILE *open_named(const char *name)
{
    char path[512] = "";
    const char *all = getenv("FAKE_NVML"), *at = all ? strstr(all, name) : NULL;
    if (!at)
        return NULL;
    at += strlen(name);
    snprintf(path, sizeof path, "%.*s", (int)strcspn(at, " "), at);
    return fopen(path, "re");
}

/* What the state's file says last of that GPU: its number (0 without one), or the fallback. */
static long said(unsigned gpu, const char *what, long fallback)
{
    char line[128], key[32];
    unsigned of;
    long n;
    FILE *f = open_named("state=");
    while (f && fgets(line, sizeof line, f)) {
        n = 0;
        if (sscanf(line, "%u %31s %ld", &of, key, &n) >= 2 && of == gpu && strcmp(key, what) == 0)
            fallback = n;
    }
    if (f)
        fclose(f);
    return fallback;
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
    if (said(d->index, "lost", -1) >= 0)
        return NVML_ERROR_GPU_IS_LOST;
    snprintf(out, size, "%s-00000000-0000-0000-%04u-%012u", d->part ? "MIG" : "GPU", d->part, d->index);
    return enter("uuid");
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *out, unsigned size);
EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *out, unsigned size)
{
    snprintf(out, size, "Fake \"GPU\" %u", d->index);
    return NVML_SUCCESS;
}

/* Total memory, and what is used of it. */
static unsigned long long total_of(nvmlDevice_t d)
{
    return (unsigned long long)said(d->index, "total", 1000 * ((long)d->index + 1)) * MIB;
}

static unsigned long long used_of(nvmlDevice_t d)
{
    long left = said(d->index, "free", -1);
    return left >= 0 ? total_of(d) - ((unsigned long long)left + 300) * MIB
                     : (100 * (d->index + 1) + 1) * MIB;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, struct nvml_memory *m);
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, struct nvml_memory *m)
{
    m->total = total_of(d);
    m->used = used_of(d) + 300 * MIB; /* with what the driver keeps for itself */
    m->free = m->total - m->used;
    return enter("memory");
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, struct nvml_memory_v2 *m);
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, struct nvml_memory_v2 *m)
{
    char old[64];
    if (m->version != NVML_MEMORY_V2 || strcmp(word("old", old), "memory") == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    m->total = total_of(d);
    m->reserved = 300 * MIB;
    m->used = used_of(d);
    m->free = m->total - m->used - m->reserved;
    return enter("memory");
}

EXPORT nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, int type, int counter, unsigned long long *n);
EXPORT nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, int type, int counter, unsigned long long *n)
{
    *n = (unsigned long long)said(d->index, "ecc", 0);
    return type == 1 && counter == 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

EXPORT nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned *corrected, unsigned *uncorrected,
                                              unsigned *pending, unsigned *failed);
EXPORT nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned *corrected, unsigned *uncorrected,
                                              unsigned *pending, unsigned *failed)
{
    *corrected = *uncorrected = *pending = 0;
    *failed = said(d->index, "remap", -1) >= 0;
    return NVML_SUCCESS;
}

/* ---- counters -------------------------------------------------------------------------------------- */

struct nvmlGpmSample_st {
    unsigned gpu, at; /* at: how many samples were taken before */
};

EXPORT nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t d, struct nvml_gpm_support *s);
EXPORT nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t d, struct nvml_gpm_support *s)
{
    char value[64];
    (void)d;
    s->supported = s->version == NVML_GPM_VERSION && *word("gpm", value);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *s);
EXPORT nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *s)
{
    *s = calloc(1, sizeof **s);
    return *s ? NVML_SUCCESS : UNKNOWN;
}

EXPORT nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t s);
EXPORT nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t s)
{
    free(s);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t d, nvmlGpmSample_t s);
EXPORT nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t d, nvmlGpmSample_t s)
{
    static unsigned taken;
    *s = (struct nvmlGpmSample_st){.gpu = d->index, .at = ++taken};
    return enter("gpm");
}

/* Of two samples of one GPU, the older before the newer. */
EXPORT nvmlReturn_t nvmlGpmMetricsGet(struct nvml_gpm_metrics *m);
EXPORT nvmlReturn_t nvmlGpmMetricsGet(struct nvml_gpm_metrics *m)
{
    char value[64];
    if (m->version != NVML_GPM_VERSION || m->count != 2 || m->before->gpu != m->after->gpu ||
        !m->before->at || m->before->at >= m->after->at)
        return UNKNOWN;
    m->metrics[0].result = m->metrics[0].id == NVML_GPM_SM_UTIL ? NVML_SUCCESS : UNKNOWN;
    m->metrics[0].value = strtod(word("gpm", value), NULL);
    m->metrics[1].result = m->metrics[1].id == NVML_GPM_DRAM_BW_UTIL ? NVML_SUCCESS : UNKNOWN;
    m->metrics[1].value = 2;
    return NVML_SUCCESS;
}

/* ---- events ---------------------------------------------------------------------------------------- */

EXPORT nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set);
EXPORT nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    static char one;
    *set = (nvmlEventSet_t)(void *)&one;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set);
EXPORT nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set)
{
    (void)d;
    return set && types == NVML_EVENT_XID ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

/* Each line of the file is told once. */
EXPORT nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, struct nvml_event *e, unsigned timeout_ms);
EXPORT nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, struct nvml_event *e, unsigned timeout_ms)
{
    static unsigned told;
    unsigned gpu, at = 0;
    unsigned long long xid;
    char line[128];
    FILE *f = open_named("state=");
    (void)set;
    (void)timeout_ms;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%u xid %llu", &gpu, &xid) == 2 && at++ == told) {
            fclose(f);
            told++;
            *e = (struct nvml_event){
                .device = &devices[gpu % SC_COUNT(devices)], .type = NVML_EVENT_XID, .data = xid};
            return NVML_SUCCESS;
        }
    if (f)
        fclose(f);
    return NVML_ERROR_TIMEOUT;
}

EXPORT nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set);
EXPORT nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    (void)set;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, struct nvml_utilization *u);
EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, struct nvml_utilization *u)
{
    if (said(d->index, "lost", -1) >= 0)
        return NVML_ERROR_GPU_IS_LOST;
    u->gpu = 10 * d->index;
    u->memory = d->index;
    return enter("utilization");
}

static int number(const char *name)
{
    char value[64];
    return (int)strtol(word(name, value), NULL, 10);
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t d, int *mode);
EXPORT nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t d, int *mode)
{
    (void)d;
    *mode = (int)said(d->index, "mode", number("mode"));
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned *current, unsigned *pending);
EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned *current, unsigned *pending)
{
    *current = *pending = d->index == 0 && number("mig") > 0;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned *n);
EXPORT nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned *n)
{
    (void)d;
    *n = 7;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned i, nvmlDevice_t *out);
EXPORT nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned i, nvmlDevice_t *out)
{
    static struct nvmlDevice_st parts[7];
    if (i >= (unsigned)number("mig") || i >= SC_COUNT(parts))
        return NVML_ERROR_NOT_SUPPORTED;
    parts[i] = (struct nvmlDevice_st){.index = d->index, .part = i + 1};
    *out = &parts[i];
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned *mw);
EXPORT nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned *mw)
{
    *mw = 70500 + d->index;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned *mw);
EXPORT nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned *mw)
{
    (void)d;
    *mw = 700000;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned size);
EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    snprintf(out, size, "580.0-fake");
    return NVML_SUCCESS;
}

/* The processes of the file that are clients of MPS, or those that are not. False: no file is named. */
static bool listed(nvmlDevice_t d, bool mps, unsigned *n, struct nvml_process *out)
{
    char path[512] = "", line[128];
    const char *all = getenv("FAKE_NVML"), *at = all ? strstr(all, "processes=") : NULL;
    if (!at)
        return false;
    at += strlen("processes=");
    snprintf(path, sizeof path, "%.*s", (int)strcspn(at, " "), at);
    FILE *f = fopen(path, "r");
    unsigned room = *n, gpu, pid;
    unsigned long long mib;
    *n = 0;
    while (f && (mib = 500, fgets(line, sizeof line, f)))
        if (sscanf(line, "%u %u %llu", &gpu, &pid, &mib) >= 2 && gpu == d->index &&
            (strstr(line, "mps") != NULL) == mps && *n < room)
            out[(*n)++] = (struct nvml_process){.pid = pid, .memory = mib * MIB};
    if (f)
        fclose(f);
    return true;
}

EXPORT nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n,
                                                               struct nvml_process *out);
EXPORT nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n,
                                                               struct nvml_process *out)
{
    if (!listed(d, true, n, out))
        *n = 0;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n,
                                                            struct nvml_process *out);
EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *n,
                                                            struct nvml_process *out)
{
    if (listed(d, false, n, out))
        return enter("processes");
    if (*n < 1)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    *n = 1;
    out[0] = (struct nvml_process){.pid = 4000 + d->index, .memory = d->index ? ~0ull : 50 * MIB};
    return enter("processes");
}
