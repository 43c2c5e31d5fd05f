#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/control.h"

static int pair[2];
static struct sc_ctl_message m;

static int set_up(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int tear_down(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int send_plain(uint16_t type, struct sc_span a, struct sc_span b)
{
    return sc_ctl_send(pair[0], type, a, b, NULL, 0);
}

static void a_message_arrives_whole(void **state)
{
    (void)state;
    assert_int_equal(send_plain(SC_CTL_STATUS, SC_SPAN("ab"), SC_SPAN("cde")), 0);
    assert_int_equal(send_plain(SC_CTL_READY, sc_span(NULL, 0), sc_span(NULL, 0)), 0);
    assert_int_equal(sc_ctl_receive(pair[1], &m), 1);
    assert_int_equal(m.type, SC_CTL_STATUS);
    assert_true(sc_span_eq(m.payload, SC_SPAN("abcde")));
    assert_int_equal(sc_ctl_receive(pair[1], &m), 1);
    assert_int_equal(m.type, SC_CTL_READY);
    assert_int_equal(m.payload.n, 0);
    assert_int_equal(sc_ctl_receive(pair[1], &m), 0);
}

static void descriptors_arrive_close_on_exec_and_are_the_receivers(void **state)
{
    (void)state;
    unsigned before = open_fds();
    int fds[SC_CTL_FDS];
    for (unsigned i = 0; i < SC_CTL_FDS; i++)
        fds[i] = pair[1];
    assert_int_equal(sc_ctl_send(pair[0], SC_CTL_ATTACH, sc_span(NULL, 0), SC_SPAN("x"), fds, SC_CTL_FDS), 0);
    assert_int_equal(sc_ctl_receive(pair[1], &m), 1);
    assert_int_equal(m.nfds, SC_CTL_FDS);
    assert_true(fcntl(m.fds[SC_CTL_FDS - 1], F_GETFD) & FD_CLOEXEC);
    int taken = m.fds[3];
    m.fds[3] = -1;
    sc_ctl_close_fds(&m);
    assert_int_equal(open_fds(), before + 1);
    close(taken);
    assert_int_equal(open_fds(), before);
}

static void a_message_beyond_the_limits_is_not_sent(void **state)
{
    (void)state;
    static char big[SC_CTL_BYTES];
    int fds[SC_CTL_FDS + 1] = {0};
    assert_int_equal(send_plain(1, sc_span(big, sizeof big), SC_SPAN("x")), SC_ELIMIT);
    assert_int_equal(send_plain(1, sc_span(big, SIZE_MAX), sc_span(big, SIZE_MAX)), SC_ELIMIT);
    assert_int_equal(sc_ctl_send(pair[0], 1, SC_SPAN("x"), SC_SPAN("y"), fds, SC_CTL_FDS + 1), SC_ELIMIT);
    assert_int_equal(send_plain(1, sc_span(big, sizeof big), sc_span(NULL, 0)), 0);
    assert_int_equal(sc_ctl_receive(pair[1], &m), 1);
    assert_int_equal(m.payload.n, sizeof big);
}

static void a_peer_that_does_not_read_blocks_nobody(void **state)
{
    (void)state;
    static char big[SC_CTL_BYTES];
    int rc = 0, sent = 0;
    while ((rc = send_plain(1, sc_span(big, sizeof big), sc_span(NULL, 0))) == 0 && sent < 10000)
        sent++;
    assert_int_equal(rc, SC_AGAIN);
    assert_true(sent > 0);
}

/* A raw packet, with its header as given, and one descriptor. */
static void send_raw(uint16_t version, uint32_t length, size_t bytes)
{
    static char packet[2 * SC_CTL_BYTES];
    struct sc_ctl_header head = {.version = version, .type = SC_CTL_HELLO, .length = length};
    memcpy(packet, &head, sizeof head);
    struct iovec part = {packet, bytes};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } space;
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof space.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pair[0], sizeof(int));
    assert_int_equal(sendmsg(pair[0], &msg, MSG_NOSIGNAL), bytes);
}

