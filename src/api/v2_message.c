#include "api/v2_message.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "proto/json_write.h"
#include "proto/protobuf.h"

typedef Inference__InferTensorContents contents_type;
typedef Inference__ModelInferRequest__InferInputTensor input_type;
typedef Inference__ModelInferResponse__InferOutputTensor output_type;
typedef Inference__ModelInferResponse response_type;

#define NAME(t) (int)SC_MIN((t).name.n, 100u), (t).name.p

/* Where a message has the elements of a datatype, and how many bytes it takes for one; 0: nowhere. */
#define FIELD(name, type) {offsetof(contents_type, n_##name), offsetof(contents_type, name), sizeof(type)}
static const struct {
    size_t count, items, size;
} fields[SC_TYPES] = {
    [SC_TYPE_BOOL] = FIELD(bool_contents, protobuf_c_boolean),
    [SC_TYPE_UINT8] = FIELD(uint_contents, uint32_t),
    [SC_TYPE_UINT16] = FIELD(uint_contents, uint32_t),
    [SC_TYPE_UINT32] = FIELD(uint_contents, uint32_t),
    [SC_TYPE_UINT64] = FIELD(uint64_contents, uint64_t),
    [SC_TYPE_INT8] = FIELD(int_contents, int32_t),
    [SC_TYPE_INT16] = FIELD(int_contents, int32_t),
    [SC_TYPE_INT32] = FIELD(int_contents, int32_t),
    [SC_TYPE_INT64] = FIELD(int64_contents, int64_t),
    [SC_TYPE_FP32] = FIELD(fp32_contents, float),
    [SC_TYPE_FP64] = FIELD(fp64_contents, double),
    [SC_TYPE_BYTES] = FIELD(bytes_contents, ProtobufCBinaryData),
};

/* The elements that a message has of a datatype. */
static const char *elements(const contents_type *c, enum sc_datatype t, size_t *n)
{
    *n = 0;
    if (!c || !fields[t].size)
        return NULL;
    *n = *(const size_t *)(const void *)((const char *)c + fields[t].count);
    return *(const char *const *)(const void *)((const char *)c + fields[t].items);
}

/* ---- requests ----------------------------------------------------------------------------------------- */

/* An element of a datatype that is narrower than its place in the message; false: it does not fit. */
static bool put_narrow(enum sc_datatype t, const char *item, struct sc_buf *block)
{
    unsigned bits = (unsigned)sc_datatype_size(t) * 8;
    int64_t v, low = 0, high = (INT64_C(1) << bits) - 1;
    if (t == SC_TYPE_BOOL) {
        high = 1;
        v = *(const protobuf_c_boolean *)(const void *)item != 0;
    } else if (t == SC_TYPE_UINT8 || t == SC_TYPE_UINT16) {
        v = *(const uint32_t *)(const void *)item;
    } else {
        v = *(const int32_t *)(const void *)item;
        high >>= 1;
        low = -high - 1;
    }
    sc_buf_add(block, &v, bits / 8); /* every machine we build for is little-endian */
    return v >= low && v <= high;
}

static int put_contents(const struct sc_tensor *t, const contents_type *c, struct sc_buf *block,
                        struct sc_msg *msg)
{
    size_t n, size = fields[t->type].size;
    uint64_t wanted;
    const char *items = elements(c, t->type, &n);
    int rc = sc_tensor_elements(t, &wanted, msg);
    if (rc < 0)
        return rc;
    if (!size)
        return sc_fail(msg, SC_EUNSUPPORTED, "tensor '%.*s': %s has no place but raw_input_contents",
                       NAME(*t), sc_datatype_name(t->type));
    if (n != wanted)
        return sc_fail(msg, SC_EINVAL, "tensor '%.*s': %zu elements of %s, but its shape has %" PRIu64,
                       NAME(*t), n, sc_datatype_name(t->type), wanted);
    size_t begun = sc_tensor_begin(block, t);
    if (size == sc_datatype_size(t->type))
        sc_buf_add(block, items, n * size);
    else
        for (size_t i = 0; i < n; i++) {
            if (t->type == SC_TYPE_BYTES)
                sc_tensor_put_bytes(
                    block, sc_pb_span(*(const ProtobufCBinaryData *)(const void *)(items + i * size)));
            else if (!put_narrow(t->type, items + i * size, block))
                return sc_fail(msg, SC_EINVAL, "tensor '%.*s': element %zu of its contents is no %s",
                               NAME(*t), i, sc_datatype_name(t->type));
        }
    sc_tensor_end(block, begun);
    return 0;
}

