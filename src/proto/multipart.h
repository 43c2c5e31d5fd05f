/*
 * multipart/form-data over a body that is complete: parts as spans of it, nothing copied (docs/contract.md
 * §4.3). Parts within parts (multipart/mixed) are handed on as data.
 */
#ifndef SC_PROTO_MULTIPART_H
#define SC_PROTO_MULTIPART_H

#include "base/array.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

struct sc_multipart {
    struct sc_span body;
    size_t pos;
    unsigned parts;
    bool started, ended;
    char needle[SC_FORM_BOUNDARY_MAX + 2]; /* "--boundary" */
    size_t needle_n;
};

struct sc_part {
    struct sc_span name;
    bool has_filename;
    struct sc_span content_type; /* as declared; NULL pointer: not declared */
    struct sc_span encoding;     /* Content-Transfer-Encoding, likewise */
    struct sc_span data;
};

/* Reads the Content-Type of a request. 1: multipart/form-data, m is ready for next; 0: something else, or no
 * boundary parameter (then the body is taken as it is); SC_EINVAL: `Needs a boundary value`; SC_ELIMIT:
 * longer than SC_FORM_BOUNDARY_MAX. */
int sc_multipart_init(struct sc_multipart *m, struct sc_span content_type, struct sc_span body,
                      struct sc_msg *msg) SC_MUST_USE;
/* 1: *part is the next; 0: there are no more; SC_EINVAL: malformed, cut off, or a file in base64 or the like;
 * SC_ELIMIT: more than SC_FORM_PARTS_MAX parts or SC_FORM_PART_HEADERS_BYTES of headers. An empty body has no
 * parts. */
int sc_multipart_next(struct sc_multipart *m, struct sc_part *part, struct sc_msg *msg) SC_MUST_USE;

#endif
