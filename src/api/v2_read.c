/* Requests of KServe's second protocol, and answers of handlers. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "api/v2_body.h"
#include "proto/json_read.h"
#include "proto/json_write.h"

struct reader {
    struct sc_json_reader r;
    struct sc_span binary; /* what is left of it */
    struct sc_buf *block;
    struct sc_v2_wants *w;
    struct sc_msg *msg;
    bool answer;     /* of a handler, not a client's request */
    bool listed;     /* there is a list of outputs */
    unsigned inputs; /* or outputs of an answer */
};

/* An input, as far as it was read. */
struct input {
    struct sc_tensor t;
    bool named, typed, shaped, has_data, binary;
    uint64_t binary_bytes;
    struct sc_json_reader data; /* before its '[' */
};

static int refuse(struct reader *in, const char *what)
{
    return sc_json_refuse(&in->r, SC_EINVAL, what);
}

/* The value of the latest key, which must be a string. */
static int string(struct reader *in, struct sc_span *out, const char *what)
{
    int ev = sc_json_next(&in->r);
    if (ev < 0)
        return ev;
    if (ev != SC_JSON_STRING)
        return refuse(in, what);
    /* All are copied: the body is given up before the answer comes. There is room for them. */
    struct sc_buf *texts = &in->w->texts;
    size_t at = texts->n;
    if (sc_json_text(&in->r, texts, out) < 0)
        return sc_fail(in->msg, SC_ENOMEM, "no memory for the request");
    if (texts->n == at)
        sc_buf_span(texts, *out);
    *out = sc_span(texts->p + at, out->n);
    return 0;
}

/* "parameters": takes what fn knows of it. */
static int parameters(struct reader *in, int (*fn)(struct reader *in, void *arg), void *arg)
{
    int ev = sc_json_next(&in->r), rc;
    if (ev < 0 || ev == SC_JSON_NULL)
        return SC_MIN(ev, 0);
    if (ev != SC_JSON_OBJECT)
        return refuse(in, "parameters must be an object");
    while ((ev = sc_json_next(&in->r)) == SC_JSON_KEY)
        if ((rc = fn(in, arg)) < 0)
            return rc;
    return SC_MIN(ev, 0);
}

static int flag(struct reader *in, bool *out, const char *what)
{
    int ev = sc_json_next(&in->r);
    if (ev < 0)
        return ev;
    *out = ev == SC_JSON_TRUE;
    return *out || ev == SC_JSON_FALSE ? 0 : refuse(in, what);
}

/* ---- data ------------------------------------------------------------------------------------------- */

static bool integer(const struct sc_json_reader *r, enum sc_datatype t, int64_t *v)
{
    unsigned bits = (unsigned)sc_datatype_size(t) * 8;
    if (t == SC_TYPE_UINT64) {
        uint64_t u;
        bool fits = sc_span_u64(r->raw, UINT64_MAX, &u);
        *v = fits ? (int64_t)u : 0;
        return fits;
    }
    if (!sc_json_int64(r, v))
        return false;
    if (t >= SC_TYPE_UINT8 && t <= SC_TYPE_UINT32)
        return *v >= 0 && *v < INT64_C(1) << bits;
    return bits == 64 || (*v >= -(INT64_C(1) << (bits - 1)) && *v < INT64_C(1) << (bits - 1));
}

/* An element of BYTES is the JSON that stands there, as TorchServe's library would write it. */
static bool put_json(struct sc_json_reader *r, int ev, struct sc_buf *texts, struct sc_buf *b)
{
    size_t at = b->n;
    struct sc_span text;
    sc_tensor_put_bytes(b, SC_SPAN(""));
    texts->n = 0;
    if (ev == SC_JSON_STRING) {
        if (sc_json_text(r, texts, &text) < 0) {
            b->failed = SC_ENOMEM;
            return true;
        }
        sc_buf_char(b, '"');
        sc_json_escape(b, text);
        sc_buf_char(b, '"');
    } else if (ev == SC_JSON_NUMBER) {
        sc_buf_span(b, r->raw);
    } else if (ev == SC_JSON_TRUE || ev == SC_JSON_FALSE || ev == SC_JSON_NULL) {
        sc_buf_str(b, ev == SC_JSON_NULL ? "null" : ev == SC_JSON_TRUE ? "true" : "false");
    } else {
        return false;
    }
    if (!b->failed) {
        uint32_t n = (uint32_t)(b->n - at - sizeof n);
        memcpy(b->p + at, &n, sizeof n);
    }
    return true;
}

