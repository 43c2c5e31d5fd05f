#include "test.h"

#include <stdio.h>

#include "gpu/report.h"

static struct sc_gpu_report r;

static const struct sc_gpu_report two = {
    .ngpus = 2,
    .gpus = {{.index = 0,
              .uuid = "GPU-1",
              .name = "NVIDIA \"H100\"",
              .memory_used = INT64_C(1024) << 20,
              .memory_total = INT64_C(81559) << 20,
              .utilization = 3,
              .memory_utilization = 1,
              .sm_utilization = 41,
              .bandwidth_utilization = SC_GPU_UNKNOWN,
              .compute_mode = SC_COMPUTE_EXCLUSIVE_PROCESS,
              .power = 70500,
              .power_limit = 700000},
             {.index = 1,
              .uuid = "GPU-2",
              .memory_used = SC_GPU_UNKNOWN,
              .memory_total = SC_GPU_UNKNOWN,
              .utilization = SC_GPU_UNKNOWN,
              .memory_utilization = SC_GPU_UNKNOWN,
              .sm_utilization = SC_GPU_UNKNOWN,
              .bandwidth_utilization = SC_GPU_UNKNOWN,
              .compute_mode = SC_GPU_UNKNOWN,
              .mig = SC_GPU_UNKNOWN,
              .power = SC_GPU_UNKNOWN,
              .power_limit = SC_GPU_UNKNOWN}},
    .nprocesses = 2,
    .processes = {{.gpu = 0, .pid = 4711, .memory_used = 5},
                  {.gpu = 1, .pid = 1, .memory_used = SC_GPU_UNKNOWN, .mps = 1}},
    .ninstances = 1,
    .instances = {{.gpu = 1, .uuid = "MIG-1", .memory_used = 7, .memory_total = SC_GPU_UNKNOWN}},
    .driver = "580.1",
};

static void write(struct sc_buf *b, const struct sc_gpu_report *from)
{
    sc_buf_init(b, SC_GPU_LINE_BYTES);
    sc_gpu_report_write(from, b);
    assert_int_equal(b->failed, 0);
}

static void a_report_is_one_line_of_json(void **state)
{
    (void)state;
    struct sc_buf b;
    write(&b, &two);
    sc_buf_char(&b, '\0');
    assert_string_equal(
        b.p, "{\"gpus\":[{\"index\":0,\"uuid\":\"GPU-1\",\"name\":\"NVIDIA "
             "\\\"H100\\\"\",\"memoryUsed\":1073741824,"
             "\"memoryTotal\":85520809984,\"utilization\":3,\"memoryUtilization\":1,\"computeMode\":3,"
             "\"mig\":0,\"power\":70500,\"powerLimit\":700000,\"smUtilization\":41},"
             "{\"index\":1,\"uuid\":\"GPU-2\",\"name\":\"\",\"memoryUsed\":null,\"memoryTotal\":null,"
             "\"utilization\":null,\"memoryUtilization\":null,\"computeMode\":null,\"mig\":null,\"power\":"
             "null,\"powerLimit\":null}],"
             "\"processes\":[{\"gpu\":0,\"pid\":4711,\"memoryUsed\":5},{\"gpu\":1,\"pid\":1,\"memoryUsed\":"
             "null,\"mps\":1}],\"instances\":[{\"gpu\":1,\"uuid\":\"MIG-1\",\"memoryUsed\":7,"
             "\"memoryTotal\":null}],\"driver\":\"580.1\"}\n");
    sc_buf_free(&b);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct sc_buf b;
    write(&b, &two);
    assert_int_equal(sc_gpu_parse_line(sc_buf_view(&b), &r), 0);
    assert_memory_equal(&r, &two, sizeof r);
    sc_buf_free(&b);
    const struct sc_gpu_report failed = {.error = "the driver is \"gone\""};
    write(&b, &failed);
    assert_int_equal(sc_gpu_parse_line(sc_buf_view(&b), &r), 0);
    assert_memory_equal(&r, &failed, sizeof r);
    sc_buf_free(&b);
}

/* The largest report there can be has room in a line. */
static void the_fullest_report_fits(void **state)
{
    (void)state;
    static struct sc_gpu_report full;
    struct sc_buf b;
    full.ngpus = SC_GPUS_MAX;
    full.nprocesses = SC_GPU_PROCESSES_MAX;
    for (unsigned i = 0; i < SC_GPUS_MAX; i++) {
        full.gpus[i] = (struct sc_gpu_info){.index = i, .memory_used = INT64_MAX, .memory_total = INT64_MAX};
        memset(full.gpus[i].uuid, 'u', sizeof full.gpus[i].uuid - 1);
        memset(full.gpus[i].name, '"', sizeof full.gpus[i].name - 1);
    }
    for (unsigned i = 0; i < SC_GPU_PROCESSES_MAX; i++)
        full.processes[i] = (struct sc_gpu_process){.gpu = 63, .pid = INT32_MAX, .memory_used = INT64_MAX};
    write(&b, &full);
    assert_int_equal(sc_gpu_parse_line(sc_buf_view(&b), &r), 0);
    assert_memory_equal(&r, &full, sizeof r);
    sc_buf_free(&b);
}

