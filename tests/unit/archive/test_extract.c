#include "test.h"

#include <dirent.h>

#include "archive/extract.h"
#include "base/clock.h"
#include "base/limits.h"
#include "build.h"

static struct sc_buf b;
static struct sc_msg msg;
static int target = -1;

static int setup(void **state)
{
    sc_buf_init(&b, SIZE_MAX / 2);
    msg.text[0] = '\0';
    if (make_work(state) < 0 || mkdir(in_work("out"), 0700) < 0)
        return -1;
    target = open(in_work("out"), O_DIRECTORY | O_CLOEXEC);
    return 0;
}

static int teardown(void **state)
{
    close(target);
    sc_buf_free(&b);
    return remove_work(state);
}

static int unpack_file(enum sc_extract_format format)
{
    int fd = open(in_work("archive"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    int rc = sc_extract(fd, format, target, &msg);
    close(fd);
    return rc;
}

/* Unpacks what b holds into out/. */
static int unzip(void)
{
    put_bytes(in_work("archive"), b.p, b.n);
    return unpack_file(SC_EXTRACT_ZIP);
}

static int untar(void)
{
    put_gzip(in_work("archive"), &b);
    return unpack_file(SC_EXTRACT_TGZ);
}

static unsigned entries_in(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void stored_deflated_and_with_a_descriptor(void **state)
{
    (void)state;
    zip_entry(&b, "stored.txt", "stored", 0);
    zip_entry(&b, "deflated.txt", "deflated", ZIP_DEFLATE);
    zip_entry(&b, "later.txt", "sizes come later", ZIP_DEFLATE | ZIP_DESCRIPTOR);
    zip_entry(&b, "wide.txt", "zip64", ZIP_DEFLATE | ZIP64);
    zip_entry(&b, "a/b/", "", 0);
    zip_entry(&b, "a/./b//c.txt", "deep", 0);
    zip_entry(&b,
              "gr\xc3\xb6\xc3\x9f"
              "e.txt",
              "name", 0);
    zip_entry(&b, "empty", "", ZIP_DEFLATE);
    zip_end(&b);
    assert_int_equal(unzip(), 0);
    assert_string_equal(text_of(in_work("out/stored.txt")), "stored");
    assert_string_equal(text_of(in_work("out/deflated.txt")), "deflated");
    assert_string_equal(text_of(in_work("out/later.txt")), "sizes come later");
    assert_string_equal(text_of(in_work("out/wide.txt")), "zip64");
    assert_string_equal(text_of(in_work("out/a/b/c.txt")), "deep");
    assert_string_equal(text_of(in_work("out/gr\xc3\xb6\xc3\x9f"
                                        "e.txt")),
                        "name");
    assert_string_equal(text_of(in_work("out/empty")), "");
}

static void junk_is_an_archive_without_entries(void **state)
{
    (void)state;
    assert_int_equal(unzip(), 0);
    sc_buf_str(&b, "this is no zip");
    assert_int_equal(unzip(), 0);
    zip_entry(&b, "behind.txt", "a prefix", 0);
    assert_int_equal(unzip(), 0);
    sc_buf_clear(&b);
    zip_end(&b);
    assert_int_equal(unzip(), 0);
    assert_int_equal(entries_in(in_work("out")), 0);
}

static void cut_between_entries(void **state)
{
    (void)state;
    zip_entry(&b, "first", "1", ZIP_DEFLATE);
    zip_entry(&b, "second", "2", ZIP_DEFLATE);
    assert_int_equal(unzip(), 0);
    assert_string_equal(text_of(in_work("out/second")), "2");
}

/* Every cut within an entry's data is noticed; the rest is as if cut between entries, or no entry at all. */
static void cut_anywhere(void **state)
{
    char text[600];
    size_t first, data;
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * i * 31 >> 3);
    zip_entry(&b, "first", "1", 0);
    first = b.n;
    zip_entry_n(&b, "second", 6, text, sizeof text, ZIP_DEFLATE, SIZE_MAX);
    data = first + 30 + 6;
    for (size_t n = b.n - 1; n > data; n -= SC_MIN((size_t)37, n)) {
        b.n = n;
        assert_int_equal(unzip(), SC_EINVAL);
        assert_true(msg.text[0]);
    }
    for (size_t n = SC_MIN(data, b.n); n > 0; n--) {
        b.n = n;
        (void)unzip();
    }
}

static void damaged_or_lying_entries(void **state)
{
    static const struct {
        int how;
        uint64_t said;
    } wrong[] = {
        {ZIP_DEFLATE | ZIP_BAD_CRC, SIZE_MAX},
        {ZIP_BAD_CRC, SIZE_MAX},
        {ZIP_DEFLATE, 3},
        {ZIP_DEFLATE, 4000000000},
        {ZIP_DEFLATE | ZIP64, 3},
        {ZIP_DEFLATE | ZIP64, UINT64_MAX - 1},
        {ZIP64, 1ull << 63},
        {ZIP_DEFLATE | ZIP_ENCRYPTED, SIZE_MAX},
        {ZIP_DEFLATE | ZIP_DESCRIPTOR | ZIP_BAD_CRC, SIZE_MAX},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(wrong); i++) {
        sc_buf_clear(&b);
        zip_entry_n(&b, "x", 1, "some text that is packed", 24, wrong[i].how, wrong[i].said);
        zip_end(&b);
        if (unzip() != SC_EINVAL)
            fail_msg("case %zu", i);
        assert_true(msg.text[0]);
    }
}

static void names_that_lead_out(void **state)
{
    static const char *const names[] = {
        "../escaped",  "a/../../escaped",      "a/..",     "..",         "/tmp/escaped", "//escaped",
        "..\\escaped", "a/b/../../../escaped", "\xff\xfe", "a\xc0\xafz",
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(names); i++) {
        sc_buf_clear(&b);
        zip_entry(&b, names[i], "hostile", 0);
        zip_end(&b);
        if (unzip() != SC_EINVAL)
            fail_msg("%s was taken", names[i]);
    }
    assert_int_equal(entries_in(in_work("out")), 0);
    assert_int_equal(entries_in(work), 2);
    sc_buf_clear(&b);
    zip_entry(&b, "../x", "", 0);
    assert_int_equal(unzip(), SC_EINVAL);
    assert_string_equal(msg.text, "Detected Zip Slip vulnerability: ../x");
}

static void a_zero_byte_in_a_name(void **state)
{
    (void)state;
    zip_entry_n(&b, "a\0/../../x", 10, "hostile", 7, 0, SIZE_MAX);
    (void)unzip();
    assert_int_equal(access(in_work("x"), F_OK), -1);
}

static void names_too_long_or_too_deep(void **state)
{
    char name[SC_ARCHIVE_NAME_MAX + 2];
    (void)state;
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    zip_entry(&b, name, "", 0);
    assert_int_equal(unzip(), SC_EINVAL);
    sc_buf_clear(&b);
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 200 == 199 ? '/' : 'n';
    name[sizeof name - 1] = '\0';
    zip_entry(&b, name, "", 0);
    assert_int_equal(unzip(), SC_EINVAL);
    sc_buf_clear(&b);
    for (size_t i = 0; i < 2 * SC_ARCHIVE_DEPTH_MAX + 2; i++)
        name[i] = i % 2 ? '/' : 'd';
    name[2 * SC_ARCHIVE_DEPTH_MAX + 1] = '\0';
    zip_entry(&b, name, "", 0);
    assert_int_equal(unzip(), SC_EINVAL);
}

static void the_last_of_equal_names_counts(void **state)
{
    struct stat st;
    (void)state;
    zip_entry(&b, "x", "first and longer", 0);
    zip_entry(&b, "x", "last", ZIP_DEFLATE);
    zip_entry(&b, "X", "another file", 0);
    zip_end(&b);
    assert_int_equal(unzip(), 0);
    assert_string_equal(text_of(in_work("out/x")), "last");
    assert_string_equal(text_of(in_work("out/X")), "another file");
    assert_int_equal(stat(in_work("out/x"), &st), 0);
    assert_int_equal(st.st_mode & 07000, 0);
}

static void a_file_where_a_folder_is(void **state)
{
    (void)state;
    zip_entry(&b, "a/b", "", 0);
    zip_entry(&b, "a", "", 0);
    assert_int_equal(unzip(), SC_ESYS);
    sc_buf_clear(&b);
    zip_entry(&b, "f", "", 0);
    zip_entry(&b, "f/g", "", 0);
    assert_int_equal(unzip(), SC_ESYS);
}

/* Ten gigabytes of zeros in ten megabytes: the same deflated megabyte over and over. */
static void a_bomb_is_refused_before_it_fills_the_disk(void **state)
{
    enum { MEGABYTE = 1 << 20 };
    char *zeros = calloc(1, MEGABYTE), *packed = malloc(MEGABYTE);
    z_stream z = {
        .next_in = (Bytef *)zeros, .avail_in = MEGABYTE, .next_out = (Bytef *)packed, .avail_out = MEGABYTE};
    (void)state;
    assert_true(zeros && packed);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FULL_FLUSH), Z_OK);
    zip_entry(&b, "bomb", "", ZIP_DEFLATE | ZIP_DESCRIPTOR);
    b.n = 30 + 4; /* keep the header alone */
    for (int i = 0; i < 10 * 1024; i++)
        sc_buf_add(&b, packed, (size_t)z.total_out);
    deflateEnd(&z);
    free(packed);
    free(zeros);
    int64_t began = sc_clock_ms();
    assert_int_equal(unzip(), SC_ELIMIT);
    assert_non_null(strstr(msg.text, "more than"));
    assert_true(sc_clock_ms() - began < 10000);
}

