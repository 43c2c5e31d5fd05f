/* What `sconce status` knows of a server, and how it shows it. */
#ifndef SC_CLI_STATUS_H
#define SC_CLI_STATUS_H

#include <jansson.h>

#include "base/buf.h"
#include "cli/live.h"

struct sc_status {
    struct sc_live server; /* pid 0: only its address is known */
    char *inference, *management;
    char *token;    /* for the management API; NULL: none */
    json_t *models; /* what describe says of each version, with a member `default` */
};

/*
 * Which server, and how its management API is reached: the one that runs here, that with this pid (0: any),
 * or the one at `address` (NULL: none). key_file: where its key is (NULL: as `sconce status --help` says). 0,
 * or an exit code (find_server.h) with *msg; *s is to be forgotten in every case.
 */
int sc_status_find(struct sc_status *s, int pid, const char *address, const char *key_file,
                   struct sc_msg *msg) SC_MUST_USE;
void sc_status_forget(struct sc_status *s);

/* Asks for all models and versions. 0 or an error with *msg; s->models is new after success. */
int sc_status_fetch(struct sc_status *s, struct sc_msg *msg) SC_MUST_USE;

/* True if every version has the ready workers that it should have. */
bool sc_status_well(const struct sc_status *s);
/* A page of text, and the same as one JSON object. */
void sc_status_text(const struct sc_status *s, bool colour, struct sc_buf *out);
void sc_status_json(const struct sc_status *s, struct sc_buf *out);

#endif
