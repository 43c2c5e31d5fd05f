/* Every key of config.properties: default per face, a good value, a bad one, its variable. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/settings.h"

static struct sc_settings s;
static struct sc_msg msg;

static int teardown(void **state)
{
    (void)state;
    sc_settings_free(&s);
    return 0;
}

enum kind { TEXT, BOOL, INT, LONG, BYTES, MINUTES, MODE, NONE };
#define AT(f) offsetof(struct sc_settings, f)
#define NOTHING 0

static const struct row {
    const char *key;
    enum kind kind;
    size_t at;
    const char *ours, *torchserve; /* default; NULL: none, or false */
    const char *good, *reads;      /* a value and what it becomes */
    const char *bad;               /* NULL: everything is good */
    const char *environment;       /* NULL: none */
} rows[] = {
    {"inference_address", TEXT, AT(inference_address), "http://127.0.0.1:8080", "http://127.0.0.1:8080",
     "http://h", "http://h", "ftp://h", "TS_INFERENCE_ADDRESS"},
    {"management_address", TEXT, AT(management_address), "http://127.0.0.1:8081", "http://127.0.0.1:8081",
     "unix:/tmp/s", "unix:/tmp/s", "unix:s", "TS_MANAGEMENT_ADDRESS"},
    {"metrics_address", TEXT, AT(metrics_address), "http://127.0.0.1:8082", "http://127.0.0.1:8082",
     "HTTP://0.0.0.0:1 ", "HTTP://0.0.0.0:1", "http://h:65535", "TS_METRICS_ADDRESS"},
    {"enable_metrics_api", BOOL, AT(enable_metrics_api), "true", "true", "no", "false", NULL,
     "TS_ENABLE_METRICS_API"},
    {"ts_open_inference_protocol", BOOL, AT(open_inference_protocol), "true", "false", "TRUE", "true", NULL,
     "TS_OPEN_INFERENCE_PROTOCOL"},
    {"cors_allowed_origin", TEXT, AT(cors_origin), NULL, NULL, "*", "*", NULL, "TS_CORS_ALLOWED_ORIGIN"},
    {"cors_allowed_methods", TEXT, AT(cors_methods), NULL, NULL, "GET, PUT", "GET, PUT", NULL,
     "TS_CORS_ALLOWED_METHODS"},
    {"cors_allowed_headers", TEXT, AT(cors_headers), NULL, NULL, "x", "x", NULL, "TS_CORS_ALLOWED_HEADERS"},
    {"max_request_size", BYTES, AT(max_request_size), "6553500", "6553500", "1", "1", "0",
     "TS_MAX_REQUEST_SIZE"},
    {"max_response_size", BYTES, AT(max_response_size), "6553500", "6553500", "+12 ", "12", "1e6",
     "TS_MAX_RESPONSE_SIZE"},
    {"private_key_file", TEXT, AT(private_key_file), NULL, NULL, "/k", "/k", NULL, "TS_PRIVATE_KEY_FILE"},
    {"certificate_file", TEXT, AT(certificate_file), NULL, NULL, "/c", "/c", NULL, "TS_CERTIFICATE_FILE"},
    {"keystore", TEXT, AT(keystore), NULL, NULL, "/s", "/s", NULL, "TS_KEYSTORE"},
    {"keystore_pass", TEXT, AT(keystore_pass), "changeit", "changeit", "x", "x", NULL, "TS_KEYSTORE_PASS"},
    {"keystore_type", TEXT, AT(keystore_type), "PKCS12", "PKCS12", "JKS", "JKS", NULL, "TS_KEYSTORE_TYPE"},
    {"grpc_inference_address", TEXT, AT(grpc_inference_address), "127.0.0.1", "127.0.0.1", "h", "h", NULL,
     "TS_GRPC_INFERENCE_ADDRESS"},
    {"grpc_management_address", TEXT, AT(grpc_management_address), "127.0.0.1", "127.0.0.1", "h", "h", NULL,
     "TS_GRPC_MANAGEMENT_ADDRESS"},
    {"grpc_inference_port", INT, AT(grpc_inference_port), "7070", "7070", "1", "1", "65536",
     "TS_GRPC_INFERENCE_PORT"},
    {"grpc_management_port", INT, AT(grpc_management_port), "7071", "7071", "65535", "65535", "-1",
     "TS_GRPC_MANAGEMENT_PORT"},
    {"grpc_inference_max_connection_age_ms", LONG, AT(grpc_inference_age_ms), "9223372036854775807",
     "9223372036854775807", "5", "5", "9223372036854775808", "TS_GRPC_INFERENCE_MAX_CONNECTION_AGE_MS"},
    {"grpc_inference_max_connection_age_grace_ms", LONG, AT(grpc_inference_grace_ms), "9223372036854775807",
     "9223372036854775807", "5", "5", "x", "TS_GRPC_INFERENCE_MAX_CONNECTION_AGE_GRACE_MS"},
    {"grpc_management_max_connection_age_ms", LONG, AT(grpc_management_age_ms), "9223372036854775807",
     "9223372036854775807", "5", "5", "x", "TS_GRPC_MANAGEMENT_MAX_CONNECTION_AGE_MS"},
    {"grpc_management_max_connection_age_grace_ms", LONG, AT(grpc_management_grace_ms), "9223372036854775807",
     "9223372036854775807", "5", "5", "x", "TS_GRPC_MANAGEMENT_MAX_CONNECTION_AGE_GRACE_MS"},
    {"enable_grpc_ssl", BOOL, AT(enable_grpc_ssl), "false", "false", "true", "true", NULL,
     "TS_ENABLE_GRPC_SSL"},
    {"disable_token_authorization", BOOL, AT(disable_token_authorization), "true", "false", "True", "true",
     NULL, "TS_DISABLE_TOKEN_AUTHORIZATION"},
    {"token_expiration_min", MINUTES, AT(token_expiration_min), "60", "60", "0.5", "0.5", NULL,
     "TS_TOKEN_EXPIRATION_TIME_MIN"},
    {"enable_model_api", BOOL, AT(enable_model_api), "true", "false", "x", "false", NULL,
     "TS_ENABLE_MODEL_API"},
    {"allowed_urls", TEXT, AT(allowed_urls), "file://.*|http(s)?://.*", "file://.*|http(s)?://.*", "a,b",
     "a,b", NULL, "TS_ALLOWED_URLS"},
    {"use_env_allowed_urls", NONE, NOTHING, "false", "false", "x", NULL, NULL, NULL},
    {"enable_envvars_config", NONE, NOTHING, "false", "false", "x", NULL, NULL, NULL},
    {"model_store", TEXT, AT(model_store), NULL, NULL, "/m", "/m", NULL, "TS_MODEL_STORE"},
    {"workflow_store", TEXT, AT(workflow_store), NULL, NULL, "/w", "/w", NULL, "TS_WORKFLOW_STORE"},
    {"load_models", TEXT, AT(load_models), NULL, NULL, "a=b,c", "a=b,c", NULL, "TS_LOAD_MODELS"},
    {"models", TEXT, AT(models), NULL, NULL, "{\"m\":{\"1\":{}}}", "{\"m\":{\"1\":{}}}", "{\"m\":1}", NULL},
    {"model_snapshot", TEXT, AT(model_snapshot), NULL, NULL, "{}", "{}", NULL, NULL},
    {"default_workers_per_model", INT, AT(default_workers), "0", "0", "3", "3", "257",
     "TS_DEFAULT_WORKERS_PER_MODEL"},
    {"job_queue_size", INT, AT(job_queue_size), "100", "100", "7", "7", "2147483648", "TS_JOB_QUEUE_SIZE"},
    {"default_response_timeout", INT, AT(default_response_timeout), "120", "120", "7", "7", "0",
     "TS_DEFAULT_RESPONSE_TIMEOUT"},
    {"default_startup_timeout", INT, AT(default_startup_timeout), "120", "120", "7", "7", "0",
     "TS_DEFAULT_STARTUP_TIMEOUT"},
    {"unregister_model_timeout", INT, AT(unregister_timeout), "120", "120", "7", "7", "0",
     "TS_UNREGISTER_MODEL_TIMEOUT"},
    {"default_service_handler", TEXT, AT(default_service_handler), NULL, NULL, "h.py:f", "h.py:f", NULL,
     "TS_DEFAULT_SERVICE_HANDLER"},
    {"service_envelope", TEXT, AT(service_envelope), NULL, NULL, "json", "json", NULL, "TS_SERVICE_ENVELOPE"},
    {"install_py_dep_per_model", BOOL, AT(install_py_dep_per_model), "false", "false", "true", "true", NULL,
     "TS_INSTALL_PY_DEP_PER_MODEL"},
    {"number_of_gpu", INT, AT(number_of_gpu), "-1", "-1", "2", "2", "two", "TS_NUMBER_OF_GPU"},
    {"initial_worker_port", INT, AT(initial_worker_port), "9000", "9000", "1", "1", "65536",
     "TS_INITIAL_WORKER_PORT"},
    {"initial_distribution_port", INT, AT(initial_distribution_port), "29500", "29500", "1", "1", "0",
     "TS_INITIAL_DISTRIBUTION_PORT"},
    {"blacklist_env_vars", TEXT, AT(blacklist_env_vars), NULL, NULL, "A(?:B|C)\\\\d", "A(B|C)[0-9]", "(",
     "TS_BLACKLIST_ENV_VARS"},
    {"decode_input_request", BOOL, AT(decode_input_request), "true", "true", "f", "false", NULL,
     "TS_DECODE_INPUT_REQUEST"},
    {"limit_max_image_pixels", BOOL, AT(limit_max_image_pixels), "true", "true", "f", "false", NULL,
     "TS_LIMIT_MAX_IMAGE_PIXELS"},
    {"python", TEXT, AT(python), NULL, NULL, "/p", "/p", NULL, NULL},
    {"model_server_home", TEXT, AT(model_server_home), NULL, NULL, "/h", "/h", NULL, "TS_MODEL_SERVER_HOME"},
    {"ipex_enable", BOOL, AT(ipex_enable), "false", "false", "true", "true", NULL, "TS_IPEX_ENABLE"},
    {"ipex_gpu_enable", BOOL, AT(ipex_gpu_enable), "false", "false", "true", "true", NULL,
     "TS_IPEX_GPU_ENABLE"},
    {"cpu_launcher_enable", BOOL, AT(cpu_launcher_enable), "false", "false", "true", "true", NULL,
     "TS_CPU_LAUNCHER_ENABLE"},
    {"cpu_launcher_args", TEXT, AT(cpu_launcher_args), NULL, NULL, "--x y", "--x y", NULL,
     "TS_CPU_LAUNCHER_ARGS"},
    {"ts_header_key_sequence_id", TEXT, AT(sequence_id_header), "ts_request_sequence_id",
     "ts_request_sequence_id", "i", "i", NULL, "TS_HEADER_KEY_SEQUENCE_ID"},
    {"ts_header_key_sequence_start", TEXT, AT(sequence_start_header), "ts_request_sequence_start",
     "ts_request_sequence_start", "i", "i", NULL, "TS_HEADER_KEY_SEQUENCE_START"},
    {"ts_header_key_sequence_end", TEXT, AT(sequence_end_header), "ts_request_sequence_end",
     "ts_request_sequence_end", "i", "i", NULL, "TS_HEADER_KEY_SEQUENCE_END"},
    {"use_native_io", BOOL, AT(use_native_io), "true", "true", "f", "false", NULL, NULL},
    {"debug", BOOL, AT(debug), "false", "false", "true", "true", NULL, "TS_DEBUG"},
    {"metrics_mode", MODE, AT(metrics_mode), "1", "0", " Legacy ", "2", NULL, "TS_METRICS_MODE"},
    {"metrics_config", TEXT, AT(metrics_config), NULL, NULL, "/y", "/y", NULL, "TS_METRICS_CONFIG"},
    {"model_metrics_auto_detect", BOOL, AT(model_metrics_auto_detect), "false", "false", "true", "true", NULL,
     "TS_MODEL_METRICS_AUTO_DETECT"},
    {"disable_system_metrics", BOOL, AT(system_metrics), "true", "true", "TRUE", "false", NULL,
     "TS_DISABLE_SYSTEM_METRICS"},
    {"otlp_traces_endpoint", TEXT, AT(otlp_endpoint), NULL, NULL, "http://c:4318/v1/traces",
     "http://c:4318/v1/traces", NULL, NULL},
    {"system_metrics_cmd", TEXT, AT(system_metrics_cmd), NULL, NULL, "c", "c", NULL, NULL},
    {"metric_time_interval", INT, AT(metric_interval), "60", "60", "1", "1", "0", NULL},
    {"cpp_log_config", NONE, NOTHING, NULL, NULL, "x", NULL, NULL, "TS_CPP_LOG_CONFIG"},
    {"vmargs", NONE, NOTHING, NULL, NULL, "-Xmx1g", NULL, NULL, NULL},
    {"plugins_path", NONE, NOTHING, NULL, NULL, "/p", NULL, NULL, NULL},
    {"number_of_netty_threads", INT, AT(loops), "0", "0", "3", "3", "-1", "TS_NUMBER_OF_NETTY_THREADS"},
    {"netty_client_threads", NONE, NOTHING, "0", "0", "x", NULL, NULL, "TS_NETTY_CLIENT_THREADS"},
    {"prefer_direct_buffer", NONE, NOTHING, "false", "false", "x", NULL, NULL, "TS_PREFER_DIRECT_BUFFER"},
    {"async_logging", BOOL, AT(async_logging), "false", "false", "true", "true", NULL, "TS_ASYNC_LOGGING"},
    {"io_ratio", NONE, NOTHING, "50", "50", "x", NULL, NULL, NULL},
    {"version", TEXT, AT(version), NULL, NULL, "0.11", "0.11", NULL, NULL},
    {"tsConfigFile", TEXT, AT(config_file), NULL, NULL, "/f", "/f", NULL, NULL},
    {"shutdown_timeout_ms", INT, AT(drain_ms), "30000", "30000", "0", "0", "-1", NULL},
    {"log_config", TEXT, AT(log_config), NULL, NULL, "/c.xml", "/c.xml", NULL, NULL},
    {"log_location", TEXT, AT(log_dir), NULL, NULL, "/l", "/l", NULL, NULL},
    {"metrics_location", TEXT, AT(metrics_dir), NULL, NULL, "/l", "/l", NULL, NULL},
    {"log_to_stdout", BOOL, AT(log_to_stdout), "true", "true", "f", "false", NULL, NULL},
    {"log_json", BOOL, AT(log_json), "false", "false", "true", "true", NULL, NULL},
    {"access_log", BOOL, AT(access_log), "true", "true", "f", "false", NULL, NULL},
    {"mps", TEXT, AT(mps), "auto", "auto", "off", "off", NULL, NULL},
    {"gpu_placement", TEXT, AT(gpu_placement), "turns", "turns", "memory", "memory", NULL, NULL},
    {"tune_record", TEXT, AT(tune_record), NULL, NULL, "/t.json", "/t.json", NULL, NULL},
    {"interface_models", TEXT, AT(interface_models), NULL, NULL, "a, b", "a, b", NULL, NULL},
    {"tls_client_ca", TEXT, AT(tls_client_ca), NULL, NULL, "/ca", "/ca", NULL, NULL},
    {"backend_dir", TEXT, AT(backend_dir), NULL, NULL, "/b", "/b", NULL, NULL},
};

