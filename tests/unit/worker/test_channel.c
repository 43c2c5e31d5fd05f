#include "test.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "channel_pair.h"

#define ARENA (4 * SC_ARENA_BLOCK_MAX)

static int submit(struct pair *p, uint64_t id, uint64_t off, const char *meta, const char *body)
{
    size_t m = strlen(meta), b = strlen(body);
    memcpy(p->request[0] + off, meta, m);
    memcpy(p->request[0] + off + m, body, b);
    struct sc_submission s = {.id = id,
                              .off = off,
                              .meta_len = (uint32_t)m,
                              .body_len = b,
                              .body_fd = -1,
                              .flags = SC_SUBMIT_ALONE,
                              .arrival_ns = 123,
                              .cost = 45};
    return sc_chan_submit(p->chan[0], &s);
}

static bool readable(int fd)
{
    struct pollfd f = {.fd = fd, .events = POLLIN};
    return poll(&f, 1, 0) == 1;
}

static void a_request_goes_there_and_back(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    assert_int_equal(submit(&p, 99, 512, "meta", "body of the request"), 0);

    struct sc_work w;
    assert_int_equal(sc_port_next(p.port, &w), 1);
    assert_int_equal(w.id, 99);
    assert_int_equal(w.flags, SC_SUBMIT_ALONE);
    assert_int_equal(w.arrival_ns, 123);
    assert_int_equal(w.cost, 45);
    assert_true(sc_span_eq(w.meta, SC_SPAN("meta")));
    assert_true(sc_span_eq(w.body, SC_SPAN("body of the request")));
    assert_int_equal(sc_port_next(p.port, &w), 0);
    sc_port_done(p.port, &w);
    assert_int_equal(sc_port_send(p.port, &w, 201, SC_SPAN("head"), NULL, SC_SPAN("answer")), 0);

    struct sc_completion k;
    struct sc_msg msg;
    assert_int_equal(sc_chan_poll(p.chan[0], &k, &msg), 1);
    assert_int_equal(k.id, 99);
    assert_int_equal(k.status, 201);
    assert_true(sc_span_eq(k.meta, SC_SPAN("head")));
    assert_true(sc_span_eq(k.body, SC_SPAN("answer")));
    sc_chan_release(p.chan[0], k.token);
    sc_chan_release(p.chan[0], k.token); /* twice, and what was never held, is nothing */
    sc_chan_release(p.chan[0], 0);
    sc_chan_release(p.chan[0], UINT64_MAX);
    assert_int_equal(sc_chan_poll(p.chan[0], &k, &msg), 0);
    pair_free(&p);
}

static void an_answer_may_come_in_parts(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    assert_int_equal(submit(&p, 5, 0, "", "x"), 0);
    struct sc_work w;
    assert_int_equal(sc_port_next(p.port, &w), 1);
    sc_port_done(p.port, &w);
    static char large[3 << 20];
    memset(large, 'L', sizeof large);
    assert_int_equal(sc_port_part(p.port, &w, 200, SC_SPAN("head"), NULL, SC_SPAN("one")), 0);
    assert_int_equal(sc_port_part(p.port, &w, 200, SC_SPAN(""), NULL, sc_span(large, sizeof large)), 0);
    assert_int_equal(sc_port_part(p.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("")), 0);
    assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("end")), 0);
    static const struct {
        size_t n;
        uint32_t flags;
    } want[] = {{3, SC_COMPLETE_MORE}, {3 << 20, SC_COMPLETE_MORE}, {0, SC_COMPLETE_MORE}, {3, 0}};
    for (size_t i = 0; i < SC_COUNT(want); i++) {
        struct sc_completion k;
        assert_int_equal(sc_chan_poll(p.chan[0], &k, NULL), 1);
        assert_int_equal(k.id, 5);
        assert_int_equal(k.flags, want[i].flags);
        assert_int_equal(k.body.n, want[i].n);
        assert_int_equal(k.meta.n, i == 0 ? 4 : 0);
        sc_chan_release(p.chan[0], k.token);
    }
    pair_free(&p);
}

