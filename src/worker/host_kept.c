/* sconce_host_kept and sconce_host_keep: descriptors that the supervisor keeps. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/executor_private.h"

#define SC_EXPORT __attribute__((visibility("default")))

static bool ask(struct sconce_host *h, uint16_t type, const char *name, uint64_t size, const int *fd)
{
    struct sc_ctl_kept what = {.size = size};
    int64_t limit = sc_clock_ms() + SC_KEPT_ANSWER_MS;
    int rc = SC_AGAIN;
    if (h->ctl < 0 || strlen(name) >= sizeof what.name)
        return false;
    memcpy(what.name, name, strlen(name));
    while (rc == SC_AGAIN && sc_clock_ms() < limit) {
        rc = sc_ctl_send(h->ctl, type, sc_span(&what, sizeof what), sc_span(NULL, 0), fd, fd ? 1 : 0);
        if (rc == SC_AGAIN)
            poll(&(struct pollfd){.fd = h->ctl, .events = POLLOUT}, 1, 100);
    }
    return rc == 0;
}

/* Of attachments that come meanwhile only the last counts. */
static void put_aside(struct sconce_host *h, struct sc_ctl_message *m)
{
    struct sc_ctl_message *kept = h->waiting ? h->waiting : malloc(sizeof *kept);
    if (!kept) {
        sc_log(SC_LOG_ERROR, "attachment failed: out of memory");
        sc_ctl_close_fds(m);
        return;
    }
    if (h->waiting)
        sc_ctl_close_fds(h->waiting);
    *kept = *m;
    kept->payload.p = kept->bytes;
    m->nfds = 0;
    h->waiting = kept;
}

SC_EXPORT int sconce_host_kept(struct sconce_host *h, const char *name, uint64_t *size)
{
    struct sc_ctl_kept answer;
    struct sc_ctl_message *m = malloc(sizeof *m);
    int64_t limit = sc_clock_ms() + SC_KEPT_ANSWER_MS;
    int found = -1, rc = m && ask(h, SC_CTL_FETCH, name, 0, NULL) ? 0 : SC_ECLOSED;
    *size = 0;
    for (bool answered = false; rc >= 0 && !answered && sc_clock_ms() < limit;) {
        rc = sc_ctl_receive(h->ctl, m);
        if (rc == 0)
            poll(&(struct pollfd){.fd = h->ctl, .events = POLLIN}, 1, 100);
        if (rc <= 0)
            continue;
        if (m->type == SC_CTL_ATTACH) {
            put_aside(h, m);
        } else if (m->type == SC_CTL_END) {
            h->end = true;
        } else if (m->type == SC_CTL_REOPEN_LOGS) {
            sc_log_reopen();
        } else if (m->type == SC_CTL_KEPT && sc_ctl_read_fixed(m->payload, &answer, sizeof answer) == 0 &&
                   strncmp(answer.name, name, sizeof answer.name) == 0) {
            answered = true;
            if (m->nfds == 1) {
                found = m->fds[0];
                m->nfds = 0;
                *size = answer.size;
            }
        }
        sc_ctl_close_fds(m);
    }
    free(m);
    return found;
}

SC_EXPORT void sconce_host_keep(struct sconce_host *h, const char *name, int fd, uint64_t size)
{
    if (!ask(h, SC_CTL_KEEP, name, size, &fd))
        sc_log(SC_LOG_WARN, "%s is not kept: the supervisor does not take it", name);
}
