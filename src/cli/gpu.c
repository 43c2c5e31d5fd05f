/*
 * `sconce gpu`: the GPUs of this machine, as NVML has them at this moment (asked in a child, which is given
 * up when the driver hangs), the MPS daemons, and, when a server runs here, which processes are its workers.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/find_server.h"
#include "cli/gpu_text.h"
#include "cli/roles.h"
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
    int pid, watch_s, timeout_ms;
    bool json;
};

/* 0, or one more than the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"watch", optional_argument, NULL, 'w'},   {"json", no_argument, NULL, 'j'},
        {"pid", required_argument, NULL, 'p'},     {"help", no_argument, NULL, 'h'},
        {"timeout", required_argument, NULL, 't'}, {NULL, 0, NULL, 0},
    };
    static char name[] = "sconce gpu";
    int opt;
    argv[0] = name;
    while ((opt = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
        int32_t n = 1;
        if (optarg && (!sc_span_i32(sc_span_str(optarg), &n) || n <= 0 || (opt == 't' && n > 3600))) {
            fprintf(stderr, "sconce gpu: \"%s\" is no number that can be meant here\n", optarg);
            return 1 + SC_EXIT_USAGE;
        }
        switch (opt) {
        case 'w': o->watch_s = n; break;
        case 'p': o->pid = n; break;
        case 't': o->timeout_ms = n * 1000; break;
        case 'j': o->json = true; break;
        case 'h': usage(stdout); return 1;
        default: fputs("Try `sconce gpu --help`.\n", stderr); return 1 + SC_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "sconce gpu: \"%s\" is no option. Try `sconce gpu --help`.\n", argv[optind]);
        return 1 + SC_EXIT_USAGE;
    }
    return 0;
}

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

static int look(const struct options *o, bool terminal)
{
    static struct sc_gpu_view v;
    struct sc_msg msg = {""};
    struct sc_buf out;
    v = (struct sc_gpu_view){0};
    int rc = sc_gpu_look(SELF, o->timeout_ms, &v.report, &msg);
    snprintf(v.trouble, sizeof v.trouble, "%s", msg.text);
    v.hangs = rc == SC_ETIMEOUT;
    v.ndaemons = sc_mps_find(v.daemons, SC_COUNT(v.daemons));
    ask_server(&v, o);
    sc_buf_init(&out, SC_CLI_ANSWER_BYTES);
    if (o->watch_s && terminal && !o->json)
        sc_buf_str(&out, "\033[H\033[J");
    if (o->json)
        sc_gpu_view_json(&v, &out);
    else
        sc_gpu_view_text(&v, terminal && !getenv("NO_COLOR"), &out);
    if (out.n)
        fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    sc_buf_free(&out);
    sc_status_forget(&v.status);
    if (rc == 0)
        return v.report.ngpus ? 0 : SC_EXIT_NOT_RUNNING;
    return rc == SC_ENOTFOUND ? SC_EXIT_NOT_RUNNING : SC_EXIT_UNKNOWN;
}

int sc_cli_gpu(int argc, char **argv)
{
    struct options o = {.timeout_ms = SC_GPU_LOOK_MS};
    int rc = parse(argc, argv, &o);
    if (rc)
        return rc - 1;
    bool terminal = isatty(STDOUT_FILENO);
    for (;;) {
        rc = look(&o, terminal);
        if (!o.watch_s || ferror(stdout))
            return rc;
        nanosleep(&(struct timespec){.tv_sec = o.watch_s}, NULL);
    }
}
