/*
 * `sconce gpu`: the GPUs of this machine, as NVML has them at this moment (asked in a child, which is given
 * up when the driver hangs), the MPS daemons, and, when a server runs here, which processes are its workers.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cli/find_server.h"
#include "cli/gpu_text.h"
#include "cli/options.h"
#include "cli/roles.h"
#include "cli/watch.h"
#include "gpu/agent.h"

#define SELF "/proc/self/exe"

static void usage(FILE *to)
{
    fputs("usage: sconce gpu [OPTION...]\n"
          "\n"
          "The GPUs of this machine: memory, use, MPS, what stands in the way, and whose processes are on "
          "them.\n"
          "\n"
          "  --watch[=S]    again and again, every S seconds (default 1)\n"
          "  --json         one JSON object (with --watch: one a line)\n"
          "  --pid PID      whose workers to name, if several servers run here\n"
          "  --timeout S    how long the driver may take to answer (default 10)\n"
          "\n"
          "Exit codes: 0 there are GPUs; 2 the command line is wrong; 3 there is no GPU; 4 the driver does "
          "not\n"
          "answer.\n",
          to);
}

struct options {
    struct sc_watch watch;
    int32_t pid, timeout_s;
};

/* A server that does not run, or does not answer, takes nothing from what is told of the GPUs. */
static void ask_server(struct sc_gpu_view *v, const struct options *o)
{
    struct sc_msg msg = {""};
    int rc = sc_status_find(&v->status, o->pid, NULL, NULL, &msg);
    if (rc == 0)
        rc = sc_status_fetch(&v->status, &msg);
    if (rc != 0 && rc != SC_EXIT_NOT_RUNNING)
        snprintf(v->no_server, sizeof v->no_server, "%.255s", msg.text);
}

static int look(const struct sc_watch *w, void *context)
{
    static struct sc_gpu_view v;
    const struct options *o = context;
    struct sc_msg msg = {""};
    struct sc_buf out;
    v = (struct sc_gpu_view){0};
    int rc = sc_gpu_look(SELF, o->timeout_s * 1000, &v.report, &msg);
    snprintf(v.trouble, sizeof v.trouble, "%s", msg.text);
    v.hangs = rc == SC_ETIMEOUT;
    v.ndaemons = sc_mps_find(v.daemons, SC_COUNT(v.daemons));
    ask_server(&v, o);
    sc_buf_init(&out, SC_CLI_ANSWER_BYTES);
    if (w->json)
        sc_gpu_view_json(&v, &out);
    else
        sc_gpu_view_text(&v, w->colour, &out);
    sc_watch_show(w, &out);
    sc_buf_free(&out);
    sc_status_forget(&v.status);
    if (rc == 0)
        return v.report.ngpus ? 0 : SC_EXIT_NOT_RUNNING;
    return rc == SC_ENOTFOUND ? SC_EXIT_NOT_RUNNING : SC_EXIT_UNKNOWN;
}

int sc_cli_gpu(int argc, char **argv)
{
    struct options o = {.timeout_s = SC_GPU_LOOK_MS / 1000};
    const struct sc_option options[] = {
        {"watch", SC_OPTION_NUMBER_OR_LEAST, &o.watch.every_s, 1, 0},
        {"json", SC_OPTION_FLAG, &o.watch.json, 0, 0},
        {"pid", SC_OPTION_NUMBER, &o.pid, 1, 0},
        {"timeout", SC_OPTION_NUMBER, &o.timeout_s, 1, 3600},
    };
    int rc = sc_options_read("sconce gpu", usage, options, SC_COUNT(options), argc, argv);
    return rc >= 0 ? rc : sc_watch_run(&o.watch, look, &o);
}
