#include "test.h"

#include <stdlib.h>

#include "base/limits.h"
#include "proto/properties.h"

static struct sc_properties p;

static int teardown(void **state)
{
    (void)state;
    sc_properties_free(&p);
    return 0;
}

static void read_ok(const char *text)
{
    struct sc_msg msg;
    if (sc_properties_read(&p, sc_span_str(text), "config.properties", &msg) != 0)
        fail_msg("%s", msg.text);
}

static void expect(const char *key, const char *value)
{
    const char *v = sc_properties_get(&p, key);
    if (!v)
        fail_msg("no key '%s'", key);
    assert_string_equal(v, value);
}

static void lines_are_javas(void **state)
{
    (void)state;
    read_ok("# comment\n! comment too \\\n"
            "a=1\n"
            "  b : 2\r\n"
            "c 3\r"
            "d\t=\t= 4 \n"
            "\n \t \n"
            "e\n"
            "f=\n"
            "g\\ h\\=\\:i=x\n"
            "=nokey\n"
            "j=#not a comment\n"
            "last=no newline");
    expect("a", "1");
    expect("b", "2");
    expect("c", "3");
    expect("d", "= 4 "); /* blanks at the end stay */
    expect("e", "");
    expect("f", "");
    expect("g h=:i", "x");
    expect("", "nokey");
    expect("j", "#not a comment");
    expect("last", "no newline");
    assert_int_equal(p.n, 10);
    assert_null(sc_properties_get(&p, "A"));
    assert_int_equal(sc_properties_find(&p, "c")->line, 5);
    assert_int_equal(sc_properties_find(&p, "last")->line, 14);
}

static void lines_continue_behind_a_backslash(void **state)
{
    (void)state;
    read_ok("models={\\\n"
            "   \"m\": {\\\r\n"
            "\t#no comment\\\n"
            "\n"
            "even=x\\\\\n"
            "odd=x\\\\\\\n y\n"
            "end=x\\");
    expect("models", "{\"m\": {#no comment");
    expect("even", "x\\");
    expect("odd", "x\\y");
    expect("end", "x");
    assert_int_equal(p.n, 4);
    assert_int_equal(sc_properties_find(&p, "even")->line, 5);
}

static void escapes_and_latin1_become_utf8(void **state)
{
    (void)state;
    read_ok("a=\\t\\n\\r\\f\\\\\\q\\ x\n"
            "b=\\u00e4\\u65E5\\ud83d\\uDD25\n"
            "c=\xe4\n"
            "d=\\ud83d!\n"
            "\\u0065=e\n");
    expect("a", "\t\n\r\f\\q x");
    expect("b", "\xc3\xa4\xe6\x97\xa5\xf0\x9f\x94\xa5");
    expect("c", "\xc3\xa4");
    expect("d", "\xef\xbf\xbd!");
    expect("e", "e");
}

static void the_last_of_a_key_wins(void **state)
{
    (void)state;
    read_ok("a=1\nb=2\na=3\n");
    expect("a", "3");
    assert_int_equal(p.n, 2);
    assert_int_equal(sc_properties_set(&p, "b", "4"), 0);
    assert_int_equal(sc_properties_set(&p, "c", "5"), 0);
    expect("b", "4");
    expect("c", "5");
    read_ok("c=6");
    expect("c", "6");
    assert_int_equal(p.n, 3);
}

static void errors_name_file_and_line(void **state)
{
    (void)state;
    struct sc_msg msg;
    assert_int_equal(sc_properties_read(&p, SC_SPAN("a=1\n\nb=\\\n\\u12x4\n"), "my.properties", &msg),
                     SC_EINVAL);
    assert_string_equal(msg.text, "my.properties:3: Malformed \\uxxxx encoding");
    assert_int_equal(sc_properties_read(&p, SC_SPAN("b=\\u123"), "f", &msg), SC_EINVAL);
    assert_int_equal(sc_properties_read(&p, SC_SPAN("b=\\u0000"), "f", &msg), SC_EINVAL);
    assert_int_equal(sc_properties_read(&p, SC_SPAN("\0"), "f", &msg), SC_EINVAL);
    assert_string_equal(msg.text, "f:1: A NUL character");
}

