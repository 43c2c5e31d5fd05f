/*
 * The model side of the frontend, as the API sees it: find a model, run a request on it,
 * change what is loaded.
 *
 * Two planes. The data plane (shards, jobs) is per loop and shares nothing: a request lives on the
 * loop of its connection. The control plane (models, versions, workers) lives on loop 0 and tells the
 * other loops by posting to them.
 */
#ifndef SC_MODEL_ENGINE_H
#define SC_MODEL_ENGINE_H

#include "model/settings.h"
#include "model/spec.h"
#include "net/body.h"
#include "net/loop.h"
#include "worker/channel.h"

struct sc_engine;
struct sc_shard; /* one model version on one loop */
struct sc_version;

struct sc_engine_spec {
    struct sc_loops *loops;
    const struct sc_settings *settings;
    struct sc_metrics *metrics;
    int control;             /* socket to the supervisor; taken over */
    const char *backend_dir; /* where libsconce_<backend>.so lie */
    const char *exe;         /* program to run as executor */
    const char *home;        /* folder of the `ts` package, of Python workers */
    /* Called on loop 0, once, when the supervisor has sent WELCOME: the listeners (taken over by the callee).
     */
    void (*on_listeners)(void *ctx, const int *fds, unsigned n);
    /* Called on loop 0 when models of an earlier life are known again and new ones are being loaded: serve.
     */
    void (*on_ready)(void *ctx);
    void (*on_drain)(void *ctx); /* supervisor asks to drain */
    void (*on_hup)(void *ctx);   /* HUP came, and the logs are open again; may be NULL */
    void (*on_lost)(void *ctx);  /* supervisor is gone: end at once */
    void *ctx;
};

struct sc_engine *sc_engine_new(const struct sc_engine_spec *spec);
/* Stops the timers and closes everything; before sc_loops_stop. Loop 0. */
void sc_engine_close(struct sc_engine *e);
/* After sc_loops_del: until then loops may have posted to each other. */
void sc_engine_del(struct sc_engine *e);

/* True until sc_engine_started was called in this or an earlier frontend's life: load what the settings name.
 * Loop 0. */
bool sc_engine_fresh(const struct sc_engine *e);
void sc_engine_started(struct sc_engine *e);

/* A few bytes of somebody else's, kept for the next frontend under a name. Loop 0, from on_ready on. set
 * copies; get's span is valid until the next set of that name, its pointer NULL if there was none. */
void sc_engine_keep(struct sc_engine *e, const char *name, struct sc_span bytes);
struct sc_span sc_engine_kept(const struct sc_engine *e, const char *name);

/* ---- data plane: on the loop of the request ----------------------------------------- */

/* Finds a version (empty span with NULL pointer: the default one). SC_ENOTFOUND: no such model; SC_EINVAL: no
 * such version. */
int sc_engine_find(struct sc_engine *e, struct sc_loop *l, struct sc_span name, struct sc_span version,
                   struct sc_shard **out);
const struct sc_model_spec *sc_shard_spec(const struct sc_shard *s);
struct sc_metrics_model *sc_shard_metrics(const struct sc_shard *s);
/* The name is the model's with no more workers than zero wanted: predictions get 503. */
bool sc_shard_has_worker(const struct sc_shard *s);
/* True if a worker of it has loaded. */
bool sc_shard_ready(const struct sc_shard *s);
/* Bits of model/interfaces.h; 0: not known yet, no executor of it was ever loaded. */
unsigned sc_shard_interfaces(const struct sc_shard *s);
/* The default versions that have one of the interfaces `bits`, sorted by name: the first `max` of them in
 * out. Returns how many there are. */
unsigned sc_engine_having(struct sc_engine *e, struct sc_loop *l, unsigned bits, struct sc_shard **out,
                          unsigned max);
/* How many models the settings named at the start and are loaded still; *name is the last of them. */
unsigned sc_engine_started_with(struct sc_engine *e, struct sc_loop *l, struct sc_span *name);
/* True if the default versions of all models have the workers they want. Any thread. */
bool sc_engine_healthy(const struct sc_engine *e);

struct sc_job;

/* What comes back. The spans are valid during the call of done only, unless release is deferred with the
 * token. */
