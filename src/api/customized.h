/*
 * GET /models/{name}[/{version}]?customized=true: a worker is asked what its handler says of the model, and
 * that stands in the description (docs/contract.md §6.4).
 */
#ifndef SC_API_CUSTOMIZED_H
#define SC_API_CUSTOMIZED_H

#include "api/app.h"
#include "proto/json_write.h"

/* On the exchange's loop: true if the request asks for it, and is claimed or answered. False also where
 * nobody can be asked: a native model, a name that is unknown, "all" versions; the plain description says
 * the rest. */
bool sc_customized_claim(struct sc_call *c);
/* The same for a call that asks for it: true if it was answered, or c->route runs when the body is there. */
bool sc_customized_begin(struct sc_call *c);
/* On loop 0: the field, if the handler's result has bytes; an empty object for what is no JSON object. */
void sc_customized_put(struct sc_json_writer *w, struct sc_span result);

#endif
