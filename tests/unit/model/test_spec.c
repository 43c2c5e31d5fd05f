#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/settings.h"
#include "model/spec.h"

static char dir[32], config[96];
static struct sc_model_spec s;
static struct sc_msg msg;
static struct sc_settings settings;
static struct sc_archive_error err;

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sconce-spec-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(config, sizeof config, "%s/model-config.yaml", dir);
    sc_spec_init(&s);
    msg.text[0] = '\0';
    sc_settings_free(&settings);
    assert_int_equal(sc_settings_read(&settings, SC_SPAN("default_workers_per_model=1\n"), "", &msg), 0);
    return 0;
}

static int teardown(void **state)
{
    char cmd_path[96];
    (void)state;
    sc_spec_free(&s);
    sc_settings_free(&settings);
    unlink(config);
    snprintf(cmd_path, sizeof cmd_path, "%s/config.json", dir);
    unlink(cmd_path);
    rmdir(dir);
    return 0;
}

static void put_file(const char *name, const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int prepare(enum sc_spec_mode mode, const char *url, const char *name)
{
    struct sc_spec_want w;
    sc_spec_want_init(&w, mode, url);
    w.name = name;
    sc_spec_free(&s);
    return sc_spec_prepare(&s, &settings, &w, &err);
}

/* What preparing a folder with this model-config.yaml at the start gives. */
static int resolve(const char *yaml)
{
    put_file("model-config.yaml", yaml);
    return prepare(SC_SPEC_STARTUP, dir, NULL);
}

static int set(const char *key, struct sc_span value)
{
    return sc_spec_set_extra(&s, sc_span_str(key), value, &msg);
}

static void assert_same(const struct sc_model_spec *a, const struct sc_model_spec *b)
{
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->version, b->version);
    assert_string_equal(a->url, b->url);
    assert_string_equal(a->dir, b->dir);
    assert_string_equal(a->backend, b->backend);
    assert_int_equal(a->min_workers, b->min_workers);
    assert_int_equal(a->max_workers, b->max_workers);
    assert_int_equal(a->batch_size, b->batch_size);
    assert_int_equal(a->max_batch_delay, b->max_batch_delay);
    assert_int_equal(a->response_timeout, b->response_timeout);
    assert_int_equal(a->startup_timeout, b->startup_timeout);
    assert_int_equal(a->max_retry, b->max_retry);
    assert_int_equal(a->fill, b->fill);
    assert_int_equal(a->replay, b->replay);
    assert_int_equal(a->at_startup, b->at_startup);
    const char *const texts[][2] = {{a->handler, b->handler},
                                    {a->archive, b->archive},
                                    {a->remove, b->remove},
                                    {a->downloaded, b->downloaded},
                                    {a->requirements, b->requirements},
                                    {a->config_file, b->config_file},
                                    {a->config_json, b->config_json},
                                    {a->runtime, b->runtime},
                                    {a->parallel_type, b->parallel_type},
                                    {a->torchrun.rdzv_backend, b->torchrun.rdzv_backend},
                                    {a->torchrun.rdzv_endpoint, b->torchrun.rdzv_endpoint}};
    for (size_t i = 0; i < SC_COUNT(texts); i++) {
        assert_int_equal(texts[i][0] == NULL, texts[i][1] == NULL);
        if (texts[i][0])
            assert_string_equal(texts[i][0], texts[i][1]);
    }
    const int numbers[][2] = {{a->job_queue_size, b->job_queue_size},
                              {a->client_timeout, b->client_timeout},
                              {a->use_job_ticket, b->use_job_ticket},
                              {a->use_venv, b->use_venv},
                              {a->device, b->device},
                              {(int)a->ndevices, (int)b->ndevices},
                              {a->devices[0], b->devices[0]},
                              {a->devices[1], b->devices[1]},
                              {a->parallel_level, b->parallel_level},
                              {a->sequence_batching, b->sequence_batching},
                              {a->continuous_batching, b->continuous_batching},
                              {a->async_communication, b->async_communication},
                              {a->sequence_max_idle, b->sequence_max_idle},
                              {a->sequence_timeout, b->sequence_timeout},
                              {a->sequence_queue, b->sequence_queue},
                              {a->sequences, b->sequences},
                              {a->torchrun.given, b->torchrun.given},
                              {a->torchrun.nnodes, b->torchrun.nnodes},
                              {a->torchrun.nproc, b->torchrun.nproc},
                              {a->torchrun.omp_threads, b->torchrun.omp_threads}};
    for (size_t i = 0; i < SC_COUNT(numbers); i++)
        assert_int_equal(numbers[i][0], numbers[i][1]);
    assert_int_equal(a->nextras, b->nextras);
    for (unsigned i = 0; i < a->nextras; i++) {
        assert_string_equal(a->extras[i].key, b->extras[i].key);
        assert_string_equal(a->extras[i].value, b->extras[i].value);
    }
}

