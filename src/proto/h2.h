/*
 * The server's side of one HTTP/2 connection as bytes (RFC 9113): frames, header compression, flow control
 * and the bounds that keep a client honest. No I/O and no clock; framing and HPACK are nghttp2's.
 *
 * Bytes go in with sc_h2_receive, which calls the events; answers are given by stream id, at any time outside
 * sc_h2_send, also within events; bytes to send come out of sc_h2_send. A broken request resets its stream,
 * a broken connection is told by GOAWAY and is over (sc_h2_alive). A client that makes work and lets none be
 * done (pings, settings, resets, empty frames...) runs out of patience: GOAWAY with ENHANCE_YOUR_CALM.
 * Not thread-safe.
 */
#ifndef SC_PROTO_H2_H
#define SC_PROTO_H2_H

#include "base/error.h"
#include "proto/http1.h"

/* What a client begins with: RFC 9113 §3.4. */
#define SC_H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define SC_H2_PREFACE_BYTES 24

/* Codes of RST_STREAM and GOAWAY: RFC 9113 §7. */
enum {
    SC_H2_NO_ERROR = 0,
    SC_H2_PROTOCOL_ERROR = 1,
    SC_H2_INTERNAL_ERROR = 2,
    SC_H2_REFUSED_STREAM = 7,
    SC_H2_CANCEL = 8,
    SC_H2_ENHANCE_YOUR_CALM = 11,
};

struct sc_h2;

/* The fields of a request, or its trailers. Spans point into `memory`, which is freed with sc_h2_head_free.
 */
struct sc_h2_head {
    void *memory;
    struct sc_span method, scheme, authority, target; /* empty in trailers */
    struct sc_http_header *headers; /* without pseudo headers; "host" is the authority if none was sent */
    unsigned nheaders;
    int64_t content_length; /* -1: a body of unknown length follows; 0: none */
    bool expects_100;
    bool expects_other; /* an Expect that is not 100-continue */
    bool oversized;     /* more than limits.h allows: it is not all here, and must be refused */
};

struct sc_h2_events {
    /* A request's head. Returns what its stream is known by to the other events, and has taken the head's
     * memory over; or NULL: the stream is refused. `ended`: there is no body, `end` follows. */
    void *(*request)(void *ctx, int32_t id, struct sc_h2_head *head, bool ended);
    /* A piece of the body; sc_h2_consumed gives its room back. */
    void (*data)(void *stream, struct sc_span piece);
    /* The request is complete. trailers (NULL: none) are to be taken over, or freed. */
    void (*end)(void *stream, struct sc_h2_head *trailers);
    /* Next bytes of the answer's body, at most `room`: how many. *end: they are its last ones; 0 without it:
     * there are none now, sc_h2_resume follows. It calls sc_h2_trailers if trailers are to follow the end. */
    size_t (*take)(void *stream, char *to, size_t room, bool *end);
    /* The stream is over, by the end of its answer or by an error code; its id means nothing any more. Not
     * called by sc_h2_del. */
    void (*closed)(void *stream, uint32_t code);
};

/* 0 or SC_ENOMEM. events outlive it; ctx goes to events->request. */
int sc_h2_new(struct sc_h2 **out, const struct sc_h2_events *events, void *ctx) SC_MUST_USE;
void sc_h2_del(struct sc_h2 *h);
void sc_h2_head_free(struct sc_h2_head *head);

/*
 * Takes all of `in`. now_ms: any monotonic clock. SC_EPROTO: the bytes are no HTTP/2, nothing can be said to
 * this client; SC_ENOMEM. Everything else that is wrong is answered by what sc_h2_send has.
 */
int sc_h2_receive(struct sc_h2 *h, struct sc_span in, int64_t now_ms) SC_MUST_USE;
/* Up to `room` bytes for the client; 0: there are none now. */
size_t sc_h2_send(struct sc_h2 *h, char *to, size_t room);
/* False: nothing more will be read, and all was sent. */
bool sc_h2_alive(const struct sc_h2 *h);
/* The client owes the rest of something it began: its preface, or a block of headers. */
bool sc_h2_owed(const struct sc_h2 *h);

/*
 * Before anything was received: the connection began as HTTP/1.1 with `Upgrade: h2c` (RFC 7540 §3.2).
 * settings: the value of HTTP2-Settings; stream: the request that asked for it, whose id is 1 and which is
 * complete. SC_EINVAL: the settings are none.
 */
int sc_h2_upgrade(struct sc_h2 *h, struct sc_span settings, bool head_request, void *stream) SC_MUST_USE;

/* The answer's head. Names are put into lower case; names and values are the caller's to check. `body`: it
 * follows by events->take. 0 or SC_ENOMEM. */
int sc_h2_answer(struct sc_h2 *h, int32_t id, int status, const struct sc_http_header *fields, unsigned n,
                 bool body) SC_MUST_USE;
/* An interim answer without fields. */
void sc_h2_continue(struct sc_h2 *h, int32_t id);
/* Only from within events->take, which sets *end. */
void sc_h2_trailers(struct sc_h2 *h, int32_t id, const struct sc_http_header *fields, unsigned n);
void sc_h2_resume(struct sc_h2 *h, int32_t id);
void sc_h2_reset(struct sc_h2 *h, int32_t id, uint32_t code);
/* n bytes of the stream's body are done with. */
void sc_h2_consumed(struct sc_h2 *h, int32_t id, size_t n);
/* No new streams; those that are open go on. The client hears of it before it takes effect, so that requests
 * on their way are still answered (RFC 9113 §6.8). */
void sc_h2_shutdown(struct sc_h2 *h);
/* GOAWAY with a code; nothing else is sent or read after it. */
void sc_h2_terminate(struct sc_h2 *h, uint32_t code);

#endif
