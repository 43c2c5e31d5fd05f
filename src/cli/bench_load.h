/* What `sconce bench` and `sconce tune` do alike: the load of their options, the folder of their report. */
#ifndef SC_CLI_BENCH_LOAD_H
#define SC_CLI_BENCH_LOAD_H

#include <stdatomic.h>

#include "cli/bench_options.h"
#include "load/load.h"
#include "load/payload.h"

/* Fills what the options say of a load: bodies (in *p, to be freed in every case), headers (the options'
 * memory), the check of answers, connections, duration. SC_EINVAL and what reading files gives, with *msg. */
int sc_bench_load(struct sc_load_config *c, struct sc_payload *p, struct sc_bench_options *o,
                  struct sc_msg *msg) SC_MUST_USE;
/* Threads, connections and streams that make o->concurrency. */
int sc_bench_places(struct sc_load_config *c, const struct sc_bench_options *o,
                    struct sc_msg *msg) SC_MUST_USE;

/* Makes the folder, and those it lies in, and finds out that it can be written. SC_EINVAL, SC_ESYS. */
int sc_bench_folder(const char *path, struct sc_msg *msg) SC_MUST_USE;
/* Writes folder/name: it is whole or not there. SC_ESYS. */
int sc_bench_write(const char *folder, const char *name, const struct sc_buf *text,
                   struct sc_msg *msg) SC_MUST_USE;
/* True once somebody wants it to end. */
extern atomic_bool sc_bench_stop;
/* The first SIGINT or SIGTERM sets that and calls `also` (NULL: nothing; it must be allowed in a handler),
 * the second one kills. A connection that is gone is an error and no signal. */
void sc_bench_catch_signals(void (*also)(void));
/* The command as it was typed; cut to size. */
void sc_bench_command(char *to, size_t size, int argc, char **argv);

#endif
