/*
 * What a request's metadata says of its row, read without trusting it and without Python
 * (docs/internals/python.md, "Requests").
 *
 * Everything is checked once, by sc_row_head; afterwards sc_row_next cannot meet anything malformed. Spans
 * point into metadata and body. Any thread.
 */
#ifndef SC_PYTHON_ROW_H
#define SC_PYTHON_ROW_H

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"

struct sc_row_head {
    struct sc_span id;
    struct sc_span type; /* of the body; empty if none was sent */
    bool form;           /* the row is made of the fields alone */
    unsigned fields, headers;
};

/* 0, or SC_EPROTO with a reason (a static string): not well-formed, a field outside of the body, an unknown
 * key with a colon. */
int sc_row_head(struct sc_span meta, size_t body, struct sc_row_head *out, const char **why);

enum sc_row_kind { SC_ROW_FIELD, SC_ROW_HEADER };
struct sc_row_item {
    enum sc_row_kind kind;
    struct sc_span name, value;
    struct sc_span type; /* of a field */
};
/* The next field or header, in the order of the metadata: start with *at = 0. False at the end. Only for
 * metadata that sc_row_head has passed for this body. */
bool sc_row_next(struct sc_span meta, struct sc_span body, size_t *at, struct sc_row_item *out);

#endif
