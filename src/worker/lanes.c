/*
 * Lanes: threads that take requests from the rings, form batches and compute them.
 *
 * There is no intake thread. Lanes that have nothing to do wait; one of them, the poller, sleeps on
 * the port's eventfd, the others on a condition variable. Who wakes up takes requests one at a time
 * under the lock and prepares them outside of it, so that tokenising spreads over the lanes
 * and with a single lane there is no hand-over between threads at all.
 *
 * Helpers are threads without a lane. They poll and prepare while every lane computes, and have the long
 * bodies to themselves, so that no lane waits for one.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/executor_private.h"

/* Who sleeps on the port's descriptor looks at what has changed. */
static void kick_poller(struct sc_executor *ex)
{
    uint64_t one = 1;
    if (write(ex->kick_fd, &one, sizeof one) < 0)
        sc_log(SC_LOG_ERROR, "a lane cannot be woken");
}

void sc_lanes_kick(struct sc_executor *ex)
{
    kick_poller(ex);
    pthread_cond_broadcast(&ex->wake);
    pthread_cond_broadcast(&ex->help);
}

void sc_lanes_wake(struct sc_executor *ex)
{
    if (ex->waiting)
        pthread_cond_signal(&ex->wake);
    else if (ex->polling && !ex->helper_polls)
        kick_poller(ex);
}

/* Sleeps until the frontend or sc_lanes_* wakes this thread, or until deadline_ns (0: for ever). Lock held,
 * released while asleep. */
static void poll_port(struct sc_executor *ex, bool helper, int64_t deadline_ns)
{
    struct sc_port_ref *ref = ex->port;
    if (ref)
        atomic_fetch_add(&ref->refs, 1);
    ex->polling = true;
    ex->helper_polls = helper;
    pthread_mutex_unlock(&ex->lock);

    bool quiet = true;
    if (ref && !sc_port_closed(ref->port))
        quiet = sc_port_sleep(ref->port);
    if (quiet) {
        struct pollfd fds[3] = {{.fd = ex->kick_fd, .events = POLLIN}, {.fd = -1}, {.fd = -1}};
        if (ref && !sc_port_closed(ref->port)) {
            fds[1] = (struct pollfd){.fd = sc_port_wake_fd(ref->port), .events = POLLIN};
            fds[2] = (struct pollfd){.fd = sc_port_hup_fd(ref->port), .events = POLLRDHUP};
        }
        int timeout = -1;
        if (deadline_ns) {
            int64_t left = deadline_ns - sc_clock_ns();
            timeout = left <= 0 ? 0 : (int)((left + 999999) / 1000000);
        }
        poll(fds, 3, timeout);
        uint64_t count;
        if (fds[0].revents && read(ex->kick_fd, &count, sizeof count) < 0)
            sc_log(SC_LOG_DEBUG, "kick: nothing to read");
    }
    if (ref)
        sc_port_awake(ref->port);

    pthread_mutex_lock(&ex->lock);
    ex->polling = false;
    if (ex->filling)
        pthread_cond_broadcast(&ex->wake);
    /* A frontend that is gone keeps its descriptor readable: forget the port, or this thread would spin. */
    if (ref && ref == ex->port && sc_port_closed(ref->port)) {
        ex->port = NULL;
        sc_port_ref_put(ref);
    }
    sc_port_ref_put(ref);
}

static bool has_work(const struct sc_executor *ex)
{
    return ex->raw.n || ex->ready.waiting.n;
}

/* Under load the other side answers within microseconds: look for a moment before sleeping. Lock held. */
static bool spin_for_work(struct sc_executor *ex)
{
    int64_t end = sc_clock_ns() + ex->spin_ns;
    do {
        sc_intake(ex);
        if (has_work(ex))
            return true;
        for (int i = 0; i < 20; i++)
            __builtin_ia32_pause();
    } while (sc_clock_ns() < end);
    return false;
}

/* Until there is a request for a lane, or this lane ends (false). Lock held. */
static bool wait_for_work(struct sc_lane_thread *t, bool was_busy)
{
    struct sc_executor *ex = t->ex;
    while (!ex->stopping && !t->ending) {
        if (!ex->filling) {
            sc_intake(ex);
            if (has_work(ex))
                return true;
        }
        if (sc_spread_help(ex))
            continue;
        if (was_busy && ex->spin_ns && !ex->polling && !ex->filling) {
            was_busy = false;
            if (spin_for_work(ex))
                return true;
        }
        if (!ex->polling && !ex->filling) {
            poll_port(ex, false, 0);
            continue;
        }
        if (ex->polling && ex->helper_polls)
            kick_poller(ex); /* a lane that is free polls itself: one hand-over less */
        ex->waiting++;
        pthread_cond_wait(&ex->wake, &ex->lock);
        ex->waiting--;
    }
    return false;
}

