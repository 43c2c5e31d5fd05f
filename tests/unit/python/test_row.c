#include "test.h"

#include "base/buf.h"
#include "row.h"
#include "worker/meta.h"

static struct sc_buf block;
static struct sc_meta_writer writer;

static int setup(void **state)
{
    (void)state;
    sc_buf_init(&block, 1 << 20);
    sc_meta_begin(&writer, &block);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_buf_free(&block);
    return 0;
}

static void add(const char *key, const char *value)
{
    sc_meta_add(&writer, sc_span_str(key), sc_span_str(value));
}

static void add_part(uint64_t off, uint64_t n, const char *name, const char *type)
{
    char v[128];
    memcpy(v, &off, 8);
    memcpy(v + 8, &n, 8);
    uint16_t len = (uint16_t)strlen(name);
    memcpy(v + 16, &len, 2);
    memcpy(v + 18, name, len);
    memcpy(v + 18 + len, type, strlen(type));
    sc_meta_add(&writer, SC_SPAN(":part"), sc_span(v, 18 + len + strlen(type)));
}

static int head_of(size_t body, struct sc_row_head *h)
{
    const char *why = NULL;
    sc_meta_end(&writer);
    int rc = sc_row_head(sc_buf_view(&block), body, h, &why);
    assert_true((rc == 0) == (why == NULL));
    return rc;
}

static void a_plain_request_has_an_id_a_type_and_its_headers(void **state)
{
    (void)state;
    struct sc_row_head h;
    add(":id", "abc");
    add(":content-type", "text/plain");
    add("Host", "x");
    add("", "a name of no length is no key of ours");
    assert_int_equal(head_of(10, &h), 0);
    assert_true(sc_span_eq(h.id, SC_SPAN("abc")));
    assert_true(sc_span_eq(h.type, SC_SPAN("text/plain")));
    assert_false(h.form);
    assert_int_equal(h.headers, 2);
    assert_int_equal(h.fields, 0);
}

static void fields_come_in_order_with_the_bytes_they_name(void **state)
{
    (void)state;
    struct sc_row_head h;
    struct sc_row_item i;
    struct sc_span body = SC_SPAN("0123456789");
    add(":form", "");
    add_part(2, 3, "data", "application/json");
    add("Host", "x");
    sc_meta_add(&writer, SC_SPAN(":param"), sc_span("\x01\0pvalue", 8));
    add_part(10, 0, "", "");
    assert_int_equal(head_of(body.n, &h), 0);
    assert_true(h.form);
    assert_int_equal(h.fields, 3);

    size_t at = 0;
    assert_true(sc_row_next(sc_buf_view(&block), body, &at, &i));
    assert_int_equal(i.kind, SC_ROW_FIELD);
    assert_true(sc_span_eq(i.name, SC_SPAN("data")) && sc_span_eq(i.value, SC_SPAN("234")));
    assert_true(sc_span_eq(i.type, SC_SPAN("application/json")));
    assert_true(sc_row_next(sc_buf_view(&block), body, &at, &i));
    assert_int_equal(i.kind, SC_ROW_HEADER);
    assert_true(sc_row_next(sc_buf_view(&block), body, &at, &i));
    assert_true(sc_span_eq(i.name, SC_SPAN("p")) && sc_span_eq(i.value, SC_SPAN("value")) && i.type.n == 0);
    assert_true(sc_row_next(sc_buf_view(&block), body, &at, &i));
    assert_true(i.name.n == 0 && i.value.n == 0);
    assert_false(sc_row_next(sc_buf_view(&block), body, &at, &i));
}

static void a_part_outside_of_the_body_is_refused(void **state)
{
    (void)state;
    static const uint64_t bad[][2] = {
        {0, 11}, {10, 1}, {11, 0}, {UINT64_MAX, 2}, {2, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}, {1, 10}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sc_row_head h;
        sc_buf_clear(&block);
        sc_meta_begin(&writer, &block);
        add_part(bad[i][0], bad[i][1], "x", "");
        assert_int_equal(head_of(10, &h), SC_EPROTO);
    }
}

static void short_values_and_unknown_keys_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        size_t n;
    } bad[] = {{":part", "", 0},
               {":part", "0123456789abcdef", 16},
               {":part", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 17},
               {":part", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0", 18},
               {":param", "", 0},
               {":param", "\x01", 1},
               {":param", "\x02\0a", 3},
               {":path", "x", 1},
               {":", "", 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sc_row_head h;
        sc_buf_clear(&block);
        sc_meta_begin(&writer, &block);
        sc_meta_add(&writer, sc_span_str(bad[i].key), sc_span(bad[i].value, bad[i].n));
        assert_int_equal(head_of(100, &h), SC_EPROTO);
    }
}

static void a_block_that_is_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct sc_row_head h;
    const char *why;
    add(":id", "abc");
    add_part(0, 4, "data", "text/plain");
    add("Host", "x");
    assert_int_equal(head_of(4, &h), 0);
    for (size_t n = 0; n < block.n; n++)
        assert_int_equal(sc_row_head(sc_span(block.p, n), 4, &h, &why), SC_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_plain_request_has_an_id_a_type_and_its_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_come_in_order_with_the_bytes_they_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_part_outside_of_the_body_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(short_values_and_unknown_keys_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_block_that_is_cut_anywhere_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
