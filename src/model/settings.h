/*
 * The server's settings: config.properties, the command line, the environment (docs/contract.md §5).
 *
 * They are resolved once, before anything runs (sc_settings_resolve), and travel to the frontend as
 * properties text in a sealed file (sc_settings_write, sc_settings_read), so that a frontend that is started
 * again sees what the first one saw.
 *
 * Messages say what TorchServe prints behind "Invalid configuration: " for its face, and then where and what
 * to do; for ours only the latter.
 */
#ifndef SC_MODEL_SETTINGS_H
#define SC_MODEL_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "proto/properties.h"

#define SC_TORCHSERVE_VERSION "0.12.0" /* whose contract this is */

/* Whose defaults hold (docs/design.md §3.5). */
enum sc_face { SC_FACE_SCONCE, SC_FACE_TORCHSERVE };

enum sc_metrics_mode { SC_METRICS_LOG, SC_METRICS_PROMETHEUS, SC_METRICS_LEGACY };

/* Strings are the settings'; NULL: not set. */
struct sc_settings {
    enum sc_face face;
    struct sc_properties all; /* every effective key with its text, unknown ones too: what a snapshot holds */

    /* listeners */
    char *inference_address, *management_address,
        *metrics_address; /* checked: http[s]://HOST[:PORT], unix:/PATH */
    bool enable_metrics_api;
    bool open_inference_protocol;
    char *cors_origin, *cors_methods, *cors_headers;
    uint64_t max_request_size, max_response_size;
    int loops;    /* number_of_netty_threads; 0: chosen from the CPUs */
    int drain_ms; /* shutdown_timeout_ms */

    char *private_key_file, *certificate_file, *keystore, *keystore_pass, *keystore_type, *tls_client_ca;
    char *grpc_inference_address, *grpc_management_address; /* hosts */
    int grpc_inference_port, grpc_management_port;          /* 0: none */
    int64_t grpc_inference_age_ms, grpc_inference_grace_ms, grpc_management_age_ms,
        grpc_management_grace_ms; /* of connections; INT64_MAX: no limit */
    bool enable_grpc_ssl;

    /* who may do what */
    bool disable_token_authorization;
    double token_expiration_min;
    bool enable_model_api;
    char *allowed_urls; /* comma-separated regular expressions */

    /* models */
    char *model_store, *workflow_store; /* absolute */
    char *load_models;                  /* "a.mar,name=b.mar", "all" */
    char *models;                       /* JSON: parameters per model and version (sc_spec_models_find) */
    char *model_snapshot;               /* JSON: models to restore in place of load_models (snapshot.h) */
    int default_workers;                /* 0: one per GPU, or else per CPU */
    int job_queue_size;
    int default_response_timeout, default_startup_timeout; /* s */
    int unregister_timeout;                                /* s */
    char *default_service_handler, *service_envelope;
    bool install_py_dep_per_model;

    /* workers */
    int number_of_gpu; /* wanted; -1: all there are. After sc_settings_set_gpus: how many there are to use */
    bool gpus_as_said; /* TS_NUMBER_OF_GPU: not compared with what there is */
    int initial_worker_port, initial_distribution_port;
    char *blacklist_env_vars; /* checked, as POSIX extended regular expression; matches whole names */
    bool decode_input_request, limit_max_image_pixels;
    bool ipex_enable, ipex_gpu_enable;
    bool cpu_launcher_enable;
    char *cpu_launcher_args;
    bool use_native_io;
    bool debug;
    char *python;            /* sc_settings_python */
    char *model_server_home; /* of a TorchServe; exists. Only shown: the `ts` package is ours */
    char *home;              /* folder that holds our `ts`; a server always has it */
    char *temp;              /* TEMP, or /tmp */
    char *sequence_id_header, *sequence_start_header, *sequence_end_header;

    /* GPUs */
    char *mps;           /* sc_settings_mps */
    char *gpu_placement; /* sc_settings_places_by_memory */
    char *tune_record;   /* file of what tune has measured; NULL: there is none */

    /* logs and metrics */
    char *log_dir, *metrics_dir; /* LOG_LOCATION, METRICS_LOCATION; default "logs" */
    bool log_to_stdout, log_json, access_log, async_logging;
    char *log_config; /* log4j 2 configuration; NULL: none */
    enum sc_metrics_mode metrics_mode;
    bool prometheus;      /* /metrics has content: mode prometheus or legacy */
    char *metrics_config; /* NULL: home's ts/configs/metrics.yaml */
    bool model_metrics_auto_detect;
    char *otlp_endpoint; /* where spans are sent; NULL: what the environment says */
    bool system_metrics;
    char *system_metrics_cmd;
    int metric_interval; /* s */

