/* From a registration to a spec: names, versions, handlers, backends, files. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/settings.h"
#include "model/spec.h"

static char root[32], store[48], temp[48];
static struct sc_model_spec s;
static struct sc_settings settings;
static struct sc_archive_error err;
static struct sc_spec_want want;

static void configure(enum sc_face face, const char *more)
{
    char text[256];
    struct sc_msg msg = {""};
    snprintf(text, sizeof text, "model_store=%s\n%s\n", store, more);
    struct sc_settings_sources from = {.face = face, .file = "c", .text = sc_span_str(text), .gpus = 0};
    sc_settings_free(&settings);
    if (sc_settings_resolve(&settings, &from, &msg) < 0)
        fail_msg("%s", msg.text);
    free(settings.temp);
    settings.temp = sc_span_dup(sc_span_str(temp));
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/sconce-prep-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(store, sizeof store, "%s/store", root);
    snprintf(temp, sizeof temp, "%s/temp", root);
    assert_int_equal(mkdir(store, 0755) | mkdir(temp, 0755), 0);
    configure(SC_FACE_TORCHSERVE, "");
    return 0;
}

static int teardown(void **state)
{
    const char *argv[] = {"rm", "-rf", root, NULL};
    (void)state;
    sc_archive_remove(s.remove, s.downloaded);
    sc_spec_free(&s);
    sc_settings_free(&settings);
    pid_t pid = fork();
    if (pid == 0) {
        execvp("rm", (char *const *)(void *)argv);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
    return 0;
}

/* A file below the store; folders on the way are made. */
static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", store, name);
    for (char *p = path + strlen(store) + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(path, 0755);
            *p = '/';
        }
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void manifest(const char *folder, const char *model, const char *more)
{
    char name[128], text[512];
    snprintf(name, sizeof name, "%s/MAR-INF/MANIFEST.json", folder);
    snprintf(text, sizeof text,
             "{\"createdOn\": \"x\", \"archiverVersion\": \"1\", \"runtime\": \"python\", \"model\": {%s}%s}",
             model, more);
    put(name, text);
    snprintf(name, sizeof name, "%s/h.py",
             folder); /* a folder with MAR-INF alone would be taken for a wrapping */
    put(name, "");
}

static int prepare(enum sc_spec_mode mode, const char *url)
{
    sc_archive_remove(s.remove, s.downloaded);
    sc_spec_free(&s);
    want.mode = mode;
    want.url = url;
    return sc_spec_prepare(&s, &settings, &want, &err);
}

static int api(const char *url)
{
    sc_spec_want_init(&want, SC_SPEC_API, url);
    return prepare(SC_SPEC_API, url);
}

static void refused(int rc, int status, const char *type, const char *text)
{
    assert_true(rc < 0);
    if (err.status != status || strcmp(err.type, type) != 0 || strcmp(err.msg.text, text) != 0)
        fail_msg("%d %s: %s", err.status, err.type, err.msg.text);
    assert_null(s.dir);
    assert_null(s.remove);
}

static void a_manifest_says_it_all(void **state)
{
    (void)state;
    manifest("m",
             "\"modelName\": \"noop\", \"modelVersion\": \"2.5\", \"handler\": \"h.py:f\", "
             "\"requirementsFile\": \"r.txt\", \"configFile\": \"mc.yaml\"",
             "");
    put("m/mc.yaml", "batchSize: 4\nmaxBatchDelay: 7\nbackend: nccl\n");
    put("m/model-config.yaml", "batchSize: 99\n");
    assert_int_equal(api("m"), 0);
    assert_string_equal(s.name, "noop");
    assert_string_equal(s.version, "2.5");
    assert_string_equal(s.backend, "python");
    assert_false(sc_spec_is_native(&s));
    assert_string_equal(s.handler, "h.py:f");
    assert_string_equal(s.requirements, "r.txt");
    assert_string_equal(s.config_file, "mc.yaml");
    assert_string_equal(s.runtime, "python");
    assert_string_equal(s.archive, "m");
    assert_string_equal(s.url, "m");
    assert_int_equal(s.batch_size, 4);
    assert_int_equal(s.max_batch_delay, 7);
    assert_int_equal(s.min_workers, 0);
    assert_false(s.at_startup);
    assert_non_null(s.remove);
    assert_int_equal(access(s.dir, F_OK), 0);
    assert_non_null(s.config_json);
    assert_int_equal(access(s.config_json, R_OK), 0);
    put("m/mc.yaml", "batchSize: 4\nwhen: 2024-05-30\n"); /* JSON knows no dates */
    assert_int_equal(api("m"), 0);
    assert_null(s.config_json);
    assert_int_equal(s.batch_size, 4);
}

