#include "test.h"

#include <stdlib.h>

#include "base/limits.h"
#include "proto/grpc.h"
#include "proto/protobuf.h"
#include <grpc_predict_v2.pb-c.h>
#include <inference.pb-c.h>

#define INFER inference__model_infer_request__descriptor
#define PREDICT org__pytorch__serve__grpc__inference__predictions_request__descriptor

static struct sc_pb_arena arena;

/* From the heap, so that the sanitizer sees what is read beyond the end. */
static const ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *of, struct sc_span bytes)
{
    char *copy = malloc(bytes.n + 1);
    if (bytes.n)
        memcpy(copy, bytes.p, bytes.n);
    const ProtobufCMessage *m = sc_pb_unpack(&arena, of, sc_span(copy, bytes.n));
    free(copy); /* messages own what they say */
    return m;
}

static bool takes(const ProtobufCMessageDescriptor *of, struct sc_span bytes)
{
    bool taken = unpack(of, bytes) != NULL;
    sc_pb_free(&arena);
    return taken;
}

static void messages_are_read(void **state)
{
    (void)state;
    const Inference__ModelInferRequest *q = (const Inference__ModelInferRequest *)unpack(
        &INFER, SC_SPAN("\x0a\4echo\x2a\x0f\x0a\1x\x12\5INT32\x1a\3\1\x80\1\x3a\3abc\x3a\0"));
    assert_non_null(q);
    assert_string_equal(q->model_name, "echo");
    assert_string_equal(q->id, "");
    assert_int_equal(q->n_inputs, 1);
    assert_string_equal(q->inputs[0]->datatype, "INT32");
    assert_true(q->inputs[0]->n_shape == 2 && q->inputs[0]->shape[1] == 128 && !q->inputs[0]->contents);
    assert_int_equal(q->n_raw_input_contents, 2);
    assert_true(sc_span_eq(sc_pb_span(q->raw_input_contents[0]), SC_SPAN("abc")));
    /* what was read before stays */
    assert_non_null(unpack(&INFER, SC_SPAN("\x0a\5other")));
    assert_string_equal(q->model_name, "echo");
    sc_pb_free(&arena);
    assert_true(takes(&INFER, SC_SPAN("")));
    assert_true(takes(&INFER, SC_SPAN("\xfa\x07\3new"))); /* a field of another time */
    assert_false(takes(&INFER, SC_SPAN("\x80\0\0"))); /* one that cannot be, written longer than it must */
}

static void what_is_malformed_is_not(void **state)
{
    static const struct sc_span bad[] = {{"\x0a", 1},
                                         {"\x0a\5ech", 5},
                                         {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11},
                                         {"\x0a\xff\xff\xff\xff\xf", 6},
                                         {"\x2a\2\x0a\5", 4},
                                         {"\x2a\3\x1a\1\x80", 5},
                                         {"\0\0", 2},
                                         {"\x0b", 1},
                                         {"\x2a\5\x2a\3\x32\1a", 7}};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(bad); i++)
        assert_false(takes(&INFER, bad[i]));
}

static void strings_are_utf_8_wherever_they_stand(void **state)
{
    (void)state;
    assert_true(takes(&INFER, SC_SPAN("\x0a\2\xc3\xa4")));
    assert_false(takes(&INFER, SC_SPAN("\x0a\2\xff\xfe")));
    assert_false(takes(&INFER, SC_SPAN("\x0a\1\xc3")));              /* cut */
    assert_false(takes(&INFER, SC_SPAN("\x0a\3\xed\xa0\x80")));      /* a surrogate */
    assert_false(takes(&INFER, SC_SPAN("\x0a\1x\x2a\3\x0a\1\xff"))); /* an input's name */
    assert_false(takes(&INFER, SC_SPAN("\x22\3\x0a\1\xff")));        /* the key of a map, */
    assert_false(takes(&INFER, SC_SPAN("\x22\5\x12\3\x1a\1\xff"))); /* a text that is one of several values */
    assert_true(takes(&INFER, SC_SPAN("\x22\6\x12\4\x10\xff\xff\x03"))); /* and another of them */
    assert_true(takes(&INFER, SC_SPAN("\x3a\2\xff\xfe")));               /* bytes */
    assert_true(takes(&PREDICT, SC_SPAN("\x1a\6\x0a\1k\x12\1\xff")));
    assert_false(takes(&PREDICT, SC_SPAN("\x1a\6\x0a\1\xff\x12\1k")));
    assert_false(takes(&PREDICT, SC_SPAN("\x22\1\xff"))); /* optional */
    assert_true(takes(&inference__server_metadata_response__descriptor, SC_SPAN("\x1a\1a\x1a\1b")));
    assert_false(takes(&inference__server_metadata_response__descriptor, SC_SPAN("\x1a\1a\x1a\1\xff")));
}

static void memory_is_bounded_by_the_bytes(void **state)
{
    struct sc_buf b;
    (void)state;
    sc_buf_init(&b, 64u << 20);
    for (unsigned i = 0; i < 1000000; i++) /* each is a structure */
        sc_buf_add(&b, "\x2a", 2);
    assert_false(takes(&INFER, sc_buf_view(&b)));
    b.n = 1000;
    assert_true(takes(&INFER, sc_buf_view(&b)));
    sc_buf_free(&b);
}

static void frames_are_written(void **state)
{
    Inference__ServerLiveResponse live = INFERENCE__SERVER_LIVE_RESPONSE__INIT;
    Inference__ServerMetadataResponse m = INFERENCE__SERVER_METADATA_RESPONSE__INIT;
    char one[] = "one", two[] = "two", *list[] = {one, two};
    struct sc_buf b;
    (void)state;
    sc_buf_init(&b, 100);
    sc_pb_put_frame(&b, &live.base);
    live.live = true;
    sc_pb_put_frame(&b, &live.base);
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("\0\0\0\0\0\0\0\0\0\2\x08\1")));
    sc_buf_clear(&b);
    size_t begun = sc_pb_begin_frame(&b); /* messages one behind the other are one */
    m.name = one;
    sc_pb_put(&b, &m.base);
    m.n_extensions = 1;
    m.extensions = list;
    sc_pb_put(&b, &m.base);
    m.extensions = list + 1;
    sc_pb_put(&b, &m.base);
    sc_pb_end_frame(&b, begun);
    assert_true(b.p[4] == (char)(b.n - SC_GRPC_HEAD));
    const Inference__ServerMetadataResponse *r = (const Inference__ServerMetadataResponse *)unpack(
        &inference__server_metadata_response__descriptor, sc_span(b.p + SC_GRPC_HEAD, b.n - SC_GRPC_HEAD));
    assert_true(r && r->n_extensions == 2 && strcmp(r->extensions[1], "two") == 0 &&
                strcmp(r->name, "one") == 0);
    sc_pb_free(&arena);
    sc_buf_free(&b);
    sc_buf_init(&b, SC_GRPC_HEAD + 1);
    sc_pb_put_frame(&b, &live.base);
    assert_int_equal(b.failed, SC_ELIMIT);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_read),
        cmocka_unit_test(what_is_malformed_is_not),
        cmocka_unit_test(strings_are_utf_8_wherever_they_stand),
        cmocka_unit_test(memory_is_bounded_by_the_bytes),
        cmocka_unit_test(frames_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
