/*
 * The module `ts._sconce`: one class, Channel, whose twin in plain Python is ts/_runtime/channel_py.py. What
 * its methods promise is written there and in docs/internals/python.md; both behave alike.
 */
#include "data_path.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define SPIN_NS 5000 /* as the executor's lanes */

PyTypeObject *sc_py_type;

/* ---- forks ------------------------------------------------------------------------------------- */

static volatile sig_atomic_t in_child;
static int control_fd = -1;

/* The supervisor must see the worker's end of the connection, whoever else it left behind. */
static void forked(void)
{
    in_child = 1;
    if (control_fd >= 0)
        close(control_fd);
}

bool sc_py_in_child(void)
{
    return in_child;
}

void sc_py_not_in_child(void)
{
    if (!in_child)
        return;
    static const char text[] = "a process that the handler forked came back from the handler; it ends here\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(1);
    _exit(0);
}

/* ---- the object -------------------------------------------------------------------------------- */

static int64_t spin_time(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 2 ? SPIN_NS : 0;
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    unsigned batch_size;
    int delay_ms, fill, lines;
    unsigned long long max_response;
    PyObject *decode, *loads;
    if (kwargs && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Channel takes its settings by position");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "IipKOOp", &batch_size, &delay_ms, &fill, &max_response, &decode, &loads,
                          &lines))
        return NULL;
    if (batch_size == 0 || batch_size > SC_BATCH_SIZE_MAX || delay_ms < 0) {
        PyErr_Format(PyExc_ValueError, "a batch size of %u, a delay of %d ms", batch_size, delay_ms);
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct sc_py_channel *c = (struct sc_py_channel *)alloc(type, 0);
    if (!c)
        return NULL;
    c->ctl = c->lines_fd = c->epoll = -1;
    c->batch_size = batch_size;
    c->delay_ns = delay_ms * INT64_C(1000000);
    c->fill = fill;
    c->linger = (struct sc_linger){.batch_size = c->batch_size, .most_ns = c->delay_ns};
    c->batch_line = lines;
    sc_buf_init(&c->lines, 128u << 10);
    c->max_response = max_response;
    c->spin_ns = spin_time();
    if (decode != Py_None) {
        Py_INCREF(decode);
        Py_INCREF(loads);
        c->decode = decode;
        c->loads = loads;
    }
    c->ready_cap = batch_size + 1;
    c->cap = batch_size;
    c->batch = calloc(batch_size, sizeof *c->batch);
    c->ids = calloc(batch_size, sizeof *c->ids);
    c->answers = calloc(batch_size, sizeof *c->answers);
    c->ready = calloc(c->ready_cap, sizeof *c->ready);
    sc_buf_init(&c->meta, 64u << 20);
    bool ahead = sc_py_ahead_init(c) == 0;
    if (c->batch && c->ids && c->answers && c->ready && ahead)
        return (PyObject *)c;
    Py_DECREF(c);
    return PyErr_NoMemory();
}

static void channel_dealloc(PyObject *self)
{
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    PyTypeObject *type = Py_TYPE(self);
    sc_py_batch_over(c);
    if (c->ready)
        sc_py_detach(c);
    if (c->ctl >= 0) {
        close(c->ctl);
        control_fd = -1;
    }
    if (c->lines_fd >= 0)
        close(c->lines_fd);
    if (c->epoll >= 0)
        close(c->epoll);
    Py_XDECREF(c->lost);
    while (c->nlinks > 0)
        close(c->links[--c->nlinks]);
    Py_XDECREF(c->decode);
    Py_XDECREF(c->loads);
    free(c->message);
    free(c->batch);
    free(c->ids);
    free(c->answers);
    free(c->ready);
    sc_buf_free(&c->meta);
    sc_buf_free(&c->lines);
    sc_py_ahead_free(c);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *connect_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    if (c->ctl >= 0) {
        PyErr_SetString(PyExc_ValueError, "connected already");
        return NULL;
    }
    if (sc_py_connect(c) < 0)
        return NULL;
    control_fd = c->ctl;
    if (pthread_atfork(NULL, NULL, forked))
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *status_method(PyObject *self, PyObject *args)
{
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    int loaded;
    const char *text;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "ps#", &loaded, &text, &n))
        return NULL;
    sc_py_not_in_child();
    if (!sc_py_fds_intact(c)) {
        PyErr_SetString(PyExc_ConnectionError, "the handler has closed the worker's descriptors");
        return NULL;
    }
    int rc = sc_ctl_send_status(c->ctl, loaded ? SC_SLOT_LOADED : SC_SLOT_FAILED, sc_span(text, (size_t)n));
    if (rc < 0) {
        PyErr_Format(PyExc_ConnectionError, "the supervisor is gone: %s", sc_strerror(rc));
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *take_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    if (c->ctl < 0) {
        PyErr_SetString(PyExc_ValueError, "not connected");
        return NULL;
    }
    return sc_py_take(c);
}

