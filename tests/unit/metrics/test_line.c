#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "metrics/line.h"

#define ASSERT_SPAN(s, text)                         \
    do {                                             \
        struct sc_span span_ = (s);                  \
        assert_int_equal(span_.n, strlen(text));     \
        assert_memory_equal(span_.p, text, span_.n); \
    } while (0)

static void a_workers_line_is_taken_apart(void **state)
{
    (void)state;
    struct sc_metric_line l;
    assert_true(sc_metric_line_parse(
        SC_SPAN("HandlerTime.Milliseconds:82.93|#ModelName:resnet18,Level:Model|#type:GAUGE|#hostname:myhost,"
                "1717105563,3f-a1,b 2"),
        &l));
    ASSERT_SPAN(l.name, "HandlerTime");
    ASSERT_SPAN(l.unit, "Milliseconds");
    ASSERT_SPAN(l.value, "82.93");
    ASSERT_SPAN(l.type, "GAUGE");
    ASSERT_SPAN(l.host, "myhost");
    ASSERT_SPAN(l.time, "1717105563");
    ASSERT_SPAN(l.ids, "3f-a1,b 2");
    assert_int_equal(l.ndims, 2);
    ASSERT_SPAN(l.keys[1], "Level");
    ASSERT_SPAN(l.values[0], "resnet18");
}

static void parts_may_be_missing(void **state)
{
    (void)state;
    struct sc_metric_line l;
    assert_true(sc_metric_line_parse(SC_SPAN("  my name .a unit:-1e,5|#|#hostname:a|b,x"), &l));
    ASSERT_SPAN(l.name, "my name ");
    ASSERT_SPAN(l.unit, "a unit");
    ASSERT_SPAN(l.value, "-1e,5");
    ASSERT_SPAN(l.host, "a|b");
    assert_int_equal(l.ndims, 0);
    assert_null(l.type.p);
    assert_null(l.ids.p);
}

/* A pair with no colon, two of them, or without value is left out, as by Java's split. */
static void broken_dimensions_are_left_out(void **state)
{
    (void)state;
    struct sc_metric_line l;
    assert_true(sc_metric_line_parse(SC_SPAN("n.u:1|#a:1,bad,c:d:e,,f:,g:2|#hostname:h,1"), &l));
    assert_int_equal(l.ndims, 2);
    ASSERT_SPAN(l.keys[0], "a");
    ASSERT_SPAN(l.keys[1], "g");
    char many[4096];
    int n = snprintf(many, sizeof many, "n.u:1|#");
    for (int i = 0; i < 3 * SC_METRIC_LABELS_MAX; i++)
        n += snprintf(many + n, sizeof many - (size_t)n, "k%d:v,", i);
    n += snprintf(many + n, sizeof many - (size_t)n, "|#hostname:h,1");
    assert_true(sc_metric_line_parse(sc_span(many, (size_t)n), &l));
    assert_int_equal(l.ndims, SC_METRIC_LABELS_MAX);
}

static void other_text_is_no_metric(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "x",
        "a.b:1|#",
        "a.b:1|#|#hostname:h",
        "a.b:1|#|#hostname:h,",
        "a.b:1|#|#hostname:,1",
        ".b:1|#|#hostname:h,1",
        "a.:1|#|#hostname:h,1",
        "a.b:|#|#hostname:h,1",
        "a.b:nan|#|#hostname:h,1",
        "a.b:1e+20|#|#hostname:h,1",
        "a.b:None|#|#hostname:h,1",
        "a/b.c:1|#|#hostname:h,1",
        "a.MB/s:1|#|#hostname:h,1",
        "a.b:1|#x:y|z|#hostname:h,1",
        "a.b:1|#x:y|#type:|#hostname:h,1",
        "a.b:1|#x:y|#type:A,B|#hostname:h,1",
        "a.b.c:1|#|#hostname:h,1",
        "a.b:1|x:y|#hostname:h,1",
        "a.b:1|#x:y|#hostname:h",
    };
    struct sc_metric_line l;
    for (size_t i = 0; i < SC_COUNT(lines); i++)
        if (sc_metric_line_parse(sc_span_str(lines[i]), &l))
            fail_msg("taken for a metric: %s", lines[i]);
}

static void values_are_read_as_java_reads_them(void **state)
{
    (void)state;
    double v;
    assert_true(sc_metric_value(SC_SPAN("82.93"), &v) && v == 82.93);
    assert_true(sc_metric_value(SC_SPAN("-.5"), &v) && v == -0.5);
    assert_true(sc_metric_value(SC_SPAN("5."), &v) && v == 5);
    assert_true(sc_metric_value(SC_SPAN("1e-5"), &v) && v == 1e-5);
    assert_true(sc_metric_value(SC_SPAN("007"), &v) && v == 7);
    assert_false(sc_metric_value(SC_SPAN("1-2"), &v));
    assert_false(sc_metric_value(SC_SPAN("1,5"), &v));
    assert_false(sc_metric_value(SC_SPAN("-"), &v));
    assert_false(sc_metric_value(SC_SPAN("e"), &v));
    assert_false(sc_metric_value(SC_SPAN(""), &v));
    char long_one[200];
    memset(long_one, '1', sizeof long_one);
    assert_false(sc_metric_value(sc_span(long_one, sizeof long_one), &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workers_line_is_taken_apart),      cmocka_unit_test(parts_may_be_missing),
        cmocka_unit_test(broken_dimensions_are_left_out),     cmocka_unit_test(other_text_is_no_metric),
        cmocka_unit_test(values_are_read_as_java_reads_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
