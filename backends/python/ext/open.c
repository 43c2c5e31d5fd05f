/*
 * What is open at a time, found by its id: parts of answers, answers of some requests before others, and the
 * clients that leave meanwhile.
 *
 * A batch of take() keeps its places until it is over, since reply() answers by place; what came by
 * take_new() goes as it is answered. The running page lists what is open and not answered.
 */
#include "data_path.h"

#include <stdlib.h>

#define SEND_UNLOCKED (64u << 10) /* bytes of what is sent at once */
#define NOT_FOUND UINT32_MAX

/* ---- the table --------------------------------------------------------------------------------- */

static bool grow(void **p, size_t n, size_t size)
{
    void *more = realloc(*p, n * size);
    if (more)
        *p = more;
    return more != NULL;
}

bool sc_py_open_room(struct sc_py_channel *c)
{
    if (c->n < c->cap)
        return c->n < SC_LANE_RUNNING_MAX;
    uint32_t cap = SC_MIN(SC_MAX(2 * c->cap, 16u), (uint32_t)SC_LANE_RUNNING_MAX);
    if (c->n >= cap || !grow((void **)&c->batch, cap, sizeof *c->batch) ||
        !grow((void **)&c->ids, cap, sizeof *c->ids) || !grow((void **)&c->answers, cap, sizeof *c->answers))
        return false;
    c->cap = cap;
    return true;
}

static void lose(struct sc_py_channel *c)
{
    if (!c->lost)
        c->lost = PyList_New(0);
    for (uint32_t i = 0; i < c->n; i++)
        if (c->batch[i].id && !c->batch[i].told && (!c->lost || PyList_Append(c->lost, c->batch[i].id) < 0))
            PyErr_Clear();
}

void sc_py_batch_over(struct sc_py_channel *c)
{
    if (c->n == 0)
        return;
    if (c->port)
        sc_port_end(c->port, 0);
    if (SC_UNLIKELY(c->apart))
        lose(c);
    for (uint32_t i = 0; i < c->n; i++) {
        Py_CLEAR(c->batch[i].row);
        Py_CLEAR(c->batch[i].id);
    }
    c->n = c->nleft = 0;
    c->alone = false;
}

void sc_py_open_page(struct sc_py_channel *c, uint32_t fresh)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (!c->batch[i].answered)
            c->ids[n++] = c->batch[i].work.id;
    if (c->port)
        sc_port_list(c->port, 0, c->ids, n, fresh);
}

/* Takes answered requests out of the table; the last ones take their places. */
static void close_answered(struct sc_py_channel *c)
{
    for (uint32_t i = c->n; c->apart && i-- > 0;) {
        if (!c->batch[i].answered)
            continue;
        c->nleft -= c->batch[i].left && !c->batch[i].told;
        Py_CLEAR(c->batch[i].id);
        c->batch[i] = c->batch[--c->n];
    }
    if (c->n == 0)
        c->alone = false;
    sc_py_open_page(c, 0);
}

/* The place of an open request. Those who answer mostly have the very object, and in the order of the table.
 */
static uint32_t find(struct sc_py_channel *c, PyObject *id)
{
    for (uint32_t i = 0, at = c->found; i < c->n; i++) {
        at = at + 1 < c->n ? at + 1 : 0;
        if (c->batch[at].id == id)
            return c->found = at;
    }
    for (uint32_t i = 0; i < c->n && PyUnicode_Check(id); i++)
        if (c->batch[i].id && PyUnicode_Compare(c->batch[i].id, id) == 0)
            return c->found = i;
    return NOT_FOUND;
}

/* ---- clients that leave ------------------------------------------------------------------------ */

/* One that was decoded and not begun needs no computing. */
static bool forget_ready(struct sc_py_channel *c, const struct sc_work *w)
{
    for (uint32_t i = 0; i < c->ready_n; i++) {
        struct sc_py_request *r = &c->ready[(c->ready_head + i) % c->ready_cap];
        if (r->work.id != w->id || r->work.channel != w->channel)
            continue;
        (void)!sc_port_send(c->port, &r->work, 200, sc_span(NULL, 0), NULL, sc_span(NULL, 0));
        sc_port_flush(c->port);
        Py_CLEAR(r->row);
        for (uint32_t k = i; k + 1 < c->ready_n; k++)
            c->ready[(c->ready_head + k) % c->ready_cap] = c->ready[(c->ready_head + k + 1) % c->ready_cap];
        c->ready_n--;
        return true;
    }
    return false;
}

void sc_py_client_left(struct sc_py_channel *c, const struct sc_work *w)
{
    if (forget_ready(c, w))
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        struct sc_py_request *r = &c->batch[i];
        if (r->work.id != w->id || r->work.channel != w->channel || r->answered || r->left)
            continue;
        r->left = true;
        c->nleft++;
        return;
    }
}

