#include "gpu/placement.h"

#define MIB(bytes) ((long long)((bytes) >> 20))

static int64_t memory_free(const struct sc_gpu_place *p)
{
    /* Of a divided GPU the figures are of the whole, and a process gets a part. */
    return p->info && p->info->mig != 1 ? sc_gpu_memory_free(p->info) : SC_GPU_UNKNOWN;
}

static int64_t sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static enum sc_gpu_fit look_at_memory(const struct sc_gpu_place *p, int64_t need, struct sc_msg *why)
{
    int64_t have = memory_free(p), left = SC_MAX(have, 0) - p->promised,
            wanted = need > 0 ? need : SC_GPU_LEAST_BYTES;
    if (have == SC_GPU_UNKNOWN || left >= wanted)
        return SC_FIT_YES;
    sc_fail(why, SC_ENOMEM,
            "GPU %d: a worker takes %s%lld MiB, and of %lld MiB %lld are free, %lld of these promised "
            "to workers that are starting",
            p->gpu_id, need > 0 ? "" : "at least ", MIB(wanted), MIB(p->info->memory_total), MIB(have),
            MIB(p->promised));
    return sum(SC_MAX(left, 0), p->leaving) >= wanted ? SC_FIT_LATER : SC_FIT_NO;
}

enum sc_gpu_fit sc_gpu_fits(const struct sc_gpu_place *p, int64_t need, bool *memory, struct sc_msg *why)
{
    unsigned index = p->info ? p->info->index : (unsigned)p->gpu_id;
    *memory = false;
    if (p->trouble) {
        sc_fail(why, SC_EUNSUPPORTED, "GPU %d is not used: %s", p->gpu_id, p->trouble);
        return SC_FIT_NO;
    }
    if (p->info && p->info->compute_mode == SC_COMPUTE_PROHIBITED) {
        sc_fail(why, SC_EUNSUPPORTED,
                "GPU %d: compute mode PROHIBITED: no process can use it; nvidia-smi -i %u -c 0 permits it",
                p->gpu_id, index);
        return SC_FIT_NO;
    }
    if (p->alone && (p->processes || p->ending)) {
        sc_fail(why, SC_EUNSUPPORTED,
                "GPU %d: compute mode EXCLUSIVE_PROCESS and no MPS: one process at a time, and it has one; "
                "mps=managed permits several, and so does nvidia-smi -i %u -c 0",
                p->gpu_id, index);
        return p->processes ? SC_FIT_NO : SC_FIT_LATER;
    }
    *memory = true;
    return look_at_memory(p, need, why);
}

/* ---- the best -------------------------------------------------------------------------------------- */

static int64_t room_of(const struct sc_gpu_place *p)
{
    int64_t have = SC_MAX(memory_free(p), 0);
    return have - SC_MIN(sum(p->promised, p->guessed), have);
}

static bool better(const struct sc_gpu_place *a, const struct sc_gpu_place *b)
{
    int busy_a = a->info ? a->info->utilization : 0, busy_b = b->info ? b->info->utilization : 0;
    if (a->workers != b->workers)
        return a->workers < b->workers;
    return busy_a < busy_b;
}

int sc_gpu_pick(const struct sc_gpu_place *p, unsigned n, int64_t need)
{
    struct sc_msg why;
    bool memory;
    enum sc_gpu_fit most = SC_FIT_LATER;
    int64_t room = -1, near = 0;
    int found = -1;
    for (unsigned i = 0; i < n; i++)
        if (sc_gpu_fits(&p[i], need, &memory, &why) == SC_FIT_YES)
            most = SC_FIT_YES;
    for (unsigned i = 0; i < n; i++)
        if (sc_gpu_fits(&p[i], need, &memory, &why) >= most && room_of(&p[i]) > room) {
            room = room_of(&p[i]);
            near = p[i].info ? SC_MAX(p[i].info->memory_total, 0) / 16 : 0;
        }
    for (unsigned i = 0; i < n; i++)
        if (sc_gpu_fits(&p[i], need, &memory, &why) >= most && room_of(&p[i]) >= room - near &&
            (found < 0 || better(&p[i], &p[found])))
            found = (int)i;
    return found;
}
