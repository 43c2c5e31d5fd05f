/* Descriptors that the supervisor keeps: both sides, with real processes. */
#include "worker/supervisor_play.h"

static void assert_fetches(uint32_t number, const char *words)
{
    start_loaded(number, "fetches");
    assert_int_equal(text.n, strlen(words));
    assert_memory_equal(text.p, words, text.n);
}

static void stop(uint32_t number)
{
    order_slot(SC_CTL_SLOT_STOP, number, 0);
    do
        await_any();
    while (slot.slot != number || slot.state != SC_SLOT_GONE);
}

static void what_a_worker_has_kept_outlives_it(void **state)
{
    (void)state;
    await_frontend();
    assert_fetches(0, "none");
    kill(start_loaded(1, "keeps"), SIGKILL);
    await_slot(1, SC_SLOT_EXITED);
    assert_fetches(2, "keeps");
}

static void it_is_let_go_with_the_last_slot_that_had_it(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(1, "keeps");
    assert_fetches(2, "keeps");
    stop(1);
    assert_fetches(3, "keeps");
    stop(2);
    stop(3);
    assert_fetches(4, "none");
}

static void a_life_that_has_loaded_without_it_gives_it_up(void **state)
{
    (void)state;
    await_frontend();
    kill(start_loaded(1, "keeps-once"), SIGKILL);
    await_slot(1, SC_SLOT_EXITED);
    await_slot(1, SC_SLOT_STARTING);
    await_slot(1, SC_SLOT_CONNECTED);
    await_slot(1, SC_SLOT_LOADED);
    assert_fetches(2, "none");
}

static void the_first_of_a_name_stays(void **state)
{
    (void)state;
    await_frontend();
    start_loaded(1, "keeps");
    start_loaded(2, "keeps-other");
    assert_fetches(3, "keeps");
}

static void keeping_without_a_descriptor_breaks_the_rules(void **state)
{
    (void)state;
    await_frontend();
    start_slot(0, "keeps-nothing");
    await_slot(0, SC_SLOT_STARTING);
    await_slot(0, SC_SLOT_CONNECTED);
    await_slot(0, SC_SLOT_EXITED);
    assert_int_equal(WTERMSIG(slot.wait_status), SIGKILL);
    assert_fetches(1, "none");
}

/* ---- the worker's side, with a supervisor that says other things first ---------------------- */

static void an_attachment_that_comes_before_the_answer_is_put_aside(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    struct sc_ctl_attach first = {.slot = 1}, last = {.slot = 2};
    struct sc_ctl_kept answer = {.name = "words", .size = 5};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(sc_ctl_send(pair[0], SC_CTL_ATTACH, sc_span(&first, sizeof first), NOTHING, &null, 1),
                     0);
    assert_int_equal(sc_ctl_send(pair[0], SC_CTL_ATTACH, sc_span(&last, sizeof last), NOTHING, &null, 1), 0);
    assert_int_equal(sc_ctl_send(pair[0], SC_CTL_KEPT, sc_span(&answer, sizeof answer), NOTHING, &null, 1),
                     0);

    struct sconce_host h = {.ctl = pair[1]};
    uint64_t size;
    int fd = sconce_host_kept(&h, "words", &size);
    assert_true(fd >= 0);
    assert_int_equal(size, 5);
    assert_non_null(h.waiting);
    assert_int_equal(h.waiting->nfds, 1);
    assert_memory_equal(h.waiting->payload.p, &last, sizeof last);
    sc_ctl_close_fds(h.waiting);
    free(h.waiting);
    close(fd);

    close(pair[0]);
    assert_int_equal(sconce_host_kept(&h, "words", &size), -1);
    close(pair[1]);
    close(null);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PLAY(what_a_worker_has_kept_outlives_it),
        PLAY(it_is_let_go_with_the_last_slot_that_had_it),
        PLAY(a_life_that_has_loaded_without_it_gives_it_up),
        PLAY(the_first_of_a_name_stays),
        PLAY(keeping_without_a_descriptor_breaks_the_rules),
        cmocka_unit_test(an_attachment_that_comes_before_the_answer_is_put_aside),
    };
    return PLAY_MAIN(tests, argc, argv);
}