/* True if the parameters of a tensor have one of that name. */
#define HAS(tensor, name, found)                                            \
    do {                                                                    \
        *(found) = false;                                                   \
        for (size_t k_ = 0; k_ < (tensor)->n_parameters; k_++)              \
            *(found) |= strcmp((tensor)->parameters[k_]->key, (name)) == 0; \
    } while (0)

static int put_input(const sc_infer_request *q, size_t i, struct sc_buf *block, struct sc_msg *msg)
{
    const input_type *in = q->inputs[i];
    struct sc_tensor t = {
        .kind = SC_TENSOR_INPUT, .rank = (unsigned)in->n_shape, .name = sc_span_str(in->name)};
    bool shared;
    HAS(in, "shared_memory_region", &shared);
    if (shared)
        return sc_fail(msg, SC_EUNSUPPORTED, "shared memory regions are not supported: send the data itself");
    if (!*in->name || t.name.n > UINT16_MAX)
        return sc_fail(msg, SC_EINVAL, *in->name ? "a tensor's name is too long" : "a tensor needs a name");
    if (sc_datatype_named(sc_span_str(in->datatype), &t.type) < 0)
        return sc_fail(msg, SC_EINVAL, "tensor '%.*s': there is no datatype '%.100s'", NAME(t), in->datatype);
    if (in->n_shape > SC_TENSOR_RANK_MAX)
        return sc_fail(msg, SC_EINVAL, "tensor '%.*s': a shape has too many sizes", NAME(t));
    if (in->n_shape)
        memcpy(t.shape, in->shape, in->n_shape * sizeof t.shape[0]);
    if (!q->n_raw_input_contents)
        return put_contents(&t, in->contents, block, msg);
    if (in->contents)
        return sc_fail(msg, SC_EINVAL, "tensor '%.*s' has contents, and the request has raw_input_contents",
                       NAME(t));
    t.data = sc_pb_span(q->raw_input_contents[i]);
    int rc = sc_tensor_check(&t, msg);
    if (rc == 0)
        sc_tensor_put(block, &t);
    return rc;
}

static int want_output(const Inference__ModelInferRequest__InferRequestedOutputTensor *o,
                       struct sc_v2_wants *w, struct sc_msg *msg)
{
    bool shared, classes;
    HAS(o, "shared_memory_region", &shared);
    HAS(o, "classification", &classes);
    if (shared || classes)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       shared ? "shared memory regions are not supported: the answer has the data itself"
                              : "classification is not supported: the answer has the scores");
    if (!*o->name)
        return sc_fail(msg, SC_EINVAL, "an output needs a name");
    w->output[w->n].name = sc_span_str(o->name);
    w->output[w->n++].binary = w->binary;
    return 0;
}

static int read_request(const sc_infer_request *q, struct sc_buf *block, struct sc_v2_wants *w,
                        struct sc_msg *msg)
{
    int rc = 0;
    w->binary = q->n_raw_input_contents > 0;
    w->id = *q->id ? sc_span_str(q->id) : sc_span(NULL, 0);
    if (q->n_inputs == 0)
        return sc_fail(msg, SC_EINVAL, "the request has no inputs");
    if (q->n_inputs > SC_TENSORS_MAX || q->n_outputs > SC_TENSORS_MAX)
        return sc_fail(msg, SC_ELIMIT, "too many %s", q->n_inputs > SC_TENSORS_MAX ? "inputs" : "outputs");
    if (w->binary && q->n_raw_input_contents != q->n_inputs)
        return sc_fail(msg, SC_EINVAL, "%zu inputs, but %zu raw_input_contents", q->n_inputs,
                       q->n_raw_input_contents);
    for (size_t i = 0; rc == 0 && i < q->n_inputs; i++)
        rc = put_input(q, i, block, msg);
    for (size_t i = 0; rc == 0 && i < q->n_outputs; i++)
        rc = want_output(q->outputs[i], w, msg);
    if (rc == 0 && block->failed)
        rc = sc_fail(msg, SC_ENOMEM, "no memory for the tensors");
    return rc;
}

