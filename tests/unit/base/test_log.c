#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/log_sink.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/sc-log-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static char *content(const char *name)
{
    static char text[4 << 20];
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static unsigned lines_of(const char *name)
{
    unsigned n = 0;
    for (const char *p = content(name); p && (p = strchr(p, '\n')); p++)
        n++;
    return n;
}

static struct sc_log_config config(void)
{
    return (struct sc_log_config){.dir = dir, .level = SC_LOG_INFO, .access = true};
}

static void open_log(void)
{
    struct sc_log_config c = config();
    struct sc_msg msg;
    assert_int_equal(sc_log_open(&c, &msg), 0);
}

static void patterns_are_those_of_torchserve(void **state)
{
    (void)state;
    char out[SC_LOG_FORMATTED_MAX];
    struct sc_log_time t;
    struct sc_log_record r = {1717105563625, SC_LOGGER_ACCESS, SC_LOG_INFO, SC_SPAN("loop-2"),
                              SC_SPAN("/127.0.0.1:53514 \"GET /ping HTTP/1.1\" 200 0")};
    setenv("TZ", "UTC", 1);
    tzset();
    sc_log_time_init(&t);
    size_t n = sc_log_format(out, &r, true, false, &t);
    out[n] = '\0';
    assert_string_equal(out,
                        "2024-05-30T21:46:03,625 [INFO ] loop-2 ACCESS_LOG - /127.0.0.1:53514 \"GET /ping "
                        "HTTP/1.1\" 200 0\n");
    n = sc_log_format(out, &r, false, false, &t);
    out[n] = '\0';
    assert_string_equal(out, "2024-05-30T21:46:03,625 - /127.0.0.1:53514 \"GET /ping HTTP/1.1\" 200 0\n");

    r.level = SC_LOG_DEBUG;
    r.logger = SC_LOGGER_SERVER;
    r.wall_ms += 375;
    r.text = SC_SPAN("x");
    n = sc_log_format(out, &r, true, false, &t);
    out[n] = '\0';
    assert_string_equal(out, "2024-05-30T21:46:04,000 [DEBUG] loop-2 org.pytorch.serve.ModelServer - x\n");
}

static void times_are_local(void **state)
{
    (void)state;
    char out[SC_LOG_FORMATTED_MAX];
    struct sc_log_time t;
    struct sc_log_record r = {1717105563625, SC_LOGGER_MODEL, SC_LOG_WARN, SC_SPAN("W-9000-m_1.0-stderr"),
                              SC_SPAN("say \"\xc3\xa4\"\\\n\x01")};
    setenv("TZ", "XYZ-5:30", 1);
    tzset();
    sc_log_time_init(&t);
    size_t n = sc_log_format(out, &r, true, true, &t);
    out[n] = '\0';
    assert_string_equal(out, "{\"time\":\"2024-05-31T03:16:03.625+05:30\",\"level\":\"WARN\",\"thread\":"
                             "\"W-9000-m_1.0-stderr\",\"logger\":\"MODEL_LOG\",\"message\":"
                             "\"say \\\"\xc3\xa4\\\"\\\\\\u000a\\u0001\"}\n");
    r.text = SC_SPAN("\xff\xc3");
    n = sc_log_format(out, &r, true, true, &t);
    out[n] = '\0';
    assert_non_null(strstr(out, "\"message\":\"\\u00ff\\u00c3\"}\n"));
    setenv("TZ", "UTC", 1);
    tzset();
}

/* A worker's text cannot forge another line; a name cannot shift the fields of a metric line. */
static void strangers_text_stays_on_its_line(void **state)
{
    (void)state;
    char out[SC_LOG_FORMATTED_MAX];
    struct sc_log_time t;
    struct sc_log_record r = {0, SC_LOGGER_MODEL, SC_LOG_INFO, SC_SPAN("W-9000-a:b|c"),
                              SC_SPAN("one\r\ntwo")};
    sc_log_time_init(&t);
    size_t n = sc_log_format(out, &r, true, false, &t);
    out[n] = '\0';
    assert_non_null(strstr(out, " W-9000-a_b_c MODEL_LOG - one  two\n"));
    r.logger = SC_LOGGER_SERVER;
    n = sc_log_format(out, &r, true, false, &t);
    out[n] = '\0';
    assert_non_null(strstr(out, "one\r\ntwo\n"));
}

static void lines_reach_their_files(void **state)
{
    (void)state;
    open_log();
    const char *files[] = {"ts_log.log", "model_log.log", "access_log.log", "ts_metrics.log",
                           "model_metrics.log"};
    for (unsigned i = 0; i < SC_COUNT(files); i++)
        assert_non_null(content(files[i]));
    sc_log_thread_name("loop-0");
    sc_log(SC_LOG_INFO, "server %d", 1);
    sc_log(SC_LOG_DEBUG, "below the level");
    sc_log_line(SC_LOGGER_MODEL, SC_LOG_WARN, "W-9000-m_1.0-stderr", SC_SPAN("from a handler"));
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("access"));
    sc_log_line(SC_LOGGER_METRICS, SC_LOG_INFO, NULL,
                SC_SPAN("Requests2XX.Count:1.0|#Level:Host|#hostname:h"));
    sc_log_line(SC_LOGGER_MODEL_METRICS, SC_LOG_INFO, NULL, SC_SPAN(""));
    sc_log_sync();
    assert_int_equal(lines_of("ts_log.log"), 5);
    assert_non_null(
        strstr(content("ts_log.log"), " [INFO ] loop-0 org.pytorch.serve.ModelServer - server 1\n"));
    assert_non_null(strstr(content("ts_log.log"), " [INFO ] loop-0 ACCESS_LOG - access\n"));
    assert_non_null(
        strstr(content("model_log.log"), " [WARN ] W-9000-m_1.0-stderr MODEL_LOG - from a handler\n"));
    assert_string_equal(content("access_log.log") + 23, " - access\n");
    assert_string_equal(content("ts_metrics.log") + 23, " - Requests2XX.Count:1.0|#Level:Host|#hostname:h\n");
    assert_string_equal(content("model_metrics.log") + 23, " - \n");
    sc_log_close();
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    static char line[3 * SC_LOG_LINE_MAX];
    memset(line, 'x', sizeof line);
    open_log();
    sc_log_line(SC_LOGGER_SERVER, SC_LOG_INFO, "t", sc_span(line, sizeof line));
    sc_log_sync();
    assert_int_equal(strlen(strchr(content("ts_log.log"), 'x')), SC_LOG_LINE_MAX + 1);
    sc_log_close();
}

