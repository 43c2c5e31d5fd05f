/* A worker that breaks one rule at a time: the host names the rule, stays alive, and believes nothing more.
 */
#include "test.h"

#include <sys/socket.h>

#include "channel_pair.h"
#include "worker/channel_layout.h"
#include "worker/shm.h"

#define ARENA (4 * SC_ARENA_BLOCK_MAX)

struct hostile {
    struct pair pair;
    struct sc_chan_shared *rings;
    uint32_t tail;
    int sock;
};

static void hostile_make(struct hostile *h)
{
    *h = (struct hostile){0};
    pair_make_host(&h->pair, 1, 1, ARENA);
    int fds[SC_CHAN_FDS];
    sc_chan_fds(h->pair.chan[0], fds);
    h->rings = mmap(NULL, SC_CHAN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    assert_ptr_not_equal(h->rings, MAP_FAILED);
    h->sock = fds[4];
}

static void hostile_free(struct hostile *h)
{
    munmap(h->rings, SC_CHAN_BYTES);
    h->pair.port = NULL;
    sc_chan_del(h->pair.chan[0]);
    munmap(h->pair.request[0], h->pair.request_bytes);
    close(h->pair.request_fd[0]);
    sc_board_del(h->pair.board);
}

static void answer(struct hostile *h, struct sc_comp_desc d)
{
    sc_slot_write(&h->rings->comps[h->tail++ % SC_RING_ENTRIES], &d);
    atomic_store(&h->rings->comp.tail, h->tail);
}

static const struct sc_comp_desc good = {
    .id = 1, .epoch = PAIR_EPOCH, .off = 512, .body_len = 600, .status = 200};

static int poll_host(struct hostile *h, struct sc_completion *k, struct sc_msg *msg)
{
    return sc_chan_poll(h->pair.chan[0], k, msg);
}

/* Refused with a message that has `rule` in it, now and for ever. */
static void assert_broken(struct hostile *h, const char *rule)
{
    struct sc_completion k;
    struct sc_msg msg = {""};
    assert_int_equal(poll_host(h, &k, &msg), SC_EPEER);
    if (!strstr(msg.text, rule))
        fail_msg("'%s' is not in '%s'", rule, msg.text);
    struct sc_submission s = {.body_fd = -1};
    assert_int_equal(sc_chan_submit(h->pair.chan[0], &s), SC_EPEER);
    assert_false(sc_chan_sleep(h->pair.chan[0]));
    answer(h, good);
    assert_int_equal(poll_host(h, &k, &msg), SC_EPEER);
    hostile_free(h);
}

static void lies_in_a_descriptor(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        struct sc_comp_desc d;
    } cases[] = {
        {"epoch", {.epoch = PAIR_EPOCH - 1, .status = 200}},
        {"status", {.epoch = PAIR_EPOCH, .status = 1000}},
        {"metadata", {.epoch = PAIR_EPOCH, .meta_len = SC_ANSWER_META_BYTES + 1}},
        {"metadata", {.epoch = PAIR_EPOCH, .meta_len = UINT32_MAX}},
        {"max_response_size", {.epoch = PAIR_EPOCH, .body_len = PAIR_MAX_RESPONSE + 1}},
        {"max_response_size", {.epoch = PAIR_EPOCH, .body_len = UINT64_MAX, .meta_len = 2}},
        {"outside", {.epoch = PAIR_EPOCH, .body_len = SC_ARENA_BLOCK_MAX + 1}},
        {"outside", {.epoch = PAIR_EPOCH, .off = 1, .body_len = 1}},
        {"outside", {.epoch = PAIR_EPOCH, .off = ARENA, .body_len = 1}},
        {"outside", {.epoch = PAIR_EPOCH, .off = ARENA - 256, .body_len = 257}},
        {"outside", {.epoch = PAIR_EPOCH, .off = ARENA - 256, .body_len = 200, .meta_len = 57}},
        {"outside", {.epoch = PAIR_EPOCH, .off = UINT64_MAX - 255, .body_len = 256}},
        {"flag", {.epoch = PAIR_EPOCH, .flags = SC_COMPLETE_MORE << 1, .status = 200}},
        {"flag", {.epoch = PAIR_EPOCH, .flags = SC_DESC_LARGE | 1u << 30, .status = 200}},
        {"outside", {.epoch = PAIR_EPOCH, .flags = SC_COMPLETE_MORE, .off = 1, .body_len = 1}},
        {"max_response_size",
         {.epoch = PAIR_EPOCH, .flags = SC_COMPLETE_MORE, .body_len = PAIR_MAX_RESPONSE + 1}},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        struct hostile h;
        hostile_make(&h);
        answer(&h, cases[i].d);
        assert_broken(&h, cases[i].rule);
    }
}

