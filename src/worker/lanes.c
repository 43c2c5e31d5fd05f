/*
 * Lanes: threads that take requests from the rings, form batches and compute them.
 *
 * There is no intake thread. Lanes that have nothing to do wait; one of them, the poller, sleeps on
 * the port's eventfd, the others on a condition variable. Who wakes up takes requests one at a time
 * under the lock and prepares them outside of it, so that tokenising spreads over the lanes
 * and with a single lane there is no hand-over between threads at all.
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
#include "worker/meta.h"

void sc_port_ref_put(struct sc_port_ref *ref)
{
    if (ref && atomic_fetch_sub(&ref->refs, 1) == 1) {
        sc_port_del(ref->port);
        free(ref);
    }
}

static void list_init(struct sc_request_list *l)
{
    *l = (struct sc_request_list){.tail = &l->head};
}

static void list_push(struct sc_request_list *l, struct sconce_request *r)
{
    r->next = NULL;
    *l->tail = r;
    l->tail = &r->next;
    l->n++;
}

static void list_push_front(struct sc_request_list *l, struct sconce_request *r)
{
    r->next = l->head;
    if (!l->head)
        l->tail = &r->next;
    l->head = r;
    l->n++;
}

static struct sconce_request *list_pop(struct sc_request_list *l)
{
    struct sconce_request *r = l->head;
    if (r) {
        l->head = r->next;
        if (!l->head)
            l->tail = &l->head;
        l->n--;
    }
    return r;
}

/* Gives a request back to the pool. With the lock held. */
static void recycle(struct sc_executor *ex, struct sconce_request *r)
{
    if (r->work.body_map)
        sc_port_done(r->ref->port, &r->work);
    sc_port_ref_put(r->ref);
    r->next = ex->pool;
    ex->pool = r;
}