static void *write_many(void *arg)
{
    for (unsigned i = 0; i < 5000; i++)
        sc_log(SC_LOG_INFO, "%s %u %.*s", (const char *)arg, i, (int)(i % 90),
               "..........................................................................................");
    return NULL;
}

/* Each thread's lines come in order, none twice, and every missing one is counted. */
static void lines_of_many_threads_are_whole(void **state)
{
    (void)state;
    open_log();
    uint64_t dropped = sc_log_dropped();
    static const char *const names[] = {"a", "b", "c", "d"};
    pthread_t threads[SC_COUNT(names)];
    for (unsigned i = 0; i < SC_COUNT(names); i++)
        pthread_create(&threads[i], NULL, write_many, (void *)(uintptr_t)names[i]);
    for (unsigned i = 0; i < SC_COUNT(names); i++)
        pthread_join(threads[i], NULL);
    sc_log_close();

    dropped = sc_log_dropped() - dropped;
    unsigned next[SC_COUNT(names)] = {0}, lines = 0;
    /* Line by line through strsep: the sanitizer looks at the whole rest for each strchr. */
    char *rest = content("ts_log.log"), *p;
    while ((p = strsep(&rest, "\n")) && *p) {
        char *text = strstr(p, " - ");
        assert_non_null(text);
        char who;
        unsigned i;
        if (strstr(p, "were dropped"))
            continue;
        assert_int_equal(sscanf(text, " - %c %u", &who, &i), 2);
        assert_true(who >= 'a' && who <= 'd' && i >= next[who - 'a']);
        assert_int_equal(strspn(strrchr(text, ' ') + 1, "."), i % 90);
        next[who - 'a'] = i + 1;
        lines++;
    }
    assert_int_equal(lines + dropped, 20000);
}

