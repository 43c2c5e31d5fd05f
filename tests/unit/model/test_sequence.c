/* The table of sequences, with a clock of its own: order, homes, limits, time, deaths; and all of it from two
 * threads. */
#include "test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "model/sequence.h"

#define MS 1000000

static struct sc_sequences *t;
static struct sc_sequence_home a, b;
static unsigned woken[SC_LOOPS_MAX];
static int64_t now;

static void wake(void *ctx, unsigned loop)
{
    (void)ctx;
    __atomic_fetch_add(&woken[loop], 1, __ATOMIC_RELAXED);
}

static void make(unsigned sequences, unsigned queue, unsigned ahead, int64_t idle_ms, int64_t lifetime_ms)
{
    struct sc_sequences_spec spec = {.sequences = sequences,
                                     .queue = queue,
                                     .ahead = ahead,
                                     .idle_ns = idle_ms * MS,
                                     .lifetime_ns = lifetime_ms * MS,
                                     .seed = 42,
                                     .wake = wake};
    t = sc_sequences_new(&spec);
}

static int setup(void **state)
{
    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    memset(woken, 0, sizeof woken);
    now = 1000 * (int64_t)MS;
    make(4, 2, 1, 100, 0);
    sc_sequences_up(t, &a, now);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_sequences_del(t);
    t = NULL;
    return 0;
}

static int add(const char *id, struct sc_turn *turn)
{
    return sc_sequences_add(t, sc_span_str(id), false, turn, now);
}

static struct sc_turn *take(unsigned loop, struct sc_sequence_home **home)
{
    return sc_sequences_due(t, loop) ? sc_sequences_take(t, loop, home) : NULL;
}

/* The turn is given to that home, and nothing else is there. */
static void assert_given(struct sc_turn *turn, const struct sc_sequence_home *home)
{
    struct sc_sequence_home *h;
    assert_ptr_equal(take(turn->loop, &h), turn);
    assert_ptr_equal(h, home);
}

static void assert_refused(struct sc_turn *turn)
{
    struct sc_sequence_home *h;
    assert_ptr_equal(take(turn->loop, &h), turn);
    assert_null(h);
    assert_null(turn->sequence);
}

static void assert_nothing(unsigned loop)
{
    struct sc_sequence_home *h;
    assert_null(take(loop, &h));
    assert_false(sc_sequences_due(t, loop));
}

static void assert_count(unsigned open, unsigned lost)
{
    unsigned o, l;
    sc_sequences_count(t, &o, &l);
    assert_int_equal(o, open);
    assert_int_equal(l, lost);
}

static void run(struct sc_turn *turn, const struct sc_sequence_home *home)
{
    assert_given(turn, home);
    sc_sequences_leave(t, turn, true, now);
}

/* ---- order ------------------------------------------------------------------------------------------- */

static void turns_run_one_after_the_other(void **state)
{
    (void)state;
    struct sc_turn x[3] = {0};
    x[1].loop = 1;
    for (int i = 0; i < 3; i++)
        assert_int_equal(add("s", &x[i]), 0);
    assert_given(&x[0], &a);
    assert_nothing(0);
    assert_nothing(1);
    sc_sequences_leave(t, &x[0], true, now);
    assert_int_equal(woken[1], 1);
    assert_given(&x[1], &a);
    assert_nothing(0);
    sc_sequences_leave(t, &x[1], true, now);
    assert_int_equal(woken[0], 1);
    run(&x[2], &a);
    assert_nothing(0);
}

static void a_loop_is_not_woken_by_itself(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    assert_int_equal(add("s", &x), 0);
    run(&x, &a);
    assert_int_equal(woken[0], 0);
}

static void a_queue_has_a_bound(void **state)
{
    (void)state;
    struct sc_turn x[4] = {0};
    assert_int_equal(add("s", &x[0]), 0); /* given */
    assert_int_equal(add("s", &x[1]), 0);
    assert_int_equal(add("s", &x[2]), 0);
    assert_int_equal(add("s", &x[3]), SC_ELIMIT);
    assert_null(x[3].sequence);
    run(&x[0], &a);
    assert_int_equal(add("s", &x[3]), 0);
}

static void who_leaves_while_waiting_makes_room(void **state)
{
    (void)state;
    struct sc_turn x[3] = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(add("s", &x[i]), 0);
    sc_sequences_leave(t, &x[1], false, now);
    run(&x[0], &a);
    run(&x[2], &a);
    assert_nothing(0);
}

