/*
 * What is known of a model version before anything runs: where it lies, who serves it, and
 * its settings. Plain data; written to the journal and read back from it.
 */
#ifndef SC_MODEL_SPEC_H
#define SC_MODEL_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/archive.h"
#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/span.h"

struct sc_settings;

/* sharedWeights of a Python model; LOST: its handler has written to them, so they are not shared any more. */
enum sc_shared_weights { SC_WEIGHTS_PRIVATE, SC_WEIGHTS_SHARED, SC_WEIGHTS_LOST };
enum sc_device { SC_DEVICE_AUTO, SC_DEVICE_CPU, SC_DEVICE_GPU }; /* deviceType */

struct sc_model_spec {
    char name[SC_MODEL_NAME_MAX + 1];
    char version[64];
    char *url;        /* as given; NULL: a function of a workflow; the spec's */
    char *dir;        /* absolute folder, "" for a backend without files; the spec's */
    char backend[32]; /* "encoder", "identity", ... */
    int min_workers, max_workers;
    int batch_size;       /* 0: the backend's own limits alone */
    int max_batch_delay;  /* ms */
    int response_timeout; /* s */
    int startup_timeout;  /* s */
    int max_retry;        /* s: how long a failing worker is tried again (maxRetryTimeoutInSec) */
    bool fill;            /* batchPolicy: fill; else eager */
    bool replay;          /* false: replay: never */
    bool at_startup;      /* named by load_models or --models */
    bool backend_asked;   /* the registration named the backend, not a file */
    /* ---- backend "python": archives and their handlers; "" or 0 where nothing is said ---- */
    char *handler;      /* as in the manifest, or given at registration; the spec's, as all below */
    char *archive;      /* marName: last component of the url */
    char *remove;       /* folder to delete with the version (an extracted archive); NULL: none */
    char *downloaded;   /* file in the store to delete with the version; NULL: none */
    char *workflow;     /* whose node the model is: it comes and goes with it; NULL: nobody's */
    char *requirements; /* requirementsFile of the manifest */
    char runtime[16];   /* python, python3, LSP */
    int job_queue_size; /* jobQueueSize; 0: the server's */
    int client_timeout; /* clientTimeoutInMills; 0: none */
    bool use_job_ticket, use_venv;
    int device;        /* enum sc_device */
    unsigned ndevices; /* deviceIds; 0: all */
    int devices[SC_DEVICES_MAX];
    char parallel_type[8]; /* "", pp, tp, pptp, custom */
    int parallel_level;
    bool sequence_batching, continuous_batching, async_communication;
    int sequence_max_idle, sequence_timeout; /* ms */
    int sequence_queue, sequences;           /* maxSequenceJobQueueSize, maxNumSequence */
    char *config_file; /* of the manifest, or model-config.yaml if it is there: relative to dir */
    char *config_json; /* path of the same as JSON, for the worker; NULL: it reads the file itself */
    struct {
        bool given;
        int nnodes, nproc, omp_threads; /* nproc-per-node; OMP_NUMBER_THREADS */
        char *rdzv_backend, *rdzv_endpoint;
    } torchrun;
    struct {
        char percentage[8], memory[12];    /* mpsActiveThreadPercentage, mpsPinnedMemoryLimit; "": not said */
        int priority;                      /* mpsPriority: 1 normal, 2 low; 0: not said */
        bool process, kind_said;           /* workerKind: process; it was said */
        bool standby;                      /* a second executor is kept ready */
        char group[SC_GROUP_NAME_MAX + 1]; /* executorGroup; "": none */
        char bad[200];                     /* what is wrong with one of these: sc_spec_mps_check refuses it */
    } mps;
    int shared_weights; /* enum sc_shared_weights */
    char content[17];   /* sc_tune_content, where a tune_record is named; "": not known */
    unsigned nextras;   /* settings for the backend */
    struct {
        char *key, *value;
        bool asked; /* the registration said it, not a file */
    } extras[SC_SPEC_EXTRAS_MAX];
};