static void a_tar_loses_its_first_component(void **state)
{
    struct stat st;
    (void)state;
    tar_entry(&b, "model/", '5', "", "");
    tar_entry(&b, "model/a.txt", '0', "", "a");
    tar_entry(&b, "model/MAR-INF/MANIFEST.json", '0', "", "{}");
    tar_entry(&b, "plain", '0', "", "p");
    tar_entry(&b, "./dotted", '0', "", "d");
    assert_int_equal(untar(), 0);
    assert_string_equal(text_of(in_work("out/a.txt")), "a");
    assert_string_equal(text_of(in_work("out/MAR-INF/MANIFEST.json")), "{}");
    assert_string_equal(text_of(in_work("out/plain")), "p");
    assert_string_equal(text_of(in_work("out/dotted")), "d");
    assert_int_equal(stat(in_work("out/a.txt"), &st), 0);
    assert_int_equal(st.st_mode & 07111, 0);
}

static void links_and_devices_in_a_tar(void **state)
{
    (void)state;
    for (const char *type = "12346"; *type; type++) {
        sc_buf_clear(&b);
        tar_entry(&b, "m/bad", *type, *type <= '2' ? "/etc/passwd" : "", "");
        if (untar() != SC_EINVAL)
            fail_msg("type %c was taken", *type);
        assert_non_null(strstr(msg.text, "m/bad"));
    }
    assert_int_equal(entries_in(in_work("out")), 0);
}

