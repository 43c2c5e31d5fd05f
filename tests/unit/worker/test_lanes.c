/*
 * The executor's threads with a backend whose batches last as long as the test wants. A body is "ITEMS COST",
 * with a letter in front if its preparation is to be looked at: 'w' waits for the gate, 's' is spread over
 * two threads.
 */
#include "test.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "channel_pair.h"
#include "worker/executor_private.h"

#define LIMIT 100      /* cost of a batch */
#define PATIENCE 60000 /* ms */

/* The body of a long request: what makes it long lies behind a NUL. */
#define LONG_BODY (64u << 10)

struct work {
    char name;
    uint32_t n, seen;
    atomic_uint times[1000];
};

static struct bench {
    struct sc_executor ex;
    struct pair pair;
    uint64_t answered[64];
    size_t nanswered;
    uint64_t off;
    bool gate; /* batches wait for permission */
    unsigned permits, computing, most, discarded, inside, together;
    unsigned begun, slices_of_last, batches;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} b;

/* ---- the backend ---- */

static void wait_changed(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE / 1000;
    if (pthread_cond_timedwait(&b.changed, &b.lock, &until))
        abort(); /* what should happen does not */
}

static void piece(void *arg, uint32_t i)
{
    (void)arg;
    (void)i;
    pthread_mutex_lock(&b.lock);
    b.inside++;
    b.together = SC_MAX(b.together, b.inside);
    pthread_cond_broadcast(&b.changed);
    while (b.together < 2)
        wait_changed();
    b.inside--;
    pthread_mutex_unlock(&b.lock);
}

static struct sconce_error *request_prepare(struct sconce_model *m, struct sconce_request *r, uint64_t *cost)
{
    size_t size;
    const char *body = sconce_request_body(r, &size);
    struct work *w = calloc(1, sizeof *w);
    uint32_t costs[1000], each = 0;
    (void)m;
    (void)cost;
    if (*body == 'w' || *body == 's')
        w->name = *body++;
    if (sscanf(body, "%u %u", &w->n, &each) < 1 || w->n > 1000)
        abort();
    for (uint32_t i = 0; i < w->n; i++)
        costs[i] = each;
    if (w->name == 's')
        sconce_host_spread(&b.ex.host, 8, piece, NULL);
    if (w->name == 'w') {
        pthread_mutex_lock(&b.lock);
        while (b.gate)
            wait_changed();
        pthread_mutex_unlock(&b.lock);
    }
    sconce_request_set_data(r, w);
    if (!sconce_request_set_items(r, w->n, costs))
        abort();
    return NULL;
}

static void request_discard(struct sconce_model *m, struct sconce_request *r)
{
    (void)m;
    free(sconce_request_data(r));
    pthread_mutex_lock(&b.lock);
    b.discarded++;
    pthread_cond_broadcast(&b.changed);
    pthread_mutex_unlock(&b.lock);
}

static struct sconce_error *lane_create(struct sconce_model *m, unsigned index, struct sconce_lane **lane)
{
    (void)m;
    (void)index;
    *lane = (struct sconce_lane *)&b;
    return NULL;
}

static void lane_destroy(struct sconce_lane *l)
{
    (void)l;
}

static void lane_compute(struct sconce_lane *l, const struct sconce_slice *s, size_t n)
{
    (void)l;
    uint64_t cost = 0;
    for (size_t i = 0; i < n; i++) {
        struct work *w = sconce_request_data(s[i].request);
        for (uint32_t k = 0; k < s[i].n; k++) {
            cost += s[i].items[k].cost;
            atomic_fetch_add(&w->times[s[i].items[k].index], 1);
        }
    }
    if (cost > LIMIT)
        abort();
    pthread_mutex_lock(&b.lock);
    b.begun++;
    b.slices_of_last = (unsigned)n;
    b.computing++;
    b.most = SC_MAX(b.most, b.computing);
    pthread_cond_broadcast(&b.changed);
    while (b.gate && b.permits == 0)
        wait_changed();
    b.permits -= b.permits > 0;
    b.computing--;
    b.batches++;
    pthread_cond_broadcast(&b.changed);
    pthread_mutex_unlock(&b.lock);
}

static void lane_answer(struct sconce_lane *l, struct sconce_request *r)
{
    (void)l;
    struct work *w = sconce_request_data(r);
    for (uint32_t i = 0; i < w->n; i++)
        if (atomic_load(&w->times[i]) != 1)
            abort();
    free(w);
    sconce_response_send(r, NULL, 0);
}