static PyObject *reply_method(PyObject *self, PyObject *items)
{
    if (sc_py_reply((struct sc_py_channel *)self, items) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *reply_all_method(PyObject *self, PyObject *args)
{
    int status;
    const char *text;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "is#", &status, &text, &n))
        return NULL;
    if (status < 100 || status > 999)
        status = 500;
    if (sc_py_reply_all((struct sc_py_channel *)self, (uint32_t)status, sc_span(text, (size_t)n)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *publish(PyObject *self, PyObject *items, bool parts)
{
    int n = sc_py_publish((struct sc_py_channel *)self, items, parts);
    return n < 0 ? NULL : PyLong_FromLong(n);
}

static PyObject *part_method(PyObject *self, PyObject *items)
{
    return publish(self, items, true);
}

static PyObject *answer_method(PyObject *self, PyObject *items)
{
    return publish(self, items, false);
}

static PyObject *take_new_method(PyObject *self, PyObject *args)
{
    unsigned limit;
    int wait_ms;
    if (!PyArg_ParseTuple(args, "Ii", &limit, &wait_ms))
        return NULL;
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    if (c->ctl < 0) {
        PyErr_SetString(PyExc_ValueError, "not connected");
        return NULL;
    }
    return sc_py_take_new(c, limit, wait_ms);
}

static PyObject *cancelled_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    return sc_py_cancelled((struct sc_py_channel *)self);
}

static PyObject *poll_fds_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    if (c->ctl < 0) {
        PyErr_SetString(PyExc_ValueError, "not connected");
        return NULL;
    }
    int fd = sc_py_epoll(c);
    return fd < 0 ? NULL : Py_BuildValue("[i]", fd);
}

static PyObject *arm_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(sc_py_arm((struct sc_py_channel *)self));
}

static PyObject *stop_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    ((struct sc_py_channel *)self)->over = "stopped";
    Py_RETURN_NONE;
}

static PyObject *links_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    PyObject *list = PyList_New(0);
    unsigned n = 0;
    while (list && n < c->nlinks) {
        PyObject *fd = PyLong_FromLong(c->links[n]);
        if (!fd || PyList_Append(list, fd) < 0) {
            Py_DECREF(list);
            list = NULL;
        } else {
            n++;
        }
        Py_XDECREF(fd);
    }
    if (list)
        c->nlinks = 0;
    return list;
}

static PyObject *keep_method(PyObject *self, PyObject *args)
{
    const char *name;
    Py_ssize_t n;
    int fd;
    unsigned long long size;
    if (!PyArg_ParseTuple(args, "s#iK", &name, &n, &fd, &size) ||
        sc_py_keep((struct sc_py_channel *)self, sc_span(name, (size_t)n), fd, size) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *kept_method(PyObject *self, PyObject *name)
{
    const char *text;
    Py_ssize_t n;
    int fd = -1;
    uint64_t size = 0;
    if (!PyArg_Parse(name, "s#", &text, &n) ||
        sc_py_kept((struct sc_py_channel *)self, sc_span(text, (size_t)n), &fd, &size) < 0)
        return NULL;
    if (fd < 0)
        Py_RETURN_NONE;
    return Py_BuildValue("iK", fd, (unsigned long long)size);
}

static PyObject *line_method(PyObject *self, PyObject *line)
{
    const char *text;
    Py_ssize_t n;
    if (!PyArg_Parse(line, "s#", &text, &n))
        return NULL;
    sc_py_line((struct sc_py_channel *)self, sc_span(text, (size_t)n));
    Py_RETURN_NONE;
}

static PyObject *decode_ahead_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    sc_py_ahead_run((struct sc_py_channel *)self);
    Py_RETURN_NONE;
}

static PyObject *close_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    sc_py_ahead_close((struct sc_py_channel *)self);
    if (!sc_py_in_child())
        sc_py_lines_flush((struct sc_py_channel *)self);
    Py_RETURN_NONE;
}

