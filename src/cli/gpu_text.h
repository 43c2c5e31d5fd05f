/* What `sconce gpu` knows, and how it shows it. */
#ifndef SC_CLI_GPU_TEXT_H
#define SC_CLI_GPU_TEXT_H

#include "cli/status.h"
#include "gpu/mps_find.h"
#include "gpu/report.h"

struct sc_gpu_view {
    struct sc_gpu_report report;
    char trouble[512]; /* why there is no report; "": there is one */
    bool hangs;        /* the driver has not answered */
    struct sc_mps_daemon daemons[SC_MPS_FOUND_MAX];
    unsigned ndaemons;
    struct sc_status status; /* models NULL: no server was asked */
    char no_server[256];     /* one runs and was not asked: why */
};

void sc_gpu_view_text(const struct sc_gpu_view *v, bool colour, struct sc_buf *out);
void sc_gpu_view_json(const struct sc_gpu_view *v, struct sc_buf *out);

#endif
