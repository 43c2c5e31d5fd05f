/*
 * Commands to an MPS daemon, and what its answers mean. The program's exit status tells only whether a daemon
 * answered: a refused command is text. Everything blocks, with a limit; for the keeper (mps_keeper.h).
 */
#ifndef SC_GPU_MPS_CONTROL_H
#define SC_GPU_MPS_CONTROL_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/array.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

struct sc_mps_control {
    char program[512];
    char pipe[256];
    int stop_fd; /* readable: what is being asked is given up; -1: none */
};

/* The answer to a command, without blanks at its ends. SC_ENOTFOUND: no daemon answers there; SC_ETIMEOUT;
 * SC_ECLOSED (stop_fd); SC_ESYS; all with *msg. */
int sc_mps_ask(const struct sc_mps_control *c, const char *command, int timeout_ms, char *answer, size_t size,
               struct sc_msg *msg) SC_MUST_USE;

struct sc_mps_state {
    pid_t server;    /* 0: none runs */
    char status[16]; /* INITIALIZING, ACTIVE, FAULT; "" */
    unsigned nclients;
    pid_t clients[SC_MPS_CLIENTS_MAX * 2]; /* newer drivers have room for more than ours */
};

/* What is there now: the first server with its clients, and clients of any other. Errors as above. */
int sc_mps_look(const struct sc_mps_control *c, int timeout_ms, struct sc_mps_state *out,
                struct sc_msg *msg) SC_MUST_USE;

/* Takes a client off the GPU. 0: it is off, or was no client; SC_EINVAL: the daemon says that it is not. */
int sc_mps_terminate(const struct sc_mps_control *c, pid_t server, pid_t client, int timeout_ms,
                     struct sc_msg *msg) SC_MUST_USE;

/* ---- the parts that need no daemon ---------------------------------------------------------------- */

/* Numbers at the beginning of a list ("16435 16436\n"); their number. */
unsigned sc_mps_read_pids(struct sc_span text, pid_t *out, unsigned max);
/* The answer to get_server_status and get_client_list together. */
void sc_mps_read_server(struct sc_span text, struct sc_mps_state *out);
/* True for a line of a daemon's log that people should see; *fault: the server is handling a fatal error. */
bool sc_mps_is_news(struct sc_span line, bool *fault);
/* The server that printed a line ("[date time Server   550] Server has started"); 0: no server did. */
pid_t sc_mps_line_server(struct sc_span line);

#endif
