/* Requests and answers of KServe's second protocol, between JSON, messages and records. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/v2_message.h"
#include "proto/grpc.h"
#include "proto/protobuf.h"

static struct sc_msg msg;
static struct sc_v2_wants *wants;
static struct sc_buf block, out;
static char said[4096];

static int start(void **state)
{
    (void)state;
    sc_buf_init(&block, 1 << 16);
    sc_buf_init(&out, 1 << 16);
    return 0;
}

static void forget(void)
{
    sc_v2_wants_del(wants);
    wants = NULL;
    sc_buf_clear(&block);
    sc_buf_clear(&out);
}

static int end(void **state)
{
    (void)state;
    forget();
    sc_buf_free(&block);
    sc_buf_free(&out);
    return 0;
}

/* "name TYPE[shape]=hexadecimal;..." of the block's records. */
static const char *records(void)
{
    struct sc_tensor t;
    size_t at = 0;
    int k = 0;
    said[0] = '\0';
    while (sc_tensor_read(sc_buf_view(&block), &at, &t) == 1) {
        k +=
            snprintf(said + k, sizeof said - (size_t)k, "%.*s %s[", SC_FMT(t.name), sc_datatype_name(t.type));
        for (unsigned i = 0; i < t.rank; i++)
            k += snprintf(said + k, sizeof said - (size_t)k, "%s%lld", i ? "," : "", (long long)t.shape[i]);
        k += snprintf(said + k, sizeof said - (size_t)k, "]=");
        for (size_t i = 0; i < t.data.n; i++)
            k += snprintf(said + k, sizeof said - (size_t)k, "%02x", (unsigned char)t.data.p[i]);
        k += snprintf(said + k, sizeof said - (size_t)k, ";");
    }
    return said;
}

/* From the heap, so that the sanitizer sees what is read beyond the end; what comes out owns what it says. */
static int read_json(struct sc_span body, size_t json)
{
    char *copy = malloc(body.n + 1);
    memcpy(copy, body.p, body.n);
    forget();
    int rc = sc_v2_read(sc_span(copy, body.n), json, &block, &wants, &msg);
    free(copy);
    assert_true((rc == 0) == (wants != NULL));
    return rc;
}

static int read_answer(const char *json, bool as_torchserve)
{
    char *copy = malloc(strlen(json) + 1);
    memcpy(copy, json, strlen(json));
    forget();
    int rc = sc_v2_read_answer(sc_span(copy, strlen(json)), as_torchserve, &block, &wants, &msg);
    free(copy);
    assert_true((rc == 0) == (wants != NULL));
    return rc;
}

#define INPUT "{\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":"

static void json_becomes_records(void **state)
{
    (void)state;
    struct sc_span q = SC_SPAN(
        "{\"id\":\"\\u0041\",\"inputs\":[{\"data\":[[1],[-2]],\"name\":\"x\",\"datatype\":\"INT16\","
        "\"shape\":[2,1]},{\"name\":\"t\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"\\n\",\"\"]}],"
        "\"outputs\":[{\"name\":\"y\",\"parameters\":{\"binary_data\":true}},{\"name\":\"z\"}]}");
    assert_int_equal(read_json(q, q.n), 0);
    assert_string_equal(records(), "x INT16[2,1]=0100feff;t BYTES[2]=010000000a00000000;");
    assert_true(sc_span_eq(wants->id, SC_SPAN("A")) && wants->n == 2);
    assert_true(sc_span_eq(wants->output[0].name, SC_SPAN("y")) && wants->output[0].binary &&
                !wants->output[1].binary);
    for (size_t n = 0; n < q.n; n++) /* cut anywhere */
        assert_int_equal(read_json(q, n), SC_EINVAL);
}

static void bytes_behind_json_belong_to_tensors(void **state)
{
    static const char head[] =
        "{\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":\"UINT8\",\"parameters\":"
        "{\"binary_data_size\":2}}],\"parameters\":{\"binary_data_output\":true}}";
    char body[sizeof head + 3];
    (void)state;
    memcpy(body, head, sizeof head);
    memcpy(body + sizeof head - 1, "\1\xff\3", 3);
    assert_int_equal(read_json(sc_span(body, sizeof head + 1), sizeof head - 1), 0);
    assert_string_equal(records(), "x UINT8[2]=01ff;");
    assert_true(wants->binary && wants->n == 0 && !wants->id.p);
    assert_int_equal(read_json(sc_span(body, sizeof head), sizeof head - 1), SC_EINVAL);
    assert_int_equal(read_json(sc_span(body, sizeof head + 2), sizeof head - 1), SC_EINVAL);
}

