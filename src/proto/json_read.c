#include "proto/json_read.h"

#include <endian.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "proto/number.h"

_Static_assert(SC_JSON_DEPTH_MAX <= 64, "containers are bits of 64");

enum { VALUE, VALUE_OR_END, KEY, KEY_OR_END, COMMA_OR_END, NOTHING };

void sc_json_read_init(struct sc_json_reader *r, struct sc_span text)
{
    *r = (struct sc_json_reader){.text = text, .expect = VALUE};
}

static int fail_code(struct sc_json_reader *r, int code, size_t at, const char *problem)
{
    r->problem = problem;
    r->problem_at = at;
    return r->failed = code;
}

static int fail(struct sc_json_reader *r, size_t at, const char *problem)
{
    return fail_code(r, SC_EINVAL, at, problem);
}

static void skip_blanks(struct sc_json_reader *r)
{
    const char *p = r->text.p;
    size_t i = r->pos;
    while (i < r->text.n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t'))
        i++;
    r->pos = i;
}

static bool in_array(const struct sc_json_reader *r)
{
    return (r->arrays >> (r->depth - 1) & 1) != 0;
}

static void after_value(struct sc_json_reader *r)
{
    r->expect = r->depth ? COMMA_OR_END : NOTHING;
}

/* How many of eight bytes come before the first that is below 0x20, '"', '\\', or not ASCII. */
static unsigned plain_bytes(const char *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t v;
    memcpy(&v, p, sizeof v);
    v = le64toh(v);
    uint64_t quote = v ^ (ones * '"'), slash = v ^ (ones * '\\');
    /* A byte that is looked for borrows from the next, which may then be marked wrongly: only the first
     * counts. */
    uint64_t marks = (v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & high;
    return marks ? (unsigned)__builtin_ctzll(marks) / 8 : 8;
}

/* -1 if one of the four is no hexadecimal digit. */
static int hex4(const char *p)
{
    enum { OK = 0x10 }; /* marks the digits */
    static const unsigned char of[256] = {
        ['0'] = OK,      ['1'] = OK | 1,  ['2'] = OK | 2,  ['3'] = OK | 3,  ['4'] = OK | 4,  ['5'] = OK | 5,
        ['6'] = OK | 6,  ['7'] = OK | 7,  ['8'] = OK | 8,  ['9'] = OK | 9,  ['a'] = OK | 10, ['b'] = OK | 11,
        ['c'] = OK | 12, ['d'] = OK | 13, ['e'] = OK | 14, ['f'] = OK | 15, ['A'] = OK | 10, ['B'] = OK | 11,
        ['C'] = OK | 12, ['D'] = OK | 13, ['E'] = OK | 14, ['F'] = OK | 15};
    const unsigned char *u = (const unsigned char *)p;
    unsigned a = of[u[0]], b = of[u[1]], c = of[u[2]], d = of[u[3]];
    if (!(a & b & c & d & OK))
        return -1;
    return (int)((a & 15) << 12 | (b & 15) << 8 | (c & 15) << 4 | (d & 15));
}

/* What \c stands for; 0 if that is no escape. */
static char plain_escape(char c)
{
    static const char of[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                 ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    return of[(unsigned char)c];
}

/* At the byte behind the opening quote. */
static int read_string(struct sc_json_reader *r)
{
    const char *p = r->text.p;
    size_t n = r->text.n, start = r->pos, i = start;
    r->escaped = false;
    for (;;) {
        while (n - i >= 8) {
            unsigned plain = plain_bytes(p + i);
            i += plain;
            if (plain < 8)
                break;
        }
        if (i == n)
            return fail(r, start - 1, "a string that does not end");
        unsigned char c = (unsigned char)p[i];
        if (c == '"')
            break;
        if (c == '\\') {
            r->escaped = true;
            if (n - i < 2)
                return fail(r, start - 1, "a string that does not end");
            if (p[i + 1] == 'u') {
                if (n - i < 6 || hex4(p + i + 2) < 0)
                    return fail(r, i, "\\u without four hexadecimal digits");
                i += 6;
            } else if (plain_escape(p[i + 1])) {
                i += 2;
            } else {
                return fail(r, i, "an unknown escape in a string");
            }
        } else if (c < ' ') {
            return fail(r, i, "a control character in a string (it must be escaped)");
        } else if (c < 0x80) {
            i++;
        } else {
            do {
                unsigned len = sc_utf8_length(p + i, n - i);
                if (!len)
                    return fail(r, i, "bytes that are not UTF-8");
                i += len;
            } while (i < n && (unsigned char)p[i] >= 0x80);
        }
    }
    r->raw = sc_span(p + start, i - start);
    r->pos = i + 1;
    return 0;
}

static bool digit_at(const struct sc_json_reader *r, size_t i)
{
    return i < r->text.n && r->text.p[i] >= '0' && r->text.p[i] <= '9';
}

static bool byte_at(const struct sc_json_reader *r, size_t i, char a, char b)
{
    return i < r->text.n && (r->text.p[i] == a || r->text.p[i] == b);
}

static int read_number(struct sc_json_reader *r)
{
    size_t start = r->pos, i = start;
    if (byte_at(r, i, '-', '-'))
        i++;
    if (!digit_at(r, i))
        return fail(r, start, "a number without digits");
    if (r->text.p[i] == '0' && digit_at(r, i + 1))
        return fail(r, start, "a number with a leading zero");
    while (digit_at(r, i))
        i++;
    if (byte_at(r, i, '.', '.')) {
        if (!digit_at(r, ++i))
            return fail(r, start, "a number without digits behind its point");
        while (digit_at(r, i))
            i++;
    }
    if (byte_at(r, i, 'e', 'E')) {
        i++;
        if (byte_at(r, i, '-', '+'))
            i++;
        if (!digit_at(r, i))
            return fail(r, start, "a number without digits in its exponent");
        while (digit_at(r, i))
            i++;
    }
    r->raw = sc_span(r->text.p + start, i - start);
    r->pos = i;
    after_value(r);
    return SC_JSON_NUMBER;
}

static int read_word(struct sc_json_reader *r, struct sc_span word, int event)
{
    if (!sc_span_starts(sc_span_sub(r->text, r->pos, word.n), word))
        return fail(r, r->pos, "something that is no value");
    r->pos += word.n;
    after_value(r);
    return event;
}

static int read_value(struct sc_json_reader *r)
{
    char c = r->text.p[r->pos];
    switch (c) {
    case '"': {
        r->pos++;
        int rc = read_string(r);
        if (rc < 0)
            return rc;
        after_value(r);
        return SC_JSON_STRING;
    }
    case '{':
    case '[':
        if (r->depth == SC_JSON_DEPTH_MAX)
            return fail_code(r, SC_ELIMIT, r->pos, "more levels of nesting than are allowed");
        if (c == '[')
            r->arrays |= UINT64_C(1) << r->depth;
        else
            r->arrays &= ~(UINT64_C(1) << r->depth);
        r->depth++;
        r->pos++;
        r->expect = c == '[' ? VALUE_OR_END : KEY_OR_END;
        return c == '[' ? SC_JSON_ARRAY : SC_JSON_OBJECT;
    case 't': return read_word(r, SC_SPAN("true"), SC_JSON_TRUE);
    case 'f': return read_word(r, SC_SPAN("false"), SC_JSON_FALSE);
    case 'n': return read_word(r, SC_SPAN("null"), SC_JSON_NULL);
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return read_number(r);
        return fail(r, r->pos, "something that is no value");
    }
}

static int read_end(struct sc_json_reader *r)
{
    bool array = in_array(r);
    r->pos++;
    r->depth--;
    after_value(r);
    return array ? SC_JSON_ARRAY_END : SC_JSON_OBJECT_END;
}

static int read_key(struct sc_json_reader *r)
{
    if (r->text.p[r->pos] != '"')
        return fail(r, r->pos, "no key in quotes where one must be");
    r->pos++;
    int rc = read_string(r);
    if (rc < 0)
        return rc;
    skip_blanks(r);
    if (!byte_at(r, r->pos, ':', ':'))
        return fail(r, r->pos, "no ':' behind a key");
    r->pos++;
    r->expect = VALUE;
    return SC_JSON_KEY;
}

int sc_json_next(struct sc_json_reader *r)
{
    if (r->failed)
        return r->failed;
    skip_blanks(r);
    r->at = r->pos;
    if (r->pos == r->text.n) {
        if (r->expect == NOTHING)
            return SC_JSON_END;
        return fail(r, r->pos, r->depth ? "an end before the value is complete" : "no value at all");
    }
    char c = r->text.p[r->pos];
    if (r->expect == COMMA_OR_END) {
        if (c == (in_array(r) ? ']' : '}'))
            return read_end(r);
        if (c != ',')
            return fail(r, r->pos,
                        in_array(r) ? "no ',' or ']' behind a value" : "no ',' or '}' behind a value");
        r->pos++;
        r->expect = in_array(r) ? VALUE : KEY;
        skip_blanks(r);
        if (r->pos == r->text.n)
            return fail(r, r->pos, "an end before the value is complete");
        r->at = r->pos;
        c = r->text.p[r->pos];
    }
    switch (r->expect) {
    case VALUE_OR_END:
        if (c == ']')
            return read_end(r);
        return read_value(r);
    case KEY_OR_END:
        if (c == '}')
            return read_end(r);
        return read_key(r);
    case KEY: return read_key(r);
    case VALUE: return read_value(r);
    case NOTHING: return fail(r, r->pos, "something behind the end of the value");
    }
    return fail(r, r->pos, "something that is no value");
}

int sc_json_refuse(struct sc_json_reader *r, int code, const char *problem)
{
    return r->failed ? r->failed : fail_code(r, code, r->at, problem);
}

int sc_json_skip(struct sc_json_reader *r)
{
    if (r->failed)
        return r->failed;
    if (r->expect == VALUE && r->depth) { /* a key was the latest */
        int ev = sc_json_next(r);
        if (ev < 0)
            return ev;
    }
    if (r->expect != VALUE_OR_END && r->expect != KEY_OR_END)
        return 0;
    unsigned outside = r->depth - 1;
    while (r->depth > outside) {
        int ev = sc_json_next(r);
        if (ev < 0)
            return ev;
    }
    return 0;
}

int sc_json_read_error(const struct sc_json_reader *r, struct sc_msg *msg)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < r->problem_at; i++)
        if (r->text.p[i] == '\n') {
            line++;
            start = i + 1;
        }
    return sc_fail(msg, r->failed, "Invalid JSON: %s at line %zu column %zu (byte %zu)",
                   r->problem ? r->problem : "nothing wrong", line, r->problem_at - start + 1, r->problem_at);
}

/* The unescaped bytes of the escape at p (checked by read_string; n bytes follow), and how long it is. */
static unsigned unescape(const char *p, size_t n, char out[4], unsigned *len)
{
    if (p[1] != 'u') {
        out[0] = plain_escape(p[1]);
        *len = 2;
        return 1;
    }
    uint32_t cp = (uint32_t)hex4(p + 2);
    *len = 6;
    if (cp >= 0xD800 && cp < 0xDC00 && n >= 12 && p[6] == '\\' && p[7] == 'u') {
        uint32_t low = (uint32_t)hex4(p + 8);
        if (low >= 0xDC00 && low < 0xE000) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
            *len = 12;
        }
    }
    return sc_utf8_put(out, cp);
}

