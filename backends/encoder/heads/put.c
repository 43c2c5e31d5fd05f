#include "heads/put.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/array.h"
#include "proto/json_write.h"

#define DIGITS 9

/* |v| in [1e-4, 1e9): nine digits by integer arithmetic, ten times as fast as printf. */
static size_t fixed(char *to, float v)
{
    static const double power[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13};
    char *start = to, digits[DIGITS + 1];
    double x = fabs((double)v);
    if (v < 0)
        *to++ = '-';
    int point = -3; /* x < 10^point */
    while (x >= (point < 0 ? 1 / power[-point] : power[point]))
        point++;
    /* A float has 24 bits, a double's product rounds in the 53rd: the digits are the decimal's own. */
    uint64_t m = (uint64_t)llrint(x * power[DIGITS - point]);
    if (m >= 1000000000u) {
        m /= 10;
        point++;
    }
    int n = DIGITS;
    for (int i = DIGITS - 1; i >= 0; i--, m /= 10)
        digits[i] = (char)('0' + m % 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (point <= 0) {
        *to++ = '0';
        *to++ = '.';
        for (int i = point; i < 0; i++)
            *to++ = '0';
    }
    for (int i = 0; i < n; i++) {
        if (i == point && point > 0)
            *to++ = '.';
        *to++ = digits[i];
    }
    for (int i = n; i < point; i++)
        *to++ = '0';
    if (n <= point) {
        *to++ = '.';
        *to++ = '0';
    }
    return (size_t)(to - start);
}

size_t sc_put_float_text(char to[SC_PUT_FLOAT_MAX], float v)
{
    float size = fabsf(v);
    if (size >= 1e-4f && size < 9.9e8f)
        return fixed(to, v);
    if (!isfinite(v)) {
        memcpy(to, "null", 4);
        return 4;
    }
    int n = snprintf(to, SC_PUT_FLOAT_MAX - 2, "%.9g", (double)v);
    if (strcspn(to, ".e") == (size_t)n) {
        memcpy(to + n, ".0", 2);
        n += 2;
    }
    return (size_t)n;
}

void sc_put_float(struct sc_buf *b, float v)
{
    char text[SC_PUT_FLOAT_MAX];
    sc_buf_add(b, text, sc_put_float_text(text, v));
}

void sc_put_string(struct sc_buf *b, struct sc_span s)
{
    sc_buf_char(b, '"');
    sc_json_escape(b, s);
    sc_buf_char(b, '"');
}

void sc_put_uint(struct sc_buf *b, uint64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRIu64, v);
    sc_buf_add(b, text, (size_t)n);
}

void sc_put_vector(struct sc_buf *b, const float *v, uint32_t n)
{
    size_t most = (size_t)n * (SC_PUT_FLOAT_MAX + 2) + 2;
    if (sc_buf_reserve(b, most) < 0)
        return;
    char *to = b->p + b->n;
    *to++ = '[';
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) {
            *to++ = ',';
            *to++ = ' ';
        }
        to += sc_put_float_text(to, v[i]);
    }
    *to++ = ']';
    b->n = (size_t)(to - b->p);
}

void sc_put_vector_base64(struct sc_buf *b, const float *v, uint32_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = (size_t)n * sizeof *v, most = (size + 2) / 3 * 4 + 2;
    const unsigned char *from = (const unsigned char *)v; /* every machine we build for is little-endian */
    if (sc_buf_reserve(b, most) < 0)
        return;
    char *to = b->p + b->n;
    *to++ = '"';
    for (size_t i = 0; i < size; i += 3) {
        size_t have = SC_MIN(size - i, (size_t)3);
        uint32_t three = (uint32_t)from[i] << 16;
        if (have > 1)
            three |= (uint32_t)from[i + 1] << 8;
        if (have > 2)
            three |= from[i + 2];
        *to++ = letters[three >> 18];
        *to++ = letters[three >> 12 & 63];
        *to++ = have > 1 ? letters[three >> 6 & 63] : '=';
        *to++ = have > 2 ? letters[three & 63] : '=';
    }
    *to++ = '"';
    b->n = (size_t)(to - b->p);
}