static void the_journals_form_reads_back(void **state)
{
    struct sc_model_spec back;
    struct sc_buf b;
    (void)state;
    for (int flags = 0; flags < 8; flags++) {
        sc_spec_free(&s);
        sc_spec_init(&s);
        strcpy(s.name, "a=b \\ \"c\" \xc3\xa9");
        strcpy(s.version, "1=2");
        strcpy(s.backend, "encoder");
        s.url = sc_span_dup(SC_SPAN("line\nbreak\\n\\"));
        s.dir = sc_span_dup(SC_SPAN("/x=y"));
        s.min_workers = 3;
        s.max_workers = 7;
        s.batch_size = -1;
        s.max_batch_delay = 2147483647;
        s.response_timeout = 1;
        s.startup_timeout = 2;
        s.max_retry = 0;
        s.fill = flags & 1;
        s.replay = flags & 2;
        s.at_startup = flags & 4;
        assert_int_equal(set("name", SC_SPAN("not the model's")), 0);
        assert_int_equal(set("+x", SC_SPAN("a\nb=c\\")), 0);
        assert_int_equal(set("empty", SC_SPAN("")), 0);
        sc_buf_init(&b, 1 << 16);
        sc_spec_write(&s, &b);
        assert_int_equal(sc_spec_read(&back, sc_buf_view(&b)), 0);
        assert_same(&s, &back);
        sc_spec_free(&back);
        sc_buf_free(&b);
    }
}

/* Every field with a value of its own: a field that the journal forgets would be lost with a frontend. */
static void nothing_of_a_python_model_is_forgotten(void **state)
{
    struct sc_model_spec back, copy;
    struct sc_buf b;
    char **const texts[] = {&s.url,
                            &s.dir,
                            &s.handler,
                            &s.archive,
                            &s.remove,
                            &s.downloaded,
                            &s.requirements,
                            &s.config_file,
                            &s.config_json,
                            &s.torchrun.rdzv_backend,
                            &s.torchrun.rdzv_endpoint};
    int *const numbers[] = {&s.job_queue_size,      &s.client_timeout,   &s.parallel_level,
                            &s.sequence_max_idle,   &s.sequence_timeout, &s.sequence_queue,
                            &s.sequences,           &s.torchrun.nnodes,  &s.torchrun.nproc,
                            &s.torchrun.omp_threads};
    bool *const flags[] = {&s.use_job_ticket,      &s.use_venv,
                           &s.sequence_batching,   &s.continuous_batching,
                           &s.async_communication, &s.torchrun.given};
    char text[16];
    (void)state;
    for (size_t on = 0; on < SC_COUNT(flags); on++) {
        sc_spec_free(&s);
        sc_spec_init(&s);
        strcpy(s.name, "m");
        strcpy(s.backend, "python");
        strcpy(s.runtime, "python3");
        strcpy(s.parallel_type, "custom");
        s.device = SC_DEVICE_GPU;
        s.ndevices = 2;
        s.devices[0] = 3;
        s.devices[1] = 1;
        for (size_t i = 0; i < SC_COUNT(texts); i++) {
            snprintf(text, sizeof text, "text %zu\n", i);
            *texts[i] = sc_span_dup(sc_span_str(text));
        }
        for (size_t i = 0; i < SC_COUNT(numbers); i++)
            *numbers[i] = 100 + (int)i;
        *flags[on] = true;
        sc_spec_copy(&copy, &s);
        sc_buf_init(&b, 1 << 16);
        sc_spec_write(&copy, &b);
        assert_int_equal(sc_spec_read(&back, sc_buf_view(&b)), 0);
        assert_same(&s, &back);
        sc_spec_free(&back);
        sc_spec_free(&copy);
        sc_buf_free(&b);
    }
}

