/*
 * TorchServe's PID file: <tmp>/.model_server.pid, <tmp> as Python's tempfile chooses it. It holds the decimal
 * pid of the server that `torchserve` started, and nothing else.
 *
 * Whoever has it open holds a lock, so that two starts at the same time make one server.
 */
#ifndef SC_CLI_PIDFILE_H
#define SC_CLI_PIDFILE_H

#include <sys/types.h>

#include "base/array.h"
#include "base/error.h"

enum sc_pidfile_state {
    SC_PIDFILE_NONE,   /* no file */
    SC_PIDFILE_DEAD,   /* it names no living process, or nothing */
    SC_PIDFILE_OTHER,  /* it names a process that is no server of this file */
    SC_PIDFILE_RUNNING /* it names a server */
};

struct sc_pidfile {
    char *path; /* without links */
    int lock;   /* the folder */
};

/* SC_ESYS with *msg when there is no folder for temporary files. */
int sc_pidfile_open(struct sc_pidfile *f, struct sc_msg *msg) SC_MUST_USE;
/* Gives the lock back and frees. */
void sc_pidfile_close(struct sc_pidfile *f);

/* What the file says; *pid is set for OTHER and RUNNING. */
enum sc_pidfile_state sc_pidfile_read(const struct sc_pidfile *f, pid_t *pid);
/* Writes the file anew; a link in its place is replaced, not followed. */
int sc_pidfile_write(const struct sc_pidfile *f, pid_t pid, struct sc_msg *msg) SC_MUST_USE;
void sc_pidfile_remove(const struct sc_pidfile *f);

#endif
