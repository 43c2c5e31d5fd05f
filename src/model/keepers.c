/* The keepers of MPS daemons, seen from the frontend: their slots, their reports, and what follows from them.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/gpus.h"
#include "model/output.h"
#include "model/report_lines.h"
#include "model/sharing.h"
#include "model/sharing_parts.h"

#define REPORT_BYTES 4096
#define MISSED_REPORTS 2 /* in which a client is not seen, until it counts as none */
#define STRIKES 3        /* workers replaced in a row for running outside MPS */

/* ---- slots ------------------------------------------------------------------------------------------ */

static const char *name_of(const struct sc_keeper *k, char room[32])
{
    if (k->key == SC_KEEPER_EXTERNAL)
        return "MPS (external)";
    snprintf(room, 32, "MPS of GPU %u", k->key);
    return room;
}

const char *sc_keeper_uuid(struct sc_keeper *k)
{
    const struct sc_gpu_report *r = sc_gpus_report(k->engine);
    const struct sc_gpu_info *g = r && k->key != SC_KEEPER_EXTERNAL ? sc_gpu_report_find(r, k->key) : NULL;
    if (g)
        snprintf(k->uuid, sizeof k->uuid, "%s", g->uuid);
    return *k->uuid ? k->uuid : NULL;
}

static struct sc_keeper *make(struct sc_engine *e, unsigned key, uint32_t slot)
{
    struct sc_keeper *k = e->sharing->keepers[key] = sc_alloc(sizeof *k);
    k->engine = e;
    k->key = key;
    k->slot = slot;
    struct sc_mps_daemon d;
    if (key == SC_KEEPER_EXTERNAL) {
        snprintf(k->pipe, sizeof k->pipe, "%s", sc_mps_pipe());
        k->narrow = sc_mps_find_at(k->pipe, &d) && *d.devices;
    } else /* by the supervisor's number: the next frontend finds the same */
        snprintf(k->pipe, sizeof k->pipe, "%s/" SC_MPS_FOLDER "%d-%u", e->spec.settings->temp, (int)getppid(),
                 key);
    return k;
}

struct sc_keeper *sc_keeper_start(struct sc_engine *e, unsigned key)
{
    struct sc_keeper *k = e->sharing->keepers[key];
    uint32_t slot;
    char tag[32], title[160], pipe[320], gpu[128];
    if (k || !sc_worker_take_slot(e, &slot))
        return k;
    k = make(e, key, slot);
    snprintf(tag, sizeof tag, SC_SHARING_TAG "%u", key);
    const char *uuid = sc_keeper_uuid(k);
    snprintf(title, sizeof title, SC_MPS_KEEPER_TITLE "%s", uuid ? uuid : "external");
    snprintf(pipe, sizeof pipe, "--pipe=%s", k->pipe);
    snprintf(gpu, sizeof gpu, "--gpu=%s", uuid ? uuid : "");
    const char *argv[] = {
        e->spec.exe, title, "--role=mps-keeper", pipe, key == SC_KEEPER_EXTERNAL ? NULL : gpu, NULL};
    struct sc_ctl_start start = {
        .slot = slot, .flags = SC_START_OUTPUT | SC_START_KEEPER, .retry_window_ms = -1};
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    sc_ctl_write_start(&b, start, sc_span_str(tag), argv, NULL, NULL);
    sc_line_send(e, SC_CTL_SLOT_START, sc_buf_view(&b), sc_span(NULL, 0), NULL, 0);
    sc_buf_free(&b);
    return k;
}

static void forget(struct sc_keeper *k)
{
    k->engine->sharing->keepers[k->key] = NULL;
    sc_report_lines_close(k->reports);
    if (k->errors)
        sc_output_close(k->errors);
    free(k);
}

static void take_report(void *keeper, struct sc_span line);
static void lose_all(struct sc_keeper *k, const char *why);

static void take_output(struct sc_keeper *k, int *fds)
{
    struct sc_loop *zero = sc_engine_loop(k->engine, 0);
    struct sc_output_spec errors = {.thread = "mps", .is_stderr = true, .model = "", .version = ""};
    k->reports = sc_report_lines_open(zero, fds[0], REPORT_BYTES, take_report, k);
    k->errors = sc_output_open(zero, fds[1], &errors);
    fds[0] = fds[1] = -1;
}

static void give_up(const struct sc_keeper *k)
{
    struct sc_sharing *s = k->engine->sharing;
    enum sc_mps_way way = k->key == SC_KEEPER_EXTERNAL ? SC_WAY_EXTERNAL : SC_WAY_MANAGED;
    s->broken[k->key] = true;
    for (unsigned i = 0; i < SC_GPUS_MAX; i++)
        if (s->way[i] == way && (way == SC_WAY_EXTERNAL || i == k->key)) {
            s->way[i] = SC_WAY_UNDECIDED;
            s->again[i] = true;
        }
}

