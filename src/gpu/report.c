#include "gpu/report.h"

#include <stdio.h>

#include "proto/json_read.h"
#include "proto/json_write.h"

#define MIB (INT64_C(1) << 20)

/* ---- writing --------------------------------------------------------------------------------------- */

static void put_known(struct sc_json_writer *w, const char *name, int64_t v)
{
    sc_json_key(w, name);
    if (v == SC_GPU_UNKNOWN)
        sc_json_null(w);
    else
        sc_json_int(w, v);
}

static void put_gpu(struct sc_json_writer *w, const struct sc_gpu_info *g)
{
    sc_json_begin_object(w);
    sc_json_put_int(w, "index", g->index);
    sc_json_put_str(w, "uuid", g->uuid);
    sc_json_put_str(w, "name", g->name);
    put_known(w, "memoryUsed", g->memory_used);
    put_known(w, "memoryTotal", g->memory_total);
    put_known(w, "utilization", g->utilization);
    put_known(w, "memoryUtilization", g->memory_utilization);
    put_known(w, "computeMode", g->compute_mode);
    put_known(w, "mig", g->mig);
    put_known(w, "power", g->power);
    put_known(w, "powerLimit", g->power_limit);
    if (g->memory_reserved > 0)
        sc_json_put_int(w, "memoryReserved", g->memory_reserved);
    if (g->ecc_errors > 0)
        sc_json_put_int(w, "eccErrors", g->ecc_errors);
    if (*g->trouble)
        sc_json_put_str(w, "trouble", g->trouble);
    if (g->sm_utilization >= 0)
        sc_json_put_int(w, "smUtilization", g->sm_utilization);
    if (g->bandwidth_utilization >= 0)
        sc_json_put_int(w, "bandwidthUtilization", g->bandwidth_utilization);
    sc_json_end_object(w);
}

static void put_instance(struct sc_json_writer *w, const struct sc_gpu_instance *i)
{
    sc_json_begin_object(w);
    sc_json_put_int(w, "gpu", i->gpu);
    sc_json_put_str(w, "uuid", i->uuid);
    put_known(w, "memoryUsed", i->memory_used);
    put_known(w, "memoryTotal", i->memory_total);
    sc_json_end_object(w);
}

static void put_process(struct sc_json_writer *w, const struct sc_gpu_process *p)
{
    sc_json_begin_object(w);
    sc_json_put_int(w, "gpu", p->gpu);
    sc_json_put_int(w, "pid", p->pid);
    put_known(w, "memoryUsed", p->memory_used);
    if (p->mps)
        sc_json_put_int(w, "mps", p->mps);
    sc_json_end_object(w);
}

void sc_gpu_report_write(const struct sc_gpu_report *r, struct sc_buf *out)
{
    struct sc_json_writer w;
    sc_json_write_init(&w, out, true);
    sc_json_begin_object(&w);
    if (*r->error) {
        sc_json_put_str(&w, "error", r->error);
    } else {
        sc_json_key(&w, "gpus");
        sc_json_begin_array(&w);
        for (unsigned i = 0; i < r->ngpus; i++)
            put_gpu(&w, &r->gpus[i]);
        sc_json_end_array(&w);
        sc_json_key(&w, "processes");
        sc_json_begin_array(&w);
        for (unsigned i = 0; i < r->nprocesses; i++)
            put_process(&w, &r->processes[i]);
        sc_json_end_array(&w);
        if (r->ninstances) {
            sc_json_key(&w, "instances");
            sc_json_begin_array(&w);
            for (unsigned i = 0; i < r->ninstances; i++)
                put_instance(&w, &r->instances[i]);
            sc_json_end_array(&w);
        }
        if (*r->driver)
            sc_json_put_str(&w, "driver", r->driver);
    }
    sc_json_end_object(&w);
    if (sc_json_write_finish(&w) < 0 && !out->failed)
        out->failed = SC_EINVAL;
    sc_buf_char(out, '\n');
}

/* ---- reading --------------------------------------------------------------------------------------- */

/* Where the value of a key goes; one row per member of an object. */
struct member {
    const char *name;
    size_t offset;
    size_t text; /* size of a char array; 0: a number */
    int64_t max;
    bool wide;     /* int64_t, else int */
    bool nullable; /* null is SC_GPU_UNKNOWN */
};

#define OF_GPU(field) offsetof(struct sc_gpu_info, field)
#define OF_PROCESS(field) offsetof(struct sc_gpu_process, field)
#define OF_INSTANCE(field) offsetof(struct sc_gpu_instance, field)

