#include "archive/allowed.h"

#include "base/limits.h"
#include "proto/java_regex.h"

/* Makes a regex of the pattern; the caller frees it. */
static int compile(regex_t *re, struct sc_span java, struct sc_msg *msg)
{
    struct sc_msg why = {"it is too long"};
    struct sc_buf posix;
    sc_buf_init(&posix, 16 * SC_ARCHIVE_PATTERN_MAX);
    int rc = java.n > SC_ARCHIVE_PATTERN_MAX
                 ? SC_ELIMIT
                 : sc_java_regex(re, java, SC_JAVA_REGEX_WHOLE | SC_JAVA_REGEX_NOCASE, &posix, &why);
    sc_buf_free(&posix);
    if (rc == 0)
        return 0;
    return sc_fail(msg, SC_EINVAL, "allowed_urls: \"%.*s\": %s", (int)SC_MIN(java.n, (size_t)200), java.p,
                   why.text);
}

/* Takes the next pattern off the list; false at its end. Empty ones are passed over. */
static bool next_pattern(struct sc_span *list, struct sc_span *pattern)
{
    while (list->n > 0) {
        size_t n = sc_span_find(*list, ',');
        *pattern = sc_span_trim(sc_span_sub(*list, 0, n));
        *list = sc_span_sub(*list, n + 1, list->n);
        if (pattern->n > 0)
            return true;
    }
    return false;
}

bool sc_allowed_url_but(const char *list, const char *url, const char *other)
{
    struct sc_span rest = sc_span_str(list), pattern;
    bool allowed = false;
    while (!allowed && next_pattern(&rest, &pattern)) {
        regex_t re;
        if (compile(&re, pattern, NULL) < 0)
            continue;
        allowed = regexec(&re, url, 0, NULL, 0) == 0 && !(other && regexec(&re, other, 0, NULL, 0) == 0);
        regfree(&re);
    }
    return allowed;
}

bool sc_allowed_url(const char *list, const char *url)
{
    return sc_allowed_url_but(list, url, NULL);
}

int sc_allowed_urls_check(const char *list, struct sc_msg *msg)
{
    struct sc_span rest = sc_span_str(list), pattern;
    while (next_pattern(&rest, &pattern)) {
        regex_t re;
        int rc = compile(&re, pattern, msg);
        if (rc < 0)
            return rc;
        regfree(&re);
    }
    return 0;
}
