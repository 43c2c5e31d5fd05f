/*
 * The HTTP application: which route a request takes, and what a route needs to answer.
 *
 * Inference routes run on the connection's loop. Management routes run on loop 0 (where models and workers
 * live), wherever their connection is; the answer goes back to the connection's loop.
 */
#ifndef SC_API_APP_H
#define SC_API_APP_H

#include "base/buf.h"
#include "model/engine.h"
#include "model/interfaces.h"
#include "model/settings.h"
#include "net/http.h"
#include "proto/url.h"

enum { SC_SERVES_INFERENCE = 1, SC_SERVES_MANAGEMENT = 2, SC_SERVES_METRICS = 4 };

struct sc_app {
    struct sc_loops *loops;
    struct sc_engine *engine;
    const struct sc_settings *settings;
    struct sc_metrics *metrics;
    struct sc_http_server *server;
    struct sc_auth *auth;              /* NULL: no tokens */
    unsigned serves[SC_LISTENERS_MAX]; /* bits per listener */
    struct sc_call *pools[SC_LOOPS_MAX];
};

/* How an interface of others tells its errors (openai.c, tei.c, cohere.c). */
struct sc_family {
    /* Answers the exchange; status as TorchServe would have it. */
    void (*refuse)(struct sc_http_exchange *x, int status, struct sc_span message);
};

/* One request in the application. Belongs to the exchange's loop, but for the time a management route runs.
 */
struct sc_call {
    struct sc_task task;
    struct sc_call *next; /* in the pool */
    struct sc_app *app;
    struct sc_http_exchange *x;
    struct sc_job *job; /* prediction: until done */
    bool running;       /* the body was complete; somebody will answer */
    struct sc_shard *shard;
    bool versioned;                 /* the request named a version */
    bool explain;                   /* /explanations */
    bool no_url_path;               /* KServe's routes: the handler sees no such header */
    bool streaming;                 /* the head of its answer was sent */
    const struct sc_family *family; /* NULL: TorchServe's own API */
    enum sc_interface interface;    /* with a family: what the request is by */
    struct sc_span sequence;        /* id of the request's sequence, in its headers or in made_id */
    bool sequence_begins;
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
    /* customized.c: what a handler says of its model, metadata, then body; status 0: nobody was asked */
    struct sc_buf told;
    size_t told_meta;
    int told_status;
};

void sc_app_init(struct sc_app *app, struct sc_http_app *http);
/* After the loops have ended. */
void sc_app_free(struct sc_app *app);

/* inference.c: claims the request (and has answered it, or set c->route), or returns false. */
bool sc_inference_claim(struct sc_call *c);
/* kserve.c: KServe's predictions; its management route, as sc_management_claim. */
bool sc_kserve_inference_claim(struct sc_call *c);
bool sc_kserve_management_claim(struct sc_call *c);
/* openai.c, tei.c, cohere.c: the same for the interfaces of others. */
bool sc_openai_claim(struct sc_call *c);
bool sc_tei_claim(struct sc_call *c);
bool sc_cohere_claim(struct sc_call *c);
/* management.c: as above; the route runs on loop 0 and ends with sc_call_finish. */
bool sc_management_claim(struct sc_call *c);
/* metrics.c */
bool sc_metrics_claim(struct sc_call *c);

/* Finds the model (404 else) and begins a prediction, or an explanation with c->explain; version: a NULL
 * pointer for the default one. The request is claimed. */
void sc_call_predict(struct sc_call *c, struct sc_span model, struct sc_span version);
/* Runs the request on c->shard: before its body has come, which then goes where the worker reads it (false:
 * answered already), or with the body there. */
bool sc_call_begin(struct sc_call *c);
void sc_call_run(struct sc_call *c);
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
