/*
 * Answers: from what the service returns to bytes in the response arena.
 *
 * All answers of a batch are made ready first, then sent at once: one turn without the interpreter's lock if
 * they are large, none if they are small, and no other thread can change a body's size while it is copied.
 */
#include "data_path.h"

#include <stdio.h>

#include "base/clock.h"
#include "worker/meta.h"

#define SEND_UNLOCKED (64u << 10) /* bytes of a batch's answers */
#define ERROR_TYPE "InternalServerException"

/* ---- one answer ready -------------------------------------------------------------------------- */

/* The bytes of o in *out, and in *keep what holds them. */
static int bytes_of(PyObject *o, struct sc_span *out, PyObject **keep)
{
    char *p;
    Py_ssize_t n;
    if (PyUnicode_Check(o)) {
        const char *text;
        if (PyArg_Parse(o, "s#", &text, &n)) { /* a str's own UTF-8, where there is no call for it in 3.8 */
            Py_INCREF(o);
            *keep = o;
            *out = sc_span(text, (size_t)n);
            return 0;
        }
        PyErr_Clear();
        *keep = PyUnicode_AsEncodedString(o, "utf-8", "replace");
    } else if (PyByteArray_Check(o)) {
        /* The view keeps it from being resized. */
        *keep = PyMemoryView_FromObject(o);
        *out = sc_span(PyByteArray_AsString(o), (size_t)PyByteArray_Size(o));
        return *keep ? 0 : -1;
    } else if (PyBytes_Check(o)) {
        Py_INCREF(o);
        *keep = o;
    } else {
        *keep = PyBytes_FromObject(o);
    }
    if (!*keep || PyBytes_AsStringAndSize(*keep, &p, &n) < 0)
        return -1;
    *out = sc_span(p, (size_t)n);
    return 0;
}

static int add_meta(struct sc_meta_writer *w, PyObject *key, PyObject *value)
{
    struct sc_span k, v;
    PyObject *keep_key = NULL, *keep_value = NULL, *text = NULL;
    int rc = bytes_of(key, &k, &keep_key);
    if (rc == 0 && !PyUnicode_Check(value) && !PyBytes_Check(value)) {
        text = PyObject_Str(value);
        value = text;
        rc = text ? 0 : -1;
    }
    if (rc == 0)
        rc = bytes_of(value, &v, &keep_value);
    /* Names with a colon are ours, and no header's. */
    if (rc == 0 && k.n > 0 && k.p[0] != ':')
        sc_meta_add(w, k, v);
    Py_XDECREF(text);
    Py_XDECREF(keep_key);
    Py_XDECREF(keep_value);
    return rc;
}

static int add_own(struct sc_meta_writer *w, struct sc_span key, PyObject *value)
{
    struct sc_span v;
    PyObject *keep = NULL;
    int rc = bytes_of(value, &v, &keep);
    if (rc == 0)
        sc_meta_add(w, key, v);
    Py_XDECREF(keep);
    return rc;
}

static int add_headers(struct sc_meta_writer *w, PyObject *headers)
{
    PyObject *fast = PySequence_List(headers);
    if (!fast)
        return -1;
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_Size(fast); i++) {
        PyObject *pair = PyList_GetItem(fast, i);
        if (PyTuple_Check(pair) && PyTuple_Size(pair) == 2) {
            rc = add_meta(w, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1));
        } else {
            PyErr_SetString(PyExc_TypeError, "a header is a pair");
            rc = -1;
        }
    }
    Py_DECREF(fast);
    return rc;
}

static int add_metadata(struct sc_buf *meta, struct sc_py_answer *a, PyObject *reason, PyObject *type,
                        PyObject *headers)
{
    bool has_reason = reason != Py_None && !(PyUnicode_Check(reason) && PyUnicode_GetLength(reason) == 0);
    bool has_headers = headers != Py_None && PyObject_Size(headers) != 0;
    if (!has_reason && type == Py_None && !has_headers)
        return PyErr_Occurred() ? -1 : 0;
    struct sc_meta_writer w;
    a->meta_at = meta->n;
    sc_meta_begin(&w, meta);
    int rc = type == Py_None ? 0 : add_own(&w, SC_SPAN(":content-type"), type);
    if (rc == 0 && has_reason)
        rc = add_own(&w, SC_SPAN(":reason"), reason);
    if (rc == 0 && has_headers)
        rc = add_headers(&w, headers);
    sc_meta_end(&w);
    a->meta_n = meta->n - a->meta_at;
    if (meta->failed) { /* headers beyond all measure: as those that are merely too long */
        meta->failed = 0;
        a->meta_n = SC_ANSWER_META_BYTES + 1;
    }
    return rc;
}