static void a_cancellation_carries_an_id_alone(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    struct sc_work w;
    assert_int_equal(sc_chan_cancel(p.chan[0], 77), 0);
    assert_int_equal(submit(&p, 6, 0, "m", "x"), 0);
    assert_int_equal(sc_port_next(p.port, &w), 1);
    assert_int_equal(w.id, 77);
    assert_int_equal(w.flags, SC_SUBMIT_CANCEL);
    assert_int_equal(w.meta.n + w.body.n, 0);
    assert_null(w.body_map);
    assert_int_equal(sc_port_next(p.port, &w), 1);
    assert_int_equal(w.flags, SC_SUBMIT_ALONE);
    /* It takes a place in the ring like any other, and no flag of a submission turns into one. */
    struct sc_submission s = {.id = 1, .flags = SC_SUBMIT_CANCEL, .body_fd = -1};
    assert_int_equal(sc_chan_submit(p.chan[0], &s), 0);
    assert_int_equal(sc_port_next(p.port, &w), 1);
    assert_int_equal(w.flags, 0);
    for (int i = 0; i < SC_RING_ENTRIES; i++)
        assert_int_equal(sc_chan_cancel(p.chan[0], 1), 0);
    assert_int_equal(sc_chan_cancel(p.chan[0], 1), SC_AGAIN);
    assert_true(sc_port_sleep(p.port) == false);
    pair_free(&p);
}

static void a_page_follows_what_is_open(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    static struct sc_running r;
    uint64_t ids[SC_LANE_RUNNING_MAX + 1];
    for (uint64_t i = 0; i < SC_COUNT(ids); i++)
        ids[i] = i + 10;
    sc_port_touch(p.port, 0); /* nothing is open: nothing to keep young */
    sc_board_running(p.board, 0, &r);
    assert_int_equal(r.since_ns, 0);
    sc_port_list(p.port, 0, ids, 2, 2);
    sc_board_running(p.board, 0, &r);
    assert_int_equal(r.n, 2);
    int64_t since = r.since_ns;
    sc_port_list(p.port, 0, ids, 3, 1);
    sc_port_list(p.port, 0, ids + 1, 2, 0);
    sc_port_touch(p.port, 0);
    sc_board_running(p.board, 0, &r);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.ids[0], 11);
    assert_true(r.since_ns > since);
    sc_port_cost(p.port, 0, 700);
    struct sc_board_work work;
    sc_board_work(p.board, &work);
    assert_int_equal(work.batches, 2);
    assert_int_equal(work.requests, 3);
    assert_int_equal(work.sizes[0], 1);
    assert_int_equal(work.sizes[1], 1);
    assert_int_equal(work.cost, 700);
    assert_int_equal(work.costs[10], 1);
    sc_port_list(p.port, 0, ids, SC_COUNT(ids), 0);
    sc_board_running(p.board, 0, &r);
    assert_int_equal(r.n, SC_LANE_RUNNING_MAX);
    sc_port_list(p.port, 0, NULL, 0, 0);
    sc_board_running(p.board, 0, &r);
    assert_int_equal(r.n, 0);
    sc_port_list(p.port, 99, ids, 1, 1); /* no such lane */
    sc_port_touch(p.port, 99);
    pair_free(&p);
}

static void rings_wrap_and_say_when_they_are_full(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    uint64_t sent = 0, answered = 0;
    for (int round = 0; round < 5; round++) {
        while (submit(&p, sent, 0, "", "") == 0)
            sent++;
        assert_int_equal(sent - answered, SC_RING_ENTRIES);
        struct sc_work w;
        while (sc_port_next(p.port, &w) == 1)
            assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("x")), 0);
        struct sc_completion k;
        while (sc_chan_poll(p.chan[0], &k, NULL) == 1) {
            assert_int_equal(k.id, answered++);
            sc_chan_release(p.chan[0], k.token);
        }
        assert_int_equal(answered, sent);
        /* An odd number, so that the next round starts elsewhere. */
        assert_int_equal(submit(&p, sent++, 0, "", ""), 0);
        assert_int_equal(sc_port_next(p.port, &w), 1);
        assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("")), 0);
        assert_int_equal(sc_chan_poll(p.chan[0], &k, NULL), 1);
        answered++;
    }
    pair_free(&p);
}

