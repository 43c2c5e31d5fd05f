#include "test.h"

#include <stdlib.h>

#include "load/histogram.h"
#include "load/schedule.h"

static struct sc_hist h, other;

static int setup(void **state)
{
    (void)state;
    sc_hist_init(&h);
    sc_hist_init(&other);
    return 0;
}

/* Every value lies in its bucket, and buckets follow each other without a gap. */
static void buckets_are_narrow_and_without_gaps(void **state)
{
    (void)state;
    uint64_t from = 0;
    for (unsigned b = 0; b < SC_HIST_BUCKETS; b++) {
        uint64_t to = sc_hist_bucket_max(b);
        assert_true(to >= from);
        assert_int_equal(sc_hist_bucket(from), b);
        assert_int_equal(sc_hist_bucket(to), b);
        assert_true((double)(to - from) <= 0.01 * (double)from);
        from = to + 1;
    }
    assert_int_equal(from, UINT64_C(1) << SC_HIST_VALUE_BITS);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void percentiles_are_within_one_percent_of_the_sorted_values(void **state)
{
    (void)state;
    enum { N = 20000 };
    static uint64_t values[N];
    struct sc_rng rng;
    sc_rng_init(&rng, 7);
    for (int i = 0; i < N; i++) {
        values[i] = sc_rng_next(&rng) >> (24 + sc_rng_next(&rng) % 40); /* from 0 to 2^40, small ones often */
        sc_hist_record(&h, (int64_t)values[i]);
    }
    qsort(values, N, sizeof values[0], by_size);
    const double shares[] = {0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999};
    for (unsigned i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double exact = (double)values[(int)(shares[i] * N + 0.999999) - 1];
        double got = (double)sc_hist_at(&h, shares[i]);
        assert_true(got >= exact && got <= exact * 1.01);
    }
    assert_int_equal(sc_hist_at(&h, 1), values[N - 1]);
    assert_int_equal(h.min, values[0]);
    assert_int_equal(h.max, values[N - 1]);
}

static void a_single_value_is_every_percentile(void **state)
{
    (void)state;
    sc_hist_record(&h, 123456789);
    assert_int_equal(sc_hist_at(&h, 0), 123456789);
    assert_int_equal(sc_hist_at(&h, 0.5), 123456789);
    assert_int_equal(sc_hist_at(&h, 1), 123456789);
    assert_true(sc_hist_mean(&h) == 123456789);
}

static void nothing_recorded_is_zero(void **state)
{
    (void)state;
    assert_int_equal(sc_hist_at(&h, 0.99), 0);
    assert_true(sc_hist_mean(&h) == 0);
}

static void values_out_of_range_are_kept_at_the_ends(void **state)
{
    (void)state;
    sc_hist_record(&h, -5);
    sc_hist_record(&h, INT64_MAX);
    assert_int_equal(h.count, 2);
    assert_int_equal(h.min, 0);
    assert_int_equal(sc_hist_at(&h, 0.5), 0);
    assert_int_equal(h.max, INT64_MAX);
}

static void merging_equals_recording_all_in_one(void **state)
{
    (void)state;
    static struct sc_hist both;
    sc_hist_init(&both);
    for (int64_t v = 1; v < 5000000; v = v * 5 / 4 + 1) {
        sc_hist_record(v % 2 ? &h : &other, v);
        sc_hist_record(&both, v);
    }
    sc_hist_merge(&h, &other);
    assert_memory_equal(&h, &both, sizeof h);
    static struct sc_hist empty;
    sc_hist_init(&empty);
    sc_hist_merge(&h, &empty);
    assert_memory_equal(&h, &both, sizeof h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(buckets_are_narrow_and_without_gaps, setup),
        cmocka_unit_test_setup(percentiles_are_within_one_percent_of_the_sorted_values, setup),
        cmocka_unit_test_setup(a_single_value_is_every_percentile, setup),
        cmocka_unit_test_setup(nothing_recorded_is_zero, setup),
        cmocka_unit_test_setup(values_out_of_range_are_kept_at_the_ends, setup),
        cmocka_unit_test_setup(merging_equals_recording_all_in_one, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
