#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "worker/journal.h"

/* The head as the file has it: magic, version, active, used[2]. */
enum { HEAD_MAGIC, HEAD_VERSION, HEAD_ACTIVE, HEAD_USED_0, HEAD_USED_1 };
#define FIRST_RECORD 4096

static int fd;
static struct sc_journal *j;

static int set_up(void **state)
{
    (void)state;
    fd = sc_journal_create();
    return fd < 0 || sc_journal_open(&j, fd) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    sc_journal_close(j);
    close(fd);
    return 0;
}

static void reopen(void)
{
    sc_journal_close(j);
    j = NULL;
    assert_int_equal(sc_journal_open(&j, fd), 0);
}

static int count(int *end)
{
    uint64_t at = 0;
    uint16_t type;
    struct sc_span r;
    int n = 0;
    while ((*end = sc_journal_next(j, &at, &type, &r)) == 1)
        n++;
    return n;
}

static int records(void)
{
    int end, n = count(&end);
    assert_int_equal(end, 0);
    return n;
}

static void poke(size_t offset, uint64_t value)
{
    assert_int_equal(pwrite(fd, &value, sizeof value, (off_t)offset), sizeof value);
}

static void records_come_back_in_order_to_another_process_life(void **state)
{
    (void)state;
    assert_int_equal(records(), 0);
    assert_int_equal(sc_journal_append(j, 1, SC_SPAN("model a")), 0);
    assert_int_equal(sc_journal_append(j, 2, SC_SPAN("")), 0);
    assert_int_equal(sc_journal_append(j, 65535, SC_SPAN("a\0b")), 0);
    reopen();

    uint64_t at = 0;
    uint16_t type;
    struct sc_span r;
    assert_int_equal(sc_journal_next(j, &at, &type, &r), 1);
    assert_int_equal(type, 1);
    assert_true(sc_span_eq(r, SC_SPAN("model a")));
    assert_int_equal(sc_journal_next(j, &at, &type, &r), 1);
    assert_int_equal(type, 2);
    assert_int_equal(r.n, 0);
    assert_int_equal(sc_journal_next(j, &at, &type, &r), 1);
    assert_int_equal(type, 65535);
    assert_true(sc_span_eq(r, SC_SPAN("a\0b")));
    assert_int_equal(sc_journal_next(j, &at, &type, &r), 0);
    assert_int_equal(at, sc_journal_used(j));
}

static void a_full_journal_takes_nothing_more_and_loses_nothing(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    char *text = calloc(1, n);
    int taken = 0;
    while (sc_journal_append(j, 1, sc_span(text, n)) == 0)
        taken++;
    assert_int_equal(taken, SC_JOURNAL_BYTES / 2 / n - 1);
    assert_int_equal(sc_journal_append(j, 1, sc_span(text, SIZE_MAX)), SC_ELIMIT);
    while (sc_journal_append(j, 2, SC_SPAN("small")) == 0)
        taken++;
    assert_true(sc_journal_used(j) <= sc_journal_capacity(j));
    assert_true(sc_journal_capacity(j) - sc_journal_used(j) < 32);
    reopen();
    assert_int_equal(records(), taken);
    free(text);
}

static void compaction_replaces_the_content_and_gives_the_room_back(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(sc_journal_append(j, 1, SC_SPAN("something long enough to matter")), 0);
    uint64_t before = sc_journal_used(j);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(sc_journal_compact_begin(j), 0);
        assert_int_equal(sc_journal_compact_begin(j), SC_EEXIST);
        assert_int_equal(sc_journal_append(j, 2, SC_SPAN("kept")), 0);
        assert_int_equal(sc_journal_compact_commit(j), 0);
        assert_int_equal(sc_journal_compact_commit(j), SC_ENOTFOUND);
        assert_int_equal(records(), 1);
        reopen();
        assert_int_equal(records(), 1);
    }
    assert_true(sc_journal_used(j) < before / 100);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_blocks * 512 <= 4 * 4096);
}

