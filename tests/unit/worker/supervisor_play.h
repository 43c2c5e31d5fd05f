/*
 * The supervisor with real processes. This program runs itself in three roles: the test, which plays no part
 * in the game; a frontend that only relays control messages between the supervisor and the test (over a
 * socket that it gets as its "listener", so the next frontend finds it again); and workers that behave or
 * misbehave as their argument says.
 */
#ifndef SC_TEST_SUPERVISOR_PLAY_H
#define SC_TEST_SUPERVISOR_PLAY_H

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/control.h"
#include "worker/executor_private.h"
#include "worker/supervisor.h"

#define NOTHING sc_span(NULL, 0)
#define PATIENCE_MS 5000
#ifdef __SANITIZE_ADDRESS__
#define SLOWNESS 5 /* of a start under sanitizers, on a machine that does other things too */
#else
#define SLOWNESS 1
#endif

/* Between test and relay, beside the messages that are relayed. */
enum { ORDER_EXIT = 1000, ORDER_FLOOD, ORDER_DEAF, TOLD_PID };

/* ---- the frontend's role --------------------------------------------------------------- */

/* With the descriptors of a worker's output; those of the welcome are the frontend's. */
static inline void relay_to_test(int relay, struct sc_ctl_message *m)
{
    bool output = m->type == SC_CTL_SLOT_STATE;
    if (sc_ctl_send(relay, m->type, m->payload, NOTHING, m->fds, output ? m->nfds : 0) < 0)
        _exit(50);
    if (output)
        sc_ctl_close_fds(m);
}

/* Exits with the code in the payload, floods the supervisor with nonsense orders, or reads nothing any more.
 */
static inline void obey_test(const struct sc_ctl_message *m)
{
    int code = 0;
    if (m->payload.n == sizeof code)
        memcpy(&code, m->payload.p, sizeof code);
    if (m->type == ORDER_EXIT)
        _exit(code);
    struct sc_ctl_slot nobody = {.slot = 77};
    while (m->type == ORDER_FLOOD) {
        int rc =
            sc_ctl_send(SC_FD_CONTROL, SC_CTL_SLOT_STOP, sc_span(&nobody, sizeof nobody), NOTHING, NULL, 0);
        if (rc < 0 && rc != SC_AGAIN)
            _exit(51);
    }
    while (m->type == ORDER_DEAF)
        pause();
    int rc;
    while ((rc = sc_ctl_send(SC_FD_CONTROL, m->type, m->payload, NOTHING, m->fds, m->nfds)) == SC_AGAIN)
        usleep(1000);
    if (rc < 0)
        _exit(52);
}

static inline int frontend_main(void)
{
    static struct sc_ctl_message m;
    struct stat st;
    if (fstat(SC_FD_SETTINGS, &st) < 0 || fcntl(SC_FD_SETTINGS + 1, F_GETFD) >= 0)
        return 53;
    while (sc_ctl_receive(SC_FD_CONTROL, &m) == 0)
        poll(&(struct pollfd){.fd = SC_FD_CONTROL, .events = POLLIN}, 1, -1);
    if (m.type != SC_CTL_WELCOME || m.nfds != 2)
        return 54;
    int relay = m.fds[1];
    int pid = (int)getpid();
    relay_to_test(relay, &m);
    if (sc_ctl_send(relay, TOLD_PID, sc_span(&pid, sizeof pid), NOTHING, NULL, 0) < 0)
        return 55;
    for (;;) {
        struct pollfd p[] = {{.fd = SC_FD_CONTROL, .events = POLLIN}, {.fd = relay, .events = POLLIN}};
        poll(p, 2, -1);
        int rc;
        while ((rc = sc_ctl_receive(SC_FD_CONTROL, &m)) == 1) {
            relay_to_test(relay, &m);
            if (m.type == SC_CTL_DRAIN)
                _exit(getenv("TEST_DRAIN_NEVER") ? (pause(), 1) : 0);
        }
        if (rc < 0)
            return 56;
        if (sc_ctl_receive(relay, &m) == 1) {
            obey_test(&m);
            sc_ctl_close_fds(&m);
        }
    }
}