static void elements_are_of_their_datatype(void **state)
{
    static const struct {
        const char *rest, *want;
    } cases[] = {
        {"\"UINT8\",\"data\":[0,255]}]}", "00ff"},
        {"\"UINT8\",\"data\":[0,256]}]}", NULL},
        {"\"UINT8\",\"data\":[0,-1]}]}", NULL},
        {"\"INT8\",\"data\":[-128,127]}]}", "807f"},
        {"\"INT8\",\"data\":[-129,0]}]}", NULL},
        {"\"UINT64\",\"data\":[18446744073709551615,0]}]}", "ffffffffffffffff0000000000000000"},
        {"\"UINT64\",\"data\":[18446744073709551616,0]}]}", NULL},
        {"\"INT64\",\"data\":[-9223372036854775808,1]}]}", "00000000000000800100000000000000"},
        {"\"BOOL\",\"data\":[true,false]}]}", "0100"},
        {"\"BOOL\",\"data\":[1,0]}]}", NULL},
        {"\"FP32\",\"data\":[0.5,-2]}]}", "0000003f000000c0"},
        {"\"FP32\",\"data\":[1e39,0]}]}", NULL},
        {"\"FP64\",\"data\":[1e39,null]}]}", NULL},
        {"\"FP16\",\"data\":[1,2]}]}", NULL},
        {"\"BYTES\",\"data\":[1,2]}]}", NULL},
        {"\"INT32\",\"data\":[1]}]}", NULL},
        {"\"INT32\",\"data\":[1,2,3]}]}", NULL},
        {"\"INT32\",\"data\":[1,2]}]} x", NULL},
        {"\"INT32\",\"data\":[1,{}]}]}", NULL},
        {"\"INT32\"}]}", NULL},
    };
    char body[256], want[128];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        snprintf(body, sizeof body, INPUT "%s", cases[i].rest);
        int rc = read_json(sc_span_str(body), strlen(body));
        if (cases[i].want) {
            assert_int_equal(rc, 0);
            snprintf(want, sizeof want, "=%s;", cases[i].want);
            assert_non_null(strstr(records(), want));
        } else if (rc >= 0 || !*msg.text) {
            fail_msg("%s: %d %s", body, rc, msg.text);
        }
    }
}

/* ---- answers of handlers --------------------------------------------------------------------------------
 */

