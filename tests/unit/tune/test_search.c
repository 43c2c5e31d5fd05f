/* The search against models whose best configuration is known, in a time of its own. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "load/schedule.h"
#include "tune/tune.h"

/* A batch of n takes each + fixed seconds; more workers than cores bring nothing; batches above `worse` take
 * twice as long. */
struct model {
    double fixed, each, noise;
    unsigned cores, worse;
    unsigned wrong_at,
        crowd; /* that batch gives wrong answers; more at once than crowd are answered with 503 */
    struct sc_rng rng;
    unsigned steps;
    double slept;
};

static double rate_of(const struct model *m, const struct sc_tune_config *c, unsigned at_once)
{
    double batch = fmin(c->batch, fmax(1, (double)at_once / c->workers));
    double seconds = m->fixed + m->each * batch, workers = fmin(fmin(c->workers, m->cores), at_once);
    return batch / (c->batch > m->worse ? 2 * seconds : seconds) * workers;
}

static void measure(struct model *m, struct sc_tune *t, const struct sc_tune_step *s)
{
    struct sc_load_result *runs = sc_alloc_array(s->runs, sizeof *runs);
    const struct sc_tune_config *c = &t->branches[s->branch].config;
    for (unsigned i = 0; i < s->runs; i++) {
        double noise = 1 + m->noise * ((double)(sc_rng_next(&m->rng) % 2001) / 1000 - 1);
        double rate = rate_of(m, c, s->concurrency) * noise;
        sc_hist_init(&runs[i].latency);
        runs[i].seconds = s->seconds;
        runs[i].within = runs[i].good = (uint64_t)(rate * s->seconds);
        if (m->crowd && s->concurrency > m->crowd) {
            runs[i].failed = runs[i].errors[SC_LOAD_BAD_STATUS] = 5;
            runs[i].bad_status = 503;
        }
        if (m->wrong_at == c->batch)
            runs[i].failed = runs[i].errors[SC_LOAD_BAD_BODY] = 1;
        for (unsigned k = 0; k < 100; k++)
            sc_hist_record(&runs[i].latency, (int64_t)(s->concurrency / rate * 1e9));
    }
    m->steps++;
    t->spent += s->warmup + s->runs * s->seconds;
    sc_tune_take(t, s, runs, s->runs, false);
    free(runs);
}

static void add_all(struct sc_tune *t)
{
    for (unsigned w = 1; w <= 4; w *= 2)
        for (unsigned b = 1; b <= 128; b *= 2)
            assert_int_equal(sc_tune_add(t,
                                         &(struct sc_tune_config){
                                             .batch = b, .workers = w, .threads = -1, .way = SC_TUNE_NO_GPU}),
                             0);
}

static const struct sc_tune_goal plain = {.budget = 300, .precision = 0.05, .most = 1024};

static struct sc_tune run(struct model *m, const struct sc_tune_goal *goal)
{
    struct sc_tune t;
    struct sc_tune_step s;
    sc_rng_init(&m->rng, 7);
    sc_tune_init(&t, goal);
    add_all(&t);
    while (sc_tune_next(&t, &s)) {
        assert_true(m->steps < 10000);
        assert_true(s.concurrency >= 1 && s.concurrency <= goal->most);
        measure(m, &t, &s);
    }
    return t;
}

static const struct sc_tune_config *chosen(const struct sc_tune *t)
{
    int r = sc_tune_recommended(t);
    assert_true(r >= 0);
    return &t->branches[r].config;
}

static void the_planted_best_is_found_within_the_budget(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.02, .each = 0.001, .noise = 0.04, .cores = 2, .worse = 16};
    struct sc_tune t = run(&m, &plain);
    assert_int_equal(chosen(&t)->batch, 16);
    assert_int_equal(chosen(&t)->workers, 2); /* four are as fast, and dearer */
    assert_true(t.spent < 310);
    unsigned out = 0;
    for (unsigned i = 0; i < t.n; i++)
        out += t.branches[i].out;
    assert_true(out >= t.n - 4);
    const struct sc_tune_point *p = sc_tune_best(&t, &t.branches[sc_tune_recommended(&t)]);
    assert_true(sc_tune_interval(p).half < 0.05 * sc_tune_interval(p).mean);
    assert_true(sc_tune_on_front(&t, (unsigned)sc_tune_leader(&t)));
    sc_tune_free(&t);
}

