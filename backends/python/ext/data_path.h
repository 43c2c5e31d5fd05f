/*
 * What the extension's files share: the object `ts._sconce.Channel`, the worker's end of the data path.
 *
 * One thread, the one that calls the handler, calls its methods; a second one may decode ahead (ahead.c), and
 * any may call part() and answer(). All that touches Python objects runs with the interpreter's lock, which
 * is what guards `batch` and `ready` too.
 */
#ifndef SC_PYTHON_DATA_PATH_H
#define SC_PYTHON_DATA_PATH_H

#include <Python.h>

#include <pthread.h>
#include <signal.h>

#include "base/buf.h"
#include "linger.h"
#include "worker/channel.h"
#include "worker/control.h"

/* A request that was taken from the ring and has become Python's. */
struct sc_py_request {
    struct sc_work work;
    PyObject *row; /* (id, headers, row); owned; NULL once Python has it */
    PyObject *id;  /* and then its id; owned */
    bool answered; /* its last completion was sent */
    bool left;     /* its client has */
    bool told;     /* by cancelled() */
};

struct sc_py_answer {
    struct sc_span body;
    size_t meta_at, meta_n;
    uint32_t status;
    bool failed;    /* an error in place of what the handler gave: ends the answer */
    PyObject *keep; /* holds body; owned */
};

/* Decoding ahead; see ahead.c. */
struct sc_py_ahead {
    pthread_mutex_t lock; /* of the rings, and of the three below */
    pthread_cond_t wake;
    bool computing, busy, closing;
    bool started;        /* main thread only */
    int64_t interval_ns; /* between two looks at the rings; of the batch being computed */
    /* With the interpreter's lock: */
    int64_t spent_ns;  /* decoding since the last batch */
    int64_t waited_ns; /* for that lock: running average */
    int64_t off_until_ns, off_for_ns;
};

struct sc_py_channel {
    PyObject_HEAD
        /* settings */
        uint32_t batch_size;
    int64_t delay_ns, spin_ns;
    uint64_t max_response;
    bool fill, batch_line;
    PyObject *decode, *loads; /* NULL: bodies stay bytes */

    /* control connection */
    int ctl;
    ino_t ctl_ino;
    struct sc_ctl_message *message;
    int64_t ctl_looked_ns;
    const char *over;      /* why take() has ended; NULL while it goes on */
    int links[SC_CTL_FDS]; /* sockets to the worker's other ranks, until links() takes them */
    unsigned nlinks;
    struct sc_ctl_kept kept; /* what sc_py_kept asks for, or what came */
    int kept_fd;
    bool asks;

    struct sc_port *port; /* the present attachment; NULL before the first and after its end */

    /* What is open: the batch of take(), or what take_new() gave and answer() has not ended. */
    struct sc_py_request *batch;
    uint64_t *ids; /* scratch for the running page */
    uint32_t n, cap;
    uint32_t found; /* where the last id was found */
    uint32_t nleft; /* clients that cancelled() has not told of */
    bool apart;     /* by take_new() */
    bool alone;
    PyObject *lost;      /* a list: ids that were open when their frontend ended; NULL: none */
    _Atomic int senders; /* threads that send without the interpreter's lock: the port must stay */

    int epoll;  /* shows that there is something to take; -1 before the first poll_fds() */
    bool armed; /* sleep is announced by arm() */

    struct sc_py_request *ready; /* decoded, in order of arrival: a ring of ready_cap */
    uint32_t ready_head, ready_n, ready_cap;

    struct sc_py_answer *answers;
    struct sc_buf meta;

    /* how long handlers take, and decoding for them: running averages of a batch */
    int64_t began_ns, handler_ns, decode_ns, decode_sum_ns;
    struct sc_py_ahead ahead;
    struct sc_linger linger;
    bool was_busy;

    /* Lines for the frontend that wait for company. */
    struct sc_buf lines;
    int lines_fd; /* standard output as it was at the start, whatever the handler makes of it; -1: none */
    int64_t lines_due_ns;
};

/* channel.c: module state and the child of a fork. */
extern PyTypeObject *sc_py_type;
/* In a child that a handler forked, nothing of the worker's may be used: ends the process. */
void sc_py_not_in_child(void);
bool sc_py_in_child(void);

/* convert.c: (id, headers, row) of a request; NULL with an exception set, of type MemoryError, or
 * RuntimeError if the frontend's metadata is malformed. Names used often are made once by init (0, or -1 with
 * an exception set). */
PyObject *sc_py_convert(struct sc_py_channel *c, const struct sc_work *w);
int sc_py_convert_init(void);

