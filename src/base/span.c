#include "base/span.h"

#include <stdlib.h>

#include "base/utf8.h"

static unsigned char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

bool sc_span_eq_nocase(struct sc_span a, struct sc_span b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

struct sc_span sc_span_trim(struct sc_span s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool sc_span_u64(struct sc_span s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *out = v;
    return true;
}

bool sc_span_i32(struct sc_span s, int32_t *out)
{
    bool minus = s.n && s.p[0] == '-';
    uint64_t v;
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = sc_span_sub(s, 1, s.n);
    if (!sc_span_u64(s, (uint64_t)INT32_MAX + minus, &v))
        return false;
    *out = (int32_t)(minus ? -(int64_t)v : (int64_t)v);
    return true;
}

char *sc_span_dup(struct sc_span s)
{
    char *p = malloc(s.n + 1);
    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

bool sc_utf8_valid(struct sc_span s)
{
    size_t i = 0;
    while (i < s.n) {
        /* Eight ASCII bytes at a time: most input is ASCII. */
        uint64_t eight;
        if (s.n - i >= 8) {
            memcpy(&eight, s.p + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        unsigned length = sc_utf8_length(s.p + i, s.n - i);
        if (!length)
            return false;
        i += length;
    }
    return true;
}