static void who_leaves_before_it_is_taken_lets_the_next_come(void **state)
{
    (void)state;
    struct sc_turn x[2] = {0};
    add("s", &x[0]);
    add("s", &x[1]);
    sc_sequences_leave(t, &x[0], false, now);
    run(&x[1], &a);
}

/* ---- homes ------------------------------------------------------------------------------------------- */

static void a_sequence_stays_with_its_home(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    run(&x, &a);
    sc_sequences_up(t, &b, now);
    for (int i = 0; i < 5; i++) {
        add("s", &x);
        run(&x, &a);
    }
}

static void a_new_one_goes_where_the_fewest_are(void **state)
{
    (void)state;
    struct sc_turn x[4] = {0};
    sc_sequences_up(t, &b, now);
    for (int i = 0; i < 4; i++) {
        char id[2] = {(char)('0' + i), 0};
        assert_int_equal(add(id, &x[i]), 0);
        run(&x[i], i % 2 ? &b : &a);
    }
    assert_int_equal(a.open, 2);
    assert_int_equal(b.open, 2);
}

static void without_a_home_turns_wait_for_one(void **state)
{
    (void)state;
    struct sc_turn x[2] = {0};
    sc_sequences_gone(t, &a, now);
    add("s", &x[0]);
    add("t", &x[1]);
    assert_nothing(0);
    sc_sequences_up(t, &b, now);
    assert_int_equal(woken[0], 1);
    run(&x[0], &b);
    run(&x[1], &b);
}

static void a_home_that_is_gone_before_it_is_up_gets_nothing(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    sc_sequences_gone(t, &a, now);
    sc_sequences_gone(t, &b, now);
    sc_sequences_up(t, &b, now);
    add("s", &x);
    assert_nothing(0);
}

static void a_draining_home_keeps_what_it_has(void **state)
{
    (void)state;
    struct sc_turn x[2] = {0};
    add("s", &x[0]);
    run(&x[0], &a);
    assert_int_equal(sc_sequences_drain(t, &a), 1);
    sc_sequences_up(t, &b, now);
    add("s", &x[0]);
    add("t", &x[1]);
    run(&x[0], &a);
    run(&x[1], &b);
    now += 100 * MS;
    sc_sequences_tick(t, now);
    assert_int_equal(sc_sequences_drain(t, &a), 0);
}

/* ---- deaths ------------------------------------------------------------------------------------------ */

static void a_first_turn_that_nobody_took_finds_another_home(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    sc_sequences_up(t, &b, now);
    sc_sequences_gone(t, &a, now);
    run(&x, &b);
}

static void a_first_turn_goes_back_before_the_others(void **state)
{
    (void)state;
    struct sc_turn x[2] = {0};
    add("s", &x[0]);
    add("s", &x[1]);
    assert_given(&x[0], &a);
    sc_sequences_up(t, &b, now);
    sc_sequences_gone(t, &a, now);
    assert_nothing(0);
    assert_true(sc_sequences_back(t, &x[0], false, now));
    run(&x[0], &b);
    run(&x[1], &b);
}

static void a_later_turn_ends_the_sequence_and_its_id_is_free(void **state)
{
    (void)state;
    struct sc_turn x[3] = {0};
    add("s", &x[0]);
    run(&x[0], &a);
    add("s", &x[1]);
    add("s", &x[2]);
    assert_given(&x[1], &a);
    sc_sequences_up(t, &b, now);
    sc_sequences_gone(t, &a, now);
    assert_nothing(0); /* its loop has to say first what became of x[1] */
    assert_false(sc_sequences_back(t, &x[1], false, now));
    assert_null(x[1].sequence);
    assert_refused(&x[2]);
    assert_count(0, 0);
    assert_int_equal(add("s", &x[0]), 0);
    run(&x[0], &b);
}

static void what_was_answered_before_the_death_is_good_and_the_next_is_told(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    assert_given(&x, &a);
    sc_sequences_gone(t, &a, now);
    sc_sequences_leave(t, &x, true, now);
    assert_count(0, 1);
    sc_sequences_up(t, &b, now);
    assert_int_equal(add("s", &x), SC_ECLOSED);
    assert_count(0, 0);
    assert_int_equal(add("s", &x), 0);
    run(&x, &b);
}

static void an_idle_one_is_lost_and_told_once(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    run(&x, &a);
    sc_sequences_gone(t, &a, now);
    sc_sequences_up(t, &b, now);
    assert_count(0, 1);
    assert_int_equal(add("s", &x), SC_ECLOSED);
    assert_int_equal(add("s", &x), 0);
    run(&x, &b);
}

