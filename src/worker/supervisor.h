/*
 * The supervisor: parent of everything, owner of what must outlive a crash (docs/design.md §2).
 *
 * Single-threaded, holds no request data, makes no call that can block. It spawns the
 * frontend, gives it listeners and journal, spawns and reaps workers on the frontend's
 * orders, restarts what dies with back-off, forwards signals, and takes everything with it
 * when it ends.
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
    void (*log)(int level, const char *line); /* where the supervisor's own lines go; must not block */
};

/* Descriptors at fixed numbers in a fresh frontend. */
#define SC_FD_CONTROL 3
#define SC_FD_SETTINGS 4

/* Exit codes. A frontend or worker that ends with SC_EXIT_FATAL is not started again: its set-up cannot work.
 */
#define SC_EXIT_FATAL 2

/* Runs until everything has ended; returns the exit code of the program (0 after an orderly stop). */
int sc_supervisor_run(const struct sc_supervisor_spec *spec);

#endif
