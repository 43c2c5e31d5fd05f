/*
 * Servers that run on this machine, found by what /proc shows of their supervisors: title, role, user. No
 * file has to be kept for that, so none can be stale. Their settings are read where the supervisor keeps them
 * for its frontend: the sealed memory file of serve_run.c.
 *
 * Servers of other users are seen by root only; those of another network (a container's) by nobody outside.
 */
#ifndef SC_CLI_LIVE_H
#define SC_CLI_LIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

#define SC_SETTINGS_MEMFD "sconce-settings" /* name of the memory file */

struct sc_live {
    pid_t pid;
    int64_t up_s;  /* since its start */
    char *pidfile; /* of a server with TorchServe's face; NULL: the other face */
    char *folder;  /* its working folder; "" if it cannot be read */
};

/* All of them, by pid; *list belongs to the caller. Returns their number. */
unsigned sc_live_list(struct sc_live **list);
void sc_live_free(struct sc_live *list, unsigned n);

/* True if process `pid` is the supervisor of a torchserve that was started for that PID file. */
bool sc_live_is_torchserve(pid_t pid, const char *pidfile);
/* True if the process exists and is no zombie. */
bool sc_live_alive(pid_t pid);

/* Appends the settings that the server works with. */
int sc_live_settings(pid_t pid, struct sc_buf *text, struct sc_msg *msg) SC_MUST_USE;

/* Waits until the process has ended; ms < 0: as long as it takes. SC_ETIMEOUT: it has not. */
int sc_live_wait(pid_t pid, int64_t ms) SC_MUST_USE;

#endif
