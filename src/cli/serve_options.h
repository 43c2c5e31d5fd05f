/* A server as a command line asks for it: what `sconce serve` and `torchserve` have in common. */
#ifndef SC_CLI_SERVE_OPTIONS_H
#define SC_CLI_SERVE_OPTIONS_H

#include <stdbool.h>

#include "proto/properties.h"

/* Title and role of the process that becomes the supervisor: how ps shows it and how it is recognised. */
#define SC_SUPERVISOR_TITLE "sconce: supervisor"
#define SC_SUPERVISOR_ROLE "--role=supervisor"
#define SC_TORCHSERVE_OPTION "--torchserve" /* =<PID file>: the server has TorchServe's face */

struct sc_serve_options {
    const char *pidfile;            /* not NULL: TorchServe's face, started for that PID file */
    const char *config;             /* settings file; NULL: sc_settings_find_file chooses */
    struct sc_properties overrides; /* settings of the command line */
    bool no_snapshots;
    bool insecure;
    bool foreground; /* of TorchServe's face: the exit code says nothing */
};

/*
 * Settings, listeners, then the supervisor: returns when the server has ended. The process's exit code; what
 * went wrong has been said. The options stay the caller's.
 */
int sc_serve_run(const struct sc_serve_options *o);

struct sc_settings;
struct sc_log_levels;
/* The levels of the log: the face's, then those of log_config. `tell`: say on standard error why that is
 * ignored. */
void sc_serve_log_levels(const struct sc_settings *s, struct sc_log_levels *levels, bool tell);

#endif
