/* Answers of KServe's second protocol, and requests for handlers that know JSON alone. */
#include "api/v2_body.h"
#include "proto/json_write.h"

static void put_element(struct sc_json_writer *w, enum sc_datatype t, const char *p)
{
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
    } v;
    memcpy(&v, p, sc_datatype_size(t));
    switch (t) {
    case SC_TYPE_BOOL: sc_json_bool(w, v.u8 != 0); break;
    case SC_TYPE_UINT8: sc_json_uint(w, v.u8); break;
    case SC_TYPE_UINT16: sc_json_uint(w, v.u16); break;
    case SC_TYPE_UINT32: sc_json_uint(w, v.u32); break;
    case SC_TYPE_UINT64: sc_json_uint(w, v.u64); break;
    case SC_TYPE_INT8: sc_json_int(w, v.i8); break;
    case SC_TYPE_INT16: sc_json_int(w, v.i16); break;
    case SC_TYPE_INT32: sc_json_int(w, v.i32); break;
    case SC_TYPE_INT64: sc_json_int(w, v.i64); break;
    case SC_TYPE_FP32: sc_json_float(w, v.f32); break;
    case SC_TYPE_FP64: sc_json_double(w, v.f64); break;
    case SC_TYPE_FP16:
    case SC_TYPE_BF16:
    case SC_TYPE_BYTES:
    case SC_TYPES: break; /* not here */
    }
}

static int put_data(struct sc_json_writer *w, const struct sc_tensor *t, struct sc_msg *msg)
{
    size_t size = sc_datatype_size(t->type), at = 0;
    struct sc_span element;
    if (t->type == SC_TYPE_FP16 || t->type == SC_TYPE_BF16)
        return sc_fail(msg, SC_EUNSUPPORTED, "tensor '%.*s': %s cannot be sent as JSON: ask for binary data",
                       (int)SC_MIN(t->name.n, 100u), t->name.p, sc_datatype_name(t->type));
    sc_json_key(w, "data");
    sc_json_begin_array(w);
    if (size)
        for (; at < t->data.n; at += size)
            put_element(w, t->type, t->data.p + at);
    else
        while (sc_tensor_next(t->data, &at, &element))
            sc_json_string(w, element);
    sc_json_end_array(w);
    return 0;
}

static int put_tensor(struct sc_json_writer *w, const struct sc_tensor *t, bool binary, struct sc_msg *msg)
{
    int rc = 0;
    sc_json_begin_object(w);
    sc_json_put_string(w, "name", t->name);
    sc_json_put_str(w, "datatype", sc_datatype_name(t->type));
    sc_json_key(w, "shape");
    sc_json_begin_array(w);
    for (unsigned i = 0; i < t->rank; i++)
        sc_json_int(w, t->shape[i]);
    sc_json_end_array(w);
    if (binary) {
        sc_json_key(w, "parameters");
        sc_json_begin_object(w);
        sc_json_put_int(w, "binary_data_size", (int64_t)t->data.n);
        sc_json_end_object(w);
    } else {
        rc = put_data(w, t, msg);
    }
    sc_json_end_object(w);
    return rc;
}

static void begin(struct sc_json_writer *w, const struct sc_v2_wants *wants, struct sc_buf *out)
{
    sc_json_write_init(w, out, true);
    sc_json_begin_object(w);
    if (wants->id.p)
        sc_json_put_string(w, "id", wants->id);
}

static int end(struct sc_json_writer *w)
{
    sc_json_end_array(w);
    sc_json_end_object(w);
    return sc_json_write_finish(w);
}

int sc_v2_write_request(struct sc_span block, const struct sc_v2_wants *wants, struct sc_buf *out,
                        struct sc_msg *msg)
{
    struct sc_json_writer w;
    struct sc_tensor t;
    size_t at = 0;
    int rc;
    begin(&w, wants, out);
    sc_json_key(&w, "inputs");
    sc_json_begin_array(&w);
    while ((rc = sc_tensor_read(block, &at, &t)) == 1)
        if ((rc = put_tensor(&w, &t, false, msg)) < 0)
            return rc;
    int written = end(&w);
    return written < 0 ? sc_fail(msg, written, "no memory for the request") : rc;
}

/* ---- answers ------------------------------------------------------------------------------------------ */

static int find(struct sc_span block, struct sc_span name, struct sc_tensor *t, struct sc_span model,
                struct sc_msg *msg)
{
    size_t at = 0;
    while (sc_tensor_read(block, &at, t) == 1)
        if (sc_span_eq(t->name, name))
            return 0;
    return sc_fail(msg, SC_ENOTFOUND, "unexpected inference output '%.*s' for model '%.*s'",
                   (int)SC_MIN(name.n, 100u), name.p, (int)SC_MIN(model.n, 255u), model.p);
}

static int select_next(struct sc_v2_walk *k, struct sc_tensor *t, bool *binary, struct sc_msg *msg)
{
    if (k->wants->n == 0) {
        *binary = k->wants->binary;
        int rc = sc_tensor_read(k->block, &k->at, t);
        return rc < 0 ? sc_fail(msg, rc, "the model's answer is malformed") : rc;
    }
    if (k->i == k->wants->n)
        return 0;
    *binary = k->wants->output[k->i].binary;
    int rc = find(k->block, k->wants->output[k->i++].name, t, k->model, msg);
    return rc < 0 ? rc : 1;
}

int sc_v2_next(struct sc_v2_walk *k, struct sc_tensor *t, bool *binary, struct sc_msg *msg)
{
    int rc = select_next(k, t, binary, msg);
    if (rc == 1 && !k->wants->as_torchserve) {
        int good = sc_tensor_check(t, msg);
        rc = good < 0 ? SC_EINVAL : 1;
    }
    return rc;
}

int sc_v2_write_answer(struct sc_span block, const struct sc_v2_wants *wants, struct sc_span model,
                       struct sc_span version, struct sc_buf *out, size_t *json, struct sc_msg *msg)
{
    struct sc_v2_walk first = {.block = block, .model = model, .wants = wants}, again = first;
    struct sc_json_writer w;
    struct sc_tensor t;
    bool binary, any = false;
    int rc;
    *json = 0;
    begin(&w, wants, out);
    sc_json_put_string(&w, "model_name", model);
    sc_json_put_string(&w, "model_version", version);
    sc_json_key(&w, "outputs");
    sc_json_begin_array(&w);
    while ((rc = sc_v2_next(&first, &t, &binary, msg)) == 1) {
        if ((rc = put_tensor(&w, &t, binary, msg)) < 0)
            return rc;
        any |= binary;
    }
    int written = end(&w);
    if (rc < 0)
        return rc;
    if (written < 0)
        return sc_fail(msg, written, "the answer is too large");
    if (any)
        *json = out->n;
    while (any && (rc = sc_v2_next(&again, &t, &binary, msg)) == 1)
        if (binary)
            sc_buf_span(out, t.data);
    if (rc == 0 && out->failed)
        rc = sc_fail(msg, out->failed, "the answer is too large");
    return rc;
}
