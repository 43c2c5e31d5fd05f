#include "proto/http1.h"

#include "base/error.h"
#include "base/limits.h"

/* What a byte may be part of. */
enum { TOKEN = 1, TARGET = 2, VALUE = 4 };
#define ANY (TOKEN | TARGET | VALUE)
#define TEXT (TARGET | VALUE)

static const uint8_t kinds[256] = {
    ['\t'] = VALUE,       [' '] = VALUE,        ['!'] = ANY,         ['"'] = TEXT,
    ['#' ... '\''] = ANY, ['(' ... ')'] = TEXT, ['*' ... '+'] = ANY, [','] = TEXT,
    ['-' ... '.'] = ANY,  ['/'] = TEXT,         ['0' ... '9'] = ANY, [':' ... '@'] = TEXT,
    ['A' ... 'Z'] = ANY,  ['[' ... ']'] = TEXT, ['^' ... 'z'] = ANY, ['{'] = TEXT,
    ['|'] = ANY,          ['}'] = TEXT,         ['~'] = ANY,         [0x80 ... 0xff] = TEXT,
};

static inline bool is(char c, int kind)
{
    return kinds[(unsigned char)c] & kind;
}

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* True if none of the 8 bytes is below 0x20 or 0x7f; may be false for others. */
static inline bool is_plain(const char *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t x, del;
    memcpy(&x, p, sizeof x);
    del = x ^ 0x7f * ones;
    return !((((x - 0x20 * ones) & ~x) | ((del - ones) & ~del)) & 0x80 * ones);
}

/* name is a token; lower is lower case. Both have n bytes. */
static inline bool same_name(const char *name, const char *lower, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((name[i] | 0x20) != lower[i])
            return false;
    return true;
}

void sc_http1_head_init(struct sc_http1_head *h, struct sc_http_header *headers, unsigned max)
{
    *h = (struct sc_http1_head){.headers = headers, .max_headers = max};
}

/* "METHOD SP target SP HTTP/d.d", without its line end. */
static int parse_request_line(struct sc_http1_head *h, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && is(p[i], TOKEN))
        i++;
    if (i == 0 || i == n || p[i] != ' ')
        return SC_EINVAL;
    h->method = sc_span(p, i);

    size_t from = ++i;
    while (i < n && is(p[i], TARGET))
        i++;
    if (i == from || i == n || p[i] != ' ')
        return SC_EINVAL;
    h->target = sc_span(p + from, i - from);
    size_t mark = sc_span_find(h->target, '?');
    h->path = sc_span(h->target.p, mark);
    h->query = mark < h->target.n ? sc_span(h->target.p + mark + 1, h->target.n - mark - 1)
                                  : sc_span(h->target.p + mark, 0);

    const char *v = p + ++i;
    if (n - i != 8 || memcmp(v, "HTTP/", 5) != 0 || !is_digit(v[5]) || v[6] != '.' || !is_digit(v[7]))
        return SC_EINVAL;
    h->version = sc_span(v, 8);
    h->http10 = v[5] == '0' || (v[5] == '1' && v[7] == '0');
    return 0;
}

/* A Connection header is a list; only three of its words mean something here. */
static void note_connection(struct sc_http1_head *h, struct sc_span value)
{
    while (value.n) {
        size_t comma = sc_span_find(value, ',');
        struct sc_span word = sc_span_trim(sc_span(value.p, comma));
        if (sc_span_eq_nocase(word, SC_SPAN("close")))
            h->says_close = true;
        else if (sc_span_eq_nocase(word, SC_SPAN("keep-alive")))
            h->says_keep_alive = true;
        else if (sc_span_eq_nocase(word, SC_SPAN("upgrade")))
            h->says_upgrade = true;
        value = sc_span_sub(value, comma + 1, value.n);
    }
}

static int note_length(struct sc_http1_head *h, struct sc_span value)
{
    if (h->has_length)
        return SC_EINVAL;
    h->has_length = true;
    uint64_t length = 0;
    /* TorchServe takes -1 as "no body", and clients exist that send it. */
    if (!sc_span_eq(value, SC_SPAN("-1")) && !sc_span_u64(value, INT64_MAX, &length))
        return SC_EINVAL;
    h->content_length = (int64_t)length;
    return 0;
}

