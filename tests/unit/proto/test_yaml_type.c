/* What plain scalars are, as PyYAML's safe_load has them, and what a visitor of a file sees. */
#include "test.h"

#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "proto/yaml.h"

static void types(void **state)
{
    static const struct {
        const char *text;
        enum sc_yaml_type type;
    } cases[] = {
        {"", SC_YAML_NULL},
        {"~", SC_YAML_NULL},
        {"null", SC_YAML_NULL},
        {"Null", SC_YAML_NULL},
        {"nULL", SC_YAML_STRING},
        {"yes", SC_YAML_BOOL},
        {"Off", SC_YAML_BOOL},
        {"y", SC_YAML_STRING},
        {"tRue", SC_YAML_STRING},
        {"0", SC_YAML_INT},
        {"-0", SC_YAML_INT},
        {"+12", SC_YAML_INT},
        {"1_000", SC_YAML_INT},
        {"017", SC_YAML_INT},
        {"018", SC_YAML_STRING},
        {"0o17", SC_YAML_STRING},
        {"0x1f", SC_YAML_INT},
        {"0X1f", SC_YAML_STRING},
        {"0b101", SC_YAML_INT},
        {"0b2", SC_YAML_STRING},
        {"1:30", SC_YAML_INT},
        {"1:60", SC_YAML_STRING},
        {"1:30:5", SC_YAML_INT},
        {"0:30", SC_YAML_STRING},
        {"-", SC_YAML_STRING},
        {"--1", SC_YAML_STRING},
        {"_1", SC_YAML_STRING},
        {"1.", SC_YAML_FLOAT},
        {"1.5", SC_YAML_FLOAT},
        {".5", SC_YAML_FLOAT},
        {"-.5", SC_YAML_STRING},
        {"1e3", SC_YAML_STRING},
        {"1.0e3", SC_YAML_STRING},
        {"1.0e+3", SC_YAML_FLOAT},
        {"1.5E-3", SC_YAML_FLOAT},
        {".", SC_YAML_STRING},
        {".inf", SC_YAML_FLOAT},
        {"-.INF", SC_YAML_FLOAT},
        {".nan", SC_YAML_FLOAT},
        {"-.nan", SC_YAML_STRING},
        {"1_0.5_0", SC_YAML_FLOAT},
        {"1.2.3", SC_YAML_STRING},
        {"190:20:30.15", SC_YAML_FLOAT},
        {"2024-05-30", SC_YAML_TIMESTAMP},
        {"2024-5-3", SC_YAML_STRING},
        {"2024-5-3 1:02:03", SC_YAML_TIMESTAMP},
        {"2024-05-30T21:46:03Z", SC_YAML_TIMESTAMP},
        {"<<", SC_YAML_SPECIAL},
        {"=", SC_YAML_SPECIAL},
        {"word", SC_YAML_STRING},
        {"a: b", SC_YAML_STRING},
        {"\xc3\xa9", SC_YAML_STRING},
        {" 1", SC_YAML_STRING},
    };
    struct sc_yaml_value v;
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        if (sc_yaml_type(sc_span_str(cases[i].text), &v) != cases[i].type)
            fail_msg("\"%s\" is taken for %d", cases[i].text,
                     (int)sc_yaml_type(sc_span_str(cases[i].text), &v));
}

static void integers(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
        bool big;
    } cases[] = {{"0", 0, false},
                 {"-17", -17, false},
                 {"+1_000", 1000, false},
                 {"017", 15, false},
                 {"-0x1F", -31, false},
                 {"0b1_01", 5, false},
                 {"1:30", 90, false},
                 {"-1:0:1", -3601, false},
                 {"9223372036854775807", INT64_MAX, false},
                 {"9223372036854775808", 0, true},
                 {"99999999999999999999999", 0, true},
                 {"0xFFFFFFFFFFFFFFFFF", 0, true}};
    struct sc_yaml_value v;
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        assert_int_equal(sc_yaml_type(sc_span_str(cases[i].text), &v), SC_YAML_INT);
        if (v.number != cases[i].value || v.big != cases[i].big)
            fail_msg("%s is %lld", cases[i].text, (long long)v.number);
    }
}

static void reals_and_truth(void **state)
{
    struct sc_yaml_value v;
    (void)state;
    assert_true(sc_yaml_type(SC_SPAN("1_0.5"), &v) == SC_YAML_FLOAT && v.real == 10.5);
    assert_true(sc_yaml_type(SC_SPAN("-1.5e-3"), &v) == SC_YAML_FLOAT && v.real == -0.0015);
    assert_true(sc_yaml_type(SC_SPAN("1:30.5"), &v) == SC_YAML_FLOAT && v.real == 90.5);
    assert_true(sc_yaml_type(SC_SPAN("-.inf"), &v) == SC_YAML_FLOAT && isinf(v.real) && v.real < 0);
    assert_true(sc_yaml_type(SC_SPAN(".NaN"), &v) == SC_YAML_FLOAT && isnan(v.real));
    assert_true(sc_yaml_type(SC_SPAN("On"), &v) == SC_YAML_BOOL && v.truth);
    assert_true(sc_yaml_type(SC_SPAN("NO"), &v) == SC_YAML_BOOL && !v.truth);
}

