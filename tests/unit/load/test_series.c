#include "test.h"

#include "load/series.h"

#define MS 1000000LL

static struct sc_series a, b;

static uint64_t good(const struct sc_series *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n; i++)
        n += s->point[i].good;
    return n;
}

static void each_falls_into_its_stretch(void **state)
{
    (void)state;
    sc_series_init(&a);
    assert_int_equal(a.n, 0);
    sc_series_good(&a, 0, 5);
    sc_series_good(&a, 99 * MS, 9);
    sc_series_good(&a, 100 * MS, 7);
    sc_series_failed(&a, 250 * MS);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.point[0].good, 2);
    assert_int_equal(a.point[0].sum, 14);
    assert_int_equal(a.point[0].max, 9);
    assert_int_equal(a.point[1].good, 1);
    assert_int_equal(a.point[2].failed, 1);
    assert_int_equal(a.point[2].good, 0);
}

/* Clocks of threads: something can be before the start, or have taken less than nothing. */
static void times_before_the_start_count_as_the_start(void **state)
{
    (void)state;
    sc_series_init(&a);
    sc_series_good(&a, -5, -3);
    sc_series_failed(&a, INT64_MIN);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.point[0].good, 1);
    assert_int_equal(a.point[0].sum, 0);
    assert_int_equal(a.point[0].failed, 1);
}

static void it_gets_wider_and_loses_nothing(void **state)
{
    (void)state;
    sc_series_init(&a);
    for (int64_t t = 0; t < 2000; t++)
        sc_series_good(&a, t * 100 * MS, t + 1);
    assert_int_equal(a.width, 400 * MS);
    assert_int_equal(a.n, 500);
    assert_int_equal(good(&a), 2000);
    assert_int_equal(a.point[0].sum, 1 + 2 + 3 + 4);
    assert_int_equal(a.point[499].max, 2000);
    sc_series_good(&a, INT64_MAX, 1); /* 292 years */
    assert_int_equal(good(&a), 2001);
    assert_true(a.n <= SC_SERIES_POINTS);
}

static void series_of_different_widths_are_merged(void **state)
{
    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        sc_series_init(&a);
        sc_series_init(&b);
        struct sc_series *wide = turn ? &a : &b, *narrow = turn ? &b : &a;
        for (int64_t t = 0; t < 600; t++)
            sc_series_good(wide, t * 100 * MS, 2);
        for (int64_t t = 0; t < 10; t++)
            sc_series_failed(narrow, t * 100 * MS);
        sc_series_merge(&a, &b);
        assert_int_equal(a.width, 200 * MS);
        assert_int_equal(good(&a), 600);
        assert_int_equal(a.point[4].failed, 2);
        assert_int_equal(a.point[4].good, 2);
        assert_int_equal(a.point[5].failed, 0);
        assert_int_equal(a.n, 300);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_falls_into_its_stretch),
        cmocka_unit_test(times_before_the_start_count_as_the_start),
        cmocka_unit_test(it_gets_wider_and_loses_nothing),
        cmocka_unit_test(series_of_different_widths_are_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