/* The headers that decide where this request ends and what becomes of its connection. */
static int note_header(struct sc_http1_head *h, const struct sc_http_header *f)
{
    switch (f->name.n) {
    case 6:
        if (same_name(f->name.p, "expect", 6) && h->expect != SC_HTTP1_EXPECT_OTHER)
            h->expect = sc_span_eq_nocase(f->value, SC_SPAN("100-continue")) ? SC_HTTP1_EXPECT_CONTINUE
                                                                             : SC_HTTP1_EXPECT_OTHER;
        return 0;
    case 7:
        if (same_name(f->name.p, "upgrade", 7))
            h->upgrades_h2c = sc_span_eq_nocase(f->value, SC_SPAN("h2c"));
        return 0;
    case 10:
        if (same_name(f->name.p, "connection", 10))
            note_connection(h, f->value);
        return 0;
    case 14:
        if (same_name(f->name.p, "content-length", 14))
            return note_length(h, f->value);
        if (same_name(f->name.p, "http2-settings", 14))
            h->h2_settings = f->value;
        return 0;
    case 17:
        if (same_name(f->name.p, "transfer-encoding", 17)) {
            if (h->has_chunked || !sc_span_eq_nocase(f->value, SC_SPAN("chunked")))
                return SC_EINVAL;
            h->has_chunked = true;
        }
        return 0;
    default: return 0;
    }
}

/* "name: value", without its line end. */
static int parse_field(struct sc_http1_head *h, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && is(p[i], TOKEN))
        i++;
    /* A folded line begins with a blank, and a blank before the colon ends the token: both fail here. */
    if (i == 0 || i == n || p[i] != ':' || h->nheaders == h->max_headers)
        return SC_EINVAL;
    struct sc_http_header *f = &h->headers[h->nheaders++];
    f->name = sc_span(p, i);

    i++;
    while (i < n && (p[i] == ' ' || p[i] == '\t'))
        i++;
    while (n > i && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    f->value = sc_span(p + i, n - i);
    while (n - i >= 8 && is_plain(p + i))
        i += 8;
    for (; i < n; i++)
        if (SC_UNLIKELY(!is(p[i], VALUE)))
            return SC_EINVAL;
    return note_header(h, f);
}

static int finish_head(struct sc_http1_head *h)
{
    if (h->has_chunked) {
        /* HTTP/1.0 does not know chunks: a reader in front of us may see another end. */
        if (h->has_length || h->http10)
            return SC_EINVAL;
        h->content_length = -1;
    }
    h->keep_alive = !h->says_close && (!h->http10 || h->says_keep_alive);
    if (h->http10)
        h->expect = SC_HTTP1_EXPECT_NONE;
    return (int)h->line;
}

/* Empty lines before a request are skipped (RFC 9112 §2.2); anything else must begin a method. */
static int skip_blanks(struct sc_http1_head *h, const char *p, size_t n)
{
    while (h->line < n) {
        const char *at = p + h->line;
        if (SC_LIKELY(is(*at, TOKEN)))
            return 0;
        if (*at != '\r' || h->line + 2 > SC_HTTP1_BLANKS_MAX)
            return SC_EINVAL;
        if (h->line + 1 == n)
            return SC_AGAIN;
        if (at[1] != '\n')
            return SC_EINVAL;
        h->line += 2;
        h->scan = h->line;
    }
    return SC_AGAIN;
}

int sc_http1_head_parse(struct sc_http1_head *h, const char *p, size_t n)
{
    if (!h->in_fields) {
        int rc = skip_blanks(h, p, n);
        if (rc < 0)
            return rc;
    }
    for (;;) {
        size_t max = h->in_fields ? SC_HTTP_HEADERS_BYTES - h->fields : SC_HTTP_LINE_MAX;
        const char *lf = n > h->scan ? memchr(p + h->scan, '\n', n - h->scan) : NULL;
        if (!lf) {
            h->scan = (uint32_t)n;
            /* One byte more than allowed may be the CR. */
            return n - h->line > max + 1 ? SC_EINVAL : SC_AGAIN;
        }
        const char *line = p + h->line;
        if (lf == line || lf[-1] != '\r')
            return SC_EINVAL;
        size_t len = (size_t)(lf - line) - 1;
        if (len > max)
            return SC_EINVAL;
        h->line = h->scan = (uint32_t)(lf + 1 - p);
        if (!h->in_fields) {
            if (parse_request_line(h, line, len) < 0)
                return SC_EINVAL;
            h->in_fields = true;
        } else if (len == 0) {
            return finish_head(h);
        } else {
            h->fields += (uint32_t)len;
            if (parse_field(h, line, len) < 0)
                return SC_EINVAL;
        }
    }
}