struct sc_job_answer {
    int status;          /* HTTP status */
    struct sc_span type; /* error type (body is then the message); NULL pointer: a normal answer */
    struct sc_span meta; /* response metadata */
    struct sc_span body;
    int64_t queue_ns;  /* arrival until a worker began to compute it (in its rings, too) */
    int64_t worker_ns; /* from there until its answer was here */
    unsigned
        batch; /* requests that were computed with it, itself among them, as the worker says; 0: not known */
    unsigned worker; /* its id, or the first one's of its process; 0: none has answered */
};
/* True if it is the server's own words, or the worker's, in place of an answer. */
bool sc_job_failed(const struct sc_job_answer *a);
typedef void (*sc_job_done)(struct sc_job *j, void *arg, const struct sc_job_answer *a);
/*
 * A part of an answer that goes on: the next bytes of its body; what status and meta say counts in the first
 * part alone. done follows, with the last bytes, or with an error: from the first part on a job is never run
 * again, so its stream then ends half-way. Called on the job's loop; it may cancel the job.
 */
typedef void (*sc_job_part)(struct sc_job *j, void *arg, const struct sc_job_answer *a);

/*
 * Begins a request: a block for meta and `announced` body bytes (0: unknown or none) in the shard's arena.
 * Sets up *body so that the socket fills the block. SC_ENOMEM when there is no room; SC_AGAIN when the
 * model's queue is full. The job then belongs to the engine after sc_job_submit, until done; sc_job_drop
 * gives it up before.
 */
int sc_job_begin(struct sc_shard *s, struct sc_span meta, size_t announced, struct sc_body *body,
                 struct sc_job **out) SC_MUST_USE;
void sc_job_drop(struct sc_job *j, struct sc_body *body);
/* Before sc_job_submit, of a model with sequence batching: the request belongs to the sequence of that id (1
 * to SC_SEQUENCE_ID_MAX bytes, borrowed until then); `begins` as the client says. Without it the request is
 * by itself. */
void sc_job_set_sequence(struct sc_job *j, struct sc_span id, bool begins);
/* Before sc_job_submit: it is computed in a batch, or a turn of a continuous batch, of its own. A worker of
 * coroutines sees by itself that it asks for a description. */
void sc_job_set_alone(struct sc_job *j);
/* Before sc_job_submit: high is treated as if it had come SC_PRIORITY_NS earlier, low as if that much later.
 * Turns of a sequence keep their order. */
enum sc_priority { SC_PRIORITY_HIGH, SC_PRIORITY_NORMAL, SC_PRIORITY_LOW, SC_PRIORITIES };
void sc_job_set_priority(struct sc_job *j, enum sc_priority p);
/* Before sc_job_submit: who waits gives up then (sc_clock_ns). The request is answered 408 at that time, and
 * not computed if it has not begun. */
void sc_job_set_deadline(struct sc_job *j, int64_t ns);
/* Queues it; done is called once, on this loop, possibly before submit returns; part (NULL: parts are
 * dropped) before it, as often as the worker sends one. The body's memory is the job's from now on. SC_AGAIN:
 * the model's queue is full, or a limit of sequences is reached; SC_ECLOSED: the worker that had the
 * sequence's state is gone. The job is dropped then and nothing is called. */
int sc_job_submit(struct sc_job *j, struct sc_body *body, sc_job_part part, sc_job_done done,
                  void *arg) SC_MUST_USE;
/* Replaces the job's metadata, before it is submitted. SC_ENOMEM: nothing has changed. */
int sc_job_set_meta(struct sc_job *j, struct sc_body *body, struct sc_span meta) SC_MUST_USE;
/* The client is gone: done is called with status 0, now; the job is not the caller's any more. A worker that
 * has it is told, and what it still answers is dropped. */
void sc_job_cancel(struct sc_job *j);
/* As cancel, with another answer than none. */
void sc_job_give_up(struct sc_job *j, const struct sc_job_answer *a);

/* ---- control plane: loop 0 ---------------------------------------------------------------- */

