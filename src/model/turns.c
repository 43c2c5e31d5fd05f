/*
 * Requests that belong to sequences, on their loop: from the version's table (sequence.h) to the worker that
 * has the sequence's state.
 *
 * Such a job waits in the shard's `turns`. When its turn has come it is `ready` on the link of its worker,
 * and sent when that has credit. One turn of a sequence is out at a time, so order and "one of a batch" hold
 * by themselves.
 *
 * A first turn whose worker died while it computed it is a suspect as every other request: it is tried on the
 * quarantine worker. Its state would be there and nowhere else, so that answer is dropped, and the turn is
 * run once more where the sequence is to live.
 */
#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "worker/meta.h"

static void wake(void *version, unsigned loop)
{
    const struct sc_version *v = version;
    sc_shard_kick(v->shards[loop]);
}

void sc_turns_open(struct sc_version *v)
{
    const struct sc_model_spec *spec = &v->spec;
    if (!spec->sequence_batching || sc_spec_is_native(spec))
        return;
    /* As many as the workers can batch may always be open: what TorchServe means to do
     * (docs/compatibility.md). */
    long long batches = (long long)SC_MAX(spec->batch_size, 1) * SC_MAX(spec->max_workers, 1);
    int idle = spec->sequence_max_idle > 0 ? spec->sequence_max_idle : SC_SEQUENCE_IDLE_MS;
    struct sc_sequences_spec s = {
        .sequences = (unsigned)SC_MIN(SC_MAX((long long)spec->sequences, batches), SC_SEQUENCES_MAX),
        .queue = (unsigned)SC_MIN(SC_MAX(spec->sequence_queue, 1), SC_SEQUENCE_QUEUE_MAX),
        .ahead = spec->continuous_batching ? 2 : 1,
        .idle_ns = (int64_t)idle * 1000000,
        .lifetime_ns = (int64_t)spec->sequence_timeout * 1000000,
        .wake = wake,
        .ctx = v,
    };
    if (getrandom(&s.seed, sizeof s.seed, GRND_NONBLOCK) != (ssize_t)sizeof s.seed)
        s.seed = (uint64_t)sc_clock_ns();
    v->sequences = sc_sequences_new(&s);
}

int sc_turns_add(struct sc_job *j)
{
    struct sc_shard *s = j->shard;
    j->turn.loop = s->plane->loop->index;
    int rc = sc_sequences_add(s->version->sequences, j->sequence, j->begins, &j->turn, j->arrival_ns);
    j->sequence = sc_span(NULL, 0);
    j->in_sequence = rc == 0;
    return rc;
}

/* Closed for another reason than this request. */
static void refuse(struct sc_job *j)
{
    char text[SC_MODEL_NAME_MAX + 128];
    snprintf(text, sizeof text,
             "The sequence of this request to model \"%s\" is closed: its worker ended, or its time is over.",
             j->shard->version->spec.name);
    j->in_sequence = false;
    sc_job_fail(j, 503, "ServiceUnavailableException", text);
}

static void send_ready(struct sc_link *k)
{
    bool late = k->shard->version->spec.client_timeout > 0 || !sc_list_empty(&k->plane->timed);
    while (!sc_list_empty(&k->ready) && !k->broken && !k->draining) {
        struct sc_job *j = SC_CONTAINER(k->ready.next, struct sc_job, node);
        if (late && sc_job_expire(j, sc_clock_ns()))
            continue;
        if (!sc_link_has_credit(k) || !sc_link_offer(k, j))
            return;
    }
}

void sc_turns_dispatch(struct sc_shard *s)
{
    struct sc_sequences *t = s->version->sequences;
    unsigned loop = s->plane->loop->index;
    while (sc_sequences_due(t, loop)) {
        struct sc_sequence_home *home;
        struct sc_turn *turn = sc_sequences_take(t, loop, &home);
        if (!turn)
            break;
        struct sc_job *j = SC_CONTAINER(turn, struct sc_job, turn);
        if (!home) {
            refuse(j);
            continue;
        }
        /* A home has a link on every loop until each was told of its end. */
        struct sc_link *k = SC_CONTAINER(home, struct sc_attachment, home)->links[loop];
        sc_list_remove(&j->node);
        sc_list_push_back(&k->ready, &j->node);
    }
    for (unsigned i = 0; i < s->nlinks; i++)
        send_ready(s->links[i]);
}

void sc_turn_leave(struct sc_job *j)
{
    j->in_sequence = false;
    sc_sequences_leave(j->shard->version->sequences, &j->turn, j->state != SC_JOB_QUEUED, sc_clock_ns());
}

bool sc_turn_back(struct sc_job *j, bool keep)
{
    if (sc_sequences_back(j->shard->version->sequences, &j->turn, keep, sc_clock_ns()))
        return true;
    refuse(j);
    return false;
}

void sc_turn_survived(struct sc_job *j)
{
    struct sc_shard *s = j->shard;
    sc_job_leave(j);
    sc_job_enter(j, SC_JOB_QUEUED);
    sc_list_push_back(&s->turns, &j->node);
    sc_sequences_again(s->version->sequences, &j->turn, sc_clock_ns());
}

void sc_turn_answered(struct sc_job *j, struct sc_span meta)
{
    struct sc_version *v = j->shard->version;
    if (!v->spec.continuous_batching)
        return;
    struct sc_span ids = sc_meta_get(meta, sc_span_str(v->engine->spec.settings->sequence_end_header));
    if (ids.n)
        sc_sequences_end(v->sequences, ids, j->turn.loop, sc_clock_ns());
}

void sc_turn_streams(struct sc_job *j, struct sc_span meta)
{
    if (!j->streamed)
        sc_sequences_streams(j->shard->version->sequences, &j->turn, sc_clock_ns());
    sc_turn_answered(j, meta);
}

void sc_turns_link_gone(struct sc_link *k)
{
    bool any = !sc_list_empty(&k->ready);
    while (!sc_list_empty(&k->ready)) {
        struct sc_job *j = SC_CONTAINER(k->ready.next, struct sc_job, node);
        sc_job_leave(j);
        sc_shard_requeue(j);
    }
    if (any)
        sc_shard_kick(k->shard);
}

static void expire(struct sc_node *list, int64_t now)
{
    while (!sc_list_empty(list) && sc_job_expire(SC_CONTAINER(list->next, struct sc_job, node), now))
        continue;
}

void sc_turns_expire(struct sc_shard *s, int64_t now)
{
    for (unsigned p = 0; p < SC_PRIORITIES; p++)
        expire(&s->queue[p], now);
    expire(&s->turns, now);
    for (unsigned i = 0; i < s->nlinks; i++)
        expire(&s->links[i]->ready, now);
}

void sc_turns_tick(struct sc_version *v, int64_t now)
{
    sc_sequences_tick(v->sequences, now);
    for (struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (!w->sequences_until_ns || !w->att)
            continue;
        unsigned open = sc_sequences_drain(v->sequences, &w->att->home);
        if (open && now < w->sequences_until_ns)
            continue;
        if (open)
            sc_log(SC_LOG_WARN, "model %s: worker %u ends with %u sequences open (unregister_model_timeout)",
                   v->spec.name, w->first_id, open);
        sc_worker_drain_links(w);
    }
}
