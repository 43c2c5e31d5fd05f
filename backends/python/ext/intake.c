/*
 * Taking requests and forming batches: eager takes what is there, and what linger.h waits for, fill waits for
 * more until the first one's delay is over (docs/internals/python.md, "Requests"). The running page is
 * written here, before Python gets the batch.
 */
#include "data_path.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define CONTROL_LOOK_NS 20000000 /* how often a busy worker looks at the control connection */
#define IDLE_LOOK_NS 1000000000  /* a signal that came between looking and sleeping is seen after this */
#define LINES_NS 5000000         /* how long lines wait for company while batches follow each other */
#define LINES_HANDLER_NS 500000  /* unless the handler takes so long */
#define LINES_BYTES (32u << 10)

/* ---- lines ------------------------------------------------------------------------------------ */

void sc_py_lines_flush(struct sc_py_channel *c)
{
    struct sc_buf *b = &c->lines;
    if (b->n == 0)
        return;
    bool ours = sc_py_fds_intact(c); /* else the number may be a file of the handler's */
    for (size_t at = 0; ours && at < b->n;) {
        /* A reader that is late makes writers wait: let other threads go on. */
        ssize_t n;
        Py_BEGIN_ALLOW_THREADS;
        n = write(c->lines_fd, b->p + at, b->n - at);
        Py_END_ALLOW_THREADS;
        if (n < 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    sc_buf_clear(b);
}

void sc_py_line(struct sc_py_channel *c, struct sc_span text)
{
    if (c->lines_fd < 0)
        return;
    if (c->lines.n + text.n >= LINES_BYTES)
        sc_py_lines_flush(c);
    sc_buf_span(&c->lines, text);
    sc_buf_char(&c->lines, '\n');
}

/* Lines are there before a handler that takes its time; those of quick ones go out together. */
static void note_batch(struct sc_py_channel *c, int64_t now)
{
    if (c->batch_line) {
        char line[64];
        int n = snprintf(line, sizeof line, "Backend received inference at: %lld", (long long)time(NULL));
        sc_py_line(c, sc_span(line, (size_t)n));
    }
    if (now < c->lines_due_ns && c->handler_ns < LINES_HANDLER_NS)
        return;
    sc_py_lines_flush(c);
    c->lines_due_ns = now + LINES_NS;
}

/* ---- requests --------------------------------------------------------------------------------- */

static void answer_unconverted(struct sc_py_channel *c, struct sc_work *w)
{
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        sc_py_fail(c, w, 507, SC_SPAN("Out of resources"));
        return;
    }
    PyErr_WriteUnraisable((PyObject *)c);
    sc_py_fail(c, w, 500, SC_SPAN("The worker could not read this request."));
}

int sc_py_next(struct sc_py_channel *c, struct sc_py_request *out)
{
    for (;;) {
        int rc = sc_port_next(c->port, &out->work);
        if (rc != 1)
            return rc == SC_AGAIN ? 0 : rc;
        if (SC_UNLIKELY(out->work.flags & SC_SUBMIT_CANCEL)) {
            sc_py_client_left(c, &out->work);
            continue;
        }
        out->id = NULL;
        out->answered = out->left = out->told = false;
        out->row = sc_py_convert(c, &out->work);
        sc_port_done(c->port, &out->work);
        if (out->row)
            return 1;
        answer_unconverted(c, &out->work);
        sc_port_flush(c->port);
    }
}

void sc_py_drop_ready(struct sc_py_channel *c)
{
    while (c->ready_n > 0) {
        Py_CLEAR(c->ready[c->ready_head].row);
        c->ready_head = (c->ready_head + 1) % c->ready_cap;
        c->ready_n--;
    }
}

/* The next request, decoded before or now: as sc_py_next. */
static int next_request(struct sc_py_channel *c, struct sc_py_request *out)
{
    if (c->ready_n > 0) {
        *out = c->ready[c->ready_head];
        c->ready[c->ready_head].row = NULL;
        c->ready_head = (c->ready_head + 1) % c->ready_cap;
        c->ready_n--;
        return 1;
    }
    return sc_py_next(c, out);
}

static void put_back(struct sc_py_channel *c, const struct sc_py_request *r)
{
    c->ready_head = (c->ready_head + c->ready_cap - 1) % c->ready_cap;
    c->ready[c->ready_head] = *r;
    c->ready_n++;
}

/* ---- waiting ----------------------------------------------------------------------------------- */

/* Sleeps until the frontend or the supervisor has something, or deadline_ns (0: none). -1 with an exception
 * set by a signal's handler. */
static int wait_for_work(struct sc_py_channel *c, int64_t deadline_ns)
{
    sc_py_lines_flush(c);
    int64_t timeout = IDLE_LOOK_NS;
    if (deadline_ns)
        timeout = SC_MAX(0, SC_MIN(timeout, deadline_ns - sc_clock_ns()));
    struct timespec longest = {.tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000};
    struct pollfd fds[3] = {{.fd = c->ctl, .events = POLLIN}, {.fd = -1}, {.fd = -1}};
    bool asleep = c->port && sc_port_sleep(c->port);
    int n = 1, error = 0;
    if (asleep || !c->port) {
        if (c->port) {
            fds[1] = (struct pollfd){.fd = sc_port_wake_fd(c->port), .events = POLLIN};
            fds[2] = (struct pollfd){.fd = sc_port_hup_fd(c->port), .events = POLLRDHUP};
        }
        Py_BEGIN_ALLOW_THREADS;
        n = ppoll(fds, 3, &longest, NULL);
        error = errno;
        Py_END_ALLOW_THREADS;
        if (c->port)
            sc_port_awake(c->port);
    }
    if (n > 0 && fds[0].revents)
        sc_py_control(c);
    /* A frontend that is gone keeps its descriptors readable. */
    if (n > 0 && fds[2].revents && c->port && sc_port_closed(c->port))
        sc_py_detach(c);
    bool interrupted = n < 0 && error == EINTR;
    return (interrupted || n == 0) ? PyErr_CheckSignals() : 0;
}

/* Under load the frontend has more within microseconds; a wake-up costs more than looking. */
static bool spin(struct sc_py_channel *c, struct sc_py_request *r)
{
    if (!c->port || !c->spin_ns)
        return false;
    int64_t end = sc_clock_ns() + c->spin_ns;
    do {
        if (next_request(c, r) == 1)
            return true;
        for (int i = 0; i < 20; i++)
            __builtin_ia32_pause();
    } while (sc_clock_ns() < end);
    return false;
}

/* ---- batches ------------------------------------------------------------------------------------ */

static void add(struct sc_py_channel *c, const struct sc_py_request *r)
{
    c->ids[c->n] = r->work.id;
    c->batch[c->n++] = *r;
    c->alone = r->work.flags & SC_SUBMIT_ALONE;
}

/* A list of the rows from `from` on, which are Python's now. NULL with an exception. */
static PyObject *rows_from(struct sc_py_channel *c, uint32_t from)
{
    PyObject *list = PyList_New((Py_ssize_t)(c->n - from));
    if (!list)
        return NULL;
    for (uint32_t i = from; i < c->n; i++) {
        struct sc_py_request *r = &c->batch[i];
        r->id = PyTuple_GetItem(r->row, 0);
        Py_INCREF(r->id);
        PyList_SetItem(list, (Py_ssize_t)(i - from), r->row);
        r->row = NULL;
    }
    return list;
}

/* Fills c->batch from its first request on. Eager: deadline_ns is linger's affair. -1 with an exception. */
static int fill_batch(struct sc_py_channel *c, int64_t deadline_ns)
{
    while (c->n < c->batch_size && !c->alone) {
        struct sc_py_request r;
        int rc = c->port ? next_request(c, &r) : 0;
        if (rc == 1) {
            if (r.work.flags & SC_SUBMIT_ALONE) {
                put_back(c, &r);
                return 0;
            }
            add(c, &r);
            sc_linger_found(&c->linger);
            continue;
        }
        int64_t from = sc_clock_ns();
        if (!c->fill)
            deadline_ns = sc_linger_until(&c->linger, c->n, from);
        if (rc < 0 || c->over || !c->port || from >= deadline_ns)
            return 0;
        if (wait_for_work(c, deadline_ns) < 0)
            return -1;
        if (c->n == 0) /* its frontend has gone */
            return 0;
        c->decode_sum_ns -= sc_clock_ns() - from;
    }
    return 0;
}

/* The batch as Python gets it. The handler's clock runs from here. */
static PyObject *hand_over(struct sc_py_channel *c)
{
    PyObject *list = rows_from(c, 0);
    if (!list)
        return NULL;
    int64_t now = sc_clock_ns();
    c->decode_ns += (c->decode_sum_ns + now + c->ahead.spent_ns - c->decode_ns) / 8;
    c->ahead.spent_ns = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        c->batch[i].work.taken_ns = now;
        c->batch[i].work.batch = c->n;
    }
    if (c->port)
        sc_port_begin(c->port, 0, c->ids, c->n);
    note_batch(c, now);
    sc_linger_end(&c->linger, c->n, now);
    c->began_ns = now;
    sc_py_ahead_begin(c);
    return list;
}

