/*
 * Inside of the HTTP server: one connection, and a server's share of one loop. Only for files of
 * this room.
 *
 * A connection is driven by sc_conn_run, a loop over small steps, never by recursion: events and
 * answers only note what happened and call it. Reading and writing is done on the descriptor
 * itself; libuv tells when (uv_poll), so that a body can be read to where it belongs.
 *
 * Memory: an idle connection is this structure and nothing else. A block (read buffer, parser)
 * is lent to it from its first byte on until its last exchange is over and no bytes are left.
 */
#ifndef SC_NET_CONNECTION_H
#define SC_NET_CONNECTION_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/dlist.h"
#include "net/deadlines.h"
#include "net/http.h"
#include "net/tls_conn.h"
#include "proto/http1.h"

enum { SC_HTTP_CORS_FIELDS = 3, SC_HTTP_COMMON_FIELDS = 6 };

enum sc_conn_state {
    SC_CONN_HEAD,    /* between requests or within a head */
    SC_CONN_BODY,    /* a body of known length */
    SC_CONN_CHUNKED, /* a chunked body */
    SC_CONN_WAIT,    /* the application has the exchange */
    SC_CONN_SKIP,    /* the rest of a body that nobody wants */
    SC_CONN_H2,      /* the session reads everything */
    SC_CONN_CLOSING, /* the last answer is on its way */
    SC_CONN_LINGER,  /* our side is shut down, the client may still be sending */
};

enum sc_conn_deadline {
    SC_CONN_TIME_HEADER,
    SC_CONN_TIME_BODY,
    SC_CONN_TIME_WRITE,
    SC_CONN_TIME_IDLE,
    SC_CONN_TIME_LINGER,
    SC_CONN_TIME_STREAM_BODY, /* these belong to a stream */
    SC_CONN_TIME_STREAM_WRITE,
    SC_CONN_TIME_STREAM_LINGER
};

struct sc_conn_block {
    struct sc_conn_block *next;
    struct sc_http1_head head;
    struct sc_http1_chunked chunked;
    struct sc_http_header headers[SC_HTTP_HEADERS_MAX];
    char data[SC_CONN_READ_BYTES];
};

/* Bytes the socket did not take: a copy, behind it, or where they lie until they are released. */
struct sc_conn_out {
    struct sc_conn_out *next;
    const char *p;
    size_t at, n;
    void (*release)(void *arg); /* NULL: a copy */
    void *arg;
    char data[];
};

struct sc_conn {
    struct sc_http_exchange x; /* first: an exchange is its connection */
    uv_poll_t poll;
    struct sc_http_part *part;
    struct sc_node node; /* in part->conns */
    struct sc_task task; /* the way from the loop that accepted it */
    struct sc_deadline deadline;
    struct sc_conn_block *block;
    struct sc_h2_conn *h2; /* NULL: HTTP/1 */
    SSL *tls;              /* NULL: in clear */
    struct sc_conn_out *out, *out_last;
    size_t out_bytes;
    void (*on_writable)(struct sc_http_exchange *x);
    int64_t read_ns;    /* of the last read */
    uint64_t left;      /* body bytes still to come */
    uint32_t pos, end;  /* block->data[pos..end): not consumed yet */
    uint32_t floor;     /* block->data[0..floor): up to here lies the head of the live exchange */
    int fd;             /* -1: closed */
    uint8_t state;      /* enum sc_conn_state */
    uint8_t events;     /* what poll watches */
    uint8_t peer_ip[4]; /* in network order; v6 peers: all of peer */
    uint16_t peer_port;
    struct in6_addr *peer6; /* heap; NULL: peer_ip, or unix if peer_port is 0 */
    bool running : 1;       /* sc_conn_run is on the stack, or will be called by whoever is */
    bool live : 1;          /* an exchange is between on_request and on_done */
    bool answered : 1;      /* ... and its answer was given */
    bool streaming : 1;     /* ... or is being given */
    bool chunks : 1;        /* the stream has chunk framing */
    bool stalled : 1;       /* a chunk was refused */
    bool body_done : 1;     /* the request was read to its end */
    bool close : 1;         /* close after this answer */
    bool expects : 1;       /* 100-continue was asked for and not sent */
    bool broken : 1;        /* reset instead of an orderly close */
    bool eof : 1;           /* the client sends no more */
    bool hup : 1;           /* ... and poll said so */
    bool told_gone : 1;
    bool chunked : 1;       /* the request's body */
    bool linger : 1;        /* the client may send more before it sees the answer */
    bool got : 1, sent : 1; /* bytes moved: the deadline starts anew */
    bool handle_closed : 1;
    bool tls_begun : 1, tls_ready : 1; /* handshake */
    bool tls_more : 1;                 /* the session may have bytes that the descriptor does not show */
    bool tls_blocked : 1;              /* the session must write before it can read */
    bool fresh : 1;                    /* no request yet: it may turn out to be HTTP/2 */
};