static const struct member gpu_members[] = {
    {.name = "index", .offset = OF_GPU(index), .max = SC_GPUS_MAX - 1},
    {.name = "uuid", .offset = OF_GPU(uuid), .text = sizeof((struct sc_gpu_info){0}.uuid)},
    {.name = "name", .offset = OF_GPU(name), .text = sizeof((struct sc_gpu_info){0}.name)},
    {.name = "memoryUsed", .offset = OF_GPU(memory_used), .max = INT64_MAX, .wide = true, .nullable = true},
    {.name = "memoryTotal", .offset = OF_GPU(memory_total), .max = INT64_MAX, .wide = true, .nullable = true},
    {.name = "utilization", .offset = OF_GPU(utilization), .max = 100, .nullable = true},
    {.name = "memoryUtilization", .offset = OF_GPU(memory_utilization), .max = 100, .nullable = true},
    {.name = "computeMode", .offset = OF_GPU(compute_mode), .max = 99, .nullable = true},
    {.name = "mig", .offset = OF_GPU(mig), .max = 1, .nullable = true},
    {.name = "power", .offset = OF_GPU(power), .max = INT32_MAX, .nullable = true},
    {.name = "powerLimit", .offset = OF_GPU(power_limit), .max = INT32_MAX, .nullable = true},
    {.name = "memoryReserved", .offset = OF_GPU(memory_reserved), .max = INT64_MAX, .wide = true},
    {.name = "eccErrors", .offset = OF_GPU(ecc_errors), .max = INT64_MAX, .wide = true},
    {.name = "trouble", .offset = OF_GPU(trouble), .text = sizeof((struct sc_gpu_info){0}.trouble)},
    {.name = "smUtilization", .offset = OF_GPU(sm_utilization), .max = 100, .nullable = true},
    {.name = "bandwidthUtilization", .offset = OF_GPU(bandwidth_utilization), .max = 100, .nullable = true},
};

static const struct member instance_members[] = {
    {.name = "gpu", .offset = OF_INSTANCE(gpu), .max = SC_GPUS_MAX - 1},
    {.name = "uuid", .offset = OF_INSTANCE(uuid), .text = sizeof((struct sc_gpu_instance){0}.uuid)},
    {.name = "memoryUsed",
     .offset = OF_INSTANCE(memory_used),
     .max = INT64_MAX,
     .wide = true,
     .nullable = true},
    {.name = "memoryTotal",
     .offset = OF_INSTANCE(memory_total),
     .max = INT64_MAX,
     .wide = true,
     .nullable = true},
};

static const struct member process_members[] = {
    {.name = "gpu", .offset = OF_PROCESS(gpu), .max = SC_GPUS_MAX - 1},
    {.name = "pid", .offset = OF_PROCESS(pid), .max = INT32_MAX},
    {.name = "memoryUsed",
     .offset = OF_PROCESS(memory_used),
     .max = INT64_MAX,
     .wide = true,
     .nullable = true},
    {.name = "mps", .offset = OF_PROCESS(mps), .max = 1},
};

static bool take_text(const struct sc_json_reader *j, char *to, size_t size)
{
    struct sc_buf room;
    struct sc_span s;
    sc_buf_init(&room, SC_GPU_LINE_BYTES);
    bool good = sc_json_text(j, &room, &s) == 0;
    if (good)
        snprintf(to, size, "%.*s", (int)SC_MIN(s.n, size - 1), s.n ? s.p : "");
    sc_buf_free(&room);
    return good;
}

static void put_number(const struct member *m, void *object, int64_t v)
{
    int n = (int)v;
    memcpy((char *)object + m->offset, m->wide ? (const void *)&v : &n, m->wide ? sizeof v : sizeof n);
}

static bool take_value(const struct sc_json_reader *j, int ev, const struct member *m, void *object)
{
    char *at = (char *)object + m->offset;
    int64_t v = SC_GPU_UNKNOWN;
    if (m->text)
        return ev == SC_JSON_STRING && take_text(j, at, m->text);
    if (!(ev == SC_JSON_NULL && m->nullable) &&
        (ev != SC_JSON_NUMBER || !sc_json_int64(j, &v) || v < 0 || v > m->max))
        return false;
    put_number(m, object, v);
    return true;
}

/* An object's members from its OBJECT on. */
static int read_object(struct sc_json_reader *j, const struct member *members, size_t n, void *object)
{
    int ev;
    for (size_t i = 0; i < n; i++) /* what is left out is not known */
        if (members[i].nullable)
            put_number(&members[i], object, SC_GPU_UNKNOWN);
    while ((ev = sc_json_next(j)) == SC_JSON_KEY) {
        const struct member *m = NULL;
        for (size_t i = 0; i < n && !m; i++)
            if (sc_json_is(j, sc_span_str(members[i].name)))
                m = &members[i];
        if (!m) {
            ev = sc_json_skip(j);
            if (ev < 0)
                return ev;
        } else if ((ev = sc_json_next(j)) < 0 || !take_value(j, ev, m, object)) {
            return SC_EINVAL;
        }
    }
    return ev == SC_JSON_OBJECT_END ? 0 : SC_EINVAL;
}

