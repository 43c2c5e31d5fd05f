/* Charts: where points land, what is left out, what is escaped. */
#include "test.h"

#include <math.h>
#include <stdio.h>

#include "load/svg.h"

static struct sc_buf out;

static const char *draw(const struct sc_chart *c, bool alone)
{
    sc_buf_free(&out);
    sc_buf_init(&out, 1 << 20);
    if (!sc_svg_chart(c, alone, &out)) {
        assert_int_equal(out.n, 0);
        return NULL;
    }
    sc_buf_char(&out, '\0');
    assert_int_equal(out.failed, 0);
    assert_null(strstr(out.p, "nan"));
    assert_null(strstr(out.p, "inf"));
    return out.p;
}

static struct sc_chart chart(const double *x, const double *y, size_t n)
{
    return (struct sc_chart){.title = "T",
                             .x_title = "x",
                             .y_title = "y",
                             .nlines = 1,
                             .lines = {{.name = "one", .x = x, .y = y, .n = n}}};
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void a_line_goes_from_corner_to_corner(void **state)
{
    const double x[] = {0, 5, 10}, y[] = {0, 50, 100};
    (void)state;
    struct sc_chart c = chart(x, y, 3);
    const char *svg = draw(&c, false);
    assert_non_null(svg);
    /* 720 by 300; the axes leave 70, 20, 46 and 50. */
    assert_non_null(strstr(svg, "points=\"70.0,250.0 385.0,148.0 700.0,46.0 \""));
    assert_null(strstr(svg, "<style>"));
    assert_int_equal(count(svg, "<svg "), 1);
    assert_non_null(strstr(draw(&c, true), "prefers-color-scheme:dark"));
}

static void points_that_are_no_numbers_are_left_out(void **state)
{
    const double x[] = {NAN, 1, 2, INFINITY, 4}, y[] = {1, 10, NAN, 3, -INFINITY};
    (void)state;
    struct sc_chart c = chart(x, y, 5);
    const char *svg = draw(&c, false);
    assert_non_null(svg);
    assert_int_equal(count(svg, "<circle"), 1); /* the one that is left */
    c.lines[0].n = 1;
    assert_null(draw(&c, false));
    c.nlines = 0;
    assert_null(draw(&c, false));
}

static void nothing_at_or_below_0_stands_on_a_logarithmic_axis(void **state)
{
    const double x[] = {0, 1, 10, 100}, y[] = {1, -1, 1, 1000};
    (void)state;
    struct sc_chart c = chart(x, y, 4);
    c.x_log = c.y_log = true;
    const char *svg = draw(&c, false);
    assert_non_null(svg);
    assert_non_null(strstr(svg, "points=\"70.0,250.0 700.0,46.0 \""));
    const double none[] = {0, -1};
    c = chart(none, none, 2);
    c.x_log = true;
    assert_null(draw(&c, false));
}

static void values_of_any_size_make_few_ticks(void **state)
{
    static const double sizes[] = {1e-300, 1e-9, 0.3, 1, 7, 1e9, 1e300};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int log = 0; log < 2; log++) {
            const double x[] = {sizes[i], sizes[i] * 3}, y[] = {sizes[i], sizes[i]};
            struct sc_chart c = chart(x, y, 2);
            c.x_log = c.y_log = log;
            const char *svg = draw(&c, false);
            assert_non_null(svg);
            unsigned n = count(svg, "class=\"g\"");
            if (n < 2 || n > 34)
                fail_msg("%g, %s: %u grid lines", sizes[i], log ? "log" : "linear", n);
        }
    }
}

static void texts_are_escaped(void **state)
{
    const double x[] = {1}, y[] = {1};
    (void)state;
    struct sc_chart c = chart(x, y, 1);
    c.title = "<script>&\"\x01";
    c.nlines = 2;
    c.lines[1] = (struct sc_chart_line){.name = "</text><b>", .x = x, .y = y, .n = 1};
    c.x_ticks = &(struct sc_chart_tick){.at = 1, .text = "<p99>"};
    c.nx_ticks = 1;
    const char *svg = draw(&c, true);
    assert_non_null(strstr(svg, "&lt;script&gt;&amp;&quot; "));
    assert_null(strstr(svg, "<script"));
    assert_null(strstr(svg, "<b>"));
    assert_non_null(strstr(svg, "&lt;p99&gt;"));
    sc_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_goes_from_corner_to_corner),
        cmocka_unit_test(points_that_are_no_numbers_are_left_out),
        cmocka_unit_test(nothing_at_or_below_0_stands_on_a_logarithmic_axis),
        cmocka_unit_test(values_of_any_size_make_few_ticks),
        cmocka_unit_test(texts_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