static void of_several_rings_the_one_whose_turn_is_first_comes_first(void **state)
{
    (void)state;
    static const struct {
        unsigned channel;
        int64_t arrival_ns;
        uint32_t flags;
    } sent[] = {{0, 30, 0},
                {0, 40, 0},
                {1, 10, 0},
                {1, 60, 0},
                {2, 20, SC_SUBMIT_LOW},
                {2, 70, 0},
                {3, SC_PRIORITY_NS + 35, SC_SUBMIT_HIGH},
                {3, 50, 0}};
    /* A ring is in order, whatever its first waits for. */
    static const uint64_t want[] = {2, 0, 6, 1, 7, 3, 4, 5};
    struct pair p;
    pair_make(&p, 4, ARENA);
    for (size_t i = 0; i < SC_COUNT(sent); i++) {
        struct sc_submission s = {
            .id = i, .body_fd = -1, .arrival_ns = sent[i].arrival_ns, .flags = sent[i].flags};
        assert_int_equal(sc_chan_submit(p.chan[sent[i].channel], &s), 0);
    }
    struct sc_work w;
    for (size_t i = 0; i < SC_COUNT(want); i++) {
        assert_int_equal(sc_port_next(p.port, &w), 1);
        assert_int_equal(w.id, want[i]);
        assert_int_equal(w.channel, sent[want[i]].channel);
    }
    assert_int_equal(sc_port_next(p.port, &w), 0);
    /* Those of one moment: each ring has its turn. */
    for (uint64_t i = 0; i < 8; i++) {
        struct sc_submission s = {.id = i, .body_fd = -1, .arrival_ns = 5};
        assert_int_equal(sc_chan_submit(p.chan[i / 2], &s), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(sc_port_next(p.port, &w), 1);
        assert_int_equal(w.channel, (2 + 1 + i) % 4);
        if (i == 2) /* what was looked at is still there */
            assert_false(sc_port_sleep(p.port));
    }
    assert_true(sc_port_sleep(p.port));
    pair_free(&p);
}

static void blocks_outside_the_arena_are_not_submitted(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    struct sc_submission s = {.off = p.request_bytes - 10, .meta_len = 4, .body_len = 7, .body_fd = -1};
    assert_int_equal(sc_chan_submit(p.chan[0], &s), SC_EINVAL);
    s.body_len = UINT64_MAX - 2;
    assert_int_equal(sc_chan_submit(p.chan[0], &s), SC_EINVAL);
    s.off = UINT64_MAX;
    s.body_len = 0;
    assert_int_equal(sc_chan_submit(p.chan[0], &s), SC_EINVAL);
    pair_free(&p);
}

static void answers_of_every_size_arrive_whole(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    static const size_t sizes[] = {0,
                                   1,
                                   255,
                                   256,
                                   4096,
                                   100000,
                                   SC_ARENA_BLOCK_MAX - 1,
                                   SC_ARENA_BLOCK_MAX,
                                   SC_ARENA_BLOCK_MAX + 1,
                                   1000000,
                                   4194304,
                                   5};
    static char body[PAIR_MAX_RESPONSE + 1], meta[SC_ANSWER_META_BYTES + 1];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)(i * 7 + i / 4096);
    memset(meta, 'm', sizeof meta);
    for (unsigned i = 0; i < SC_COUNT(sizes) * 8; i++) {
        struct sc_work w;
        size_t n = sizes[i / 8], m = i % 2 ? 10 : i % 4 ? 0 : SC_ANSWER_META_BYTES;
        bool reserved = i & 4;
        assert_int_equal(submit(&p, i, 0, "", ""), 0);
        assert_int_equal(sc_port_next(p.port, &w), 1);
        struct sc_answer a;
        if (reserved) {
            char *at = sc_port_reserve(p.port, &w, n, &a);
            assert_non_null(at);
            memcpy(at, body, n);
        }
        assert_int_equal(
            sc_port_send(p.port, &w, 200, sc_span(meta, m), reserved ? &a : NULL, sc_span(body, n)), 0);
        struct sc_completion k;
        struct sc_msg msg = {"none"};
        int rc = sc_chan_poll(p.chan[0], &k, &msg);
        assert_string_equal(msg.text, "none");
        assert_int_equal(rc, 1);
        assert_int_equal(k.id, i);
        assert_true(sc_span_eq(k.body, sc_span(body, n)));
        assert_true(sc_span_eq(k.meta, sc_span(meta, m)));
        sc_chan_release(p.chan[0], k.token);
    }
    /* Over the limits: refused on this side already. */
    struct sc_work w = {0};
    struct sc_answer a;
    assert_null(sc_port_reserve(p.port, &w, PAIR_MAX_RESPONSE + 1, &a));
    assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN(""), NULL, sc_span(body, sizeof body)), SC_ELIMIT);
    assert_int_equal(sc_port_send(p.port, &w, 200, sc_span(meta, sizeof meta), NULL, SC_SPAN("")), SC_ELIMIT);
    pair_free(&p);
}

