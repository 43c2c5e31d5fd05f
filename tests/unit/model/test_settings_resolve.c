/* Who wins: environment, command line, file, default. And what the log says of it. */
#include "test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/settings.h"

static struct sc_settings s;
static struct sc_msg msg;
static struct sc_properties flags;
static char dir[32];
static const char *const *variables; /* name, value, ..., NULL */

static const char *lookup(const char *name, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; variables && variables[i]; i += 2)
        if (strcmp(variables[i], name) == 0)
            return variables[i + 1];
    return NULL;
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sconce-set-XXXXXX");
    assert_non_null(mkdtemp(dir));
    variables = NULL;
    msg.text[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_settings_free(&s);
    sc_properties_free(&flags);
    rmdir(dir);
    return 0;
}

static struct sc_settings_sources sources(const char *text)
{
    return (struct sc_settings_sources){.face = SC_FACE_TORCHSERVE,
                                        .file = text ? "c.properties" : NULL,
                                        .text = sc_span_str(text),
                                        .command_line = &flags,
                                        .gpus = -1,
                                        .environment = lookup};
}

static int resolve(const char *text)
{
    struct sc_settings_sources from = sources(text);
    sc_settings_free(&s);
    return sc_settings_resolve(&s, &from, &msg);
}

static void flag(const char *key, const char *value)
{
    assert_int_equal(sc_properties_set(&flags, key, value), 0);
}

static void the_command_line_beats_the_file_and_the_environment_both(void **state)
{
    static const char *const env[] = {"TS_JOB_QUEUE_SIZE", "3", "TS_METRICS_MODE", "legacy", NULL};
    (void)state;
    assert_int_equal(resolve("job_queue_size=1\n"), 0);
    assert_int_equal(s.job_queue_size, 1);
    flag("job_queue_size", "2");
    assert_int_equal(resolve("job_queue_size=1\n"), 0);
    assert_int_equal(s.job_queue_size, 2);
    variables = env;
    assert_int_equal(resolve("job_queue_size=1\n"), 0);
    assert_int_equal(s.job_queue_size, 2);
    assert_int_equal(s.metrics_mode, SC_METRICS_LOG);
    assert_int_equal(resolve("job_queue_size=1\nenable_envvars_config=True\n"), 0);
    assert_int_equal(s.job_queue_size, 3);
    assert_int_equal(s.metrics_mode, SC_METRICS_LEGACY);
    assert_string_equal(sc_properties_get(&s.all, "job_queue_size"), "3"); /* as a snapshot tells it */
}

static void variables_with_a_condition_of_their_own(void **state)
{
    static const char *const env[] = {"TS_ALLOWED_URLS",
                                      "https://a/.*",
                                      "TS_TOKEN_EXPIRATION_TIME_MIN",
                                      "1.5",
                                      "TS_HEADER_KEY_SEQUENCE_ID",
                                      "sid",
                                      "TS_OPEN_INFERENCE_PROTOCOL",
                                      "oip",
                                      "TS_MODELS",
                                      "{",
                                      "TS_METRIC_TIME_INTERVAL",
                                      "1",
                                      "TS_PYTHON",
                                      "/x",
                                      NULL};
    (void)state;
    variables = env;
    assert_int_equal(resolve("enable_envvars_config=true\n"), 0);
    assert_string_equal(s.allowed_urls, "file://.*|http(s)?://.*");
    assert_true(s.token_expiration_min == 1.5);
    assert_string_equal(s.sequence_id_header, "sid");
    assert_null(s.models);
    assert_int_equal(s.metric_interval, 60);
    assert_string_not_equal(s.python, "/x");
    assert_int_equal(resolve("enable_envvars_config=true\nuse_env_allowed_urls=true\n"), 0);
    assert_string_equal(s.allowed_urls, "https://a/.*");
    assert_int_equal(resolve("ts_open_inference_protocol=false\n"), 0); /* this one always counts */
    assert_true(s.open_inference_protocol);
    static const char *const other[] = {"TS_OPEN_INFERENCE_PROTOCOL", "OIP", NULL};
    variables = other;
    assert_int_equal(resolve("ts_open_inference_protocol=true\n"), 0);
    assert_false(s.open_inference_protocol);
}

