/*
 * One thread of the load generator: its connections, its share of the schedule. Private to this room.
 *
 * client.c decides when a request is sent and what an answer is worth; h1.c and h2.c carry it. A *slot* is a
 * place for a request on its way: a connection of HTTP/1.1 has one, of HTTP/2 `streams`.
 */
#ifndef SC_LOAD_CLIENT_H
#define SC_LOAD_CLIENT_H

#include <nghttp2/nghttp2.h>
#include <regex.h>

#include "base/buf.h"
#include "load/answer.h"
#include "load/load.h"
#include "load/schedule.h"

/* A request ready to be sent. HTTP/1.1: head and body in one; HTTP/2: the body alone. */
struct sc_load_message {
    char *bytes;
    size_t n;
    struct sc_span body;                   /* what an echo is compared with */
    char length[24];                       /* HTTP/2: content-length */
    _Atomic(struct sc_load_first *) first; /* what the first answer to it was */
};

struct sc_load_first {
    size_t n;
    char bytes[];
};

/* What all threads share and none changes, `first` excepted. */
struct sc_load_plan {
    const struct sc_load_config *config;
    const struct sc_load_transport *transport;
    atomic_bool stop;       /* set by the thread that runs it */
    struct ssl_ctx_st *tls; /* NULL: none */
    struct sc_buf
        head; /* HTTP/1.1: up to and with "content-length: " where there are bodies, else all of it */
    nghttp2_nv *fields; /* HTTP/2, without content-length */
    size_t nfields;
    struct sc_buf text;     /* what they point into */
    struct sc_span *random; /* bodies, where they are a list */
    struct sc_load_message *messages;
    size_t nmessages; /* 0: bodies are random */
    int64_t begin;    /* ns: the counted part begins */
    int64_t end;      /* INT64_MAX: when `count` is reached */
};

struct sc_load_client {
    struct sc_load_plan *plan;
    unsigned index;
    struct sc_load_result result; /* seconds is not set */
    int64_t finished;             /* ns: the last counted answer, or when it was stopped */
    int error;                    /* errno of what kept it from running, or 0 */
    /* For the thread that watches: what was counted so far; what happened in all, warm-up included. */
    _Atomic uint64_t good, failed, answers, refused;
};

/* Thread entry; the argument is a struct sc_load_client. */
void *sc_load_client_run(void *client);

/* ---- between client.c and the transports ---- */

struct sc_load_run;

struct sc_load_slot {
    struct sc_load_conn *conn;
    struct sc_load_message *message; /* NULL: random */
    struct sc_span out;              /* what is sent */
    struct sc_span sent_body;        /* the body in it */
    char *own;                       /* memory of random requests */
    int64_t due, sent_at;
    bool busy, counted;
    /* Set by the transport before sc_load_answered. */
    unsigned status;
    int grpc_status; /* -1: none came */
    char grpc_text[96];
    struct sc_body body;
    /* HTTP/2 */
    int32_t stream;
    size_t taken; /* of out */
};

enum sc_load_state { SC_CONN_CLOSED, SC_CONN_CONNECTING, SC_CONN_HANDSHAKE, SC_CONN_OPEN };

struct sc_load_conn {
    int fd;
    enum sc_load_state state;
    struct ssl_st *tls; /* NULL: none */
    int64_t since;      /* ns: when the handshake began */
    struct sc_load_slot *slots;
    unsigned nslots;
    void *private; /* the transport's, while it is open; HTTP/1.1: for good */
    bool dirty;    /* in the list of those with something to send */
    struct sc_load_conn *next_dirty;
};

struct sc_load_transport {
    /* The connection is there. */
    void (*opened)(struct sc_load_run *r, struct sc_load_conn *c);
    /* Sends s->out, whose slot is busy. */
    void (*launch)(struct sc_load_run *r, struct sc_load_slot *s);
    /* There are bytes, or the end (hung_up). */
    void (*readable)(struct sc_load_run *r, struct sc_load_conn *c, bool hung_up);
    void (*writable)(struct sc_load_run *r, struct sc_load_conn *c);
    /* A request took too long: it is forgotten. False: the connection has to go with it. */
    bool (*forget)(struct sc_load_run *r, struct sc_load_slot *s);
    /* The connection is being closed; `last`: for good. */
    void (*closed)(struct sc_load_conn *c, bool last);
};
extern const struct sc_load_transport sc_load_h1, sc_load_h2;

/* The answer of a slot is complete; the slot is free then. reusable: for the next request, at once. */
void sc_load_answered(struct sc_load_run *r, struct sc_load_slot *s, bool reusable);
/* The request of a slot has failed; the slot is free then, the connection stays. */
void sc_load_failed(struct sc_load_run *r, struct sc_load_slot *s, enum sc_load_error e);
/* The connection is of no use any more: what is on its way on it has failed with e, but SC_LOAD_SHORT is for
 * those of which something came. It is opened again at the next tick. */
void sc_load_broken(struct sc_load_run *r, struct sc_load_conn *c, enum sc_load_error e);
/* The connection is over by agreement: opened again at once while there is something to send; what is on its
 * way, not looked at by the server, is sent again. */
void sc_load_reconnect(struct sc_load_run *r, struct sc_load_conn *c);
/* writable is to be called before this thread sleeps. */
void sc_load_dirty(struct sc_load_run *r, struct sc_load_conn *c);

struct sc_load_client *sc_load_client(struct sc_load_run *r);
const struct sc_load_plan *sc_load_plan(struct sc_load_run *r);
/* Memory to read into, SC_LOAD_READ_BYTES. */
char *sc_load_in(struct sc_load_run *r);
#define SC_LOAD_READ_BYTES (256u << 10)

/* tls.c: as recv and send on the descriptor; of TLS a full `room`, or all there is. An end that follows bytes
 * is said by the next call. */
ssize_t sc_load_recv(struct sc_load_conn *c, char *to, size_t room);
ssize_t sc_load_send(struct sc_load_conn *c, const char *from, size_t n);
/* What the connections of a plan share: certificates are verified, but not those of this machine's loopback.
 */
int sc_load_tls_open(struct sc_load_plan *p, struct sc_msg *msg) SC_MUST_USE;
void sc_load_tls_close(struct sc_load_plan *p);
/* On a connection that is there. False: no memory. sc_load_tls_end in every case. */
bool sc_load_tls_begin(const struct sc_load_plan *p, struct sc_load_conn *c);
/* 1: done; 0: there is more to come; negative: the connection is of no use, *why says it to people. */
int sc_load_tls_handshake(const struct sc_load_plan *p, struct sc_load_conn *c, struct sc_msg *why);
void sc_load_tls_end(struct sc_load_conn *c);

/* h2.c: the fields of a plan's requests, from config. SC_EINVAL for headers that are none. */
int sc_load_h2_fields(struct sc_load_plan *p, bool body, struct sc_msg *msg) SC_MUST_USE;

#endif
