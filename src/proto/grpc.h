/*
 * gRPC on the wire, below its messages: frames, compression, codes, time-outs, status texts (gRPC over
 * HTTP/2, "Requests" and "Responses"). No I/O; any thread.
 */
#ifndef SC_PROTO_GRPC_H
#define SC_PROTO_GRPC_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

enum sc_grpc_code {
    SC_GRPC_OK,
    SC_GRPC_CANCELLED,
    SC_GRPC_UNKNOWN,
    SC_GRPC_INVALID_ARGUMENT,
    SC_GRPC_DEADLINE_EXCEEDED,
    SC_GRPC_NOT_FOUND,
    SC_GRPC_ALREADY_EXISTS,
    SC_GRPC_PERMISSION_DENIED,
    SC_GRPC_RESOURCE_EXHAUSTED,
    SC_GRPC_FAILED_PRECONDITION,
    SC_GRPC_ABORTED,
    SC_GRPC_OUT_OF_RANGE,
    SC_GRPC_UNIMPLEMENTED,
    SC_GRPC_INTERNAL,
    SC_GRPC_UNAVAILABLE,
    SC_GRPC_DATA_LOSS,
    SC_GRPC_UNAUTHENTICATED
};

/* The code that TorchServe gives for an HTTP status that a worker reports. */
enum sc_grpc_code sc_grpc_code_of_http(int status);
/* A grpc-timeout: one to eight digits and a unit; what is longer than decades is decades. SC_EINVAL for
 * anything else. */
int sc_grpc_timeout(struct sc_span value, int64_t *ns) SC_MUST_USE;
/* Appends a text as grpc-message carries it: percent-encoded. */
void sc_grpc_put_text(struct sc_buf *out, struct sc_span text);

enum sc_grpc_coding { SC_GRPC_IDENTITY, SC_GRPC_GZIP, SC_GRPC_DEFLATE };
/* A grpc-encoding; a NULL pointer is identity. SC_EUNSUPPORTED. */
int sc_grpc_coding(struct sc_span name, enum sc_grpc_coding *out) SC_MUST_USE;
#define SC_GRPC_CODINGS "identity,deflate,gzip"

#define SC_GRPC_HEAD 5
/* What stands before a message of n bytes that is not compressed. */
void sc_grpc_head(char out[SC_GRPC_HEAD], size_t n);

/* Takes messages out of a stream's bytes, however these are cut. */
struct sc_grpc_reader {
    size_t max; /* bytes of a message, before and after decompression */
    enum sc_grpc_coding coding;
    struct sc_buf held; /* the frame that has begun */
    struct sc_buf plain;
    bool taken;          /* held was given out */
    const char *problem; /* after an error: what is wrong */
};

void sc_grpc_reader_init(struct sc_grpc_reader *r, enum sc_grpc_coding coding, size_t max);
void sc_grpc_reader_free(struct sc_grpc_reader *r);
/*
 * The next message, which is valid until the next call (or as long as the bytes of *in); *in moves behind
 * what was read. 1, or 0 when there is none yet and all of *in was read. SC_ELIMIT: larger than max.
 * SC_EINVAL: a malformed frame, or one that cannot be decompressed. SC_ENOMEM. After an error the stream is
 * over.
 */
int sc_grpc_read(struct sc_grpc_reader *r, struct sc_span *in, struct sc_span *message) SC_MUST_USE;
/* True between two messages: the stream may end here. */
bool sc_grpc_reader_idle(const struct sc_grpc_reader *r);

#endif
