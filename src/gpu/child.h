/*
 * A program that is run for its answer and given up when it takes too long: nothing that can hang is called
 * in a process that others wait for. Blocks; one thread.
 */
#ifndef SC_GPU_CHILD_H
#define SC_GPU_CHILD_H

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

struct sc_child_run {
    const char *exe;      /* a path */
    char *const *argv;    /* NULL-terminated */
    char *const *env;     /* NULL: ours */
    struct sc_span input; /* its standard input (short: it must fit a pipe); NULL pointer: ours */
    int timeout_ms;
    int stop_fd; /* readable: it is given up at once; -1: none */
    int status;  /* out: of waitpid */
};

/*
 * Writes what the program prints on standard output (and, with an input, on standard error) into out, ended
 * by a NUL; what exceeds the room is dropped. SC_ESYS: it cannot be run; SC_ETIMEOUT, SC_ECLOSED (stop_fd):
 * it was killed.
 */
int sc_child_run(struct sc_child_run *c, char *out, size_t size) SC_MUST_USE;

#endif
