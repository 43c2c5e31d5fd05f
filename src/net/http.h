/*
 * HTTP server side: listeners, connections, and exchanges (one request and its answer).
 *
 * An HTTP/1 connection works on one exchange at a time, so pipelined requests are answered in order;
 * while an answer is being written nothing more is read. On an HTTP/2 connection each stream is an exchange.
 * The application sees no difference, unless it looks at req.http2. All calls about an exchange are made on
 * its connection's loop, by both sides. An exchange lives from on_request until it was answered
 * and on_done was called; also when its client goes away.
 */
#ifndef SC_NET_HTTP_H
#define SC_NET_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/limits.h"
#include "net/body.h"
#include "net/loop.h"
#include "net/tls.h"
#include "proto/http1.h"

/* The spans are valid while the exchange lives. */
struct sc_http_request {
    struct sc_span method;
    struct sc_span target; /* as sent: path and query */
    struct sc_span path;   /* undecoded, up to '?' */
    struct sc_span query;  /* undecoded, without '?'; empty if none */
    const struct sc_http_header *headers;
    unsigned nheaders;
    bool head; /* method is HEAD: the body of the answer is not sent */
    bool http10;
    bool http2;                       /* header names are in lower case; pseudo headers are not among them */
    int64_t content_length;           /* -1: a body of unknown length follows; 0: none announced */
    struct sc_span scheme, authority; /* of HTTP/2; NULL pointers otherwise */
    const struct sc_http_header *trailers; /* of HTTP/2, from on_body on */
    unsigned ntrailers;
};

/* The value of the first header of that name (any case), an empty span with NULL pointer if there is none. */
struct sc_span sc_http_header_get(const struct sc_http_request *r, struct sc_span name);

struct sc_http_exchange {
    struct sc_http_request req;
    struct sc_body body; /* on_request may set it with operations of its own; heap by default */
    struct sc_loop *loop;
    int64_t start_ns;  /* arrival of the request's first byte */
    char id[37];       /* x-request-id: a random UUID, NUL-terminated */
    unsigned listener; /* index of the listener */
    /* on_request of an HTTP/2 exchange may set it (gRPC): the body comes in pieces, valid during the call,
     * and is not collected; max_request_size does not apply. The client may send as many bytes as the
     * application has taken (sc_http_consumed) and SC_H2_STREAM_WINDOW more. on_body follows when it is
     * complete, on_gone if that does not happen. The answer may begin, and end, before that. */
    void (*on_data)(struct sc_http_exchange *x, struct sc_span data);
    int status; /* of the answer that was given; 0: none */
    /* on_request may set it: no access line and no counters for the answer; see sc_http_access. */
    bool quiet;
    void *user; /* the application's */
};

struct sc_http_app {
    /*
     * Headers are complete; the body is not read yet. The application may choose x->body's operations, or
     * answer at once (then the body is skipped). Unless it answered, on_body follows when the body is
     * complete, or only on_done if that does not happen (client gone, time-out, too large, malformed: the
     * server answers these itself).
     */
    void (*on_request)(struct sc_http_exchange *x, void *ctx);
    void (*on_body)(struct sc_http_exchange *x, void *ctx);
    /* The client went away (HTTP/1: it also counts as gone when it shuts down its side; HTTP/2: it reset the
     * stream) while the application had the whole request, was streaming, or takes the body in pieces. The
     * application must still respond, now or later; the answer is dropped. */
    void (*on_gone)(struct sc_http_exchange *x, void *ctx);
    /* The exchange is over: nothing may be called about it any more. x->user and the body's memory are the
     * application's to free now (the body is freed by net unless the application took it by clearing
     * x->body.ops). */
    void (*on_done)(struct sc_http_exchange *x, void *ctx);
    void *ctx;
};

struct sc_http_response {
    int status;                  /* 100..999 */
    const char *reason;          /* NULL: the IANA phrase; "" as TorchServe sends for predictions */
    struct sc_span content_type; /* NULL pointer: no such header */
    /* More headers, sent between content-type and x-request-id. Those that the server sets itself are dropped
     * (§2.4), malformed names too; control bytes in values become blanks. */
    const struct sc_http_header *headers;
    unsigned nheaders;
    /* Sent behind the body, names in lower case. HTTP/2 only: HTTP/1 drops them. */
    const struct sc_http_header *trailers;
    unsigned ntrailers;
    /* HTTP/2 only: status, content-type and `headers` are all there is, as gRPC wants it (no x-request-id,
     * CORS, cache headers or content-length). */
    bool bare;
    struct sc_span body; /* sent from where it lies, or copied if the socket does not take it at once */
    void (*release)(void *arg); /* called on the loop as soon as body is no longer needed; may be NULL; may be
                                   called before respond returns */
    void *release_arg;
};

