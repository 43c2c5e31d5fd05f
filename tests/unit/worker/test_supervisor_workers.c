/* The workers' lives. */
#include "worker/supervisor_play.h"

/* ---- the workers' lives ---------------------------------------------------------------- */

static void a_worker_gets_the_descriptors_that_are_meant_for_its_life(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(1, "serves");
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    struct sc_ctl_attach a = {.slot = 1, .life = 2, .epoch = 1, .channels = 1};
    char c;
    assert_int_equal(sc_ctl_send(relay, SC_CTL_ATTACH, sc_span(&a, sizeof a), NOTHING, &p[1], 1), 0);
    a.life = 1;
    int fds[] = {settings, p[1]};
    assert_int_equal(sc_ctl_send(relay, SC_CTL_ATTACH, sc_span(&a, sizeof a), NOTHING, fds, 2), 0);
    close(p[1]);
    assert_int_equal(poll(&(struct pollfd){.fd = p[0], .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(read(p[0], &c, 1), 1);
    /* Nobody holds the other end any more, neither of the dropped nor of the delivered message. */
    assert_int_equal(poll(&(struct pollfd){.fd = p[0], .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(read(p[0], &c, 1), 0);
    close(p[0]);
}

static void a_worker_that_does_not_take_its_channels_is_killed(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(0, "stubborn");
    struct sc_ctl_attach a = {.slot = 0, .life = 1, .epoch = 1, .channels = 1};
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    while (sc_ctl_receive(relay, &m) == 0 && sc_clock_ms() < limit) {
        if (sc_ctl_send(relay, SC_CTL_ATTACH, sc_span(&a, sizeof a), NOTHING, &settings, 1) == SC_AGAIN)
            usleep(1000);
    }
    assert_int_equal(m.type, SC_CTL_SLOT_STATE);
    assert_int_equal(sc_ctl_read_slot(m.payload, &slot, &tag, &text), 0);
    assert_int_equal(slot.state, SC_SLOT_EXITED);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
}

static void a_settled_worker_that_dies_is_back_at_once_others_after_a_second(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(0, "serves");
    pid_t young = start_loaded(1, "serves");
    kill(young, SIGKILL);
    await_slot(1, SC_SLOT_EXITED);
    assert_int_equal(slot.delay_ms, 1000);
    assert_true(WIFSIGNALED(slot.wait_status));
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
    assert_int_equal(text.n, 0);

    usleep(1010 * 1000);
    kill(worker, SIGKILL);
    await_slot(0, SC_SLOT_EXITED);
    assert_int_equal(slot.delay_ms, 0);
    await_slot(0, SC_SLOT_STARTING);
    assert_int_equal(slot.life, 2);
    assert_int_not_equal(slot.pid, worker);
    await_slot(0, SC_SLOT_CONNECTED);
    await_slot(0, SC_SLOT_LOADED);
}

static void a_worker_that_exits_is_retried_by_the_table(void **state)
{
    (void)state;
    await_frontend();
    start_slot(0, "exit-3");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_EXITED);
    assert_true(WIFEXITED(slot.wait_status));
    assert_int_equal(WEXITSTATUS(slot.wait_status), 3);
    assert_int_equal(slot.delay_ms, 1000);
    order_slot(SC_CTL_SLOT_STOP, 0, 0);
    await_slot(0, SC_SLOT_GONE);
}

static void what_cannot_get_better_is_given_up(void **state)
{
    (void)state;
    await_frontend();
    start_slot(0, "fatal");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_EXITED);
    assert_int_equal(slot.delay_ms, -1);

    start_slot_with(1, "exit-3", SC_START_ONCE, "/proc/self/exe");
    await_slot(1, SC_SLOT_STARTING);
    await_slot(1, SC_SLOT_EXITED);
    assert_int_equal(slot.delay_ms, -1);

    start_slot(2, "fails");
    await_slot(2, SC_SLOT_STARTING);
    await_slot(2, SC_SLOT_CONNECTED);
    await_slot(2, SC_SLOT_FAILED);
    await_slot(2, SC_SLOT_EXITED);
    assert_true(sc_span_eq(text, SC_SPAN("no such file: weights")));

    start_slot_with(3, "", 0, "/nowhere/at/all");
    await_slot(3, SC_SLOT_STARTING);
    await_slot(3, SC_SLOT_EXITED);
    assert_int_equal(WEXITSTATUS(slot.wait_status), 127);
    assert_true(sc_span_eq(text, SC_SPAN("cannot run /nowhere/at/all")));
}

static void a_worker_finds_the_environment_of_its_slot(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(0, "environment");
    assert_true(sc_span_eq(text, SC_SPAN("of the slot")));
}

/* What is in the pipe once it holds `n` bytes; a '\0' behind. */
static void read_output(int fd, char *out, size_t size, size_t n)
{
    size_t got = 0;
    for (int64_t limit = sc_clock_ms() + PATIENCE_MS; got < n && sc_clock_ms() < limit; usleep(1000)) {
        ssize_t r = read(fd, out + got, size - 1 - got);
        got += r > 0 ? (size_t)r : 0;
    }
    out[got] = '\0';
}

static void output_goes_to_pipes_that_outlive_worker_and_frontend(void **state)
{
    (void)state;
    await_frontend();
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    const char *argv[] = {"/bin/sh", "sh", "-c", "pwd; echo \"$GONE+$HERE\" >&2", NULL};
    const char *env[] = {"GONE", "HERE=yes", NULL};
    struct sc_ctl_start head = {.slot = 2, .flags = SC_START_OUTPUT, .retry_window_ms = 60000};
    sc_ctl_write_start(&b, head, SC_SPAN("echo"), argv, env, "/usr/share");
    tell(SC_CTL_SLOT_START, sc_buf_view(&b));
    sc_buf_free(&b);
    await_slot(2, SC_SLOT_STARTING);
    assert_int_equal(m.nfds, SC_OUTPUT_FDS);
    int out = dup(m.fds[0]), err = dup(m.fds[1]);
    char text_out[64], text_err[64];
    read_output(out, text_out, sizeof text_out, strlen("/usr/share\n"));
    read_output(err, text_err, sizeof text_err, strlen("+yes\n"));
    assert_string_equal(text_out, "/usr/share\n");
    assert_string_equal(text_err, "+yes\n");
    await_slot(2, SC_SLOT_EXITED);
    assert_int_equal(m.nfds, 0);
    await_slot(2, SC_SLOT_STARTING); /* a second life, the same pipes */
    assert_int_equal(m.nfds, 0);
    read_output(out, text_out, sizeof text_out, strlen("/usr/share\n"));
    assert_string_equal(text_out, "/usr/share\n");
    close(out);
    close(err);

    kill(frontend, SIGKILL);
    await_frontend();
    await_any();
    assert_int_equal(slot.slot, 2);
    assert_int_equal(m.nfds, SC_OUTPUT_FDS);
    order_slot(SC_CTL_SLOT_STOP, 2, 0);
}

static void an_occupied_slot_is_not_started_twice(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(5, "serves");
    start_slot(5, "exit-3");
    order_slot(SC_CTL_SLOT_STOP, 5, 0);
    await_slot(5, SC_SLOT_GONE);
    assert_true(gone_within(worker, 10));
    start_loaded(5, "serves");
    assert_int_equal(slot.life, 1);
}

/* Arguments of the next life, and the tag at once; nothing of the present one. */
static void an_occupied_slot_can_be_changed_for_its_next_life(void **state)
{
    (void)state;
    await_frontend();
    pid_t worker = start_loaded(5, "serves");
    start_slot_with(5, "exit-3", SC_START_CHANGE, "/proc/self/exe");
    start_slot_with(6, "serves", SC_START_CHANGE,
                    "/proc/self/exe"); /* of a slot that is not there: nothing */
    struct sc_ctl_lanes lanes = {.slot = 5, .lanes = 3, .life = 2};
    tell(SC_CTL_LANES, sc_span(&lanes, sizeof lanes)); /* of another life: nothing */
    order_slot(SC_CTL_SLOT_KILL, 5, 1);
    await_slot(5, SC_SLOT_EXITED);
    assert_true(gone_within(worker, 10));
    await_slot(5, SC_SLOT_STARTING);
    await_slot(5, SC_SLOT_EXITED);
    assert_true(WIFEXITED(slot.wait_status));
    assert_int_equal(WEXITSTATUS(slot.wait_status), 3);
}

static void kill_is_for_one_life(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(0, "stubborn");
    order_slot(SC_CTL_SLOT_KILL, 0, 2);
    order_slot(SC_CTL_SLOT_KILL, 9, 1);
    usleep(20 * 1000);
    order_slot(SC_CTL_SLOT_KILL, 0, 1);
    await_slot(0, SC_SLOT_EXITED);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
}

static void a_worker_that_ignores_term_is_killed_after_the_grace(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(0, "stubborn");
    int64_t asked = sc_clock_ms();
    order_slot(SC_CTL_SLOT_STOP, 0, 0);
    await_slot(0, SC_SLOT_GONE);
    assert_true(sc_clock_ms() - asked >= 150);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
}

static void a_worker_that_is_stopped_can_be_stopped_for_good(void **state)
{
    (void)state;
    await_frontend();
    kill(start_loaded(0, "serves"), SIGSTOP);
    order_slot(SC_CTL_SLOT_STOP, 0, 0);
    await_slot(0, SC_SLOT_GONE);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGTERM);
}

static int set_up_in_haste(void **state)
{
    (void)state;
    start_with(150, 150, 150);
    return 0;
}

static void who_never_connects_or_has_no_token_is_killed(void **state)
{
    (void)state;
    await_frontend();
    start_slot(0, "silent");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_EXITED);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
    assert_int_equal(slot.delay_ms, 1000);

    start_slot(1, "impostor");
    await_slot(1, SC_SLOT_STARTING);
    await_slot(1, SC_SLOT_EXITED);
    assert_true(WIFEXITED(slot.wait_status) || WTERMSIG(slot.wait_status) == SIGKILL);
}

static void who_misbehaves_on_its_connection_is_killed(void **state)
{
    (void)state;
    await_frontend();
    start_slot(0, "garbage");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_CONNECTED);
    await_slot(0, SC_SLOT_EXITED);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);

    start_slot(1, "hangs-up");
    await_slot(1, SC_SLOT_STARTING);
    await_slot(1, SC_SLOT_CONNECTED);
    await_slot(1, SC_SLOT_EXITED);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);

    start_slot(2, "chatter");
    await_slot(2, SC_SLOT_STARTING);
    await_slot(2, SC_SLOT_CONNECTED);
    int said = 0;
    do {
        await_any();
        said += slot.state == SC_SLOT_LOADED;
    } while (slot.state != SC_SLOT_EXITED);
    assert_int_equal(said, SC_STATUS_MAX);
}

