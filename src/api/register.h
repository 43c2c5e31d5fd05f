/* Registration of models, and what a call must remember while workers start (docs/contract.md §6). Loop 0. */
#ifndef SC_API_REGISTER_H
#define SC_API_REGISTER_H

#include "api/app.h"

struct sc_pending {
    struct sc_call *c;
    char name[SC_MODEL_NAME_MAX + 1];
    char version[64];
    bool version_given, scaling;
    int workers;
};
/* For sc_engine_register and sc_engine_scale: answers the call and frees the pending (arg). */
void sc_pending_done(void *arg, int rc, const char *text);

/* POST /models; answers the call, now or later. */
void sc_model_register(struct sc_call *c);

#endif