void sc_sharing_state(struct sc_engine *e, const struct sc_ctl_slot *s, struct sc_span tag,
                      struct sc_span text, int *fds, unsigned nfds)
{
    uint64_t key;
    char room[32];
    tag = sc_span_sub(tag, sizeof SC_SHARING_TAG - 1, tag.n);
    if (!sc_span_u64(tag, SC_KEEPER_EXTERNAL, &key))
        return;
    if (!e->sharing) {
        e->sharing = sc_alloc(sizeof *e->sharing);
        e->sharing->began_ns = sc_clock_ns();
    }
    struct sc_keeper *k = e->sharing->keepers[key];
    if (!k && s->state != SC_SLOT_GONE) { /* of an earlier frontend */
        k = make(e, (unsigned)key, s->slot);
        if (key != SC_KEEPER_EXTERNAL)
            e->sharing->way[key] = SC_WAY_MANAGED;
    }
    if (!k || k->slot != s->slot)
        return;
    if (nfds == SC_OUTPUT_FDS && !k->reports)
        take_output(k, fds);
    k->life = s->life;
    switch ((enum sc_slot_state)s->state) {
    case SC_SLOT_STARTING:
    case SC_SLOT_CONNECTED: break;
    case SC_SLOT_LOADED:
        k->ready = true;
        sc_log(SC_LOG_INFO, "%s: the daemon answers, in %s", name_of(k, room), k->pipe);
        break;
    case SC_SLOT_FAILED: snprintf(k->failure, sizeof k->failure, "%.*s", SC_FMT(text)); break;
    case SC_SLOT_EXITED:
        sc_log(SC_LOG_WARN, "%s: its keeper has ended%s%s", name_of(k, room), *k->failure ? ": " : "",
               k->failure);
        if (k->ready && k->key != SC_KEEPER_EXTERNAL && !k->stopping)
            lose_all(k, "its keeper has ended, and the daemon with it");
        k->failed = s->delay_ms < 0;
        if (k->failed && k->ready) /* it was there: those who used it go another way */
            give_up(k);
        k->ready = k->known = false;
        break;
    case SC_SLOT_GONE: forget(k); break;
    }
}

/* ---- clients ---------------------------------------------------------------------------------------- */

static void replace(struct sc_worker *w, const char *why)
{
    sc_log(SC_LOG_WARN, "model %s: worker %u (pid %d) %s: it is replaced", w->version->spec.name, w->first_id,
           w->pid, why);
    w->verified_life = 0;
    sc_worker_order(w->version->engine, SC_CTL_SLOT_KILL, w->slot, w->life);
}

/* True if the driver lists the process on that GPU, and not as a client of MPS. */
static bool is_outside(const struct sc_worker *w)
{
    const struct sc_gpu_report *r = sc_gpus_report(w->version->engine);
    for (unsigned i = 0; r && i < r->nprocesses; i++)
        if (r->processes[i].pid == w->pid && r->processes[i].gpu == sc_sharing_physical(w))
            return !r->processes[i].mps;
    return false;
}

/*
 * What should be a client and is not would take turns with all clients together, and nobody would say so. A
 * worker that has not used the GPU yet is neither; so only evidence counts.
 */
static bool verify(void *keeper, struct sc_worker *w)
{
    struct sc_keeper *k = keeper;
    if (sc_keeper_of(w) != k || !w->loaded || w->pid <= 0)
        return false;
    if (sc_mps_report_has(&k->seen, w->pid)) {
        if (w->verified_life != w->life)
            sc_log(SC_LOG_INFO, "model %s: worker %u (pid %d) is an MPS client", w->version->spec.name,
                   w->first_id, w->pid);
        w->verified_life = w->life;
        w->missed = w->strikes = 0;
    } else if (k->seen.gone) {
        w->missed = 0;
    } else if (w->verified_life == w->life) {
        if (++w->missed >= MISSED_REPORTS)
            replace(w, "is no MPS client any more");
    } else if (is_outside(w) && w->strikes <= STRIKES && ++w->missed >= MISSED_REPORTS) {
        w->missed = 0;
        if (w->strikes++ < STRIKES)
            replace(w, "uses the GPU outside MPS");
        else
            sc_log(
                SC_LOG_ERROR,
                "model %s: worker %u (pid %d) uses the GPU outside MPS, as those before it did, and is left "
                "as it is: does its handler change CUDA_MPS_PIPE_DIRECTORY or CUDA_VISIBLE_DEVICES?",
                w->version->spec.name, w->first_id, w->pid);
    }
    return false;
}

