/*
 * What happens to requests when their worker dies or hangs (docs/design.md §3.2).
 *
 * Not begun: back to the queue. On the dead worker's running pages: suspects, run again one at a
 * time on the quarantine worker. A request fails only after two workers died while they computed
 * nothing but it; deaths in company prove nothing and never count. A hang is not a
 * death: its batch is answered at once and the worker replaced. What has begun to stream ends with an error.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/gpus.h"

/* Workers that must have died alone with a request before it gets the blame. */
#define DEATHS_ALONE 2

static void make_suspect(struct sc_job *j)
{
    struct sc_shard *s = j->shard;
    if (j->in_sequence && !sc_turn_back(j, true))
        return;
    sc_job_enter(j, SC_JOB_SUSPECT);
    sc_shard_count(s, SC_MM_REPLAYS, 1);
    sc_list_push_back(&s->suspects, &j->node);
}

/* False if the worker's running pages cannot be believed: then they clear no request. */
static bool pages_hold(const struct sc_plane *p, struct sc_attachment *att)
{
    for (size_t i = 0; i < att->nrunning && !atomic_load(&att->distrusted); i++)
        if (!sc_job_id_known(p, att->running[i]))
            atomic_store(&att->distrusted, true);
    return !atomic_load(&att->distrusted);
}

/* What a request gets that its worker was computing, or may have been, when it died. */
static void blame(struct sc_job *j, bool alone, const struct sc_attachment *att)
{
    if (alone && !att->excused && ++j->deaths_alone >= DEATHS_ALONE) {
        sc_log(SC_LOG_WARN, "a request to model %s ended %d workers and is answered with an error",
               j->shard->version->spec.name, DEATHS_ALONE);
        sc_group_fault(j->shard->version);
        sc_job_fail(j, 500, "InternalServerException", "Worker died.");
    } else if (!j->shard->version->spec.replay) {
        sc_job_fail(j, 500, "InternalServerException", "Worker died.");
    } else {
        make_suspect(j);
    }
}

/* The link's jobs after its worker died; those in `running` were being computed. */
static void return_jobs(struct sc_link *k, struct sc_attachment *att)
{
    bool believed = pages_hold(k->plane, att);
    while (!sc_list_empty(&k->sent)) {
        struct sc_job *j = SC_CONTAINER(k->sent.next, struct sc_job, node);
        bool running = sc_attachment_was_running(att, j->id);
        sc_job_leave(j);
        if (j->gone)
            sc_job_free(j);
        else if (j->streamed)
            sc_job_fail(j, 500, "InternalServerException", "Worker died.");
        else if (!believed)
            blame(j, att->quarantine,
                  att); /* the quarantine worker has one request, whatever its page says */
        else if (running)
            blame(j, att->nrunning == 1, att);
        else if (att->quarantine)
            make_suspect(j);
        else
            sc_shard_requeue(j);
    }
}

/* If this loop's suspect was on it, others may have the quarantine worker now. */
static void free_quarantine(const struct sc_plane *p, struct sc_attachment *att)
{
    int self = (int)p->loop->index;
    if (att->quarantine)
        atomic_compare_exchange_strong(&att->version->quarantine_owner, &self, -1);
}

void sc_replay_worker_gone(struct sc_plane *p, struct sc_attachment *att)
{
    struct sc_link *k = att->links[p->loop->index];
    if (!k) {
        sc_engine_call(sc_engine_loop(p->engine, 0), sc_attachment_acked, att, NULL);
        return;
    }
    struct sc_shard *s = k->shard;
    /* What it had answered before it died is good. */
    sc_link_poll(k);
    free_quarantine(p, att);
    return_jobs(k, att);
    sc_turns_link_gone(k);
    sc_link_detach(k);
    sc_shard_dispatch(s);
    sc_replay_suspects(s);
}

void sc_replay_suspects(struct sc_shard *s)
{
    struct sc_link *k = s->quarantine;
    while (!sc_list_empty(&s->suspects) && k && !k->broken && !k->draining && k->nsent == 0) {
        int none = -1;
        if (!atomic_compare_exchange_strong(&s->version->quarantine_owner, &none, (int)s->plane->loop->index))
            return; /* another loop's suspect runs; the tick looks again */
        struct sc_job *j = SC_CONTAINER(s->suspects.next, struct sc_job, node);
        j->cost = 0;
        if (sc_link_send(k, j, SC_SUBMIT_ALONE) < 0) {
            atomic_store(&s->version->quarantine_owner, -1);
            return;
        }
    }
}

