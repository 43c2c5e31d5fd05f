#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "metrics/registry.h"
#include "model/output.h"

static char dir[64];
static struct sc_loops *loops;
static struct sc_loop *loop;
static struct sc_metrics *m;
static struct sc_output *o;
static int fds[2], seen_pid;

static void on_pid(void *ctx, int pid)
{
    *(int *)ctx = pid;
}

static int open_output(bool is_stderr)
{
    struct sc_output_spec spec = {.thread = is_stderr ? "W-9000-m_1.0-stderr" : "W-9000-m_1.0-stdout",
                                  .is_stderr = is_stderr,
                                  .metrics = m,
                                  .model = "m",
                                  .version = "1.0",
                                  .on_pid = on_pid,
                                  .ctx = &seen_pid};
    if (pipe(fds) < 0)
        return -1;
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    o = sc_output_open(loop, fds[0], &spec);
    return o ? 0 : -1;
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/sc-output-XXXXXX");
    struct sc_log_config c = {.dir = dir, .level = SC_LOG_INFO};
    struct sc_metrics_config mc = {.to = SC_METRICS_TO_LOG};
    if (!mkdtemp(dir) || sc_log_open(&c, NULL) < 0 || sc_loops_new(&loops, 1, NULL) < 0)
        return -1;
    loop = sc_loops_at(loops, 0);
    m = sc_metrics_new(1, "vm");
    seen_pid = 0;
    return sc_metrics_configure(m, &mc, NULL);
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    if (o) {
        sc_output_close(o);
        close(fds[1]);
    }
    o = NULL;
    sc_loops_del(loops);
    sc_metrics_del(m);
    sc_log_close();
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static void prints(const char *text)
{
    assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
}

static void turns(unsigned n)
{
    while (n-- > 0)
        uv_run(&loop->uv, UV_RUN_NOWAIT);
}

/* A file's lines without their times. */
static const char *content(const char *name)
{
    static char text[1 << 20];
    char path[256], line[3 * SC_LOG_LINE_MAX];
    size_t n = 0;
    sc_log_sync();
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[0] = '\0';
    while (fgets(line, sizeof line, f) && n < sizeof text / 2)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", line + 24);
    fclose(f);
    return text;
}

static void lines_reach_the_models_log(void **state)
{
    (void)state;
    assert_int_equal(open_output(false), 0);
    prints("one\n\ntwo\r\nthree\rfour\n  [METRICS]x\n[PID]4711\n[PID]12x\nhalf");
    turns(3);
    assert_string_equal(content("model_log.log"), "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - one\n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - \n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - two\n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - three\n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - four\n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG -   [METRICS]x\n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - [PID]4711\n"
                                                  "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - [PID]12x\n");
    assert_int_equal(seen_pid, 4711);
    prints(" and half\n");
    turns(3);
    assert_non_null(strstr(content("model_log.log"), " - half and half\n"));
}

/* A carriage return at the end of what was read, its newline with the next. */
static void a_line_may_come_in_parts(void **state)
{
    (void)state;
    assert_int_equal(open_output(true), 0);
    prints("a\r");
    turns(2);
    prints("\nb");
    turns(2);
    prints("\n\n");
    turns(2);
    assert_string_equal(content("model_log.log"), "[WARN ] W-9000-m_1.0-stderr MODEL_LOG - a\n"
                                                  "[WARN ] W-9000-m_1.0-stderr MODEL_LOG - b\n"
                                                  "[WARN ] W-9000-m_1.0-stderr MODEL_LOG - \n");
}

static void metrics_are_not_text(void **state)
{
    (void)state;
    assert_int_equal(open_output(false), 0);
    prints(
        "[METRICS]PredictionTime.Milliseconds:0.27|#ModelName:m,Level:Model|#type:GAUGE|#hostname:vm,1,f5\n");
    prints("INFO > [METRICS]HandlerTime.ms:2|#ModelName:m,Level:Model|#hostname:vm,1,f6\n");
    prints("[METRICS]no metric\n");
    turns(3);
    assert_string_equal(content("model_log.log"), "");
    const char *all = content("model_metrics.log");
    assert_non_null(
        strstr(all, "- PredictionTime.ms:0.27|#ModelName:m,Level:Model|#hostname:vm,requestID:f5,"));
    assert_non_null(strstr(all, "- HandlerTime.ms:2.0|#ModelName:m,Level:Model|#hostname:vm,requestID:f6,"));
    assert_non_null(strstr(content("ts_log.log"), "Failed to parse metrics line: \"[METRICS]no metric\"."));
    assert_int_equal(sc_output_tail(o).n, 0);
}

static void text_is_made_harmless(void **state)
{
    (void)state;
    assert_int_equal(open_output(false), 0);
    prints("x\ty \x01 \x1b[31mred \xff\xc3 \xc3\xa4 \xc2\x9b \x7f\n");
    turns(2);
    assert_string_equal(content("model_log.log"), "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - x\ty ? ?[31mred "
                                                  "\xef\xbf\xbd\xef\xbf\xbd \xc3\xa4 \xef\xbf\xbd ?\n");
}

static void a_long_line_comes_in_pieces(void **state)
{
    (void)state;
    static char text[SC_OUTPUT_LINE_BYTES + 3];
    assert_int_equal(open_output(false), 0);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 2] = '\n';
    for (size_t done = 0; done < sizeof text - 1;) {
        ssize_t w = write(fds[1], text + done, sizeof text - 1 - done);
        done += w > 0 ? (size_t)w : 0;
        turns(1);
    }
    turns(8);
    size_t x = 0, lines = 0, longest = 0;
    for (const char *p = content("model_log.log"); *p; lines++) {
        p = strstr(p, " - ") + 3;
        size_t n = strspn(p, "x");
        x += n;
        longest = SC_MAX(longest, n);
        p = strchr(p, '\n') + 1;
    }
    assert_int_equal(x, SC_OUTPUT_LINE_BYTES + 1);
    assert_true(longest <= SC_LOG_LINE_MAX && lines <= SC_OUTPUT_LINE_BYTES / SC_LOG_LINE_MAX + 3);
}

