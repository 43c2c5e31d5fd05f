/*
 * From a request to the metadata that a Python worker makes a handler's row of (docs/internals/python.md;
 * docs/contract.md §4). The request's loop.
 */
#ifndef SC_API_ROWS_H
#define SC_API_ROWS_H

#include "base/buf.h"
#include "model/workflow.h"
#include "net/http.h"

struct sc_row_route {
    struct sc_span url_path; /* what follows model and version in the path */
    bool no_url_path;        /* there is no such header */
    bool no_explain;         /* nor that one */
    bool explain;
    bool
        made; /* the body was made by the server, as JSON: its length and type are not those that were sent */
    bool legacy; /* neither header, and the query's parameters come before the body's */
    /* More headers, as if the client had sent them. */
    struct sc_http_header added[2];
    unsigned nadded;
};

/* True if the row can be told before the body is there: it is one parameter of known length. */
bool sc_row_is_plain(const struct sc_http_exchange *x);
/* Writes the metadata; the body is not there yet. */
void sc_row_plain(const struct sc_http_exchange *x, const struct sc_row_route *route, struct sc_buf *meta);
/* A node of a workflow: the request's headers, and what other nodes have answered: in `length` bytes, of no
 * type, or as parameters. */
void sc_row_node(const struct sc_http_exchange *x, size_t length, const struct sc_flow_part *parts,
                 unsigned nparts, struct sc_buf *meta);
/* The metadata of a question for the handler's own description: an empty row, the request's headers (not
 * those of gRPC) and `describe: True`. */
void sc_row_describe(const struct sc_http_exchange *x, bool grpc, struct sc_buf *meta);

struct sc_row_part {
    struct sc_span name, data;
};
/* The metadata of a row that gRPC names, without the request's headers, for a body that is the parts' data
 * one behind the other. 0, SC_ELIMIT with *msg, or meta's failure. */
int sc_row_of_parts(const char *id, const struct sc_row_route *route, const struct sc_row_part *parts,
                    size_t n, struct sc_buf *meta, struct sc_msg *msg) SC_MUST_USE;
/* The same for the one parameter `body` of that type. */
void sc_row_of_json(const char *id, const struct sc_row_route *route, struct sc_buf *meta);
/*
 * The same with the body there: forms become parts of it. An urlencoded body is decoded where it lies. 0, or
 * SC_EINVAL with TorchServe's text in *msg for a form that cannot be read, SC_ELIMIT.
 */
int sc_row_of_body(struct sc_http_exchange *x, const struct sc_row_route *route, struct sc_buf *meta,
                   struct sc_msg *msg) SC_MUST_USE;

#endif
