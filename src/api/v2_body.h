/*
 * Bodies of KServe's second protocol: requests become records (proto/tensor.h), records become answers.
 *
 * A body is JSON, or JSON of the length that Inference-Header-Content-Length tells and behind it the data of
 * the tensors that have binary_data_size, in their order. Pure; any thread.
 */
#ifndef SC_API_V2_BODY_H
#define SC_API_V2_BODY_H

#include "proto/tensor.h"

/* What the client wants to get back. */
struct sc_v2_wants {
    struct sc_span id; /* NULL pointer: none was sent */
    bool binary;       /* outputs that are not named here */
    unsigned n;        /* 0: all outputs */
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
/* NULL is fine. */
void sc_v2_wants_del(struct sc_v2_wants *w);

/* The inputs as a request without binary data, for a handler that knows JSON alone. SC_EUNSUPPORTED with
 * *msg: a datatype that JSON does not have; failures of `out`. */
int sc_v2_write_request(struct sc_span block, const struct sc_v2_wants *w, struct sc_buf *out,
                        struct sc_msg *msg) SC_MUST_USE;
/*
 * The answer: appends JSON, and behind it the data of outputs that are wanted as bytes; *json is the length
 * of the former where there are such, else 0. SC_EINVAL with *msg: an output that the model does not have, or
 * a block that is none; SC_EUNSUPPORTED as above; failures of `out`.
 */
int sc_v2_write_answer(struct sc_span block, const struct sc_v2_wants *w, struct sc_span model,
                       struct sc_span version, struct sc_buf *out, size_t *json,
                       struct sc_msg *msg) SC_MUST_USE;

#endif
