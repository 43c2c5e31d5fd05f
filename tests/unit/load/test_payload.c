/* Bodies from files, folders, lines, and made up. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "load/payload.h"

static struct sc_payload p;
static struct sc_msg msg;
static char folder[64];

static int begin(void **state)
{
    (void)state;
    memset(&p, 0, sizeof p);
    strcpy(folder, "/tmp/sc_payload_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    sc_payload_free(&p);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *file(const char *name, const char *text)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
    return path;
}

static void body_is(size_t i, const char *text)
{
    assert_true(i < p.n);
    assert_int_equal(p.bodies[i].n, strlen(text));
    assert_memory_equal(p.bodies[i].p, text, strlen(text));
}

static void a_file_is_one_body_and_an_empty_one_too(void **state)
{
    (void)state;
    assert_int_equal(sc_payload_path(&p, file("one", "a\nb"), &msg), 0);
    assert_int_equal(sc_payload_path(&p, file("empty", ""), &msg), 0);
    assert_int_equal(p.n, 2);
    body_is(0, "a\nb");
    assert_int_equal(p.bodies[1].n, 0);
    assert_int_equal(sc_payload_path(&p, in_folder("none"), &msg), SC_ENOTFOUND);
    assert_non_null(strstr(msg.text, "none"));
}

static void a_folder_gives_its_files_by_name_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(sc_payload_path(&p, folder, &msg), SC_EINVAL); /* no file in it */
    file("b", "second");
    file("a", "first");
    file(".hidden", "never");
    assert_int_equal(mkdir(in_folder("c"), 0700), 0);
    assert_int_equal(sc_payload_path(&p, folder, &msg), 0);
    assert_int_equal(p.n, 2);
    body_is(0, "first");
    body_is(1, "second");
}

static void lines_are_bodies_but_for_empty_ones(void **state)
{
    (void)state;
    assert_int_equal(sc_payload_lines(&p, file("l", "{\"a\": 1}\r\n\n{}\n\r\nlast"), &msg), 0);
    assert_int_equal(p.n, 3);
    body_is(0, "{\"a\": 1}");
    body_is(1, "{}");
    body_is(2, "last");
    assert_string_equal(p.content_type, "application/json");
    sc_payload_free(&p);
    assert_int_equal(sc_payload_lines(&p, file("t", "plain\n"), &msg), 0);
    assert_null(p.content_type);
    sc_payload_free(&p);
    assert_int_equal(sc_payload_lines(&p, file("e", "\n\r\n\n"), &msg), SC_EINVAL);
    assert_true(sc_payload_lines(&p, in_folder("none"), &msg) < 0);
}

static void a_text_is_copied(void **state)
{
    (void)state;
    char text[] = "now";
    sc_payload_text(&p, sc_span_str(text));
    text[0] = 'x';
    body_is(0, "now");
}

static unsigned words(struct sc_span s)
{
    unsigned n = s.n > 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == ' ';
    return n;
}

static double mean_words(const char *lengths, unsigned *least, unsigned *most)
{
    double sum = 0;
    *least = UINT32_MAX;
    *most = 0;
    sc_payload_free(&p);
    assert_int_equal(sc_payload_made(&p, 2000, lengths, NULL, 7, &msg), 0);
    assert_int_equal(p.n, 2000);
    for (size_t i = 0; i < p.n; i++) {
        unsigned n = words(p.bodies[i]);
        sum += n;
        *least = n < *least ? n : *least;
        *most = n > *most ? n : *most;
    }
    return sum / (double)p.n;
}

static void lengths_have_the_distribution_that_was_asked_for(void **state)
{
    unsigned least, most;
    (void)state;
    assert_true(mean_words("12", &least, &most) == 12 && least == 12 && most == 12);
    double mean = mean_words("5:40", &least, &most);
    assert_true(mean > 21.5 && mean < 23.5 && least == 5 && most == 40);
    mean = mean_words("normal:30:10", &least, &most);
    assert_true(mean > 29 && mean < 31 && least >= 1 && least < 10 && most > 50);
    mean = mean_words("lognormal:30:0.6", &least, &most);
    assert_true(mean > 34 && mean < 38 && most > 120); /* 30 exp(0.18) = 35.9 */
    mean = mean_words("normal:1:100", &least, &most);
    assert_int_equal(least, 1);
}

static void the_same_seed_makes_the_same_texts(void **state)
{
    struct sc_payload q = {0}, other = {0};
    (void)state;
    assert_int_equal(sc_payload_made(&p, 50, "1:30", NULL, 3, &msg), 0);
    assert_int_equal(sc_payload_made(&q, 50, "1:30", NULL, 3, &msg), 0);
    assert_int_equal(sc_payload_made(&other, 50, "1:30", NULL, 4, &msg), 0);
    size_t differ = 0;
    for (size_t i = 0; i < 50; i++) {
        assert_true(sc_span_eq(p.bodies[i], q.bodies[i]));
        differ += !sc_span_eq(p.bodies[i], other.bodies[i]);
    }
    assert_true(differ > 40);
    sc_payload_free(&q);
    sc_payload_free(&other);
}

static void a_text_stands_in_each_place_made_for_it(void **state)
{
    (void)state;
    assert_int_equal(sc_payload_made(&p, 1, "1", "{\"q\": \"{text}\", \"c\": \"{text}\"}", 1, &msg), 0);
    assert_string_equal(p.content_type, "application/json");
    char word[32], want[128];
    assert_int_equal(sscanf(p.bodies[0].p, "{\"q\": \"%31[a-z]", word), 1);
    snprintf(want, sizeof want, "{\"q\": \"%s\", \"c\": \"%s\"}", word, word);
    body_is(0, want);
    assert_int_equal(sc_payload_made(&p, 1, "1", "no place", 1, &msg), SC_EINVAL);
}

static void lengths_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "",         "x",           "0",         "-3",      "5:",       "5:4",
        "5:6:7",    "nan",         "inf",       "normal:", "normal:5", "normal:0:1",
        "normal:a", "lognormal:5", "uniform:1", "1e400",   "5 ",       "normal:5:-1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (sc_payload_made(&p, 1, bad[i], NULL, 1, &msg) != SC_EINVAL)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(p.n, 0);
    }
    /* A length beyond what a text may have is cut, not refused. */
    assert_int_equal(sc_payload_made(&p, 1, "1e9", NULL, 1, &msg), 0);
    assert_int_equal(words(p.bodies[0]), SC_LOAD_WORDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_one_body_and_an_empty_one_too, begin, end),
        cmocka_unit_test_setup_teardown(a_folder_gives_its_files_by_name_and_nothing_else, begin, end),
        cmocka_unit_test_setup_teardown(lines_are_bodies_but_for_empty_ones, begin, end),
        cmocka_unit_test_setup_teardown(a_text_is_copied, begin, end),
        cmocka_unit_test_setup_teardown(lengths_have_the_distribution_that_was_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(the_same_seed_makes_the_same_texts, begin, end),
        cmocka_unit_test_setup_teardown(a_text_stands_in_each_place_made_for_it, begin, end),
        cmocka_unit_test_setup_teardown(lengths_that_are_none_are_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