static void variables_in_values(void **state)
{
    static const char *const env[] = {"STORE", "/tmp", "N", "9", "QUEUE", "12", NULL};
    (void)state;
    variables = env;
    flag("load_models", "$$STORE$$.mar");
    assert_int_equal(resolve("model_store=$$STORE$$\njob_queue_size=$$QUEUE$$\nservice_envelope=$$N$$\n"), 0);
    assert_string_equal(s.model_store, "/tmp");
    assert_int_equal(s.job_queue_size, 12);
    assert_string_equal(s.load_models, "/tmp.mar");
    assert_string_equal(s.service_envelope, "$$N$$"); /* one letter is no name */
    assert_int_equal(resolve("a=1\nmodel_store=$$NONE$$\n"), SC_EINVAL);
    assert_int_equal(strncmp(msg.text, "Invalid Environment Variable NONE", 33), 0);
    assert_non_null(strstr(msg.text, "c.properties:2"));
}

static void folders_and_logs(void **state)
{
    static const char *const env[] = {"LOG_LOCATION", "/l", "METRICS_LOCATION", "/m", "TEMP", "/tmp", NULL};
    static const char *const bad[] = {"TEMP", "/no/such/folder", NULL};
    (void)state;
    assert_int_equal(resolve(NULL), 0);
    assert_string_equal(s.log_dir, "logs");
    assert_string_equal(s.temp, "/tmp");
    assert_null(s.config_file);
    assert_true(s.snapshots);
    variables = env;
    assert_int_equal(resolve(""), 0);
    assert_string_equal(s.log_dir, "/l");
    assert_string_equal(s.metrics_dir, "/m");
    assert_int_equal(resolve("log_location=/k\n"), 0);
    assert_string_equal(s.log_dir, "/k");
    variables = bad;
    assert_int_equal(resolve(""), SC_ENOTFOUND);
    assert_string_equal(msg.text,
                        "Invalid temp directory: /no/such/folder, please check TEMP environment variable.");
}

static void the_servers_home_must_exist(void **state)
{
    static const char *const env[] = {"TS_MODEL_SERVER_HOME", "/no/such/home", NULL};
    (void)state;
    assert_int_equal(resolve("model_server_home=/tmp\n"), 0);
    assert_string_equal(s.model_server_home, "/tmp");
    variables = env;
    assert_int_equal(resolve("model_server_home=/tmp\n"), SC_ENOTFOUND);
    assert_string_equal(msg.text, "Model server home not exist: /no/such/home");
}

static void stores_are_absolute_and_one_follows_the_other(void **state)
{
    static const char *const env[] = {"TS_MODEL_STORE", "/", NULL};
    char here[PATH_MAX], path[PATH_MAX], text[PATH_MAX];
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir("/tmp"), 0);
    snprintf(text, sizeof text, "model_store=%s \n", dir + 5);
    assert_int_equal(resolve(text), 0);
    assert_string_equal(s.model_store, dir);
    assert_string_equal(s.workflow_store, dir);
    assert_int_equal(resolve("model_store=not-there\n"), 0);
    snprintf(path, sizeof path, "/tmp/not-there");
    assert_string_equal(s.model_store, path);
    variables = env;
    snprintf(text, sizeof text, "enable_envvars_config=true\nmodel_store=%s\n", dir);
    assert_int_equal(resolve(text), 0);
    assert_string_equal(s.model_store, "/");
    assert_string_equal(s.workflow_store, dir); /* as TorchServe has it */
    assert_int_equal(chdir(here), 0);
}

static void addresses(void **state)
{
    static const struct {
        const char *text, *says; /* NULL: good */
    } cases[] = {
        {"http://127.0.0.1:8080", NULL},
        {"http://h", NULL},
        {"HTTP://h:0", NULL},
        {"http://h:65534", NULL},
        {"unix:/a/b", NULL},
        {"UNIX:/a", NULL},
        {"http://h:65535", "Invalid port number: http://h:65535"},
        {"http://h:99999999999999999999", "Invalid port number: "},
        {"127.0.0.1:8080", "Invalid binding address: 127.0.0.1:8080"},
        {"http://[::1]:8080", "Invalid binding address: "},
        {"http://h/", "Invalid binding address: "},
        {"http://h:80/x", "Invalid binding address: "},
        {"http://h:", "Invalid binding address: "},
        {"http://h:+1", "Invalid binding address: "},
        {"http://:80", "Invalid binding address: "},
        {"http://", "Invalid binding address: "},
        {"unix:a", "Invalid binding address: "},
        {"", "Invalid binding address: "},
    };
    char text[128];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        snprintf(text, sizeof text, "inference_address=%s\n", cases[i].text);
        int rc = resolve(text);
        if (rc != (cases[i].says ? SC_EINVAL : 0) ||
            (rc < 0 && strncmp(msg.text, cases[i].says, strlen(cases[i].says)) != 0))
            fail_msg("%s: %d, %s", cases[i].text, rc, msg.text);
    }
    assert_int_equal(resolve("use_native_io=false\nmetrics_address=unix:/x\n"), SC_EINVAL);
    assert_string_equal(msg.text, "unix domain socket requires use_native_io set to true.");
}