static const struct sconce_backend_ops ops = {
    .major = SCONCE_BACKEND_MAJOR,
    .minor = SCONCE_BACKEND_MINOR,
    .name = "test",
    .request_prepare = request_prepare,
    .request_discard = request_discard,
    .lane_create = lane_create,
    .lane_destroy = lane_destroy,
    .lane_compute = lane_compute,
    .lane_answer = lane_answer,
};

/* ---- the frontend ---- */

static void open_bench(unsigned lanes, unsigned helpers, bool gate)
{
    struct sc_msg msg;
    b = (struct bench){.gate = gate,
                       .ex = {.ops = &ops,
                              .batch_size = SC_BATCH_SIZE_MAX,
                              .host = {.lanes = lanes, .max_response = 1 << 20, .ex = &b.ex},
                              .info = {.max_batch_cost = LIMIT, .prepare_threads = helpers}}};
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.changed, NULL);
    pair_make_host(&b.pair, 1, lanes, 4 * SC_ARENA_BLOCK_MAX);
    pair_make_port(&b.pair);
    assert_int_equal(sc_lanes_start(&b.ex, &msg), 0);
    assert_int_equal(sc_lanes_attach(&b.ex, b.pair.port), 0);
    b.pair.port = NULL; /* the executor's */
}

static void close_bench(void)
{
    pthread_mutex_lock(&b.lock);
    b.gate = false;
    pthread_cond_broadcast(&b.changed);
    pthread_mutex_unlock(&b.lock);
    sc_lanes_stop(&b.ex);
    pair_free(&b.pair);
    pthread_cond_destroy(&b.changed);
    pthread_mutex_destroy(&b.lock);
}

static void submit_long(uint64_t id, const char *text, size_t size)
{
    char *to = b.pair.request[0] + b.off;
    memset(to, 0, size);
    memcpy(to, text, strlen(text));
    struct sc_submission s = {
        .id = id, .off = b.off, .body_len = size, .body_fd = -1, .arrival_ns = sc_clock_ns()};
    b.off += (size + 511) / 512 * 512;
    assert_int_equal(sc_chan_submit(b.pair.chan[0], &s), 0);
    sc_chan_flush(b.pair.chan[0]);
}

static void submit(uint64_t id, const char *text)
{
    submit_long(id, text, strlen(text) + 1);
}

static void take_answers(void)
{
    struct sc_completion c;
    struct sc_msg msg;
    while (sc_chan_poll(b.pair.chan[0], &c, &msg) == 1) {
        assert_int_equal(c.status, 200);
        b.answered[b.nanswered++] = c.id;
        sc_chan_release(b.pair.chan[0], c.token);
    }
}

/* Waits for so many answers in all. */
static void wait_answers(size_t n)
{
    int64_t end = sc_clock_ms() + PATIENCE;
    for (take_answers(); b.nanswered < n; take_answers()) {
        assert_true(sc_clock_ms() < end);
        if (!sc_chan_sleep(b.pair.chan[0])) {
            sc_chan_awake(b.pair.chan[0]);
            continue;
        }
        struct pollfd f = {.fd = sc_chan_wake_fd(b.pair.chan[0]), .events = POLLIN};
        poll(&f, 1, 1000);
        sc_chan_awake(b.pair.chan[0]);
    }
}

/* Waits until so many batches have begun in all. */
static void wait_begun(unsigned n)
{
    pthread_mutex_lock(&b.lock);
    while (b.begun < n)
        wait_changed();
    pthread_mutex_unlock(&b.lock);
}

/* One of the counters. */
static unsigned look(const unsigned *counter)
{
    pthread_mutex_lock(&b.lock);
    unsigned v = *counter;
    pthread_mutex_unlock(&b.lock);
    return v;
}

static void permit(unsigned n)
{
    pthread_mutex_lock(&b.lock);
    b.permits += n;
    pthread_cond_broadcast(&b.changed);
    pthread_mutex_unlock(&b.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&b.lock);
    b.gate = false;
    pthread_cond_broadcast(&b.changed);
    pthread_mutex_unlock(&b.lock);
}

/* ---- tests ---- */

