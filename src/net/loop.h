/*
 * Event loops: one libuv loop and one thread each, and mailboxes between them.
 *
 * Nothing is shared between loops but what is posted: a task runs once on the loop it was posted
 * to. Loop 0 is the control loop (models, workers, management); it runs on the thread that
 * calls sc_loops_run.
 */
#ifndef SC_NET_LOOP_H
#define SC_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/array.h"
#include "base/error.h"

/* Embedded in the poster's own structure; the poster keeps it alive until run is called. */
struct sc_task {
    struct sc_task *next;
    void (*run)(struct sc_task *t);
};

/* Called on a loop's thread before it blocks (before_block) and each time it returned (after_block). */
struct sc_loop_hook {
    struct sc_loop_hook *next;
    void (*before_block)(
        struct sc_loop_hook *h); /* may be NULL. Completions are polled and wake-ups flushed here */
    void (*after_block)(struct sc_loop_hook *h); /* may be NULL */
};

struct sc_loop {
    uv_loop_t uv;
    unsigned index;
    int64_t now_ns; /* sc_clock_ns at the start of this iteration */
    struct sc_loops *all;
    void *user; /* the frontend's per-loop state */
    struct sc_loop_private *private_part;
};

struct sc_loops;

/* Makes n loops (1..SC_LOOPS_MAX), not yet running. */
int sc_loops_new(struct sc_loops **out, unsigned n, struct sc_msg *msg) SC_MUST_USE;
/* Runs all of them until sc_loops_stop; loop 0 on this thread. Returns when every loop has ended. */
void sc_loops_run(struct sc_loops *l);
/* Any thread. Loops end once their handles are closed by their owners. */
void sc_loops_stop(struct sc_loops *l);
void sc_loops_del(struct sc_loops *l);
unsigned sc_loops_count(const struct sc_loops *l);
struct sc_loop *sc_loops_at(struct sc_loops *l, unsigned index);

/* Runs t->run on that loop soon. Any thread, any loop; no allocation, no lock held while running. Order
 * between one poster and one loop is kept. */
void sc_loop_post(struct sc_loop *l, struct sc_task *t);
/* Only on the loop's own thread, or before it runs. */
void sc_loop_add_hook(struct sc_loop *l, struct sc_loop_hook *h);
void sc_loop_remove_hook(struct sc_loop *l, struct sc_loop_hook *h);
/* Makes the coming wait return at once (a hook found more to do). */
void sc_loop_poke(struct sc_loop *l);

#endif
