#include "test.h"

#include "base/array.h"
#include "metrics/trace.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static void a_traceparent_is_read(void **state)
{
    (void)state;
    struct sc_trace t;
    assert_true(sc_trace_read(SC_SPAN("00-" TRACE "-" SPAN "-01"), &t));
    assert_true(t.id[0] == 0x0af7651916cd43dd && t.id[1] == 0x8448eb211c80319c);
    assert_true(t.parent == 0xb7ad6b7169203331 && t.sampled);
    assert_true(sc_trace_read(SC_SPAN(" 00-" TRACE "-" SPAN "-fe "), &t));
    assert_false(t.sampled);
    /* Versions to come: what is known of them counts. */
    assert_true(sc_trace_read(SC_SPAN("cc-" TRACE "-" SPAN "-01"), &t));
    assert_true(sc_trace_read(SC_SPAN("cc-" TRACE "-" SPAN "-01-what-else"), &t));
}

static void what_is_no_traceparent_is_ignored(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN "-1",
        "00-" TRACE "-" SPAN "-001",
        "00-" TRACE "-" SPAN "-01-x",
        "cc-" TRACE "-" SPAN "-01x",
        "ff-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-" TRACE "-" SPAN "-0G",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE SPAN "-01",
    };
    for (unsigned i = 0; i < SC_COUNT(bad); i++) {
        struct sc_trace t;
        if (sc_trace_read(sc_span_str(bad[i]), &t))
            fail_msg("taken: %s", bad[i]);
    }
}

static void a_tracestate_is_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"a=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
                                       "fw529a3039@dt=x , ,b=2", "a= !+~", "a_-*/9=1"};
    static const char *const bad[] = {"",    ",",    "a",    "=1",    "A=1",  "a=",      "a=b=c",
                                      "1=2", "@a=1", "a@=1", "a b=1", "a=\t", "a@b@c=1", "a=\x80"};
    char long_one[1024];
    for (unsigned i = 0; i < SC_COUNT(good); i++)
        if (!sc_trace_state_valid(sc_span_str(good[i])))
            fail_msg("refused: %s", good[i]);
    for (unsigned i = 0; i < SC_COUNT(bad); i++)
        if (sc_trace_state_valid(sc_span_str(bad[i])))
            fail_msg("taken: %s", bad[i]);
    struct sc_span s = sc_span(long_one, 0);
    for (unsigned i = 0; i < 32; i++) {
        memcpy(long_one + s.n, "a=1,", 4);
        s.n += 4;
    }
    assert_true(sc_trace_state_valid(s));
    memcpy(long_one + s.n, "a=1,", 4);
    assert_false(sc_trace_state_valid(sc_span(long_one, s.n + 4)));
    memset(long_one, 'a', sizeof long_one);
    long_one[300] = '=';
    assert_false(sc_trace_state_valid(sc_span(long_one, 302)));
    long_one[300] = 'a';
    long_one[1] = '=';
    assert_false(sc_trace_state_valid(sc_span(long_one, SC_TRACE_STATE_BYTES + 1)));
}

static void samplers_choose(void **state)
{
    (void)state;
    struct sc_sampler s;
    struct sc_trace yes = {{1, 1}, 1, true}, no = {{1, 1}, 1, false};
    const uint64_t low[] = {5, 2}, high[] = {5, UINT64_MAX};
    assert_true(sc_sampler_read(NULL, NULL, &s));
    assert_true(sc_sampler_takes(&s, high, NULL) && sc_sampler_takes(&s, high, &yes));
    assert_false(sc_sampler_takes(&s, low, &no));
    assert_true(sc_sampler_read("always_on", "", &s));
    assert_true(sc_sampler_takes(&s, high, &no));
    assert_true(sc_sampler_read("always_off", NULL, &s));
    assert_false(sc_sampler_takes(&s, low, &yes));
    assert_true(sc_sampler_read("parentbased_always_off", NULL, &s));
    assert_false(sc_sampler_takes(&s, low, NULL));
    assert_true(sc_sampler_takes(&s, low, &yes));
    assert_true(sc_sampler_read("traceidratio", "0.25", &s));
    assert_true(sc_sampler_takes(&s, low, &no));
    assert_false(sc_sampler_takes(&s, high, &yes));
    assert_true(sc_sampler_read("parentbased_traceidratio", "0", &s));
    assert_false(sc_sampler_takes(&s, low, NULL));
    assert_true(sc_sampler_takes(&s, high, &yes));
    static const char *const bad[][2] = {
        {"sometimes", NULL}, {"traceidratio", "2"}, {"traceidratio", "-1"}, {"traceidratio", "0.5x"}};
    for (unsigned i = 0; i < SC_COUNT(bad); i++) {
        assert_false(sc_sampler_read(bad[i][0], bad[i][1], &s));
        assert_true(s.parent_based && sc_sampler_takes(&s, high, NULL));
    }
}

static void ids_differ(void **state)
{
    (void)state;
    uint64_t a = sc_trace_new_id(), b = sc_trace_new_id();
    assert_true(a && b && a != b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_is_read),
        cmocka_unit_test(what_is_no_traceparent_is_ignored),
        cmocka_unit_test(a_tracestate_is_checked),
        cmocka_unit_test(samplers_choose),
        cmocka_unit_test(ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
