#include "test.h"

#include <errno.h>

#include "archive/extract.h"
#include "archive/tar_write.h"
#include "archive/zip_write.h"
#include "build.h"

static struct sc_msg msg;
static int file, target;

static int setup(void **state)
{
    if (make_work(state) < 0 || mkdir(in_work("out"), 0700) < 0)
        return -1;
    file = open(in_work("archive"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    target = open(in_work("out"), O_DIRECTORY | O_CLOEXEC);
    return file < 0 || target < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    close(file);
    close(target);
    return remove_work(state);
}

static struct sc_source bytes(const char *text)
{
    struct sc_source s;
    sc_source_bytes(&s, sc_span_str(text), 1700000000);
    return s;
}

static void add_to_zip(struct sc_zip *z, const char *name, const char *text)
{
    struct sc_source s = bytes(text);
    assert_int_equal(sc_zip_add(z, name, &s, &msg), 0);
}

/* Stored and deflated, narrow and wide: what was written is read again from local headers alone. */
static void a_zip_is_read_again(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct sc_zip z;
        assert_int_equal(ftruncate(file, 0), 0);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        sc_zip_init(&z, file, how & 1);
        if (how & 2)
            z.wide_from = 0;
        add_to_zip(&z, "a.txt", "text");
        add_to_zip(&z, "empty", "");
        add_to_zip(&z, "d/\xc3\xa9.txt", "deep");
        add_to_zip(&z, "which", how & 1 ? "stored" : "deflated");
        struct sc_source self;
        assert_int_equal(sc_source_open(&self, SC_SOURCE_DIR "/src/archive/zip_write.c", &msg), 0);
        assert_int_equal(sc_zip_add(&z, "file.c", &self, &msg), 0);
        assert_int_equal(sc_zip_finish(&z, &msg), 0);
        sc_zip_free(&z);
        assert_int_equal(sc_extract(file, SC_EXTRACT_ZIP, target, &msg), 0);
        assert_string_equal(text_of(in_work("out/a.txt")), "text");
        assert_string_equal(text_of(in_work("out/empty")), "");
        assert_string_equal(text_of(in_work("out/d/\xc3\xa9.txt")), "deep");
        assert_string_equal(text_of(in_work("out/which")), how & 1 ? "stored" : "deflated");
        struct stat st;
        assert_int_equal(stat(in_work("out/file.c"), &st), 0);
        assert_int_equal(st.st_size, self.size);
        sc_source_close(&self);
    }
}

static void no_entry_waits_for_its_size(void **state)
{
    struct sc_zip z;
    unsigned char head[30];
    (void)state;
    sc_zip_init(&z, file, true);
    add_to_zip(&z, "a", "four");
    assert_int_equal(sc_zip_finish(&z, &msg), 0);
    sc_zip_free(&z);
    assert_int_equal(pread(file, head, sizeof head, 0), sizeof head);
    assert_int_equal(head[6] & 8, 0);
    assert_int_equal(head[8], 0);
    assert_int_equal(head[18], 4);
    assert_int_equal(head[22], 4);
}

/* More entries than the old end record can count. */
static void many_entries(void **state)
{
    struct sc_zip z;
    char name[16], end[22 + 20 + 56];
    struct sc_source s = bytes("");
    (void)state;
    sc_zip_init(&z, file, true);
    for (unsigned i = 0; i < 65600; i++) {
        snprintf(name, sizeof name, "%u", i % 10);
        assert_int_equal(sc_zip_add(&z, name, &s, &msg), 0);
    }
    assert_int_equal(sc_zip_finish(&z, &msg), 0);
    sc_zip_free(&z);
    assert_int_equal(lseek(file, -(off_t)sizeof end, SEEK_END) > 0, true);
    assert_int_equal(read(file, end, sizeof end), sizeof end);
    assert_memory_equal(end, "PK\6\6", 4);
    assert_memory_equal(end + 56, "PK\6\7", 4);
    assert_memory_equal(end + 76, "PK\5\6", 4);
    assert_memory_equal(end + 24, "\x40\0\1\0\0\0\0\0", 8);
}

static void a_full_disk_is_said(void **state)
{
    struct sc_zip z;
    struct sc_source s = bytes("text");
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    (void)state;
    if (full < 0)
        skip();
    sc_zip_init(&z, full, false);
    assert_int_equal(sc_zip_add(&z, "a", &s, &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, strerror(ENOSPC)));
    sc_zip_free(&z);
    close(full);
}

static void a_tar_is_read_again(void **state)
{
    struct sc_targz t;
    char longest[300];
    struct sc_source s = bytes("text");
    (void)state;
    memset(longest, 'n', sizeof longest);
    memcpy(longest, "m/", 2);
    longest[150] = '/';
    longest[sizeof longest - 1] = '\0';
    sc_targz_init(&t, file);
    assert_int_equal(sc_targz_add(&t, "m/a.txt", &s, &msg), 0);
    assert_int_equal(sc_targz_add(&t, longest, &s, &msg), 0);
    assert_int_equal(sc_targz_add(&t, "m/d/\xc3\xa9", &s, &msg), 0);
    struct sc_source self;
    assert_int_equal(sc_source_open(&self, SC_SOURCE_DIR "/src/archive/zip_write.c", &msg), 0);
    assert_int_equal(sc_targz_add(&t, "m/file.c", &self, &msg), 0);
    self.size--;
    assert_int_equal(sc_targz_add(&t, "m/file.c", &self, &msg), SC_ESYS);
    self.size++;
    sc_targz_free(&t);
    assert_int_equal(ftruncate(file, 0), 0);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    sc_targz_init(&t, file);
    assert_int_equal(sc_targz_add(&t, "m/a.txt", &s, &msg), 0);
    assert_int_equal(sc_targz_add(&t, longest, &s, &msg), 0);
    assert_int_equal(sc_targz_add(&t, "m/d/\xc3\xa9", &s, &msg), 0);
    assert_int_equal(sc_targz_add(&t, "m/file.c", &self, &msg), 0);
    assert_int_equal(sc_targz_finish(&t, &msg), 0);
    sc_targz_free(&t);
    assert_int_equal(sc_extract(file, SC_EXTRACT_TGZ, target, &msg), 0);
    assert_string_equal(text_of(in_work("out/a.txt")), "text");
    assert_string_equal(text_of(in_work("out/d/\xc3\xa9")), "text");
    char path[512];
    snprintf(path, sizeof path, "%s/%s", in_work("out"), longest + 2);
    assert_string_equal(text_of(path), "text");
    struct stat st;
    assert_int_equal(stat(in_work("out/file.c"), &st), 0);
    assert_int_equal(st.st_size, self.size);
    sc_source_close(&self);
}

static void what_is_no_file_is_named(void **state)
{
    struct sc_source s;
    (void)state;
    assert_int_equal(sc_source_open(&s, in_work("absent"), &msg), SC_ENOTFOUND);
    assert_non_null(strstr(msg.text, "No such file or directory: '"));
    assert_int_equal(sc_source_open(&s, work, &msg), SC_ESYS);
    assert_int_equal(mkfifo(in_work("pipe"), 0600), 0);
    assert_int_equal(sc_source_open(&s, in_work("pipe"), &msg), SC_ESYS);
}

int main(void)
{
#define WRITE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WRITE(a_zip_is_read_again), WRITE(no_entry_waits_for_its_size), WRITE(many_entries),
        WRITE(a_full_disk_is_said), WRITE(a_tar_is_read_again),         WRITE(what_is_no_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
