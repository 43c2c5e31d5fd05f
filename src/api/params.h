/* Parameters of a management call: the query's, or for a JSON body its members; all as text. */
#ifndef SC_API_PARAMS_H
#define SC_API_PARAMS_H

#include "api/app.h"

/* Zero-initialise; free also after an error. The spans live as long as it and the call's exchange. */
struct sc_params {
    struct sc_query query;
    struct sc_buf room; /* texts of a JSON body */
    unsigned n;
    struct sc_param items[SC_SPEC_EXTRAS_MAX + 32]; /* more are ignored */
};

/* Fill p (from_query also with what gRPC gives); 0, or a negative code and the call was answered. */
int sc_params_from_query(struct sc_call *c, struct sc_params *p) SC_MUST_USE;
int sc_params_from_json(struct sc_call *c, struct sc_params *p) SC_MUST_USE;
/* The body's if it is JSON by its type, else the query's. */
int sc_params_read(struct sc_call *c, struct sc_params *p) SC_MUST_USE;
void sc_params_free(struct sc_params *p);

/* The first value of that name; a NULL pointer if there is none. */
struct sc_span sc_param(const struct sc_params *p, const char *name);
/* What is no integer counts as absent (docs/contract.md §3). */
int sc_param_int(const struct sc_params *p, const char *name, int absent);
bool sc_param_bool(const struct sc_params *p, const char *name, bool absent);

#endif