static void members_of_a_later_agent_are_skipped(void **state)
{
    (void)state;
    assert_int_equal(
        sc_gpu_parse_line(SC_SPAN("{\"mps\":{\"a\":[1,2]},\"gpus\":[{\"index\":5,\"watts\":[7.5]}],\"x\":1}"),
                          &r),
        0);
    assert_int_equal(r.ngpus, 1);
    assert_int_equal(r.gpus[0].index, 5);
    assert_int_equal(sc_gpu_parse_line(SC_SPAN("{}"), &r), 0);
    assert_int_equal(r.ngpus, 0);
}

static void what_is_no_report_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "null",
                                      "[]",
                                      "{",
                                      "{} {}",
                                      "nvidia-smi not available",
                                      "{\"gpus\":7}",
                                      "{\"gpus\":[7]}",
                                      "{\"gpus\":[{\"index\":0},",
                                      "{\"gpus\":[{\"index\":64}]}",
                                      "{\"gpus\":[{\"index\":-1}]}",
                                      "{\"gpus\":[{\"index\":\"0\"}]}",
                                      "{\"gpus\":[{\"index\":null}]}",
                                      "{\"gpus\":[{\"index\":0.5}]}",
                                      "{\"gpus\":[{\"uuid\":5}]}",
                                      "{\"gpus\":[{\"utilization\":101}]}",
                                      "{\"gpus\":[{\"memoryUsed\":1e30}]}",
                                      "{\"gpus\":[{\"index\":0}],\"processes\":[{\"pid\":99999999999}]}",
                                      "{\"error\":[]}"};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        r.ngpus = 3;
        assert_int_equal(sc_gpu_parse_line(sc_span_str(bad[i]), &r), SC_EINVAL);
        assert_int_equal(r.ngpus, 0);
    }
    /* One more than there may be. */
    struct sc_buf b;
    sc_buf_init(&b, SC_GPU_LINE_BYTES);
    sc_buf_str(&b, "{\"gpus\":[{\"index\":0}");
    for (unsigned i = 0; i < SC_GPUS_MAX; i++)
        sc_buf_str(&b, ",{\"index\":0}");
    sc_buf_str(&b, "]}");
    assert_int_equal(sc_gpu_parse_line(sc_buf_view(&b), &r), SC_EINVAL);
    sc_buf_free(&b);
}

static void long_names_are_cut(void **state)
{
    (void)state;
    char line[400];
    snprintf(line, sizeof line, "{\"gpus\":[{\"name\":\"%0200d\"}]}", 1);
    assert_int_equal(sc_gpu_parse_line(sc_span_str(line), &r), 0);
    assert_int_equal(strlen(r.gpus[0].name), sizeof r.gpus[0].name - 1);
}

static void usage_is_torchserves_text(void **state)
{
    (void)state;
    char text[256];
    sc_gpu_usage(&two, -1, 0, text, sizeof text);
    assert_string_equal(text, "N/A");
    sc_gpu_usage(&two, 0, 0, text, sizeof text);
    assert_string_equal(
        text, "gpuId::0 utilization.gpu [%]::3 % utilization.memory [%]::1 % memory.used [MiB]::1024 MiB");
    sc_gpu_usage(&two, 0, 1, text, sizeof text);
    assert_string_equal(
        text, "gpuId::0 utilization.gpu [%]::[N/A] utilization.memory [%]::[N/A] memory.used [MiB]::[N/A]");
    sc_gpu_usage(&two, 2, 2, text, sizeof text);
    assert_string_equal(text, "failed to obtained gpu usage");
    sc_gpu_usage(NULL, 0, 0, text, sizeof text);
    assert_string_equal(text, "failed to obtained gpu usage");
}

static void memory_in_percent_of_what_there_is(void **state)
{
    (void)state;
    assert_float_equal(sc_gpu_memory_percent(&two.gpus[0]), 1.25553, 0.0001);
    assert_float_equal(sc_gpu_memory_percent(&two.gpus[1]), SC_GPU_UNKNOWN, 0);
    assert_float_equal(sc_gpu_memory_percent(&(struct sc_gpu_info){.memory_used = 1}), SC_GPU_UNKNOWN, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_one_line_of_json),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(the_fullest_report_fits),
        cmocka_unit_test(members_of_a_later_agent_are_skipped),
        cmocka_unit_test(what_is_no_report_is_refused_and_leaves_nothing),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(usage_is_torchserves_text),
        cmocka_unit_test(memory_in_percent_of_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