    char *interface_models; /* names, separated by commas: asked first where a call names no model */
    char *backend_dir;      /* folder of libsconce_<backend>.so; NULL: the program's */
    char *version;          /* of a snapshot; NULL: ours */
    char *config_file;      /* tsConfigFile: absolute path of the file that was read */
    bool snapshots;         /* false: --no-config-snapshots */
};

/* What settings are resolved from. All borrowed. */
struct sc_settings_sources {
    enum sc_face face;
    const char *file;                         /* name of the file; NULL: none was found */
    struct sc_span text;                      /* its content */
    const struct sc_properties *command_line; /* NULL: none */
    bool no_snapshots;
    const char *home; /* folder of our `ts`; NULL: not known here */
    int gpus;         /* detected; -1: not known yet (sc_settings_set_gpus later) */
    /* getenv of tests; NULL: getenv */
    const char *(*environment)(const char *name, void *ctx);
    void *ctx;
};

/*
 * TS_* variables (with enable_envvars_config=true) over the command line over the file over the defaults of
 * the face; $$NAME$$ replaced; paths made absolute; everything checked. SC_EINVAL with *msg; SC_ENOTFOUND: a
 * folder is missing. Blocks (stat). After a failure *s is to be freed,
 * too.
 */
int sc_settings_resolve(struct sc_settings *s, const struct sc_settings_sources *from,
                        struct sc_msg *msg) SC_MUST_USE;
/* The resolved settings as text for sc_settings_read. */
void sc_settings_write(const struct sc_settings *s, struct sc_buf *out);
/*
 * Reads what sc_settings_write wrote: nothing is looked up any more. Text without its mark is a file by
 * itself: read over the defaults of our face, with $$NAME$$, LOG_LOCATION and METRICS_LOCATION. `name` stands
 * in messages, with the line ("": neither). Unknown keys are kept and ignored, as TorchServe does.
 */
int sc_settings_read(struct sc_settings *s, struct sc_span text, const char *name,
                     struct sc_msg *msg) SC_MUST_USE;
void sc_settings_free(struct sc_settings *s);

/* The interpreter that is asked for, or the one on PATH. */
static inline const char *sc_settings_python(const struct sc_settings *s)
{
    return s->python && *s->python ? s->python : "python3";
}

/* What is said of the GPU with that index of the driver and that UUID ("": not known): mps.UUID, mps.INDEX,
 * mps. */
enum sc_mps_want { SC_MPS_AUTO, SC_MPS_OFF, SC_MPS_MANAGED, SC_MPS_EXTERNAL };
enum sc_mps_want sc_settings_mps(const struct sc_settings *s, unsigned index, const char *uuid);
/* Nothing is said that could put a worker under MPS. */
bool sc_settings_mps_is_off(const struct sc_settings *s);

/* True if there is a setting of that name. */
bool sc_settings_known(const char *key);
/* gpu_placement=memory: a worker gets the GPU with most room; else they take turns. */
bool sc_settings_places_by_memory(const struct sc_settings *s);
/* How many GPUs there are: number_of_gpu becomes the smaller of it and what is wanted (TS_NUMBER_OF_GPU is
 * believed as it is). */
void sc_settings_set_gpus(struct sc_settings *s, int detected);
/* Workers of a model that says nothing of its own: default_workers_per_model, GPUs or CPUs; 1 in debug mode.
 */
int sc_settings_default_workers(const struct sc_settings *s);

/*
 * The file to read: TS_CONFIG_FILE, else `given` (NULL: none), else (with snapshots) the newest snapshot
 * below LOG_LOCATION, else config.properties here, else NULL. The caller frees it. Whether a named one exists
 * is the reader's to find.
 */
char *sc_settings_find_file(const char *given, bool snapshots);

/* One line about a setting, without newline. */
typedef void (*sc_settings_note)(void *ctx, enum sc_log_level level, const char *text);
/* What is to be said at the start: keys without effect here, keys of later versions, values that were mended.
 */
void sc_settings_notes(const struct sc_settings *s, sc_settings_note fn, void *ctx);
/* TorchServe's record of the configuration at the start, lines parted by LF. */
void sc_settings_dump(const struct sc_settings *s, struct sc_buf *out);

/* What `sconce check-config` knows of a key. */
enum sc_setting_effect {
    SC_SETTING_USED,    /* as TorchServe's */
    SC_SETTING_DIFFERS, /* used; `about` tells the difference */
    SC_SETTING_LATER,   /* checked; the feature is not in this version */
    SC_SETTING_IGNORED, /* of the JVM alone */
    SC_SETTING_OURS     /* TorchServe does not know it */
};
struct sc_setting_info {
    const char *name, *about;
    const char *fallback;    /* default as text; NULL: none */
    const char *environment; /* variable that overrides it; NULL: none */
    enum sc_setting_effect effect;
};
/* The i-th key; false behind the last. */
bool sc_settings_info(size_t i, enum sc_face face, struct sc_setting_info *out);

#endif
