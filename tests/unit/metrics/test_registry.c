#include "test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "metrics/registry.h"

static struct sc_metrics *m;
static struct sc_buf out;

static int setup(void **state)
{
    (void)state;
    m = sc_metrics_new(4, "vm");
    sc_buf_init(&out, 8 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_metrics_del(m);
    sc_buf_free(&out);
    return 0;
}

static const char *render(const char *name)
{
    struct sc_span filter = sc_span_str(name);
    sc_buf_clear(&out);
    sc_metrics_render(m, SC_PROM_TEXT, &filter, name ? 1 : 0, &out);
    sc_buf_char(&out, '\0');
    return out.p;
}

static void an_idle_server_names_its_families(void **state)
{
    (void)state;
    const char *text = render(NULL);
    assert_non_null(strstr(text, "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n"
                                 "# TYPE Requests2XX counter\n# HELP Requests4XX "));
    assert_non_null(strstr(text, "# TYPE QueueTime gauge\n"));
    assert_non_null(strstr(text,
                           "# HELP ts_queue_latency_microseconds Torchserve prometheus counter metric with "
                           "unit: Microseconds\n# TYPE ts_queue_latency_microseconds counter\n"));
    assert_non_null(strstr(text, "\nsconce_log_lines_dropped_total{Hostname=\"vm\",} 0.0\n"));
    assert_string_equal(render("no_such"), "");
    assert_string_equal(render("Requests2XX"), "");
}

static void responses_and_the_latest_times_are_rendered(void **state)
{
    (void)state;
    sc_metrics_responses(m, 8, 1, 12345678);
    assert_non_null(strstr(render(NULL), "\nRequests2XX{Level=\"Host\",Hostname=\"vm\",} 8.0\n"));
    assert_non_null(
        strstr(render("Requests5XX"), "Requests5XX{Level=\"Host\",Hostname=\"vm\",} 1.2345678E7\n"));
    sc_metrics_queue_time(m, 3, 2000, 7);
    sc_metrics_queue_time(m, 0, 1000, 5);
    sc_metrics_worker_thread_time(m, 1, 1, 0);
    assert_non_null(strstr(render("QueueTime"), "QueueTime{Level=\"Host\",Hostname=\"vm\",} 7.0\n"));
    assert_non_null(strstr(render("WorkerThreadTime"), "} 0.0\n"));
}

static void requests_count_under_the_version_they_named(void **state)
{
    (void)state;
    struct sc_metrics_model *v1 = sc_metrics_model(m, "m", "1.0"), *v2 = sc_metrics_model(m, "m", "2.0");
    assert_ptr_equal(sc_metrics_model(m, "m", "1.0"), v1);
    sc_metrics_model_release(m, v1);
    sc_metrics_request(v1, 0, false);
    sc_metrics_request(v1, 3, false);
    sc_metrics_request(v2, 1, false);
    sc_metrics_request(v2, 1, true);
    sc_metrics_answered(v1, 2, false, 1500, 290371129);
    const char *text = render("ts_inference_requests_total");
    assert_non_null(strstr(text, "{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 3.0\n"));
    assert_non_null(strstr(text, "{model_name=\"m\",model_version=\"2.0\",hostname=\"vm\",} 1.0\n"));
    assert_null(strstr(text, "1.0\",hostname"));
    assert_non_null(strstr(render("ts_inference_latency_microseconds"), "} 290371.129\n"));
    assert_non_null(strstr(render("ts_queue_latency_microseconds"), "} 1.5\n"));

    /* The default counter does not go back when a version leaves. */
    sc_metrics_model_release(m, v2);
    text = render("ts_inference_requests_total");
    assert_non_null(strstr(text, "model_version=\"default\",hostname=\"vm\",} 3.0\n"));
    assert_null(strstr(text, "2.0\",hostname"));
    sc_metrics_model_release(m, v1);
    assert_string_equal(render("ts_inference_requests_total"), "");
    assert_null(strstr(render(NULL), "model_name=\"m\""));
}

static void gauges_go_up_on_one_loop_and_down_on_another(void **state)
{
    (void)state;
    struct sc_metrics_model *h = sc_metrics_model(m, "a\"b", "1.0");
    sc_metrics_add(h, 0, SC_MM_QUEUED, 5);
    sc_metrics_add(h, 3, SC_MM_QUEUED, -3);
    sc_metrics_add(h, 1, SC_MM_RUNNING, 2);
    assert_non_null(
        strstr(render("sconce_queue_depth"),
               "\nsconce_queue_depth{model_name=\"a\\\"b\",model_version=\"1.0\",hostname=\"vm\",} 2.0\n"));
    assert_non_null(strstr(render("sconce_in_flight"), "} 2.0\n"));
    assert_non_null(strstr(render("sconce_replays_total"), "} 0.0\n"));
    assert_non_null(strstr(render("sconce_worker_restarts_total"), "} 0.0\n"));
    sc_metrics_model_release(m, h);
}

static void load_times_leave_with_their_model(void **state)
{
    (void)state;
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    sc_metrics_worker_loaded(m, h, "W-9000-m_1.0", 4593);
    sc_metrics_worker_loaded(m, h, "W-9001-m_1.0", 10);
    sc_metrics_worker_loaded(m, h, "W-9000-m_1.0", 17);
    assert_string_equal(render("WorkerLoadTime"),
                        "# HELP WorkerLoadTime Torchserve prometheus gauge metric with unit: Milliseconds\n"
                        "# TYPE WorkerLoadTime gauge\n"
                        "WorkerLoadTime{WorkerName=\"W-9000-m_1.0\",Level=\"Host\",Hostname=\"vm\",} 17.0\n"
                        "WorkerLoadTime{WorkerName=\"W-9001-m_1.0\",Level=\"Host\",Hostname=\"vm\",} 10.0\n");
    sc_metrics_model_release(m, h);
    assert_string_equal(render("WorkerLoadTime"), "");
}

static void any_family_can_be_added(void **state)
{
    (void)state;
    static const char *const labels[] = {"ModelName"};
    const char *const a[] = {"a"}, *const b[] = {"b"};
    struct sc_family *c = sc_metrics_family(m, SC_METRIC_COUNTER, "c", "Count", labels, 1);
    assert_ptr_equal(sc_metrics_family(m, SC_METRIC_COUNTER, "c", "Count", labels, 1), c);
    assert_null(sc_metrics_family(m, SC_METRIC_GAUGE, "c", "Count", labels, 1));
    assert_null(sc_metrics_family(m, SC_METRIC_COUNTER, "c", "Count", labels, 0));
    struct sc_series *s = sc_family_series(c, a);
    sc_series_add(s, 0, 0.5);
    sc_series_add(s, 3, 1);
    sc_series_release(sc_family_series(c, b));
    assert_non_null(strstr(render("c"), "c{ModelName=\"a\",Hostname=\"vm\",} 1.5\n"));
    assert_null(strstr(render("c"), "ModelName=\"b\""));

    struct sc_family *h = sc_metrics_family(m, SC_METRIC_HISTOGRAM, "h", "Seconds", NULL, 0);
    s = sc_family_series(h, NULL);
    sc_series_observe(s, 0, 0.005);
    sc_series_observe(s, 1, 0.3);
    sc_series_observe(s, 2, 11);
    const char *text = render(NULL);
    assert_non_null(strstr(text, "h_bucket{Hostname=\"vm\",le=\"0.005\",} 1.0\n"));
    assert_non_null(strstr(text, "h_bucket{Hostname=\"vm\",le=\"0.5\",} 2.0\n"));
    assert_non_null(strstr(
        text, "h_bucket{Hostname=\"vm\",le=\"10.0\",} 2.0\nh_bucket{Hostname=\"vm\",le=\"+Inf\",} 3.0\n"
              "h_count{Hostname=\"vm\",} 3.0\nh_sum{Hostname=\"vm\",} 11.305\n"));
}

static void series_are_bounded(void **state)
{
    (void)state;
    static const char *const labels[] = {"x"};
    struct sc_family *g = sc_metrics_family(m, SC_METRIC_GAUGE, "g", "Count", labels, 1);
    struct sc_series *seventh = NULL;
    for (int i = 0; i <= SC_METRIC_SERIES_MAX; i++) {
        char text[16];
        const char *const values[] = {text};
        snprintf(text, sizeof text, "%d", i);
        struct sc_series *s = sc_family_series(g, values);
        assert_int_equal(s != NULL, i < SC_METRIC_SERIES_MAX);
        sc_series_set(s, 1);
        if (i == 7)
            seventh = s;
    }
    sc_series_release(NULL);
    sc_series_release(seventh);
    const char *const again[] = {"again"};
    assert_non_null(sc_family_series(g, again));
    const char *const many[SC_METRIC_LABELS_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    assert_null(sc_metrics_family(m, SC_METRIC_GAUGE, "too many", "x", many, SC_METRIC_LABELS_MAX));
    assert_null(sc_family_series(NULL, many));
}

static void series_leave_and_come_in_order(void **state)
{
    (void)state;
    static const char *const labels[] = {"x"};
    static const char *const names[] = {"a", "b", "c", "d"};
    struct sc_family *g = sc_metrics_family(m, SC_METRIC_GAUGE, "g", "Count", labels, 1);
    struct sc_series *s[SC_COUNT(names)];
    for (unsigned i = 0; i < SC_COUNT(names); i++) {
        s[i] = sc_family_series(g, &names[i]);
        sc_series_set(s[i], i);
    }
    sc_series_release(s[3]);
    sc_series_release(s[1]);
    sc_series_set(sc_family_series(g, &names[1]), 7);
    assert_ptr_equal(sc_family_series(g, &names[2]), s[2]);
    assert_non_null(strstr(render("g"), "g{x=\"a\",Hostname=\"vm\",} 0.0\ng{x=\"c\",Hostname=\"vm\",} 2.0\n"
                                        "g{x=\"b\",Hostname=\"vm\",} 7.0\n"));
    assert_null(strstr(render("g"), "x=\"d\""));
}

struct writer {
    struct sc_metrics_model *h;
    unsigned loop;
};

static void *add_many(void *arg)
{
    struct writer *w = arg;
    for (unsigned i = 0; i < 100000; i++)
        sc_metrics_request(w->h, w->loop, false);
    return NULL;
}

/* Loops add while loop 0 renders: nothing is lost. */
static void loops_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    struct writer writers[4];
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        writers[i] = (struct writer){h, i};
        pthread_create(&threads[i], NULL, add_many, &writers[i]);
    }
    for (unsigned i = 0; i < 20; i++)
        render(NULL);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_non_null(strstr(render("ts_inference_requests_total"), "} 400000.0\n"));
    sc_metrics_model_release(m, h);
}