static void who_begins_anew_does_not_care_for_what_is_lost(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    run(&x, &a);
    sc_sequences_gone(t, &a, now);
    sc_sequences_up(t, &b, now);
    assert_int_equal(sc_sequences_add(t, SC_SPAN("s"), true, &x, now), 0);
    run(&x, &b);
}

static void what_is_lost_is_forgotten(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    for (int i = 0; i < 4; i++) {
        char id[2] = {(char)('0' + i), 0};
        add(id, &x);
        run(&x, &a);
    }
    sc_sequences_gone(t, &a, now);
    assert_count(0, 4);
    sc_sequences_up(t, &b, now);
    for (int i = 4; i < 8; i++) { /* they take no place of others */
        char id[2] = {(char)('0' + i), 0};
        assert_int_equal(add(id, &x), 0);
        run(&x, &b);
    }
    sc_sequences_gone(t, &b, now);
    assert_count(0, 4); /* no more than could be open */
    assert_int_equal(add("0", &x), 0);
    sc_sequences_leave(t, &x, false, now);
    now += 100 * MS;
    sc_sequences_tick(t, now);
    assert_count(0, 0);
}

static void a_turn_that_is_tried_elsewhere_comes_back_first(void **state)
{
    (void)state;
    struct sc_turn x[2] = {0};
    add("s", &x[0]);
    add("s", &x[1]);
    assert_given(&x[0], &a);
    sc_sequences_gone(t, &a, now);
    sc_sequences_up(t, &b, now);
    assert_true(sc_sequences_back(t, &x[0], true, now));
    assert_nothing(0);
    assert_true(sc_sequences_back(t, &x[0], true, now)); /* once more */
    sc_sequences_again(t, &x[0], now);
    run(&x[0], &b);
    run(&x[1], &b);
}

static void a_first_turn_that_fails_where_it_is_tried_ends_the_sequence(void **state)
{
    (void)state;
    struct sc_turn x[2] = {0};
    add("s", &x[0]);
    add("s", &x[1]);
    assert_given(&x[0], &a);
    sc_sequences_gone(t, &a, now);
    sc_sequences_up(t, &b, now);
    assert_true(sc_sequences_back(t, &x[0], true, now));
    sc_sequences_leave(t, &x[0], true, now);
    assert_refused(&x[1]);
    assert_count(0, 0);
}

/* ---- limits and time --------------------------------------------------------------------------------- */

static void there_is_a_most_of_open_sequences(void **state)
{
    (void)state;
    struct sc_turn x[5] = {0};
    const char *ids[] = {"1", "2", "3", "4", "5"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(add(ids[i], &x[i]), 0);
    assert_int_equal(add(ids[4], &x[4]), SC_ELIMIT);
    run(&x[0], &a);
    assert_int_equal(add(ids[4], &x[4]), SC_ELIMIT); /* idle is open */
    assert_int_equal(add(ids[0], &x[0]), 0);
}

static void idle_ones_are_closed(void **state)
{
    (void)state;
    struct sc_turn x = {0}, y = {0};
    add("s", &x);
    assert_given(&x, &a);
    now += 1000 * MS;
    sc_sequences_tick(t, now);
    assert_count(1, 0); /* it computes */
    sc_sequences_leave(t, &x, true, now);
    now += 60 * MS;
    add("t", &y);
    run(&y, &a);
    now += 39 * MS;
    sc_sequences_tick(t, now);
    assert_count(2, 0);
    now += 1 * MS;
    sc_sequences_tick(t, now);
    assert_count(1, 0);
    assert_int_equal(a.open, 1);
    now += 60 * MS;
    sc_sequences_tick(t, now);
    assert_count(0, 0);
}

static void an_idle_one_is_over_though_no_tick_came(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    run(&x, &a);
    sc_sequences_up(t, &b, now);
    sc_sequences_drain(t, &a);
    now += 100 * MS;
    assert_int_equal(add("s", &x), 0);
    run(&x, &b); /* a new one */
}

static void one_that_waits_for_a_home_is_not_idle(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    sc_sequences_gone(t, &a, now);
    add("s", &x);
    now += 1000 * MS;
    sc_sequences_tick(t, now);
    sc_sequences_up(t, &b, now);
    run(&x, &b);
}

static void a_lifetime_ends(void **state)
{
    (void)state;
    struct sc_turn x[3] = {0};
    teardown(NULL);
    memset(&a, 0, sizeof a);
    make(4, 2, 1, 100, 250);
    sc_sequences_up(t, &a, now);
    add("s", &x[0]);
    add("s", &x[1]);
    assert_given(&x[0], &a);
    now += 250 * MS;
    assert_int_equal(add("s", &x[2]), SC_ELIMIT);
    sc_sequences_tick(t, now);
    assert_refused(&x[1]);
    assert_count(1, 0);
    sc_sequences_leave(t, &x[0], true, now);
    assert_count(0, 0);
    assert_int_equal(add("s", &x[0]), 0);
    run(&x[0], &a);
}

static void an_id_that_was_closed_can_be_used_again(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(add("s", &x), 0);
        run(&x, &a);
        now += 100 * MS;
        sc_sequences_tick(t, now);
        assert_count(0, 0);
    }
}

