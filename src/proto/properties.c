#include "proto/properties.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"

void sc_properties_free(struct sc_properties *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        free(p->items[i].key);
        free(p->items[i].value);
    }
    free(p->items);
    free(p->file);
    *p = (struct sc_properties){0};
}

static struct sc_property *find(const struct sc_properties *p, const char *key)
{
    for (unsigned i = 0; i < p->n; i++)
        if (strcmp(p->items[i].key, key) == 0)
            return &p->items[i];
    return NULL;
}

const struct sc_property *sc_properties_find(const struct sc_properties *p, const char *key)
{
    return find(p, key);
}

const char *sc_properties_get(const struct sc_properties *p, const char *key)
{
    const struct sc_property *i = find(p, key);
    return i ? i->value : NULL;
}

static int set(struct sc_properties *p, struct sc_span key, struct sc_span value, unsigned line)
{
    char *v = sc_span_dup(value), *k = sc_span_dup(key);
    struct sc_property *item = k ? find(p, k) : NULL;
    int rc = SC_ENOMEM;
    if (!v || !k)
        goto fail;
    if (item) {
        free(k);
        free(item->value);
        item->value = v;
        item->line = line;
        return 0;
    }
    rc = SC_ELIMIT;
    if (p->n == SC_SETTINGS_KEYS_MAX)
        goto fail;
    if (p->n == p->cap) {
        unsigned cap = p->cap ? 2 * p->cap : 64;
        struct sc_property *items = realloc(p->items, cap * sizeof *items);
        rc = SC_ENOMEM;
        if (!items)
            goto fail;
        p->items = items;
        p->cap = cap;
    }
    p->items[p->n++] = (struct sc_property){k, v, line};
    return 0;
fail:
    free(k);
    free(v);
    return rc;
}

int sc_properties_set(struct sc_properties *p, const char *key, const char *value)
{
    return set(p, sc_span_str(key), sc_span_str(value), 0);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_end(char c)
{
    return c == '\n' || c == '\r';
}

struct lines {
    struct sc_span text;
    size_t pos;
    unsigned line; /* of pos, from 1 */
};

/* Moves behind the line's end at pos; CRLF is one. */
static void next_line(struct lines *l)
{
    if (l->pos < l->text.n) {
        bool cr = l->text.p[l->pos++] == '\r';
        if (cr && l->pos < l->text.n && l->text.p[l->pos] == '\n')
            l->pos++;
        l->line++;
    }
}

static void skip_blanks(struct lines *l)
{
    while (l->pos < l->text.n && is_blank(l->text.p[l->pos]))
        l->pos++;
}

/* The next line that says something, with its continuations joined; *line is where it begins. False at the
 * end. */
static bool take_line(struct lines *l, struct sc_buf *out, unsigned *line)
{
    sc_buf_clear(out);
    for (;;) {
        skip_blanks(l);
        if (l->pos >= l->text.n)
            return false;
        char c = l->text.p[l->pos];
        if (c != '#' && c != '!' && !is_end(c))
            break;
        while (l->pos < l->text.n && !is_end(l->text.p[l->pos]))
            l->pos++;
        next_line(l);
    }
    *line = l->line;
    for (;;) {
        size_t start = l->pos;
        bool escaped = false;
        while (l->pos < l->text.n && !is_end(l->text.p[l->pos])) {
            escaped = l->text.p[l->pos] == '\\' && !escaped;
            l->pos++;
        }
        sc_buf_add(out, l->text.p + start, l->pos - start - escaped);
        next_line(l);
        if (!escaped || l->pos >= l->text.n)
            return true;
        skip_blanks(l);
    }
}

static int hex4(struct sc_span s)
{
    int v = 0;
    if (s.n < 4)
        return -1;
    for (unsigned i = 0; i < 4; i++) {
        char c = s.p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = 16 * v + d;
    }
    return v;
}

/* Appends s without its escapes, as UTF-8. NULL, or what is wrong. */
static const char *unescape(struct sc_span s, struct sc_buf *out)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t c = (unsigned char)s.p[i++];
        if (c == '\\' && i < s.n) {
            c = (unsigned char)s.p[i++];
            if (c == 'u') {
                int unit = hex4(sc_span_sub(s, i, 4));
                if (unit < 0)
                    return "Malformed \\uxxxx encoding";
                i += 4;
                c = (uint32_t)unit;
                int low = c >= 0xD800 && c < 0xDC00 && i + 1 < s.n && s.p[i] == '\\' && s.p[i + 1] == 'u'
                              ? hex4(sc_span_sub(s, i + 2, 4))
                              : -1;
                if (low >= 0xDC00 && low < 0xE000) {
                    c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
                    i += 6;
                }
            } else {
                c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'f' ? '\f' : c;
            }
        }
        if (c == 0)
            return "A NUL character";
        char bytes[4];
        sc_buf_add(out, bytes, sc_utf8_put(bytes, c));
    }
    return NULL;
}

