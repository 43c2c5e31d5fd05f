#include "heads/literal.h"

#include "base/array.h"
#include "base/limits.h"
#include "base/utf8.h"

/* What one expression is. */
struct value {
    enum { TEXT, BYTES, NUMBER, NONE, CONSTANT, TUPLE, LIST, SET, DICT } type;
    bool hashable;
    bool broken;  /* a text with a surrogate, which no tokenizer takes */
    bool complex; /* a number with j */
    size_t at, n; /* of a text, in texts */
    struct sc_literal_value found[SC_LITERAL_KEYS];
};

/* A container that is open. */
struct frame {
    enum { PAREN, BRACKET, BRACE, IN_DICT, IN_SET } kind; /* BRACE: it is not known yet which */
    bool tuple;                                           /* of PAREN: there was a comma */
    bool hashable;                                        /* all members so far */
    bool value;   /* of IN_DICT: the value of `key` comes, not a key */
    unsigned key; /* the wanted key that was read; SC_LITERAL_KEYS: another one */
    struct sc_literal_value found[SC_LITERAL_KEYS];
};

struct reader {
    const char *p, *end;
    const struct sc_span *keys;
    unsigned nkeys;
    struct sc_buf *texts;
    unsigned depth;
    struct frame open[SC_LITERAL_DEPTH_MAX];
};

static int wrong(void)
{
    return SC_EINVAL;
}

static bool is_digit(char c, int base)
{
    return base == 16 ? (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
                      : c >= '0' && c < '0' + base;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c & 0x80;
}

static char peek(const struct reader *r, size_t ahead)
{
    return ahead < (size_t)(r->end - r->p) ? r->p[ahead] : '\0';
}

/* Blanks and comments; line ends too where a container is open. */
static void skip(struct reader *r, bool lines)
{
    for (; r->p < r->end; r->p++) {
        if (*r->p == '#') {
            while (r->p < r->end && *r->p != '\n' && *r->p != '\r')
                r->p++;
            if (r->p == r->end)
                return;
        }
        bool line = *r->p == '\n' || *r->p == '\r';
        if (!(line && lines) && *r->p != ' ' && *r->p != '\t' && *r->p != '\f')
            return;
    }
}

/* ---- strings ------------------------------------------------------------------------------------- */

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
}

/* `digits` hexadecimal digits. */
static int hex(struct reader *r, unsigned digits, uint32_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < digits; i++, r->p++) {
        if (!is_digit(peek(r, 0), 16))
            return wrong();
        *out = *out << 4 | hex_value(*r->p);
    }
    return 0;
}

static void put_char(struct reader *r, uint32_t c, struct value *v)
{
    char out[4];
    v->broken |= c >= 0xD800 && c <= 0xDFFF;
    size_t n = sc_utf8_put(out, c);
    sc_buf_add(r->texts, out, n);
}

/* Behind a backslash. */
static int escape(struct reader *r, bool bytes, struct value *v)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    uint32_t c = 0;
    if (r->p == r->end)
        return wrong();
    char kind = *r->p++;
    const char *simple = kind ? strchr(from, kind) : NULL;
    if (kind == '\n')
        return 0;
    if (kind == '\r') { /* the end of a line, in any spelling, goes on in the next one */
        r->p += peek(r, 0) == '\n';
        return 0;
    }
    if (simple) {
        sc_buf_char(r->texts, to[simple - from]);
        return 0;
    }
    if (is_digit(kind, 8)) {
        c = (uint32_t)(kind - '0');
        for (unsigned i = 0; i < 2 && is_digit(peek(r, 0), 8); i++)
            c = c << 3 | (uint32_t)(*r->p++ - '0');
    } else if (kind == 'x' || (!bytes && (kind == 'u' || kind == 'U'))) {
        int rc = hex(r, kind == 'x' ? 2 : kind == 'u' ? 4 : 8, &c);
        if (rc < 0 || c > 0x10FFFF)
            return wrong();
    } else if (kind == 'N' && !bytes) {
        return wrong();
    } else { /* no escape: the backslash stays */
        sc_buf_char(r->texts, '\\');
        r->p--;
        return 0;
    }
    put_char(r, c, v);
    return 0;
}

