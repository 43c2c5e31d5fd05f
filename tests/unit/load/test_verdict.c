/* Right and wrong answers, for each way to say what is right. */
#include "test.h"

#include <stdlib.h>

#include "base/limits.h"
#include "load/verdict.h"

static struct sc_load_config config;
static struct sc_load_message message;
static struct sc_load_slot slot;
static struct sc_load_result result;
static struct sc_verdict verdict;

static void begin(enum sc_load_check check)
{
    sc_load_defaults(&config);
    memset(&result, 0, sizeof result);
    memset(&message, 0, sizeof message);
    config.check = check;
    config.answer = SC_SPAN("yes");
    config.regex = "^y[e]s$";
    assert_int_equal(sc_verdict_init(&verdict, &config), 0);
    slot = (struct sc_load_slot){.message = &message, .sent_body = SC_SPAN("yes")};
}

static void end(void)
{
    sc_verdict_free(&verdict);
    sc_body_free(&slot.body);
    free(atomic_load(&message.first));
}

/* An answer in pieces of one byte. */
static int answer(unsigned status, struct sc_span body)
{
    sc_verdict_begin(&verdict, &slot);
    slot.status = status;
    for (size_t i = 0; i < body.n; i++)
        sc_body_add(&slot.body, body.p + i, 1);
    sc_body_end(&slot.body);
    return sc_verdict(&verdict, &slot, &result);
}

static void a_body_equals_is_echoed_or_matches(void **state)
{
    static const enum sc_load_check checks[] = {SC_LOAD_EQUAL, SC_LOAD_ECHO, SC_LOAD_REGEX};
    static const char *const wrong[] = {"", "ye", "yes!", "no", "YES"};
    (void)state;
    for (unsigned k = 0; k < SC_COUNT(checks); k++) {
        begin(checks[k]);
        assert_int_equal(answer(200, SC_SPAN("yes")), -1);
        assert_string_equal(result.wrong, "");
        for (unsigned i = 0; i < SC_COUNT(wrong); i++)
            assert_int_equal(answer(200, sc_span_str(wrong[i])), SC_LOAD_BAD_BODY);
        assert_int_equal(answer(200, SC_SPAN("yes")), -1); /* a wrong one leaves nothing behind */
        assert_non_null(strstr(result.wrong, "wrong body"));
        end();
    }
}

static void the_status_decides_first(void **state)
{
    (void)state;
    begin(SC_LOAD_STATUS);
    assert_int_equal(answer(200, SC_SPAN("anything")), -1);
    assert_int_equal(answer(302, SC_SPAN("")), -1);
    assert_int_equal(answer(503, SC_SPAN("bu\x01sy")), SC_LOAD_BAD_STATUS);
    assert_int_equal(answer(404, SC_SPAN("gone")), SC_LOAD_BAD_STATUS);
    assert_int_equal(result.bad_status, 503);
    assert_string_equal(result.wrong, "status 503; the body begins \"bu sy\"");
    config.status = 404;
    assert_int_equal(answer(404, SC_SPAN("gone")), -1);
    assert_int_equal(answer(200, SC_SPAN("")), SC_LOAD_BAD_STATUS);
    end();
    begin(SC_LOAD_EQUAL);
    assert_int_equal(answer(500, SC_SPAN("yes")), SC_LOAD_BAD_STATUS);
    end();
}

static void the_first_answer_to_a_body_is_what_the_others_must_be(void **state)
{
    (void)state;
    begin(SC_LOAD_FIRST);
    assert_int_equal(answer(500, SC_SPAN("oops")), SC_LOAD_BAD_STATUS); /* no example for others */
    assert_int_equal(answer(200, SC_SPAN("a")), -1);
    assert_int_equal(answer(200, SC_SPAN("a")), -1);
    assert_int_equal(answer(200, SC_SPAN("b")), SC_LOAD_BAD_BODY);
    assert_int_equal(answer(200, SC_SPAN("")), SC_LOAD_BAD_BODY);
    struct sc_load_message other = {0};
    slot.message = &other;
    assert_int_equal(answer(200, SC_SPAN("")), -1); /* an empty one is an answer, too */
    assert_int_equal(answer(200, SC_SPAN("a")), SC_LOAD_BAD_BODY);
    free(atomic_load(&other.first));
    end();
}

