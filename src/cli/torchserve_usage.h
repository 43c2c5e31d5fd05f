/* The command line of `torchserve`: its arguments by number, and its texts. */
#ifndef SC_CLI_TORCHSERVE_USAGE_H
#define SC_CLI_TORCHSERVE_USAGE_H

#include "cli/arguments.h"

#define SC_TORCHSERVE_VERSION "0.12.0" /* the one whose contract this is */

enum {
    TS_HELP,
    TS_VERSION,
    TS_START,
    TS_STOP,
    TS_CONFIG,
    TS_MODEL_STORE,
    TS_WORKFLOW_STORE,
    TS_MODELS,
    TS_LOG_CONFIG,
    TS_CPP_LOG_CONFIG,
    TS_FOREGROUND,
    TS_NO_SNAPSHOTS,
    TS_PLUGINS,
    TS_DISABLE_TOKEN,
    TS_MODEL_API
};

extern const char sc_torchserve_usage[]; /* the usage lines */
extern const char sc_torchserve_help[];  /* what follows them after an empty line */

#endif