static void long_list_delays_nobody_by_more_than_one_batch(void **state)
{
    (void)state;
    open_bench(1, 0, true);
    submit(1, "1000 10");
    wait_begun(1); /* the lane computes the list's first batch */
    submit(2, "1 10");
    submit(3, "1 10");
    submit(4, "2 10");
    permit(1);
    wait_begun(2); /* the next one has all of them in it */
    assert_int_equal(look(&b.slices_of_last), 4);
    permit(1);
    wait_answers(3);
    assert_int_equal(b.answered[0], 2);
    assert_int_equal(b.answered[1], 3);
    assert_int_equal(b.answered[2], 4);
    open_gate();
    wait_answers(4);
    assert_int_equal(b.answered[3], 1);
    /* 10,040 in batches of 100, the first two not of the list alone. */
    assert_int_equal(look(&b.batches), 101);
    close_bench();
}

static void two_lists_progress_side_by_side(void **state)
{
    (void)state;
    open_bench(1, 0, true);
    submit(1, "1000 10");
    wait_begun(1);
    submit(2, "100 10");
    permit(1);
    /* Half of each batch is the second list's: it ends with the 20th, the first one goes on. */
    permit(20);
    wait_answers(1);
    assert_int_equal(b.answered[0], 2);
    wait_begun(22);
    open_gate();
    wait_answers(2);
    close_bench();
}

static void every_lane_computes_and_no_more(void **state)
{
    (void)state;
    open_bench(3, 0, true);
    for (uint64_t i = 1; i <= 6; i++)
        submit(i, "1 100");
    wait_begun(3);
    permit(1);
    wait_answers(1);
    wait_begun(4); /* the lane that became free has the next one */
    assert_int_equal(look(&b.computing), 3);
    open_gate();
    wait_answers(6);
    assert_int_equal(look(&b.most), 3);
    close_bench();
}

static void lanes_share_one_list(void **state)
{
    (void)state;
    open_bench(2, 0, true);
    submit(1, "40 10");
    wait_begun(2); /* both compute items of it at the same time */
    assert_int_equal(look(&b.most), 2);
    open_gate();
    wait_answers(1);
    assert_int_equal(look(&b.batches), 4);
    close_bench();
}

static void no_lane_takes_more_than_its_share_of_all_there_is(void **state)
{
    (void)state;
    open_bench(2, 0, true);
    pthread_mutex_lock(&b.ex.lock);
    b.ex.info.batch_overhead = 10;
    pthread_mutex_unlock(&b.ex.lock);
    for (uint64_t i = 1; i <= 2; i++) {
        submit(i, "1 10");
        wait_begun((unsigned)i);
    }
    for (uint64_t i = 3; i <= 10; i++)
        submit(i, "1 10");
    permit(1);
    wait_begun(3); /* 80 wait and 10 are being computed: 45 for each lane */
    assert_int_equal(look(&b.slices_of_last), 4);
    open_gate();
    wait_answers(10);
    close_bench();
    assert_int_equal(b.ex.computing_cost, 0);
}

static void one_preparation_is_spread(void **state)
{
    (void)state;
    open_bench(2, 0, false); /* the other lane has nothing to do */
    submit(1, "s3 10");
    wait_answers(1);
    assert_true(look(&b.together) >= 2);
    close_bench();
    open_bench(1, 1, false); /* a helper and the lane */
    submit_long(1, "s3 10", LONG_BODY);
    wait_answers(1);
    assert_true(look(&b.together) >= 2);
    close_bench();
}

static void long_preparation_delays_nobody(void **state)
{
    (void)state;
    open_bench(1, 1, true);
    submit_long(1, "w1 10", LONG_BODY);
    submit(2, "1 10");
    permit(1);
    wait_answers(1);
    assert_int_equal(b.answered[0], 2);
    open_gate();
    wait_answers(2);
    close_bench();
}

static void helpers_prepare_while_lanes_compute(void **state)
{
    (void)state;
    open_bench(1, 2, true);
    submit(1, "1 10");
    wait_begun(1);
    for (uint64_t i = 2; i <= 9; i++)
        submit(i, "1 10");
    int64_t end = sc_clock_ms() + PATIENCE;
    for (size_t ready = 0; ready < 8;) {
        struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
        assert_true(sc_clock_ms() < end);
        pthread_mutex_lock(&b.ex.lock);
        ready = b.ex.ready.waiting.n;
        pthread_mutex_unlock(&b.ex.lock);
    }
    permit(1);
    wait_begun(2);
    assert_int_equal(look(&b.slices_of_last), 8);
    open_gate();
    wait_answers(9);
    close_bench();
}

