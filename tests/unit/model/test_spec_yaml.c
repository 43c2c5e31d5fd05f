/* model-config.yaml of Python models, the `models` setting, and who decides a number. */
#include "test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/spec_models.h"
#include "model/spec_parts.h"

static struct sc_model_spec s;
static struct sc_spec_yaml y;
static struct sc_settings settings;
static struct sc_archive_error err;
static struct sc_buf said;
static struct sc_msg msg;

static void hear(void *ctx, enum sc_log_level level, const char *text)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    (void)ctx;
    sc_buf_printf(&said, "%s %s\n", names[level], text);
}

static int setup(void **state)
{
    (void)state;
    sc_buf_init(&said, 1 << 16);
    sc_spec_init(&s);
    return sc_settings_read(&settings, SC_SPAN(""), "", &msg);
}

static int teardown(void **state)
{
    (void)state;
    sc_buf_free(&said);
    sc_spec_free(&s);
    sc_settings_free(&settings);
    return 0;
}

static int read_yaml(const char *text, int gpus)
{
    sc_buf_clear(&said);
    sc_spec_free(&s);
    sc_spec_init(&s);
    y = (struct sc_spec_yaml){0};
    return sc_spec_yaml_read(&s, &y, sc_span_str(text), "m.yaml", gpus, hear, NULL, &msg);
}

static const char *heard(void)
{
    sc_buf_char(&said, '\0');
    said.n--;
    return said.p;
}

/* ---- keys -----------------------------------------------------------------------------------------------
 */

#define Y(f) &y.f
#define S(f) &s.f

static void integers(void **state)
{
    const struct {
        const char *key;
        int *at, otherwise; /* what holds when the value is not taken */
        const char *low;    /* a value below the bound */
        int becomes;        /* and what comes of it */
        bool warns;
    } keys[] = {
        {"minWorkers", Y(min_workers), 0, "0", 1, false},
        {"maxWorkers", Y(max_workers), 0, "-1", 0, true},
        {"batchSize", Y(batch_size), 0, "-3", 1, false},
        {"maxBatchDelay", Y(max_batch_delay), 0, "-3", 0, false},
        {"responseTimeout", Y(response_timeout), 0, "0", 0, true},
        {"startupTimeout", Y(startup_timeout), 0, "-1", 0, true},
        {"maxRetryTimeoutInSec", S(max_retry), 300, "-1", 0, false},
        {"clientTimeoutInMills", S(client_timeout), 0, "-1", 0, false},
        {"jobQueueSize", S(job_queue_size), 0, "0", 0, true},
        {"sequenceMaxIdleMSec", S(sequence_max_idle), 0, "-1", 0, false},
        {"sequenceTimeoutMSec", S(sequence_timeout), 0, "-1", 0, false},
        {"maxSequenceJobQueueSize", S(sequence_queue), 1, "0", 1, false},
        {"maxNumSequence", S(sequences), 1, "-1", 1, false},
    };
    static const char *const no_integers[] = {"\"3\"",  "3.0",        "three", "true", "[3]",
                                              "{a: 3}", "2147483648", "~",     "1e3"};
    char text[128], warning[160];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(keys); i++) {
        snprintf(text, sizeof text, "%s: 0x1F\n", keys[i].key);
        assert_int_equal(read_yaml(text, 0), 0);
        if (*keys[i].at != 31 || said.n)
            fail_msg("%s gave %d, %s", text, *keys[i].at, heard());
        snprintf(text, sizeof text, "%s: %s\n", keys[i].key, keys[i].low);
        assert_int_equal(read_yaml(text, 0), 0);
        if (*keys[i].at != keys[i].becomes || (said.n > 0) != keys[i].warns)
            fail_msg("%s gave %d, %s", text, *keys[i].at, heard());
        for (size_t k = 0; k < SC_COUNT(no_integers); k++) {
            snprintf(text, sizeof text, "%s: %s\n", keys[i].key, no_integers[k]);
            snprintf(warning, sizeof warning, "WARN Invalid %s: ", keys[i].key);
            assert_int_equal(read_yaml(text, 0), 0);
            if (*keys[i].at != keys[i].otherwise || strncmp(heard(), warning, strlen(warning)) != 0 ||
                !strstr(said.p, "should be an integer"))
                fail_msg("%s gave %d, %s", text, *keys[i].at, heard());
        }
    }
}

