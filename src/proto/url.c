#include "proto/url.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"

static int nibble(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/*
 * Appends bytes [from, to) of `whole` to out, with escapes replaced by the bytes they stand for. The texts of
 * errors name places in `whole`.
 */
static int decode_bytes(struct sc_span whole, size_t from, size_t to, bool plus, struct sc_buf *out,
                        struct sc_msg *msg)
{
    for (size_t i = from; i < to; i++) {
        char c = whole.p[i];
        if (c == '%') {
            if (to - i < 3)
                return sc_fail(msg, SC_EINVAL, "unterminated escape sequence at index %zu of: %.*s", i,
                               SC_FMT(whole));
            int hi = nibble(whole.p[i + 1]), lo = nibble(whole.p[i + 2]);
            if (hi < 0 || lo < 0)
                return sc_fail(msg, SC_EINVAL, "invalid hex byte '%.2s' at index %zu of '%.*s'",
                               whole.p + i + 1, i + 1, SC_FMT(whole));
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        sc_buf_char(out, c);
    }
    return out->failed;
}

/* The same as text: what is no UTF-8 is replaced. Of out there must be room for three times as many bytes. */
static int decode(struct sc_span whole, size_t from, size_t to, bool plus, struct sc_buf *out,
                  struct sc_msg *msg)
{
    size_t start = out->n;
    int rc = decode_bytes(whole, from, to, plus, out, msg);
    if (rc < 0 || sc_utf8_valid(sc_span(out->p + start, out->n - start)))
        return rc;
    /* Once more, with replacements; there is room for them behind what was written. */
    size_t end = out->n;
    for (size_t i = start; i < end;) {
        unsigned n = sc_utf8_length(out->p + i, end - i);
        if (n) {
            char bytes[4];
            memcpy(bytes, out->p + i, n);
            sc_buf_add(out, bytes, n);
        } else {
            sc_buf_str(out, SC_UTF8_REPLACEMENT);
        }
        i += n ? n : 1;
    }
    if (out->failed)
        return out->failed;
    memmove(out->p + start, out->p + end, out->n - end);
    out->n -= end - start;
    return 0;
}

/* Room for the decoded form of n bytes and for the second writing of replacements. */
static int make_room(struct sc_buf *b, size_t n)
{
    if (n > SIZE_MAX / 8)
        return SC_ELIMIT;
    sc_buf_init(b, 4 * n + 1);
    return sc_buf_reserve(b, 4 * n + 1);
}

int sc_path_parse(struct sc_path *p, struct sc_span target, struct sc_msg *msg)
{
    *p = (struct sc_path){0};
    size_t to = SC_MIN(sc_span_find(target, '?'), sc_span_find(target, '#'));
    p->decoded = sc_span_sub(target, 0, to);
    if (sc_span_find(p->decoded, '%') < to) {
        int rc = make_room(&p->text, to);
        if (rc < 0)
            return sc_fail(msg, rc, "Out of memory for a path");
        rc = decode(target, 0, to, false, &p->text, msg);
        if (rc < 0)
            return rc;
        p->decoded = sc_buf_view(&p->text);
    }

    struct sc_span d = p->decoded;
    unsigned count = 0;
    size_t at = sc_span_find(d, '/');
    while (at < d.n) {
        size_t start = at + 1;
        at = start + sc_span_find(sc_span_sub(d, start, d.n), '/');
        if (count < SC_PATH_SEGMENTS)
            p->segments[count] = sc_span_sub(d, start, at - start);
        count++;
        if (at > start) {
            p->n = count;
            p->end = at;
        }
    }
    return 0;
}

void sc_path_free(struct sc_path *p)
{
    sc_buf_free(&p->text);
}

struct sc_span sc_path_rest(const struct sc_path *p, unsigned first)
{
    if (first >= p->n || first >= SC_PATH_SEGMENTS)
        return sc_span(NULL, 0);
    const char *start = p->segments[first].p;
    return sc_span(start, p->end - (size_t)(start - p->decoded.p));
}

/* Room for as many pairs as there can be. */
static int make_params(struct sc_query *q, struct sc_span s, unsigned max, struct sc_msg *msg)
{
    unsigned count = 1;
    for (size_t i = 0; i < s.n && count < max; i++)
        count += s.p[i] == '&' || s.p[i] == ';';
    q->params = malloc(count * sizeof *q->params);
    if (!q->params || make_room(&q->text, s.n) < 0)
        return sc_fail(msg, SC_ENOMEM, "Out of memory for the parameters of a request");
    return 0;
}

static void put_param(struct sc_query *q, size_t start, size_t middle)
{
    q->params[q->n++] = (struct sc_param){sc_span(q->text.p + start, middle - start),
                                          sc_span(q->text.p + middle, q->text.n - middle)};
}

static int add_param(struct sc_query *q, struct sc_span whole, size_t name, size_t name_end, size_t value,
                     size_t end, struct sc_msg *msg)
{
    size_t start = q->text.n;
    int rc = decode(whole, name, name_end, true, &q->text, msg);
    if (rc < 0)
        return rc;
    size_t middle = q->text.n;
    if (value < end && (rc = decode(whole, value, end, true, &q->text, msg)) < 0)
        return rc;
    put_param(q, start, middle);
    return 0;
}

/* A field of a form: the name is text, the value any bytes. */
static int add_field(struct sc_query *q, struct sc_span token, size_t equals, struct sc_msg *msg)
{
    size_t start = q->text.n;
    if (equals == 0)
        return sc_fail(msg, SC_EINVAL, "empty name");
    int rc = decode(token, 0, equals, true, &q->text, NULL);
    if (rc < 0)
        return sc_fail(msg, rc, "Bad string: '%.*s'", SC_FMT(sc_span_sub(token, 0, equals)));
    size_t middle = q->text.n;
    struct sc_span value = sc_span_sub(token, equals + 1, token.n);
    rc = decode_bytes(value, 0, value.n, true, &q->text, NULL);
    if (rc < 0) {
        size_t done = 0; /* what was written stands for one byte, or for an escape of three */
        for (size_t n = middle; n < q->text.n; n++)
            done += value.p[done] == '%' ? 3 : 1;
        return sc_fail(msg, rc, "Invalid hex byte at index '%zu' in string: '%.*s'", done, SC_FMT(value));
    }
    put_param(q, start, middle);
    return 0;
}

int sc_query_parse(struct sc_query *q, struct sc_span target, struct sc_msg *msg)
{
    *q = (struct sc_query){0};
    size_t to = sc_span_find(target, '#');
    struct sc_span cut = sc_span_sub(target, 0, to);
    size_t i = sc_span_find(cut, '?') + 1;
    if (i >= to)
        return 0;
    int rc = make_params(q, sc_span_sub(cut, i, to), SC_QUERY_PARAMS_MAX, msg);
    /* Leading '=' are not part of a name: "=a" is the name a. */
    for (size_t name = i, equals = 0; rc == 0 && i <= to && q->n < SC_QUERY_PARAMS_MAX; i++) {
        char c = i < to ? target.p[i] : '&';
        if (c == '=' && name == i) {
            name = i + 1;
        } else if (c == '=' && equals < name) {
            equals = i;
        } else if (c == '&' || c == ';') {
            if (name < i)
                rc = equals > name ? add_param(q, target, name, equals, equals + 1, i, msg)
                                   : add_param(q, target, name, i, i, i, msg);
            name = i + 1;
        }
    }
    return rc;
}

int sc_form_parse(struct sc_query *q, struct sc_span body, struct sc_msg *msg)
{
    *q = (struct sc_query){0};
    body = sc_span_sub(body, 0, sc_span_find(body, '\n'));
    if (body.n && body.p[body.n - 1] == '\r')
        body.n--;
    if (body.n == 0)
        return 0;
    int rc = make_params(q, body, SC_FORM_PARTS_MAX, msg);
    for (size_t at = 0; rc == 0 && at < body.n;) {
        struct sc_span token = sc_span_sub(body, at, sc_span_find(sc_span_sub(body, at, body.n), '&'));
        size_t equals = sc_span_find(token, '=');
        bool last = at + token.n == body.n;
        at += token.n + 1;
        if (last && equals == token.n)
            continue;
        if (q->n == SC_FORM_PARTS_MAX)
            return sc_fail(msg, SC_ELIMIT, "More than %d fields in a form", SC_FORM_PARTS_MAX);
        rc = add_field(q, token, equals, msg);
    }
    return rc;
}

void sc_query_free(struct sc_query *q)
{
    free(q->params);
    sc_buf_free(&q->text);
    *q = (struct sc_query){0};
}

bool sc_query_get(const struct sc_query *q, const char *name, struct sc_span *value)
{
    struct sc_span n = sc_span_str(name);
    for (unsigned i = 0; i < q->n; i++)
        if (sc_span_eq(q->params[i].name, n)) {
            *value = q->params[i].value;
            return true;
        }
    return false;
}

bool sc_query_int(const struct sc_query *q, const char *name, int32_t *out)
{
    struct sc_span s;
    return sc_query_get(q, name, &s) && sc_span_i32(s, out);
}

bool sc_is_true(struct sc_span s)
{
    return sc_span_eq_nocase(s, SC_SPAN("true"));
}

bool sc_query_bool(const struct sc_query *q, const char *name, bool otherwise)
{
    struct sc_span s;
    return sc_query_get(q, name, &s) ? sc_is_true(s) : otherwise;
}

struct sc_span sc_media_type(struct sc_span header)
{
    return sc_span_trim(sc_span_sub(header, 0, sc_span_find(header, ';')));
}

bool sc_media_is(struct sc_span header, const char *type)
{
    return sc_span_eq_nocase(sc_media_type(header), sc_span_str(type));
}

/* Index of the ';' that ends a parameter, not one between quotes. */
static size_t param_end(struct sc_span s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == '\\' && quoted)
            i++;
        else if (s.p[i] == ';' && !quoted)
            return i;
    }
    return s.n;
}

int sc_media_param(struct sc_span header, const char *name, struct sc_span *value)
{
    if (!header.p)
        return 0;
    struct sc_span rest = sc_span_sub(header, sc_span_find(header, ';') + 1, header.n);
    while (rest.n) {
        size_t end = param_end(rest);
        struct sc_span item = sc_span_trim(sc_span_sub(rest, 0, end));
        rest = sc_span_sub(rest, end + 1, rest.n);
        size_t equals = sc_span_find(item, '=');
        if (!sc_span_eq_nocase(sc_span_trim(sc_span_sub(item, 0, equals)), sc_span_str(name)))
            continue;
        struct sc_span v = sc_span_trim(sc_span_sub(item, equals + 1, item.n));
        if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
            v = sc_span_sub(v, 1, v.n - 2);
        *value = v;
        return v.n ? 1 : SC_EINVAL;
    }
    return 0;
}
