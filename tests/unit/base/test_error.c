#include "test.h"

#include "base/error.h"

static void groups_tell_how_far_the_damage_reaches(void **state)
{
    (void)state;
    static const int request[] = {SC_OK,       SC_AGAIN,     SC_EINVAL,   SC_ELIMIT,
                                  SC_ENOMEM,   SC_ENOTFOUND, SC_EEXIST,   SC_EUNSUPPORTED,
                                  SC_ETIMEOUT, SC_EGIVEUP,   SC_ECANCELED};
    for (size_t i = 0; i < sizeof request / sizeof request[0]; i++) {
        assert_false(sc_error_ends_connection(request[i]));
        assert_false(sc_error_ends_worker(request[i]));
    }
    assert_true(sc_error_ends_connection(SC_ECLOSED) && !sc_error_ends_worker(SC_ECLOSED));
    assert_true(sc_error_ends_connection(SC_EPROTO) && !sc_error_ends_worker(SC_EPROTO));
    assert_true(sc_error_ends_worker(SC_EPEER) && sc_error_ends_worker(SC_ESYS) &&
                sc_error_ends_worker(SC_EVERSION));
}

static void every_code_has_a_name(void **state)
{
    (void)state;
    for (int code = -100; code <= 1; code++)
        assert_true(strlen(sc_strerror(code)) > 0);
    assert_string_equal(sc_strerror(SC_ELIMIT), "limit exceeded");
    assert_string_equal(sc_strerror(3), "ok");
    assert_string_equal(sc_strerror(-1000), "unknown error");
    assert_string_equal(sc_strerror(SC_EPEER_BASE), "unknown error");
}

static void a_message_is_cut_and_the_code_handed_on(void **state)
{
    (void)state;
    struct sc_msg m;
    assert_int_equal(sc_fail(&m, SC_EINVAL, "%s: %d", "port", 70000), SC_EINVAL);
    assert_string_equal(m.text, "port: 70000");
    assert_int_equal(sc_fail(&m, SC_ESYS, "%0600d", 1), SC_ESYS);
    assert_int_equal(strlen(m.text), sizeof m.text - 1);
    assert_int_equal(sc_fail(NULL, SC_AGAIN, "nobody reads this"), SC_AGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_tell_how_far_the_damage_reaches),
        cmocka_unit_test(every_code_has_a_name),
        cmocka_unit_test(a_message_is_cut_and_the_code_handed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
