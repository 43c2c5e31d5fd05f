#include "test.h"

#include <stdio.h>

#include "proto/java_regex.h"

static struct sc_msg why;
static char posix[512];

/* The code; posix and why are what came of it. */
static int translate(struct sc_span java, unsigned flags, regex_t *keep)
{
    struct sc_buf b;
    regex_t re;
    sc_buf_init(&b, sizeof posix - 1);
    why.text[0] = '\0';
    int rc = sc_java_regex(&re, java, flags, &b, &why);
    snprintf(posix, sizeof posix, "%.*s", rc == 0 ? (int)b.n : 0, rc == 0 ? b.p : "");
    sc_buf_free(&b);
    if (rc == 0 && keep)
        *keep = re;
    else if (rc == 0)
        regfree(&re);
    return rc;
}

static void what_posix_has_too_stays_as_it_is(void **state)
{
    static const char *const same[] = {"",       "abc",     ".*SECRET.*", "A|B",  "(a|b)?c+",   "[^a]{2,3}",
                                       "[]a-z]", "[^]a-z]", "^a$",        "[&x]", "\xc3\xa9.*", "a{1,}b{2}"};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(same); i++)
        for (unsigned flags = 0; flags < 8; flags++) {
            char whole[64];
            snprintf(whole, sizeof whole, flags & SC_JAVA_REGEX_WHOLE ? "^(%s)$" : "%s", same[i]);
            if (translate(sc_span_str(same[i]), flags, NULL) != 0)
                fail_msg("%s: %s", same[i], why.text);
            assert_string_equal(posix, whole);
        }
}

static void what_java_says_otherwise_is_translated(void **state)
{
    static const struct {
        const char *java, *posix;
        unsigned flags;
    } cases[] = {
        {"\\d+\\.x", "[0-9]+\\.x", 0},
        {"[\\w-]+\\D", "[A-Za-z0-9_-]+[^0-9]", 0},
        {"\\s\\S\\W", "[ \t\n\v\f\r][^ \t\n\v\f\r][^A-Za-z0-9_]", 0},
        {"[^\\s\\d]", "[^ \t\n\v\f\r0-9]", 0},
        {"(?:a|(?:b))?", "(a|(b))?", 0},
        {"\\/\\<\\-\\]\\}\\{", "/<-\\]\\}\\{", 0}, /* some mean something to POSIX behind a backslash */
        {"\\\\\\^\\$\\*", "\\\\\\^\\$\\*", 0},
        {"[\\]\\[\\^\\-\\\\\\.]", "[[.].][.[.][.^.][.-.][.\\.].]", 0},
        {"\\QA.B\\E.", "A\\.B.", SC_JAVA_REGEX_QUOTES},
        {"\\Qa*[\\", "a\\*\\[\\\\", SC_JAVA_REGEX_QUOTES},
        {"[\\Q]-\\E]\\Q\\E", "[[.].][.-.]]", SC_JAVA_REGEX_QUOTES},
        {"a\\tb\\n", "a\tb\n", SC_JAVA_REGEX_QUOTES},
        {"a*?b+?c??d{2}?", "^(a*b+c?d{2})$", SC_JAVA_REGEX_WHOLE},
        {"(?i)a", "a", SC_JAVA_REGEX_NOCASE},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        if (translate(sc_span_str(cases[i].java), cases[i].flags, NULL) != 0)
            fail_msg("%s: %s", cases[i].java, why.text);
        assert_string_equal(posix, cases[i].posix);
    }
}

