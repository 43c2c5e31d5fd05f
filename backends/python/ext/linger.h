/*
 * Whether an eager worker, whose requests do not fill a batch, waits a moment for company.
 *
 * Clients that were just answered ask again, most of them at once. A worker that takes what it finds the
 * moment it is free finds only those that came while it computed: its clients fall into two halves that never
 * meet, and every batch pays the handler's fixed cost (launches, calls, Python) for half the requests. So it
 * may wait for as many as it has just answered: at most an eighth of what a batch takes, half of the fixed
 * cost, and the model's maxBatchDelay, from the moment when it became free. Nothing is waited for when it was
 * idle, when all are there, or when waiting has not paid lately.
 *
 * What pays is measured. The fixed cost is the intercept of a straight line, time over requests of a batch,
 * by least squares with exponential forgetting; while all batches are alike it is taken for half the time
 * (the line is drawn towards that slope, as in ridge regression). A wait is worth the part of the fixed cost
 * that the requests it won need not pay by themselves, and costs its time.
 *
 * Pure: times are arguments. One thread.
 */
#ifndef SC_PYTHON_LINGER_H
#define SC_PYTHON_LINGER_H

#include <stdbool.h>
#include <stdint.h>

struct sc_linger {
    uint32_t batch_size; /* set by the owner, with most_ns, the rest is 0 at first */
    int64_t most_ns;

    double weight, n, nn, t, nt; /* sums over past batches: requests, nanoseconds */
    double worth_ns;             /* of a wait, running average */
    int64_t off_until_ns, off_for_ns;

    /* the batch that is being formed */
    int64_t free_ns, until_ns, since_ns; /* 0: it is not decided; there was no wait */
    uint32_t answered, found, had, wanted;
    bool empty;
};

/* The last batch, of n requests, took that long. */
void sc_linger_took(struct sc_linger *l, uint32_t n, int64_t took_ns);

/* The worker is free and looks for its next batch. */
void sc_linger_begin(struct sc_linger *l, int64_t now_ns);

/* A request was taken. Those before sc_linger_empty had come while the last batch was computed. */
void sc_linger_found(struct sc_linger *l);

/* There is no request. */
void sc_linger_empty(struct sc_linger *l);

/* There are n requests, fewer than a batch, and no more: until when to wait for others; 0: not any more. */
int64_t sc_linger_until(struct sc_linger *l, uint32_t n, int64_t now_ns);

/* The batch goes to the handler with n requests. */
void sc_linger_end(struct sc_linger *l, uint32_t n, int64_t now_ns);

#endif