/* intake.c */
PyObject *sc_py_take(struct sc_py_channel *c);
PyObject *sc_py_take_new(struct sc_py_channel *c, uint32_t limit, int wait_ms);
/* Announces sleep to the frontend. False: there is something to take. */
bool sc_py_arm(struct sc_py_channel *c);
/* Takes the next request of the ring and converts it; what cannot be converted is answered. 1, 0 if there was
 * none, negative if the port is unusable. With the interpreter's lock; the caller has the rings to itself. */
int sc_py_next(struct sc_py_channel *c, struct sc_py_request *out);
void sc_py_drop_ready(struct sc_py_channel *c);
/* A line, without its end, that may wait a few milliseconds for others; and all of them now. */
void sc_py_line(struct sc_py_channel *c, struct sc_span text);
void sc_py_lines_flush(struct sc_py_channel *c);

/* control_side.c */
int sc_py_connect(struct sc_py_channel *c);
/* The descriptor that a caller polls between arm() and take_new(). -1 with an exception. */
int sc_py_epoll(struct sc_py_channel *c);
/* Reads what the supervisor sent. Sets c->over at its end. */
void sc_py_control(struct sc_py_channel *c);
/* False if the handler has closed or replaced the control connection, and so probably everything. */
bool sc_py_fds_intact(const struct sc_py_channel *c);
/* Has fd, which stays the caller's, kept under a name. Like sc_py_kept -1 with an exception set: ValueError,
 * ConnectionError. */
int sc_py_keep(struct sc_py_channel *c, struct sc_span name, int fd, uint64_t size);
/* What is kept under it, the caller's; *fd -1: nothing. Waits SC_KEPT_ANSWER_MS at most. */
int sc_py_kept(struct sc_py_channel *c, struct sc_span name, int *fd, uint64_t *size);
void sc_py_detach(struct sc_py_channel *c);

/* open.c: what is open at a time */
/* Room for one more. False without memory, or when the running page is full. */
bool sc_py_open_room(struct sc_py_channel *c);
/* Clears the running page of a batch, and the table. What had come by take_new is told by cancelled(). */
void sc_py_batch_over(struct sc_py_channel *c);
/* Writes the running page anew, `fresh` of the requests being new. */
void sc_py_open_page(struct sc_py_channel *c, uint32_t fresh);
/* The frontend says that the client of that request has left. */
void sc_py_client_left(struct sc_py_channel *c, const struct sc_work *w);
PyObject *sc_py_cancelled(struct sc_py_channel *c);
/* Sends parts, or last answers, of the open requests that items, (id, body, status, phrase, type, headers)
 * each, or (id, status, message) of an error, name: how many were sent, or -1 with an exception; then none
 * was. */
int sc_py_publish(struct sc_py_channel *c, PyObject *items, bool parts);

/* answer.c */
/* Makes ready what item holds from place `first` on: body, status, phrase, type, headers; metadata goes to
 * *meta. 0, or -1 with an exception; a->keep is the caller's to free in either case. */
int sc_py_answer_ready(struct sc_py_channel *c, struct sc_buf *meta, struct sc_py_answer *a, PyObject *item,
                       Py_ssize_t first);
/* The same of (id, status, message): an error. */
int sc_py_answer_error(struct sc_buf *meta, struct sc_py_answer *a, PyObject *item);
/* Sends it as a part or as the last answer; what there is no memory for becomes an error. */
int sc_py_answer_send(struct sc_port *p, const struct sc_work *w, const struct sc_buf *meta,
                      const struct sc_py_answer *a, bool part);
/* Answers the batch with items, a sequence of (body, status, phrase, type, headers). 0, or -1 with an
 * exception. */
int sc_py_reply(struct sc_py_channel *c, PyObject *items);
int sc_py_reply_all(struct sc_py_channel *c, uint32_t status, struct sc_span message);
/* One request's error, sent at once. */
void sc_py_fail(struct sc_py_channel *c, const struct sc_work *w, uint32_t status, struct sc_span message);

/* ahead.c */
int sc_py_ahead_init(struct sc_py_channel *c);
void sc_py_ahead_free(struct sc_py_channel *c);
/* True if a thread should be started that calls sc_py_ahead_run. */
bool sc_py_ahead_wanted(const struct sc_py_channel *c);
/* The thread's life; with the interpreter's lock at start and end. */
void sc_py_ahead_run(struct sc_py_channel *c);
void sc_py_ahead_begin(struct sc_py_channel *c); /* the handler computes from now on */
void sc_py_ahead_end(struct sc_py_channel *c); /* it has come back; gives up the interpreter's lock to wait */
void sc_py_ahead_close(struct sc_py_channel *c);

#endif