static PyObject *get_alone(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct sc_py_channel *)self)->alone);
}

static PyObject *get_over(PyObject *self, void *unused)
{
    (void)unused;
    const char *over = ((struct sc_py_channel *)self)->over;
    if (!over)
        Py_RETURN_NONE;
    return PyUnicode_FromString(over);
}

/* Reading it with True as answer means that the caller starts the thread now. */
static PyObject *get_wants_thread(PyObject *self, void *unused)
{
    (void)unused;
    struct sc_py_channel *c = (struct sc_py_channel *)self;
    bool wanted = sc_py_ahead_wanted(c);
    c->ahead.started = c->ahead.started || wanted;
    return PyBool_FromLong(wanted);
}

static PyMethodDef methods[] = {
    {"connect", connect_method, METH_NOARGS, "Connects back to the supervisor and says hello."},
    {"status", status_method, METH_VARARGS, "status(loaded, text): tells the frontend how loading ended."},
    {"take", take_method, METH_NOARGS,
     "The next batch, [(id, headers, row), ...]; None when there will be no more."},
    {"reply", reply_method, METH_O, "Answers it: a list of (body, status, reason, content type, headers)."},
    {"reply_all", reply_all_method, METH_VARARGS, "reply_all(status, message): one error for all of it."},
    {"part", part_method, METH_O,
     "Sends parts of answers at once: a list of (id, body, status, reason, content type, headers). Any "
     "thread. "
     "Returns how many of the ids were open."},
    {"answer", answer_method, METH_O, "As part, but ends them."},
    {"take_new", take_new_method, METH_VARARGS,
     "take_new(limit, wait_ms): what has come, as take(), and leaves open what is; None when there will be "
     "no "
     "more. Waits for ever if wait_ms is negative; comes back empty when there is something for "
     "cancelled()."},
    {"cancelled", cancelled_method, METH_NOARGS, "Ids of open requests whose clients have left since."},
    {"poll_fds", poll_fds_method, METH_NOARGS,
     "Descriptors that are readable when there is something to take."},
    {"arm", arm_method, METH_NOARGS, "Before they are polled. False: take_new first."},
    {"stop", stop_method, METH_NOARGS, "Makes the next take() return None."},
    {"decode_ahead", decode_ahead_method, METH_NOARGS, "The life of the thread that decodes ahead."},
    {"links", links_method, METH_NOARGS,
     "Descriptors of the sockets to the worker's other ranks, if they have come; the caller's from then on."},
    {"keep", keep_method, METH_VARARGS,
     "keep(name, fd, size): has the supervisor keep a descriptor for this worker's next lives, and for "
     "others; "
     "it stays the caller's. Nothing is said of one that is not kept."},
    {"kept", kept_method, METH_O,
     "(descriptor, size) of what is kept under that name, the caller's to close; None: nothing."},
    {"line", line_method, METH_O, "A line for standard output that may wait some milliseconds for others."},
    {"close", close_method, METH_NOARGS, "Ends that thread and writes the lines that waited."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"alone", get_alone, NULL, "True if the batch is one request that had to be computed alone.", NULL},
    {"over", get_over, NULL, "Why there is no more work, or None.", NULL},
    {"wants_thread", get_wants_thread, NULL, "True, once: start a thread with decode_ahead.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)channel_new},
    {Py_tp_dealloc, (void *)channel_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_doc, (void *)(uintptr_t)"The worker's end of the data path."},
    {0, NULL},
};

static PyType_Spec spec = {.name = "ts._sconce.Channel",
                           .basicsize = sizeof(struct sc_py_channel),
                           .flags = Py_TPFLAGS_DEFAULT,
                           .slots = slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_sconce", .m_size = -1};

__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__sconce(void);
PyMODINIT_FUNC PyInit__sconce(void)
{
    if (sc_py_convert_init() < 0)
        return NULL;
    PyObject *m = PyModule_Create(&module), *type = PyType_FromSpec(&spec);
    if (!m || !type || PyModule_AddObject(m, "Channel", type) < 0) {
        Py_XDECREF(m);
        Py_XDECREF(type);
        return NULL;
    }
    sc_py_type = (PyTypeObject *)type;
    return m;
}
