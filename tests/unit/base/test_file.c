#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char dir[] = "/tmp/sconce-file-XXXXXX";
static char path[64];
static struct sc_buf b;
static struct sc_msg msg;

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sconce-file-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/f", dir);
    sc_buf_init(&b, 10000);
    msg.text[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sc_buf_free(&b);
    unlink(path);
    rmdir(dir);
    return 0;
}

static void write_bytes(size_t n)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fputc((int)(i % 251), f);
    fclose(f);
}

static void a_file_is_read_whole_behind_what_is_there(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 4095, 4096, 4097, 9000};
    for (size_t i = 0; i < SC_COUNT(sizes); i++) {
        write_bytes(sizes[i]);
        sc_buf_clear(&b);
        sc_buf_str(&b, "ab");
        assert_int_equal(sc_file_read(path, &b, &msg), 0);
        assert_int_equal(b.n, sizes[i] + 2);
        assert_memory_equal(b.p, "ab", 2);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal((unsigned char)b.p[k + 2], k % 251);
    }
}

static void what_exceeds_the_buffer_is_refused(void **state)
{
    (void)state;
    write_bytes(20000);
    assert_int_equal(sc_file_read(path, &b, &msg), SC_ELIMIT);
    assert_non_null(strstr(msg.text, path));
    assert_non_null(strstr(msg.text, "10000"));
}

static void what_is_not_there_is_named(void **state)
{
    (void)state;
    assert_int_equal(sc_file_read(path, &b, &msg), SC_ENOTFOUND);
    assert_non_null(strstr(msg.text, path));
    assert_int_equal(sc_file_read("/dev/null/x", &b, &msg), SC_ESYS);
}

static void only_regular_files_are_read(void **state)
{
    (void)state;
    assert_int_equal(sc_file_read(dir, &b, &msg), SC_ESYS);
    assert_int_equal(sc_file_read("/dev/zero", &b, &msg), SC_ESYS);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(5); /* a fifo that nobody writes must not be waited for */
    assert_int_equal(sc_file_read(path, &b, &msg), SC_ESYS);
    alarm(0);
    assert_non_null(strstr(msg.text, "no regular file"));
    assert_int_equal(b.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_whole_behind_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(what_exceeds_the_buffer_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(only_regular_files_are_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