static void booleans(void **state)
{
    const struct {
        const char *key;
        bool *at;
    } keys[] = {{"useJobTicket", S(use_job_ticket)},
                {"sequenceBatching", S(sequence_batching)},
                {"continuousBatching", S(continuous_batching)},
                {"asyncCommunication", S(async_communication)},
                {"useVenv", S(use_venv)}};
    static const struct {
        const char *text;
        bool value, warns;
    } values[] = {{"true", true, false},   {"Yes", true, false}, {"ON", true, false},
                  {"false", false, false}, {"no", false, false}, {"\"true\"", false, true},
                  {"1", false, true},      {"y", false, true},   {"[true]", false, true}};
    char text[64];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(keys); i++)
        for (size_t k = 0; k < SC_COUNT(values); k++) {
            snprintf(text, sizeof text, "%s: %s\n", keys[i].key, values[k].text);
            assert_int_equal(read_yaml(text, 0), 0);
            if (*keys[i].at != values[k].value || (said.n > 0) != values[k].warns)
                fail_msg("%s gave %d, %s", text, *keys[i].at, heard());
        }
}

static void devices(void **state)
{
    (void)state;
    assert_int_equal(read_yaml("deviceType: GPU\ndeviceIds: [1, 0, 3]\n", 4), 0);
    assert_int_equal(s.device, SC_DEVICE_GPU);
    assert_int_equal(s.ndevices, 3);
    assert_true(s.devices[0] == 1 && s.devices[1] == 0 && s.devices[2] == 3);
    assert_int_equal(said.n, 0);
    assert_int_equal(read_yaml("deviceType: Cpu\ndeviceIds:\n- 0\n", 1), 0);
    assert_int_equal(s.device, SC_DEVICE_CPU);
    assert_int_equal(s.ndevices, 1);
    assert_int_equal(read_yaml("deviceType: tpu\n", 1), 0);
    assert_int_equal(s.device, SC_DEVICE_AUTO);
    assert_string_equal(heard(), "WARN Invalid deviceType: tpu, should be cpu or gpu\n");
    const char *const bad[] = {"deviceIds: [0, 4, 1]\n", "deviceIds: [0, -1, 1]\n", "deviceIds: [0, x, 1]\n",
                               "deviceIds: [0, \"1\", 1]\n", "deviceIds: [0, [1], 1]\n"};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(read_yaml(bad[i], 4), 0);
        if (s.ndevices != 0 || !strstr(heard(), "WARN Invalid deviceId:") || strchr(said.p, '\n')[1])
            fail_msg("%s gave %u, %s", bad[i], s.ndevices, heard());
    }
    assert_int_equal(read_yaml("deviceIds: [7]\n", -1), 0); /* nobody knows yet how many there are */
    assert_int_equal(s.ndevices, 1);
    assert_int_equal(read_yaml("deviceIds: 3\n", 4), 0);
    assert_non_null(strstr(heard(), "WARN Invalid deviceIds: 3, should be a list"));
}

static void parallel_models(void **state)
{
    (void)state;
    assert_int_equal(read_yaml("parallelType: pp\nparallelLevel: 2\ntorchrun:\n  nproc-per-node: 4\n", 8), 0);
    assert_string_equal(s.parallel_type, "pp");
    assert_int_equal(s.parallel_level, 4); /* the later one counts */
    assert_true(s.torchrun.given);
    assert_int_equal(s.torchrun.nproc, 4);
    assert_int_equal(s.torchrun.nnodes, 1);
    assert_string_equal(s.torchrun.rdzv_backend, "c10d");
    assert_int_equal(read_yaml("torchrun:\n  nproc-per-node: 4\n  nnodes: 2\n  rdzv-backend: static\n"
                               "  rdzv-endpoint: h:1\n  rdzv-conf: x\n  monitor-interval: 5\n  node-rank: 0\n"
                               "  OMP_NUMBER_THREADS: 3\n  what: 1\nparallelLevel: 2\nparallelType: TP\n",
                               8),
                     0);
    assert_int_equal(s.parallel_level, 2);
    assert_string_equal(s.parallel_type, "tp");
    assert_int_equal(s.torchrun.nnodes, 2);
    assert_int_equal(s.torchrun.omp_threads, 3);
    assert_string_equal(s.torchrun.rdzv_backend, "static");
    assert_string_equal(s.torchrun.rdzv_endpoint, "h:1");
    assert_string_equal(heard(), "WARN unsupported parameter what\n");
    assert_int_equal(read_yaml("parallelLevel: 2\n", 8), 0);
    assert_int_equal(s.parallel_level, 0); /* without a type it counts for nothing */
    assert_int_equal(read_yaml("parallelType: zz\ntorchrun: 3\n", 8), 0);
    assert_string_equal(heard(), "WARN Invalid parallelType: zz, should be pp, tp, pptp or custom\n"
                                 "WARN Invalid torchrun: 3, should be a map of torchrun parameters\n");
}

