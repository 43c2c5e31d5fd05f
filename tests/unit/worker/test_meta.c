#include "test.h"

#include <stdlib.h>

#include "worker/meta.h"

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 1 << 20);
    sc_buf_str(&b, "before");
    struct sc_meta_writer w;
    sc_meta_begin(&w, &b);
    sc_meta_add(&w, SC_SPAN(":path"), SC_SPAN("/predictions/m"));
    sc_meta_add(&w, SC_SPAN("x"), SC_SPAN(""));
    sc_meta_add(&w, SC_SPAN("x"), SC_SPAN("second"));
    sc_meta_add(&w, SC_SPAN(""), SC_SPAN("a\0b"));
    char *huge = calloc(1, 65536);
    sc_meta_add(&w, sc_span(huge, 65536), SC_SPAN("dropped"));
    sc_meta_add(&w, sc_span(huge, 65535), SC_SPAN("kept"));
    sc_meta_end(&w);
    assert_int_equal(b.failed, 0);

    struct sc_span meta = sc_span(b.p + 6, b.n - 6);
    assert_true(sc_meta_valid(meta));
    assert_true(sc_span_eq(sc_meta_get(meta, SC_SPAN(":path")), SC_SPAN("/predictions/m")));
    struct sc_span empty = sc_meta_get(meta, SC_SPAN("x"));
    assert_int_equal(empty.n, 0);
    assert_non_null(empty.p);
    assert_null(sc_meta_get(meta, SC_SPAN("y")).p);
    assert_true(sc_span_eq(sc_meta_get(meta, SC_SPAN("")), SC_SPAN("a\0b")));
    assert_true(sc_span_eq(sc_meta_get(meta, sc_span(huge, 65535)), SC_SPAN("kept")));
    assert_int_equal((unsigned char)meta.p[0], 5);

    free(huge);
    sc_buf_free(&b);
}

static void an_empty_list_is_valid_and_nothing_is_not(void **state)
{
    (void)state;
    assert_true(sc_meta_valid(SC_SPAN("\0\0")));
    assert_false(sc_meta_valid(SC_SPAN("")));
    assert_false(sc_meta_valid(SC_SPAN("\0")));
    assert_false(sc_meta_valid(SC_SPAN("\1\0")));
    assert_false(sc_meta_valid(SC_SPAN("\0\0x")));
}

/* Every prefix, and every byte of the frame set to 255: each is refused and read without leaving it. */
static void damage_is_seen(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 4096);
    struct sc_meta_writer w;
    sc_meta_begin(&w, &b);
    sc_meta_add(&w, SC_SPAN("key"), SC_SPAN("value"));
    sc_meta_add(&w, SC_SPAN("k"), SC_SPAN("v"));
    sc_meta_end(&w);

    for (size_t n = 0; n < b.n; n++) {
        char *exact = malloc(n ? n : 1); /* so that AddressSanitizer knows the end */
        memcpy(exact, b.p, n);
        assert_false(sc_meta_valid(sc_span(exact, n)));
        free(exact);
    }
    static const size_t frame[] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (size_t i = 0; i < sizeof frame / sizeof frame[0]; i++) {
        char *copy = malloc(b.n);
        memcpy(copy, b.p, b.n);
        copy[frame[i]] = (char)255;
        assert_false(sc_meta_valid(sc_span(copy, b.n)));
        sc_meta_get(sc_span(copy, b.n), SC_SPAN("none"));
        free(copy);
    }
    sc_buf_free(&b);
}

static void a_full_buffer_fails_at_the_end(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, 16);
    struct sc_meta_writer w;
    sc_meta_begin(&w, &b);
    sc_meta_add(&w, SC_SPAN("key"), SC_SPAN("a value that is too long"));
    sc_meta_end(&w);
    assert_int_equal(b.failed, SC_ELIMIT);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(an_empty_list_is_valid_and_nothing_is_not),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(a_full_buffer_fails_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