static void the_same_memory_twice(void **state)
{
    (void)state;
    static const struct {
        uint64_t off, n;
        bool ok;
    } second[] = {{512, 600, false},
                  {1024, 1, false},
                  {0, 513, false},
                  {0, 512, true},
                  {1280, 9, true},
                  {1024, 0, true},
                  {256, SC_ARENA_BLOCK_MAX, false}};
    for (size_t i = 0; i < SC_COUNT(second); i++) {
        struct hostile h;
        hostile_make(&h);
        struct sc_completion first, k;
        answer(&h, good);
        assert_int_equal(poll_host(&h, &first, NULL), 1);
        struct sc_comp_desc d = good;
        d.off = second[i].off;
        d.body_len = second[i].n;
        answer(&h, d);
        if (!second[i].ok) {
            assert_broken(&h, "not given back");
            continue;
        }
        assert_int_equal(poll_host(&h, &k, NULL), 1);
        sc_chan_release(h.pair.chan[0], first.token);
        answer(&h, good);
        assert_int_equal(poll_host(&h, &k, NULL), 1);
        hostile_free(&h);
    }
}

static void impossible_indices(void **state)
{
    (void)state;
    static const uint32_t tails[] = {SC_RING_ENTRIES + 1, UINT32_MAX, 0x80000000u};
    for (size_t i = 0; i < SC_COUNT(tails); i++) {
        struct hostile h;
        hostile_make(&h);
        atomic_store(&h.rings->comp.tail, tails[i]);
        assert_broken(&h, "tail");
    }
    struct hostile h;
    hostile_make(&h);
    struct sc_submission s = {.body_fd = -1};
    for (int i = 0; i < SC_RING_ENTRIES; i++)
        assert_int_equal(sc_chan_submit(h.pair.chan[0], &s), 0);
    assert_int_equal(sc_chan_submit(h.pair.chan[0], &s), SC_AGAIN);
    atomic_store(&h.rings->sub.head, SC_RING_ENTRIES + 1);
    assert_int_equal(sc_chan_submit(h.pair.chan[0], &s), SC_EPEER);
    assert_broken(&h, "head");
}

static void releases_that_nobody_reads(void **state)
{
    (void)state;
    struct hostile h;
    hostile_make(&h);
    struct sc_completion k;
    for (int i = 0; i < SC_CHAN_HELD_MAX; i++) {
        answer(&h, good);
        assert_int_equal(poll_host(&h, &k, NULL), 1);
        sc_chan_release(h.pair.chan[0], k.token);
    }
    answer(&h, good);
    assert_int_equal(poll_host(&h, &k, NULL), 1);
    sc_chan_release(h.pair.chan[0], k.token);
    assert_broken(&h, "release ring");
}

