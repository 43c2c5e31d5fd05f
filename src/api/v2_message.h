/*
 * Messages of KServe's second protocol over gRPC: requests become records (proto/tensor.h), records become
 * answers. They are those of proto/grpc_predict_v2.proto, which TorchServe's package has, too. Pure; any
 * thread.
 */
#ifndef SC_API_V2_MESSAGE_H
#define SC_API_V2_MESSAGE_H

#include "api/v2_body.h"
#include <grpc_predict_v2.pb-c.h>

typedef Inference__ModelInferRequest sc_infer_request;

/*
 * Appends the inputs of a request to `block`, checked: sizes fit shapes and datatypes, and all lie in
 * raw_input_contents or none does. SC_EINVAL, SC_ELIMIT, SC_EUNSUPPORTED or SC_ENOMEM with *msg for the
 * client. *out points into the request; it is the caller's to free with sc_v2_wants_del, NULL after an error.
 */
int sc_v2_read_message(const sc_infer_request *q, struct sc_buf *block, struct sc_v2_wants **out,
                       struct sc_msg *msg) SC_MUST_USE;
/* The JSON that TorchServe makes of a request for a handler, in its order: nothing is compared with shapes,
 * elements of BYTES are in base64, and raw contents, parameters and outputs are passed over. Failures of
 * `out`. */
int sc_v2_write_torchserve(const sc_infer_request *q, struct sc_buf *out) SC_MUST_USE;
/* Appends an answer, framed: bytes in raw_output_contents if the request had its own so, or if there is no
 * other place for them (FP16, BF16). Errors as sc_v2_next; failures of `out`. */
int sc_v2_write_message(struct sc_span block, const struct sc_v2_wants *w, struct sc_span model,
                        struct sc_span version, struct sc_buf *out, struct sc_msg *msg) SC_MUST_USE;

#endif
