#include "model/gpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "gpu/assign.h"
#include "model/output.h"
#include "model/placement.h"
#include "model/report_lines.h"

#define LINE_MAX_BYTES (256 << 10) /* a report: SC_GPUS_MAX GPUs, SC_GPU_PROCESSES_MAX processes */

#define SILENT_NS (30 * INT64_C(1000000000)) /* without a report the agent hangs */

struct sc_gpus {
    bool running; /* its slot is occupied */
    uint32_t slot;
    struct sc_report_lines *reports; /* NULL: nothing is read */
    struct sc_output *errors;
    bool known;
    bool over; /* there is no agent, and there will be none */
    char trouble[SC_GPUS_MAX][sizeof((struct sc_gpu_info *)0)->trouble];
    bool mapped;
    uint8_t physical[SC_GPUS_MAX]; /* the driver's index of each of ours: UUIDs are known from the first
                                      report on */
    uint64_t life;
    int64_t heard_ns, record_ns; /* the last report; when metrics are due */
    int64_t reported_ns;         /* the last report of this life; 0: none yet */
    struct sc_gpu_report report;
};

/* ---- a worker's GPU -------------------------------------------------------------------------------- */

static struct sc_gpu_choice choice_of(const struct sc_version *v)
{
    const struct sc_model_spec *s = &v->spec;
    return (struct sc_gpu_choice){
        .gpus = (unsigned)SC_MAX(v->engine->spec.settings->number_of_gpu, 0),
        .cpu = s->device == SC_DEVICE_CPU,
        .devices = s->devices,
        .ndevices = s->ndevices,
        .level = s->parallel_type[0] ? (unsigned)SC_MAX(s->parallel_level, 0) : 0,
    };
}

/* Of our own backends only the encoder computes on GPUs, unless its setting `device` is cpu. */
static bool may_use(const struct sc_model_spec *s)
{
    if (!sc_spec_is_native(s))
        return true;
    for (unsigned i = 0; i < s->nextras; i++)
        if (strcmp(s->extras[i].key, "device") == 0 && strcmp(s->extras[i].value, "cpu") == 0)
            return false;
    return strcmp(s->backend, "encoder") == 0;
}

bool sc_gpus_used(const struct sc_version *v)
{
    struct sc_gpu_choice c = choice_of(v);
    return may_use(&v->spec) && sc_gpu_used(&c);
}

int sc_gpus_choose(struct sc_version *v)
{
    struct sc_gpu_choice c = choice_of(v);
    return !may_use(&v->spec) ? -1 : sc_gpu_next(&c, &v->engine->gpu_next, &v->gpu_next);
}

unsigned sc_gpus_allowed(const struct sc_version *v, int ids[SC_GPUS_MAX])
{
    struct sc_gpu_choice c = choice_of(v);
    unsigned n = SC_MIN(c.ndevices ? c.ndevices : c.gpus, (unsigned)SC_GPUS_MAX);
    for (unsigned i = 0; i < n; i++)
        ids[i] = c.ndevices ? c.devices[i] : (int)i;
    return n;
}

unsigned sc_gpus_physical(const struct sc_engine *e, int gpu_id)
{
    const struct sc_gpus *g = e->gpus;
    unsigned id = (unsigned)SC_MAX(gpu_id, 0);
    if (g && g->mapped && id < SC_GPUS_MAX)
        return g->physical[id];
    return SC_MIN(sc_gpu_physical(getenv("CUDA_VISIBLE_DEVICES"), id, NULL), SC_GPUS_MAX - 1u);
}

bool sc_gpus_block(const struct sc_version *v, int gpu_id, char *out, size_t size)
{
    struct sc_gpu_choice c = choice_of(v);
    return sc_gpu_block(&c, gpu_id, getenv("CUDA_VISIBLE_DEVICES"), out, size) == 0;
}

/* ---- the agent -------------------------------------------------------------------------------------- */

const struct sc_gpu_report *sc_gpus_report(const struct sc_engine *e)
{
    return e->gpus && e->gpus->known ? &e->gpus->report : NULL;
}

const char *sc_gpus_trouble(const struct sc_engine *e, unsigned index)
{
    return e->gpus && index < SC_GPUS_MAX && *e->gpus->trouble[index] ? e->gpus->trouble[index] : NULL;
}

bool sc_gpus_hoped_for(const struct sc_engine *e)
{
    return e->gpus ? !e->gpus->over : e->spec.settings->number_of_gpu > 0;
}

