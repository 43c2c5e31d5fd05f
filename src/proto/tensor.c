#include "proto/tensor.h"

#include <inttypes.h>

#define HEAD 16 /* bytes of a record before its shape */

static const struct {
    const char *name;
    size_t size;
} types[SC_TYPES] = {
    [SC_TYPE_BOOL] = {"BOOL", 1},     [SC_TYPE_UINT8] = {"UINT8", 1},   [SC_TYPE_UINT16] = {"UINT16", 2},
    [SC_TYPE_UINT32] = {"UINT32", 4}, [SC_TYPE_UINT64] = {"UINT64", 8}, [SC_TYPE_INT8] = {"INT8", 1},
    [SC_TYPE_INT16] = {"INT16", 2},   [SC_TYPE_INT32] = {"INT32", 4},   [SC_TYPE_INT64] = {"INT64", 8},
    [SC_TYPE_FP16] = {"FP16", 2},     [SC_TYPE_FP32] = {"FP32", 4},     [SC_TYPE_FP64] = {"FP64", 8},
    [SC_TYPE_BF16] = {"BF16", 2},     [SC_TYPE_BYTES] = {"BYTES", 0},
};

const char *sc_datatype_name(enum sc_datatype t)
{
    return types[t].name;
}

int sc_datatype_named(struct sc_span name, enum sc_datatype *out)
{
    for (int t = 0; t < SC_TYPES; t++)
        if (sc_span_eq(name, sc_span_str(types[t].name))) {
            *out = (enum sc_datatype)t;
            return 0;
        }
    return SC_ENOTFOUND;
}

size_t sc_datatype_size(enum sc_datatype t)
{
    return types[t].size;
}

#define NAME(t) (int)SC_MIN((t)->name.n, 100u), (t)->name.p

int sc_tensor_elements(const struct sc_tensor *t, uint64_t *n, struct sc_msg *msg)
{
    uint64_t product = 1;
    bool none = false;
    for (unsigned i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0)
            return sc_fail(msg, SC_EINVAL, "tensor '%.*s': the shape has the negative size %" PRId64, NAME(t),
                           t->shape[i]);
        none |= t->shape[i] == 0;
    }
    for (unsigned i = 0; !none && i < t->rank; i++)
        if (__builtin_mul_overflow(product, (uint64_t)t->shape[i], &product) ||
            product > SC_TENSOR_ELEMENTS_MAX)
            return sc_fail(msg, SC_ELIMIT, "tensor '%.*s': the shape has more than %" PRIu64 " elements",
                           NAME(t), (uint64_t)SC_TENSOR_ELEMENTS_MAX);
    *n = none ? 0 : product;
    return 0;
}

int sc_tensor_check(const struct sc_tensor *t, struct sc_msg *msg)
{
    uint64_t n, have = 0;
    size_t at = 0, size = types[t->type].size;
    struct sc_span element;
    int rc = sc_tensor_elements(t, &n, msg);
    if (rc < 0)
        return rc;
    if (size && t->data.n != n * size)
        return sc_fail(msg, SC_EINVAL,
                       "tensor '%.*s': %zu bytes of data, but its shape and datatype %s take %" PRIu64,
                       NAME(t), t->data.n, types[t->type].name, n * size);
    if (size)
        return 0;
    while (sc_tensor_next(t->data, &at, &element))
        have++;
    if (at != t->data.n)
        return sc_fail(msg, SC_EINVAL, "tensor '%.*s': element %" PRIu64 " of its BYTES is cut off", NAME(t),
                       have);
    if (have != n)
        return sc_fail(msg, SC_EINVAL, "tensor '%.*s': %" PRIu64 " elements, but its shape has %" PRIu64,
                       NAME(t), have, n);
    return 0;
}

bool sc_tensor_next(struct sc_span data, size_t *at, struct sc_span *element)
{
    uint32_t n;
    if (data.n - *at < sizeof n)
        return false;
    memcpy(&n, data.p + *at, sizeof n);
    if (n > data.n - *at - sizeof n)
        return false;
    *element = sc_span(data.p + *at + sizeof n, n);
    *at += sizeof n + n;
    return true;
}

void sc_tensor_put_bytes(struct sc_buf *b, struct sc_span element)
{
    uint32_t n = (uint32_t)element.n; /* every body is smaller */
    sc_buf_add(b, &n, sizeof n);
    sc_buf_span(b, element);
}

/* ---- records ------------------------------------------------------------------------------------------ */

static void put_record(struct sc_buf *b, const struct sc_tensor *t, uint64_t bytes)
{
    char head[HEAD] = {(char)t->kind, (char)t->type, (char)t->rank};
    uint32_t name = (uint32_t)t->name.n;
    memcpy(head + 4, &name, sizeof name);
    memcpy(head + 8, &bytes, sizeof bytes);
    sc_buf_add(b, head, sizeof head);
    sc_buf_add(b, t->shape, t->rank * sizeof t->shape[0]);
    sc_buf_span(b, t->name);
}

void sc_tensor_put(struct sc_buf *b, const struct sc_tensor *t)
{
    put_record(b, t, t->data.n);
    sc_buf_span(b, t->data);
}

/* What a record has before its data. */
static size_t before_data(const char *head)
{
    uint32_t name;
    memcpy(&name, head + 4, sizeof name);
    return HEAD + (unsigned char)head[2] * sizeof(int64_t) + name;
}

size_t sc_tensor_begin(struct sc_buf *b, const struct sc_tensor *t)
{
    size_t at = b->n;
    put_record(b, t, 0);
    return at;
}

void sc_tensor_end(struct sc_buf *b, size_t begun)
{
    if (b->failed)
        return;
    uint64_t bytes = b->n - begun - before_data(b->p + begun);
    memcpy(b->p + begun + 8, &bytes, sizeof bytes);
}

int sc_tensor_read(struct sc_span block, size_t *at, struct sc_tensor *out)
{
    uint64_t bytes;
    size_t left = block.n - *at;
    if (left == 0)
        return 0;
    if (left < HEAD)
        return SC_EINVAL;
    const char *head = block.p + *at;
    unsigned kind = (unsigned char)head[0], type = (unsigned char)head[1], rank = (unsigned char)head[2];
    size_t before = before_data(head);
    memcpy(&bytes, head + 8, sizeof bytes);
    if (kind >= SC_TENSOR_KINDS || type >= SC_TYPES || rank > SC_TENSOR_RANK_MAX || before > left ||
        bytes > left - before)
        return SC_EINVAL;
    *out =
        (struct sc_tensor){.kind = (enum sc_tensor_kind)kind, .type = (enum sc_datatype)type, .rank = rank};
    memcpy(out->shape, head + HEAD, rank * sizeof out->shape[0]);
    size_t name = before - HEAD - rank * sizeof out->shape[0];
    out->name = sc_span(head + before - name, name);
    out->data = sc_span(head + before, (size_t)bytes);
    *at += before + (size_t)bytes;
    return 1;
}
