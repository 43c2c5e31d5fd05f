/*
 * A server that is started for a measurement, as benchmark-ab.py starts TorchServe: the same command line, a
 * model registered as "benchmark", its standard output kept, for the metrics that stand in it.
 *
 * It runs in a folder of its own in tmp_dir, which is removed with it; it never outlives this process, even a
 * killed one (of another torchserve command than ours that is the launcher; what this leaves is ended with
 * its process group at a regular end).
 */
#ifndef SC_CLI_BENCH_SERVER_H
#define SC_CLI_BENCH_SERVER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "cli/bench_options.h"

struct sc_bench_server {
    pid_t pid; /* 0: none */
    char folder[256], log[300];
    char inference[200], management[200]; /* addresses */
    bool workflow, registered, died;
};

/* Starts it, with `settings` (lines; NULL: none) behind those of its configuration. SC_ESYS, SC_EINVAL,
 * SC_ETIMEOUT, SC_ECLOSED (it ended) with a *msg that has its last words, SC_ECANCELED when *stop.
 * sc_bench_server_stop is called in every case. */
int sc_bench_server_start(struct sc_bench_server *s, const struct sc_bench_options *o, const char *settings,
                          const atomic_bool *stop, struct sc_msg *msg) SC_MUST_USE;
/* Registers the model; asked: with batch size and workers of the options, else with what its files say. The
 * errors are those of starting it, SC_EINVAL if the server does not take it. */
int sc_bench_server_register(struct sc_bench_server *s, const struct sc_bench_options *o, bool asked,
                             struct sc_msg *msg) SC_MUST_USE;
/* Unregisters it, if it is registered. */
void sc_bench_server_unregister(struct sc_bench_server *s);
/* False, and s->died, once the process has ended by itself. */
bool sc_bench_server_alive(struct sc_bench_server *s);
/* Bytes of output so far. */
int64_t sc_bench_server_said(const struct sc_bench_server *s);
/* Unregisters the model, ends the server and what it started. Its folder stays. */
void sc_bench_server_stop(struct sc_bench_server *s);
/* Copies the output to `path` and removes the folder. */
void sc_bench_server_forget(struct sc_bench_server *s, const char *path);
/* The last lines of its output, for messages. */
void sc_bench_server_tail(const struct sc_bench_server *s, char *to, size_t size);

#endif