/* Where the key ends and where the value begins. */
static void split(struct sc_span line, size_t *key_end, size_t *value)
{
    size_t i = 0;
    while (i < line.n && line.p[i] != '=' && line.p[i] != ':' && !is_blank(line.p[i]))
        i += line.p[i] == '\\' ? 2 : 1;
    *key_end = SC_MIN(i, line.n);
    while (i < line.n && is_blank(line.p[i]))
        i++;
    if (i < line.n && (line.p[i] == '=' || line.p[i] == ':'))
        i++;
    while (i < line.n && is_blank(line.p[i]))
        i++;
    *value = SC_MIN(i, line.n);
}

int sc_properties_read(struct sc_properties *p, struct sc_span text, const char *file, struct sc_msg *msg)
{
    struct lines l = {.text = text, .line = 1};
    struct sc_buf line, plain;
    unsigned at = 0;
    int rc = 0;
    if (text.n > SC_SETTINGS_FILE_BYTES)
        return sc_fail(msg, SC_ELIMIT, "%s: larger than %u bytes", file, SC_SETTINGS_FILE_BYTES);
    free(p->file);
    p->file = sc_span_dup(sc_span_str(file));
    sc_buf_init(&line, SC_SETTINGS_FILE_BYTES + 1);
    sc_buf_init(&plain, 4 * SC_SETTINGS_FILE_BYTES);
    while (rc == 0 && take_line(&l, &line, &at)) {
        size_t key_end, value;
        split(sc_buf_view(&line), &key_end, &value);
        sc_buf_clear(&plain);
        const char *wrong = unescape(sc_span_sub(sc_buf_view(&line), 0, key_end), &plain);
        size_t middle = plain.n;
        if (!wrong)
            wrong = unescape(sc_span_sub(sc_buf_view(&line), value, line.n), &plain);
        if (wrong) {
            rc = sc_fail(msg, SC_EINVAL, "%s:%u: %s", file, at, wrong);
            break;
        }
        rc = line.failed ? line.failed : plain.failed;
        if (rc == 0)
            rc = set(p, sc_span_sub(sc_buf_view(&plain), 0, middle),
                     sc_span_sub(sc_buf_view(&plain), middle, plain.n), at);
        if (rc == SC_ELIMIT)
            sc_fail(msg, rc, "%s:%u: more than %d keys", file, at, SC_SETTINGS_KEYS_MAX);
        else if (rc < 0)
            sc_fail(msg, rc, "%s:%u: %s", file, at, sc_strerror(rc));
    }
    sc_buf_free(&line);
    sc_buf_free(&plain);
    return rc;
}

/* The first $$NAME$$ in s: *start is its first byte, *end the one behind it. */
static bool find_variable(struct sc_span s, size_t *start, size_t *end)
{
    for (size_t i = 0; i + 6 <= s.n; i++) {
        if (s.p[i] != '$' || s.p[i + 1] != '$')
            continue;
        size_t name = sc_span_find(sc_span_sub(s, i + 2, s.n), '$');
        size_t behind = i + 2 + name;
        if (name >= 2 && behind + 1 < s.n && s.p[behind + 1] == '$') {
            *start = i;
            *end = behind + 2;
            return true;
        }
    }
    return false;
}