/* The field as text. */
static const char *field(const struct row *r)
{
    static char text[64];
    const char *at = (const char *)&s + r->at;
    switch (r->kind) {
    case TEXT: return *(char *const *)(const void *)at;
    case BOOL: return *(const bool *)at ? "true" : "false";
    case INT: snprintf(text, sizeof text, "%d", *(const int *)(const void *)at); return text;
    case LONG:
        snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)(const void *)at);
        return text;
    case BYTES:
        snprintf(text, sizeof text, "%llu", (unsigned long long)*(const uint64_t *)(const void *)at);
        return text;
    case MINUTES: snprintf(text, sizeof text, "%g", *(const double *)(const void *)at); return text;
    case MODE:
        snprintf(text, sizeof text, "%d", (int)*(const enum sc_metrics_mode *)(const void *)at);
        return text;
    case NONE: return NULL;
    }
    return NULL;
}

static void same(const struct row *r, const char *expected, const char *what)
{
    const char *got = field(r);
    if ((got == NULL) != (expected == NULL) || (got && strcmp(got, expected) != 0))
        fail_msg("%s, %s: \"%s\" in place of \"%s\"", r->key, what, got ? got : "(null)",
                 expected ? expected : "(null)");
}

static const char *nothing_is_set(const char *name, void *ctx)
{
    (void)name;
    (void)ctx;
    return NULL;
}