/*
 * Answers the exchange: status line, headers in TorchServe's order (content-type, x-request-id, CORS, cache
 * headers, content-length, connection), body. Once per exchange, which may be over when this returns: do not
 * touch it afterwards. Status >= 400 closes an HTTP/1 connection; others go on.
 */
void sc_http_respond(struct sc_http_exchange *x, const struct sc_http_response *r);
/* A streamed answer: begin sends the head with transfer-encoding: chunked (HTTP/1.0: until close; the body in
 * `head` is ignored), chunk sends one chunk (copied; empty ones are skipped), end finishes. chunk returns
 * SC_ELIMIT, and has not taken the data, when SC_CONN_STREAM_BYTES wait for the client already (on_writable,
 * which may be NULL, is called when all of it is gone), SC_ECLOSED when the client is gone. Over HTTP/2
 * chunks are DATA, and what the client's window does not take yet waits. finish ends with trailers (HTTP/1
 * drops them), end without. abort closes without the last chunk (HTTP/2: resets the stream with
 * INTERNAL_ERROR). finish, end and abort are this answer's respond: once, and x is not touched afterwards. */
void sc_http_stream_begin(struct sc_http_exchange *x, const struct sc_http_response *head,
                          void (*on_writable)(struct sc_http_exchange *x));
int sc_http_stream_chunk(struct sc_http_exchange *x, struct sc_span data);
void sc_http_stream_finish(struct sc_http_exchange *x, const struct sc_http_header *trailers, unsigned n);
void sc_http_stream_end(struct sc_http_exchange *x);
void sc_http_stream_abort(struct sc_http_exchange *x);
/* Instead of an answer, or of its rest: HTTP/2 resets the stream with that error code (RFC 9113 §7), HTTP/1
 * the connection. As respond: once, and x is not touched afterwards. */
void sc_http_reset(struct sc_http_exchange *x, uint32_t code);
/* n bytes of what on_data was given are done with: the client may send as many more. */
void sc_http_consumed(struct sc_http_exchange *x, size_t n);
/* Writes an access line for a quiet exchange: its client, "WHAT", status, milliseconds since it began. */
void sc_http_access(struct sc_http_exchange *x, struct sc_span what, int status);

/* Bounds and headers of a server; times in ms, 0: no limit. Copied by sc_http_server_new; strings must
 * outlive it. */
struct sc_http_config {
    uint64_t max_request_size;
    uint32_t header_timeout_ms, body_timeout_ms, write_timeout_ms, idle_timeout_ms;
    uint32_t max_connections;                              /* per loop */
    const char *cors_origin, *cors_methods, *cors_headers; /* NULL or "": not sent */
    bool access_log;
    /* Called for each answer, behind its access line, on the connection's loop (metrics lines); may be NULL.
     */
    void (*answered)(void *ctx, int status);
    void *answered_ctx;
};

/* Counters of one loop; read from any thread for metrics (relaxed). */
struct sc_http_counters {
    uint64_t connections, requests, responses_2xx, responses_4xx,
        responses_5xx; /* 5xx: all that are neither 2xx nor 4xx */
};

struct sc_http_server;

struct sc_http_listen {
    int fd;             /* bound and listening, TCP or unix; taken over */
    bool pinned;        /* connections stay on loop 0; those of others are spread round robin */
    bool h2_only;       /* gRPC ports: HTTP/1 is refused */
    struct sc_tls *tls; /* NULL: in clear. Outlives the server */
    /* A connection this old gets a GOAWAY, and so much later its end; ms, 0: no limit. Only with h2_only. */
    uint64_t max_age_ms, max_age_grace_ms;
};

/* One server for all loops; exchanges tell the listener by its index. Before sc_loops_run or on loop 0. */
int sc_http_server_new(struct sc_http_server **out, struct sc_loops *loops, const struct sc_http_config *c,
                       const struct sc_http_app *app, const struct sc_http_listen *listeners, unsigned n,
                       struct sc_msg *msg) SC_MUST_USE;
/* Stops accepting, closes idle connections, lets exchanges finish; calls done on loop 0 when no connection is
 * left. Loop 0 only. */
void sc_http_server_drain(struct sc_http_server *s, void (*done)(void *arg), void *arg);
/* Closes everything now. Loop 0 only; before sc_loops_stop. The server frees itself once its connections are
 * gone, which takes until the application answered what it has; do not touch it afterwards. */
void sc_http_server_close(struct sc_http_server *s);
void sc_http_server_counters(const struct sc_http_server *s, struct sc_http_counters *sum);

/* Opens a listening socket for "http://host:port", "https://host:port" or "unix:/path" (docs/contract.md §1:
 * grammar, stale socket files are removed). backlog 1024, close-on-exec. Returns the descriptor, or an error
 * whose *msg names address and remedy (port in use...). */
int sc_listen(struct sc_span address, uint16_t default_port, struct sc_msg *msg) SC_MUST_USE;

#endif
