#include "proto/java_regex.h"

#include <ctype.h>

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
    unsigned flags;
    bool inside; /* brackets */
    struct sc_buf *out;
    struct sc_msg *why;
};

static int refuse(struct translation *t, const char *why)
{
    return sc_fail(t->why, SC_EINVAL, "%s", why);
}

static char peek(const struct translation *t)
{
    return t->at < t->java.n ? t->java.p[t->at] : '\0';
}

/* A sign that means itself. */
static int literal(struct translation *t, char c)
{
    if (c == '\0')
        return refuse(t, "a zero byte cannot be used");
    if (t->inside && strchr("][^-\\", c))
        sc_buf_printf(t->out, "[.%c.]", c); /* POSIX brackets know no escapes */
    else if (!t->inside && strchr(".[]{}()\\*+?|^$", c))
        sc_buf_printf(t->out, "\\%c", c); /* only these: other signs mean something behind a backslash */
    else
        sc_buf_char(t->out, c);
    return 0;
}

static int quoted(struct translation *t)
{
    int rc = 0;
    while (rc == 0 && t->at < t->java.n && !sc_span_starts(sc_span_sub(t->java, t->at, 2), SC_SPAN("\\E")))
        rc = literal(t, t->java.p[t->at++]);
    t->at += 2; /* Java lets \E be left out at the end */
    return rc;
}

/* Behind a backslash. */
static int escape(struct translation *t)
{
    char c = peek(t);
    bool quotes = t->flags & SC_JAVA_REGEX_QUOTES;
    t->at++;
    for (size_t i = 0; i < SC_COUNT(shorthands); i++) {
        if (shorthands[i].letter != c)
            continue;
        if (t->inside && !shorthands[i].inside)
            return refuse(t, "a negated class within brackets cannot be used");
        sc_buf_str(t->out, t->inside ? shorthands[i].inside : shorthands[i].alone);
        return 0;
    }
    if (quotes && c == 'Q')
        return quoted(t);
    if (quotes && (c == 't' || c == 'n'))
        return literal(t, c == 't' ? '\t' : '\n');
    if (c == '\0' || isalnum((unsigned char)c))
        return refuse(t, quotes
                             ? "of escapes only \\d \\w \\s, their opposites, \\t, \\n, \\Q..\\E and escaped "
                               "signs can be used"
                             : "of escapes only \\d \\w \\s, their opposites and escaped signs can be used");
    return literal(t, c);
}

/* Behind a '['. */
static int brackets(struct translation *t)
{
    int rc = 0;
    sc_buf_char(t->out, '[');
    if (peek(t) == '^') {
        sc_buf_char(t->out, '^');
        t->at++;
    }
    t->inside = true;
    for (bool first = true; rc == 0 && t->at < t->java.n; first = false) {
        char c = peek(t);
        t->at++;
        if (c == '\0')
            return refuse(t, "a zero byte cannot be used");
        if (c == '[' || (c == '&' && peek(t) == '&'))
            return refuse(t, "a class within a class cannot be used");
        if (c == '\\')
            rc = escape(t);
        else
            sc_buf_char(t->out, c);
        if (c == ']' && !first) {
            t->inside = false;
            return rc;
        }
    }
    return rc < 0 ? rc : refuse(t, "a bracket is not closed");
}

/* Behind a '('. */
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

static int quantifier(struct translation *t, char c)
{
    sc_buf_char(t->out, c);
    if (peek(t) == '+')
        return refuse(t, "possessive quantifiers cannot be used");
    if (peek(t) != '?')
        return 0;
    if (!(t->flags & SC_JAVA_REGEX_WHOLE))
        return refuse(t, "lazy quantifiers cannot be used");
    t->at++;
    return 0;
}

static int translate(struct translation *t)
{
    int rc = 0;
    if ((t->flags & SC_JAVA_REGEX_NOCASE) && sc_span_starts(t->java, SC_SPAN("(?i)")))
        t->at = 4;
    if (t->flags & SC_JAVA_REGEX_WHOLE)
        sc_buf_str(t->out, "^(");
    while (rc == 0 && t->at < t->java.n) {
        char c = peek(t);
        t->at++;
        switch (c) {
        case '\0': rc = refuse(t, "a zero byte cannot be used"); break;
        case '\\': rc = escape(t); break;
        case '[': rc = brackets(t); break;
        case '(': rc = group(t); break;
        case '*':
        case '+':
        case '?':
        case '}': rc = quantifier(t, c); break;
        default: sc_buf_char(t->out, c); break;
        }
    }
    if (t->flags & SC_JAVA_REGEX_WHOLE)
        sc_buf_str(t->out, ")$");
    return rc;
}

int sc_java_regex(regex_t *re, struct sc_span java, unsigned flags, struct sc_buf *posix, struct sc_msg *why)
{
    struct translation t = {.java = java, .flags = flags, .out = posix, .why = why};
    size_t start = posix->n;
    char said[128];
    int rc = translate(&t);
    sc_buf_char(posix, '\0');
    if (posix->failed)
        return sc_fail(why, posix->failed, "it is too long");
    posix->n--;
    if (rc < 0)
        return rc;
    int wrong = regcomp(re, posix->p + start,
                        REG_EXTENDED | REG_NOSUB | (flags & SC_JAVA_REGEX_NOCASE ? REG_ICASE : 0));
    if (!wrong)
        return 0;
    regerror(wrong, re, said, sizeof said);
    return refuse(&t, said);
}