static void an_expression_sees_bytes_behind_a_nul(void **state)
{
    (void)state;
    begin(SC_LOAD_REGEX);
    sc_verdict_free(&verdict);
    config.regex = "x$";
    assert_int_equal(sc_verdict_init(&verdict, &config), 0);
    assert_int_equal(answer(200, sc_span("a\0x", 3)), -1);
    assert_int_equal(answer(200, sc_span("x\0a", 3)), SC_LOAD_BAD_BODY);
    end();
}

static void a_body_too_large_to_be_looked_at_is_wrong(void **state)
{
    (void)state;
    begin(SC_LOAD_REGEX);
    size_t n = SC_LOAD_ANSWER_BYTES + 1;
    char *big = calloc(1, n);
    assert_non_null(big);
    sc_verdict_begin(&verdict, &slot);
    slot.status = 200;
    sc_body_add(&slot.body, big, n);
    sc_body_end(&slot.body);
    assert_int_equal(sc_verdict(&verdict, &slot, &result), SC_LOAD_BAD_BODY);
    free(big);
    end();
}

static void grpc_has_a_status_and_one_message(void **state)
{
    /* A frame's head, field 1 (bytes) of 3 bytes. */
    static const char right[] = "\0\0\0\0\5\n\3yes", other[] = "\0\0\0\0\4\n\2no",
                      packed[] = "\1\0\0\0\5\n\3yes", broken[] = "\0\0\0\0\5\n\7yes";
    (void)state;
    begin(SC_LOAD_EQUAL);
    config.protocol = SC_LOAD_GRPC;
    const struct {
        struct sc_span body;
        int want;
    } cases[] = {{sc_span(right, 10), -1},
                 {sc_span(other, 9), SC_LOAD_BAD_BODY},
                 {sc_span(packed, 10), SC_LOAD_BAD_BODY},
                 {sc_span(broken, 10), SC_LOAD_BAD_BODY},
                 {sc_span(right, 4), SC_LOAD_BAD_BODY},
                 {sc_span(right, 0), SC_LOAD_BAD_BODY}};
    for (unsigned i = 0; i < SC_COUNT(cases); i++) {
        sc_verdict_begin(&verdict, &slot);
        assert_int_equal(slot.grpc_status, -1);
        slot.status = 200;
        slot.grpc_status = 0;
        sc_body_add(&slot.body, cases[i].body.p, cases[i].body.n);
        sc_body_end(&slot.body);
        assert_int_equal(sc_verdict(&verdict, &slot, &result), cases[i].want);
    }
    assert_int_equal(answer(200, SC_SPAN("")), SC_LOAD_PROTOCOL); /* no trailer */
    sc_verdict_begin(&verdict, &slot);
    slot.status = 200;
    slot.grpc_status = 8;
    strcpy(slot.grpc_text, "full");
    sc_body_end(&slot.body);
    result.wrong[0] = '\0';
    assert_int_equal(sc_verdict(&verdict, &slot, &result), SC_LOAD_BAD_STATUS);
    assert_int_equal(result.bad_status, 1008);
    assert_non_null(strstr(result.wrong, "grpc-status 8 \"full\""));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_equals_is_echoed_or_matches),
        cmocka_unit_test(the_status_decides_first),
        cmocka_unit_test(the_first_answer_to_a_body_is_what_the_others_must_be),
        cmocka_unit_test(an_expression_sees_bytes_behind_a_nul),
        cmocka_unit_test(a_body_too_large_to_be_looked_at_is_wrong),
        cmocka_unit_test(grpc_has_a_status_and_one_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
