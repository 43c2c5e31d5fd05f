/*
 * Places for models: folders <temp>/models/<32 hex>, each with its owner's mark beside it.
 *
 * A place is filled under another name and gets its own at the end (sc_place_commit), so what has this name
 * is whole. `.<32 hex>.owner` names the lock of the process that keeps the place (archive.h,
 * sc_archive_claim); it is there before the place and goes after it. Blocks; any thread.
 */
#ifndef SC_ARCHIVE_PLACE_H
#define SC_ARCHIVE_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/array.h"
#include "base/error.h"

#define SC_PLACE_ID 32

struct sc_place {
    int models; /* <temp>/models */
    int dir;    /* the place */
    char *path; /* absolute, the name that it will have */
    char id[SC_PLACE_ID + 1];
};

/* 32 random hexadecimal digits. */
void sc_place_random(char id[SC_PLACE_ID + 1]);

/* A new empty place that `owner` keeps (0: this process, which claims temp if it has not yet). SC_ESYS with
 * *msg; *p is then closed. */
int sc_place_open(struct sc_place *p, const char *temp, pid_t owner, struct sc_msg *msg) SC_MUST_USE;
int sc_place_commit(struct sc_place *p, struct sc_msg *msg) SC_MUST_USE;
/* Closes the descriptors; a place that is not to be kept is removed. p->path stays with the caller. */
void sc_place_close(struct sc_place *p, bool keep);

#endif