/* One element, the latest event; false: it is none of the type. */
static bool put_element(struct sc_json_reader *r, int ev, enum sc_datatype t, struct sc_buf *texts,
                        struct sc_buf *b)
{
    struct sc_span text;
    if (t == SC_TYPE_BYTES) {
        texts->n = 0; /* decoded for a moment */
        if (ev != SC_JSON_STRING)
            return false;
        if (sc_json_text(r, texts, &text) < 0)
            b->failed = SC_ENOMEM;
        else
            sc_tensor_put_bytes(b, text);
        return true;
    }
    if (t == SC_TYPE_BOOL) {
        sc_buf_char(b, ev == SC_JSON_TRUE);
        return ev == SC_JSON_TRUE || ev == SC_JSON_FALSE;
    }
    if (ev != SC_JSON_NUMBER)
        return false;
    if (t == SC_TYPE_FP32) {
        float f = (float)sc_json_number(r);
        sc_buf_add(b, &f, sizeof f);
        return isfinite(f);
    }
    if (t == SC_TYPE_FP64) {
        double d = sc_json_number(r);
        sc_buf_add(b, &d, sizeof d);
        return isfinite(d);
    }
    int64_t v; /* every machine we build for is little-endian: the low bytes come first */
    if (!integer(r, t, &v))
        return false;
    sc_buf_add(b, &v, sc_datatype_size(t));
    return true;
}

/* "data": the elements in any nesting, row by row. */
static int put_data(struct reader *in, struct input *i, uint64_t *n)
{
    struct sc_json_reader *r = &i->data;
    struct sc_buf decoded;
    int ev = sc_json_next(r);
    bool good = true;
    sc_buf_init(&decoded, in->r.text.n);
    *n = 0;
    for (unsigned open = ev == SC_JSON_ARRAY; good && open > 0;) {
        ev = sc_json_next(r);
        if (ev == SC_JSON_ARRAY) {
            open++;
        } else if (ev == SC_JSON_ARRAY_END) {
            open--;
        } else {
            bool json = in->w->as_torchserve && i->t.type == SC_TYPE_BYTES;
            good = ev > 0 && (json ? put_json(r, ev, &decoded, in->block)
                                   : put_element(r, ev, i->t.type, &decoded, in->block));
            ++*n;
        }
    }
    sc_buf_free(&decoded);
    if (good)
        return 0;
    return sc_fail(in->msg, SC_EINVAL,
                   "tensor '%.*s': element %" PRIu64 " of its data is no %s, or out of range",
                   (int)SC_MIN(i->t.name.n, 100u), i->t.name.p, *n - 1, sc_datatype_name(i->t.type));
}

/* ---- inputs ----------------------------------------------------------------------------------------- */

static int shape(struct reader *in, struct sc_tensor *t)
{
    int ev = sc_json_next(&in->r);
    t->rank = 0;
    if (ev >= 0 && ev != SC_JSON_ARRAY)
        return refuse(in, "shape must be a list of integers");
    while (ev >= 0 && (ev = sc_json_next(&in->r)) == SC_JSON_NUMBER) {
        if (t->rank == SC_TENSOR_RANK_MAX)
            return refuse(in, "a shape has too many sizes");
        if (!sc_json_int64(&in->r, &t->shape[t->rank++]))
            return refuse(in, "shape must be a list of integers");
    }
    return ev < 0 ? ev : ev == SC_JSON_ARRAY_END ? 0 : refuse(in, "shape must be a list of integers");
}