static int expand_one(const struct sc_properties *p, struct sc_property *item,
                      const char *(*lookup)(const char *name, void *ctx), void *ctx, struct sc_msg *msg)
{
    struct sc_buf out;
    struct sc_span rest = sc_span_str(item->value);
    size_t start, end;
    int rc = 0;
    sc_buf_init(&out, 4 * SC_SETTINGS_FILE_BYTES);
    while (find_variable(rest, &start, &end)) {
        char *name = sc_span_dup(sc_span_sub(rest, start + 2, end - start - 4));
        const char *value = name ? lookup(name, ctx) : NULL;
        if (!value) {
            rc = name ? SC_EINVAL : SC_ENOMEM;
            if (item->line)
                sc_fail(msg, rc, "Invalid Environment Variable %s (%s:%u)", name ? name : "",
                        p->file ? p->file : "", item->line);
            else
                sc_fail(msg, rc, "Invalid Environment Variable %s", name ? name : "");
            free(name);
            goto out;
        }
        free(name);
        sc_buf_span(&out, sc_span_sub(rest, 0, start));
        sc_buf_str(&out, value);
        rest = sc_span_sub(rest, end, rest.n);
    }
    if (rest.p == item->value)
        goto out;
    sc_buf_span(&out, rest);
    char *text = out.failed ? NULL : sc_span_dup(sc_buf_view(&out));
    if (!text) {
        rc = sc_fail(msg, out.failed ? out.failed : SC_ENOMEM, "The value of %s is too long", item->key);
        goto out;
    }
    free(item->value);
    item->value = text;
out:
    sc_buf_free(&out);
    return rc;
}

int sc_properties_expand(struct sc_properties *p, const char *(*lookup)(const char *name, void *ctx),
                         void *ctx, struct sc_msg *msg)
{
    for (unsigned i = 0; i < p->n; i++) {
        int rc = expand_one(p, &p->items[i], lookup, ctx, msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void write_unit(struct sc_buf *out, unsigned unit)
{
    sc_buf_printf(out, "\\u%04X", unit);
}

static void write_escaped(struct sc_buf *out, const char *s, bool key)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        unsigned len = sc_utf8_length(s + i, n - i);
        unsigned char c = (unsigned char)s[i];
        static const char plain[] = "\t\n\r\f=:#!\\", escaped[] = "tnrf=:#!\\";
        const char *at = c ? strchr(plain, c) : NULL;
        if (at || (c == ' ' && (key || i == 0))) {
            sc_buf_char(out, '\\');
            sc_buf_char(out, at ? escaped[at - plain] : ' ');
        } else if (len == 1 && c >= ' ' && c <= '~') {
            sc_buf_char(out, (char)c);
        } else if (len <= 1) {
            write_unit(out, len ? c : 0xFFFD);
        } else {
            uint32_t cp = len == 2 ? c & 0x1Fu : len == 3 ? c & 0x0Fu : c & 0x07u;
            for (unsigned k = 1; k < len; k++)
                cp = cp << 6 | ((unsigned char)s[i + k] & 0x3Fu);
            if (cp >= 0x10000) {
                write_unit(out, 0xD800 + ((cp - 0x10000) >> 10));
                cp = 0xDC00 + ((cp - 0x10000) & 0x3FF);
            }
            write_unit(out, cp);
        }
        i += len ? len : 1;
    }
}

void sc_properties_write(const struct sc_properties *p, struct sc_buf *out)
{
    for (unsigned i = 0; i < p->n; i++) {
        write_escaped(out, p->items[i].key, true);
        sc_buf_char(out, '=');
        write_escaped(out, p->items[i].value, false);
        sc_buf_char(out, '\n');
    }
}