static void a_full_arena_overflows_into_memory_files_and_recovers(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    static char body[200000];
    struct sc_work w = {.id = 5};
    uint64_t tokens[9];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 9; i++) { /* four fit */
            assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN("m"), NULL, sc_span(body, sizeof body)),
                             0);
            struct sc_completion k;
            assert_int_equal(sc_chan_poll(p.chan[0], &k, NULL), 1);
            assert_true(sc_span_eq(k.body, sc_span(body, sizeof body)));
            tokens[i] = k.token;
        }
        for (int i = 0; i < 9; i++)
            sc_chan_release(p.chan[0], tokens[i]);
    }
    pair_free(&p);
}

static void a_large_request_is_read_from_its_own_file(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    memcpy(p.request[0], "meta", 4);
    int fd = pair_large(1000000, 'q', PAIR_SEALS);
    struct sc_submission s = {.id = 3, .meta_len = 4, .body_len = 1000000, .body_fd = fd};
    assert_int_equal(sc_chan_submit(p.chan[0], &s), 0);
    struct sc_work w;
    assert_int_equal(sc_port_next(p.port, &w), 1);
    assert_int_equal(w.body.n, 1000000);
    assert_int_equal(w.body.p[999999], 'q');
    assert_true(sc_span_eq(w.meta, SC_SPAN("meta")));
    sc_port_done(p.port, &w);
    assert_null(w.body_map);

    /* The socket takes a few; then the caller keeps the rest. */
    int n = 0, rc;
    while ((rc = sc_chan_submit(p.chan[0], &s)) == 0)
        n++;
    assert_int_equal(rc, SC_AGAIN);
    assert_true(n > 0 && n < SC_RING_ENTRIES);
    for (; n; n--) {
        assert_int_equal(sc_port_next(p.port, &w), 1);
        sc_port_done(p.port, &w);
    }
    assert_int_equal(sc_port_next(p.port, &w), 0);
    close(fd);

    /* A worker refuses an unsealed one, too. */
    s.body_fd = pair_large(1000000, 'q', 0);
    assert_int_equal(sc_chan_submit(p.chan[0], &s), 0);
    assert_int_equal(sc_port_next(p.port, &w), SC_EPROTO);
    close(s.body_fd);
    pair_free(&p);
}