static void a_files_own_marks_are_refused(void **state)
{
    (void)state;
    assert_int_equal(resolve("sconce.home=/evil\n"), SC_EINVAL);
    assert_non_null(strstr(msg.text, "sconce.home"));
}

static void what_a_snapshot_restores_must_be_there(void **state)
{
    (void)state;
    assert_int_equal(
        resolve("model_store=/tmp\nmodel_snapshot={\"modelCount\": 1, \"models\": {\"m\": {\"1.0\": "
                "{\"defaultVersion\": true, \"marName\": \"no-such.mar\", \"minWorkers\": 1, "
                "\"maxWorkers\": 1, \"batchSize\": 1, \"maxBatchDelay\": 1}}}}\n"),
        SC_ENOTFOUND);
    assert_string_equal(msg.text, "Model archive file for model :m, version :1.0 not found in model store");
    assert_int_equal(resolve("model_snapshot={\n"), SC_EINVAL);
    assert_int_equal(resolve("model_snapshot={\"modelCount\": 0}\n"), 0);
}

static void gpus(void **state)
{
    static const char *const env[] = {"TS_NUMBER_OF_GPU", "5", NULL};
    (void)state;
    assert_int_equal(resolve("default_workers_per_model=0\n"), 0);
    assert_int_equal(s.number_of_gpu, -1);
    assert_true(sc_settings_default_workers(&s) >= 1);
    sc_settings_set_gpus(&s, 4);
    assert_int_equal(s.number_of_gpu, 4);
    assert_int_equal(sc_settings_default_workers(&s), 4);
    assert_string_equal(sc_properties_get(&s.all, "number_of_gpu"), "4");
    struct sc_settings_sources from = sources("number_of_gpu=2\n");
    from.gpus = 1;
    sc_settings_free(&s);
    assert_int_equal(sc_settings_resolve(&s, &from, &msg), 0);
    assert_int_equal(s.number_of_gpu, 1);
    sc_settings_set_gpus(&s, 8);
    assert_int_equal(s.number_of_gpu, 1);
    variables = env;
    from = sources("enable_envvars_config=true\n");
    from.gpus = 1;
    sc_settings_free(&s);
    assert_int_equal(sc_settings_resolve(&s, &from, &msg), 0);
    assert_int_equal(s.number_of_gpu, 5); /* as TorchServe: not compared */
    assert_int_equal(resolve("default_workers_per_model=3\n"), 0);
    assert_int_equal(sc_settings_default_workers(&s), 3);
    assert_int_equal(resolve("debug=true\ndefault_workers_per_model=3\n"), 0);
    assert_int_equal(sc_settings_default_workers(&s), 1);
}

static void the_interpreter_that_a_shell_would_find(void **state)
{
    char python[64], path[128], text[64];
    const char *const env[] = {"PATH", path, NULL}, *const venv[] = {"PATH", path, "VIRTUAL_ENV", dir, NULL};
    (void)state;
    snprintf(python, sizeof python, "%s/python3", dir);
    FILE *f = fopen(python, "we");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(python, 0755), 0);
    snprintf(path, sizeof path, "/no/such/folder::%s:/usr/bin", dir);
    variables = env;
    assert_int_equal(resolve(""), 0);
    assert_string_equal(s.python, python);
    variables = venv; /* it has no bin/python */
    assert_int_equal(resolve(""), 0);
    assert_string_equal(s.python, python);
    snprintf(text, sizeof text, "python=%s/x\n", dir);
    assert_int_equal(resolve(text), 0);
    assert_string_not_equal(s.python, python);
    assert_int_equal(resolve("python=python3.9\n"), 0);
    assert_string_equal(s.python, "python3.9");
    unlink(python);
}

