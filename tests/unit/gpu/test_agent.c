/* The processes that call NVML, with the NVML of tests/fault/fake_nvml.c. This program plays their roles
 * itself. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "gpu/agent.h"
#include "gpu/gpm.h"
#include "gpu/inventory.h"
#include "worker/supervisor.h"

#define PATIENCE_MS 10000

static struct sc_msg msg;
static struct sc_gpu_report r;
static char fake[PATH_MAX + 32];

/* The library lies in the build's folder, this program in a folder below. */
static void find_fake(void)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n < 0 ? 0 : n] = '\0';
    for (int i = 0; i < 2; i++)
        if (strrchr(exe, '/'))
            *strrchr(exe, '/') = '\0';
    snprintf(fake, sizeof fake, "%s/libfake_nvml.so", exe);
}

static int setup(void **state)
{
    (void)state;
    setenv(SC_ENV_NVML, fake, 1);
    unsetenv("FAKE_NVML");
    return 0;
}

/* ---- counting -------------------------------------------------------------------------------------- */

static int count(const char *behaviour, int timeout_ms)
{
    setenv("FAKE_NVML", behaviour, 1);
    return sc_gpu_count("/proc/self/exe", timeout_ms, &msg);
}

static void gpus_are_counted(void **state)
{
    (void)state;
    assert_int_equal(count("gpus=2", PATIENCE_MS), 2);
    assert_string_equal(msg.text, "");
    assert_int_equal(count("gpus=0", PATIENCE_MS), 0);
    assert_string_equal(msg.text, "");
    assert_int_equal(count("gpus=1000", PATIENCE_MS), SC_GPUS_MAX);
}

static void the_variable_is_believed_without_asking_the_driver(void **state)
{
    (void)state;
    setenv("FAKE_NVML", "hang=init", 1);
    setenv("CUDA_VISIBLE_DEVICES", "3,4,5", 1);
    assert_int_equal(sc_gpu_detect("/proc/self/exe", PATIENCE_MS, &msg), 3);
    assert_string_equal(msg.text, "");
    setenv("CUDA_VISIBLE_DEVICES", "abc", 1);
    assert_int_equal(sc_gpu_detect("/proc/self/exe", PATIENCE_MS, &msg), SC_EINVAL);
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    setenv("FAKE_NVML", "gpus=5", 1);
    assert_int_equal(sc_gpu_detect("/proc/self/exe", PATIENCE_MS, &msg), 5);
    unsetenv("CUDA_VISIBLE_DEVICES");
}

static void without_a_driver_there_are_none(void **state)
{
    (void)state;
    setenv(SC_ENV_NVML, "/nowhere/libnvidia-ml.so.1", 1);
    assert_int_equal(count("", PATIENCE_MS), 0);
    assert_non_null(strstr(msg.text, "No GPU is used: /nowhere/libnvidia-ml.so.1: cannot open"));
}

static void a_library_of_another_kind_is_named(void **state)
{
    (void)state;
    setenv(SC_ENV_NVML, "libm.so.6", 1);
    assert_int_equal(count("", PATIENCE_MS), 0);
    assert_non_null(strstr(msg.text, "libm.so.6 has no function nvmlInit_v2"));
}

static void a_driver_that_does_not_come_up_is_quoted(void **state)
{
    (void)state;
    assert_int_equal(count("fail=init", PATIENCE_MS), 0);
    assert_non_null(strstr(msg.text, "Driver/library version mismatch"));
    assert_int_equal(count("fail=count", PATIENCE_MS), 0);
    assert_non_null(strstr(msg.text, "Driver/library version mismatch"));
}

