/* Workers of several processes below a launcher. */
#include "worker/supervisor_play.h"

#define RANKS 3

/* ---- the launcher's role, and its ranks' ------------------------------------------------ */

/* The message that brings the sockets to the other ranks, or to rank 0. */
static void await_links(int sock)
{
    for (;;) {
        poll(&(struct pollfd){.fd = sock, .events = POLLIN}, 1, -1);
        int rc = sc_ctl_receive(sock, &m);
        if (rc < 0)
            _exit(70);
        if (rc == 1 && m.type == SC_CTL_RANKS)
            return;
    }
}

/* Rank 0 says LOADED with the numbers of all processes, which the others have sent it by their sockets. */
static int rank_main(const char *how, unsigned rank)
{
    char words[128];
    struct sc_ctl_ranks r;
    struct sc_msg msg;
    setsid();
    snprintf(words, sizeof words, "%u",
             !strcmp(how, "twice")     ? 0
             : !strcmp(how, "strange") ? rank + 1
                                       : rank);
    setenv(SC_ENV_RANK, words, 1);
    while (!strcmp(how, "absent") && rank == 1)
        pause();
    int sock = sc_ctl_connect_back(&msg);
    if (sock < 0)
        return 71;
    await_links(sock);
    if (sc_ctl_read_fixed(m.payload, &r, sizeof r) < 0 || r.ranks != RANKS || r.rank != rank ||
        m.nfds != (rank ? 1 : RANKS - 1))
        return 72;
    pid_t pid = getpid();
    if (rank && write(m.fds[0], &pid, sizeof pid) != sizeof pid)
        return 73;
    size_t n = (size_t)snprintf(words, sizeof words, "%d", (int)pid);
    for (unsigned i = 0; !rank && i < m.nfds; i++) {
        if (recv(m.fds[i], &pid, sizeof pid, MSG_WAITALL) != sizeof pid)
            return 74;
        n += (size_t)snprintf(words + n, sizeof words - n, " %d", (int)pid);
    }
    if (!strcmp(how, "fails") && rank == 2) {
        say(sock, SC_SLOT_FAILED, "no weights for rank 2");
        return 1;
    }
    while (!strcmp(how, "loads-for-ever") && rank == 2)
        pause();
    say(sock, SC_SLOT_LOADED, rank ? "not rank 0" : words);
    return serve(sock);
}

/* Starts the ranks and, other than torchrun, does nothing about those that end. */
static int launcher_main(const char *how)
{
    for (unsigned i = 0; i < RANKS; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return 75;
        if (pid == 0)
            _exit(rank_main(how, i));
    }
    while (wait(NULL) >= 0 || errno == EINTR)
        ;
    return 1;
}

/* ---- the test's side --------------------------------------------------------------------- */

static pid_t pids[RANKS + 1]; /* of the ranks; last the launcher's */

static void start_ranks(const char *how)
{
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    const char *argv[] = {"/proc/self/exe", "sconce: launcher", "--launcher", how, NULL};
    const char *env[] = {SC_ENV_RANK "=9", NULL};
    struct sc_ctl_start head = {
        .slot = 0, .flags = SC_START_LAUNCHER, .retry_window_ms = 60000, .ranks = RANKS};
    sc_ctl_write_start(&b, head, SC_SPAN("echo"), argv, env, NULL);
    tell(SC_CTL_SLOT_START, sc_buf_view(&b));
    sc_buf_free(&b);
}

static void await_loaded(void)
{
    char words[128];
    await_slot(0, SC_SLOT_CONNECTED);
    await_slot(0, SC_SLOT_LOADED);
    snprintf(words, sizeof words, "%.*s", SC_FMT(text));
    char *at = words;
    for (unsigned i = 0; i < RANKS; i++)
        pids[i] = (pid_t)strtol(at, &at, 10);
    assert_int_equal(slot.pid, pids[RANKS]);
}

static void start_loaded_ranks(void)
{
    start_ranks("serves");
    await_slot(0, SC_SLOT_STARTING);
    pids[RANKS] = slot.pid;
    await_loaded();
    for (unsigned i = 0; i < RANKS; i++)
        assert_true(pids[i] > 0 && pids[i] != pids[RANKS]);
}

/* They are in sessions of their own, and no children of the supervisor until their launcher has ended. */
static void assert_all_gone(void)
{
    for (unsigned i = 0; i <= RANKS; i++)
        assert_true(gone_within(pids[i], PATIENCE_MS));
}

