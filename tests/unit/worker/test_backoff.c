#include "test.h"

#include "base/error.h"
#include "base/limits.h"
#include "worker/backoff.h"

/* A worker that dies the moment it starts is tried twelve times in five minutes. */
static void gives_up_after_the_window(void **state)
{
    (void)state;
    struct sc_backoff b;
    sc_backoff_init(&b, 300 * 1000);

    int64_t now = 0, delay;
    int tries = 0;
    while ((delay = sc_backoff_failed(&b, now)) >= 0) {
        now += delay;
        tries++;
    }
    assert_int_equal(delay, SC_EGIVEUP);
    assert_int_equal(tries, 12);
}

static void follows_the_table_and_stays_at_its_end(void **state)
{
    (void)state;
    static const int seconds[] = {1,  1,   2,   3,   5,   8,   13,   21,   34,  55,
                                  89, 144, 233, 377, 610, 987, 1597, 1597, 1597};
    struct sc_backoff b;
    sc_backoff_init(&b, -1);
    for (size_t i = 0; i < SC_COUNT(seconds); i++)
        assert_int_equal(sc_backoff_failed(&b, (int64_t)i * 86400000), seconds[i] * 1000);
}

static void a_success_forgets_the_outage(void **state)
{
    (void)state;
    struct sc_backoff b;
    sc_backoff_init(&b, 300 * 1000);
    for (int i = 0; i < 5; i++)
        assert_true(sc_backoff_failed(&b, i) > 0);
    sc_backoff_loaded(&b, 10 * 60 * 1000);

    assert_int_equal(sc_backoff_failed(&b, 10 * 60 * 1000), 1000);
}

static void a_worker_that_had_settled_restarts_at_once_and_only_once(void **state)
{
    (void)state;
    struct sc_backoff b;
    sc_backoff_init(&b, 300 * 1000);
    sc_backoff_loaded(&b, 1000);

    int64_t now = 1000 + SC_BACKOFF_SETTLED_MS;
    assert_int_equal(sc_backoff_failed(&b, now), 0);
    assert_int_equal(sc_backoff_failed(&b, now), 1000);
    assert_int_equal(sc_backoff_failed(&b, now + 1000), 1000);
    assert_int_equal(sc_backoff_failed(&b, now + 2000), 2000);
}

static void a_worker_that_dies_soon_after_loading_waits(void **state)
{
    (void)state;
    struct sc_backoff b;
    sc_backoff_init(&b, 300 * 1000);
    for (int i = 0; i < 10; i++) {
        sc_backoff_loaded(&b, i * 5000);
        assert_int_equal(sc_backoff_failed(&b, i * 5000 + SC_BACKOFF_SETTLED_MS - 1), 1000);
    }
}

static void without_a_window_nothing_is_tried_again(void **state)
{
    (void)state;
    struct sc_backoff b;
    sc_backoff_init(&b, 0);
    sc_backoff_loaded(&b, 0);
    assert_int_equal(sc_backoff_failed(&b, 60000), SC_EGIVEUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_up_after_the_window),
        cmocka_unit_test(follows_the_table_and_stays_at_its_end),
        cmocka_unit_test(a_success_forgets_the_outage),
        cmocka_unit_test(a_worker_that_had_settled_restarts_at_once_and_only_once),
        cmocka_unit_test(a_worker_that_dies_soon_after_loading_waits),
        cmocka_unit_test(without_a_window_nothing_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