/* ---- batches ------------------------------------------------------------------------------- */

/* The most that a batch may hold, in the backend's cost, or in requests if it has none. */
static uint64_t batch_limit(const struct sc_executor *ex)
{
    return ex->info.max_batch_cost ? ex->info.max_batch_cost : ex->batch_size;
}

/* Prepares what has come, until a batch is full of requests that take turns. */
static void prepare_some(struct sc_executor *ex)
{
    while (ex->raw.n && ex->ready.waiting.n < ex->batch_size && ex->ready.next < batch_limit(ex)) {
        if (ex->raw.n > 1)
            sc_lanes_wake(ex);
        sc_intake_prepare(ex, &ex->raw);
    }
}

/* With `fill`: the batch is not full, and its oldest request may wait on. */
static bool may_wait(const struct sc_executor *ex, int64_t *deadline)
{
    const struct sconce_request *r = sc_requests_first(&ex->ready.waiting);
    if (!ex->fill || ex->stopping || !r || ex->ready.waiting.n >= ex->batch_size ||
        ex->ready.cost >= batch_limit(ex) || r->work.flags & SC_SUBMIT_ALONE)
        return false;
    *deadline = r->work.arrival_ns + ex->batch_delay_ns;
    return sc_clock_ns() < *deadline;
}

/*
 * What a lane takes of what waits, in cost: lanes that are free get their share, since on a CPU two half
 * batches at once beat a whole one. And no lane gets more than its share of all there is, once what a batch
 * costs beside its items is known: clients that ask again when they are answered would else stay as they once
 * fell, a few with one lane and all others with the next, and the small batches cost what the large ones
 * gain.
 */
static uint64_t batch_share(const struct sc_executor *ex)
{
    uint64_t share = ex->ready.cost / (ex->lanes - ex->computing);
    if (ex->fill)
        return batch_limit(ex);
    if (ex->info.batch_overhead)
        share = SC_MIN(share, (ex->ready.cost + ex->computing_cost + ex->lanes - 1) / ex->lanes);
    return SC_MIN(SC_MAX(share, SC_MAX(ex->info.batch_overhead, 1u)), batch_limit(ex));
}

/* Fills t->batch; returns the number of slices (0: every request taken was answered by prepare). Lock held at
 * start and end. */
static size_t form_batch(struct sc_lane_thread *t)
{
    struct sc_executor *ex = t->ex;
    int64_t deadline;
    for (;;) {
        prepare_some(ex);
        if (ex->filling)
            return 0; /* another lane has begun to, meanwhile */
        if (!may_wait(ex, &deadline))
            break;
        ex->filling = true;
        if (ex->polling) { /* the other thread leaves the descriptor to this one and waits */
            sc_lanes_kick(ex);
            pthread_cond_wait(&ex->wake, &ex->lock);
        } else {
            poll_port(ex, false, deadline);
        }
        ex->filling = false;
        if (t->ending)
            return 0; /* who is kicked by its end goes on */
        sc_intake(ex);
    }
    t->cost = ex->ready.cost;
    size_t n = sc_ready_take(&ex->ready, batch_share(ex), ex->batch_size, t->batch);
    t->cost -= ex->ready.cost;
    ex->computing_cost += t->cost;
    ex->computing += n > 0;
    /* Others may go on with what is left, or take over the polling. */
    if (has_work(ex))
        sc_lanes_wake(ex);
    else if (!ex->polling && ex->waiting)
        pthread_cond_signal(&ex->wake);
    if (ex->computing == ex->lanes && ex->resting && (!ex->polling || ex->raw.n))
        pthread_cond_signal(&ex->help);
    return n;
}

static void lane_execute(struct sc_lane_thread *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t->done[i] = t->batch[i].request;
    t->ex->ops->lane_execute(t->lane, t->done, n);
}

/* Requests that have no items are answered only: their slices go behind the others. */
static void lane_compute(struct sc_lane_thread *t, size_t n)
{
    size_t full = 0;
    for (size_t i = 0; i < n; i++)
        if (t->batch[i].n) {
            struct sconce_slice s = t->batch[full];
            t->batch[full++] = t->batch[i];
            t->batch[i] = s;
        }
    if (full)
        t->ex->ops->lane_compute(t->lane, t->batch, full);
}

/* Answers requests that are complete, and leaves them in t->done: how many they are. */
static size_t finish(struct sc_lane_thread *t, size_t n)
{
    struct sc_executor *ex = t->ex;
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        struct sconce_request *r = t->batch[i].request;
        if (atomic_fetch_sub(&r->left, t->batch[i].n) != t->batch[i].n)
            continue;
        if (ex->slices && !r->dropped)
            ex->ops->lane_answer(t->lane, r);
        else if (ex->slices && ex->ops->request_discard)
            ex->ops->request_discard(ex->model, r);
        if (!r->dropped)
            sc_request_fail(r, 500, "InternalServerException", "the backend did not answer this request");
        t->done[done++] = r;
    }
    return done;
}