/* What a scrape has taken is there until it is written, whatever leaves meanwhile. */
static void a_scrape_holds_what_it_tells(void **state)
{
    (void)state;
    static const char *const labels[] = {"x"};
    const char *const values[] = {"gone"};
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    struct sc_series *g =
        sc_family_series(sc_metrics_family(m, SC_METRIC_GAUGE, "g", "Count", labels, 1), values);
    sc_series_set(g, 7);
    sc_metrics_request(h, 0, true);
    sc_metrics_worker_loaded(m, h, "W-9000-m_1.0", 5);
    struct sc_scrape *s = sc_scrape_new(m);
    sc_metrics_model_release(m, h);
    sc_series_release(g);
    struct sc_metrics_model *again = sc_metrics_model(m, "m", "1.0");
    sc_buf_clear(&out);
    sc_scrape_write(s, SC_PROM_TEXT, NULL, 0, &out);
    sc_buf_char(&out, '\0');
    assert_non_null(strstr(
        out.p,
        "\nts_inference_requests_total{model_name=\"m\",model_version=\"1.0\",hostname=\"vm\",} 1.0\n"));
    assert_non_null(strstr(out.p, "\ng{x=\"gone\",Hostname=\"vm\",} 7.0\n"));
    assert_non_null(strstr(out.p, "WorkerName=\"W-9000-m_1.0\""));
    sc_scrape_del(s);
    assert_string_equal(render("ts_inference_requests_total"), "");
    assert_string_equal(render("g"), "");
    sc_metrics_model_release(m, again);
}

