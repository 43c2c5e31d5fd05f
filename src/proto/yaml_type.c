/* What a plain scalar of YAML 1.1 is. The rules are PyYAML's; SnakeYAML's differ in nothing that settings
 * hold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/yaml.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool one_of(struct sc_span s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sc_span_eq(s, sc_span_str(words[i])))
            return true;
    return false;
}

static size_t run_of(struct sc_span s, size_t at, const char *set)
{
    size_t n = 0;
    while (at + n < s.n && s.p[at + n] && strchr(set, s.p[at + n]))
        n++;
    return n;
}

/* ---- integers --------------------------------------------------------------------------------------- */

static int digit_value(char c)
{
    return is_digit(c) ? c - '0' : (c | 32) - 'a' + 10;
}

/* Digits of a base, with underscores. */
static void add_digits(struct sc_span s, unsigned base, uint64_t *n, bool *big)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_' && (__builtin_mul_overflow(*n, (uint64_t)base, n) ||
                              __builtin_add_overflow(*n, (uint64_t)digit_value(s.p[i]), n)))
            *big = true;
}

/* 1:30:00: groups of base 60, all but the first from 0 to 59 in one or two digits. */
static bool sexagesimal(struct sc_span s, size_t first, uint64_t *n, bool *big)
{
    add_digits(sc_span_sub(s, 0, first), 10, n, big);
    for (size_t i = first; i < s.n;) {
        size_t group = s.p[i] == ':' ? run_of(s, i + 1, "0123456789") : 0;
        if (group == 0 || group > 2 || (group == 2 && s.p[i + 1] > '5'))
            return false;
        uint64_t v = 0;
        add_digits(sc_span_sub(s, i + 1, group), 10, &v, big);
        if (__builtin_mul_overflow(*n, (uint64_t)60, n) || __builtin_add_overflow(*n, v, n))
            *big = true;
        i += 1 + group;
    }
    return true;
}

/* s is without its sign. */
static bool magnitude(struct sc_span s, uint64_t *n, bool *big)
{
    static const struct {
        const char *prefix, *digits;
        unsigned base;
    } forms[] = {{"0b", "01_", 2}, {"0x", "0123456789abcdefABCDEF_", 16}, {"0", "01234567_", 8}};
    if (sc_span_eq(s, SC_SPAN("0")))
        return true;
    for (size_t i = 0; i < SC_COUNT(forms); i++) {
        struct sc_span prefix = sc_span_str(forms[i].prefix);
        if (sc_span_starts(s, prefix) && s.n > prefix.n &&
            run_of(s, prefix.n, forms[i].digits) == s.n - prefix.n) {
            add_digits(sc_span_sub(s, prefix.n, s.n), forms[i].base, n, big);
            return true;
        }
    }
    if (s.n == 0 || s.p[0] < '1' || s.p[0] > '9')
        return false;
    size_t first = run_of(s, 0, "0123456789_");
    return sexagesimal(s, first, n, big);
}

static bool integer(struct sc_span s, struct sc_yaml_value *out)
{
    bool minus = s.n && s.p[0] == '-';
    struct sc_span digits = s.n && (minus || s.p[0] == '+') ? sc_span_sub(s, 1, s.n) : s;
    uint64_t n = 0;
    bool big = false;
    if (!magnitude(digits, &n, &big))
        return false;
    out->big = big || n > (uint64_t)INT64_MAX;
    out->number = out->big ? 0 : minus ? -(int64_t)n : (int64_t)n;
    return true;
}

/* ---- reals ------------------------------------------------------------------------------------------ */

/* 190:20:30.15: base 60, then a fraction. */
static bool sexagesimal_real(struct sc_span s, bool sign, double *out)
{
    size_t point = sc_span_find(s, '.'), first = run_of(s, sign, "0123456789_");
    struct sc_span whole = sc_span_sub(s, sign, point - sign);
    uint64_t n = 0;
    double scale = 1, fraction = 0;
    bool big = false;
    if (point == s.n || first == 0 || !is_digit(s.p[sign]) || first == whole.n ||
        run_of(s, point + 1, "0123456789_") != s.n - point - 1 || !sexagesimal(whole, first, &n, &big))
        return false;
    for (size_t i = point + 1; i < s.n; i++)
        if (s.p[i] != '_')
            fraction += (s.p[i] - '0') * (scale /= 10);
    *out = (sign && s.p[0] == '-' ? -1 : 1) * ((double)n + fraction);
    return true;
}

