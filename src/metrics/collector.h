/*
 * system_metrics_cmd: somebody's own program in place of our look at the host (docs/contract.md §7).
 *
 * It is run at once and then every interval, as <python> <words of the command> in TorchServe's home. It gets
 * the workers' process ids in one line, joined by commas, and prints metric lines, an empty line, and lines
 * pid:bytes with the memory of those workers. What it prints on standard error is logged as errors. One that
 * is not done after SC_METRICS_COLLECTOR_MS is killed with all its children; one that still runs when its
 * time comes again is left to it.
 */
#ifndef SC_METRICS_COLLECTOR_H
#define SC_METRICS_COLLECTOR_H

#include "base/buf.h"
#include "metrics/registry.h"
#include "net/loop.h"

struct sc_collector;

/* Strings are copied. */
struct sc_collector_config {
    const char *python;  /* interpreter */
    const char *command; /* system_metrics_cmd */
    const char *home;    /* its working folder; NULL: ours */
    unsigned interval_s;
    struct sc_metrics *metrics;
    /* Appends the workers' process ids, joined by commas. May be NULL, as the next. */
    void (*pids)(void *ctx, struct sc_buf *out);
    void (*memory)(void *ctx, int pid, int64_t bytes);
    void *ctx;
};

/* Never NULL. Loop 0, as everything here. */
struct sc_collector *sc_collector_start(struct sc_loop *l, const struct sc_collector_config *c);
/* Kills what runs; nothing is called any more. Frees itself when the loop has turned. */
void sc_collector_stop(struct sc_collector *c);

/* Takes the output of such a program apart (the collector's own step, apart for tests). */
void sc_collector_read(struct sc_span output, struct sc_metrics *m,
                       void (*memory)(void *ctx, int pid, int64_t bytes), void *ctx);

#endif