/* Defaults of a native model. */
void sc_spec_init(struct sc_model_spec *s);
void sc_spec_free(struct sc_model_spec *s);
/* Deep copy; `to` is overwritten. */
void sc_spec_copy(struct sc_model_spec *to, const struct sc_model_spec *from);
/* True for a model that our own executor serves: its workers are lanes of one process. Python's are processes
 * of one lane each. */
bool sc_spec_is_native(const struct sc_model_spec *s);
/* True if its workers are lanes: native, and not workerKind: process. */
bool sc_spec_has_lanes(const struct sc_model_spec *s);
/*
 * Adds or replaces a backend setting. SC_EINVAL for a key or value that cannot be one (a key is of printable
 * characters but '='; no NUL anywhere), SC_ELIMIT beyond SC_SPEC_EXTRAS_MAX settings or SC_SPEC_EXTRAS_BYTES;
 * *msg names the key.
 */
int sc_spec_set_extra(struct sc_model_spec *s, struct sc_span key, struct sc_span value, struct sc_msg *msg);
/* The same for what a registration says: snapshots keep it. */
int sc_spec_ask_extra(struct sc_model_spec *s, struct sc_span key, struct sc_span value, struct sc_msg *msg);

/* A name may hold anything but '/', control characters and NUL, 1..SC_MODEL_NAME_MAX bytes of UTF-8, and is
 * not "." or "..". */
int sc_spec_check_name(struct sc_span name, struct sc_msg *msg);
/* A version: as a name, shorter than sc_model_spec.version. */
int sc_spec_check_version(struct sc_span version, struct sc_msg *msg);

/* A backend's name: it becomes part of a file's. SC_EINVAL with *msg. */
int sc_spec_check_backend(struct sc_span backend, struct sc_msg *msg);

/* ---- from a registration to a spec ------------------------------------------------------------------ */

#define SC_SPEC_UNSET INT32_MIN

enum sc_spec_mode {
    SC_SPEC_API,     /* POST /models */
    SC_SPEC_STARTUP, /* load_models, --models */
    SC_SPEC_RESTORE  /* a snapshot: its numbers win over everything */
};

/* What a registration says. Strings are borrowed; NULL, or SC_SPEC_UNSET: nothing. */
struct sc_spec_want {
    enum sc_spec_mode mode;
    const char *url;
    const char *name, *version, *handler, *runtime; /* version: an addition; an archive's manifest has it */
    const char *backend;                            /* over all that files say; sc_spec_check_backend */
    const char *settings; /* of a snapshot, for a native backend: sc_spec_put_setting's lines */
    int batch_size, max_batch_delay, response_timeout, startup_timeout;
    int initial_workers;                          /* of the API */
    int min_workers, max_workers, parallel_level; /* of a snapshot */
    bool s3_sse_kms;
    pid_t owner; /* whose life keeps extracted files (sc_archive_claim); 0: this process's */
};

/* Nothing said. */
void sc_spec_want_init(struct sc_spec_want *w, enum sc_spec_mode mode, const char *url);

/*
 * Makes *s of a registration: finds the model (sc_archive_fetch; a Hugging Face folder is served where it
 * lies; the word "identity"), decides the backend, name, version and handler, reads model-config.yaml and
 * settles the numbers (spec_parts.h). Blocks: on a pool thread. Logs what it ignores.
 *
 * Backend: what the call or the YAML's `backend` says; "encoder" for a folder without MAR-INF and handler,
 * but with config.json and model.safetensors; else "python".
 *
 * 0, or an error code with *err for the client; nothing is left behind then, and *s is empty. After success
 * the folder s->remove and the file s->downloaded go with the version (sc_archive_remove).
 */
int sc_spec_prepare(struct sc_model_spec *s, const struct sc_settings *settings,
                    const struct sc_spec_want *want, struct sc_archive_error *err) SC_MUST_USE;

/* ---- written down ---------------------------------------------------------------------------------- */

/* The journal's form: lines "key=value" with escapes. Read refuses what write could not have written. */
void sc_spec_write(const struct sc_model_spec *s, struct sc_buf *out);
int sc_spec_read(struct sc_model_spec *s, struct sc_span text);

#endif
