/*
 * The keeper of an MPS daemon, with the daemon of tests/fault/fake_mps_control.c. This program plays the
 * supervisor, and, started again, the keeper.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/agent.h"
#include "gpu/mps_control.h"
#include "gpu/mps_find.h"
#include "gpu/mps_keeper.h"
#include "worker/control.h"
#include "worker/supervisor.h"

#define PATIENCE_MS 30000
#define UUID "GPU-11111111-2222-3333-4444-555555555555"

static char fakes[PATH_MAX + 16], old_path[8192], new_path[PATH_MAX + 8300];

/* What a test has: a folder for everything, and the keeper. */
static struct play {
    char folder[32], pipe[64], log[64];
    int listener, control, out, err;
    pid_t keeper;
    char lines[SC_MPS_CLIENTS_MAX * 64];
    size_t n;
    struct sc_mps_report seen;
    struct sc_ctl_message m;
    char last[512]; /* the text of the latest status */
} p;

/* ---- the supervisor's part ------------------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    memset(&p, 0, sizeof p);
    p.listener = p.control = p.out = p.err = -1;
    snprintf(p.folder, sizeof p.folder, "/tmp/sc-keeper-XXXXXX");
    assert_non_null(mkdtemp(p.folder));
    snprintf(p.pipe, sizeof p.pipe, "%s/pipe", p.folder);
    snprintf(p.log, sizeof p.log, "%s/log", p.folder);
    setenv("PATH", new_path, 1);
    setenv("FAKE_MPS_LOG", p.log, 1);
    setenv("FAKE_MPS", "", 1);
    setenv(SC_ENV_GPU_INTERVAL, "20", 1);
    unsetenv(SC_MPS_ENV_PIPE);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char name[64];
    int n = snprintf(name, sizeof name, "@sc-keeper-%d", (int)getpid());
    memcpy(a.sun_path + 1, name + 1, (size_t)n - 1);
    p.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p.listener, (struct sockaddr *)&a,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
                     0);
    assert_int_equal(listen(p.listener, 4), 0);
    setenv(SC_ENV_SOCKET, name, 1);
    setenv(SC_ENV_TOKEN, "00112233445566778899aabbccddeeff", 1);
    return 0;
}

static void must_come(int fd)
{
    struct pollfd w = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&w, 1, PATIENCE_MS), 1);
}

/* The keeper of a daemon of its own (gpu), or of another's. */
static void start(const char *behaviour, const char *pipe, const char *gpu)
{
    int out[2], err[2];
    char where[PATH_MAX], uuid[64];
    static char name[] = "keeper", role[] = "--role=mps-keeper";
    snprintf(where, sizeof where, "--pipe=%s", pipe);
    snprintf(uuid, sizeof uuid, "--gpu=%s", gpu ? gpu : "");
    char *argv[] = {name, role, where, gpu ? uuid : NULL, NULL};
    setenv("FAKE_MPS", behaviour, 1);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC | O_NONBLOCK), 0);
    p.keeper = fork();
    assert_true(p.keeper >= 0);
    if (p.keeper == 0) {
        (void)setpgid(0, 0);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        execv("/proc/self/exe", argv);
        _exit(99);
    }
    close(out[1]);
    close(err[1]);
    p.out = out[0];
    p.err = err[0];
    must_come(p.listener);
    p.control = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(p.control >= 0);
}

/* The next message but for the greeting; its type, 0 at the end. */
static uint16_t hear(void)
{
    for (;;) {
        must_come(p.control);
        int rc = sc_ctl_receive(p.control, &p.m);
        if (rc < 0)
            return 0;
        if (rc == 1 && p.m.type != SC_CTL_HELLO)
            return p.m.type;
    }
}

/* The state that it tells: LOADED or FAILED. */
static unsigned told_state(void)
{
    struct sc_ctl_status s;
    assert_int_equal(hear(), SC_CTL_STATUS);
    assert_true(p.m.payload.n >= sizeof s);
    memcpy(&s, p.m.payload.p, sizeof s);
    snprintf(p.last, sizeof p.last, "%.*s", (int)s.text_len, p.m.payload.p + sizeof s);
    return s.state;
}