static int input_parameter(struct reader *in, void *arg)
{
    struct input *i = arg;
    if (sc_json_is(&in->r, SC_SPAN("shared_memory_region")))
        return refuse(in, "shared memory regions are not supported: send the data itself");
    if (!sc_json_is(&in->r, SC_SPAN("binary_data_size")))
        return sc_json_skip(&in->r);
    int ev = sc_json_next(&in->r);
    if (ev < 0)
        return ev;
    i->binary = true;
    return ev == SC_JSON_NUMBER && sc_span_u64(in->r.raw, INT64_MAX, &i->binary_bytes)
               ? 0
               : refuse(in, "binary_data_size must be a number of bytes");
}

static int input_member(struct reader *in, struct input *i)
{
    struct sc_json_reader *r = &in->r;
    struct sc_span text;
    int rc;
    if (sc_json_is(r, SC_SPAN("name"))) {
        i->named = true;
        return string(in, &i->t.name, "name must be a string");
    }
    if (sc_json_is(r, SC_SPAN("datatype"))) {
        i->typed = true;
        rc = string(in, &text, "datatype must be a string");
        return rc < 0                                    ? rc
               : sc_datatype_named(text, &i->t.type) < 0 ? refuse(in, "there is no such datatype")
                                                         : 0;
    }
    if (sc_json_is(r, SC_SPAN("shape"))) {
        i->shaped = true;
        return shape(in, &i->t);
    }
    if (sc_json_is(r, SC_SPAN("parameters")))
        return parameters(in, input_parameter, i);
    if (sc_json_is(r, SC_SPAN("data"))) {
        i->data = *r; /* read once the datatype is known */
        i->has_data = true;
        struct sc_json_reader look = *r;
        int ev = sc_json_next(&look);
        if (ev >= 0 && ev != SC_JSON_ARRAY)
            return sc_json_next(r) < 0 ? r->failed : refuse(in, "data must be a list");
    }
    return sc_json_skip(r);
}

static int add_input(struct reader *in, struct input *i)
{
    uint64_t n = 0, have;
    bool lax = in->w->as_torchserve;
    if (!i->named || !i->typed || !i->shaped)
        return refuse(in, "a tensor needs name, shape and datatype");
    if (i->binary == i->has_data)
        return refuse(in, i->binary ? "a tensor has data and binary_data_size"
                                    : "a tensor has neither data nor binary_data_size");
    if (i->t.name.n > UINT16_MAX)
        return refuse(in, "a tensor's name is too long");
    int rc = lax ? 0 : sc_tensor_elements(&i->t, &n, in->msg);
    if (rc < 0)
        return rc;
    if (i->binary) {
        if (i->binary_bytes > in->binary.n)
            return sc_fail(in->msg, SC_EINVAL,
                           "tensor '%.*s': binary_data_size is %" PRIu64
                           ", but %zu bytes are left of the body",
                           (int)SC_MIN(i->t.name.n, 100u), i->t.name.p, i->binary_bytes, in->binary.n);
        i->t.data = sc_span_sub(in->binary, 0, (size_t)i->binary_bytes);
        in->binary = sc_span_sub(in->binary, (size_t)i->binary_bytes, in->binary.n);
        rc = sc_tensor_check(&i->t, in->msg);
        if (rc == 0)
            sc_tensor_put(in->block, &i->t);
        return rc;
    }
    if (i->t.type == SC_TYPE_FP16 || i->t.type == SC_TYPE_BF16) {
        if (lax)
            sc_tensor_put(in->block, &i->t);
        return lax ? 0
                   : sc_fail(in->msg, SC_EUNSUPPORTED,
                             "tensor '%.*s': %s cannot be sent as JSON: send binary data",
                             (int)SC_MIN(i->t.name.n, 100u), i->t.name.p, sc_datatype_name(i->t.type));
    }
    size_t begun = sc_tensor_begin(in->block, &i->t);
    rc = put_data(in, i, &have);
    sc_tensor_end(in->block, begun);
    if (rc == 0 && have != n && !lax)
        rc = sc_fail(in->msg, SC_EINVAL, "tensor '%.*s': %" PRIu64 " elements, but its shape has %" PRIu64,
                     (int)SC_MIN(i->t.name.n, 100u), i->t.name.p, have, n);
    return rc;
}