static void what_was_not_written_is_not_read(void **state)
{
    const char *const texts[] = {"",
                                 "name",
                                 "name=x",
                                 "version=1\n",
                                 "name=\n",
                                 "name=x\nmin\n",
                                 "name=x\nmin=y\n",
                                 "name=x\nmin=99999999999\n",
                                 "name=x\nfill=2\n",
                                 "name=x\ndevice=3\n",
                                 "name=x\ngpu=x\n",
                                 "name=x\nunknown=1\n",
                                 "name=x\n+=v\n"};
    struct sc_model_spec back;
    char text[600];
    (void)state;
    for (size_t i = 0; i < SC_COUNT(texts); i++)
        if (sc_spec_read(&back, sc_span_str(texts[i])) == 0)
            fail_msg("\"%s\" was read", texts[i]);
    memset(text, 'x', sizeof text);
    memcpy(text, "name=", 5);
    text[sizeof text - 1] = '\n';
    assert_int_equal(sc_spec_read(&back, sc_span(text, sizeof text)), SC_EINVAL);
}

static void a_copy_is_deep(void **state)
{
    struct sc_model_spec copy;
    (void)state;
    s.url = sc_span_dup(SC_SPAN("u"));
    s.dir = sc_span_dup(SC_SPAN("d"));
    assert_int_equal(set("k", SC_SPAN("v")), 0);
    sc_spec_copy(&copy, &s);
    assert_int_equal(set("k", SC_SPAN("changed")), 0);
    assert_string_equal(copy.extras[0].value, "v");
    sc_spec_free(&copy);
    assert_string_equal(s.url, "u");
}

static void settings_are_bounded_and_plain(void **state)
{
    static char big[SC_SPEC_EXTRA_BYTES + 1];
    char key[16];
    (void)state;
    assert_int_equal(set("", SC_SPAN("v")), SC_EINVAL);
    assert_int_equal(set("a=b", SC_SPAN("v")), SC_EINVAL);
    assert_int_equal(set("a\nb", SC_SPAN("v")), SC_EINVAL);
    assert_int_equal(set("a\xff", SC_SPAN("v")), SC_EINVAL);
    assert_int_equal(set("a", sc_span("x\0y", 3)), SC_EINVAL);
    memset(big, 'x', sizeof big);
    assert_int_equal(set("k", sc_span(big, sizeof big)), SC_ELIMIT);
    assert_int_equal(s.nextras, 0);
    for (int i = 0; i < SC_SPEC_EXTRAS_MAX; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(set(key, SC_SPAN("v")), 0);
    }
    assert_int_equal(set("more", SC_SPAN("v")), SC_ELIMIT);
    assert_int_equal(set("k7", SC_SPAN("again")), 0);
    assert_string_equal(s.extras[7].value, "again");
    assert_int_equal(set("k0", sc_span(big, 3000)), 0);
    assert_int_equal(set("k1", sc_span(big, 3000)), 0);
    assert_int_equal(set("k2", sc_span(big, 3000)), SC_ELIMIT);
    assert_int_equal(set("k1", sc_span(big, 3000)), 0); /* what it replaces does not count */
}

static void names(void **state)
{
    char text[SC_MODEL_NAME_MAX + 1];
    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(sc_spec_check_name(sc_span(text, SC_MODEL_NAME_MAX), &msg), 0);
    assert_int_equal(sc_spec_check_name(sc_span(text, SC_MODEL_NAME_MAX + 1), &msg), SC_EINVAL);
    assert_int_equal(sc_spec_check_name(SC_SPAN("\xe6\x97\xa5 b"), &msg), 0);
    assert_int_equal(sc_spec_check_name(SC_SPAN("..."), &msg), 0);
    const struct sc_span bad[] = {SC_SPAN(""),         SC_SPAN("."),       SC_SPAN(".."),
                                  SC_SPAN("a/b"),      SC_SPAN("a\tb"),    SC_SPAN("a\x7f"),
                                  SC_SPAN("\xc3\x28"), sc_span("a\0b", 3), sc_span(NULL, 0)};
    for (size_t i = 0; i < SC_COUNT(bad); i++)
        assert_int_equal(sc_spec_check_name(bad[i], &msg), SC_EINVAL);
    assert_int_equal(sc_spec_check_version(sc_span(text, sizeof s.version - 1), &msg), 0);
    assert_int_equal(sc_spec_check_version(sc_span(text, sizeof s.version), &msg), SC_EINVAL);
}

static void identity_needs_no_file(void **state)
{
    (void)state;
    assert_int_equal(prepare(SC_SPEC_API, "identity", NULL), 0);
    assert_string_equal(s.name, "identity");
    assert_string_equal(s.backend, "identity");
    assert_string_equal(s.dir, "");
    assert_string_equal(s.version, "1.0");
}