static void request_without_items_is_answered(void **state)
{
    (void)state;
    open_bench(1, 0, true);
    submit(1, "0 0");
    wait_answers(1);
    submit(2, "1 10");
    wait_begun(1);
    submit(3, "0 0");
    submit(4, "1 10");
    submit(5, "0 0");
    open_gate();
    wait_answers(5);
    close_bench();
}

static void what_nobody_waits_for_is_discarded(void **state)
{
    (void)state;
    open_bench(1, 0, true);
    submit(1, "1000 10");
    wait_begun(1);
    submit(2, "1 10");
    permit(1);
    wait_begun(2); /* a part of the list and all of the other are being computed */
    assert_int_equal(sc_lanes_attach(&b.ex, NULL), 0);
    assert_int_equal(look(&b.discarded), 0); /* not under the lane's hands */
    permit(1);
    pthread_mutex_lock(&b.lock);
    while (b.discarded < 1)
        wait_changed();
    pthread_mutex_unlock(&b.lock);
    wait_answers(1); /* it was complete: who hears it is another matter */
    assert_int_equal(b.answered[0], 2);
    assert_int_equal(look(&b.batches), 2);
    close_bench();
}

/* Goes on until there are n, as main does when ended_fd is readable. */
static void settle(unsigned n)
{
    struct sc_msg msg;
    int rc;
    while ((rc = sc_lanes_settle(&b.ex, n, &msg)) == 0) {
        struct pollfd f = {.fd = b.ex.ended_fd, .events = POLLIN};
        assert_int_equal(poll(&f, 1, PATIENCE), 1);
    }
    assert_int_equal(rc, 1);
    assert_int_equal(b.ex.made, n);
}

static void lanes_come_and_go_while_others_compute(void **state)
{
    (void)state;
    struct sc_msg msg;
    open_bench(1, 1, true);
    submit(1, "1 100");
    wait_begun(1);
    submit(2, "1 100");
    submit(3, "1 100");
    settle(3); /* beside the one that computes */
    wait_begun(3);
    assert_int_equal(look(&b.most), 3);
    assert_int_equal(sc_lanes_settle(&b.ex, 1, &msg), 0); /* they finish what they have begun */
    submit(4, "1 100");
    open_gate();
    wait_answers(4);
    settle(1);
    assert_int_equal(b.ex.lanes, 1);
    submit(5, "1 1");
    wait_answers(5);
    settle(4);
    settle(4);
    settle(2);
    submit(6, "1 1");
    wait_answers(6);
    close_bench();
}

static void lanes_that_sleep_end_and_the_last_one_polls(void **state)
{
    (void)state;
    open_bench(4, 0, false);
    for (uint64_t i = 0; i < 40; i++) {
        settle(1 + (unsigned)(i * 7 % 8));
        submit(i + 1, "3 20");
        wait_answers((unsigned)i + 1);
    }
    close_bench();
}

static void many_requests_by_many_threads(void **state)
{
    (void)state;
    open_bench(3, 2, false);
    char text[32];
    for (uint64_t i = 0; i < 60; i++) {
        snprintf(text, sizeof text, "%u %u", i % 7 == 0 ? 300u : (unsigned)(i % 3), (unsigned)(1 + i % 40));
        submit(i + 1, text);
    }
    wait_answers(60);
    assert_int_equal(look(&b.discarded), 0);
    close_bench();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_list_delays_nobody_by_more_than_one_batch),
        cmocka_unit_test(two_lists_progress_side_by_side),
        cmocka_unit_test(every_lane_computes_and_no_more),
        cmocka_unit_test(lanes_share_one_list),
        cmocka_unit_test(no_lane_takes_more_than_its_share_of_all_there_is),
        cmocka_unit_test(one_preparation_is_spread),
        cmocka_unit_test(long_preparation_delays_nobody),
        cmocka_unit_test(helpers_prepare_while_lanes_compute),
        cmocka_unit_test(request_without_items_is_answered),
        cmocka_unit_test(what_nobody_waits_for_is_discarded),
        cmocka_unit_test(many_requests_by_many_threads),
        cmocka_unit_test(lanes_come_and_go_while_others_compute),
        cmocka_unit_test(lanes_that_sleep_end_and_the_last_one_polls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
