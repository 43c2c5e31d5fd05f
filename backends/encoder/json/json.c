#include "json/json.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/limits.h"

static int fail(struct sc_json_reader *r, int code, const char *what)
{
    if (!r->error)
        r->error = what;
    return code;
}

void sc_json_reader_init(struct sc_json_reader *r, struct sc_span bytes)
{
    static const char nothing[1];
    const char *p = bytes.p ? bytes.p : nothing;
    *r = (struct sc_json_reader){.start = p, .p = p, .end = p + bytes.n};
}

void sc_json_reader_free(struct sc_json_reader *r)
{
    free(r->decoded);
    r->decoded = NULL;
    r->decoded_n = 0;
}

static void blanks(struct sc_json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

char sc_json_peek(struct sc_json_reader *r)
{
    blanks(r);
    return r->p < r->end ? *r->p : '\0';
}

int sc_json_enter(struct sc_json_reader *r, char open)
{
    if (sc_json_peek(r) != open)
        return fail(r, SC_EINVAL, open == '{' ? "an object was expected" : "a list was expected");
    if (r->depth == SC_JSON_DEPTH_MAX)
        return fail(r, SC_ELIMIT, "nested too deeply");
    r->depth++;
    r->p++;
    r->fresh = true;
    return 0;
}

/* 1 if a member or item follows, 0 if the container is over. */
static int next(struct sc_json_reader *r, char close)
{
    bool first = r->fresh;
    r->fresh = false;
    char c = sc_json_peek(r);
    if (c == close) {
        r->p++;
        r->depth--;
        return 0;
    }
    if (first)
        return 1;
    if (c != ',')
        return fail(r, SC_EINVAL, close == '}' ? "',' or '}' was expected" : "',' or ']' was expected");
    r->p++;
    return 1;
}

int sc_json_next_key(struct sc_json_reader *r, struct sc_span *key)
{
    int rc = next(r, '}');
    if (rc <= 0)
        return rc;
    if (sc_json_peek(r) != '"')
        return fail(r, SC_EINVAL, "a member's name in quotes was expected");
    rc = sc_json_string(r, key);
    if (rc < 0)
        return rc;
    if (sc_json_peek(r) != ':')
        return fail(r, SC_EINVAL, "':' was expected");
    r->p++;
    return 1;
}

int sc_json_next_item(struct sc_json_reader *r)
{
    return next(r, ']');
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

static char *put_utf8(char *to, unsigned c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

/* An escape, r->p behind its backslash. */
static int escape(struct sc_json_reader *r, char **to)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    char c = r->p < r->end ? *r->p : '\0';
    const char *at = c ? memchr(names, c, sizeof names - 1) : NULL;
    if (at) {
        *(*to)++ = bytes[at - names];
        r->p++;
        return 0;
    }
    int high = c == 'u' && r->end - r->p >= 5 ? hex4(r->p + 1) : -1;
    if (high < 0)
        return fail(r, SC_EINVAL, "unknown escape in a string");
    unsigned code = (unsigned)high;
    size_t used = 5;
    if (code >= 0xD800 && code <= 0xDFFF) {
        int low =
            code <= 0xDBFF && r->end - r->p >= 11 && r->p[5] == '\\' && r->p[6] == 'u' ? hex4(r->p + 7) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return fail(r, SC_EINVAL, "half of a surrogate pair in a string");
        code = 0x10000 + ((code - 0xD800) << 10) + ((unsigned)low - 0xDC00);
        used = 11;
    }
    *to = put_utf8(*to, code);
    r->p += used;
    return 0;
}

/* First quote, backslash or control byte. */
static const char *plain_end(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    for (; end - p >= 8; p += 8) {
        uint64_t v, quote, slash;
        memcpy(&v, p, sizeof v);
        quote = v ^ ones * '"';
        slash = v ^ ones * '\\';
        /* A byte that is 0 (or, for v, below 32) borrows into its top bit. Bytes above 127 may be reported
         * too early by a borrow from their neighbour, never too late: the loop below looks closely. */
        if (((quote - ones) & ~quote & high) | ((slash - ones) & ~slash & high) |
            ((v - ones * 32) & ~v & high))
            break;
    }
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return p;
}

int sc_json_string(struct sc_json_reader *r, struct sc_span *out)
{
    if (sc_json_peek(r) != '"')
        return fail(r, SC_EINVAL, "a string was expected");
    const char *from = ++r->p;
    r->p = plain_end(from, r->end);
    if (r->p < r->end && *r->p == '"') {
        *out = sc_span(from, (size_t)(r->p - from));
        r->p++;
        return 0;
    }
    if (!r->decoded) {
        /* Decoding never lengthens, so this holds every string that can still come. */
        r->decoded = malloc((size_t)(r->end - from) + 1);
        if (!r->decoded)
            return fail(r, SC_ENOMEM, "no memory for a string");
    }
    char *text = r->decoded + r->decoded_n, *to = text;
    for (;;) {
        size_t n = (size_t)(r->p - from);
        memcpy(to, from, n);
        to += n;
        if (r->p == r->end)
            return fail(r, SC_EINVAL, "a string is not closed");
        if ((unsigned char)*r->p < 0x20)
            return fail(r, SC_EINVAL, "a control character in a string (write it as an escape)");
        if (*r->p++ == '"')
            break;
        int rc = escape(r, &to);
        if (rc < 0)
            return rc;
        from = r->p;
        r->p = plain_end(from, r->end);
    }
    *out = sc_span(text, (size_t)(to - text));
    r->decoded_n += out->n;
    return 0;
}

int sc_json_u64(struct sc_json_reader *r, uint64_t max, uint64_t *out)
{
    sc_json_peek(r);
    const char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    struct sc_span digits = sc_span(from, (size_t)(r->p - from));
    bool more = r->p < r->end && (*r->p == '.' || *r->p == 'e' || *r->p == 'E');
    if (digits.n == 0 || more || (digits.n > 1 && from[0] == '0'))
        return fail(r, SC_EINVAL, "a whole number, 0 or more, was expected");
    if (!sc_span_u64(digits, max, out))
        return fail(r, SC_EINVAL, "a number is too large");
    return 0;
}

static int word(struct sc_json_reader *r, struct sc_span w)
{
    if ((size_t)(r->end - r->p) < w.n || memcmp(r->p, w.p, w.n) != 0)
        return fail(r, SC_EINVAL, "a value was expected");
    r->p += w.n;
    return 0;
}

int sc_json_null(struct sc_json_reader *r)
{
    sc_json_peek(r);
    return word(r, SC_SPAN("null"));
}

static int digits(struct sc_json_reader *r)
{
    const char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > from ? 0 : fail(r, SC_EINVAL, "a digit was expected");
}

static int number(struct sc_json_reader *r)
{
    if (*r->p == '-')
        r->p++;
    int rc = 0;
    if (r->p < r->end && *r->p == '0')
        r->p++;
    else
        rc = digits(r);
    if (rc == 0 && r->p < r->end && *r->p == '.') {
        r->p++;
        rc = digits(r);
    }
    if (rc == 0 && r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->p++;
        rc = digits(r);
    }
    return rc;
}

static int scalar(struct sc_json_reader *r)
{
    struct sc_span ignored;
    char c = sc_json_peek(r);
    if (c == '"')
        return sc_json_string(r, &ignored);
    if (c == '-' || (c >= '0' && c <= '9'))
        return number(r);
    return word(r, c == 't' ? SC_SPAN("true") : c == 'f' ? SC_SPAN("false") : SC_SPAN("null"));
}

int sc_json_skip(struct sc_json_reader *r)
{
    /* Bit d of `objects` says whether the container at depth d is an object; the depth is bounded by its
     * width. */
    _Static_assert(SC_JSON_DEPTH_MAX <= 64, "one bit for each level");
    uint64_t objects = 0;
    unsigned floor = r->depth;
    struct sc_span key;
    do {
        char c = sc_json_peek(r);
        int rc;
        if (c == '{' || c == '[') {
            rc = sc_json_enter(r, c);
            if (rc < 0)
                return rc;
            uint64_t bit = UINT64_C(1) << (r->depth - 1);
            objects = c == '{' ? objects | bit : objects & ~bit;
        } else {
            rc = scalar(r);
            if (rc < 0)
                return rc;
        }
        while (r->depth > floor) {
            bool object = objects >> (r->depth - 1) & 1;
            rc = object ? sc_json_next_key(r, &key) : sc_json_next_item(r);
            if (rc < 0)
                return rc;
            if (rc > 0)
                break;
        }
    } while (r->depth > floor);
    return 0;
}

int sc_json_end(struct sc_json_reader *r)
{
    if (sc_json_peek(r) != '\0' || r->p < r->end)
        return fail(r, SC_EINVAL, "something follows the end of the document");
    return 0;
}