int sc_v2_read_message(const sc_infer_request *q, struct sc_buf *block, struct sc_v2_wants **out,
                       struct sc_msg *msg)
{
    struct sc_v2_wants *w = *out = calloc(1, sizeof *w);
    if (!w)
        return sc_fail(msg, SC_ENOMEM, "no memory for the request");
    int rc = read_request(q, block, w, msg);
    if (rc < 0) {
        sc_v2_wants_del(w);
        *out = NULL;
    }
    return rc;
}

/* ---- as TorchServe has it for handlers ---------------------------------------------------------------- */

static void put_base64(struct sc_json_writer *w, ProtobufCBinaryData data)
{
    struct sc_buf text;
    sc_buf_init(&text, SIZE_MAX / 2);
    if (data.len < INT32_MAX && sc_buf_reserve(&text, data.len / 3 * 4 + 5) == 0)
        text.n = (size_t)EVP_EncodeBlock((unsigned char *)text.p, data.data, (int)data.len);
    else
        w->out->failed = SC_ENOMEM;
    sc_json_string(w, sc_buf_view(&text));
    sc_buf_free(&text);
}

static void put_item(struct sc_json_writer *w, enum sc_datatype t, const void *item)
{
    switch (t) {
    case SC_TYPE_BOOL: sc_json_bool(w, *(const protobuf_c_boolean *)item); break;
    case SC_TYPE_INT8:
    case SC_TYPE_INT16:
    case SC_TYPE_INT32: sc_json_int(w, *(const int32_t *)item); break;
    case SC_TYPE_INT64: sc_json_int(w, *(const int64_t *)item); break;
    case SC_TYPE_UINT8:
    case SC_TYPE_UINT16:
    case SC_TYPE_UINT32: sc_json_uint(w, *(const uint32_t *)item); break;
    case SC_TYPE_UINT64: sc_json_uint(w, *(const uint64_t *)item); break;
    case SC_TYPE_FP32: sc_json_float(w, *(const float *)item); break;
    case SC_TYPE_FP64: sc_json_double(w, *(const double *)item); break;
    case SC_TYPE_BYTES: put_base64(w, *(const ProtobufCBinaryData *)item); break;
    case SC_TYPE_FP16:
    case SC_TYPE_BF16:
    case SC_TYPES: break; /* not here */
    }
}

static void put_torchserve(struct sc_json_writer *w, const input_type *in)
{
    enum sc_datatype t;
    size_t n;
    sc_json_begin_object(w);
    sc_json_key(w, "shape");
    sc_json_begin_array(w);
    for (size_t i = 0; i < in->n_shape; i++)
        sc_json_int(w, in->shape[i]);
    sc_json_end_array(w);
    if (sc_datatype_named(sc_span_str(in->datatype), &t) == 0 && fields[t].size) {
        const char *items = elements(in->contents, t, &n);
        sc_json_key(w, "data");
        sc_json_begin_array(w);
        for (size_t i = 0; i < n; i++)
            put_item(w, t, items + i * fields[t].size);
        sc_json_end_array(w);
    }
    sc_json_put_str(w, "datatype", in->datatype);
    sc_json_put_str(w, "name", in->name);
    sc_json_end_object(w);
}

int sc_v2_write_torchserve(const sc_infer_request *q, struct sc_buf *out)
{
    struct sc_json_writer w;
    sc_json_write_init(&w, out, true);
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "model_name", q->model_name);
    sc_json_key(&w, "inputs");
    sc_json_begin_array(&w);
    for (size_t i = 0; i < q->n_inputs; i++)
        put_torchserve(&w, q->inputs[i]);
    sc_json_end_array(&w);
    sc_json_put_str(&w, "id", q->id);
    sc_json_end_object(&w);
    return sc_json_write_finish(&w);
}