static void an_interrupted_compaction_leaves_the_old_content(void **state)
{
    (void)state;
    assert_int_equal(sc_journal_append(j, 1, SC_SPAN("one")), 0);
    assert_int_equal(sc_journal_append(j, 1, SC_SPAN("two")), 0);
    assert_int_equal(sc_journal_compact_begin(j), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(sc_journal_append(j, 2, SC_SPAN("new")), 0);
    assert_int_equal(records(), 2);
    reopen();
    assert_int_equal(records(), 2);
    assert_int_equal(sc_journal_append(j, 1, SC_SPAN("three")), 0);
    assert_int_equal(records(), 3);

    /* The next one does not find the leftovers of the first. */
    assert_int_equal(sc_journal_compact_begin(j), 0);
    assert_int_equal(sc_journal_append(j, 2, SC_SPAN("all")), 0);
    assert_int_equal(sc_journal_compact_commit(j), 0);
    assert_int_equal(records(), 1);
}

static void a_damaged_record_ends_the_reading(void **state)
{
    (void)state;
    static const size_t places[] = {0, 4, 8, 16, 20}; /* length, type, sum, text */
    for (size_t i = 0; i < SC_COUNT(places); i++) {
        assert_int_equal(sc_journal_reset(fd), 0);
        reopen();
        for (int k = 0; k < 3; k++)
            assert_int_equal(sc_journal_append(j, 1, SC_SPAN("eight bytes more")), 0);
        uint32_t bad = 0xfffffff0u;
        assert_int_equal(pwrite(fd, &bad, sizeof bad, (off_t)(FIRST_RECORD + 32 + places[i])), sizeof bad);
        int end, n = count(&end);
        assert_int_equal(n, 1);
        assert_int_equal(end, SC_EINVAL);
    }
}

static void what_is_no_journal_is_refused(void **state)
{
    (void)state;
    static const struct {
        int word;
        uint64_t value;
        int want;
    } cases[] = {
        {HEAD_MAGIC, 0, SC_EINVAL},
        {HEAD_VERSION, 2, SC_EVERSION},
        {HEAD_ACTIVE, 2, SC_EINVAL},
        {HEAD_ACTIVE, UINT64_MAX, SC_EINVAL},
        {HEAD_USED_0, SC_JOURNAL_BYTES / 2, SC_EINVAL},
        {HEAD_USED_0, UINT64_MAX - 7, SC_EINVAL},
        {HEAD_USED_0, 3, SC_EINVAL},
    };
    struct sc_journal *other = NULL;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        poke((size_t)cases[i].word * 8, cases[i].value);
        assert_int_equal(sc_journal_open(&other, fd), cases[i].want);
        assert_int_equal(sc_journal_reset(fd), 0);
        reopen();
        assert_int_equal(records(), 0);
    }
    int small = memfd_create("small", MFD_CLOEXEC);
    assert_int_equal(ftruncate(small, 4096), 0);
    assert_int_equal(sc_journal_open(&other, small), SC_EINVAL);
    assert_int_equal(sc_journal_reset(small), SC_EINVAL);
    close(small);
    assert_int_equal(sc_journal_open(&other, -1), SC_ESYS);
}

static void its_file_cannot_be_cut_from_under_a_reader(void **state)
{
    (void)state;
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
}

static void a_head_that_goes_mad_later_is_not_followed(void **state)
{
    (void)state;
    assert_int_equal(sc_journal_append(j, 1, SC_SPAN("x")), 0);
    poke(HEAD_USED_0 * 8, UINT64_MAX);
    int end;
    assert_int_equal(count(&end), 1);
    assert_int_equal(end, SC_EINVAL);
    assert_int_equal(sc_journal_append(j, 1, SC_SPAN("x")), SC_ELIMIT);
}

/* Appends numbered records, compacts now and then to the last one, until it is killed. */
static _Noreturn void write_until_killed(void)
{
    char text[600];
    for (uint32_t i = 0;; i++) {
        memset(text, (int)(i & 0xff), sizeof text);
        memcpy(text, &i, sizeof i);
        struct sc_span r = sc_span(text, sizeof i + i * 37 % (sizeof text - sizeof i));
        if (i % 50 == 49 && (sc_journal_compact_begin(j) < 0 || sc_journal_append(j, 1, r) < 0 ||
                             sc_journal_compact_commit(j) < 0))
            _exit(1);
        else if (i % 50 != 49 && sc_journal_append(j, 1, r) < 0)
            _exit(1);
    }
}

static void check_numbers(void)
{
    uint64_t at = 0;
    uint16_t type;
    struct sc_span r;
    int rc, n = 0;
    uint32_t last = 0;
    while ((rc = sc_journal_next(j, &at, &type, &r)) == 1) {
        uint32_t i;
        assert_true(r.n >= sizeof i);
        memcpy(&i, r.p, sizeof i);
        assert_int_equal(r.n, sizeof i + i * 37 % (600 - sizeof i));
        if (n > 0)
            assert_int_equal(i, last + 1);
        for (size_t k = sizeof i; k < r.n; k++)
            assert_int_equal((unsigned char)r.p[k], i & 0xff);
        last = i;
        n++;
    }
    assert_int_equal(rc, 0);
    assert_in_range(n, 1, 50);
}

static void a_writer_killed_anywhere_leaves_whole_records(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 40; round++) {
        assert_int_equal(sc_journal_reset(fd), 0);
        reopen();
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_until_killed();
        while (sc_journal_used(j) == 0)
            usleep(50);
        usleep((useconds_t)(rand() % 4000));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        reopen();
        check_numbers();
        assert_int_equal(sc_journal_append(j, 9, SC_SPAN("the next life")), 0);
    }
}

#define WITH_JOURNAL(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_JOURNAL(records_come_back_in_order_to_another_process_life),
        WITH_JOURNAL(a_full_journal_takes_nothing_more_and_loses_nothing),
        WITH_JOURNAL(compaction_replaces_the_content_and_gives_the_room_back),
        WITH_JOURNAL(an_interrupted_compaction_leaves_the_old_content),
        WITH_JOURNAL(a_damaged_record_ends_the_reading),
        WITH_JOURNAL(what_is_no_journal_is_refused),
        WITH_JOURNAL(its_file_cannot_be_cut_from_under_a_reader),
        WITH_JOURNAL(a_head_that_goes_mad_later_is_not_followed),
        WITH_JOURNAL(a_writer_killed_anywhere_leaves_whole_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
