/*
 * The gRPC services: from a stream of HTTP/2 to methods, messages and statuses (docs/contract.md §16).
 *
 * A method gets unpacked messages and runs what the REST routes run; how these end is told by a `struct
 * sc_rpc`. An RPC lives as long as its exchange. All on the exchange's loop, but for what management routes
 * do on loop 0.
 */
#ifndef SC_API_GRPC_H
#define SC_API_GRPC_H

#include "api/app.h"
#include "api/auth_keys.h"
#include "api/rows.h"
#include "proto/grpc.h"
#include "proto/protobuf.h"

#define SC_GRPC_GIVEN_MAX 12

struct sc_grpc;

/* Who tells errors how: as TorchServe does (docs/contract.md §16.3), or without the names of its classes. */
enum sc_grpc_errors { SC_GRPC_OF_INFERENCE, SC_GRPC_OF_MANAGEMENT, SC_GRPC_OF_DESCRIPTION, SC_GRPC_PLAIN };

struct sc_grpc_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    /* The request is complete; with `many`: one of its messages has come. The message is the RPC's until
     * then, or until this returns. */
    void (*run)(struct sc_grpc *g, const ProtobufCMessage *m);
    /* With many: no more come. */
    void (*end)(struct sc_grpc *g);
    /* The client has left while it was at work: ends the RPC, now or later. NULL: a job is cancelled. */
    void (*gone)(struct sc_grpc *g);
    /* The RPC ends, however: frees `state`; may be NULL. */
    void (*over)(struct sc_grpc *g);
    bool many;
};

struct sc_grpc_service {
    const char *name;
    unsigned serves; /* bits of listeners that have it */
    bool keyless;    /* no token is asked for here */
    const struct sc_grpc_method *methods;
    unsigned n;
};

/* One RPC. */
struct sc_grpc {
    struct sc_call *c; /* the exchange's */
    const struct sc_grpc_service *service;
    const struct sc_grpc_method *method;
    struct sc_grpc_reader in;
    struct sc_pb_arena arena;
    const ProtobufCMessage *request; /* without many: the one that has come */
    enum sc_grpc_errors errors;
    bool begun;  /* the head of a stream was sent */
    bool over;   /* it was answered: the exchange may be gone */
    bool closed; /* the client sends no more */
    bool done;   /* the exchange is over: freed when nobody is busy with it */
    unsigned busy;
    struct sc_buf out;
    /* inference */
    const struct sc_row_part *parts;
    size_t nparts;
    struct sc_node open; /* calls of a stream of requests */
    unsigned turns;
    /* management */
    struct sc_param given[SC_GRPC_GIVEN_MAX];
    char digits[SC_GRPC_GIVEN_MAX][12];
    void *state; /* the method's */
};

extern const struct sc_grpc_service sc_grpc_inference, sc_grpc_management, sc_grpc_open_inference,
    sc_grpc_kserve, sc_grpc_health, sc_grpc_reflection, sc_grpc_reflection_alpha;

/* ---- app.c's ---- */

/* on_request of a listener that serves gRPC: claims the exchange, or answers it. */
void sc_grpc_request(struct sc_app *app, struct sc_http_exchange *x, unsigned serves);
void sc_grpc_gone(struct sc_call *c);
void sc_grpc_done(struct sc_call *c);

/* ---- the services' ---- */

/* What may end the RPC leaves the structure there until it is released. */
static inline void sc_grpc_hold(struct sc_grpc *g)
{
    g->busy++;
}
void sc_grpc_release(struct sc_grpc *g);
/* Ends the RPC, and what is open of it; nothing if it has ended. The exchange may be over afterwards. */
void sc_grpc_end(struct sc_grpc *g, enum sc_grpc_code code, struct sc_span text);
void sc_grpc_endf(struct sc_grpc *g, enum sc_grpc_code code, const char *fmt, ...) SC_PRINTF(3, 4);
/* Ends it with one message and OK. */
void sc_grpc_reply(struct sc_grpc *g, const ProtobufCMessage *m);
/* The same with a message that is framed already. */
void sc_grpc_reply_frame(struct sc_grpc *g, struct sc_span frame);
/* One message of a stream. False: the RPC has ended, with an error if the client does not read. */
bool sc_grpc_send(struct sc_grpc *g, const ProtobufCMessage *m);
/* How an error of TorchServe is told: code and text, which is appended to `text`. */
enum sc_grpc_code sc_grpc_error(enum sc_grpc_errors how, int status, const char *type, struct sc_span message,
                                struct sc_buf *text);
/* A struct sc_rpc's refuse: ends the RPC with an error of TorchServe. */
void sc_grpc_refuse(struct sc_call *c, int status, const char *type, struct sc_span message);
/* The services of a listener, one after the other: NULL at the end. */
const struct sc_grpc_service *sc_grpc_services(const struct sc_grpc *g, unsigned *at);
/* A text that is empty is a NULL pointer: not given. */
struct sc_span sc_grpc_given(const char *text);

#endif