/* ---- the workers' role ----------------------------------------------------------------- */

static inline void say(int sock, uint32_t state, const char *words)
{
    struct sc_ctl_status s = {.state = state, .text_len = (uint32_t)strlen(words)};
    int rc;
    while ((rc = sc_ctl_send(sock, SC_CTL_STATUS, sc_span(&s, sizeof s), sc_span_str(words), NULL, 0)) != 0) {
        if (rc != SC_AGAIN)
            _exit(60);
        usleep(1000);
    }
}

/* An orphan in a session of its own; its pid becomes the status. */
static inline void leave_grandchild(int sock)
{
    int p[2];
    if (pipe(p) < 0)
        _exit(61);
    if (fork() == 0) {
        setsid();
        prctl(PR_SET_PDEATHSIG, 0);
        pid_t pid = fork();
        if (pid > 0)
            _exit(write(p[1], &pid, sizeof pid) != sizeof pid);
        for (;;)
            pause();
    }
    pid_t pid;
    if (read(p[0], &pid, sizeof pid) != sizeof pid)
        _exit(62);
    char words[32];
    snprintf(words, sizeof words, "%d", (int)pid);
    say(sock, SC_SLOT_LOADED, words);
}

/* Until the supervisor is gone: writes a byte into the last descriptor of each ATTACH. */
static inline int serve(int sock)
{
    static struct sc_ctl_message m;
    for (;;) {
        poll(&(struct pollfd){.fd = sock, .events = POLLIN}, 1, -1);
        int rc = sc_ctl_receive(sock, &m);
        if (rc < 0)
            return 0;
        if (rc == 1 && m.type == SC_CTL_ATTACH && m.nfds > 0) {
            if (write(m.fds[m.nfds - 1], "!", 1) != 1)
                return 63;
            sc_ctl_close_fds(&m);
        }
    }
}

/* Children of children that end at once: whoever adopts them has to reap them. */
static inline void leave_zombies(void)
{
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(fork() < 0);
        waitpid(child, NULL, 0);
    }
}

static inline void keep_words(int sock, const char *words)
{
    struct sconce_host h = {.ctl = sock};
    int fd = memfd_create("words", MFD_CLOEXEC);
    if (fd < 0 || write(fd, words, strlen(words)) != (ssize_t)strlen(words))
        _exit(66);
    sconce_host_keep(&h, "words", fd, strlen(words));
    close(fd);
}