static void a_folder_is_found_here_or_in_the_store(void **state)
{
    (void)state;
    put_file("config.json", "{}");
    assert_int_equal(resolve(""), 0);
    assert_string_equal(s.backend, "encoder");
    assert_string_equal(s.name, dir + strlen("/tmp/"));
    free(settings.model_store);
    settings.model_store = sc_span_dup(SC_SPAN("/tmp"));
    assert_int_equal(prepare(SC_SPEC_API, dir + strlen("/tmp/"), "mine"), 0);
    assert_string_equal(s.dir, dir);
    assert_string_equal(s.name, "mine");
    free(settings.model_store);
    settings.model_store = sc_span_dup(sc_span_str(dir));
    assert_int_equal(prepare(SC_SPEC_API, dir + strlen("/tmp/"), "mine"), SC_ENOTFOUND);
    assert_int_equal(err.status, 404);
    assert_string_equal(err.type, "ModelNotFoundException");
    assert_non_null(strstr(err.msg.text, "Model not found at: "));
}

static void what_is_no_model_folder(void **state)
{
    (void)state;
    assert_int_equal(resolve(""), SC_EINVAL);
    assert_int_equal(err.status, 400);
    assert_non_null(strstr(err.msg.text, "config.json"));
}

static void the_yaml_sets_what_it_names(void **state)
{
    (void)state;
    assert_int_equal(
        resolve("backend: faulty\nminWorkers: 2\nmaxWorkers: 5\nbatchSize: 7\nmaxBatchDelay: 0\n"
                "responseTimeout: 9\nstartupTimeout: 8\nmaxRetryTimeoutInSec: 0\nbatchPolicy: fill\n"
                "replay: never\nhandler:\n  mode: x\n"),
        0);
    assert_int_equal(s.min_workers, 2);
    assert_int_equal(s.max_workers, 5);
    assert_int_equal(s.batch_size, 7);
    assert_int_equal(s.max_batch_delay, 0);
    assert_int_equal(s.response_timeout, 9);
    assert_int_equal(s.startup_timeout, 8);
    assert_int_equal(s.max_retry, 0);
    assert_true(s.fill);
    assert_false(s.replay);
    assert_int_equal(s.nextras, 1);
    assert_string_equal(s.extras[0].key, "handler.mode");
    assert_int_equal(resolve("backend: faulty\nminWorkers: 3\n"), 0);
    assert_int_equal(s.max_workers, 3);
}

/* One of the two numbers alone moves the other only as far as it must. */
static void the_yaml_may_name_one_number_of_workers(void **state)
{
    (void)state;
    assert_int_equal(resolve("backend: faulty\nmaxWorkers: 2\n"), 0);
    assert_int_equal(s.min_workers, 1);
    assert_int_equal(s.max_workers, 2);
    settings.default_workers = 4;
    assert_int_equal(prepare(SC_SPEC_STARTUP, dir, NULL), 0);
    assert_int_equal(s.min_workers, 2);
    assert_int_equal(s.max_workers, 2);
}

static void bad_yaml_is_named(void **state)
{
    const struct {
        const char *yaml, *word;
    } cases[] = {
        {"minWorkers: x\n", "minWorkers"},
        {"minWorkers: 65\n", "64"},
        {"minWorkers: 4\nmaxWorkers: 2\n", "less than minWorkers"},
        {"batchSize: 0\n", "batchSize"},
        {"batchSize: 1025\n", "1024"},
        {"responseTimeout: 0\n", "responseTimeout"},
        {"maxBatchDelay: -1\n", "maxBatchDelay"},
        {"maxBatchDelay: 99999999999\n", "maxBatchDelay"},
        {"batchPolicy: lazy\n", "eager or fill"},
        {"replay: x\n", "always or never"},
        {"backend: a/b\n", "backend"},
        {"backend: ''\n", "backend"},
        {"a=b: 1\n", "a=b"},
        {"a: [\n", "model-config.yaml:"},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        if (resolve(cases[i].yaml) == 0)
            fail_msg("%s was taken", cases[i].yaml);
        if (!strstr(err.msg.text, cases[i].word))
            fail_msg("%s gave \"%s\"", cases[i].yaml, err.msg.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_journals_form_reads_back, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_of_a_python_model_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_written_is_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_is_deep, setup, teardown),
        cmocka_unit_test_setup_teardown(settings_are_bounded_and_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(identity_needs_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_is_found_here_or_in_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_model_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(the_yaml_sets_what_it_names, setup, teardown),
        cmocka_unit_test_setup_teardown(the_yaml_may_name_one_number_of_workers, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_yaml_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