static void reopen_after_a_rename_writes_to_the_new_file(void **state)
{
    (void)state;
    char from[128], to[128];
    open_log();
    sc_log(SC_LOG_INFO, "before");
    sc_log_sync();
    snprintf(from, sizeof from, "%s/ts_log.log", dir);
    snprintf(to, sizeof to, "%s/old", dir);
    assert_int_equal(rename(from, to), 0);
    sc_log_reopen();
    int64_t limit = sc_clock_ms() + 5000;
    while (access(from, F_OK) != 0 && sc_clock_ms() < limit)
        usleep(1000);
    sc_log(SC_LOG_INFO, "after");
    sc_log_close();
    assert_non_null(strstr(content("ts_log.log"), "after"));
    assert_null(strstr(content("ts_log.log"), "before"));
    assert_non_null(strstr(content("old"), "before"));
}

static void a_file_of_100_mb_rolls_over(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/access_log.log", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, SC_LOG_FILE_BYTES), 0);
    close(fd);
    open_log();
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("fresh"));
    sc_log_sync();
    assert_int_equal(lines_of("access_log.log"), 1);
    sc_log_close();
    time_t now = time(NULL);
    char day[16];
    strftime(day, sizeof day, "%d-%b", localtime(&now));
    snprintf(path, sizeof path, "%s/access_log.%s.log", dir, day);
    struct stat st;
    if (stat(path, &st) == 0) {
        assert_int_equal(st.st_size, SC_LOG_FILE_BYTES);
    } else { /* compressed already */
        snprintf(path, sizeof path, "%s/access_log.%s.log.gz", dir, day);
        assert_int_equal(access(path, F_OK), 0);
    }
}

/* The supervisor and the frontend write the same files; only one of them may move a full one away. */
static void what_another_process_rolled_over_is_left_alone(void **state)
{
    (void)state;
    char path[128], moved[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/access_log.log", dir);
    snprintf(moved, sizeof moved, "%s/moved", dir);
    open_log();
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(truncate(moved, SC_LOG_FILE_BYTES), 0);
    FILE *f = fopen(path, "w");
    fputs("of the other\n", f);
    fclose(f);
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("mine"));
    sc_log_close();
    assert_int_equal(lines_of("access_log.log"), 2);
    assert_int_equal(stat(moved, &st), 0);
    assert_int_equal(st.st_size, SC_LOG_FILE_BYTES);
}

static void a_file_of_yesterday_rolls_over(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/access_log.log", dir);
    FILE *f = fopen(path, "w");
    fputs("old\n", f);
    fclose(f);
    struct timespec times[2] = {{.tv_sec = 1717105563}, {.tv_sec = 1717105563}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    open_log();
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("fresh"));
    sc_log_close();
    if (access(strcat(strcpy(path, dir), "/access_log.30-May.log.gz"), F_OK) != 0)
        assert_string_equal(content("access_log.30-May.log"), "old\n");
    assert_int_equal(lines_of("access_log.log"), 1);
}

static void an_unwritable_folder_is_named(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/file", dir);
    fclose(fopen(path, "w"));
    struct sc_log_config c = config();
    c.dir = path;
    struct sc_msg msg;
    assert_int_equal(sc_log_open(&c, &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, path));
    assert_non_null(strstr(msg.text, "LOG_LOCATION"));
    c.dir = dir;
    c.metrics_dir = path;
    assert_int_equal(sc_log_open(&c, &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, "METRICS_LOCATION"));
    /* and the log can still be opened */
    open_log();
    assert_int_equal(sc_log_open(&c, &msg), SC_EEXIST);
    sc_log_close();
}

/* /dev/full takes nothing: the lines are counted, the other files get theirs. */
static void a_full_disk_costs_only_its_lines(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/access_log.log", dir);
    assert_int_equal(symlink("/dev/full", path), 0);
    open_log();
    uint64_t dropped = sc_log_dropped();
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("one"));
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("two"));
    sc_log_sync();
    assert_int_equal(sc_log_dropped() - dropped, 2);
    sc_log(SC_LOG_INFO, "three");
    sc_log_close();
    const char *all = content("ts_log.log");
    assert_non_null(strstr(all, "two"));
    assert_non_null(strstr(all, "three"));
    assert_non_null(strstr(all, "Trouble with the log, 2 lines lost: access_log: No space left on device"));
}