/* At a worker's death: what was printed without a newline, and half a metric, which is said to be none. */
static void a_drain_takes_what_is_there(void **state)
{
    (void)state;
    assert_int_equal(open_output(true), 0);
    prints("Traceback:\n  last words");
    sc_output_drain(o);
    assert_non_null(strstr(content("model_log.log"), "-   last words\n"));
    struct sc_span tail = sc_output_tail(o);
    assert_int_equal(tail.n, strlen("Traceback:\n  last words\n"));
    assert_memory_equal(tail.p, "Traceback:\n  last words\n", tail.n);
    /* The next life prints into the same pipe. */
    prints("again\n");
    turns(2);
    assert_non_null(strstr(content("model_log.log"), "- again\n"));
}

static void the_tail_is_the_latest_text(void **state)
{
    (void)state;
    char line[64];
    assert_int_equal(open_output(true), 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof line, "line %d\n", i);
        prints(line);
        turns(1);
    }
    struct sc_span tail = sc_output_tail(o);
    assert_true(tail.n > SC_OUTPUT_TAIL_BYTES / 2 && tail.n <= SC_OUTPUT_TAIL_BYTES);
    assert_memory_equal(tail.p, "line ", 5);
    assert_memory_equal(tail.p + tail.n - 9, "line 999\n", 9);
}

static void text_without_an_end_is_shown_after_a_while(void **state)
{
    (void)state;
    assert_int_equal(open_output(false), 0);
    prints("are you sure? ");
    int64_t start = sc_clock_ms();
    while (!strstr(content("model_log.log"), "sure") && sc_clock_ms() < start + 5000)
        uv_run(&loop->uv, UV_RUN_ONCE);
    assert_in_range(sc_clock_ms() - start, SC_OUTPUT_PARTIAL_MS - 10, 6000);
    assert_non_null(strstr(content("model_log.log"), "- are you sure? \n"));
}

/* A flood costs a turn no more than its share, and no memory; what was printed is read in the end. */
static void a_flood_does_not_hold_the_loop_up(void **state)
{
    (void)state;
    static char text[16384];
    memset(text, '\n', sizeof text);
    assert_int_equal(open_output(false), 0);
    while (write(fds[1], text, sizeof text) > 0)
        ;
    int before = 0, after;
    ioctl(fds[0], FIONREAD, &before);
    assert_true(before >= 2 * SC_OUTPUT_TURN_BYTES);
    int64_t end = sc_clock_ms() + 20000;
    while (before > 0 && sc_clock_ms() < end) {
        turns(1);
        ioctl(fds[0], FIONREAD, &after);
        assert_in_range(before - after, 0, SC_OUTPUT_TURN_BYTES);
        before = after;
    }
    assert_int_equal(before, 0);
}

static void the_end_of_a_pipe_is_quiet(void **state)
{
    (void)state;
    assert_int_equal(open_output(false), 0);
    prints("bye");
    close(fds[1]);
    fds[1] = open("/dev/null", O_WRONLY);
    turns(3);
    assert_non_null(strstr(content("model_log.log"), "- bye\n"));
    assert_int_equal(uv_run(&loop->uv, UV_RUN_NOWAIT) >= 0, 1);
    struct sc_output_spec spec = {.thread = "t"};
    int regular = open(strcat(dir, "/ts_log.log"), O_RDONLY);
    dir[strlen(dir) - strlen("/ts_log.log")] = '\0';
    assert_null(sc_output_open(loop, regular, &spec));
    assert_int_equal(fcntl(regular, F_GETFD), -1);
}

int main(void)
{
#define WITH_LOOP(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_LOOP(lines_reach_the_models_log),
        WITH_LOOP(a_line_may_come_in_parts),
        WITH_LOOP(metrics_are_not_text),
        WITH_LOOP(text_is_made_harmless),
        WITH_LOOP(a_long_line_comes_in_pieces),
        WITH_LOOP(a_drain_takes_what_is_there),
        WITH_LOOP(the_tail_is_the_latest_text),
        WITH_LOOP(text_without_an_end_is_shown_after_a_while),
        WITH_LOOP(a_flood_does_not_hold_the_loop_up),
        WITH_LOOP(the_end_of_a_pipe_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