void sc_replay_no_quarantine(struct sc_shard *s)
{
    struct sc_node *n;
    while ((n = s->suspects.next) != &s->suspects)
        sc_job_fail(SC_CONTAINER(n, struct sc_job, node), 500, "InternalServerException", "Worker died.");
}

void sc_replay_hung(struct sc_plane *p, struct sc_attachment *att, const uint64_t *ids, size_t n)
{
    struct sc_link *k = att->links[p->loop->index];
    if (!k)
        return;
    sc_link_poll(k);
    for (size_t i = 0; i < n; i++) {
        struct sc_job *j = sc_job_find(p, ids[i]);
        if (!j || j->state != SC_JOB_SENT || j->link != k)
            continue;
        sc_job_fail(j, 500, "InternalServerException", "Worker died.");
    }
    free_quarantine(p, att);
    k->broken = true; /* it is being killed: nothing more is sent or read */
}

/* ns since then, but for those in which nothing on a GPU can go on. */
static int64_t time_since(const struct sc_link *k, int64_t since, int64_t now)
{
    return now - since - sc_gpus_stalled(k->shard->version, since, now);
}

/* A worker that neither answers nor keeps a running page: the page's clock is its own word, this one is ours.
 */
static void look_for_silence(struct sc_link *k, int64_t now)
{
    int64_t limit = (int64_t)k->shard->version->spec.response_timeout * 1000000000;
    if (k->nsent == 0 || k->broken || limit <= 0 || time_since(k, k->heard_ns, now) < 2 * limit)
        return;
    struct sc_job *j = SC_CONTAINER(k->sent.next, struct sc_job, node);
    if (j->hangs++)
        sc_job_fail(j, 500, "InternalServerException", "Worker died.");
    sc_link_break(k, "it has requests but is silent");
}

/*
 * Where requests end one by one, a worker that goes on with others keeps its page young. What it has said
 * nothing about for responseTimeout is given up; the worker is told, and stays.
 */
static void look_for_late(struct sc_link *k, int64_t now)
{
    int64_t limit = (int64_t)k->shard->version->spec.response_timeout * 1000000000;
    if (limit <= 0 || !sc_version_is_open_ended(k->shard->version))
        return;
    for (struct sc_node *n = k->sent.next, *next; n != &k->sent; n = next) {
        struct sc_job *j = SC_CONTAINER(n, struct sc_job, node);
        next = n->next;
        if (j->gone || time_since(k, SC_MAX(j->sent_ns, j->heard_ns), now) < limit)
            continue;
        sc_log(SC_LOG_ERROR, "model %s: a request was not answered in %d s (responseTimeout)",
               k->shard->version->spec.name, k->shard->version->spec.response_timeout);
        struct sc_job_answer a = {
            .status = 500, .type = SC_SPAN("InternalServerException"), .body = SC_SPAN("Worker died.")};
        sc_job_give_up(j, &a);
    }
}

static void tell_again(struct sc_link *k)
{
    if (!k->untold || k->broken)
        return;
    k->untold = false;
    for (struct sc_node *n = k->sent.next; n != &k->sent && !k->untold; n = n->next) {
        struct sc_job *j = SC_CONTAINER(n, struct sc_job, node);
        if (j->untold)
            sc_link_cancel(k, j);
    }
}

void sc_replay_tick(struct sc_plane *p)
{
    int64_t now = sc_clock_ns();
    for (struct sc_link *k = p->links; k; k = k->next) {
        look_for_silence(k, now);
        look_for_late(k, now);
        tell_again(k);
    }
    for (struct sc_shard *s = p->shards; s; s = s->next) {
        sc_replay_suspects(s);
        if (s->version->spec.client_timeout)
            sc_turns_expire(s, now);
        sc_shard_dispatch(s);
        if (s->nlinks == 0 && !sc_shard_has_worker(s) &&
            !(!sc_shard_first(s) && sc_list_empty(&s->longs) && sc_list_empty(&s->turns)))
            sc_shard_no_worker(s); /* scaled to 0, or given up, while they waited */
    }
}
