/*
 * The load generator: sends requests over connections that stay open, checks every answer, measures.
 *
 * Closed loop: a free place (a connection, or a stream of one) sends its next request at once; the rate is
 * what the server makes of it. Open loop: requests are due at times that the server has no influence on;
 * latency counts from that time, also when no place was free then.
 *
 * HTTP/1.1 (one request at a time on a connection), HTTP/2 with prior knowledge, gRPC's unary Predictions
 * (proto/inference.proto); each over TLS, too.
 */
#ifndef SC_LOAD_LOAD_H
#define SC_LOAD_LOAD_H

#include <stdatomic.h>
#include <sys/socket.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"
#include "load/histogram.h"
#include "load/series.h"

enum sc_load_protocol { SC_LOAD_HTTP1, SC_LOAD_HTTP2, SC_LOAD_GRPC };

enum sc_load_check {
    SC_LOAD_STATUS, /* the status only */
    SC_LOAD_EQUAL,  /* and the body equals `answer` */
    SC_LOAD_ECHO,   /* and the body equals the request's */
    SC_LOAD_FIRST,  /* and the body equals the first answer to the same request */
    SC_LOAD_REGEX,  /* and `regex`, a POSIX extended expression, is found in the body */
};

struct sc_load_config {
    struct sockaddr_storage address; /* sc_load_url fills what is above `method` */
    socklen_t address_size;
    bool tls;
    char name[256];     /* of the host, for TLS */
    const char *target; /* path and query; gRPC: MODEL or MODEL/VERSION */
    const char *host;   /* of the Host header */
    enum sc_load_protocol protocol;
    const char *method;  /* NULL: GET without a body, POST with one; gRPC: always POST */
    const char *headers; /* further header lines, each with its CRLF; "" or NULL: none */

    /* Bodies: a list taken in turn, or random ones of random_min..random_max bytes, or none. gRPC: the value
     * of the input `data`. */
    const struct sc_span *bodies;
    size_t nbodies;
    size_t random_min, random_max;

    unsigned threads;     /* at least 1 */
    unsigned connections; /* in all, at least as many as threads */
    unsigned streams;     /* requests at once on each; HTTP/1.1: 1 */
    double rate;          /* requests a second in all; 0: closed loop */
    bool poisson;         /* open loop: exponential gaps instead of equal ones */
    double warmup;        /* seconds, sent but not counted */
    double duration;      /* seconds counted; 0: until `count` */
    uint64_t count;       /* requests counted; 0: until `duration` */
    double timeout;       /* seconds of one request; afterwards it has failed */
    double gone; /* seconds without any answer while connections fail: the server is gone; 0: never */
    uint64_t seed;

    enum sc_load_check check;
    struct sc_span answer;
    const char *regex;
    unsigned status; /* expected; 0: any below 400 */
};

enum sc_load_error {
    SC_LOAD_BAD_STATUS,
    SC_LOAD_BAD_BODY,
    SC_LOAD_SHORT,    /* the connection ended within the answer */
    SC_LOAD_RESET,    /* the connection or stream was reset or closed before the answer */
    SC_LOAD_CONNECT,  /* no connection */
    SC_LOAD_PROTOCOL, /* what came was no answer */
    SC_LOAD_TIMEOUT,
    SC_LOAD_UNSENT, /* open loop: due, and never sent because no place became free */
    SC_LOAD_ERRORS
};

enum sc_load_end { SC_LOAD_COMPLETE, SC_LOAD_STOPPED, SC_LOAD_GONE };

struct sc_load_result {
    enum sc_load_end ended;
    double seconds;  /* of the counted part */
    uint64_t good;   /* right answers to counted requests */
    uint64_t within; /* of all right answers those that came in the counted part: what the rate is made of */
    uint64_t errors[SC_LOAD_ERRORS];
    uint64_t failed; /* their sum */
    uint64_t connects;
    uint64_t bytes_in, bytes_out; /* warm-up included */
    unsigned bad_status;          /* the first wrong status seen; of gRPC 1000 + its code */
    char wrong[400];              /* the first wrong answer, for people; "": none */
    struct sc_hist latency;       /* ns, of right answers */
    struct sc_hist service;       /* open loop: the same from the time of sending, for comparison */
    struct sc_series series;      /* of the counted part */

    /* How the generator itself did. lag: in an open loop how late it looked at what was due, in a closed one
     * how long it was away from its connections (an answer may have waited so long to be seen). */
    struct sc_hist lag;
    double cpu;         /* CPU seconds of its threads, warm-up included */
    double cpu_busiest; /* of one core, by the busiest thread: 1 is all of it */
};

/* What is told while it runs. */
struct sc_load_progress {
    bool warming;
    double seconds, of; /* of the phase; of 0: until the count is met */
    uint64_t good, failed, count;
};

/* From outside, for one run; every member may be NULL. */
struct sc_load_watch {
    const atomic_bool *stop; /* true: the run ends early, what was counted stays */
    /* Called by the thread that runs the load, about ten times a second. */
    void (*progress)(void *ctx, const struct sc_load_progress *p);
    void *ctx;
};

/* Config with defaults: 1 thread, 1 connection, 1 s of warm-up, 5 s, time-out 30 s, GET /. Never fails. */
void sc_load_defaults(struct sc_load_config *c);
/* "http[s]://HOST:PORT/TARGET", "grpc[s]://HOST:PORT/MODEL[/VERSION]" or "unix:PATH:/TARGET": fills address,
 * host, target and what follows from the scheme; host and target point into `url`'s own memory (changed) and
 * live as long. SC_EINVAL or SC_ENOTFOUND with a message. */
int sc_load_url(struct sc_load_config *c, char *url, struct sc_msg *msg) SC_MUST_USE;
/* SC_EINVAL for a config that makes no sense. */
int sc_load_check(const struct sc_load_config *c, struct sc_msg *msg) SC_MUST_USE;

/*
 * Runs the load and blocks until it is over. Fills *r: everything that happens to requests is counted there.
 * SC_EINVAL for a config that makes no sense, SC_ESYS when the machine has not enough descriptors or threads;
 * then r is undefined and msg says why. The limit of descriptors is raised if it may be.
 */
int sc_load_run(const struct sc_load_config *c, struct sc_load_result *r, const struct sc_load_watch *watch,
                struct sc_msg *msg) SC_MUST_USE;

/* Right answers a second. */
static inline double sc_load_rate(const struct sc_load_result *r)
{
    return r->seconds > 0 ? (double)r->within / r->seconds : 0;
}
/* Adds what `from` counted, as if both were one run; rates and ends stay to's. *from's series may get wider.
 */
void sc_load_merge(struct sc_load_result *to, struct sc_load_result *from);
const char *sc_load_error_name(enum sc_load_error e);
/* For people: "HTTP/2 over TLS". */
const char *sc_load_protocol(const struct sc_load_config *c);
/* True if the generator, not the server, may have set the figures; *why says so to people. */
bool sc_load_saturated(const struct sc_load_config *c, const struct sc_load_result *r, struct sc_msg *why);

#endif
