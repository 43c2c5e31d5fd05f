#include "cli/find_server.h"

#include <stdio.h>
#include <stdlib.h>

/* One line for several servers: the choice is the operator's. */
static int several(const struct sc_live *list, unsigned n, struct sc_msg *msg)
{
    char pids[256] = "";
    size_t used = 0;
    for (unsigned i = 0; i < n && used < sizeof pids - 64; i++)
        used += (size_t)snprintf(pids + used, sizeof pids - used, "%s%d in %.40s", i ? ", " : "",
                                 (int)list[i].pid, list[i].folder);
    sc_fail(msg, SC_EINVAL, "%u servers run here: say which with --pid (%s)", n, pids);
    return SC_EXIT_UNKNOWN;
}

int sc_find_server(struct sc_live *out, pid_t wanted, struct sc_msg *msg)
{
    struct sc_live *list;
    unsigned n = sc_live_list(&list), at = 0;
    int rc = 0;
    *out = (struct sc_live){0};
    while (wanted && at < n && list[at].pid != wanted)
        at++;
    if (wanted && at == n) {
        sc_fail(msg, SC_ENOTFOUND, "there is no server with pid %d", (int)wanted);
        rc = SC_EXIT_NOT_RUNNING;
    } else if (n == 0) {
        sc_fail(msg, SC_ENOTFOUND, "no server is running");
        rc = SC_EXIT_NOT_RUNNING;
    } else if (!wanted && n > 1) {
        rc = several(list, n, msg);
    } else {
        *out = list[at];
        list[at].pidfile = list[at].folder = NULL;
    }
    sc_live_free(list, n);
    return rc;
}

void sc_find_server_free(struct sc_live *server)
{
    free(server->pidfile);
    free(server->folder);
    *server = (struct sc_live){0};
}