/* From the opening quote on. */
static int quoted(struct reader *r, bool raw, bool bytes, struct value *v)
{
    char quote = *r->p;
    bool triple = peek(r, 1) == quote && peek(r, 2) == quote;
    r->p += triple ? 3 : 1;
    while (r->p < r->end) {
        char c = *r->p;
        if (c == quote && (!triple || (peek(r, 1) == quote && peek(r, 2) == quote))) {
            r->p += triple ? 3 : 1;
            return 0;
        }
        r->p++;
        if (c == '\\' && !raw) {
            int rc = escape(r, bytes, v);
            if (rc < 0)
                return rc;
        } else if (c == '\\') {
            sc_buf_char(r->texts, c);
            if (r->p == r->end)
                return wrong();
            if (*r->p == quote || *r->p == '\\')
                sc_buf_char(r->texts, *r->p++);
        } else if (c == '\n' || c == '\r') {
            if (!triple)
                return wrong();
            r->p += c == '\r' && peek(r, 0) == '\n';
            sc_buf_char(r->texts, '\n');
        } else if (bytes && c & 0x80) {
            return wrong();
        } else {
            sc_buf_char(r->texts, c);
        }
    }
    return wrong();
}

/* The length of a string's prefix and what it says, if a string begins here: else -1. */
static int prefix(const struct reader *r, bool *raw, bool *bytes)
{
    bool u = false;
    *raw = *bytes = false;
    for (int i = 0; i < 3; i++) {
        char c = peek(r, (size_t)i);
        if (c == '"' || c == '\'')
            return i;
        c |= 32;
        if (c == 'r' && !*raw && !u)
            *raw = true;
        else if (c == 'b' && !*bytes && !u)
            *bytes = true;
        else if (c == 'u' && i == 0)
            u = true;
        else
            return -1;
    }
    return -1;
}

/* One string or several behind each other, which are one. */
static int string(struct reader *r, struct value *v)
{
    bool raw, bytes;
    int n = prefix(r, &raw, &bytes);
    *v = (struct value){.type = bytes ? BYTES : TEXT, .hashable = true, .at = r->texts->n};
    while (n >= 0) {
        if (bytes != (v->type == BYTES))
            return wrong();
        r->p += n;
        int rc = quoted(r, raw, bytes, v);
        if (rc < 0)
            return rc;
        const char *behind = r->p;
        skip(r, r->depth > 0);
        n = prefix(r, &raw, &bytes);
        if (n < 0)
            r->p = behind;
    }
    v->n = r->texts->n - v->at;
    return r->texts->failed;
}

/* ---- numbers and names ---------------------------------------------------------------------------- */

/* Digits with single underscores between them; how many, 0 if there are none or an underscore is misplaced.
 */
static size_t digits(struct reader *r, int base)
{
    size_t n = 0;
    while (is_digit(peek(r, 0), base) || (n && peek(r, 0) == '_' && is_digit(peek(r, 1), base))) {
        n += *r->p != '_';
        r->p++;
    }
    return n;
}

