/*
 * From a request in shared memory to the objects that a handler sees: (id, headers, row).
 *
 * Every value's bytes are copied exactly once, into the bytearray or str that the handler owns. Copies above
 * COPY_UNLOCKED leave the interpreter to other threads.
 */
#include "data_path.h"

#include <malloc.h>

#include "row.h"

#define COPY_UNLOCKED (64u << 10)
#define LARGE_BODY (128u << 10) /* glibc's threshold between heap and mmap */
#define HEAP_KEEPS (32 << 20)   /* the most that it takes for one */

static PyObject *key_body, *key_content_type;

int sc_py_convert_init(void)
{
    key_body = PyUnicode_InternFromString("body");
    key_content_type = PyUnicode_InternFromString("content-type");
    return key_body && key_content_type ? 0 : -1;
}

/* Text that the frontend made or that came as UTF-8. */
static PyObject *utf8(struct sc_span s)
{
    return PyUnicode_DecodeUTF8(s.n ? s.p : "", (Py_ssize_t)s.n, "replace");
}

/* Header bytes: one character each, as HTTP has it. */
static PyObject *latin1(struct sc_span s)
{
    return PyUnicode_DecodeLatin1(s.n ? s.p : "", (Py_ssize_t)s.n, NULL);
}

/*
 * The C library gives the memory of a large body back to the system when it is freed, and every page of the
 * next one is a fault again: a batch of megabytes costs more in faults than in copying. From the first such
 * body on it keeps what a few batches need. (mallopt(3); glibc would find such limits itself, but only for
 * single blocks.)
 */
static void keep_freed_memory(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_KEEPS);
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_KEEPS);
    (void)mallopt(M_TOP_PAD, 1 << 20);
}

static PyObject *bytes_copy(struct sc_span s)
{
    if (s.n < COPY_UNLOCKED)
        return PyByteArray_FromStringAndSize(s.n ? s.p : "", (Py_ssize_t)s.n);
    if (s.n >= LARGE_BODY)
        keep_freed_memory();
    PyObject *b = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)s.n);
    if (!b)
        return NULL;
    char *to = PyByteArray_AsString(b);
    Py_BEGIN_ALLOW_THREADS;
    memcpy(to, s.p, s.n);
    Py_END_ALLOW_THREADS;
    return b;
}

/* The value by its type. The quick ways for what is well-formed are here; everything else goes the way of
 * ts.encoding.decode, which also warns. */
static PyObject *value_of(struct sc_py_channel *c, struct sc_span s, struct sc_span type)
{
    if (!c->decode || type.n == 0)
        return bytes_copy(s);
    bool json = sc_span_eq(type, SC_SPAN("application/json"));
    if (!json && !sc_span_starts(type, SC_SPAN("text")))
        return bytes_copy(s);

    PyObject *text = PyUnicode_DecodeUTF8(s.n ? s.p : "", (Py_ssize_t)s.n, NULL);
    PyObject *value = text && json ? PyObject_CallFunctionObjArgs(c->loads, text, NULL) : NULL;
    if (text && !json)
        return text;
    Py_XDECREF(text);
    if (value)
        return value;
    if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_RecursionError))
        return NULL;
    PyErr_Clear();

    PyObject *bytes = bytes_copy(s), *name = bytes ? utf8(type) : NULL;
    if (name)
        value = PyObject_CallFunctionObjArgs(c->decode, bytes, name, NULL);
    Py_XDECREF(bytes);
    Py_XDECREF(name);
    return value;
}

/* Sets both references free. */
static int put(PyObject *dict, PyObject *key, PyObject *value)
{
    int rc = key && value ? PyDict_SetItem(dict, key, value) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return rc;
}

/* A parameter: its value in the row, its type in the headers, as TorchServe has them. */
static int add_field(struct sc_py_channel *c, PyObject *row, PyObject *headers, PyObject *name,
                     struct sc_span value, struct sc_span type)
{
    PyObject *type_dict = PyDict_New();
    int rc = type_dict && name ? 0 : -1;
    if (rc == 0) {
        Py_INCREF(key_content_type);
        rc = put(type_dict, key_content_type, utf8(type));
    }
    if (rc == 0)
        rc = PyDict_SetItem(headers, name, type_dict);
    if (rc == 0) {
        Py_INCREF(name);
        rc = put(row, name, value_of(c, value, type));
    }
    Py_XDECREF(type_dict);
    Py_XDECREF(name);
    return rc;
}

static int add_fields(struct sc_py_channel *c, const struct sc_work *w, const struct sc_row_head *head,
                      PyObject *row, PyObject *headers)
{
    struct sc_row_item item;
    size_t at = 0;
    unsigned left = head->fields;
    while (left && sc_row_next(w->meta, w->body, &at, &item)) {
        if (item.kind != SC_ROW_FIELD)
            continue;
        left--;
        if (add_field(c, row, headers, utf8(item.name), item.value, item.type) < 0)
            return -1;
    }
    if (head->form)
        return 0;
    Py_INCREF(key_body);
    return add_field(c, row, headers, key_body, w->body, head->type);
}

static int add_headers(const struct sc_work *w, const struct sc_row_head *head, PyObject *headers)
{
    struct sc_row_item item;
    size_t at = 0;
    unsigned left = head->headers;
    while (left && sc_row_next(w->meta, w->body, &at, &item)) {
        if (item.kind != SC_ROW_HEADER)
            continue;
        left--;
        /* Made of the path by the frontend, not a header that came. */
        bool ours = sc_span_eq(item.name, SC_SPAN("url_path"));
        if (put(headers, latin1(item.name), ours ? utf8(item.value) : latin1(item.value)) < 0)
            return -1;
    }
    return 0;
}

PyObject *sc_py_convert(struct sc_py_channel *c, const struct sc_work *w)
{
    struct sc_row_head head;
    const char *why;
    if (sc_row_head(w->meta, w->body.n, &head, &why) < 0) {
        PyErr_Format(PyExc_RuntimeError, "the frontend sent %s", why);
        return NULL;
    }
    PyObject *id = utf8(head.id), *headers = PyDict_New(), *row = PyDict_New(), *all = NULL;
    if (id && headers && row && add_fields(c, w, &head, row, headers) == 0 &&
        add_headers(w, &head, headers) == 0)
        all = PyTuple_Pack(3, id, headers, row);
    Py_XDECREF(id);
    Py_XDECREF(headers);
    Py_XDECREF(row);
    return all;
}
