#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "proto/yaml.h"

static struct sc_buf seen; /* "path=value;" for each scalar */
static struct sc_msg msg;

static int note(void *arg, struct sc_span path, struct sc_span value, struct sc_msg *m)
{
    (void)arg;
    if (sc_span_eq(value, SC_SPAN("refuse me")))
        return sc_fail(m, SC_EEXIST, "refused");
    sc_buf_printf(&seen, "%.*s=%.*s;", SC_FMT(path), SC_FMT(value));
    return 0;
}

static int read_yaml(const char *text)
{
    sc_buf_clear(&seen);
    msg.text[0] = '\0';
    return sc_yaml_read(sc_span_str(text), "f.yaml", note, NULL, &msg);
}

static void expect(const char *text, const char *scalars)
{
    int rc = read_yaml(text);
    sc_buf_char(&seen, '\0');
    assert_string_equal(msg.text, "");
    assert_int_equal(rc, 0);
    assert_string_equal(seen.p, scalars);
}

static void scalars_come_with_their_paths(void **state)
{
    (void)state;
    expect("a: 1\nb: two words\n", "a=1;b=two words;");
    expect("a:\n  b:\n    c: 1\n  d: 2\ne: 3\n", "a.b.c=1;a.d=2;e=3;");
    expect("a: [x, y]\nb: z\n", "a.0=x;a.1=y;b=z;");
    expect("a:\n- k: 1\n  l: 2\n- k: 3\nb: 4\n", "a.0.k=1;a.0.l=2;a.1.k=3;b=4;");
    expect("a: [[1, 2], {b: 3}]\n", "a.0.0=1;a.0.1=2;a.1.b=3;");
    expect("a: \"x\\ty\"\nb: 'it''s'\nc: |\n  text\n", "a=x\ty;b=it's;c=text\n;");
    expect("a:\nb: ~\n", "a=;b=~;");
    expect("# nothing\n", "");
    expect("", "");
    expect("a: 1\n---\nb: 2\n", "a=1;");
}

static void errors_name_the_place(void **state)
{
    (void)state;
    assert_int_equal(read_yaml("a: 1\nb: [1, 2\n"), SC_EINVAL);
    assert_non_null(strstr(msg.text, "f.yaml:3:"));
    assert_int_equal(read_yaml("just words"), SC_EINVAL);
    assert_int_equal(read_yaml("*words"), SC_EINVAL);
    assert_non_null(strstr(msg.text, "f.yaml"));
    assert_int_equal(read_yaml("a: &x 1\nb: *x\n"), SC_EUNSUPPORTED);
    assert_non_null(strstr(msg.text, "f.yaml:2"));
    assert_int_equal(read_yaml("? [a, b]\n: c\n"), SC_EINVAL);
    assert_int_equal(read_yaml("a: \xff\n"), SC_EINVAL);
    assert_int_equal(read_yaml("a: 1\n\tb: 2\n"), SC_EINVAL);
}

static void the_readers_refusal_ends_the_reading(void **state)
{
    (void)state;
    assert_int_equal(read_yaml("a: 1\nb: refuse me\nc: 2\n"), SC_EEXIST);
    assert_string_equal(msg.text, "refused");
    assert_int_equal(seen.n, strlen("a=1;"));
}

static void depth_and_paths_are_bounded(void **state)
{
    char text[1024];
    (void)state;
    for (int over = 0; over < 2; over++) {
        size_t n = SC_JSON_DEPTH_MAX - 1 + (size_t)over;
        memcpy(text, "a: ", 3);
        memset(text + 3, '[', n);
        memset(text + 3 + n, ']', n);
        text[3 + 2 * n] = '\0';
        assert_int_equal(read_yaml(text), over ? SC_ELIMIT : 0);
    }
    memset(text, 'k', 300);
    strcpy(text + 300, ": 1");
    assert_int_equal(read_yaml(text), SC_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_come_with_their_paths),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(the_readers_refusal_ends_the_reading),
        cmocka_unit_test(depth_and_paths_are_bounded),
    };
    sc_buf_init(&seen, 1 << 16);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sc_buf_free(&seen);
    return failed;
}