/* ---- answers ------------------------------------------------------------------------------------------ */

/* The elements of t as a message has them, for free(); NULL: there is no memory. */
static char *widen(const struct sc_tensor *t, size_t *n)
{
    size_t at = 0, size = sc_datatype_size(t->type), wide = fields[t->type].size;
    struct sc_span element;
    *n = size ? t->data.n / size : 0;
    if (!size)
        while (sc_tensor_next(t->data, &at, &element))
            ++*n;
    char *items = calloc(*n + 1, wide);
    at = 0;
    for (size_t i = 0; items && i < *n; i++) {
        char *item = items + i * wide;
        if (!size) {
            (void)sc_tensor_next(t->data, &at, &element);
            *(ProtobufCBinaryData *)(void *)item = sc_pb_bytes(element);
            continue;
        }
        memcpy(item, t->data.p + i * size, size);
        if (t->type == SC_TYPE_INT8 && *item < 0)
            memset(item + 1, 0xff, wide - 1);
        if (t->type == SC_TYPE_INT16 && item[1] < 0)
            memset(item + 2, 0xff, wide - 2);
    }
    return items;
}

static char *text_of(struct sc_span s, struct sc_buf *out)
{
    char *text = sc_span_dup(s);
    if (!text)
        out->failed = SC_ENOMEM;
    return text;
}

/* Messages of one output each: together they are one of them all. */
static void put_output(struct sc_buf *out, const struct sc_tensor *t, bool raw)
{
    contents_type contents = INFERENCE__INFER_TENSOR_CONTENTS__INIT;
    output_type o = INFERENCE__MODEL_INFER_RESPONSE__INFER_OUTPUT_TENSOR__INIT, *list = &o;
    response_type r = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    ProtobufCBinaryData bytes = sc_pb_bytes(t->data);
    int64_t shape[SC_TENSOR_RANK_MAX];
    char *items = NULL;
    size_t n = 0;
    memcpy(shape, t->shape, sizeof shape);
    o.name = text_of(t->name, out);
    o.datatype = (char *)(uintptr_t)sc_datatype_name(t->type);
    o.shape = shape;
    o.n_shape = t->rank;
    r.outputs = &list;
    r.n_outputs = 1;
    if (raw) {
        r.raw_output_contents = &bytes;
        r.n_raw_output_contents = 1;
    } else {
        o.contents = &contents;
        if (fields[t->type].size && !(items = widen(t, &n)))
            out->failed = SC_ENOMEM;
        if (items) {
            memcpy((char *)&contents + fields[t->type].count, &n, sizeof n);
            memcpy((char *)&contents + fields[t->type].items, &items, sizeof items);
        }
    }
    sc_pb_put(out, &r.base);
    free(items);
    free(o.name);
}

int sc_v2_write_message(struct sc_span block, const struct sc_v2_wants *w, struct sc_span model,
                        struct sc_span version, struct sc_buf *out, struct sc_msg *msg)
{
    struct sc_v2_walk first = {.block = block, .model = model, .wants = w}, again = first;
    response_type r = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    struct sc_tensor t;
    bool binary, raw = w->binary;
    int rc;
    while ((rc = sc_v2_next(&first, &t, &binary, msg)) == 1)
        raw |= !fields[t.type].size && t.data.n;
    if (rc < 0)
        return rc;
    size_t begun = sc_pb_begin_frame(out);
    char *const texts[] = {text_of(model, out), text_of(version, out), text_of(w->id, out)};
    r.model_name = texts[0];
    r.model_version = texts[1];
    r.id = texts[2];
    sc_pb_put(out, &r.base);
    while ((rc = sc_v2_next(&again, &t, &binary, msg)) == 1)
        put_output(out, &t, raw);
    sc_pb_end_frame(out, begun);
    for (size_t i = 0; i < SC_COUNT(texts); i++)
        free(texts[i]);
    return rc == 0 && out->failed ? sc_fail(msg, out->failed, "the answer is too large") : rc;
}