int sc_json_text(const struct sc_json_reader *r, struct sc_buf *into, struct sc_span *out)
{
    *out = r->raw;
    if (!r->escaped)
        return 0;
    /* An escape is never shorter than what it stands for. */
    int rc = sc_buf_reserve(into, r->raw.n);
    if (rc < 0)
        return rc;
    char *start = into->p + into->n, *to = start;
    const char *p = r->raw.p, *end = p + r->raw.n;
    while (p < end) {
        if (*p == '\\') {
            char bytes[4];
            unsigned len, n = unescape(p, (size_t)(end - p), bytes, &len);
            memcpy(to, bytes, n);
            to += n;
            p += len;
        } else {
            const char *slash = memchr(p, '\\', (size_t)(end - p));
            size_t n = (size_t)((slash ? slash : end) - p);
            memcpy(to, p, n);
            to += n;
            p += n;
        }
    }
    *out = sc_span(start, (size_t)(to - start));
    into->n += out->n;
    return 0;
}

bool sc_json_is(const struct sc_json_reader *r, struct sc_span s)
{
    if (!r->escaped)
        return sc_span_eq(r->raw, s);
    const char *p = r->raw.p, *end = p + r->raw.n;
    size_t i = 0;
    while (p < end) {
        char bytes[4] = {*p};
        unsigned len = 1, n = 1;
        if (*p == '\\')
            n = unescape(p, (size_t)(end - p), bytes, &len);
        if (s.n - i < n || memcmp(s.p + i, bytes, n) != 0)
            return false;
        i += n;
        p += len;
    }
    return i == s.n;
}

bool sc_json_int64(const struct sc_json_reader *r, int64_t *out)
{
    struct sc_span s = r->raw;
    bool minus = s.n && s.p[0] == '-';
    uint64_t v;
    if (sc_span_u64(sc_span_sub(s, minus, s.n), (uint64_t)INT64_MAX + minus, &v)) {
        *out = minus ? (int64_t)(0 - v) : (int64_t)v;
        return true;
    }
    /* 3.0 and 1e3 are integers, too. */
    double d = sc_json_number(r);
    if (!(d >= -9007199254740992.0 && d <= 9007199254740992.0) || d != (double)(int64_t)d)
        return false;
    *out = (int64_t)d;
    return true;
}

double sc_json_number(const struct sc_json_reader *r)
{
    double v = 0;
    return sc_number_read(r->raw, &v) ? v : 0;
}