static void next_report(void)
{
    char *end;
    while (!(end = memchr(p.lines, '\n', p.n))) {
        must_come(p.out);
        ssize_t n = read(p.out, p.lines + p.n, sizeof p.lines - p.n);
        assert_true(n > 0);
        p.n += (size_t)n;
    }
    size_t length = (size_t)(end - p.lines) + 1;
    assert_int_equal(sc_mps_report_read(sc_span(p.lines, length - 1), &p.seen), 0);
    memmove(p.lines, p.lines + length, p.n - length);
    p.n -= length;
}

/* Reports until the condition holds. */
#define UNTIL(condition)                                 \
    do {                                                 \
        int64_t limit = sc_clock_ms() + PATIENCE_MS;     \
        for (next_report(); !(condition); next_report()) \
            if (sc_clock_ms() > limit)                   \
                fail_msg("never true: %s", #condition);  \
    } while (0)

static int ended(void)
{
    int status = 0;
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    while (waitpid(p.keeper, &status, WNOHANG) == 0) {
        if (sc_clock_ms() > limit)
            fail_msg("the keeper goes on");
        usleep(1000);
    }
    p.keeper = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void gone(pid_t pid)
{
    char path[64], line[256];
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    for (;;) {
        FILE *f = fopen(path, "re");
        bool lives = f && fgets(line, sizeof line, f) && !strstr(line, ") Z");
        if (f)
            fclose(f);
        if (!lives)
            return;
        if (sc_clock_ms() > limit)
            fail_msg("process %d goes on", (int)pid);
        usleep(1000);
    }
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    if (p.keeper > 0) {
        kill(p.keeper, SIGTERM);
        (void)ended();
    }
    int fds[] = {p.listener, p.control, p.out, p.err};
    for (size_t i = 0; i < SC_COUNT(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    snprintf(command, sizeof command, "rm -rf '%s'", p.folder);
    return system(command);
}

/* ---- the others' parts ----------------------------------------------------------------------------- */

/* Orders that daemons were given, or what the keeper said on standard error. */
static bool was_ordered(const char *what)
{
    char text[4096] = "";
    FILE *f = fopen(p.log, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return strstr(text, what) != NULL;
}

static bool was_said(const char *what)
{
    static char text[8192];
    static size_t n;
    if (!p.keeper || n > sizeof text / 2)
        n = 0;
    ssize_t got = read(p.err, text + n, sizeof text - 1 - n);
    n += got > 0 ? (size_t)got : 0;
    text[n] = '\0';
    return strstr(text, what) != NULL;
}

static void wait_said(const char *what)
{
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    while (!was_said(what)) {
        if (sc_clock_ms() > limit)
            fail_msg("never said: %s", what);
        usleep(1000);
    }
}

/* A process that uses the GPU: its connection ends when the daemon takes it off. */
static int become_client(int pid)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/control", p.pipe);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    dprintf(fd, "client %d\n", pid);
    return fd;
}

static bool is_off(int fd)
{
    char byte;
    must_come(fd);
    bool off = read(fd, &byte, 1) == 0;
    close(fd);
    return off;
}

static void order(const char *command)
{
    char text[128];
    struct sc_mps_control c = {.stop_fd = -1};
    struct sc_msg msg;
    assert_true(sc_mps_program(c.program, sizeof c.program));
    snprintf(c.pipe, sizeof c.pipe, "%s", p.pipe);
    assert_int_equal(sc_mps_ask(&c, command, PATIENCE_MS, text, sizeof text, &msg), 0);
}

static void end_client(int pid)
{
    struct sc_ctl_client c = {.slot = 7, .pid = pid, .life = 3}, back;
    assert_int_equal(
        sc_ctl_send(p.control, SC_CTL_END_CLIENT, sc_span(&c, sizeof c), sc_span(NULL, 0), NULL, 0), 0);
    assert_int_equal(hear(), SC_CTL_CLIENT_ENDED);
    assert_int_equal(sc_ctl_read_fixed(p.m.payload, &back, sizeof back), 0);
    assert_memory_equal(&c, &back, sizeof c);
}

/* Somebody's daemon, started as TorchServe's page says; its pid. */
static pid_t start_another(void)
{
    char command[PATH_MAX + 256], text[32];
    snprintf(command, sizeof command, "FAKE_MPS= CUDA_VISIBLE_DEVICES=" UUID " %s=%s '%s/%s' -d >/dev/null",
             SC_MPS_ENV_PIPE, p.pipe, fakes, SC_MPS_CONTROL);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "%s/%s", p.pipe, SC_MPS_PID_FILE);
    FILE *f = fopen(command, "re");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    return (pid_t)strtol(text, NULL, 10);
}

/* ---- a daemon of its own --------------------------------------------------------------------------- */

static void a_daemon_is_run_for_one_gpu_and_ended_in_order(void **state)
{
    (void)state;
    struct stat st;
    char line[160];
    setenv("CUDA_VISIBLE_DEVICES", "3", 1);
    setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "5", 1); /* meant for others */
    start("", p.pipe, UUID);
    unsetenv("CUDA_VISIBLE_DEVICES");
    unsetenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    next_report();
    assert_true(p.seen.pid > 0 && p.seen.starts == 1 && p.seen.faults == 0 && !p.seen.gone);
    assert_int_equal(p.seen.nclients, 0);
    snprintf(line, sizeof line, "start %s %s\n", p.pipe, UUID);
    assert_true(was_ordered(line));
    assert_int_equal(stat(p.pipe, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    pid_t daemon = p.seen.pid;
    snprintf(line, sizeof line, "tr '\\0' '\\n' </proc/%d/environ | grep -q ACTIVE_THREAD", (int)daemon);
    assert_int_not_equal(system(line), 0);
    kill(p.keeper, SIGTERM);
    assert_int_equal(ended(), 0);
    gone(daemon);
    assert_true(was_ordered("quit"));
    assert_int_equal(access(p.pipe, F_OK), -1);
}

static void a_client_is_taken_off_before_the_supervisor_hears_of_it(void **state)
{
    (void)state;
    start("", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    int me = become_client((int)getpid()), other = become_client(1);
    UNTIL(p.seen.nclients == 2);
    assert_string_equal(p.seen.status, "ACTIVE");
    assert_true(sc_mps_report_has(&p.seen, (int)getpid()) && p.seen.server > 0);
    end_client((int)getpid());
    assert_true(is_off(me));
    char line[64];
    snprintf(line, sizeof line, "terminate_client %d alive\n", (int)getpid());
    assert_true(was_ordered(line));
    end_client(999999); /* who was no client is answered, too, and the daemon is not asked to end it */
    assert_false(was_ordered("999999"));
    UNTIL(p.seen.nclients == 1);
    close(other);
    UNTIL(p.seen.nclients == 0);
}

static void a_daemon_that_refuses_or_hangs_does_not_keep_the_answer_back(void **state)
{
    (void)state;
    start("keep=1", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    int me = become_client((int)getpid());
    end_client((int)getpid());
    wait_said("the MPS daemon does not end client");
    close(me);
    kill(p.keeper, SIGTERM);
    assert_int_equal(ended(), 0);
    close(p.control);
    close(p.out);
    close(p.err);
    start("hang=terminate_client", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    me = become_client((int)getpid());
    end_client((int)getpid());
    wait_said("does not answer \"terminate_client");
    close(me);
}

/* What is not known is not told as if nobody were there. */
static void a_daemon_that_hangs_keeps_its_clients(void **state)
{
    (void)state;
    start("hang=get_client_list", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    int me = become_client((int)getpid());
    end_client((int)getpid()); /* after its limit */
    wait_said("does not answer");
    assert_false(was_ordered("terminate_client"));
    close(me);
    kill(p.keeper, SIGTERM); /* while it asks, for which it has ten seconds */
    assert_int_equal(ended(), 0);
}

static void a_daemon_that_dies_is_started_again(void **state)
{
    (void)state;
    start("", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    int me = become_client((int)getpid());
    UNTIL(p.seen.nclients == 1);
    pid_t first = p.seen.pid, server = p.seen.server;
    kill(first, SIGKILL);
    UNTIL(p.seen.starts == 2);
    assert_true(p.seen.pid > 0 && p.seen.pid != first && p.seen.nclients == 0);
    gone(server);
    wait_said("has ended: it is started again");
    close(me);
}

static void a_fault_and_the_death_of_a_server_are_told(void **state)
{
    (void)state;
    start("", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    int me = become_client((int)getpid());
    UNTIL(p.seen.nclients == 1);
    int first = p.seen.server;
    order("fault");
    UNTIL(p.seen.faults == 1);
    wait_said("Server is handling a fatal GPU error.");
    close(me);
    gone(first); /* it would take no other client */
    me = become_client((int)getpid());
    UNTIL(p.seen.nclients == 1);
    assert_int_equal(p.seen.faults, 1); /* though two lines told of it */
    int server = p.seen.server;
    assert_int_not_equal(server, first);
    kill(server, SIGKILL);
    UNTIL(p.seen.server != server);
    assert_int_equal(p.seen.starts, 1);
    close(me);
}

static void nothing_is_left_when_the_supervisor_is_killed(void **state)
{
    (void)state;
    int pids[2];
    pid_t found[2];
    assert_int_equal(pipe2(pids, O_CLOEXEC), 0);
    pid_t supervisor = fork();
    assert_true(supervisor >= 0);
    if (supervisor == 0) {
        start("", p.pipe, UUID);
        (void)told_state();
        next_report();
        pid_t both[2] = {p.keeper, p.seen.pid};
        if (write(pids[1], both, sizeof both) != sizeof both)
            _exit(1);
        pause();
        _exit(0);
    }
    close(pids[1]);
    must_come(pids[0]);
    assert_int_equal(read(pids[0], found, sizeof found), sizeof found);
    close(pids[0]);
    kill(supervisor, SIGKILL);
    assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
    gone(found[0]);
    gone(found[1]);
    assert_int_equal(access(p.pipe, F_OK), -1);
}

/* ---- what cannot be had ---------------------------------------------------------------------------- */

static void must_fail(const char *behaviour, const char *pipe, const char *gpu, const char *words)
{
    start(behaviour, pipe, gpu);
    assert_int_equal(told_state(), SC_SLOT_FAILED);
    if (!strstr(p.last, words))
        fail_msg("\"%s\" is not in: %s", words, p.last);
    assert_int_equal(ended(), SC_EXIT_FATAL);
    close(p.control);
    close(p.out);
    close(p.err);
    p.control = p.out = p.err = -1;
}

static void what_is_missing_or_in_the_way_is_named(void **state)
{
    (void)state;
    char path[PATH_MAX];
    must_fail("fail=start", p.pipe, UUID, "ended as it started");
    assert_int_equal(access(p.pipe, F_OK), -1);
    must_fail("", p.pipe, NULL, "no MPS daemon lives in");
    setenv("PATH", old_path, 1);
    must_fail("", p.pipe, UUID, "nvidia-cuda-mps-control is not in PATH");
    setenv("PATH", new_path, 1);
    snprintf(path, sizeof path, "%s/not/there", p.folder);
    must_fail("", path, UUID, "cannot be made: No such file or directory");
    snprintf(path, sizeof path, "%s/%0120d", p.folder, 1);
    must_fail("", path, UUID, "is too long");
}

/* Another's folder, a file, a link to somewhere: whoever laid it there, nothing of it is used or removed. */
static void what_is_not_ours_stays_as_it_is(void **state)
{
    (void)state;
    char inside[96];
    FILE *f = fopen(p.pipe, "we");
    fclose(f);
    must_fail("", p.pipe, UUID, "is not ours to use");
    assert_int_equal(unlink(p.pipe), 0);
    assert_int_equal(symlink(p.folder, p.pipe), 0);
    must_fail("", p.pipe, UUID, "is not ours to use");
    assert_int_equal(unlink(p.pipe), 0);
    if (geteuid() == 0) {
        assert_int_equal(mkdir(p.pipe, 0777), 0);
        assert_int_equal(chown(p.pipe, 65534, 65534), 0);
        snprintf(inside, sizeof inside, "%s/control", p.pipe);
        f = fopen(inside, "we");
        fclose(f);
        must_fail("", p.pipe, UUID, "is not ours to use");
        assert_int_equal(access(inside, F_OK), 0);
    }
}

static void a_daemon_that_serves_the_folder_stays(void **state)
{
    (void)state;
    char inside[96];
    pid_t other = start_another();
    must_fail("", p.pipe, UUID, "serves");
    snprintf(inside, sizeof inside, "%s/control", p.pipe);
    assert_int_equal(kill(other, 0), 0);
    assert_int_equal(access(inside, F_OK), 0);
    order("quit");
    gone(other);
}

static void stale_files_are_no_obstacle(void **state)
{
    (void)state;
    static const char *const names[] = {"control", "control_privileged", "control_lock", "log",
                                        SC_MPS_PID_FILE};
    char path[128];
    assert_int_equal(mkdir(p.pipe, 0700), 0);
    for (size_t i = 0; i < SC_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", p.pipe, names[i]);
        FILE *f = fopen(path, "we");
        fprintf(f, "%d", (int)getpid()); /* a number that was used again */
        fclose(f);
    }
    start("", p.pipe, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    kill(p.keeper, SIGTERM);
    assert_int_equal(ended(), 0);
    assert_int_equal(access(p.pipe, F_OK), -1);
}

/* ---- others' daemon -------------------------------------------------------------------------------- */

static void others_daemon_is_watched_and_never_stopped(void **state)
{
    (void)state;
    pid_t other = start_another();
    start("", p.pipe, NULL);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    int me = become_client((int)getpid());
    UNTIL(p.seen.nclients == 1);
    assert_int_equal(p.seen.pid, 0);
    end_client((int)getpid());
    assert_true(is_off(me));
    kill(other, SIGKILL);
    gone(other);
    UNTIL(p.seen.gone);
    other = start_another(); /* over the files of the dead one */
    UNTIL(!p.seen.gone);
    kill(p.keeper, SIGTERM);
    assert_int_equal(ended(), 0);
    assert_int_equal(kill(other, 0), 0);
    assert_false(was_ordered("quit"));
    order("quit");
    gone(other);
}

static void another_daemon_of_the_same_gpu_is_told(void **state)
{
    (void)state;
    char second[96], words[96];
    pid_t other = start_another();
    snprintf(second, sizeof second, "%s/ours", p.folder);
    start("", second, UUID);
    assert_int_equal(told_state(), SC_SLOT_LOADED);
    snprintf(words, sizeof words, "too: pid %d of user %u, in %s", (int)other, (unsigned)geteuid(), p.pipe);
    wait_said(words);
    order("quit");
    gone(other);
}

static int external(char *text)
{
    struct sc_mps_daemon d;
    struct sc_msg msg = {""};
    setenv(SC_MPS_ENV_PIPE, p.pipe, 1);
    int rc = sc_mps_find_external(&d, &msg);
    unsetenv(SC_MPS_ENV_PIPE);
    snprintf(text, sizeof msg.text, "%s", rc < 0 ? msg.text : "");
    return rc;
}

/* The answer as another user gets it: -rc, in a process of its own, whose text must have these words. */
static void as_nobody(int rc, const char *words)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char text[sizeof(struct sc_msg)];
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(90);
        _exit(external(text) == rc && strstr(text, words) ? 0 : 91);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void which_of_others_daemons_may_be_used(void **state)
{
    (void)state;
    char text[sizeof(struct sc_msg)], path[PATH_MAX];
    assert_int_equal(external(text), SC_ENOTFOUND);
    assert_non_null(strstr(text, "no MPS daemon lives in"));
    pid_t other = start_another();
    assert_int_equal(external(text), 0);
    snprintf(path, sizeof path, "%s/../pipe/", p.pipe); /* the same by another name */
    setenv(SC_MPS_ENV_PIPE, path, 1);
    struct sc_mps_daemon d;
    assert_true(sc_mps_find_at(path, &d));
    setenv("PATH", old_path, 1);
    assert_int_equal(external(text), SC_EUNSUPPORTED);
    assert_non_null(strstr(text, "with which it is asked, is not in PATH"));
    if (geteuid() == 0) {
        assert_int_equal(chmod(p.folder, 0700), 0);
        as_nobody(SC_EUNSUPPORTED, "is closed to this user: Permission denied");
        assert_int_equal(chmod(p.folder, 0755), 0);
        as_nobody(SC_EUNSUPPORTED, "is not in PATH"); /* root's daemon serves anybody */
    }
    kill(other, SIGKILL);
    gone(other);
    assert_int_equal(external(text), SC_ENOTFOUND);
    assert_non_null(strstr(text, "has the files of an MPS daemon that is dead"));
}

/* Where this is not run by root there is nobody else to be. */
static void another_users_daemon_is_none(void **state)
{
    (void)state;
    char text[sizeof(struct sc_msg)], command[2 * PATH_MAX], words[64];
    if (geteuid() != 0)
        skip();
    /* The folder of the build may be closed to others. */
    snprintf(command, sizeof command,
             "cp '%s/%s' %s/ && chmod 777 %s && CUDA_VISIBLE_DEVICES=" UUID
             " FAKE_MPS= FAKE_MPS_LOG= ASAN_OPTIONS=detect_leaks=0 %s=%s "
             "setpriv --reuid 65534 --clear-groups %s/%s -d >/dev/null",
             fakes, SC_MPS_CONTROL, p.folder, p.folder, SC_MPS_ENV_PIPE, p.pipe, p.folder, SC_MPS_CONTROL);
    assert_int_equal(system(command), 0);
    assert_int_equal(external(text), SC_EUNSUPPORTED);
    snprintf(words, sizeof words, "is user 65534's, and serves that user alone");
    assert_non_null(strstr(text, words));
    order("quit");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--role=mps-keeper") == 0)
        return sc_mps_keeper_main(argc, argv);
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n < 0 ? 0 : n] = '\0';
    for (int i = 0; i < 2; i++) /* this program lies in a folder of the build's */
        if (strrchr(exe, '/'))
            *strrchr(exe, '/') = '\0';
    snprintf(fakes, sizeof fakes, "%s/fake_mps", exe);
    snprintf(old_path, sizeof old_path, "%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    snprintf(new_path, sizeof new_path, "%s:%s", fakes, old_path);
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_daemon_is_run_for_one_gpu_and_ended_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_is_taken_off_before_the_supervisor_hears_of_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_daemon_that_refuses_or_hangs_does_not_keep_the_answer_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_daemon_that_hangs_keeps_its_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(a_daemon_that_dies_is_started_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fault_and_the_death_of_a_server_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_left_when_the_supervisor_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_or_in_the_way_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_ours_stays_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(a_daemon_that_serves_the_folder_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(stale_files_are_no_obstacle, setup, teardown),
        cmocka_unit_test_setup_teardown(others_daemon_is_watched_and_never_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(another_daemon_of_the_same_gpu_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(which_of_others_daemons_may_be_used, setup, teardown),
        cmocka_unit_test_setup_teardown(another_users_daemon_is_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
