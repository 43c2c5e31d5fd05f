/* What a search leaves: its state, which it goes on from, the model's YAML, the record that mps=auto obeys.
 */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "tune/apply.h"
#include "tune/report.h"
#include "tune/state.h"

static const struct sc_tune_goal goal = {.budget = 60, .precision = 0.05, .most = 64};

static void add(struct sc_tune *t, unsigned batch, unsigned workers, enum sc_tune_way way)
{
    assert_int_equal(
        sc_tune_add(t,
                    &(struct sc_tune_config){.batch = batch, .workers = workers, .threads = -1, .way = way}),
        0);
}

static void take(struct sc_tune *t, unsigned branch, unsigned concurrency, double rate)
{
    struct sc_load_result *r = sc_alloc_array(3, sizeof *r);
    struct sc_tune_step s = {.branch = branch, .concurrency = concurrency, .runs = 3, .seconds = 10};
    for (unsigned i = 0; i < 3; i++) {
        sc_hist_init(&r[i].latency);
        r[i].seconds = 10;
        r[i].good = r[i].within = (uint64_t)(10 * rate) + i;
        sc_hist_record(&r[i].latency, (int64_t)(1e9 * concurrency / rate));
    }
    sc_tune_take(t, &s, r, 3, branch == 1);
    free(r);
}

static void plan(struct sc_tune *t)
{
    sc_tune_init(t, &goal);
    add(t, 1, 1, SC_TUNE_TIMESLICE);
    add(t, 8, 2, SC_TUNE_TIMESLICE);
    add(t, 8, 2, SC_TUNE_MPS);
}

static void fill(struct sc_tune *t)
{
    plan(t);
    take(t, 0, 2, 100);
    take(t, 1, 32, 300);
    take(t, 2, 32, 500);
    t->branches[0].out = true;
    snprintf(t->branches[0].why, sizeof t->branches[0].why, "%s", "80 % behind \"it\" <&>");
    t->branches[2].memory = 2 << 20;
    t->spent = 12.5;
    t->round = 3;
    t->phase = SC_TUNE_FINAL;
}

static const struct sc_tune_about about = {
    .subject = "m.mar", .command = "sconce tune", .ended = "interrupted", .began_ms = 77, .loading = 2.5};

static struct sc_buf written(const struct sc_tune *t, const char *key)
{
    struct sc_buf text;
    sc_buf_init(&text, SC_TUNE_STATE_BYTES);
    sc_tune_json(t, &about, key, &text);
    assert_int_equal(text.failed, 0);
    return text;
}

static void what_was_written_is_gone_on_from(void **state)
{
    (void)state;
    struct sc_tune t, u;
    struct sc_msg msg;
    double loading = 0;
    int64_t began = 0;
    fill(&t);
    struct sc_buf text = written(&t, "{\"a\": 1}");
    plan(&u);
    assert_int_equal(sc_tune_resume(&u, sc_buf_view(&text), "f", "{\"a\": 1}", &loading, &began, &msg), 0);
    assert_true(loading == 2.5 && began == 77 && u.spent == 12.5 && u.round == 3 && u.phase == SC_TUNE_FINAL);
    for (unsigned i = 0; i < 3; i++) {
        const struct sc_tune_branch *a = &t.branches[i], *b = &u.branches[i];
        assert_int_equal(b->npoints, 1);
        assert_memory_equal(a->points[0].latency, b->points[0].latency, sizeof(struct sc_hist));
        assert_true(fabs(sc_tune_interval(&a->points[0]).half - sc_tune_interval(&b->points[0]).half) < 1e-6);
        assert_int_equal(a->points[0].saturated, b->points[0].saturated);
        assert_string_equal(a->why, b->why);
        assert_true(a->out == b->out && a->memory == b->memory && a->round == b->round);
    }
    struct sc_buf again = written(&u, "{\"a\": 1}");
    assert_int_equal(text.n, again.n);
    assert_memory_equal(text.p, again.p, text.n);
    sc_buf_free(&again);
    sc_buf_free(&text);
    sc_tune_free(&t);
    sc_tune_free(&u);
}

