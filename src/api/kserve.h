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

/* ---- what gRPC tells, too (grpc_oip.c) ---- */

struct sc_v2_identity {
    const char *name, *version;
    const char *const *extensions; /* NULL behind the last */
};
struct sc_v2_identity sc_v2_identity(const struct sc_app *app);
/* Loop 0: what there is of a model, of its default version if a NULL pointer is given for it. */
struct sc_v2_seen {
    bool known;     /* there is a model of that name, */
    bool found;     /* and the version; */
    bool ready;     /* a worker of it has loaded, */
    bool all_ready; /* or as many as are wanted */
};
struct sc_v2_seen sc_v2_look(const struct sc_app *app, struct sc_span name, struct sc_span version);
unsigned sc_v2_ready_workers(const struct sc_version_view *v);
/* In the repository's index. */
static inline const char *sc_v2_state(bool ready)
{
    return ready ? "READY" : "UNAVAILABLE";
}
static inline const char *sc_v2_reason(bool ready)
{
    return ready ? "" : "no worker is ready";
}
/* A route: asks the backend of c->shard what the model takes and gives, if it can say it. Its answer is to be
 * given to sc_v2_told; then, or at once, c->on_zero runs with what it said in c->told. */
void sc_v2_ask(struct sc_call *c);
void sc_v2_told(struct sc_call *c, struct sc_span body);

#endif
