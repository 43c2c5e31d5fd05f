/* The frontend's line to the supervisor, and the engine's life around it. Loop 0. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/gpus.h"
#include "model/oom.h"
#include "model/placement.h"
#include "model/sharing.h"

/* Messages waiting for a supervisor that is slow; it never blocks, so more means that it is broken. */
#define OUT_MAX 4096

struct sc_line_out {
    struct sc_line_out *next;
    uint16_t type;
    unsigned nfds;
    int fds[SC_CTL_FDS]; /* duplicates */
    size_t n;
    char bytes[];
};

static void lost(struct sc_engine *e)
{
    uv_poll_stop(&e->line);
    sc_log(SC_LOG_ERROR, "the supervisor is gone");
    e->spec.on_lost(e->spec.ctx);
}

static void drop_out(struct sc_engine *e)
{
    struct sc_line_out *o = e->out;
    e->out = o->next;
    if (!e->out)
        e->out_tail = &e->out;
    e->out_n--;
    for (unsigned i = 0; i < o->nfds; i++)
        close(o->fds[i]);
    free(o);
}

static void read_line(uv_poll_t *h, int status, int events);

static void flush_out(struct sc_engine *e)
{
    while (e->out) {
        struct sc_line_out *o = e->out;
        int rc =
            sc_ctl_send(e->spec.control, o->type, sc_span(o->bytes, o->n), sc_span(NULL, 0), o->fds, o->nfds);
        if (rc == SC_AGAIN) {
            uv_poll_start(&e->line, UV_READABLE | UV_WRITABLE, read_line);
            return;
        }
        if (rc < 0 && rc != SC_ECLOSED)
            sc_log(SC_LOG_ERROR, "a message to the supervisor was lost: %s", sc_strerror(rc));
        drop_out(e);
    }
    uv_poll_start(&e->line, UV_READABLE, read_line);
}

void sc_line_send(struct sc_engine *e, uint16_t type, struct sc_span a, struct sc_span b, const int *fds,
                  unsigned nfds)
{
    if (e->closed)
        return; /* the supervisor ends the workers of a frontend that has ended */
    int rc = e->out ? SC_AGAIN : sc_ctl_send(e->spec.control, type, a, b, fds, nfds);
    if (rc != SC_AGAIN) {
        if (rc < 0)
            sc_log(SC_LOG_ERROR, "a message to the supervisor was lost: %s", sc_strerror(rc));
        return;
    }
    if (e->out_n >= OUT_MAX) {
        sc_log(SC_LOG_ERROR, "the supervisor does not listen");
        lost(e);
        return;
    }
    struct sc_line_out *o = sc_alloc(sizeof *o + a.n + b.n);
    o->type = type;
    o->n = a.n + b.n;
    if (a.n)
        memcpy(o->bytes, a.p, a.n);
    if (b.n)
        memcpy(o->bytes + a.n, b.p, b.n);
    for (unsigned i = 0; i < nfds; i++)
        o->fds[o->nfds++] = dup(fds[i]);
    *e->out_tail = o;
    e->out_tail = &o->next;
    e->out_n++;
    uv_poll_start(&e->line, UV_READABLE | UV_WRITABLE, read_line);
}

/* What the dead frontend left is known now: start what has no worker, and serve. */
static void restored(struct sc_engine *e)
{
    e->restored = true;
    for (unsigned i = 0; i < e->nmodels; i++)
        for (unsigned k = 0; k < e->models[i]->nversions; k++)
            sc_workers_reconcile(e->models[i]->versions[k]);
    sc_registry_health(e);
    sc_gpus_start(e);
    e->spec.on_ready(e->spec.ctx);
    sc_line_send(e, SC_CTL_READY, sc_span(NULL, 0), sc_span(NULL, 0), NULL, 0);
}

static void welcome(struct sc_engine *e, struct sc_ctl_message *m)
{
    struct sc_ctl_welcome w;
    if (e->welcomed || m->payload.n < sizeof w || m->nfds < 1)
        return;
    memcpy(&w, m->payload.p, sizeof w);
    if (w.listeners + 1 != m->nfds)
        return;
    e->welcomed = true;
    e->epoch = w.epoch;
    e->states_due = w.slots;
    e->journal_fd = m->fds[0];
    e->spec.on_listeners(e->spec.ctx, m->fds + 1, w.listeners);
    m->nfds = 0;
    if (sc_journal_open(&e->journal, e->journal_fd) < 0) {
        sc_log(SC_LOG_ERROR, "the journal cannot be read");
        e->spec.on_lost(e->spec.ctx);
        return;
    }
    sc_record_restore(e);
    if (e->states_due == 0)
        restored(e);
}

