#include "model/sharing.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/gpus.h"
#include "model/launch.h"
#include "model/placement.h"
#include "model/sharing_parts.h"

/* No daemon lives there, so CUDA runs without MPS, whatever the server's own environment says. */
#define NOWHERE "/nonexistent/sconce-without-mps"

unsigned sc_sharing_physical(const struct sc_worker *w)
{
    return sc_gpus_physical(w->version->engine, w->gpu_id);
}

static struct sc_sharing *sharing_of(struct sc_engine *e)
{
    if (!e->sharing) {
        e->sharing = sc_alloc(sizeof *e->sharing);
        e->sharing->began_ns = sc_clock_ns();
    }
    return e->sharing;
}

struct sc_keeper *sc_keeper_of(const struct sc_worker *w)
{
    struct sc_sharing *s = w->version->engine->sharing;
    if (!s || w->gpu_id < 0)
        return NULL;
    return w->way == SC_WAY_MANAGED    ? s->keepers[sc_sharing_physical(w)]
           : w->way == SC_WAY_EXTERNAL ? s->keepers[SC_KEEPER_EXTERNAL]
                                       : NULL;
}

/* ---- a worker's process ----------------------------------------------------------------------------- */

/* The GPU that the process may see alone, by UUID; NULL: what it sees is as the server sees it. */
static const char *only_gpu(const struct sc_worker *w)
{
    struct sc_engine *e = w->version->engine;
    struct sc_keeper *k = sc_keeper_of(w);
    const struct sc_gpu_report *r = sc_gpus_report(e);
    if (k && w->way == SC_WAY_MANAGED)
        return sc_keeper_uuid(k);
    /* Numbers are those of the daemon there, of ours, or of neither; a UUID is one everywhere. */
    const struct sc_gpu_info *g = k && k->narrow && r ? sc_gpu_report_find(r, sc_sharing_physical(w)) : NULL;
    return g && sc_launch_level(&w->version->spec) <= 1 ? g->uuid : NULL;
}

int sc_sharing_gpu(const struct sc_worker *w)
{
    return only_gpu(w) ? 0 : w->gpu_id;
}

const char *sc_sharing_name(const struct sc_worker *w)
{
    const struct sc_keeper *k = sc_keeper_of(w);
    if (w->gpu_id < 0)
        return NULL;
    if (k && !(k->known && k->seen.gone))
        return "mps";
    return sc_spec_has_lanes(&w->version->spec) ? "lanes" : "timeslice";
}