static int unsigned_number(struct reader *r, bool *complex)
{
    char second = peek(r, 1) | 32;
    int base = peek(r, 0) != '0' ? 10 : second == 'x' ? 16 : second == 'o' ? 8 : second == 'b' ? 2 : 10;
    *complex = false;
    if (base != 10) {
        r->p += 2;
        r->p += peek(r, 0) == '_';
        return digits(r, base) && !is_name(peek(r, 0)) ? 0 : wrong();
    }
    const char *start = r->p;
    size_t whole = digits(r, 10), fraction = 0;
    bool zeros = whole > 1 && *start == '0', real = false;
    for (const char *p = start; zeros && p < r->p; p++)
        zeros = *p == '0' || *p == '_';
    bool leading = whole > 1 && *start == '0' && !zeros;
    if (peek(r, 0) == '.') {
        r->p++;
        real = true;
        fraction = digits(r, 10);
    }
    if (whole + fraction == 0)
        return wrong();
    if ((peek(r, 0) | 32) == 'e') {
        r->p++;
        real = true;
        if (peek(r, 0) == '+' || peek(r, 0) == '-')
            r->p++;
        if (!digits(r, 10))
            return wrong();
    }
    *complex = (peek(r, 0) | 32) == 'j';
    r->p += *complex;
    return is_name(peek(r, 0)) || (leading && !real && !*complex) ? wrong() : 0;
}

/* -1, 2.5e3, 3-4j */
static int number(struct reader *r, struct value *v)
{
    *v = (struct value){.type = NUMBER, .hashable = true};
    if (*r->p == '+' || *r->p == '-') {
        r->p++;
        skip(r, r->depth > 0);
    }
    int rc = unsigned_number(r, &v->complex);
    if (rc < 0 || v->complex)
        return rc;
    const char *behind = r->p;
    skip(r, r->depth > 0);
    if (peek(r, 0) != '+' && peek(r, 0) != '-') {
        r->p = behind;
        return 0;
    }
    r->p++;
    skip(r, r->depth > 0);
    rc = unsigned_number(r, &v->complex);
    return rc == 0 && !v->complex ? wrong() : rc;
}

static int name(struct reader *r, struct value *v)
{
    const char *start = r->p;
    while (is_name(peek(r, 0)))
        r->p++;
    struct sc_span s = sc_span(start, (size_t)(r->p - start));
    *v = (struct value){.type = CONSTANT, .hashable = true};
    if (sc_span_eq(s, SC_SPAN("None")))
        v->type = NONE;
    else if (sc_span_eq(s, SC_SPAN("set"))) { /* the empty one, which has no braces */
        skip(r, r->depth > 0);
        if (peek(r, 0) != '(')
            return wrong();
        r->p++;
        skip(r, true);
        if (peek(r, 0) != ')')
            return wrong();
        r->p++;
        *v = (struct value){.type = SET};
    } else if (!sc_span_eq(s, SC_SPAN("True")) && !sc_span_eq(s, SC_SPAN("False")))
        return wrong();
    return 0;
}

static int scalar(struct reader *r, struct value *v)
{
    bool raw, bytes;
    char c = peek(r, 0);
    if (prefix(r, &raw, &bytes) >= 0)
        return string(r, v);
    if (c == '.' && peek(r, 1) == '.' && peek(r, 2) == '.') {
        r->p += 3;
        *v = (struct value){.type = CONSTANT, .hashable = true};
        return 0;
    }
    if (is_digit(c, 10) || c == '.' || c == '+' || c == '-')
        return number(r, v);
    return is_name(c) ? name(r, v) : wrong();
}

/* ---- containers ----------------------------------------------------------------------------------- */

static int open_frame(struct reader *r, char c)
{
    if (r->depth == SC_LITERAL_DEPTH_MAX)
        return wrong();
    r->open[r->depth++] = (struct frame){.kind = c == '('   ? PAREN
                                                 : c == '[' ? BRACKET
                                                            : BRACE,
                                         .hashable = true};
    r->p++;
    return 0;
}

/* Ends the innermost container, which becomes a value. `lone`: the value of a parenthesis without a comma. */
static void close_frame(struct reader *r, const struct value *lone, struct value *v)
{
    const struct frame *f = &r->open[--r->depth];
    r->p++;
    if (f->kind == PAREN && lone && !f->tuple) {
        struct value same = *lone;
        *v = same;
        return;
    }
    *v = (struct value){.type = f->kind == PAREN     ? TUPLE
                                : f->kind == BRACKET ? LIST
                                : f->kind == IN_SET  ? SET
                                                     : DICT,
                        .hashable = f->kind == PAREN && f->hashable};
    memcpy(v->found, f->found, sizeof v->found);
}

