/*
 * The process that keeps one MPS daemon (docs/gpu-sharing.md): runs it, or watches somebody else's, tells
 * what it sees, and takes workers off the GPU before they are signalled. Commands to a daemon may hang;
 * nobody waits for this process without a limit.
 */
#ifndef SC_GPU_MPS_KEEPER_H
#define SC_GPU_MPS_KEEPER_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

/*
 * --role=mps-keeper --pipe=DIR [--gpu=UUID]: with a UUID it runs a daemon of that GPU in DIR, which is made,
 * in the foreground, so that it dies with this process; without, the daemon that others run there is watched
 * and never stopped. Started by the supervisor (SC_START_KEEPER): LOADED when the daemon answers, FAILED with
 * the reason when it cannot be had. A daemon that dies is started again at once. Report lines (below) on
 * standard output, a word about what happens on standard error. At SIGTERM, or when the supervisor is gone,
 * the daemon of its own is ended and its files are removed.
 */
int sc_mps_keeper_main(int argc, char **argv);

/* What a keeper reports, again and again:
 * {"pid":7,"server":8,"status":"ACTIVE","starts":1,"faults":0,"gone":false,"clients":[9]} */
struct sc_mps_report {
    int pid, server;         /* of daemon and server; 0: none */
    char status[16];         /* of the server */
    unsigned starts, faults; /* daemons that came up; fatal errors that servers have told */
    bool gone;               /* nobody answers */
    unsigned nclients;
    int clients[SC_MPS_CLIENTS_MAX * 2];
};
/* SC_EINVAL: no report; *r is then empty. */
int sc_mps_report_read(struct sc_span line, struct sc_mps_report *r) SC_MUST_USE;
bool sc_mps_report_has(const struct sc_mps_report *r, int pid);

/* A folder in which a daemon can listen. SC_ELIMIT with *msg: its path is too long for a socket's. */
int sc_mps_check_pipe(const char *dir, struct sc_msg *msg) SC_MUST_USE;

#endif