static void malformed_packets_are_refused_with_their_descriptors_closed(void **state)
{
    (void)state;
    static const struct {
        uint16_t version;
        uint32_t length;
        size_t bytes;
        int want;
    } cases[] = {
        {SC_CTL_VERSION, 0, 1, SC_EPROTO},
        {SC_CTL_VERSION, 0, sizeof(struct sc_ctl_header) - 1, SC_EPROTO},
        {SC_CTL_VERSION, 1, sizeof(struct sc_ctl_header), SC_EPROTO},
        {SC_CTL_VERSION, UINT32_MAX, 100, SC_EPROTO},
        {SC_CTL_VERSION, 3, sizeof(struct sc_ctl_header) + 4, SC_EPROTO},
        {SC_CTL_VERSION + 1, 4, sizeof(struct sc_ctl_header) + 4, SC_EVERSION},
        {SC_CTL_VERSION, SC_CTL_BYTES + 1, sizeof(struct sc_ctl_header) + SC_CTL_BYTES + 1, SC_EPROTO},
    };
    unsigned before = open_fds();
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        send_raw(cases[i].version, cases[i].length, cases[i].bytes);
        assert_int_equal(sc_ctl_receive(pair[1], &m), cases[i].want);
        assert_int_equal(m.nfds, 0);
        assert_int_equal(open_fds(), before);
    }
}

static void too_many_descriptors_are_refused_and_closed(void **state)
{
    (void)state;
    enum { N = SC_CTL_FDS + 20 };
    struct {
        struct sc_ctl_header head;
    } packet = {{SC_CTL_VERSION, SC_CTL_ATTACH, 0}};
    struct iovec part = {&packet, sizeof packet};
    union {
        char bytes[CMSG_SPACE(N * sizeof(int))];
        struct cmsghdr align;
    } space;
    struct msghdr msg = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof space.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(N * sizeof(int));
    for (size_t i = 0; i < N; i++)
        memcpy(CMSG_DATA(c) + i * sizeof(int), &pair[0], sizeof(int));

    unsigned before = open_fds();
    assert_true(sendmsg(pair[0], &msg, 0) > 0);
    assert_int_equal(sc_ctl_receive(pair[1], &m), SC_EPROTO);
    assert_int_equal(open_fds(), before);
}

static void the_end_is_told_after_what_was_sent_before_it(void **state)
{
    (void)state;
    /* An unread message on the dying side turns its end into a reset. */
    assert_int_equal(sc_ctl_send(pair[1], 9, SC_SPAN("unread"), sc_span(NULL, 0), NULL, 0), 0);
    assert_int_equal(send_plain(SC_CTL_STATUS, SC_SPAN("last words"), sc_span(NULL, 0)), 0);
    close(pair[0]);
    assert_int_equal(sc_ctl_receive(pair[1], &m), 1);
    assert_true(sc_span_eq(m.payload, SC_SPAN("last words")));
    assert_int_equal(sc_ctl_receive(pair[1], &m), SC_ECLOSED);
    assert_int_equal(sc_ctl_send(pair[1], 9, SC_SPAN("x"), sc_span(NULL, 0), NULL, 0), SC_ECLOSED);
    pair[0] = dup(pair[1]);
}

/* ---- payloads -------------------------------------------------------------------------- */

static void start_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    const char *argv[] = {"/bin/x", "sconce: worker echo", "", "--lanes=2", NULL};
    const char *env[] = {"A=1", "B=", "C", NULL};
    sc_ctl_write_start(&b, (struct sc_ctl_start){.slot = 7, .flags = SC_START_ONCE, .retry_window_ms = -1},
                       SC_SPAN("echo/1.0#0"), argv, env, "/tmp");
    assert_int_equal(b.failed, 0);

    struct sc_ctl_start start;
    struct sc_span tag, args, vars;
    const char *dir;
    assert_int_equal(sc_ctl_read_start(sc_buf_view(&b), &start, &tag, &args, &vars, &dir), 0);
    assert_int_equal(start.slot, 7);
    assert_int_equal(start.flags, SC_START_ONCE | SC_START_DIR);
    assert_string_equal(dir, "/tmp");
    assert_int_equal(start.retry_window_ms, -1);
    assert_true(sc_span_eq(tag, SC_SPAN("echo/1.0#0")));
    for (int i = 0; argv[i]; i++)
        assert_string_equal(sc_ctl_next_string(&args), argv[i]);
    assert_null(sc_ctl_next_string(&args));
    for (int i = 0; env[i]; i++)
        assert_string_equal(sc_ctl_next_string(&vars), env[i]);
    assert_null(sc_ctl_next_string(&vars));

    /* Not a byte less, not a byte more. */
    for (size_t n = 0; n < b.n; n++) {
        char *cut = malloc(n + 1); /* its own block, so that a read past the end is seen */
        memcpy(cut, b.p, n);
        assert_int_equal(sc_ctl_read_start(sc_span(cut, n), &start, &tag, &args, &vars, &dir), SC_EPROTO);
        free(cut);
    }
    sc_buf_char(&b, 'x');
    assert_int_equal(sc_ctl_read_start(sc_buf_view(&b), &start, &tag, &args, &vars, &dir), SC_EPROTO);
    sc_buf_free(&b);
}