static char closing(const struct frame *f)
{
    return f->kind == PAREN ? ')' : f->kind == BRACKET ? ']' : '}';
}

static void note_key(const struct reader *r, struct frame *f, const struct value *v)
{
    f->key = SC_LITERAL_KEYS;
    for (unsigned k = 0; k < r->nkeys; k++)
        if (v->type == TEXT && !v->broken &&
            sc_span_eq(sc_span(r->texts->p ? r->texts->p + v->at : "", v->n), r->keys[k]))
            f->key = k;
}

static void note_value(struct frame *f, const struct value *v)
{
    if (f->key == SC_LITERAL_KEYS)
        return;
    f->found[f->key] = (struct sc_literal_value){.kind = v->type == TEXT && !v->broken ? SC_LITERAL_TEXT
                                                         : v->type == NONE             ? SC_LITERAL_NONE
                                                                                       : SC_LITERAL_OTHER,
                                                 .at = v->at,
                                                 .n = v->n};
}

/* A value stands in the innermost container; what follows it. 1: the container has ended and is *v. */
static int member(struct reader *r, struct value *v)
{
    struct frame *f = &r->open[r->depth - 1];
    skip(r, true);
    char c = peek(r, 0);
    if (c == ':' && v->hashable && (f->kind == BRACE || (f->kind == IN_DICT && !f->value))) {
        f->kind = IN_DICT;
        f->value = true;
        note_key(r, f, v);
        r->p++;
        return 0;
    }
    if (f->kind == IN_DICT) {
        if (!f->value)
            return wrong();
        note_value(f, v);
        f->value = false;
    }
    if (f->kind == BRACE)
        f->kind = IN_SET;
    if (f->kind == IN_SET && !v->hashable)
        return wrong();
    f->hashable &= v->hashable;
    if (c == ',') {
        f->tuple = true;
        r->p++;
        return 0;
    }
    if (c != closing(f))
        return wrong();
    struct value lone = *v;
    close_frame(r, &lone, v);
    return 1;
}

/* Whether a container may end where a value could begin: it is empty, or there was a comma. */
static bool may_end(const struct reader *r)
{
    const struct frame *f = &r->open[r->depth - 1];
    return peek(r, 0) == closing(f) && !(f->kind == IN_DICT && f->value);
}

static int expression(struct reader *r, struct value *v)
{
    for (;;) {
        skip(r, true);
        char c = peek(r, 0);
        int rc = 1;
        if (r->depth && may_end(r))
            close_frame(r, NULL, v);
        else if (c == '(' || c == '[' || c == '{')
            rc = open_frame(r, c);
        else
            rc = scalar(r, v) < 0 ? wrong() : 1;
        while (rc == 1 && r->depth)
            rc = member(r, v);
        if (rc)
            return SC_MIN(rc, 0);
    }
}

int sc_literal_dict(struct sc_span literal, const struct sc_span *keys, unsigned n,
                    struct sc_literal_value *values, struct sc_buf *texts)
{
    struct reader r = {
        .p = literal.p, .end = literal.p + literal.n, .keys = keys, .nkeys = n, .texts = texts};
    struct value v;
    if (literal.n == 0 || memchr(literal.p, '\0', literal.n) || !sc_utf8_valid(literal))
        return SC_EINVAL;
    int rc = expression(&r, &v);
    if (texts->failed)
        return texts->failed;
    skip(&r, true);
    if (rc < 0 || r.p != r.end || v.type != DICT)
        return SC_EINVAL;
    memcpy(values, v.found, n * sizeof *values);
    return 0;
}
