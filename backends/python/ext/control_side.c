/* The connection to the supervisor: connecting back, attachments, and whether the handler has left it alone.
 */
#include "data_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

void sc_py_detach(struct sc_py_channel *c)
{
    sc_py_batch_over(
        c); /* one that is being filled: what is computed is answered before anything is attached */
    sc_py_drop_ready(c);
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
}

void sc_py_control(struct sc_py_channel *c)
{
    int rc;
    while ((rc = sc_ctl_receive(c->ctl, c->message)) == 1) {
        if (c->message->type == SC_CTL_ATTACH)
            attach(c, c->message);
        sc_ctl_close_fds(c->message);
    }
    if (rc < 0 && !c->over)
        c->over = "the supervisor is gone";
}
