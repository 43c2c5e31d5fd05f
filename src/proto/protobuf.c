#include "proto/protobuf.h"

#include <stdlib.h>

#include "base/limits.h"
#include "proto/grpc.h"

#define DEPTH 8 /* of messages in messages */

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

/* ---- what protobuf-c leaves to its caller: strings are UTF-8, no field has the number 0 ---------------- */

static bool good_text(const char *s)
{
    return !s || sc_utf8_valid(sc_span_str(s));
}

/* How many values a field has, and where they begin. */
static size_t values(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const void *const **first)
{
    const char *base = (const char *)m, *quantifier = base + f->quantifier_offset;
    const void *member = base + f->offset;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        *first = *(const void *const *const *)member;
        return *(const size_t *)(const void *)quantifier;
    }
    *first = member;
    return !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(const uint32_t *)(const void *)quantifier == f->id;
}

/* None of the messages that we take contains itself: the descriptors bound the depth, not the bytes. */
static bool good(const ProtobufCMessage *m, unsigned depth)
{
    for (unsigned i = 0; m && i < m->n_unknown_fields; i++)
        if (m->unknown_fields[i].tag == 0)
            return false;
    for (unsigned i = 0; m && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const void *const *each;
        if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (depth == 0)
            return false;
        for (size_t n = values(m, f, &each), k = 0; k < n; k++)
            if (f->type == PROTOBUF_C_TYPE_STRING ? !good_text(each[k]) : !good(each[k], depth - 1))
                return false;
    }
    return true;
}

ProtobufCMessage *sc_pb_unpack(struct sc_pb_arena *a, const ProtobufCMessageDescriptor *of,
                               struct sc_span bytes)
{
    a->allocator = (ProtobufCAllocator){.alloc = bounded, .free = nothing, .allocator_data = a};
    a->left = SC_PROTOBUF_FREE + bytes.n * SC_PROTOBUF_RATIO_MAX;
    ProtobufCMessage *m = protobuf_c_message_unpack(of, &a->allocator, bytes.n, (const uint8_t *)bytes.p);
    return good(m, DEPTH) ? m : NULL;
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

void sc_pb_put(struct sc_buf *out, const ProtobufCMessage *m)
{
    if (sc_buf_reserve(out, protobuf_c_message_get_packed_size(m)) == 0)
        out->n += protobuf_c_message_pack(m, (uint8_t *)out->p + out->n);
}

size_t sc_pb_begin_frame(struct sc_buf *out)
{
    static const char head[SC_GRPC_HEAD] = {0};
    size_t begun = out->n;
    sc_buf_add(out, head, sizeof head);
    return begun;
}

void sc_pb_end_frame(struct sc_buf *out, size_t begun)
{
    if (out->failed)
        return;
    size_t n = out->n - begun - SC_GRPC_HEAD;
    if (n > UINT32_MAX)
        out->failed = SC_ELIMIT;
    else
        sc_grpc_head(out->p + begun, n);
}

void sc_pb_put_frame(struct sc_buf *out, const ProtobufCMessage *m)
{
    size_t begun = sc_pb_begin_frame(out);
    sc_pb_put(out, m);
    sc_pb_end_frame(out, begun);
}
