#include "test.h"

#include <stdlib.h>

#include "base/limits.h"
#include "model/settings.h"

static struct sc_settings s;
static struct sc_msg msg;

static int setup(void **state)
{
    (void)state;
    msg.text[0] = '\0';
    unsetenv("LOG_LOCATION");
    unsetenv("METRICS_LOCATION");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_settings_free(&s);
    return 0;
}

static int read_text(const char *text)
{
    sc_settings_free(&s);
    return sc_settings_read(&s, sc_span_str(text), "c.properties", &msg);
}

static void defaults(void **state)
{
    (void)state;
    assert_int_equal(read_text(""), 0);
    assert_string_equal(s.inference_address, "http://127.0.0.1:8080");
    assert_string_equal(s.management_address, "http://127.0.0.1:8081");
    assert_string_equal(s.metrics_address, "http://127.0.0.1:8082");
    assert_true(s.enable_metrics_api);
    assert_null(s.model_store);
    assert_null(s.load_models);
    assert_int_equal(s.max_request_size, 6553500);
    assert_int_equal(s.max_response_size, 6553500);
    assert_int_equal(s.job_queue_size, 100);
    assert_int_equal(s.default_response_timeout, 120);
    assert_int_equal(s.unregister_timeout, 120);
    assert_int_equal(s.initial_worker_port, 9000);
    assert_true(s.prometheus && s.system_metrics && s.access_log);
    assert_string_equal(s.log_dir, "logs");
    assert_string_equal(s.metrics_dir, "logs");
}

static void values_are_taken(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("model_store = /m\nload_models=a=b,c\nmax_request_size=1\nnumber_of_netty_threads: 3 \n"
                  "disable_system_metrics=TRUE\nenable_metrics_api=no\nunknown=1\ncors_allowed_origin=\n"
                  "job_queue_size=5\njob_queue_size=6\n"),
        0);
    assert_string_equal(s.model_store, "/m");
    assert_string_equal(s.load_models, "a=b,c");
    assert_int_equal(s.max_request_size, 1);
    assert_int_equal(s.loops, 3);
    assert_false(s.system_metrics);
    assert_false(s.enable_metrics_api);
    assert_null(s.cors_origin);
    assert_int_equal(s.job_queue_size, 6);
}

static void bad_values_are_named_with_file_line_and_range(void **state)
{
    const struct {
        const char *text, *says;
    } cases[] = {
        {"a=1\n\nmax_request_size=x\n",
         "c.properties:3: max_request_size is \"x\": it must be an integer from 1 to"},
        {"max_request_size=0\n", "max_request_size is \"0\""},
        {"max_request_size=-5\n", "\"-5\""},
        {"max_request_size=12 kB\n", "\"12 kB\""},
        {"max_request_size=99999999999999999999\n", "max_request_size"},
        {"job_queue_size=2147483648\n", "from 1 to 2147483647"},
        {"initial_worker_port=65536\n", "from 1 to 65535"},
        {"metric_time_interval=0\n", "metric_time_interval"},
        {"inference_address=\n", "c.properties:1: inference_address is empty"},
        {"a=\\u12\n", "c.properties:1"},
        {"a=$$SCONCE_NO_SUCH_VARIABLE$$\n", "SCONCE_NO_SUCH_VARIABLE"},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        assert_int_equal(read_text(cases[i].text), SC_EINVAL);
        if (!strstr(msg.text, cases[i].says))
            fail_msg("%s gave \"%s\"", cases[i].text, msg.text);
    }
    sc_settings_free(&s);
    assert_int_equal(sc_settings_read(&s, SC_SPAN("job_queue_size=x\n"), "", &msg), SC_EINVAL);
    assert_int_equal(strncmp(msg.text, "job_queue_size is", 17), 0);
}

static void the_metrics_mode(void **state)
{
    const struct {
        const char *text;
        bool prometheus;
    } cases[] = {{"metrics_mode=prometheus\n", true}, {"metrics_mode= PROMETHEUS \n", true},
                 {"metrics_mode=legacy\n", true},     {"metrics_mode=log\n", false},
                 {"metrics_mode=\n", false},          {"metrics_mode=what\n", false}};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        assert_int_equal(read_text(cases[i].text), 0);
        assert_int_equal(s.prometheus, cases[i].prometheus);
    }
}

static void log_folders_come_from_the_environment_unless_set(void **state)
{
    (void)state;
    setenv("LOG_LOCATION", "/l", 1);
    assert_int_equal(read_text(""), 0);
    assert_string_equal(s.log_dir, "/l");
    assert_string_equal(s.metrics_dir, "/l");
    setenv("METRICS_LOCATION", "/m", 1);
    assert_int_equal(read_text("log_location=/k\n"), 0);
    assert_string_equal(s.log_dir, "/k");
    assert_string_equal(s.metrics_dir, "/m");
}

static void known_names(void **state)
{
    (void)state;
    assert_true(sc_settings_known("max_request_size"));
    assert_true(sc_settings_known("metrics_mode"));
    assert_false(sc_settings_known("max_request_siz"));
    assert_false(sc_settings_known(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(values_are_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_values_are_named_with_file_line_and_range, setup, teardown),
        cmocka_unit_test_setup_teardown(the_metrics_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(log_folders_come_from_the_environment_unless_set, setup, teardown),
        cmocka_unit_test_setup_teardown(known_names, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
