/*
 * Coarse time-outs for many objects at almost no cost: one list per kind of time-out, all with the
 * same duration, so that the list is in order of expiry by itself; one libuv timer for all lists,
 * running only while something is in them. Setting, moving and clearing are a few pointers.
 *
 * One loop's thread. Precision: a few milliseconds late, never early by more than libuv's clock.
 */
#ifndef SC_NET_DEADLINES_H
#define SC_NET_DEADLINES_H

#include <stdint.h>

#include <uv.h>

#define SC_DEADLINE_KINDS 8

struct sc_deadline {
    struct sc_deadline *prev, *next;
    uint64_t due;  /* ms, loop time */
    uint8_t kind1; /* kind + 1; 0: not set */
};

struct sc_deadlines {
    uv_timer_t timer;
    uint64_t armed; /* when the timer fires; 0: not running */
    struct {
        struct sc_deadline *first, *last;
        uint32_t ms; /* 0: deadlines of this kind are never set */
    } kind[SC_DEADLINE_KINDS];
    void (*expired)(struct sc_deadline *d, unsigned kind); /* d is cleared before; may set it again */
};

/* ms[SC_DEADLINE_KINDS]: durations. */
void sc_deadlines_init(struct sc_deadlines *s, uv_loop_t *loop, const uint32_t *ms,
                       void (*expired)(struct sc_deadline *d, unsigned kind));
/* Stops the timer; closed is libuv's close callback for s->timer. */
void sc_deadlines_close(struct sc_deadlines *s, uv_close_cb closed);

/* Sets d (cleared or of any kind) anew: now + the kind's duration. */
void sc_deadline_set(struct sc_deadlines *s, struct sc_deadline *d, unsigned kind);
void sc_deadline_clear(struct sc_deadlines *s, struct sc_deadline *d);

#endif