static void copy_content_type(struct sconce_request *r)
{
    struct sc_span type = sc_meta_get(r->work.meta, SC_SPAN(":content-type"));
    size_t n = 0;
    while (n < type.n && n + 1 < sizeof r->content_type && type.p[n] != ';') {
        char c = type.p[n];
        r->content_type[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    while (n && (r->content_type[n - 1] == ' ' || r->content_type[n - 1] == '\t'))
        n--;
    r->content_type[n] = '\0';
}

/* Moves what is in the rings to the raw list. With the lock held. */
static void take_from_rings(struct sc_executor *ex)
{
    struct sc_port_ref *ref = ex->port;
    if (!ref || sc_port_closed(ref->port))
        return;
    for (;;) {
        struct sconce_request *r = ex->pool;
        if (r)
            ex->pool = r->next;
        else if (!(r = malloc(sizeof *r)))
            return; /* what is in the rings stays there; the next batch frees requests */
        /* Field by field: a request is mostly its content type's buffer. */
        r->ref = ref;
        r->reserved = r->answered = r->prepared = false;
        r->data = NULL;
        r->cost = 0;
        r->work.body_map = NULL;
        int rc;
        do /* an answer of the executor's is never far: nothing is given up half-way */
            rc = sc_port_next(ref->port, &r->work);
        while (rc == 1 && r->work.flags & SC_SUBMIT_CANCEL);
        if (rc != 1) {
            r->next = ex->pool;
            ex->pool = r;
            if (rc < 0 && rc != SC_AGAIN)
                sc_log(SC_LOG_ERROR, "the frontend's ring cannot be read: %s", sc_strerror(rc));
            return;
        }
        atomic_fetch_add_explicit(&ref->refs, 1, memory_order_relaxed);
        copy_content_type(r);
        list_push(&ex->raw, r);
    }
}

/* Makes every waiting lane look again. Lock held. */
static void kick(struct sc_executor *ex)
{
    uint64_t one = 1;
    if (write(ex->kick_fd, &one, sizeof one) < 0)
        sc_log(SC_LOG_ERROR, "a lane cannot be woken");
    pthread_cond_broadcast(&ex->wake);
}

/* Sleeps until the frontend or sc_lanes_* wakes this lane, or until deadline_ns (0: for ever). Lock held,
 * released while asleep. */
static void poll_port(struct sc_executor *ex, int64_t deadline_ns)
{
    struct sc_port_ref *ref = ex->port;
    if (ref)
        atomic_fetch_add(&ref->refs, 1);
    ex->polling = true;
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
    /* A frontend that is gone keeps its descriptor readable: forget the port, or this lane would spin. */
    if (ref && ref == ex->port && sc_port_closed(ref->port)) {
        ex->port = NULL;
        sc_port_ref_put(ref);
    }
    sc_port_ref_put(ref);
}

/* Under load the other side answers within microseconds: look for a moment before sleeping. Lock held. */
static bool spin_for_work(struct sc_executor *ex)
{
    int64_t end = sc_clock_ns() + ex->spin_ns;
    do {
        take_from_rings(ex);
        if (ex->raw.n)
            return true;
        for (int i = 0; i < 20; i++)
            __builtin_ia32_pause();
    } while (sc_clock_ns() < end);
    return false;
}

/* Waits until there is a request or the executor stops. Lock held. */
static bool wait_for_work(struct sc_executor *ex, bool was_busy)
{
    ex->idle++;
    for (;;) {
        if (ex->stopping)
            break;
        if (!ex->filling) {
            take_from_rings(ex);
            if (ex->raw.n)
                break;
            if (was_busy && ex->spin_ns && !ex->polling) {
                was_busy = false;
                if (spin_for_work(ex))
                    break;
            }
        }
        if (ex->polling || ex->filling)
            pthread_cond_wait(&ex->wake, &ex->lock);
        else
            poll_port(ex, 0);
    }
    ex->idle--;
    return !ex->stopping;
}

/* Prepares r outside the lock. False if it was answered with an error. */
static bool prepare(struct sc_executor *ex, struct sconce_request *r)
{
    if (r->prepared)
        return true;
    r->prepared = true;
    if (sc_port_closed(r->ref->port))
        return false;
    if (!ex->ops->request_prepare)
        return true;
    struct sconce_error *e = ex->ops->request_prepare(ex->model, r, &r->cost);
    if (!e)
        return true;
    sconce_response_fail(r, e);
    sc_port_flush(r->ref->port);
    return false;
}

/* Fills t->batch; returns its size (0: every request taken was answered by prepare). Lock held at start and
 * end. */
static size_t form_batch(struct sc_lane_thread *t)
{
    struct sc_executor *ex = t->ex;
    size_t n = 0;
    uint64_t cost = 0;
    /* Idle lanes get their share: on a CPU two half batches at once beat a whole one. */
    size_t share = (ex->raw.n + ex->idle) / (ex->idle + 1u);
    size_t limit = ex->fill ? ex->batch_size : SC_MIN((size_t)ex->batch_size, SC_MAX(share, 1u));
    int64_t deadline = 0;

    while (n < limit) {
        struct sconce_request *r = list_pop(&ex->raw);
        if (!r) {
            if (!ex->fill || n == 0 || n >= ex->batch_size || ex->stopping)
                break;
            if (sc_clock_ns() >= deadline)
                break;
            ex->filling = true;
            if (ex->polling) { /* the other lane leaves the descriptor to this one and waits */
                kick(ex);
                pthread_cond_wait(&ex->wake, &ex->lock);
            } else {
                poll_port(ex, deadline);
            }
            ex->filling = false;
            take_from_rings(ex);
            continue;
        }
        bool alone = r->work.flags & SC_SUBMIT_ALONE;
        if (alone && n) {
            list_push_front(&ex->raw, r);
            break;
        }
        pthread_mutex_unlock(&ex->lock);
        bool good = prepare(ex, r);
        pthread_mutex_lock(&ex->lock);
        if (!good) {
            recycle(ex, r);
            continue;
        }
        if (n && ex->info.max_batch_cost && cost + r->cost > ex->info.max_batch_cost) {
            list_push_front(&ex->raw, r);
            break;
        }
        if (n == 0)
            deadline = r->work.arrival_ns + ex->batch_delay_ns;
        cost += r->cost;
        t->batch[n++] = r;
        if (alone)
            break;
    }
    /* Others may go on with what is left, or take over the polling. */
    if (ex->idle && (ex->raw.n || !ex->polling))
        pthread_cond_signal(&ex->wake);
    return n;
}

static void run_batch(struct sc_lane_thread *t, size_t n)
{
    struct sc_executor *ex = t->ex;
    uint64_t *ids = t->ids;
    /* The page belongs to the newest port; requests of an older one have nobody who would look. */
    struct sc_port_ref *ref = t->batch[n - 1]->ref;
    uint32_t on_page = 0;
    for (size_t i = 0; i < n; i++)
        if (t->batch[i]->ref == ref)
            ids[on_page++] = t->batch[i]->work.id;
    sc_port_begin(ref->port, t->index, ids, on_page);
    ex->ops->lane_execute(t->lane, t->batch, n);
    for (size_t i = 0; i < n; i++)
        sc_request_fail(t->batch[i], 500, "InternalServerException",
                        "the backend did not answer this request");
    sc_port_end(ref->port, t->index);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || t->batch[i]->ref != t->batch[i - 1]->ref)
            sc_port_flush(t->batch[i]->ref->port);
}

static void *lane_main(void *arg)
{
    struct sc_lane_thread *t = arg;
    struct sc_executor *ex = t->ex;
    char name[16];
    snprintf(name, sizeof name, "lane-%u", t->index);
    sc_log_thread_name(name);

    bool was_busy = false;
    pthread_mutex_lock(&ex->lock);
    while (wait_for_work(ex, was_busy)) {
        size_t n = form_batch(t);
        if (n) {
            pthread_mutex_unlock(&ex->lock);
            run_batch(t, n);
            pthread_mutex_lock(&ex->lock);
            for (size_t i = 0; i < n; i++)
                recycle(ex, t->batch[i]);
        }
        was_busy = true;
    }
    pthread_mutex_unlock(&ex->lock);
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
    /* Nobody waits for what the old frontend wanted. */
    struct sconce_request *r;
    while ((r = list_pop(&ex->raw))) {
        if (r->prepared && ex->ops->request_discard)
            ex->ops->request_discard(ex->model, r);
        recycle(ex, r);
    }
    kick(ex);
    pthread_mutex_unlock(&ex->lock);
    sc_port_ref_put(old);
    return 0;
}

int sc_lanes_start(struct sc_executor *ex, struct sc_msg *msg)
{
    list_init(&ex->raw);
    pthread_mutex_init(&ex->lock, NULL);
    pthread_cond_init(&ex->wake, NULL);
    ex->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ex->threads = calloc(ex->host.lanes, sizeof *ex->threads);
    if (ex->kick_fd < 0 || !ex->threads)
        return sc_fail(msg, SC_ENOMEM, "no memory for %u lanes", ex->host.lanes);
    for (unsigned i = 0; i < ex->host.lanes; i++) {
        struct sc_lane_thread *t = &ex->threads[i];
        t->ex = ex;
        t->index = i;
        struct sconce_error *e = ex->ops->lane_create(ex->model, i, &t->lane);
        if (e) {
            sc_fail(msg, SC_EINVAL, "lane %u: %s", i, sconce_error_text(e));
            sconce_error_free(e);
            return SC_EINVAL;
        }
        int rc = pthread_create(&t->thread, NULL, lane_main, t);
        if (rc)
            return sc_fail(msg, SC_ESYS, "lane %u: no thread: %s", i, strerror(rc));
        t->started = true;
    }
    return 0;
}

void sc_lanes_stop(struct sc_executor *ex)
{
    if (!ex->threads)
        return;
    pthread_mutex_lock(&ex->lock);
    ex->stopping = true;
    kick(ex);
    pthread_mutex_unlock(&ex->lock);
    for (unsigned i = 0; i < ex->host.lanes; i++) {
        struct sc_lane_thread *t = &ex->threads[i];
        if (t->started)
            pthread_join(t->thread, NULL);
        if (t->lane)
            ex->ops->lane_destroy(t->lane);
    }
    sc_lanes_attach(ex, NULL);
    while (ex->pool) {
        struct sconce_request *r = ex->pool;
        ex->pool = r->next;
        free(r);
    }
    free(ex->threads);
    ex->threads = NULL;
    close(ex->kick_fd);
    pthread_cond_destroy(&ex->wake);
    pthread_mutex_destroy(&ex->lock);
}
