/* Which threads an executor has: one a lane, whose number changes while they serve, and the helpers. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker/executor_private.h"

static int start(struct sc_executor *ex, unsigned index, struct sconce_lane *lane,
                 struct sc_lane_thread **out, struct sc_msg *msg)
{
    struct sc_lane_thread *t = calloc(1, sizeof *t);
    if (!t)
        return sc_fail(msg, SC_ENOMEM, "lane %u: no memory", index);
    t->ex = ex;
    t->index = index;
    t->lane = lane;
    int rc = pthread_create(&t->thread, NULL, sc_lane_main, t);
    if (rc) {
        free(t);
        return sc_fail(msg, SC_ESYS, "lane %u: no thread: %s", index, strerror(rc));
    }
    *out = t;
    return 0;
}

static void count_lanes(struct sc_executor *ex, int more)
{
    pthread_mutex_lock(&ex->lock);
    ex->lanes += (unsigned)more;
    pthread_mutex_unlock(&ex->lock);
}

static int add_lane(struct sc_executor *ex, struct sc_msg *msg)
{
    struct sconce_lane *lane;
    struct sconce_error *e = ex->ops->lane_create(ex->model, ex->made, &lane);
    if (e) {
        int rc = sconce_error_code(e) == SCONCE_OUT_OF_MEMORY ? SC_ENOMEM : SC_EINVAL;
        sc_fail(msg, rc, "lane %u: %s", ex->made, sconce_error_text(e));
        sconce_error_free(e);
        return rc;
    }
    count_lanes(ex, 1); /* before it runs */
    int rc = start(ex, ex->made, lane, &ex->lane[ex->made], msg);
    if (rc < 0) {
        count_lanes(ex, -1);
        ex->ops->lane_destroy(lane);
        return rc;
    }
    ex->made++;
    return 0;
}

static void remove_last(struct sc_executor *ex)
{
    struct sc_lane_thread *t = ex->lane[--ex->made];
    pthread_join(t->thread, NULL);
    ex->ops->lane_destroy(t->lane);
    free(t);
}

int sc_lanes_start(struct sc_executor *ex, struct sc_msg *msg)
{
    sc_intake_init(ex);
    pthread_mutex_init(&ex->lock, NULL);
    pthread_cond_init(&ex->wake, NULL);
    pthread_cond_init(&ex->help, NULL);
    pthread_cond_init(&ex->spread_done, NULL);
    ex->slices = ex->ops->minor >= 1 && ex->ops->lane_compute;
    ex->helpers = SC_MIN(ex->info.prepare_threads, (uint32_t)SC_LANES_MAX);
    ex->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ex->ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ex->kick_fd < 0 || ex->ended_fd < 0)
        return sc_fail(msg, SC_ESYS, "no descriptors for %u lanes", ex->host.lanes);
    int rc = 0;
    while (rc == 0 && ex->made < ex->host.lanes)
        rc = add_lane(ex, msg);
    while (rc == 0 && ex->helpers_made < ex->helpers) {
        unsigned i = ex->helpers_made;
        rc = start(ex, i, NULL, &ex->helper[i], msg);
        ex->helpers_made += rc == 0;
    }
    return rc;
}

/* Ends those from the nth on; true if some are still about to end. */
static bool end_lanes(struct sc_executor *ex, unsigned n)
{
    bool fresh = false, ending = false;
    pthread_mutex_lock(&ex->lock);
    for (unsigned i = 0; i < ex->made; i++) {
        fresh |= i >= n && !ex->lane[i]->ending;
        ex->lane[i]->ending |= i >= n;
        ending |= ex->lane[i]->ending;
    }
    if (fresh)
        sc_lanes_kick(ex);
    pthread_mutex_unlock(&ex->lock);
    return ending;
}

static bool last_ended(struct sc_executor *ex)
{
    pthread_mutex_lock(&ex->lock);
    bool ended = ex->made > 0 && ex->lane[ex->made - 1]->ended;
    pthread_mutex_unlock(&ex->lock);
    return ended;
}

int sc_lanes_settle(struct sc_executor *ex, unsigned n, struct sc_msg *msg)
{
    eventfd_t ends;
    (void)eventfd_read(ex->ended_fd, &ends);
    unsigned had = ex->made;
    while (last_ended(ex))
        remove_last(ex);
    if (end_lanes(ex, n))
        return 0;
    if (ex->made < had)
        malloc_trim(0); /* every thread has allocated from a heap of its own */
    while (ex->made < n) {
        int rc = add_lane(ex, msg);
        if (rc < 0)
            return rc;
    }
    return 1;
}

void sc_lanes_stop(struct sc_executor *ex)
{
    if (!ex->kick_fd)
        return; /* it was never started */
    pthread_mutex_lock(&ex->lock);
    ex->stopping = true;
    sc_lanes_kick(ex);
    pthread_mutex_unlock(&ex->lock);
    for (unsigned i = 0; i < ex->made; i++)
        pthread_join(ex->lane[i]->thread, NULL);
    while (ex->helpers_made > 0) {
        struct sc_lane_thread *t = ex->helper[--ex->helpers_made];
        pthread_join(t->thread, NULL);
        free(t);
    }
    sc_lanes_attach(ex, NULL);
    while (ex->made > 0) {
        struct sc_lane_thread *t = ex->lane[--ex->made];
        ex->ops->lane_destroy(t->lane);
        free(t);
    }
    while (ex->pool) {
        struct sconce_request *r = ex->pool;
        ex->pool = r->next;
        free(r);
    }
    close(ex->kick_fd);
    close(ex->ended_fd);
    pthread_cond_destroy(&ex->wake);
    pthread_cond_destroy(&ex->help);
    pthread_cond_destroy(&ex->spread_done);
    pthread_mutex_destroy(&ex->lock);
}
