#include "model/settings_table.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#include "base/limits.h"

#define AT(f) offsetof(struct sc_settings, f)
#define AGE "9223372036854775807"
#define USED SC_SETTING_USED
#define DIFFERS SC_SETTING_DIFFERS
#define LATER SC_SETTING_LATER
#define IGNORED SC_SETTING_IGNORED
#define OURS SC_SETTING_OURS
#define NO_ENV .environment = SC_SETTING_NO_ENV

/* Rows by kind: name, effect, field, default, then whatever else, then what it does. */
#define TEXT(n, e, f, d, ...) \
    {.name = n, .kind = SC_KIND_TEXT, .effect = e, .offset = AT(f), .fallback = d, __VA_ARGS__}
#define PATH(n, e, f, ...) {.name = n, .kind = SC_KIND_PATH, .effect = e, .offset = AT(f), __VA_ARGS__}
#define ADDRESS(n, e, f, d, ...) \
    {.name = n, .kind = SC_KIND_ADDRESS, .effect = e, .offset = AT(f), .fallback = d, __VA_ARGS__}
#define BOOL(n, e, f, d, ...) \
    {.name = n, .kind = SC_KIND_BOOL, .effect = e, .offset = AT(f), .fallback = d, __VA_ARGS__}
#define INT(n, e, f, lo, hi, d, ...) \
    {.name = n,                      \
     .kind = SC_KIND_INT,            \
     .effect = e,                    \
     .offset = AT(f),                \
     .min = lo,                      \
     .max = hi,                      \
     .fallback = d,                  \
     __VA_ARGS__}
#define LONG(n, e, f, d, ...) \
    {.name = n,               \
     .kind = SC_KIND_LONG,    \
     .effect = e,             \
     .offset = AT(f),         \
     .min = 1,                \
     .max = INT64_MAX,        \
     .fallback = d,           \
     __VA_ARGS__}
#define BYTES(n, f, d, ...)   \
    {.name = n,               \
     .kind = SC_KIND_BYTES,   \
     .effect = USED,          \
     .offset = AT(f),         \
     .min = 1,                \
     .max = INT64_C(1) << 40, \
     .fallback = d,           \
     __VA_ARGS__}
#define SWITCH(n, e, d, ...) {.name = n, .kind = SC_KIND_SWITCH, .effect = e, .fallback = d, __VA_ARGS__}
#define SAYS(text) .about = text

