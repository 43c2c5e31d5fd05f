/*
 * Whether an answer is right: its status, and its body against what config wants. Private to this room; one
 * object per thread.
 */
#ifndef SC_LOAD_VERDICT_H
#define SC_LOAD_VERDICT_H

#include "load/client.h"

struct sc_verdict {
    const struct sc_load_config *config;
    regex_t regex; /* a copy per thread: the library locks one that is shared */
};

/* SC_EINVAL: the expression is none. */
int sc_verdict_init(struct sc_verdict *v, const struct sc_load_config *c) SC_MUST_USE;
void sc_verdict_free(struct sc_verdict *v);
/* Makes s->body ready for the answer of the request that s has. */
void sc_verdict_begin(struct sc_verdict *v, struct sc_load_slot *s);
/* The answer is complete: -1 if it is right, else the sc_load_error; the first wrong one is told in *r. */
int sc_verdict(struct sc_verdict *v, struct sc_load_slot *s, struct sc_load_result *r) SC_MUST_USE;

#endif