static void slot_state(struct sc_engine *e, struct sc_ctl_message *m)
{
    struct sc_ctl_slot s;
    struct sc_span p = m->payload;
    if (p.n < sizeof s)
        return;
    memcpy(&s, p.p, sizeof s);
    struct sc_span rest = sc_span_sub(p, sizeof s, p.n);
    if (s.tag_len > rest.n)
        return;
    sc_worker_state(e, &s, sc_span_sub(rest, 0, s.tag_len), sc_span_sub(rest, s.tag_len, rest.n), m->fds,
                    m->nfds);
    if (!e->restored && e->welcomed && e->states_due && --e->states_due == 0)
        restored(e);
}

static void read_line(uv_poll_t *h, int status, int events)
{
    static struct sc_ctl_message m;
    struct sc_engine *e = h->data;
    int rc = 0;
    if (events & UV_WRITABLE)
        flush_out(e);
    if (status < 0) {
        lost(e);
        return;
    }
    while ((rc = sc_ctl_receive(e->spec.control, &m)) == 1) {
        switch (m.type) {
        case SC_CTL_WELCOME: welcome(e, &m); break;
        case SC_CTL_SLOT_STATE: slot_state(e, &m); break;
        case SC_CTL_DRAIN: e->spec.on_drain(e->spec.ctx); break;
        case SC_CTL_REOPEN_LOGS:
            sc_log_reopen();
            if (e->spec.on_hup)
                e->spec.on_hup(e->spec.ctx);
            break;
        default: sc_log(SC_LOG_WARN, "unknown message %u from the supervisor", m.type);
        }
        sc_ctl_close_fds(&m);
    }
    if (rc < 0)
        lost(e);
}

struct sc_engine *sc_engine_new(const struct sc_engine_spec *spec)
{
    struct sc_engine *e = sc_alloc(sizeof *e);
    e->spec = *spec;
    e->nloops = sc_loops_count(spec->loops);
    e->journal_fd = -1;
    e->next_slot = 1;
    e->next_worker_id = (unsigned)spec->settings->initial_worker_port;
    e->next_block_id = (unsigned)spec->settings->initial_distribution_port;
    e->out_tail = &e->out;
    sc_oom_look();
    atomic_init(&e->healthy, true);
    for (unsigned i = 0; i < e->nloops; i++)
        sc_plane_init(e, i);
    uv_poll_init(&sc_loops_at(spec->loops, 0)->uv, &e->line, spec->control);
    e->line.data = e;
    uv_poll_start(&e->line, UV_READABLE, read_line);
    return e;
}

static void close_plane(void *plane, void *unused)
{
    (void)unused;
    sc_plane_close(plane);
}

void sc_engine_close(struct sc_engine *e)
{
    sc_engine_snapshot(e, SC_SNAPSHOT_SHUTDOWN);
    e->closed = true;
    uv_close((uv_handle_t *)&e->line, NULL);
    sc_workers_close_output(e);
    sc_gpus_close(e);
    sc_sharing_close(e);
    for (unsigned i = 0; i < e->nloops; i++)
        sc_engine_call(sc_engine_loop(e, i), close_plane, &e->planes[i], NULL);
}

void sc_engine_del(struct sc_engine *e)
{
    for (unsigned i = 0; i < e->nloops; i++) {
        sc_plane_jobs_free(&e->planes[i]);
        sc_plane_catalog_free(&e->planes[i]); /* one may have come late */
    }
    sc_registry_free(e);
    sc_record_free(e);
    sc_gpus_free(e);
    sc_sharing_free(e);
    sc_placement_free(e);
    while (e->out)
        drop_out(e);
    if (e->journal)
        sc_journal_close(e->journal);
    if (e->journal_fd >= 0)
        close(e->journal_fd);
    /* The control socket stays open until the process ends: the supervisor takes its end for a death. */
    free(e);
}
