#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "metrics/backend.h"
#include "metrics/registry.h"
#include "metrics/system.h"

static char dir[64];
static struct sc_metrics *m;
static struct sc_buf out;

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/sc-metrics-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    struct sc_log_config c = {.dir = dir, .level = SC_LOG_INFO};
    sc_buf_init(&out, 1 << 20);
    m = sc_metrics_new(2, "vm");
    return sc_log_open(&c, NULL);
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    sc_metrics_del(m);
    sc_log_close();
    sc_buf_free(&out);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

/* What is in a file so far. */
static const char *content(const char *name)
{
    static char text[1 << 20];
    char path[256];
    sc_log_sync();
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static const char *shown(void)
{
    sc_buf_clear(&out);
    sc_metrics_render(m, SC_PROM_TEXT, NULL, 0, &out);
    sc_buf_char(&out, '\0');
    return out.p;
}

/* Line i of a file, without its time in front and its timestamp at the end. */
static void line_is(const char *file, unsigned i, const char *expected)
{
    const char *p = content(file);
    while (i-- > 0) {
        p = strchr(p, '\n');
        assert_non_null(p);
        p++;
    }
    p = strstr(p, " - ") + 3;
    size_t n = strcspn(p, "\n");
    assert_true(n > 10 && strspn(p + n - 10, "0123456789") == 10);
    char text[9000];
    snprintf(text, sizeof text, "%.*s", (int)(n - 10), p);
    assert_string_equal(text, expected);
}

static void configure(enum sc_metrics_to to, const char *yaml)
{
    char path[128];
    struct sc_msg msg;
    struct sc_metrics_config c = {.to = to, .file = yaml ? path : NULL};
    snprintf(path, sizeof path, "%s/metrics.yaml", dir);
    if (yaml) {
        FILE *f = fopen(path, "w");
        fputs(yaml, f);
        fclose(f);
    }
    assert_int_equal(sc_metrics_configure(m, &c, &msg), 0);
}

static void from_worker(const char *rest)
{
    char whole[4096];
    snprintf(whole, sizeof whole, "[METRICS]%s", rest);
    struct sc_span w = sc_span_str(whole);
    sc_metrics_backend_line(m, w, sc_span_sub(w, 9, w.n), "W-9000-m_1.0-stdout");
}

static void events_of_the_server_become_lines(void **state)
{
    (void)state;
    configure(SC_METRICS_TO_LOG, NULL);
    struct sc_metrics_model *h = sc_metrics_model(m, "resnet18", "2.0");
    sc_metrics_request(h, 0, false);
    sc_metrics_response(m, 200);
    sc_metrics_response(m, 404);
    sc_metrics_response(m, 302);
    sc_metrics_answered(h, 1, true, 399372, 14106219);
    sc_metrics_queue_time(m, 0, 1, 0);
    sc_metrics_worker_thread_time(m, 1, 1, 11);
    sc_metrics_worker_loaded(m, h, "W-9000-resnet18_2.0", 4593);
    static const char *const lines[] = {
        "ts_inference_requests_total.Count:1.0|#model_name:resnet18,model_version:default|#hostname:vm,"
        "timestamp:",
        "Requests2XX.Count:1.0|#Level:Host|#hostname:vm,timestamp:",
        "Requests4XX.Count:1.0|#Level:Host|#hostname:vm,timestamp:",
        "Requests5XX.Count:1.0|#Level:Host|#hostname:vm,timestamp:",
        "ts_inference_latency_microseconds.Microseconds:14106.219|#model_name:resnet18,model_version:2.0|#"
        "hostname:vm,timestamp:",
        "ts_queue_latency_microseconds.Microseconds:399.372|#model_name:resnet18,model_version:2.0|#hostname:"
        "vm,timestamp:",
        "QueueTime.Milliseconds:0.0|#Level:Host|#hostname:vm,timestamp:",
        "WorkerThreadTime.Milliseconds:11.0|#Level:Host|#hostname:vm,timestamp:",
        "WorkerLoadTime.Milliseconds:4593.0|#WorkerName:W-9000-resnet18_2.0,Level:Host|#hostname:vm,"
        "timestamp:",
    };
    for (unsigned i = 0; i < SC_COUNT(lines); i++)
        line_is("ts_metrics.log", i, lines[i]);
    assert_non_null(strstr(content("ts_log.log"), " TS_METRICS - QueueTime.Milliseconds:0.0|#Level:Host|#"));
    assert_string_equal(shown(), "");
    sc_metrics_model_release(m, h);
}

static void legacy_shows_the_three_counters_and_logs_the_rest(void **state)
{
    (void)state;
    configure(SC_METRICS_TO_LEGACY, NULL);
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    sc_metrics_request(h, 0, false);
    sc_metrics_answered(h, 0, false, 1000, 5000);
    sc_metrics_queue_time(m, 0, 1, 2);
    sc_metrics_sample_system(m);
    const char *log = content("ts_metrics.log");
    assert_null(strstr(log, "ts_"));
    assert_non_null(strstr(log, "QueueTime.Milliseconds:2.0|"));
    assert_non_null(strstr(log, "MemoryUsed.Megabytes:"));
    assert_string_equal(
        shown(),
        "# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count\n"
        "# TYPE ts_inference_requests_total counter\n"
        "ts_inference_requests_total{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 1.0\n"
        "# HELP ts_inference_latency_microseconds Torchserve prometheus counter metric with unit: "
        "Microseconds\n"
        "# TYPE ts_inference_latency_microseconds counter\n"
        "ts_inference_latency_microseconds{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 5.0\n"
        "# HELP ts_queue_latency_microseconds Torchserve prometheus counter metric with unit: Microseconds\n"
        "# TYPE ts_queue_latency_microseconds counter\n"
        "ts_queue_latency_microseconds{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 1.0\n");
    sc_metrics_model_release(m, h);
}

/* What TorchServe 0.12 wrote for the same lines. */
static void lines_of_workers_become_model_metrics(void **state)
{
    (void)state;
    configure(SC_METRICS_TO_LOG, NULL);
    from_worker("PredictionTime.Milliseconds:0.0001|#ModelName:m,Level:Model|#type:GAUGE|#hostname:vm,"
                "1795375111,f5fc-9");
    from_worker(
        "HandlerTime.Milliseconds:12345678|#ModelName:m|#type:GAUGE|#hostname:h,1700000000,abc,d e,f");
    from_worker("HandlerTime.Milliseconds:7.5|#ModelName:m,bad,Level:x:y,Level:Model|#type:GAUGE|#hostname:h,"
                "1700000000");
    from_worker("Undeclared.Count:3|#ModelName:m,Level:Model|#type:COUNTER|#hostname:vm,1795375111,f5fc");
    from_worker("HandlerTime.Milliseconds:nan|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h,1,abc");
    from_worker("HandlerTime.Milliseconds:1-2|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h,1,abc");
    from_worker("HandlerTime.ms:1|#ModelName:\xff\x1b,Level:M|#hostname:h,1");
    line_is("model_metrics.log", 0,
            "PredictionTime.ms:1.0E-4|#ModelName:m,Level:Model|#hostname:vm,requestID:f5fc-9,timestamp:");
    line_is("model_metrics.log", 1,
            "HandlerTime.ms:1.2345678E7|#ModelName:m|#hostname:h,requestID:abc,d e,f,timestamp:");
    line_is("model_metrics.log", 2,
            "HandlerTime.ms:7.5|#ModelName:m,Level:Model|#hostname:h,requestID:null,timestamp:");
    line_is("model_metrics.log", 3,
            "HandlerTime.ms:1.0|#ModelName:\?\?,Level:M|#hostname:h,requestID:null,timestamp:");
    const char *all = content("ts_log.log");
    assert_null(strstr(all, "Undeclared"));
    assert_null(strstr(all, "result="));
    assert_non_null(strstr(all, " [ERROR] W-9000-m_1.0-stdout org.pytorch.serve.wlm.WorkerLifeCycle - Failed "
                                "to parse metrics line: \"[METRICS]HandlerTime.Milliseconds:nan|#ModelName:m,"
                                "Level:Model|#type:GAUGE|#hostname:h,1,abc\".\n"));
    assert_non_null(strstr(all, "WorkerLifeCycle - Failed to update backend metric HandlerTime\n"));
    assert_string_equal(content("ts_metrics.log"), "");
}

static void each_line_of_a_worker_can_be_named(void **state)
{
    (void)state;
    struct sc_metrics_config c = {.to = SC_METRICS_TO_LOG, .name_lines = true};
    assert_int_equal(sc_metrics_configure(m, &c, NULL), 0);
    from_worker("Undeclared.Count:3|#|#type:COUNTER|#hostname:vm,1");
    assert_non_null(strstr(content("ts_log.log"),
                           " [INFO ] W-9000-m_1.0-stdout org.pytorch.serve.wlm.WorkerLifeCycle - "
                           "result=[METRICS]Undeclared.Count:3|#|#type:COUNTER|#hostname:vm,1, "
                           "pattern=[METRICS]\n"));
}

/* The ids of a batch of a thousand do not fit into a line; the time still stands at its end. */
static void a_very_long_line_keeps_its_end(void **state)
{
    (void)state;
    configure(SC_METRICS_TO_LOG, NULL);
    static char text[40000];
    size_t n = (size_t)snprintf(text, sizeof text,
                                "[METRICS]HandlerTime.ms:1|#ModelName:m,Level:Model|#hostname:h,1,");
    memset(text + n, 'a', sizeof text - n);
    sc_metrics_backend_line(m, sc_span(text, sizeof text), sc_span(text + 9, sizeof text - 9), "t");
    const char *p = strstr(content("model_metrics.log"), ",timestamp:");
    assert_non_null(p);
    assert_int_equal(strlen(p), strlen(",timestamp:1795375111\n"));
}

static void only_what_is_declared_is_recorded(void **state)
{
    (void)state;
    configure(SC_METRICS_TO_LOG, "ts_metrics:\n"
                                 "  counter: [{name: Requests2XX, unit: Answers, dimensions: [Lvl, Host]}]\n"
                                 "  gauge: [{name: QueueTime, unit: ms, dimensions: [Host]},\n"
                                 "          {name: DiskUsage, unit: GB, dimensions: [L, Host]}]\n");
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    sc_metrics_request(h, 0, false);
    sc_metrics_answered(h, 0, false, 1, 2);
    sc_metrics_response(m, 500);
    sc_metrics_queue_time(m, 0, 1, 1);
    sc_metrics_worker_loaded(m, h, "W", 1);
    sc_metrics_sample_system(m);
    sc_metrics_response(m, 201);
    from_worker("HandlerTime.ms:1|#ModelName:m,Level:Model|#hostname:h,1");
    line_is("ts_metrics.log", 1, "Requests2XX.Answers:1.0|#Lvl:Host|#hostname:vm,timestamp:");
    assert_non_null(strstr(content("ts_metrics.log"), " - DiskUsage.GB:"));
    assert_string_equal(content("model_metrics.log"), "");
    assert_non_null(
        strstr(content("ts_log.log"), "the metric QueueTime is not recorded: it has 2 dimensions"));
    sc_metrics_model_release(m, h);
}

static void a_file_that_cannot_be_read_means_no_metrics(void **state)
{
    (void)state;
    struct sc_metrics_config c = {.to = SC_METRICS_TO_PROMETHEUS, .file = "/nowhere/metrics.yaml"};
    assert_int_equal(sc_metrics_configure(m, &c, NULL), 0);
    assert_non_null(strstr(content("ts_log.log"), "[ERROR]"));
    assert_non_null(strstr(content("ts_log.log"), "Failed to load metrics configuration: "));
    sc_metrics_sample_system(m);
    sc_metrics_queue_time(m, 0, 1, 1);
    assert_null(strstr(shown(), "Torchserve prometheus"));
}

static void workers_metrics_are_shown_to_prometheus(void **state)
{
    (void)state;
    configure(SC_METRICS_TO_PROMETHEUS,
              "ts_metrics:\n  histogram: [{name: QueueTime, unit: Milliseconds, dimensions: [Level, Host]}]\n"
              "model_metrics:\n"
              "  counter: [{name: Items, unit: count, dimensions: [ModelName, Level]}]\n"
              "  gauge: [{name: PredictionTime, unit: ms, dimensions: [ModelName, Level]}]\n"
              "  histogram: [{name: Length, unit: tokens, dimensions: []}]\n");
    const char *idle = shown();
    assert_non_null(strstr(idle, "# HELP Items Torchserve prometheus counter metric with unit: count\n"
                                 "# TYPE Items counter\n"
                                 "# HELP PredictionTime Torchserve prometheus gauge metric with unit: ms\n"
                                 "# TYPE PredictionTime gauge\n"
                                 "# HELP Length Torchserve prometheus histogram metric with unit: tokens\n"
                                 "# TYPE Length histogram\n"));
    from_worker("Items.Count:3|#ModelName:m,Level:Model|#type:COUNTER|#hostname:vm,1,a");
    from_worker("Items.Count:2|#ModelName:m,Level:Model|#type:COUNTER|#hostname:vm,1,a");
    from_worker("Items.Count:-2|#ModelName:m,Level:Model|#type:COUNTER|#hostname:vm,1,a");
    from_worker("Items.Count:2|#ModelName:m|#type:COUNTER|#hostname:vm,1,a");
    from_worker("PredictionTime.Milliseconds:82.93|#ModelName:a\"b,Level:Model|#type:GAUGE|#hostname:vm,1");
    from_worker("Length.tokens:0.3|#|#type:HISTOGRAM|#hostname:vm,1");
    sc_metrics_queue_time(m, 1, 1, 7);
    const char *text = shown();
    assert_non_null(strstr(text, "\nItems{ModelName=\"m\",Level=\"Model\",Hostname=\"vm\",} 5.0\n"));
    assert_non_null(
        strstr(text, "\nPredictionTime{ModelName=\"a\\\"b\",Level=\"Model\",Hostname=\"vm\",} 82.93\n"));
    assert_non_null(strstr(text, "\nLength_bucket{Hostname=\"vm\",le=\"0.25\",} 0.0\n"
                                 "Length_bucket{Hostname=\"vm\",le=\"0.5\",} 1.0\n"));
    assert_non_null(strstr(text, "\nQueueTime_bucket{Level=\"Host\",Host=\"vm\",le=\"7.5\",} 1.0\n"));
    assert_null(strstr(text, "Requests2XX"));
    assert_string_equal(content("model_metrics.log"), "");
    const char *complaint = strstr(content("ts_log.log"), "Failed to update backend metric Items\n");
    assert_non_null(complaint);
    assert_non_null(strstr(complaint + 1, "Failed to update backend metric Items\n"));
}

static void what_is_not_declared_can_be_detected(void **state)
{
    (void)state;
    struct sc_metrics_config c = {.to = SC_METRICS_TO_PROMETHEUS, .auto_detect = true};
    assert_int_equal(sc_metrics_configure(m, &c, NULL), 0);
    from_worker("New.Milliseconds:1.5|#a:x,b:y|#type:GAUGE|#hostname:vm,1");
    from_worker("New.Milliseconds:2.5|#a:x,b:y|#type:GAUGE|#hostname:vm,1");
    from_worker("Typeless.Count:1|#a:x|#hostname:vm,1");
    from_worker("Bad Name.Count:1|#a:x|#type:COUNTER|#hostname:vm,1");
    from_worker("Next.Count:1|#|#type:COUNTER|#hostname:vm,1");
    const char *text = shown();
    assert_non_null(strstr(text, "# HELP New Torchserve prometheus gauge metric with unit: Milliseconds\n"
                                 "# TYPE New gauge\n"
                                 "New{a=\"x\",b=\"y\",Hostname=\"vm\",} 2.5\n"));
    assert_null(strstr(text, "Typeless"));
    assert_null(strstr(text, "Bad Name"));
    assert_non_null(strstr(text, "\nNext{Hostname=\"vm\",} 1.0\n"));
}

static void prometheus_refuses_what_it_cannot_show(void **state)
{
    (void)state;
    char path[128];
    struct sc_msg msg;
    snprintf(path, sizeof path, "%s/metrics.yaml", dir);
    struct sc_metrics_config c = {.to = SC_METRICS_TO_PROMETHEUS, .file = path};
    FILE *f = fopen(path, "w");
    fputs("ts_metrics: {gauge: [{name: a-b, unit: u, dimensions: [h]}]}\n", f);
    fclose(f);
    assert_int_equal(sc_metrics_configure(m, &c, &msg), SC_EINVAL);
    assert_non_null(strstr(msg.text, "\"a-b\""));
    c.to = SC_METRICS_TO_LOG;
    assert_int_equal(sc_metrics_configure(m, &c, &msg), 0);
}

int main(void)
{
#define WITH_M(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_M(events_of_the_server_become_lines),
        WITH_M(legacy_shows_the_three_counters_and_logs_the_rest),
        WITH_M(lines_of_workers_become_model_metrics),
        WITH_M(each_line_of_a_worker_can_be_named),
        WITH_M(a_very_long_line_keeps_its_end),
        WITH_M(only_what_is_declared_is_recorded),
        WITH_M(a_file_that_cannot_be_read_means_no_metrics),
        WITH_M(workers_metrics_are_shown_to_prometheus),
        WITH_M(what_is_not_declared_can_be_detected),
        WITH_M(prometheus_refuses_what_it_cannot_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