static void answers_of_handlers_are_read(void **state)
{
    static const char whole[] =
        "{\"id\":\"i\",\"model_name\":\"m\",\"model_version\":\"1\",\"outputs\":["
        "{\"name\":\"o\",\"shape\":[3],\"datatype\":\"BYTES\",\"data\":[\"\\u00fc\\\"\",\"a\",\"\"]}]}";
    (void)state;
    assert_int_equal(read_answer(whole, false), 0);
    assert_string_equal(records(), "o BYTES[3]=03000000c3bc22010000006100000000;");
    assert_int_equal(read_answer(whole, true), 0); /* "ü\"" "a" "" */
    assert_string_equal(records(), "o BYTES[3]=0600000022c3bc5c222203000000226122020000002222;");
    assert_true(sc_span_eq(wants->id, SC_SPAN("i")) && sc_span_eq(wants->model, SC_SPAN("m")) &&
                sc_span_eq(wants->version, SC_SPAN("1")));
    static const struct {
        const char *json;
        bool ours, theirs;
    } cases[] = {
        {"{\"outputs\":[]}", true, false},
        {"{\"id\":\"\",\"model_name\":\"\",\"model_version\":\"\",\"outputs\":[]}", true, true},
        {"{\"id\":1,\"model_name\":\"\",\"model_version\":\"\",\"outputs\":[]}", true, false},
        {"{\"id\":\"\",\"model_name\":\"\",\"model_version\":\"\"}", false, false},
        {"{\"id\":\"\",\"model_name\":\"\",\"model_version\":\"\",\"outputs\":[{\"name\":\"o\",\"shape\":[7,-"
         "1],"
         "\"datatype\":\"INT8\",\"data\":[1]}]}",
         false, true},
        {"{\"id\":\"\",\"model_name\":\"\",\"model_version\":\"\",\"outputs\":[{\"name\":\"o\",\"shape\":[1],"
         "\"datatype\":\"FP16\",\"data\":[1]}]}",
         false, true},
        {"{\"id\":\"\",\"model_name\":\"\",\"model_version\":\"\",\"outputs\":[{\"name\":\"o\",\"shape\":[4],"
         "\"datatype\":\"BYTES\",\"data\":[1,true,false,null]}]}",
         false, true},
        {"{\"id\":\"\",\"model_name\":\"\",\"model_version\":\"\",\"outputs\":[{\"name\":\"o\",\"shape\":[1],"
         "\"datatype\":\"BYTES\",\"data\":[{}]}]}",
         false, false},
        {"[]", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        if ((read_answer(cases[i].json, false) == 0) != cases[i].ours ||
            (read_answer(cases[i].json, true) == 0) != cases[i].theirs)
            fail_msg("%s: %s", cases[i].json, msg.text);
        if (cases[i].theirs) /* as it is, it can be sent */
            assert_int_equal(
                sc_v2_write_message(sc_buf_view(&block), wants, wants->model, wants->version, &out, &msg), 0);
    }
}

/* ---- messages -------------------------------------------------------------------------------------------
 */

typedef Inference__ModelInferRequest__InferInputTensor input_type;

static void messages_become_records(void **state)
{
    int32_t ints[] = {-1, 127};
    uint32_t uints[] = {255, 65535};
    ProtobufCBinaryData texts[] = {{2, (uint8_t *)"hi"}, {0, NULL}};
    protobuf_c_boolean truths[] = {1, 0};
    int64_t two = 2;
    Inference__InferTensorContents c[4];
    input_type in[4], *list[4];
    sc_infer_request q = INFERENCE__MODEL_INFER_REQUEST__INIT;
    static char names[4][2] = {"a", "b", "c", "d"}, types[4][8] = {"INT8", "UINT16", "BYTES", "BOOL"},
                wrong[] = "INT33";
    (void)state;
    for (int i = 0; i < 4; i++) {
        c[i] = (Inference__InferTensorContents)INFERENCE__INFER_TENSOR_CONTENTS__INIT;
        in[i] = (input_type)INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__INIT;
        in[i].name = names[i];
        in[i].datatype = types[i];
        in[i].n_shape = 1;
        in[i].shape = &two;
        in[i].contents = &c[i];
        list[i] = &in[i];
    }
    c[0].n_int_contents = c[1].n_uint_contents = c[2].n_bytes_contents = c[3].n_bool_contents = 2;
    c[0].int_contents = ints;
    c[1].uint_contents = uints;
    c[2].bytes_contents = texts;
    c[3].bool_contents = truths;
    q.n_inputs = 4;
    q.inputs = list;
    forget();
    assert_int_equal(sc_v2_read_message(&q, &block, &wants, &msg), 0);
    assert_string_equal(
        records(), "a INT8[2]=ff7f;b UINT16[2]=ff00ffff;c BYTES[2]=02000000686900000000;d BOOL[2]=0100;");
    assert_int_equal(sc_v2_write_message(sc_buf_view(&block), wants, SC_SPAN("m"), SC_SPAN("1"), &out, &msg),
                     0);
    struct sc_pb_arena arena = {0};
    const Inference__ModelInferResponse *r = (const Inference__ModelInferResponse *)sc_pb_unpack(
        &arena, &inference__model_infer_response__descriptor,
        sc_span(out.p + SC_GRPC_HEAD, out.n - SC_GRPC_HEAD));
    assert_non_null(r);
    assert_true(r->n_outputs == 4 && r->n_raw_output_contents == 0 &&
                r->outputs[0]->contents->int_contents[0] == -1);
    assert_true(r->outputs[1]->contents->uint_contents[1] == 65535 &&
                r->outputs[3]->contents->n_bool_contents == 2);
    sc_pb_free(&arena);
    sc_buf_clear(&out);
    assert_int_equal(sc_v2_write_torchserve(&q, &out), 0);
    sc_buf_char(&out, '\0');
    assert_string_equal(
        out.p, "{\"model_name\":\"\",\"inputs\":[{\"shape\":[2],\"data\":[-1,127],\"datatype\":\"INT8\","
               "\"name\":\"a\"},"
               "{\"shape\":[2],\"data\":[255,65535],\"datatype\":\"UINT16\",\"name\":\"b\"},"
               "{\"shape\":[2],\"data\":[\"aGk=\",\"\"],\"datatype\":\"BYTES\",\"name\":\"c\"},"
               "{\"shape\":[2],\"data\":[true,false],\"datatype\":\"BOOL\",\"name\":\"d\"}],\"id\":\"\"}");
    /* what does not fit */
    ints[1] = 128;
    forget();
    assert_int_equal(sc_v2_read_message(&q, &block, &wants, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "tensor 'a': element 1 of its contents is no INT8");
    in[0].datatype = wrong;
    forget();
    assert_int_equal(sc_v2_read_message(&q, &block, &wants, &msg), SC_EINVAL);
    sc_buf_clear(&out);
    assert_int_equal(sc_v2_write_torchserve(&q, &out), 0); /* TorchServe does not look */
}

static void raw_contents_are_all_or_none(void **state)
{
    ProtobufCBinaryData raw[] = {{4, (uint8_t *)"abcd"}, {2, (uint8_t *)"ef"}};
    int64_t two = 2;
    input_type in = INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__INIT, *list[] = {&in, &in};
    static char name[] = "h", type[] = "BF16";
    sc_infer_request q = INFERENCE__MODEL_INFER_REQUEST__INIT;
    (void)state;
    in.name = name;
    in.datatype = type;
    in.shape = &two;
    in.n_shape = 1;
    q.inputs = list;
    q.n_inputs = q.n_raw_input_contents = 1;
    q.raw_input_contents = raw;
    forget();
    assert_int_equal(sc_v2_read_message(&q, &block, &wants, &msg), 0);
    assert_string_equal(records(), "h BF16[2]=61626364;");
    wants->binary = false; /* bytes have no other place, whatever was asked for */
    assert_int_equal(sc_v2_write_message(sc_buf_view(&block), wants, SC_SPAN(""), SC_SPAN(""), &out, &msg),
                     0);
    assert_non_null(memmem(out.p, out.n, "\x32\4abcd", 6));
    q.n_inputs = q.n_raw_input_contents = 2;
    forget();
    assert_int_equal(sc_v2_read_message(&q, &block, &wants, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "tensor 'h': 2 bytes of data, but its shape and datatype BF16 take 4");
    q.n_raw_input_contents = 1;
    forget();
    assert_int_equal(sc_v2_read_message(&q, &block, &wants, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "2 inputs, but 1 raw_input_contents");
}

static void blocks_of_models_are_checked(void **state)
{
    struct sc_tensor t = {
        .rank = 1, .type = SC_TYPE_INT32, .shape = {2}, .name = SC_SPAN("y"), .data = SC_SPAN("1234567")};
    struct sc_v2_wants all = {.n = 0}, other = {.n = 1};
    size_t json;
    (void)state;
    forget();
    sc_tensor_put(&block, &t);
    assert_int_equal(sc_v2_write_message(sc_buf_view(&block), &all, SC_SPAN("m"), SC_SPAN("1"), &out, &msg),
                     SC_EINVAL);
    assert_int_equal(
        sc_v2_write_answer(sc_buf_view(&block), &all, SC_SPAN("m"), SC_SPAN("1"), &out, &json, &msg),
        SC_EINVAL);
    other.output[0].name = SC_SPAN("z");
    assert_int_equal(sc_v2_write_message(sc_buf_view(&block), &other, SC_SPAN("m"), SC_SPAN("1"), &out, &msg),
                     SC_ENOTFOUND);
    assert_string_equal(msg.text, "unexpected inference output 'z' for model 'm'");
    assert_int_equal(
        sc_v2_write_message(sc_span(block.p, block.n - 1), &all, SC_SPAN("m"), SC_SPAN("1"), &out, &msg),
        SC_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_becomes_records),
        cmocka_unit_test(bytes_behind_json_belong_to_tensors),
        cmocka_unit_test(elements_are_of_their_datatype),
        cmocka_unit_test(answers_of_handlers_are_read),
        cmocka_unit_test(messages_become_records),
        cmocka_unit_test(raw_contents_are_all_or_none),
        cmocka_unit_test(blocks_of_models_are_checked),
    };
    return cmocka_run_group_tests(tests, start, end);
}