static void size_and_count_are_bounded(void **state)
{
    (void)state;
    struct sc_msg msg;
    size_t n = SC_SETTINGS_FILE_BYTES + 1;
    char *text = malloc(n);
    memset(text, '\xe4', n);
    assert_int_equal(sc_properties_read(&p, sc_span(text, n), "big", &msg), SC_ELIMIT);
    assert_non_null(strstr(msg.text, "big: larger than"));
    assert_int_equal(sc_properties_read(&p, sc_span(text, n - 1), "big", &msg), 0);
    free(text);

    struct sc_buf b;
    sc_buf_init(&b, 1 << 20);
    for (int i = 0; i <= SC_SETTINGS_KEYS_MAX; i++)
        sc_buf_printf(&b, "k%d=v\n", i);
    assert_int_equal(sc_properties_read(&p, sc_buf_view(&b), "many", &msg), SC_ELIMIT);
    assert_string_equal(msg.text, "many:4096: more than 4096 keys");
    sc_buf_free(&b);
}

static const char *lookup(const char *name, void *ctx)
{
    (void)ctx;
    return strcmp(name, "HOME") == 0    ? "/home/u"
           : strcmp(name, "EMPTY") == 0 ? ""
           : strcmp(name, "X Y") == 0   ? "$$HOME$$"
                                        : NULL;
}

static void variables_are_replaced_anywhere(void **state)
{
    (void)state;
    struct sc_msg msg;
    read_ok("a=$$HOME$$/x:$$EMPTY$$:$$HOME$$\nb=$$X Y$$\nc=$$A$$ $HOME$ $$HOME $$ $\nd=$$$HOME$$\ne=$$$$\n");
    /* one letter is no name; "$$HOME $$" would be one */
    assert_int_equal(sc_properties_expand(&p, lookup, NULL, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "Invalid Environment Variable HOME  (config.properties:3)");
    assert_int_equal(sc_properties_set(&p, "c", "$$A$$ $HOME$ $"), 0);
    assert_int_equal(sc_properties_expand(&p, lookup, NULL, &msg), 0);
    expect("a", "/home/u/x::/home/u");
    expect("c", "$$A$$ $HOME$ $");
    expect("d", "$/home/u");
    expect("e", "$$$$");
    assert_int_equal(sc_properties_set(&p, "f", "$$NO_SUCH$$"), 0);
    assert_int_equal(sc_properties_expand(&p, lookup, NULL, &msg), SC_EINVAL);
    assert_string_equal(msg.text, "Invalid Environment Variable NO_SUCH");
}

static void what_is_written_reads_back_alike(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain", "http://127.0.0.1:8080"},
        {"with blank", "  two leading, one trailing "},
        {"#odd!=:key\\", "\t\n\r\f\\#!=:"},
        {"model_snapshot", "{\n  \"name\": \"x.cfg\",\n  \"modelCount\": 1\n}"},
        {"\xc3\xa4", "\xe6\x97\xa5\xf0\x9f\x94\xa5\x01\x7f"},
        {"", ""},
    };
    struct sc_buf b;
    sc_buf_init(&b, 1 << 16);
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        assert_int_equal(sc_properties_set(&p, cases[i][0], cases[i][1]), 0);
    sc_properties_write(&p, &b);
    sc_properties_free(&p);
    sc_buf_char(&b, '\0');
    assert_non_null(strstr(b.p, "plain=http\\://127.0.0.1\\:8080\n"));
    assert_non_null(strstr(b.p, "model_snapshot={\\n  \"name\"\\: \"x.cfg\",\\n  \"modelCount\"\\: 1\\n}\n"));
    assert_non_null(strstr(b.p, "with\\ blank=\\  two leading"));
    assert_non_null(strstr(b.p, "\\u00E4=\\u65E5\\uD83D\\uDD25\\u0001\\u007F\n"));
    read_ok(b.p);
    assert_int_equal(p.n, SC_COUNT(cases));
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        expect(cases[i][0], cases[i][1]);
    sc_buf_free(&b);
}

int main(void)
{
#define WITH_P(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {
        WITH_P(lines_are_javas),
        WITH_P(lines_continue_behind_a_backslash),
        WITH_P(escapes_and_latin1_become_utf8),
        WITH_P(the_last_of_a_key_wins),
        WITH_P(errors_name_file_and_line),
        WITH_P(size_and_count_are_bounded),
        WITH_P(variables_are_replaced_anywhere),
        WITH_P(what_is_written_reads_back_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