static int read_hostile(struct sc_ctl_start head, struct sc_span rest)
{
    char *p = malloc(sizeof head + rest.n);
    memcpy(p, &head, sizeof head);
    if (rest.n)
        memcpy(p + sizeof head, rest.p, rest.n);
    struct sc_ctl_start start;
    struct sc_span tag, argv, env;
    const char *dir;
    int rc = sc_ctl_read_start(sc_span(p, sizeof head + rest.n), &start, &tag, &argv, &env, &dir);
    free(p);
    return rc;
}

static void a_lying_start_is_refused(void **state)
{
    (void)state;
    struct sc_span ab = SC_SPAN("a\0b\0");
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2}, ab), 0);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 3}, ab), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 1}, SC_SPAN("a\0")), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = UINT32_MAX}, ab), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .envc = UINT32_MAX}, ab), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .tag_len = UINT32_MAX}, ab), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .slot = SC_SLOTS_MAX}, ab), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .flags = SC_START_FLAGS + 1}, ab),
                     SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .ranks = SC_RANKS_MAX + 1}, ab),
                     SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .flags = SC_START_DIR}, ab), SC_EPROTO);
    assert_int_equal(
        read_hostile((struct sc_ctl_start){.argc = 2, .flags = SC_START_DIR}, SC_SPAN("a\0b\0c\0")),
        SC_EPROTO);
    assert_int_equal(
        read_hostile((struct sc_ctl_start){.argc = 2, .flags = SC_START_DIR}, SC_SPAN("a\0b\0/\0")), 0);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2}, SC_SPAN("\0b\0")), SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .envc = 1}, SC_SPAN("a\0b\0K=v\0")), 0);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .envc = 1}, SC_SPAN("a\0b\0=v\0")),
                     SC_EPROTO);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .envc = 1}, SC_SPAN("a\0b\0Kv\0")), 0);
    assert_int_equal(read_hostile((struct sc_ctl_start){.argc = 2, .envc = 1}, SC_SPAN("a\0b\0\0")),
                     SC_EPROTO);
}

static void a_status_says_its_length_truly(void **state)
{
    (void)state;
    struct {
        struct sc_ctl_status s;
        char text[SC_STATUS_TEXT + 1];
    } p = {{SC_SLOT_LOADED, 3}, "abc"};
    struct sc_ctl_status out;
    struct sc_span text;
    assert_int_equal(sc_ctl_read_status(sc_span(&p, sizeof p.s + 3), &out, &text), 0);
    assert_true(sc_span_eq(text, SC_SPAN("abc")));
    assert_int_equal(sc_ctl_read_status(sc_span(&p, sizeof p.s + 2), &out, &text), SC_EPROTO);
    assert_int_equal(sc_ctl_read_status(sc_span(&p, 3), &out, &text), SC_EPROTO);
    p.s.state = SC_SLOT_GONE;
    assert_int_equal(sc_ctl_read_status(sc_span(&p, sizeof p.s + 3), &out, &text), SC_EPROTO);
    p.s = (struct sc_ctl_status){SC_SLOT_FAILED, SC_STATUS_TEXT + 1};
    assert_int_equal(sc_ctl_read_status(sc_span(&p, sizeof p), &out, &text), SC_EPROTO);
}

static void a_slot_has_its_tag_before_its_text(void **state)
{
    (void)state;
    struct {
        struct sc_ctl_slot s;
        char rest[5];
    } p = {{.slot = 1, .tag_len = 2}, {'t', 'g', 'a', 'b', 'c'}};
    struct sc_ctl_slot out;
    struct sc_span tag, text;
    assert_int_equal(sc_ctl_read_slot(sc_span(&p, sizeof p.s + 5), &out, &tag, &text), 0);
    assert_true(sc_span_eq(tag, SC_SPAN("tg")) && sc_span_eq(text, SC_SPAN("abc")));
    p.s.tag_len = 6;
    assert_int_equal(sc_ctl_read_slot(sc_span(&p, sizeof p.s + 5), &out, &tag, &text), SC_EPROTO);
}

