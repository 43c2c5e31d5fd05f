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
    sc_prom_init(&w, &out, NULL, 0);
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
    sc_prom_init(&w, &out, names, SC_COUNT(names));
    sc_prom_family(&w, "a", "counter", "");
    sc_prom_sample(&w, NULL, NULL, 0, 1);
    sc_prom_family(&w, "b", "counter", "");
    sc_prom_sample(&w, NULL, NULL, 0, 2);
    sc_prom_family(&w, "h", "histogram", "");
    sc_prom_histogram(&w, NULL, NULL, 0, bounds, counts, 2, 9);
    sc_prom_family(&w, "nothing", "gauge", "");
    expect("# HELP b \n# TYPE b counter\nb 2.0\n# HELP h \n# TYPE h histogram\nh_count 6.0\n");
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    const double bounds[] = {0.005, 10};
    const uint64_t counts[] = {1, 2, 3};
    sc_prom_family(&w, "h", "histogram", "x");
    sc_prom_histogram(&w, labels, values, 1, bounds, counts, 2, 1.5);
    expect("# HELP h x\n# TYPE h histogram\n"
           "h_bucket{Level=\"Host\",le=\"0.005\",} 1.0\nh_bucket{Level=\"Host\",le=\"10.0\",} 3.0\n"
           "h_bucket{Level=\"Host\",le=\"+Inf\",} 6.0\nh_count{Level=\"Host\",} 6.0\nh_sum{Level=\"Host\",} "
           "1.5\n");
}

int main(void)
{
#define WITH_BUF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BUF(a_family_looks_like_torchserves),
        WITH_BUF(label_values_are_escaped),
        WITH_BUF(a_filter_names_samples_not_families),
        WITH_BUF(histograms_are_cumulative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