static void names_that_lead_out_of_a_tar(void **state)
{
    static const char *const names[] = {"../x", "m/../../x", "/etc/x", "m/..", "../../x", "m/a\\b"};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(names); i++) {
        sc_buf_clear(&b);
        tar_entry(&b, names[i], '0', "", "hostile");
        if (untar() != SC_EINVAL)
            fail_msg("%s was taken", names[i]);
    }
}

static void what_is_no_gzip(void **state)
{
    (void)state;
    tar_entry(&b, "m/a", '0', "", "a");
    put_bytes(in_work("archive"), b.p, b.n);
    assert_int_equal(unpack_file(SC_EXTRACT_TGZ), SC_EINVAL);
    put_text(in_work("archive"), "");
    assert_int_equal(unpack_file(SC_EXTRACT_TGZ), SC_EINVAL);
    put_gzip(in_work("archive"), &b);
    assert_int_equal(truncate(in_work("archive"), 60), 0);
    assert_int_equal(unpack_file(SC_EXTRACT_TGZ), SC_EINVAL);
}

static void too_many_entries(void **state)
{
    (void)state;
    zip_entry(&b, "./", "", 0);
    char one[64];
    size_t n = b.n;
    assert_true(n < sizeof one);
    memcpy(one, b.p, n);
    for (unsigned i = 0; i < SC_ARCHIVE_ENTRIES_MAX; i++)
        sc_buf_add(&b, one, n);
    assert_int_equal(unzip(), SC_ELIMIT);
    assert_non_null(strstr(msg.text, "entries"));
}

int main(void)
{
#define UNPACK(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        UNPACK(stored_deflated_and_with_a_descriptor),
        UNPACK(junk_is_an_archive_without_entries),
        UNPACK(cut_between_entries),
        UNPACK(cut_anywhere),
        UNPACK(damaged_or_lying_entries),
        UNPACK(names_that_lead_out),
        UNPACK(a_zero_byte_in_a_name),
        UNPACK(names_too_long_or_too_deep),
        UNPACK(the_last_of_equal_names_counts),
        UNPACK(a_file_where_a_folder_is),
        UNPACK(a_bomb_is_refused_before_it_fills_the_disk),
        UNPACK(a_tar_loses_its_first_component),
        UNPACK(links_and_devices_in_a_tar),
        UNPACK(names_that_lead_out_of_a_tar),
        UNPACK(what_is_no_gzip),
        UNPACK(too_many_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
