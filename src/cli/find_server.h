/* Which server `sconce stop` and `sconce status` are about. */
#ifndef SC_CLI_FIND_SERVER_H
#define SC_CLI_FIND_SERVER_H

#include "base/error.h"
#include "cli/live.h"

/* Exit codes of both commands, those of init scripts. */
enum {
    SC_EXIT_NOT_WELL = 1, /* status: a model has fewer workers than it should; stop: still running */
    SC_EXIT_USAGE = 2,
    SC_EXIT_NOT_RUNNING = 3, /* no server */
    SC_EXIT_UNKNOWN = 4      /* it cannot be told which, or it does not answer */
};

/* The one server that runs here, or that with pid `wanted` (0: any). 0, or an exit code with *msg; free it in
 * every case. */
int sc_find_server(struct sc_live *out, pid_t wanted, struct sc_msg *msg);
/* Frees what is in it. */
void sc_find_server_free(struct sc_live *server);

#endif