static void one_wake_for_one_sleep(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 2, ARENA);
    struct sc_work w;
    int fd = sc_port_wake_fd(p.port);

    assert_int_equal(submit(&p, 1, 0, "", ""), 0);
    sc_chan_flush(p.chan[0]);
    assert_false(readable(fd));          /* awake */
    assert_false(sc_port_sleep(p.port)); /* there is work */
    assert_int_equal(sc_port_next(p.port, &w), 1);
    assert_true(sc_port_sleep(p.port));
    assert_int_equal(submit(&p, 2, 0, "", ""), 0);
    assert_false(readable(fd)); /* not before the flush */
    sc_chan_flush(p.chan[0]);
    assert_true(readable(fd));
    char bytes[8];
    assert_int_equal(submit(&p, 3, 0, "", ""), 0);
    sc_chan_flush(p.chan[0]);
    assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT), 1);
    sc_port_awake(p.port);
    assert_false(readable(fd));

    int host = sc_chan_wake_fd(p.chan[0]);
    struct sc_completion k;
    assert_true(sc_chan_sleep(p.chan[0]));
    assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("")), 0);
    assert_false(readable(host));
    sc_port_flush(p.port);
    sc_port_flush(p.port);
    assert_true(readable(host));
    assert_false(readable(sc_chan_wake_fd(p.chan[1])));
    assert_false(sc_chan_sleep(p.chan[0]));
    sc_chan_awake(p.chan[0]);
    assert_false(readable(host));
    assert_int_equal(sc_chan_poll(p.chan[0], &k, NULL), 1);
    pair_free(&p);
}

/* A worker shares the open files of its descriptors: it can make them blocking. */
static void a_worker_cannot_make_the_host_block(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    int fds[SC_CHAN_FDS], board[SC_BOARD_FDS];
    sc_chan_fds(p.chan[0], fds);
    sc_board_fds(p.board, board);
    for (int i = 3; i < SC_CHAN_FDS; i++)
        assert_int_equal(fcntl(fds[i], F_SETFL, 0), 0);
    assert_int_equal(fcntl(board[1], F_SETFL, 0), 0);
    alarm(5);
    for (int i = 0; i < 40; i++) { /* awake reads the empty eventfd now and then */
        assert_true(sc_chan_sleep(p.chan[0]));
        sc_chan_awake(p.chan[0]);
    }
    /* Nobody reads the wake-ups. */
    for (int i = 0; i < 2000; i++) {
        assert_true(sc_port_sleep(p.port));
        struct sc_work w;
        assert_int_equal(submit(&p, 1, 0, "", ""), 0);
        sc_chan_flush(p.chan[0]);
        assert_int_equal(sc_port_next(p.port, &w), 1);
    }
    alarm(0);
    pair_free(&p);
}

static void a_dead_frontend_closes_the_port(void **state)
{
    (void)state;
    struct pair p;
    pair_make(&p, 1, ARENA);
    assert_false(sc_port_closed(p.port));
    sc_chan_del(p.chan[0]);
    p.chan[0] = NULL;
    struct sc_work w = {0};
    alarm(10);
    for (int i = 0; i < 2 * SC_RING_ENTRIES; i++) /* more than the ring takes: swallowed */
        assert_int_equal(sc_port_send(p.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("x")), 0);
    alarm(0);
    assert_true(sc_port_closed(p.port));
    pair_free(&p);
}

static void attachments_of_another_epoch_are_refused(void **state)
{
    (void)state;
    struct pair p;
    pair_make_host(&p, 1, 2, ARENA);
    int fds[SC_BOARD_FDS + SC_CHAN_FDS];
    struct sc_msg msg;
    pair_fds(&p, fds);
    assert_int_equal(sc_port_new(&p.port, fds, 1, PAIR_EPOCH + 1, &msg), SC_EPROTO);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* closed in spite of the failure */
    pair_fds(&p, fds);
    int swap = fds[0];
    fds[0] = fds[2];
    fds[2] = swap;
    assert_int_equal(sc_port_new(&p.port, fds, 1, PAIR_EPOCH, &msg), SC_EVERSION);
    pair_make_port(&p);
    pair_free(&p);
}

/* ---- death ------------------------------------------------------------------------------- */

/* Numbers that belong together: lane and turn decide how many and which ids are on the page. */
static uint32_t page_of(uint32_t lane, uint64_t turn, uint64_t *ids)
{
    uint32_t n = (uint32_t)(turn * 7 % 40) + 1;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = turn << 16 | lane << 12 | i;
    return n;
}

