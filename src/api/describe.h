/* GET /models and GET /models/{name}: what is loaded (docs/contract.md §6.1, §6.4). Loop 0. */
#ifndef SC_API_DESCRIBE_H
#define SC_API_DESCRIBE_H

#include "api/app.h"
#include "proto/json_write.h"

/* A route, on the exchange's loop: as sc_model_describe, but a handler may have to be asked first. */
void sc_model_ask(struct sc_call *c);
/* Answer the call. */
void sc_models_list(struct sc_call *c);
void sc_model_describe(struct sc_call *c);
/* A list in pages: what its array and the fields of its items are called, and who calls sc_list_add for each
 * of them. */
struct sc_listing;
struct sc_list_kind {
    const char *plural, *name, *url;
    void (*each)(struct sc_engine *e, struct sc_listing *l);
};
void sc_list_add(struct sc_listing *l, const char *name, const char *url);
void sc_call_list(struct sc_call *c, const struct sc_list_kind *kind);
/* Answers with the document, which this ends; 200, or what a handler told. */
void sc_call_json(struct sc_call *c, struct sc_json_writer *w);
/* 404 for what sc_engine_find and its kin returned. */
void sc_call_no_model(struct sc_call *c, int rc, struct sc_span name, struct sc_span version);
/* The third segment of /models/{name}/{version}; a NULL pointer if there is none. */
struct sc_span sc_call_version(const struct sc_call *c);

#endif
