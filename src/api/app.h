/*
 * The HTTP application: which route a request takes, and what a route needs to answer.
 *
 * Inference routes run on the connection's loop. Management routes run on loop 0 (where models and workers
 * live), wherever their connection is; the answer goes back to the connection's loop.
 */
#ifndef SC_API_APP_H
#define SC_API_APP_H

#include "base/buf.h"
#include "base/dlist.h"
#include "metrics/render.h"
#include "metrics/spans.h"
#include "model/engine.h"
#include "model/interfaces.h"
#include "model/settings.h"
#include "model/workflow.h"
#include "net/http.h"
#include "proto/url.h"

enum {
    SC_SERVES_INFERENCE = 1,
    SC_SERVES_MANAGEMENT = 2,
    SC_SERVES_METRICS = 4,
    SC_SERVES_OIP = 8,  /* with inference: ts_open_inference_protocol */
    SC_SERVES_GRPC = 16 /* the services that belong to the other bits, and nothing else */
};

struct sc_grpc;
struct sc_route;
struct sc_row_route;

struct sc_app {
    struct sc_loops *loops;
    struct sc_engine *engine;
    const struct sc_settings *settings;
    struct sc_metrics *metrics;
    struct sc_renderer *renderer;
    struct sc_tracing tracing; /* exemplars and spans: what is wanted */
    struct sc_http_server *server;
    struct sc_auth *auth;              /* NULL: no tokens */
    unsigned serves[SC_LISTENERS_MAX]; /* bits per listener */
    struct sc_call *pools[SC_LOOPS_MAX];
};

struct sc_call;

/* How an interface of others answers (openai.c, tei.c, cohere.c, v2_infer.c). */
struct sc_family {
    /* Answers the exchange; status as TorchServe would have it. */
    void (*refuse)(struct sc_http_exchange *x, int status, struct sc_span message);
    /* Answers with what a native backend said; NULL: it is sent as it is. */
    void (*answer)(struct sc_call *c, const struct sc_job_answer *a);
};

/* How calls are answered that are not HTTP's own (grpc.c). */
struct sc_rpc {
    /* With an error, status and type as TorchServe's REST API has them; status 0: nobody waits any more. */
    void (*refuse)(struct sc_call *c, int status, const char *type, struct sc_span message);
    /* A part of an answer; may cancel the job. */
    void (*part)(struct sc_call *c, struct sc_span body);
    /* A whole answer, or the last part. */
    void (*answer)(struct sc_call *c, struct sc_span body);
    /* A management route's: what stands in the call from `status` on. */
    void (*finish)(struct sc_call *c);
    /* Metadata of the request for a Python worker. 0, or SC_ELIMIT with *msg, or meta's failure. */
    int (*row)(struct sc_call *c, const struct sc_row_route *route, struct sc_buf *meta, struct sc_msg *msg);
};

/* One request in the application. Belongs to the exchange's loop, but for the time a management route runs.
 */
struct sc_call {
    struct sc_task task;
    struct sc_call *next; /* in the pool */
    struct sc_node node;  /* of a stream of requests: in sc_grpc's `open` */
    struct sc_app *app;
    struct sc_http_exchange *x;
    struct sc_loop *loop;         /* the exchange's */
    struct sc_job *job;           /* prediction: until done */
    struct sc_workflow *workflow; /* held: the request is to run on it; NULL: on a model */
    struct sc_flow *flow;         /* until done */
    bool running;                 /* the body was complete; somebody will answer */
    struct sc_shard *shard;
    bool versioned;   /* the request named a version */
    bool explain;     /* /explanations */
    bool no_url_path; /* KServe's routes: the handler sees no such header */
    bool made_json;   /* the body is one that was made for the handler, of JSON */
    bool legacy;      /* /invocations and its like: neither url_path nor explain; the query is input */
    bool streaming;   /* the head of its answer was sent */
    const struct sc_family *family; /* NULL: TorchServe's own API */
    enum sc_interface interface;    /* with a family: what the request is by */
    const struct sc_rpc *rpc;       /* NULL: HTTP */
    struct sc_grpc *grpc;           /* with rpc: what the call is part of */
    struct sc_span media_given;     /* with rpc: the type of its body */
    const struct sc_param *given;   /* with rpc: parameters of a management route */
    unsigned ngiven;
    int64_t deadline_ns;     /* sc_clock_ns; 0: none */
    struct sc_span sequence; /* id of the request's sequence, in its headers or in made_id */
    bool sequence_begins;
    uint8_t priority; /* enum sc_priority */
    char made_id[48];
    struct sc_path path;                /* until the exchange is over */
    void (*route)(struct sc_call *c);   /* runs when the body is there */
    void (*on_zero)(struct sc_call *c); /* what sc_call_to_loop_zero runs there */
    /* answer of a management route, made on loop 0 */
    int status;
    const char *type;     /* error type; NULL: a normal answer */
    bool raw;             /* out is the whole body, */
    struct sc_span media; /* of this type */
    struct sc_buf out;
    struct sc_render_ask render;  /* metrics.c */
    struct sc_rendered *rendered; /* held; NULL: the answer is something else */
    const struct sc_route *found; /* NULL: none, or not HTTP */
    struct sc_span_record *span;  /* the request is traced; freed with the call, or sent */
    /* customized.c: what a handler says of its model, metadata, then body; status 0: nobody was asked.
     * v2_server.c: a backend's metadata. */
    struct sc_buf told;
    size_t told_meta;
    int told_status;
    struct sc_v2_wants *v2; /* v2_infer.c: what the client wants to get back; freed with the call */
};