/* ---- strangers ------------------------------------------------------------------------- */

static int connect_to(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path, name, n);
    a.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(
        connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)), 0);
    return fd;
}

/* The connect-back address, from the environment of a worker. */
static void find_address(pid_t worker, char *out, size_t size)
{
    char path[64], env[65536], *at;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)worker);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, env, sizeof env - 1);
    close(fd);
    assert_true(n > 0);
    env[n] = '\0';
    at = memmem(env, (size_t)n, SC_ENV_SOCKET "=", sizeof SC_ENV_SOCKET);
    assert_non_null(at);
    snprintf(out, size, "%s", at + sizeof SC_ENV_SOCKET);
}

static bool closed_within(int fd, int ms)
{
    char c;
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms) == 1 && read(fd, &c, 1) <= 0;
}

static void strangers_are_shown_the_door(void **state)
{
    (void)state;
    await_frontend();
    char name[128];
    find_address(start_loaded(0, "serves"), name, sizeof name);

    int mute = connect_to(name); /* its time runs from here */
    int liar = connect_to(name);
    struct sc_ctl_hello hello = {.rank = 0};
    assert_int_equal(sc_ctl_send(liar, SC_CTL_HELLO, sc_span(&hello, sizeof hello), NOTHING, NULL, 0), 0);
    assert_true(closed_within(liar, 400)); /* at once, not when its time is over */
    int babbler = connect_to(name);
    assert_int_equal(write(babbler, "x", 1), 1);
    assert_true(closed_within(babbler, 400));
    assert_true(closed_within(mute, PATIENCE_MS));
    close(mute);
    close(liar);
    close(babbler);

    /* A crowd keeps no worker out. */
    int crowd[3 * SC_CTL_STRANGERS_MAX];
    for (size_t i = 0; i < SC_COUNT(crowd); i++)
        crowd[i] = connect_to(name);
    start_loaded(1, "serves");
    for (size_t i = 0; i < SC_COUNT(crowd); i++)
        close(crowd[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PLAY(a_worker_gets_the_descriptors_that_are_meant_for_its_life),
        PLAY(a_worker_that_does_not_take_its_channels_is_killed),
        PLAY(a_settled_worker_that_dies_is_back_at_once_others_after_a_second),
        PLAY(a_worker_that_exits_is_retried_by_the_table),
        PLAY(what_cannot_get_better_is_given_up),
        PLAY(a_worker_finds_the_environment_of_its_slot),
        PLAY(output_goes_to_pipes_that_outlive_worker_and_frontend),
        PLAY(an_occupied_slot_is_not_started_twice),
        PLAY(an_occupied_slot_can_be_changed_for_its_next_life),
        PLAY(kill_is_for_one_life),
        PLAY_IMPATIENT(a_worker_that_ignores_term_is_killed_after_the_grace),
        PLAY(a_worker_that_is_stopped_can_be_stopped_for_good),
        cmocka_unit_test_setup_teardown(who_never_connects_or_has_no_token_is_killed, set_up_in_haste,
                                        tear_down),
        PLAY_IMPATIENT(who_misbehaves_on_its_connection_is_killed),
        PLAY(strangers_are_shown_the_door),
    };
    return PLAY_MAIN(tests, argc, argv);
}
