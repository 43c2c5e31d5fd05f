/* The keeper's report, as its reader sees it. */
#include <jansson.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/array.h"
#include "gpu/mps_keeper.h"

static int number(const json_t *j, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(j, key));
    return v > 0 && v <= INT32_MAX ? (int)v : 0;
}

int sc_mps_report_read(struct sc_span line, struct sc_mps_report *r)
{
    json_t *j = json_loadb(line.p ? line.p : "", line.n, 0, NULL), *list = json_object_get(j, "clients"),
           *pid;
    const char *status = json_string_value(json_object_get(j, "status"));
    size_t i;
    *r = (struct sc_mps_report){.pid = number(j, "pid"),
                                .server = number(j, "server"),
                                .starts = (unsigned)number(j, "starts"),
                                .faults = (unsigned)number(j, "faults"),
                                .gone = json_is_true(json_object_get(j, "gone"))};
    snprintf(r->status, sizeof r->status, "%s", status ? status : "");
    json_array_foreach(list, i, pid)
    {
        json_int_t v = json_integer_value(pid);
        if (v > 0 && v <= INT32_MAX && r->nclients < SC_COUNT(r->clients))
            r->clients[r->nclients++] = (int)v;
    }
    bool good = json_is_array(list);
    json_decref(j);
    if (!good)
        *r = (struct sc_mps_report){0};
    return good ? 0 : SC_EINVAL;
}

bool sc_mps_report_has(const struct sc_mps_report *r, int pid)
{
    for (unsigned i = 0; i < r->nclients; i++)
        if (r->clients[i] == pid)
            return true;
    return false;
}

int sc_mps_check_pipe(const char *dir, struct sc_msg *msg)
{
    static const char longest[] = "/control_privileged";
    size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    size_t n = strlen(dir) + sizeof longest - 1;
    if (n <= most)
        return 0;
    return sc_fail(
        msg, SC_ELIMIT,
        "the MPS daemon's folder %.200s is too long: the path of a socket in it has %zu bytes, and at "
        "most %zu are possible",
        dir, n, most);
}
