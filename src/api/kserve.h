/* KServe's REST routes (docs/contract.md §5; beyond TorchServe's own: docs/running.md). */
#ifndef SC_API_KSERVE_H
#define SC_API_KSERVE_H

#include "api/app.h"

/* kserve.c, on the exchange's loop: the first protocol. */
void sc_kserve_predict(struct sc_call *c);
void sc_kserve_explain(struct sc_call *c);
/* On loop 0: {"name", "ready"}; all names. */
void sc_kserve_ready(struct sc_call *c);
void sc_v1_models(struct sc_call *c);

/* v2_infer.c, on the exchange's loop. Where the listener has SC_SERVES_OIP native models take tensors and
 * errors are {"error": ...}; else these are TorchServe's routes, which know nothing of bodies. */
void sc_v2_infer(struct sc_call *c);
void sc_v2_explain(struct sc_call *c);
/* Answers with {"error": text}. */
void sc_v2_refuse(struct sc_http_exchange *x, int status, struct sc_span text);
/* Finds the model (segment 3) and version (segment 5 if there is one); false: answered so. */
bool sc_v2_find(struct sc_call *c);

/* v2_server.c, on the exchange's loop. */
void sc_v2_server(struct sc_call *c);
void sc_v2_live(struct sc_call *c);
void sc_v2_ready(struct sc_call *c);
void sc_v2_model(struct sc_call *c);
void sc_v2_unknown(struct sc_call *c);
/* On loop 0. */
void sc_v2_model_ready(struct sc_call *c);
void sc_v2_index(struct sc_call *c);

#endif
