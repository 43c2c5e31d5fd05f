#include "test.h"

#include <stdio.h>

#include "archive/allowed.h"

static void the_default_allows_files_and_http(void **state)
{
    (void)state;
    assert_true(sc_allowed_url(SC_ALLOWED_URLS_DEFAULT, "file:///a/b.mar"));
    assert_true(sc_allowed_url(SC_ALLOWED_URLS_DEFAULT, "HTTPS://host/b.mar?x=1"));
    assert_true(sc_allowed_url(SC_ALLOWED_URLS_DEFAULT, "http://host/b.mar"));
    assert_false(sc_allowed_url(SC_ALLOWED_URLS_DEFAULT, "ftp://host/b.mar"));
    assert_false(sc_allowed_url(SC_ALLOWED_URLS_DEFAULT, "xhttp://host/b.mar"));
}

/* The list, a url, whether Java would match. */
static void patterns_as_java_reads_them(void **state)
{
    static const struct {
        const char *list, *url;
        bool matches;
    } cases[] = {
        {"https://s3.amazonaws.com/.*,https://torchserve.pytorch.org/.*",
         "https://torchserve.pytorch.org/m.mar", true},
        {"https://s3.amazonaws.com/.*, https://torchserve.pytorch.org/.*",
         "https://torchserve.pytorch.org/m.mar", true},
        {"https://s3.amazonaws.com/.*", "https://s3.amazonaws.com.evil.org/m.mar", false},
        {"https://host/.*", "https://host/a", true},
        {"https://host/.*", "see https://host/a", false},
        {"a|b", "ab", false},
        {"a|b", "b", true},
        {"https://host/v\\d+/\\w+\\.mar", "https://host/v12/a_1.mar", true},
        {"https://host/v\\d+/\\w+\\.mar", "https://host/vx/a_1.mar", false},
        {"https://host/v\\d+/\\w+\\.mar", "https://host/v1/a_1xmar", false},
        {"https://[\\w.-]+/x", "https://a-b.c/x", true},
        {"https://[\\w\\-.]+/x", "https://a-b.c/x", true},
        {"https://[^/]+/x", "https://a/b/x", false},
        {"https://[]a]+", "https://]a", true},
        {"(?:http|https)://h/.*?\\.mar", "http://h/m.mar", true},
        {"(?i)http://H/.*", "http://h/", true},
        {"http://h/\\S+", "http://h/a b", false},
        {"http://h/[^\\s]+", "http://h/ab", true},
        {"http://h/a{2,3}?", "http://h/aaa",
         false}, /* the comma ends the pattern, as it does for TorchServe */
        {"http://h/a{2}", "http://h/aa", true},
        {"http:\\/\\/h\\/.*", "http://h/a", true},
        {"http://h/\\<a", "http://h/<a", true},
        {"", "http://h/", false},
        {",,", "http://h/", false},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        if (sc_allowed_url(cases[i].list, cases[i].url) != cases[i].matches)
            fail_msg("%s on %s", cases[i].list, cases[i].url);
}

static void what_cannot_be_translated_is_named_and_matches_nothing(void **state)
{
    static const char *const wrong[] = {
        "http://(?!evil).*", "http://(?<=a)b", "a++",  "\\bhttp://.*", "\\p{Alpha}", "[a-z&&[^b]]", "[a[b]]",
        "\\Qhttp\\E",        "(http://.*",     "[abc", "x\\",          "[\\D]",      "(a)\\1",
    };
    struct sc_msg msg;
    char list[96];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(wrong); i++) {
        snprintf(list, sizeof list, "file://.*,%s", wrong[i]);
        if (sc_allowed_urls_check(list, &msg) != SC_EINVAL)
            fail_msg("%s was taken", wrong[i]);
        assert_non_null(strstr(msg.text, wrong[i]));
        assert_true(sc_allowed_url(list, "file:///x"));
        assert_false(sc_allowed_url(list, "http://a"));
    }
    assert_int_equal(sc_allowed_urls_check(SC_ALLOWED_URLS_DEFAULT, &msg), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_allows_files_and_http),
        cmocka_unit_test(patterns_as_java_reads_them),
        cmocka_unit_test(what_cannot_be_translated_is_named_and_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