static const struct sc_setting_key keys[] = {
    /* ---- listeners ---- */
    ADDRESS("inference_address", USED, inference_address, "http://127.0.0.1:8080",
            SAYS("where predictions are served")),
    ADDRESS("management_address", USED, management_address, "http://127.0.0.1:8081",
            SAYS("where models are managed; equal to inference_address: one listener serves both")),
    ADDRESS(
        "metrics_address", DIFFERS, metrics_address, "http://127.0.0.1:8082",
        SAYS(
            "where metrics are served; TorchServe fails if another API has the address, here they share it")),
    BOOL("enable_metrics_api", USED, enable_metrics_api, "true", SAYS("false: no metrics listener")),
    BOOL("ts_open_inference_protocol", DIFFERS, open_inference_protocol, "true",
         .torchserve_fallback = "false", .environment = "TS_OPEN_INFERENCE_PROTOCOL",
         SAYS("adds KServe's v2 API to the inference listener, more of it than TorchServe has")),
    TEXT("cors_allowed_origin", USED, cors_origin, NULL, SAYS("answered as Access-Control-Allow-Origin")),
    TEXT("cors_allowed_methods", USED, cors_methods, NULL, SAYS("answered as Access-Control-Allow-Methods")),
    TEXT("cors_allowed_headers", USED, cors_headers, NULL, SAYS("answered as Access-Control-Allow-Headers")),
    BYTES("max_request_size", max_request_size, "6553500",
          SAYS("bytes of a request's body; more is answered 413")),
    BYTES("max_response_size", max_response_size, "6553500", SAYS("bytes of a worker's answer")),

    /* ---- TLS ---- */
    PATH("private_key_file", USED, private_key_file, SAYS("key of https listeners, in PEM")),
    PATH("certificate_file", USED, certificate_file,
         SAYS("certificate of https listeners, with its chain, in PEM")),
    PATH("keystore", USED, keystore, SAYS("key and certificate of https listeners, before the two files")),
    TEXT("keystore_pass", USED, keystore_pass, "changeit", SAYS("opens the keystore")),
    TEXT("keystore_type", DIFFERS, keystore_type, "PKCS12", SAYS("form of the keystore: PKCS12, not JKS")),

    /* ---- gRPC ---- */
    TEXT("grpc_inference_address", USED, grpc_inference_address, "127.0.0.1",
         SAYS("host of the inference services")),
    TEXT("grpc_management_address", USED, grpc_management_address, "127.0.0.1",
         SAYS("host of the management service")),
    INT("grpc_inference_port", DIFFERS, grpc_inference_port, 0, 65535, "7070",
        SAYS("port of the inference services; 0: none, TorchServe takes any")),
    INT("grpc_management_port", DIFFERS, grpc_management_port, 0, 65535, "7071",
        SAYS("port of the management service; 0: none, TorchServe takes any")),
    LONG("grpc_inference_max_connection_age_ms", USED, grpc_inference_age_ms, AGE,
         SAYS("age at which connections are closed")),
    LONG("grpc_inference_max_connection_age_grace_ms", USED, grpc_inference_grace_ms, AGE,
         SAYS("time for the calls on them")),
    LONG("grpc_management_max_connection_age_ms", USED, grpc_management_age_ms, AGE,
         SAYS("age at which connections are closed")),
    LONG("grpc_management_max_connection_age_grace_ms", USED, grpc_management_grace_ms, AGE,
         SAYS("time for the calls on them")),
    BOOL("enable_grpc_ssl", USED, enable_grpc_ssl, "false",
         SAYS("TLS on the gRPC ports, by private_key_file and certificate_file")),

    /* ---- who may do what ---- */
    BOOL("disable_token_authorization", USED, disable_token_authorization, "true",
         .torchserve_fallback = "false", SAYS("false: calls need a key of key_file.json")),
    {.name = "token_expiration_min",
     .kind = SC_KIND_MINUTES,
     .effect = USED,
     .offset = AT(token_expiration_min),
     .fallback = "60",
     .environment = "TS_TOKEN_EXPIRATION_TIME_MIN",
     .about = "minutes for which a key is good"},
    BOOL("enable_model_api", USED, enable_model_api, "true", .torchserve_fallback = "false",
         SAYS("false: models cannot be registered or unregistered by calls")),
    TEXT("allowed_urls", USED, allowed_urls, "file://.*|http(s)?://.*",
         SAYS("regular expressions of the URLs that models may come from")),
    SWITCH("use_env_allowed_urls", USED, "false", NO_ENV,
           SAYS("true: TS_ALLOWED_URLS may override allowed_urls")),
    SWITCH("enable_envvars_config", USED, "false", NO_ENV,
           SAYS("true: TS_ variables override these settings")),

    /* ---- models ---- */
    PATH("model_store", USED, model_store, SAYS("folder in which models are looked up")),
    PATH("workflow_store", USED, workflow_store,
         SAYS("folder of workflow archives; the model store unless given")),
    TEXT("load_models", DIFFERS, load_models, NULL,
         SAYS("models of the start; a blank behind a comma belongs to TorchServe's file name, here it does "
              "not")),
    {.name = "models",
     .kind = SC_KIND_MODELS,
     .effect = USED,
     .offset = AT(models),
     .environment = SC_SETTING_NO_ENV,
     .about = "parameters per model and version, as JSON"},
    TEXT("model_snapshot", USED, model_snapshot, NULL, NO_ENV,
         SAYS("models to restore, as JSON; load_models and --models are ignored then")),
    INT("default_workers_per_model", USED, default_workers, 0, SC_WORKERS_MAX, "0",
        SAYS("workers of a model that says nothing itself; 0: one per GPU, or else per CPU")),
    INT("job_queue_size", USED, job_queue_size, 1, INT_MAX, "100",
        SAYS("requests that wait for a model's workers; more are answered 503")),
    INT("default_response_timeout", USED, default_response_timeout, 1, INT_MAX, "120",
        SAYS("seconds after which a worker that does not answer is replaced")),
    INT("default_startup_timeout", USED, default_startup_timeout, 1, INT_MAX, "120",
        SAYS("seconds for a worker to load its model")),
    INT("unregister_model_timeout", USED, unregister_timeout, 1, INT_MAX, "120",
        SAYS("seconds for a model's workers to end; then the call is answered 408")),
    TEXT("default_service_handler", USED, default_service_handler, NULL,
         SAYS("handler of archives whose manifest names none")),
    TEXT("service_envelope", USED, service_envelope, NULL,
         SAYS("form of requests for every model: body, json, kserve, kservev2")),
    BOOL("install_py_dep_per_model", USED, install_py_dep_per_model, "false",
         SAYS("true: a model's requirements file is installed when it is registered")),

    /* ---- workers ---- */
    INT("number_of_gpu", USED, number_of_gpu, -1, INT_MAX, NULL, SAYS("GPUs to use; unset: all")),
    INT("initial_worker_port", DIFFERS, initial_worker_port, 1, 65535, "9000",
        SAYS("the first worker's id; no port is opened")),
    INT("initial_distribution_port", DIFFERS, initial_distribution_port, 1, 65535, "29500",
        SAYS("the first id of workers with parallelLevel; no port is opened")),
    {.name = "blacklist_env_vars",
     .kind = SC_KIND_REGEX,
     .effect = USED,
     .offset = AT(blacklist_env_vars),
     .about = "regular expression; variables with such names are withheld from workers"},
    BOOL("decode_input_request", USED, decode_input_request, "true",
         SAYS("true: JSON and text are decoded before the handler sees them")),
    BOOL("limit_max_image_pixels", USED, limit_max_image_pixels, "true",
         SAYS("false: image handlers lift PIL's limit")),
    PATH("python", USED, python, NO_ENV, SAYS("interpreter of the workers")),
    PATH("model_server_home", DIFFERS, model_server_home, .environment = "TS_MODEL_SERVER_HOME",
         SAYS("must exist; workers use the `ts` package that comes with Sconce")),
    BOOL("ipex_enable", USED, ipex_enable, "false", SAYS("handed to workers as TS_IPEX_ENABLE")),
    BOOL("ipex_gpu_enable", USED, ipex_gpu_enable, "false", SAYS("handed to workers as TS_IPEX_GPU_ENABLE")),
    BOOL("cpu_launcher_enable", USED, cpu_launcher_enable, "false",
         SAYS("true: workers run below torch.backends.xeon.run_cpu")),
    TEXT("cpu_launcher_args", USED, cpu_launcher_args, NULL, SAYS("arguments of that launcher")),
    TEXT("ts_header_key_sequence_id", USED, sequence_id_header, "ts_request_sequence_id",
         .environment = "TS_HEADER_KEY_SEQUENCE_ID", SAYS("header that names a request's sequence")),
    TEXT("ts_header_key_sequence_start", USED, sequence_start_header, "ts_request_sequence_start",
         .environment = "TS_HEADER_KEY_SEQUENCE_START", SAYS("header of a sequence's first request")),
    TEXT("ts_header_key_sequence_end", USED, sequence_end_header, "ts_request_sequence_end",
         .environment = "TS_HEADER_KEY_SEQUENCE_END", SAYS("header of a sequence's last request")),
    BOOL("use_native_io", DIFFERS, use_native_io, "true", NO_ENV,
         SAYS("false forbids unix: addresses; workers are reached through shared memory either way")),
    BOOL("debug", DIFFERS, debug, "false",
         SAYS("one worker and no time limits; TorchServe would wait for a worker that somebody else starts")),

    /* ---- logs and metrics ---- */
    {.name = "metrics_mode",
     .kind = SC_KIND_MODE,
     .effect = USED,
     .offset = AT(metrics_mode),
     .fallback = "prometheus",
     .torchserve_fallback = "log",
     .about = "log, prometheus or legacy: where metrics go"},
    PATH("metrics_config", USED, metrics_config,
         SAYS("metrics.yaml, handed to workers; unset: the one that comes with us")),
    TEXT("otlp_traces_endpoint", OURS, otlp_endpoint, NULL, NO_ENV,
         SAYS("URL of a collector that gets spans of requests by OTLP/HTTP")),
    BOOL("model_metrics_auto_detect", USED, model_metrics_auto_detect, "false",
         SAYS("metrics that metrics.yaml does not declare are taken as well")),
    {.name = "disable_system_metrics",
     .kind = SC_KIND_NOT,
     .effect = USED,
     .offset = AT(system_metrics),
     .fallback = "false",
     .about = "true: no periodic metrics of the machine"},
    TEXT("system_metrics_cmd", USED, system_metrics_cmd, NULL, NO_ENV,
         SAYS("command that collects the machine's metrics; unset: the server does")),
    INT("metric_time_interval", USED, metric_interval, 1, INT_MAX, "60", NO_ENV,
        SAYS("seconds between two metrics of the machine")),
    SWITCH("cpp_log_config", LATER, NULL, .feature = "the C++ worker",
           SAYS("log settings of the C++ worker")),

    /* ---- of the Java virtual machine ---- */
    SWITCH("vmargs", IGNORED, NULL, NO_ENV,
           SAYS("options of the Java virtual machine: only -Dlog4j.configurationFile= is looked at, as "
                "log_config")),
    SWITCH("plugins_path", IGNORED, NULL, NO_ENV, SAYS("Java plug-ins: there is no Java")),
    INT("number_of_netty_threads", DIFFERS, loops, 0, INT_MAX, "0",
        SAYS("event loops of the frontend; 0: chosen from the CPUs")),
    SWITCH("netty_client_threads", IGNORED, "0", SAYS("threads that talk to workers: there are none")),
    SWITCH("prefer_direct_buffer", IGNORED, "false", SAYS("where Java keeps its buffers")),
    BOOL("async_logging", IGNORED, async_logging, "false", SAYS("logging never waits here")),
    SWITCH("io_ratio", IGNORED, "50", NO_ENV, SAYS("tunes Java's event loops")),

    /* ---- set by a server in its snapshots ---- */
    TEXT("version", DIFFERS, version, NULL, NO_ENV,
         SAYS("of the server that wrote the snapshot; TorchServe shows it as its own")),
    TEXT("tsConfigFile", USED, config_file, NULL, NO_ENV,
         SAYS("the file that the writer of the snapshot had read")),

    /* ---- ours ---- */
    INT("shutdown_timeout_ms", OURS, drain_ms, 0, INT_MAX, "30000", NO_ENV,
        SAYS("milliseconds for requests in flight when the server stops")),
    TEXT("log_location", OURS, log_dir, NULL, NO_ENV,
         SAYS("folder of the logs; unset: LOG_LOCATION, or logs")),
    TEXT("metrics_location", OURS, metrics_dir, NULL, NO_ENV,
         SAYS("folder of the metrics' logs; unset: METRICS_LOCATION, or that of the logs")),
    PATH("log_config", OURS, log_config, NO_ENV,
         SAYS("log4j 2 configuration in XML: its levels are obeyed, the rest of it is not")),
    BOOL("log_to_stdout", OURS, log_to_stdout, "true", NO_ENV, SAYS("false: logs go to their files alone")),
    BOOL("log_json", OURS, log_json, "false", NO_ENV, SAYS("true: log lines are JSON objects")),
    BOOL("access_log", OURS, access_log, "true", NO_ENV, SAYS("false: no line per request")),
    TEXT("mps", OURS, mps, "auto", NO_ENV,
         SAYS("auto, off, managed or external: whether workers of a GPU are MPS clients; mps.INDEX and "
              "mps.UUID "
              "say it of one GPU")),
    TEXT(
        "gpu_placement", OURS, gpu_placement, "turns", NO_ENV,
        SAYS("turns: workers take GPUs in turn, as with TorchServe, and the next one where the turn's has no "
             "room; memory: the GPU with most room")),
    PATH("tune_record", OURS, tune_record, NO_ENV,
         SAYS("JSON file of what was measured of ways to share a GPU, which mps=auto obeys")),
    TEXT("interface_models", OURS, interface_models, NULL, NO_ENV,
         SAYS("models asked by calls of other servers' interfaces that name none, first of these")),
    PATH("tls_client_ca", OURS, tls_client_ca, NO_ENV,
         SAYS("certificates in PEM; clients of https listeners must have one that these signed")),
    TEXT("backend_dir", OURS, backend_dir, NULL, NO_ENV, SAYS("folder of the native backends")),
};