struct sc_conn_counts {
    _Atomic uint64_t connections, requests, r2xx, r4xx, r5xx;
};

/* A server on one loop. */
struct sc_http_part {
    struct sc_http_server *server;
    struct sc_loop *loop;
    struct sc_node conns;
    unsigned nconns;
    struct sc_deadlines deadlines;
    struct sc_conn_block *spare;
    unsigned nspare;
    struct sc_node dirty; /* HTTP/2 connections that have something to send */
    struct sc_loop_hook hook;
    uint64_t random[4];
    struct sc_conn_counts counts;
    struct sc_task start_task, drain_task, drained_task, close_task;
    bool draining, drained, closing, timer_closed;
    char scratch[SC_HTTP_RESPONSE_HEAD_MAX + 8192]; /* heads are made here, unwanted bytes end here */
};

struct sc_http_listener {
    uv_poll_t poll;
    struct sc_http_server *server;
    uv_timer_t pause;
    struct sc_http_listen config;
    int fd;
    unsigned index, open_handles;
};

struct sc_http_server {
    struct sc_loops *loops;
    struct sc_http_config config;
    struct sc_http_app app;
    struct sc_http_part **parts; /* one per loop */
    unsigned nparts;
    unsigned next; /* round robin */
    struct sc_http_listener *listeners;
    unsigned nlisteners;
    int reserve_fd; /* given up for a moment when descriptors run out */
    uint64_t told_full_ms;
    bool accepting, closing;
    unsigned undrained;
    void (*on_drained)(void *arg);
    void *drained_arg;
    atomic_uint users;                                   /* parts and listeners that still have handles */
    char *common;                                        /* CORS and cache headers */
    size_t common_n, cors_n;                             /* of all, of the CORS headers, which come first */
    struct sc_http_header fields[SC_HTTP_COMMON_FIELDS]; /* the same */
    unsigned nfields, ncors;
};

static inline struct sc_conn *sc_conn_of(struct sc_http_exchange *x)
{
    return (struct sc_conn *)(void *)x;
}

/* ---- connection.c --------------------------------------------------------------------- */

/* Takes over c (allocated by accept, fd and peer set) on its part's loop. */
void sc_conn_start(struct sc_conn *c);
/* Does all that can be done now. c may be gone afterwards. */
void sc_conn_run(struct sc_conn *c);
/* Watches and times what c waits for now. Unlike run it never calls the application. */
void sc_conn_rest(struct sc_conn *c);
/* Closes the descriptor; the structure lives until its exchange is over. Call sc_conn_run afterwards. */
void sc_conn_close(struct sc_conn *c);
void sc_conn_expired(struct sc_deadline *d, unsigned kind);
/* Closes c if it is between requests. */
void sc_conn_drain(struct sc_conn *c);
/* Closes c now; an application that is at work hears that the client is gone. */
void sc_conn_shut(struct sc_conn *c);

/* ---- conn_io.c: bytes to and from the socket ------------------------------------------- */

/* Lends c a block; false without memory. */
bool sc_conn_borrow(struct sc_conn *c);
void sc_conn_return(struct sc_conn *c);
/* One read to where the bytes belong. False: there was nothing, or c was closed or at its end. */
bool sc_conn_read(struct sc_conn *c);
/* Room in the read buffer, after tidying it up. */
size_t sc_conn_space(struct sc_conn *c);
/* Sends the pieces, or keeps copies of what the socket does not take. False: c was closed. */
bool sc_conn_send(struct sc_conn *c, const struct iovec *iov, int n);
/* As send, of a head and a large body that stays where it is until release(arg) was called, which may be at
 * once. */