/* What became of a preparation: on success rc is 0 and *spec is the callee's, until sc_engine_release. */
typedef void (*sc_engine_prepared)(void *arg, int rc, struct sc_model_spec *spec,
                                   const struct sc_archive_error *err);
/* sc_spec_prepare on a pool thread, and what the model's requirements ask for; done is called on loop 0,
 * later. want is copied. */
void sc_engine_prepare(struct sc_engine *e, const struct sc_spec_want *want, sc_engine_prepared done,
                       void *arg);
/* Frees a spec that was prepared. `files`: they go, too, as it was not registered. */
void sc_engine_release(struct sc_engine *e, struct sc_model_spec *spec, bool files);

/* How an operation ended: 0, or a negative code with text (SC_ENOMEM: a worker had not enough memory). */
typedef void (*sc_engine_done)(void *arg, int rc, const char *text);

/*
 * Registers a version (spec is copied) and starts its workers. SC_EEXIST if there is one; SC_ESYS or
 * SC_ENOMEM: no memory for its requests; else 0. With done: called when `min_workers` run (0), or a worker
 * failed to load (SC_EINVAL with the reason; the model is then unregistered).
 */
int sc_engine_register(struct sc_engine *e, const struct sc_model_spec *spec, sc_engine_done done, void *arg);
/* SC_ENOTFOUND / SC_EINVAL as find; SC_ELIMIT: more than the lanes of an executor; SC_ESYS, SC_ENOMEM. done:
 * called with 0 when the workers run, else as register (the model stays). */
int sc_engine_scale(struct sc_engine *e, struct sc_span name, struct sc_span version, int min_workers,
                    int max_workers, sc_engine_done done, void *arg);
int sc_engine_set_default(struct sc_engine *e, struct sc_span name, struct sc_span version);
/* SC_EEXIST: it is the default version while there are others. done is called when its workers have ended (0)
 * or after unregister_model_timeout (SC_ETIMEOUT). */
int sc_engine_unregister(struct sc_engine *e, struct sc_span name, struct sc_span version,
                         sc_engine_done done, void *arg);

struct sc_worker_view {
    unsigned id;        /* 9000, 9001, ... */
    int64_t started_ms; /* wall clock */
    bool ready;
    int pid;                 /* -1 before it runs */
    int gpu;                 /* index, or -1 */
    const char *gpu_usage;   /* as describe shows it; NULL: none */
    const char *gpu_sharing; /* gpuSharing; NULL: no GPU */
    bool mps_client;         /* seen as one by its daemon */
    int64_t gpu_memory;      /* bytes that its process has there (lanes: all of them); -1: not known */
    int64_t gpu_weights;     /* of these, the weights; 0: not known */
    int64_t gpu_lane;        /* and this lane's own: buffers for activations; 0: not known */
    int64_t gpu_context; /* and what is neither weights nor of a lane: context, libraries; -1: not known */
    const char *weights; /* sharedWeights: "shared", "private"; NULL: nothing to tell */
    const char *weights_why; /* not shared, or not all of them; "" */
    int64_t weights_bytes;   /* shared */
    int64_t rss;
    const char *last_end; /* how its last life ended; "" if there is nothing to say */
};
struct sc_standby_view {
    bool there, ready; /* standby: true; it could take over now */
    int pid;           /* -1: none runs */
    int64_t gpu_memory, rss;
    const char *last_end;
};
struct sc_version_view {
    const struct sc_model_spec *spec;
    bool is_default, on_gpu;
    const struct sc_worker_view *workers;
    unsigned nworkers;
    struct sc_standby_view standby;
    bool left_group;     /* its executorGroup, for its faults */
    uint64_t pending;    /* requests waiting */
    uint64_t queue_free; /* remaining capacity, in requests */
};
/* Appends the process ids of all workers, joined by commas; notes what memory one of them has, in place of
 * looking at it. */
void sc_engine_pids(struct sc_engine *e, struct sc_buf *out);
void sc_engine_memory(struct sc_engine *e, int pid, int64_t bytes);
/* Calls fn for the versions of a model (NULL name pointer: of all models) sorted by name, then version. */
void sc_engine_each(struct sc_engine *e, struct sc_span name,
                    void (*fn)(void *arg, const struct sc_version_view *v), void *arg);

#endif