/* A call about x, not yet x->user; back to the pool. */
struct sc_call *sc_call_new(struct sc_app *app, struct sc_http_exchange *x);
void sc_call_del(struct sc_call *c);

void sc_app_init(struct sc_app *app, struct sc_http_app *http);
/* After the loops have ended. */
void sc_app_free(struct sc_app *app);

/* ---- what the table of routes (routes.c) names. On the exchange's loop: answers, or sets c->route. ---- */

void sc_ping(struct sc_call *c);
void sc_predict(struct sc_call *c); /* inference.c */
void sc_explain(struct sc_call *c);
void sc_invocations(struct sc_call *c); /* invocations.c */
void sc_invoke(struct sc_call *c);
/* openai.c, tei.c, cohere.c: false: the path is none of theirs. */
bool sc_openai_claim(struct sc_call *c);
bool sc_tei_claim(struct sc_call *c);
bool sc_cohere_claim(struct sc_call *c);
/* workflow.c */
void sc_wfpredict(struct sc_call *c);

/* On loop 0, with the body; end with sc_call_finish. */
void sc_model_scale(struct sc_call *c); /* management.c */
void sc_model_set_default(struct sc_call *c);
void sc_model_unregister(struct sc_call *c);
void sc_metrics_answer(struct sc_call *c); /* metrics.c */
void sc_metrics_send(struct sc_call *c);   /* c->rendered, on its exchange's loop */
void sc_metrics_before(void *app);         /* sc_renderer_new's */
void sc_workflows_list(struct sc_call *c); /* workflow.c */
void sc_workflow_post(struct sc_call *c);
void sc_workflow_describe(struct sc_call *c);
void sc_workflow_delete(struct sc_call *c);

/* ---- trace.c: a request for c->shard begins, has its answer, is over ---- */

/* With tracing.on: looks whether it is traced, and gives it c->span then. */
void sc_trace_begin(struct sc_call *c);
/* With c->span; the shard is there. */
void sc_trace_answered(struct sc_call *c, const struct sc_job_answer *a, int64_t now);
void sc_trace_end(struct sc_call *c);

/* ---- what these use ---- */

/* The job of c->workflow's start node has its body: runs it. */
void sc_wfpredict_submit(struct sc_call *c);

/* Finds the model: its shard; false: answered. version: a NULL pointer for the default one. */
bool sc_call_find(struct sc_call *c, struct sc_span model, struct sc_span version);
/* The same, and begins a prediction, or an explanation with c->explain; of OPTIONS, tells what the model's
 * calls are. */
void sc_call_predict(struct sc_call *c, struct sc_span model, struct sc_span version);
/* Runs the request on c->shard: before its body has come, which then goes where the worker reads it (false:
 * answered already), or with the body there. */
bool sc_call_begin(struct sc_call *c);
void sc_call_run(struct sc_call *c);
/* Runs it with these bytes in place of the body, which is given up. */
void sc_call_run_on(struct sc_call *c, struct sc_span bytes);
/* The same with bytes that lie in pieces. */
void sc_call_run_pieces(struct sc_call *c, const struct sc_span *pieces, size_t n);
/* Answers with what came in place of an answer; nobody waits if its status is 0. */
void sc_call_failed(struct sc_call *c, const struct sc_job_answer *a);
/* Answers with an error in the form of the call's interface. */
void sc_call_refuse(struct sc_call *c, int status, const char *type, struct sc_span message);

/* A route: runs c->on_zero on loop 0; it ends with sc_call_finish. */
void sc_call_to_loop_zero(struct sc_call *c);
/* Sends the call's answer from its exchange's loop; called on loop 0 (or on that loop). */
void sc_call_finish(struct sc_call *c);
/* Sets status and a {"status": ...} body, or an error, then finishes. */
void sc_call_status(struct sc_call *c, int status, const char *fmt, ...) SC_PRINTF(3, 4);
void sc_call_error(struct sc_call *c, int status, const char *type, const char *fmt, ...) SC_PRINTF(4, 5);
/* 405, as every management route says it. */
void sc_call_bad_method(struct sc_call *c);

#endif