bool sc_conn_send_held(struct sc_conn *c, const struct iovec iov[2], void (*release)(void *arg), void *arg);
/* Frees o and what it holds. */
void sc_conn_out_free(struct sc_conn_out *o);
/* Sends what waits. False: c was closed. */
bool sc_conn_flush(struct sc_conn *c);
void sc_conn_drop_output(struct sc_conn *c);

/* ---- http_response.c ------------------------------------------------------------------- */

void sc_conn_continue(struct sc_conn *c);
/* Answers by the server itself. The first has neither headers nor a body (413, 417), the second an error
 * body. */
void sc_conn_refuse(struct sc_conn *c, int status);
void sc_conn_error(struct sc_conn *c, int status, const char *type, const char *message);
/* 16 random bytes as a UUID, version 4. */
void sc_http_uuid(uint64_t random[4], char out[37]);
bool sc_http_server_prepare(struct sc_http_server *s);

/* One header field of an answer that is the application's to set. */
bool sc_http_may_add(const struct sc_http_header *f);
bool sc_http_sets(const struct sc_http_response *r, struct sc_span name);
/* r, or what is sent in its place if its head is too large. */
const struct sc_http_response *sc_http_fitting(const struct sc_http_server *s,
                                               const struct sc_http_response *r);
bool sc_http_has_body(int status);
/* Access line and counters of an answer. */
void sc_conn_account(struct sc_conn *c, struct sc_http_exchange *x, int status, bool parsed);

/* ---- access_log.c --------------------------------------------------------------------- */

void sc_conn_log(struct sc_conn *c, const struct sc_http_exchange *x, int status, bool parsed);

/* From here on c speaks HTTP/2; what it has received is the session's. False: c was closed. */
bool sc_h2_conn_begin(struct sc_conn *c);
/* ---- h2_begin.c ------------------------------------------------------------------------ */

/* Prior knowledge: the client begins with what would be a strange request. False: not enough to tell. */
bool sc_h2_conn_sniff(struct sc_conn *c);
/* Goes on in HTTP/2 with the request whose head was read, which has no body, as its first stream. False: it
 * stays as it is. */
bool sc_h2_conn_upgrade(struct sc_conn *c);

/* ---- h2_conn.c ------------------------------------------------------------------------- */

bool sc_h2_conn_step(struct sc_conn *c);
/* The streams' clients are gone. False: they were told already. */
bool sc_h2_conn_lose(struct sc_conn *c);
bool sc_h2_conn_empty(const struct sc_conn *c);
void sc_h2_conn_free(struct sc_conn *c);
void sc_h2_conn_touch(struct sc_conn *c);
/* The kind of time-out that c waits under, or -1; what happens when it is over. */
int sc_h2_conn_deadline(const struct sc_conn *c);
void sc_h2_conn_expired(struct sc_conn *c);
void sc_stream_expired(struct sc_deadline *d, unsigned kind);
/* Sends for all that have something. */
void sc_h2_part_flush(struct sc_loop_hook *k);

/* ---- h2_answer.c: what http.h promises, for exchanges of HTTP/2 --------------------------- */

struct sc_conn *sc_stream_conn(struct sc_http_exchange *x);
void sc_stream_respond(struct sc_http_exchange *x, const struct sc_http_response *r);
void sc_stream_begin(struct sc_http_exchange *x, const struct sc_http_response *head,
                     void (*on_writable)(struct sc_http_exchange *x));
int sc_stream_chunk(struct sc_http_exchange *x, struct sc_span data);
void sc_stream_finish(struct sc_http_exchange *x, const struct sc_http_header *trailers, unsigned n);
void sc_stream_reset(struct sc_http_exchange *x, uint32_t code);
void sc_stream_consumed(struct sc_http_exchange *x, size_t n);

/* ---- server.c -------------------------------------------------------------------------- */

/* A connection of p is no more. */
void sc_http_part_left(struct sc_http_part *p);

#endif
