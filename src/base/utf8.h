/* One UTF-8 sequence at a time. Whole spans: sc_utf8_valid (base/span.h). */
#ifndef SC_BASE_UTF8_H
#define SC_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What stands for bytes that are no UTF-8: U+FFFD. */
#define SC_UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Length (1..4) of the well-formed sequence at p, of which n bytes are there; 0 if it is malformed or cut. */
static inline unsigned sc_utf8_length(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    if (n == 0)
        return 0;
    unsigned c = u[0];
    if (c < 0x80)
        return 1;
    unsigned more = c >= 0xC2 && c <= 0xDF ? 1 : (c & 0xF0) == 0xE0 ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 0;
    if (!more || n <= more)
        return 0;
    unsigned low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (u[1] < low || u[1] > high)
        return 0;
    for (unsigned k = 2; k <= more; k++)
        if ((u[k] & 0xC0) != 0x80)
            return 0;
    return more + 1;
}

/* Writes code point cp (at most U+10FFFF; a surrogate becomes U+FFFD) to out; returns the length, 1..4. */
static inline unsigned sc_utf8_put(char out[4], uint32_t cp)
{
    if (cp >= 0xD800 && cp <= 0xDFFF)
        cp = 0xFFFD;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    unsigned n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)((0xF00u >> n & 0xF0) | cp);
    return n;
}

#endif