static void a_call_beats_the_manifest(void **state)
{
    (void)state;
    manifest("m", "\"modelName\": \"noop\", \"modelVersion\": \"2.5\", \"handler\": \"h.py\"", "");
    sc_spec_want_init(&want, SC_SPEC_API, "m");
    want.name = "mine";
    want.version = "7";
    want.handler = "other.py";
    want.runtime = "python3";
    assert_int_equal(prepare(SC_SPEC_API, "m"), 0);
    assert_string_equal(s.name, "mine");
    assert_string_equal(s.version, "7");
    assert_string_equal(s.handler, "other.py");
    assert_string_equal(s.runtime, "python3");
    want.name = "a/b";
    int rc = prepare(SC_SPEC_API, "m");
    assert_true(rc < 0);
    assert_int_equal(err.status, 400);
    assert_string_equal(err.type, "BadRequestException");
}

static void the_default_handler(void **state)
{
    (void)state;
    manifest("m", "\"modelName\": \"noop\"", "");
    assert_int_equal(api("m"), 0);
    assert_null(s.handler);
    assert_string_equal(s.version, "1.0");
    configure(SC_FACE_TORCHSERVE, "default_service_handler=d.py:h");
    assert_int_equal(api("m"), 0);
    assert_string_equal(s.handler, "d.py:h");
    put("hf/config.json", "{}");
    sc_spec_want_init(&want, SC_SPEC_API, "hf");
    want.name = "hf";
    assert_int_equal(prepare(SC_SPEC_API, "hf"), 0);
    assert_string_equal(s.backend, "python"); /* it has a handler: the user's own */
}

static void names_that_nobody_gave(void **state)
{
    (void)state;
    put("junk-1.mar", "this is no zip");
    refused(api("junk-1.mar"), 400, "InvalidModelException", "Model name is not defined.");
    sc_spec_want_init(&want, SC_SPEC_STARTUP, "junk-1.mar");
    assert_int_equal(prepare(SC_SPEC_STARTUP, "junk-1.mar"), 0);
    assert_string_equal(s.name, "junk_1");
    assert_true(s.at_startup);
    put("plain/handler.py", "");
    refused(api("plain"), 400, "InvalidModelException", "Model name is not defined.");
    configure(SC_FACE_SCONCE, "default_service_handler=handler.py");
    assert_int_equal(api("plain"), 0);
    assert_string_equal(s.name, "plain");
}

static void hugging_face_folders_lie_where_they_are(void **state)
{
    char dir[96];
    (void)state;
    put("bert/config.json", "{}");
    put("bert/model-config.yaml", "minWorkers: 2\nmaxWorkers: 2\nmaxTexts: 9\n");
    snprintf(dir, sizeof dir, "%s/bert", store);
    const char *const urls[] = {"bert", dir};
    for (int face = 0; face < 2; face++)
        for (size_t i = 0; i < SC_COUNT(urls); i++) {
            configure(face ? SC_FACE_TORCHSERVE : SC_FACE_SCONCE, "");
            assert_int_equal(api(urls[i]), 0);
            assert_string_equal(s.backend, "encoder");
            assert_string_equal(s.dir, dir);
            assert_string_equal(s.name, "bert");
            assert_int_equal(s.min_workers, 2);
            assert_string_equal(s.extras[0].key, "maxTexts");
            assert_null(s.remove);
        }
    put("bert/model-config.yaml", "batchSize: x\n");
    assert_true(api("bert") < 0);
    assert_int_equal(err.status, 400);
    assert_non_null(strstr(err.msg.text, "batchSize is \"x\""));
    put("bert/model-config.yaml", "backend: python\n");
    sc_spec_want_init(&want, SC_SPEC_API, "bert");
    want.name = "b";
    assert_int_equal(prepare(SC_SPEC_API, "bert"), 0);
    assert_string_equal(s.backend, "python");
    assert_string_equal(s.config_file, "model-config.yaml");
}