/* The first request of a batch: 1, 0 when the worker's work is over, -1 with an exception. */
static int first_request(struct sc_py_channel *c, struct sc_py_request *r)
{
    for (;;) {
        int64_t now = sc_clock_ns();
        if (now - c->ctl_looked_ns > CONTROL_LOOK_NS) {
            c->ctl_looked_ns = now;
            sc_py_control(c);
        }
        if (c->over)
            return 0;
        c->decode_sum_ns = -now;
        int rc = c->port ? next_request(c, r) : 0;
        if (rc < 0) {
            PySys_WriteStderr("the frontend's ring cannot be read: %s\n", sc_strerror(rc));
            sc_py_detach(c);
            rc = 0;
        }
        if (rc == 0)
            sc_linger_empty(&c->linger);
        if (rc == 0 && c->was_busy) {
            c->was_busy = false;
            rc = spin(c, r);
        }
        if (rc == 1)
            return 1;
        if (wait_for_work(c, 0) < 0)
            return -1;
    }
}

PyObject *sc_py_take(struct sc_py_channel *c)
{
    sc_py_not_in_child();
    if (c->apart && c->n > 0) {
        PyErr_SetString(PyExc_ValueError, "requests of take_new are open");
        return NULL;
    }
    c->apart = false;
    sc_py_ahead_end(c);
    sc_py_batch_over(c);
    sc_linger_begin(&c->linger, sc_clock_ns());
    while (c->n == 0) {
        struct sc_py_request r;
        int rc = first_request(c, &r);
        if (rc < 0)
            return NULL;
        if (rc == 0) {
            sc_py_lines_flush(c);
            Py_RETURN_NONE;
        }
        c->was_busy = true;
        add(c, &r);
        sc_linger_found(&c->linger);
        if (fill_batch(c, r.work.arrival_ns + c->delay_ns) < 0)
            return NULL;
    }
    return hand_over(c);
}