/* 1.5, .5, 1., 1_0.5e+3: a point always, a sign in the exponent always. */
static bool is_real(struct sc_span s, size_t at)
{
    size_t whole = at < s.n && is_digit(s.p[at]) ? run_of(s, at, "0123456789_") : 0;
    bool signless = at == 0;
    at += whole;
    if (at >= s.n || s.p[at] != '.')
        return false;
    size_t part = run_of(s, at + 1, "0123456789_");
    if (whole == 0 && (part == 0 || !is_digit(s.p[at + 1]) || !signless))
        return false;
    at += 1 + part;
    if (at == s.n)
        return true;
    if (s.p[at] != 'e' && s.p[at] != 'E')
        return false;
    if (at + 1 >= s.n || (s.p[at + 1] != '+' && s.p[at + 1] != '-'))
        return false;
    size_t digits = run_of(s, at + 2, "0123456789");
    return digits > 0 && at + 2 + digits == s.n;
}

static bool real(struct sc_span s, struct sc_yaml_value *out)
{
    static const char *const inf[] = {".inf", ".Inf", ".INF"}, *const nan[] = {".nan", ".NaN", ".NAN"};
    char text[400];
    size_t n = 0;
    bool sign = s.n && (s.p[0] == '-' || s.p[0] == '+');
    struct sc_span rest = sign ? sc_span_sub(s, 1, s.n) : s;
    if (one_of(rest, inf, SC_COUNT(inf))) {
        out->real = sign && s.p[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (one_of(s, nan, SC_COUNT(nan))) {
        out->real = NAN;
        return true;
    }
    if (sexagesimal_real(s, sign, &out->real))
        return true;
    if (!is_real(s, sign) || s.n >= sizeof text)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            text[n++] = s.p[i];
    text[n] = '\0';
    out->real = strtod(text, NULL);
    return true;
}

/* 2024-05-30, and what begins so and goes on with a time. */
static bool is_timestamp(struct sc_span s)
{
    static const char form[] = "dddd-dd-dd";
    if (s.n == sizeof form - 1) {
        for (size_t i = 0; i < s.n; i++)
            if (form[i] == 'd' ? !is_digit(s.p[i]) : s.p[i] != form[i])
                return false;
        return true;
    }
    if (s.n < 14 || run_of(s, 0, "0123456789") != 4 || s.p[4] != '-')
        return false;
    size_t month = run_of(s, 5, "0123456789"), day = run_of(s, 6 + month, "0123456789");
    size_t at = 6 + month + day;
    if (month < 1 || month > 2 || day < 1 || day > 2 || s.p[5 + month] != '-' || at >= s.n)
        return false;
    if (s.p[at] != 'T' && s.p[at] != 't' && s.p[at] != ' ' && s.p[at] != '\t')
        return false;
    return memchr(s.p + at, ':', s.n - at) != NULL && run_of(s, at, "Tt \t0123456789:.+-Zz") == s.n - at;
}

enum sc_yaml_type sc_yaml_type(struct sc_span plain, struct sc_yaml_value *out)
{
    static const char *const yes[] = {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"};
    static const char *const no[] = {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"};
    static const char *const null[] = {"", "~", "null", "Null", "NULL"};
    *out = (struct sc_yaml_value){0};
    if (one_of(plain, null, SC_COUNT(null)))
        return SC_YAML_NULL;
    out->truth = one_of(plain, yes, SC_COUNT(yes));
    if (out->truth || one_of(plain, no, SC_COUNT(no)))
        return SC_YAML_BOOL;
    if (integer(plain, out))
        return SC_YAML_INT;
    if (real(plain, out))
        return SC_YAML_FLOAT;
    if (is_timestamp(plain))
        return SC_YAML_TIMESTAMP;
    return sc_span_eq(plain, SC_SPAN("<<")) || sc_span_eq(plain, SC_SPAN("=")) ? SC_YAML_SPECIAL
                                                                               : SC_YAML_STRING;
}
