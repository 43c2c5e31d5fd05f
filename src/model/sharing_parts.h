/* What sharing.c (which worker goes which way) and keepers.c (the daemons, and who is their client) share. */
#ifndef SC_MODEL_SHARING_PARTS_H
#define SC_MODEL_SHARING_PARTS_H

#include "gpu/mps_find.h"
#include "gpu/mps_keeper.h"
#include "gpu/mps_rule.h"
#include "gpu/tune_record.h"
#include "model/engine_private.h"

struct sc_report_lines;
struct sc_output;

#define SC_KEEPER_EXTERNAL                                                           \
    SC_GPUS_MAX /* the keeper of others' daemon, one for all GPUs; else: of that GPU \
                 */

struct sc_keeper {
    struct sc_engine *engine;
    unsigned key;
    uint32_t slot;
    uint64_t life;
    bool ready, failed, stopping;
    char failure[256];
    char pipe[256], uuid[96];
    bool narrow; /* others' daemon: it was given some GPUs, which it numbers anew */
    struct sc_report_lines *reports;
    struct sc_output *errors;
    bool known;
    struct sc_mps_report seen; /* the latest report */
    unsigned faults, starts;   /* of the reports, that were taken notice of */
    int server;                /* of the latest report */
    bool said_gone;
    unsigned lost;    /* workers, at the latest loss of all */
    int64_t fault_ns; /* when workers were lost that are not back yet; 0: none are */
};

/* Of the GPU of its daemon; NULL: another's daemon, or the agent has not yet told (a keeper of an earlier
 * frontend). */
const char *sc_keeper_uuid(struct sc_keeper *k);

struct sc_sharing {
    struct sc_keeper *keepers[SC_GPUS_MAX + 1];
    uint8_t way[SC_GPUS_MAX];     /* enum sc_mps_way, by the driver's index */
    bool broken[SC_GPUS_MAX + 1]; /* that keeper could not be had, for the workers that are there */
    bool dirty;                   /* workers are held */
    bool again[SC_GPUS_MAX];      /* workers of a model that was unregistered have left that GPU */
    int64_t began_ns;
    struct sc_tune_record measured; /* of the file as it was then: */
    int64_t measured_at[3];         /* its time (s, ns) and size; 0: not read */
};

/* The driver's index of a worker's GPU; it has one. */
unsigned sc_sharing_physical(const struct sc_worker *w);
/* NULL: the worker is no client. */
struct sc_keeper *sc_keeper_of(const struct sc_worker *w);
/* The one that runs, or a new one. NULL: no slot is free. */
struct sc_keeper *sc_keeper_start(struct sc_engine *e, unsigned key);
/* What was measured, read anew if the file has changed. */
const struct sc_tune_record *sc_sharing_measured(struct sc_engine *e);
/* Stops those without workers; looks whether clients are clients. */
void sc_keepers_tick(struct sc_engine *e, int64_t now);

#endif