static void the_journey_keeps_what_was_found(void **state)
{
    static const char *const env[] = {"LOG_LOCATION", "/l", "TEMP", "/tmp", NULL};
    struct sc_buf b;
    (void)state;
    variables = env;
    struct sc_settings_sources from = sources("unknown=$x=\\u00e9\nload_models=a\n");
    from.home = "/usr";
    from.no_snapshots = true;
    from.gpus = 2;
    assert_int_equal(sc_settings_resolve(&s, &from, &msg), 0);
    sc_buf_init(&b, 1 << 16);
    sc_settings_write(&s, &b);
    sc_settings_free(&s);
    setenv("LOG_LOCATION", "/another", 1);
    assert_int_equal(sc_settings_read(&s, sc_buf_view(&b), "settings", &msg), 0);
    unsetenv("LOG_LOCATION");
    sc_buf_free(&b);
    assert_string_equal(s.log_dir, "/l");
    assert_string_equal(s.temp, "/tmp");
    assert_string_equal(s.home, "/usr");
    assert_false(s.snapshots);
    assert_int_equal(s.number_of_gpu, 2);
    assert_string_equal(sc_properties_get(&s.all, "unknown"), "$x=\xc3\xa9");
    assert_string_equal(sc_properties_get(&s.all, "load_models"), "a");
}

/* ---- regular expressions ------------------------------------------------------------------------------- */

static void javas_regular_expressions(void **state)
{
    static const struct {
        const char *java, *posix; /* NULL: refused */
    } cases[] = {
        {".*SECRET.*", ".*SECRET.*"},
        {"A|B", "A|B"},
        {"\\\\d+\\\\.x", "[0-9]+\\.x"},
        {"[\\\\w-]+", "[A-Za-z0-9_-]+"},
        {"(?:a|b)?", "(a|b)?"},
        {"\\\\QA.B\\\\E.", "A\\.B."},
        {"[^a]{2,3}", "[^a]{2,3}"},
        {"a*?", NULL},
        {"a++", NULL},
        {"(?=x)", NULL},
        {"(?i)x", NULL},
        {"[a", NULL},
        {"(a", NULL},
        {"*", NULL},
        {"\\\\bx", NULL},
        {"[[:a]]", NULL},
        {"a\\\\", NULL},
    };
    char text[128];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        snprintf(text, sizeof text, "blacklist_env_vars=%s\n", cases[i].java);
        int rc = resolve(text);
        if (rc != (cases[i].posix ? 0 : SC_EINVAL))
            fail_msg("%s: %d %s", cases[i].java, rc, msg.text);
        if (rc == 0)
            assert_string_equal(s.blacklist_env_vars, cases[i].posix);
        else
            assert_non_null(strstr(msg.text, "blacklist_env_vars"));
    }
}

/* ---- what the log says --------------------------------------------------------------------------------- */

static struct sc_buf said;

static void hear(void *ctx, enum sc_log_level level, const char *text)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    (void)ctx;
    sc_buf_printf(&said, "%s %s\n", names[level], text);
}

static const char *notes(const char *text)
{
    if (resolve(text) < 0)
        fail_msg("%s: %s", text, msg.text);
    sc_buf_clear(&said);
    sc_settings_notes(&s, hear, NULL);
    sc_buf_char(&said, '\0');
    return said.p;
}

static void notes_are_one_line_per_matter(void **state)
{
    (void)state;
    sc_buf_init(&said, 1 << 16);
    assert_string_equal(notes("allowed_urls=x\nmodel_store=/tmp\n"), "");
    assert_non_null(strstr(notes(""), "WARN Your torchserve instance can access any URL to load models."));
    assert_string_equal(notes("allowed_urls=x\ngrpc_inference_port=1\ncpp_log_config=x\n"),
                        "WARN the C++ worker: not in this version; without effect: cpp_log_config\n");
    assert_string_equal(notes("allowed_urls=x\nworkflow_store=/tmp\ncpu_launcher_enable=true\n"), "");
    assert_non_null(strstr(notes("vmargs=-Xmx1g\n"), "INFO vmargs is accepted and ignored"));
    assert_non_null(strstr(notes("token_expiration_min=x\n"), "ERROR Token expiration not a valid integer"));
    assert_true(s.token_expiration_min == 60);
    assert_non_null(strstr(notes("metrics_mode=what\n"), "ERROR metrics_mode is \"what\""));
    assert_int_equal(s.metrics_mode, SC_METRICS_LOG);
    assert_non_null(strstr(notes("debug=true\n"), "WARN debug=true"));
    sc_buf_free(&said);
}

