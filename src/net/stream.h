/*
 * Inside of the HTTP server: HTTP/2 connections and their exchanges. Only for files of this room.
 *
 * A stream is an exchange with what is to be sent of its answer. It lives as long as the session knows it, or
 * the application has its exchange, whichever is longer. The exchange ends with the application's answer, as
 * on HTTP/1: what waits for the client's window is a copy.
 *
 * Nothing is sent at once: who has something marks the connection, and a hook sends for all of them before
 * the loop sleeps, so that answers given in one round share a system call and a TLS record.
 */
#ifndef SC_NET_STREAM_H
#define SC_NET_STREAM_H

#include "net/connection.h"
#include "proto/h2.h"

struct sc_stream {
    struct sc_http_exchange x; /* first: an exchange is its stream */
    struct sc_conn *conn;
    struct sc_node node; /* in h2->streams */
    struct sc_deadline deadline;
    struct sc_h2_head head, trailers;
    struct sc_conn_out *out, *out_last; /* the answer's body */
    size_t out_bytes;
    struct sc_http_header *end_fields; /* its trailers: one block of memory */
    unsigned nend_fields;
    void (*on_writable)(struct sc_http_exchange *x);
    int32_t id;     /* 0: the session does not know it any more */
    bool live;      /* between on_request and on_done */
    bool busy;      /* the application is being called */
    bool answered;  /* all of the answer was given */
    bool streaming; /* ... or is being given */
    bool body_done; /* the request is complete */
    bool stalled;   /* a chunk was refused */
    bool told_gone;
};

struct sc_h2_conn {
    struct sc_conn *conn;
    struct sc_h2 *session;
    struct sc_node streams;
    unsigned nstreams, nopen; /* all; those that the session knows */
    struct sc_node dirty;     /* in part->dirty */
    bool is_dirty, draining, lost;
    bool attention; /* streams were closed under the application, or may be written to again */
    bool ages, aged;
    uint64_t grace_ms;
    uv_timer_t age;
};

static inline struct sc_stream *sc_stream_of(struct sc_http_exchange *x)
{
    return (struct sc_stream *)(void *)x;
}

/* ---- h2_conn.c ------------------------------------------------------------------------- */

/* The first stream of an upgraded connection; takes the head's memory over. False: c is to be closed. */
bool sc_h2_conn_first(struct sc_conn *c, struct sc_h2_head *head, struct sc_span settings);
/* The application has answered, or we have in its place. st may be gone afterwards, and its connection. */
void sc_stream_answered(struct sc_stream *st);
/* All of the answer is the session's; what the client still sends of its request is not wanted. */
void sc_stream_linger(struct sc_stream *st);

/* ---- h2_answer.c ----------------------------------------------------------------------- */

/* The server answers in the application's place; type NULL: without fields or body (413, 417). */
void sc_stream_fail(struct sc_stream *st, int status, const char *type, const char *message);
/* events->take */
size_t sc_stream_take(void *stream, char *to, size_t room, bool *end);
void sc_stream_drop_output(struct sc_stream *st);

#endif
