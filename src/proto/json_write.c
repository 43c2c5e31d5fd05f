#include "proto/json_write.h"

#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "proto/number.h"

_Static_assert(SC_JSON_DEPTH_MAX <= 64, "containers are bits of 64");

void sc_json_write_init(struct sc_json_writer *w, struct sc_buf *out, bool compact)
{
    *w = (struct sc_json_writer){.out = out, .compact = compact};
}

static void fail(struct sc_json_writer *w, int code)
{
    if (!w->failed)
        w->failed = code;
}

static uint64_t top(const struct sc_json_writer *w)
{
    return UINT64_C(1) << (w->depth - 1);
}

static void new_line(struct sc_json_writer *w)
{
    static const char blanks[] = "\n                                                                "
                                 "                                                                ";
    _Static_assert(sizeof blanks > 1 + 2 * SC_JSON_DEPTH_MAX, "indent of the deepest level");
    if (!w->compact)
        sc_buf_add(w->out, blanks, 1 + 2 * w->depth);
}

/* What stands between the previous item of a container and the next. */
static void separate(struct sc_json_writer *w)
{
    if (w->filled & top(w))
        sc_buf_char(w->out, ',');
    w->filled |= top(w);
    new_line(w);
}

/* False if no value may stand here; then the writer has failed. */
static bool value(struct sc_json_writer *w)
{
    if (w->failed)
        return false;
    bool in_array = w->depth && (w->arrays & top(w));
    if (w->depth == 0 ? w->done : !in_array && !w->after_key) {
        fail(w, SC_EINVAL);
        return false;
    }
    if (in_array)
        separate(w);
    w->after_key = false;
    w->done = w->depth == 0;
    return true;
}

static void begin(struct sc_json_writer *w, bool array)
{
    if (!value(w))
        return;
    if (w->depth == SC_JSON_DEPTH_MAX) {
        fail(w, SC_ELIMIT);
        return;
    }
    w->depth++;
    w->arrays = array ? w->arrays | top(w) : w->arrays & ~top(w);
    w->filled &= ~top(w);
    sc_buf_char(w->out, array ? '[' : '{');
}

static void end(struct sc_json_writer *w, bool array)
{
    if (w->failed)
        return;
    if (w->depth == 0 || w->after_key || ((w->arrays & top(w)) != 0) != array) {
        fail(w, SC_EINVAL);
        return;
    }
    bool filled = (w->filled & top(w)) != 0;
    w->depth--;
    if (filled)
        new_line(w);
    sc_buf_char(w->out, array ? ']' : '}');
    w->done = w->depth == 0;
}

void sc_json_begin_object(struct sc_json_writer *w)
{
    begin(w, false);
}
void sc_json_end_object(struct sc_json_writer *w)
{
    end(w, false);
}
void sc_json_begin_array(struct sc_json_writer *w)
{
    begin(w, true);
}
void sc_json_end_array(struct sc_json_writer *w)
{
    end(w, true);
}

/* Gson's escapes with HTML escaping off. */
static void escape_one(struct sc_buf *out, unsigned char c)
{
    static const char shorts[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};
    if (c < sizeof shorts && shorts[c]) {
        char two[2] = {'\\', shorts[c]};
        sc_buf_add(out, two, 2);
    } else {
        sc_buf_printf(out, "\\u%04x", c);
    }
}

void sc_json_escape(struct sc_buf *out, struct sc_span s)
{
    size_t plain = 0; /* start of what is copied as it is */
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= ' ' && c != '"' && c != '\\' && c < 0x80) {
            i++;
            continue;
        }
        unsigned n = sc_utf8_length(s.p + i, s.n - i);
        bool separator = n == 3 && c == 0xE2 && s.p[i + 1] == '\x80' && (s.p[i + 2] & '\xFE') == '\xA8';
        if (n > 1 && !separator) {
            i += n;
            continue;
        }
        sc_buf_add(out, s.p + plain, i - plain);
        if (separator)
            sc_buf_str(out, s.p[i + 2] & 1 ? "\\u2029" : "\\u2028");
        else if (n == 1)
            escape_one(out, c);
        else
            sc_buf_str(out, SC_UTF8_REPLACEMENT);
        i += n ? n : 1;
        plain = i;
    }
    sc_buf_add(out, s.p + plain, s.n - plain);
}

static void quoted(struct sc_json_writer *w, struct sc_span s)
{
    sc_buf_char(w->out, '"');
    sc_json_escape(w->out, s);
    sc_buf_char(w->out, '"');
}

void sc_json_key_span(struct sc_json_writer *w, struct sc_span name)
{
    if (w->failed)
        return;
    if (w->depth == 0 || (w->arrays & top(w)) || w->after_key) {
        fail(w, SC_EINVAL);
        return;
    }
    separate(w);
    quoted(w, name);
    sc_buf_add(w->out, ": ", w->compact ? 1 : 2);
    w->after_key = true;
}

void sc_json_key(struct sc_json_writer *w, const char *name)
{
    sc_json_key_span(w, sc_span_str(name));
}

void sc_json_string(struct sc_json_writer *w, struct sc_span s)
{
    if (value(w))
        quoted(w, s);
}

void sc_json_raw(struct sc_json_writer *w, struct sc_span json)
{
    if (value(w))
        sc_buf_span(w->out, json);
}

void sc_json_int(struct sc_json_writer *w, int64_t v)
{
    char text[24];
    sc_json_raw(w, sc_span(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v)));
}

void sc_json_uint(struct sc_json_writer *w, uint64_t v)
{
    char text[24];
    sc_json_raw(w, sc_span(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)v)));
}

void sc_json_bool(struct sc_json_writer *w, bool v)
{
    sc_json_raw(w, v ? SC_SPAN("true") : SC_SPAN("false"));
}

void sc_json_null(struct sc_json_writer *w)
{
    sc_json_raw(w, SC_SPAN("null"));
}

static void number(struct sc_json_writer *w, double v, bool single)
{
    char text[SC_NUMBER_MAX];
    if (!isfinite(v))
        sc_json_null(w);
    else
        sc_json_raw(w, sc_span(text, sc_number_json(text, v, single)));
}

void sc_json_double(struct sc_json_writer *w, double v)
{
    number(w, v, false);
}

void sc_json_float(struct sc_json_writer *w, float v)
{
    number(w, (double)v, true);
}

void sc_json_put_string(struct sc_json_writer *w, const char *name, struct sc_span s)
{
    sc_json_key(w, name);
    sc_json_string(w, s);
}

void sc_json_put_str(struct sc_json_writer *w, const char *name, const char *s)
{
    sc_json_put_string(w, name, sc_span_str(s));
}

void sc_json_put_int(struct sc_json_writer *w, const char *name, int64_t v)
{
    sc_json_key(w, name);
    sc_json_int(w, v);
}

void sc_json_put_bool(struct sc_json_writer *w, const char *name, bool v)
{
    sc_json_key(w, name);
    sc_json_bool(w, v);
}

int sc_json_write_finish(struct sc_json_writer *w)
{
    if (!w->failed && !w->done)
        fail(w, SC_EINVAL);
    if (!w->failed && !w->compact)
        sc_buf_char(w->out, '\n');
    if (w->out->failed)
        fail(w, w->out->failed);
    return w->failed;
}
