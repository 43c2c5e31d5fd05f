/* One thread of the load generator: its connections, its share of the schedule. Private to this folder. */
#ifndef SC_LOADGEN_CLIENT_H
#define SC_LOADGEN_CLIENT_H

#include "loadgen/loadgen.h"

/* A request ready to be sent; the body is its end. */
struct sc_load_message {
    char *bytes;
    size_t n;
    size_t body_n;
};

/* What all threads share and none changes. */
struct sc_load_plan {
    const struct sc_load_config *config;
    const atomic_bool *stop;
    struct sc_buf head; /* up to and with "content-length: " where there are bodies, else the whole request */
    struct sc_load_message *messages;
    size_t nmessages; /* 0: bodies are random */
    int64_t begin;    /* ns: the counted part begins */
    int64_t end;      /* INT64_MAX: when `count` is reached */
};

struct sc_load_client {
    const struct sc_load_plan *plan;
    unsigned index;
    struct sc_load_result result; /* seconds is not set */
    int64_t finished;             /* ns: the last counted answer, or when it was stopped */
    int error;                    /* errno of what kept it from running, or 0 */
};

/* Thread entry; the argument is a struct sc_load_client. */
void *sc_load_client_run(void *client);

#endif