static void what_cannot_be_said_is_refused_with_a_reason(void **state)
{
    static const struct {
        const char *java, *why; /* NULL: the C library's words */
        unsigned allowed_by;    /* 0: nothing */
    } cases[] = {
        {"a*?", "lazy", SC_JAVA_REGEX_WHOLE},
        {"a{2}?", "lazy", SC_JAVA_REGEX_WHOLE},
        {"(?i)x", "(?:...)", SC_JAVA_REGEX_NOCASE},
        {"\\Qa\\E", "of escapes", SC_JAVA_REGEX_QUOTES},
        {"\\t", "of escapes", SC_JAVA_REGEX_QUOTES},
        {"[\\n]", "of escapes", SC_JAVA_REGEX_QUOTES},
        {"a++", "possessive", 0},
        {"a?+", "possessive", 0},
        {"(?=x)", "(?:...)", 0},
        {"(?!x)", "(?:...)", 0},
        {"(?<=x)", "(?:...)", 0},
        {"x(?i)", "(?:...)", 0},
        {"(?", "(?:...)", 0},
        {"\\bx", "of escapes", 0},
        {"\\p{Alpha}", "of escapes", 0},
        {"(a)\\1", "of escapes", 0},
        {"\\u0041", "of escapes", 0},
        {"a\\", "of escapes", 0},
        {"[a\\", "of escapes", 0},
        {"[\\D]", "negated class", 0},
        {"[[:a]]", "within a class", 0},
        {"[a-z&&[^b]]", "within a class", 0},
        {"[a", "not closed", 0},
        {"[]", "not closed", 0},
        {"[", "not closed", 0},
        {"[^", "not closed", 0},
        {"(a", NULL, 0},
        {"[z-a]", NULL, 0},
        {"a{3,2}", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        for (unsigned flags = 0; flags < 8; flags++) {
            bool allowed = cases[i].allowed_by & flags;
            if (translate(sc_span_str(cases[i].java), flags, NULL) != (allowed ? 0 : SC_EINVAL))
                fail_msg("%s with flags %u: %s", cases[i].java, flags, why.text);
            assert_true(allowed || why.text[0]);
            if (!allowed && cases[i].why)
                assert_non_null(strstr(why.text, cases[i].why));
        }
    assert_int_equal(translate(SC_SPAN("*"), 0, NULL), SC_EINVAL);
    assert_int_equal(translate(SC_SPAN("a\0b"), SC_JAVA_REGEX_QUOTES, NULL), SC_EINVAL);
    assert_int_equal(translate(SC_SPAN("[a\0]"), SC_JAVA_REGEX_QUOTES, NULL), SC_EINVAL);
    assert_int_equal(translate(SC_SPAN("\\Qa\0"), SC_JAVA_REGEX_QUOTES, NULL), SC_EINVAL);
    assert_int_equal(translate(SC_SPAN("\\\0"), SC_JAVA_REGEX_QUOTES, NULL), SC_EINVAL);
}

static void the_whole_text_and_its_case(void **state)
{
    static const struct {
        const char *java, *text;
        unsigned flags;
        bool matches;
    } cases[] = {
        {"a|b", "ab", SC_JAVA_REGEX_WHOLE, false},
        {"a|b", "b", SC_JAVA_REGEX_WHOLE, true},
        {"a|b", "xbx", 0, true},
        {"a.b", "a\nb", SC_JAVA_REGEX_WHOLE, true},
        {"ab", "AB", SC_JAVA_REGEX_NOCASE, true},
        {"ab", "AB", SC_JAVA_REGEX_WHOLE, false},
        {"[\\]x-]+", "]-", 0, true},
        {"\\<a", "<a", SC_JAVA_REGEX_WHOLE, true},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        regex_t re;
        assert_int_equal(translate(sc_span_str(cases[i].java), cases[i].flags, &re), 0);
        if ((regexec(&re, cases[i].text, 0, NULL, 0) == 0) != cases[i].matches)
            fail_msg("%s on %s", cases[i].java, cases[i].text);
        regfree(&re);
    }
}

static void it_is_appended_and_bounded(void **state)
{
    struct sc_buf b;
    regex_t re;
    (void)state;
    sc_buf_init(&b, 8);
    sc_buf_str(&b, "x(");
    assert_int_equal(sc_java_regex(&re, SC_SPAN("a\\d"), 0, &b, &why), SC_ELIMIT);
    sc_buf_free(&b);
    sc_buf_init(&b, 9);
    sc_buf_str(&b, "x(");
    assert_int_equal(sc_java_regex(&re, SC_SPAN("a\\d"), 0, &b, &why), 0);
    assert_true(sc_span_eq(sc_buf_view(&b), SC_SPAN("x(a[0-9]")));
    regfree(&re);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_posix_has_too_stays_as_it_is),
        cmocka_unit_test(what_java_says_otherwise_is_translated),
        cmocka_unit_test(what_cannot_be_said_is_refused_with_a_reason),
        cmocka_unit_test(the_whole_text_and_its_case),
        cmocka_unit_test(it_is_appended_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