static void an_archive_can_ask_for_a_native_backend(void **state)
{
    (void)state;
    manifest("m", "\"modelName\": \"m\", \"handler\": \"h.py\", \"configFile\": \"c.yaml\"", "");
    put("m/c.yaml", "backend: encoder\nmaxTexts: 3\n");
    put("m/config.json", "{}");
    assert_int_equal(api("m"), 0);
    assert_string_equal(s.backend, "encoder");
    assert_int_equal(s.nextras, 1);
    assert_non_null(s.remove);
}

/* The registration's word counts more than the file's, in both directions. */
static void a_call_can_ask_for_a_backend(void **state)
{
    (void)state;
    static const char *const none[] = {"",   "a/b",       "../x",
                                       ".x", "two words", "0123456789012345678901234567890123"};
    struct sc_msg msg;
    manifest("m", "\"modelName\": \"m\", \"handler\": \"h.py\", \"configFile\": \"c.yaml\"", "");
    put("m/c.yaml", "handler:\n  mode: sequence_classification\n");
    put("m/config.json", "{}");
    sc_spec_want_init(&want, SC_SPEC_API, "m");
    want.backend = "encoder";
    assert_int_equal(prepare(SC_SPEC_API, "m"), 0);
    assert_string_equal(s.backend, "encoder");
    assert_true(s.backend_asked);
    assert_int_equal(s.nextras, 1);
    assert_string_equal(s.extras[0].key, "handler.mode");
    put("m/c.yaml", "backend: encoder\n");
    want.backend = "python";
    assert_int_equal(prepare(SC_SPEC_API, "m"), 0);
    assert_string_equal(s.backend, "python");
    want.backend = NULL;
    assert_int_equal(prepare(SC_SPEC_API, "m"), 0);
    assert_string_equal(s.backend, "encoder");
    assert_false(s.backend_asked);
    assert_int_equal(sc_spec_check_backend(SC_SPAN("encoder"), &msg), 0);
    for (size_t i = 0; i < SC_COUNT(none); i++)
        assert_int_equal(sc_spec_check_backend(sc_span_str(none[i]), &msg), SC_EINVAL);
}

static void files_that_configure_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"minWorkers: 3\nmaxWorkers: 3\na: [", "", "- 1\n", "just words"};
    manifest("m", "\"modelName\": \"m\", \"handler\": \"h.py\", \"configFile\": \"c.yaml\"", "");
    assert_int_equal(api("m"), 0); /* it is not there */
    assert_null(s.config_file);
    for (size_t i = 0; i < SC_COUNT(texts); i++) {
        put("m/c.yaml", texts[i]);
        assert_int_equal(api("m"), 0);
        assert_int_equal(s.min_workers, 0);
        assert_int_equal(s.response_timeout, 120);
    }
}

