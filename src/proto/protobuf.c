#include "proto/protobuf.h"

#include <stdlib.h>

#include "base/limits.h"
#include "proto/grpc.h"

struct sc_pb_block {
    struct sc_pb_block *next;
    size_t size, pad;
    char data[];
};

void *sc_pb_take(struct sc_pb_arena *a, size_t n)
{
    if (n > SIZE_MAX / 4)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    size_t size = a->blocks ? a->blocks->size : sizeof a->first;
    char *data = a->blocks ? a->blocks->data : a->first;
    if (n > size - a->used) {
        size = SC_MAX(n, SC_MIN(2 * size, (size_t)1 << 20));
        struct sc_pb_block *b = malloc(sizeof *b + size);
        if (!b)
            return NULL;
        *b = (struct sc_pb_block){.next = a->blocks, .size = size};
        a->blocks = b;
        a->used = 0;
        data = b->data;
    }
    a->used += n;
    return data + a->used - n;
}

static void *bounded(void *ctx, size_t n)
{
    struct sc_pb_arena *a = ctx;
    if (n > a->left)
        return NULL;
    a->left -= n;
    return sc_pb_take(a, n);
}

/* All at once, with the arena. */
static void nothing(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

ProtobufCMessage *sc_pb_unpack(struct sc_pb_arena *a, const ProtobufCMessageDescriptor *of,
                               struct sc_span bytes)
{
    a->allocator = (ProtobufCAllocator){.alloc = bounded, .free = nothing, .allocator_data = a};
    a->left = SC_PROTOBUF_FREE + bytes.n * SC_PROTOBUF_RATIO_MAX;
    return protobuf_c_message_unpack(of, &a->allocator, bytes.n, (const uint8_t *)bytes.p);
}

void sc_pb_free(struct sc_pb_arena *a)
{
    while (a->blocks) {
        struct sc_pb_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    a->used = 0;
}

void sc_pb_put_frame(struct sc_buf *out, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    char head[SC_GRPC_HEAD];
    if (n > UINT32_MAX) {
        out->failed = SC_ELIMIT;
        return;
    }
    if (sc_buf_reserve(out, sizeof head + n) < 0)
        return;
    sc_grpc_head(head, n);
    sc_buf_add(out, head, sizeof head);
    out->n += protobuf_c_message_pack(m, (uint8_t *)out->p + out->n);
}
