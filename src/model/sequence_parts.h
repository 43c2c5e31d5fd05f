/* What the files of the table of sequences share. All of it under the table's mutex but `due`. */
#ifndef SC_MODEL_SEQUENCE_PARTS_H
#define SC_MODEL_SEQUENCE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "model/sequence.h"

#define AHEAD_MAX 2

struct sc_sequence {
    struct sc_sequence *chain; /* of its bucket */
    uint64_t hash;
    struct sc_node all;     /* every one there is */
    struct sc_node of_home; /* its home's, or among the homeless */
    struct sc_node idle;    /* idle ones, or lost ones, by `since` */
    struct sc_node life;    /* by birth; only if there is a lifetime */
    struct sc_node waiting;
    struct sc_turn *out[AHEAD_MAX]; /* given or held */
    struct sc_sequence_home *home;
    int64_t born, since;
    unsigned nwaiting, nout;
    bool begun;  /* a turn was computed: there is a state */
    bool lost;   /* it went with the worker: the next turn is told */
    bool told;   /* a turn was */
    bool ended;  /* its lifetime is over; what is out may finish */
    bool closed; /* off the table; freed with the last turn that is out */
    size_t id_n;
    char id[];
};

struct sc_sequences {
    struct sc_sequences_spec spec;
    pthread_mutex_t lock;
    struct sc_sequence **buckets;
    size_t nbuckets, nindexed;
    struct sc_node all, homes, homeless, idle, lives, lost;
    unsigned nopen, nlost;
    struct sc_node given[SC_LOOPS_MAX], refused[SC_LOOPS_MAX];
    uint32_t news; /* loops to be woken once the mutex is released */
    atomic_bool due[SC_LOOPS_MAX];
};

/* sequence_index.c: from an id to its sequence. */
void sc_sequence_index_init(struct sc_sequences *t);
void sc_sequence_index_free(struct sc_sequences *t);
struct sc_sequence *sc_sequence_index_find(const struct sc_sequences *t, struct sc_span id);
/* The id is not in it. */
void sc_sequence_index_add(struct sc_sequences *t, struct sc_sequence *s);
void sc_sequence_index_remove(struct sc_sequences *t, struct sc_sequence *s);

#endif