static int resolve(enum sc_face face, const char *text)
{
    struct sc_settings_sources from = {.face = face,
                                       .file = "c.properties",
                                       .text = sc_span_str(text),
                                       .gpus = -1,
                                       .environment = nothing_is_set};
    sc_settings_free(&s);
    return sc_settings_resolve(&s, &from, &msg);
}

static void every_key_stands_here(void **state)
{
    struct sc_setting_info k;
    (void)state;
    size_t n = 0;
    for (; sc_settings_info(n, SC_FACE_SCONCE, &k); n++) {
        bool here = false;
        for (size_t i = 0; i < SC_COUNT(rows); i++)
            here |= strcmp(rows[i].key, k.name) == 0;
        if (!here)
            fail_msg("%s has no row in this test", k.name);
        assert_true(k.about && *k.about);
        assert_true(sc_settings_known(k.name));
    }
    assert_int_equal(n, SC_COUNT(rows));
}

static void defaults_of_both_faces(void **state)
{
    (void)state;
    const char *found_anyway[] = {"python", "tsConfigFile", "log_location", "metrics_location"};
    for (int face = 0; face < 2; face++) {
        assert_int_equal(resolve(face ? SC_FACE_TORCHSERVE : SC_FACE_SCONCE, ""), 0);
        for (size_t i = 0; i < SC_COUNT(rows); i++) {
            bool skip = false;
            for (size_t k = 0; k < SC_COUNT(found_anyway); k++)
                skip |= strcmp(rows[i].key, found_anyway[k]) == 0;
            if (rows[i].kind != NONE && !skip)
                same(&rows[i], face ? rows[i].torchserve : rows[i].ours, "default");
        }
        assert_string_equal(s.log_dir, "logs");
        assert_string_equal(s.python, "python3");
    }
}

