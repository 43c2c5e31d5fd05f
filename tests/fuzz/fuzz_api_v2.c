/*
 * KServe's second protocol. The first byte says what the others are: a client's JSON with bytes behind it, a
 * handler's JSON, a message, or what a model answers. What is taken passes sc_tensor_check; JSON that is
 * written again is read alike; answers are well-formed messages and JSON.
 */
#include <stdint.h>
#include <stdlib.h>

#include "api/v2_message.h"
#include "proto/grpc.h"
#include "proto/json_read.h"
#include "proto/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_json(struct sc_span text)
{
    struct sc_json_reader r;
    int ev;
    sc_json_read_init(&r, text);
    while ((ev = sc_json_next(&r)) > 0)
        ;
    check(ev == 0);
}

/* Every tensor of a block that was taken. */
static void check_block(struct sc_span block)
{
    struct sc_tensor t;
    struct sc_msg msg;
    size_t at = 0;
    int rc;
    while ((rc = sc_tensor_read(block, &at, &t)) == 1)
        check(sc_tensor_check(&t, &msg) == 0);
    check(rc == 0);
}

static void answer(struct sc_span block, const struct sc_v2_wants *w)
{
    struct sc_pb_arena arena = {0};
    struct sc_buf out;
    struct sc_msg msg = {""};
    size_t json;
    sc_buf_init(&out, 16u << 20);
    if (sc_v2_write_message(block, w, SC_SPAN("m"), SC_SPAN("1"), &out, &msg) == 0) {
        const ProtobufCMessage *m = sc_pb_unpack(&arena, &inference__model_infer_response__descriptor,
                                                 sc_span_sub(sc_buf_view(&out), SC_GRPC_HEAD, out.n));
        const Inference__ModelInferResponse *r = (const Inference__ModelInferResponse *)m;
        /* NULL: more structures than its bytes may become, or a name that is no UTF-8 */
        check(!r || r->n_raw_output_contents == 0 || r->n_raw_output_contents == r->n_outputs);
    } else {
        check(*msg.text);
    }
    sc_pb_free(&arena);
    sc_buf_clear(&out);
    if (sc_v2_write_answer(block, w, SC_SPAN("m"), SC_SPAN("1"), &out, &json, &msg) == 0)
        check_json(sc_span_sub(sc_buf_view(&out), 0, json ? json : out.n));
    sc_buf_free(&out);
}

static void json(struct sc_span body, size_t length)
{
    struct sc_buf block, text, again;
    struct sc_v2_wants *w, *w2;
    struct sc_msg msg = {""};
    sc_buf_init(&block, 8 * body.n + 4096);
    sc_buf_init(&text, 16u << 20);
    sc_buf_init(&again, 16u << 20);
    if (sc_v2_read(body, length, &block, &w, &msg) == 0) {
        check_block(sc_buf_view(&block));
        answer(sc_buf_view(&block), w);
        if (length == body.n) { /* bytes may be no UTF-8, or no finite numbers */
            check(sc_v2_write_request(sc_buf_view(&block), w, &text, &msg) == 0);
            check(sc_v2_read(sc_buf_view(&text), text.n, &again, &w2, &msg) == 0);
            check(sc_span_eq(sc_buf_view(&block), sc_buf_view(&again)));
            sc_v2_wants_del(w2);
        }
        sc_v2_wants_del(w);
    } else {
        check(*msg.text);
    }
    sc_buf_free(&block);
    sc_buf_free(&text);
    sc_buf_free(&again);
}

static void handler(struct sc_span body, bool as_torchserve)
{
    struct sc_buf block;
    struct sc_v2_wants *w;
    struct sc_msg msg = {""};
    sc_buf_init(&block, 16 * body.n + 4096);
    if (sc_v2_read_answer(body, as_torchserve, &block, &w, &msg) == 0) {
        if (!as_torchserve)
            check_block(sc_buf_view(&block));
        answer(sc_buf_view(&block), w);
        sc_v2_wants_del(w);
    } else {
        check(*msg.text);
    }
    sc_buf_free(&block);
}

static void message(struct sc_span body)
{
    struct sc_pb_arena arena = {0};
    struct sc_buf block;
    struct sc_v2_wants *w;
    struct sc_msg msg = {""};
    const ProtobufCMessage *m = sc_pb_unpack(&arena, &inference__model_infer_request__descriptor, body);
    const sc_infer_request *q = (const sc_infer_request *)m;
    sc_buf_init(&block, 16u << 20);
    if (q && sc_v2_write_torchserve(q, &block) == 0)
        check_json(sc_buf_view(&block));
    sc_buf_clear(&block);
    if (q && sc_v2_read_message(q, &block, &w, &msg) == 0) {
        check_block(sc_buf_view(&block));
        answer(sc_buf_view(&block), w);
        sc_v2_wants_del(w);
    } else {
        check(!q || *msg.text);
    }
    sc_buf_free(&block);
    sc_pb_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sc_v2_wants wants;
    if (size < 2)
        return 0;
    struct sc_span rest = sc_span(data + 2, size - 2);
    switch (data[0] % 6) {
    case 0: json(rest, rest.n); break;
    case 1: json(rest, rest.n - SC_MIN(rest.n, (size_t)data[1])); break;
    case 2:
    case 3: handler(rest, data[0] % 6 == 3); break;
    case 4: message(rest); break;
    default:
        wants.binary = data[1] & 1;
        wants.n = data[1] >> 1 & 1;
        wants.output[0].name = SC_SPAN("x");
        answer(rest, &wants);
    }
    return 0;
}
