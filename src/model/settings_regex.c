/* Regular expressions and addresses as TorchServe's files have them. */
#include <regex.h>
#include <strings.h>

#include "base/limits.h"
#include "model/settings_table.h"

/* ---- Java's regular expressions in POSIX's form ------------------------------------------------------ */

struct translation {
    struct sc_span in;
    size_t i;
    struct sc_buf *out;
    bool in_set;   /* between [ and ] */
    bool repeated; /* the last thing was a quantifier */
};

static const char *class_of(char c, bool in_set)
{
    switch (c) {
    case 'd': return in_set ? "0-9" : "[0-9]";
    case 'w': return in_set ? "A-Za-z0-9_" : "[A-Za-z0-9_]";
    case 's': return in_set ? " \t\n\r\f\v" : "[ \t\n\r\f\v]";
    case 'D': return in_set ? NULL : "[^0-9]";
    case 'W': return in_set ? NULL : "[^A-Za-z0-9_]";
    case 'S': return in_set ? NULL : "[^ \t\n\r\f\v]";
    default: return NULL;
    }
}

static void put_literal(struct translation *t, char c)
{
    if (!t->in_set && strchr(".[]{}()\\*+?|^$", c))
        sc_buf_char(t->out, '\\');
    sc_buf_char(t->out, c);
}

static void quoted(struct translation *t)
{
    while (t->i < t->in.n && !sc_span_starts(sc_span_sub(t->in, t->i, 2), SC_SPAN("\\E")))
        put_literal(t, t->in.p[t->i++]);
    t->i += t->i < t->in.n ? 2 : 0;
}

/* Behind a backslash. */
static const char *escaped(struct translation *t)
{
    if (t->i == t->in.n)
        return "it ends with a backslash";
    char c = t->in.p[t->i++];
    const char *set = class_of(c, t->in_set);
    if (set)
        sc_buf_str(t->out, set);
    else if (c == 'Q')
        quoted(t);
    else if (c == 't' || c == 'n')
        sc_buf_char(t->out, c == 't' ? '\t' : '\n');
    else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return "it uses an escape that is not supported";
    else
        put_literal(t, c);
    return NULL;
}

static const char *one(struct translation *t)
{
    char c = t->in.p[t->i++];
    bool after_repeat = t->repeated;
    t->repeated = false;
    if (c == '\\')
        return escaped(t);
    if (t->in_set) {
        t->in_set = c != ']';
        sc_buf_char(t->out, c);
        return c == '[' || c == '&' ? "it uses a set of sets, which is not supported" : NULL;
    }
    if (c == '[') {
        t->in_set = true;
        sc_buf_char(t->out, c);
        if (t->i < t->in.n && t->in.p[t->i] == '^')
            sc_buf_char(t->out, t->in.p[t->i++]);
        return NULL;
    }
    if (c == '(' && t->i < t->in.n && t->in.p[t->i] == '?') {
        if (!sc_span_starts(sc_span_sub(t->in, t->i, 2), SC_SPAN("?:")))
            return "it uses a (?...) that is not supported";
        t->i += 2;
    }
    if ((c == '?' || c == '+') && after_repeat)
        return "it uses lazy or possessive repetition, which is not supported";
    t->repeated = c == '*' || c == '+' || c == '?' || c == '}';
    sc_buf_char(t->out, c);
    return NULL;
}

int sc_settings_regex(const char *java, struct sc_buf *out, struct sc_msg *msg)
{
    struct translation t = {.in = sc_span_str(java), .out = out};
    const char *wrong = NULL;
    size_t start = out->n;
    char why[128];
    regex_t re;
    while (!wrong && t.i < t.in.n)
        wrong = one(&t);
    if (!wrong && t.in_set)
        wrong = "a [ has no ]";
    if (wrong)
        return sc_fail(msg, SC_EINVAL, "\"%.200s\" is no regular expression: %s", java, wrong);
    sc_buf_char(out, '\0');
    if (out->failed)
        return sc_fail(msg, out->failed, "the regular expression is too long");
    int rc = regcomp(&re, out->p + start, REG_EXTENDED | REG_NOSUB);
    out->n--;
    if (rc != 0) {
        regerror(rc, &re, why, sizeof why);
        return sc_fail(msg, SC_EINVAL, "\"%.200s\" is no regular expression: %s", java, why);
    }
    regfree(&re);
    return 0;
}

/* ---- addresses ------------------------------------------------------------------------------------- */

int sc_settings_check_address(const char *text, bool *https, struct sc_msg *msg)
{
    struct sc_span a = sc_span_str(text), rest;
    uint64_t port;
    *https = false;
    if (strncasecmp(text, "unix:/", 6) == 0)
        return 0;
    if (strncasecmp(text, "http://", 7) == 0)
        rest = sc_span_sub(a, 7, a.n);
    else if (strncasecmp(text, "https://", 8) == 0)
        rest = sc_span_sub(a, 8, a.n);
    else
        goto invalid;
    size_t host = sc_span_find(rest, ':');
    if (host == 0 || strpbrk(rest.p, "/^"))
        goto invalid;
    if (host < rest.n) {
        struct sc_span digits = sc_span_sub(rest, host + 1, rest.n);
        if (digits.n == 0 || strspn(digits.p, "0123456789") != digits.n)
            goto invalid;
        if (!sc_span_u64(digits, 65534, &port))
            return sc_fail(msg, SC_EINVAL, "Invalid port number: %.200s", text);
    }
    *https = strncasecmp(text, "https:", 6) == 0;
    return 0;
invalid:
    return sc_fail(msg, SC_EINVAL, "Invalid binding address: %.200s", text);
}
