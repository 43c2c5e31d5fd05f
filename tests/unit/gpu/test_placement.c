#include "test.h"

#include "gpu/health.h"
#include "gpu/placement.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

static struct sc_msg why;
static bool memory;

static const struct sc_gpu_info
    empty = {.index = 0, .memory_total = 80 * GIB, .memory_used = 0, .utilization = 0},
    busy = {.index = 1, .memory_total = 80 * GIB, .memory_used = 2 * GIB, .utilization = 90},
    full = {.index = 2, .memory_total = 80 * GIB, .memory_used = 79 * GIB, .memory_reserved = 512 * MIB},
    silent = {.index = 3, .memory_used = SC_GPU_UNKNOWN, .memory_total = SC_GPU_UNKNOWN},
    prohibited = {.index = 4, .memory_total = 80 * GIB, .compute_mode = SC_COMPUTE_PROHIBITED},
    divided = {.index = 5, .memory_total = 80 * GIB, .memory_used = 80 * GIB, .mig = 1};

static enum sc_gpu_fit fits(struct sc_gpu_place p, int64_t need)
{
    why.text[0] = '\0';
    return sc_gpu_fits(&p, need, &memory, &why);
}

static void a_worker_fits_where_what_it_takes_is_free(void **state)
{
    (void)state;
    assert_int_equal(fits((struct sc_gpu_place){.info = &empty}, 80 * GIB), SC_FIT_YES);
    assert_int_equal(fits((struct sc_gpu_place){.info = &empty}, 80 * GIB + 1), SC_FIT_NO);
    assert_int_equal(fits((struct sc_gpu_place){.info = &full}, 512 * MIB), SC_FIT_YES);
    assert_int_equal(fits((struct sc_gpu_place){.info = &full}, 513 * MIB), SC_FIT_NO);
    assert_true(memory);
    /* Nothing known of the GPU, or of the part that a process gets: no reason to refuse. */
    assert_int_equal(fits((struct sc_gpu_place){.info = &silent}, GIB), SC_FIT_YES);
    assert_int_equal(fits((struct sc_gpu_place){.info = NULL}, GIB), SC_FIT_YES);
    assert_int_equal(fits((struct sc_gpu_place){.info = &divided}, GIB), SC_FIT_YES);
}

static void a_refusal_has_its_arithmetic(void **state)
{
    (void)state;
    assert_int_equal(
        fits((struct sc_gpu_place){.gpu_id = 7, .info = &full, .promised = 200 * MIB}, 400 * MIB), SC_FIT_NO);
    assert_string_equal(why.text,
                        "GPU 7: a worker takes 400 MiB, and of 81920 MiB 512 are free, 200 of these promised "
                        "to workers that are starting");
    assert_int_equal(fits((struct sc_gpu_place){.info = &full, .promised = 500 * MIB}, 0), SC_FIT_NO);
    assert_non_null(strstr(why.text, "takes at least 128 MiB"));
}

static void what_others_leave_is_waited_for(void **state)
{
    (void)state;
    assert_int_equal(fits((struct sc_gpu_place){.info = &full, .leaving = GIB}, GIB), SC_FIT_LATER);
    assert_int_equal(fits((struct sc_gpu_place){.info = &full, .leaving = GIB}, 2 * GIB), SC_FIT_NO);
    assert_int_equal(fits((struct sc_gpu_place){.info = &full, .leaving = INT64_MAX}, 2 * GIB), SC_FIT_LATER);
    /* More was promised than there is: it does not make what is left negative. */
    assert_int_equal(fits((struct sc_gpu_place){.info = &full, .promised = INT64_MAX, .leaving = GIB}, GIB),
                     SC_FIT_LATER);
}

static void modes_and_troubles_refuse(void **state)
{
    (void)state;
    struct sc_gpu_info alone = empty;
    alone.compute_mode = SC_COMPUTE_EXCLUSIVE_PROCESS;
    assert_int_equal(fits((struct sc_gpu_place){.info = &empty, .trouble = "XID 79"}, 1), SC_FIT_NO);
    assert_string_equal(why.text, "GPU 0 is not used: XID 79");
    assert_false(memory);
    assert_int_equal(fits((struct sc_gpu_place){.info = &prohibited}, 1), SC_FIT_NO);
    assert_non_null(strstr(why.text, "nvidia-smi -i 4 -c 0"));
    assert_int_equal(fits((struct sc_gpu_place){.info = &alone, .alone = true}, 1), SC_FIT_YES);
    assert_int_equal(
        fits((struct sc_gpu_place){.info = &alone, .alone = true, .processes = 1, .ending = 1}, 1),
        SC_FIT_NO);
    assert_non_null(strstr(why.text, "one process at a time"));
    assert_int_equal(fits((struct sc_gpu_place){.info = &alone, .alone = true, .ending = 1}, 1),
                     SC_FIT_LATER);
    assert_int_equal(fits((struct sc_gpu_place){.info = &alone, .processes = 5}, 1), SC_FIT_YES);
}

static void the_best_has_most_room_then_fewest_workers(void **state)
{
    (void)state;
    struct sc_gpu_place p[] = {{.info = &full}, {.info = &busy}, {.info = &empty}};
    assert_int_equal(sc_gpu_pick(p, 3, GIB), 2); /* near in room; least busy */
    p[2].workers = 1;
    assert_int_equal(sc_gpu_pick(p, 3, GIB), 1);
    p[1].guessed = 10 * GIB; /* further than a sixteenth */
    assert_int_equal(sc_gpu_pick(p, 3, GIB), 2);
    p[2].trouble = "lost";
    assert_int_equal(sc_gpu_pick(p, 3, GIB), 1);
    assert_int_equal(sc_gpu_pick(p, 1, GIB), -1);
    p[0].leaving = 2 * GIB;
    assert_int_equal(sc_gpu_pick(p, 1, GIB), 0); /* later */
    assert_int_equal(sc_gpu_pick(p, 2, GIB), 1); /* now is better than later */
    assert_int_equal(sc_gpu_pick(p, 0, GIB), -1);
}

static void equal_ones_are_taken_from_the_first_on(void **state)
{
    (void)state;
    const struct sc_gpu_place p[] = {{.info = &silent}, {.info = NULL}, {.info = &silent, .workers = 1}};
    assert_int_equal(sc_gpu_pick(p, 3, 0), 0);
    assert_int_equal(sc_gpu_pick(p + 1, 2, 0), 0);
}

static void what_a_program_did_is_no_fault_of_the_gpu(void **state)
{
    (void)state;
    static const unsigned mild[] = {13, 31, 43, 45, 63, 94}, grave[] = {48, 62, 64, 74, 79, 95, 119, 120};
    for (size_t i = 0; i < SC_COUNT(mild); i++)
        assert_true(sc_gpu_xid_is_harmless(mild[i]));
    for (size_t i = 0; i < SC_COUNT(grave); i++)
        assert_false(sc_gpu_xid_is_harmless(grave[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_fits_where_what_it_takes_is_free),
        cmocka_unit_test(a_refusal_has_its_arithmetic),
        cmocka_unit_test(what_others_leave_is_waited_for),
        cmocka_unit_test(modes_and_troubles_refuse),
        cmocka_unit_test(the_best_has_most_room_then_fewest_workers),
        cmocka_unit_test(equal_ones_are_taken_from_the_first_on),
        cmocka_unit_test(what_a_program_did_is_no_fault_of_the_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
