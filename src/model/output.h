/*
 * What a worker prints: reads one end of its output line by line (docs/contract.md §8).
 *
 * A line of text goes to the model's log: standard output at INFO, standard error at WARN. A line that begins
 * with [METRICS] becomes a metric, and is not in the model's log. [PID] lines are told to the owner and
 * logged.
 *
 * The text is a stranger's: lines end at newline or carriage return and are cut into pieces of
 * SC_LOG_LINE_MAX; bytes that are no UTF-8 and control characters are replaced. A worker that prints faster
 * than the log writes is read more slowly, for SC_OUTPUT_PATIENCE_MS at most; then lines are dropped and
 * counted. Text without a newline is logged after SC_OUTPUT_PARTIAL_MS.
 */
#ifndef SC_MODEL_OUTPUT_H
#define SC_MODEL_OUTPUT_H

#include <stdbool.h>

#include "base/span.h"
#include "net/loop.h"

struct sc_metrics;
struct sc_output;

/* Copied by sc_output_open, but for metrics and ctx. */
struct sc_output_spec {
    const char *thread; /* name in the lines: W-9000-m_1.0-stdout */
    bool is_stderr;
    struct sc_metrics *metrics; /* NULL: metric lines are only looked at */
    const char *model, *version;
    void (*on_pid)(void *ctx, int pid); /* may be NULL */
    void *ctx;
};

/* Takes fd over, a pipe's reading end, and reads it on loop l, which must be this thread's (or not run yet).
 * NULL if it cannot be polled; fd is closed then. */
struct sc_output *sc_output_open(struct sc_loop *l, int fd, const struct sc_output_spec *spec);
/* Logs what is there already, a last line without newline too: when its worker has died. The pipe stays open
 * for its next life. */
void sc_output_drain(struct sc_output *o);
/* The latest text, up to SC_OUTPUT_TAIL_BYTES, from the beginning of a line; lines end with a newline. Valid
 * until the loop's next turn. */
struct sc_span sc_output_tail(const struct sc_output *o);
/* The tail begins anew: its worker's next life is another story. */
void sc_output_forget(struct sc_output *o);
/* Closes the pipe; what is in it is not read. Nothing is called any more. */
void sc_output_close(struct sc_output *o);

#endif