static void they_meet_and_are_one_worker(void **state)
{
    (void)state;
    await_frontend();
    start_loaded_ranks();
    order_slot(SC_CTL_SLOT_STOP, 0, 0);
    await_slot(0, SC_SLOT_GONE);
    assert_all_gone();
}

static void the_end_of_one_is_the_end_of_all(void **state)
{
    (void)state;
    await_frontend();
    start_loaded_ranks();
    static const unsigned victims[] = {0, 2, RANKS}; /* the first, another, the launcher */
    for (unsigned v = 0; v < SC_COUNT(victims); v++) {
        unsigned victim = victims[v];
        pid_t before[RANKS + 1];
        char why[64];
        memcpy(before, pids, sizeof before);
        uint64_t life = slot.life;
        kill(pids[victim], SIGKILL);
        await_slot(0, SC_SLOT_EXITED);
        snprintf(why, sizeof why, "its rank %u (process %d) ended first", victim, (int)pids[victim]);
        if (victim < RANKS)
            assert_true(sc_span_eq(text, sc_span_str(why)));
        assert_all_gone();
        await_slot(0, SC_SLOT_STARTING);
        assert_int_equal(slot.life, life + 1);
        pids[RANKS] = slot.pid;
        await_loaded();
        for (unsigned i = 0; i < RANKS; i++)
            assert_int_not_equal(pids[i], before[i]);
    }
}

static void what_is_killed_is_killed_whole(void **state)
{
    (void)state;
    await_frontend();
    start_loaded_ranks();
    order_slot(SC_CTL_SLOT_KILL, 0, slot.life);
    await_slot(0, SC_SLOT_EXITED);
    assert_all_gone();
}

static void one_that_fails_to_load_fails_the_worker(void **state)
{
    (void)state;
    await_frontend();
    start_ranks("fails");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_CONNECTED);
    await_slot(0, SC_SLOT_FAILED);
    assert_true(sc_span_eq(text, SC_SPAN("no weights for rank 2")));
    await_slot(0, SC_SLOT_EXITED);
}

static void one_that_does_not_load_is_named(void **state)
{
    (void)state;
    await_frontend();
    start_ranks("loads-for-ever");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_CONNECTED);
    usleep(50000); /* the others may say so or not: it is not loaded */
    order_slot(SC_CTL_SLOT_KILL, 0, slot.life);
    await_slot(0, SC_SLOT_EXITED);
    assert_non_null(memmem(text.p, text.n, "has not loaded", 14));
}

static int set_up_with_little_time(void **state)
{
    (void)state;
    start_with(1000, 150, 150);
    return 0;
}

static void one_that_does_not_connect_is_named(void **state)
{
    (void)state;
    await_frontend();
    start_ranks("absent");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_EXITED);
    assert_true(sc_span_eq(text, SC_SPAN("rank 1 of 3 has not connected")));
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
}

/* A rank is taken once, and only if it is one of the worker's. */
static void a_rank_that_nobody_waits_for_is_refused(void **state)
{
    static const char *const how[] = {"twice", "strange"};
    (void)state;
    await_frontend();
    for (unsigned i = 0; i < SC_COUNT(how); i++) {
        start_ranks(how[i]);
        await_slot(0, SC_SLOT_STARTING);
        await_slot(0, SC_SLOT_EXITED);
        assert_non_null(memmem(text.p, text.n, "has not connected", 17));
        order_slot(SC_CTL_SLOT_STOP, 0, 0);
        await_slot(0, SC_SLOT_GONE);
    }
}

static void nothing_outlives_the_supervisor(void **state)
{
    (void)state;
    await_frontend();
    start_loaded_ranks();
    kill(supervisor, SIGTERM);
    assert_true(ends_within(PATIENCE_MS) >= 0);
    assert_all_gone();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PLAY(they_meet_and_are_one_worker),
        PLAY(the_end_of_one_is_the_end_of_all),
        PLAY(what_is_killed_is_killed_whole),
        PLAY(one_that_fails_to_load_fails_the_worker),
        PLAY(one_that_does_not_load_is_named),
        cmocka_unit_test_setup_teardown(one_that_does_not_connect_is_named, set_up_with_little_time,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_rank_that_nobody_waits_for_is_refused, set_up_with_little_time,
                                        tear_down),
        PLAY(nothing_outlives_the_supervisor),
    };
    if (argc > 2 && !strcmp(argv[1], "--launcher"))
        return launcher_main(argv[2]);
    return PLAY_MAIN(tests, argc, argv);
}
