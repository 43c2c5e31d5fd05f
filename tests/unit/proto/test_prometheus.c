#include "test.h"

#include <math.h>

#include "base/array.h"
#include "proto/prometheus.h"

static const char *const labels[] = {"Level", "Hostname"};
static const char *const values[] = {"Host", "vm"};
static struct sc_buf out;
static struct sc_prom w;

static int setup(void **state)
{
    (void)state;
    sc_buf_init(&out, 1 << 16);
    sc_prom_init(&w, SC_PROM_TEXT, &out, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_buf_free(&out);
    return 0;
}

static void expect(const char *text)
{
    sc_buf_char(&out, '\0');
    assert_string_equal(out.p, text);
}

static void a_family_looks_like_torchserves(void **state)
{
    (void)state;
    sc_prom_family(&w, "Requests2XX", "counter", "Torchserve prometheus counter metric with unit: Count");
    sc_prom_sample(&w, labels, values, 2, 8);
    sc_prom_family(&w, "Empty", "gauge", "a \\ \"b\"\nc");
    sc_prom_family(&w, "Bare", "gauge", "");
    sc_prom_sample(&w, NULL, NULL, 0, -INFINITY);
    sc_prom_sample(&w, NULL, NULL, 0, NAN);
    sc_prom_sample(&w, NULL, NULL, 0, 12345678);
    expect("# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n"
           "# TYPE Requests2XX counter\n"
           "Requests2XX{Level=\"Host\",Hostname=\"vm\",} 8.0\n"
           "# HELP Empty a \\\\ \"b\"\\nc\n# TYPE Empty gauge\n"
           "# HELP Bare \n# TYPE Bare gauge\nBare -Inf\nBare NaN\nBare 1.2345678E7\n");
}

static void label_values_are_escaped(void **state)
{
    (void)state;
    const char *hostile[] = {"a\"b\\c\nd", "\xc3\xa4"};
    sc_prom_family(&w, "x", "gauge", "h");
    sc_prom_sample(&w, labels, hostile, 2, 1);
    expect("# HELP x h\n# TYPE x gauge\nx{Level=\"a\\\"b\\\\c\\nd\",Hostname=\"\xc3\xa4\",} 1.0\n");
}

static void a_filter_names_samples_not_families(void **state)
{
    (void)state;
    const double bounds[] = {0.5, 1};
    const uint64_t counts[] = {1, 2, 3};
    struct sc_span names[] = {SC_SPAN("b"), SC_SPAN("h_count"), SC_SPAN("nothing")};
    sc_prom_init(&w, SC_PROM_TEXT, &out, names, SC_COUNT(names));
    sc_prom_family(&w, "a", "counter", "");
    sc_prom_sample(&w, NULL, NULL, 0, 1);
    sc_prom_family(&w, "b", "counter", "");
    sc_prom_sample(&w, NULL, NULL, 0, 2);
    sc_prom_family(&w, "h", "histogram", "");
    const struct sc_prom_histogram h = {.bounds = bounds, .counts = counts, .nbounds = 2, .sum = 9};
    sc_prom_histogram(&w, NULL, NULL, 0, &h);
    sc_prom_family(&w, "nothing", "gauge", "");
    expect("# HELP b \n# TYPE b counter\nb 2.0\n# HELP h \n# TYPE h histogram\nh_count 6.0\n");
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    const double bounds[] = {0.005, 10};
    const uint64_t counts[] = {1, 2, 3};
    sc_prom_family(&w, "h", "histogram", "x");
    const struct sc_prom_histogram h = {
        .bounds = bounds, .counts = counts, .nbounds = 2, .sum = 1.5, .created_ms = 5};
    sc_prom_histogram(&w, labels, values, 1, &h);
    expect("# HELP h x\n# TYPE h histogram\n"
           "h_bucket{Level=\"Host\",le=\"0.005\",} 1.0\nh_bucket{Level=\"Host\",le=\"10.0\",} 3.0\n"
           "h_bucket{Level=\"Host\",le=\"+Inf\",} 6.0\nh_count{Level=\"Host\",} 6.0\nh_sum{Level=\"Host\",} "
           "1.5\n");
}

static void openmetrics_has_its_own_rules(void **state)
{
    (void)state;
    const double bounds[] = {0.005, 10};
    const uint64_t counts[] = {1, 2, 3};
    const struct sc_prom_exemplar exemplars[] = {
        {"", 0, 0}, {"trace_id=\"4bf9\"", 0.25, 1717105563042}, {"", 0, 0}};
    const struct sc_prom_histogram h = {.bounds = bounds,
                                        .counts = counts,
                                        .nbounds = 2,
                                        .sum = 1.5,
                                        .exemplars = exemplars,
                                        .created_ms = 1717105000007};
    sc_prom_init(&w, SC_PROM_OPENMETRICS, &out, NULL, 0);
    sc_prom_family(&w, "Requests2XX", "counter", "no \"total\"");
    sc_prom_sample(&w, labels, values, 2, 8);
    sc_prom_created(&w, labels, values, 2, 1717105000007);
    sc_prom_family(&w, "a_total", "counter", "");
    sc_prom_sample(&w, NULL, NULL, 0, 2);
    sc_prom_created(&w, NULL, NULL, 0, 1717105000007);
    sc_prom_family(&w, "t_seconds", "histogram", "");
    sc_prom_histogram(&w, labels, values, 1, &h);
    sc_prom_end(&w);
    expect("# HELP Requests2XX no \\\"total\\\"\n# TYPE Requests2XX unknown\n"
           "Requests2XX{Level=\"Host\",Hostname=\"vm\"} 8.0\n"
           "# HELP a \n# TYPE a counter\na_total 2.0\na_created 1717105000.007\n"
           "# HELP t_seconds \n# TYPE t_seconds histogram\n# UNIT t_seconds seconds\n"
           "t_seconds_bucket{Level=\"Host\",le=\"0.005\"} 1.0\n"
           "t_seconds_bucket{Level=\"Host\",le=\"10.0\"} 3.0 # {trace_id=\"4bf9\"} 0.25 1717105563.042\n"
           "t_seconds_bucket{Level=\"Host\",le=\"+Inf\"} 6.0\n"
           "t_seconds_count{Level=\"Host\"} 6.0\nt_seconds_sum{Level=\"Host\"} 1.5\n"
           "t_seconds_created{Level=\"Host\"} 1717105000.007\n# EOF\n");
}

static void who_asks_for_openmetrics_gets_it(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum sc_prom_format format;
    } cases[] = {
        {"", SC_PROM_TEXT},
        {"*/*", SC_PROM_TEXT},
        {"text/plain", SC_PROM_TEXT},
        {"application/openmetrics-text", SC_PROM_OPENMETRICS},
        {"Application/OpenMetrics-Text; version=1.0.0 ; q=0.5 , text/plain;q=0.4", SC_PROM_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         SC_PROM_OPENMETRICS},
        {"application/openmetrics-text;q=0", SC_PROM_TEXT},
        {"application/openmetrics-text;q=0.3,text/plain;q=0.9", SC_PROM_TEXT},
        {"application/openmetrics-text;q=x,;;=,,", SC_PROM_OPENMETRICS},
    };
    for (unsigned i = 0; i < SC_COUNT(cases); i++)
        assert_int_equal(sc_prom_accepted(sc_span_str(cases[i].accept)), cases[i].format);
    assert_int_equal(sc_prom_accepted(sc_span(NULL, 0)), SC_PROM_TEXT);
}

int main(void)
{
#define WITH_BUF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BUF(a_family_looks_like_torchserves),     WITH_BUF(label_values_are_escaped),
        WITH_BUF(a_filter_names_samples_not_families), WITH_BUF(histograms_are_cumulative),
        WITH_BUF(openmetrics_has_its_own_rules),       WITH_BUF(who_asks_for_openmetrics_gets_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
