/*
 * A gRPC stream of hostile bytes: frames, compression, and each message as one of those that we take. The
 * first byte chooses the coding and how the bytes are cut, the second the message's type. Messages that are
 * taken have UTF-8 for strings, are packed again, and that is the same message.
 */
#include <stdint.h>
#include <stdlib.h>

#include "proto/grpc.h"
#include "proto/protobuf.h"
#include <google/protobuf/empty.pb-c.h>
#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1/reflection.pb-c.h>
#include <grpc_predict_v2.pb-c.h>
#include <inference.pb-c.h>
#include <management.pb-c.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX 5000
#define INFERENCE(x) &org__pytorch__serve__grpc__inference__##x##__descriptor
#define MANAGEMENT(x) &org__pytorch__serve__grpc__management__##x##__descriptor
#define OIP(x) &inference__##x##__descriptor

static const ProtobufCMessageDescriptor *const types[] = {
    OIP(model_infer_request),
    INFERENCE(predictions_request),
    &google__protobuf__empty__descriptor,
    MANAGEMENT(describe_model_request),
    MANAGEMENT(list_models_request),
    MANAGEMENT(register_model_request),
    MANAGEMENT(scale_worker_request),
    MANAGEMENT(set_default_request),
    MANAGEMENT(unregister_model_request),
    OIP(server_live_request),
    OIP(server_ready_request),
    OIP(server_metadata_request),
    OIP(model_ready_request),
    OIP(model_metadata_request),
    OIP(repository_index_request),
    OIP(model_infer_response),
    &grpc__health__v1__health_check_request__descriptor,
    &grpc__reflection__v1__server_reflection_request__descriptor,
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void pack(const ProtobufCMessage *m, struct sc_buf *out)
{
    sc_buf_init(out, 64u << 20);
    sc_pb_put_frame(out, m);
    check(!out->failed);
}

static void look(const ProtobufCMessageDescriptor *type, struct sc_span bytes)
{
    struct sc_pb_arena arena = {0};
    struct sc_grpc_reader r;
    struct sc_buf first, second;
    struct sc_span again;
    const ProtobufCMessage *m = sc_pb_unpack(&arena, type, bytes);
    if (m) {
        pack(m, &first);
        struct sc_span in = sc_buf_view(&first);
        sc_grpc_reader_init(&r, SC_GRPC_IDENTITY, first.n);
        check(sc_grpc_read(&r, &in, &again) == 1 && in.n == 0);
        m = sc_pb_unpack(&arena, type, again);
        check(m != NULL);
        pack(m, &second);
        check(sc_span_eq(sc_buf_view(&first), sc_buf_view(&second)));
        sc_grpc_reader_free(&r);
        sc_buf_free(&first);
        sc_buf_free(&second);
    }
    sc_pb_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_grpc_reader r;
    struct sc_span message, in;
    int rc = 0;
    if (size < 2)
        return 0;
    const ProtobufCMessageDescriptor *type = types[data[1] % SC_COUNT(types)];
    sc_grpc_reader_init(&r, (enum sc_grpc_coding)(data[0] % 3), MAX);
    size_t step = 1 + data[0] / 3 * 11u;
    for (size_t at = 2; rc >= 0 && at < size; at += step) {
        in = sc_span(data + at, SC_MIN(step, size - at));
        while ((rc = sc_grpc_read(&r, &in, &message)) == 1) {
            check(message.n <= MAX);
            look(type, message);
        }
        check(rc < 0 ? r.problem != NULL : in.n == 0);
    }
    (void)sc_grpc_reader_idle(&r);
    sc_grpc_reader_free(&r);
    int64_t ns; /* the same bytes as a header's value */
    if (sc_grpc_timeout(sc_span(data, size), &ns) == 0)
        check(ns >= 0 && ns <= INT64_MAX / 4);
    return 0;
}
