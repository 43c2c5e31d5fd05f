/*
 * Bodies of KServe's second protocol: requests become records (proto/tensor.h), records become answers.
 *
 * A body is JSON, or JSON of the length that Inference-Header-Content-Length tells and behind it the data of
 * the tensors that have binary_data_size, in their order. gRPC's messages: v2_message.h. Pure; any thread.
 */
#ifndef SC_API_V2_BODY_H
#define SC_API_V2_BODY_H

#include "proto/tensor.h"

/* What the client wants to get back; or what a handler's answer says beside its outputs. */
struct sc_v2_wants {
    struct sc_span id;             /* NULL pointer: none was sent */
    struct sc_span model, version; /* of an answer */
    bool binary;                   /* outputs that are not named here */
    bool as_torchserve;            /* of an answer over gRPC: see sc_v2_read_answer */
    unsigned n;                    /* 0: all outputs */
    struct {
        struct sc_span name;
        bool binary;
    } output[SC_TENSORS_MAX];
    struct sc_buf texts; /* what the spans point to */
};

/*
 * Reads a request of which the first `json` bytes are JSON. Appends its inputs to `block`, checked: sizes fit
 * shapes and datatypes. SC_EINVAL, SC_ELIMIT, SC_EUNSUPPORTED or SC_ENOMEM with *msg for the client. *out is
 * the caller's to free with sc_v2_wants_del; NULL after an error.
 */
int sc_v2_read(struct sc_span body, size_t json, struct sc_buf *block, struct sc_v2_wants **out,
               struct sc_msg *msg) SC_MUST_USE;
/*
 * The same for the JSON that a handler answers with: its outputs. As TorchServe's gRPC has it: id, names and
 * version must be there, the number of elements is not compared with the shape, elements of BYTES are the
 * JSON that stands there, and FP16 and BF16 have none.
 */
int sc_v2_read_answer(struct sc_span json, bool as_torchserve, struct sc_buf *block, struct sc_v2_wants **out,
                      struct sc_msg *msg) SC_MUST_USE;
/* NULL is fine. */
void sc_v2_wants_del(struct sc_v2_wants *w);

/* The outputs of a block in the order in which they are sent. */
struct sc_v2_walk {
    struct sc_span block, model;
    const struct sc_v2_wants *wants;
    size_t at;
    unsigned i;
};
/* The next one: 1; 0 behind the last; SC_ENOTFOUND with *msg: the model has no such output, SC_EINVAL: the
 * block is none, or the tensor is not what its shape says. */
int sc_v2_next(struct sc_v2_walk *k, struct sc_tensor *t, bool *binary, struct sc_msg *msg) SC_MUST_USE;

/* The inputs as a request without binary data, for a handler that knows JSON alone. SC_EUNSUPPORTED with
 * *msg: a datatype that JSON does not have; failures of `out`. */
int sc_v2_write_request(struct sc_span block, const struct sc_v2_wants *w, struct sc_buf *out,
                        struct sc_msg *msg) SC_MUST_USE;
/*
 * The answer: appends JSON, and behind it the data of outputs that are wanted as bytes; *json is the length
 * of the former where there are such, else 0. As sc_v2_next; SC_EUNSUPPORTED as above; failures of `out`.
 */
int sc_v2_write_answer(struct sc_span block, const struct sc_v2_wants *w, struct sc_span model,
                       struct sc_span version, struct sc_buf *out, size_t *json,
                       struct sc_msg *msg) SC_MUST_USE;

#endif
