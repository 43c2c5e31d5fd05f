#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "metrics/collector.h"

static struct sc_loops *loops;
static struct sc_metrics *m;
static struct sc_buf out;
static char script[64];
static int64_t memory_of[3];

static int setup(void **state)
{
    (void)state;
    snprintf(script, sizeof script, "/tmp/sc-collector-XXXXXX");
    int fd = mkstemp(script);
    if (fd < 0 || sc_loops_new(&loops, 1, NULL) < 0)
        return -1;
    close(fd);
    memset(memory_of, 0, sizeof memory_of);
    sc_buf_init(&out, 1 << 20);
    m = sc_metrics_new(1, "vm");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_loops_del(loops);
    sc_metrics_del(m);
    sc_buf_free(&out);
    unlink(script);
    return 0;
}

static const char *shown(const char *name)
{
    struct sc_span n = sc_span_str(name);
    sc_buf_clear(&out);
    sc_metrics_render(m, SC_PROM_TEXT, &n, 1, &out);
    sc_buf_char(&out, '\0');
    return out.p;
}

static void memory(void *ctx, int pid, int64_t bytes)
{
    (void)ctx;
    if (pid >= 0 && pid < 3)
        memory_of[pid] = bytes;
}

static void pids(void *ctx, struct sc_buf *b)
{
    (void)ctx;
    sc_buf_str(b, "1,2");
}

static struct sc_collector *start(const char *text)
{
    FILE *f = fopen(script, "w");
    fputs(text, f);
    fclose(f);
    char command[128];
    snprintf(command, sizeof command, " %s  --gpu\t0 ", script);
    struct sc_collector_config c = {.python = "/bin/sh",
                                    .command = command,
                                    .home = "/",
                                    .interval_s = 60,
                                    .metrics = m,
                                    .pids = pids,
                                    .memory = memory};
    return sc_collector_start(sc_loops_at(loops, 0), &c);
}

static void run_until(const char *name, const char *text)
{
    int64_t end = sc_clock_ms() + 10000;
    while (!strstr(shown(name), text) && sc_clock_ms() < end)
        uv_run(&sc_loops_at(loops, 0)->uv, UV_RUN_ONCE);
    if (!strstr(shown(name), text))
        fail_msg("%s is not in %s", text, shown(name));
}

static void its_lines_become_metrics(void **state)
{
    (void)state;
    struct sc_collector *c =
        start("read pids\n"
              "echo \"CPUUtilization.Percent:12.5|#Level:$PWD$2|#hostname:vm,1717105563\"\n"
              "echo 'GPUMemoryUsed.Megabytes:33|#Level:Host,device_id:0|#hostname:vm,1'\n"
              "echo 'nonsense'\n"
              "echo\n"
              "IFS=,; for p in $pids; do echo $p:${p}000; done\n"
              "echo 0:x; echo y\n"
              "echo oops >&2\n");
    run_until("CPUUtilization", "CPUUtilization{Level=\"/0\",Hostname=\"vm\",} 12.5\n");
    assert_non_null(strstr(shown("GPUMemoryUsed"),
                           "GPUMemoryUsed{Level=\"Host\",DeviceId=\"0\",Hostname=\"vm\",} 33.0\n"));
    assert_int_equal(memory_of[1], 1000);
    assert_int_equal(memory_of[2], 2000);
    assert_int_equal(memory_of[0], 0);
    sc_collector_stop(c);
}

/* Neither a program that hangs nor one that floods holds up an end. */
static void it_can_be_stopped_in_its_run(void **state)
{
    (void)state;
    static const char *const bad[] = {"sleep 1000 & sleep 1000", "exec cat /dev/zero", "kill -9 $$"};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        struct sc_collector *c = start(bad[i]);
        int64_t end = sc_clock_ms() + 100;
        while (sc_clock_ms() < end)
            uv_run(&sc_loops_at(loops, 0)->uv, UV_RUN_NOWAIT);
        sc_collector_stop(c);
        end = sc_clock_ms() + 5000;
        while (uv_run(&sc_loops_at(loops, 0)->uv, UV_RUN_NOWAIT) && sc_clock_ms() < end - 4900)
            ;
    }
}

static void what_cannot_be_run_is_an_error_line(void **state)
{
    (void)state;
    struct sc_collector_config config = {
        .python = "/nowhere/python", .command = "x.py", .interval_s = 1, .metrics = m};
    struct sc_collector *c = sc_collector_start(sc_loops_at(loops, 0), &config);
    int64_t end = sc_clock_ms() + 50;
    while (sc_clock_ms() < end)
        uv_run(&sc_loops_at(loops, 0)->uv, UV_RUN_NOWAIT);
    sc_collector_stop(c);
}

static void only_what_is_declared_is_taken(void **state)
{
    (void)state;
    sc_collector_read(SC_SPAN("Mine.Percent:1|#Level:Host|#hostname:h,1\n"
                              "CPUUtilization.Percent:1|#|#hostname:h,1\n"
                              "CPUUtilization.Percent:1-1|#Level:Host|#hostname:h,1\n"
                              "DiskUsage.Gigabytes:7|#Level:Host|#hostname:h,1\r\n"
                              "\r\n2:3000\r\n"),
                      m, memory, NULL);
    assert_null(strstr(shown("Mine"), "{"));
    assert_null(strstr(shown("CPUUtilization"), "{"));
    assert_non_null(strstr(shown("DiskUsage"), "} 7.0\n"));
    assert_int_equal(memory_of[2], 3000);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(its_lines_become_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(it_can_be_stopped_in_its_run, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_run_is_an_error_line, setup, teardown),
        cmocka_unit_test_setup_teardown(only_what_is_declared_is_taken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
