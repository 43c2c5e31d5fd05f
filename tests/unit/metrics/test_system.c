#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "metrics/system.h"

static void cpu_time_is_busy_or_idle(void **state)
{
    (void)state;
    uint64_t busy, total;
    assert_true(sc_system_cpu(SC_SPAN("cpu  100 20 30 400 50 6 7 8 90 9\ncpu0 1 2 3\n"), &busy, &total));
    assert_int_equal(busy, 171);
    assert_int_equal(total, 621);
    assert_false(sc_system_cpu(SC_SPAN("cpu 1 2 3\n"), &busy, &total));
    assert_false(sc_system_cpu(SC_SPAN("intr 1 2 3 4 5 6 7 8 9\n"), &busy, &total));
    assert_false(sc_system_cpu(SC_SPAN("cpu 1 2 x 4 5 6 7 8\n"), &busy, &total));
    assert_false(sc_system_cpu(SC_SPAN(""), &busy, &total));
}

static void memory_is_counted_as_the_original_does(void **state)
{
    (void)state;
    struct sc_system_memory v;
    assert_true(
        sc_system_memory(SC_SPAN("MemTotal:       1024000 kB\nMemFree:         204800 kB\n"
                                 "MemAvailable:    512000 kB\nBuffers:  102400 kB\nCached: 204800 kB\n"
                                 "SwapCached: 7 kB\nSReclaimable:  102400 kB\n"),
                         &v));
    assert_true(fabs(v.used - 400) < 1e-9);
    assert_true(fabs(v.available - 500) < 1e-9);
    assert_true(fabs(v.percent - 50) < 1e-9);
    assert_false(sc_system_memory(SC_SPAN("MemTotal: 5 kB\nMemFree: 1 kB\n"), &v));
    assert_false(sc_system_memory(SC_SPAN("MemTotal: 0 kB\nMemFree: 0 kB\nMemAvailable: 0 kB\n"), &v));
    assert_false(sc_system_memory(SC_SPAN("MemTotal: lots\n"), &v));
}

static void all_gauges_appear_once(void **state)
{
    (void)state;
    static const char *const names[] = {"CPUUtilization",  "MemoryUtilization", "MemoryUsed",
                                        "MemoryAvailable", "DiskUsage",         "DiskAvailable",
                                        "DiskUtilization"};
    static const char labels[] = "{Level=\"Host\",Hostname=\"vm\",} ";
    struct sc_metrics *m = sc_metrics_new(1, "vm");
    struct sc_buf out;
    sc_buf_init(&out, 1 << 16);
    sc_metrics_sample_system(m);
    sc_metrics_sample_system(m);
    for (unsigned i = 0; i < SC_COUNT(names); i++) {
        struct sc_span name = sc_span_str(names[i]);
        double v;
        sc_buf_clear(&out);
        sc_metrics_render(m, SC_PROM_TEXT, &name, 1, &out);
        sc_buf_char(&out, '\0');
        const char *sample = strrchr(out.p, '{');
        assert_non_null(sample);
        assert_true(strncmp(sample, labels, strlen(labels)) == 0);
        v = strtod(sample + strlen(labels), NULL);
        assert_true(v >= 0);
        if (strstr(names[i], "Utilization"))
            assert_true(v <= 100);
        else
            assert_true(v > 0);
    }
    sc_buf_free(&out);
    sc_metrics_del(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_time_is_busy_or_idle),
        cmocka_unit_test(memory_is_counted_as_the_original_does),
        cmocka_unit_test(all_gauges_appear_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