static void most_of_the_time_goes_to_the_best(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.02, .each = 0.001, .noise = 0.04, .cores = 2, .worse = 16};
    struct sc_tune t = run(&m, &plain);
    double best = 0, worst = 0;
    for (unsigned i = 0; i < t.n; i++)
        for (unsigned k = 0; k < t.branches[i].npoints; k++)
            for (unsigned n = 0; n < t.branches[i].points[k].nruns; n++) {
                if ((int)i == sc_tune_leader(&t))
                    best += t.branches[i].points[k].runs[n].seconds;
                if (t.branches[i].config.batch == 1)
                    worst += t.branches[i].points[k].runs[n].seconds / 3; /* of three of them */
            }
    assert_true(best > 4 * worst);
    sc_tune_free(&t);
}

static void a_limit_of_latency_is_kept(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.02, .each = 0.001, .noise = 0.01, .cores = 4, .worse = 1000};
    struct sc_tune_goal goal = plain;
    goal.p99 = 60e6;
    struct sc_tune t = run(&m, &goal);
    int r = sc_tune_recommended(&t);
    assert_true(r >= 0);
    const struct sc_tune_point *p = sc_tune_best(&t, &t.branches[r]);
    assert_true(sc_tune_p99(p) <= 60e6);
    /* Two batches are under way: 60 ms are (20 + n) ms twice at n = 10, once at n = 40. */
    assert_true(sc_tune_interval(p).mean > 4 * 10 / 0.03 * 0.9);
    sc_tune_free(&t);
    goal.p99 = 10e6; /* a single request takes longer */
    m.steps = 0;
    t = run(&m, &goal);
    assert_int_equal(sc_tune_recommended(&t), -1);
    char why[400];
    sc_tune_reason(&t, -1, why, sizeof why);
    assert_non_null(strstr(why, "keeps p99 below 10 ms"));
    sc_tune_free(&t);
}

static void wrong_answers_are_never_recommended(void **state)
{
    (void)state;
    struct model m = {
        .fixed = 0.02, .each = 0.0001, .cores = 4, .worse = 1000, .wrong_at = 128, .noise = 0.01};
    struct sc_tune t = run(&m, &plain);
    assert_int_equal(chosen(&t)->batch, 64);
    for (unsigned i = 0; i < t.n; i++)
        if (t.branches[i].config.batch == 128) {
            assert_true(t.branches[i].failed);
            assert_non_null(strstr(t.branches[i].why, "bad_body"));
        }
    sc_tune_free(&t);
}

static void too_many_at_once_costs_the_point_and_not_the_branch(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.02, .each = 0.0001, .cores = 4, .worse = 1000, .crowd = 256, .noise = 0.01};
    struct sc_tune t = run(&m, &plain);
    const struct sc_tune_branch *b = &t.branches[sc_tune_recommended(&t)];
    assert_int_equal(sc_tune_best(&t, b)->concurrency, 256);
    assert_int_equal(b->config.workers, 4);
    sc_tune_free(&t);
}

static void what_needs_too_much_memory_takes_the_larger_ones_with_it(void **state)
{
    (void)state;
    struct sc_tune_goal goal = plain;
    struct sc_tune t;
    goal.memory = INT64_C(1000) << 20;
    sc_tune_init(&t, &goal);
    add_all(&t);
    assert_true(sc_tune_weigh(&t, 0, INT64_C(400) << 20));
    assert_false(sc_tune_weigh(&t, 8 + 3, INT64_C(1200) << 20)); /* 2 workers, batch 8 */
    for (unsigned i = 0; i < t.n; i++)
        assert_int_equal(t.branches[i].failed,
                         t.branches[i].config.workers >= 2 && t.branches[i].config.batch >= 8);
    assert_non_null(strstr(t.branches[8 + 3].why, "more than the ceiling of 1000 MiB"));
    assert_non_null(strstr(t.branches[20].why, "batch 8, 2 workers"));
    sc_tune_free(&t);
}

static void growing_batches_that_lose_twice_are_not_tried_further(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.001, .each = 0.01, .noise = 0.005, .cores = 4, .worse = 2};
    struct sc_tune t = run(&m, &plain);
    assert_true(chosen(&t)->batch <= 2);
    for (unsigned i = 0; i < t.n; i++)
        if (t.branches[i].config.batch > 8) {
            assert_int_equal(t.branches[i].npoints, 0);
            assert_non_null(strstr(t.branches[i].why, "lost already"));
        }
    sc_tune_free(&t);
}