static void another_search_or_a_damaged_file_is_refused(void **state)
{
    (void)state;
    struct sc_tune t, u;
    struct sc_msg msg;
    double loading;
    int64_t began;
    fill(&t);
    struct sc_buf text = written(&t, "{\"a\": 1}");
    plan(&u);
    assert_int_equal(sc_tune_resume(&u, sc_buf_view(&text), "f", "{\"a\": 2}", &loading, &began, &msg),
                     SC_EINVAL);
    assert_non_null(strstr(msg.text, "another a: 1, not 2"));
    sc_tune_free(&u);
    for (size_t n = 0; n < text.n - 2; n += 61) {
        plan(&u);
        assert_int_equal(sc_tune_resume(&u, sc_span(text.p, n), "f", "{\"a\": 1}", &loading, &began, &msg),
                         SC_EINVAL);
        sc_tune_free(&u);
    }
    /* Numbers and words that are other ones: refused or read, and never beyond what there is. */
    for (size_t i = 0; i < text.n; i += 7) {
        char was = text.p[i];
        text.p[i] = '9';
        plan(&u);
        (void)!sc_tune_resume(&u, sc_buf_view(&text), "f", "{\"a\": 1}", &loading, &began, &msg);
        sc_tune_free(&u);
        text.p[i] = was;
    }
    plan(&u);
    add(&u, 16, 2, SC_TUNE_MPS);
    assert_int_equal(sc_tune_resume(&u, sc_buf_view(&text), "f", "{\"a\": 1}", &loading, &began, &msg),
                     SC_EINVAL);
    sc_tune_free(&u);
    sc_buf_free(&text);
    sc_tune_free(&t);
}

static void reports_escape_what_they_tell(void **state)
{
    (void)state;
    struct sc_tune t;
    struct sc_buf text;
    fill(&t);
    sc_buf_init(&text, SC_TUNE_STATE_BYTES);
    struct sc_tune_about a = about;
    a.settings = "minWorkers: 2\nbatchSize: 8\n";
    sc_tune_html(&t, &a, &text);
    sc_buf_char(&text, '\0');
    assert_non_null(strstr(text.p, "80 % behind &quot;it&quot; &lt;&amp;&gt;"));
    assert_non_null(strstr(text.p, "batch 8, 2 workers, mps"));
    assert_non_null(strstr(text.p, "<pre>minWorkers: 2\nbatchSize: 8\n</pre>"));
    sc_buf_free(&text);
    sc_tune_free(&t);
}

/* ---- YAML ---- */

static int edit(const char *before, const char *after)
{
    const struct sc_tune_key keys[] = {{"minWorkers", "2"}, {"batchSize", "8"}};
    struct sc_buf text;
    struct sc_msg msg;
    sc_buf_init(&text, 4096);
    sc_buf_str(&text, before);
    int rc = sc_tune_edit(&text, keys, 2, "f.yaml", &msg);
    if (rc == 0) {
        sc_buf_char(&text, '\0');
        assert_string_equal(text.p, after);
    }
    sc_buf_free(&text);
    return rc;
}

static void only_the_keys_of_the_first_level_change(void **state)
{
    (void)state;
    assert_int_equal(edit("", "minWorkers: 2\nbatchSize: 8\n"), 0);
    assert_int_equal(edit("# mine\nbatchSize: 3 # old\nhandler:\n  batchSize: 3\n'minWorkers' : 1\nx: 1",
                          "# mine\nhandler:\n  batchSize: 3\nx: 1\nminWorkers: 2\nbatchSize: 8\n"),
                     0);
    assert_int_equal(edit("batchSize:\n  3\nbatchSizes: 1\n", "batchSizes: 1\nminWorkers: 2\nbatchSize: 8\n"),
                     0);
}

static void what_is_not_in_lines_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(edit("{batchSize: 3}\n", ""), SC_EINVAL);
    assert_int_equal(edit("- 1\n", ""), SC_EINVAL);
    assert_int_equal(edit("a: [\n", ""), SC_EINVAL);
    assert_int_equal(edit("? batchSize\n: 3\n", ""), SC_EINVAL);
    assert_int_equal(edit("a: |\n text\n...\n---\nb: 1\n", ""), SC_EINVAL);
}

static void the_record_says_which_way_was_best(void **state)
{
    (void)state;
    struct sc_tune t;
    struct sc_tune_record r = {0};
    struct sc_tune_entry like = {.gpu = "G", .driver = "1", .content = "0123456789abcdef"};
    fill(&t);
    sc_tune_put_record(&t, &like, &r);
    assert_int_equal(r.n, 1); /* of one worker there was only one way */
    const struct sc_tune_entry *e = sc_tune_record_find(&r, "G", "1", "0123456789abcdef", 2, 8);
    assert_non_null(e);
    assert_int_equal(e->best, SC_TUNE_MPS);
    assert_true(fabs(e->per_second[SC_TUNE_TIMESLICE] - 300) < 1 &&
                fabs(e->per_second[SC_TUNE_MPS] - 500) < 1);
    assert_int_equal(e->worker_memory, 1 << 20);
    sc_tune_record_free(&r);
    sc_tune_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_gone_on_from),
        cmocka_unit_test(another_search_or_a_damaged_file_is_refused),
        cmocka_unit_test(reports_escape_what_they_tell),
        cmocka_unit_test(only_the_keys_of_the_first_level_change),
        cmocka_unit_test(what_is_not_in_lines_is_left_alone),
        cmocka_unit_test(the_record_says_which_way_was_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
