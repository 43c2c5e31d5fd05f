#include "test.h"

#include "gpu/assign.h"

static struct sc_msg msg;
static unsigned server, model;

static int setup(void **state)
{
    (void)state;
    server = model = 0;
    msg.text[0] = '\0';
    return 0;
}

static void every_integer_of_the_variable_is_a_gpu(void **state)
{
    (void)state;
    assert_int_equal(sc_gpu_visible_count(NULL, &msg), SC_ENOTFOUND);
    assert_int_equal(sc_gpu_visible_count("", &msg), SC_ENOTFOUND);
    assert_int_equal(sc_gpu_visible_count("0", &msg), 1);
    assert_int_equal(sc_gpu_visible_count("0,1", &msg), 2);
    assert_int_equal(sc_gpu_visible_count("3,1,2,0", &msg), 4);
    assert_int_equal(sc_gpu_visible_count("0,1,,", &msg), 2);
    assert_int_equal(sc_gpu_visible_count("-1", &msg), 1);
    assert_int_equal(sc_gpu_visible_count("+1", &msg), 1);
    assert_int_equal(sc_gpu_visible_count(",", &msg), 0);
}

static void another_entry_is_refused_with_torchserves_text(void **state)
{
    (void)state;
    static const struct {
        const char *value, *text;
    } bad[] = {
        {"abc", "For input string: \"abc\""},
        {"0,abc", "For input string: \"abc\""},
        {",0", "For input string: \"\""},
        {"0,,1", "For input string: \"\""},
        {"0, 1", "For input string: \" 1\""},
        {" ", "For input string: \" \""},
        {"GPU-1x2b", "For input string: \"GPU-1x2b\""},
        {"0,GPU-", "For input string: \"GPU-\""},
        {"gpu-1a2b", "For input string: \"gpu-1a2b\""},
        {"99999999999", "For input string: \"99999999999\""},
    };
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(sc_gpu_visible_count(bad[i].value, &msg), SC_EINVAL);
        assert_memory_equal(msg.text, bad[i].text, strlen(bad[i].text));
    }
}

static void an_id_names_the_gpu_at_its_place(void **state)
{
    (void)state;
    assert_int_equal(sc_gpu_physical(NULL, 3, NULL), 3);
    assert_int_equal(sc_gpu_physical("", 3, NULL), 3);
    assert_int_equal(sc_gpu_physical("2,3", 0, NULL), 2);
    assert_int_equal(sc_gpu_physical("2,3", 1, NULL), 3);
    assert_int_equal(sc_gpu_physical("2,3", 2, NULL), 2);
    assert_int_equal(sc_gpu_physical("-1", 0, NULL), 0);
}

static void uuids_are_gpus_too(void **state)
{
    (void)state;
    static const struct sc_gpu_report r = {.ngpus = 3,
                                           .gpus = {{.index = 0, .uuid = "GPU-aa-1"},
                                                    {.index = 1, .uuid = "GPU-bb-2"},
                                                    {.index = 2, .uuid = "GPU-cc-3"}},
                                           .ninstances = 1,
                                           .instances = {{.gpu = 2, .uuid = "MIG-dd-4"}}};
    assert_int_equal(sc_gpu_visible_count("GPU-bb-2,GPU-aa", &msg), 2);
    assert_int_equal(sc_gpu_visible_count("MIG-dd-4,1", &msg), 2);
    assert_int_equal(sc_gpu_visible_count("MIG-GPU-aa-1/3/0", &msg), 1);
    assert_int_equal(sc_gpu_physical("GPU-bb-2,GPU-aa", 0, &r), 1);
    assert_int_equal(sc_gpu_physical("GPU-bb-2,GPU-aa", 1, &r), 0);
    assert_int_equal(sc_gpu_physical("MIG-dd-4", 0, &r), 2);
    /* Not known (yet): the number itself. */
    assert_int_equal(sc_gpu_physical("GPU-bb-2,GPU-aa", 1, NULL), 1);
    assert_int_equal(sc_gpu_physical("GPU-ee", 0, &r), 0);
}

static void expect(const struct sc_gpu_choice *c, const int *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(sc_gpu_next(c, &server, &model), ids[i]);
}

#define EXPECT(c, ...) expect(c, (const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static void models_share_a_counter_that_is_counted_up_first(void **state)
{
    (void)state;
    const struct sc_gpu_choice four = {.gpus = 4}, one = {.gpus = 1};
    EXPECT(&four, 1, 2, 3, 0, 1);
    unsigned other = 0;
    assert_int_equal(sc_gpu_next(&four, &server, &other), 2);
    EXPECT(&four, 3);
    assert_int_equal(model, 0);
    server = 0;
    EXPECT(&one, 0, 0, 0);
}

static void a_model_on_the_cpu_gets_none_and_uses_up_none(void **state)
{
    (void)state;
    const struct sc_gpu_choice cpu = {.gpus = 4, .cpu = true}, nothing = {.gpus = 0};
    EXPECT(&cpu, -1, -1);
    EXPECT(&nothing, -1);
    assert_int_equal(server, 0);
    assert_false(sc_gpu_used(&cpu));
    assert_false(sc_gpu_used(&nothing));
}

static void device_ids_are_gone_through_from_the_first(void **state)
{
    (void)state;
    static const int ids[] = {2, 0, 3};
    const struct sc_gpu_choice c = {.gpus = 4, .devices = ids, .ndevices = 3};
    EXPECT(&c, 2, 0, 3, 2);
    assert_int_equal(server, 0);
}