static void noise_that_stays_wide_is_told_and_ends_with_the_budget(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.02, .each = 0.001, .noise = 0.6, .cores = 2, .worse = 16};
    struct sc_tune_goal goal = plain;
    goal.budget = 30;
    goal.precision = 0.001;
    struct sc_tune t = run(&m, &goal);
    char why[400];
    int r = sc_tune_recommended(&t);
    assert_true(r >= 0);
    sc_tune_reason(&t, r, why, sizeof why);
    assert_non_null(strstr(why, "±"));
    assert_true(t.spent < 40);
    const struct sc_tune_point *p = sc_tune_best(&t, &t.branches[r]);
    assert_true(sc_tune_interval(p).half > goal.precision * sc_tune_interval(p).mean);
    sc_tune_free(&t);
}

static void a_budget_that_is_over_at_once_says_what_was_not_measured(void **state)
{
    (void)state;
    struct model m = {.fixed = 0.02, .each = 0.001, .cores = 2, .worse = 16};
    struct sc_tune_goal goal = plain;
    goal.budget = 2;
    struct sc_tune t = run(&m, &goal);
    assert_true(sc_tune_recommended(&t) >= 0);
    assert_string_equal(t.branches[t.n - 1].why, "there was no time for it");
    assert_int_equal(t.branches[t.n - 1].npoints, 0);
    sc_tune_free(&t);
}

/* Interrupted there, a search that goes on with a budget that is spent has to measure something first. */
static void a_step_that_was_too_short_does_not_count_as_measured(void **state)
{
    (void)state;
    struct model m = {.fixed = 3, .each = 0, .cores = 4, .worse = 1000};
    struct sc_tune t;
    struct sc_tune_step s;
    sc_rng_init(&m.rng, 7);
    sc_tune_init(&t, &plain);
    add_all(&t);
    while (t.branches[0].npoints == 0 && sc_tune_next(&t, &s))
        measure(&m, &t, &s);
    assert_int_equal(t.branches[0].points[0].nruns, 0);
    t.spent = 2 * plain.budget;
    while (sc_tune_next(&t, &s))
        measure(&m, &t, &s);
    assert_int_equal(sc_tune_recommended(&t), 0);
    sc_tune_free(&t);
}

static void a_run_without_an_answer_is_made_longer(void **state)
{
    (void)state;
    struct model m = {.fixed = 3, .each = 0, .cores = 4, .worse = 1000};
    struct sc_tune_goal goal = plain;
    goal.budget = 20; /* a run is planned for less than a batch takes */
    struct sc_tune t = run(&m, &goal);
    assert_true(sc_tune_recommended(&t) >= 0);
    for (unsigned i = 0; i < t.n; i++)
        for (unsigned k = 0; k < t.branches[i].npoints; k++)
            assert_true(t.branches[i].points[k].nruns == 0 ||
                        sc_tune_interval(&t.branches[i].points[k]).mean > 0);
    sc_tune_free(&t);
}

static void intervals_are_students(void **state)
{
    (void)state;
    struct sc_tune_point p = {.nruns = 4, .runs = {{10, 1}, {12, 1}, {11, 1}, {13, 1}}};
    struct sc_tune_interval i = sc_tune_interval(&p);
    assert_true(fabs(i.mean - 11.5) < 1e-9);
    assert_true(fabs(i.half - 3.182 * sqrt(5.0 / 3) / 2) < 1e-9);
    p.nruns = 1;
    assert_true(isinf(sc_tune_interval(&p).half));
    /* Of eight the outermost two at each end do not count: 10 10 10 11 12 13 13 13 are what is left of them.
     */
    p = (struct sc_tune_point){
        .nruns = 8, .runs = {{1, 1}, {13, 1}, {12, 1}, {10, 1}, {90, 1}, {14, 1}, {11, 1}, {2, 1}}};
    i = sc_tune_interval(&p);
    assert_true(fabs(i.mean - 11.5) < 1e-9);
    assert_true(fabs(i.half - 3.182 * sqrt(14.0 / 7) / (0.5 * sqrt(8))) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_planted_best_is_found_within_the_budget),
        cmocka_unit_test(most_of_the_time_goes_to_the_best),
        cmocka_unit_test(a_limit_of_latency_is_kept),
        cmocka_unit_test(wrong_answers_are_never_recommended),
        cmocka_unit_test(too_many_at_once_costs_the_point_and_not_the_branch),
        cmocka_unit_test(what_needs_too_much_memory_takes_the_larger_ones_with_it),
        cmocka_unit_test(growing_batches_that_lose_twice_are_not_tried_further),
        cmocka_unit_test(noise_that_stays_wide_is_told_and_ends_with_the_budget),
        cmocka_unit_test(a_budget_that_is_over_at_once_says_what_was_not_measured),
        cmocka_unit_test(a_step_that_was_too_short_does_not_count_as_measured),
        cmocka_unit_test(a_run_without_an_answer_is_made_longer),
        cmocka_unit_test(intervals_are_students),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