static void a_driver_that_hangs_is_given_up(void **state)
{
    (void)state;
    int64_t began = sc_clock_ms();
    assert_int_equal(count("hang=init", 200), 0);
    assert_true(sc_clock_ms() - began < 5000);
    assert_non_null(strstr(msg.text, "has not answered within 200 ms"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    assert_int_equal(errno, ECHILD);
}

static void a_program_that_says_something_else_counts_as_none(void **state)
{
    (void)state;
    assert_int_equal(sc_gpu_count("/bin/echo", PATIENCE_MS, &msg), 0);
    assert_non_null(strstr(msg.text, "ended with code 0"));
    assert_int_equal(sc_gpu_count("/nowhere/sconce", PATIENCE_MS, &msg), 0);
    assert_non_null(strstr(msg.text, "/nowhere/sconce: No such file"));
}

/* ---- inventory ------------------------------------------------------------------------------------- */

static void read_inventory(const char *behaviour)
{
    struct sc_nvml n;
    setenv("FAKE_NVML", behaviour, 1);
    assert_int_equal(sc_nvml_open(&n, &msg), 0);
    sc_inventory_read(&n, &r);
    sc_nvml_close(&n);
}

static void the_inventory_tells_all(void **state)
{
    (void)state;
    read_inventory("gpus=3");
    assert_int_equal(r.ngpus, 3);
    const struct sc_gpu_info *g = &r.gpus[2];
    assert_int_equal(g->index, 2);
    assert_string_equal(g->uuid, "GPU-00000000-0000-0000-0000-000000000002");
    assert_string_equal(g->name, "Fake \"GPU\" 2");
    assert_int_equal(g->memory_used, INT64_C(301) << 20);
    assert_int_equal(g->memory_total, INT64_C(3000) << 20);
    assert_int_equal(g->utilization, 20);
    assert_int_equal(g->memory_utilization, 2);
    assert_int_equal(r.nprocesses, 3);
    assert_int_equal(r.processes[0].pid, 4000);
    assert_int_equal(r.processes[0].memory_used, 50 << 20);
    assert_int_equal(r.processes[1].memory_used, SC_GPU_UNKNOWN);
}

static void an_older_driver_has_the_older_call(void **state)
{
    (void)state;
    read_inventory("gpus=1 old=memory");
    assert_int_equal(r.gpus[0].memory_used, INT64_C(401) << 20);
}

static void what_a_gpu_does_not_tell_is_unknown(void **state)
{
    (void)state;
    read_inventory("gpus=1 fail=utilization");
    assert_int_equal(r.ngpus, 1);
    assert_int_equal(r.gpus[0].utilization, SC_GPU_UNKNOWN);
    assert_int_equal(r.gpus[0].memory_used, INT64_C(101) << 20);
    read_inventory("gpus=1 fail=memory");
    assert_int_equal(r.gpus[0].memory_used, SC_GPU_UNKNOWN);
    assert_int_equal(r.gpus[0].utilization, 0);
}

static void a_gpu_that_does_not_answer_is_left_out(void **state)
{
    (void)state;
    read_inventory("gpus=2 fail=handle after=2");
    assert_int_equal(r.ngpus, 1);
    assert_int_equal(r.gpus[0].index, 0);
    read_inventory("gpus=2 fail=count");
    assert_int_equal(r.ngpus, 0);
    assert_non_null(strstr(r.error, "Driver/library version mismatch"));
}

static void look_twice(const char *behaviour)
{
    static struct sc_gpm m;
    struct sc_nvml n;
    setenv("FAKE_NVML", behaviour, 1);
    assert_int_equal(sc_nvml_open(&n, &msg), 0);
    for (int i = 0; i < 2; i++) {
        sc_inventory_read(&n, &r);
        (void)sc_gpm_look(&m, &n, &r);
        assert_true(i || r.gpus[0].sm_utilization == SC_GPU_UNKNOWN); /* nothing to compare with */
    }
    sc_gpm_close(&m, &n);
    sc_nvml_close(&n);
}

static void how_busy_a_gpu_is_its_counters_tell(void **state)
{
    (void)state;
    look_twice("gpus=3 gpm=41.6");
    assert_int_equal(r.gpus[2].sm_utilization, 42);
    assert_int_equal(r.gpus[2].bandwidth_utilization, 2);
    look_twice("gpus=2 mig=2 gpm=7"); /* of a divided GPU they are not asked */
    assert_int_equal(r.gpus[0].sm_utilization, SC_GPU_UNKNOWN);
    assert_int_equal(r.gpus[1].sm_utilization, 7);
    look_twice("gpus=1");
    assert_int_equal(r.gpus[0].sm_utilization, SC_GPU_UNKNOWN);
    look_twice("gpus=1 gpm=50 fail=gpm");
    assert_int_equal(r.gpus[0].sm_utilization, SC_GPU_UNKNOWN);
    look_twice("gpus=1 gpm=nan");
    assert_int_equal(r.gpus[0].sm_utilization, SC_GPU_UNKNOWN);
    assert_int_equal(r.gpus[0].bandwidth_utilization, 2);
}

/* ---- the agent ------------------------------------------------------------------------------------- */

struct agent {
    pid_t pid;
    int in, out; /* our ends */
    size_t n;
    char text[SC_GPU_LINE_BYTES];
};

static void start(struct agent *a, const char *behaviour)
{
    int in[2], out[2];
    static char name[] = "agent", role[] = "--role=gpu-agent", interval[] = "--interval=20";
    char *argv[] = {name, role, interval, NULL};
    setenv("FAKE_NVML", behaviour, 1);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    a->pid = fork();
    assert_true(a->pid >= 0);
    if (a->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(99);
    }
    close(in[0]);
    close(out[1]);
    a->in = in[1];
    a->out = out[0];
    a->n = 0;
}

/* The next line; false at the end. */
static bool next_report(struct agent *a)
{
    char *end;
    while (!(end = memchr(a->text, '\n', a->n))) {
        struct pollfd p = {.fd = a->out, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ssize_t n = read(a->out, a->text + a->n, sizeof a->text - a->n);
        assert_true(n >= 0);
        if (n == 0)
            return false;
        a->n += (size_t)n;
    }
    size_t length = (size_t)(end - a->text) + 1;
    assert_int_equal(sc_gpu_parse_line(sc_span(a->text, length), &r), 0);
    memmove(a->text, a->text + length, a->n - length);
    a->n -= length;
    return true;
}

static int ended(struct agent *a)
{
    int status = 0;
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    while (waitpid(a->pid, &status, WNOHANG) == 0) {
        if (sc_clock_ms() > limit) {
            kill(a->pid, SIGKILL);
            fail_msg("the agent goes on");
        }
        usleep(1000);
    }
    if (a->in >= 0)
        close(a->in);
    if (a->out >= 0)
        close(a->out);
    return status;
}

static void the_agent_reports_again_and_again_until_its_input_ends(void **state)
{
    (void)state;
    static struct agent a;
    start(&a, "gpus=2");
    for (int i = 0; i < 5; i++) {
        assert_true(next_report(&a));
        assert_int_equal(r.ngpus, 2);
    }
    close(a.in);
    a.in = -1;
    while (next_report(&a))
        ;
    assert_int_equal(ended(&a), 0);
}

static void the_agent_ends_with_its_reader(void **state)
{
    (void)state;
    static struct agent a;
    start(&a, "gpus=2");
    assert_true(next_report(&a));
    close(a.out);
    a.out = -1;
    assert_int_equal(ended(&a), 0);
}

static void the_agent_ends_when_asked(void **state)
{
    (void)state;
    static struct agent a;
    start(&a, "gpus=2");
    assert_true(next_report(&a));
    kill(a.pid, SIGTERM);
    assert_int_equal(ended(&a), 0);
}

/* A reader that sleeps finds old reports, then new ones, and nothing torn. */
static void a_slow_reader_gets_whole_lines(void **state)
{
    (void)state;
    static struct agent a;
    start(&a, "gpus=64");
    (void)fcntl(a.out, F_SETPIPE_SZ, 4096);
    usleep(200 * 1000);
    for (int i = 0; i < 20; i++) {
        assert_true(next_report(&a));
        assert_int_equal(r.ngpus, 64);
        assert_int_equal(r.nprocesses, 64);
    }
    close(a.in);
    a.in = -1;
    while (next_report(&a))
        ;
    assert_int_equal(ended(&a), 0);
}

static void without_a_driver_the_agent_is_not_started_again(void **state)
{
    (void)state;
    static struct agent a;
    setenv(SC_ENV_NVML, "/nowhere/libnvidia-ml.so.1", 1);
    start(&a, "");
    assert_false(next_report(&a));
    assert_int_equal(WEXITSTATUS(ended(&a)), SC_EXIT_FATAL);
}

static void errors_of_the_driver_are_reported(void **state)
{
    (void)state;
    static struct agent a;
    start(&a, "gpus=1 fail=count after=2");
    assert_true(next_report(&a));
    assert_int_equal(r.ngpus, 1);
    assert_true(next_report(&a));
    assert_non_null(strstr(r.error, "Driver/library version mismatch"));
    close(a.in);
    a.in = -1;
    while (next_report(&a))
        ;
    assert_int_equal(ended(&a), 0);
}

/* Nobody is left behind when the parent of a hanging agent dies. */
static void a_hanging_agent_dies_with_its_parent(void **state)
{
    (void)state;
    int p[2];
    pid_t agent = 0;
    char byte;
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        static struct agent a;
        start(&a, "hang=init");
        usleep(100 * 1000); /* until it hangs */
        if (write(p[1], &a.pid, sizeof a.pid) < 0)
            _exit(1);
        pause();
        _exit(0);
    }
    close(p[1]);
    assert_int_equal(read(p[0], &agent, sizeof agent), sizeof agent);
    assert_int_equal(kill(agent, 0), 0);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_int_equal(read(p[0], &byte, 1), 0);
    close(p[0]);
    int64_t limit = sc_clock_ms() + PATIENCE_MS;
    char path[64], state_line[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)agent);
    for (;;) {
        FILE *f = fopen(path, "r");
        if (!f)
            break;
        bool read_it = fgets(state_line, sizeof state_line, f) != NULL;
        fclose(f);
        if (!read_it || strstr(state_line, ") Z"))
            break; /* dead; whoever is pid 1 will take it away */
        assert_true(sc_clock_ms() < limit);
        usleep(1000);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--role=gpu-agent") == 0)
        return sc_gpu_agent_main(argc, argv);
    if (argc > 1 && strcmp(argv[1], "--role=gpu-count") == 0)
        return sc_gpu_count_main();
    find_fake();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(gpus_are_counted, setup),
        cmocka_unit_test_setup(the_variable_is_believed_without_asking_the_driver, setup),
        cmocka_unit_test_setup(without_a_driver_there_are_none, setup),
        cmocka_unit_test_setup(a_library_of_another_kind_is_named, setup),
        cmocka_unit_test_setup(a_driver_that_does_not_come_up_is_quoted, setup),
        cmocka_unit_test_setup(a_driver_that_hangs_is_given_up, setup),
        cmocka_unit_test_setup(a_program_that_says_something_else_counts_as_none, setup),
        cmocka_unit_test_setup(the_inventory_tells_all, setup),
        cmocka_unit_test_setup(an_older_driver_has_the_older_call, setup),
        cmocka_unit_test_setup(what_a_gpu_does_not_tell_is_unknown, setup),
        cmocka_unit_test_setup(a_gpu_that_does_not_answer_is_left_out, setup),
        cmocka_unit_test_setup(how_busy_a_gpu_is_its_counters_tell, setup),
        cmocka_unit_test_setup(the_agent_reports_again_and_again_until_its_input_ends, setup),
        cmocka_unit_test_setup(the_agent_ends_with_its_reader, setup),
        cmocka_unit_test_setup(the_agent_ends_when_asked, setup),
        cmocka_unit_test_setup(a_slow_reader_gets_whole_lines, setup),
        cmocka_unit_test_setup(without_a_driver_the_agent_is_not_started_again, setup),
        cmocka_unit_test_setup(errors_of_the_driver_are_reported, setup),
        cmocka_unit_test_setup(a_hanging_agent_dies_with_its_parent, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
