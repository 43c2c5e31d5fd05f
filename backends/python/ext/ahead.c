/*
 * Decoding ahead: while a handler computes for long, a second thread makes Python's objects of the requests
 * that come meanwhile.
 *
 * It pays only where handlers leave the interpreter to others (torch does) and where there is something to
 * decode. So it begins when handlers are seen to be slow and decoding to cost; and where this thread has to
 * wait for the interpreter, the handler keeps it for itself, and decoding ahead is left alone for a while. It
 * looks at the rings at intervals, without announcing sleep: nobody has to wake it.
 *
 * Locks: `lock` is taken without the interpreter's lock or with it, but whoever holds `lock` never asks for
 * the interpreter's; `busy` keeps the other thread from the rings and from `ready` in between.
 */
#include "data_path.h"

#include <time.h>

#include "base/clock.h"

#define HANDLER_ON_NS 2000000
#define HANDLER_OFF_NS 1000000
#define DECODE_ON_NS 100000
#define DECODE_OFF_NS 50000
#define WAIT_OFF_NS 1000000
#define OFF_MIN_NS (INT64_C(10) * 1000000000)
#define OFF_MAX_NS (INT64_C(300) * 1000000000)
#define LOOK_MIN_NS 1000000
#define LOOK_MAX_NS 20000000

int sc_py_ahead_init(struct sc_py_channel *c)
{
    pthread_condattr_t attr;
    if (pthread_mutex_init(&c->ahead.lock, NULL) || pthread_condattr_init(&attr))
        return -1;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int rc = pthread_cond_init(&c->ahead.wake, &attr);
    pthread_condattr_destroy(&attr);
    return rc ? -1 : 0;
}

void sc_py_ahead_free(struct sc_py_channel *c)
{
    pthread_cond_destroy(&c->ahead.wake);
    pthread_mutex_destroy(&c->ahead.lock);
}

bool sc_py_ahead_wanted(const struct sc_py_channel *c)
{
    return !c->ahead.started && c->handler_ns > HANDLER_ON_NS && c->decode_ns > DECODE_ON_NS;
}

static bool pays(const struct sc_py_channel *c)
{
    return c->handler_ns > HANDLER_OFF_NS && c->decode_ns > DECODE_OFF_NS &&
           c->began_ns >= c->ahead.off_until_ns;
}

/* Takes the interpreter's lock, and notes how willingly it was given. */
static void take_interpreter(struct sc_py_ahead *a, PyThreadState *state)
{
    int64_t from = sc_clock_ns();
    PyEval_RestoreThread(state);
    int64_t now = sc_clock_ns();
    a->waited_ns += (now - from - a->waited_ns) / 16; /* being preempted once is no reason */
    if (a->waited_ns < WAIT_OFF_NS)
        return;
    a->off_for_ns = SC_MAX(OFF_MIN_NS, SC_MIN(OFF_MAX_NS, 2 * a->off_for_ns));
    a->off_until_ns = now + a->off_for_ns;
    a->waited_ns = 0;
}

static void look_later(struct sc_py_ahead *a)
{
    int64_t at = sc_clock_ns() + a->interval_ns;
    struct timespec t = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    pthread_cond_timedwait(&a->wake, &a->lock, &t);
}

/* With the interpreter's lock and `busy`: no other thread is at the rings. */
static bool decode_one(struct sc_py_channel *c)
{
    struct sc_py_request r;
    if (!c->port || c->ready_n >= c->batch_size)
        return false;
    int64_t from = sc_clock_ns();
    int rc = sc_py_next(c, &r);
    if (rc == 1) {
        c->ready[(c->ready_head + c->ready_n) % c->ready_cap] = r;
        c->ready_n++;
    }
    c->ahead.spent_ns += sc_clock_ns() - from;
    return rc == 1; /* an error is met again, and told, by the other thread */
}

void sc_py_ahead_run(struct sc_py_channel *c)
{
    struct sc_py_ahead *a = &c->ahead;
    PyThreadState *state = PyEval_SaveThread();
    pthread_mutex_lock(&a->lock);
    while (!a->closing) {
        if (!a->computing) {
            pthread_cond_wait(&a->wake, &a->lock);
            continue;
        }
        look_later(a);
        while (a->computing && !a->closing) {
            a->busy = true;
            pthread_mutex_unlock(&a->lock);
            take_interpreter(a, state);
            bool more = decode_one(c) && a->off_until_ns <= c->began_ns;
            state = PyEval_SaveThread();
            pthread_mutex_lock(&a->lock);
            a->busy = false;
            pthread_cond_broadcast(&a->wake);
            if (!more)
                break;
        }
    }
    pthread_mutex_unlock(&a->lock);
    PyEval_RestoreThread(state);
}

void sc_py_ahead_begin(struct sc_py_channel *c)
{
    struct sc_py_ahead *a = &c->ahead;
    if (!a->started || !pays(c))
        return;
    pthread_mutex_lock(&a->lock);
    a->computing = true;
    a->interval_ns = SC_MAX(LOOK_MIN_NS, SC_MIN(LOOK_MAX_NS, c->handler_ns / 8));
    pthread_cond_broadcast(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

void sc_py_ahead_end(struct sc_py_channel *c)
{
    struct sc_py_ahead *a = &c->ahead;
    if (!a->started)
        return;
    pthread_mutex_lock(&a->lock);
    bool wait = a->busy;
    a->computing = false;
    pthread_mutex_unlock(&a->lock);
    if (!wait)
        return;
    Py_BEGIN_ALLOW_THREADS;
    pthread_mutex_lock(&a->lock);
    while (a->busy)
        pthread_cond_wait(&a->wake, &a->lock);
    pthread_mutex_unlock(&a->lock);
    Py_END_ALLOW_THREADS;
}

void sc_py_ahead_close(struct sc_py_channel *c)
{
    pthread_mutex_lock(&c->ahead.lock);
    c->ahead.closing = true;
    c->ahead.computing = false;
    pthread_cond_broadcast(&c->ahead.wake);
    pthread_mutex_unlock(&c->ahead.lock);
}
