/* The connection to the supervisor: connecting back, attachments, kept descriptors, and whether the handler
 * has left it alone. */
#include "data_path.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Our descriptors lie above those that a handler's files get: one that is closed twice by mistake hits its
 * own. */
#define FD_FIRST 512

static int move_up(int fd)
{
    int up = fcntl(fd, F_DUPFD_CLOEXEC, FD_FIRST);
    if (up < 0)
        return fd;
    close(fd);
    return up;
}

int sc_py_connect(struct sc_py_channel *c)
{
    struct sc_msg msg;
    struct stat st;
    c->message = calloc(1, sizeof *c->message);
    if (!c->message) {
        PyErr_NoMemory();
        return -1;
    }
    int fd;
    Py_BEGIN_ALLOW_THREADS;
    fd = sc_ctl_connect_back(&msg);
    Py_END_ALLOW_THREADS;
    if (fd < 0) {
        PyErr_SetString(PyExc_ConnectionError, msg.text);
        return -1;
    }
    c->ctl = move_up(fd);
    if (fstat(c->ctl, &st) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    c->ctl_ino = st.st_ino;
    c->lines_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, FD_FIRST);
    return 0;
}

bool sc_py_fds_intact(const struct sc_py_channel *c)
{
    struct stat st;
    return fstat(c->ctl, &st) == 0 && st.st_ino == c->ctl_ino && S_ISSOCK(st.st_mode);
}

static void watch(struct sc_py_channel *c, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        PySys_WriteStderr("a descriptor cannot be watched: %s\n", strerror(errno));
}

static void watch_port(struct sc_py_channel *c)
{
    if (c->epoll < 0 || !c->port)
        return;
    watch(c, sc_port_wake_fd(c->port), EPOLLIN);
    watch(c, sc_port_hup_fd(c->port), EPOLLRDHUP);
}

int sc_py_epoll(struct sc_py_channel *c)
{
    if (c->epoll >= 0)
        return c->epoll;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    c->epoll = move_up(fd);
    watch(c, c->ctl, EPOLLIN);
    watch_port(c);
    return c->epoll;
}

void sc_py_detach(struct sc_py_channel *c)
{
    /* One that is being filled, and what is open of take_new: else what is computed is answered before
     * anything is attached. */
    sc_py_batch_over(c);
    sc_py_drop_ready(c);
    c->armed = false;
    while (c->port && c->senders > 0) { /* a thread of the handler's is at it */
        Py_BEGIN_ALLOW_THREADS;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        Py_END_ALLOW_THREADS;
    }
    if (c->port && c->epoll >= 0) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, sc_port_wake_fd(c->port), NULL);
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, sc_port_hup_fd(c->port), NULL);
    }
    sc_port_del(c->port);
    c->port = NULL;
}

static void attach(struct sc_py_channel *c, struct sc_ctl_message *m)
{
    struct sc_ctl_attach a;
    struct sc_msg msg = {"its descriptors do not fit"};
    struct sc_port *port = NULL;
    if (m->payload.n < sizeof a)
        return;
    memcpy(&a, m->payload.p, sizeof a);
    if (a.channels > 0 && a.channels <= SC_LOOPS_MAX && m->nfds == SC_BOARD_FDS + a.channels * SC_CHAN_FDS) {
        for (unsigned i = 0; i < m->nfds; i++)
            m->fds[i] = move_up(m->fds[i]);
        int rc = sc_port_new(&port, m->fds, a.channels, a.epoch, &msg);
        m->nfds = 0; /* the port's, also if it failed */
        if (rc < 0)
            port = NULL;
    }
    if (!port) {
        PySys_WriteStderr("attachment failed: %.400s\n", msg.text);
        return;
    }
    sc_py_detach(c); /* nobody waits for what the old frontend wanted */
    c->port = port;
    watch_port(c);
}

static void keep_links(struct sc_py_channel *c, struct sc_ctl_message *m)
{
    for (unsigned i = 0; i < m->nfds && c->nlinks < SC_COUNT(c->links); i++) {
        c->links[c->nlinks++] = move_up(m->fds[i]);
        m->fds[i] = -1;
    }
}

/* The answer to what was asked for last; another one came too late. */
static void take_kept(struct sc_py_channel *c, struct sc_ctl_message *m)
{
    struct sc_ctl_kept answer;
    if (!c->asks || m->payload.n != sizeof answer)
        return;
    memcpy(&answer, m->payload.p, sizeof answer);
    if (strncmp(answer.name, c->kept.name, sizeof answer.name) != 0)
        return;
    c->asks = false;
    c->kept.size = answer.size;
    if (m->nfds == 1) {
        c->kept_fd = m->fds[0];
        m->fds[0] = -1;
    }
}

void sc_py_control(struct sc_py_channel *c)
{
    int rc;
    while ((rc = sc_ctl_receive(c->ctl, c->message)) == 1) {
        if (c->message->type == SC_CTL_ATTACH)
            attach(c, c->message);
        else if (c->message->type == SC_CTL_RANKS)
            keep_links(c, c->message);
        else if (c->message->type == SC_CTL_KEPT)
            take_kept(c, c->message);
        sc_ctl_close_fds(c->message);
    }
    if (rc < 0 && !c->over)
        c->over = "the supervisor is gone";
}

/* ---- kept descriptors -------------------------------------------------------------------------- */

static void wait_for(const struct sc_py_channel *c, short events)
{
    struct pollfd p = {.fd = c->ctl, .events = events};
    Py_BEGIN_ALLOW_THREADS;
    poll(&p, 1, 100);
    Py_END_ALLOW_THREADS;
}

static int say_kept(struct sc_py_channel *c, uint16_t type, const int *fd)
{
    int64_t limit = sc_clock_ms() + SC_KEPT_ANSWER_MS;
    int rc;
    sc_py_not_in_child();
    while ((rc = sc_ctl_send(c->ctl, type, sc_span(&c->kept, sizeof c->kept), sc_span(NULL, 0), fd,
                             fd ? 1 : 0)) == SC_AGAIN &&
           sc_clock_ms() < limit)
        wait_for(c, POLLOUT);
    if (rc == 0)
        return 0;
    PyErr_Format(PyExc_ConnectionError, "the supervisor does not take it: %s", sc_strerror(rc));
    return -1;
}

static int name_kept(struct sc_py_channel *c, struct sc_span name, uint64_t size)
{
    if (c->ctl < 0 || name.n == 0 || name.n >= sizeof c->kept.name) {
        PyErr_Format(PyExc_ValueError, c->ctl < 0 ? "not connected" : "a name of %zd bytes",
                     (Py_ssize_t)name.n);
        return -1;
    }
    c->kept = (struct sc_ctl_kept){.size = size};
    memcpy(c->kept.name, name.p, name.n);
    return 0;
}

int sc_py_keep(struct sc_py_channel *c, struct sc_span name, int fd, uint64_t size)
{
    return name_kept(c, name, size) < 0 ? -1 : say_kept(c, SC_CTL_KEEP, &fd);
}

int sc_py_kept(struct sc_py_channel *c, struct sc_span name, int *fd, uint64_t *size)
{
    int64_t limit = sc_clock_ms() + SC_KEPT_ANSWER_MS;
    if (name_kept(c, name, 0) < 0 || say_kept(c, SC_CTL_FETCH, NULL) < 0)
        return -1;
    c->kept_fd = -1;
    c->asks = true;
    while (c->asks && !c->over && sc_clock_ms() < limit) {
        wait_for(c, POLLIN);
        sc_py_control(c);
    }
    c->asks = false;
    *fd = c->kept_fd;
    *size = c->kept.size;
    return 0;
}
