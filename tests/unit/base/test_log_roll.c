#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/log_roll.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/sc-roll-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[128];
    sc_log_compress_end();
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Rolls ts_log.log of 30 May over; returns the new name without its folder. */
static const char *roll(const char *text)
{
    static char to[PATH_MAX + 64];
    char path[128];
    write_file("ts_log.log", text);
    snprintf(path, sizeof path, "%s/ts_log", dir);
    assert_int_equal(sc_log_roll(path, 30, 4, to), 0);
    assert_int_not_equal(access(path_of("ts_log.log"), F_OK), 0);
    return to + strlen(dir) + 1;
}

static void files_of_one_day_are_numbered(void **state)
{
    (void)state;
    assert_string_equal(roll("a"), "ts_log.30-May.log");
    assert_string_equal(roll("b"), "ts_log.30-May.2.log");
    assert_string_equal(roll("c"), "ts_log.30-May.3.log");
    /* A name is taken, too, when its file was compressed. */
    unlink(path_of("ts_log.30-May.2.log"));
    write_file("ts_log.30-May.2.log.gz", "");
    assert_string_equal(roll("d"), "ts_log.30-May.4.log");
}

static void the_last_number_is_overwritten(void **state)
{
    (void)state;
    char name[64];
    write_file("ts_log.30-May.log", "");
    for (int i = 2; i <= SC_LOG_ROLLED_MAX; i++) {
        snprintf(name, sizeof name, "ts_log.30-May.%d.log", i);
        write_file(name, "");
    }
    snprintf(name, sizeof name, "ts_log.30-May.%d.log", SC_LOG_ROLLED_MAX);
    assert_string_equal(roll("new"), name);
    struct stat st;
    assert_int_equal(stat(path_of(name), &st), 0);
    assert_int_equal(st.st_size, 3);
}

static void a_file_that_is_gone_is_said_to_be(void **state)
{
    (void)state;
    char to[PATH_MAX + 64];
    assert_int_equal(sc_log_roll(path_of("nothing"), 1, 0, to), SC_ENOTFOUND);
}

static void a_file_is_compressed_and_removed(void **state)
{
    (void)state;
    static char text[300000], again[sizeof text + 1];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i * i % 26);
    write_file("x.log", text);
    sc_log_compress(path_of("x.log"));
    int64_t limit = sc_clock_ms() + 10000;
    while (access(path_of("x.log"), F_OK) == 0 && sc_clock_ms() < limit)
        usleep(1000);
    assert_int_not_equal(access(path_of("x.log"), F_OK), 0);
    assert_int_not_equal(access(path_of("x.log.gz.part"), F_OK), 0);
    gzFile f = gzopen(path_of("x.log.gz"), "r");
    assert_non_null(f);
    assert_int_equal(gzread(f, again, sizeof again), sizeof text - 1);
    assert_int_equal(gzdirect(f), 0);
    gzclose(f);
    assert_memory_equal(text, again, sizeof text - 1);
}

/* What cannot be compressed stays as it is, and an end in the midst leaves nothing half done. */
static void what_is_not_compressed_stays(void **state)
{
    (void)state;
    write_file("x.log", "text");
    assert_int_equal(mkdir(path_of("x.log.gz"), 0755), 0);
    write_file("big.log", "");
    int fd = open(path_of("big.log"), O_WRONLY);
    assert_int_equal(ftruncate(fd, 1 << 30), 0);
    close(fd);
    sc_log_compress(path_of("nothing"));
    sc_log_compress(path_of("x.log"));
    sc_log_compress(path_of("big.log"));
    int64_t limit = sc_clock_ms() + 10000;
    while (access(path_of("big.log.gz.part"), F_OK) != 0 && sc_clock_ms() < limit)
        usleep(1000);
    sc_log_compress_end();
    assert_int_equal(access(path_of("x.log"), F_OK), 0);
    assert_int_equal(access(path_of("big.log"), F_OK), 0);
    assert_int_not_equal(access(path_of("x.log.gz.part"), F_OK), 0);
    assert_int_not_equal(access(path_of("big.log.gz.part"), F_OK), 0);
}

int main(void)
{
#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        WITH_DIR(files_of_one_day_are_numbered),     WITH_DIR(the_last_number_is_overwritten),
        WITH_DIR(a_file_that_is_gone_is_said_to_be), WITH_DIR(a_file_is_compressed_and_removed),
        WITH_DIR(what_is_not_compressed_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
