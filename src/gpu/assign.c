#include "gpu/assign.h"

#include <stdio.h>

#include "base/span.h"

/* An entry that is no number: CUDA takes a UUID, or its beginning. */
static bool is_uuid(struct sc_span s)
{
    if (!sc_span_starts(s, SC_SPAN("GPU-")) && !sc_span_starts(s, SC_SPAN("MIG-")))
        return false;
    s = sc_span_sub(s, 4, s.n);
    for (size_t i = 0; i < s.n; i++)
        if (!memchr("0123456789abcdefABCDEF-/GPU", s.p[i], 27)) /* older instances: MIG-GPU-uuid/3/0 */
            return false;
    return s.n > 0;
}

int sc_gpu_visible_count(const char *value, struct sc_msg *msg)
{
    struct sc_span rest = sc_span_str(value);
    int count = 0;
    int32_t id;
    if (rest.n == 0)
        return SC_ENOTFOUND;
    while (rest.n && rest.p[rest.n - 1] == ',')
        rest.n--;
    while (rest.n) {
        size_t n = sc_span_find(rest, ',');
        struct sc_span entry = sc_span_sub(rest, 0, n);
        if (!sc_span_i32(entry, &id) && !is_uuid(entry))
            return sc_fail(
                msg, SC_EINVAL,
                "For input string: \"%.*s\" (CUDA_VISIBLE_DEVICES must be integers, or UUIDs of GPUs, "
                "separated by commas)",
                (int)SC_MIN(entry.n, (size_t)100), entry.p);
        count++;
        rest = sc_span_sub(rest, n + 1, rest.n);
    }
    return count;
}

struct sc_span sc_gpu_entry(const char *value, unsigned gpu_id)
{
    struct sc_span rest = sc_span_str(value);
    for (unsigned i = 0; rest.n; i++) {
        size_t n = sc_span_find(rest, ',');
        if (i == gpu_id)
            return sc_span_sub(rest, 0, n);
        rest = sc_span_sub(rest, n + 1, rest.n);
    }
    return sc_span(NULL, 0);
}

unsigned sc_gpu_physical(const char *value, unsigned gpu_id, const struct sc_gpu_report *r)
{
    struct sc_span entry = sc_gpu_entry(value, gpu_id);
    int32_t id;
    if (sc_span_i32(entry, &id))
        return id >= 0 ? (unsigned)id : gpu_id;
    for (unsigned i = 0; entry.n && r && i < r->ngpus; i++)
        if (sc_span_starts(sc_span_str(r->gpus[i].uuid), entry))
            return r->gpus[i].index;
    for (unsigned i = 0; entry.n && r && i < r->ninstances; i++)
        if (sc_span_starts(sc_span_str(r->instances[i].uuid), entry))
            return r->instances[i].gpu;
    return gpu_id;
}

bool sc_gpu_used(const struct sc_gpu_choice *c)
{
    return !c->cpu && c->gpus > 0;
}

/* GPUs that the model may use. */
static unsigned available(const struct sc_gpu_choice *c)
{
    return c->ndevices ? c->ndevices : c->gpus;
}

static int device_at(const struct sc_gpu_choice *c, unsigned i)
{
    return c->ndevices ? c->devices[i] : (int)i;
}

int sc_gpu_next(const struct sc_gpu_choice *c, unsigned *server_counter, unsigned *model_counter)
{
    if (!sc_gpu_used(c))
        return -1;
    unsigned n = available(c);
    if (!c->ndevices && !c->level) {
        *server_counter = (*server_counter + 1) % n;
        return (int)*server_counter;
    }
    unsigned step = SC_MAX(c->level, 1u), blocks = SC_MAX(n / step, 1u);
    unsigned block = *model_counter % blocks;
    *model_counter = (block + 1) % blocks;
    /* In a block of deviceIds the id is the place in the list, as there: the devices are numbered anew. */
    return c->level ? (int)(block * step) : device_at(c, block);
}

int sc_gpu_block(const struct sc_gpu_choice *c, int gpu_id, const char *visible, char *out, size_t size)
{
    size_t n = 0;
    if (!c->level || !sc_gpu_used(c) || gpu_id < 0)
        return SC_ENOTFOUND;
    for (unsigned i = (unsigned)gpu_id; i < (unsigned)gpu_id + c->level && i < available(c); i++) {
        struct sc_span called = sc_gpu_entry(visible, (unsigned)device_at(c, i));
        int k = called.n ? snprintf(out + n, size - n, "%s%.*s", n ? "," : "", SC_FMT(called))
                         : snprintf(out + n, size - n, "%s%d", n ? "," : "", device_at(c, i));
        if (k < 0 || (size_t)k >= size - n)
            return SC_ELIMIT;
        n += (size_t)k;
    }
    return n ? 0 : SC_ENOTFOUND;
}

int sc_gpu_clamp(const struct sc_gpu_choice *c, const char *model, int *min, int *max, struct sc_msg *msg)
{
    if (!c->level || !sc_gpu_used(c))
        return 0;
    int most = (int)(available(c) / c->level);
    if (most == 0)
        return sc_fail(msg, SC_ELIMIT, "No enough gpu devices for model:%.300s parallelLevel:%u", model,
                       c->level);
    *min = SC_MIN(*min, most);
    *max = SC_MIN(*max, most);
    return 0;
}