/* ---- chunked bodies ------------------------------------------------------------------ */

enum chunk_state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    NAME,
    FIELD,
    FIELD_LF,
    END_LF,
    DONE
};

void sc_http1_chunked_init(struct sc_http1_chunked *c)
{
    *c = (struct sc_http1_chunked){.state = SIZE};
}

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a size line. Nothing but digits up to CR or ';' is a size. */
static int size_byte(struct sc_http1_chunked *c, char b)
{
    if (++c->line > SC_HTTP_CHUNK_LINE_MAX)
        return SC_EINVAL;
    int v = hex(b);
    if (v >= 0) {
        if (++c->digits > 15)
            return SC_EINVAL;
        c->left = c->left * 16 + (unsigned)v;
        return 0;
    }
    if (c->digits == 0 || (b != '\r' && b != ';'))
        return SC_EINVAL;
    c->state = b == '\r' ? SIZE_LF : EXTENSION;
    return 0;
}

static int extension_byte(struct sc_http1_chunked *c, char b)
{
    if (++c->line > SC_HTTP_CHUNK_LINE_MAX)
        return SC_EINVAL;
    if (b == '\r')
        c->state = SIZE_LF;
    else if (!is(b, VALUE))
        return SC_EINVAL;
    return 0;
}

static int trailer_byte(struct sc_http1_chunked *c, char b)
{
    if (++c->trailer > SC_HTTP_TRAILER_BYTES)
        return SC_EINVAL;
    switch ((enum chunk_state)c->state) {
    case TRAILER:
        if (b == '\r')
            c->state = END_LF;
        else if (is(b, TOKEN))
            c->state = NAME;
        else
            return SC_EINVAL;
        return 0;
    case NAME:
        if (b == ':')
            c->state = FIELD;
        else if (!is(b, TOKEN))
            return SC_EINVAL;
        return 0;
    default:
        if (b == '\r')
            c->state = FIELD_LF;
        else if (!is(b, VALUE))
            return SC_EINVAL;
        return 0;
    }
}

/* One byte that is not data. */
static int frame_byte(struct sc_http1_chunked *c, char b)
{
    switch ((enum chunk_state)c->state) {
    case SIZE: return size_byte(c, b);
    case EXTENSION: return extension_byte(c, b);
    case SIZE_LF: c->state = c->left ? DATA : TRAILER; return b == '\n' ? 0 : SC_EINVAL;
    case DATA_CR: c->state = DATA_LF; return b == '\r' ? 0 : SC_EINVAL;
    case DATA_LF:
        c->state = SIZE;
        c->line = c->digits = 0;
        return b == '\n' ? 0 : SC_EINVAL;
    case TRAILER:
    case NAME:
    case FIELD: return trailer_byte(c, b);
    case FIELD_LF: c->state = TRAILER; return b == '\n' ? 0 : SC_EINVAL;
    case END_LF: c->state = DONE; return b == '\n' ? 0 : SC_EINVAL;
    case DATA:
    case DONE: break;
    }
    return SC_EINVAL;
}

int sc_http1_chunked_next(struct sc_http1_chunked *c, struct sc_span *in, struct sc_span *data)
{
    while (c->state != DONE) {
        if (in->n == 0)
            return SC_AGAIN;
        if (c->state == DATA) {
            size_t n = SC_MIN(in->n, c->left);
            *data = sc_span(in->p, n);
            *in = sc_span(in->p + n, in->n - n);
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            return 1;
        }
        int rc = frame_byte(c, *in->p);
        *in = sc_span(in->p + 1, in->n - 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}
