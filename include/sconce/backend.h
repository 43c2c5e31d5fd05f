/*
 * The backend interface: what a plug-in that serves models sees of Sconce.
 *
 * A backend is a shared object `libsconce_<name>.so` that exports one function,
 * `sconce_backend`, which returns a table of functions. The executor (one per model version
 * and device, a worker process of its own) loads it, loads one model, makes lanes, and
 * hands batches of requests to lanes. With executorGroup several executors share a process:
 * each has a host, a thread that stands for "the main thread" below, and a model, and what
 * a backend keeps in static storage is all of theirs. Models are loaded one after the other,
 * while lanes of others compute.
 *
 * Handles are opaque. Functions named sconce_… are called by the backend, members of
 * struct sconce_backend_ops by the executor. Strings are UTF-8; every pointer with a
 * length may contain NULs.
 *
 * Versions: SCONCE_BACKEND_MAJOR moves when a backend has to be changed, MINOR when
 * something is added at the end of a table. A backend is refused unless its major is
 * equal and its minor not above the executor's.
 *
 * Errors: NULL means success; otherwise an error object made by sconce_error_new, which
 * whoever receives it owns and frees with sconce_error_free.
 */
#ifndef SCONCE_BACKEND_H
#define SCONCE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Both sides find each other's functions at run time, whatever their compiler hides by default. */
#pragma GCC visibility push(default)

#define SCONCE_BACKEND_MAJOR 1
#define SCONCE_BACKEND_MINOR 2

struct sconce_error;
struct sconce_host;    /* the executor, as the backend sees it */
struct sconce_request; /* one request in this executor */
struct sconce_item;    /* a part of a request that is computed in one piece */
struct sconce_slice;   /* items of one request that are computed together */
struct sconce_model;   /* defined by the backend */
struct sconce_lane;    /* defined by the backend */

/* ---- errors ------------------------------------------------------------------------ */

/* What a request's error becomes for the client (HTTP status and TorchServe's type). */
enum sconce_code {
    SCONCE_BAD_REQUEST = 400, /* the request cannot be served as it is: say what and how to mend it */
    SCONCE_TOO_LARGE = 413,
    SCONCE_INTERNAL = 500,
    SCONCE_UNAVAILABLE = 503,
    SCONCE_OUT_OF_MEMORY = 507,
};

