#include "test.h"

#include <stdlib.h>

#include "proto/tensor.h"

static struct sc_msg msg;

static void datatypes_have_names_and_sizes(void **state)
{
    enum sc_datatype t;
    (void)state;
    for (int i = 0; i < SC_TYPES; i++) {
        assert_int_equal(sc_datatype_named(sc_span_str(sc_datatype_name((enum sc_datatype)i)), &t), 0);
        assert_int_equal(t, i);
    }
    assert_int_equal(sc_datatype_size(SC_TYPE_BOOL), 1);
    assert_int_equal(sc_datatype_size(SC_TYPE_BF16), 2);
    assert_int_equal(sc_datatype_size(SC_TYPE_FP64), 8);
    assert_int_equal(sc_datatype_size(SC_TYPE_BYTES), 0);
    assert_int_equal(sc_datatype_named(SC_SPAN("fp32"), &t), SC_ENOTFOUND);
    assert_int_equal(sc_datatype_named(SC_SPAN("FP3"), &t), SC_ENOTFOUND);
    assert_int_equal(sc_datatype_named(SC_SPAN(""), &t), SC_ENOTFOUND);
}

static void shapes_are_counted(void **state)
{
    struct sc_tensor t = {.name = SC_SPAN("x")};
    uint64_t n;
    (void)state;
    assert_true(sc_tensor_elements(&t, &n, &msg) == 0 && n == 1);
    t.rank = 3;
    memcpy(t.shape, (int64_t[]){2, 3, 4}, 3 * sizeof *t.shape);
    assert_true(sc_tensor_elements(&t, &n, &msg) == 0 && n == 24);
    t.shape[0] = INT64_MAX;
    assert_int_equal(sc_tensor_elements(&t, &n, &msg), SC_ELIMIT);
    t.shape[2] = 0; /* nothing, however large the rest */
    assert_true(sc_tensor_elements(&t, &n, &msg) == 0 && n == 0);
    t.shape[1] = -1;
    assert_int_equal(sc_tensor_elements(&t, &n, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "tensor 'x': the shape has the negative size -1");
    t.rank = 1;
    t.shape[0] = (int64_t)SC_TENSOR_ELEMENTS_MAX;
    assert_int_equal(sc_tensor_elements(&t, &n, &msg), 0);
    t.shape[0]++;
    assert_int_equal(sc_tensor_elements(&t, &n, &msg), SC_ELIMIT);
}

static int check(enum sc_datatype type, int64_t size, struct sc_span data)
{
    char *copy = malloc(data.n + 1);
    memcpy(copy, data.p, data.n);
    struct sc_tensor t = {
        .type = type, .rank = 1, .shape = {size}, .name = SC_SPAN("x"), .data = sc_span(copy, data.n)};
    int rc = sc_tensor_check(&t, &msg);
    free(copy);
    return rc;
}

static void data_is_what_the_shape_says(void **state)
{
    (void)state;
    assert_int_equal(check(SC_TYPE_INT32, 2, SC_SPAN("12345678")), 0);
    assert_int_equal(check(SC_TYPE_INT32, 0, SC_SPAN("")), 0);
    assert_int_equal(check(SC_TYPE_INT32, 2, SC_SPAN("1234567")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_INT32, 2, SC_SPAN("123456789")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_INT32, -2, SC_SPAN("12345678")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_BYTES, 2, SC_SPAN("\1\0\0\0a\0\0\0\0")), 0);
    assert_int_equal(check(SC_TYPE_BYTES, 0, SC_SPAN("")), 0);
    assert_int_equal(check(SC_TYPE_BYTES, 1, SC_SPAN("\1\0\0\0a\0\0\0\0")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_BYTES, 3, SC_SPAN("\1\0\0\0a\0\0\0\0")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_BYTES, 2, SC_SPAN("\1\0\0\0a\0\0\0")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_BYTES, 1, SC_SPAN("\2\0\0\0a")), SC_EINVAL);
    assert_int_equal(check(SC_TYPE_BYTES, 1, SC_SPAN("\xff\xff\xff\xff")), SC_EINVAL);
}

/* Two records. */
static void put_two(struct sc_buf *b)
{
    struct sc_tensor t = {.kind = SC_TENSOR_OUTPUT,
                          .type = SC_TYPE_FP16,
                          .rank = 2,
                          .shape = {-1, 7},
                          .name = SC_SPAN("logits"),
                          .data = SC_SPAN("abcd")};
    sc_tensor_put(b, &t);
    t = (struct sc_tensor){.type = SC_TYPE_BYTES, .data = SC_SPAN("not looked at")};
    size_t begun = sc_tensor_begin(b, &t);
    sc_tensor_put_bytes(b, SC_SPAN("one"));
    sc_tensor_put_bytes(b, SC_SPAN(""));
    sc_tensor_end(b, begun);
    assert_int_equal(b->failed, 0);
}

static void records_come_back(void **state)
{
    struct sc_buf b;
    struct sc_tensor t;
    struct sc_span element;
    size_t at = 0, k = 0;
    (void)state;
    sc_buf_init(&b, 1000);
    put_two(&b);
    assert_int_equal(sc_tensor_read(sc_buf_view(&b), &at, &t), 1);
    assert_true(t.kind == SC_TENSOR_OUTPUT && t.type == SC_TYPE_FP16 && t.rank == 2 && t.shape[0] == -1 &&
                t.shape[1] == 7);
    assert_true(sc_span_eq(t.name, SC_SPAN("logits")) && sc_span_eq(t.data, SC_SPAN("abcd")));
    assert_int_equal(sc_tensor_read(sc_buf_view(&b), &at, &t), 1);
    assert_true(t.kind == SC_TENSOR_INPUT && t.rank == 0 && t.name.n == 0 && t.data.n == 11);
    assert_true(sc_tensor_next(t.data, &k, &element) && sc_span_eq(element, SC_SPAN("one")));
    assert_true(sc_tensor_next(t.data, &k, &element) && element.n == 0);
    assert_false(sc_tensor_next(t.data, &k, &element));
    assert_int_equal(sc_tensor_read(sc_buf_view(&b), &at, &t), 0);
    sc_buf_free(&b);
}

static void what_is_no_record_is_refused(void **state)
{
    struct sc_buf b;
    struct sc_tensor t;
    size_t none = 0;
    assert_int_equal(sc_tensor_read(sc_span(NULL, 0), &none, &t), 0);
    (void)state;
    sc_buf_init(&b, 1000);
    put_two(&b);
    size_t first = 16 + 2 * 8 + 6 + 4;
    for (size_t n = 1; n < first; n++) { /* cut anywhere */
        char *copy = malloc(n);
        size_t at = 0;
        memcpy(copy, b.p, n);
        assert_int_equal(sc_tensor_read(sc_span(copy, n), &at, &t), SC_EINVAL);
        assert_int_equal(at, 0);
        free(copy);
    }
    static const struct {
        size_t at;
        unsigned char to;
    } changes[] = {{0, SC_TENSOR_KINDS},
                   {1, SC_TYPES},
                   {2, SC_TENSOR_RANK_MAX + 1},
                   {2, 255},
                   {7, 255},
                   {4, 255},
                   {15, 255},
                   {8, 255}};
    for (size_t i = 0; i < SC_COUNT(changes); i++) {
        char was = b.p[changes[i].at];
        size_t at = 0;
        b.p[changes[i].at] = (char)changes[i].to;
        assert_int_equal(sc_tensor_read(sc_buf_view(&b), &at, &t), SC_EINVAL);
        b.p[changes[i].at] = was;
    }
    sc_buf_free(&b);
    sc_buf_init(&b, 20); /* no room: nothing is written behind it */
    size_t begun = sc_tensor_begin(&b, &(struct sc_tensor){.name = SC_SPAN("a long name")});
    sc_tensor_end(&b, begun);
    assert_int_equal(b.failed, SC_ELIMIT);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datatypes_have_names_and_sizes), cmocka_unit_test(shapes_are_counted),
        cmocka_unit_test(data_is_what_the_shape_says),    cmocka_unit_test(records_come_back),
        cmocka_unit_test(what_is_no_record_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
