#include "test.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "metrics/declared.h"

static struct sc_declarations d;
static struct sc_msg msg;

static int read_text(const char *text)
{
    sc_declarations_free(&d);
    msg.text[0] = '\0';
    return sc_declarations_read(&d, sc_span_str(text), "metrics.yaml", &msg);
}

static int forget(void **state)
{
    (void)state;
    sc_declarations_free(&d);
    return 0;
}

static void the_default_is_torchserves_table(void **state)
{
    (void)state;
    assert_int_equal(sc_declarations_read(&d, sc_declarations_default(), "default", &msg), 0);
    assert_int_equal(d.n, 21);
    const struct sc_declared *m = sc_declared_find(d.server, SC_SPAN("GPUMemoryUsed"));
    assert_non_null(m);
    assert_int_equal(m->type, SC_METRIC_GAUGE);
    assert_string_equal(m->unit, "Megabytes");
    assert_int_equal(m->ndims, 3);
    assert_string_equal(m->dims[1], "DeviceId");
    m = sc_declared_find(d.model, SC_SPAN("PredictionTime"));
    assert_non_null(m);
    assert_string_equal(m->unit, "ms");
    assert_int_equal(m->ndims, 3);
    assert_string_equal(m->dims[2], "Hostname");
    assert_null(sc_declared_find(d.model, SC_SPAN("QueueTime")));
    assert_int_equal(sc_declarations_check_prometheus(&d, &msg), 0);
}

static void same_lists(const struct sc_declared *a, const struct sc_declared *b)
{
    for (; a && b; a = a->next, b = b->next) {
        assert_string_equal(a->name, b->name);
        assert_string_equal(a->unit, b->unit);
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->ndims, b->ndims);
        for (unsigned i = 0; i < a->ndims; i++)
            assert_string_equal(a->dims[i], b->dims[i]);
    }
    assert_true(!a && !b);
}

/* Workers read the file, the server has the same within it. */
static void the_workers_file_says_the_same(void **state)
{
    (void)state;
    struct sc_buf text;
    struct sc_declarations file;
    sc_buf_init(&text, SC_METRICS_FILE_BYTES);
    assert_int_equal(sc_file_read(SC_SOURCE_DIR "/backends/python/ts/configs/metrics.yaml", &text, &msg), 0);
    assert_int_equal(sc_declarations_read(&file, sc_buf_view(&text), "metrics.yaml", &msg), 0);
    assert_int_equal(sc_declarations_read(&d, sc_declarations_default(), "default", &msg), 0);
    same_lists(file.server, d.server);
    same_lists(file.model, d.model);
    sc_declarations_free(&file);
    sc_buf_free(&text);
}

static void anchors_are_followed(void **state)
{
    (void)state;
    assert_int_equal(read_text("dimensions: [ &lvl Level, &host \"Hostname\" ]\n"
                               "ts_metrics:\n"
                               "  counter:\n    - {name: A, unit: Count, dimensions: [*lvl, *host]}\n"
                               "  gauge:\n"
                               "model_metrics:\n"
                               "  histogram:\n    - name: H\n      unit: ms\n      dimensions: []\n"),
                     0);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.server->dims[0], "Level");
    assert_string_equal(d.server->dims[1], "Hostname");
    assert_int_equal(d.model->type, SC_METRIC_HISTOGRAM);
    assert_int_equal(d.model->ndims, 1);
}

static void the_schema_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "ts_metrics and model_metrics are expected"},
        {"[1, 2]", "are expected"},
        {"ts_metric: {}", "the keys here are"},
        {"ts_metrics:\n  counters: []\n", "metrics.yaml:2: the types of metrics"},
        {"ts_metrics: [a]", "counter, gauge and histogram are expected"},
        {"ts_metrics:\n  gauge: {a: b}\n", "a list of metrics"},
        {"ts_metrics:\n  gauge: [x]\n", "must be a mapping"},
        {"ts_metrics:\n  gauge: [{unit: a, dimensions: []}]\n", "Metric name cannot be empty."},
        {"ts_metrics:\n  gauge: [{name: '', unit: a}]\n", "Metric name cannot be empty."},
        {"ts_metrics:\n  gauge: [{name: , unit: a}]\n", "Metric name cannot be empty."},
        {"ts_metrics:\n  gauge: [{name: a}]\n", "Metric unit cannot be empty."},
        {"ts_metrics:\n  gauge: [{name: a, unit: b, labels: []}]\n", "this key is none of them"},
        {"ts_metrics:\n  gauge: [{name: a, unit: b, dimensions: c}]\n", "dimensions must be a list"},
        {"ts_metrics:\n  gauge: [{name: a, unit: b, dimensions: [[c]]}]\n", "must be a word"},
        {"model_metrics:\n  gauge: [{name: a, unit: b}]\n", "needs a list of dimensions"},
        {"ts_metrics: *nobody", "found undefined alias"},
        {"a: [", "metrics.yaml:"},
        {"ts_metrics: &x {gauge: *x}", ""},
    };
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        int rc = read_text(bad[i].text);
        if (rc != SC_EINVAL || !strstr(msg.text, bad[i].says))
            fail_msg("%s: %d %s", bad[i].text, rc, msg.text);
        assert_null(d.server);
    }
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    static char text[200000];
    int n = snprintf(text, sizeof text, "ts_metrics:\n  gauge:\n");
    for (int i = 0; i <= SC_METRIC_FAMILIES_MAX; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "    - {name: n%d, unit: u, dimensions: [h]}\n", i);
    assert_int_equal(read_text(text), SC_ELIMIT);
    n = snprintf(text, sizeof text, "ts_metrics:\n  gauge:\n    - {name: n, unit: u, dimensions: [d0");
    for (int i = 1; i < SC_METRIC_LABELS_MAX; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, ", d%d", i);
    snprintf(text + n, sizeof text - (size_t)n, "]}\n");
    assert_int_equal(read_text(text), SC_ELIMIT);
}

static void prometheus_wants_its_own_names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"ts_metrics: {gauge: [{name: a, unit: u, dimensions: [h]}]}\n"
         "model_metrics: {counter: [{name: a, unit: u, dimensions: []}]}",
         "a is declared twice"},
        {"model_metrics: {counter: [{name: a b, unit: u, dimensions: []}]}", "\"a b\" must be named"},
        {"model_metrics: {counter: [{name: 1a, unit: u, dimensions: []}]}", "\"1a\" must be named"},
        {"model_metrics: {counter: [{name: a, unit: u, dimensions: ['a:b']}]}", "\"a:b\" of the metric a"},
    };
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(read_text(bad[i].text), 0);
        assert_int_equal(sc_declarations_check_prometheus(&d, &msg), SC_EINVAL);
        if (!strstr(msg.text, bad[i].says))
            fail_msg("%s", msg.text);
    }
    assert_int_equal(read_text("model_metrics: {counter: [{name: 'a:b', unit: u, dimensions: []}]}"), 0);
    assert_int_equal(sc_declarations_check_prometheus(&d, &msg), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_default_is_torchserves_table, forget),
        cmocka_unit_test_teardown(the_workers_file_says_the_same, forget),
        cmocka_unit_test_teardown(anchors_are_followed, forget),
        cmocka_unit_test_teardown(the_schema_is_strict, forget),
        cmocka_unit_test_teardown(sizes_are_bounded, forget),
        cmocka_unit_test_teardown(prometheus_wants_its_own_names, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
