#include "test.h"

#include "linger.h"

#define MS INT64_C(1000000)

static struct sc_linger l;
static int64_t now;

static int setup(void **state)
{
    (void)state;
    l = (struct sc_linger){.batch_size = 8, .most_ns = 100 * MS};
    now = 1000 * MS;
    return 0;
}

/* A handler that takes `fixed` and `each` had a batch of n. */
static void batch(uint32_t n, int64_t fixed, int64_t each)
{
    int64_t took = fixed + n * each;
    now += took;
    sc_linger_took(&l, n, took);
    sc_linger_begin(&l, now);
}

/* So many requests are there at once; what is waited for, then. */
static int64_t find(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sc_linger_found(&l);
    sc_linger_empty(&l);
    int64_t until = sc_linger_until(&l, n, now);
    return until ? until - now : 0;
}

static void first_batch_goes_at_once(void **state)
{
    (void)state;
    sc_linger_begin(&l, now);
    assert_int_equal(find(1), 0);
}

static void waits_for_as_many_as_were_answered(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        batch(3, 10 * MS, MS / 10);
    int64_t wait = find(3);
    assert_in_range(wait, 1 * MS, 10300000 / 8); /* an eighth */
    now += MS / 2;
    assert_true(sc_linger_until(&l, 5, now) > 0);
    assert_int_equal(sc_linger_until(&l, 6, now), 0); /* all are there */
    sc_linger_end(&l, 6, now);
    batch(6, 10 * MS, MS / 10);
    assert_true(find(0) > 0 && l.wanted == 6);
    assert_int_equal(sc_linger_until(&l, 1, now + 2 * MS), 0); /* too long */
}

static void full_batches_do_not_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        batch(8, 10 * MS, MS / 10);
    assert_true(find(7) > 0);
    setup(NULL);
    for (int i = 0; i < 20; i++)
        batch(8, 10 * MS, MS / 10);
    assert_int_equal(find(8), 0);
}

static void an_idle_worker_does_not_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        batch(3, 10 * MS, MS / 10);
    sc_linger_empty(&l);
    now += 5 * MS;
    sc_linger_found(&l);
    assert_int_equal(sc_linger_until(&l, 1, now), 0);
}

static void the_models_delay_bounds_it(void **state)
{
    (void)state;
    l.most_ns = MS / 2;
    for (int i = 0; i < 20; i++)
        batch(3, 100 * MS, MS);
    assert_int_equal(find(3), MS / 2);
}

/* Time that only follows the number of requests leaves nothing to share. */
static void without_a_fixed_cost_nobody_waits(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        batch(1 + (uint32_t)i % 7, 0, 3 * MS);
    assert_in_range(find(3), 0, 3 * 3 * MS / 40); /* the prior is not forgotten altogether */
}

static void quick_handlers_do_not_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        batch(3, 300000, 100);
    assert_int_equal(find(3), 0);
}

static int64_t in_vain(void)
{
    batch(3, 10 * MS, MS / 10);
    int64_t wait = find(3);
    now += wait;
    sc_linger_end(&l, 3, now);
    return wait;
}

static void waits_in_vain_end(void **state)
{
    (void)state;
    int waits = 0, last = 0;
    for (int i = 0; i < 10000; i++) /* 100 s and more */
        if (in_vain() > 0) {
            waits++;
            last = i;
        }
    assert_in_range(waits, 5, 40);
    assert_true(last > 1000); /* tried again */
    /* And once it pays, it goes on. */
    while (!in_vain())
        ;
    now += 61 * 1000 * MS;
    for (int i = 0; i < 20; i++) {
        batch(3, 10 * MS, MS / 10);
        assert_true(find(3) > 0);
        now += MS / 4;
        sc_linger_end(&l, 6, now);
    }
}

/* Four clients that ask again 0.3 ms after their answer, one after the other: they soon share batches. */
static void closed_loop_clients_meet(void **state)
{
    (void)state;
    int64_t asks[4] = {now, now + 1 * MS, now + 2 * MS, now + 3 * MS};
    int together = 0;
    sc_linger_begin(&l, now);
    for (int round = 0; round < 50; round++) {
        bool in[4] = {false};
        uint32_t n = 0;
        for (;;) {
            int64_t next = INT64_MAX;
            for (int i = 0; i < 4; i++)
                if (!in[i] && asks[i] <= now) {
                    in[i] = true;
                    n++;
                    sc_linger_found(&l);
                } else if (!in[i])
                    next = asks[i] < next ? asks[i] : next;
            sc_linger_empty(&l);
            int64_t until = n ? sc_linger_until(&l, n, now) : INT64_MAX;
            if (!until)
                break;
            now = next < until ? next : until;
        }
        sc_linger_end(&l, n, now);
        together += n == 4;
        batch(n, 10 * MS, MS / 10);
        for (int i = 0; i < 4; i++)
            if (in[i])
                asks[i] = now + MS / 10 * (i + 1);
    }
    assert_true(together > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(first_batch_goes_at_once, setup),
        cmocka_unit_test_setup(waits_for_as_many_as_were_answered, setup),
        cmocka_unit_test_setup(full_batches_do_not_wait, setup),
        cmocka_unit_test_setup(an_idle_worker_does_not_wait, setup),
        cmocka_unit_test_setup(the_models_delay_bounds_it, setup),
        cmocka_unit_test_setup(without_a_fixed_cost_nobody_waits, setup),
        cmocka_unit_test_setup(quick_handlers_do_not_wait, setup),
        cmocka_unit_test_setup(waits_in_vain_end, setup),
        cmocka_unit_test_setup(closed_loop_clients_meet, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