static int read_array(struct sc_json_reader *j, const struct member *members, size_t n, void *first,
                      size_t size, unsigned *count, unsigned max)
{
    int ev = sc_json_next(j);
    if (ev != SC_JSON_ARRAY)
        return SC_EINVAL;
    while ((ev = sc_json_next(j)) == SC_JSON_OBJECT) {
        if (*count == max || read_object(j, members, n, (char *)first + *count * size) < 0)
            return SC_EINVAL;
        (*count)++;
    }
    return ev == SC_JSON_ARRAY_END ? 0 : SC_EINVAL;
}

static int read_report(struct sc_json_reader *j, struct sc_gpu_report *r)
{
    int ev = sc_json_next(j), rc = 0;
    if (ev != SC_JSON_OBJECT)
        return SC_EINVAL;
    while (rc == 0 && (ev = sc_json_next(j)) == SC_JSON_KEY) {
        if (sc_json_is(j, SC_SPAN("gpus")))
            rc = read_array(j, gpu_members, SC_COUNT(gpu_members), r->gpus, sizeof *r->gpus, &r->ngpus,
                            SC_GPUS_MAX);
        else if (sc_json_is(j, SC_SPAN("processes")))
            rc = read_array(j, process_members, SC_COUNT(process_members), r->processes, sizeof *r->processes,
                            &r->nprocesses, SC_GPU_PROCESSES_MAX);
        else if (sc_json_is(j, SC_SPAN("instances")))
            rc = read_array(j, instance_members, SC_COUNT(instance_members), r->instances,
                            sizeof *r->instances, &r->ninstances, SC_GPU_INSTANCES_MAX);
        else if (sc_json_is(j, SC_SPAN("driver")))
            rc = sc_json_next(j) == SC_JSON_STRING && take_text(j, r->driver, sizeof r->driver) ? 0
                                                                                                : SC_EINVAL;
        else if (sc_json_is(j, SC_SPAN("error")))
            rc = sc_json_next(j) == SC_JSON_STRING && take_text(j, r->error, sizeof r->error) ? 0 : SC_EINVAL;
        else
            rc = sc_json_skip(j);
    }
    if (rc < 0 || ev != SC_JSON_OBJECT_END)
        return SC_EINVAL;
    return sc_json_next(j) == SC_JSON_END ? 0 : SC_EINVAL;
}

int sc_gpu_parse_line(struct sc_span line, struct sc_gpu_report *r)
{
    struct sc_json_reader j;
    *r = (struct sc_gpu_report){0};
    sc_json_read_init(&j, line);
    if (line.n > SC_GPU_LINE_BYTES || read_report(&j, r) < 0) {
        *r = (struct sc_gpu_report){0};
        return SC_EINVAL;
    }
    return 0;
}

/* ---- what people are shown ------------------------------------------------------------------------- */

const struct sc_gpu_info *sc_gpu_report_find(const struct sc_gpu_report *r, unsigned index)
{
    for (unsigned i = 0; i < r->ngpus; i++)
        if (r->gpus[i].index == index)
            return &r->gpus[i];
    return NULL;
}

double sc_gpu_memory_percent(const struct sc_gpu_info *g)
{
    if (g->memory_used == SC_GPU_UNKNOWN || g->memory_total <= 0)
        return SC_GPU_UNKNOWN;
    return 100.0 * (double)g->memory_used / (double)g->memory_total;
}

int64_t sc_gpu_memory_free(const struct sc_gpu_info *g)
{
    if (g->memory_used == SC_GPU_UNKNOWN || g->memory_total <= 0)
        return SC_GPU_UNKNOWN;
    int64_t left = g->memory_total - g->memory_used;
    return left > g->memory_reserved ? left - g->memory_reserved : 0;
}

/* As the driver's own tool prints a figure in its CSV. */
static void put_figure(char *out, size_t size, int64_t v, const char *unit)
{
    if (v == SC_GPU_UNKNOWN)
        snprintf(out, size, "[N/A]");
    else
        snprintf(out, size, "%lld %s", (long long)v, unit);
}

void sc_gpu_usage(const struct sc_gpu_report *r, int gpu_id, unsigned physical, char *out, size_t size)
{
    char gpu[32], memory[32], used[32];
    if (gpu_id < 0) {
        snprintf(out, size, "N/A");
        return;
    }
    const struct sc_gpu_info *g = r ? sc_gpu_report_find(r, physical) : NULL;
    if (!g) {
        snprintf(out, size, "failed to obtained gpu usage");
        return;
    }
    put_figure(gpu, sizeof gpu, g->utilization, "%");
    put_figure(memory, sizeof memory, g->memory_utilization, "%");
    put_figure(used, sizeof used, g->memory_used == SC_GPU_UNKNOWN ? SC_GPU_UNKNOWN : g->memory_used / MIB,
               "MiB");
    snprintf(out, size,
             "gpuId::%d utilization.gpu [%%]::%s utilization.memory [%%]::%s memory.used [MiB]::%s", gpu_id,
             gpu, memory, used);
}