/* Computes t->batch; returns how many requests it finished, in t->done. */
static size_t run_batch(struct sc_lane_thread *t, size_t n)
{
    struct sc_executor *ex = t->ex;
    uint64_t *ids = t->ids;
    /* The page belongs to the newest port; requests of an older one have nobody who would look. */
    struct sc_port_ref *ref = t->batch[n - 1].request->ref;
    uint32_t on_page = 0;
    uint64_t cost = 0;
    int64_t now = sc_clock_ns();
    for (size_t i = 0; i < n; i++) {
        struct sconce_request *r = t->batch[i].request;
        if (r->ref == ref)
            ids[on_page++] = r->work.id;
        int64_t never = 0; /* another lane may have begun with other items of it */
        if (atomic_compare_exchange_strong(&r->taken_ns, &never, now))
            r->work.batch = (uint32_t)n;
        for (uint32_t k = 0; ex->info.bytes_per_cost && k < t->batch[i].n; k++)
            cost += t->batch[i].items[k].cost;
    }
    atomic_fetch_add(&ref->refs, 1); /* another lane may finish the request meanwhile */
    sc_port_begin(ref->port, t->index, ids, on_page);
    if (ex->info.bytes_per_cost)
        sc_port_cost(ref->port, t->index, cost);
    if (ex->slices)
        lane_compute(t, n);
    else
        lane_execute(t, n);
    n = finish(t, n);
    sc_port_end(ref->port, t->index);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || t->done[i]->ref != t->done[i - 1]->ref)
            sc_port_flush(t->done[i]->ref->port);
    sc_port_ref_put(ref);
    return n;
}

static void serve_lane(struct sc_lane_thread *t)
{
    struct sc_executor *ex = t->ex;
    bool was_busy = false;
    while (wait_for_work(t, was_busy)) {
        size_t n = form_batch(t);
        if (n) {
            pthread_mutex_unlock(&ex->lock);
            n = run_batch(t, n);
            pthread_mutex_lock(&ex->lock);
            ex->computing--;
            ex->computing_cost -= t->cost;
            for (size_t i = 0; i < n; i++)
                sc_intake_recycle(ex, t->done[i]);
        }
        was_busy = true;
    }
    if (ex->stopping)
        return;
    /* The others take up what this one did beside: polling, and what it would have been woken for. */
    ex->lanes--;
    t->ended = true;
    sc_lanes_kick(ex);
    if (eventfd_write(ex->ended_fd, 1) < 0)
        sc_log(SC_LOG_ERROR, "a lane's end cannot be told");
}

static void serve_helper(struct sc_executor *ex)
{
    bool bulk = false; /* whose turn it is */
    while (!ex->stopping) {
        bool lanes_busy = ex->computing == ex->lanes;
        if (lanes_busy && !ex->polling)
            sc_intake(ex);
        bulk = ex->bulk.n && (!bulk || !lanes_busy || !ex->raw.n);
        struct sc_request_list *from = bulk ? &ex->bulk : &ex->raw;
        if (from->n && (bulk || lanes_busy)) {
            sc_intake_prepare(ex, from);
            sc_lanes_wake(ex);
        } else if (sc_spread_help(ex)) {
            continue;
        } else if (lanes_busy && !ex->polling) {
            poll_port(ex, true, 0);
        } else {
            if (!ex->polling && ex->waiting)
                pthread_cond_signal(&ex->wake); /* it polls */
            ex->resting++;
            pthread_cond_wait(&ex->help, &ex->lock);
            ex->resting--;
        }
    }
}

void *sc_lane_main(void *thread)
{
    struct sc_lane_thread *t = thread;
    char name[24];
    snprintf(name, sizeof name, "%s-%u", t->lane ? "lane" : "helper", t->index);
    sc_log_thread_name(name);
    pthread_mutex_lock(&t->ex->lock);
    if (t->lane)
        serve_lane(t);
    else
        serve_helper(t->ex);
    pthread_mutex_unlock(&t->ex->lock);
    return NULL;
}

int sc_lanes_attach(struct sc_executor *ex, struct sc_port *port)
{
    struct sc_port_ref *ref = NULL;
    if (port) {
        ref = malloc(sizeof *ref);
        if (!ref) {
            sc_port_del(port);
            return SC_ENOMEM;
        }
        ref->port = port;
        atomic_init(&ref->refs, 1);
    }
    pthread_mutex_lock(&ex->lock);
    struct sc_port_ref *old = ex->port;
    ex->port = ref;
    sc_intake_drop(ex); /* nobody waits for what the old frontend wanted */
    sc_lanes_kick(ex);
    pthread_mutex_unlock(&ex->lock);
    sc_port_ref_put(old);
    return 0;
}
