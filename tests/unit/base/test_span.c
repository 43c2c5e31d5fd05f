#include "test.h"

#include <stdlib.h>

#include "base/span.h"

static void equality_minds_length_and_nulls(void **state)
{
    (void)state;
    assert_true(sc_span_eq(SC_SPAN("a\0b"), sc_span("a\0b", 3)));
    assert_false(sc_span_eq(SC_SPAN("a\0b"), SC_SPAN("a\0c")));
    assert_false(sc_span_eq(SC_SPAN("ab"), SC_SPAN("abc")));
    assert_true(sc_span_eq(sc_span(NULL, 0), SC_SPAN("")));
    assert_true(sc_span_eq(sc_span_str(NULL), SC_SPAN("")));
}

static void only_ascii_letters_have_case(void **state)
{
    (void)state;
    assert_true(sc_span_eq_nocase(SC_SPAN("Content-Type"), SC_SPAN("cONTENT-tYPE")));
    assert_false(sc_span_eq_nocase(SC_SPAN("a@"), SC_SPAN("a`")));
    assert_false(sc_span_eq_nocase(SC_SPAN("\xc4"), SC_SPAN("\xe4")));
    assert_false(sc_span_eq_nocase(SC_SPAN("[{"), SC_SPAN("{[")));
}

static void a_part_never_reaches_beyond_the_whole(void **state)
{
    (void)state;
    struct sc_span s = SC_SPAN("hello");
    assert_true(sc_span_eq(sc_span_sub(s, 1, 3), SC_SPAN("ell")));
    assert_true(sc_span_eq(sc_span_sub(s, 3, SIZE_MAX), SC_SPAN("lo")));
    assert_int_equal(sc_span_sub(s, 9, 2).n, 0);
    assert_int_equal(sc_span_sub(sc_span(NULL, 0), 1, 1).n, 0);
    assert_int_equal(sc_span_find(s, 'l'), 2);
    assert_int_equal(sc_span_find(s, 'x'), 5);
    assert_int_equal(sc_span_find(sc_span(NULL, 0), 'x'), 0);
    assert_true(sc_span_starts(s, SC_SPAN("he")));
    assert_true(sc_span_starts(s, sc_span(NULL, 0)));
    assert_false(sc_span_starts(SC_SPAN("he"), s));
}

static void blanks_are_spaces_and_tabs(void **state)
{
    (void)state;
    assert_true(sc_span_eq(sc_span_trim(SC_SPAN(" \ta b\t ")), SC_SPAN("a b")));
    assert_int_equal(sc_span_trim(SC_SPAN(" \t ")).n, 0);
    assert_int_equal(sc_span_trim(SC_SPAN("\r\n")).n, 2);
    assert_int_equal(sc_span_trim(sc_span(NULL, 0)).n, 0);
}

static void numbers_fill_the_span_and_fit(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(sc_span_u64(SC_SPAN("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    static const char *const bad[] = {
        "",        " 1", "1 ", "+1", "-1", "0x1", "1.0", "18446744073709551616", "99999999999999999999999",
        "\xd9\xa1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sc_span_u64(sc_span_str(bad[i]), UINT64_MAX, &v));
    assert_true(sc_span_u64(SC_SPAN("0010"), 10, &v));
    assert_int_equal(v, 10);
    assert_false(sc_span_u64(SC_SPAN("11"), 10, &v));
    assert_int_equal(v, 10);
}

static void signed_numbers_are_javas_int(void **state)
{
    (void)state;
    int32_t v = 0;
    assert_true(sc_span_i32(SC_SPAN("2147483647"), &v) && v == INT32_MAX);
    assert_true(sc_span_i32(SC_SPAN("-2147483648"), &v) && v == INT32_MIN);
    assert_true(sc_span_i32(SC_SPAN("+5"), &v) && v == 5);
    assert_true(sc_span_i32(SC_SPAN("-0"), &v) && v == 0);
    static const char *const bad[] = {"2147483648", "-2147483649", "-", "+", "", "--1", "+-1", "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sc_span_i32(sc_span_str(bad[i]), &v));
}

static void a_copy_ends_with_nul(void **state)
{
    (void)state;
    char *p = sc_span_dup(sc_span("abc", 2));
    assert_string_equal(p, "ab");
    free(p);
    p = sc_span_dup(sc_span(NULL, 0));
    assert_string_equal(p, "");
    free(p);
}

static void utf8_is_checked_to_the_letter(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "plain ascii, longer than eight",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "1234567\xc3\xa4",
                                       "\xe6\x97\xa5\xe6\x9c\xac"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x7f",
                                      "\xc2\xc0",
                                      "\xe0\x9f\xbf",
                                      "\xe0\xa0",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf0\x90\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "12345678\xe2\x82",
                                      "\xf0\x90\x80\x41",
                                      "\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(sc_utf8_valid(sc_span_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sc_utf8_valid(sc_span_str(bad[i])));
    assert_true(sc_utf8_valid(SC_SPAN("a\0b")));
}

/* Every sequence of up to three bytes, against the table of RFC 3629 written as code points. */
static void utf8_agrees_with_decoding(void **state)
{
    (void)state;
    for (unsigned x = 0; x < 1u << 24; x += x < 1u << 16 ? 1 : 7) {
        unsigned char b[3] = {(unsigned char)(x >> 16), (unsigned char)(x >> 8), (unsigned char)x};
        bool want;
        if (b[0] >= 0xE0 && b[0] <= 0xEF) {
            unsigned cp = (b[0] & 15u) << 12 | (b[1] & 63u) << 6 | (b[2] & 63u);
            want =
                (b[1] & 0xC0) == 0x80 && (b[2] & 0xC0) == 0x80 && cp >= 0x800 && (cp < 0xD800 || cp > 0xDFFF);
        } else if (b[0] < 0x80) {
            bool two = b[1] >= 0xC2 && b[1] <= 0xDF && (b[2] & 0xC0) == 0x80;
            want = two || (b[1] < 0x80 && b[2] < 0x80);
        } else {
            want = b[0] >= 0xC2 && b[0] <= 0xDF && (b[1] & 0xC0) == 0x80 && b[2] < 0x80;
        }
        if (sc_utf8_valid(sc_span(b, 3)) != want)
            fail_msg("%02x %02x %02x", b[0], b[1], b[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_minds_length_and_nulls),
        cmocka_unit_test(only_ascii_letters_have_case),
        cmocka_unit_test(a_part_never_reaches_beyond_the_whole),
        cmocka_unit_test(blanks_are_spaces_and_tabs),
        cmocka_unit_test(numbers_fill_the_span_and_fit),
        cmocka_unit_test(signed_numbers_are_javas_int),
        cmocka_unit_test(a_copy_ends_with_nul),
        cmocka_unit_test(utf8_is_checked_to_the_letter),
        cmocka_unit_test(utf8_agrees_with_decoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
