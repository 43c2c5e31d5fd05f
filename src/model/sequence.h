/*
 * The open sequences of one model version: requests that belong together, run one after the other on one
 * worker (docs/internals/models.md, "Sequences").
 *
 * A table shared by all loops, behind one mutex that is held for a few list operations; it knows neither jobs
 * nor workers, only a *turn* (in a job) and a *home* (in what stands for a worker's life). Time is an
 * argument.
 *
 * A turn is WAITING until it is its sequence's time, then GIVEN to the loop that its job belongs to, which
 * takes it (HELD) and has it computed on the sequence's home; or REFUSED, which the loop is told the same
 * way. The loop that owns a turn is the only one to call anything with it.
 */
#ifndef SC_MODEL_SEQUENCE_H
#define SC_MODEL_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/dlist.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

struct sc_sequences;
struct sc_sequence;

enum sc_turn_state { SC_TURN_NONE, SC_TURN_WAITING, SC_TURN_GIVEN, SC_TURN_HELD, SC_TURN_REFUSED };

/* Zeroed by its owner; everything but `loop` is the table's. */
struct sc_turn {
    struct sc_node node;
    struct sc_sequence *sequence;
    enum sc_turn_state state;
    unsigned loop; /* of its job */
    bool streams;
};

/* Zeroed by its owner, who keeps it until it is gone and every turn that was HELD for it is given back or
 * left. */
struct sc_sequence_home {
    struct sc_node node;
    struct sc_node sequences;
    unsigned open; /* under the mutex */
    bool up, gone;
};

struct sc_sequences_spec {
    unsigned sequences;           /* that may be open; 1..SC_SEQUENCES_MAX */
    unsigned queue;               /* turns that may wait in one; 1..SC_SEQUENCE_QUEUE_MAX */
    unsigned ahead;               /* 1, or 2: a second turn is given while the first streams */
    int64_t idle_ns, lifetime_ns; /* lifetime 0: none */
    uint64_t seed;                /* of the hash: random, so that clients cannot choose collisions */
    /* A turn was given or refused to that loop. Any thread, without the mutex; not for the loop that called.
     */
    void (*wake)(void *ctx, unsigned loop);
    void *ctx;
};

struct sc_sequences *sc_sequences_new(const struct sc_sequences_spec *spec);
/* When no loop uses it any more. Turns and homes are forgotten. */
void sc_sequences_del(struct sc_sequences *t);
/* Sequences that are open, and those that are remembered as lost. */
void sc_sequences_count(struct sc_sequences *t, unsigned *open, unsigned *lost);

/* ---- turns: on their loop ---------------------------------------------------------------------------- */

/*
 * A turn of the sequence of that id; opens it if there is none. `fresh`: the client says that it begins. 0;
 * SC_ELIMIT: too many sequences, too many turns wait, or its time is over; SC_ECLOSED: its state went with
 * its worker, and it is closed now (a fresh turn opens it anew instead). Then the turn is not in the table.
 */
int sc_sequences_add(struct sc_sequences *t, struct sc_span id, bool fresh, struct sc_turn *turn,
                     int64_t now) SC_MUST_USE;
/* True if sc_sequences_take has something for that loop. No lock. */
bool sc_sequences_due(const struct sc_sequences *t, unsigned loop);
/* The next turn given to that loop (HELD; *home is where it is to be computed) or refused (*home is NULL, and
 * the turn is in the table no more); NULL: none. */
struct sc_turn *sc_sequences_take(struct sc_sequences *t, unsigned loop, struct sc_sequence_home **home);
/* The turn is over, in whatever state it was. computed: its worker had it, so the sequence has a state. */
void sc_sequences_leave(struct sc_sequences *t, struct sc_turn *turn, bool computed, int64_t now);
/* The held turn's first part was answered: it cannot be run again, and with `ahead` the next one may come. */
void sc_sequences_streams(struct sc_sequences *t, struct sc_turn *turn, int64_t now);
/*
 * The held turn cannot be computed on its home, which is gone. True: it was the first one: it waits again,
 * for another home (or stays held without one if `keep`, until sc_sequences_again). False: the sequence is
 * closed and the turn is out of the table; the client is to be told.
 */
bool sc_sequences_back(struct sc_sequences *t, struct sc_turn *turn, bool keep, int64_t now);
/* A turn that was kept waits for a home now. */
void sc_sequences_again(struct sc_sequences *t, struct sc_turn *turn, int64_t now);
/* Closes the sequences that a list names, joined by ';'. On that loop. */
void sc_sequences_end(struct sc_sequences *t, struct sc_span ids, unsigned loop, int64_t now);

/* ---- homes, time: any thread ------------------------------------------------------------------------- */

/* From now on it gets sequences, the home with the fewest first. Nothing if it is gone already. */
void sc_sequences_up(struct sc_sequences *t, struct sc_sequence_home *h, int64_t now);
/* It gets no new sequence. Returns how many it has. */
unsigned sc_sequences_drain(struct sc_sequences *t, struct sc_sequence_home *h);
/* Its sequences that have a state are lost: the next turn of each is refused. Turns that are held for it go
 * on until their loops say what became of them. */
void sc_sequences_gone(struct sc_sequences *t, struct sc_sequence_home *h, int64_t now);
/* Closes what was idle or open for too long. */
void sc_sequences_tick(struct sc_sequences *t, int64_t now);

#endif
