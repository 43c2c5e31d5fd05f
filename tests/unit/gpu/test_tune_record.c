#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "gpu/tune_record.h"

static char folder[64], path[96];
static struct sc_tune_record r;
static struct sc_msg msg;

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sconce-tune-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tune.json", folder);
    return 0;
}

static int teardown(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void put_file(const char *name, const char *text, size_t n)
{
    char at[256];
    snprintf(at, sizeof at, "%s/%s", folder, name);
    FILE *f = fopen(at, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static int read_text(const char *text)
{
    put_file("tune.json", text, strlen(text));
    return sc_tune_record_read(&r, path, &msg);
}

static struct sc_tune_entry entry(int workers, int batch, enum sc_tune_way best)
{
    return (struct sc_tune_entry){.gpu = "H100 \"80\"",
                                  .driver = "580.1",
                                  .content = "0123456789abcdef",
                                  .workers = workers,
                                  .batch_size = batch,
                                  .best = best};
}

static const struct sc_tune_entry *find(int workers, int batch)
{
    return sc_tune_record_find(&r, "H100 \"80\"", "580.1", "0123456789abcdef", workers, batch);
}

/* ---- the file ---- */

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct sc_tune_record w = {0};
    struct sc_tune_entry a = entry(4, 8, SC_TUNE_MPS), b = entry(2, 0, SC_TUNE_TIMESLICE);
    a.per_second[SC_TUNE_TIMESLICE] = 1341.25;
    a.per_second[SC_TUNE_MPS] = 1717;
    a.worker_memory = INT64_C(1) << 40;
    snprintf(a.model, sizeof a.model, "b\xc3\xa9rt");
    snprintf(a.at, sizeof a.at, "2026-11-23T09:00:00Z");
    sc_tune_record_put(&w, &a);
    sc_tune_record_put(&w, &b);
    assert_int_equal(sc_tune_record_write(&w, path, &msg), 0);
    assert_int_equal(sc_tune_record_write(&w, path, &msg), 0); /* over the one that is there */
    assert_int_equal(sc_tune_record_read(&r, path, &msg), 0);
    assert_int_equal(r.n, 2);
    assert_memory_equal(&r.entries[0], &a, sizeof a);
    assert_memory_equal(&r.entries[1], &b, sizeof b);
    sc_tune_record_free(&r);
    sc_tune_record_free(&w);
}

static void a_file_that_cannot_be_written_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(sc_tune_record_write(&r, "/nowhere/at/all.json", &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, "/nowhere/at/all.json cannot be written: No such file"));
}

static void there_may_be_no_file(void **state)
{
    (void)state;
    assert_int_equal(sc_tune_record_read(&r, "/nowhere/at/all.json", &msg), SC_ENOTFOUND);
    assert_int_equal(sc_tune_record_read(&r, folder, &msg), SC_ESYS);
    assert_int_equal(r.n, 0);
}

#define KEY "\"gpu\":\"H\",\"driver\":\"5\",\"content\":\"c\""
#define ONE(members) "{\"version\":1,\"measured\":[{" members "}]}"

static void the_least_that_an_entry_needs(void **state)
{
    (void)state;
    assert_int_equal(read_text(ONE(KEY ",\"workers\":1,\"gpuSharing\":\"lanes\",\"later\":[1]")), 0);
    assert_int_equal(r.entries[0].best, SC_TUNE_LANES);
    sc_tune_record_free(&r);
    assert_int_equal(read_text("{\"version\":1,\"measured\":[]}"), 0);
    sc_tune_record_free(&r);
}

static void what_is_no_record_is_refused_whole(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"", "tune.json:1: it is no JSON"},
        {"{\n\"version\":1,\n}", "tune.json:3: it is no JSON"},
        {"[]", "\"version\" must be 1"},
        {"{\"version\":2,\"measured\":[]}", "\"version\" must be 1"},
        {"{\"version\":\"1\",\"measured\":[]}", "\"version\" must be 1"},
        {"{\"version\":1}", "\"measured\" must be an array"},
        {"{\"version\":1,\"version\":1,\"measured\":[]}", "it is no JSON: duplicate"},
        {"{\"version\":1,\"measured\":[7]}", "entry 1: it must be an object"},
        {ONE("\"driver\":\"5\",\"content\":\"c\",\"workers\":1,\"gpuSharing\":\"mps\""),
         "\"gpu\" must be a text"},
        {ONE("\"gpu\":\"\",\"driver\":\"5\",\"content\":\"c\",\"workers\":1,\"gpuSharing\":\"mps\""),
         "\"gpu\" must be"},
        {ONE("\"gpu\":\"H\",\"driver\":5,\"content\":\"c\",\"workers\":1,\"gpuSharing\":\"mps\""),
         "\"driver\" must be"},
        {ONE("\"gpu\":\"H\",\"driver\":\"5\",\"content\":\"0123456789abcdef0\",\"workers\":1,\"gpuSharing\":"
             "\"mps\""),
         "\"content\" must be a text of 1 to 16 bytes"},
        {ONE(KEY ",\"gpuSharing\":\"mps\""), "\"workers\" must be an integer from 1"},
        {ONE(KEY ",\"workers\":0,\"gpuSharing\":\"mps\""), "\"workers\" must be an integer from 1"},
        {ONE(KEY ",\"workers\":1.5,\"gpuSharing\":\"mps\""), "\"workers\" must be an integer from 1"},
        {ONE(KEY ",\"workers\":4294967297,\"gpuSharing\":\"mps\""), "\"workers\" must be an integer from 1"},
        {ONE(KEY ",\"workers\":1,\"batchSize\":-1,\"gpuSharing\":\"mps\""), "\"batchSize\" must be"},
        {ONE(KEY ",\"workers\":1,\"workerMemory\":\"2G\",\"gpuSharing\":\"mps\""),
         "\"workerMemory\" must be"},
        {ONE(KEY ",\"workers\":1"), "\"gpuSharing\" must be timeslice, mps or lanes"},
        {ONE(KEY ",\"workers\":1,\"gpuSharing\":\"MPS\""), "\"gpuSharing\" must be timeslice, mps or lanes"},
        {ONE(KEY ",\"workers\":1,\"gpuSharing\":\"mps\",\"perSecond\":{\"mps\":\"fast\"}"),
         "\"mps\" must be a number"},
        {ONE(KEY ",\"workers\":1,\"gpuSharing\":\"mps\",\"perSecond\":{\"mps\":-1}"),
         "\"mps\" must be a number"},
        {ONE(KEY ",\"workers\":1,\"gpuSharing\":\"mps\",\"perSecond\":[]"),
         "\"perSecond\" must be an object"},
        {ONE(KEY ",\"workers\":1,\"gpuSharing\":\"mps\"},{"), "entry 2: \"gpu\" must be"},
    };
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(read_text(bad[i].text), SC_EINVAL);
        if (!strstr(msg.text, bad[i].said))
            fail_msg("%s: %s", bad[i].text, msg.text);
        assert_non_null(strstr(msg.text, path));
        assert_int_equal(r.n, 0);
        assert_null(r.entries);
    }
}

