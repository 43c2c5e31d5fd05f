/*
 * HTTP/1.1 requests as bytes: heads and chunked bodies. No I/O, no allocation, no copies.
 *
 * Both parsers take what has arrived so far and can be called again when there is more; the
 * outcome does not depend on how the bytes were cut. They are strict where two readers of one
 * request could disagree on where it ends (docs/contract.md §2.2 and docs/compatibility.md): every line ends
 * with CRLF, one Content-Length or one `Transfer-Encoding: chunked`, no folded lines, no blanks before a
 * colon, no control bytes.
 */
#ifndef SC_PROTO_HTTP1_H
#define SC_PROTO_HTTP1_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/limits.h"
#include "base/span.h"

struct sc_http_header {
    struct sc_span name;  /* as sent */
    struct sc_span value; /* trimmed */
};

enum sc_http1_expect { SC_HTTP1_EXPECT_NONE, SC_HTTP1_EXPECT_CONTINUE, SC_HTTP1_EXPECT_OTHER };

/* The spans point into the bytes given to parse. */
struct sc_http1_head {
    struct sc_span method;
    struct sc_span target;  /* as sent */
    struct sc_span path;    /* undecoded, up to '?' */
    struct sc_span query;   /* undecoded, behind '?'; empty if none */
    struct sc_span version; /* "HTTP/1.1" as sent */
    struct sc_http_header *headers;
    unsigned nheaders;
    int64_t content_length; /* -1: chunked; 0: none announced */
    bool http10;            /* HTTP/1.0 or older; later versions count as 1.1 */
    bool keep_alive;        /* what version and Connection headers ask for */
    enum sc_http1_expect expect;
    bool upgrades_h2c;          /* it offers to go on in HTTP/2 (RFC 7540 §3.2), */
    struct sc_span h2_settings; /* with these settings */

    /* The parser's own. */
    unsigned max_headers;
    uint32_t line;   /* where the line that is not complete yet begins */
    uint32_t scan;   /* no LF between line and here */
    uint32_t fields; /* bytes of header lines so far, without their ends */
    bool in_fields, has_length, has_chunked, says_close, says_keep_alive, says_upgrade;
};

/* Ready for the first byte of a request. headers[max] is the caller's and outlives the head. */
void sc_http1_head_init(struct sc_http1_head *h, struct sc_http_header *headers, unsigned max);

/*
 * p[0..n) is everything that arrived from the request's first byte on; later calls pass the same
 * p with a larger n (after moving the bytes: init again). Returns the length of the head, empty
 * line included, SC_AGAIN if more is needed, or SC_EINVAL for a message that must be refused: it
 * is malformed, ambiguous, or larger than limits.h allows. At most SC_HTTP1_HEAD_MAX bytes are
 * needed to decide.
 */
int sc_http1_head_parse(struct sc_http1_head *h, const char *p, size_t n) SC_MUST_USE;

/* Blank lines before a request, request line, header lines, line ends. */
#define SC_HTTP1_BLANKS_MAX 64
#define SC_HTTP1_HEAD_MAX \
    (SC_HTTP1_BLANKS_MAX + SC_HTTP_LINE_MAX + SC_HTTP_HEADERS_BYTES + 2 * (SC_HTTP_HEADERS_MAX + 2))

struct sc_http1_chunked {
    uint64_t left;    /* of the current chunk's data */
    uint32_t line;    /* bytes of the size line so far */
    uint32_t trailer; /* bytes of trailers so far */
    uint8_t state, digits;
};

void sc_http1_chunked_init(struct sc_http1_chunked *c);

/*
 * Takes bytes from the front of *in until it has a piece of the body, which it returns in *data
 * (part of *in's memory). Returns 1 with a piece (never empty), 0 when the body is complete (*in
 * is what follows it), SC_AGAIN when *in is used up, SC_EINVAL when the body is malformed.
 * Extensions and trailers are checked and dropped.
 */
int sc_http1_chunked_next(struct sc_http1_chunked *c, struct sc_span *in, struct sc_span *data) SC_MUST_USE;

#endif