static void what_is_the_handlers_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(
        read_yaml("handler:\n  batchSize: x\n  deviceIds: [z]\n  torchrun: {nnodes: x}\nbackend: nccl\n"
                  "pt2: {compile: {enable: true}}\nbase: &b {minWorkers: x}\nuse: *b\n<<: *b\n"
                  "\"handler.x\": 1\nminWorkers: 2\n",
                  0),
        0);
    assert_int_equal(said.n, 0);
    assert_int_equal(y.min_workers, 2);
    assert_int_equal(s.nextras, 0);
    assert_int_equal(read_yaml("batchPolicy: fill\nreplay: never\n", 0), 0);
    assert_true(s.fill);
    assert_false(s.replay);
    assert_int_equal(read_yaml("batchPolicy: lazy\nreplay: x\n", 0), 0);
    assert_true(!s.fill && s.replay);
    assert_non_null(strstr(heard(), "should be eager or fill"));
}

static void broken_files(void **state)
{
    (void)state;
    assert_int_equal(read_yaml("", 0), 0); /* TorchServe breaks on it */
    assert_true(y.present);
    assert_int_equal(read_yaml("# nothing\n", 0), 0);
    const char *const bad[] = {"minWorkers: 3\na: [1\n", "just words\n", "a: 1\n\tb: 2\n", "a: b: c\n",
                               "\x01"};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(read_yaml(bad[i], 0), SC_EINVAL);
        assert_false(y.present);
        assert_int_equal(y.min_workers, 0);
        assert_int_equal(said.n, 0);
    }
}

static void the_backend(void **state)
{
    char backend[32];
    (void)state;
    assert_int_equal(sc_spec_yaml_backend(backend, SC_SPAN("a: {backend: x}\nbackend: encoder\n"), "f", &msg),
                     0);
    assert_string_equal(backend, "encoder");
    assert_int_equal(sc_spec_yaml_backend(backend, SC_SPAN("a: 1\n"), "f", &msg), 0);
    assert_string_equal(backend, "");
    assert_int_equal(sc_spec_yaml_backend(backend, SC_SPAN("backend: ../x\n"), "f", &msg), SC_EUNSUPPORTED);
    assert_int_equal(sc_spec_yaml_backend(backend, SC_SPAN("a: [\n"), "f", &msg), SC_EINVAL);
}

/* ---- the setting `models` -------------------------------------------------------------------------------
 */

static void the_models_setting(void **state)
{
    static const char json[] =
        "{\"other\": {\"1.0\": {\"minWorkers\": 9}}, \"m\": {\"2.0\": {\"minWorkers\": 8}, \"1.0\": {"
        "\"defaultVersion\": true, \"marName\": \"m.mar\", \"minWorkers\": 1, \"maxWorkers\": \"4\", "
        "\"batchSize\": 8, "
        "\"maxBatchDelay\": 0, \"responseTimeout\": -5, \"startupTimeout\": {\"a\": [1]}, \"x\": [1, {\"y\": "
        "2}], "
        "\"runtimeType\": \"python3\"}}}";
    struct sc_spec_models m;
    (void)state;
    assert_int_equal(sc_spec_models_check(json, &msg), 0);
    sc_spec_models_find(&m, json, "m", "1.0", hear, NULL);
    assert_int_equal(m.min_workers, 1);
    assert_int_equal(m.max_workers, 4);
    assert_int_equal(m.batch_size, 8);
    assert_int_equal(m.max_batch_delay, SC_SPEC_UNSET);
    assert_int_equal(m.response_timeout, SC_SPEC_UNSET);
    assert_int_equal(m.startup_timeout, SC_SPEC_UNSET);
    assert_string_equal(m.runtime, "python3");
    assert_string_equal(heard(), "ERROR Invalid value for model: m:1.0, parameter: startupTimeout\n");
    sc_spec_models_find(&m, json, "m", "2.0", hear, NULL);
    assert_int_equal(m.min_workers, 8);
    sc_spec_models_find(&m, json, "m", "3.0", hear, NULL);
    assert_int_equal(m.min_workers, SC_SPEC_UNSET);
    sc_spec_models_find(&m, NULL, "m", "1.0", hear, NULL);
    assert_string_equal(m.runtime, "");
    sc_buf_clear(&said);
    sc_spec_models_find(&m,
                        "{\"m\":{\"1\":{\"runtimeType\":\"java\",\"batchSize\":1.5,\"minWorkers\":null}}}",
                        "m", "1", hear, NULL);
    assert_string_equal(heard(), "ERROR Invalid value for model: m:1, parameter: runtimeType\n"
                                 "ERROR Invalid value for model: m:1, parameter: batchSize\n"
                                 "ERROR Invalid value for model: m:1, parameter: minWorkers\n");
}

