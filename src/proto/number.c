#include "proto/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"

/* |v| = 0.d1d2d3... * 10^point, finite, not zero; returns the count of digits, without trailing zeros. */
static unsigned digits_of(double v, bool single, char digits[20], int *point)
{
    char text[40];
    v = fabs(v);
    /* Every decimal of 15 (6) digits survives a normal double (float), and 17 (9) always suffice. */
    unsigned precision = v < (single ? (double)FLT_MIN : DBL_MIN) ? 1 : single ? 6 : 15;
    for (;; precision++) {
        snprintf(text, sizeof text, "%.*e", (int)precision - 1, v);
        if (precision >= (single ? 9u : 17u))
            break;
        if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
            break;
    }
    char *e = strchr(text, 'e');
    int32_t exponent = 0;
    (void)sc_span_i32(sc_span_str(e + 1), &exponent);
    *point = exponent + 1;
    unsigned n = 0;
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

static char *put(char *o, const char *p, size_t n)
{
    memcpy(o, p, n);
    return o + n;
}

/* Without an exponent, with at least one digit on either side of the point. */
static char *put_plain(char *o, const char *digits, unsigned n, int point)
{
    if (point <= 0) {
        o = put(o, "0.", 2);
        for (int i = point; i < 0; i++)
            *o++ = '0';
        return put(o, digits, n);
    }
    for (int i = 0; i < point; i++)
        *o++ = (unsigned)i < n ? digits[i] : '0';
    *o++ = '.';
    if ((unsigned)point >= n) {
        *o++ = '0';
        return o;
    }
    return put(o, digits + point, n - (unsigned)point);
}

/* What a scrape mostly tells, counts and sums of nanoseconds, far quicker than by digits_of. A decimal of at
 * most 15 digits is the shortest text of the double next to it. 0: it is another number. */
static size_t put_decimal(char *out, double v)
{
    char digits[20], *o = out;
    unsigned n = 0, places = v < 1e6 ? 9 : 8;
    if (v < 1e-3 || v >= 1e7)
        return 0;
    uint64_t scale = places == 9 ? 1000000000 : 100000000, whole = (uint64_t)llround(v * (double)scale);
    if ((double)whole / (double)scale != v)
        return 0;
    uint64_t behind = whole % scale;
    whole /= scale;
    do
        digits[n++] = (char)('0' + whole % 10);
    while (whole /= 10);
    while (n)
        *o++ = digits[--n];
    *o++ = '.';
    do {
        scale /= 10;
        *o++ = (char)('0' + behind / scale);
        behind %= scale;
    } while (behind);
    return (size_t)(o - out);
}

size_t sc_number_java(char out[SC_NUMBER_MAX], double v)
{
    char digits[20] = "", *o = out;
    int point;
    if (isnan(v))
        return (size_t)(put(o, "NaN", 3) - out);
    if (signbit(v))
        *o++ = '-';
    if (isinf(v))
        return (size_t)(put(o, "Infinity", 8) - out);
    if (v == 0)
        return (size_t)(put(o, "0.0", 3) - out);
    size_t fast = put_decimal(o, fabs(v));
    if (fast)
        return (size_t)(o - out) + fast;
    unsigned n = digits_of(v, false, digits, &point);
    if (point > -3 && point <= 7)
        return (size_t)(put_plain(o, digits, n, point) - out);
    *o++ = digits[0];
    *o++ = '.';
    o = n > 1 ? put(o, digits + 1, n - 1) : put(o, "0", 1);
    return (size_t)(o - out) + (size_t)snprintf(o, SC_NUMBER_MAX - (size_t)(o - out), "E%d", point - 1);
}

size_t sc_number_json(char out[SC_NUMBER_MAX], double v, bool single)
{
    char digits[20] = "", *o = out;
    int point;
    if (signbit(v))
        *o++ = '-';
    if (v == 0)
        return (size_t)(put(o, "0.0", 3) - out);
    unsigned n = digits_of(v, single, digits, &point);
    if (point > -4 && point <= 16)
        return (size_t)(put_plain(o, digits, n, point) - out);
    *o++ = digits[0];
    if (n > 1) {
        *o++ = '.';
        o = put(o, digits + 1, n - 1);
    }
    return (size_t)(o - out) + (size_t)snprintf(o, SC_NUMBER_MAX - (size_t)(o - out), "e%+03d", point - 1);
}

/* Digits beyond these cannot change the rounding but by being not all zero. */
#define DIGITS_MAX 800

struct scanned {
    char digits[DIGITS_MAX + 1];
    unsigned n;
    bool more;     /* something not zero was cut */
    int64_t point; /* as in digits_of */
    bool minus;
};

static bool is_digit(struct sc_span s, size_t i)
{
    return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

static void scan_digit(struct scanned *d, char c)
{
    if (d->n == 0 && c == '0')
        d->point--;
    else if (d->n < DIGITS_MAX)
        d->digits[d->n++] = c;
    else
        d->more |= c != '0';
}

static bool scan(struct sc_span s, struct scanned *d)
{
    size_t i = 0;
    if (i < s.n && s.p[i] == '-') {
        d->minus = true;
        i++;
    }
    if (!is_digit(s, i) || (s.p[i] == '0' && is_digit(s, i + 1)))
        return false;
    for (; is_digit(s, i); i++) {
        d->point++;
        scan_digit(d, s.p[i]);
    }
    if (i < s.n && s.p[i] == '.') {
        if (!is_digit(s, ++i))
            return false;
        for (; is_digit(s, i); i++)
            scan_digit(d, s.p[i]);
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        bool minus = i < s.n && s.p[i] == '-';
        if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
            i++;
        if (!is_digit(s, i))
            return false;
        int64_t e = 0;
        for (; is_digit(s, i); i++)
            if (e < INT64_C(1000000000000))
                e = e * 10 + (s.p[i] - '0');
        d->point += minus ? -e : e;
    }
    return i == s.n;
}

bool sc_number_read(struct sc_span s, double *out)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct scanned d;
    d.n = 0;
    d.point = 0;
    d.more = d.minus = false;
    if (!scan(s, &d))
        return false;
    while (d.n && d.digits[d.n - 1] == '0' && !d.more)
        d.n--;
    int64_t exponent = d.point - d.n;
    double v;
    if (d.n == 0) {
        v = 0;
    } else if (d.n <= 15 && exponent >= -22 && exponent <= 22) {
        /* Both are exact doubles, so one division or product rounds once. */
        int64_t mantissa = 0;
        for (unsigned i = 0; i < d.n; i++)
            mantissa = mantissa * 10 + (d.digits[i] - '0');
        v = exponent < 0 ? (double)mantissa / tens[-exponent] : (double)mantissa * tens[exponent];
    } else if (d.point > 400 || d.point < -400) {
        v = d.point > 0 ? HUGE_VAL : 0;
    } else {
        char text[DIGITS_MAX + 32];
        if (d.more)
            d.digits[d.n++] = '1';
        snprintf(text, sizeof text, "0.%.*se%d", (int)d.n, d.digits, (int)d.point);
        v = strtod(text, NULL);
    }
    *out = d.minus ? -v : v;
    return true;
}