static void a_file_beyond_the_bounds_is_refused(void **state)
{
    (void)state;
    char *large = malloc(SC_TUNE_FILE_BYTES + 2);
    memset(large, ' ', SC_TUNE_FILE_BYTES + 1);
    large[SC_TUNE_FILE_BYTES + 1] = '\0';
    assert_int_equal(read_text(large), SC_ELIMIT);
    free(large);
    struct sc_tune_record w = {0};
    for (int i = 0; i <= SC_TUNE_ENTRIES_MAX; i++) {
        struct sc_tune_entry e = entry(1 + i % 200, 1 + i / 200, SC_TUNE_MPS);
        sc_tune_record_put(&w, &e);
    }
    assert_int_equal(w.n, SC_TUNE_ENTRIES_MAX); /* the oldest has gone */
    assert_int_equal(w.entries[0].workers, 2);
    sc_tune_record_free(&w);
}

/* ---- entries ---- */

static void an_entry_is_found_by_its_whole_key(void **state)
{
    (void)state;
    r = (struct sc_tune_record){0};
    struct sc_tune_entry any = entry(4, 0, SC_TUNE_TIMESLICE), eight = entry(4, 8, SC_TUNE_MPS);
    sc_tune_record_put(&r, &any);
    sc_tune_record_put(&r, &eight);
    assert_int_equal(find(4, 8)->best, SC_TUNE_MPS);
    assert_int_equal(find(4, 7)->best, SC_TUNE_TIMESLICE);
    assert_null(find(3, 8));
    assert_null(sc_tune_record_find(&r, "H200", "580.1", "0123456789abcdef", 4, 8));
    assert_null(sc_tune_record_find(&r, "H100 \"80\"", "580.2", "0123456789abcdef", 4, 8));
    assert_null(sc_tune_record_find(&r, "H100 \"80\"", "580.1", "", 4, 8));
    eight.best = SC_TUNE_LANES;
    sc_tune_record_put(&r, &eight);
    assert_int_equal(r.n, 2);
    assert_int_equal(find(4, 8)->best, SC_TUNE_LANES);
    sc_tune_record_free(&r);
}

/* ---- content ---- */

static void a_content_is_its_files_and_not_how_it_is_run(void **state)
{
    (void)state;
    static char weights[300000];
    char a[SC_TUNE_CONTENT], b[SC_TUNE_CONTENT], slashed[80];
    put_file("model.safetensors", weights, sizeof weights);
    put_file("config.json", "{}", 2);
    assert_int_equal(sc_tune_content(folder, a, &msg), 0);
    assert_int_equal(strlen(a), SC_TUNE_CONTENT - 1);
    put_file("model-config.yaml", "minWorkers: 4", 13);
    put_file(".model-config.json", "{}", 2);
    snprintf(slashed, sizeof slashed, "%s//", folder);
    assert_int_equal(sc_tune_content(slashed, b, &msg), 0);
    assert_string_equal(a, b);
    weights[sizeof weights - 1] = 1;
    put_file("model.safetensors", weights, sizeof weights);
    assert_int_equal(sc_tune_content(folder, b, &msg), 0);
    assert_string_not_equal(a, b);
    weights[sizeof weights - 1] = 0;
    put_file("model.safetensors", weights, sizeof weights - 1);
    assert_int_equal(sc_tune_content(folder, b, &msg), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(sc_tune_content("", b, &msg), 0);
    assert_string_equal(b, "");
    assert_int_equal(sc_tune_content("/nowhere/at/all", b, &msg), SC_ESYS);
    assert_string_equal(b, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_file_that_cannot_be_written_leaves_nothing),
        cmocka_unit_test(there_may_be_no_file),
        cmocka_unit_test(the_least_that_an_entry_needs),
        cmocka_unit_test(what_is_no_record_is_refused_whole),
        cmocka_unit_test(a_file_beyond_the_bounds_is_refused),
        cmocka_unit_test(an_entry_is_found_by_its_whole_key),
        cmocka_unit_test(a_content_is_its_files_and_not_how_it_is_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
