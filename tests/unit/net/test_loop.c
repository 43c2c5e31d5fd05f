#include "test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/loop.h"

static struct sc_loops *loops;

static void stop_now(struct sc_task *t)
{
    (void)t;
    sc_loops_stop(loops);
}

struct numbered {
    struct sc_task task;
    int poster, number;
};

enum { POSTERS = 3, EACH = 20000 };
static int next_number[POSTERS];
static atomic_int arrived, disorder;

static void note_order(struct sc_task *t)
{
    struct numbered *n = (struct numbered *)t;
    disorder += next_number[n->poster]++ != n->number;
    free(n);
    if (++arrived == POSTERS * EACH)
        sc_loops_stop(loops);
}

static void *post_many(void *arg)
{
    int poster = *(int *)arg;
    for (int i = 0; i < EACH; i++) {
        struct numbered *n = malloc(sizeof *n);
        *n = (struct numbered){.task = {.run = note_order}, .poster = poster, .number = i};
        sc_loop_post(sc_loops_at(loops, 1), &n->task);
    }
    return NULL;
}

static void tasks_of_one_poster_arrive_in_order(void **state)
{
    (void)state;
    assert_int_equal(sc_loops_new(&loops, 2, NULL), 0);
    pthread_t t[POSTERS];
    int id[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        id[i] = i;
        pthread_create(&t[i], NULL, post_many, &id[i]);
    }
    sc_loops_run(loops);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(t[i], NULL);
    sc_loops_del(loops);
    assert_int_equal(arrived, POSTERS * EACH);
    assert_int_equal(disorder, 0);
}

/* ---- a task that wanders between the loops, and one that posts itself ----------------------- */

struct traveller {
    struct sc_task task;
    unsigned hops, at;
    bool wrong_thread;
    pthread_t home[3];
};

static void hop(struct sc_task *t)
{
    struct traveller *v = (struct traveller *)t;
    unsigned at = v->hops % 3;
    if (v->hops < 3)
        v->home[at] = pthread_self();
    v->wrong_thread |= !pthread_equal(v->home[at], pthread_self());
    if (++v->hops == 3000)
        sc_loops_stop(loops);
    else
        sc_loop_post(sc_loops_at(loops, v->hops % 3), t);
}

static void a_task_runs_on_the_loop_it_was_posted_to(void **state)
{
    (void)state;
    struct traveller v = {.task = {.run = hop}};
    assert_int_equal(sc_loops_new(&loops, 3, NULL), 0);
    assert_int_equal(sc_loops_count(loops), 3);
    sc_loop_post(sc_loops_at(loops, 0), &v.task);
    sc_loops_run(loops);
    sc_loops_del(loops);
    assert_int_equal(v.hops, 3000);
    assert_false(v.wrong_thread);
    assert_true(pthread_equal(v.home[0], pthread_self()));
}

static int own_turns, timer_turns;

static void again(struct sc_task *t)
{
    own_turns++;
    sc_loop_post(sc_loops_at(loops, 0), t);
}

static void on_timer(uv_timer_t *t)
{
    if (++timer_turns == 3) {
        uv_close((uv_handle_t *)t, NULL);
        sc_loops_stop(loops);
        ((struct sc_task *)t->data)->run = stop_now;
    }
}

static void a_task_that_posts_itself_starves_nobody(void **state)
{
    (void)state;
    struct sc_task t = {.run = again};
    uv_timer_t timer;
    assert_int_equal(sc_loops_new(&loops, 1, NULL), 0);
    uv_timer_init(&sc_loops_at(loops, 0)->uv, &timer);
    timer.data = &t;
    uv_timer_start(&timer, on_timer, 1, 1);
    sc_loop_post(sc_loops_at(loops, 0), &t);
    sc_loops_run(loops);
    sc_loops_del(loops);
    assert_int_equal(timer_turns, 3);
    assert_true(own_turns > 3);
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static int before, after, polled;
static struct sc_loop_hook watcher, poller;

static void count_before(struct sc_loop_hook *h)
{
    (void)h;
    before++;
}

static void count_after(struct sc_loop_hook *h)
{
    (void)h;
    after++;
}

/* Has something to do nine times and must not wait in between: nothing else would wake the loop. */
static void poll_more(struct sc_loop_hook *h)
{
    struct sc_loop *l = sc_loops_at(loops, 0);
    if (++polled < 10) {
        sc_loop_poke(l);
    } else {
        sc_loop_remove_hook(l, h);
        sc_loops_stop(loops);
    }
}

static void a_poke_saves_a_hook_from_waiting(void **state)
{
    (void)state;
    assert_int_equal(sc_loops_new(&loops, 1, NULL), 0);
    poller = (struct sc_loop_hook){.before_block = poll_more};
    watcher = (struct sc_loop_hook){.before_block = count_before, .after_block = count_after};
    sc_loop_add_hook(sc_loops_at(loops, 0), &poller);
    sc_loop_add_hook(sc_loops_at(loops, 0), &watcher);
    sc_loops_run(loops);
    sc_loops_del(loops);
    assert_int_equal(polled, 10);
    assert_true(before >= 10 && after >= 10);
}

static void loops_that_never_ran_can_be_deleted(void **state)
{
    (void)state;
    struct sc_msg msg;
    assert_int_equal(sc_loops_new(&loops, SC_LOOPS_MAX, &msg), 0);
    sc_loops_del(loops);
    assert_int_equal(sc_loops_new(&loops, 0, &msg), SC_EINVAL);
    assert_int_equal(sc_loops_new(&loops, SC_LOOPS_MAX + 1, &msg), SC_EINVAL);
    assert_non_null(strstr(msg.text, "1 to 16"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_of_one_poster_arrive_in_order),
        cmocka_unit_test(a_task_runs_on_the_loop_it_was_posted_to),
        cmocka_unit_test(a_task_that_posts_itself_starves_nobody),
        cmocka_unit_test(a_poke_saves_a_hook_from_waiting),
        cmocka_unit_test(loops_that_never_ran_can_be_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