/* A list of objects, each read by fn behind its '{'. */
static int list(struct reader *in, int (*fn)(struct reader *in), const char *what)
{
    int ev = sc_json_next(&in->r), rc;
    if (ev >= 0 && ev != SC_JSON_ARRAY)
        return refuse(in, what);
    while (ev >= 0 && (ev = sc_json_next(&in->r)) == SC_JSON_OBJECT)
        if ((rc = fn(in)) < 0)
            return rc;
    return ev < 0 ? ev : ev == SC_JSON_ARRAY_END ? 0 : refuse(in, what);
}

static int input(struct reader *in)
{
    struct input i = {.t.kind = in->answer ? SC_TENSOR_OUTPUT : SC_TENSOR_INPUT};
    int ev, rc;
    if (in->inputs++ == SC_TENSORS_MAX)
        return refuse(in, in->answer ? "too many outputs" : "too many inputs");
    while ((ev = sc_json_next(&in->r)) == SC_JSON_KEY)
        if ((rc = input_member(in, &i)) < 0)
            return rc;
    return ev < 0 ? ev : add_input(in, &i);
}

/* ---- outputs and the rest ----------------------------------------------------------------------------- */

struct wish {
    struct sc_span name;
    bool said, binary;
};

static int output_parameter(struct reader *in, void *arg)
{
    struct wish *o = arg;
    if (sc_json_is(&in->r, SC_SPAN("shared_memory_region")))
        return refuse(in, "shared memory regions are not supported: the answer has the data itself");
    if (sc_json_is(&in->r, SC_SPAN("classification")))
        return refuse(in, "classification is not supported: the answer has the scores");
    if (!sc_json_is(&in->r, SC_SPAN("binary_data")))
        return sc_json_skip(&in->r);
    o->said = true;
    return flag(in, &o->binary, "binary_data must be true or false");
}

