/* Snapshots: what is written, which one is the newest, what is read back. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "model/snapshot.h"
#include "model/spec_parts.h"

static char dir[32], config[64], store[64];
static struct sc_settings settings;
static struct sc_msg msg;
static struct sc_model_spec specs[3];
static struct sc_snapshot snapshot;

static int setup(void **state)
{
    char text[256];
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    strcpy(dir, "/tmp/sconce-snap-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(config, sizeof config, "%s/config", dir);
    snprintf(store, sizeof store, "%s/store", dir);
    assert_int_equal(mkdir(store, 0755), 0);
    snprintf(text, sizeof text, "log_location=%s\nmodel_store=%s\nx=a b:=#!\\u00e9\nload_models=all\n", dir,
             store);
    struct sc_settings_sources from = {
        .face = SC_FACE_TORCHSERVE, .file = "c", .text = sc_span_str(text), .gpus = 0};
    assert_int_equal(sc_settings_resolve(&settings, &from, &msg), 0);
    for (size_t i = 0; i < SC_COUNT(specs); i++) {
        sc_spec_init(&specs[i]);
        strcpy(specs[i].backend, "python");
        strcpy(specs[i].name, i == 2 ? "n:1" : "m");
        strcpy(specs[i].version, i == 1 ? "2.0" : "1.0");
        specs[i].archive = sc_span_dup(SC_SPAN("m.mar"));
        specs[i].url = sc_span_dup(SC_SPAN("m.mar"));
        specs[i].batch_size = 1;
    }
    specs[1].min_workers = 2;
    specs[1].max_workers = 5;
    specs[1].parallel_level = 4;
    strcpy(specs[2].backend, "identity");
    specs[2].backend_asked = true;
    assert_int_equal(sc_spec_set_extra(&specs[2], SC_SPAN("ofFile"), SC_SPAN("1"), &msg), 0);
    assert_int_equal(sc_spec_ask_extra(&specs[2], SC_SPAN("asked"), SC_SPAN("a=\\b\n\"c\""), &msg), 0);
    return 0;
}

static void drop(const char *folder)
{
    char text[160];
    static const char *const names[] = {"20240530214603625-startup.cfg",
                                        "20240530214603626-snapshot.cfg",
                                        "20240530214603626-shutdown.cfg",
                                        "20250101000000000-x.txt",
                                        "stray.cfg",
                                        "99999999999999999",
                                        "9999-startup.cfg",
                                        "m.mar"};
    for (size_t i = 0; i < SC_COUNT(names); i++) {
        snprintf(text, sizeof text, "%s/%s", folder, names[i]);
        unlink(text);
    }
    rmdir(folder);
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < SC_COUNT(specs); i++)
        sc_spec_free(&specs[i]);
    sc_snapshot_free(&snapshot);
    sc_settings_free(&settings);
    drop(config);
    drop(store);
    rmdir(dir);
    return 0;
}

static void put(const char *folder, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fclose(f);
}

static const struct sc_snapshot_version versions[] = {
    {&specs[0], true}, {&specs[1], false}, {&specs[2], true}};
#define WHEN INT64_C(1717105563625)

static void the_file_is_torchserves(void **state)
{
    struct sc_buf b;
    (void)state;
    put(store, "m.mar");
    sc_buf_init(&b, 1 << 16);
    sc_snapshot_write(&settings, "n.cfg", versions, 3, WHEN, &b);
    sc_buf_char(&b, '\0');
    assert_int_equal(b.failed, 0);
    assert_int_equal(strncmp(b.p, "#Saving snapshot\n#Thu May 30 21:46:03 UTC 2024\n", 47), 0);
    assert_non_null(strstr(b.p, "\nversion=0.12.0\n"));
    assert_non_null(strstr(b.p, "\nload_models=all\n"));
    assert_non_null(strstr(b.p, "\nnumber_of_gpu=0\n"));
    assert_non_null(strstr(b.p, "\nx=a b\\:\\=\\#\\!\\u00E9\n"));
    assert_non_null(strstr(
        b.p, "\nmodel_snapshot={\\n  \"name\"\\: \"n.cfg\",\\n  \"modelCount\"\\: 3,\\n  \"created\"\\: "
             "1717105563625,\\n  \"models\"\\: {\\n    \"m\"\\: {\\n      \"1.0\"\\: {\\n        "
             "\"defaultVersion\"\\: "
             "true,\\n        \"marName\"\\: \"m.mar\",\\n        \"minWorkers\"\\: 1,\\n        "
             "\"maxWorkers\"\\: "
             "1,\\n        \"batchSize\"\\: 1,\\n        \"maxBatchDelay\"\\: 100,\\n        "
             "\"responseTimeout\"\\: "
             "120,\\n        \"startupTimeout\"\\: 120,\\n        \"runtimeType\"\\: \"python\"\\n      "
             "},\\n      "
             "\"2.0\"\\: {\\n        \"defaultVersion\"\\: false,"));
    assert_non_null(strstr(b.p, "\"runtimeType\"\\: \"python\",\\n        \"parallelLevel\"\\: 4\\n"));
    assert_non_null(strstr(b.p, "}\\n  }\\n}\n"));
    sc_buf_free(&b);
}

/* What is written at the end is what the next start begins with. */
static void what_is_saved_restores(void **state)
{
    struct sc_buf b;
    struct sc_settings again;
    char *path;
    (void)state;
    put(store, "m.mar");
    assert_int_equal(sc_snapshot_save(&settings, SC_SNAPSHOT_STARTUP, versions, 3, WHEN, &msg), 0);
    path = sc_snapshot_newest(dir);
    assert_non_null(path);
    assert_non_null(strstr(path, "/config/20240530214603625-startup.cfg"));
    sc_buf_init(&b, 1 << 16);
    assert_int_equal(sc_file_read(path, &b, &msg), 0);
    struct sc_settings_sources from = {
        .face = SC_FACE_TORCHSERVE, .file = path, .text = sc_buf_view(&b), .gpus = 0};
    assert_int_equal(sc_settings_resolve(&again, &from, &msg), 0);
    assert_string_equal(again.model_store, store);
    assert_string_equal(sc_properties_get(&again.all, "x"), "a b:=#!\xc3\xa9");
    assert_int_equal(sc_snapshot_read(&snapshot, sc_span_str(again.model_snapshot), &msg), 0);
    assert_int_equal(snapshot.count, 3);
    assert_int_equal(snapshot.n, 3);
    assert_string_equal(snapshot.name, "20240530214603625-startup.cfg");
    const struct sc_snapshot_model *m = &snapshot.models[1];
    assert_string_equal(m->want.name, "m");
    assert_string_equal(m->want.version, "2.0");
    assert_string_equal(m->want.url, "m.mar");
    assert_string_equal(m->want.runtime, "python");
    assert_int_equal(m->want.mode, SC_SPEC_RESTORE);
    assert_int_equal(m->want.min_workers, 2);
    assert_int_equal(m->want.max_workers, 5);
    assert_int_equal(m->want.parallel_level, 4);
    assert_int_equal(m->want.max_batch_delay, 100);
    assert_false(m->is_default);
    assert_true(snapshot.models[2].is_default);
    assert_string_equal(snapshot.models[2].name, "n:1");
    assert_null(m->settings);
    assert_null(m->want.backend);
    assert_string_equal(snapshot.models[2].want.backend, "identity");
    struct sc_model_spec restored;
    sc_spec_init(&restored);
    assert_int_equal(sc_spec_ask_settings(&restored, sc_span_str(snapshot.models[2].want.settings), &msg), 0);
    assert_int_equal(restored.nextras, 1);
    assert_string_equal(restored.extras[0].key, "asked");
    assert_string_equal(restored.extras[0].value, "a=\\b\n\"c\"");
    assert_true(restored.extras[0].asked);
    sc_spec_free(&restored);
    assert_int_equal(sc_snapshot_validate(&snapshot, store, &msg), 0);
    sc_settings_free(&again);
    sc_buf_free(&b);
    free(path);
}

