/*
 * What the interfaces of others have in common: which model a call is for, and how it gets there.
 *
 * The frontend reads no more of a body than the model's name; the model's backend reads it and answers in the
 * interface's words (docs/internals/encoder.md). Errors, the frontend's and the backend's, are put in the
 * interface's form here. All on the exchange's loop.
 */
#ifndef SC_API_INTERFACES_H
#define SC_API_INTERFACES_H

#include "api/app.h"

/* True for exactly that path, of one or two segments ("v1", "embeddings"); NULL: none. */
bool sc_path_is(const struct sc_path *p, const char *first, const char *second);

/*
 * Claims the call for interface `i` of family `f`: answers 405 unless the method is `method`, else sets the
 * route. by_body: the model is named by the body's member "model"; else by the query's parameter. A call
 * that names none is for the only default version that has the interface, or the first one of the setting
 * interface_models.
 */
void sc_interface_claim(struct sc_call *c, const struct sc_family *f, enum sc_interface i, const char *method,
                        bool by_body);

#endif