/* Each way of passing a wrong descriptor with a large answer of 300,000 bytes. */
static void bad_large_bodies(void **state)
{
    (void)state;
    const size_t n = SC_ARENA_BLOCK_MAX + 40000;
    struct sc_comp_desc d = {
        .id = 9, .epoch = PAIR_EPOCH, .body_len = n, .status = 200, .flags = SC_DESC_LARGE};
    struct sc_large_tag tag = {9, PAIR_EPOCH}, other = {8, PAIR_EPOCH};
    struct sc_completion k;
    struct hostile h;

    hostile_make(&h); /* the good one first: the cases below differ from it in one thing */
    int fd = pair_large(n, 'x', PAIR_SEALS);
    assert_int_equal(sc_large_send(h.sock, tag, fd), 0);
    answer(&h, d);
    assert_int_equal(poll_host(&h, &k, NULL), 1);
    assert_int_equal(k.body.p[n - 1], 'x');
    hostile_free(&h);

    hostile_make(&h); /* the metadata reaches beyond the file */
    struct sc_comp_desc more = d;
    more.meta_len = 1;
    assert_int_equal(sc_large_send(h.sock, tag, fd), 0);
    answer(&h, more);
    assert_broken(&h, "another size");

    hostile_make(&h);
    assert_int_equal(sc_large_send(h.sock, other, fd), 0);
    answer(&h, d);
    assert_broken(&h, "another answer");
    close(fd);

    hostile_make(&h);
    answer(&h, d);
    assert_broken(&h, "missing");

    static const int seals[] = {0, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_WRITE,
                                F_SEAL_GROW | F_SEAL_WRITE,
                                F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE};
    for (size_t i = 0; i < SC_COUNT(seals); i++) {
        hostile_make(&h);
        fd = pair_large(n, 'x', seals[i]);
        assert_int_equal(sc_large_send(h.sock, tag, fd), 0);
        close(fd);
        answer(&h, d);
        assert_broken(&h, "without the seals");
    }
    static const size_t sizes[] = {1, n - 1, n + 1};
    for (size_t i = 0; i < SC_COUNT(sizes); i++) {
        hostile_make(&h);
        fd = pair_large(sizes[i], 'x', PAIR_SEALS);
        assert_int_equal(sc_large_send(h.sock, tag, fd), 0);
        close(fd);
        answer(&h, d);
        assert_broken(&h, "another size");
    }

    hostile_make(&h); /* not a memory file at all */
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(sc_large_send(h.sock, tag, pipes[0]), 0);
    close(pipes[0]);
    close(pipes[1]);
    answer(&h, d);
    assert_broken(&h, "without the seals");

    hostile_make(&h); /* a packet without a descriptor */
    assert_int_equal(send(h.sock, &tag, sizeof tag, 0), sizeof tag);
    answer(&h, d);
    assert_broken(&h, "missing");
}

/* Descriptors beyond the first never arrive in the host. */
static void many_descriptors_in_a_packet(void **state)
{
    (void)state;
    struct hostile h;
    hostile_make(&h);
    struct sc_large_tag tag = {9, PAIR_EPOCH};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int[40]))];
    } control = {0};
    struct iovec iov = {&tag, sizeof tag};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int[40]));
    int fds[40];
    int fd = pair_large(4096, 'x', PAIR_SEALS);
    for (int i = 0; i < 40; i++)
        fds[i] = fd;
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    assert_int_equal(sendmsg(h.sock, &msg, 0), sizeof tag);
    close(fd);

    int before = dup(0);
    close(before);
    answer(&h, (struct sc_comp_desc){.id = 9, .epoch = PAIR_EPOCH, .body_len = 4096, .flags = SC_DESC_LARGE});
    struct sc_completion k;
    assert_int_equal(poll_host(&h, &k, NULL), SC_EPEER);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
    assert_broken(&h, "malformed packet");
}

static void a_running_page_full_of_garbage(void **state)
{
    (void)state;
    struct hostile h;
    hostile_make(&h);
    int fds[SC_BOARD_FDS];
    sc_board_fds(h.pair.board, fds);
    size_t bytes = sc_board_bytes(1);
    void *board = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    memset(board, 0xff, bytes);
    struct sc_running r;
    sc_board_running(h.pair.board, 0, &r);
    assert_int_equal(r.n, SC_LANE_RUNNING_MAX);
    sc_board_running(h.pair.board, 1, &r);
    assert_int_equal(r.n, 0);
    assert_int_equal(sc_board_lanes(h.pair.board), 1);
    assert_int_equal(ftruncate(fds[0], 0), -1);
    munmap(board, bytes);
    hostile_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_in_a_descriptor),
        cmocka_unit_test(the_same_memory_twice),
        cmocka_unit_test(impossible_indices),
        cmocka_unit_test(releases_that_nobody_reads),
        cmocka_unit_test(bad_large_bodies),
        cmocka_unit_test(many_descriptors_in_a_packet),
        cmocka_unit_test(a_running_page_full_of_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