static const char *render_open(const char *name)
{
    struct sc_span filter = sc_span_str(name);
    sc_buf_clear(&out);
    sc_metrics_render(m, SC_PROM_OPENMETRICS, &filter, 1, &out);
    sc_buf_char(&out, '\0');
    return out.p;
}

static void batches_are_counted_by_their_size(void **state)
{
    (void)state;
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    assert_string_equal(render("sconce_batch_size_bucket"), "");
    sc_metrics_batches(h, SC_MS_REQUESTS, 0, 3); /* of one */
    sc_metrics_batches(h, SC_MS_REQUESTS, 3, 1); /* of 5 to 8 */
    sc_metrics_batches(h, SC_MS_REQUESTS, 17, 1);
    sc_metrics_batches(h, SC_MS_REQUESTS, 99, 1); /* nothing */
    sc_metrics_add(h, 0, SC_MM_BATCHED, 70010);
    sc_metrics_batches(h, SC_MS_TOKENS, 2, 1);
    sc_metrics_batches(h, SC_MS_TOKENS, 10, 1);
    const char *text = render("sconce_batch_size_bucket");
    assert_non_null(strstr(text, "le=\"1.0\",} 3.0\n"));
    assert_non_null(strstr(text, "le=\"4.0\",} 3.0\n"));
    assert_non_null(strstr(text, "le=\"8.0\",} 4.0\n"));
    assert_non_null(strstr(text, "le=\"1024.0\",} 4.0\n"));
    assert_non_null(strstr(text, "le=\"+Inf\",} 5.0\n"));
    assert_non_null(strstr(render("sconce_batch_size_sum"), "} 70010.0\n"));
    text = render("sconce_batch_tokens_bucket");
    assert_non_null(strstr(text, "le=\"16.0\",} 1.0\n"));
    assert_non_null(strstr(text, "le=\"512.0\",} 1.0\n"));
    assert_non_null(strstr(text, "le=\"1024.0\",} 2.0\n"));
    sc_metrics_model_release(m, h);
}

