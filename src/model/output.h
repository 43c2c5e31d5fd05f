/*
 * What a worker prints: one reader per stream, line by line, into the model log. Loop 0.
 */
#ifndef SC_MODEL_OUTPUT_H
#define SC_MODEL_OUTPUT_H

#include <stdbool.h>

#include "base/span.h"
#include "metrics/registry.h"
#include "net/loop.h"

struct sc_output;

struct sc_output_spec {
    const char *thread; /* "W-9000-m_1.0-stdout"; copied */
    bool is_stderr;
    struct sc_metrics *metrics;
    const char *model, *version; /* live as long as the output */
    void (*on_pid)(void *ctx, int pid); /* may be NULL */
    void *ctx;
};

/* fd: reading end of a pipe, non-blocking; taken over. NULL if there is no memory. */
struct sc_output *sc_output_open(struct sc_loop *l, int fd, const struct sc_output_spec *spec);
/* Closes; it is freed later. */
void sc_output_close(struct sc_output *o);
/* The last of what was printed; valid until more is read. */
struct sc_span sc_output_tail(const struct sc_output *o);
/* Reads what is there now (at a worker's death), an unfinished line too. */
void sc_output_drain(struct sc_output *o);

#endif
