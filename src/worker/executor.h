/*
 * The native executor: a worker process that serves one model version with N lanes.
 *
 * Loads the backend's shared object and the model, connects back to the supervisor, is attached to the
 * frontend's channels, and then batches: each lane is one thread that takes what is
 * there, prepares it (tokenises), and computes its share. The same port may be replaced by a newer frontend's
 * at any time; what the old one wanted is computed or dropped, its answers are swallowed.
 *
 *   executor.c  life of the process: load, attach, signals
 *   intake.c    requests: from the rings, prepared, given back
 *   ready.c     what is prepared, and the batches that are made of it
 *   lanes.c     threads: waiting, batching (eager and fill), running pages
 *   spread.c    the preparation of one long body on several threads
 *   host.c      the functions of include/sconce/backend.h
 *   group.c     a process of several executors (executorGroup)
 */
#ifndef SC_WORKER_EXECUTOR_H
#define SC_WORKER_EXECUTOR_H

/*
 * Environment of an executor, set by the frontend with SC_CTL_SLOT_START:
 * strings and decimal numbers; SCONCE_SET_<key> carries a setting of the model.
 */
#define SC_ENV_MODEL "SCONCE_MODEL"
#define SC_ENV_VERSION "SCONCE_MODEL_VERSION"
#define SC_ENV_DIR "SCONCE_MODEL_DIR"
#define SC_ENV_BACKEND "SCONCE_BACKEND"
#define SC_ENV_BACKEND_DIR "SCONCE_BACKEND_DIR"
#define SC_ENV_LANES "SCONCE_LANES"
#define SC_ENV_BATCH_SIZE "SCONCE_BATCH_SIZE"
#define SC_ENV_BATCH_DELAY "SCONCE_MAX_BATCH_DELAY_MS"
#define SC_ENV_MODE "SCONCE_MODE"                 /* of a Python worker: continuous | async; else batches */
#define SC_ENV_IN_FLIGHT "SCONCE_IN_FLIGHT"       /* requests it has at once at most, in these modes */
#define SC_ENV_BATCH_POLICY "SCONCE_BATCH_POLICY" /* eager | fill */
#define SC_ENV_MAX_RESPONSE "SCONCE_MAX_RESPONSE"
#define SC_ENV_LOG_DIR "SCONCE_LOG_DIR"
#define SC_ENV_LOG_FORM "SCONCE_LOG_FORM" /* words: json, stdout, debug */
#define SC_ENV_SETTING "SCONCE_SET_"
/* Of a Python worker, besides (docs/internals/python.md). */
#define SC_ENV_HANDLER "SCONCE_HANDLER"
#define SC_ENV_ENVELOPE "SCONCE_ENVELOPE"
#define SC_ENV_GPU_ID "SCONCE_GPU_ID"
#define SC_ENV_SHARED_WEIGHTS "SCONCE_SHARED_WEIGHTS" /* 1; absent: they stay private */
#define SC_ENV_LIMIT_PIXELS "SCONCE_LIMIT_MAX_IMAGE_PIXELS"
#define SC_ENV_MODEL_CONFIG "SCONCE_MODEL_CONFIG" /* JSON file; absent: the worker reads the YAML */

/* Runs an executor until it is told to end; returns the process's exit code. */
int sc_executor_main(void);

/*
 * Runs a process of several executors, one per SC_CTL_GUEST that comes at SC_FD_CONTROL, each with a thread
 * in the place of its main thread, until that descriptor is closed and all have ended; returns 0.
 */
int sc_executor_group_main(void);

#endif
