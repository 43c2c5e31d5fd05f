/* MPS without a daemon: the rule of who is a client, and what a daemon's and a keeper's words mean. */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/mps_control.h"
#include "gpu/mps_find.h"
#include "gpu/mps_keeper.h"
#include "gpu/mps_rule.h"

/* ---- the rule -------------------------------------------------------------------------------------- */

static const char *why;

static enum sc_mps_way decide(struct sc_mps_facts f)
{
    why = NULL;
    enum sc_mps_way way = sc_mps_decide(&f, &why);
    assert_non_null(why);
    return way;
}

#define MEASURED(r, ...) decide((struct sc_mps_facts){.recorded = r, .program = true, __VA_ARGS__})
#define DECIDE(...) MEASURED(-1, __VA_ARGS__)

static void auto_takes_the_first_that_holds(void **state)
{
    (void)state;
    assert_int_equal(DECIDE(.models = 1, .processes = 1), SC_WAY_OFF);
    assert_int_equal(DECIDE(.models = 1, .processes = 2), SC_WAY_MANAGED);
    assert_int_equal(DECIDE(.models = 2, .processes = 2), SC_WAY_OFF);
    assert_int_equal(MEASURED(0, .models = 1, .processes = 2), SC_WAY_OFF);
    assert_int_equal(MEASURED(1, .models = 2, .processes = 1), SC_WAY_MANAGED);
    assert_int_equal(MEASURED(0, .compute_mode = SC_COMPUTE_EXCLUSIVE_PROCESS), SC_WAY_MANAGED);
    assert_int_equal(DECIDE(.external = true, .compute_mode = SC_COMPUTE_EXCLUSIVE_PROCESS), SC_WAY_EXTERNAL);
    assert_int_equal(MEASURED(0, .managed = true, .external = true), SC_WAY_MANAGED);
}

static void what_is_asked_for_is_done_or_off(void **state)
{
    (void)state;
    assert_int_equal(MEASURED(0, .must_manage = true, .external = true), SC_WAY_MANAGED);
    assert_int_equal(DECIDE(.must_manage = true, .mig = 1), SC_WAY_OFF);
    assert_non_null(strstr(why, "MIG"));
    assert_int_equal(decide((struct sc_mps_facts){.must_manage = true}), SC_WAY_OFF);
    assert_non_null(strstr(why, "not in PATH"));
    assert_int_equal(DECIDE(.must_watch = true, .models = 1, .processes = 4), SC_WAY_OFF);
    assert_int_equal(DECIDE(.must_watch = true, .external = true), SC_WAY_EXTERNAL);
}

/* ---- words ----------------------------------------------------------------------------------------- */

static void pids_are_read_up_to_what_is_none(void **state)
{
    (void)state;
    pid_t got[3];
    assert_int_equal(sc_mps_read_pids(SC_SPAN("16435\n16436 16437\n16438\n"), got, 3), 3);
    assert_int_equal(got[2], 16437);
    assert_int_equal(sc_mps_read_pids(SC_SPAN("7\nServer 4242 not found\n"), got, 3), 1);
    assert_int_equal(sc_mps_read_pids(SC_SPAN(""), got, 3), 0);
    assert_int_equal(sc_mps_read_pids(SC_SPAN("-1"), got, 3), 0);
    assert_int_equal(sc_mps_read_pids(SC_SPAN("99999999999"), got, 3), 0);
}

static void a_server_has_a_status_and_clients(void **state)
{
    (void)state;
    struct sc_mps_state s = {0};
    sc_mps_read_server(SC_SPAN("ACTIVE\n100\n200\n"), &s);
    assert_string_equal(s.status, "ACTIVE");
    assert_int_equal(s.nclients, 2);
    assert_int_equal(s.clients[1], 200);
    s = (struct sc_mps_state){0};
    sc_mps_read_server(SC_SPAN("Server 4242 not found\nServer 4242 not found\n"), &s);
    assert_string_equal(s.status, "");
    assert_int_equal(s.nclients, 0);
}

static void news_are_told_and_a_fault_is_one(void **state)
{
    (void)state;
    bool fault;
    assert_true(sc_mps_is_news(SC_SPAN("[x Server 9] Server is handling a fatal GPU error."), &fault));
    assert_true(fault);
    assert_true(sc_mps_is_news(SC_SPAN("[x Control 9] Server 8 exited with status 1"), &fault));
    assert_false(fault);
    assert_false(sc_mps_is_news(SC_SPAN("User did not send valid credentials"), &fault));
    assert_false(sc_mps_is_news(SC_SPAN(""), &fault));
}