static void die_some_time(struct pair *p)
{
    pair_make_port(p);
    uint64_t ids[64];
    static char body[SC_ARENA_BLOCK_MAX + 40000];
    for (uint64_t turn = 1;; turn++) {
        struct sc_work w = {.id = turn};
        uint32_t lane = (uint32_t)(turn % 2), n = page_of(lane, turn, ids);
        sc_port_begin(p->port, lane, ids, n);
        size_t bytes = turn % 50 == 0 ? sizeof body : turn % 700;
        memset(body, (int)turn, bytes);
        (void)!sc_port_send(p->port, &w, 200, sc_span(&turn, sizeof turn), NULL, sc_span(body, bytes));
        sc_port_flush(p->port);
        if (turn % 3)
            sc_port_end(p->port, lane);
    }
}

static void a_kill_at_any_moment_leaves_what_was_said(void **state)
{
    (void)state;
    uint64_t rng = 42, busy = 0;
    for (int round = 0; round < 60; round++) {
        struct pair p;
        pair_make_host(&p, 1, 2, ARENA);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            die_some_time(&p);
        uint64_t last = 0;
        struct sc_completion k;
        struct sc_msg msg;
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        int64_t until = sc_clock_ns() + 1000000 + (int64_t)(rng >> 43);
        bool killed = false;
        for (;;) {
            int rc = sc_chan_poll(p.chan[0], &k, &msg);
            assert_true(rc >= 0);
            if (rc == 1) {
                assert_int_equal(k.id, ++last);
                assert_int_equal(k.body.n, last % 50 == 0 ? SC_ARENA_BLOCK_MAX + 40000 : last % 700);
                for (size_t i = 0; i < k.body.n; i += 97)
                    assert_int_equal(k.body.p[i], (char)last);
                assert_memory_equal(k.meta.p, &last, sizeof last);
                sc_chan_release(p.chan[0], k.token);
            } else if (killed) {
                break;
            }
            if (!killed && sc_clock_ns() > until) {
                kill(child, SIGKILL);
                assert_int_equal(waitpid(child, NULL, 0), child);
                killed = true;
            }
        }
        for (uint32_t lane = 0; lane < 2; lane++) {
            struct sc_running r;
            sc_board_running(p.board, lane, &r);
            if (r.since_ns == 0)
                continue;
            busy++;
            uint64_t turn = r.ids[0] >> 16, ids[64];
            /* The batch of this page is the last that was begun, or one before it that was not ended. */
            assert_true(turn + 6 > last && turn <= last + 1);
            assert_int_equal(r.n, page_of(lane, turn, ids));
            assert_memory_equal(r.ids, ids, r.n * sizeof *ids);
            assert_true(r.since_ns <= sc_clock_ns());
        }
        pair_free(&p);
    }
    assert_true(busy > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_there_and_back),
        cmocka_unit_test(an_answer_may_come_in_parts),
        cmocka_unit_test(a_cancellation_carries_an_id_alone),
        cmocka_unit_test(a_page_follows_what_is_open),
        cmocka_unit_test(rings_wrap_and_say_when_they_are_full),
        cmocka_unit_test(of_several_rings_the_one_whose_turn_is_first_comes_first),
        cmocka_unit_test(blocks_outside_the_arena_are_not_submitted),
        cmocka_unit_test(answers_of_every_size_arrive_whole),
        cmocka_unit_test(a_full_arena_overflows_into_memory_files_and_recovers),
        cmocka_unit_test(a_large_request_is_read_from_its_own_file),
        cmocka_unit_test(one_wake_for_one_sleep),
        cmocka_unit_test(a_worker_cannot_make_the_host_block),
        cmocka_unit_test(a_dead_frontend_closes_the_port),
        cmocka_unit_test(attachments_of_another_epoch_are_refused),
        cmocka_unit_test(a_kill_at_any_moment_leaves_what_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