static void the_latest_trace_explains_a_bucket(void **state)
{
    (void)state;
    static const uint64_t first[] = {1, 2}, second[] = {0x4bf92f3577b34da6, 0xa3ce929d0e0e4736};
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    sc_metrics_time(h, 0, SC_MT_QUEUE, 2000000);
    assert_null(strstr(render_open("sconce_queue_seconds_bucket"), " # {"));
    sc_metrics_exemplar(h, 0, SC_MT_QUEUE, 2000000, first, 0);
    sc_metrics_exemplar(h, 0, SC_MT_QUEUE, 1900000, second, 0xb7ad6b7169203331);
    const char *text = render_open("sconce_queue_seconds_bucket");
    assert_non_null(strstr(text, "le=\"0.0025\"} 1.0 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\","
                                 "span_id=\"b7ad6b7169203331\"} 0.0019 "));
    assert_null(strstr(text, "00000000000000010000000000000002"));
    assert_null(strstr(render("sconce_queue_seconds_bucket"), "trace_id"));
    sc_metrics_model_release(m, h);
}

static void *explain_many(void *arg)
{
    struct writer *w = arg;
    for (uint64_t i = 1; i < 50000; i++) {
        const uint64_t id[] = {i, i};
        sc_metrics_time(w->h, w->loop, SC_MT_WORKER, 1000);
        sc_metrics_exemplar(w->h, w->loop, SC_MT_WORKER, 1000, id, i);
    }
    return NULL;
}

/* An exemplar that is read while it is written is whole, or not told. */
static void exemplars_are_whole(void **state)
{
    (void)state;
    struct sc_metrics_model *h = sc_metrics_model(m, "m", "1.0");
    struct writer writer = {h, 2};
    pthread_t thread;
    pthread_create(&thread, NULL, explain_many, &writer);
    for (unsigned i = 0; i < 300; i++) {
        char hi[17], lo[17], span[17];
        const char *e = strstr(render_open("sconce_worker_seconds_bucket"), "trace_id=\"");
        if (e && sscanf(e, "trace_id=\"%16[0-9a-f]%16[0-9a-f]\",span_id=\"%16[0-9a-f]", hi, lo, span) == 3) {
            assert_string_equal(hi, lo);
            assert_string_equal(hi, span);
        }
    }
    pthread_join(thread, NULL);
    assert_non_null(strstr(render_open("sconce_worker_seconds_bucket"), "span_id=\"000000000000c34f\""));
    sc_metrics_model_release(m, h);
}

int main(void)
{
#define WITH_M(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_M(an_idle_server_names_its_families),
        WITH_M(responses_and_the_latest_times_are_rendered),
        WITH_M(requests_count_under_the_version_they_named),
        WITH_M(gauges_go_up_on_one_loop_and_down_on_another),
        WITH_M(load_times_leave_with_their_model),
        WITH_M(any_family_can_be_added),
        WITH_M(series_are_bounded),
        WITH_M(series_leave_and_come_in_order),
        WITH_M(loops_do_not_disturb_each_other),
        WITH_M(a_scrape_holds_what_it_tells),
        WITH_M(batches_are_counted_by_their_size),
        WITH_M(the_latest_trace_explains_a_bucket),
        WITH_M(exemplars_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