size_t sc_setting_count(void)
{
    return SC_COUNT(keys);
}

const struct sc_setting_key *sc_setting_at(size_t i)
{
    return i < SC_COUNT(keys) ? &keys[i] : NULL;
}

const struct sc_setting_key *sc_setting_find(const char *name)
{
    for (size_t i = 0; i < SC_COUNT(keys); i++)
        if (strcmp(name, keys[i].name) == 0)
            return &keys[i];
    return NULL;
}

const char *sc_setting_default(const struct sc_setting_key *k, enum sc_face face)
{
    return face == SC_FACE_TORCHSERVE && k->torchserve_fallback ? k->torchserve_fallback : k->fallback;
}

const char *sc_setting_environment(const struct sc_setting_key *k, char room[64])
{
    if (k->environment)
        return *k->environment ? k->environment : NULL;
    size_t n = (size_t)snprintf(room, 64, "TS_%s", k->name);
    for (size_t i = 3; i < n && i < 63; i++)
        room[i] = (char)toupper((unsigned char)room[i]);
    return room;
}

bool sc_settings_known(const char *key)
{
    return sc_setting_find(key) != NULL;
}

bool sc_settings_info(size_t i, enum sc_face face, struct sc_setting_info *out)
{
    static _Thread_local char room[64];
    const struct sc_setting_key *k = sc_setting_at(i);
    if (!k)
        return false;
    *out = (struct sc_setting_info){.name = k->name,
                                    .about = k->about,
                                    .fallback = sc_setting_default(k, face),
                                    .environment = sc_setting_environment(k, room),
                                    .effect = k->effect};
    return true;
}