PyObject *sc_py_cancelled(struct sc_py_channel *c)
{
    PyObject *list = c->lost ? c->lost : PyList_New(0);
    c->lost = NULL;
    for (uint32_t i = 0; list && c->nleft > 0 && i < c->n; i++) {
        struct sc_py_request *r = &c->batch[i];
        if (!r->left || r->told || !r->id)
            continue;
        if (PyList_Append(list, r->id) < 0) {
            Py_DECREF(list);
            return NULL;
        }
        r->told = true;
        c->nleft--;
    }
    return list;
}

/* ---- sending ----------------------------------------------------------------------------------- */

/* One completion on its way. The table may change while it is sent: what it needs is copied. */
struct leaving {
    struct sc_work work;
    struct sc_py_answer answer;
    bool part;
};

struct parcel {
    struct leaving *all;
    uint32_t n;
    size_t bytes;
    bool ends; /* some of them are the last */
    struct sc_buf meta;
};

static int add(struct sc_py_channel *c, struct parcel *p, PyObject *item, bool part)
{
    bool error = !part && PyTuple_Check(item) && PyTuple_Size(item) == 3;
    if (!error && (!PyTuple_Check(item) || PyTuple_Size(item) != 6)) {
        PyErr_SetString(
            PyExc_TypeError,
            "an answer is (id, body, status, reason, content type, headers), or (id, status, message)");
        return -1;
    }
    uint32_t at = find(c, PyTuple_GetItem(item, 0));
    if (at == NOT_FOUND || c->batch[at].answered || (part && c->batch[at].left))
        return 0; /* nobody waits for it */
    struct leaving *l = &p->all[p->n++];
    l->work = c->batch[at].work;
    if (error ? sc_py_answer_error(&p->meta, &l->answer, item) < 0
              : sc_py_answer_ready(c, &p->meta, &l->answer, item, 1) < 0)
        return -1;
    p->bytes += l->answer.body.n;
    l->part = part && !l->answer.failed;
    c->batch[at].answered = !l->part;
    p->ends |= !l->part;
    return 0;
}

static int send_parcel(struct sc_port *port, const struct parcel *p)
{
    int first = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const struct leaving *l = &p->all[i];
        int rc = sc_py_answer_send(port, &l->work, &p->meta, &l->answer, l->part);
        first = first < 0 ? first : rc;
    }
    return first;
}

static int hand_in(struct sc_py_channel *c, const struct parcel *p)
{
    int rc = 0;
    if (!sc_py_fds_intact(c)) {
        PyErr_SetString(PyExc_ConnectionError,
                        "the handler has closed descriptors that are not its own; the worker cannot go on");
        return -1;
    }
    if (p->bytes < SEND_UNLOCKED) {
        rc = send_parcel(c->port, p);
    } else {
        c->senders++;
        Py_BEGIN_ALLOW_THREADS;
        rc = send_parcel(c->port, p);
        Py_END_ALLOW_THREADS;
        c->senders--;
    }
    if (c->port && p->ends)
        close_answered(c);
    else if (c->port)
        sc_port_touch(c->port, 0);
    if (c->port)
        sc_port_flush(c->port);
    if (rc == 0)
        return (int)p->n;
    PyErr_Format(PyExc_OSError, "an answer cannot be sent: %s", sc_strerror(rc));
    return -1;
}

/* Nothing was sent: what was marked is open again. */
static void take_back(struct sc_py_channel *c, const struct parcel *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t k = 0; k < c->n; k++)
            if (c->batch[k].work.id == p->all[i].work.id &&
                c->batch[k].work.channel == p->all[i].work.channel)
                c->batch[k].answered = false;
}

int sc_py_publish(struct sc_py_channel *c, PyObject *items, bool parts)
{
    sc_py_not_in_child();
    PyObject *list = PySequence_List(items);
    if (!list)
        return -1;
    Py_ssize_t n = PyList_Size(list);
    struct parcel p = {.all = calloc((size_t)n + 1, sizeof *p.all)};
    sc_buf_init(&p.meta, 64u << 20);
    int rc = p.all ? 0 : -1;
    if (rc < 0)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; rc == 0 && i < n; i++)
        rc = add(c, &p, PyList_GetItem(list, i), parts);
    if (rc < 0 && p.all)
        take_back(c, &p);
    else if (rc == 0 && p.n > 0 && c->port)
        rc = hand_in(c, &p);
    for (uint32_t i = 0; i < p.n; i++)
        Py_XDECREF(p.all[i].answer.keep);
    free(p.all);
    sc_buf_free(&p.meta);
    Py_DECREF(list);
    return rc;
}
