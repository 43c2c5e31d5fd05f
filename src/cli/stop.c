/* `sconce stop`: asks a server to end, and waits for it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/span.h"
#include "cli/find_server.h"
#include "cli/options.h"
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
    int32_t pid, wait;
    bool now;
};

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
    const struct sc_option options[] = {
        {"pid", SC_OPTION_NUMBER, &o.pid, 1, 0},
        {"wait", SC_OPTION_NUMBER, &o.wait, 0, 0},
        {"now", SC_OPTION_FLAG, &o.now, 0, 0},
    };
    int rc = sc_options_read("sconce stop", usage, options, SC_COUNT(options), argc, argv);
    if (rc >= 0)
        return rc;
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
