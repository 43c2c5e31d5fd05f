/*
 * Restart delays of a worker that keeps failing.
 *
 * Pure arithmetic: the caller owns the clock and the timers, so every rule can be
 * tested without waiting. Not thread-safe; one object belongs to one worker slot.
 *
 * The delays are TorchServe's (docs/contract.md §9): operators
 * have alarms tuned to them. One rule is added: a worker that had been loaded for
 * SC_BACKOFF_SETTLED_MS when it died is started again at once, since one death after good service
 * says nothing about the next start; what fails after that follows the table from its beginning.
 */
#ifndef SC_WORKER_BACKOFF_H
#define SC_WORKER_BACKOFF_H

#include <stdint.h>

#include "base/array.h"

struct sc_backoff {
    int64_t window_ms;    /* give up when an outage has lasted this long */
    int64_t outage_start; /* ms, monotonic; -1 while the worker is healthy */
    int64_t loaded_at;    /* ms, when the present life was loaded; -1 if it was not */
    unsigned step;        /* index of the next delay */
};

/* Starts healthy. window_ms < 0 means: never give up. */
void sc_backoff_init(struct sc_backoff *b, int64_t window_ms);

/*
 * Notes a failure at now_ms (monotonic, not earlier than any time passed before).
 *
 * Returns the delay in milliseconds after which to start the worker again, or
 * SC_EGIVEUP when the outage has outlived the window: the slot stays stopped until
 * an operator scales the model.
 */
int64_t sc_backoff_failed(struct sc_backoff *b, int64_t now_ms) SC_MUST_USE;

/* The worker's model is loaded: ends the outage, the next failure starts again with the first delay. */
void sc_backoff_loaded(struct sc_backoff *b, int64_t now_ms);

#endif