static void map_numbers(struct sc_gpus *g)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    for (unsigned i = 0; !g->mapped && i < SC_GPUS_MAX; i++)
        g->physical[i] = (uint8_t)SC_MIN(sc_gpu_physical(visible, i, &g->report), SC_GPUS_MAX - 1u);
    g->mapped = true;
}

/* It stays, also when another agent, which has not seen what happened, says nothing of it. */
static void take_trouble(struct sc_engine *e)
{
    struct sc_gpus *g = e->gpus;
    for (unsigned i = 0; i < g->report.ngpus; i++) {
        const struct sc_gpu_info *gpu = &g->report.gpus[i];
        char *known = g->trouble[gpu->index];
        if (*gpu->trouble && !*known) {
            memcpy(known, gpu->trouble, sizeof gpu->trouble);
            sc_log(SC_LOG_ERROR, "GPU %u (%s) is not used any more, until the server is started again: %s",
                   gpu->index, gpu->uuid, known);
        }
        const double values[SC_GG_COUNT] = {[SC_GG_HEALTHY] = !*known,
                                            [SC_GG_SM] = gpu->sm_utilization,
                                            [SC_GG_BANDWIDTH] = gpu->bandwidth_utilization};
        sc_metrics_gpu(e->spec.metrics, gpu->index, values);
    }
}

static void gauge(struct sc_engine *e, const char *name, unsigned gpu, double v)
{
    char index[16];
    snprintf(index, sizeof index, "%u", gpu);
    const char *values[] = {"Host", index};
    if (v >= 0)
        sc_metrics_gauge(e->spec.metrics, name, values, 2, v);
}

/* Every metric_time_interval, while reports come more often. */
static void record(struct sc_engine *e)
{
    struct sc_gpus *g = e->gpus;
    if (!g->known || !e->spec.settings->system_metrics || g->heard_ns < g->record_ns)
        return;
    g->record_ns = g->heard_ns + (int64_t)e->spec.settings->metric_interval * 1000000000;
    for (unsigned i = 0; i < g->report.ngpus; i++) {
        const struct sc_gpu_info *gpu = &g->report.gpus[i];
        gauge(e, "GPUUtilization", gpu->index, gpu->utilization);
        gauge(e, "GPUMemoryUtilization", gpu->index, sc_gpu_memory_percent(gpu));
        gauge(e, "GPUMemoryUsed", gpu->index, gpu->memory_used < 0 ? -1 : (double)(gpu->memory_used >> 20));
    }
}

/* ---- stalls of the driver --------------------------------------------------------------------------- */

static bool is_stalled(const struct sc_engine *e)
{
    return atomic_load(&e->stall_from) && !atomic_load(&e->stall_to);
}

static void stall_is_over(struct sc_engine *e, int64_t now)
{
    if (!is_stalled(e))
        return;
    atomic_store(&e->stall_to, now);
    sc_log(SC_LOG_WARN, "the GPUs' driver answers again, %.1f s after its last answer",
           (double)(now - atomic_load(&e->stall_from)) / 1e9);
}

static void look_for_stall(struct sc_engine *e, int64_t now)
{
    const struct sc_gpus *g = e->gpus;
    if (!g->reported_ns || is_stalled(e) || now - g->reported_ns < SC_GPU_STALL_MS * INT64_C(1000000))
        return;
    atomic_store(&e->stall_to, 0);
    atomic_store(&e->stall_from, g->reported_ns);
    sc_metrics_event(e->spec.metrics, SC_HE_GPU_STALL);
    sc_log(SC_LOG_WARN,
           "the GPUs' driver has not answered for %.1f s; until it does, at most %d s, no worker on a GPU is "
           "replaced for being slow (responseTimeout, startupTimeout)",
           (double)(now - g->reported_ns) / 1e9, SC_GPU_STALL_MAX_MS / 1000);
}

int64_t sc_gpus_stalled(const struct sc_version *v, int64_t since, int64_t now)
{
    int64_t from = atomic_load(&v->engine->stall_from), to = atomic_load(&v->engine->stall_to);
    if (!from || !sc_gpus_used(v))
        return 0;
    to = SC_MIN(to ? to : now, from + SC_GPU_STALL_MAX_MS * INT64_C(1000000));
    return SC_MAX(SC_MIN(to, now) - SC_MAX(from, since), 0);
}

/* ---- what the agent says ---------------------------------------------------------------------------- */

