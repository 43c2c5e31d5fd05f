#include "proto/multipart.h"

#include "proto/url.h"

int sc_multipart_init(struct sc_multipart *m, struct sc_span content_type, struct sc_span body,
                      struct sc_msg *msg)
{
    struct sc_span boundary;
    *m = (struct sc_multipart){.body = body, .ended = true};
    if (!sc_media_is(content_type, "multipart/form-data"))
        return 0;
    int rc = sc_media_param(content_type, "boundary", &boundary);
    if (rc < 0)
        return sc_fail(msg, rc, "Needs a boundary value");
    if (rc == 0)
        return 0;
    if (boundary.n > SC_FORM_BOUNDARY_MAX)
        return sc_fail(msg, SC_ELIMIT, "A boundary longer than %d bytes", SC_FORM_BOUNDARY_MAX);
    memcpy(m->needle, "--", 2);
    memcpy(m->needle + 2, boundary.p, boundary.n);
    m->needle_n = boundary.n + 2;
    m->ended = body.n == 0; /* no body: no parts */
    return 1;
}

/* Takes one line from *rest, without its CRLF or LF. */
static bool take_line(struct sc_span *rest, struct sc_span *line)
{
    size_t end = sc_span_find(*rest, '\n');
    if (end == rest->n)
        return false;
    *line = sc_span_sub(*rest, 0, end > 0 && rest->p[end - 1] == '\r' ? end - 1 : end);
    *rest = sc_span_sub(*rest, end + 1, rest->n);
    return true;
}

/* Behind a boundary: "--", or blanks and a line's end, to whose end *at moves. The boundary may also be the
 * beginning of a longer word in the data. */
static bool ends_line(struct sc_span body, size_t *at)
{
    size_t i = *at;
    if (sc_span_starts(sc_span_sub(body, i, 2), SC_SPAN("--"))) {
        *at = body.n;
        return true;
    }
    while (i < body.n && (body.p[i] == ' ' || body.p[i] == '\t'))
        i++;
    if (i < body.n && body.p[i] == '\r')
        i++;
    *at = i + 1;
    return i < body.n && body.p[i] == '\n';
}

/*
 * The next delimiter line from `from` on: *before is the end of the data before it, *after the first byte
 * behind it. 1: a part follows; 0: it is the last one; SC_EINVAL: there is none.
 */
static int find_delimiter(const struct sc_multipart *m, size_t from, size_t *before, size_t *after)
{
    const char *p = m->body.p;
    for (size_t at = from; at < m->body.n;) {
        const char *hit = memmem(p + at, m->body.n - at, m->needle, m->needle_n);
        if (!hit)
            break;
        at = (size_t)(hit - p);
        size_t end = at + m->needle_n;
        if ((at == 0 || p[at - 1] == '\n') && ends_line(m->body, &end)) {
            bool last = p[at + m->needle_n] == '-';
            *before = at == 0 ? 0 : at - 1;
            if (*before > from && p[*before - 1] == '\r')
                --*before;
            *after = end;
            return last ? 0 : 1;
        }
        at++;
    }
    return SC_EINVAL;
}

static int read_header(struct sc_span line, struct sc_part *part)
{
    size_t colon = sc_span_find(line, ':');
    struct sc_span name = sc_span_trim(sc_span_sub(line, 0, colon));
    struct sc_span value = sc_span_trim(sc_span_sub(line, colon + 1, line.n));
    if (colon == line.n)
        return SC_EINVAL;
    if (sc_span_eq_nocase(name, SC_SPAN("content-type"))) {
        part->content_type = value;
    } else if (sc_span_eq_nocase(name, SC_SPAN("content-transfer-encoding"))) {
        part->encoding = value;
    } else if (sc_span_eq_nocase(name, SC_SPAN("content-disposition"))) {
        struct sc_span filename;
        if (sc_media_param(value, "name", &part->name) != 1)
            return SC_EINVAL;
        part->has_filename = sc_media_param(value, "filename", &filename) != 0 ||
                             sc_media_param(value, "filename*", &filename) != 0;
    }
    return 0;
}

/* A file in an encoding that would have to be undone is refused, as by TorchServe. */
static bool is_plain(const struct sc_part *part)
{
    return !part->has_filename || part->encoding.n == 0 ||
           sc_span_eq_nocase(part->encoding, SC_SPAN("7bit")) ||
           sc_span_eq_nocase(part->encoding, SC_SPAN("8bit")) ||
           sc_span_eq_nocase(part->encoding, SC_SPAN("binary"));
}

int sc_multipart_next(struct sc_multipart *m, struct sc_part *part, struct sc_msg *msg)
{
    static const char cut[] = "A multipart body without its last boundary";
    size_t before, after;
    int rc;
    if (m->ended)
        return 0;
    if (!m->started) {
        rc = find_delimiter(m, 0, &before, &after);
        if (rc < 0)
            return sc_fail(msg, rc, cut);
        m->started = true;
        m->ended = rc == 0;
        m->pos = after;
        if (rc == 0)
            return 0;
    }
    if (m->parts == SC_FORM_PARTS_MAX)
        return sc_fail(msg, SC_ELIMIT, "More than %d parts in a multipart body", SC_FORM_PARTS_MAX);

    *part = (struct sc_part){0};
    struct sc_span rest = sc_span_sub(m->body, m->pos, m->body.n), line;
    size_t used = 0;
    for (;;) {
        if (!take_line(&rest, &line))
            return sc_fail(msg, SC_EINVAL, "A part of a multipart body whose headers do not end");
        if (line.n == 0)
            break;
        used += line.n;
        if (used > SC_FORM_PART_HEADERS_BYTES)
            return sc_fail(msg, SC_ELIMIT, "More than %d bytes of headers in a part",
                           SC_FORM_PART_HEADERS_BYTES);
        if (read_header(line, part) < 0)
            return sc_fail(msg, SC_EINVAL, "A malformed header in a part of a multipart body: %.*s",
                           SC_FMT(sc_span_sub(line, 0, 100)));
    }
    if (!part->name.p)
        return sc_fail(msg, SC_EINVAL, "A part of a multipart body without a name");
    if (!is_plain(part))
        return sc_fail(msg, SC_EINVAL, "TransferEncoding Unknown: %.*s",
                       SC_FMT(sc_span_sub(part->encoding, 0, 100)));
    size_t start = (size_t)(rest.p - m->body.p);
    rc = find_delimiter(m, start, &before, &after);
    if (rc < 0)
        return sc_fail(msg, rc, cut);
    part->data =
        before > start ? sc_span_sub(m->body, start, before - start) : sc_span_sub(m->body, start, 0);
    m->ended = rc == 0;
    m->pos = after;
    m->parts++;
    return 1;
}