static void a_name_that_is_there_stays(void **state)
{
    char path[160];
    struct stat st;
    (void)state;
    assert_int_equal(mkdir(config, 0755), 0);
    put(config, "20240530214603626-snapshot.cfg");
    assert_int_equal(sc_snapshot_save(&settings, SC_SNAPSHOT_CHANGE, versions, 3, WHEN + 1, &msg), SC_EEXIST);
    assert_non_null(strstr(msg.text, "20240530214603626-snapshot.cfg"));
    snprintf(path, sizeof path, "%s/20240530214603626-snapshot.cfg", config);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    settings.snapshots = false;
    assert_int_equal(sc_snapshot_save(&settings, SC_SNAPSHOT_SHUTDOWN, versions, 3, WHEN + 1, &msg), 0);
    snprintf(path, sizeof path, "%s/20240530214603626-shutdown.cfg", config);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_folder_that_cannot_be_made(void **state)
{
    (void)state;
    free(settings.log_dir);
    settings.log_dir = sc_span_dup(SC_SPAN("/dev/null/logs"));
    assert_int_equal(sc_snapshot_save(&settings, SC_SNAPSHOT_STARTUP, versions, 1, WHEN, &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, "/dev/null/logs/config"));
}

static void the_newest_by_name_whatever_lies_around(void **state)
{
    (void)state;
    assert_null(sc_snapshot_newest(dir));
    assert_int_equal(mkdir(config, 0755), 0);
    const char *const stray[] = {"20250101000000000-x.txt", "stray.cfg", "99999999999999999",
                                 "9999-startup.cfg"};
    for (size_t i = 0; i < SC_COUNT(stray); i++)
        put(config, stray[i]);
    assert_null(sc_snapshot_newest(dir));
    put(config, "20240530214603626-shutdown.cfg");
    put(config, "20240530214603625-startup.cfg");
    char *path = sc_snapshot_newest(dir);
    assert_non_null(path);
    assert_non_null(strstr(path, "20240530214603626-shutdown.cfg"));
    free(path);
}

/* Models that lie outside the store are named so that they are found again. */
static void where_models_lie(void **state)
{
    static const struct {
        const char *url, *dir, *archive, *says;
    } cases[] = {{"m.mar", "/tmp/models/0/m", "m.mar", "\"marName\"\\: \"m.mar\""},
                 {"http://h/m.mar", "/tmp/models/0/m", "m.mar", "\"marName\"\\: \"m.mar\""},
                 {"identity", "", NULL, "\"marName\"\\: \"identity\""},
                 {"bert", "/models/bert", NULL, "\"marName\"\\: \"/models/bert\""}};
    struct sc_buf b;
    (void)state;
    put(store, "m.mar");
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct sc_model_spec s;
        struct sc_snapshot_version v = {&s, true};
        sc_spec_init(&s);
        strcpy(s.name, "m");
        s.url = sc_span_dup(sc_span_str(cases[i].url));
        s.dir = sc_span_dup(sc_span_str(cases[i].dir));
        s.archive = cases[i].archive ? sc_span_dup(sc_span_str(cases[i].archive)) : NULL;
        sc_buf_init(&b, 1 << 16);
        sc_snapshot_write(&settings, "n", &v, 1, WHEN, &b);
        sc_buf_char(&b, '\0');
        if (!strstr(b.p, cases[i].says))
            fail_msg("%s: %s", cases[i].url, b.p);
        sc_buf_free(&b);
        sc_spec_free(&s);
    }
}

