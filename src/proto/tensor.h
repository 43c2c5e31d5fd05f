/*
 * Tensors of the open inference protocol (KServe v2): datatypes, shapes, and the block in which native
 * backends take and give them (include/sconce/backend.h, interfaces kserve/…). REST and gRPC both end here.
 *
 * A block is any number of records, one behind the other, little-endian, nothing aligned:
 *
 *   u8 kind   u8 datatype   u8 rank   u8 0   u32 bytes of the name   u64 bytes of the data
 *   i64 shape[rank]   name   data
 *
 * Data is as the protocol's binary extension has it: row-major, little-endian; BOOL a byte 0 or 1; BYTES a
 * u32 length before each element. No I/O, no allocation but the buffer's; any thread.
 */
#ifndef SC_PROTO_TENSOR_H
#define SC_PROTO_TENSOR_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"

enum sc_datatype {
    SC_TYPE_BOOL,
    SC_TYPE_UINT8,
    SC_TYPE_UINT16,
    SC_TYPE_UINT32,
    SC_TYPE_UINT64,
    SC_TYPE_INT8,
    SC_TYPE_INT16,
    SC_TYPE_INT32,
    SC_TYPE_INT64,
    SC_TYPE_FP16,
    SC_TYPE_FP32,
    SC_TYPE_FP64,
    SC_TYPE_BF16,
    SC_TYPE_BYTES,
    SC_TYPES
};

enum sc_tensor_kind { SC_TENSOR_INPUT, SC_TENSOR_OUTPUT, SC_TENSOR_KINDS };

/* Spans are borrowed. */
struct sc_tensor {
    enum sc_tensor_kind kind;
    enum sc_datatype type;
    unsigned rank;
    int64_t shape[SC_TENSOR_RANK_MAX]; /* -1 in a model's metadata: any size */
    struct sc_span name;
    struct sc_span data; /* empty in a model's metadata */
};

/* "FP32" */
const char *sc_datatype_name(enum sc_datatype t);
/* SC_ENOTFOUND if there is no such. */
int sc_datatype_named(struct sc_span name, enum sc_datatype *out) SC_MUST_USE;
/* Bytes of an element; 0 for BYTES, whose elements differ. */
size_t sc_datatype_size(enum sc_datatype t);

/* Elements by the shape; of rank 0 one. SC_EINVAL with *msg: a negative size; SC_ELIMIT: more than
 * SC_TENSOR_ELEMENTS_MAX, or too many to count. */
int sc_tensor_elements(const struct sc_tensor *t, uint64_t *n, struct sc_msg *msg) SC_MUST_USE;
/* The data has just the bytes that type and shape say. Errors as above; SC_EINVAL: it has not. */
int sc_tensor_check(const struct sc_tensor *t, struct sc_msg *msg) SC_MUST_USE;
/* The elements of BYTES, one after the other: start with *at = 0; false at the end and at what is cut off. */
bool sc_tensor_next(struct sc_span data, size_t *at, struct sc_span *element);
/* Appends an element of BYTES. */
void sc_tensor_put_bytes(struct sc_buf *b, struct sc_span element);

/* Appends a record; failures are b's. */
void sc_tensor_put(struct sc_buf *b, const struct sc_tensor *t);
/* The same in two steps: begin (t->data is not looked at), append the data, end with what begin returned. */
size_t sc_tensor_begin(struct sc_buf *b, const struct sc_tensor *t);
void sc_tensor_end(struct sc_buf *b, size_t begun);
/* The record at *at, which moves behind it: 1; 0 at the end; SC_EINVAL for what is no record. The data is not
 * checked against the shape. */
int sc_tensor_read(struct sc_span block, size_t *at, struct sc_tensor *out) SC_MUST_USE;

#endif
