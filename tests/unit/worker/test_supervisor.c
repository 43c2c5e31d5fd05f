/* The frontend's lives, signals, and the end of everything. */
#include "worker/supervisor_play.h"

/* ---- the frontend's lives -------------------------------------------------------------- */

static void a_killed_frontend_is_back_at_once_and_workers_live_on(void **state)
{
    (void)state;
    struct sc_ctl_welcome w = await_frontend();
    assert_int_equal(w.epoch, 1);
    assert_int_equal(w.restarted, 0);
    assert_int_equal(w.listeners, 1);
    pid_t worker = start_loaded(3, "serves");

    for (uint64_t epoch = 2; epoch <= 3; epoch++) {
        pid_t old = frontend;
        int64_t killed = sc_clock_ms();
        kill(frontend, epoch == 2 ? SIGKILL : SIGABRT);
        w = await_frontend();
        assert_in_range(sc_clock_ms() - killed, 0, (epoch == 2 ? 200 : 300) * SLOWNESS);
        assert_int_equal(w.epoch, epoch);
        assert_int_equal(w.restarted, 1);
        assert_int_not_equal(frontend, old);

        await_slot(3, SC_SLOT_LOADED);
        assert_int_equal(slot.pid, worker);
        assert_int_equal(slot.life, 1);
        assert_int_equal(slot.attached, 0);
        assert_true(sc_span_eq(tag, SC_SPAN("echo")));
        assert_true(sc_span_eq(text, SC_SPAN("{\"lanes\": 1}")));
    }
}

static void a_frontend_that_leaves_unasked_is_started_again(void **state)
{
    (void)state;
    await_frontend();
    int code = 0;
    tell(ORDER_EXIT, sc_span(&code, sizeof code));
    assert_int_equal(await_frontend().epoch, 2);
}

static void a_frontend_with_a_fatal_error_ends_everything(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(0, "serves");
    int code = SC_EXIT_FATAL;
    tell(ORDER_EXIT, sc_span(&code, sizeof code));
    int status = ends_within(PATIENCE_MS);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), SC_EXIT_FATAL);
    assert_true(gone_within(worker, 10));
}

static void a_frontend_that_breaks_the_protocol_is_replaced(void **state)
{
    (void)state;
    await_frontend();
    tell(SC_CTL_SLOT_START, SC_SPAN("nonsense"));
    assert_int_equal(await_frontend().epoch, 2);
    tell(SC_CTL_HELLO, NOTHING);
    assert_int_equal(await_frontend().epoch, 3);
}

static void a_flooding_frontend_does_not_keep_the_supervisor_from_its_work(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(0, "serves");
    tell(ORDER_FLOOD, NOTHING);
    usleep(100 * 1000);
    int64_t asked = sc_clock_ms();
    kill(supervisor, SIGINT);
    kill(supervisor, SIGTERM); /* two of the same could become one */
    int status = ends_within(PATIENCE_MS);
    assert_true(sc_clock_ms() - asked < 1000);
    assert_true(status >= 0 && WIFEXITED(status));
}

static void a_deaf_frontend_is_killed_when_its_queue_is_full(void **state)
{
    (void)state;
    await_frontend();
    tell(ORDER_DEAF, NOTHING);
    usleep(20 * 1000);
    /* Each HUP is a message; the queue has room for some thousands. */
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    while (sc_ctl_receive(relay, &m) == 0 && sc_clock_ms() < limit) {
        for (int i = 0; i < 100; i++) {
            kill(supervisor, SIGHUP);
            usleep(10);
        }
    }
    assert_int_equal(m.type, SC_CTL_WELCOME);
}

/* ---- the end --------------------------------------------------------------------------- */