static void values_are_read(void **state)
{
    char text[256];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(rows); i++) {
        snprintf(text, sizeof text, "%s=%s\n", rows[i].key, rows[i].good);
        sc_settings_free(&s);
        if (sc_settings_read(&s, sc_span_str(text), "", &msg) < 0)
            fail_msg("%s: %s", text, msg.text);
        if (rows[i].kind != NONE)
            same(&rows[i], rows[i].reads, "value");
    }
}

static void bad_values_are_refused_with_key_and_line(void **state)
{
    char text[256];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(rows); i++) {
        if (!rows[i].bad)
            continue;
        snprintf(text, sizeof text, "\n%s=%s\n", rows[i].key, rows[i].bad);
        for (int face = 0; face < 2; face++) {
            int rc = resolve(face ? SC_FACE_TORCHSERVE : SC_FACE_SCONCE, text);
            if (rc != SC_EINVAL || !strstr(msg.text, rows[i].key) || !strstr(msg.text, "c.properties:2: "))
                fail_msg("%s: %d, \"%s\"", text, rc, msg.text);
            bool number = rows[i].kind == INT || rows[i].kind == LONG || rows[i].kind == BYTES;
            snprintf(text + 128, 128, "For input string: \"%s\" (", rows[i].bad);
            if (number && face && strncmp(msg.text, text + 128, strlen(text + 128)) != 0)
                fail_msg("not as TorchServe says it: %s", msg.text);
        }
    }
}