/* ---- connecting back ------------------------------------------------------------------- */

static int listen_at(const char *name, size_t n)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path, name, n);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
                     0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void says_hello(int listener)
{
    struct sc_msg msg = {""};
    int sock = sc_ctl_connect_back(&msg);
    assert_true(sock >= 0);
    assert_true(fcntl(sock, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(sock, F_GETFD) & FD_CLOEXEC);
    int fd = accept(listener, NULL, NULL);
    assert_int_equal(sc_ctl_receive(fd, &m), 1);
    assert_int_equal(m.type, SC_CTL_HELLO);
    struct sc_ctl_hello hello;
    assert_int_equal(sc_ctl_read_fixed(m.payload, &hello, sizeof hello), 0);
    assert_int_equal(hello.rank, 3);
    assert_int_equal(hello.pid, getpid());
    assert_int_equal(hello.token[0], 0x00);
    assert_int_equal(hello.token[15], 0xff);
    close(fd);
    close(sock);
    close(listener);
}

static void a_worker_connects_back(void **state)
{
    (void)state;
    setenv(SC_ENV_TOKEN, "000102030405060708090a0b0c0d0eff", 1);
    setenv(SC_ENV_RANK, "3", 1);
    char name[64];
    int n = snprintf(name, sizeof name, "@sconce-test-%d", (int)getpid());
    setenv(SC_ENV_SOCKET, name, 1);
    name[0] = '\0';
    says_hello(listen_at(name, (size_t)n));

    n = snprintf(name, sizeof name, "/tmp/sconce-test-%d", (int)getpid());
    setenv(SC_ENV_SOCKET, name, 1);
    says_hello(listen_at(name, (size_t)n + 1));
    unlink(name);
}

static void refuses(const char *socket_, const char *token, const char *rank, int code, const char *named)
{
    struct sc_msg msg = {""};
    if (socket_)
        setenv(SC_ENV_SOCKET, socket_, 1);
    else
        unsetenv(SC_ENV_SOCKET);
    setenv(SC_ENV_TOKEN, token, 1);
    setenv(SC_ENV_RANK, rank, 1);
    assert_int_equal(sc_ctl_connect_back(&msg), code);
    assert_non_null(strstr(msg.text, named));
}

static void what_is_wrong_with_the_environment_is_named(void **state)
{
    (void)state;
    const char *good = "000102030405060708090a0b0c0d0eff";
    char lengthy[200];
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[0] = '@';
    lengthy[199] = '\0';
    refuses(NULL, good, "0", SC_EINVAL, SC_ENV_SOCKET);
    refuses("@", good, "0", SC_EINVAL, SC_ENV_SOCKET);
    refuses(lengthy, good, "0", SC_EINVAL, SC_ENV_SOCKET);
    refuses("@nobody-listens-here", good, "0", SC_ESYS, "@nobody-listens-here");
    refuses("@x", "0001", "0", SC_EINVAL, SC_ENV_TOKEN);
    refuses("@x", "000102030405060708090a0b0c0d0efg", "0", SC_EINVAL, SC_ENV_TOKEN);
    refuses("@x", good, "-1", SC_EINVAL, SC_ENV_RANK);
    refuses("@x", good, "99999999999999999999", SC_EINVAL, SC_ENV_RANK);
}

#define WITH_PAIR(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PAIR(a_message_arrives_whole),
        WITH_PAIR(descriptors_arrive_close_on_exec_and_are_the_receivers),
        WITH_PAIR(a_message_beyond_the_limits_is_not_sent),
        WITH_PAIR(a_peer_that_does_not_read_blocks_nobody),
        WITH_PAIR(malformed_packets_are_refused_with_their_descriptors_closed),
        WITH_PAIR(too_many_descriptors_are_refused_and_closed),
        WITH_PAIR(the_end_is_told_after_what_was_sent_before_it),
        cmocka_unit_test(start_reads_back_as_it_was_written),
        cmocka_unit_test(a_lying_start_is_refused),
        cmocka_unit_test(a_status_says_its_length_truly),
        cmocka_unit_test(a_slot_has_its_tag_before_its_text),
        cmocka_unit_test(a_worker_connects_back),
        cmocka_unit_test(what_is_wrong_with_the_environment_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
