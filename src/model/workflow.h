/*
 * Workflows: several models and functions that answer one request together (docs/internals/workflows.md).
 *
 * A workflow is an archive with a specification (workflow_spec.h) and a handler. Each node of its graph is
 * registered as a model WORKFLOW__NODE; a run gives the request to the first one, its output to those behind
 * it, and answers with what the last ones say.
 */
#ifndef SC_MODEL_WORKFLOW_H
#define SC_MODEL_WORKFLOW_H

#include <stdatomic.h>

#include "model/engine.h"
#include "model/workflow_spec.h"

struct sc_workflow;

/* A node of a registered workflow: its model. Loop 0. */
struct sc_workflow_member {
    struct sc_workflow *workflow;
    bool registered; /* and not unregistered again */
    char version[64];
};

enum sc_workflow_state { SC_WORKFLOW_COMING, SC_WORKFLOW_READY, SC_WORKFLOW_LEAVING };

struct sc_workflow {
    /* As registered: these do not change. */
    char *name, *url;
    struct sc_workflow_spec spec;
    char *text;    /* of the specification */
    char *dir;     /* absolute: where the handler lies */
    char *handler; /* the file's name in it */
    char *remove;  /* as sc_model_spec's */
    char *downloaded;
    int response_timeout, startup_timeout; /* s, or SC_SPEC_UNSET */
    bool s3_sse_kms;
    atomic_uint refs; /* [atomic] the registry's, each catalog's, each run's */
    /* Loop 0. */
    struct sc_engine *engine;
    enum sc_workflow_state state;
    unsigned pending; /* members that have not yet said how it went */
    struct sc_workflow_member members[SC_WORKFLOW_NODES_MAX];
    struct sc_buf failures; /* of members, as TorchServe lists them */
    bool late;              /* a worker did not end in time */
    int64_t deadline_ns;    /* leaving: runs are not waited for any longer; 0: they have ended */
    void (*done)(void *arg, const char *name, const struct sc_archive_error *err);
    void *arg;
};

/* ---- control plane: loop 0 ---------------------------------------------------------------------------- */

/* What a registration says. Strings are borrowed; NULL or SC_SPEC_UNSET: nothing. */
struct sc_workflow_want {
    const char *url, *name;
    int response_timeout, startup_timeout; /* s */
    bool s3_sse_kms;
};

/* How it ended: name is the workflow's; err is NULL, or what the client is told. Loop 0. */
typedef void (*sc_workflow_done)(void *arg, const char *name, const struct sc_archive_error *err);

/* Fetches the archive and registers its nodes, all at once; done is called, later, when all their workers
 * run. A failure leaves nothing behind: it is told when what had been registered is gone again. */
void sc_workflow_register(struct sc_engine *e, const struct sc_workflow_want *want, sc_workflow_done done,
                          void *arg);
/* Takes it away when the requests that run on it are answered, its models with it. SC_ENOTFOUND: there is
 * none. done: as above; 408 if a worker did not end in time. */
int sc_workflow_unregister(struct sc_engine *e, struct sc_span name, sc_workflow_done done, void *arg);
/* Calls fn for all that are registered, sorted by name. */
void sc_workflows_each(struct sc_engine *e, void (*fn)(void *arg, const struct sc_workflow *w), void *arg);

/* record.c, registry.c: into a record and back (SC_EINVAL: it is none; SC_EEXIST, SC_ELIMIT: it cannot be
 * kept), the one that a node's model belongs to, what is due. */
void sc_workflow_write(const struct sc_workflow *w, struct sc_buf *out);
int sc_workflow_restore(struct sc_engine *e, struct sc_span record) SC_MUST_USE;
struct sc_workflow *sc_workflow_named(const struct sc_engine *e, struct sc_span name);
void sc_workflows_tick(struct sc_engine *e, int64_t now);
/* The engine ends. */
void sc_workflows_free(struct sc_engine *e);

/* ---- data plane: on the loop of the request ----------------------------------------------------------- */

/* Finds one, which stays as it is until sc_workflow_put. SC_ENOTFOUND. */
int sc_workflow_find(struct sc_engine *e, struct sc_loop *l, struct sc_span name,
                     struct sc_workflow **out) SC_MUST_USE;
void sc_workflow_put(struct sc_workflow *w);

struct sc_flow; /* a run: a request on its way through a workflow */

/* Of a node's input: what the predecessor of that name has answered, in the bytes of the body. */
struct sc_flow_part {
    struct sc_span name;
    size_t off, n;
};

struct sc_flow_leaf {
    struct sc_span name, body;
};
struct sc_flow_answer {
    int status;                        /* HTTP status; 0: the client is gone */
    const char *type;                  /* of an error; NULL: the leaves have answered */
    const char *message;               /* of an error */
    const struct sc_flow_leaf *leaves; /* in the order in which they did; valid during the call */
    unsigned n;
};

struct sc_flow_ops {
    /* Writes the metadata of a request to a node's model. The body, of `length` bytes, is what its only
     * predecessor has answered (nparts 0), with that media type (a NULL pointer: none), or consists of the
     * parts. */
    void (*meta)(void *arg, const struct sc_model_spec *spec, struct sc_span type, size_t length,
                 const struct sc_flow_part *parts, unsigned nparts, struct sc_buf *out);
    /* Once; the run is over then. */
    void (*done)(void *arg, const struct sc_flow_answer *a);
};

/* The shard of the start node's model: the request's job is begun there. SC_ENOTFOUND: somebody took it away.
 */
int sc_flow_start_shard(struct sc_engine *e, struct sc_loop *l, const struct sc_workflow *w,
                        struct sc_shard **out) SC_MUST_USE;
/*
 * Runs the workflow; the job with its body is the start node's first try, and belongs to the run. done is
 * called later, or before this returns: *out is set before. The run keeps the workflow by itself.
 */
void sc_flow_run(struct sc_workflow *w, struct sc_job *first, struct sc_body *body,
                 const struct sc_flow_ops *ops, void *arg, struct sc_flow **out);
/* The client is gone: done is called with status 0, now. */
void sc_flow_cancel(struct sc_flow *f);

#endif