/* The whole program stands behind a pipe that nobody empties: callers go on, the files are complete. */
static void a_stuck_stdout_holds_nobody_up(void **state)
{
    (void)state;
    int fds[2], saved = dup(STDOUT_FILENO);
    assert_int_equal(pipe(fds), 0);
    fflush(stdout);
    dup2(fds[1], STDOUT_FILENO);
    struct sc_log_config c = config();
    c.to_stdout = true;
    int rc = sc_log_open(&c, NULL);
    char line[1000];
    memset(line, 'x', sizeof line);
    int64_t slowest = 0;
    for (unsigned i = 0; i < 200; i++) {
        int64_t start = sc_clock_ns();
        sc_log_line(SC_LOGGER_SERVER, SC_LOG_INFO, NULL, sc_span(line, sizeof line));
        slowest = SC_MAX(slowest, sc_clock_ns() - start);
    }
    sc_log_sync();
    unsigned lines = lines_of("ts_log.log");
    sc_log_close();
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(rc, 0);
    assert_in_range(lines, 200, 201);
    assert_true(slowest < 100 * 1000 * 1000);
}

static void a_reader_that_left_is_no_sigpipe(void **state)
{
    (void)state;
    int fds[2], saved = dup(STDOUT_FILENO);
    assert_int_equal(pipe(fds), 0);
    fflush(stdout);
    dup2(fds[1], STDOUT_FILENO);
    close(fds[0]);
    struct sc_log_config c = config();
    c.to_stdout = true;
    int rc = sc_log_open(&c, NULL);
    sc_log(SC_LOG_INFO, "still here");
    sc_log_close();
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fds[1]);
    assert_int_equal(rc, 0);
    assert_non_null(strstr(content("ts_log.log"), "still here"));
}

static void run_child(char *text, size_t size, void (*child)(void))
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        child();
        _exit(0);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void say_one(void)
{
    sc_log(SC_LOG_ERROR, "from the child");
}

/* A child has no writer thread: its lines must neither vanish nor wait. */
static void without_a_writer_lines_go_to_stderr(void **state)
{
    (void)state;
    char text[512];
    run_child(text, sizeof text, say_one);
    assert_non_null(strstr(text, " [ERROR] "));
    assert_non_null(strstr(text, " org.pytorch.serve.ModelServer - from the child\n"));
    open_log();
    run_child(text, sizeof text, say_one);
    sc_log_close();
    assert_non_null(strstr(text, "from the child\n"));
    assert_null(strstr(content("ts_log.log"), "from the child"));
}

static void access_lines_can_be_off(void **state)
{
    (void)state;
    struct sc_log_config c = config();
    c.access = false;
    assert_int_equal(sc_log_open(&c, NULL), 0);
    assert_false(sc_log_enabled(SC_LOGGER_ACCESS, SC_LOG_INFO));
    assert_true(sc_log_enabled(SC_LOGGER_MODEL, SC_LOG_INFO));
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, SC_SPAN("no"));
    sc_log_close();
    assert_string_equal(content("access_log.log"), "");
}

int main(void)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_are_those_of_torchserve),
        cmocka_unit_test(times_are_local),
        cmocka_unit_test(strangers_text_stays_on_its_line),
        IN_DIR(without_a_writer_lines_go_to_stderr),
        IN_DIR(lines_reach_their_files),
        IN_DIR(a_long_line_is_cut),
        IN_DIR(lines_of_many_threads_are_whole),
        IN_DIR(reopen_after_a_rename_writes_to_the_new_file),
        IN_DIR(a_file_of_100_mb_rolls_over),
        IN_DIR(what_another_process_rolled_over_is_left_alone),
        IN_DIR(a_file_of_yesterday_rolls_over),
        IN_DIR(an_unwritable_folder_is_named),
        IN_DIR(a_full_disk_costs_only_its_lines),
        IN_DIR(a_stuck_stdout_holds_nobody_up),
        IN_DIR(a_reader_that_left_is_no_sigpipe),
        IN_DIR(access_lines_can_be_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
