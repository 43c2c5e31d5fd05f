/*
 * The supervisor: parent of everything, owner of what must outlive a crash (docs/design.md §2).
 *
 * Single-threaded, holds no request data, makes no call that can block. It spawns the
 * frontend, gives it listeners and journal, spawns and reaps workers on the frontend's
 * orders, restarts what dies with back-off, forwards signals, and takes everything with it
 * when it ends.
 *
 * A frontend that ends (unless it was drained, or with SC_EXIT_FATAL) is started again: at once, then
 * after 100 ms, 200, 400 and so on up to SC_FRONTEND_DELAY_MAX_MS; SC_FRONTEND_SETTLED_MS after SC_CTL_READY
 * its failures are forgotten. Workers live on meanwhile. A worker that closes its control connection has the
 * grace to exit, then it is killed.
 *
 * Signals: TERM or the first INT drains (SC_CTL_DRAIN, then at most drain_ms), a second INT
 * or TERM ends at once, HUP reopens logs, CHLD reaps (strangers too, as PID 1).
 */
#ifndef SC_WORKER_SUPERVISOR_H
#define SC_WORKER_SUPERVISOR_H

#include <stdint.h>

struct sc_supervisor_spec {
    const char *exe;            /* program to run as frontend, e.g. /proc/self/exe */
    char *const *frontend_argv; /* NULL-terminated; argv[0] is the process title "sconce: frontend" */
    const int *listeners;       /* bound and listening; passed with WELCOME in this order */
    unsigned nlisteners;
    int settings_fd; /* sealed file the frontend reads as descriptor SC_FD_SETTINGS; -1: none */
    int64_t drain_ms;
    void (*reopen_logs)(void);                /* HUP, in the supervisor's own process; may be NULL */
    void (*log)(int level, const char *line); /* where the supervisor's own lines go (enum sc_log_level); must
                                                 not block; NULL: nowhere */

    /* Limits; 0 means the value of limits.h. */
    int64_t connect_back_ms; /* SC_CONNECT_BACK_MS */
    int64_t stop_grace_ms;   /* SC_STOP_GRACE_MS */
    int64_t hello_ms;        /* SC_CTL_HELLO_MS */
    uint32_t queue_bytes;    /* SC_CTL_QUEUE_BYTES */
};

/*
 * Descriptors at fixed numbers in a fresh frontend; others than these and the standard ones (input is
 * /dev/null) are closed. It runs in its own process group, so a terminal's Ctrl-C reaches the supervisor
 * alone, with no signal blocked and every disposition the default.
 */
#define SC_FD_CONTROL 3
#define SC_FD_SETTINGS 4

/* Exit codes. A frontend or worker that ends with SC_EXIT_FATAL is not started again: its set-up cannot work.
 */
#define SC_EXIT_FATAL 2

/*
 * Runs until everything has ended; returns the exit code of the program: 0 after an orderly stop, 1 when the
 * drain had to be cut off or the supervisor itself cannot run, SC_EXIT_FATAL from the frontend, 128 + the
 * number of a second signal (the same within 250 ms is still the first). INT and TERM are ignored from then
 * on: the program is ending.
 *
 * Called once, on the thread that lives longest (children die with the thread that made them). Other threads
 * of the process must have all signals blocked. Standard descriptors are open. The process becomes a child
 * subreaper; children that are not the supervisor's are reaped, and killed at the end.
 */
int sc_supervisor_run(const struct sc_supervisor_spec *spec);

#endif
