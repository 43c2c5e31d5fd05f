#include "archive/allowed.h"

#include <ctype.h>
#include <regex.h>

#include "base/buf.h"
#include "base/limits.h"

struct shorthand {
    char letter;
    const char *inside; /* what it is within brackets; NULL: cannot be said there */
    const char *alone;
};

static const struct shorthand shorthands[] = {
    {'d', "0-9", "[0-9]"},
    {'D', NULL, "[^0-9]"},
    {'w', "A-Za-z0-9_", "[A-Za-z0-9_]"},
    {'W', NULL, "[^A-Za-z0-9_]"},
    {'s', " \t\n\v\f\r", "[ \t\n\v\f\r]"},
    {'S', NULL, "[^ \t\n\v\f\r]"},
};

struct translation {
    struct sc_span java;
    size_t at;
    struct sc_buf *out;
    struct sc_msg *msg;
};

static int refuse(struct translation *t, const char *what)
{
    return sc_fail(t->msg, SC_EINVAL, "allowed_urls: \"%.*s\": %s", (int)SC_MIN(t->java.n, (size_t)200),
                   t->java.p, what);
}

static char peek(const struct translation *t)
{
    return t->at < t->java.n ? t->java.p[t->at] : '\0';
}

/* Behind a backslash. */
static int escape(struct translation *t, bool inside)
{
    char c = peek(t);
    t->at++;
    for (size_t i = 0; i < SC_COUNT(shorthands); i++) {
        if (shorthands[i].letter != c)
            continue;
        if (inside && !shorthands[i].inside)
            return refuse(t, "a negated class within brackets cannot be used");
        sc_buf_str(t->out, inside ? shorthands[i].inside : shorthands[i].alone);
        return 0;
    }
    if (c == '\0' || isalnum((unsigned char)c))
        return refuse(t, "of escapes only \\d \\w \\s, their opposites and escaped signs can be used");
    if (inside && strchr("][^-\\", c))
        sc_buf_printf(t->out, "[.%c.]", c); /* POSIX brackets know no escapes */
    else if (inside)
        sc_buf_char(t->out, c);
    else if (c == '^' || c == '\\')
        sc_buf_printf(t->out, "\\%c", c);
    else
        sc_buf_printf(t->out, "[%c]", c); /* some signs mean something behind a backslash */
    return 0;
}

static int brackets(struct translation *t)
{
    sc_buf_char(t->out, '[');
    if (peek(t) == '^') {
        sc_buf_char(t->out, '^');
        t->at++;
    }
    for (bool first = true; t->at < t->java.n; first = false) {
        char c = peek(t);
        t->at++;
        if (c == ']' && !first) {
            sc_buf_char(t->out, ']');
            return 0;
        }
        if (c == '[' || (c == '&' && peek(t) == '&'))
            return refuse(t, "a class within a class cannot be used");
        if (c == '\\') {
            int rc = escape(t, true);
            if (rc < 0)
                return rc;
        } else {
            sc_buf_char(t->out, c);
        }
    }
    return refuse(t, "a bracket is not closed");
}

static int group(struct translation *t)
{
    sc_buf_char(t->out, '(');
    if (peek(t) != '?')
        return 0;
    if (!sc_span_starts(sc_span_sub(t->java, t->at, 2), SC_SPAN("?:")))
        return refuse(t, "of groups with a question mark only (?:...) can be used");
    t->at += 2;
    return 0;
}

static int translate(struct translation *t)
{
    int rc = 0;
    if (sc_span_starts(t->java, SC_SPAN("(?i)")))
        t->at = 4;
    sc_buf_str(t->out, "^(");
    while (rc == 0 && t->at < t->java.n) {
        char c = peek(t);
        t->at++;
        switch (c) {
        case '\0': return refuse(t, "a zero byte cannot be used");
        case '\\': rc = escape(t, false); break;
        case '[': rc = brackets(t); break;
        case '(': rc = group(t); break;
        case '*':
        case '+':
        case '?':
        case '}':
            sc_buf_char(t->out, c);
            /* As the whole must match, lazy finds what greedy finds. */
            if (peek(t) == '?')
                t->at++;
            else if (peek(t) == '+')
                rc = refuse(t, "possessive quantifiers cannot be used");
            break;
        default: sc_buf_char(t->out, c); break;
        }
    }
    sc_buf_str(t->out, ")$");
    sc_buf_char(t->out, '\0');
    if (rc == 0 && t->out->failed)
        rc = refuse(t, "it is too long");
    return rc;
}

/* Makes a regex of the pattern; the caller frees it. */
static int compile(regex_t *re, struct sc_span java, struct sc_msg *msg)
{
    char why[128];
    struct sc_buf posix;
    sc_buf_init(&posix, 16 * SC_ARCHIVE_PATTERN_MAX);
    struct translation t = {.java = java, .out = &posix, .msg = msg};
    int rc = java.n > SC_ARCHIVE_PATTERN_MAX ? refuse(&t, "it is too long") : translate(&t);
    if (rc == 0) {
        int wrong = regcomp(re, posix.p, REG_EXTENDED | REG_ICASE | REG_NOSUB);
        if (wrong) {
            regerror(wrong, re, why, sizeof why);
            rc = refuse(&t, why);
        }
    }
    sc_buf_free(&posix);
    return rc;
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

bool sc_allowed_url(const char *list, const char *url)
{
    struct sc_span rest = sc_span_str(list), pattern;
    bool allowed = false;
    while (!allowed && next_pattern(&rest, &pattern)) {
        regex_t re;
        if (compile(&re, pattern, NULL) < 0)
            continue;
        allowed = regexec(&re, url, 0, NULL, 0) == 0;
        regfree(&re);
    }
    return allowed;
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
