/*
 * The server's settings: config.properties, then the command line (docs/contract.md §5).
 *
 * The supervisor resolves them once and hands the text to the frontend in a sealed file, so
 * that a frontend that is started again sees what the first one saw.
 */
#ifndef SC_MODEL_SETTINGS_H
#define SC_MODEL_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

struct sc_settings {
    char *inference_address, *management_address, *metrics_address;
    bool enable_metrics_api;
    char *model_store; /* NULL: none */
    char *load_models; /* "name=path name2=path2" or "a,b", "all"; NULL: none */
    uint64_t max_request_size, max_response_size;
    int job_queue_size;
    int default_workers;                                   /* 0: one per CPU */
    int default_response_timeout, default_startup_timeout; /* s */
    int unregister_timeout;                                /* s */
    int initial_worker_port;
    int loops;    /* number_of_netty_threads; 0: chosen from the CPUs */
    int drain_ms; /* shutdown_timeout_ms */
    char *cors_origin, *cors_methods, *cors_headers;
    char *log_dir, *metrics_dir; /* LOG_LOCATION, METRICS_LOCATION; default "logs" */
    bool log_to_stdout;
    bool log_json;
    bool access_log;
    bool prometheus; /* metrics_mode: prometheus (default of `sconce serve`) or log */
    bool system_metrics;
    int metric_interval; /* s */
    char *backend_dir;   /* folder of libsconce_<backend>.so; NULL: the program's */
};

/*
 * Reads properties text over the defaults. `name` stands in messages, with the line ("": neither). SC_EINVAL
 * with *msg: key, value, what is allowed. Unknown keys are ignored, as TorchServe does. After a failure *s is
 * to be freed, too.
 */
int sc_settings_read(struct sc_settings *s, struct sc_span text, const char *name,
                     struct sc_msg *msg) SC_MUST_USE;
/* True if there is a setting of that name. */
bool sc_settings_known(const char *key);
void sc_settings_free(struct sc_settings *s);

#endif