/* Never NULL (a static "out of memory" object if there is no memory). Any thread. */
struct sconce_error *sconce_error_new(enum sconce_code code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
enum sconce_code sconce_error_code(const struct sconce_error *e);
const char *sconce_error_text(const struct sconce_error *e);
void sconce_error_free(struct sconce_error *e);

/* ---- the executor's side: host and settings ------------------------------------------ */

enum sconce_log_level { SCONCE_DEBUG, SCONCE_INFO, SCONCE_WARN, SCONCE_ERROR };

/* Writes a line to the model log. Any thread. Not for every request. */
void sconce_log(struct sconce_host *h, enum sconce_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Strings that live as long as the host. */
const char *sconce_host_model_name(const struct sconce_host *h);
const char *sconce_host_model_version(const struct sconce_host *h);
/* The model's folder, absolute; "" for a backend that is served without files. */
const char *sconce_host_model_dir(const struct sconce_host *h);
/* Folder where the executor found this backend's shared object (for companions of it). */
const char *sconce_host_backend_dir(const struct sconce_host *h);
/* A setting of the model (model-config.yaml or registration), NULL if absent. */
const char *sconce_host_setting(const struct sconce_host *h, const char *key);
/* A setting read as an integer; `fallback` if absent; an error that names key and range otherwise. */
struct sconce_error *sconce_host_setting_int(const struct sconce_host *h, const char *key, int64_t min,
                                             int64_t max, int64_t fallback, int64_t *out);
/* The key of setting i, in no order; NULL behind the last one. Valid until this thread's next call.
 * Since 1.1. */
const char *sconce_host_setting_key(const struct sconce_host *h, unsigned i);
/* How many lanes the executor makes at its start (workers of this model); they may become more, or fewer. */
unsigned sconce_host_lanes(const struct sconce_host *h);

/* The number of the GPU that the executor was given, -1: none. Since 1.1. */
int sconce_host_gpu(const struct sconce_host *h);

/*
 * Since 1.1. In request_prepare only: calls fn(arg, i) once for every i < n, on this thread and on others of
 * the executor that have nothing better to do, in any order; returns when all have returned. For bodies that
 * take long to tokenise: a call should take 0.1 to 1 ms, since other requests wait no longer than that.
 */
void sconce_host_spread(struct sconce_host *h, uint32_t n, void (*fn)(void *arg, uint32_t i), void *arg);

/*
 * What outlives this process: a descriptor (of memory on a GPU, a memfd) under a name that says what is in
 * it, kept by the server for the executors of all models that have kept or asked for that name, until the
 * last of these models is unregistered. In model_load, on its thread, only.
 */
/* The descriptor kept under `name`, the caller's to close, and what was said of its size; -1: there is none.
 */
int sconce_host_kept(struct sconce_host *h, const char *name, uint64_t *size);
/* Has a duplicate of fd kept. A name is at most 63 bytes; one that is taken stays as it is. What cannot be
 * kept is not: then the next executor starts without it. */
void sconce_host_keep(struct sconce_host *h, const char *name, int fd, uint64_t size);

/*
 * Ends this executor at once, because what it computes on is lost (a fault on the GPU): another is started,
 * and the requests it had are computed there. `why` goes to the log. Any thread.
 */
void sconce_host_lost(struct sconce_host *h, const char *why) __attribute__((noreturn));

/* ---- requests -------------------------------------------------------------------------- */

/*
 * The request's body. The bytes stay in shared memory that this process cannot write;
 * they are valid and unchanging until the request is answered.
 */
const void *sconce_request_body(const struct sconce_request *r, size_t *size);
/* Media type cut at ';', lower case, "" if none was sent. Valid until the request is answered. */
const char *sconce_request_content_type(const struct sconce_request *r);
/*
 * The interface that the request came by: "" for /predictions, else one of those that the model named in
 * struct sconce_model_info: the body is then as that interface has it, and so must the answer be. Errors are
 * put in its form by the frontend. Valid until the request is answered. Since 1.1.
 */
const char *sconce_request_interface(const struct sconce_request *r);
/* The Content-Type as sent, parameters and all, not terminated; NULL if there was none. Valid until the
 * request is answered. Since 1.1. */
const char *sconce_request_sent_type(const struct sconce_request *r, size_t *size);
/* Pointer that the backend may hang on a request in prepare; NULL before. */
void sconce_request_set_data(struct sconce_request *r, void *data);
void *sconce_request_data(const struct sconce_request *r);

/*
 * Since 1.1. In request_prepare, for a backend with lane_compute: the request consists of n items (texts)
 * that may be computed apart from one another, in any order, on several lanes at once; item i adds costs[i]
 * to a batch. `costs` is copied. Without this call a request is one item with the cost that prepare tells.
 * False if there is no memory.
 */
bool sconce_request_set_items(struct sconce_request *r, uint32_t n, const uint32_t *costs);

struct sconce_item {
    uint32_t index; /* 0..n-1, as the backend numbered them */
    uint32_t cost;
};

struct sconce_slice {
    struct sconce_request *request;
    const struct sconce_item *items; /* the dearest first; the executor's */
    uint32_t n;                      /* >= 1 */
};

/*
 * Room for an answer's body of `size` bytes, in the response arena where it fits, so that it
 * is written once. NULL if there is no memory or size exceeds max_response_size. Valid until
 * the request is answered; a second call replaces the first. The lane that executes the
 * request only.
 */
void *sconce_response_reserve(struct sconce_request *r, size_t size);
/* Answers with the first `size` bytes of what reserve gave (0 and no reserve: empty body). content_type
 * may be NULL (no header), else a string that outlives the call. The request is the executor's again: do
 * not touch it. */
void sconce_response_send(struct sconce_request *r, const char *content_type, size_t size);
/* Answers with an error, which is consumed. */
void sconce_response_fail(struct sconce_request *r, struct sconce_error *e);
/* The same with a status and a type of the backend's choice, for who speaks in another server's words.
 * Since 1.1. */
void sconce_response_fail_as(struct sconce_request *r, unsigned status, const char *type, const char *text);

/* ---- the backend's side ------------------------------------------------------------------ */

/* What the executor has to know of a loaded model. Filled with zeros before the call. */
struct sconce_model_info {
    size_t size; /* sizeof(struct sconce_model_info) of the executor */
    /* Most that one batch may hold, in the unit of request_prepare's cost; 0: only batchSize counts. */
    uint64_t max_batch_cost;
    /* Average number of body bytes for one unit of cost: by it the frontend guesses before prepare. 0: no
     * cost. */
    uint32_t bytes_per_cost;
    /* Since 1.1. What a batch costs beside its items, in units of cost, as measured at load: lanes that are
     * idle share what waits, but nobody takes less than this where there is more. */
    uint32_t batch_overhead;
    /* Threads beside those of the lanes that prepare requests while every lane computes; for a backend whose
     * lanes wait for a device. 0: lanes prepare between their batches. */
    uint32_t prepare_threads;
    /*
     * Interfaces beside /predictions that the model has, separated by blanks; a string that lives as long as
     * the model; NULL: none. Others never reach the backend. Since 1.1. Known are:
     *
     *   openai/embeddings   POST /v1/embeddings
     *   tei/embed  tei/predict  tei/rerank  tei/tokenize  tei/info   as text-embeddings-inference
     *   cohere/rerank  cohere/rerank_v2   POST /v1/rerank, /v2/rerank
     *   kserve/infer      KServe v2 over REST and gRPC: body and answer are tensors, one record behind the
     *                     other (src/proto/tensor.h); the server has checked the request's, and looks for
     *                     the answer's by name
     *   kserve/metadata   the body is empty, the answer such records without data: inputs and outputs
     */
    const char *interfaces;
    /* Since 1.2. Bytes on the GPU, for those who look what it costs: the weights, and what each lane adds. */
    uint64_t gpu_weights, gpu_lane;
};

struct sconce_backend_ops {
    uint32_t major, minor; /* SCONCE_BACKEND_MAJOR, _MINOR at build time */
    const char *name;

    /*
     * Loads the model. Called once, before anything else, on the main thread. May take long.
     * On success *model belongs to the backend until model_unload.
     */
    struct sconce_error *(*model_load)(struct sconce_host *h, struct sconce_model **model,
                                       struct sconce_model_info *info);
    /* Called after all lanes are gone. */
    void (*model_unload)(struct sconce_model *m);

    /* One lane = one thread at a time, not the one that makes and destroys it: the main thread, which may do
     * so while other lanes compute (the number of workers is changed). index: the lowest that no lane has;
     * the highest goes first. */
    struct sconce_error *(*lane_create)(struct sconce_model *m, unsigned index, struct sconce_lane **lane);
    void (*lane_destroy)(struct sconce_lane *l);

    /*
     * Optional (NULL). Called once per request when it arrives, on any lane's thread, several
     * at a time: parse and tokenise here. *cost is what the request adds to a batch (tokens).
     * An error answers the request; request_discard is then not called.
     */
    struct sconce_error *(*request_prepare)(struct sconce_model *m, struct sconce_request *r, uint64_t *cost);
    /* Optional. Frees what prepare hung on a request that will not be executed. */
    void (*request_discard)(struct sconce_model *m, struct sconce_request *r);

    /*
     * Computes a batch of n >= 1 requests and answers every one of them (send or fail) before
     * it returns. The sum of costs is at most max_batch_cost unless n is 1. The backend frees
     * what prepare hung on them.
     */
    void (*lane_execute)(struct sconce_lane *l, struct sconce_request **requests, size_t n);

    /*
     * Since 1.1. Both or neither; with them lane_execute is not called and may be NULL. A request's items are
     * computed in slices, over several batches if there are many, so that long requests delay nobody: the
     * executor is fair between requests. Requests of one batch are different ones, but two lanes may compute
     * different items of the same request at the same time.
     *
     * lane_compute computes the items of n >= 1 slices, whose costs sum up to at most max_batch_cost unless
     * it is one item, and keeps results, or why there are none, with the requests. It answers nothing.
     * lane_answer answers a request all of whose items have been computed (none, if it has none), and frees
     * what prepare hung on it. Any lane; after the last lane_compute for it has returned.
     * request_discard may come after some of the items have been computed, never during that.
     */
    void (*lane_compute)(struct sconce_lane *l, const struct sconce_slice *slices, size_t n);
    void (*lane_answer)(struct sconce_lane *l, struct sconce_request *r);
};

/* The one exported function. Static data; any number of calls. */
typedef const struct sconce_backend_ops *(*sconce_backend_fn)(void);
const struct sconce_backend_ops *sconce_backend(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
