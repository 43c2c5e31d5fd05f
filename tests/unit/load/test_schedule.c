#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "load/schedule.h"

static void constant_spacing_is_even(void **state)
{
    (void)state;
    struct sc_schedule s;
    sc_schedule_init(&s, 1000, false, 0, 1, 1, 5000);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(sc_schedule_due(&s), 5000 + i * INT64_C(1000000));
        sc_schedule_advance(&s);
    }
}

/* Three threads at 3000/s together send one request every 333333 ns, not three at once. */
static void shares_of_a_constant_rate_interleave(void **state)
{
    (void)state;
    struct sc_schedule s[3];
    for (unsigned i = 0; i < 3; i++)
        sc_schedule_init(&s[i], 3000, false, i, 3, 1, 0);
    for (int k = 0; k < 300; k++) {
        int64_t due = sc_schedule_due(&s[k % 3]);
        assert_true(llabs(due - k * INT64_C(1000000) / 3) <= 1);
        sc_schedule_advance(&s[k % 3]);
    }
}

/* The gaps' mean is the interval, and so is their standard deviation. */
static void poisson_gaps_are_exponential(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct sc_schedule s;
    sc_schedule_init(&s, 20000, true, 0, 2, 3, 0);
    double sum = 0, squares = 0, last = 0;
    int longer = 0;
    for (int i = 0; i < N; i++) {
        double gap = s.next - last;
        last = s.next;
        sum += gap;
        squares += gap * gap;
        longer += gap > 100000;
        sc_schedule_advance(&s);
    }
    double mean = sum / N, deviation = sqrt(squares / N - mean * mean);
    assert_true(fabs(mean - 100000) < 1000);
    assert_true(fabs(deviation - 100000) < 2000);
    assert_true(fabs((double)longer / N - exp(-1)) < 0.01);
}

static void the_seed_decides_and_threads_differ(void **state)
{
    (void)state;
    struct sc_schedule a, b, thread, seed;
    sc_schedule_init(&a, 100, true, 0, 2, 1, 0);
    sc_schedule_init(&b, 100, true, 0, 2, 1, 0);
    sc_schedule_init(&thread, 100, true, 1, 2, 1, 0);
    sc_schedule_init(&seed, 100, true, 0, 2, 77, 0);
    assert_int_equal(sc_schedule_due(&a), sc_schedule_due(&b));
    assert_int_not_equal(sc_schedule_due(&a), sc_schedule_due(&thread));
    assert_int_not_equal(sc_schedule_due(&a), sc_schedule_due(&seed));
}

/* Rounding must not add up: after a day at a rate that no nanosecond divides, the time is right to a
 * millisecond. */
static void a_long_run_does_not_drift(void **state)
{
    (void)state;
    struct sc_schedule s;
    sc_schedule_init(&s, 7, false, 0, 1, 1, 0);
    for (int i = 0; i < 7 * 86400; i++)
        sc_schedule_advance(&s);
    assert_true(llabs(sc_schedule_due(&s) - INT64_C(86400000000000)) < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_spacing_is_even),
        cmocka_unit_test(shares_of_a_constant_rate_interleave),
        cmocka_unit_test(poisson_gaps_are_exponential),
        cmocka_unit_test(the_seed_decides_and_threads_differ),
        cmocka_unit_test(a_long_run_does_not_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