/* A fatal error of one client takes all of them down, also those that have not noticed. */
static bool lost(void *keeper, struct sc_worker *w)
{
    struct sc_keeper *k = keeper;
    if (sc_keeper_of(w) != k || w->verified_life != w->life || !w->life)
        return false;
    k->lost++;
    w->lost_life = w->life;
    w->verified_life = 0;
    sc_worker_order(w->version->engine, SC_CTL_SLOT_KILL, w->slot, w->life);
    return false;
}

static void lose_all(struct sc_keeper *k, const char *why)
{
    char room[32];
    k->lost = 0;
    (void)sc_workers_each(k->engine, lost, k);
    if (!k->fault_ns) /* else: another one, before all were back */
        k->fault_ns = sc_clock_ns();
    sc_log(SC_LOG_WARN, "%s: %s; %u workers are replaced", name_of(k, room), why, k->lost);
    sc_metrics_event(k->engine->spec.metrics, SC_HE_MPS_FAULT);
}

static void take_report(void *keeper, struct sc_span line)
{
    struct sc_keeper *k = keeper;
    char room[32];
    bool first = !k->known;
    if (sc_mps_report_read(line, &k->seen) < 0) {
        sc_log(SC_LOG_WARN, "%s: its keeper says what is no report: %.*s", name_of(k, room),
               (int)SC_MIN(line.n, 200u), line.p);
        return;
    }
    k->known = true;
    if (first) {
        k->faults = k->seen.faults;
        k->starts = k->seen.starts;
        k->server = k->seen.server;
    }
    if (k->seen.faults > k->faults)
        lose_all(k, "a fatal GPU error in one client has ended all of them");
    else if (k->seen.starts > k->starts)
        lose_all(k, "its daemon died and was started again");
    else if (k->server && k->seen.server != k->server && !k->seen.gone)
        lose_all(k, "its MPS server has ended");
    k->faults = k->seen.faults;
    k->starts = k->seen.starts;
    k->server = k->seen.server;
    if (k->seen.gone && !k->said_gone)
        sc_log(
            SC_LOG_WARN,
            "%s: the daemon in %s has disappeared; workers that start from now on run without MPS, as far as "
            "the GPU's compute mode allows",
            name_of(k, room), k->pipe);
    k->said_gone = k->seen.gone;
    (void)sc_workers_each(k->engine, verify, k);
}

/* ---- time ------------------------------------------------------------------------------------------- */

struct using
{
    const struct sc_keeper *keeper;
    unsigned all, back;
};

static bool count_user(void *arg, struct sc_worker *w)
{
    struct using *u = arg;
    const struct sc_keeper *k = u->keeper;
    bool waits =
        w->held && w->gpu_id >= 0 && (k->key == SC_KEEPER_EXTERNAL || sc_sharing_physical(w) == k->key);
    u->all += sc_keeper_of(w) == k || waits;
    u->back += sc_keeper_of(w) == k && w->loaded && w->life != w->lost_life;
    return false;
}

static void look_at_keeper(struct sc_keeper *k, int64_t now)
{
    struct using u = {.keeper = k};
    char room[32];
    (void)sc_workers_each(k->engine, count_user, &u);
    if (k->fault_ns && u.all == 0) {
        k->fault_ns = 0;
    } else if (k->fault_ns && u.back == u.all) {
        sc_log(SC_LOG_INFO, "%s: all %u workers are back, %lld ms after the loss", name_of(k, room), u.all,
               (long long)((now - k->fault_ns) / 1000000));
        sc_metrics_event(k->engine->spec.metrics, SC_HE_MPS_RECOVERY);
        k->fault_ns = 0;
    }
    if ((u.all && !k->failed) || k->stopping)
        return;
    k->stopping = true;
    sc_log(SC_LOG_INFO, "%s: %s", name_of(k, room),
           k->failed                      ? "it is given up"
           : k->key == SC_KEEPER_EXTERNAL ? "nobody is its client any more"
                                          : "the last client has left: it is stopped");
    sc_worker_order(k->engine, SC_CTL_SLOT_STOP, k->slot, k->life);
}

void sc_keepers_tick(struct sc_engine *e, int64_t now)
{
    for (unsigned i = 0; i <= SC_KEEPER_EXTERNAL; i++)
        if (e->sharing->keepers[i])
            look_at_keeper(e->sharing->keepers[i], now);
}

void sc_sharing_close(struct sc_engine *e)
{
    for (unsigned i = 0; e->sharing && i <= SC_KEEPER_EXTERNAL; i++)
        if (e->sharing->keepers[i])
            forget(e->sharing->keepers[i]);
}

void sc_sharing_free(struct sc_engine *e)
{
    if (e->sharing)
        sc_tune_record_free(&e->sharing->measured);
    free(e->sharing);
}
