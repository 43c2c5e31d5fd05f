#include "proto/json_read.h"

#include "base/limits.h"
#include "proto/number.h"
#include "proto/utf8.h"

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

/* True if one of eight bytes is below 0x20, '"', '\\', or not ASCII. */
static bool has_special(uint64_t v)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t quote = v ^ (ones * '"'), slash = v ^ (ones * '\\');
    return ((v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & high) != 0;
}

static int hex4(const char *p)
{
    int v = 0;
    for (unsigned i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* At the byte behind the opening quote. */
static int read_string(struct sc_json_reader *r)
{
    const char *p = r->text.p;
    const struct sc_span escapes = SC_SPAN("\"\\/bfnrt");
    size_t n = r->text.n, start = r->pos, i = start;
    r->escaped = false;
    for (;;) {
        uint64_t eight;
        while (n - i >= 8) {
            memcpy(&eight, p + i, 8);
            if (has_special(eight))
                break;
            i += 8;
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
            } else if (sc_span_find(escapes, p[i + 1]) < escapes.n) {
                i += 2;
            } else {
                return fail(r, i, "an unknown escape in a string");
            }
        } else if (c < ' ') {
            return fail(r, i, "a control character in a string (it must be escaped)");
        } else if (c < 0x80) {
            i++;
        } else {
            unsigned len = sc_utf8_length(p + i, n - i);
            if (!len)
                return fail(r, i, "bytes that are not UTF-8");
            i += len;
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
    if (r->pos == r->text.n) {
        if (r->expect == NOTHING)
            return SC_JSON_END;
        return fail(r, r->pos, r->pos ? "an end before the value is complete" : "no value at all");
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
    static const char plain[] = {['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    unsigned char c = (unsigned char)p[1];
    if (c != 'u') {
        out[0] = c < sizeof plain && plain[c] ? plain[c] : (char)c;
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
    size_t start = into->n;
    const char *p = r->raw.p, *end = p + r->raw.n;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        if (!slash)
            slash = end;
        sc_buf_add(into, p, (size_t)(slash - p));
        p = slash;
        if (p < end) {
            char bytes[4];
            unsigned len;
            sc_buf_add(into, bytes, unescape(p, (size_t)(end - p), bytes, &len));
            p += len;
        }
    }
    *out = sc_span(into->p + start, into->n - start);
    return into->failed;
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