static void ids_are_bytes(void **state)
{
    (void)state;
    struct sc_turn x[4] = {0};
    struct sc_span ids[] = {sc_span("a\0b", 3), sc_span("a\0c", 3), sc_span("a", 1), sc_span("a\0", 2)};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sc_sequences_add(t, ids[i], false, &x[i], now), 0);
        run(&x[i], &a);
    }
    assert_count(4, 0);
}

/* ---- continuous batching ----------------------------------------------------------------------------- */

static void a_second_turn_comes_while_the_first_streams(void **state)
{
    (void)state;
    struct sc_turn x[3] = {0};
    teardown(NULL);
    memset(&a, 0, sizeof a);
    make(4, 2, 2, 100, 0);
    sc_sequences_up(t, &a, now);
    for (int i = 0; i < 3; i++)
        assert_int_equal(add("s", &x[i]), 0);
    assert_given(&x[0], &a);
    assert_nothing(0);
    sc_sequences_streams(t, &x[0], now);
    assert_given(&x[1], &a);
    assert_nothing(0);
    sc_sequences_streams(t, &x[1], now);
    assert_nothing(0); /* two at most */
    sc_sequences_leave(t, &x[0], true, now);
    assert_given(&x[2], &a);
    /* Nothing of it can be run again. */
    sc_sequences_gone(t, &a, now);
    assert_false(sc_sequences_back(t, &x[1], false, now));
    assert_false(sc_sequences_back(t, &x[2], true, now));
    assert_count(0, 0);
}

static void a_handler_closes_sequences(void **state)
{
    (void)state;
    struct sc_turn x[4] = {0};
    add("s", &x[0]);
    add("t", &x[1]);
    add("u", &x[2]);
    add("s", &x[3]);
    assert_given(&x[0], &a);
    sc_sequences_end(t, SC_SPAN("s; t;;nobody's;"), 0, now);
    assert_count(1, 0);
    assert_refused(&x[3]);
    assert_refused(&x[1]); /* it was not taken yet */
    run(&x[2], &a);
    /* The id is free while its last turn is still out. */
    assert_int_equal(add("s", &x[3]), 0);
    sc_sequences_leave(t, &x[0], true, now);
    run(&x[3], &a);
    assert_count(2, 0);
    assert_int_equal(a.open, 2);
}

static void a_turn_of_a_closed_sequence_is_not_run_again(void **state)
{
    (void)state;
    struct sc_turn x = {0};
    add("s", &x);
    assert_given(&x, &a);
    sc_sequences_end(t, SC_SPAN("s"), 0, now);
    sc_sequences_gone(t, &a, now);
    assert_false(sc_sequences_back(t, &x, false, now));
    assert_count(0, 0);
}

static void tables_end_with_turns_in_them(void **state)
{
    (void)state;
    struct sc_turn x[4] = {0};
    for (int i = 0; i < 3; i++)
        add("s", &x[i]);
    add("t", &x[3]);
    assert_given(&x[0], &a);
    sc_sequences_end(t, SC_SPAN("s"), 0, now);
}

/* ---- many -------------------------------------------------------------------------------------------- */

static void opening_and_closing_many_takes_no_longer_each(void **state)
{
    (void)state;
    enum { N = 60000 };
    static struct sc_turn x;
    char id[16];
    teardown(NULL);
    memset(&a, 0, sizeof a);
    make(SC_SEQUENCES_MAX, 1, 1, 100, 0);
    sc_sequences_up(t, &a, now);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(id, sizeof id, "%d", i);
            assert_int_equal(add(id, &x), 0);
            run(&x, &a);
        }
        assert_count(N, 0);
        if (round)
            sc_sequences_gone(t, &a, now);
        now += 100 * MS;
        sc_sequences_tick(t, now);
        assert_count(0, 0);
    }
}

/* Two loops, their own turns and shared sequences, homes that come and go: every turn ends once, in order. */
#define LOOPS 2
#define IDS 16
#define ROUNDS 20000

static int out_of[IDS];
static unsigned answered[LOOPS], refused[LOOPS];