static void take_line(void *engine, struct sc_span line)
{
    struct sc_engine *e = engine;
    struct sc_gpus *g = e->gpus;
    if (sc_gpu_parse_line(line, &g->report) < 0) {
        g->known = false;
        sc_log(SC_LOG_WARN, "the gpu agent says what is no report: %.*s", (int)SC_MIN(line.n, 200u), line.p);
        return;
    }
    g->known = g->report.error[0] == '\0';
    g->heard_ns = g->reported_ns = sc_clock_ns();
    stall_is_over(e, g->heard_ns);
    if (g->known) {
        map_numbers(g);
        take_trouble(e);
        sc_placement_learn(e);
    }
    record(e);
    if (!g->known)
        sc_log(SC_LOG_WARN, "the gpu agent: %s", g->report.error);
}

static void read_from(struct sc_engine *e, int *fds)
{
    struct sc_gpus *g = e->gpus;
    struct sc_loop *zero = sc_engine_loop(e, 0);
    g->reports = sc_report_lines_open(zero, fds[0], LINE_MAX_BYTES, take_line, e);
    struct sc_output_spec errors = {.thread = "gpu-agent", .is_stderr = true, .model = "", .version = ""};
    g->errors = sc_output_open(zero, fds[1], &errors);
    fds[0] = fds[1] = -1;
}

static struct sc_gpus *make(struct sc_engine *e)
{
    if (!e->gpus)
        e->gpus = sc_alloc(sizeof *e->gpus);
    return e->gpus;
}

void sc_gpus_start(struct sc_engine *e)
{
    if (e->spec.settings->number_of_gpu <= 0 || (e->gpus && e->gpus->running))
        return;
    struct sc_gpus *g = make(e);
    if (!sc_worker_take_slot(e, &g->slot))
        return;
    g->running = true;
    const char *argv[] = {e->spec.exe, "sconce: gpu agent", "--role=gpu-agent", NULL};
    struct sc_ctl_start start = {.slot = g->slot, .flags = SC_START_OUTPUT, .retry_window_ms = -1};
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    sc_ctl_write_start(&b, start, SC_SPAN(SC_GPUS_TAG), argv, NULL, NULL);
    sc_line_send(e, SC_CTL_SLOT_START, sc_buf_view(&b), sc_span(NULL, 0), NULL, 0);
    sc_buf_free(&b);
}

void sc_gpus_state(struct sc_engine *e, const struct sc_ctl_slot *s, int *fds, unsigned nfds)
{
    struct sc_gpus *g = make(e);
    if (!g->running) { /* of an earlier frontend */
        g->running = true;
        g->slot = s->slot;
    }
    if (nfds == SC_OUTPUT_FDS && !g->reports)
        read_from(e, fds);
    g->life = s->life;
    g->heard_ns = sc_clock_ns();
    g->reported_ns = 0;
    g->over = s->state == SC_SLOT_GONE || (s->state == SC_SLOT_EXITED && s->delay_ms < 0);
    if (s->state == SC_SLOT_EXITED) {
        g->known = false;
        stall_is_over(e, g->heard_ns);
        if (s->delay_ms < 0)
            sc_log(SC_LOG_WARN,
                   "the gpu agent has ended and is not started again: GPUs are used, not watched");
        else
            sc_log(SC_LOG_WARN, "the gpu agent has ended and is started again in %lld ms",
                   (long long)s->delay_ms);
        if (s->delay_ms >= 0)
            sc_metrics_event(e->spec.metrics, SC_HE_GPU_AGENT);
    }
}

void sc_gpus_tick(struct sc_engine *e, int64_t now)
{
    struct sc_gpus *g = e->gpus;
    if (!g || !g->running || !g->life)
        return;
    look_for_stall(e, now);
    if (now - g->heard_ns < SILENT_NS)
        return;
    sc_log(SC_LOG_WARN, "the gpu agent has been silent for %d s: the driver hangs? It is started again",
           (int)(SILENT_NS / 1000000000));
    g->known = false;
    g->heard_ns = now;
    sc_worker_order(e, SC_CTL_SLOT_KILL, g->slot, g->life);
}

void sc_gpus_close(struct sc_engine *e)
{
    if (!e->gpus)
        return;
    sc_report_lines_close(e->gpus->reports);
    if (e->gpus->errors)
        sc_output_close(e->gpus->errors);
}

void sc_gpus_free(struct sc_engine *e)
{
    free(e->gpus);
}
