/*
 * protobuf messages in memory that is given back as a whole (the structures are protobuf-c's, made of the
 * files in proto/). What a stranger's bytes may grow to is bounded. Any thread, one at a time.
 */
#ifndef SC_PROTO_PROTOBUF_H
#define SC_PROTO_PROTOBUF_H

#include <protobuf-c/protobuf-c.h>

#include "base/array.h"
#include "base/buf.h"

struct sc_pb_block;

/* Zero-initialise, free; may be used again then. */
struct sc_pb_arena {
    ProtobufCAllocator allocator;
    struct sc_pb_block *blocks;
    size_t used, left; /* in the latest block; of the bound */
    _Alignas(16) char first[1024];
};

/* The message that `bytes` are, in the arena; NULL: malformed, a string that is no UTF-8, or too large in
 * memory. Messages that were unpacked before stay. */
ProtobufCMessage *sc_pb_unpack(struct sc_pb_arena *a, const ProtobufCMessageDescriptor *of,
                               struct sc_span bytes) SC_MUST_USE;
/* n bytes of the arena, not zeroed, aligned for anything; NULL: there is no memory. */
void *sc_pb_take(struct sc_pb_arena *a, size_t n);
void sc_pb_free(struct sc_pb_arena *a);

/* Appends a message. Messages one behind the other are one: lists go on, and of single fields the last
 * counts. Failures are out's. */
void sc_pb_put(struct sc_buf *out, const ProtobufCMessage *m);
/* What is appended between the two calls becomes one message, as gRPC frames it. */
size_t sc_pb_begin_frame(struct sc_buf *out);
void sc_pb_end_frame(struct sc_buf *out, size_t begun);
/* Appends a message, as gRPC frames it. Failures are out's. */
void sc_pb_put_frame(struct sc_buf *out, const ProtobufCMessage *m);
static inline ProtobufCBinaryData sc_pb_bytes(struct sc_span s)
{
    return (ProtobufCBinaryData){.len = s.n, .data = (uint8_t *)(uintptr_t)s.p};
}
static inline struct sc_span sc_pb_span(ProtobufCBinaryData d)
{
    return sc_span(d.data, d.len);
}

#endif