static void term_drains_then_stops_everything(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(0, "serves");
    kill(supervisor, SIGTERM);
    await(SC_CTL_DRAIN);
    int status = ends_within(PATIENCE_MS);
    assert_true(status >= 0 && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(gone_within(worker, 10));
    assert_true(gone_within(frontend, 10));
}

static int set_up_undrainable(void **state)
{
    setenv("TEST_DRAIN_NEVER", "1", 1);
    return set_up_impatient(state);
}

static int tear_down_undrainable(void **state)
{
    unsetenv("TEST_DRAIN_NEVER");
    return tear_down(state);
}

static void a_drain_that_does_not_end_is_cut_off(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(0, "stubborn");
    kill(supervisor, SIGTERM);
    int status = ends_within(PATIENCE_MS);
    assert_true(status >= 0 && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_true(gone_within(worker, 10));
}

static void a_second_int_ends_at_once(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(0, "stubborn");
    kill(frontend, SIGSTOP);
    kill(supervisor, SIGINT);
    usleep(300 * 1000); /* the same sooner is still the first */
    int64_t asked = sc_clock_ms();
    kill(supervisor, SIGINT);
    int status = ends_within(PATIENCE_MS);
    assert_true(sc_clock_ms() - asked < 1000);
    assert_true(status >= 0 && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGINT);
    assert_true(gone_within(worker, 10));
    assert_true(gone_within(frontend, 10));
}

static void hup_reaches_the_frontend(void **state)
{
    (void)state;
    await_frontend();
    kill(supervisor, SIGHUP);
    await(SC_CTL_REOPEN_LOGS);
}

static void when_the_supervisor_is_killed_nothing_is_left(void **state)
{
    (void)state;
    await_frontend();
    pid_t workers[] = {start_loaded(0, "serves"), start_loaded(1, "stubborn")};
    start_slot(2, "silent");
    await_slot(2, SC_SLOT_STARTING);
    pid_t silent = (pid_t)slot.pid;
    kill(supervisor, SIGKILL);
    assert_true(WIFSIGNALED(ends_within(PATIENCE_MS)));
    assert_true(gone_within(workers[0], 1000));
    assert_true(gone_within(workers[1], 1000));
    assert_true(gone_within(silent, 1000));
    assert_true(gone_within(frontend, 1000));
}

static void orphans_of_workers_are_reaped_and_gone_at_the_end(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(0, "grandchild");
    pid_t orphan = (pid_t)atoi(text.p);
    assert_int_equal(kill(orphan, 0), 0);
    start_loaded(1, "grandchild");
    pid_t other = (pid_t)atoi(text.p);
    kill(other, SIGKILL); /* ours to reap: a zombie would still be there */
    assert_true(gone_within(other, PATIENCE_MS));

    kill(supervisor, SIGTERM);
    assert_true(ends_within(PATIENCE_MS) == 0);
    assert_true(gone_within(orphan, 10));
}

static unsigned children_of_supervisor(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)supervisor, (int)supervisor);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    unsigned n = 0;
    int pid;
    while (fscanf(f, "%d", &pid) == 1)
        n++;
    fclose(f);
    return n;
}

static int set_up_init(void **state)
{
    as_init = true;
    int rc = set_up(state);
    as_init = false;
    return rc;
}

static void as_pid_1_it_reaps_strangers_and_ignores_strange_signals(void **state)
{
    (void)state;
    if (supervisor < 0)
        skip();
    await_frontend();
    start_loaded(0, "zombies");
    for (int64_t limit = sc_clock_ms() + PATIENCE_MS; children_of_supervisor() != 2; usleep(1000))
        assert_true(sc_clock_ms() < limit);
    kill(supervisor, SIGUSR1);
    kill(supervisor, SIGQUIT);
    start_loaded(1, "grandchild");
    kill(supervisor, SIGTERM);
    assert_int_equal(ends_within(PATIENCE_MS), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PLAY(a_killed_frontend_is_back_at_once_and_workers_live_on),
        PLAY(a_frontend_that_leaves_unasked_is_started_again),
        PLAY(a_frontend_with_a_fatal_error_ends_everything),
        PLAY(a_frontend_that_breaks_the_protocol_is_replaced),
        PLAY(a_flooding_frontend_does_not_keep_the_supervisor_from_its_work),
        PLAY(a_deaf_frontend_is_killed_when_its_queue_is_full),
        PLAY(term_drains_then_stops_everything),
        cmocka_unit_test_setup_teardown(a_drain_that_does_not_end_is_cut_off, set_up_undrainable,
                                        tear_down_undrainable),
        PLAY(a_second_int_ends_at_once),
        PLAY(hup_reaches_the_frontend),
        cmocka_unit_test_setup_teardown(as_pid_1_it_reaps_strangers_and_ignores_strange_signals, set_up_init,
                                        tear_down),
        PLAY(when_the_supervisor_is_killed_nothing_is_left),
        PLAY(orphans_of_workers_are_reaped_and_gone_at_the_end),
    };
    return PLAY_MAIN(tests, argc, argv);
}