static void variables_have_their_names(void **state)
{
    struct sc_setting_info k;
    (void)state;
    for (size_t n = 0; sc_settings_info(n, SC_FACE_SCONCE, &k); n++)
        for (size_t i = 0; i < SC_COUNT(rows); i++)
            if (strcmp(rows[i].key, k.name) == 0) {
                const char *want = rows[i].environment;
                if ((want == NULL) != (k.environment == NULL) || (want && strcmp(want, k.environment) != 0))
                    fail_msg("%s: %s", k.name, k.environment ? k.environment : "(none)");
            }
}

/* Whatever a setting is, it means the same after the journey to the frontend. */
static void what_is_written_reads_back(void **state)
{
    char text[256];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(rows); i++) {
        struct sc_buf b;
        if (strcmp(rows[i].key, "model_server_home") == 0)
            continue; /* must exist: test_settings_resolve.c */
        snprintf(text, sizeof text, "%s=%s\n", rows[i].key, rows[i].good);
        assert_int_equal(resolve(SC_FACE_TORCHSERVE, text), 0);
        sc_buf_init(&b, 1 << 16);
        sc_settings_write(&s, &b);
        assert_int_equal(b.failed, 0);
        sc_settings_free(&s);
        assert_int_equal(sc_settings_read(&s, sc_buf_view(&b), "settings", &msg), 0);
        assert_int_equal(s.face, SC_FACE_TORCHSERVE);
        if (rows[i].kind != NONE)
            same(&rows[i], rows[i].reads, "after the journey");
        for (unsigned k = 0; k < s.all.n; k++)
            if (strncmp(s.all.items[k].key, "sconce.", 7) == 0)
                fail_msg("%s is no setting", s.all.items[k].key);
        sc_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_key_stands_here, teardown),
        cmocka_unit_test_teardown(defaults_of_both_faces, teardown),
        cmocka_unit_test_teardown(values_are_read, teardown),
        cmocka_unit_test_teardown(bad_values_are_refused_with_key_and_line, teardown),
        cmocka_unit_test_teardown(variables_have_their_names, teardown),
        cmocka_unit_test_teardown(what_is_written_reads_back, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
