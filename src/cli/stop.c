/* `sconce stop`: asks a server to end, and waits for it. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/span.h"
#include "cli/find_server.h"
#include "cli/roles.h"

#define WAIT_S 60 /* more than shutdown_timeout_ms and the grace of the workers */

static void usage(FILE *to)
{
    fputs("usage: sconce stop [OPTION...]\n"
          "\n"
          "Finishes what is in flight, then ends the server. A second stop meanwhile waits with the first.\n"
          "\n"
          "  --pid PID    which server, if several run here\n"
          "  --wait S     how long to wait for its end (default 60 s; 0: not at all)\n"
          "  --now        end at once: requests in flight are lost\n"
          "\n"
          "Exit codes: 0 it has ended, or none was running (--wait 0: it was told); 1 it is still running;\n"
          "2 the command line is wrong; 3 there is no server with that pid; 4 several run, or it is\n"
          "another user's.\n",
          to);
}

struct options {
    int pid, wait;
    bool now;
};

/* 0, or one more than the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"pid", required_argument, NULL, 'p'},
        {"wait", required_argument, NULL, 'w'},
        {"now", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static char name[] = "sconce stop";
    int opt;
    bool ok = true;
    argv[0] = name;
    while (ok && (opt = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
        int32_t n = 0;
        switch (opt) {
        case 'p':
            ok = sc_span_i32(sc_span_str(optarg), &n) && n > 0;
            o->pid = n;
            break;
        case 'w':
            ok = sc_span_i32(sc_span_str(optarg), &n) && n >= 0;
            o->wait = n;
            break;
        case 'n': o->now = true; break;
        case 'h': usage(stdout); return 1;
        default: fputs("Try `sconce stop --help`.\n", stderr); return 1 + SC_EXIT_USAGE;
        }
        if (!ok)
            fprintf(stderr, "sconce stop: \"%s\" is no number that can be meant here\n", optarg);
    }
    if (ok && optind < argc)
        fprintf(stderr, "sconce stop: \"%s\" is no option. Try `sconce stop --help`.\n", argv[optind]);
    return ok && optind == argc ? 0 : 1 + SC_EXIT_USAGE;
}

static int tell(pid_t pid, const struct options *o)
{
    /* A second TERM or INT is what ends a server at once; USR2 can be said twice. */
    int rc = kill(pid, o->now ? SIGTERM : SIGUSR2);
    if (rc == 0 && o->now)
        rc = kill(pid, SIGINT);
    if (rc < 0 && errno != ESRCH) {
        fprintf(stderr, "sconce stop: the server with pid %d cannot be stopped: %s\n", (int)pid,
                strerror(errno));
        return SC_EXIT_UNKNOWN;
    }
    if (o->wait == 0)
        return 0;
    if (sc_live_wait(pid, (int64_t)o->wait * 1000) == 0) {
        printf("the server with pid %d has stopped\n", (int)pid);
        return 0;
    }
    fprintf(stderr,
            "sconce stop: the server with pid %d is still running after %d s; it ends when its requests are "
            "done. --now ends it at once\n",
            (int)pid, o->wait);
    return SC_EXIT_NOT_WELL;
}

int sc_cli_stop(int argc, char **argv)
{
    struct options o = {.wait = WAIT_S};
    struct sc_live server;
    struct sc_msg msg = {""};
    int rc = parse(argc, argv, &o);
    if (rc)
        return rc - 1;
    rc = sc_find_server(&server, o.pid, &msg);
    if (rc == SC_EXIT_NOT_RUNNING && !o.pid) {
        puts(msg.text);
        rc = 0;
    } else if (rc) {
        fprintf(stderr, "sconce stop: %s\n", msg.text);
    } else {
        rc = tell(server.pid, &o);
    }
    sc_find_server_free(&server);
    return rc;
}