void sc_sharing_environment(const struct sc_worker *w, struct sc_ctl_start *start, struct sc_buf *b)
{
    const struct sc_keeper *k = sc_keeper_of(w);
    const struct sc_model_spec *s = &w->version->spec;
    if (w->gpu_id < 0)
        return;
    sc_start_add(b, &start->envc, SC_MPS_ENV_PIPE "=%s", k ? k->pipe : NOWHERE);
    if (!k)
        return;
    start->keeper = k->slot + 1;
    const char *gpu = only_gpu(w);
    if (gpu)
        sc_start_add(b, &start->envc, "CUDA_VISIBLE_DEVICES=%s", gpu);
    if (s->mps.percentage[0])
        sc_start_add(b, &start->envc, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=%s", s->mps.percentage);
    /* By the client's own number: a list that names a GPU that it cannot see drops every limit. */
    if (s->mps.memory[0])
        sc_start_add(b, &start->envc, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=%d=%s", sc_sharing_gpu(w),
                     s->mps.memory);
    if (s->mps.priority)
        sc_start_add(b, &start->envc, "CUDA_MPS_CLIENT_PRIORITY=%d", s->mps.priority - 1);
}

/* ---- which way -------------------------------------------------------------------------------------- */

/* A worker that counts when ways are decided. */
static bool counts(const struct sc_worker *w)
{
    return w->gpu_id >= 0 && !w->quarantine && !w->stopping && !w->draining && (w->placed || !w->held);
}

struct survey {
    unsigned gpu, models, processes, workers, held;
    const struct sc_model_spec *specs[SC_MPS_CLIENTS_MAX]; /* one version of each */
    unsigned of_model[SC_MPS_CLIENTS_MAX], lanes[SC_MPS_CLIENTS_MAX];
};

static bool survey_one(void *arg, struct sc_worker *w)
{
    struct survey *v = arg;
    const struct sc_model_spec *s = &w->version->spec;
    if (!counts(w) || sc_sharing_physical(w) != v->gpu)
        return false;
    v->workers++;
    v->held += w->held;
    unsigned i = 0;
    while (i < v->models && strcmp(v->specs[i]->name, s->name) != 0)
        i++;
    if (i == SC_COUNT(v->specs))
        return false;
    if (i == v->models)
        v->specs[v->models++] = s;
    v->lanes[i] += w->standby ? 0 : w->lanes_wanted;
    if (!sc_spec_has_lanes(s)) {
        v->of_model[i]++;
        v->processes = SC_MAX(v->processes, v->of_model[i]);
    }
    return false;
}

static void take_survey(struct sc_engine *e, unsigned gpu, struct survey *v)
{
    *v = (struct survey){.gpu = gpu};
    (void)sc_workers_each(e, survey_one, v);
}

const struct sc_tune_record *sc_sharing_measured(struct sc_engine *e)
{
    struct sc_sharing *s = e->sharing;
    const char *path = e->spec.settings->tune_record;
    struct sc_msg msg;
    struct stat st = {0};
    if (!path || !*path)
        return &s->measured;
    (void)!stat(path, &st);
    const int64_t at[3] = {st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_size};
    if (memcmp(at, s->measured_at, sizeof at) == 0)
        return &s->measured;
    memcpy(s->measured_at, at, sizeof at);
    sc_tune_record_free(&s->measured);
    int rc = sc_tune_record_read(&s->measured, path, &msg);
    if (rc < 0 && rc != SC_ENOTFOUND)
        sc_log(SC_LOG_WARN, "tune_record: nothing of it is believed: %s", msg.text);
    return &s->measured;
}

/* sc_mps_facts.recorded: every model there must have been measured as it is placed, and all agree. */
static int recorded(struct sc_engine *e, const struct sc_gpu_info *g, const struct survey *v)
{
    const struct sc_gpu_report *r = sc_gpus_report(e);
    const struct sc_tune_record *measured = sc_sharing_measured(e);
    int verdict = -1;
    for (unsigned i = 0; g && r && measured->n && i < v->models; i++) {
        const struct sc_model_spec *s = v->specs[i];
        const struct sc_tune_entry *t =
            sc_tune_record_find(measured, g->name, r->driver, s->content, (int)v->lanes[i], s->batch_size);
        if (!t || (i && verdict != (t->best == SC_TUNE_MPS)))
            return -1;
        verdict = t->best == SC_TUNE_MPS;
    }
    return verdict;
}

/* UNDECIDED: what has to be known is not known yet. *obstacle: what is in the way of others' daemon. */
static enum sc_mps_way way_of(struct sc_engine *e, unsigned gpu, const struct survey *v, int64_t now,
                              const char **why, struct sc_msg *obstacle)
{
    struct sc_sharing *s = e->sharing;
    const struct sc_gpu_report *r = sc_gpus_report(e);
    const struct sc_gpu_info *g = r ? sc_gpu_report_find(r, gpu) : NULL;
    struct sc_gpu_info unknown = {.index = gpu, .compute_mode = SC_GPU_UNKNOWN, .mig = SC_GPU_UNKNOWN};
    struct sc_mps_daemon d;
    char program[512];
    if (sc_settings_mps_is_off(e->spec.settings)) {
        *why = "mps=off";
        return SC_WAY_OFF;
    }
    enum sc_mps_want want = sc_settings_mps(e->spec.settings, gpu, g ? g->uuid : "");
    int found = sc_mps_find_external(&d, obstacle);
    bool can = sc_mps_program(program, sizeof program);
    if (found == SC_ENOTFOUND && want == SC_MPS_AUTO)
        obstacle->text[0] = '\0';
    *why = "there is no MPS here";
    if (found == SC_ENOTFOUND && !can && want == SC_MPS_AUTO)
        return SC_WAY_OFF;
    if (!g && now - s->began_ns < SC_MPS_DECIDE_MS * INT64_C(1000000))
        return SC_WAY_UNDECIDED;
    if (want == SC_MPS_AUTO && !e->started)
        return SC_WAY_UNDECIDED; /* the models of the start are counted together */
    *why = "mps=off";
    if (want == SC_MPS_OFF)
        return SC_WAY_OFF;
    *why = "the gpu agent does not say how the GPU is";
    if (!g && want != SC_MPS_EXTERNAL)
        return SC_WAY_OFF;
    const struct sc_mps_facts f = {
        .must_manage = want == SC_MPS_MANAGED,
        .must_watch = want == SC_MPS_EXTERNAL,
        .program = can,
        .broken = s->broken[gpu],
        .external = found == 0 && !s->broken[SC_KEEPER_EXTERNAL] && sc_mps_serves(&d, g ? g : &unknown),
        .obstacle = found < 0                       ? obstacle->text
                    : s->broken[SC_KEEPER_EXTERNAL] ? "the MPS daemon that lives does not answer"
                                                    : "the MPS daemon that lives does not serve this GPU",
        .managed = s->way[gpu] == SC_WAY_MANAGED && v->workers > v->held,
        .compute_mode = g ? g->compute_mode : SC_GPU_UNKNOWN,
        .mig = g ? g->mig : SC_GPU_UNKNOWN,
        .recorded = recorded(e, g, v),
        .models = v->models,
        .processes = v->processes,
    };
    return sc_mps_decide(&f, why);
}

static void decide(struct sc_engine *e, unsigned gpu, int64_t now)
{
    static const char *const names[] = {"undecided", "no MPS", "MPS, run by this server",
                                        "MPS, run by others"};
    struct sc_sharing *s = e->sharing;
    struct survey v;
    struct sc_msg obstacle = {""};
    const char *why;
    take_survey(e, gpu, &v);
    if (!v.workers) {
        s->way[gpu] = SC_WAY_UNDECIDED;
        s->broken[gpu] = s->again[gpu] = false;
        return;
    }
    if (!v.held && !s->again[gpu])
        return;
    enum sc_mps_way way = way_of(e, gpu, &v, now, &why, &obstacle);
    if (way == SC_WAY_UNDECIDED)
        return;
    s->again[gpu] = false;
    if (way == s->way[gpu])
        return;
    const struct sc_gpu_report *r = sc_gpus_report(e);
    const struct sc_gpu_info *g = r ? sc_gpu_report_find(r, gpu) : NULL;
    enum sc_mps_want want = sc_settings_mps(e->spec.settings, gpu, g ? g->uuid : "");
    bool missed = way == SC_WAY_OFF && (want == SC_MPS_MANAGED || want == SC_MPS_EXTERNAL);
    bool quiet = way == SC_WAY_OFF && !missed && s->way[gpu] == SC_WAY_UNDECIDED;
    sc_log(missed  ? SC_LOG_ERROR
           : quiet ? SC_LOG_DEBUG
                   : SC_LOG_INFO,
           "GPU %u: %s: %s", gpu, names[way], why);
    if (want == SC_MPS_AUTO && *obstacle.text)
        sc_log(SC_LOG_WARN, "GPU %u: a daemon that was not used: %s", gpu, obstacle.text);
    s->way[gpu] = way;
}

/* The way that the worker should go. */
static enum sc_mps_way wanted(const struct sc_worker *w)
{
    struct sc_engine *e = w->version->engine;
    unsigned gpu = sc_sharing_physical(w);
    enum sc_mps_way way = e->sharing->way[gpu];
    const struct sc_gpu_report *r = sc_gpus_report(e);
    const struct sc_gpu_info *g = r ? sc_gpu_report_find(r, gpu) : NULL;
    if (way == SC_WAY_MANAGED && sc_launch_level(&w->version->spec) > 1)
        return SC_WAY_OFF; /* several GPUs: a process is a client of one daemon */
    if (w->quarantine && !(g && g->compute_mode == SC_COMPUTE_EXCLUSIVE_PROCESS))
        return SC_WAY_OFF;
    return way;
}

bool sc_sharing_place(struct sc_worker *w)
{
    struct sc_engine *e = w->version->engine;
    struct sc_sharing *s = sharing_of(e);
    struct sc_msg why;
    int rc;
    if (w->gpu_id < 0)
        return true;
    if (sc_settings_mps_is_off(e->spec.settings)) {
        w->way = SC_WAY_OFF;
        if (sc_placement_settle(w, sc_clock_ns(), &rc, &why) == SC_PLACED)
            return true;
    }
    s->dirty = true;
    w->held = true;
    return false;
}

void sc_sharing_left(const struct sc_worker *w)
{
    if (w->gpu_id >= 0 && !w->quarantine)
        sharing_of(w->version->engine)->again[sc_sharing_physical(w)] = true;
}

void sc_sharing_again(const struct sc_worker *w)
{
    if (w->gpu_id >= 0 && w->version->engine->sharing)
        w->version->engine->sharing->again[sc_sharing_physical(w)] = true;
}

/* ---- letting go ------------------------------------------------------------------------------------- */

struct crowd {
    const struct sc_keeper *keeper;
    unsigned gpu, clients;
    int pid;
};

static bool is_client(void *crowd, struct sc_worker *w)
{
    struct crowd *c = crowd;
    c->clients += !w->held && !w->quarantine && sc_keeper_of(w) == c->keeper &&
                  sc_sharing_physical(w) == c->gpu && sc_group_leads(w);
    return false;
}

static bool has_pid(void *crowd, struct sc_worker *w)
{
    return w->pid == ((const struct crowd *)crowd)->pid;
}

/* Of that GPU; of others' daemon also those who are not ours, as far as the driver lists them. */
static unsigned count_clients(struct sc_engine *e, const struct sc_keeper *k, unsigned gpu)
{
    struct crowd c = {.keeper = k, .gpu = gpu};
    const struct sc_gpu_report *r = k->key == SC_KEEPER_EXTERNAL ? sc_gpus_report(e) : NULL;
    (void)sc_workers_each(e, is_client, &c);
    for (unsigned i = 0; r && i < r->nprocesses; i++) {
        c.pid = r->processes[i].pid;
        c.clients += r->processes[i].gpu == gpu && r->processes[i].mps && !sc_workers_each(e, has_pid, &c);
    }
    return c.clients;
}

static void refuse(struct sc_worker *w, int rc, const char *text)
{
    struct sc_version *v = w->version;
    sc_log(SC_LOG_ERROR, "model %s: no further worker: %s", v->spec.name, text);
    sc_worker_stop(w, false);
    sc_registry_workers_changed(v, rc, text);
}

static void refuse_client(struct sc_worker *w)
{
    char text[256];
    snprintf(
        text, sizeof text,
        "GPU %u has %d MPS clients, which is the most that there can be; scale other models down, or set "
        "mps=off",
        sc_sharing_physical(w), SC_MPS_CLIENTS_MAX);
    refuse(w, SC_ELIMIT, text);
}

static void let_go(struct sc_worker *w)
{
    w->held = false;
    w->made_ms = sc_wall_ms();
    sc_worker_send_start(w);
}

/* True: the list of workers has changed. */
static bool look_at_held(struct sc_engine *e, struct sc_worker *w)
{
    struct sc_sharing *s = e->sharing;
    unsigned gpu = sc_sharing_physical(w);
    enum sc_mps_way way = wanted(w);
    if (w->stopping) { /* its slot was never told to the supervisor */
        struct sc_ctl_slot gone = {.slot = w->slot, .state = SC_SLOT_GONE};
        sc_worker_state(e, &gone, sc_span(NULL, 0), sc_span(NULL, 0), NULL, 0);
        return true;
    }
    if (!w->placed || (s->way[gpu] == SC_WAY_UNDECIDED && !w->quarantine))
        return false;
    w->way = (uint8_t)way;
    if (way != SC_WAY_MANAGED && way != SC_WAY_EXTERNAL) {
        let_go(w);
        return false;
    }
    struct sc_keeper *k = sc_keeper_start(e, way == SC_WAY_MANAGED ? gpu : SC_KEEPER_EXTERNAL);
    if (k && k->stopping) /* the last client has just left: another daemon comes after it */
        return false;
    if (!k || k->failed) {
        s->broken[way == SC_WAY_MANAGED ? gpu : SC_KEEPER_EXTERNAL] = true;
        sc_log(SC_LOG_ERROR, "GPU %u: MPS cannot be had; workers take turns on the GPU: %s", gpu,
               k ? k->failure : "too many workers run");
        s->way[gpu] = SC_WAY_UNDECIDED; /* without it, something else may be the way */
        s->dirty = true;
        return false;
    }
    if (!k->ready)
        return false;
    if (count_clients(e, k, gpu) >= SC_MPS_CLIENTS_MAX) {
        refuse_client(w);
        return true;
    }
    let_go(w);
    return false;
}

static bool is_held(void *unused, struct sc_worker *w)
{
    (void)unused;
    return w->held && !w->looked_at;
}

static bool forget_look(void *unused, struct sc_worker *w)
{
    (void)unused;
    w->looked_at = false;
    return false;
}

static bool is_unplaced(void *unused, struct sc_worker *w)
{
    (void)unused;
    return w->held && !w->placed && !w->stopping && !w->looked_at;
}

/* Before ways are decided, which the workers of a GPU decide. */
static void place_held(struct sc_engine *e, int64_t now)
{
    struct sc_worker *w;
    struct sc_msg why;
    int rc;
    (void)sc_workers_each(e, forget_look, NULL);
    while ((w = sc_workers_each(e, is_unplaced, NULL))) {
        w->looked_at = true;
        if (sc_placement_settle(w, now, &rc, &why) == SC_PLACE_REFUSED)
            refuse(w, rc, why.text);
    }
}

/* ---- those that go another way ---------------------------------------------------------------------- */

struct roll {
    unsigned gpu;
    bool busy; /* one is on its way already */
    struct sc_worker *next;
};

static bool look_for_roll(void *arg, struct sc_worker *w)
{
    struct roll *r = arg;
    if (w->gpu_id < 0 || w->quarantine || sc_sharing_physical(w) != r->gpu)
        return false;
    if (w->held || w->draining || w->stopping || (!w->loaded && !w->given_up))
        r->busy = true;
    else if (w->loaded && w->way != wanted(w) && !r->next)
        r->next = w;
    return false;
}

static void roll(struct sc_engine *e, unsigned gpu)
{
    struct roll r = {.gpu = gpu};
    if (e->sharing->way[gpu] == SC_WAY_UNDECIDED)
        return;
    (void)sc_workers_each(e, look_for_roll, &r);
    if (r.busy || !r.next)
        return;
    struct sc_version *v = r.next->version;
    sc_log(SC_LOG_INFO, "model %s: worker %u is replaced by one %s MPS", v->spec.name, r.next->first_id,
           wanted(r.next) == SC_WAY_OFF ? "without" : "under");
    if (r.next->standby) {
        sc_worker_stop(r.next, false);
        sc_standby_keep(v);
        return;
    }
    if (sc_spec_has_lanes(&v->spec)) {
        if (!sc_worker_start(v, r.next->lanes_wanted, false))
            sc_log(SC_LOG_ERROR, "model %s: no worker can be started", v->spec.name);
        return; /* who loads takes over, and the older one drains */
    }
    sc_worker_stop(r.next, true);
    sc_workers_reconcile(v);
}

/* ---- time ------------------------------------------------------------------------------------------- */

static bool is_any(void *unused, struct sc_worker *w)
{
    (void)unused;
    return counts(w) || w->held;
}

void sc_sharing_tick(struct sc_engine *e, int64_t now)
{
    struct sc_sharing *s = e->sharing;
    struct sc_worker *w;
    if (!s || !e->restored || e->closed)
        return;
    place_held(e, now);
    if (s->broken[SC_KEEPER_EXTERNAL] && !sc_workers_each(e, is_any, NULL))
        s->broken[SC_KEEPER_EXTERNAL] = false;
    for (unsigned i = 0; i < SC_GPUS_MAX; i++)
        if (s->dirty || s->again[i])
            decide(e, i, now);
    bool held = false;
    (void)sc_workers_each(e, forget_look, NULL);
    while ((w = sc_workers_each(e, is_held, NULL))) {
        w->looked_at = true;
        if (!look_at_held(e, w))
            held |= w->held;
    }
    s->dirty = held;
    for (unsigned i = 0; i < SC_GPUS_MAX; i++)
        roll(e, i);
    sc_keepers_tick(e, now);
}