/* ---- visiting ---------------------------------------------------------------------------------------------
 */

static struct sc_buf seen;

static int note(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    static const char *const kinds[] = {"plain", "text", "map", "sequence", "alias"};
    (void)arg;
    (void)msg;
    sc_buf_printf(&seen, "%u %s %.*s %.*s;", i->depth, kinds[i->kind], SC_FMT(i->path), SC_FMT(i->value));
    return 0;
}

static void a_visitor_sees_everything_once(void **state)
{
    struct sc_msg msg = {""};
    (void)state;
    sc_buf_init(&seen, 1 << 16);
    assert_int_equal(sc_yaml_each(SC_SPAN("a: &x {b: 1, c: ['2', [3]]}\nd: *x\n<<: *x\ne: |\n  t\n"), "f",
                                  note, NULL, &msg),
                     0);
    sc_buf_char(&seen, '\0');
    assert_string_equal(seen.p,
                        "0 map  ;1 map a ;2 plain a.b 1;2 sequence a.c ;3 text a.c.0 2;3 sequence a.c.1 ;"
                        "4 plain a.c.1.0 3;1 alias d x;1 alias << x;1 text e t\n;");
    assert_int_equal(sc_yaml_each(SC_SPAN("a: &x b\n*x : 1\n"), "f", note, NULL, &msg), SC_EUNSUPPORTED);
    assert_non_null(strstr(msg.text, "f:2"));
    sc_buf_free(&seen);
}

/* ---- JSON
 * -------------------------------------------------------------------------------------------------- */

static void json(void **state)
{
    static const struct {
        const char *yaml, *json; /* NULL: not said in JSON */
    } cases[] = {
        {"", "{}"},
        {"# nothing\n", "{}"},
        {"a: 1\nb: two\n", "{\"a\":1,\"b\":\"two\"}"},
        {"a: [1, '2', 3.50, ~, yes, 0x1F, 1e3]\n", "{\"a\":[1,\"2\",3.5,null,true,31,\"1e3\"]}"},
        {"a:\n  b: {}\n  c: []\n  d: |\n    x\n    y\n", "{\"a\":{\"b\":{},\"c\":[],\"d\":\"x\\ny\\n\"}}"},
        {"a:\n- b: 1\n  c:\n- - 2\n", "{\"a\":[{\"b\":1,\"c\":null},[2]]}"},
        {"\"1\": x\n", "{\"1\":\"x\"}"},
        {"a: &x 1\n", "{\"a\":1}"},
        {"--- {a: 1}\n...\n", "{\"a\":1}"},
        {"a: 1\na: 2\n", "{\"a\":1,\"a\":2}"},
        {"\xc3\xa9: \"\\u00e9\\0\"\n", "{\"\xc3\xa9\":\"\xc3\xa9\\u0000\"}"},
        {"1: x\n", NULL},
        {"yes: x\n", NULL},
        {"~: x\n", NULL},
        {"[a]: x\n", NULL},
        {"a: &x 1\nb: *x\n", NULL},
        {"<<: {a: 1}\n", NULL},
        {"a: 2024-05-30\n", NULL},
        {"a: .inf\n", NULL},
        {"a: 1:30.5\n", NULL},
        {"a: 99999999999999999999\n", NULL},
        {"a: !!str 1\n", NULL},
        {"a: !!set {b}\n", NULL},
        {"a: =\n", NULL},
        {"- a\n", NULL},
        {"words\n", NULL},
        {"a: 1\n---\nb: 2\n", NULL},
        {"a: [\n", NULL},
        {"a: \xff\n", NULL},
        {"\xef\xbb\xbf"
         "a: 1\n",
         NULL},
    };
    struct sc_buf b;
    (void)state;
    sc_buf_init(&b, 1 << 16);
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        sc_buf_clear(&b);
        int rc = sc_yaml_to_json(sc_span_str(cases[i].yaml), &b);
        if ((rc == 0) != (cases[i].json != NULL) ||
            (rc == 0 && !sc_span_eq(sc_buf_view(&b), sc_span_str(cases[i].json))))
            fail_msg("%s: %d %.*s", cases[i].yaml, rc, (int)b.n, b.n ? b.p : "");
    }
    char deep[400] = "a: ";
    memset(deep + 3, '[', 100);
    memset(deep + 103, ']', 100);
    sc_buf_clear(&b);
    assert_true(sc_yaml_to_json(sc_span_str(deep), &b) < 0);
    sc_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(integers),
        cmocka_unit_test(reals_and_truth),
        cmocka_unit_test(a_visitor_sees_everything_once),
        cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
