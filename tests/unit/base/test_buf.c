#include "test.h"

#include "base/buf.h"

/* A request for more memory than there can be is answered, not fatal, under the sanitizer, too. */
const char *__asan_default_options(void);
__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void what_is_added_is_there(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 1 << 20);
    sc_buf_str(&b, "one ");
    sc_buf_char(&b, '2');
    sc_buf_printf(&b, " %s %d", "three", 4);
    sc_buf_span(&b, sc_span(NULL, 0));
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("one 2 three 4")));
    sc_buf_consume(&b, 4);
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("2 three 4")));
    sc_buf_consume(&b, 100);
    assert_int_equal(b.n, 0);
    assert_int_equal(b.failed, 0);
    sc_buf_free(&b);
    assert_null(b.p);
    sc_buf_str(&b, "again");
    assert_int_equal(b.n, 5);
    sc_buf_free(&b);
}

static void it_grows_to_its_maximum_and_not_beyond(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 1000);
    char bytes[999] = {0};
    sc_buf_add(&b, bytes, sizeof bytes);
    assert_int_equal(b.failed, 0);
    sc_buf_char(&b, 'x');
    assert_int_equal(b.n, 1000);
    assert_in_range(b.cap, 1000, 1000);
    sc_buf_char(&b, 'y');
    assert_int_equal(b.failed, SC_ELIMIT);
    assert_int_equal(b.n, 1000);
    sc_buf_free(&b);
}

static void a_failure_sticks_until_cleared(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 8);
    sc_buf_str(&b, "1234");
    sc_buf_str(&b, "56789");
    assert_int_equal(b.failed, SC_ELIMIT);
    sc_buf_str(&b, "5");
    sc_buf_printf(&b, "%d", 5);
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("1234")));
    assert_int_equal(sc_buf_reserve(&b, 1), SC_ELIMIT);
    sc_buf_clear(&b);
    sc_buf_str(&b, "12345678");
    assert_int_equal(b.failed, 0);
    assert_int_equal(b.n, 8);
    sc_buf_free(&b);
}

static void memory_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, SIZE_MAX);
    sc_buf_str(&b, "kept");
    assert_int_equal(sc_buf_reserve(&b, SIZE_MAX / 4), SC_ENOMEM);
    assert_int_equal(b.failed, SC_ENOMEM);
    sc_buf_str(&b, "more");
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("kept")));
    sc_buf_clear(&b);
    /* the sum of what is there and what is wanted does not wrap */
    sc_buf_str(&b, "kept");
    assert_int_equal(sc_buf_reserve(&b, SIZE_MAX - 2), SC_ELIMIT);
    sc_buf_free(&b);
}

static void a_maximum_of_nothing_takes_nothing(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 0);
    sc_buf_add(&b, "", 0);
    assert_int_equal(b.failed, 0);
    sc_buf_char(&b, 'x');
    assert_int_equal(b.failed, SC_ELIMIT);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_is_there),
        cmocka_unit_test(it_grows_to_its_maximum_and_not_beyond),
        cmocka_unit_test(a_failure_sticks_until_cleared),
        cmocka_unit_test(memory_that_is_not_there_is_an_error),
        cmocka_unit_test(a_maximum_of_nothing_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