static int error_answer(struct sc_buf *meta, struct sc_py_answer *a, uint32_t status, const char *text)
{
    PyObject *body = PyBytes_FromString(text);
    if (!body)
        return -1;
    struct sc_meta_writer w;
    Py_XDECREF(a->keep);
    *a = (struct sc_py_answer){.keep = body, .status = status, .failed = true, .meta_at = meta->n};
    a->body = sc_span(PyBytes_AsString(body), (size_t)PyBytes_Size(body));
    sc_meta_begin(&w, meta);
    sc_meta_add(&w, SC_SPAN(":type"), SC_SPAN(ERROR_TYPE));
    sc_meta_end(&w);
    a->meta_n = meta->n - a->meta_at;
    return 0;
}

int sc_py_answer_ready(struct sc_py_channel *c, struct sc_buf *meta, struct sc_py_answer *a, PyObject *item,
                       Py_ssize_t first)
{
    char text[200];
    *a = (struct sc_py_answer){0};
    if (!PyTuple_Check(item) || PyTuple_Size(item) != first + 5) {
        PyErr_Format(PyExc_TypeError, "an answer is (%sbody, status, reason, content type, headers)",
                     first ? "id, " : "");
        return -1;
    }
    size_t start = meta->n;
    long status = PyLong_AsLong(PyTuple_GetItem(item, first + 1));
    if (status == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
    }
    if (bytes_of(PyTuple_GetItem(item, first), &a->body, &a->keep) < 0 ||
        add_metadata(meta, a, PyTuple_GetItem(item, first + 2), PyTuple_GetItem(item, first + 3),
                     PyTuple_GetItem(item, first + 4)) < 0)
        return -1;
    a->status = (uint32_t)status;
    if (status >= 100 && status <= 999 && a->body.n <= c->max_response && a->meta_n <= SC_ANSWER_META_BYTES)
        return 0;
    if (status < 100 || status > 999)
        snprintf(text, sizeof text, "The handler set the status %ld, which is none of HTTP's (100 to 999).",
                 status);
    else if (a->body.n > c->max_response)
        snprintf(text, sizeof text, "The answer of %zu bytes exceeds max_response_size (%llu).", a->body.n,
                 (unsigned long long)c->max_response);
    else
        snprintf(text, sizeof text, "The headers that the handler set exceed %u bytes.",
                 SC_ANSWER_META_BYTES);
    meta->n = start;
    return error_answer(meta, a, 500, text);
}

int sc_py_answer_error(struct sc_buf *meta, struct sc_py_answer *a, PyObject *item)
{
    *a = (struct sc_py_answer){0};
    long status = PyLong_AsLong(PyTuple_GetItem(item, 1));
    if (status == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
    }
    if (error_answer(meta, a, status < 100 || status > 999 ? 500 : (uint32_t)status, "") < 0)
        return -1;
    Py_CLEAR(a->keep);
    return bytes_of(PyTuple_GetItem(item, 2), &a->body, &a->keep);
}

/* ---- sending ------------------------------------------------------------------------------------- */

int sc_py_answer_send(struct sc_port *p, const struct sc_work *w, const struct sc_buf *meta,
                      const struct sc_py_answer *a, bool part)
{
    struct sc_span m = sc_span(a->meta_n ? meta->p + a->meta_at : NULL, a->meta_n);
    if (part)
        return sc_port_part(p, w, a->status, m, NULL, a->body);
    int rc = sc_port_send(p, w, a->status, m, NULL, a->body);
    if (rc == SC_ENOMEM || rc == SC_ESYS || rc == SC_ELIMIT)
        rc = sc_port_send(p, w, 507, sc_span(NULL, 0), NULL,
                          SC_SPAN("The worker has no memory for its answer."));
    return rc;
}

/* 0 or the first error that left a request without an answer. */
static int send_all(struct sc_py_channel *c)
{
    int first = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (SC_UNLIKELY(c->batch[i].answered))
            continue;
        int rc = sc_py_answer_send(c->port, &c->batch[i].work, &c->meta, &c->answers[i], false);
        if (rc < 0 && first == 0)
            first = rc;
    }
    return first;
}

