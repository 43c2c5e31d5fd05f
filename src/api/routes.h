/*
 * The table of routes: which call is whose, and what is told of it (OpenAPI). One table drives the router,
 * the choice of the key (auth_http.c) and the description (description.c).
 *
 * A path is a template: {name} stands for any one segment, {name}TEXT for one that holds TEXT, a last * for
 * any number of segments, none included. The first row whose listener and path fit decides; rows of one path
 * stand together, and a method that none of them has is 405.
 */
#ifndef SC_API_ROUTES_H
#define SC_API_ROUTES_H

#include "api/app.h"

enum sc_doc_answer {
    SC_DOC_STATUS, /* {"status": ...} */
    SC_DOC_BYTES,  /* what the model says */
    SC_DOC_OBJECT,
    SC_DOC_ARRAY,
    SC_DOC_TEXT,
    SC_DOC_EMPTY,
};

/* What the description says of a row; id NULL: nothing. */
struct sc_route_doc {
    const char *id, *says;
    const char *query; /* parameters, separated by blanks: NAME, NAME=DEFAULT, NAME! if it has to be there */
    const char *body;  /* media type of a body that has to be sent; NULL: none */
    const char *codes; /* beside 200: "404 500" */
    enum sc_doc_answer answer;
    bool ours; /* not among TorchServe's: told under `sconce serve` alone */
    bool deprecated;
};

struct sc_route {
    unsigned serves;    /* the listener has all of these bits; 0: any listener */
    const char *method; /* NULL: any; GET is also HEAD */
    const char *path;
    /* One of them. run: on the exchange's loop, without the body: answers or sets c->route. zero: on loop 0,
     * with the body. */
    void (*run)(struct sc_call *c);
    void (*zero)(struct sc_call *c);
    struct sc_route_doc doc;
    bool any_case; /* the letters of its words count in either case */
};

/* Before the first call of find. */
void sc_routes_init(void);
/* The row of a request on a listener with the bits `serves`, NULL if there is none. *bad_method: it is one of
 * the path's rows, none of which has the method. Any thread. */
const struct sc_route *sc_route_find(unsigned serves, const struct sc_path *p, struct sc_span method,
                                     bool *bad_method);
/* Row i, NULL behind the last. */
const struct sc_route *sc_route_at(size_t i);

#endif