/* Coroutines that many processes would have to run in the same order. */
static void coroutines_of_ranks(void)
{
    static const struct {
        const char *type;
        int level, rc;
    } cases[] = {{"tp", 2, SC_EUNSUPPORTED},
                 {"pptp", 4, SC_EUNSUPPORTED},
                 {"tp", 1, 0},
                 {"pp", 2, 0},
                 {"custom", 2, 0}};
    char yaml[128];
    manifest("m", "\"modelName\": \"m\", \"handler\": \"h.py\", \"configFile\": \"c.yaml\"", "");
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        snprintf(yaml, sizeof yaml,
                 "asyncCommunication: true\nparallelType: %s\nparallelLevel: %d\ndeviceType: cpu\n",
                 cases[i].type, cases[i].level);
        put("m/c.yaml", yaml);
        assert_int_equal(api("m"), cases[i].rc);
        if (cases[i].rc < 0) {
            assert_int_equal(err.status, 400);
            assert_non_null(strstr(err.msg.text, "asyncCommunication and parallelType"));
        }
    }
}

static void what_cannot_be(void **state)
{
    (void)state;
    refused(api(""), 404, "ModelNotFoundException", "empty url");
    refused(api("../x"), 404, "ModelNotFoundException", "Relative path is not allowed in url: ../x");
    refused(api("nowhere"), 404, "ModelNotFoundException", "Model not found at: nowhere");
    put("m/h.py", "");
    put("m/MAR-INF/MANIFEST.json", "{");
    refused(api("m"), 400, "InvalidModelException", "Failed to parse signature.json.");
    manifest("m", "\"modelName\": \"a/b\"", "");
    assert_true(api("m") < 0);
    assert_int_equal(err.status, 400);
    assert_string_equal(err.type, "InvalidModelException");
    put("m/MAR-INF/MANIFEST.json", "{\"runtime\": \"LSP\", \"model\": {\"modelName\": \"m\"}}");
    assert_int_equal(api("m"), SC_EUNSUPPORTED);
    assert_int_equal(err.status, 400);
    coroutines_of_ranks();
    free(settings.model_store);
    settings.model_store = NULL;
    refused(api("m"), 404, "ModelNotFoundException", "Model store has not been configured.");
    assert_int_equal(api("identity"), 0);
}

static void without_a_store_a_folder_serves(void **state)
{
    char dir[96];
    (void)state;
    configure(SC_FACE_SCONCE, "");
    manifest("m", "\"modelName\": \"noop\", \"handler\": \"h.py\"", "");
    free(settings.model_store);
    settings.model_store = NULL;
    snprintf(dir, sizeof dir, "%s/m", store);
    assert_int_equal(api(dir), 0);
    assert_string_equal(s.name, "noop");
    assert_string_equal(s.backend, "python");
}

static void a_snapshots_numbers_win(void **state)
{
    (void)state;
    manifest("m", "\"modelName\": \"noop\", \"handler\": \"h.py\", \"configFile\": \"c.yaml\"", "");
    put("m/c.yaml", "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\njobQueueSize: 9\nresponseTimeout: 3\n");
    sc_spec_want_init(&want, SC_SPEC_RESTORE, "m");
    want.name = "noop";
    want.version = "1.0";
    want.runtime = "python3";
    want.min_workers = 2;
    want.max_workers = 3;
    want.batch_size = 5;
    want.max_batch_delay = 6;
    want.response_timeout = 7;
    want.startup_timeout = 8;
    assert_int_equal(prepare(SC_SPEC_RESTORE, "m"), 0);
    assert_int_equal(s.min_workers, 2);
    assert_int_equal(s.max_workers, 3);
    assert_int_equal(s.batch_size, 5);
    assert_int_equal(s.max_batch_delay, 6);
    assert_int_equal(s.response_timeout, 7);
    assert_int_equal(s.startup_timeout, 8);
    assert_int_equal(s.job_queue_size, 9); /* only the file knows it */
    assert_string_equal(s.runtime, "python3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_manifest_says_it_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_beats_the_manifest, setup, teardown),
        cmocka_unit_test_setup_teardown(the_default_handler, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_nobody_gave, setup, teardown),
        cmocka_unit_test_setup_teardown(hugging_face_folders_lie_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(an_archive_can_ask_for_a_native_backend, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_can_ask_for_a_backend, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_configure_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_store_a_folder_serves, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshots_numbers_win, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
