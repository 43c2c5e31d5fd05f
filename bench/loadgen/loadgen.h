/*
 * The load generator: sends HTTP/1.1 requests over keep-alive connections, checks every answer, measures.
 *
 * Closed loop: every connection sends its next request when it has the answer to the last; the rate is what
 * the server makes of it. Open loop: requests are due at times that the server has no influence on; latency
 * counts from that time, also when no connection was free then.
 *
 * Limits: one request at a time on a connection, no TLS, no HTTP/2.
 */
#ifndef SC_LOADGEN_LOADGEN_H
#define SC_LOADGEN_LOADGEN_H

#include <stdatomic.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/span.h"
#include "loadgen/histogram.h"

enum sc_load_check {
    SC_LOAD_STATUS, /* the status only */
    SC_LOAD_EQUAL,  /* and the body equals `answer` */
    SC_LOAD_ECHO,   /* and the body equals the request's */
};

struct sc_load_config {
    struct sockaddr_storage address; /* sc_load_address fills these two */
    socklen_t address_size;
    const char *method;  /* NULL: GET without a body, POST with one */
    const char *target;  /* path and query */
    const char *host;    /* of the Host header */
    const char *headers; /* further header lines, each with its CRLF; "" or NULL: none */

    /* Bodies: a list taken in turn, or random ones of random_min..random_max bytes, or none. */
    const struct sc_span *bodies;
    size_t nbodies;
    size_t random_min, random_max;

    unsigned threads;     /* at least 1 */
    unsigned connections; /* in all, at least as many as threads */
    double rate;          /* requests a second in all; 0: closed loop */
    bool poisson;         /* open loop: exponential gaps instead of equal ones */
    double warmup;        /* seconds, sent but not counted */
    double duration;      /* seconds counted; 0: until `count` */
    uint64_t count;       /* requests counted; 0: until `duration` */
    double timeout;       /* seconds of one request; afterwards it has failed */
    uint64_t seed;

    enum sc_load_check check;
    struct sc_span answer;
    unsigned status; /* expected; 0: any below 400 */
};

enum sc_load_error {
    SC_LOAD_BAD_STATUS,
    SC_LOAD_BAD_BODY,
    SC_LOAD_SHORT,    /* the connection ended within the answer */
    SC_LOAD_RESET,    /* the connection was reset or closed before the answer */
    SC_LOAD_CONNECT,  /* no connection */
    SC_LOAD_PROTOCOL, /* what came was no HTTP answer */
    SC_LOAD_TIMEOUT,
    SC_LOAD_UNSENT, /* open loop: due, and never sent because no connection became free */
    SC_LOAD_ERRORS
};

struct sc_load_result {
    double seconds;  /* of the counted part */
    uint64_t good;   /* right answers to counted requests */
    uint64_t within; /* of all right answers those that came in the counted part: what the rate is made of */
    uint64_t errors[SC_LOAD_ERRORS];
    uint64_t failed; /* their sum */
    uint64_t connects;
    uint64_t bytes_in, bytes_out; /* warm-up included */
    unsigned bad_status;          /* the first wrong status seen */
    struct sc_hist latency;       /* ns, of right answers */
    struct sc_hist service;       /* open loop: the same from the time of sending, for comparison */
};

/* Config with defaults: 1 thread, 1 connection, 1 s of warm-up, 5 s, time-out 30 s, GET /. Never fails. */
void sc_load_defaults(struct sc_load_config *c);
/* "http://HOST:PORT/TARGET" or "unix:PATH:/TARGET": fills address, host and target, which point into `url`'s
 * own memory (changed) and live as long. SC_EINVAL or SC_ENOTFOUND with a message. */
int sc_load_url(struct sc_load_config *c, char *url, struct sc_msg *msg);

/*
 * Runs the load and blocks until it is over; `stop` (may be NULL) ends it early. Fills *r: everything that
 * happens to requests is counted there. SC_EINVAL for a config that makes no sense, SC_ESYS when the machine
 * has not enough descriptors or threads; then r is undefined and msg says why.
 */
int sc_load_run(const struct sc_load_config *c, struct sc_load_result *r, const atomic_bool *stop,
                struct sc_msg *msg);

static inline double sc_load_rate(const struct sc_load_result *r)
{
    return r->seconds > 0 ? (double)r->within / r->seconds : 0;
}
const char *sc_load_error_name(enum sc_load_error e);
/* The result as one JSON object, with config's loop and rate. */
void sc_load_json(const struct sc_load_config *c, const struct sc_load_result *r, struct sc_buf *out);
/* A few lines for people. */
void sc_load_text(const struct sc_load_config *c, const struct sc_load_result *r, struct sc_buf *out);

#endif