/* ---- one by one ---------------------------------------------------------------------------------- */

bool sc_py_arm(struct sc_py_channel *c)
{
    sc_py_lines_flush(c);
    if (c->over || (c->ready_n > 0 && !c->alone))
        return false;
    if (c->port && !sc_port_sleep(c->port))
        return false;
    c->armed = true;
    return true;
}

/* After a sleep that arm() announced: as wait_for_work after its own. */
static void woken(struct sc_py_channel *c)
{
    if (!c->armed)
        return;
    c->armed = false;
    c->ctl_looked_ns = 0;
    if (!c->port)
        return;
    sc_port_awake(c->port);
    if (sc_port_closed(c->port))
        sc_py_detach(c);
}

/* Room for all that can be waiting in a ring: with less, the news of a client that left might stand behind
 * what has to wait. Nothing is decoded ahead here, so the ring is this thread's. 0, or -1 with an exception.
 */
static int widen_ready(struct sc_py_channel *c)
{
    uint32_t cap = SC_RING_ENTRIES + 1;
    if (c->ready_cap >= cap)
        return 0;
    struct sc_py_request *more = calloc(cap, sizeof *more);
    if (!more) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < c->ready_n; i++)
        more[i] = c->ready[(c->ready_head + i) % c->ready_cap];
    free(c->ready);
    c->ready = more;
    c->ready_head = 0;
    c->ready_cap = cap;
    return 0;
}

/* Opens what has come, `limit` requests at most. Behind them it goes on reading as far as there is room for
 * what it finds: news of clients that left must not wait for a request that nobody wants yet. */
static void open_new(struct sc_py_channel *c, uint32_t limit)
{
    struct sc_py_request r;
    uint32_t taken = 0;
    int rc = 1;
    while (taken < limit && !c->alone && c->port && sc_py_open_room(c) && (rc = next_request(c, &r)) == 1) {
        if ((r.work.flags & SC_SUBMIT_ALONE) && c->n > 0) {
            put_back(c, &r);
            break;
        }
        add(c, &r);
        taken++;
    }
    while (rc == 1 && c->port && c->ready_n + 1 < c->ready_cap && (rc = sc_py_next(c, &r)) == 1) {
        c->ready[(c->ready_head + c->ready_n) % c->ready_cap] = r;
        c->ready_n++;
    }
    if (rc < 0) {
        PySys_WriteStderr("the frontend's ring cannot be read: %s\n", sc_strerror(rc));
        sc_py_detach(c);
    }
}

PyObject *sc_py_take_new(struct sc_py_channel *c, uint32_t limit, int wait_ms)
{
    sc_py_not_in_child();
    if (!c->apart && c->n > 0) {
        PyErr_SetString(PyExc_ValueError, "the batch of take is open");
        return NULL;
    }
    if (!c->apart && widen_ready(c) < 0)
        return NULL;
    c->apart = true;
    woken(c);
    int64_t deadline_ns = wait_ms > 0 ? sc_clock_ns() + wait_ms * INT64_C(1000000) : 0;
    uint32_t before;
    for (;;) {
        int64_t now = sc_clock_ns();
        if (now - c->ctl_looked_ns > CONTROL_LOOK_NS) {
            c->ctl_looked_ns = now;
            sc_py_control(c);
        }
        if (c->over) {
            sc_py_lines_flush(c);
            Py_RETURN_NONE;
        }
        before = c->n;
        open_new(c, limit);
        if (c->n != before || limit == 0 || wait_ms == 0 || c->nleft > 0 || c->lost ||
            (deadline_ns && sc_clock_ns() >= deadline_ns))
            break;
        if (wait_for_work(c, deadline_ns) < 0)
            return NULL;
    }
    if (c->n <= before) { /* fewer: their frontend has gone */
        if (c->port)
            sc_port_touch(c->port, 0);
        return PyList_New(0);
    }
    PyObject *list = rows_from(c, before);
    if (!list)
        return NULL;
    int64_t now = sc_clock_ns();
    for (uint32_t i = before; i < c->n; i++) {
        c->batch[i].work.taken_ns = now;
        c->batch[i].work.batch = c->n;
    }
    sc_py_open_page(c, c->n - before);
    note_batch(c, now);
    return list;
}