static void a_keepers_report_is_read(void **state)
{
    (void)state;
    struct sc_mps_report r;
    assert_int_equal(sc_mps_report_read(SC_SPAN("{\"pid\":7,\"server\":8,\"status\":\"ACTIVE\",\"starts\":2,"
                                                "\"faults\":1,\"gone\":false,\"clients\":[9,10]}"),
                                        &r),
                     0);
    assert_int_equal(r.pid, 7);
    assert_int_equal(r.starts, 2);
    assert_int_equal(r.faults, 1);
    assert_true(sc_mps_report_has(&r, 10));
    assert_false(sc_mps_report_has(&r, 11));
    static const char *const bad[] = {"", "MPS: hello", "[]", "{"};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(sc_mps_report_read(sc_span_str(bad[i]), &r), SC_EINVAL);
        assert_int_equal(r.nclients, 0);
    }
}

/* ---- places ---------------------------------------------------------------------------------------- */

static void a_folder_too_deep_for_a_socket_is_refused(void **state)
{
    (void)state;
    struct sc_msg msg = {""};
    char deep[200];
    assert_int_equal(sc_mps_check_pipe("/tmp/nvidia-mps", &msg), 0);
    snprintf(deep, sizeof deep, "/%0150d", 1);
    assert_int_equal(sc_mps_check_pipe(deep, &msg), SC_ELIMIT);
    assert_non_null(strstr(msg.text, "too long"));
}

static void files_without_their_daemon_are_stale(void **state)
{
    (void)state;
    char folder[] = "/tmp/sconce-mps-XXXXXX", path[64];
    struct sc_mps_daemon d;
    assert_non_null(mkdtemp(folder));
    assert_false(sc_mps_is_stale(folder));
    static const char *const pids[] = {"", "0", "-5", "abc", "99999999999", "1"};
    snprintf(path, sizeof path, "%s/control", folder);
    fclose(fopen(path, "w"));
    for (size_t i = 0; i < SC_COUNT(pids); i++) {
        char file[96];
        snprintf(file, sizeof file, "%s/" SC_MPS_PID_FILE, folder);
        FILE *f = fopen(file, "w");
        fputs(pids[i], f);
        fclose(f);
        assert_false(sc_mps_find_at(folder, &d));
        assert_true(sc_mps_is_stale(folder));
        unlink(file);
    }
    unlink(path);
    rmdir(folder);
}

/* Binds the socket of a daemon a moment after this process has begun to wait for it. */
static pid_t bind_later(const char *folder)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    alarm(30); /* should the test fail */
    usleep(300000);
    snprintf(a.sun_path, sizeof a.sun_path, "%s/control", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0)
        _exit(1);
    pause();
    _exit(0);
}

static int64_t awaited(const char *folder)
{
    int64_t began = sc_clock_ms();
    setenv(SC_MPS_ENV_PIPE, folder, 1);
    sc_mps_await();
    unsetenv(SC_MPS_ENV_PIPE);
    return sc_clock_ms() - began;
}

static void a_worker_waits_for_a_daemon_of_ours(void **state)
{
    (void)state;
    char ours[] = "/tmp/sconce-mps-XXXXXX", path[64];
    assert_non_null(mkdtemp(ours));
    assert_in_range(awaited("/tmp/nvidia-mps"), 0, 250); /* nobody's to wait for */
    pid_t daemon = bind_later(ours);
    assert_in_range(awaited(ours), 200, SC_MPS_AWAIT_MS - 500);
    assert_in_range(awaited(ours), 0, 250);
    kill(daemon, SIGKILL);
    waitpid(daemon, NULL, 0);
    assert_in_range(awaited(ours), SC_MPS_AWAIT_MS, 60000); /* its file is there, and it is not */
    snprintf(path, sizeof path, "%s/control", ours);
    unlink(path);
    rmdir(ours);
}

static bool serves(const char *devices)
{
    static const struct sc_gpu_info g = {.index = 1, .uuid = "GPU-abc-1"};
    struct sc_mps_daemon d = {0};
    snprintf(d.devices, sizeof d.devices, "%s", devices);
    return sc_mps_serves(&d, &g);
}

static void a_daemon_serves_what_its_variable_names(void **state)
{
    (void)state;
    assert_true(serves(""));
    assert_true(serves("0,1"));
    assert_true(serves("GPU-abc"));
    assert_true(serves("GPU-xyz,GPU-abc-1"));
    assert_false(serves("0"));
    assert_false(serves("GPU-abd"));
    assert_false(serves(","));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_takes_the_first_that_holds),
        cmocka_unit_test(what_is_asked_for_is_done_or_off),
        cmocka_unit_test(pids_are_read_up_to_what_is_none),
        cmocka_unit_test(a_server_has_a_status_and_clients),
        cmocka_unit_test(news_are_told_and_a_fault_is_one),
        cmocka_unit_test(a_keepers_report_is_read),
        cmocka_unit_test(a_folder_too_deep_for_a_socket_is_refused),
        cmocka_unit_test(files_without_their_daemon_are_stale),
        cmocka_unit_test(a_worker_waits_for_a_daemon_of_ours),
        cmocka_unit_test(a_daemon_serves_what_its_variable_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