static void malformed_models(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "3",
                                      "{\"m\": 1}",
                                      "{\"m\": []}",
                                      "{\"m\": {\"1.0\": 3}}",
                                      "{\"m\": {\"1.0\": {}}} x",
                                      "{\"m\": {\"1.0\": {\"a\": }}}"};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(bad); i++)
        if (sc_spec_models_check(bad[i], &msg) == 0)
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(sc_spec_models_check("{}", &msg), 0);
}

/* ---- who decides ----------------------------------------------------------------------------------------
 */

#define U SC_SPEC_UNSET

static void numbers_come_from_the_first_who_names_them(void **state)
{
    /* call, YAML (0: nothing), models (NULL: nothing) -> result */
    static const struct {
        int call, yaml;
        bool models;
        int batch, delay, response;
    } cases[] =
        {
            {U, 0, false, 1, 100, 77}, {U, 0, true, 11, 12, 13}, {U, 5, true, 5, 5, 5},
            {9, 5, true, 9, 9, 9},     {9, 0, false, 9, 9, 9},   {0, 5, true, 1, 0, 5},
            {-4, 5, true, 1, -4, 5}, /* a delay is kept, as by TorchServe; no batch, no time limit */
        };
    struct sc_spec_want w;
    (void)state;
    settings.default_response_timeout = settings.default_startup_timeout = 77;
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        for (int present = 0; present < 2; present++) {
            int v = cases[i].yaml;
            free(settings.models);
            settings.models = !cases[i].models
                                  ? NULL
                                  : sc_span_dup(SC_SPAN("{\"m\":{\"1.0\":{\"batchSize\":11,"
                                                        "\"maxBatchDelay\":12,\"responseTimeout\":13,"
                                                        "\"startupTimeout\":13}}}"));
            y = (struct sc_spec_yaml){.present = present || v,
                                      .batch_size = v,
                                      .max_batch_delay = v,
                                      .response_timeout = v,
                                      .startup_timeout = v};
            sc_spec_want_init(&w, SC_SPEC_API, "u");
            w.batch_size = w.max_batch_delay = w.response_timeout = w.startup_timeout = cases[i].call;
            snprintf(s.name, sizeof s.name, "m");
            assert_int_equal(sc_spec_settle(&s, &y, &settings, &w, hear, NULL, &err), 0);
            if (s.batch_size != cases[i].batch || s.max_batch_delay != cases[i].delay ||
                s.response_timeout != cases[i].response || s.startup_timeout != cases[i].response)
                fail_msg("case %zu: %d %d %d %d", i, s.batch_size, s.max_batch_delay, s.response_timeout,
                         s.startup_timeout);
        }
}

