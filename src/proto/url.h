/*
 * Request targets, queries, urlencoded forms and media types, as TorchServe reads them (docs/contract.md
 * §2.1, §4.3). No I/O; not thread-safe.
 *
 * Escaped bytes that are no UTF-8 become U+FFFD. A malformed escape is SC_EINVAL with TorchServe's text in
 * *msg.
 */
#ifndef SC_PROTO_URL_H
#define SC_PROTO_URL_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

#define SC_PATH_SEGMENTS 8 /* kept one by one; the rest of a path is read as a whole */

/*
 * A path, decoded and split on '/': the path is decoded first, so %2F separates; empty segments at the end
 * vanish. What stands before the first '/' is not a segment (it is empty in every proper target).
 */
struct sc_path {
    struct sc_span decoded;
    struct sc_span segments[SC_PATH_SEGMENTS]; /* S1, S2, ... */
    unsigned n;                                /* count of all segments, may exceed SC_PATH_SEGMENTS */
    size_t end;                                /* of the last segment in decoded */
    struct sc_buf text;                        /* owns decoded if it had escapes */
};

/* Reads the part of `target` before '?' or '#'. The spans point into target or into p, which is freed by free
 * (also after an error). Returns 0, SC_EINVAL or SC_ENOMEM. */
int sc_path_parse(struct sc_path *p, struct sc_span target, struct sc_msg *msg) SC_MUST_USE;
void sc_path_free(struct sc_path *p);
/* Segments from number `first` (0 is S1) on, joined by '/'; empty if there are none. */
struct sc_span sc_path_rest(const struct sc_path *p, unsigned first);

struct sc_param {
    struct sc_span name, value;
};

/* Name-value pairs in the order sent. */
struct sc_query {
    struct sc_param *params;
    unsigned n;
    struct sc_buf text;
};

/* Reads what follows the first '?' of `target`, up to '#'. '&' and ';' separate, '+' is a blank, a name
 * without '=' has an empty value. Free it also after an error. Returns 0, SC_EINVAL or SC_ENOMEM. */
int sc_query_parse(struct sc_query *q, struct sc_span target, struct sc_msg *msg) SC_MUST_USE;
/* Reads an application/x-www-form-urlencoded body: '&' separates; a last token without '=' is dropped; the
 * first line feed ends it. Values are bytes, whatever they are; an empty name is SC_EINVAL. More than
 * SC_FORM_PARTS_MAX fields: SC_ELIMIT. */
int sc_form_parse(struct sc_query *q, struct sc_span body, struct sc_msg *msg) SC_MUST_USE;
void sc_query_free(struct sc_query *q);

/* The first value of that name; false if there is none. */
bool sc_query_get(const struct sc_query *q, const char *name, struct sc_span *value);
/* The contract's "int": what is no 32-bit decimal integer counts as absent. */
bool sc_query_int(const struct sc_query *q, const char *name, int32_t *out);
/* The contract's "bool": "true" in any case is true, everything else false; `otherwise` if absent. */
bool sc_query_bool(const struct sc_query *q, const char *name, bool otherwise);
/* True for "true" in any case. */
bool sc_is_true(struct sc_span s);

/* The type of a Content-Type value: up to ';', without blanks around it; case as sent. */
struct sc_span sc_media_type(struct sc_span header);
/* True if that type is `type`, in any case. */
bool sc_media_is(struct sc_span header, const char *type);
/* The value of a parameter (boundary, charset; any case), without its quotes. 1: found; 0: absent; SC_EINVAL:
 * the name without a value. */
int sc_media_param(struct sc_span header, const char *name, struct sc_span *value);

#endif