#define VERSION                                                                                \
    "\"defaultVersion\": true, \"marName\": \"m.mar\", \"minWorkers\": 1, \"maxWorkers\": 1, " \
    "\"batchSize\": 1, "                                                                       \
    "\"maxBatchDelay\": 100"

static void what_is_no_snapshot(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "model_snapshot"},
        {"[]", "object"},
        {"{\"models\": 3}", "object"},
        {"{\"models\": {\"m\": []}}", "object"},
        {"{\"models\": {\"m\": {\"1\": 3}}}", "object"},
        {"{\"models\": {\"m\": {\"1\": {}}}}", "m:1 has no defaultVersion"},
        {"{\"models\": {\"m\": {\"1\": {\"defaultVersion\": 1}}}}", "true or false"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"minWorkers\": \"1\"}}}}", "integer"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"minWorkers\": 3000000000}}}}", "integer"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"minWorkers\": 2}}}}", "minWorkers 2"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"maxWorkers\": 9999}}}}", "maxWorkers 9999"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"marName\": null}}}}", "string"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"marName\": \"a\\u0000b\"}}}}", "string"},
        {"{\"models\": {\"m\": {\"1\": {" VERSION ", \"runtimeType\": \"java\"}}}}", "java"},
        {"{\"modelCount\": \"x\"}", "integer"},
        {"{\"modelCount\": 1} x", "model_snapshot"},
        {"{\"modelCount\": 1", "model_snapshot"},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        int rc = sc_snapshot_read(&snapshot, sc_span_str(cases[i].text), &msg);
        if (rc >= 0 || !strstr(msg.text, cases[i].says) || snapshot.models)
            fail_msg("%s: %d %s", cases[i].text, rc, msg.text);
    }
    assert_int_equal(sc_snapshot_read(&snapshot, SC_SPAN("{\"modelCount\": 0, \"models\": {}}"), &msg), 0);
    assert_int_equal(snapshot.count, 0);
}

static void archives_must_be_there(void **state)
{
    static const char *const bad[] = {"m.mar", "../m.mar", "..", "", "/no/such/folder", "a/b"};
    char text[512];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        snprintf(text, sizeof text,
                 "{\"modelCount\": 1, \"models\": {\"m\": {\"1.0\": {" VERSION ", \"marName\": \"%s\"}}}}",
                 bad[i]);
        assert_int_equal(sc_snapshot_read(&snapshot, sc_span_str(text), &msg), 0);
        assert_int_equal(sc_snapshot_validate(&snapshot, store, &msg), SC_ENOTFOUND);
        assert_string_equal(msg.text,
                            "Model archive file for model :m, version :1.0 not found in model store");
        assert_int_equal(sc_snapshot_validate(&snapshot, NULL, &msg), SC_ENOTFOUND);
        sc_snapshot_free(&snapshot);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_file_is_torchserves, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_saved_restores, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_is_there_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_by_name_whatever_lies_around, setup, teardown),
        cmocka_unit_test_setup_teardown(where_models_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(archives_must_be_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