static void expect_block(const struct sc_gpu_choice *c, int gpu_id, const char *devices)
{
    char text[64];
    assert_int_equal(sc_gpu_next(c, &server, &model), gpu_id);
    assert_int_equal(sc_gpu_block(c, gpu_id, NULL, text, sizeof text), 0);
    assert_string_equal(text, devices);
}

static void parallel_workers_get_blocks(void **state)
{
    (void)state;
    static const int ids[] = {3, 1, 2, 0};
    const struct sc_gpu_choice all = {.gpus = 4, .level = 2},
                               listed = {.gpus = 4, .level = 2, .devices = ids, .ndevices = 4};
    expect_block(&all, 0, "0,1");
    expect_block(&all, 2, "2,3");
    expect_block(&all, 0, "0,1");
    model = 0;
    expect_block(&listed, 0, "3,1");
    expect_block(&listed, 2, "2,0");
    expect_block(&listed, 0, "3,1");
}

/* What the server calls 0 is what its own variable says first. */
static void blocks_are_named_as_the_servers_own_variable_does(void **state)
{
    (void)state;
    char text[64];
    const struct sc_gpu_choice c = {.gpus = 4, .level = 2};
    assert_int_equal(sc_gpu_block(&c, 2, "7,6,5,4", text, sizeof text), 0);
    assert_string_equal(text, "5,4");
    assert_int_equal(sc_gpu_block(&c, 0, "GPU-aa,GPU-bb", text, sizeof text), 0);
    assert_string_equal(text, "GPU-aa,GPU-bb");
    assert_int_equal(sc_gpu_block(&c, 0, "GPU-aa,GPU-bb", text, 8), SC_ELIMIT);
}

static void a_block_never_reaches_beyond_the_last_gpu(void **state)
{
    (void)state;
    const struct sc_gpu_choice c = {.gpus = 5, .level = 2}, more = {.gpus = 2, .level = 3};
    expect_block(&c, 0, "0,1");
    expect_block(&c, 2, "2,3");
    expect_block(&c, 0, "0,1");
    model = 7; /* whatever an earlier number of GPUs has left */
    expect_block(&c, 2, "2,3");
    expect_block(&more, 0, "0,1");
}

static void only_parallel_workers_have_a_block(void **state)
{
    (void)state;
    char text[4];
    const struct sc_gpu_choice plain = {.gpus = 4}, cpu = {.gpus = 4, .cpu = true, .level = 2},
                               wide = {.gpus = 4, .level = 4};
    assert_int_equal(sc_gpu_block(&plain, 1, NULL, text, sizeof text), SC_ENOTFOUND);
    assert_int_equal(sc_gpu_block(&cpu, -1, NULL, text, sizeof text), SC_ENOTFOUND);
    assert_int_equal(sc_gpu_block(&wide, 0, NULL, text, sizeof text), SC_ELIMIT);
}

static void parallel_models_have_as_many_workers_as_gpus_allow(void **state)
{
    (void)state;
    static const int ids[] = {0, 1};
    const struct sc_gpu_choice c = {.gpus = 5, .level = 2},
                               listed = {.gpus = 8, .level = 2, .devices = ids, .ndevices = 2},
                               none = {.gpus = 1, .level = 2}, plain = {.gpus = 1},
                               cpu = {.gpus = 0, .level = 2};
    int min = 1, max = 9;
    assert_int_equal(sc_gpu_clamp(&c, "m", &min, &max, &msg), 0);
    assert_int_equal(min, 1);
    assert_int_equal(max, 2);
    min = 4;
    assert_int_equal(sc_gpu_clamp(&c, "m", &min, &max, &msg), 0);
    assert_int_equal(min, 2);
    min = max = 4;
    assert_int_equal(sc_gpu_clamp(&listed, "m", &min, &max, &msg), 0);
    assert_int_equal(max, 1);
    min = max = 4;
    assert_int_equal(sc_gpu_clamp(&plain, "m", &min, &max, &msg), 0);
    assert_int_equal(sc_gpu_clamp(&cpu, "m", &min, &max, &msg), 0);
    assert_int_equal(max, 4);
    assert_int_equal(sc_gpu_clamp(&none, "opt", &min, &max, &msg), SC_ELIMIT);
    assert_string_equal(msg.text, "No enough gpu devices for model:opt parallelLevel:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_integer_of_the_variable_is_a_gpu, setup),
        cmocka_unit_test_setup(another_entry_is_refused_with_torchserves_text, setup),
        cmocka_unit_test_setup(an_id_names_the_gpu_at_its_place, setup),
        cmocka_unit_test_setup(uuids_are_gpus_too, setup),
        cmocka_unit_test_setup(blocks_are_named_as_the_servers_own_variable_does, setup),
        cmocka_unit_test_setup(models_share_a_counter_that_is_counted_up_first, setup),
        cmocka_unit_test_setup(a_model_on_the_cpu_gets_none_and_uses_up_none, setup),
        cmocka_unit_test_setup(device_ids_are_gone_through_from_the_first, setup),
        cmocka_unit_test_setup(parallel_workers_get_blocks, setup),
        cmocka_unit_test_setup(a_block_never_reaches_beyond_the_last_gpu, setup),
        cmocka_unit_test_setup(only_parallel_workers_have_a_block, setup),
        cmocka_unit_test_setup(parallel_models_have_as_many_workers_as_gpus_allow, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