static void workers_too(void **state)
{
    static const struct {
        enum sc_spec_mode mode;
        int yaml_min, yaml_max, initial, fallback;
        const char *models;
        int min, max;
        bool warns;
    } cases[] = {
        {SC_SPEC_API, 0, 0, U, 0, NULL, 0, 0, false},
        {SC_SPEC_API, 0, 0, U, 3, NULL, 3, 3, false},
        {SC_SPEC_API, 0, 0, 2, 3, NULL, 2, 2, false},
        {SC_SPEC_API, 0, 0, -2, 3, NULL, 0, 0, false},
        {SC_SPEC_API, 1, 4, 2, 3, NULL, 1, 4, false},
        {SC_SPEC_API, 4, 1, 2, 3, NULL, 2, 2, false},
        {SC_SPEC_API, 1, 0, 2, 3, NULL, 2, 2, false},
        {SC_SPEC_API, 0, 0, 2, 3, "{\"m\":{\"1.0\":{\"minWorkers\":7,\"maxWorkers\":8}}}", 2, 2, false},
        {SC_SPEC_STARTUP, 0, 0, U, 3, NULL, 3, 3, false},
        {SC_SPEC_STARTUP, 0, 0, U, 3, "{\"m\":{\"1.0\":{\"minWorkers\":7,\"maxWorkers\":8}}}", 7, 8, false},
        {SC_SPEC_STARTUP, 0, 0, U, 3, "{\"m\":{\"1.0\":{\"minWorkers\":7}}}", 7, 7, false},
        {SC_SPEC_STARTUP, 0, 0, U, 3, "{\"m\":{\"1.0\":{\"maxWorkers\":7}}}", 3, 7, false},
        {SC_SPEC_STARTUP, 1, 2, U, 3, "{\"m\":{\"1.0\":{\"minWorkers\":7,\"maxWorkers\":8}}}", 1, 2, false},
        {SC_SPEC_STARTUP, 2, 0, U, 3, NULL, 3, 3, true},
        {SC_SPEC_RESTORE, 1, 2, U, 3, NULL, 5, 6, false},
    };
    struct sc_spec_want w;
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        sc_buf_clear(&said);
        free(settings.models);
        settings.models = cases[i].models ? sc_span_dup(sc_span_str(cases[i].models)) : NULL;
        settings.default_workers = cases[i].fallback;
        y = (struct sc_spec_yaml){
            .present = true, .min_workers = cases[i].yaml_min, .max_workers = cases[i].yaml_max};
        sc_spec_want_init(&w, cases[i].mode, "u");
        w.initial_workers = cases[i].initial;
        w.min_workers = 5;
        w.max_workers = 6;
        snprintf(s.name, sizeof s.name, "m");
        assert_int_equal(sc_spec_settle(&s, &y, &settings, &w, hear, NULL, &err), 0);
        if (s.min_workers != cases[i].min || s.max_workers != cases[i].max || (said.n > 0) != cases[i].warns)
            fail_msg("case %zu: %d %d, %s", i, s.min_workers, s.max_workers, heard());
    }
    assert_int_equal(read_yaml("", 0), 0);
}

static void gpus_cap_parallel_models(void **state)
{
    struct sc_spec_want w;
    (void)state;
    sc_spec_want_init(&w, SC_SPEC_API, "u");
    w.initial_workers = 5;
    assert_int_equal(read_yaml("parallelType: custom\nparallelLevel: 3\n", 8), 0);
    snprintf(s.name, sizeof s.name, "m");
    settings.number_of_gpu = 8;
    assert_int_equal(sc_spec_settle(&s, &y, &settings, &w, hear, NULL, &err), 0);
    assert_int_equal(s.max_workers, 2);
    settings.number_of_gpu = 2;
    assert_int_equal(sc_spec_settle(&s, &y, &settings, &w, hear, NULL, &err), SC_EINVAL);
    assert_int_equal(err.status, 500);
    assert_string_equal(err.type, "WorkerInitializationException");
    assert_string_equal(err.msg.text, "No enough gpu devices for model:m parallelLevel:3");
    settings.number_of_gpu = 0;
    s.device = SC_DEVICE_GPU;
    assert_int_equal(sc_spec_settle(&s, &y, &settings, &w, hear, NULL, &err), 0);
    assert_int_equal(s.device, SC_DEVICE_CPU);
    assert_int_equal(s.max_workers, 5);
}

static void debug_means_no_limits(void **state)
{
    struct sc_spec_want w;
    (void)state;
    settings.debug = true;
    y = (struct sc_spec_yaml){0};
    sc_spec_want_init(&w, SC_SPEC_STARTUP, "u");
    assert_int_equal(sc_spec_settle(&s, &y, &settings, &w, hear, NULL, &err), 0);
    assert_int_equal(s.response_timeout, INT_MAX);
    assert_int_equal(s.startup_timeout, INT_MAX);
    assert_int_equal(s.min_workers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(integers, setup, teardown),
        cmocka_unit_test_setup_teardown(booleans, setup, teardown),
        cmocka_unit_test_setup_teardown(devices, setup, teardown),
        cmocka_unit_test_setup_teardown(parallel_models, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_the_handlers_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_files, setup, teardown),
        cmocka_unit_test_setup_teardown(the_backend, setup, teardown),
        cmocka_unit_test_setup_teardown(the_models_setting, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_models, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_come_from_the_first_who_names_them, setup, teardown),
        cmocka_unit_test_setup_teardown(workers_too, setup, teardown),
        cmocka_unit_test_setup_teardown(gpus_cap_parallel_models, setup, teardown),
        cmocka_unit_test_setup_teardown(debug_means_no_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