static int send_ready(struct sc_py_channel *c)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < c->n; i++)
        bytes += c->answers[i].body.n;
    int rc;
    if (bytes < SEND_UNLOCKED) {
        rc = send_all(c);
    } else {
        Py_BEGIN_ALLOW_THREADS;
        rc = send_all(c);
        Py_END_ALLOW_THREADS;
    }
    if (rc < 0)
        PyErr_Format(PyExc_OSError, "an answer cannot be sent: %s", sc_strerror(rc));
    return rc < 0 ? -1 : 0;
}

/* What the handler did to our descriptors shows here, before any of them is used. What can be answered in
 * memory alone still is: the frontend looks at the ring when it learns of the death. */
static int answer_and_give_up(struct sc_py_channel *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct sc_py_answer *a = &c->answers[i];
        struct sc_span meta = sc_span(a->meta_n ? c->meta.p + a->meta_at : NULL, a->meta_n);
        if (!c->batch[i].answered && a->body.n + a->meta_n <= SC_ARENA_BLOCK_MAX / 2 &&
            sc_port_send(c->port, &c->batch[i].work, a->status, meta, NULL, a->body) < 0)
            break;
    }
    PyErr_SetString(PyExc_ConnectionError,
                    "the handler has closed descriptors that are not its own; the worker cannot go on");
    return -1;
}

static int send_batch(struct sc_py_channel *c)
{
    if (!c->port)
        return 0;
    int rc = sc_py_fds_intact(c) ? send_ready(c) : answer_and_give_up(c);
    sc_port_end(c->port, 0);
    if (rc == 0)
        sc_port_flush(c->port);
    return rc;
}

static void handler_took(struct sc_py_channel *c)
{
    int64_t took = sc_clock_ns() - c->began_ns;
    c->handler_ns += (took - c->handler_ns) / 8;
    if (c->n > 0)
        sc_linger_took(&c->linger, c->n, took);
}

static void forget(struct sc_py_channel *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        Py_CLEAR(c->answers[i].keep);
    sc_buf_clear(&c->meta);
}

int sc_py_reply(struct sc_py_channel *c, PyObject *items)
{
    sc_py_not_in_child();
    handler_took(c);
    if (c->apart && c->n > 0) {
        PyErr_SetString(PyExc_ValueError, "what take_new gave is answered by its ids");
        return -1;
    }
    if (PyObject_Size(items) != (Py_ssize_t)c->n) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%zd answers for %u requests", PyObject_Size(items), c->n);
        return -1;
    }
    int rc = 0;
    uint32_t made = 0;
    for (; rc == 0 && made < c->n; made++) {
        PyObject *item = PySequence_GetItem(items, (Py_ssize_t)made);
        rc = item ? sc_py_answer_ready(c, &c->meta, &c->answers[made], item, 0) : -1;
        Py_XDECREF(item);
    }
    if (rc == 0)
        rc = send_batch(c);
    for (uint32_t i = made; i < c->n; i++)
        c->answers[i].keep = NULL;
    forget(c);
    if (rc == 0 || PyErr_ExceptionMatches(PyExc_OSError))
        sc_py_batch_over(c);
    return rc;
}

int sc_py_reply_all(struct sc_py_channel *c, uint32_t status, struct sc_span message)
{
    sc_py_not_in_child();
    handler_took(c);
    struct sc_meta_writer w;
    sc_meta_begin(&w, &c->meta);
    sc_meta_add(&w, SC_SPAN(":type"), SC_SPAN(ERROR_TYPE));
    sc_meta_end(&w);
    for (uint32_t i = 0; i < c->n; i++)
        c->answers[i] = (struct sc_py_answer){.status = status, .meta_n = c->meta.n, .body = message};
    int rc = send_batch(c);
    forget(c);
    sc_py_batch_over(c);
    return rc;
}

void sc_py_fail(struct sc_py_channel *c, const struct sc_work *w, uint32_t status, struct sc_span message)
{
    char space[64];
    struct sc_span type = SC_SPAN(ERROR_TYPE), key = SC_SPAN(":type");
    /* One pair, written by hand: the batch's buffer may be in use. */
    char *p = space;
    const unsigned char head[] = {1, 0, (unsigned char)key.n, 0, (unsigned char)type.n, 0, 0, 0};
    memcpy(p, head, sizeof head);
    memcpy(p + sizeof head, key.p, key.n);
    memcpy(p + sizeof head + key.n, type.p, type.n);
    struct sc_span meta = sc_span(space, sizeof head + key.n + type.n);
    if (sc_port_send(c->port, w, status, meta, NULL, message) < 0)
        PySys_WriteStderr("an answer cannot be sent\n");
}