static void the_dump_has_torchserves_labels_in_their_order(void **state)
{
    static const char *const labels[] = {"Torchserve version: 0.12.0",
                                         "TS Home: /usr",
                                         "Current directory: /",
                                         "Temp directory: /tmp",
                                         "Metrics config path: /usr/ts/configs/metrics.yaml",
                                         "Number of GPUs: 2",
                                         "Number of CPUs: ",
                                         "Max heap size: N/A",
                                         "Python executable: /p",
                                         "Config file: ",
                                         "Inference address: http://127.0.0.1:8080",
                                         "Management address: http://127.0.0.1:8081",
                                         "Metrics address: http://127.0.0.1:8082",
                                         "Model Store: /tmp",
                                         "Initial Models: N/A",
                                         "Log dir: /",
                                         "Metrics dir: /",
                                         "Netty threads: 0",
                                         "Netty client threads: 0",
                                         "Default workers per model: 2",
                                         "Blacklist Regex: A\\d",
                                         "Maximum Response Size: 6553500",
                                         "Maximum Request Size: 6553500",
                                         "Limit Maximum Image Pixels: true",
                                         "Prefer direct buffer: false",
                                         "Allowed Urls: [a, b]",
                                         "Custom python dependency for model allowed: false",
                                         "Enable metrics API: true",
                                         "Metrics mode: LOG",
                                         "Disable system metrics: false",
                                         "Workflow Store: /tmp",
                                         "CPP log config: N/A",
                                         "Model config: N/A",
                                         "System metrics command: default",
                                         "Model API enabled: false"};
    struct sc_buf b;
    (void)state;
    struct sc_settings_sources from =
        sources("model_store=/tmp\npython=/p\nallowed_urls=a,b\nblacklist_env_vars=A\\\\d\n");
    from.gpus = 2;
    from.home = "/usr";
    assert_int_equal(sc_settings_resolve(&s, &from, &msg), 0);
    sc_buf_init(&b, 1 << 16);
    sc_settings_dump(&s, &b);
    struct sc_span rest = sc_buf_view(&b);
    for (size_t i = 0; i < SC_COUNT(labels); i++) {
        struct sc_span line = sc_span_sub(rest, 0, sc_span_find(rest, '\n'));
        if (!sc_span_starts(line, sc_span_str(labels[i])))
            fail_msg("\"%.*s\" in place of \"%s\"", SC_FMT(line), labels[i]);
        rest = sc_span_sub(rest, line.n + 1, rest.n);
    }
    assert_int_equal(rest.n, 0);
    sc_buf_free(&b);
}

static void the_file_to_read(void **state)
{
    char here[PATH_MAX];
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(dir), 0);
    unsetenv("LOG_LOCATION");
    unsetenv("TS_CONFIG_FILE");
    assert_null(sc_settings_find_file(NULL, true));
    fclose(fopen("config.properties", "we"));
    char *found = sc_settings_find_file(NULL, true);
    assert_string_equal(found, "config.properties");
    free(found);
    assert_int_equal(mkdir("logs", 0755) | mkdir("logs/config", 0755), 0);
    fclose(fopen("logs/config/20240530214603625-startup.cfg", "we"));
    found = sc_settings_find_file(NULL, true);
    assert_string_equal(found, "logs/config/20240530214603625-startup.cfg");
    free(found);
    found = sc_settings_find_file(NULL, false);
    assert_string_equal(found, "config.properties");
    free(found);
    found = sc_settings_find_file("given", true);
    assert_string_equal(found, "given");
    free(found);
    setenv("TS_CONFIG_FILE", "/x", 1);
    found = sc_settings_find_file("given", true);
    assert_string_equal(found, "/x");
    free(found);
    unsetenv("TS_CONFIG_FILE");
    unlink("logs/config/20240530214603625-startup.cfg");
    unlink("config.properties");
    assert_int_equal(rmdir("logs/config") | rmdir("logs") | chdir(here), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_command_line_beats_the_file_and_the_environment_both, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(variables_with_a_condition_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(variables_in_values, setup, teardown),
        cmocka_unit_test_setup_teardown(folders_and_logs, setup, teardown),
        cmocka_unit_test_setup_teardown(the_servers_home_must_exist, setup, teardown),
        cmocka_unit_test_setup_teardown(stores_are_absolute_and_one_follows_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_files_own_marks_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_snapshot_restores_must_be_there, setup, teardown),
        cmocka_unit_test_setup_teardown(gpus, setup, teardown),
        cmocka_unit_test_setup_teardown(the_interpreter_that_a_shell_would_find, setup, teardown),
        cmocka_unit_test_setup_teardown(the_journey_keeps_what_was_found, setup, teardown),
        cmocka_unit_test_setup_teardown(javas_regular_expressions, setup, teardown),
        cmocka_unit_test_setup_teardown(notes_are_one_line_per_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(the_dump_has_torchserves_labels_in_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_to_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