static int output(struct reader *in)
{
    struct sc_v2_wants *w = in->w;
    struct wish o = {.name = {NULL, 0}};
    int ev, rc;
    if (w->n == SC_TENSORS_MAX)
        return refuse(in, "too many outputs");
    while ((ev = sc_json_next(&in->r)) == SC_JSON_KEY) {
        if (sc_json_is(&in->r, SC_SPAN("name")))
            rc = string(in, &o.name, "name must be a string");
        else if (sc_json_is(&in->r, SC_SPAN("parameters")))
            rc = parameters(in, output_parameter, &o);
        else
            rc = sc_json_skip(&in->r);
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (!o.name.p)
        return refuse(in, "an output needs a name");
    w->output[w->n].name = o.name;
    w->output[w->n].binary = o.said ? o.binary : w->binary;
    w->n++;
    return 0;
}

static int request_parameter(struct reader *in, void *arg)
{
    (void)arg;
    return sc_json_is(&in->r, SC_SPAN("binary_data_output"))
               ? flag(in, &in->w->binary, "binary_data_output must be true or false")
               : sc_json_skip(&in->r);
}

/* Of a handler's answer. */
static int answer_member(struct reader *in)
{
    const struct {
        const char *name;
        struct sc_span *to;
    } texts[] = {{"id", &in->w->id}, {"model_name", &in->w->model}, {"model_version", &in->w->version}};
    for (size_t i = 0; i < SC_COUNT(texts); i++)
        if (in->w->as_torchserve && sc_json_is(&in->r, sc_span_str(texts[i].name)))
            return string(in, texts[i].to, "id, model_name and model_version must be strings");
    if (!sc_json_is(&in->r, SC_SPAN("outputs")))
        return sc_json_skip(&in->r);
    in->listed = true;
    return list(in, input, "outputs must be a list of tensors");
}

static int member(struct reader *in)
{
    if (sc_json_is(&in->r, SC_SPAN("id")))
        return string(in, &in->w->id, "id must be a string");
    if (sc_json_is(&in->r, SC_SPAN("inputs")))
        return list(in, input, "inputs must be a list of tensors");
    if (sc_json_is(&in->r, SC_SPAN("outputs")))
        return list(in, output, "outputs must be a list of objects");
    if (sc_json_is(&in->r, SC_SPAN("parameters")))
        return parameters(in, request_parameter, NULL);
    return sc_json_skip(&in->r);
}

static int read(struct reader *in)
{
    int ev = sc_json_next(&in->r), rc = 0;
    if (ev < 0)
        return ev;
    if (ev != SC_JSON_OBJECT)
        return refuse(in, "the body must be an object");
    while (rc == 0 && (ev = sc_json_next(&in->r)) == SC_JSON_KEY)
        rc = in->answer ? answer_member(in) : member(in);
    if (rc == 0 && ev >= 0)
        ev = sc_json_next(&in->r); /* nothing may follow */
    if (rc < 0 || ev < 0)
        return rc < 0 ? rc : ev;
    if (in->answer && !in->listed)
        return sc_fail(in->msg, SC_EINVAL, "the answer has no outputs");
    if (in->w->as_torchserve && (!in->w->id.p || !in->w->model.p || !in->w->version.p))
        return sc_fail(in->msg, SC_EINVAL, "the answer needs id, model_name and model_version");
    if (!in->answer && in->inputs == 0)
        return sc_fail(in->msg, SC_EINVAL, "the request has no inputs");
    if (in->binary.n)
        return sc_fail(in->msg, SC_EINVAL, "%zu bytes of binary data belong to no input", in->binary.n);
    return 0;
}

/* As far as `in` has what is asked for; the JSON is its reader's. */
static int read_all(struct reader in, struct sc_span json, bool as_torchserve, struct sc_v2_wants **out)
{
    *out = NULL;
    in.w = calloc(1, sizeof *in.w);
    if (!in.w)
        return sc_fail(in.msg, SC_ENOMEM, "no memory for the request");
    in.w->as_torchserve = as_torchserve;
    sc_buf_init(&in.w->texts, json.n + 1);
    sc_json_read_init(&in.r, json);
    /* Room for all texts at once: none may move. */
    int rc = sc_buf_reserve(&in.w->texts, json.n + 1) < 0
                 ? sc_fail(in.msg, SC_ENOMEM, "no memory for the request")
                 : 0;
    if (rc == 0)
        rc = read(&in);
    if (rc < 0 && in.r.failed)
        sc_json_read_error(&in.r, in.msg);
    if (rc == 0 && in.block->failed)
        rc = sc_fail(in.msg, in.block->failed, "no memory for the tensors");
    if (rc < 0) {
        sc_v2_wants_del(in.w);
        return rc;
    }
    *out = in.w;
    return 0;
}

int sc_v2_read(struct sc_span body, size_t json, struct sc_buf *block, struct sc_v2_wants **out,
               struct sc_msg *msg)
{
    struct reader in = {.binary = sc_span_sub(body, json, body.n), .block = block, .msg = msg};
    return read_all(in, sc_span_sub(body, 0, json), false, out);
}

int sc_v2_read_answer(struct sc_span json, bool as_torchserve, struct sc_buf *block, struct sc_v2_wants **out,
                      struct sc_msg *msg)
{
    struct reader in = {.block = block, .msg = msg, .answer = true};
    return read_all(in, json, as_torchserve, out);
}

void sc_v2_wants_del(struct sc_v2_wants *w)
{
    if (w)
        sc_buf_free(&w->texts);
    free(w);
}
