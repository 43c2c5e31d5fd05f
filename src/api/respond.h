/* Bodies and errors as TorchServe shapes them (docs/contract.md §2.5, §2.6). */
#ifndef SC_API_RESPOND_H
#define SC_API_RESPOND_H

#include "base/buf.h"
#include "net/http.h"
#include "proto/json_write.h"

/* Ends the document that w writes to b and sends it, or says that it could not be written; frees b. */
void sc_respond_json(struct sc_http_exchange *x, int status, struct sc_json_writer *w, struct sc_buf *b);
/* {"code", "type", "message"}; any loop of the exchange. */
void sc_respond_error(struct sc_http_exchange *x, int status, const char *type, struct sc_span message);
/* {"status": text} */
void sc_respond_status(struct sc_http_exchange *x, int status, struct sc_span text);
/* A body of the given type; the bytes are copied if the socket does not take them at once. */
void sc_respond_body(struct sc_http_exchange *x, int status, struct sc_span content_type,
                     struct sc_span body);

/* The sentences that several routes share. */
void sc_respond_no_resource(struct sc_http_exchange *x); /* 404 */
void sc_respond_bad_method(struct sc_http_exchange *x);  /* 405 */
/* Appends what is said of a model or version that sc_engine_find and its kin (rc) do not know. */
void sc_put_no_model(struct sc_buf *b, int rc, struct sc_span name, struct sc_span version);

#endif
