/*
 * What the server's calls are, as OpenAPI 3.0 (docs/contract.md §10), written from the table of routes. Under
 * `torchserve` the calls that TorchServe tells of, under `sconce serve` all.
 */
#ifndef SC_API_DESCRIPTION_H
#define SC_API_DESCRIPTION_H

#include "api/app.h"

/* Routes, on the exchange's loop: the calls of the listener (OPTIONS /, /api-description); those that manage
 * the model in the path. */
void sc_describe_apis(struct sc_call *c);
void sc_describe_management(struct sc_call *c);
/* Answers with the predictions of the model that was found (c->shard). */
void sc_describe_predictions(struct sc_call *c);

#endif