/* By a file that the first life makes and the second takes away. */
static inline bool is_first_life(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/sconce-first-life-%d", (int)getppid());
    int fd = open(path, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        return close(fd) == 0;
    unlink(path);
    return false;
}

static inline const char *fetch_words(int sock, char *words, size_t size)
{
    struct sconce_host h = {.ctl = sock};
    uint64_t n;
    int fd = sconce_host_kept(&h, "words", &n);
    if (fd < 0)
        return n == 0 ? "none" : "no descriptor but a size";
    ssize_t got = pread(fd, words, size - 1, 0);
    words[got > 0 ? got : 0] = '\0';
    close(fd);
    return got == (ssize_t)n ? words : "another size";
}

static inline int worker_main(const char *how)
{
    if (!strcmp(how, "silent"))
        for (;;)
            pause();
    if (!strcmp(how, "exit-3"))
        return 3;
    if (!strcmp(how, "fatal"))
        return SC_EXIT_FATAL;
    if (!strcmp(how, "impostor"))
        setenv(SC_ENV_TOKEN, "00000000000000000000000000000000", 1);
    if (!strcmp(how, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    struct sc_msg msg;
    int sock = sc_ctl_connect_back(&msg);
    if (sock < 0)
        return 64;
    if (!strcmp(how, "fails")) {
        say(sock, SC_SLOT_FAILED, "no such file: weights");
        return 1;
    }
    if (!strcmp(how, "garbage") && write(sock, "garbage", 7) == 7)
        return serve(sock);
    if (!strcmp(how, "chatter"))
        for (;;)
            say(sock, SC_SLOT_LOADED, "again");
    if (!strcmp(how, "hangs-up")) {
        close(sock);
        for (;;)
            pause();
    }
    if (!strcmp(how, "keeps") || !strcmp(how, "keeps-other") || !strcmp(how, "keeps-once")) {
        if (strcmp(how, "keeps-once") != 0 || is_first_life())
            keep_words(sock, how);
        say(sock, SC_SLOT_LOADED, "kept");
        return serve(sock);
    }
    if (!strcmp(how, "keeps-nothing")) {
        struct sc_ctl_kept what = {.name = "words"};
        if (sc_ctl_send(sock, SC_CTL_KEEP, sc_span(&what, sizeof what), NOTHING, NULL, 0) < 0)
            return 65;
        return serve(sock);
    }
    if (!strcmp(how, "fetches")) {
        char words[64];
        say(sock, SC_SLOT_LOADED, fetch_words(sock, words, sizeof words));
        return serve(sock);
    }
    if (!strcmp(how, "zombies"))
        leave_zombies();
    if (!strcmp(how, "grandchild"))
        leave_grandchild(sock);
    else if (!strcmp(how, "environment"))
        say(sock, SC_SLOT_LOADED, getenv("TEST_VALUE"));
    else
        say(sock, SC_SLOT_LOADED, "{\"lanes\": 1}");
    if (!strcmp(how, "stubborn"))
        for (;;)
            pause();
    return serve(sock);
}

/* ---- the test's side ------------------------------------------------------------------- */

static pid_t supervisor, frontend;
static int relay, frontend_end, settings;
static struct sc_ctl_message m;
static struct sc_ctl_slot slot;
static struct sc_span tag, text;
static bool show_log;
static bool as_init; /* the supervisor is PID 1 of a namespace; needs privileges */

static inline void print_line(int level, const char *line)
{
    if (show_log)
        fprintf(stderr, "    %d %s\n", level, line);
}

static inline void start_with(int64_t connect_back_ms, int64_t grace_ms, int64_t drain_ms)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    relay = pair[0];
    frontend_end = pair[1];
    settings = open("/dev/null", O_RDONLY | O_CLOEXEC);
    show_log = getenv("TEST_LOG") != NULL;
    supervisor = as_init ? (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL) : fork();
    if (supervisor < 0 && as_init)
        return;
    assert_true(supervisor >= 0);
    if (supervisor == 0) {
        close(relay);
        static char title[] = "sconce: frontend", role[] = "--frontend";
        char *argv[] = {title, role, NULL};
        struct sc_supervisor_spec spec = {.exe = "/proc/self/exe",
                                          .frontend_argv = argv,
                                          .listeners = &frontend_end,
                                          .nlisteners = 1,
                                          .settings_fd = settings,
                                          .drain_ms = drain_ms,
                                          .log = print_line,
                                          .connect_back_ms = connect_back_ms,
                                          .stop_grace_ms = grace_ms,
                                          .hello_ms = 500,
                                          .queue_bytes = 128 << 10};
        _exit(sc_supervisor_run(&spec));
    }
}

static inline int set_up(void **state)
{
    (void)state;
    start_with(PATIENCE_MS, 2000, 2000);
    return 0;
}

static inline void tell(uint16_t type, struct sc_span payload)
{
    assert_int_equal(sc_ctl_send(relay, type, payload, NOTHING, NULL, 0), 0);
}

/* The next message of this type; others are skipped. */
static inline void await(uint16_t type)
{
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    sc_ctl_close_fds(&m);
    m.nfds = 0;
    for (;;) {
        int rc = sc_ctl_receive(relay, &m);
        assert_true(rc >= 0);
        if (rc == 1 && m.type == type)
            return;
        if (rc == 0) {
            if (sc_clock_ms() > limit)
                fail_msg("no message of type %d has come", type);
            poll(&(struct pollfd){.fd = relay, .events = POLLIN}, 1, 100);
        }
    }
}

static inline struct sc_ctl_welcome await_frontend(void)
{
    struct sc_ctl_welcome w;
    await(SC_CTL_WELCOME);
    assert_int_equal(sc_ctl_read_fixed(m.payload, &w, sizeof w), 0);
    await(TOLD_PID);
    memcpy(&frontend, m.payload.p, sizeof frontend);
    return w;
}

/* The next state of any slot; then, the next of slot `number`, which must be `state`. */
static inline void await_any(void)
{
    await(SC_CTL_SLOT_STATE);
    assert_int_equal(sc_ctl_read_slot(m.payload, &slot, &tag, &text), 0);
}

static inline void await_slot(uint32_t number, uint32_t state)
{
    do
        await_any();
    while (slot.slot != number);
    assert_int_equal(slot.state, state);
}

static inline void start_slot_with(uint32_t number, const char *how, uint32_t flags, const char *exe)
{
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    const char *argv[] = {exe, "sconce: worker", "--worker", how, NULL};
    const char *env[] = {"TEST_VALUE=of the slot", SC_ENV_RANK "=9", NULL};
    struct sc_ctl_start head = {.slot = number, .flags = flags, .retry_window_ms = 60000};
    sc_ctl_write_start(&b, head, SC_SPAN("echo"), argv, env, NULL);
    tell(SC_CTL_SLOT_START, sc_buf_view(&b));
    sc_buf_free(&b);
}

static inline void start_slot(uint32_t number, const char *how)
{
    start_slot_with(number, how, 0, "/proc/self/exe");
}

static inline pid_t start_loaded(uint32_t number, const char *how)
{
    start_slot(number, how);
    await_slot(number, SC_SLOT_STARTING);
    await_slot(number, SC_SLOT_CONNECTED);
    await_slot(number, SC_SLOT_LOADED);
    return (pid_t)slot.pid;
}

static inline void order_slot(uint16_t type, uint32_t number, uint64_t life)
{
    struct sc_ctl_slot order = {.slot = number, .life = life};
    tell(type, sc_span(&order, sizeof order));
}

static inline bool gone_within(pid_t pid, int64_t ms)
{
    for (int64_t limit = sc_clock_ms() + ms; sc_clock_ms() < limit; usleep(2000)) {
        /* What a dead supervisor leaves behind falls to us. */
        if (waitpid(pid, NULL, WNOHANG) == pid || (kill(pid, 0) < 0 && errno == ESRCH))
            return true;
    }
    return false;
}

/* The supervisor's wait status, -1 if it does not end. */
static inline int ends_within(int64_t ms)
{
    int status;
    for (int64_t limit = sc_clock_ms() + ms; sc_clock_ms() < limit; usleep(2000)) {
        if (waitpid(supervisor, &status, WNOHANG) == supervisor) {
            supervisor = 0;
            return status;
        }
    }
    return -1;
}

static inline int tear_down(void **state)
{
    (void)state;
    int status = 0;
    if (supervisor > 0) {
        kill(supervisor, SIGINT);
        kill(supervisor, SIGTERM);
        status = ends_within(PATIENCE_MS);
    }
    close(relay);
    close(frontend_end);
    close(settings);
    return status < 0;
}

static inline int set_up_impatient(void **state)
{
    (void)state;
    start_with(PATIENCE_MS, 150, 150);
    return 0;
}

#define PLAY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define PLAY_IMPATIENT(f) cmocka_unit_test_setup_teardown(f, set_up_impatient, tear_down)

/* The whole main of a program: plays the role it was started for, or runs the tests. */
#define PLAY_MAIN(tests, argc, argv)                                         \
    ((argc) > 1 && !strcmp((argv)[1], "--frontend") ? frontend_main()        \
     : (argc) > 2 && !strcmp((argv)[1], "--worker") ? worker_main((argv)[2]) \
     : prctl(PR_SET_CHILD_SUBREAPER, 1)             ? 1                      \
                                                    : cmocka_run_group_tests(tests, NULL, NULL))

#endif