struct walker {
    struct sc_turn turn; /* first */
    int id;
    bool busy;
};

static void *loop_thread(void *arg)
{
    unsigned loop = (unsigned)(uintptr_t)arg, seed = loop + 1;
    static struct walker all[LOOPS][8];
    struct walker *w = all[loop];
    int rounds = 0;
    memset(w, 0, sizeof all[loop]);
    while (rounds < ROUNDS) {
        struct sc_sequence_home *home;
        struct sc_turn *turn;
        for (int i = 0; i < 8; i++) {
            char id[8];
            if (w[i].busy)
                continue;
            w[i].turn.loop = loop;
            w[i].id = rand_r(&seed) % IDS;
            snprintf(id, sizeof id, "%d", w[i].id);
            if (sc_sequences_add(t, sc_span_str(id), false, &w[i].turn, now) == 0) {
                w[i].busy = true;
                break;
            }
        }
        while (sc_sequences_due(t, loop) && (turn = sc_sequences_take(t, loop, &home))) {
            struct walker *x = (struct walker *)turn;
            x->busy = false;
            if (!home) {
                refused[loop]++;
                continue;
            }
            if (__atomic_fetch_add(&out_of[x->id], 1, __ATOMIC_SEQ_CST) != 0)
                abort(); /* two of one sequence at once */
            __atomic_fetch_sub(&out_of[x->id], 1, __ATOMIC_SEQ_CST);
            if (rand_r(&seed) % 8 == 0)
                x->busy = sc_sequences_back(t, turn, false, now);
            else
                sc_sequences_leave(t, turn, true, now);
            answered[loop]++;
        }
        rounds++;
    }
    for (int i = 0; i < 8; i++)
        sc_sequences_leave(t, &w[i].turn, false, now);
    return NULL;
}

static void loops_share_it(void **state)
{
    (void)state;
    pthread_t threads[LOOPS];
    static struct sc_sequence_home homes[64];
    memset(homes, 0, sizeof homes);
    teardown(NULL);
    make(IDS, 4, 1, 1000, 0);
    sc_sequences_up(t, &homes[0], now);
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_create(&threads[i], NULL, loop_thread, (void *)(uintptr_t)i);
    for (unsigned i = 1; i < SC_COUNT(homes); i++) {
        sc_sequences_up(t, &homes[i], now);
        sc_sequences_tick(t, now);
        sc_sequences_gone(t, &homes[i - 1], now);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    assert_true(answered[0] > 0 && answered[1] > 0);
    now += 1000 * (int64_t)MS;
    sc_sequences_tick(t, now);
    assert_count(0, 0);
    assert_int_equal(homes[SC_COUNT(homes) - 1].open, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(turns_run_one_after_the_other),
        TEST(a_loop_is_not_woken_by_itself),
        TEST(a_queue_has_a_bound),
        TEST(who_leaves_while_waiting_makes_room),
        TEST(who_leaves_before_it_is_taken_lets_the_next_come),
        TEST(a_sequence_stays_with_its_home),
        TEST(a_new_one_goes_where_the_fewest_are),
        TEST(without_a_home_turns_wait_for_one),
        TEST(a_home_that_is_gone_before_it_is_up_gets_nothing),
        TEST(a_draining_home_keeps_what_it_has),
        TEST(a_first_turn_that_nobody_took_finds_another_home),
        TEST(a_first_turn_goes_back_before_the_others),
        TEST(a_later_turn_ends_the_sequence_and_its_id_is_free),
        TEST(what_was_answered_before_the_death_is_good_and_the_next_is_told),
        TEST(an_idle_one_is_lost_and_told_once),
        TEST(who_begins_anew_does_not_care_for_what_is_lost),
        TEST(what_is_lost_is_forgotten),
        TEST(a_turn_that_is_tried_elsewhere_comes_back_first),
        TEST(a_first_turn_that_fails_where_it_is_tried_ends_the_sequence),
        TEST(there_is_a_most_of_open_sequences),
        TEST(idle_ones_are_closed),
        TEST(an_idle_one_is_over_though_no_tick_came),
        TEST(one_that_waits_for_a_home_is_not_idle),
        TEST(a_lifetime_ends),
        TEST(an_id_that_was_closed_can_be_used_again),
        TEST(ids_are_bytes),
        TEST(a_second_turn_comes_while_the_first_streams),
        TEST(a_handler_closes_sequences),
        TEST(a_turn_of_a_closed_sequence_is_not_run_again),
        TEST(tables_end_with_turns_in_them),
        TEST(opening_and_closing_many_takes_no_longer_each),
        TEST(loops_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
